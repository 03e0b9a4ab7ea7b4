"""Put on PYTHONPATH by `tests.chaos.cluster`: workers note every training step they really make in $CHAOS_WORK.

A line is ``began NUMBER STEP TIME`` (a trial is taken up after STEP) or ``trained NUMBER STEP TIME``; rank 0 writes.
"""

from __future__ import annotations

import functools
import os
import sys
import time
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any


class Tracer(MetaPathFinder):
    """Wraps two functions of `trainables.training.loop` once it is imported."""

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != "trainables.training.loop":
            return None
        spec = PathFinder.find_spec(name, path)
        assert spec is not None and spec.loader is not None
        execute = spec.loader.exec_module

        def execute_and_trace(module: ModuleType) -> None:
            execute(module)
            trace(module)

        spec.loader.exec_module = execute_and_trace  # type: ignore[method-assign]
        return spec


def trace(loop: Any) -> None:
    start, train_step = loop.start, loop.train_step

    @functools.wraps(start)
    def traced_start(*arguments: Any, **named: Any) -> Any:
        trial = start(*arguments, **named)
        note("began", trial)
        return trial

    @functools.wraps(train_step)
    def traced_step(trial: Any, *arguments: Any, **named: Any) -> Any:
        done = train_step(trial, *arguments, **named)
        note("trained", trial)
        return done

    loop.start, loop.train_step = traced_start, traced_step


def note(kind: str, trial: Any) -> None:
    if trial.group.rank == 0:
        line = f"{kind} {trial.directory.name} {trial.step} {time.time()}\n"
        descriptor = os.open(os.environ["CHAOS_WORK"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, line.encode())
        os.close(descriptor)


if "CHAOS_WORK" in os.environ:
    sys.meta_path.insert(0, Tracer())
