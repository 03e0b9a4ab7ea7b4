"""Plausible mistakes in the heart of each room, each of which its room's tests must notice.

``python -m tests.mutants`` makes one mistake of `mutants.toml` at a time in a copy of the code, runs the tests that
should see it, and says which did. The working tree is not touched. Not part of the test suite: it takes twenty minutes.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import cache_from_source
from pathlib import Path

from docs import rooms
from tests.conftest import BUILT, REPOSITORY
from trainables.storage.cache import cache_root

LIST = Path(__file__).with_name("mutants.toml")
COPIED = (*rooms.ORDER, "tests", "docs", "pyproject.toml", "README.md", "cluster.yaml")
"""What the tests of the rooms read; where one of them is missing they do without."""
PYTEST = ("-x", "-q", "-n0", "-p", "no:cacheprovider", "-m", "not slow")
PREPARING = (
    "trainables",
    *(f"trainables.{room}" for room in ("storage", "model", "tasks", "augmentation", "materials")),
)
"""Rooms by whose code materials are made: their mutants find none in the cache, or they would not be tried."""
FIRST = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)
"""The test that failed, in pytest's summary."""

LONGEST = 10
"""The tests of all mutants of a room together have as many times the time of one."""

EPILOG = """\
example:
  python -m tests.mutants --only study.record   one room
  python -m tests.mutants --only 12             one mutant

exit status: 0 all killed or explained, 1 there are survivors, 2 the list or the tests are not in order
"""


@dataclass(frozen=True)
class Mutant:
    """One mistake: `old` stands exactly once in `file` and becomes `new`."""

    number: int
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    """Files, or files with a test's name, that should notice it."""
    broken: str
    """What it breaks, in a line."""
    explained: str = ""
    """Why it may survive; the same is in docs/reliability.md."""

    @property
    def room(self) -> str:
        """As docs/architecture.md has them: ``study.record``; a package's own name for its loose files."""
        package, *parts = Path(self.file).parts
        return f"{package}.{parts[0]}" if len(parts) > 1 else package

    def problem(self) -> str | None:
        """Why it can't be tried any more, or None."""
        path = REPOSITORY / self.file
        source = path.read_text(encoding="utf-8") if path.is_file() else ""
        if (found := source.count(self.old)) != 1:
            return f"no longer applies: its text stands {found} times in {self.file}"
        try:
            compile(source.replace(self.old, self.new), self.file, "exec")
        except SyntaxError as error:
            return f"is no Python: {error}"
        absent = [name for name in self.tests if not (REPOSITORY / name.partition("::")[0]).exists()]
        return f"there is no {', '.join(absent)}" if absent else None


@dataclass(frozen=True)
class Verdict:
    """How the tests took one run: `status` is pytest's, None where the time was up."""

    status: int | None
    seconds: float
    output: str

    @property
    def killed(self) -> bool:
        """Whether something noticed."""
        return self.status != 0

    def words(self) -> str:
        """Who noticed what."""
        if self.status is None:
            return f"killed: timed out after {self.seconds:.0f} s"
        if self.status == 0:
            return "SURVIVED"
        found = FIRST.search(self.output)
        return f"killed by {found[1] if found else f'exit status {self.status}'}"


def mutants() -> list[Mutant]:
    """The list, numbered from 1."""
    entries = tomllib.loads(LIST.read_text(encoding="utf-8"))["mutant"]
    return [Mutant(number, **{**e, "tests": tuple(e["tests"])}) for number, e in enumerate(entries, start=1)]


class Copy:
    """A copy of the code in a scratch folder, in which one module at a time is another."""

    def __init__(self, folder: Path) -> None:
        self.code, self.cache, self.own_cache = folder / "code", folder / "cache", folder / "own"
        for name in COPIED:
            source, target = REPOSITORY / name, self.code / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", ".*"))
            elif source.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
        _link(cache_root(), self.cache, BUILT)

    def clean(self, tests: Sequence[str], seconds: float) -> Verdict:
        """The tests on the code as it is in the working tree."""
        return self._run(tests, seconds, self.cache)

    def mutated(self, mutant: Mutant, seconds: float) -> Verdict:
        """The tests on a mutant, which is undone afterwards. What it puts into a cache is seen by no other."""
        path = self.code / mutant.file
        usual = path.read_text(encoding="utf-8")
        # Byte code is taken for current by its source's size and second, which a mutant may well share.
        compiled = Path(cache_from_source(str(path)))
        compiled.unlink(missing_ok=True)
        path.write_text(usual.replace(mutant.old, mutant.new), encoding="utf-8")
        _link(self.cache, self.own_cache, BUILT if mutant.room in PREPARING else ("*",))
        try:
            return self._run(mutant.tests, seconds, self.own_cache)
        finally:
            path.write_text(usual, encoding="utf-8")
            compiled.unlink(missing_ok=True)
            shutil.rmtree(self.own_cache)

    def _run(self, tests: Sequence[str], seconds: float, cache: Path) -> Verdict:
        environment = os.environ | {"PYTHONPATH": str(self.code), "STUDY_CACHE": str(cache)}
        environment.setdefault("OMP_NUM_THREADS", "1")
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *PYTEST, *tests],
            cwd=self.code,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # so that what the tests have started ends with them
        )
        try:
            output, status = process.communicate(timeout=seconds)[0], process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, status = process.communicate()[0], None
        return Verdict(status, time.monotonic() - began, output)


