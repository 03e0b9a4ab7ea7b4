"""Removing a study, or its checkpoints: whoever is interrupted in it leaves a whole study, or none.

On a disk the folder is renamed aside before anything in it is deleted. A store has no rename: there an object,
`REMOVED`, comes first, and a study that has it is none to readers and refused to drivers; it goes last. What an
interrupted removal left is deleted by the next one.
"""

from __future__ import annotations

import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from study.record import ownership, place, roots, segments
from study.record.lines import owner_path
from study.record.place import Place
from study.record.segments import REMOVED
from trainables.errors import UserError
from trainables.storage.checkpoint import META
from trainables.storage.store import Store

KINDS = {
    "owners": "ledger",
    place.CHECKPOINTS: "checkpoints",
    place.PREDICTIONS: "predictions",
    place.RESULTS: "results of the confirmation",
    place.REPORT: "report",
    place.OPTUNA: "optuna.db",
    place.LOG: "log",
    place.MANIFEST: "manifest",
}
"""First part of a file's name in a study's folder -> what it is; the ledger's files begin so."""


def contents(study: Place) -> dict[str, dict[str, int]]:
    """Folder or URI -> kind -> bytes of what a study holds: in its folder, in what earlier removals left, in the store.

    Raises `UserError` where the store does not answer.
    """
    found = {}
    for folder in (study.folder, *_leftovers(study.folder)):
        files = [path for path in folder.rglob("*") if path.is_file()]
        found[str(folder)] = _by_kind({str(path.relative_to(folder)): path.lstat().st_size for path in files})
    if study.store is not None:
        with roots.store_errors(study.folder):
            found[study.store.uri] = _by_kind(study.store.sizes())
    return {where: kinds for where, kinds in found.items() if kinds}


def _by_kind(sizes: Mapping[str, int]) -> dict[str, int]:
    counted: Counter[str] = Counter()
    for name, size in sizes.items():
        first = name.partition("/")[0].removeprefix(".").partition(".removed-")[0]
        counted["ledger" if first.startswith("ledger") else KINDS.get(first, "other files")] += size
    return dict(counted)


def is_pending(study: Place) -> bool:
    """Whether an earlier removal of this study was interrupted, and has left something to delete."""
    with roots.store_errors(study.folder):
        return bool(_leftovers(study.folder)) or (study.store is not None and REMOVED in study.store.sizes())


def remove(study: Place, take_over: bool = False, first: Callable[[], object] = lambda: None) -> None:
    """Remove a study for good, and what earlier removals of it have left. Raises `UserError` where it is owned.

    `first` is called once no driver can take the study, before anything is removed.
    """
    with roots.store_errors(study.folder), _held(study, take_over):
        first()
        if study.store is not None:
            study.store.write(REMOVED, b"")
        if study.folder.exists():
            study.folder.rename(_aside(study.folder))
        if study.store is not None:
            _clear(study.store)
    _delete(study.folder)


def remove_checkpoints(study: Place, take_over: bool = False) -> None:
    """Remove a study's checkpoints and nothing else. Raises `UserError` where it is owned."""
    folder = study.checkpoints
    with roots.store_errors(study.folder), _held(study, take_over):
        if folder.exists():
            folder.rename(_aside(folder))
        if (store := study.stored(folder)) is not None:
            for object_name in store.sizes():
                if object_name.endswith(f"/{META}"):  # one without it does not count
                    store.remove(object_name)
            store.remove_all()
        _delete(folder)


@contextmanager
def _held(study: Place, take_over: bool) -> Iterator[None]:
    """Own a study, on this machine and in its store, so that no driver takes it meanwhile."""
    claim = tenure = None
    try:
        if study.store is not None:
            tenure = segments.claim(study.store, take_over)
        if study.folder.exists():
            claim = ownership.claim(owner_path(study.ledger), take_over)
        yield
    finally:
        if claim is not None:
            claim.release()
        if tenure is not None:
            with suppress(OSError):
                (tenure.release if tenure.store.sizes("owners") else tenure.abandon)()


def _clear(store: Store) -> None:
    """Delete all that a study has in a store, the mark that it is none last."""
    for folder in store.folders():
        (store / folder).remove_all()
    for name in store.sizes():
        if name != REMOVED:
            store.remove(name)
    store.remove(REMOVED)
    store.remove_all()


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.removed-{uuid.uuid4().hex[:8]}")


def _leftovers(folder: Path) -> list[Path]:
    return sorted(folder.parent.glob(f".{folder.name}.removed-*"))


def _delete(folder: Path) -> None:
    """Delete what of a folder was renamed aside."""
    for path in _leftovers(folder):
        try:
            shutil.rmtree(path)
        except OSError as error:
            raise UserError(f"{path}: cannot be deleted, {error.strerror}") from error
