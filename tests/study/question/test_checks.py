"""Studies that make no sense are told so, all at once, before anything starts."""

from __future__ import annotations

from typing import Any

import pytest

import search_spaces
from study.planning import preflight
from study.question.checks import check
from study.question.config import StudyConfig
from trainables.errors import UserError
from trainables.loading import validate

GRID = {"mode": "design", "sampler": "grid"}


def study(search: dict[str, Any], trial: dict[str, Any] | None = None, **other: Any) -> StudyConfig:
    search = {"space": "adversarial", **search}
    return validate(StudyConfig, {"name": "x", "trial": trial or {}, "search": search, **other})


def complaints(config: StudyConfig) -> list[str]:
    try:
        check(config)
    except UserError as error:
        return error.lines
    return []


@pytest.mark.parametrize(
    ("workers", "gpus", "complaint"),
    [
        (1, 0.5, None),
        (2, 1, None),
        (2, 0, None),
        (2, 3, None),
        (2, 0.5, "(got 0.5 for each of 2)"),
        (1, 1.5, "must be a fraction below 1, or whole (got 1.5)"),
    ],
)
def test_a_card_is_shared_by_trials_and_not_by_the_workers_of_one(
    workers: int, gpus: float, complaint: str | None
) -> None:
    found = complaints(study({}, scaling={"workers_per_trial": workers, "gpus_per_worker": gpus}))
    assert len(found) == (complaint is not None)
    if complaint is not None:
        assert found[0].startswith("scaling.gpus_per_worker: ") and complaint in found[0]


@pytest.mark.parametrize(
    ("search", "complaint"),
    [
        ({"space": "adverserial"}, "search.space: unknown space, did you mean 'adversarial'?"),
        ({"mode": "design"}, "search.sampler: mode design takes one of grid, latin_hypercube, sobol (got 'tpe')"),
        ({"sampler": "sobol"}, "search.sampler: mode search takes one of tpe, gp, nsga2, random (got 'sobol')"),
        ({"replicates": 3}, "search.replicates: only designs are replicated (got 3 in mode search)"),
        ({"trials": 1}, "search.trials: must be at least 2"),
        ({"mode": "design", "sampler": "sobol", "replicates": 4, "trials": 7}, "must be at least 8"),
        ({"levels": {"perturbation.epsilon": [0.1]}}, "search.levels: only a grid has levels"),
        (GRID, "perturbation.epsilon: a grid needs the values of a continuous"),
        ({**GRID, "levels": {"perturbation.epsilom": [0.1], "perturbation.epsilon": [0.1]}},
         "is no dimension of the space, did you mean 'perturbation.epsilon'?"),
        ({**GRID, "levels": {"perturbation.epsilon": [0.9]}}, "takes 0.03 to 0.6 (log) (got 0.9)"),
        ({"enqueue": [{"perturbation.epsilom": 0.1}]}, "search.enqueue[0]: perturbation.epsilom: unknown key"),
        ({"enqueue": [{"perturbation.epsilon": 0.9}]}, "search.enqueue[0]: perturbation.epsilon: the dimension takes"),
        ({"enqueue": [{"training.batch_size": 0}]}, "search.enqueue[0]: training.batch_size: must be at least 1"),
        ({"enqueue": [{"evaluation.every": 5}]}, "evaluation.every: all trials of a study share task and evaluation"),
        ({"enqueue": [{}], "space": None}, "search.enqueue: only a search takes points"),
        ({"pruner": "median"}, "search.pruner: needs trial.evaluation.every"),
        ({"mode": "design", "sampler": "sobol", "patience": 3}, "search.patience: a design is run as it was fixed"),
        ({"objectives": [{"reduce": "source", "metric": "attacked_accuracy"}]}, "needs trial.evaluation.attack"),
        ({"objectives": [{"reduce": "source", "metric": "certified_radius"}]}, "needs trial.evaluation.certify"),
        (
            {"objectives": [{"reduce": "source", "metric": "noise_brier", "direction": "minimize"}]},
            "needs trial.evaluation.noise",
        ),
        ({"objectives": [{"reduce": "source", "metric": "brier", "direction": "minimize"}]}, "evaluation.calibration"),
        ({"objectives": [{"reduce": "source", "threshold": 0.5}]}, "at least one must have no threshold"),
        ({"space": {"task.name": ["intents", "xnli"]}}, "task.name: all trials of a study share task and evaluation"),
        ({"space": {"training.seed": {"type": "int", "low": 0, "high": 2**30}}}, "training.seed: must be below"),
    ],
)  # fmt: skip
def test_one_line_each(search: dict[str, Any], complaint: str) -> None:
    lines = complaints(study(search))
    assert len(lines) == 1 and complaint in lines[0], lines


def test_agreement_is_of_target_languages() -> None:
    agreement = {"metric": "agreement"}
    targets = {"protocol": {"selection": "target_validation"}}
    asked: dict[str, Any] = {"evaluation": {"agreement": True}}
    mean = {"objectives": [{"reduce": "target_mean", **agreement}]}
    assert complaints(study(mean, asked, **targets)) == []
    assert complaints(study(mean, **targets)) == [
        "search.objectives[0].metric: needs trial.evaluation.agreement (got 'agreement')"
    ]
    for reduction in ("source", "selection_mean", "language:en"):
        (line,) = complaints(study({"objectives": [{"reduce": reduction, **agreement}]}, asked))
        assert line.startswith("search.objectives[0].reduce: agreement is with the source language"), line