def _link(source: Path, target: Path, patterns: Sequence[str]) -> None:
    """A folder with links to what the patterns find in another."""
    target.mkdir()
    for pattern in patterns:
        for path in source.glob(pattern):
            if path.is_dir():
                (target / path.name).symlink_to(path.resolve())


def refuse(words: Sequence[str]) -> int:
    """Say why nothing can be said of any mutant."""
    for line in words:
        print(line, file=sys.stderr)
    return 2


def selected(only: str | None, found: Sequence[Mutant]) -> list[Mutant]:
    """The mutants of a room, that of a number, or all."""
    return [m for m in found if only is None or only in (m.room, str(m.number))]


def clean_problem(copy: Copy, room: str, members: Sequence[Mutant], seconds: float) -> list[str]:
    """Why a room's tests say nothing of its mutants: they fail without one, or leave no time to be sure."""
    selections = list(dict.fromkeys(m.tests for m in members))
    tests = tuple(dict.fromkeys(name for selection in selections for name in selection))
    verdict = copy.clean(tests, LONGEST * seconds)
    print(f"{room}: its tests without a mutant ({verdict.seconds:.0f} s)", flush=True)
    if verdict.killed:
        return [verdict.output, f"{room}: its tests fail without any mutant"]
    if verdict.seconds > seconds / 2:
        for selection in selections:
            took = copy.clean(selection, LONGEST * seconds).seconds
            if took > seconds / 2:
                return [f"{room}: without a mutant {', '.join(selection)} takes {took:.0f} s, give more --seconds"]
    return []


def try_all(chosen: Sequence[Mutant], seconds: float) -> int:
    """Each of the mutants; returns the exit status."""
    if problems := [f"{m.number} {m.room}: {problem}" for m in chosen if (problem := m.problem())]:
        return refuse(problems)
    by_room = {room: [m for m in chosen if m.room == room] for room in dict.fromkeys(m.room for m in chosen)}
    verdicts: dict[int, Verdict] = {}
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutants-", ignore_cleanup_errors=True) as folder:
        copy = Copy(Path(folder))
        for room, members in by_room.items():
            if wrong := clean_problem(copy, room, members, seconds):
                return refuse(wrong)
        for m in chosen:
            verdict = verdicts[m.number] = copy.mutated(m, seconds)
            print(f"{m.number:3d} {m.room}: {m.broken}: {verdict.words()} ({verdict.seconds:.0f} s)", flush=True)
    rows = [["room", "mutants", "killed", "of them by time", "explained", "survivors"]]
    for room, members in [*by_room.items(), ("all", list(chosen))]:
        killed = [m for m in members if verdicts[m.number].killed]
        by_time = sum(verdicts[m.number].status is None for m in killed)
        alive = [m for m in members if m not in killed]
        explained = sum(bool(m.explained) for m in alive)
        counts = (len(members), len(killed), by_time, explained, len(alive) - explained)
        rows.append([room, *map(str, counts)])
    print("\n".join(table(rows)))
    survivors = [m for m in chosen if not verdicts[m.number].killed and not m.explained]
    for m in survivors:
        print(f"survived: {m.number} {m.room}: {m.broken} ({m.file})")
    print(f"{time.monotonic() - began:.0f} s")
    return int(bool(survivors))


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows in aligned columns, the first to the left."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for first, *others in rows:
        cells = [first.ljust(widths[0]), *(c.rjust(w) for c, w in zip(others, widths[1:], strict=True))]
        yield "  ".join(cells).rstrip()


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutants",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", metavar="ROOM|NUMBER", help="the mutants of one room, or one mutant")
    parser.add_argument("--list", action="store_true", help="say what there is, and try nothing")
    parser.add_argument("--seconds", type=float, default=60.0, help="time that the tests have for a mutant (60)")
    arguments = parser.parse_args()
    found = mutants()
    chosen = selected(arguments.only, found)
    if not chosen:
        return refuse([f"--only: no such room or number, known: {', '.join(dict.fromkeys(m.room for m in found))}"])
    if arguments.list:
        for m in chosen:
            print(f"{m.number:3d} {m.room}: {m.broken} ({m.file})")
        return 0
    return try_all(chosen, arguments.seconds)


if __name__ == "__main__":
    sys.exit(main())
