"""What errors say of a disk that would fail any other trial too: those of numpy and safetensors have no errno."""

from __future__ import annotations

import errno
import os
import re

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
"""Errors that any other trial would meet as well."""

_SHORT = re.compile(r"\d+ requested and \d+ written")
"""numpy's words for a file that took less than it was given."""

_RUST = re.compile(r"\(os error (\d+)\)$")


def number(error: BaseException) -> int | None:
    """The errno that an error has or stands for; None for one that is not of the operating system."""
    if isinstance(error, OSError):
        return errno.ENOSPC if error.errno is None and _SHORT.fullmatch(str(error)) else error.errno
    found = _RUST.search(str(error)) if type(error).__name__ == "SafetensorError" else None
    return int(found[1]) if found is not None else None


def reason(error: BaseException) -> str | None:
    """What the system says of an error that has a `number`."""
    found = number(error)
    return getattr(error, "strerror", None) or (None if found is None else os.strerror(found))
