"""Whether a run that is there already holds nothing that the ledger does not have."""

from __future__ import annotations

from typing import Any

from study.record.record import TrialRecord
from study.tracking.replicates import COUNT, Replicates
from study.tracking.runs import STATUS, milliseconds
from study.tracking.store import Store
from trainables.scores import Split, parse_score_key


def of_trial(store: Store, trial: TrialRecord, run: Any) -> bool:
    """Whether MLflow's `run` agrees with a trial. One that has ended is complete: its end is written last."""
    if run.info.start_time != milliseconds(trial.asked):
        return False
    if run.info.status in STATUS.values():
        if not trial.ended or trial.finished is None:
            return False
        return (run.info.status, run.info.end_time) == (STATUS[trial.state], milliseconds(trial.finished))
    there = {(r.split, r.step, milliseconds(r.time)) for r in trial.reports}
    seen: set[Split] = set()
    for key in run.data.metrics:
        parsed = parse_score_key(key)
        if parsed is not None and parsed[0] not in seen:
            seen.add(parsed[0])
            history = store.client.get_metric_history(run.info.run_id, key)
            if any((parsed[0], point.step, point.timestamp) not in there for point in history):
                return False
    return True


def of_replicates(store: Store, of: Replicates, run: Any) -> bool:
    """Whether MLflow's `run` agrees with replicates, as far as they have ended."""
    if run.info.start_time != milliseconds(of.first.asked):
        return False
    there = {(step, milliseconds(seconds)) for step, (seconds, _) in enumerate(of.results, start=1)}
    history = store.client.get_metric_history(run.info.run_id, COUNT) if run.data.metrics else []
    return all((point.step, point.timestamp) in there for point in history)
