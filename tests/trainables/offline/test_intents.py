"""The embedded task: enough languages, honest splits, and the same rows everywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import home_assistant_intents
import pytest
from hassil import recognize_all
from hassil.intents import Intents, SlotList, TextSlotList

from trainables.errors import UserError
from trainables.offline import intents
from trainables.offline.fillers import fillers
from trainables.offline.templates import Draw, templates

FINGERPRINT = "48c8c192d8cab0e1e4880d793616531aecc420de51c196a82cc1cb951795bf38"
"""Of the rows. If it changes on purpose, raise `intents.RECIPE` too, or caches keep the old rows."""


@pytest.fixture(scope="session")
def folder() -> Path:
    return intents.ensure()


@pytest.fixture(scope="session")
def meta(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "meta.json").read_text())
    return loaded


@pytest.fixture(scope="session")
def rows(folder: Path) -> dict[tuple[str, str], list[dict[str, str]]]:
    """(split, language) -> rows."""
    files = {tuple(path.stem.split(".", 1)): path for path in folder.glob("*.jsonl")}
    return {
        (split, language): [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for (split, language), path in files.items()
    }


def test_at_least_45_languages_have_enough_rows(meta: dict[str, Any], rows: dict[Any, Any]) -> None:
    assert len(meta["languages"]) >= 45
    assert meta["languages"].keys() >= {"en", "de", "es", "fr", "it", "nl", "pl", "ru", "zh-CN", "ml", "ga", "cy", "th"}
    for language, counts in meta["languages"].items():
        for split in ("validation", "test"):
            assert counts[split] == len(rows[split, language]) >= 150, language
            assert counts["labels"] == len({row["label"] for row in rows[split, language]}) >= 12, language
    assert 1400 <= meta["languages"]["en"]["train"] == len(rows["train", "en"]) <= 1740
    assert [language for split, language in rows if split == "train"] == ["en"]


def test_every_label_is_trained_on(meta: dict[str, Any], rows: dict[Any, Any]) -> None:
    trained = Counter(row["label"] for row in rows["train", "en"])
    assert sorted(trained) == meta["labels"]
    assert len(trained) == 29
    assert min(trained.values()) >= 5
    assert max(trained.values()) <= 60
    assert {row["label"] for split in rows.values() for row in split} == trained.keys()


def test_no_text_stands_in_two_splits_or_under_two_labels(rows: dict[Any, Any]) -> None:
    splits: dict[str, set[str]] = defaultdict(set)
    labels: dict[tuple[str, str], set[str]] = defaultdict(set)
    for (split, language), split_rows in rows.items():
        essences = [intents._essence(row["text"]) for row in split_rows]
        assert len(set(essences)) == len(essences)
        for essence, row in zip(essences, split_rows, strict=True):
            splits[essence].add(split)
            labels[language, essence].add(row["label"])
    assert [essence for essence, found in splits.items() if len(found) > 1] == []
    assert [essence for essence, found in labels.items() if len(found) > 1] == []


def test_most_labels_share_no_template_between_splits(meta: dict[str, Any]) -> None:
    for language, counts in meta["languages"].items():
        assert counts["labels_split_by_template"] >= 0.6 * counts["labels"], language
    assert meta["languages"]["en"]["labels_split_by_template"] >= 25


def test_shares_are_disjoint_and_leave_nothing_out() -> None:
    for n in range(2, 12):
        two = intents._share(range(n), {"validation": 1, "test": 1})
        assert sorted(two["validation"] + two["test"]) == list(range(n))
        if n > 2:
            three = intents._share(range(n), {"train": 1, "validation": 1, "test": 1})
            assert sorted(three["train"] + three["validation"] + three["test"]) == list(range(n))
            assert min(map(len, three.values())) >= 1


def test_essence_ignores_case_width_and_punctuation_only() -> None:
    assert intents._essence("Start a 5-hour TIMER!") == intents._essence("start a ５ hour timer")
    assert intents._essence("रसोई") != intents._essence("रसाई")
    assert intents._essence("?!") == ""


def test_hassil_understands_the_drawn_sentences_as_their_label() -> None:
    """The package's own recogniser is the judge of the sampler."""
    grammar = Intents.from_dict(home_assistant_intents.get_intents("en"))
    filling = fillers("en")
    lists: dict[str, SlotList] = {
        name: TextSlotList.from_strings(filling[name], allow_template=False) for name in ("area", "floor", "name")
    }
    draw = Draw("judge")
    for label, pool in sorted(intents._pools("en", filling).items()):
        nameless = [template for template in pool if "name" not in template.lists]  # names need a device behind them
        for template in draw.shuffled(nameless)[:3]:
            text = template.sample(filling, draw)
            recognised = recognize_all(text, grammar, slot_lists=lists, intent_context={"area": "kitchen"})
            assert template.intent in {result.intent.name for result in recognised}, (label, text, template.text)


def test_a_draw_is_the_same_everywhere() -> None:
    draw = Draw("x", 1)
    assert [draw.index(10) for _ in range(5)] == [5, 6, 8, 3, 9]
    assert Draw("x", 2).index(1000) != Draw("x", 1).index(1000)
    assert sorted(Draw("y").shuffled("abcdef")) == list("abcdef")


def test_only_wanted_blocks_are_parsed() -> None:
    found = {(t.intent, t.domain) for t in templates("cy", lambda i, d: i == "HassTurnOn" and d == "light")}
    assert found == {("HassTurnOn", "light")}


def test_another_version_of_the_packages_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(intents.PACKAGES, "hassil", "3.0.0")
    with pytest.raises(UserError, match=r"hassil==3\.0\.0 \(got 3\.12\.1\)"):
        intents.build(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_cached_rows_are_these_rows(meta: dict[str, Any]) -> None:
    assert meta["fingerprint"] == FINGERPRINT


@pytest.mark.slow
def test_rows_do_not_depend_on_the_hash_seed(tmp_path: Path) -> None:
    code = f"from pathlib import Path; from trainables.offline import intents; intents.build(Path({str(tmp_path)!r}))"
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": "4711"}, check=True)
    assert json.loads((tmp_path / "meta.json").read_text())["fingerprint"] == FINGERPRINT
