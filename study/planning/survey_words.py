"""A survey of a task's data in words and tables."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from study.views import layout
from trainables.errors import shown

Survey = Mapping[str, Any]

USUAL = "{split}.{language}.*"
"""How files lie that need no further word."""


def words(survey: Survey, room: int | None) -> str:
    """The whole survey, for a terminal of `room` places."""
    parts = (
        _head(survey),
        _languages(survey, room),
        _parsed(survey),
        _labels(survey, room),
        _repeated(survey),
        _examples(survey),
    )
    return "\n\n".join(part for part in parts if part)


def _head(survey: Survey) -> str:
    lines = [f"{survey['task']}: {survey['shape']}, trained on {survey['source']}"]
    for split, parts in survey["files"].items():
        lines += [f"{split}: {_origin(part)}" for part in parts]
    lines += [f"{split}: no files; looked for {where}" for split, where in survey["absent"].items()]
    if "test" in survey["rows"] and not survey["source_is_tested"]:
        lines.append(f"test: no rows in {survey['source']}, which is not scored on it; its mean is that of the others")
    return "\n".join(lines)


def _origin(part: Mapping[str, Any]) -> str:
    whose = f"{part['task']}'s, " if part["task"] else ""
    if "files" not in part:
        return f"{whose}{part['from']}"
    formats = ", ".join(f"{count} {name}" for name, count in part["formats"].items()) or "none"
    more = f" and {part['files'] - 1} more" if part["files"] > 1 else ""
    columns = f"; columns {', '.join(part['columns'])}" if part["columns"] else ""
    laid_out = f", laid out as {part['pattern']}" if part["pattern"] != USUAL else ""
    return f"{whose}{part['from']}{more} ({formats}){laid_out}{columns}"


def _languages(survey: Survey, room: int | None) -> str:
    splits = list(survey["rows"])
    rows = [["language", "name", "groups", "syntactic", "fertility", "overlap", *splits, "tokens", "longest", "over"]]
    for code, known in survey["languages"].items():
        tokens = [found[code] for found in survey["tokens"].values() if code in found]
        counts = [str(survey["rows"][split].get(code, "–")) for split in splits]
        median = sorted(each["median"] for each in tokens)[len(tokens) // 2]
        longest, over = max(each["longest"] for each in tokens), sum(each["over"] for each in tokens)
        groups = ", ".join(known["groups"]) or "none"
        cut = survey["vocabulary"][code]
        facts = map(_decimals, (known["distances"].get("syntactic"), cut["fertility"], cut["overlap"]))
        rows.append([code, known["name"], groups, *facts, *counts, f"{median:.0f}", str(longest), str(over)])
    table, _, _ = layout.fit(rows, room, least=("groups", "name"))
    alone = survey["in_no_group"]
    notes = [
        f"{len(rows) - 1} languages, {len(alone)} of them in no group{': ' if alone else ''}{', '.join(alone)}",
        f"syntactic: distance from {survey['source']}, as in group:distance_syntactic>0.5",
        "fertility: tokens a word, – where blanks part no words; overlap: share of its tokens that are trained on",
        f"tokens: the median of a row, and the longest; over: rows longer than task.max_length, {survey['max_length']}",
    ]
    return "\n".join([table, *notes])


def _parsed(survey: Survey) -> str:
    """Whose dependency trees are known, in a word where that is the same of all rows."""
    found = [(c, s, *each) for s, by_code in survey["parsed"].items() for c, each in by_code.items()]
    if survey["malformed_heads"]:
        return "\n".join(["parsed: none, since heads are malformed:", *survey["malformed_heads"]])
    if not any(trees for _, _, _, trees, _ in found):
        return ""
    told: dict[str, list[str]] = {"gold": [], "predicted": [], "none": []}
    for code, split, how, trees, rows in found:
        told[how].append(f"{code} ({split}{'' if trees in (0, rows) else f', {trees} of {rows} rows'})")
    return "\n".join(f"parsed: {how}: {', '.join(names)}" for how, names in told.items() if names)


def _decimals(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _labels(survey: Survey, room: int | None) -> str:
    if not any(counts for found in survey["label_counts"].values() for counts in found.values()):
        return ""
    sums: dict[str, Counter[str]] = {split: Counter() for split in survey["label_counts"]}
    fewer: list[str] = []
    for split, found in survey["label_counts"].items():
        for code, counts in found.items():
            sums[split].update(counts)
            fewer += [f"{code} ({split})"] if not all(counts.values()) else []
    rows = [["label", *sums], *([label, *(str(sums[split][label]) for split in sums)] for label in survey["labels"])]
    table, _, _ = layout.fit(rows, room)
    notes = [f"without rows of some label: {', '.join(fewer)}" if fewer else "every language has rows of every label"]
    if survey["unscored"]:
        notes.append(unscored(survey["unscored"]))
    return "\n".join([table, *notes])


def unscored(labels: Sequence[str]) -> str:
    """What becomes of labels that no training row can have."""
    return f"unscored: {', '.join(labels)}, which no training row has"


def _repeated(survey: Survey) -> str:
    lines = [
        f"{each['language']}: {each['rows']} rows of {each['split']} have the words of a row "
        f"{'before them' if each['also_in'] == each['split'] else 'of ' + each['also_in']}"
        for each in survey["repeated"]
    ]
    return "\n".join(lines) or "no row has the words of another"


def _examples(survey: Survey) -> str:
    return "\n".join(line for code in survey["examples"] for line in _rows_of(survey, code))


def _rows_of(survey: Survey, code: str) -> Iterator[str]:
    for row in survey["examples"][code]:
        cells = [f"{name} {_cell(value)}" for name, value in row.items() if name != "split"]
        yield f"{code} {row['split']}: {'; '.join(cells)}"


def _cell(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        value = " ".join(value)
    return shown(value)


def document(survey: Survey) -> str:
    """The survey as one JSON document."""
    return json.dumps(survey, ensure_ascii=False, indent=2)
