"""Variables of this process's environment that hold for a while, and are what they were afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager


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
