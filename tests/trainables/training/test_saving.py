"""Checkpoints that are written while training goes on: what is on the disk when an evaluation is known."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainables.team import together
from tests.trainables.training.test_step import BASE, begun
from trainables.config import TrialConfig
from trainables.distributed import Group
from trainables.loading import apply_point
from trainables.scores import Evaluation
from trainables.storage import checkpoint
from trainables.storage.checkpoint import Checkpoint
from trainables.training import loop, step
from trainables.training.loop import fit
from trainables.training.step import DivergedError
from trainables.training.trial import Trial

EVERY_THIRD = apply_point(BASE, {"evaluation.every": 3})
"""Of eight steps."""

LIMIT = 20.0
"""Seconds that a test waits for what should have happened long before."""


def writes(monkeypatch: pytest.MonkeyPatch, first: Callable[[Checkpoint], object]) -> list[str]:
    """Let something happen before each checkpoint is written; the threads that wrote."""
    write, threads = checkpoint.write, []

    def written(directory: Path, state: Checkpoint) -> Path:
        threads.append(threading.current_thread().name)
        first(state)
        return write(directory, state)

    monkeypatch.setattr(checkpoint, "write", written)
    return threads


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


def all_of(state: Checkpoint | None) -> dict[str, Tensor]:
    assert state is not None
    return {**state.weights, **state.optimizer}


def undisturbed(config: TrialConfig, folder: Path) -> dict[int, dict[str, Tensor]]:
    """What every checkpoint has of a trial in which nothing is written beside training."""
    found: dict[int, dict[str, Tensor]] = {}
    trial = begun(config, folder, 4)
    every = config.evaluation.every or trial.steps
    while trial.step < trial.steps:
        step.train_step(trial)
        if trial.step % every == 0:
            state = checkpoint.state(trial.step, trial.model, trial.optimizer, [])
            found[trial.step] = {name: tensor.clone() for name, tensor in all_of(state).items()}
    found[trial.step] = {n: t.clone() for n, t in checkpoint.trainable_weights(trial.model).items()}
    return found


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_training_goes_on_while_the_state_of_its_step_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = undisturbed(EVERY_THIRD, tmp_path / "other")
    trial = begun(EVERY_THIRD, tmp_path / "trial", 4)
    threads = writes(monkeypatch, lambda state: until(lambda: trial.step > state.step or state.step == 8))
    ahead = []
    for evaluation in fit(trial):
        ahead.append(trial.step - evaluation.step)
        found = checkpoint.read(tmp_path / "trial" / str(evaluation.step))
        assert found is not None and found.evaluations == (evaluation,)
        assert_same(all_of(found), expected[evaluation.step])
        assert not [path for path in (tmp_path / "trial").iterdir() if path.name.startswith(".")]
    assert len(ahead) == 3 and all(1 <= each <= 3 for each in ahead[:2]) and ahead[2] == 0
    assert threads == ["checkpoint_0", "checkpoint_0", threading.current_thread().name]


def test_the_next_evaluation_waits_for_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = begun(EVERY_THIRD, tmp_path, 4)
    writes(monkeypatch, lambda state: time.sleep(0.2 * (state.step < 8)))
    assert [(e.step, trial.step) for e in fit(trial)] == [(3, 6), (6, 8), (8, 8)]


def test_a_trial_that_is_killed_while_writing_goes_on_from_what_was_reported(tmp_path: Path) -> None:
    expected = undisturbed(EVERY_THIRD, tmp_path / "other")
    evaluations = fit(begun(EVERY_THIRD, tmp_path / "trial", 4))
    first = next(evaluations)
    again = begun(EVERY_THIRD, tmp_path / "trial", 4)
    assert again.resumed == (first,) and again.step == 3
    assert [e.step for e in fit(again)] == [3, 6, 8]
    assert_same(all_of(checkpoint.latest(tmp_path / "trial")), expected[8])


def test_a_disk_that_takes_no_more_ends_the_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(state: Checkpoint) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "weights")

    writes(monkeypatch, fail)
    heard: list[Evaluation] = []
    with pytest.raises(OSError, match="No space left") as caught:
        heard.extend(fit(begun(EVERY_THIRD, tmp_path, 4)))
    assert (caught.value.errno, caught.value.filename, heard) == (errno.ENOSPC, "weights", [])


def test_a_write_without_end_is_an_error_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr("trainables.training.saving.LIMIT_SECONDS", 0.05)
    writes(monkeypatch, lambda state: over.wait(LIMIT))
    with pytest.raises(OSError, match="takes more than 0 s") as caught:
        list(fit(begun(EVERY_THIRD, tmp_path, 4)))
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, str(tmp_path))
    over.set()


def test_what_keeps_a_checkpoint_has_done_so_before_its_evaluation_is_known(tmp_path: Path) -> None:
    kept: list[list[int]] = []

    def keep() -> None:
        time.sleep(0.05)
        kept.append(checkpoint.steps(tmp_path))

    seen = [list(kept) for _ in fit(begun(EVERY_THIRD, tmp_path, 4), keep=keep)]
    assert seen == [[[3]], [[3], [3, 6]], [[3], [3, 6], [6, 8]]]


def test_an_interrupted_trial_has_kept_all_it_leaves(tmp_path: Path) -> None:
    trial, kept = begun(EVERY_THIRD, tmp_path, 4), list[list[int]]()
    found = list(fit(trial, interrupted=lambda: trial.step == 3, keep=lambda: kept.append(checkpoint.steps(tmp_path))))
    assert [e.step for e in found] == [3] and kept == [[3], [3, 4]]


def test_a_trial_that_diverges_has_told_what_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = begun(EVERY_THIRD, tmp_path, 4)
    writes(monkeypatch, lambda state: until(lambda: trial.step == 4))

    def diverging(trial: Trial) -> tuple[float, bool]:
        loss, stop = step.read(trial)
        return (float("nan") if trial.step == 4 else loss), stop

    monkeypatch.setattr(loop, "read", diverging)
    heard: list[int] = []
    with pytest.raises(DivergedError, match="at step 4"):
        heard.extend(e.step for e in fit(trial))
    assert heard == [3]


def test_who_leaves_a_trial_finds_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes(monkeypatch, lambda state: time.sleep(0.1))
    evaluations = fit(begun(apply_point(EVERY_THIRD, {"training.checkpoint_minutes": 1e-6}), tmp_path, 4))
    next(evaluations)
    evaluations.close()  # type: ignore[attr-defined]
    assert 3 in checkpoint.steps(tmp_path) and not [path for path in tmp_path.iterdir() if path.name[0] == "."]


def test_all_workers_hear_of_a_checkpoint_at_the_same_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = [begun(EVERY_THIRD, tmp_path / str(rank), 4) for rank in range(3)]
    threads = writes(monkeypatch, lambda state: until(lambda: trials[0].step > state.step or state.step == 8))

    def work(group: Group) -> list[tuple[int, int]]:
        trial = trials[group.rank]
        trial.group = group
        return [(e.step, trial.step, group.share(e.step)) for e in fit(trial)]  # type: ignore[misc]

    first, *others = together(3, work)
    assert [each[0] for each in first] == [3, 6, 8] and others == [first, first]
    assert len(threads) == 3 and [trial.directory.exists() for trial in trials] == [True, False, False]


@pytest.mark.parametrize("world", [1, 2])
def test_long_trials_are_kept_between_evaluations(tmp_path: Path, world: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock decides when, on rank 0 alone; what goes on from there is what it would have been."""
    config = apply_point(BASE, {"training.checkpoint_minutes": 1e-6})
    expected = undisturbed(config, tmp_path / "other")
    trials = [begun(config, tmp_path / str(rank), 4) for rank in range(world)]
    written: list[tuple[int, int]] = []
    writes(monkeypatch, lambda state: written.append((state.step, len(state.optimizer))))

    def killed(group: Group) -> None:
        trial = trials[group.rank]
        trial.group = group
        monkeypatch.setattr(loop, "train_step", dying)
        with pytest.raises(KeyboardInterrupt):
            list(fit(trial))

    def dying(trial: Trial, *rest: Any) -> tuple[float, bool]:
        if trial.step == 6:
            raise KeyboardInterrupt
        return step.train_step(trial, *rest)

    together(world, killed)
    # One at a time, and none is waited for: how many there are, the disk decides.
    assert written and all(0 < at < 7 and moments for at, moments in written)
    assert written == sorted(set(written)) and 1 <= len(checkpoint.steps(tmp_path / "0")) <= 2
    monkeypatch.setattr(loop, "train_step", step.train_step)
    if world == 1:
        again = begun(config, tmp_path / "0", 4)
        assert (again.step, again.resumed) == (written[-1][0], ())
        assert [e.step for e in fit(again)] == [8]
        assert_same(all_of(checkpoint.latest(tmp_path / "0")), expected[8])


