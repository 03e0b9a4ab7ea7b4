"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from trainables.storage.cache import cache_root

# Before torch is imported: as many threads as a worker has, so that results are a worker's, and tests beside one
# another do not wait for each other's threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).resolve().parent.parent

BUILT = ("e5-small-*", "intents-*")
"""Entries of the cache that take half a minute to make, of installed packages alone: the user's own will do."""

CACHE = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """A run of tests has a cache folder of its own, which its workers share, unless the environment names one."""
    if hasattr(config, "workerinput") or "STUDY_CACHE" in os.environ:
        return
    folder = config.stash[CACHE] = Path(tempfile.mkdtemp(prefix="study-tests-cache-"))
    for pattern in BUILT:
        for entry in cache_root().glob(pattern):
            (folder / entry.name).symlink_to(entry)
    os.environ["STUDY_CACHE"] = str(folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    """The folder goes with the run; what it links to stays."""
    folder = config.stash.get(CACHE, None)
    if folder is not None:
        del os.environ["STUDY_CACHE"]
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real task data beside the clone; tests that need it are skipped where it is absent."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real task data at {folder}")
    return folder
