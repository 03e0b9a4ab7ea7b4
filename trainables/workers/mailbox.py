"""The post box between trial drivers and their workers: jobs one way, items and verdicts the other.

One asynchronous actor per driver process, which owns it. A job is state, not a queue entry, so a killed
worker loses nothing: whoever serves the slot next picks the same job up as its next attempt. It outlives the slots, so
it is also what knows the place of their workers and frees it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Item = dict[str, Any]
"""What a worker posts: {"kind": "started" | "report" | "note" | "done" | "interrupted" | "failed" | "halted", …}.

A "note" has words for the study's user. "failed" is the trial's own fault; "halted" is not, and nothing else would
fare better: the study is to stop.
"""

Verdict = Literal["continue", "stop"]

IDLE_SECONDS = 60.0
"""Longest wait for a job in one call: other ranks wait in a collective meanwhile, which has a time-out."""


MEETING_SECONDS = 600.0
"""Longest wait of a worker for the others of its trial to start."""


@dataclass
class Job:
    """One trial handed to one slot."""

    number: int
    payload: dict[str, Any]
    attempt: int
    """Of the worker that serves it now; 0 before the first."""
    items: deque[Item] = field(default_factory=deque)
    waiting: int = 0
    """Reports posted and not yet answered."""
    picked_up: bool = False
    ended: bool = False
    stopped: bool = False

    @property
    def key(self) -> tuple[str, int]:
        """By what it is told from the trials of other studies that share the mailbox: its member of a suite, number."""
        return self.payload.get("member", ""), self.number


class Mailbox:
    """See the module. All methods are coroutines; every wait is bounded."""

    def __init__(self, max_attempts: int) -> None:
        self.max_attempts = max_attempts
        self.jobs: dict[str, Job] = {}
        self.lost: dict[tuple[str, int], int] = {}
        self.closed: set[str] = set()
        self.places: dict[str, Any] = {}
        """Slot -> placement group of its workers."""
        self.stderr: dict[str, dict[int, str]] = {}
        """Slot -> rank -> file to which the worker's standard error goes."""
        self.causes: dict[str, str] = {}
        """Slot -> what its workers died of last."""
        self.seen: dict[str, float] = {}
        """Slot -> when its rank 0 was last known to live, or else when its present job was submitted (monotonic)."""
        self.arrived: dict[str, set[int]] = {}
        """Slot -> ranks of its workers that wait for the others to meet."""
        self.meetings: dict[str, int] = {}
        """Slot -> how often its workers have met."""
        self.interrupting = False
        self.changed = asyncio.Condition()

    async def submit(self, slot: str, number: int, first_attempt: int, payload: dict[str, Any]) -> None:
        """Give a slot its next trial. Attempts are numbered on from `first_attempt`, over all slots it has been in."""
        async with self.changed:
            new = Job(number, payload, first_attempt - 1)
            earlier = {each: job for each, job in self.jobs.items() if job.key == new.key}
            new.attempt = max([new.attempt, *(job.attempt for job in earlier.values())])
            for each in earlier:
                if each != slot:
                    await self.free(each)  # nobody of a killed trial driver's does it
            self.jobs[slot] = new
            self.seen[slot] = time.monotonic()
            if earlier:
                self._count_loss(new)
            if self.interrupting:
                self._leave(new)
            self.changed.notify_all()

    async def next_job(self, slot: str) -> dict[str, Any] | Literal["idle"] | None:
        """The slot's job for rank 0 of its workers, as the next attempt; None: leave; "idle": ask again."""
        self.seen[slot] = time.monotonic()
        async with self.changed:
            try:
                await asyncio.wait_for(
                    self.changed.wait_for(lambda: slot in self.closed or self._open(slot) is not None), IDLE_SECONDS
                )
            except TimeoutError:
                return "idle"
            job = self._open(slot)
            if slot in self.closed or job is None:
                return None
            if job.picked_up:
                self._count_loss(job)
                if self.interrupting and not job.ended:
                    self._leave(job)
                if job.ended:
                    self.changed.notify_all()
                    return "idle"
            job.picked_up = True
            job.attempt += 1
            job.waiting = 0
            job.items.append({"kind": "started", "attempt": job.attempt})
            self.changed.notify_all()
            return {"number": job.number, "attempt": job.attempt, **job.payload}

    def _open(self, slot: str) -> Job | None:
        job = self.jobs.get(slot)
        return None if job is None or job.ended or job.stopped else job

    def _count_loss(self, job: Job) -> None:
        """A job is picked up again: its workers, or its slot, were lost. Beyond the cap the trial fails."""
        self.lost[job.key] = self.lost.get(job.key, 0) + 1
        slot = next((each for each, its in self.jobs.items() if its is job), "")
        cause = self.causes.pop(slot, "of what, nobody said")
        if self.lost[job.key] >= self.max_attempts:
            job.ended = True
            error = f"its workers were lost {self.lost[job.key]} times, the last time:\n{cause}"
            job.items.append({"kind": "failed", "attempt": job.attempt, "error": error})
        else:
            words = f"trial {job.number}: its workers were lost, and it goes on: {cause}"
            job.items.append({"kind": "note", "attempt": job.attempt, "words": words})

    def _leave(self, job: Job) -> None:
        """End a job that no worker serves, as interrupted."""
        job.ended = True
        job.items.append({"kind": "interrupted", "attempt": job.attempt})

    async def post(self, slot: str, attempt: int, item: Item) -> Verdict:
        """A worker's item; a report waits for its verdict. An attempt that is no longer the job's is told to stop."""
        async with self.changed:
            job = self._open(slot)
            if job is None or job.attempt != attempt:
                return "stop"
            job.items.append({**item, "attempt": attempt})
            job.ended = item["kind"] not in ("report", "note")
            self.changed.notify_all()
            if item["kind"] != "report":
                return "continue"
            job.waiting += 1
            await self.changed.wait_for(lambda: job.waiting == 0 or job.stopped or self.jobs[slot] is not job)
            return "stop" if job.stopped or self.jobs[slot] is not job else "continue"

    async def take(self, slot: str, timeout: float) -> Item | None:
        """The slot's next item. Asking for it says "continue" to the report taken before; None after the time-out."""
        async with self.changed:
            job = self.jobs[slot]
            if not job.items and job.waiting:
                job.waiting = 0
                self.changed.notify_all()
            try:
                await asyncio.wait_for(self.changed.wait_for(lambda: bool(job.items)), timeout)
            except TimeoutError:
                return None
            return job.items.popleft()

    async def stop(self, slot: str) -> None:
        """The slot's trial is over: a report that waits is answered with "stop"."""
        async with self.changed:
            if slot in self.jobs:
                self.jobs[slot].stopped = True
                self.changed.notify_all()

    async def close(self, slot: str) -> None:
        """No more jobs for this slot: its workers leave."""
        await self.stop(slot)
        async with self.changed:
            self.closed.add(slot)
            self.changed.notify_all()

    async def serving(self, slot: str, rank: int, stderr: str) -> None:
        """A worker of the slot is there, and its standard error goes to this file of its machine."""
        self.stderr.setdefault(slot, {})[rank] = stderr

    async def meet(self, slot: str, rank: int, world: int) -> str:
        """A name for a meeting of the slot's workers, the same for all, once all of them have asked; never used before.

        Raises `TimeoutError` where one does not come.
        """
        async with self.changed:
            before, arrived = self.meetings.get(slot, 0), self.arrived.setdefault(slot, set())
            arrived.add(rank)
            if len(arrived) == world:
                self.meetings[slot] = before + 1
                self.arrived[slot] = set()
                self.changed.notify_all()
            await asyncio.wait_for(self.changed.wait_for(lambda: self.meetings.get(slot, 0) > before), MEETING_SECONDS)
            return f"{slot}-{before + 1}"

    async def died(self, slot: str, cause: str) -> None:
        """What a worker of the slot died of; with it the last lines of their standard errors, which say more."""
        self.arrived.pop(slot, None)  # those that come in their place meet each other
        last = (_last_lines(Path(file)) for _, file in sorted(self.stderr.pop(slot, {}).items()))
        self.causes[slot] = "\n".join([cause, *(text for text in last if text)])

    async def placed(self, slot: str, placement_group: Any) -> None:
        """Where the slot's workers are."""
        self.places[slot] = placement_group

    async def free(self, slot: str) -> None:
        """Give back what the slot's workers held: Ray keeps it for a controller that was killed."""
        if (placement_group := self.places.pop(slot, None)) is not None:
            from ray.util import remove_placement_group

            remove_placement_group(placement_group)

    async def interrupt(self) -> None:
        """All trials are to be checkpointed and left."""
        async with self.changed:
            self.interrupting = True
            for job in self.jobs.values():
                if not (job.picked_up or job.ended):
                    self._leave(job)
            self.changed.notify_all()

    async def silence(self, slot: str) -> float:
        """Seconds without a sign of life from the slot's rank 0, which gives one a minute."""
        return time.monotonic() - self.seen[slot]

    async def interrupted(self, slot: str, timeout: float) -> bool:
        """Whether `interrupt` was called, waiting for it up to `timeout` seconds; a sign of life of the slot."""
        self.seen[slot] = time.monotonic()
        async with self.changed:
            try:
                await asyncio.wait_for(self.changed.wait_for(lambda: self.interrupting), timeout)
            except TimeoutError:
                return False
            return True


def _last_lines(file: Path, most: int = 4000) -> str:
    """The end of a log, if it is of this machine."""
    try:
        with file.open("rb") as log:
            log.seek(max(0, file.stat().st_size - most))
            return log.read().decode("utf-8", "replace").strip()
    except OSError:
        return ""
