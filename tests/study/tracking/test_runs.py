"""What MLflow is to show of a study."""

from __future__ import annotations

from typing import Any

import pytest

from study.question.config import StudyConfig
from study.question.objectives import summary
from study.record.record import StudyRecord
from study.tracking import runs
from trainables.loading import apply_point
from trainables.scores import Evaluation, LanguageScores

Event = dict[str, Any]


@pytest.fixture
def record(events: list[Event]) -> StudyRecord:
    return StudyRecord.of(events)


def test_all_children_have_the_same_parameters(record: StudyRecord, config: StudyConfig) -> None:
    parameters = [runs.trial_parameters(config, trial) for trial in record.trials.values()]
    assert all(p.keys() == parameters[0].keys() for p in parameters)
    assert parameters[2]["perturbation.epsilon"] == "0.2"
    assert parameters[2]["training.budget.steps"] == "20"
    assert parameters[2]["training.micro_batch_size"] == "none"
    assert parameters[2]["encoder.trim_vocabulary"] == "true"
    assert parameters[2]["task.target_languages"] == "all"


def test_the_unperturbed_baseline_shows_no_magnitudes(record: StudyRecord, config: StudyConfig) -> None:
    baseline = runs.trial_parameters(config, record.trials[0])
    assert {baseline[path] for path in runs.MAGNITUDES} == {"0"}
    assert apply_point(config.trial, record.trials[0].point).perturbation.epsilon > 0


def test_points_are_the_evaluation_and_its_reductions(record: StudyRecord, config: StudyConfig) -> None:
    report = record.trials[2].reports[1]
    found = list(runs.points(config, report))
    values = {point.key: point.value for point in found}
    expected = report.evaluation.to_metrics()
    for name, value in summary(report.evaluation, config).items():
        expected[f"validation_summary/accuracy.{name}"] = value
    assert values == expected
    assert len(found) == len(values)
    assert values["validation_accuracy/sw"] == pytest.approx(0.45)
    assert {(point.milliseconds, point.step) for point in found} == {(1290000, 20)}


def test_every_metric_is_reduced(config: StudyConfig, events: list[Event]) -> None:
    plain = Evaluation.from_json(events[3]["evaluation"])
    attacked = LanguageScores({k: v / 2 for k, v in plain.primary.values.items()}, plain.primary.counts)
    both = Evaluation(10, "validation", {**plain.scores, "attacked_accuracy": attacked})
    events[3]["evaluation"] = both.to_json()
    values = {p.key: p.value for p in runs.points(config, StudyRecord.of(events).trials[0].reports[0])}
    half = values["validation_summary/accuracy.target_mean"] / 2
    assert values["validation_summary/attacked_accuracy.target_mean"] == pytest.approx(half)


def test_training_and_cost_can_be_left_out(record: StudyRecord, config: StudyConfig) -> None:
    report = record.trials[0].reports[0]
    assert {p.key.split("/")[0] for p in runs.points(config, report, with_costs=False)} == {
        "validation_accuracy",
        "validation_summary",
    }


def test_tags_of_the_study(record: StudyRecord, config: StudyConfig) -> None:
    record.fingerprints = {"data": "f" * 64, "encoder": ["e5", "0.3.0"]}
    tags = runs.study_tags(record, config)
    expected = {
        "mlflow.note.content": "Does it help?",
        "code_version": "1",
        "protocol_hash": "abc",
        "selection_rule": "pivot_validation",
        "task": "intents",
        "encoder": "offline:e5-small",
        "method": "adversarial",
        "fingerprint.data": "f" * 64,
        "fingerprint.encoder": '["e5", "0.3.0"]',
        "test_openings": "0",
    }
    assert expected.items() <= tags.items()
    assert runs.datasets(record, config) == {"intents": "f" * 36}


def test_tags_of_trials(record: StudyRecord, config: StudyConfig) -> None:
    failed = runs.trial_tags(config, record.trials[3])
    assert {"kind": "sampled", "seed": "0", "attempts": "2", "method": "adversarial"}.items() <= failed.items()
    assert "the loss is not finite" in failed["mlflow.note.content"]
    assert runs.trial_tags(config, record.trials[0])["method"] == "none"
    control = record.trials[1]
    control.phase, control.kind, control.control = "confirm", "control", "b"
    assert runs.trial_tags(config, control)["control"] == "b"
    names = [runs.trial_name(trial) for trial in record.trials.values()]
    assert names == ["trial 0 baseline", "trial 1 confirm control b", "trial 2", "trial 3"]


def test_what_the_others_are_compared_with_is_grey(record: StudyRecord, config: StudyConfig) -> None:
    colours = [runs.trial_tags(config, trial)["mlflow.runColor"] for trial in record.trials.values()]
    assert colours[0] == runs.REFERENCE_COLOUR
    assert len(set(colours)) == 4
    control = record.trials[1]
    control.phase, control.kind, control.control = "confirm", "control", "a"
    assert runs.is_reference(control)


def test_long_errors_and_odd_names_fit(record: StudyRecord, config: StudyConfig) -> None:
    record.trials[3].error = "x" * 100_000 + "the end"
    note = runs.trial_tags(config, record.trials[3])["mlflow.note.content"]
    assert len(note) <= runs.MAX_TAG
    assert "the end" in note
    grouped = config.model_copy(
        update={"protocol": config.protocol.model_copy(update={"groups": {"a@b": ("sw", "yo", "te")}})}
    )
    keys = {point.key for point in runs.points(grouped, record.trials[0].reports[0])}
    assert "validation_summary/accuracy.group:a_b" in keys
