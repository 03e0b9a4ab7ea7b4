"""The rooms of the code: who may import whom, drawn and measured.

``python docs/rooms.py`` draws the rooms into docs/architecture.md anew and prints their figures; ``--of FOLDER``
only prints those of another checkout. tests/test_imports.py enforces what is declared here, and that the drawing is of
today.
"""

from __future__ import annotations

import argparse
import ast
import statistics
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent

VOCABULARY = (
    "errors lazy seeds schedule background progress environment machine devices config fields loading pretraining "
    "languages typology conditions scores transfer layout batch distributed"
)
DOORS = "launch launch_suite submission removal cached commands cli notebook __main__"

ORDER: Mapping[str, Sequence[Sequence[str]]] = {
    "trainables": (
        (VOCABULARY,),
        ("storage", "perturbation", "syntax"),
        ("offline",),
        ("model",),
        ("tasks",),
        ("augmentation",),
        ("alignment",),
        ("materials",),
        ("scoring",),
        ("training",),
        ("workers",),
        ("__main__",),
    ),
    "search_spaces": (("dimensions",),),
    "study": (
        ("question", "record", "analysis"),
        ("proposals", "tracking"),
        ("execution",),
        ("views",),
        ("suite",),
        ("planning", "reporting"),
        ("plots", "export", "models"),
        (DOORS,),
    ),
}
"""The rooms of each package, in rows from the ground up. A room is a folder, or several files of the package's own.

A file imports from its own room and from rows below, at its top or lazily; rooms of one row do not know each other; no
files import each other in a circle. A package may import from those above it in this table."""

STRANGERS: Mapping[str, Sequence[str]] = {
    **{f"study.{room}": ("study.execution", "study.planning") for room in ("reporting", "plots", "export", "models")},
    "search_spaces": [f"trainables.{room}" for row in ORDER["trainables"][1:] for room in row],
}
"""What a room, or a package, does not know either, though it is below: what leaves a study is made without Ray, and
search spaces know the vocabulary alone."""

HOMES: Mapping[str, Sequence[str]] = {
    "ray": ("trainables.workers", "study.execution", "study.planning.cluster_doctor", "study.cli"),
    "optuna": (
        "study.proposals",
        "study.views.optuna_export",
        "study.analysis.importance",
        "search_spaces.dimensions",
    ),
    "mlflow": ("study.tracking",),
    "matplotlib": ("study.plots",),
    "peft": ("trainables.model",),
    "transformers": ("trainables.model", "trainables.tasks", "trainables.offline"),
    "datasets": ("trainables.model", "trainables.tasks", "trainables.offline"),
    "click": ("study.commands", "study.cli"),
}
"""The folders and files where a library may be named at all."""


def modules(repository: Path = REPOSITORY) -> dict[str, Path]:
    """Every module of the packages by its dotted name."""
    found = {}
    for package in ORDER:
        for path in sorted((repository / package).rglob("*.py")):
            parts = path.relative_to(repository).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(source: str, name: str, is_package: bool = False) -> Iterator[str]:
    """Dotted names that a module imports, at its top or anywhere inside."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = name.split(".")[: len(name.split(".")) - node.level + is_package]
                base = ".".join((*parents, base) if base else parents)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def room_of(name: str) -> str:
    """The room that a dotted name stands in: ``trainables.tasks``, or the package's files that are one room.

    The package itself for its own ``__init__`` and for what has no room.
    """
    package, _, rest = name.partition(".")
    part = rest.split(".")[0]
    rooms = [room for row in ORDER.get(package, ()) for room in row]
    return next((f"{package}.{room}" for room in rooms if part in room.split()), package)


def row_of(room: str) -> int:
    """How far up its package a room stands; the package itself stands on top."""
    package, _, rest = room.partition(".")
    return next((i for i, row in enumerate(ORDER[package]) if rest in row), len(ORDER[package]))


def graph(repository: Path = REPOSITORY) -> dict[str, set[str]]:
    """Module -> the modules of ours that it imports."""
    known = modules(repository)
    arrows: dict[str, set[str]] = {name: set() for name in known}
    for name, path in known.items():
        for target in imports_of(path.read_text(encoding="utf-8"), name, path.name == "__init__.py"):
            theirs = target if target in known else target.rpartition(".")[0]
            if theirs in known and theirs != name:
                arrows[name].add(theirs)
    return arrows


def circle(arrows: Mapping[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle, or nothing."""
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def between_rooms(arrows: Mapping[str, set[str]], package: str) -> dict[str, set[str]]:
    """Room -> the rooms of the same package that its files import from."""
    rooms = {f"{package}.{room}": set[str]() for row in ORDER[package] for room in row}
    for name, targets in arrows.items():
        own = room_of(name)
        if own in rooms:
            rooms[own] |= {room_of(t) for t in targets if room_of(t) in rooms and room_of(t) != own}
    return rooms