@pytest.mark.parametrize(
    ("protocol", "complaint"),
    [
        ({"primary_metric": "brier"}, "protocol.primary_metric: needs trial.evaluation.calibration (got 'brier')"),
        ({"primary_metric": "noise_accuracy_character_0.1"}, "protocol.primary_metric: needs trial.evaluation.noise"),
        ({"primary_metric": "attacked_success_words"}, "protocol.primary_metric: needs trial.evaluation.attack"),
        ({"primary_metric": "agreement", "primary_endpoint": "source"}, "protocol.primary_endpoint: agreement is with"),
    ],
)
def test_a_claimed_metric_that_nobody_measures_is_one_line(protocol: dict[str, Any], complaint: str) -> None:
    trial = {"evaluation": {"agreement": True}} if "primary_endpoint" in protocol else {}
    (line,) = complaints(study({}, trial, protocol=protocol))
    assert line.startswith(complaint), line


def test_what_must_not_be_pruned() -> None:
    trial = {"evaluation": {"every": 10}}
    two = [{"reduce": "source"}, {"reduce": "cost:train_seconds", "direction": "minimize"}]
    assert complaints(study({"pruner": "median", "objectives": two}, trial)) == [
        "search.pruner: several objectives can't be pruned by (got 'median')"
    ]
    assert complaints(study({"pruner": "median", "mode": "design", "sampler": "sobol"}, trial)) == [
        "search.pruner: a design is not pruned, its curves would be biased (got 'median')"
    ]
    bound = [{"reduce": "source"}, {"reduce": "cost:train_seconds", "direction": "minimize", "threshold": 9.0}]
    assert complaints(study({"pruner": "median", "objectives": bound}, trial)) == []


def test_all_mistakes_come_at_once() -> None:
    config = study(
        {"space": {"perturbation.epsilom": 1, "perturbation.norm": ["l3"]}, "replicates": 2, "pruner": "median"},
        protocol={"selection": "pivot_validation"},
    )
    assert len(complaints(config)) == 5


@pytest.mark.parametrize("space", search_spaces.names())
@pytest.mark.parametrize("sampler", ["tpe", "sobol"])
def test_every_shipped_space_makes_a_study(space: str, sampler: str) -> None:
    mode = "search" if sampler == "tpe" else "design"
    check(study({"space": space, "sampler": sampler, "mode": mode}))


@pytest.mark.parametrize("space", search_spaces.names())
def test_every_method_of_a_shipped_space_exists(space: str) -> None:
    assert preflight._methods(study({"space": space})) == []


def test_methods_of_a_space_that_do_not_exist_or_refuse_their_settings() -> None:
    space = {"perturbation.method": ["adversarial", "smrt", "vat"], "augmentation.method": ["synonims", "none"]}
    config = study({"space": space}, trial={"perturbation": {"start": "zero"}})
    lines = preflight._methods(config)
    assert [line.split(",")[0] for line in lines] == [
        "search.space: perturbation.method: unknown method",
        "search.space: perturbation.start: vat needs uniform or gaussian",
        "search.space: augmentation.method: unknown method",
    ]


SYNONYMS = {"augmentation.method": "synonyms"}
FROZEN = {"freeze_embeddings": True, "freeze_lower_layers": 6}


@pytest.mark.parametrize(
    ("space", "trial", "complaint"),
    [
        (None, {}, "trial.perturbation.method: ear compares examples with copies in other words and needs"),
        ({"perturbation.method": ["ear", "vat"]}, {}, "search.space: perturbation.method: ear compares examples with"),
        ({"augmentation.method": ["none", "synonyms"]}, {}, "search.space: perturbation.method: ear compares"),
        (SYNONYMS, {"task": {"name": "panx"}}, "serves tasks with one answer an example, classification and multiple"),
        (SYNONYMS, {"task": {"name": "tatoeba"}}, "serves tasks with one answer an example, classification and"),
        (SYNONYMS, {"encoder": FROZEN}, "encoder.freeze_lower_layers: with frozen embeddings must be at most"),
        (SYNONYMS, {"encoder": FROZEN, "perturbation": {"attention_layer": 6}}, ""),
        (SYNONYMS, {"encoder": {**FROZEN, "freeze_embeddings": False}}, ""),
        (SYNONYMS, {"task": {"name": "xcopa"}}, ""),
        ({"perturbation.method": ["ear", "vat"], **SYNONYMS}, {"perturbation": {"method": "none"}}, ""),
        ({"augmentation.method": {"type": "fixed", "value": "synonyms", "when": {"perturbation.method": "ear"}},
          "perturbation.method": ["ear", "vat"]}, {}, ""),
    ],
)  # fmt: skip
def test_a_method_that_compares_pairs_needs_them(
    space: dict[str, Any] | None, trial: dict[str, Any], complaint: str
) -> None:
    trial = {**trial, "perturbation": {"method": "ear", **trial.get("perturbation", {})}}
    lines = preflight._methods(study({"space": space}, trial=trial))
    assert len(lines) == bool(complaint)
    assert complaint in "".join(lines)


@pytest.mark.parametrize(
    "task", ["intents", "xnli", "pawsx", "xcopa", "udpos", "panx", "xquad", "mlqa", "tydiqa", "tatoeba"]
)
def test_every_task_makes_a_minimal_study(task: str) -> None:
    """Under `source_validation`, with nothing else said."""
    config = study({}, trial={"task": {"name": task}})
    languages, tested, problems = preflight._task(config)
    assert problems == [] and languages and tested
    check(config, languages, tested)
