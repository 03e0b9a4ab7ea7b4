"""Prepared views of MLflow's experiment page: without them it hides child runs, and its charts with them.

A view is a tag of the experiment in the form in which the page saves its own (MLflow 3.17: JSON with a name, a time and
the page's state, deflated). It lists the trials of one phase as rows of their own, best first. On top are parallel
coordinates over what was searched, the primary endpoint against the first number that was, and a table of differences
from the baseline; then a bar chart for each language, side by side; then what the page itself makes of the other
metrics. Of more runs than a page loads it has the best; charts by language that would be too many bars are folded up.

Where trials are replicates there are two views of a phase: one of the seeds, grouped by what they have in common, each
seed a dot of its own; and one of the runs of replicates, whose charts show means. MLflow's charts have no error bars:
the standard deviations have a bar chart beside that of the means, a scatter plot against them, and columns.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import urlencode

from study.question import encoders, objectives
from study.question.config import StudyConfig
from study.record.record import Phase, TrialRecord
from study.tracking.replicates import MEAN, NUMBER, SEED, SPREAD
from study.tracking.runs import AGGREGATE, PHASE, UUID, is_reference, metric_key, milliseconds
from trainables.scores import Split, score_key, summary_key

Rows = Literal["trials", "seeds", "replicates"]

VIEW = "mlflow.sharedViewState."
"""How keys of tags that hold a view begin; the view's identifier follows."""

MOST_AXES = 6
"""Searched parameters that one parallel-coordinates chart still shows legibly."""

LOADED = 100
"""Runs that the page loads, the first by its order."""

MOST_BARS = 1000
"""Bars that the charts by language draw as the page opens; of more, they are folded up until they are asked for."""

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
    rows: Rows = "trials"
    """What a row is: a trial; a trial, grouped with its replicates; all replicates of a point at once."""
    runs: int = 0
    """Rows, or trials that they are made of."""

    @property
    def is_large(self) -> bool:
        """Whether its charts by language are too much for a page that has just been opened."""
        return len(self.languages) * min(self.runs, LOADED) > MOST_BARS

    @property
    def rows_phase(self) -> str:
        """The phase by which its runs are found."""
        return AGGREGATE[self.phase] if self.rows == "replicates" else self.phase

    @property
    def split(self) -> Split:
        """The split that the phase is about."""
        return "validation" if self.phase == "run" else "test"


class Views:
    """The views of a study, from the trials seen so far."""

    def __init__(self) -> None:
        self._begun: dict[Phase, float] = {}
        self._trials: dict[Phase, set[int]] = {}
        self._scores: dict[Phase, tuple[str, tuple[str, ...]]] = {}
        self._references: dict[Phase, dict[str, int]] = {}
        """The first reference of each encoder."""
        self._replicated: set[Phase] = set()
        self._values: dict[str, list[Any]] = {}

    def note(self, trial: TrialRecord, is_replicate: bool = False) -> None:
        """Take a trial into account, as far as it has got; in the order in which they were asked."""
        self._begun.setdefault(trial.phase, trial.asked)
        self._trials.setdefault(trial.phase, set()).add(trial.number)
        if is_replicate:
            self._replicated.add(trial.phase)
        if is_reference(trial):
            encoder = str([trial.point.get(path) for path in (encoders.NAME, encoders.REVISION)])
            self._references.setdefault(trial.phase, {}).setdefault(encoder, trial.number)
        elif trial.phase == "run" and trial.control is None:
            for path, value in trial.point.items():
                seen = self._values.setdefault(path, [])
                if len(seen) < 2 and value not in seen:  # two are enough to tell that it varies
                    seen.append(value)
        if trial.reports and trial.phase not in self._scores:
            evaluation = trial.reports[0].evaluation
            self._scores[trial.phase] = evaluation.metric, evaluation.primary.languages

    def views(self, trials: Mapping[int, str], points: Mapping[int, str]) -> Iterator[View]:
        """Those of each phase that has scores.

        In MLflow's identifiers: the runs of trials, and those of replicates by the number of their first trial.
        """
        for phase, (metric, languages) in self._scores.items():
            references, several = [*self._references.get(phase, {}).values()], phase in self._replicated
            number = references[0] if len(references) == 1 else -1
            begun, baseline, runs = self._begun[phase], trials.get(number, ""), len(self._trials[phase])
            view = View(phase, metric, languages, begun, self._varied(), baseline, runs=runs)
            yield replace(view, rows="seeds") if several else view
            if several:
                yield replace(view, rows="replicates", baseline=points.get(number, ""))

    def _varied(self) -> tuple[str, ...]:
        """Paths that more than one value was seen of, numbers first: an axis is better of those."""
        varied = [path for path, seen in self._values.items() if len(seen) > 1 and path != SEED]
        return tuple(sorted(varied, key=lambda path: not _are_numbers(self._values[path])))


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


