"""What `study confirm` plans to run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from study.execution.confirm import plan
from study.execution.simulation import Simulated, run
from study.execution.trials import Trials
from study.question.config import StudyConfig
from study.record.ledger import Ledger
from study.record.lines import read_study
from trainables.config import EvaluationConfig
from trainables.loading import apply_point, validate


@pytest.mark.parametrize(
    ("checkpoint", "sizes", "examples", "expected"),
    [
        ("last", (40, 10), 50, (50, 10)),
        ("last", (40, None), None, (None, 40)),
        ("best_source_validation", (40, None), 50, (50, None)),
    ],
)
def test_confirm_scores_as_many_examples_as_the_protocol_says(
    tmp_path: Path, checkpoint: str, sizes: tuple[int, int | None], examples: int | None, expected: tuple[Any, Any]
) -> None:
    evaluation = {"every": 10, "examples_per_language": sizes[0], "intermediate_examples_per_language": sizes[1]}
    config = validate(
        StudyConfig,
        {
            "name": "x",
            "trial": {
                "perturbation": {"method": "adversarial"},
                "evaluation": {**evaluation, "checkpoint": checkpoint},
            },
            "search": {"space": "adversarial", "trials": 3, "sampler": "random"},
            "protocol": {"confirm_seeds": 3, "confirm_examples_per_language": examples},
        },
    )
    path = tmp_path / "ledger.jsonl"
    with Ledger.open(path) as ledger:
        empty: dict[str, Any] = {"code_version": "", "fingerprints": {}, "protocol_hash": ""}
        ledger.append("study", uuid="0", config=config.model_dump(mode="json"), **empty)
        run(Trials(config, ledger, read_study(path)), Simulated(lambda trial: 0.5))
    scored: set[EvaluationConfig] = {
        apply_point(config.trial, each.point).evaluation for each in plan(config, read_study(path))
    }
    assert {(e.examples_per_language, e.intermediate_examples_per_language) for e in scored} == {expected}
