"""A ledger mirrored in an object store, which has no append, no rename and no lock.

The ledger itself lies on the driver's disk. In the study's folder of the store there are

=================================== ===================================================================================
owners/OWNER.json                   one for each driver that ever took the study (`ownership.Owner`); rewritten
                                    once, by itself, when it gives the study up
ledger/OFFSET-OWNER-AFTER.jsonl     a segment: bytes of the ledger from OFFSET on, whole lines, written by OWNER, that
                                    follow those which AFTER wrote. Immutable: who tries again, writes the same again
=================================== ===================================================================================

OWNER and AFTER are EPOCH-TOKEN: EPOCH counts ownerships, TOKEN is random, so that two drivers which take the study at
the same moment differ. **The owner** is the greatest of owners/; every other driver stops at its next look, which it
takes before each segment.

**Which segments count**: the last segment of the greatest OWNER that has any, the one that it follows (of AFTER, and
ending at OFFSET), the one that this follows, and so on back to offset 0. Joined, they are the ledger. So what a driver
uploads after it was taken over is never part of it, whenever it arrives. A segment has whole lines only: none is torn.
"""

from __future__ import annotations

import json
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from study.record.ledger import Ledger
from study.record.lines import LEDGER
from study.record.ownership import Owner, lives, parse, this_process
from trainables.background import Background
from trainables.errors import UserError
from trainables.storage import files
from trainables.storage.store import Store

SECONDS = 30.0
"""Longest time that an event is on the driver's disk alone, while the store answers."""

AT_ONCE = ("study", "finished", "stopped", "test_opened")
"""Events that do not wait for it."""

PATIENCE_SECONDS = 60.0
"""Time that the store has, at a driver's end, to take what is left."""

UPLOAD_SECONDS = 120.0
"""Time that an upload has to end which is under way then: a request is repeated a few times."""

LARGEST = 32 << 20
"""Bytes of a segment, unless a single line is longer."""

REMOVED = "REMOVED"
"""Object of a study that is being removed: whatever else is there still, it is no study."""

OWNER = re.compile(r"(\d{6}-[0-9a-f]{8})\.json")
SEGMENT = re.compile(r"ledger/(\d{15})-(\d{6}-[0-9a-f]{8})-(\d{6}-[0-9a-f]{8})\.jsonl")


@dataclass(frozen=True)
class Segment:
    """Bytes [offset, end) of a ledger."""

    owner: str
    after: str
    """Owner of the segment that ends at `offset`; where that is 0, our own."""
    offset: int
    end: int

    @property
    def name(self) -> str:
        """Of its object, in the study's folder."""
        return f"ledger/{self.offset:015d}-{self.owner}-{self.after}.jsonl"


def chain(sizes: Mapping[str, int]) -> list[Segment]:
    """The segments that count (see the module), in order, out of all objects of a study and their sizes.

    Raises `UserError` where one is missing.
    """
    found: dict[tuple[str, int], Segment] = {}
    for name, size in sizes.items():
        if (match := SEGMENT.fullmatch(name)) and size > 0:  # an empty one would be its own predecessor
            offset = int(match[1])
            found[match[2], offset + size] = Segment(match[2], match[3], offset, offset + size)
    kept: list[Segment] = []
    at = max(found, default=None)
    while at is not None:
        if at not in found:
            raise UserError(f"the mirrored ledger is damaged: the segment is missing that ends at byte {at[1]}")
        kept.append(found[at])
        at = (kept[-1].after, kept[-1].offset) if kept[-1].offset else None
    return kept[::-1]


# Reading


def refresh(store: Store, folder: Path, sizes: Mapping[str, int]) -> Segment | None:
    """Bring the local ledger in `folder` up to what the store has of it; returns the last segment of that.

    To be called while nobody writes it. Local events that the store lacks stay, unless another driver has gone on
    without them: then they never happened, and the local file is left aside under another name.
    """
    path = folder / LEDGER
    parts = chain(sizes)
    known = _known(path)
    start = next((i + 1 for i, part in enumerate(parts) if part == known), 0)
    have = parts[start - 1].end if start else 0
    content = b"".join(_read(store, parts[start:]))
    tail = _tail(path, have)
    is_gone = known is not None and not parts
    if is_gone or not (tail.startswith(content) or content.startswith(tail)):
        _leave_aside(path, have, content)
    elif len(content) > len(tail):
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(content[len(tail) :])
            file.flush()
            os.fsync(file.fileno())
    if parts and parts[-1] != known:
        _know(path, parts[-1])
    return parts[-1] if parts else None


