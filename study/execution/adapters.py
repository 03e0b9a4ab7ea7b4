"""Ray Tune's Searcher and scheduler over `members` and their trials: adapters that hold no logic of their own."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from study.execution.members import Member, Members

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Disposable:
    """What Tune pickles into its own experiment state, and nobody reads back: the ledger has it all."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class TrialSearcher(Disposable, Searcher):
    """Ray's Searcher over `Members`: asks when a slot is free, tells when a Tune trial has ended."""

    def __init__(self, members: Members, concurrent: int) -> None:
        super().__init__(metric=None, mode=None)
        self.members, self.concurrent = members, concurrent
        self.open: dict[str, tuple[Member, int]] = {}
        self.lost: dict[str, str] = {}
        """What the drivers of trials died of, until it is recorded."""
        self.interrupted = False
        self.halted: str | None = None
        """Why nothing can go on, though nothing is wrong with the trials."""
        self.leave: Callable[[], object] = lambda: None
        """Tells all trials to write their checkpoints and leave."""
        self.begun: Callable[[], object] = lambda: None
        """Called when Tune has begun, which takes SIGUSR1 for itself: it would end without any checkpoint."""

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        return True

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        return True  # limited here, so that asking happens when a slot frees

    def suggest(self, trial_id: str) -> Any:
        self.begun()
        if self.interrupted:
            return Searcher.FINISHED
        if len(self.open) >= self.concurrent:
            return None
        asked = self.members.ask()
        if asked is None:
            return None if self.members.remaining else Searcher.FINISHED
        member, proposal = asked
        self.open[trial_id] = member, proposal.number
        confirms = member.trials.phase == "confirm"
        payload: dict[str, Any] = {
            "member": member.name,
            "trial": proposal.trial.model_dump(mode="json"),
            "directory": member.checkpoints.place_of(proposal.number),
            "final_split": member.trials.final_split,
            "predictions": member.checkpoints.predictions_of(proposal.number) if confirms else None,
        }
        if proposal.mean is not None:
            payload |= {"weights": member.checkpoints.mean_of(proposal.mean), "averaged": proposal.averaged}
        return {"number": proposal.number, "attempt": proposal.attempt, "payload": payload}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        pass  # the scheduler hears of it first, and it is enough that one does

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        (member, number), last = self.open.pop(trial_id), result or {}
        if last.get("kind") == "halted":
            self.halted = self.halted or last["error"]
            self.interrupted = True
            self.leave()
        if last.get("kind") in ("interrupted", "halted"):
            member.left(number)
            return
        lost = self.lost.pop(trial_id, "its trial driver failed")
        problem = last.get("error") or lost if error or last.get("kind") == "failed" else None
        if problem is not None:
            whose = f"{member.name}: " if member.name else ""
            # whole, in the log
            logging.getLogger(__name__).warning("%strial %d failed: %s", whose, number, problem)
        member.finish(number, problem)

    def save(self, checkpoint_path: str) -> None:
        pass

    def restore(self, checkpoint_path: str) -> None:
        pass


class TrialVerdicts(Disposable, FIFOScheduler):
    """Ray's scheduler over `Members`: records each report, answers continue or stop."""

    def __init__(self, members: Members, lost: dict[str, str]) -> None:
        super().__init__()
        self.members, self.lost = members, lost

    def on_trial_result(self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]) -> str:
        member = self.members[trial.config["payload"]["member"]]
        number, attempt = trial.config["number"], result["attempt"]
        if result["kind"] == "started":
            member.trials.started(number, attempt)
        elif result["kind"] == "report":
            if member.trials.report(number, attempt, result["evaluation"]) == "stop":
                return str(TrialScheduler.STOP)
        elif result["kind"] == "note":
            logging.getLogger(__name__).warning(result["words"])
            member.hear({"event": "note", "words": result["words"].splitlines()[0]})
        elif result["kind"] == "waiting":
            silent = f"no sign of life for {result['minutes']:.0f} min"
            member.hear({"event": "waiting", "for": f"the workers of trial {number}, {silent}"})
        return str(TrialScheduler.CONTINUE)

    def on_trial_error(self, tune_controller: Any, trial: TuneTrial) -> None:
        if trial.error_file and Path(trial.error_file).exists():
            words = Path(trial.error_file).read_text(encoding="utf-8", errors="replace").rpartition("Failure # ")[2]
            self.lost[trial.trial_id] = f"its trial driver failed: attempt {COLOUR.sub('', words).strip()}"

    def choose_trial_to_run(self, tune_controller: Any) -> TuneTrial | None:
        # The stock one scans all trials at every event.
        return next((t for t in tune_controller.get_live_trials() if t.status == TuneTrial.PENDING), None)
