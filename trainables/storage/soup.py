"""The running mean of the weights of several trials: one model that no score has chosen.

Schmidt, Vulić and Glavaš (arXiv 2310.10532, "accumulative averaging"): weights of runs with different hyperparameters,
in whatever order they end. It lies in a folder as a checkpoint does, whose step is the number of its members; their
numbers are in it, so that none is taken twice. In fp64, one tensor at a time: there are never two models in memory.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import safe_open

from trainables.storage import checkpoint, files, tensors
from trainables.storage.checkpoint import NUMBERING, WEIGHTS

FEWEST = 2
"""Trials whose weights make a mean."""


class DamagedError(Exception):
    """A mean is not the one that it should be."""


def members(directory: Path) -> tuple[int, ...]:
    """Numbers of the trials in the mean, in the order in which they came; empty where there is no whole one."""
    found = _newest(directory)
    return () if found is None else tuple(found[1]["members"])


def add(directory: Path, number: int, trial: Path) -> bool:
    """Take the weights of a trial's newest checkpoint into the mean in `directory`, which is made if need be.

    Whether they are in it now: not where there is no whole checkpoint. A trial that is in it already changes nothing.
    Whoever is killed meanwhile leaves the mean as it was, or as it is to be. Raises `ValueError` for weights that have
    other names or shapes than the mean's, `DamagedError` where there was a mean and no whole one is left, and `OSError`
    where it cannot be written.
    """
    before = _newest(directory)
    if before is None and checkpoint.steps(directory):
        raise DamagedError(f"{directory}: none of its means is whole")
    known = [] if before is None else before[1]["members"]
    if number in known:
        return True
    own = _newest(trial)
    if own is None:
        return False
    step = len(known) + 1
    with files.replaced(directory / str(step)) as aside:
        aside.mkdir()
        written = _joined(None if before is None else before[0], own[0], len(known), aside / WEIGHTS)
        meta = {
            "step": step,
            "evaluations": [],
            "best": None,
            "seconds": (0.0, 0.0),
            "numbering": NUMBERING,
            "kin": own[1]["kin"],
            "members": [*known, number],
            "checksums": {WEIGHTS: written},
        }
        checkpoint.write_meta(aside, meta)
    checkpoint.keep_only(directory, {step})
    return True


def check(directory: Path, numbers: Collection[int]) -> None:
    """Raise `DamagedError` unless the mean in `directory` is of these trials."""
    if sorted(found := members(directory)) != sorted(numbers):
        expected, there = (", ".join(map(str, sorted(each))) or "none" for each in (numbers, found))
        raise DamagedError(f"{directory}: must be the mean of trials {expected} (got {there})")


def _newest(directory: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest whole checkpoint: its folder, and what it says of itself."""
    for step in reversed(checkpoint.steps(directory)):
        folder = directory / str(step)
        try:
            meta = checkpoint.read_meta(folder)
            if tensors.checksum(folder / WEIGHTS) == meta["checksums"][WEIGHTS]:
                return folder, meta
        except (OSError, ValueError, KeyError):
            continue
    return None


def _joined(mean: Path | None, own: Path, count: int, target: Path) -> str:
    """Write the mean of `count` models and one more; its checksum."""
    with safe_open(own / WEIGHTS, "numpy") as new:
        names = list(new.keys())
        shapes = {name: tuple(new.get_slice(name).get_shape()) for name in names}
        entries = {n: tensors.Entry("F64", s, 8 * int(np.prod(s, dtype=np.int64))) for n, s in shapes.items()}
        if mean is None:
            return tensors.write(target, entries, (_numbers(new.get_tensor(name)) for name in names))
        with safe_open(mean / WEIGHTS, "numpy") as old:
            if {name: tuple(old.get_slice(name).get_shape()) for name in old.keys()} != shapes:  # noqa: SIM118
                raise ValueError(f"{own}: its weights have other names or shapes than those in {mean.parent}")

            def content() -> Iterator[memoryview]:
                for name in names:
                    before = old.get_tensor(name)
                    yield _numbers(before + (new.get_tensor(name) - before) / (count + 1))

            return tensors.write(target, entries, content())


def _numbers(values: Any) -> memoryview:
    numbers: npt.NDArray[np.uint8] = np.ascontiguousarray(values, dtype=np.float64).reshape(-1).view(np.uint8)
    return numbers.data
