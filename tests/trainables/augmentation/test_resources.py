"""Readers of word resources, on miniatures in the very formats of the Debian packages."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from trainables.augmentation import resources
from trainables.augmentation.resources import load_synonyms, load_translations
from trainables.errors import UserError


def wordnet_folder(folder: Path) -> Path:
    """Two senses of "turn" as a noun, one of "dark" as an adjective, and "in" as WordNet has it: inches."""
    folder.mkdir()
    entries = {
        "noun": [
            (["turn", "bend", "crook"], "a circular segment"),
            (["turn", "play"], "the activity of doing something"),
            (["inch", "in"], "a unit of length"),
            (["about-face", "Turn_of_events", "reversal"], "about facing"),
        ],
        "verb": [(["turn", "turn_over", "revolve"], "change orientation")],
        "adj": [(["dark(a)", "unlit"], "devoid of light")],
        "adv": [],
    }
    for part, synsets in entries.items():
        data, offsets = "  1 This software and database is being provided to you\n", {}
        for words, gloss in synsets:
            for word in words:
                lemma = word.partition("(")[0].lower()
                offsets.setdefault(lemma, []).append(len(data))
            listed = " ".join(f"{word} 0" for word in words)
            data += f"{len(data):08d} 25 {part[0]} {len(words):02x} {listed} 000 | {gloss}  \n"
        (folder / f"data.{part}").write_text(data)
        index = "  1 This software and database is being provided to you\n"
        for lemma in sorted(offsets):
            found = offsets[lemma]
            index += (
                f"{lemma} {part[0]} {len(found)} 1 @ {len(found)} 1 " + " ".join(f"{o:08d}" for o in found) + "  \n"
            )
        (folder / f"index.{part}").write_text(index)
    return folder


def dictionary(folder: Path, name: str, entries: list[tuple[str, str]]) -> None:
    """A dictd dictionary: offsets and lengths in base 64."""
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

    def number(value: int) -> str:
        text = digits[value % 64]
        while value := value // 64:
            text = digits[value % 64] + text
        return text

    text, index = b"", []
    for headword, body in entries:
        entry = f"{headword} /x/ <n>\n{body}\n".encode()
        index.append(f"{headword}\t{number(len(text))}\t{number(len(entry))}")
        text += entry
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.dict.dz").write_bytes(gzip.compress(text))
    (folder / f"{name}.index").write_text("\n".join(index) + "\n", encoding="utf-8")


def test_wordnet_gives_single_words_of_the_first_sense_of_each_part_of_speech(tmp_path):
    found = load_synonyms(wordnet_folder(tmp_path / "wordnet"), "en", {"turn", "dark", "in", "reversal", "absent"})
    assert found == {"turn": ("bend", "crook", "revolve"), "dark": ("unlit",)}


def test_mythes(tmp_path):
    path = tmp_path / "th_de_DE.dat"
    lines = ["ISO8859-1", "gehen|2", "-|laufen|zu Fuß gehen|bewegen (Oberbegriff)|schreiten", "-|funktionieren", "Öl|1",
             "(noun)|Erdöl"]  # fmt: skip
    path.write_bytes(("\n".join(lines) + "\n").encode("latin-1"))
    assert load_synonyms(path, "de", {"gehen", "Öl"}) == {"gehen": ("laufen", "schreiten"), "Öl": ("Erdöl",)}
    assert load_synonyms(path, "de", {"laufen"}) == {}


def test_freedict(tmp_path):
    padding = [(f"w{i}", "x" * 50) for i in range(100)]  # so that offsets take several digits
    german = [("house", "Haus <neut>, Gebäude <neut> [constr.]\n  see: {houses}"), ("House", "House-Musik <fem>"),
              ("light", "\n1. Licht <neut>, jdn. an/leuchten, hell <adj>")]  # fmt: skip
    dictionary(tmp_path / "dictd", "freedict-eng-deu", padding + german)
    dictionary(tmp_path / "dictd", "freedict-eng-swh", [("house", "\nnyumba"), ("go", "nenda!")])
    dictionary(tmp_path / "dictd", "freedict-deu-eng", [("house", "no")])
    assert load_translations(tmp_path / "dictd", "en", {"house", "light", "go"}) == {
        "de": {"house": ("Gebäude", "Haus"), "light": ("Licht", "hell")},
        "sw": {"house": ("nyumba",)},
    }


def test_own_files(tmp_path):
    (tmp_path / "s.json").write_text(json.dumps({"big": ["large", "big", "very big"], "old": ["aged"]}))
    (tmp_path / "s.tsv").write_text("big\tlarge\nold\taged\n")
    (tmp_path / "t.json").write_text(json.dumps({"de": {"big": ["groß"]}, "sw": {"big": []}}))
    (tmp_path / "t.tsv").write_text("de\tbig\tgroß\n", encoding="utf-8")
    for name in ("s.json", "s.tsv"):
        assert load_synonyms(tmp_path / name, "en", {"big"}) == {"big": ("large",)}
    assert load_translations(tmp_path / "t.json", "en", {"big"}) == {"de": {"big": ("groß",)}, "sw": {}}
    assert load_translations(tmp_path / "t.tsv", "en", {"big"}) == {"de": {"big": ("groß",)}}


def test_missing_resources_name_the_package_to_install(tmp_path, monkeypatch):
    for name in ("WORDNET", "THESAURI", "DICTIONARIES"):
        monkeypatch.setattr(resources, name, tmp_path / name)
    for call, words in [
        (lambda: load_synonyms(None, "en", {"big"}), "apt-get install wordnet-base"),
        (lambda: load_synonyms(None, "de", {"gross"}), "apt-get install mythes-de"),
        (lambda: load_translations(None, "en", {"big"}), "apt-get install dict-freedict-eng-deu"),
        (lambda: load_synonyms(tmp_path / "no.json", "en", {"big"}), "cannot be read"),
        (lambda: load_synonyms(tmp_path / "no.txt", "en", {"big"}), "cannot be read"),
    ]:
        with pytest.raises(UserError, match=words) as caught:
            call()
        assert len(caught.value.lines) == 1
        assert caught.value.lines[0].startswith("augmentation.resource: ")


@pytest.mark.parametrize("content", ["[]", '{"big": "large"}', "{"])
def test_malformed_files_are_refused(tmp_path, content):
    (tmp_path / "s.json").write_text(content)
    with pytest.raises(UserError, match=r"^augmentation.resource: "):
        load_synonyms(tmp_path / "s.json", "en", {"big"})


def test_the_installed_wordnet():
    if not resources.WORDNET.is_dir():
        pytest.skip(f"no WordNet at {resources.WORDNET}")
    found = load_synonyms(None, "en", {"turn", "big", "in", "it"})
    assert found["big"] == ("large",)
    assert "bend" in found["turn"]
    assert not {"in", "it"} & set(found)
