"""Several things at once: each done once, no more at a time than said, and the first error is the caller's."""

from __future__ import annotations

import threading

import pytest

from study.tracking.together import together


def test_each_is_done_once_and_no_more_than_so_many_at_a_time() -> None:
    done: list[int] = []
    meeting = threading.Barrier(3)

    def work(item: int) -> None:
        if item < 3:
            meeting.wait(30)  # three are at work, or it breaks
        assert threading.active_count() <= before + 2
        done.append(item)

    before = threading.active_count()
    together(work, range(9), threads=3)
    assert sorted(done) == list(range(9))
    assert threading.active_count() == before


@pytest.mark.parametrize("threads", [1, 3])
def test_after_an_error_nothing_is_begun_and_what_was_begun_is_ended(threads: int) -> None:
    begun: list[int] = []
    ended: list[int] = []
    failed = threading.Event()

    def work(item: int) -> None:
        begun.append(item)
        if item == 0:
            failed.set()
            raise OSError("the server is away")
        failed.wait(30)
        ended.append(item)

    with pytest.raises(OSError, match="away"):
        together(work, range(100), threads)
    assert len(begun) < 50
    assert sorted(ended) == sorted(begun)[1:]


def test_who_is_interrupted_wants_no_more() -> None:
    begun: list[int] = []

    def work(item: int) -> None:
        begun.append(item)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        together(work, range(100), threads=1)
    assert begun == [0]
