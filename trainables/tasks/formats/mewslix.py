"""Mewsli-X's files (Ruder et al. 2021), as google-research's scripts write them (mewsli_x/schema.py there).

- ``wikinews_mentions-<split>.jsonl``: articles of 11 languages with mentions of entities
- ``candidate_set_entities.jsonl`` beside them: a million entities, each with the beginning of its article in Wikipedia,
  in one of 50 languages, which is drawn at random
- ``wikipedia_pairs-<split>.jsonl``: English mentions, each with its entity

A row is a mention: ``query``, its text as the benchmark's baseline puts it (xtreme, third_party/utils_mewslix.py),
``entity``, the id of what is meant, and ``candidates``, entities with ``id`` and ``text``: what is meant comes first;
the entities that are described in the row's language are dealt out to its rows, so that fewer rows have fewer. Over all
rows of some languages, the candidates are the entities that are described in these, and those that are meant.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from trainables.errors import UserError, shown
from trainables.tasks.base import RowError
from trainables.tasks.formats.json_rows import read_lines
from trainables.tasks.formats.reading import Raw, Reading
from trainables.tasks.formats.source import PACKED, Source

ENTITIES = "candidate_set_entities.jsonl"

_HEAD = re.compile(r'"(entity_id|description_language)"\s*:\s*"([^"\\]*)"')
"""Of a line, before it is parsed: of a million most are not wanted."""


def beside(path: Path) -> tuple[Path, ...]:
    """The file of entities that mentions refer to, where it is there."""
    named = (path.with_name(ENTITIES + ending) for ending in ("", *PACKED))
    return tuple(each for each in named if each.is_file())[:1]


def read(source: Source, reading: Reading) -> Iterator[Raw]:
    """The mentions of one language (where none is asked for, of all)."""
    mentions: list[tuple[str, dict[str, Any]]] = []
    for place, line in read_lines(source, reading):
        if isinstance(line, RowError):
            yield place, line
        elif "contextual_mention" in line:
            yield place, _told(_pair, line)
        elif not reading.language or _language(line) in (None, reading.language):
            found = _told(_mentions, line)
            if isinstance(found, RowError):
                yield place, found
            else:
                mentions += [(place, mention) for mention in found]
    if mentions:
        yield from _with_candidates(source.path, mentions, reading)


def _with_candidates(path: Path, mentions: list[tuple[str, dict[str, Any]]], reading: Reading) -> Iterator[Raw]:
    files = beside(path)
    if not files:
        raise UserError(f"{path.with_name(ENTITIES)}: is needed beside {path.name}, whose mentions are of its entities")
    meant, own = {mention["entity"] for _, mention in mentions}, []
    texts: dict[str, str] = {}
    for place, entity in _entities(Source(files[0], reading.encoding), reading, meant):
        if isinstance(entity, RowError):
            yield place, entity
        else:
            texts[entity["id"]] = entity["text"]
            if entity["language"] == reading.language:
                own.append(entity["id"])
    for i, (place, mention) in enumerate(mentions):
        if mention["entity"] not in texts:
            yield place, RowError(f"the entity must be in {files[0].name} (got {shown(mention['entity'])})")
            continue
        dealt = dict.fromkeys((mention["entity"], *own[i :: len(mentions)]))
        yield place, {**mention, "candidates": [{"id": name, "text": texts[name]} for name in dealt]}


def _entities(source: Source, reading: Reading, meant: Collection[str]) -> Iterator[Raw]:
    """Those that are described in the language, or meant."""

    def is_wanted(line: str) -> bool:
        head = dict(_HEAD.findall(line))
        if len(head) < 2:  # not as the scripts write it
            return True
        return head["description_language"] == reading.language or head["entity_id"] in meant

    for place, line in read_lines(source, reading, is_wanted):
        yield place, line if isinstance(line, RowError) else _told(_entity, line)


def _told(make: Any, line: dict[str, Any]) -> Any:
    """What is made of a line, or what is wrong with it."""
    try:
        return make(line)
    except RowError as error:
        return error
    except (KeyError, TypeError) as error:
        return RowError(f"must have the fields of Mewsli-X's files (got no {error})")


def _language(document: Mapping[str, Any]) -> str | None:
    """An article's language; None where it says none: then it may be of any."""
    context = document.get("context")
    language = context.get("language") if isinstance(context, dict) else None
    return language if isinstance(language, str) else None


def _mentions(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [_mention(document["context"], mention) for mention in document["mentions"]]


def _pair(line: Mapping[str, Any]) -> dict[str, Any]:
    mention = line["contextual_mention"]
    entity = _entity(line["entity"])
    found = _mention(mention["context"], mention["mention"])
    if found["entity"] != entity["id"]:
        raise RowError(f"must be a mention of its entity, {shown(entity['id'])} (got {shown(found['entity'])})")
    return {**found, "candidates": [{"id": entity["id"], "text": entity["text"]}]}


def _mention(context: Mapping[str, Any], mention: Mapping[str, Any]) -> dict[str, Any]:
    query = _marked(context, mention["mention_span"])
    return {"language": context["language"], "query": query, "entity": mention["entity_id"]}


def _entity(entity: Mapping[str, Any]) -> dict[str, Any]:
    sentences = [entity["description"][s["start"] : s["end"]] for s in entity["sentence_spans"]]
    text = _on_one_line(" ".join(sentences))
    return {"id": entity["entity_id"], "text": text, "language": entity["description_language"]}


def _marked(context: Mapping[str, Any], span: Mapping[str, Any]) -> str:
    """``Smith: The verdict came for { Smith }, who …``: the mention first, then its sentence with it in braces."""
    text, start, end = context["text"], span["start"], span["end"]
    if not text:
        raise RowError("must have the article's text, which the data set's own script puts in (got '')")
    if text[start:end] != span["text"]:
        raise RowError(f"a mention must stand in its text (got {shown(span['text'])})")
    around = [s for s in context["sentence_spans"] if s["start"] <= start < end <= s["end"]]
    if not around:
        raise RowError(f"a mention must stand in one sentence (got {shown(span['text'])})")
    left, right = (_unbraced(text[around[0]["start"] : start]), _unbraced(text[end : around[0]["end"]]))
    return _on_one_line(f"{span['text']}: {left} {{ {span['text']} }} {right}")


def _unbraced(text: str) -> str:
    """Braces mark the mention; others become parentheses."""
    return re.sub(r"\{(.*?)\}", r"(\1)", text)


def _on_one_line(text: str) -> str:
    return " ".join(text.splitlines()).replace("  ", " ").strip()
