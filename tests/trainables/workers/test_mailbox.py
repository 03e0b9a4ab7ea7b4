"""The protocol between trial drivers and workers, with its accidents: plain coroutines, no Ray."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from trainables.workers import mailbox as module
from trainables.workers.mailbox import Mailbox

SLOT = "slot-1"


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, timeout=5))


async def submitted(max_attempts: int = 3) -> Mailbox:
    box = Mailbox(max_attempts)
    await box.submit(SLOT, number=7, first_attempt=1, payload={"trial": "…"})
    return box


def report(step: int) -> dict[str, Any]:
    return {"kind": "report", "evaluation": {"step": step}}


def test_a_report_waits_until_the_driver_asks_for_more() -> None:
    async def scenario() -> None:
        box = await submitted()
        job = await box.next_job(SLOT)
        assert isinstance(job, dict)
        assert (job["number"], job["attempt"]) == (7, 1)
        assert (await box.take(SLOT, 1))["kind"] == "started"
        posting = asyncio.create_task(box.post(SLOT, 1, report(3)))
        assert (await box.take(SLOT, 1))["evaluation"] == {"step": 3}
        await asyncio.sleep(0.01)
        assert not posting.done()
        taking = asyncio.create_task(box.take(SLOT, 1))
        assert await posting == "continue"
        assert await box.post(SLOT, 1, {"kind": "done"}) == "continue"
        assert (await taking)["kind"] == "done"

    run(scenario())


def test_a_report_that_was_there_first_waits_as_long() -> None:
    """The verdict is the driver's, and taking a report is no verdict on it."""

    async def scenario() -> None:
        box = await submitted()
        await box.next_job(SLOT)
        posting = asyncio.create_task(box.post(SLOT, 1, report(3)))
        await asyncio.sleep(0.01)
        for kind in ("started", "report"):
            assert (await box.take(SLOT, 1))["kind"] == kind
            await asyncio.sleep(0.01)
            assert not posting.done()
        assert await box.take(SLOT, 0.01) is None
        assert await posting == "continue"

    run(scenario())


def test_a_note_ends_nothing_and_waits_for_nobody() -> None:
    async def scenario() -> None:
        box = await submitted()
        await box.next_job(SLOT)
        await box.take(SLOT, 1)
        assert await box.post(SLOT, 1, {"kind": "note", "words": "…"}) == "continue"
        assert await box.take(SLOT, 1) == {"kind": "note", "words": "…", "attempt": 1}
        assert await box.post(SLOT, 1, {"kind": "done"}) == "continue"
        assert (await box.take(SLOT, 1))["kind"] == "done"

    run(scenario())


def test_a_stopped_trial_does_not_take_another_step() -> None:
    async def scenario() -> None:
        box = await submitted()
        await box.next_job(SLOT)
        posting = asyncio.create_task(box.post(SLOT, 1, report(3)))
        await asyncio.sleep(0)
        await box.stop(SLOT)
        assert await posting == "stop"

    run(scenario())


def test_a_lost_worker_is_followed_by_the_next_attempt_and_told_to_stop() -> None:
    async def scenario() -> None:
        box = await submitted()
        await box.next_job(SLOT)
        stale = asyncio.create_task(box.post(SLOT, 1, report(3)))
        await asyncio.sleep(0)
        job = await box.next_job(SLOT)
        assert isinstance(job, dict)
        assert job["attempt"] == 2
        assert await box.post(SLOT, 1, report(6)) == "stop"
        kinds = [(await box.take(SLOT, 1)) for _ in range(4)]
        expected = [("started", 1), ("report", 1), ("note", 1), ("started", 2)]
        assert [(k["kind"], k["attempt"]) for k in kinds] == expected
        assert kinds[2]["words"].startswith("trial 7: its workers were lost, and it goes on: of what, nobody said")
        stale.cancel()

    run(scenario())


