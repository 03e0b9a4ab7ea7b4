"""Where studies lie: a folder, or a URI with a working folder of this machine in its place.

The rest of this package sees a folder in either case, and each study in it as a `Place`. That of a URI is in the cache
folder; whoever reads a study there calls `refresh` before, and whoever writes it does so through `opened`, which
mirrors its ledger (`segments`). Checkpoints and predictions are never in it: workers bring them to the store
themselves. The log and MLflow's own file are only there.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from filelock import FileLock

from study.record import ownership, segments
from study.record.ledger import Ledger
from study.record.lines import LEDGER, owner_path
from study.record.ownership import Owner, running_owner
from study.record.place import Place
from trainables.errors import UserError, suggestion
from trainables.storage import files, locks
from trainables.storage.cache import cache_root
from trainables.storage.store import Store, check_uri, endpoint, is_uri

MARK = ".uri"
"""File of a working folder that names the URI in whose place it is."""

QUIET_SECONDS, LOCK_SECONDS = 5.0, 600.0
"""How long one waits for another process of this machine before that is said, and at most."""


def folder(root: Path | str) -> Path:
    """The folder of a root. Raises `UserError` for a URI that no store has, or whose store does not answer."""
    text = str(root)
    if not is_uri(text):
        return Path(root)
    parts = urlsplit(text)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise UserError(f"--root: must be file:///… with an absolute path (got {text})")
        return Path(unquote(parts.path))
    check_uri(text)
    base, mark, options = text.partition("?")
    uri = f"{base.rstrip('/')}{mark}{options}"
    Store(uri).check()
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", base.partition("://")[2].rstrip("/"))[-60:]
    key = blake2b(f"{uri} {endpoint() if parts.scheme == 's3' else None}".encode(), digest_size=6).hexdigest()
    working = cache_root() / "roots" / f"{name}-{key}"
    if _uri(working) != uri:
        working.mkdir(parents=True, exist_ok=True)
        (working / MARK).write_text(uri, encoding="utf-8")
    return working


def _uri(root: Path) -> str | None:
    try:
        return (root / MARK).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None


def store(root: Path) -> Store | None:
    """The store whose working folder this is, or None for a plain folder."""
    uri = _uri(root)
    return Store(uri) if uri is not None else None


def place(root: Path, name: str) -> Place:
    """Where the study `name` under `root` lies, or will."""
    there = store(root)
    return Place(root, name, None if there is None else there / name)


def shown(root: Path) -> str:
    """A root as the user gave it."""
    return _uri(root) or str(root)


def absent(root: Path) -> str:
    """``no such folder in FOLDER`` where a root is not there; nothing where it is, or is a store's."""
    if root.is_dir():
        return ""
    return "no such folder" if root.is_absolute() else f"no such folder in {Path.cwd()}"


def known(root: Path, name: str, names: Sequence[str]) -> str:
    """What to say of a name that nothing under a root has: the near one, or all; or that there is no such root."""
    if words := absent(root):
        return f"; there is {words}, --root names another"
    return suggestion(name, names) or f", known: {', '.join(names) or 'none'}"


def check_writable(root: Path) -> None:
    """Raise `UserError` where a root is in a store that takes nothing."""
    if (there := store(root)) is not None:
        there.check_writable()


def names(root: Path) -> list[str]:
    """Names of the studies under a root that have a ledger here, after `refresh`; sorted."""
    found = (path.parent.name for path in root.glob(f"*/{LEDGER}"))
    return sorted(name for name in found if not name.startswith("."))  # renamed aside, to be removed


def refresh(root: Path, name: str | None = None) -> None:
    """Bring the working folder up to date, for one study or for all. Nothing to do for a plain folder.

    A study that is being written here is left alone: its ledger here is ahead of the store's. Raises `UserError`.
    """
    there = store(root)
    if there is None:
        return
    with store_errors(root):
        # A study that is here alone may have been removed from the store.
        for each in sorted({*there.folders(), *names(root)}) if name is None else [name]:
            study = Place(root, each, there / each)
            with _locked(study):
                if running_owner(owner_path(study.ledger)) is None:
                    _refresh(study)


