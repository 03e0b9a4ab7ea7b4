"""Sentence pairs as others publish them, and as installed packages hold them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from trainables.alignment import pairs
from trainables.alignment.pairs import Pair
from trainables.errors import UserError

NTREX = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "parallel" / "ntrex"
EN, SW = ["Turn it off.", "Good day, all."], ["Zima.", "Siku njema, nyote."]
EXPECTED = {"sw": [Pair(*each) for each in zip(EN, SW, strict=True)]}

TMX = """<?xml version="1.0"?><tmx version="1.4"><header/><body>
<tu><tuv xml:lang="en"><seg>Turn <b>it</b> off.</seg></tuv><tuv xml:lang="sw"><seg>Zima.</seg></tuv></tu>
<tu><tuv xml:lang="en"><seg>Good day, all.</seg></tuv><tuv xml:lang="SW"><seg>Siku njema, nyote.</seg></tuv></tu>
</body></tmx>"""


def lines(texts: list[str], end: str = "\n") -> str:
    return end.join(texts) + end


@pytest.mark.parametrize(
    "files",
    [
        {"en.txt": lines(EN), "sw.txt": lines(SW, "\r\n")},
        {"newstest2019-src.eng.txt": lines(EN), "newstest2019-ref.swa.txt": lines(SW)},
        {"tatoeba.en-sw.en": lines(EN), "tatoeba.en-sw.sw": lines(SW)},
        {"Books.sw-en.sw": lines(SW), "Books.sw-en.en": lines(EN)},
        {"en-sw.tsv": "".join(f"{a}\t{b}\tCC0\n" for a, b in zip(EN, SW, strict=True))},
        {"sw.tsv.gz": "\ufeff" + "".join(f"{a}\t{b}\n" for a, b in zip(EN, SW, strict=True))},
        {"memory.tmx": TMX},
    ],
    ids=lambda files: next(iter(files)),
)
def test_files_as_others_write_them(tmp_path: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        data = text.encode()
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert pairs.load(tmp_path, "en") == EXPECTED
    assert pairs.load(tmp_path, "en", ["swh_Latn", "de"]) == EXPECTED
    with pytest.raises(UserError, match="it has those of sw"):
        pairs.load(tmp_path, "en", ["de"])


@pytest.mark.parametrize(
    ("files", "rule"),
    [
        ({"en.txt": "One.\nTwo.\n", "sw.txt": "Moja.\n"}, "must have as many lines as .*en.txt has, 2 .got 1."),
        ({"en-sw.tsv": "One.\tMoja.\nTwo.\n"}, "row 2: must be a source sentence, a tab"),
        ({"memory.tmx": "<tmx><body>"}, "is no TMX"),
        ({"en.txt": "One.\n"}, "no form of sentence pairs is known"),
        ({"en.txt": "Same.\n", "sw.txt": "Same.\n"}, "must have pairs of en"),
    ],
)
def test_what_is_no_file_of_pairs_is_said(tmp_path: Path, files: dict[str, str], rule: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=rule):
        pairs.load(tmp_path, "en")


def test_places_that_are_not_there() -> None:
    with pytest.raises(UserError, match="or a package"):
        pairs.load("nowhere", "en")
    with pytest.raises(UserError, match=r"try pip install home-assistant-frontend|must have pairs"):
        pairs.load("home-assistant-frontend", "xx")


def test_links_go_with_their_pairs(tmp_path: Path) -> None:
    (tmp_path / "en.txt").write_text(lines(["Same.", *EN]), encoding="utf-8")
    (tmp_path / "sw.txt").write_text(lines(["Same.", *SW]), encoding="utf-8")
    links = tmp_path / "links"
    links.mkdir()
    (links / "sw.txt").write_text("0-0\n0-0 2-0\n\n", encoding="utf-8")
    found = pairs.load(tmp_path, "en", ["sw"], links)
    assert [pair.links for pair in found["sw"]] == [{(0, 0), (2, 0)}, frozenset()]
    (links / "sw.txt").write_text("0-0\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"a line for each of the 3 pairs .got 1."):
        pairs.load(tmp_path, "en", ["sw"], links)


def test_evaluated_sentences_are_left_out_however_they_are_written() -> None:
    tested = {pairs.normalised("turn it OFF!"), pairs.normalised("Siku njema, nyote")}
    kept, lost = pairs.without({**EXPECTED, "de": [Pair("Go on.", "Weiter.")]}, tested)
    assert (kept, dict(lost)) == ({"de": [Pair("Go on.", "Weiter.")]}, {"sw": 2})


def test_texts_of_installed_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sentences alone, with the same placeholders on both sides; no plural forms, nothing fuzzy."""
    root = tmp_path / "translations"
    texts = {
        "en": {
            "a": "Turn off {name} now",
            "b": "Stop",
            "c": "Close all the covers",
            "d": "{n, plural, one {# x}} is on",
        },
        "sw": {"a": "Zima {name} sasa", "b": "Simama", "c": "Funga {x} zote", "d": "{n, plural, one {# x}} ni"},
    }
    for code, flat in texts.items():
        path = root / f"{code}-{'0' * 32}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(flat), encoding="utf-8")
    po = tmp_path / "locale" / "sw" / "LC_MESSAGES" / "django.po"
    po.parent.mkdir(parents=True)
    po.write_text(
        'msgid ""\nmsgstr "Language: sw\\n"\n\n'
        'msgid "Enter a whole "\n"number."\nmsgstr "Ingiza namba \\"nzima\\"."\n\n'
        '#, fuzzy\nmsgid "Not so sure this"\nmsgstr "Labda"\n\n'
        'msgid "%d whole numbers here"\nmsgid_plural "%d"\nmsgstr[0] "x"\n',
        encoding="utf-8",
    )
    files = [SimpleNamespace(locate=lambda path=path: path) for path in tmp_path.rglob("*") if path.is_file()]
    monkeypatch.setattr(pairs.metadata, "files", lambda name: files)
    assert pairs.load("home-assistant-frontend", "en") == {"sw": [Pair("Turn off {name} now", "Zima {name} sasa")]}
    assert pairs.load("django", "en") == {"sw": [Pair("Enter a whole number.", 'Ingiza namba "nzima".')]}


@pytest.mark.skipif(not NTREX.is_dir(), reason="the real task data are not here")
def test_ntrex() -> None:
    found = pairs.load(NTREX, "en", ["sw", "yo", "zh"])
    assert {code: len(each) > 990 for code, each in found.items()} == {"sw": True, "yo": True, "zh": True}