@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("method", ["adversarial", "sam"])
def test_what_is_said_of_training_is_of_all_steps(tmp_path: Path, method: str, world: int) -> None:
    """Of those before an interruption, too: doses are compared by the norm of a perturbation."""
    point = {"perturbation.method": method, "perturbation.warmup_fraction": 0.5, "perturbation.decay_fraction": 0.5}
    config = apply_point(BASE, point)

    def said(folder: str, stop: int | None = None) -> dict[str, float]:
        # Not by the workers, unless they go on: heads are drawn from the process's generator.
        trials = [begun(config, tmp_path / f"{folder}{rank or ''}", 4) for rank in range(world)]

        def work(group: Group) -> list[Evaluation]:
            trial = trials[group.rank]
            if trials[0].step > 0:
                trial = begun(config, trial.directory, 4, group)
            trial.group = group
            return list(fit(trial, interrupted=lambda: stop is not None and trial.step >= stop - 1))

        first, *_ = together(world, work)
        return {k: v for k, v in first[-1].training.items() if k != "examples_per_second"} if first else {}

    whole = said("whole")
    assert said("halves", stop=6) == {} and checkpoint.steps(tmp_path / "halves") == [6]
    again = said("halves")
    assert again == pytest.approx(whole, rel=1e-9) and len(again) > 2
    assert world > 1 or again == whole


@pytest.mark.parametrize(("every", "minutes", "expected"), [(3, 2.5, [3, 6, 8]), (5, 2.0, [4, 5, 8])])
def test_the_clock_runs_from_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int, minutes: float, expected: list[int]
) -> None:
    written: list[int] = []
    writes(monkeypatch, lambda state: written.append(state.step))
    point = {"training.checkpoint_minutes": minutes, "evaluation.every": every}
    trial = begun(apply_point(BASE, point), tmp_path, 4)
    # A step takes forty seconds, and whether one is due is asked before it ends: workers tell each other with its loss.
    clock = SimpleNamespace(monotonic=lambda: 40.0 * trial.step)
    monkeypatch.setattr("trainables.training.saving.time", clock)
    list(fit(trial))
    assert written == expected
