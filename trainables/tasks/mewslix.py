"""Mewsli-X, entity retrieval (Ruder et al. 2021): a loader of its published files. Its score is in `ranking`.

The queries are mentions of entities in 11 languages, the candidates a million entities that all languages share; each
is a text for the encoder, put as the benchmark's baseline puts it. It is no task of the catalogue: encoding the
candidates takes longer than any trial.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.errors import UserError, shown
from trainables.tasks.formats.registry import read_file


@dataclass(frozen=True)
class Mention:
    """One query: its id, its text with the mention marked, and the id of the entity that is meant."""

    name: str
    text: str
    entity: str


def read_mentions(path: Path) -> dict[str, list[Mention]]:
    """Mentions by language, out of ``wikinews_mentions-<split>.jsonl``. Raises `UserError` with file and row."""
    mentions: dict[str, list[Mention]] = {}
    for place, document in read_file(path):
        try:
            context = document["context"]
            found = mentions.setdefault(context["language"], [])
            found += [
                Mention(m["example_id"], _marked(context, m["mention_span"], place), m["entity_id"])
                for m in document["mentions"]
            ]
        except (KeyError, TypeError) as error:
            raise UserError(f"{place}: must have the fields of Mewsli-X's mentions (got no {error})") from None
    return mentions


def read_entities(path: Path) -> dict[str, str]:
    """Entity id -> its text, out of ``candidate_set_entities.jsonl``. Raises `UserError` with file and row."""
    entities = {}
    for place, entity in read_file(path):
        try:
            sentences = [entity["description"][s["start"] : s["end"]] for s in entity["sentence_spans"]]
            entities[entity["entity_id"]] = _on_one_line(" ".join(sentences))
        except (KeyError, TypeError) as error:
            raise UserError(f"{place}: must have the fields of Mewsli-X's entities (got no {error})") from None
    return entities


def _marked(context: Mapping[str, Any], span: Mapping[str, Any], place: str) -> str:
    """``Smith: The verdict came for { Smith }, who …``: the mention first, then its sentence with it in braces."""
    text, start, end = context["text"], span["start"], span["end"]
    if text[start:end] != span["text"]:
        raise UserError(f"{place}: a mention must stand in its text (got {shown(span['text'])})")
    around = [s for s in context["sentence_spans"] if s["start"] <= start < end <= s["end"]]
    if not around:
        raise UserError(f"{place}: a mention must stand in one sentence (got {shown(span['text'])})")
    left, right = (_unbraced(text[around[0]["start"] : start]), _unbraced(text[end : around[0]["end"]]))
    return _on_one_line(f"{span['text']}: {left} {{ {span['text']} }} {right}")


def _unbraced(text: str) -> str:
    """Braces mark the mention; others become parentheses."""
    return re.sub(r"\{(.*?)\}", r"(\1)", text)


def _on_one_line(text: str) -> str:
    return " ".join(text.splitlines()).replace("  ", " ").strip()
