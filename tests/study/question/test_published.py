"""The catalogue of encoders: what it says is sourced, and the documentation has it."""

from __future__ import annotations

import json

import pytest

from study.question import published
from tests.conftest import REPOSITORY
from trainables.errors import UserError
from trainables.model import catalogue, families
from trainables.pretraining import lists


def test_every_value_has_a_source_and_every_family_is_known() -> None:
    for entry in catalogue.entries().values():
        values = {name for name in ("size", "languages", "licence", "revision", "pretraining", "aligned")
                  if getattr(entry, name) is not None}  # fmt: skip
        assert set(entry.sources) == values, entry.id
        assert families.family_of(entry.family)
        assert entry.pretraining is None or entry.pretraining in lists()
    ids = [each for entry in catalogue.entries().values() for each in (entry.id, *entry.also)]
    assert len(set(ids)) == len(ids)


def test_the_documentation_has_the_table() -> None:
    assert published.markdown() in (REPOSITORY / "docs" / "encoders.md").read_text(encoding="utf-8"), "make docs"


def test_a_tasks_languages_are_told_apart_by_each_encoders_pretraining() -> None:
    rows = {row[0]: row for row in published.rows("xnli")}
    assert rows["encoder"][-2:] == ["xnli seen", "xnli unseen"]
    assert rows["offline:e5-small"][-2:] == ["14", "0"]
    assert rows["FacebookAI/xlm-mlm-17-1280"][-2:] == ["9", "5"]
    assert rows["google/rembert"][-2:] == ["?", "?"], "unknown, not none"
    known = json.loads(published.document("xlm-mlm-17-1280", "xnli"))
    assert (known["id"], known["licence"]) == ("FacebookAI/xlm-mlm-17-1280", "cc-by-nc-4.0")
    assert known["unseen"] == ["bg", "el", "sw", "th", "ur"]
    assert len(json.loads(published.document())) == len(rows) - 1


def test_everything_about_one_encoder() -> None:
    found = dict(published.details("xlm-mlm-100-1280"))
    assert found["warning"] == "licence cc-by-nc-4.0: not for commercial use"
    assert "--revision refs/pr/2 --include '*.json' --include '*.safetensors'" in found["to fetch"]
    assert "warning" not in dict(published.details("xlm-roberta-base"))
    with pytest.raises(UserError, match="did you mean 'xlm-roberta-base'"):
        published.details("xlm-roberta-bas")
