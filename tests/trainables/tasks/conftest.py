"""What the tests of all task shapes use: miniature data in the repository, and a small tokenizer made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.trainables.tiny import characters

MINIATURES = Path(__file__).resolve().parents[2] / "data"


@pytest.fixture(scope="session")
def miniatures() -> Path:
    """Hand-written data of every task shape."""
    return MINIATURES


@pytest.fixture(scope="session", name="tokenizer")
def _tokenizer() -> Any:
    return characters()
