"""What events add up to: attempts, fences, repeated steps, taken-over drivers."""

from __future__ import annotations

from typing import Any

import pytest

from study.record.record import SCHEMA, StudyRecord, result_of
from trainables.config import TrialConfig
from trainables.errors import UserError
from trainables.loading import apply_point
from trainables.scores import Evaluation, LanguageScores


def event(name: str, time: float = 1.0, **fields: Any) -> dict[str, Any]:
    return {"event": name, "time": time, "epoch": 1, **fields}


def asked(number: int, **fields: Any) -> dict[str, Any]:
    return event("asked", trial=number, phase="run", kind="sampled", control=None, point={"a.b": 1}, **fields)


def report(number: int, attempt: int, step: int, score: float, **fields: Any) -> dict[str, Any]:
    evaluation = Evaluation(step, "validation", {"accuracy": LanguageScores({"en": score}, {"en": 10})})
    return event("report", trial=number, attempt=attempt, step=step, evaluation=evaluation.to_json(), **fields)


def finished(number: int, attempt: int, outcome: str, error: str | None = None, **fields: Any) -> dict[str, Any]:
    return event("finished", trial=number, attempt=attempt, outcome=outcome, error=error, **fields)


def test_a_study_of_a_later_schema_is_not_read() -> None:
    study = event("study", uuid="0", config={"name": "x"}, code_version="9.1", fingerprints={}, protocol_hash="")
    assert StudyRecord.of([study]).schema == 1, "those without a number were written before there was one"
    with pytest.raises(UserError, match=rf"x: its ledger has schema {SCHEMA + 1}.*written by version 9\.1"):
        StudyRecord.of([{**study, "schema": SCHEMA + 1}])


def evaluated(step: int, score: float, final: bool = False, **others: float) -> Evaluation:
    named = {"accuracy": score, **others}
    values = {name: LanguageScores({"en": value}, {"en": 10}) for name, value in named.items()}
    return Evaluation(step, "validation", values, {"loss": 1 / step}, {"forward_equivalents": 3.0 * step}, final)


def test_a_result_is_the_final_evaluation_under_the_step_of_its_checkpoint() -> None:
    last = TrialConfig()
    best = apply_point(last, {"evaluation.checkpoint": "best_source_validation"})
    rising = [evaluated(10, 0.5), evaluated(20, 0.8), evaluated(30, 0.7, final=True)]
    assert result_of(rising, last) is rising[2]
    # The checkpoint of step 20 is loaded at the end and scored again, under attack as well.
    again = [*rising[:2], evaluated(30, 0.8, final=True, attacked_accuracy=0.4)]
    result = result_of(again, best)
    assert result is not None and result.step == 20
    assert (result.scores, result.cost, result.training) == (again[2].scores, again[2].cost, again[2].training)
    assert result_of(rising[:2], best) is None, "without a final evaluation there is no result"


def scores(record: StudyRecord, number: int) -> list[tuple[int, int, float]]:
    return [(r.attempt, r.step, r.evaluation.primary["en"]) for r in record.trials[number].reports]


def test_a_trial_passes_through_its_states() -> None:
    record = StudyRecord()
    states = []
    for e in (
        asked(0, time=1.0),
        event("started", 2.0, trial=0, attempt=1),
        report(0, 1, 10, 0.5, time=3.0),
        finished(0, 1, "COMPLETE", time=4.0),
    ):
        record.apply(e)
        states.append(record.trials[0].state)
    trial = record.trials[0]
    assert states == ["asked", "running", "running", "COMPLETE"]
    assert (trial.asked, trial.started, trial.finished, trial.attempts) == (1.0, 2.0, 4.0, 1)
    assert trial.ended and trial.evaluation() is not None and record.last_time == 4.0


def test_reports_of_an_older_attempt_change_nothing_and_earlier_ones_stay() -> None:
    record = StudyRecord.of(
        [
            asked(0),
            event("started", trial=0, attempt=1),
            report(0, 1, 10, 0.1),
            event("started", trial=0, attempt=2),
            report(0, 1, 20, 0.2),
            report(0, 2, 30, 0.3),
        ]
    )
    assert scores(record, 0) == [(1, 10, 0.1), (2, 30, 0.3)]
    assert record.trials[0].attempts == 2


