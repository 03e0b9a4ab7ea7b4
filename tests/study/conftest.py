"""A small finished study, as events: what tables, tracking and commands read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study.question.config import StudyConfig
from study.record import roots
from study.record.ledger import Ledger
from study.record.place import Place
from trainables.loading import validate
from trainables.scores import Evaluation, LanguageScores

LANGUAGES = ("en", "de", "fr", "sw", "yo", "te", "th")
BASE = {"en": 0.9, "de": 0.8, "fr": 0.75, "sw": 0.4, "yo": 0.3, "te": 0.5, "th": 0.6}

Event = dict[str, Any]


def place_of(folder: Path) -> Place:
    """Where the study lies whose folder this is."""
    return roots.place(folder.parent, folder.name)


@pytest.fixture
def config() -> StudyConfig:
    """Four trials of a search that selects on two pivots."""
    data = {
        "name": "small",
        "question": "Does it help?",
        "trial": {"perturbation": {"method": "adversarial"}, "training": {"budget": {"steps": 20}}},
        "search": {"space": "adversarial", "trials": 4},
        "protocol": {
            "selection": "pivot_validation",
            "pivots": ["de", "fr"],
            "primary_endpoint": "low_resource_mean",
        },
    }
    return validate(StudyConfig, data)


def evaluation(step: int, gain: float, final: bool) -> Evaluation:
    """Scores that rise with steps and differ by `gain`; te loses what the others gain."""
    values = {k: v * step / 20 + (-gain if k == "te" else gain) for k, v in BASE.items()}
    scores = LanguageScores(values, dict.fromkeys(LANGUAGES, 40))
    cost = {"forward_equivalents": 3.0 * step, "train_seconds": 1.5 * step}
    return Evaluation(step, "validation", {"accuracy": scores}, {"loss": 1 / step}, cost, final)


@pytest.fixture
def events(config: StudyConfig) -> list[Event]:
    """Baseline, two complete trials (the second the better), and one that failed in its second attempt."""
    study = {"uuid": "0" * 32, "code_version": "1", "fingerprints": {}, "protocol_hash": "abc"}
    rows: list[Event] = [{"event": "study", "time": 1000.0, "config": config.model_dump(mode="json"), **study}]
    for number, gain in enumerate((0.0, 0.01, 0.05)):
        kind = "sampled" if number else "baseline"
        point = {"perturbation.epsilon": 0.1 * number, "perturbation.ascent_steps": number}
        point = point if number else {"perturbation.method": "none", "augmentation.method": "none"}
        start = 1000.0 + 100 * number
        common = {"trial": number, "attempt": 1}
        rows += [
            {"event": "asked", "time": start, "trial": number, "phase": "run", "kind": kind, "point": point},
            {"event": "started", "time": start + 1, **common},
            {"event": "report", "time": start + 50, "step": 10, **common, "evaluation": evaluation(10, gain, False)},
            {"event": "report", "time": start + 90, "step": 20, **common, "evaluation": evaluation(20, gain, True)},
            {"event": "finished", "time": start + 91, **common, "outcome": "COMPLETE", "error": None},
        ]
    error = "Traceback (most recent call last):\n  …\nRuntimeError: the loss is not finite"
    rows += [
        {"event": "asked", "time": 1300.0, "trial": 3, "phase": "run", "kind": "sampled", "point": {}},
        {"event": "started", "time": 1301.0, "trial": 3, "attempt": 1},
        {"event": "started", "time": 1310.0, "trial": 3, "attempt": 2},
        {"event": "finished", "time": 1320.0, "trial": 3, "attempt": 2, "outcome": "FAIL", "error": error},
    ]
    for row in rows:
        if "evaluation" in row:
            row["evaluation"] = row["evaluation"].to_json()
    return rows


@pytest.fixture
def write_study(tmp_path: Path) -> Callable[[list[Event], str], Path]:
    """Write events as the ledger of a study of the given name; returns the root."""

    def write(rows: list[Event], name: str = "small") -> Path:
        with Ledger.open(tmp_path / "studies" / name / "ledger.jsonl") as ledger:
            for row in rows:
                ledger.append(row["event"], **{k: v for k, v in row.items() if k != "event"})
        return tmp_path / "studies"

    return write
