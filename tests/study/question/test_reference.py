"""docs/configuration.md is what the models say."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.question.config import StudyConfig
from study.question.reference import markdown, path_of
from trainables.fields import fields_of

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "configuration.md"


def test_the_document_is_current() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == markdown(), "make docs"


def test_every_field_is_in_it() -> None:
    text = markdown()
    for field in fields_of(StudyConfig):
        assert f"`{path_of(field)}`" in text


@pytest.mark.parametrize(
    "row",
    [
        "| `trial.perturbation.epsilon` | number ≥ 0 | `0.1` | Radius of the ball that holds the perturbation. |",
        "| `trial.encoder.dropout` | number ≥ 0 and < 1 or null | `null` |",
        "| `trial.training.budget.steps` | whole number ≥ 1 or null | `60` | Optimiser steps. |",
        "| `scaling.concurrent_trials` | `auto`, whole number ≥ 1 | `auto` |",
        "| `name` | text | required |",
    ],
)
def test_rows_say_what_a_field_takes(row: str) -> None:
    assert row in markdown()
