"""Who may import whom (docs/architecture.md): every import statement, lazy ones included, read against the rules."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

LAYERS: tuple[tuple[str, ...], ...] = (
    ("config", "loading", "scores", "languages", "seeds", "cache", "scratch", "storage", "distributed"),
    ("encoder", "dropout", "packing", "tasks", "perturbation", "augmentation", "offline"),
    (
        "batches",
        "materials",
        "weights",
        "predictions",
        "frozen",
        "evaluation",
        "robustness",
        "loop",
        "checkpoint",
        "shelf",
        "__main__",
    ),
    ("worker", "mailbox", "trainer"),
    ("driver",),
)
"""Modules of `trainables` from the ground up: a module imports from its own layer and those below."""

APART = {"perturbation", "tasks", "encoder", "augmentation", "offline"}
"""Neighbours in one layer; only `KNOWN_NEIGHBOURS` of them may know each other."""

KNOWN_NEIGHBOURS = {("encoder", "offline"), ("encoder", "tasks"), ("tasks", "offline"), ("augmentation", "tasks")}

HOMES = {
    "ray": (
        "trainables.worker",
        "trainables.mailbox",
        "trainables.trainer",
        "trainables.driver",
        "study.runner",
        "study.cluster",
        "study.cluster_doctor",
        "study.cli",
    ),
    "optuna": ("study.trials", "study.proposals", "study.optuna_export", "search_spaces", "study.analysis"),
    "mlflow": ("study.tracking",),
    "transformers": ("trainables.encoder", "trainables.dropout", "trainables.tasks", "trainables.offline"),
    "datasets": ("trainables.encoder", "trainables.tasks", "trainables.offline"),
    "click": ("study.cli", "trainables.__main__"),
}
"""Where a library may be named at all."""


def modules() -> dict[str, Path]:
    """Every module of the packages by its dotted name."""
    found = {}
    for package in ("study", "trainables", "search_spaces"):
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            parts = path.relative_to(REPOSITORY).with_suffix("").parts
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


def layer(part: str) -> int:
    """Index of the layer of a top module of `trainables`."""
    found = [i for i, names in enumerate(LAYERS) if part in names]
    assert found, f"trainables.{part} has no layer: add it to LAYERS in this test"
    return found[0]


def violations(name: str, source: str, is_package: bool = False) -> list[str]:
    """What a module imports against the rules."""
    package, _, rest = name.partition(".")
    part = rest.split(".")[0]
    wrong = []
    for target in imports_of(source, name, is_package):
        top, _, inner = target.partition(".")
        theirs = inner.split(".")[0]
        if top in HOMES and not any(name == home or name.startswith(f"{home}.") for home in HOMES[top]):
            wrong.append(f"{name} names {top}")
        if top == "study" and package != "study":
            wrong.append(f"{name} imports {target}")
        if top == "search_spaces" and package == "trainables":
            wrong.append(f"{name} imports {target}")
        if package == "search_spaces" and top == "trainables" and theirs not in ("config", "loading"):
            wrong.append(f"{name} imports {target}")
        if package == top == "trainables" and part and theirs and theirs[0].islower():
            if layer(theirs) > layer(part):
                wrong.append(f"{name} imports {target}, which is above it")
            if {part, theirs} <= APART and part != theirs and (part, theirs) not in KNOWN_NEIGHBOURS:
                wrong.append(f"{name} imports its neighbour {target}")
    return wrong


@pytest.mark.parametrize("name", modules())
def test_module_keeps_to_its_place(name: str) -> None:
    path = modules()[name]
    assert violations(name, path.read_text(encoding="utf-8"), path.name == "__init__.py") == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("trainables.loop", "from study.config import StudyConfig"),
        ("trainables.loop", "def f():\n    import ray"),
        ("trainables.loop", "from trainables.worker import train"),
        ("trainables.loop", "from .driver import Driver"),
        ("trainables.scores", "from trainables import evaluation"),
        ("trainables.perturbation.balls", "from trainables.encoder import Encoder"),
        ("trainables.tasks.pair", "from ..perturbation import balls"),
        ("search_spaces.dimensions", "from trainables.scores import Evaluation"),
        ("search_spaces", "import study"),
        ("study.ledger", "import mlflow.tracking"),
        ("study.runner", "from optuna import create_study"),
        ("study.progress", "import ray.tune"),
        ("study.objectives", "from transformers import AutoModel"),
    ],
)
def test_a_wrong_import_is_seen(name: str, source: str) -> None:
    assert violations(name, source)


@pytest.mark.parametrize("package", ["study", "trainables", "search_spaces"])
def test_the_architecture_names_every_module(package: str) -> None:
    text = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    names = [p.name for p in (REPOSITORY / package).iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()]
    missing = [n for n in names if not n.startswith("__") and n.removesuffix(".py") not in text]
    assert missing == [], "docs/architecture.md, Layout"
