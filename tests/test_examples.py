"""What docstrings promise: their examples are run, and a room's names the files that it has."""

from __future__ import annotations

import ast
import doctest
import re
from importlib import import_module
from pathlib import Path

import pytest

from docs.rooms import modules
from tests.conftest import REPOSITORY

WITH_EXAMPLES = sorted(name for name, path in modules().items() if ">>> " in Path(path).read_text(encoding="utf-8"))

ROOMS = sorted(path for top in ("trainables", "study") for path in (REPOSITORY / top).glob("*/__init__.py"))


def test_there_are_examples() -> None:
    assert len(WITH_EXAMPLES) > 15


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_are_true(name: str) -> None:
    found = doctest.testmod(import_module(name), raise_on_error=False)
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.parametrize("room", ROOMS, ids=lambda path: path.parent.name)
def test_a_room_says_what_is_in_it_and_what_to_open_first(room: Path) -> None:
    words = ast.get_docstring(ast.parse(room.read_text(encoding="utf-8"))) or ""
    names = [path.stem for path in room.parent.iterdir() if path.suffix == ".py" and path != room]
    names += [path.parent.name for path in room.parent.glob("*/__init__.py")]
    assert [name for name in names if not re.search(rf"\b{name}\b", words)] == []
    assert re.search(r"start here|[Oo]pen `\w+` first", words)
