"""A thread beside its owner: it starts, is woken, ends in time, and nothing that happens in it is lost."""

from __future__ import annotations

import threading
import time

import pytest

from trainables.background import Background


def test_it_runs_under_its_name_until_its_owner_leaves() -> None:
    names: list[str] = []

    def work(thread: Background) -> None:
        while thread.wait(0.01):
            names.append(threading.current_thread().name)

    with Background("looker", work) as thread:
        while not names:
            time.sleep(0.01)
        assert not thread.ended
    assert thread.ended and set(names) == {"looker"}


def test_its_waits_end_when_it_is_woken_or_stopped_and_else_in_time() -> None:
    answers: list[bool] = []
    begun = time.monotonic()
    with Background("waiter", lambda thread: answers.extend(thread.wait(s) for s in (0.01, 300, 300, 300))) as thread:
        while not answers:
            time.sleep(0.01)
        thread.wake()
        while len(answers) < 2:
            time.sleep(0.01)
    assert answers == [True, True, False, False] and thread.ended
    assert time.monotonic() - begun < 60


def test_its_error_is_its_owners() -> None:
    def work(thread: Background) -> None:
        thread.wait(300)
        raise ValueError("a fault of ours")

    def owner() -> None:
        with Background("faulty", work) as thread:
            thread.check()  # as yet there is nothing

    with pytest.raises(ValueError, match="a fault of ours"):
        owner()


def test_its_owner_can_look_for_an_error_before_the_end() -> None:
    thread = Background("faulty", lambda thread: 1 / 0)
    assert thread.stop(60)
    with pytest.raises(ZeroDivisionError):
        thread.check()


def test_it_hides_no_error_of_its_owner() -> None:
    def owner() -> None:
        with Background("faulty", lambda thread: 1 / 0):
            raise KeyError("the owner's own")

    with pytest.raises(KeyError) as raised:
        owner()
    assert raised.value.__notes__ == ["thread faulty: ended of ZeroDivisionError('division by zero')"]


def test_one_that_hangs_is_named_and_left_behind(capsys: pytest.CaptureFixture[str]) -> None:
    released = threading.Event()
    begun = time.monotonic()
    with Background("stuck", lambda thread: released.wait(60), seconds=0.1) as thread:
        pass
    assert time.monotonic() - begun < 30 and not thread.ended
    assert capsys.readouterr().err == "thread stuck: has not ended within 0.1 s, and is left behind\n"
    released.set()
    assert thread.stop(60)