def test_of_a_repeated_step_the_first_report_of_the_highest_attempt_stands() -> None:
    record = StudyRecord.of(
        [
            asked(0),
            report(0, 1, 10, 0.1),
            report(0, 1, 10, 0.9),
            event("started", trial=0, attempt=2),
            report(0, 2, 10, 0.2),
        ]
    )
    assert scores(record, 0) == [(2, 10, 0.2)]


def test_nothing_happens_to_a_trial_after_its_end() -> None:
    record = StudyRecord.of(
        [
            asked(0),
            event("started", trial=0, attempt=1),
            finished(0, 1, "FAIL", "boom"),
            event("started", trial=0, attempt=2),
            report(0, 2, 10, 0.2),
            finished(0, 2, "COMPLETE"),
        ]
    )
    trial = record.trials[0]
    assert (trial.state, trial.error, trial.attempts, trial.reports) == ("FAIL", "boom", 1, [])


def test_events_of_a_driver_that_was_taken_over_are_ignored() -> None:
    record = StudyRecord.of(
        [
            event("opened", pid=1, host="a", since=1.0),
            asked(0),
            {**event("opened", pid=2, host="b", since=2.0), "epoch": 2},
            asked(1),
            {**asked(2), "epoch": 2},
        ]
    )
    assert list(record.trials) == [0, 2]
    assert record.epoch == 2


def test_test_and_validation_reports_of_one_step_both_count() -> None:
    test = Evaluation(10, "test", {"accuracy": LanguageScores({"en": 0.7}, {"en": 10})}, final=True)
    record = StudyRecord.of(
        [
            asked(0),
            report(0, 1, 10, 0.5),
            event("report", trial=0, attempt=1, step=10, evaluation=test.to_json()),
        ]
    )
    trial = record.trials[0]
    validation = trial.evaluation()
    assert validation is not None and validation.primary["en"] == 0.5
    assert trial.evaluation("test") == test


def test_events_of_a_newer_version_are_skipped() -> None:
    assert list(StudyRecord.of([event("sung", verse=3), asked(0)]).trials) == [0]


def test_the_latest_configuration_counts_and_the_first_identity() -> None:
    def study(uuid: str, name: str) -> dict[str, Any]:
        fields = {"code_version": "1", "fingerprints": {}, "protocol_hash": "h"}
        return event("study", uuid=uuid, config={"name": name}, **fields)

    record = StudyRecord.of([study("a", "x"), study("b", "y")])
    assert (record.uuid, record.config) == ("a", {"name": "y"})


@pytest.mark.parametrize("fresh", [False, True])
def test_a_failure_is_taken_back(fresh: bool) -> None:
    record = StudyRecord.of(
        [
            asked(0),
            event("started", trial=0, attempt=1),
            report(0, 1, 10, 0.1),
            finished(0, 1, "FAIL", "boom"),
            event("retried", trial=0, attempt=2, fresh=fresh),
        ]
    )
    trial = record.trials[0]
    assert (trial.state, trial.attempts, trial.retries) == ("asked", 1, 1)
    assert (trial.error, trial.started, trial.finished) == (None, None, None)
    kept = [] if fresh else [(1, 10, 0.1)]
    for late in (report(0, 1, 20, 0.9), finished(0, 1, "COMPLETE")):
        record.apply(late)
    assert scores(record, 0) == kept and not trial.ended, "what an older attempt says is refused"
    for e in (event("started", trial=0, attempt=2), report(0, 2, 20, 0.2), finished(0, 2, "COMPLETE")):
        record.apply(e)
    assert scores(record, 0) == [*kept, (2, 20, 0.2)] and trial.state == "COMPLETE"


@pytest.mark.parametrize("outcome", ["COMPLETE", "PRUNED"])
def test_no_other_end_is_taken_back(outcome: str) -> None:
    record = StudyRecord.of([asked(0), finished(0, 1, outcome), event("retried", trial=0, attempt=2, fresh=True)])
    assert (record.trials[0].state, record.trials[0].retries) == (outcome, 0)


def test_a_training_signal_is_read_under_its_former_name() -> None:
    """Earlier versions called the achieved relative norm otherwise, in ledgers and in checkpoints."""
    scores = {"accuracy": LanguageScores({"sw": 0.5}, {"sw": 4})}
    now = Evaluation(10, "validation", scores, {"loss": 0.1, "relative_norm": 0.25})
    then = now.to_json() | {"training": {"loss": 0.1, "perturbation_norm_relative": 0.25}}
    assert Evaluation.from_json(then) == Evaluation.from_json(now.to_json()) == now
