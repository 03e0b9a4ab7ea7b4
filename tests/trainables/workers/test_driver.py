"""A concurrency slot without Ray: what its trials report, when it says that workers are silent, and what it starts."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from tests.trainables.workers.conftest import Post
from trainables.scores import Evaluation, LanguageScores
from trainables.workers import driver as module
from trainables.workers.driver import TrialDriver, WorkerGroup
from trainables.workers.worker import serve

pytestmark = pytest.mark.timeout(60)  # a slot that misses what it waits for asks for ever

SCALING: dict[str, Any] = {
    "workers": 2,
    "cpus_per_worker": 3,
    "gpus_per_worker": 0,
    "trials": 7,
    "growth_mb": 99,
    "folder": "/of/the/driver",
    "wait_minutes": 5.0,
    "storage": "/somewhere",
    "meeting": "/where/all/meet",
}


class Group:
    """Stands in for a group of workers, which the test itself plays."""

    started: list[Group]

    def __init__(self, mailbox: Any, slot: str, scaling: dict[str, Any]) -> None:
        self.arguments = (mailbox, slot, scaling)
        self.error: BaseException | None = None
        self.ended = False
        self.left = False
        self.started.append(self)

    def leave(self) -> None:
        self.left = True


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[Group]:
    """The groups that were started, in their order."""
    started: list[Group] = []
    monkeypatch.setattr(Group, "started", started, raising=False)
    monkeypatch.setattr(module, "WorkerGroup", Group)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.02)
    return started


def job(number: int, attempt: int = 1) -> dict[str, Any]:
    return {"number": number, "attempt": attempt, "payload": {"trial": f"the {number}th"}}


@pytest.fixture
def slot(post: Post, groups: list[Group]) -> TrialDriver:
    """As Tune sets it up, less what an actor needs."""
    driver = TrialDriver.__new__(TrialDriver)
    driver.setup(job(4), mailbox=post, scaling=SCALING)
    return driver


def report(step: int) -> dict[str, Any]:
    scores = {"accuracy": LanguageScores({"sw": 0.5}, {"sw": 4})}
    return {"kind": "report", "evaluation": Evaluation(step, "validation", scores)}


def test_a_trial_is_handed_over_and_its_items_come_back_in_order(post: Post, slot: TrialDriver) -> None:
    post.ask("next_job", slot.slot)  # a worker that waits already
    assert slot.step() == {"kind": "started", "attempt": 1, "done": False}
    posting = post.ask("post", slot.slot, 1, report(3))
    result = slot.step()
    assert result == {**report(3), "attempt": 1, "done": False}
    assert not posting.done(), "its worker waits for what Tune decides"
    posting.add_done_callback(lambda _: post.ask("post", slot.slot, 1, {"kind": "done"}))
    assert slot.step() == {"kind": "done", "attempt": 1, "done": True}
    assert posting.result(10) == "continue"


def test_workers_are_given_the_trial_as_it_was_proposed(post: Post, slot: TrialDriver) -> None:
    found = post.ask("next_job", slot.slot)
    slot.step()
    assert found.result(10) == {"number": 4, "attempt": 1, "trial": "the 4th"}


@pytest.mark.parametrize("kind", ["failed", "interrupted", "halted"])
def test_ends_of_a_trial_are_told_to_tune(post: Post, slot: TrialDriver, kind: str) -> None:
    post.ask("next_job", slot.slot)
    slot.step()
    post.ask("post", slot.slot, 1, {"kind": kind, "error": "as it says"})
    assert slot.step() == {"kind": kind, "attempt": 1, "error": "as it says", "done": True}


def test_the_next_trial_stops_the_last_one_and_keeps_its_workers(
    post: Post, slot: TrialDriver, groups: list[Group]
) -> None:
    post.ask("next_job", slot.slot)
    slot.step()
    posting = post.ask("post", slot.slot, 1, report(3))
    assert slot.step()["kind"] == "report"
    assert slot.reset_config(job(5, attempt=2))
    assert posting.result(10) == "stop"
    following = post.ask("next_job", slot.slot)
    assert slot.step() == {"kind": "started", "attempt": 2, "done": False}
    assert following.result(10)["number"] == 5
    assert len(groups) == 1 and groups[0].arguments == (post, slot.slot, SCALING)


def test_workers_that_left_are_replaced_and_those_that_failed_are_told_of(
    post: Post, slot: TrialDriver, groups: list[Group]
) -> None:
    post.ask("next_job", slot.slot)
    slot.step()
    groups[0].ended = True  # as after their number of trials
    post.ask("post", slot.slot, 1, report(1))
    slot.step()
    assert len(groups) == 2
    groups[1].ended, groups[1].error = True, ValueError("no such place")
    with pytest.raises(RuntimeError, match="the worker group ended: no such place"):
        slot.step()
    post.ask("post", slot.slot, 1, {"kind": "done"})
    assert slot.step()["kind"] == "done", "Tune may try again, with workers of its own"
    assert len(groups) == 3


def test_silence_is_told_of_now_and_then_and_at_last_halts_the_study(post: Post, slot: TrialDriver) -> None:
    post.ask("next_job", slot.slot)
    slot.step()

    def silent_for(seconds: float) -> dict[str, Any]:
        post.box.seen[slot.slot] = time.monotonic() - seconds
        return slot.step()

    first = silent_for(130)
    assert first == {"kind": "waiting", "attempt": 1, "minutes": pytest.approx(130 / 60, abs=0.1), "done": False}
    assert silent_for(245)["minutes"] == pytest.approx(245 / 60, abs=0.1)
    # The same two minutes are not told of again: the next that is heard is an item, or the end of patience.
    post.box.seen[slot.slot] = time.monotonic() - 250
    post.loop.call_soon_threadsafe(post.loop.call_later, 0.3, post.box.jobs[slot.slot].items.append, {"kind": "late"})
    assert slot.step()["kind"] == "late"
    assert silent_for(301) == {
        "kind": "halted",
        "attempt": 1,
        "error": "no worker of trial 4 gave a sign of life for 5 min",
        "done": True,
    }


def test_a_sign_of_life_begins_the_silence_anew(post: Post, slot: TrialDriver) -> None:
    post.ask("next_job", slot.slot)
    slot.step()
    for _ in range(2):
        post.box.seen[slot.slot] = time.monotonic() - 130
        assert slot.step()["kind"] == "waiting"
        post.box.seen[slot.slot] = time.monotonic()
        post.loop.call_soon_threadsafe(
            post.loop.call_later, 0.1, post.box.jobs[slot.slot].items.append, {"kind": "report"}
        )
        assert slot.step()["kind"] == "report"


def test_a_lost_mailbox_halts_the_study_and_hinders_no_end(post: Post, slot: TrialDriver, groups: list[Group]) -> None:
    post.ask("next_job", slot.slot)
    slot.step()
    post.lost = ray.exceptions.RayActorError()
    assert slot.step() == {"kind": "halted", "attempt": 1, "error": "the study's mailbox was lost", "done": True}
    assert slot.reset_config(job(5))
    slot.cleanup()
    assert groups[0].left


def test_a_slot_that_is_given_up_lets_its_workers_go(
    post: Post, slot: TrialDriver, groups: list[Group], monkeypatch: pytest.MonkeyPatch
) -> None:
    freed: list[Any] = []
    monkeypatch.setattr("ray.util.remove_placement_group", freed.append)
    post.ask("next_job", slot.slot)
    slot.step()
    post.call("placed", slot.slot, "their place")
    posting = post.ask("post", slot.slot, 1, report(1))
    slot.cleanup()
    assert posting.result(10) == "stop" and post.call("next_job", slot.slot) is None
    assert groups[0].left
    assert freed == ["their place"], "only once they are gone"


def test_nothing_is_saved_or_restored_by_tune(slot: TrialDriver, tmp_path: Path) -> None:
    """A trial's checkpoints are its workers' own."""
    assert slot.save_checkpoint(str(tmp_path)) == {} and not list(tmp_path.iterdir())
    slot.load_checkpoint(None)


@pytest.mark.parametrize(
    ("changes", "resources", "threads"),
    [
        ({}, {"CPU": 3}, 3),
        ({"gpus_per_worker": 0.5, "cpus_per_worker": 0.5}, {"CPU": 0.5, "GPU": 0.5}, 1),
    ],
)
@pytest.mark.parametrize("remote", [False, True])
def test_a_group_is_what_the_study_asks_for(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    changes: dict[str, Any],
    resources: dict[str, float],
    threads: int,
    remote: bool,
) -> None:
    made: list[tuple[Any, dict[str, Any]]] = []

    class Trainer:
        def __init__(self, function: Any, mailbox: Any, slot: str, **options: Any) -> None:
            assert (mailbox, slot) == ("the mailbox", "slot-1")
            made.append((function, options))

        def fit(self) -> None:
            made.append(("fitted", {}))

    monkeypatch.setattr("trainables.workers.trainer.trainer", Trainer)
    storage = tmp_path.as_uri() if remote else str(tmp_path)
    group = WorkerGroup("the mailbox", "slot-1", SCALING | changes | {"storage": storage})
    group.leave()
    assert group.ended and group.error is None
    (function, options), fitted = made
    assert function is serve and fitted == ("fitted", {})
    assert options["train_loop_config"] == {
        "mailbox": "the mailbox", "slot": "slot-1", "folder": "/of/the/driver", "trials": 7, "growth_mb": 99,
        "threads": threads, "gpus": resources.get("GPU", 0), "meeting": "/where/all/meet",
    }  # fmt: skip
    assert (options["gpus"], options["meets"]) == ("GPU" in resources, False)
    scaling, run = options["scaling_config"], SimpleNamespace(**options["run"])
    assert (scaling.num_workers, scaling.use_gpu, scaling.resources_per_worker) == (2, "GPU" in resources, resources)
    assert run.failure_config.max_failures == -1, "the mailbox counts, by trial"
    assert str(run.storage_path) == str(tmp_path) and (run.storage_filesystem is not None) == remote
    assert run.name.startswith("slot-1-")
