"""What this process was started in: variables that hold for a while and are then what they were, and its output."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def write_anywhere() -> None:
    """An output that is ASCII or Latin-1 shows question marks for what it lacks: nothing ends in an error of that."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def past_proxies() -> dict[str, str]:
    """Variables by which nobody asks a proxy for what is on this machine; whatever else goes past one still does."""
    given = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    names = dict.fromkeys([*(name.strip() for name in given.split(",") if name.strip()), *LOOPBACK])
    return dict.fromkeys(("no_proxy", "NO_PROXY"), ",".join(names))


@contextmanager
def environment(variables: Mapping[str, str], also: Iterable[str] = ()) -> Iterator[None]:
    """Set some variables, for this process and those that it starts meanwhile; restored at the end.

    So are those named by `also`, which whatever runs meanwhile may set.
    """
    before = {name: os.environ.get(name) for name in (*variables, *also)}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
