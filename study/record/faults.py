"""Whose fault a failed trial was, by what the ledger has of its error: its own, or that of where it ran."""

from __future__ import annotations

import re

RAISED = re.compile(r"^([A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt))(?=:|$)", re.MULTILINE)
"""The line of a traceback that names what was raised; of several the last one ended the trial."""

LOST = ("its workers were lost", "its trial driver failed")
"""How errors begin that no trial raised itself."""

CIRCUMSTANCES = re.compile(
    r"(OutOfMemoryError|MemoryError|AcceleratorError|DistBackendError|OSError|IOError|ConnectionError|TimeoutError"
    r"|Connection\w+Error|BrokenPipeError|PermissionError|FileNotFoundError|BlockingIOError|InterruptedError"
    r"|ImportError|ModuleNotFoundError)$|^ray\."
)
"""Exceptions that are of a machine: its memory, its disk, its network, what is installed."""

MEMORY_OR_DEVICE = re.compile(r"CUDA|can't allocate memory|out of memory", re.IGNORECASE)
"""Words of a plain `RuntimeError` that is of a machine too."""


def own(error: str | None) -> bool:
    """Whether a trial would fail of this again wherever it runs: a bad point, divergence, any other exception.

    Lost workers, exhausted memory, disks and networks are not its own fault. What nobody knows the cause of is.
    """
    text = error or ""
    if text.startswith(LOST):
        return False
    raised = list(RAISED.finditer(text))
    if not raised:
        return True
    name, words = raised[-1][1], text[raised[-1].end() :]
    return not (CIRCUMSTANCES.search(name) or (name == "RuntimeError" and MEMORY_OR_DEVICE.search(words)))


def last_line(text: str) -> str:
    """The line of a traceback that says what happened."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
