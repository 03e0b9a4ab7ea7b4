"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from trainables.storage.cache import cache_root
from trainables.storage.scratch import scratch

# Before torch is imported: as many threads as a worker has, so that results are a worker's, and tests beside one
# another do not wait for each other's threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).resolve().parent.parent

BUILT = ("e5-small-*", "intents-*")
"""Entries of the cache that take half a minute to make, of installed packages alone: the user's own will do."""

CACHE = pytest.StashKey[ExitStack]()


def pytest_configure(config: pytest.Config) -> None:
    """A run of tests has a cache folder of its own, which its workers share, unless the environment names one."""
    if hasattr(config, "workerinput") or "STUDY_CACHE" in os.environ:
        return
    opened = config.stash[CACHE] = ExitStack()
    folder = opened.enter_context(scratch("study-tests-cache"))
    for pattern in BUILT:
        for entry in cache_root().glob(pattern):
            (folder / entry.name).symlink_to(entry)
    os.environ["STUDY_CACHE"] = str(folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    """The folder goes with the run; what it links to stays."""
    opened = config.stash.get(CACHE, None)
    if opened is not None:
        del os.environ["STUDY_CACHE"]
        opened.close()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real task data beside the clone; tests that need it are skipped where it is absent."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real task data at {folder}")
    return folder
