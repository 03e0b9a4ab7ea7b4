"""Ray Tune's Searcher and scheduler over `trials.py`: adapters that hold no logic of their own."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from study.execution.checkpoints import Checkpoints
from study.execution.trials import Trials
from study.proposals import ranking

Listener = Callable[[Mapping[str, Any]], None]
"""Hears every ledger event as it is appended, and transient notices ({"event": "waiting", "for": "…"},
{"event": "note", "words": "…"})."""

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Disposable:
    """What Tune pickles into its own experiment state, and nobody reads back: the ledger has it all."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class TrialSearcher(Disposable, Searcher):
    """Ray's Searcher over `Trials`: asks when a slot is free, tells when a Tune trial has ended."""

    def __init__(self, trials: Trials, checkpoints: Checkpoints, concurrent: int) -> None:
        super().__init__(metric=None, mode=None)
        self.trials, self.checkpoints, self.concurrent = trials, checkpoints, concurrent
        self.open: dict[str, int] = {}
        self.competing: set[int] = set()
        """Trials that may be chosen."""
        self.lost: dict[str, str] = {}
        """What the drivers of trials died of, until it is recorded."""
        self.interrupted = False
        self.halted: str | None = None
        """Why the study cannot go on, though nothing is wrong with its trials."""
        self.leave: Callable[[], object] = lambda: None
        """Tells all trials to write their checkpoints and leave."""

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        return True

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        return True  # limited here, so that asking happens when a slot frees

    def suggest(self, trial_id: str) -> Any:
        if self.interrupted:
            return Searcher.FINISHED
        if len(self.open) >= self.concurrent:
            return None
        proposal = self.trials.ask()
        if proposal is None:
            return Searcher.FINISHED
        self.open[trial_id] = proposal.number
        if ranking.competes(proposal.phase, proposal.kind, proposal.control):
            self.competing.add(proposal.number)
        payload = {
            "trial": proposal.trial.model_dump(mode="json"),
            "directory": self.checkpoints.place_of(proposal.number),
            "final_split": self.trials.final_split,
            "predictions": self.checkpoints.predictions_of(proposal.number) if self.trials.phase == "confirm" else None,
        }
        if proposal.mean is not None:
            payload["weights"] = self.checkpoints.mean_of(proposal.mean)
        return {"number": proposal.number, "attempt": proposal.attempt, "payload": payload}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        pass  # the scheduler hears of it first, and it is enough that one does

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        number, last = self.open.pop(trial_id), result or {}
        if last.get("kind") == "halted":
            self.halted = self.halted or last["error"]
            self.interrupted = True
            self.leave()
        if last.get("kind") in ("interrupted", "halted"):
            return
        lost = self.lost.pop(trial_id, "its trial driver failed")
        problem = last.get("error") or lost if error or last.get("kind") == "failed" else None
        if problem is not None:
            logging.getLogger(__name__).warning("trial %d failed: %s", number, problem)  # whole, in the study's log
        outcome = self.trials.finish(number, error=problem)
        self.checkpoints.finished(number, outcome, number in self.competing, problem, self.trials.phase)

    def save(self, checkpoint_path: str) -> None:
        pass

    def restore(self, checkpoint_path: str) -> None:
        pass


class TrialVerdicts(Disposable, FIFOScheduler):
    """Ray's scheduler over `Trials`: records each report, answers continue or stop."""

    def __init__(self, trials: Trials, lost: dict[str, str], hear: Listener) -> None:
        super().__init__()
        self.trials, self.lost, self.hear = trials, lost, hear

    def on_trial_result(self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]) -> str:
        number, attempt = trial.config["number"], result["attempt"]
        if result["kind"] == "started":
            self.trials.started(number, attempt)
        elif result["kind"] == "report":
            if self.trials.report(number, attempt, result["evaluation"]) == "stop":
                return str(TrialScheduler.STOP)
        elif result["kind"] == "note":
            logging.getLogger(__name__).warning(result["words"])
            self.hear({"event": "note", "words": result["words"].splitlines()[0]})
        elif result["kind"] == "waiting":
            silent = f"no sign of life for {result['minutes']:.0f} min"
            self.hear({"event": "waiting", "for": f"the workers of trial {number}, {silent}"})
        return str(TrialScheduler.CONTINUE)

    def on_trial_error(self, tune_controller: Any, trial: TuneTrial) -> None:
        if trial.error_file and Path(trial.error_file).exists():
            words = Path(trial.error_file).read_text(encoding="utf-8", errors="replace").rpartition("Failure # ")[2]
            self.lost[trial.trial_id] = f"its trial driver failed: attempt {COLOUR.sub('', words).strip()}"

    def choose_trial_to_run(self, tune_controller: Any) -> TuneTrial | None:
        # The stock one scans all trials at every event.
        return next((t for t in tune_controller.get_live_trials() if t.status == TuneTrial.PENDING), None)
