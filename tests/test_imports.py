"""Who may import whom (docs/rooms.py): every import statement, lazy ones included, read against the rules."""

from __future__ import annotations

import pytest

from docs import rooms
from tests.conftest import REPOSITORY


def violations(name: str, source: str, is_package: bool = False) -> list[str]:
    """What a module imports against the rules."""
    package = name.partition(".")[0]
    own = rooms.room_of(name)
    packages = list(rooms.ORDER)
    wrong = []
    for target in rooms.imports_of(source, name, is_package):
        top = target.partition(".")[0]
        homes = rooms.HOMES.get(top)
        if homes is not None and not any(name == home or name.startswith(f"{home}.") for home in homes):
            wrong.append(f"{name} names {top}")
        if top not in packages:
            continue
        theirs = rooms.room_of(target)
        if packages.index(top) > packages.index(package):
            wrong.append(f"{name} imports {target}, whose package is above it")
        elif top == package and theirs != own and "." in theirs and rooms.row_of(theirs) >= rooms.row_of(own):
            wrong.append(f"{name} imports {target}, which is above it or beside it")
        if theirs in rooms.STRANGERS.get(own, ()) or theirs in rooms.STRANGERS.get(package, ()):
            wrong.append(f"{name} imports {target}, which it does not know")
    return wrong


@pytest.mark.parametrize("name", rooms.modules())
def test_module_keeps_to_its_place(name: str) -> None:
    path = rooms.modules()[name]
    assert violations(name, path.read_text(encoding="utf-8"), path.name == "__init__.py") == []


def test_every_module_has_a_room() -> None:
    assert [name for name in rooms.modules() if "." in name and "." not in rooms.room_of(name)] == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert rooms.circle(rooms.graph()) == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("trainables.training.loop", "from study.question.config import StudyConfig"),
        ("trainables.training.loop", "def f():\n    import ray"),
        ("trainables.training.loop", "from trainables.workers.worker import train"),
        ("trainables.training.loop", "from ..workers.driver import Driver"),
        ("trainables.scores", "from trainables.scoring import evaluation"),
        ("trainables.perturbation.balls", "from trainables.model.encoder import Encoder"),
        ("trainables.perturbation.balls", "from trainables.storage import cache"),
        ("trainables.offline.intents", "from ..perturbation import balls\nfrom ..tasks import plan"),
        ("search_spaces.dimensions", "from trainables.tasks.base import Row"),
        ("search_spaces", "import study"),
        ("study.record.ledger", "import mlflow.tracking"),
        ("study.record.record", "from study.question.config import StudyConfig"),
        ("study.execution.runner", "from optuna import create_study"),
        ("study.views.progress", "import ray.tune"),
        ("study.reporting.source", "from study.planning import needs"),
        ("study.reporting.source", "def f():\n    from study.execution import trials"),
        ("study.question.objectives", "from transformers import AutoModel"),
    ],
)
def test_a_wrong_import_is_seen(name: str, source: str) -> None:
    assert violations(name, source)


def test_a_circle_is_seen() -> None:
    assert rooms.circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": set()})


def test_the_drawing_is_of_today() -> None:
    text = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert rooms.drawing(rooms.graph()) in text, "make docs"