def drawing(arrows: Mapping[str, set[str]]) -> str:
    """The rooms as a Mermaid diagram: an arrow from each to those it imports from, less what follows from others."""
    lines = ["```mermaid", "flowchart BT"]
    for package in ("trainables", "study"):
        rooms = between_rooms(arrows, package)
        lines.append(f"  subgraph {package}")
        lines += [f"    {_id(room)}[{_label(room)}]" for room in rooms]
        above = {room: _below(rooms, room) for room in rooms}
        for room, targets in rooms.items():
            direct = sorted(t for t in targets if not any(t in above[other] for other in targets))
            lines += [f"    {_id(room)} --> {_id(target)}" for target in direct]
        lines.append("  end")
    return "\n".join([*lines, "  study --> search_spaces --> trainables", "```"])


def _id(room: str) -> str:
    return room.split()[0].replace(".", "_").replace("__main__", "main")


def _label(room: str) -> str:
    """A folder's name, or the names of the files that are one room, three a line."""
    words = room.partition(".")[2].split()
    lines = [" ".join(words[i : i + 3]) for i in range(0, len(words), 3)]
    return f'"{"<br>".join(lines)}"'


def _below(rooms: Mapping[str, set[str]], room: str) -> set[str]:
    """All rooms that a room reaches."""
    return set().union(*({target} | _below(rooms, target) for target in rooms[room]))


def figures(repository: Path) -> Iterator[tuple[str, str, str, str, str, str]]:
    """Per package: rooms (each loose file is one), arrows between them, floors, widest folder, longest module."""
    yield ("package", "rooms", "arrows", "floors", "widest folder", "longest module")
    arrows = graph(repository)
    for package in ("study", "trainables"):
        own = {name: path for name, path in modules(repository).items() if name.startswith(f"{package}.")}
        top = {name: ".".join(name.split(".")[:2]) for name in own}
        rooms = {room: set[str]() for room in top.values()}
        for name, targets in arrows.items():
            if name in top:
                rooms[top[name]] |= {top[t] for t in targets if t in top and top[t] != top[name]}
        folders: dict[str, int] = {}
        for path in own.values():
            if path.name != "__init__.py":
                folder = path.parent.relative_to(repository).as_posix()
                folders[folder] = folders.get(folder, 0) + 1
        lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in own.items()}
        widest, longest = max(folders, key=lambda f: folders[f]), max(lengths, key=lambda n: lengths[n])
        yield (
            package,
            str(len(rooms)),
            str(sum(map(len, rooms.values()))),
            _floors(rooms),
            f"{widest} {folders[widest]}",
            f"{longest} {lengths[longest]} (median {statistics.median(lengths.values()):.0f})",
        )


def _floors(rooms: Mapping[str, set[str]]) -> str:
    """Length of the longest chain of rooms, where there is no circle."""
    if circle(rooms):
        return "a circle"
    floor: dict[str, int] = {}
    for room in TopologicalSorter(rooms).static_order():
        floor[room] = 1 + max((floor[t] for t in rooms[room]), default=0)
    return str(max(floor.values()))


BEGIN, END = "<!-- drawn by docs/rooms.py -->", "<!-- end of the drawing -->"


def redrawn(text: str) -> str:
    """The architecture page with today's drawing."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{drawing(graph())}\n{END}{rest.partition(END)[2]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--of", type=Path, help="only print the figures of this checkout")
    folder = parser.parse_args().of
    if folder is None:
        page = REPOSITORY / "docs" / "architecture.md"
        page.write_text(redrawn(page.read_text(encoding="utf-8")), encoding="utf-8")
    rows = list(figures((folder or REPOSITORY).resolve()))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    main()
