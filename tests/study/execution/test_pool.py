"""Whose trial a free slot takes: by priority and order, and no slot idle while a trial could run."""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from study.execution.pool import Standing, following

SLOTS = 64


@dataclass
class Member:
    """Trials of known length, in seconds, of which so many may run at a time."""

    lengths: list[float]
    at_once: int | None = None
    priority: int = 0
    begun: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)

    def standing(self) -> Standing:
        seconds = sum(self.ended) / len(self.ended) if self.ended else None
        left = len(self.lengths) - len(self.begun)
        return Standing(left, len(self.begun) - len(self.ended), seconds, self.priority, self.at_once)


def simulated(members: Sequence[Member], slots: int) -> tuple[float, list[tuple[float, int]]]:
    """Seconds until the last trial has ended, and which member's trial started when."""
    now, running, started = 0.0, list[tuple[float, int, float]](), list[tuple[float, int]]()
    while True:
        while len(running) < slots:
            i = following([m.standing() for m in members])
            if i is None:
                break
            length = members[i].lengths[len(members[i].begun)]
            members[i].begun.append(length)
            started.append((now, i))
            heapq.heappush(running, (now + length, i, length))
        if not running:
            return now, started
        now, i, length = heapq.heappop(running)
        members[i].ended.append(length)


def benchmark(seed: int, chains: Sequence[int]) -> list[Member]:
    """Ten members of unequal length; those at `chains` (places in the order) learn from the trials that ended."""
    draw = random.Random(seed)
    members = []
    for i in range(10):
        count, typical = draw.randrange(60, 700), draw.uniform(20, 200)
        at_once = draw.choice([1, 2, 4, 8]) if i in chains else None
        count = draw.randrange(20, 60) * (at_once or 1) if at_once else count
        members.append(Member([typical * draw.uniform(0.7, 1.3) for _ in range(count)], at_once))
    return members


@pytest.mark.parametrize("chains", [(), (0,), (9,), (4, 9), (1, 5, 8, 9)])
@pytest.mark.parametrize("seed", range(2))
def test_ten_members_leave_no_idle_tail_on_64_slots(seed: int, chains: tuple[int, ...]) -> None:
    members = benchmark(seed, chains)
    total, _ = simulated(members, SLOTS)
    work = sum(sum(m.lengths) for m in members) / SLOTS
    longest = max(sum(m.lengths) / m.at_once if m.at_once else max(m.lengths) for m in members)
    assert total <= 1.05 * max(work, longest)


def test_members_run_in_order_and_the_next_one_s_trials_fill_the_slots_that_are_free() -> None:
    members = [Member([10.0] * 40), Member([10.0] * 40), Member([10.0] * 40)]
    total, started = simulated(members, 16)
    order = [i for _, i in started]
    assert order == sorted(order)
    assert total == pytest.approx(120 * 10 / 16, rel=0.07)
    assert sum(now == 20.0 for now, _ in started) == 16  # eight of the first, eight of the second


def test_a_higher_priority_comes_first_whatever_the_order() -> None:
    members = [Member([10.0] * 30), Member([10.0] * 30, priority=1), Member([10.0] * 30, at_once=1, priority=-1)]
    _, started = simulated(members, 4)
    assert [i for _, i in started][:30] == [1] * 30
    assert max(now for now, i in started if i == 0) <= min(now for now, i in started if i == 2)


def test_no_more_of_a_member_run_at_a_time_than_it_allows() -> None:
    full = Standing(left=5, running=2, at_once=2)
    assert following([full]) is None
    assert following([full, Standing(left=1, running=0)]) == 1
    assert following([Standing(left=0, running=3)]) is None
