"""A study that went the whole way through the seam: a replicated design, then a confirmation, with planted gains."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from study.execution import confirm
from study.execution.trials import Proposal, Trials
from study.question.config import StudyConfig
from study.record.ledger import Ledger
from study.record.lines import read_study
from study.record.place import Place
from study.reporting.findings import Findings, find
from study.reporting.source import Source, from_ledger
from tests.study.simulated import FACTS
from trainables.loading import validate
from trainables.scores import Evaluation, LanguageScores

LANGUAGES = tuple(FACTS["language"])
LOW = set(FACTS.loc[FACTS["resource_class"] <= 2, "language"])
EXAMPLES = 60
FINE = {k: {"fertility": None if k == "ru" else 3.0 if k in LOW else 1.5, "overlap": 0.25} for k in LANGUAGES}
"""What was measured of languages: those of few resources are cut finer, of Russian that is not known."""

STUDY = {
    "name": "planted",
    "measured": FINE,
    "question": "Does a small radius help where there is little data & nobody <selected>?",
    "trial": {
        "perturbation": {"method": "adversarial"},
        "training": {"budget": {"steps": 60}},
        "evaluation": {"calibration": {"bins": 5}},
    },
    "search": {
        "mode": "design",
        "space": "adversarial",
        "sampler": "grid",
        "replicates": 3,
        "levels": {"perturbation.epsilon": [0.05, 0.1, 0.2, 0.4], "perturbation.ascent_steps": [1, 2]},
    },
    "protocol": {
        "selection": "pivot_validation",
        "pivots": ["de", "fi", "ru"],
        "primary_endpoint": "low_resource_mean",
        "confirm_seeds": 5,
    },
}


def gain(proposal: Proposal, language: str) -> float:
    """Planted: best at epsilon 0.1, three times as large in low-resource languages, none for random noise."""
    perturbation = proposal.trial.perturbation
    if perturbation.method != "adversarial":
        return 0.0
    shape = 0.04 - 0.1 * abs(np.log(perturbation.epsilon / 0.1))
    return float(shape) * (3 if language in LOW else 1)


def noise(*names: object) -> np.random.Generator:
    """A stream of its own for every name."""
    return np.random.default_rng(zlib.crc32("/".join(map(str, names)).encode()))


def validation(proposal: Proposal) -> Evaluation:
    seed = proposal.trial.training.seed
    shift = noise(seed).normal(0, 0.01)
    values = {
        k: min(max(0.6 + shift + gain(proposal, k) + noise(seed, k, proposal.number).normal(0, 0.006), 0.0), 1.0)
        for k in LANGUAGES
    }
    norm = 0.93 * proposal.trial.perturbation.epsilon if proposal.trial.perturbation.method != "none" else 0.0
    per_step = {"none": 3.0}.get(proposal.trial.perturbation.method, 3.0 + 2 * proposal.trial.perturbation.ascent_steps)
    return Evaluation(
        60,
        "validation",
        {"accuracy": LanguageScores(values, dict.fromkeys(LANGUAGES, EXAMPLES))},
        {"relative_norm": norm},
        {"forward_equivalents": 60 * per_step, "train_seconds": 40.0},
        final=True,
    )


def answers(proposal: Proposal) -> pd.DataFrame:
    """Test answers: sentences differ in difficulty alike for all configurations, seeds add little of their own."""
    seed, rows = proposal.trial.training.seed, []
    for language in LANGUAGES:
        difficulty = noise(language).random(EXAMPLES)
        drawn = difficulty + noise(language, seed, proposal.point.get("perturbation.method")).normal(0, 0.03, EXAMPLES)
        right = drawn < 0.6 + gain(proposal, language)
        sure = 0.4 + 0.6 * np.clip(drawn, 0, 1) * right
        labels = np.arange(EXAMPLES) % 2
        given = np.where(right, labels, 1 - labels).astype(str)
        scores = {"score": right.astype(float), "confidence": sure, "prediction": given}
        rows.append(pd.DataFrame({"language": language, "example": range(EXAMPLES), **scores}))
    return pd.concat(rows, ignore_index=True).assign(split="test", metric="accuracy")


def brier(proposal: Proposal) -> LanguageScores:
    """Another metric, of three languages alone."""
    seed, method = proposal.trial.training.seed, proposal.point.get("perturbation.method")
    values = {k: 0.3 + float(noise(k, seed, method).normal(0, 0.02)) for k in ("en", "sw", "de")}
    return LanguageScores(values, dict.fromkeys(values, EXAMPLES))


Fails = Callable[[Proposal], bool]


def build(
    root: Path,
    config: StudyConfig,
    confirmed: bool = True,
    fails: Fails = lambda proposal: False,
    runners_up: int = 0,
    averages: bool = False,
) -> None:
    """Write ledger and predictions; the trials that are to fail do."""
    place = Place(root, config.name)
    with Ledger.open(place.ledger) as ledger:
        facts: dict[str, Any] = {"uuid": "0" * 32, "code_version": "0.1.0", "fingerprints": {"data": "d0"}}
        ledger.append("study", config=config.model_dump(mode="json"), protocol_hash="ab", **facts)
        drive(Trials(config, ledger, read_study(ledger.path)), place, fails)
        for trial in read_study(ledger.path).trials.values() if averages else ():
            if trial.state == "COMPLETE":
                ledger.append("averaged", trial=trial.number, mean=f"of {trial.point.get('training.seed')}")
        if confirmed:
            plan = confirm.plan(config, read_study(ledger.path), runners_up)
            ledger.append("test_opened", protocol_hash="ab", reason="confirm")
            drive(Trials(config, ledger, read_study(ledger.path), plan), place, fails)
    if confirmed:
        confirm.results(config, read_study(place.ledger), place).to_parquet(place.results)


def drive(trials: Trials, place: Place, fails: Fails) -> None:
    while (proposal := trials.ask()) is not None:
        trials.started(proposal.number, proposal.attempt)
        if fails(proposal):
            trials.finish(proposal.number, proposal.attempt, error=f"RuntimeError: diverged at step {proposal.number}")
            continue
        trials.report(proposal.number, proposal.attempt, validation(proposal))
        if proposal.phase == "confirm":
            table = answers(proposal)
            path = place.predictions(proposal.number)
            path.parent.mkdir(exist_ok=True)
            table.to_parquet(path)
            means = table.groupby("language")["score"].mean()
            scores = LanguageScores({str(k): float(v) for k, v in means.items()}, dict.fromkeys(LANGUAGES, EXAMPLES))
            further = {"brier": brier(proposal)}
            test = Evaluation(60, "test", {"accuracy": scores, **further}, final=True)
            trials.report(proposal.number, proposal.attempt, test)
        trials.finish(proposal.number, proposal.attempt)


def configured(**changes: Mapping[str, Any] | str) -> StudyConfig:
    data: dict[str, Any] = dict(STUDY)
    for key, value in changes.items():
        data[key] = {**data[key], **value} if isinstance(value, Mapping) else value
    return validate(StudyConfig, data)


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Studies: `planted`, confirmed; `searched`, a search that is not."""
    folder = tmp_path_factory.mktemp("studies")
    build(folder, configured())
    search = {"mode": "search", "sampler": "random", "replicates": 1, "levels": {}, "trials": 14}
    build(folder, configured(name="searched", search=search), confirmed=False)
    return folder


@pytest.fixture(scope="session")
def planted(root: Path) -> Source:
    return from_ledger("planted", root)


@pytest.fixture(scope="session")
def found(planted: Source) -> Findings:
    return find(planted)


@pytest.fixture(scope="session")
def searched(root: Path) -> Findings:
    return find(from_ledger("searched", root))
