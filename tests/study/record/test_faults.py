"""Whose fault a trial's failure was, by the ledger's words for it."""

from __future__ import annotations

import pytest

from study.record.faults import own

TRACEBACK = "Traceback (most recent call last):\n  File …\n"


@pytest.mark.parametrize(
    "error",
    [
        "its workers were lost 3 times, the last time:\nworker 0: ValueError: no\nsegmentation fault",
        "its trial driver failed: attempt 3: The actor died unexpectedly",
        TRACEBACK + "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate\nmore: than there is",
        TRACEBACK + "torch.AcceleratorError: CUDA error: an illegal memory access was encountered\nCompile with …",
        TRACEBACK + "RuntimeError: CUDA error: unspecified launch failure\nCUDA kernel errors might be reported late",
        TRACEBACK + "RuntimeError: [enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory",
        TRACEBACK + "MemoryError",
        TRACEBACK + "OSError: [Errno 110] Connection timed out: 's3://bucket/x'",
        TRACEBACK + "ConnectionResetError: [Errno 104] Connection reset by peer",
        TRACEBACK + "ray.exceptions.RaySystemError: System error",
        TRACEBACK + "ValueError: x\n\nDuring handling of the above exception, …\n\n" + TRACEBACK + "MemoryError: ",
    ],
)
def test_what_a_machine_does_is_no_fault_of_the_trial(error: str) -> None:
    assert not own(error)


@pytest.mark.parametrize(
    "error",
    [
        None,
        "",
        "perturbation.epsilon: must be at least 0 (got -1)",
        "the training loss is not finite at step 20 (got nan)",
        "no objective: metric 'f1' was not evaluated",
        "it ended without a final evaluation",
        TRACEBACK + "trainables.training.step.DivergedError: the training loss is nan at step 20",
        TRACEBACK + "trainables.errors.UserError: task.max_length: must be at most 512",
        TRACEBACK + "RuntimeError: shape '[2, 3]' is invalid for input of size 7",
        TRACEBACK + "MemoryError\n\nDuring handling of the above exception, …\n\n" + TRACEBACK + "KeyError: 'x'",
    ],
)
def test_anything_else_is(error: str | None) -> None:
    assert own(error)