def is_owned(study: Place) -> bool:
    """Whether a driver anywhere holds a study, as far as can be told from here."""
    if running_owner(owner_path(study.ledger)) is not None:
        return True
    if study.store is None:
        return False
    with store_errors(study.folder):
        return segments.owned(study.store)


def last_owner(study: Place) -> Owner | None:
    """The driver that holds a study, or held it last, wherever it is; takes no lock."""
    if study.store is None:
        return ownership.last_owner(owner_path(study.ledger))
    with store_errors(study.folder):
        return segments.last_owner(study.store)


@contextmanager
def opened(study: Place, take_over: bool, hear: Callable[[Mapping[str, Any]], None]) -> Iterator[Ledger]:
    """Own and write a study's ledger; `hear` is told of every event.

    Under a URI it is mirrored meanwhile, and complete there at the end. Raises `UserError` as `Ledger.open` does, where
    the store does not answer at the start, or does not take the ledger's end, and where a study of that name is still
    being removed from it.
    """
    if study.store is None:
        with Ledger.open(study.ledger, take_over) as ledger:
            ledger.heard = hear
            yield ledger
        return
    with store_errors(study.folder), _locked(study):
        running = running_owner(owner_path(study.ledger))
        if running is not None and not take_over:
            raise UserError(f"{study.folder}: owned by {running.describe()} and running; stop it first")
        if segments.REMOVED in study.store.sizes():
            words = f"the removal of a study was interrupted; study rm {study.name} completes it"
            raise UserError(f"{study.store.uri}: {words}")
        tenure = segments.claim(study.store, take_over)
        try:
            last = _refresh(study)
            ledger = Ledger.open(study.ledger, take_over, tenure.owner.epoch)
        except BaseException:
            with suppress(OSError):
                tenure.release()
            raise
    with (
        ledger,
        segments.mirrored(ledger, tenure, last, lambda words: hear({"event": "note", "words": words})) as mirror,
    ):
        ledger.guard = mirror.guard

        def heard(event: Mapping[str, Any]) -> None:
            mirror.heard(event)
            hear(event)

        ledger.heard = heard
        yield ledger


def settle(study: Place) -> None:
    """Bring what only this machine has of a study to its store: the last events of a driver that could not."""
    if study.store is None:
        return
    with store_errors(study.folder):
        last = segments.last(study.store)
    if study.ledger.stat().st_size > (last.end if last else 0):
        with opened(study, False, lambda event: None):
            pass


def keep(study: Place, file: Path) -> None:
    """Bring a file of a study's folder to its store; a plain folder has it already."""
    if (there := study.stored(file)) is not None:
        with store_errors(file):
            there.upload(file)


def bring(study: Place, file: Path) -> None:
    """Bring a file of a study's folder here from its store, unless it is here."""
    there = None if file.exists() else study.stored(file)
    if there is not None:
        with store_errors(file), files.replaced(file) as aside:
            there.download("", aside)


def _refresh(study: Place) -> segments.Segment | None:
    assert study.store is not None, "a plain folder is up to date"
    sizes = study.store.sizes()
    if segments.REMOVED in sizes:
        sizes = {}
    last = segments.refresh(study.store, study.folder, sizes)
    for file in (study.results, study.manifest):
        size = sizes.get(file.name)
        if size is not None and (not file.exists() or file.stat().st_size != size):
            study.store.download(file.name, file)
    return last


@contextmanager
def _locked(study: Place) -> Iterator[None]:
    """Nobody else of this machine brings this study up to date meanwhile, or begins to write it."""
    lock = FileLock(study.root / f".{study.name}.lock")
    rule = f"another process has brought it up to date for {LOCK_SECONDS:.0f} s; end it, or try again later"
    late = UserError(f"{study.name}: {rule} (got {lock.lock_file})")
    words = f"{study.name}: waiting for another process that brings it up to date"
    say = partial(print, words, file=sys.stderr, flush=True)
    with locks.held(lock, QUIET_SECONDS, say, LOCK_SECONDS, late):
        yield


@contextmanager
def store_errors(there: Path | None = None) -> Iterator[None]:
    """A store's errors, and those of the files `there`, as the user's."""
    try:
        yield
    except OSError as error:
        where, what = error.filename or there, error.strerror or str(error) or type(error).__name__
        raise UserError(what if where is None else f"{where}: {what}") from error
