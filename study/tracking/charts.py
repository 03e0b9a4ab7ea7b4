"""Prepared views of MLflow's experiment page: without them it hides child runs, and its charts with them.

A view is a tag of the experiment in the form in which the page saves its own (MLflow 3.17: JSON with a name, a time and
the page's state as JSON). It lists the trials of one phase, best first, as rows of their own, and draws above the
page's one chart per metric: parallel coordinates and a scatter plot over what was searched, and a table with all
languages of the trials side by side, as differences from a trial of one's choice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from study.config import StudyConfig
from study.objectives import STANDARD
from study.record import Phase
from study.tracking.runs import PHASE, UUID, milliseconds
from trainables.scores import Split, summary_key

VIEW = "mlflow.sharedViewState."
"""How keys of tags that hold a view begin; the view's identifier follows."""

MOST_AXES = 6
"""Searched parameters that one parallel-coordinates chart still shows legibly."""

FALLBACK_AXES = ("perturbation.epsilon", "perturbation.ascent_steps", "perturbation.sigma")
"""Drawn where a study varies nothing."""


def view_tag(
    uuid: str, config: StudyConfig, phase: Phase, metric: str, varied: Sequence[str], created: float
) -> tuple[str, str]:
    """Key and value of the experiment's tag that holds the view of a phase; `created` is in unix seconds."""
    split: Split = "validation" if phase == "run" else "test"
    name = f"{config.name}: {'trials' if phase == 'run' else 'confirmation'}"
    state = json.dumps(_state(uuid, config, phase, split, metric, varied or FALLBACK_AXES), ensure_ascii=False)
    view = {"name": name, "createdAt": milliseconds(created), "state": state}
    return f"{VIEW}{uuid}-{phase}", json.dumps(view, ensure_ascii=False)


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


def _state(
    uuid: str, config: StudyConfig, phase: Phase, split: Split, metric: str, varied: Sequence[str]
) -> dict[str, Any]:
    axes = list(varied)[:MOST_AXES]
    endpoint = config.protocol.primary_endpoint
    rank = "selection_mean" if phase == "run" else endpoint if endpoint in STANDARD else "target_mean"
    shown = [summary_key(split, metric, name) for name in ("source", "target_mean", "low_resource_mean")]
    rank_key = summary_key(split, metric, rank)
    titles = ("study", f"{split}_summary", f"{split}_{metric}", "training", "cost")
    return {
        # Any order but by date makes the page list children as rows of their own.
        "orderByKey": f"metrics.`{rank_key}`",
        "orderByAsc": False,
        "searchFilter": f"tags.`{UUID}` = '{uuid}' and tags.{PHASE} = '{phase}'",
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
        "compareRunSections": [_section(title, title == "study") for title in titles],
        "compareRunCharts": [
            _card("PARALLEL", selectedParams=axes, selectedMetrics=[*shown, rank_key], showAllRuns=True),
            _card("SCATTER", xaxis={"key": axes[0], "type": "PARAM"}, yaxis={"key": shown[-1], "type": "METRIC"}),
            _card(
                "DIFFERENCE",
                compareGroups=["Model metrics"],
                chartName="Languages side by side",
                showChangeFromBaseline=True,
                showDifferencesOnly=False,
                baselineColumnUuid="",
            ),
        ],
    }


def _section(title: str, ours: bool) -> dict[str, Any]:
    size = {"columns": 1, "cardHeight": 420} if ours else {}
    flags = {"display": True, "isReordered": False, "deleted": False, "isGenerated": not ours}
    return {"uuid": f"section-{title}", "name": title, **flags, **size}


def _card(kind: str, **settings: Any) -> dict[str, Any]:
    flags = {"runsCountToCompare": 100, "deleted": False, "isGenerated": False}
    return {"uuid": f"card-{kind}", "type": kind, "metricSectionId": "section-study", **flags, **settings}
