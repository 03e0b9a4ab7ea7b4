"""The ledger as data frames."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import search_spaces
from study import load_results, load_study
from study.analysis.frames import TRIAL_COLUMNS
from study.record.record import Report, TrialRecord
from study.views import history
from study.views.history import dose, dosed_by
from tests.study.conftest import BASE, LANGUAGES
from trainables.config import TrialConfig
from trainables.errors import UserError
from trainables.loading import apply_point
from trainables.scores import Evaluation, LanguageScores

Write = Callable[..., Path]


def test_one_row_per_trial_language_and_split(events: list[dict[str, Any]], write_study: Write) -> None:
    frame = load_study("small", write_study(events))
    assert list(frame.columns[: len(TRIAL_COLUMNS)]) == list(TRIAL_COLUMNS)
    # Three complete trials; the one that failed without a report has no row.
    assert len(frame) == 3 * len(LANGUAGES)
    assert not frame.duplicated(["trial", "language", "split", "metric"]).any()
    row = frame[(frame["trial"] == 2) & (frame["language"] == "sw")].iloc[0]
    assert row["score"] == pytest.approx(BASE["sw"] + 0.05)
    assert (row["state"], row["kind"], row["phase"], row["split"]) == ("COMPLETE", "sampled", "run", "validation")
    assert (row["examples"], row["step"], row["forward_equivalents"]) == (40, 20, 60.0)
    assert row["perturbation.epsilon"] == pytest.approx(0.2)
    assert row["perturbation.method"] == "adversarial"
    baseline = frame[frame["trial"] == 0]
    assert set(baseline["perturbation.method"]) == {"none"}
    assert set(baseline["relative_norm"]) == {0.0}
    assert baseline["perturbation.epsilon"].isna().all()


def test_a_trial_stopped_early_has_its_last_scores(events: list[dict[str, Any]], write_study: Write) -> None:
    for event in events:
        if event["event"] == "finished" and event["trial"] == 1:
            event["outcome"] = "PRUNED"
    rows = [e for e in events if not (e["event"] == "report" and e["trial"] == 1 and e["step"] == 20)]
    frame = load_study("small", write_study(rows))
    stopped = frame[frame["trial"] == 1]
    assert set(stopped["state"]) == {"PRUNED"}
    assert set(stopped["step"]) == {10}


def test_an_unknown_study_is_a_user_error_and_no_confirmation_is_none(
    events: list[dict[str, Any]], write_study: Write
) -> None:
    root = write_study(events)
    with pytest.raises(UserError, match="no such study"):
        load_study("smal", root)
    assert load_results("small", root) is None


def trial(*norms: tuple[int, float], **other: float) -> TrialRecord:
    record = TrialRecord(0, "run", "design", None, {}, {}, {}, 0.0)
    for step, norm in norms:
        scores = {"accuracy": LanguageScores({"en": 0.5}, {"en": 1})}
        evaluation = Evaluation(step, "validation", scores, {"relative_norm": norm, **other})
        record.reports.append(Report(1, step, "validation", 0.0, json.dumps(evaluation.to_json()).encode()))
    return record


def test_achieved_norm_weighs_reports_by_their_steps() -> None:
    # 0.1 over the first 10 steps, 0.2 over the next 30.
    adversarial = of("adversarial")
    assert dose(trial((10, 0.1), (40, 0.2)), adversarial, 40) == pytest.approx(0.175)
    assert dose(trial((10, 0.1), (40, 0.2)), adversarial, 10) == pytest.approx(0.1)
    assert dose(trial((10, 0.1)), of("none"), 10) == 0.0
    assert np.isnan(dose(trial(), adversarial, 10))


def test_where_weights_alone_are_moved_the_norm_is_theirs() -> None:
    """Such a trial is not without perturbation, and no baseline."""
    assert dose(trial((10, 0.0), relative_weight_norm=0.3), of("adversarial+sam"), 10) == pytest.approx(0.3)
    assert dose(trial((10, 0.1), relative_weight_norm=0.3), of("adversarial+sam"), 10) == pytest.approx(0.1)
    assert dose(trial((10, 0.0), added_pieces=0.8), of("mvr"), 10) == pytest.approx(0.8)


def test_where_nothing_is_measured_the_dose_is_the_setting() -> None:
    bare = TrialRecord(0, "run", "design", None, {}, {}, {}, 0.0)
    noise = {"augmentation": {"method": "character_noise", "probability": 0.1}}
    assert dose(bare, of("none", **noise), 10) == pytest.approx(0.1)
    assert dose(bare, of("rdrop", weight=2.5), 10) == pytest.approx(2.5)
    assert dose(bare, of("bregman", proximal_weight=0.5), 10) == pytest.approx(0.5)
    # Two masks are not clean training, whatever the weight: no baseline.
    assert np.isnan(dose(bare, of("rdrop", weight=0.0), 10))
    assert np.isnan(dose(bare, of("elsewhere:Method"), 10))
    # What perturbs and augments is dosed by its perturbation.
    assert dose(trial((10, 0.2)), of("adversarial", **noise), 10) == pytest.approx(0.2)


def test_a_method_s_own_dose_goes_before_what_else_is_reported() -> None:
    """As the axis is called."""
    segments = trial((10, 0.0), added_pieces=0.8)
    assert dose(segments, of("xtune", example_weight=5.0), 10) == pytest.approx(5.0)
    assert dosed_by("xtune") == "perturbation.example_weight"
    assert dose(trial((10, 0.0), relative_weight_norm=0.3), of("rdrop+sam", weight=2.5), 10) == pytest.approx(2.5)
    assert dosed_by("rdrop+sam") == dosed_by("rdrop") == "perturbation.weight"
    assert dosed_by("adversarial+rdrop") == "relative_norm"
    # As a number that was measured and is none: no words were changed, by a method that is not here.
    assert dose(trial(), of("none", {"method": "elsewhere:Method"}), 10) == 0.0


def of(method: str, augmentation: dict[str, Any] | None = None, **settings: float) -> TrialConfig:
    given = {"perturbation": {"method": method, **settings}, "augmentation": augmentation or {}}
    return TrialConfig.model_validate(given)


def test_importing_the_package_costs_nothing() -> None:
    code = "import sys, study; assert 'pandas' not in sys.modules; study.load_study; assert 'pandas' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_other_name_is_offered() -> None:
    import study

    with pytest.raises(AttributeError, match="has no attribute 'lod_study'"):
        study.lod_study  # noqa: B018


def test_what_nothing_in_a_trial_reads_is_off() -> None:
    space = search_spaces.load(
        {
            "perturbation.method": ["none", "adversarial", "sam"],
            "perturbation.epsilon": {
                "type": "float",
                "low": 0.1,
                "high": 1.0,
                "when": {"perturbation.method": "adversarial"},
            },
        }
    )
    trial = apply_point(TrialConfig(), {"perturbation.method": "sam"})
    assert history.is_off(trial, "perturbation.epsilon", space)
    assert not history.is_off(trial, "perturbation.epsilon", None)
    assert not history.is_off(trial, "perturbation.method", space)
    assert history.is_off(apply_point(trial, {"perturbation.method": "none"}), "perturbation.rho", None)