def _read(store: Store, parts: list[Segment]) -> Iterator[bytes]:
    with ThreadPoolExecutor(max_workers=8) as pool:
        for part, content in zip(parts, pool.map(store.read, [part.name for part in parts]), strict=True):
            if len(content) != part.end - part.offset:
                raise UserError(f"{(store / part.name).uri}: has {len(content)} bytes, not {part.end - part.offset}")
            yield content


def _tail(path: Path, begin: int) -> bytes:
    """What the local ledger has from an offset on."""
    if not path.exists():
        return b""
    with path.open("rb") as file:
        file.seek(begin)
        return file.read()


def _leave_aside(path: Path, have: int, content: bytes) -> None:
    """Replace the local ledger by its first `have` bytes and `content`; an empty one by none."""
    with path.open("rb") as file:
        new = file.read(have) + content
    left = path.with_name(f"{path.stem}.left-{time.time_ns()}{path.suffix}")
    if not new:
        path.rename(left)
        _note(path).unlink(missing_ok=True)
        return
    with files.replaced(path) as aside:
        aside.write_bytes(new)
        path.rename(left)


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.mirrored")


def _known(path: Path) -> Segment | None:
    """The last segment that is known to be in the local ledger."""
    try:
        segment = Segment(**json.loads(_note(path).read_text(encoding="utf-8")))
        return segment if path.stat().st_size >= segment.end else None
    except (OSError, ValueError, TypeError):
        return None


def _know(path: Path, segment: Segment) -> None:
    with files.replaced(_note(path)) as aside:
        aside.write_text(json.dumps(asdict(segment)), encoding="utf-8")


# Owning


_held: set[str] = set()
"""Ownerships that this process has not given up, whatever the store heard of it."""


class Tenure:
    """A held ownership of a study in a store; see `claim`."""

    def __init__(self, store: Store, owner: Owner) -> None:
        self.store, self.owner = store, owner
        self.id = f"{owner.epoch:06d}-{uuid.uuid4().hex[:8]}"
        _held.add(self.id)
        self._write()

    def verify(self) -> None:
        """Raise `UserError` if another driver has taken the study over, `OSError` where the store does not answer."""
        newest = _owner_ids(self.store)[-1:]
        if newest > [self.id]:
            raise UserError(f"{self.store.uri}: taken over by {_owner(self.store, newest[0]).describe()}")

    def release(self) -> None:
        """Give the study up."""
        _held.discard(self.id)
        self.owner = replace(self.owner, released=True)
        self._write()

    def abandon(self) -> None:
        """Give the study up to this machine alone: what the store lacks is here."""
        _held.discard(self.id)

    def _write(self) -> None:
        self.store.write(f"owners/{self.id}.json", json.dumps(asdict(self.owner)).encode())


def claim(store: Store, take_over: bool = False) -> Tenure:
    """Own a study. Raises `UserError` naming the present owner unless it has ended, or is to be taken over."""
    ids = _owner_ids(store)
    epoch = 1
    if ids:
        newest = _owner(store, ids[-1])
        epoch = newest.epoch + 1
        reason = _lives(newest, ids[-1])
        if reason and not take_over:
            who = f"{newest.describe()} {reason}"
            raise UserError(f"{store.uri}: owned by {who}; stop it first, or take over with --take-over")
    tenure = Tenure(store, this_process(epoch))
    tenure.verify()
    return tenure


def owned(store: Store) -> bool:
    """Whether a driver holds the study now, as far as can be told from here."""
    ids = _owner_ids(store)
    return bool(ids) and _lives(_owner(store, ids[-1]), ids[-1]) is not None


def last_owner(store: Store) -> Owner | None:
    """The driver that holds the study, or held it last."""
    ids = _owner_ids(store)
    return _owner(store, ids[-1]) if ids else None


def _lives(owner: Owner, identity: str) -> str | None:
    """Why an owner must be taken for alive, or None."""
    me = this_process(owner.epoch)
    is_mine = (owner.pid, owner.host, owner.boot) == (me.pid, me.host, me.boot)
    return None if is_mine and identity not in _held else lives(owner)


def last(store: Store) -> Segment | None:
    """The last segment of a study."""
    return next(reversed(chain({f"ledger/{name}": size for name, size in store.sizes("ledger").items()})), None)


def _owner_ids(store: Store) -> list[str]:
    return sorted(match[1] for name in store.sizes("owners") if (match := OWNER.fullmatch(name)))


