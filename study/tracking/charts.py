"""Prepared views of MLflow's experiment page: without them it hides child runs, and its charts with them.

A view is a tag of the experiment in the form in which the page saves its own (MLflow 3.17: JSON with a name, a time and
the page's state, deflated). It lists the trials of one phase as rows of their own, best first. On top are parallel
coordinates and a scatter plot over what was searched, and a table of differences from the baseline; then a bar chart
for each language, side by side; then what the page itself makes of the other metrics.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from study.question.config import StudyConfig
from study.question.objectives import STANDARD
from study.record.record import Phase, TrialRecord
from study.tracking.runs import PHASE, UUID, is_reference, milliseconds
from trainables.scores import Split, score_key, summary_key

VIEW = "mlflow.sharedViewState."
"""How keys of tags that hold a view begin; the view's identifier follows."""

MOST_AXES = 6
"""Searched parameters that one parallel-coordinates chart still shows legibly."""

FALLBACK_AXES = ("perturbation.epsilon", "perturbation.ascent_steps", "perturbation.sigma")
"""Drawn where a study varies nothing."""


@dataclass(frozen=True)
class View:
    """What there is to see of one phase of a study."""

    phase: Phase
    metric: str
    languages: tuple[str, ...]
    begun: float
    """Unix seconds."""
    varied: tuple[str, ...] = ()
    """Dotted paths, in the order in which they are drawn."""
    baseline: str = ""
    """Identifier of the run that differences are taken from; empty: of the best one."""

    @property
    def split(self) -> Split:
        """The split that the phase is about."""
        return "validation" if self.phase == "run" else "test"


class Views:
    """The views of a study, from the trials seen so far."""

    def __init__(self) -> None:
        self._begun: dict[Phase, float] = {}
        self._scores: dict[Phase, tuple[str, tuple[str, ...]]] = {}
        self._reference: dict[Phase, int] = {}
        self._varied: dict[str, None] = {}

    def note(self, trial: TrialRecord) -> None:
        """Take a trial into account, as far as it has got."""
        self._begun.setdefault(trial.phase, trial.asked)
        if is_reference(trial):
            self._reference.setdefault(trial.phase, trial.number)
        elif trial.phase == "run" and trial.control is None:
            self._varied |= {path: None for path in trial.point if path != "training.seed"}
        if trial.reports and trial.phase not in self._scores:
            evaluation = trial.reports[0].evaluation
            self._scores[trial.phase] = evaluation.metric, evaluation.primary.languages

    def views(self, runs: Mapping[int, str]) -> Iterator[View]:
        """One view for each phase that has scores; `runs` are MLflow's identifiers of the trials."""
        for phase, (metric, languages) in self._scores.items():
            baseline = runs.get(self._reference.get(phase, -1), "")
            yield View(phase, metric, languages, self._begun[phase], tuple(self._varied), baseline)


def view_tag(uuid: str, config: StudyConfig, view: View) -> tuple[str, str]:
    """Key and value of the experiment's tag that holds a view."""
    name = f"{config.name}: {'trials' if view.phase == 'run' else 'confirmation'}"
    state = b64encode(zlib.compress(json.dumps(_state(uuid, config, view)).encode(), 9)).decode()
    value = {"name": name, "createdAt": milliseconds(view.begun), "state": f"deflate;{state}"}
    return f"{VIEW}{uuid}-{view.phase}", json.dumps(value)


def view_links(server: str, experiment: str, tags: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Name and address of each view of an experiment on an MLflow server, from the experiment's identifier and tags."""
    for key, value in sorted(tags.items()):
        if key.startswith(VIEW):
            query = {
                "workflowType": "machine_learning",  # else the page opens on its dashboards for language-model traces
                "compareRunsMode": "CHART",
                "viewStateShareKey": key.removeprefix(VIEW),
            }
            link = f"{server.rstrip('/')}/#/experiments/{experiment}/runs?{urlencode(query)}"
            yield json.loads(value).get("name", key), link


def _state(uuid: str, config: StudyConfig, view: View) -> dict[str, Any]:
    axes = (view.varied or FALLBACK_AXES)[:MOST_AXES]
    endpoint = config.protocol.primary_endpoint
    rank = "selection_mean" if view.phase == "run" else endpoint if endpoint in STANDARD else "target_mean"
    shown = [summary_key(view.split, view.metric, name) for name in ("source", "target_mean", "low_resource_mean")]
    rank_key = summary_key(view.split, view.metric, rank)
    scores = f"{view.split}_{view.metric}"
    return {
        # Any order but by date makes the page list children as rows of their own.
        "orderByKey": f"metrics.`{rank_key}`",
        "orderByAsc": False,
        "searchFilter": f"tags.`{UUID}` = '{uuid}' and tags.{PHASE} = '{view.phase}'",
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": [f"params.`{axis}`" for axis in axes] + [f"metrics.`{key}`" for key in (rank_key, *shown)],
        "runsHiddenMode": "SHOW_ALL",
        "runsExpanded": {},
        "runsPinned": [],
        "runsHidden": [],
        "runsVisibilityMap": {},
        "hideEmptyCharts": True,
        "isAccordionReordered": True,
        "autoRefreshEnabled": True,
        "compareRunSections": [
            _section("study", columns=1, cardHeight=420),
            _section(scores, columns=4, cardHeight=280),
            *(_section(name, isGenerated=True) for name in (f"{view.split}_summary", "training", "cost")),
        ],
        "compareRunCharts": [
            _card("PARALLEL", "study", selectedParams=axes, selectedMetrics=[*shown, rank_key], showAllRuns=True),
            _card(
                "SCATTER",
                "study",
                xaxis={"key": axes[0], "type": "PARAM"},
                yaxis={"key": shown[-1], "type": "METRIC"},
            ),
            _card(
                "DIFFERENCE",
                "study",
                compareGroups=["Model metrics"],
                chartName="Differences from the baseline",
                showChangeFromBaseline=True,
                showDifferencesOnly=False,
                baselineColumnUuid=view.baseline,
            ),
            *(_card("BAR", scores, metricKey=score_key(view.split, view.metric, k)) for k in view.languages),
        ],
    }


def _section(name: str, **settings: Any) -> dict[str, Any]:
    flags = {"display": True, "isReordered": False, "deleted": False, "isGenerated": False}
    return {"uuid": f"section-{name}", "name": name, **flags, **settings}


def _card(kind: str, section: str, **settings: Any) -> dict[str, Any]:
    uuid = f"card-{settings.get('metricKey', kind)}"
    flags = {"runsCountToCompare": 100, "deleted": False, "isGenerated": False}
    return {"uuid": uuid, "type": kind, "metricSectionId": f"section-{section}", **flags, **settings}