def test_attempts_are_capped_and_the_cause_is_told(tmp_path: Path) -> None:
    """What Ray says of a worker that died, and the end of its standard error."""
    log = tmp_path / "worker.err"
    log.write_text("x" * 10_000 + "\nFatal Python error: Segmentation fault\n")

    async def scenario() -> None:
        box = await submitted(max_attempts=2)
        await box.next_job(SLOT)
        await box.died(SLOT, "worker 0: the first one")
        await box.next_job(SLOT)
        await box.serving(SLOT, 0, str(log))
        await box.died(SLOT, "worker 0: The actor died unexpectedly")
        assert await box.next_job(SLOT) == "idle"
        items = [await box.take(SLOT, 1) for _ in range(4)]
        assert [item["kind"] for item in items] == ["started", "note", "started", "failed"]
        assert items[1]["words"].endswith("it goes on: worker 0: the first one")
        error = items[-1]["error"]
        assert error.startswith("its workers were lost 2 times, the last time:\nworker 0: The actor died unexpectedly")
        assert error.endswith("Fatal Python error: Segmentation fault") and len(error) < 5000

    run(scenario())


def test_another_slot_continues_the_numbering() -> None:
    async def scenario() -> None:
        box = await submitted()
        await box.next_job(SLOT)
        await box.submit("slot-2", number=7, first_attempt=1, payload={})
        job = await box.next_job("slot-2")
        assert isinstance(job, dict)
        assert job["attempt"] == 2

    run(scenario())


def test_a_resumed_study_starts_at_the_attempt_it_says() -> None:
    async def scenario() -> None:
        box = Mailbox(3)
        await box.submit(SLOT, number=7, first_attempt=4, payload={})
        job = await box.next_job(SLOT)
        assert isinstance(job, dict)
        assert job["attempt"] == 4

    run(scenario())


def test_closing_lets_workers_go_and_idle_ones_answer_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(module, "IDLE_SECONDS", 0.01)
        box = Mailbox(3)
        assert await box.next_job(SLOT) == "idle"
        await box.close(SLOT)
        assert await box.next_job(SLOT) is None

    run(scenario())


def test_silence_is_counted_from_the_last_sign_of_life() -> None:
    async def scenario() -> None:
        box = await submitted()
        await asyncio.sleep(0.3)
        assert 0.3 <= await box.silence(SLOT) < 1.3
        await box.next_job(SLOT)
        assert await box.silence(SLOT) < 0.3
        await asyncio.sleep(0.3)
        assert not await box.interrupted(SLOT, 0.01)
        assert await box.silence(SLOT) < 0.3
        await asyncio.sleep(0.3)
        await box.submit(SLOT, number=8, first_attempt=1, payload={})
        assert await box.silence(SLOT) < 0.3

    run(scenario())


def test_an_interruption_reaches_trials_with_and_without_workers() -> None:
    async def scenario() -> None:
        box = await submitted()
        await box.submit("slot-2", number=8, first_attempt=1, payload={})
        await box.next_job(SLOT)
        waiting = asyncio.create_task(box.interrupted(SLOT, 1))
        await box.interrupt()
        assert await waiting
        assert (await box.take("slot-2", 1))["kind"] == "interrupted"
        assert await box.post(SLOT, 1, {"kind": "interrupted"}) == "continue"
        await box.submit("slot-2", number=9, first_attempt=1, payload={})
        assert (await box.take("slot-2", 1))["kind"] == "interrupted"

    run(scenario())


def test_what_a_slot_held_is_freed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    freed: list[str] = []
    monkeypatch.setattr("ray.util.remove_placement_group", freed.append)

    async def scenario() -> None:
        box = await submitted()
        await box.placed(SLOT, "a group")
        await box.submit("slot-2", number=8, first_attempt=1, payload={})
        assert not freed
        await box.submit("slot-3", number=7, first_attempt=1, payload={})  # its first slot was killed
        assert freed == ["a group"]
        await box.free(SLOT)
        assert freed == ["a group"]

    run(scenario())


def test_trials_of_one_number_that_belong_to_different_members_are_different() -> None:
    async def play() -> None:
        box = Mailbox(max_attempts=2)
        await box.submit(SLOT, number=7, first_attempt=1, payload={"member": "a"})
        await box.next_job(SLOT)
        await box.submit("slot-2", number=7, first_attempt=1, payload={"member": "b"})
        job = await box.next_job("slot-2")
        assert isinstance(job, dict)
        assert (job["member"], job["attempt"]) == ("b", 1)
        assert box.lost == {}
        assert await box.post(SLOT, 1, {"kind": "note", "words": "…"}) == "continue"

    asyncio.run(play())