def _owner(store: Store, identity: str) -> Owner:
    name = f"owners/{identity}.json"
    try:
        return parse(store.read(name))
    except (ValueError, TypeError) as error:
        raise UserError(f"{(store / name).uri}: names no owner") from error


# Writing


class Uploader:
    """Uploads what a driver appends to its ledger, in a thread; see `start` and `close`."""

    def __init__(self, ledger: Ledger, tenure: Tenure, last: Segment | None, say: Callable[[str], None]) -> None:
        """`last` is the segment up to which the store has the ledger; `say` hears, in a line, of one that is away."""
        self.ledger, self.tenure = ledger, tenure
        self.after, self.stored = (last.owner, last.end) if last else (tenure.id, 0)
        self._say = say
        self._pending: bytes = b""
        self._lost: UserError | None = None
        self._failed = False
        self._thread: Background | None = None

    def start(self) -> None:
        """Upload what there is, and go on doing so in the thread. Raises `OSError` and `UserError`."""
        self.flush()
        self._thread = Background("mirror", self._follow)

    def heard(self, event: Mapping[str, Any]) -> None:
        """The ledger has grown. Never blocks."""
        if event["event"] in AT_ONCE:
            assert self._thread is not None
            self._thread.wake()

    def guard(self) -> None:
        """Raise `UserError` if another driver is known to have taken the study over."""
        if self._lost is not None:
            raise self._lost

    def flush(self) -> None:
        """Upload all whole lines that are not in the store; after an error the next call goes on with the same."""
        while self._pending or self._take():
            self.tenure.verify()
            segment = Segment(self.tenure.id, self.after, self.stored, self.stored + len(self._pending))
            self.tenure.store.write(segment.name, self._pending)
            self._pending, self.after, self.stored = b"", segment.owner, segment.end
            _know(self.ledger.path, segment)

    def _take(self) -> bool:
        """Take the next bytes that are durable, whether there are any: a segment's, and the same until it is stored."""
        left = self.ledger.end - self.stored
        if left <= 0:
            return False
        with self.ledger.path.open("rb") as file:
            file.seek(self.stored)
            content = file.read(min(LARGEST, left))
            if b"\n" not in content:
                content += file.readline()
        self._pending = content[: content.rfind(b"\n") + 1]
        return bool(self._pending)

    def _follow(self, thread: Background) -> None:
        while thread.wait(SECONDS):
            self._try()

    def _try(self) -> bool:
        """Whether the store has all there is, or another driver has the study."""
        try:
            self.flush()
        except UserError as error:
            self._lost = error
        except OSError as error:
            if not self._failed:
                self._say(f"{error.filename} cannot be written ({error.strerror}); the study goes on, and tries again")
            self._failed = True
            return False
        self._failed = False
        return True

    def close(self) -> None:
        """Upload what is left, within `UPLOAD_SECONDS` and `PATIENCE_SECONDS`, and give the study up.

        Raises `UserError` where another driver has the study, or the store does not take it all: it is then given up
        to this machine alone, whose ledger is whole in any case.
        """
        hangs = self._thread is not None and not self._thread.stop(UPLOAD_SECONDS)
        deadline, pause = time.monotonic() + PATIENCE_SECONDS, 0.5
        while hangs or not self._try():  # two at once would upload the same
            if hangs or time.monotonic() + pause > deadline:
                self.tenure.abandon()
                left = self.ledger.end - self.stored
                raise UserError(
                    f"{self.tenure.store.uri}: cannot be written, and lacks the last {left} bytes of the ledger; "
                    f"{self.ledger.path} has them all, and the next study resume on this machine brings them there"
                )
            time.sleep(pause)
            pause *= 2
        self.guard()
        with suppress(OSError):
            self.tenure.release()
        if self._thread is not None:
            self._thread.check()


@contextmanager
def mirrored(ledger: Ledger, tenure: Tenure, last: Segment | None, say: Callable[[str], None]) -> Iterator[Uploader]:
    """A mirror of a ledger that this process writes, complete at the end. What goes wrong then hides no other error."""
    mirror = Uploader(ledger, tenure, last, say)
    try:
        mirror.start()
    except OSError as error:
        with suppress(OSError):
            tenure.release()
        raise UserError(f"{error.filename}: cannot be written, {error.strerror}") from error
    try:
        yield mirror
    except BaseException:
        try:
            mirror.close()
        except UserError as error:
            say(str(error))
        raise
    mirror.close()