NAMES: dict[tuple[Phase, Rows], str] = {
    ("run", "trials"): "trials",
    ("run", "seeds"): "trials, grouped by point",
    ("run", "replicates"): "points, means over seeds",
    ("confirm", "trials"): "confirmation",
    ("confirm", "seeds"): "confirmation, grouped by configuration",
    ("confirm", "replicates"): "configurations, means over seeds",
}


def view_tag(uuid: str, config: StudyConfig, view: View) -> tuple[str, str]:
    """Key and value of the experiment's tag that holds a view."""
    state = b64encode(zlib.compress(json.dumps(_state(uuid, config, view)).encode(), 9)).decode()
    name = f"{config.name}: {NAMES[view.phase, view.rows]}"
    value = {"name": name, "createdAt": milliseconds(view.begun), "state": f"deflate;{state}"}
    return f"{VIEW}{uuid}-{view.rows_phase}", json.dumps(value)


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
    ending = MEAN if view.rows == "replicates" else ""

    def summary(name: str, metric: str | None = None) -> str:
        return metric_key(summary_key(view.split, metric or view.metric, name))

    protocol = config.protocol
    endpoint = summary(protocol.primary_endpoint, protocol.primary_metric)
    rank_key = summary("selection_mean") if view.phase == "run" else endpoint
    is_lower_better = objectives.is_lower_better(protocol.primary_endpoint, protocol.primary_metric)
    shown = [f"{summary(name)}{ending}" for name in ("source", "target_mean", "low_resource_mean")]
    columns = list(dict.fromkeys([f"{rank_key}{ending}", f"{endpoint}{ending}", *shown]))
    spread = [f"{endpoint}{SPREAD}", f"{endpoint}{NUMBER}"] if ending else []
    # Under the metrics' own prefix the page would put charts of all their .std and .n between.
    scores = "means by language" if ending else f"{view.split}_{view.metric}"
    generated = [f"{view.split}_summary", *([f"{view.split}_{view.metric}"] if ending else []), "training", "cost"]
    grouping = {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": "configuration"}]}
    return {
        # Any order but by date makes the page list children as rows of their own.
        "orderByKey": f"metrics.`{rank_key}{ending}`",
        "orderByAsc": view.phase != "run" and is_lower_better,
        "searchFilter": f"tags.`{UUID}` = '{uuid}' and tags.{PHASE} = '{view.rows_phase}'",
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": [f"params.`{axis}`" for axis in axes] + [f"metrics.`{key}`" for key in (*columns, *spread)],
        "runsHiddenMode": "SHOW_ALL",
        "runsExpanded": {},
        "runsPinned": [],
        "runsHidden": [],
        "runsVisibilityMap": {},
        "hideEmptyCharts": True,
        "isAccordionReordered": True,
        "autoRefreshEnabled": True,
        "groupBy": grouping if view.rows == "seeds" else None,
        "useGroupedValuesInCharts": False,
        "compareRunSections": [
            _section("study", columns=1, cardHeight=420),
            *([_section("spread", columns=3, cardHeight=320)] if ending else []),
            _section(scores, columns=4, cardHeight=280, display=not view.is_large),
            *(_section(name, isGenerated=True) for name in generated),
        ],
        "compareRunCharts": [
            _card("PARALLEL", "study", selectedParams=axes, selectedMetrics=columns, showAllRuns=True),
            _card("SCATTER", "study", xaxis=_axis("PARAM", axes[0]), yaxis=_axis("METRIC", f"{endpoint}{ending}")),
            _card(
                "DIFFERENCE",
                "study",
                compareGroups=["Model metrics"],
                chartName="Differences from the baseline",
                showChangeFromBaseline=True,
                showDifferencesOnly=False,
                baselineColumnUuid=view.baseline,
            ),
            *(_spread(endpoint) if ending else []),
            *(_card("BAR", scores, metricKey=f"{_score(view, k)}{ending}") for k in view.languages),
        ],
    }


def _score(view: View, language: str) -> str:
    return metric_key(score_key(view.split, view.metric, language))


def _spread(endpoint: str) -> Iterator[dict[str, Any]]:
    """Means and standard deviations side by side, for want of error bars."""
    mean, spread = f"{endpoint}{MEAN}", f"{endpoint}{SPREAD}"
    for key in (mean, spread):
        yield _card("BAR", "spread", metricKey=key)
    yield {
        **_card("SCATTER", "spread", xaxis=_axis("METRIC", mean), yaxis=_axis("METRIC", spread)),
        "uuid": "card-spread",
    }


def _axis(kind: str, key: str) -> dict[str, str]:
    return {"key": key, "type": kind}


def _section(name: str, **settings: Any) -> dict[str, Any]:
    flags = {"display": True, "isReordered": False, "deleted": False, "isGenerated": False}
    return {"uuid": f"section-{name}", "name": name, **flags, **settings}


def _card(kind: str, section: str, **settings: Any) -> dict[str, Any]:
    uuid = f"card-{settings.get('metricKey', kind)}"
    flags = {"runsCountToCompare": 100, "deleted": False, "isGenerated": False}
    return {"uuid": uuid, "type": kind, "metricSectionId": f"section-{section}", **flags, **settings}
