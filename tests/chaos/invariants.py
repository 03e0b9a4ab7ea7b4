"""What must hold of a study that came to its end through faults. Each function yields what does not."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from study.execution.trials import Trials
from study.proposals.search import Search
from study.question.config import StudyConfig
from study.record.ledger import Ledger
from study.record.record import StudyRecord
from tests.study.sampled import sampler_trials


def events(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Trials are asked once and finished once, reports are there once, attempts rise, nothing comes after an end.

    A trial that failed and is retried is finished once more, and reports anew if it begins anew.
    """
    retried = [e for e in rows if e["event"] == "retried"]
    anew = {e["trial"]: e["attempt"] for e in retried if e["fresh"]}
    asked = Counter(e["trial"] for e in rows if e["event"] == "asked")
    ended = Counter(e["trial"] for e in rows if e["event"] == "finished")
    ended.subtract(e["trial"] for e in retried)
    reported = Counter(
        (e["trial"], e["step"], e["evaluation"]["split"], e["attempt"] >= anew.get(e["trial"], 0))
        for e in rows
        if e["event"] == "report"
    )
    for what, counts in (("asked", asked), ("finished", ended), ("reported", reported)):
        yield from (f"{key} was {what} {n} times" for key, n in counts.items() if n > 1)
    over: set[int] = set()
    attempts: dict[int, int] = {}
    for e in rows:
        if e["event"] == "retried":
            if e["trial"] not in over or e["attempt"] <= attempts.get(e["trial"], 0):
                yield f"trial {e['trial']}: retried before its end, or as an older attempt"
            over.discard(e["trial"])
        if e["event"] in ("started", "report", "finished"):
            number = e["trial"]
            if number in over:
                yield f"trial {number}: {e['event']} after its end"
            if e["attempt"] < attempts.get(number, 0) or (
                e["event"] == "started" and e["attempt"] in (attempts.get(number), 0)
            ):
                yield f"trial {number}: {e['event']} of attempt {e['attempt']} after {attempts[number]}"
            attempts[number] = e["attempt"]
            over |= {number} if e["event"] == "finished" else set()


def trials(record: StudyRecord, expected: int, steps: Sequence[int]) -> Iterator[str]:
    """Numbers are unique and complete, the budget is met, and whoever is complete has all reports.

    `steps` are those of phase `run`; a trial of `confirm` may be longer, and has its final one.
    """
    numbers = sorted(record.trials)
    if numbers != list(range(expected)):
        yield f"numbers are {numbers}, not 0 to {expected - 1}"
    for trial in record.trials.values():
        reported = sorted({r.step for r in trial.reports})
        if not trial.ended:
            yield f"trial {trial.number} is {trial.state}"
        is_whole = reported == list(steps) if trial.phase == "run" else any(r.evaluation.final for r in trial.reports)
        if trial.state == "COMPLETE" and not is_whole:
            yield f"trial {trial.number} is complete with reports at {reported}"


def redone(starts: Mapping[int, int], trained: Mapping[tuple[int, int], int], interval: int) -> Iterator[str]:
    """At most one checkpoint interval is redone for each time a trial was interrupted.

    `starts`: trial -> executions; `trained`: (trial, step) -> how often; `interval` in those steps.
    """
    for number in {number for number, _ in trained}:
        more = sum(count - 1 for (n, _), count in trained.items() if n == number)
        if more > interval * (starts[number] - 1):
            yield f"trial {number}: {more} steps redone after {starts[number] - 1} interruptions"


def proposer(config: StudyConfig, record: StudyRecord) -> Iterator[str]:
    """The Optuna study that the next driver would have has each sampled trial with its state and parameters, and
    halving its rungs."""
    with tempfile.TemporaryDirectory() as folder, Ledger.open(Path(folder) / "ledger.jsonl") as other:
        rebuilt = Trials(config, other, record)
    for arm in rebuilt._arms:
        if isinstance(arm.proposer, Search):
            mine = [t for t in record.trials.values() if t.phase == "run" and t.kind != "baseline"]
            theirs = sampler_trials(arm.proposer)
            if len(mine) != len(theirs):
                yield f"Optuna has {len(theirs)} trials, the ledger {len(mine)}"
            for trial, frozen in zip(mine, theirs, strict=False):
                sampled = {k: v for k, v in trial.point.items() if k in trial.distributions}
                if (frozen.state.name, frozen.params) != (trial.state, sampled):
                    yield f"trial {trial.number} is {trial.state}, Optuna's {frozen.state.name}"
            stopper = arm.proposer._stopper if config.search.pruner == "successive_halving" else None
            judged = [] if stopper is None else stopper._study.get_trials(deepcopy=False)
            for trial, noted in zip(mine, judged, strict=False):
                if trial.reports and "completed_rung_0" not in noted.system_attrs:
                    yield f"trial {trial.number} has reports, and its pruner does not know what it reached"


def optuna_file(config: StudyConfig, record: StudyRecord, path: Path) -> Iterator[str]:
    """`optuna.db` has every trial of phase `run`, with the mean over the target languages at each report."""
    import optuna

    there = optuna.load_study(study_name=config.name, storage=f"sqlite:///{path}").trials
    mine = [t for t in record.trials.values() if t.phase == "run"]
    if len(there) != len(mine):
        yield f"optuna.db has {len(there)} trials, the ledger {len(mine)}"
    for trial, frozen in zip(mine, there, strict=False):
        values = {}
        for report in trial.reports:
            scores = report.evaluation.primary.values
            targets = [v for k, v in scores.items() if k != config.trial.task.source_language]
            values[report.step] = sum(targets) / len(targets)
        sampled = {k: v for k, v in trial.point.items() if k in trial.distributions}
        close = values.keys() == frozen.intermediate_values.keys() and all(
            math.isclose(value, frozen.intermediate_values[step]) for step, value in values.items()
        )
        ends = frozen.values is not None and math.isclose(frozen.values[0], values[max(values)])
        if (frozen.number, frozen.state.name, frozen.params, close, ends) != (
            trial.number,
            trial.state,
            sampled,
            True,
            True,
        ):
            yield f"trial {trial.number} is another one in optuna.db"


def mlflow_runs(config: StudyConfig, record: StudyRecord, uri: str) -> Iterator[str]:
    """MLflow has one run for each trial with its status, its times and every point, and no other."""
    from study.tracking.runs import STATUS, milliseconds, points
    from tests.study.tracking.conftest import dump

    shown = [run for run in dump(uri, config.name).values() if "study.trial" in run["tags"]]
    runs = {int(run["tags"]["study.trial"]): run for run in shown}
    if sorted(runs) != sorted(record.trials) or len(shown) != len(runs):
        yield f"MLflow has the trials {sorted(runs)}"
    for number, trial in record.trials.items():
        if number not in runs:
            continue
        expected: dict[str, list[tuple[int, int, str]]] = {}
        for report in trial.reports:
            first = next(r for r in trial.reports if r.step == report.step) is report
            for p in points(config, report, with_costs=first):
                expected.setdefault(p.key, []).append((p.step, p.milliseconds, repr(p.value)))
        times = (milliseconds(trial.asked), None if trial.finished is None else milliseconds(trial.finished))
        if runs[number]["points"] != expected:
            yield f"trial {number} has other points in MLflow"
        if (runs[number]["status"], runs[number]["times"]) != (STATUS.get(trial.state), times):
            yield f"trial {number} ends otherwise in MLflow"
