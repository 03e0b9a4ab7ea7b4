"""XLM's fast tokenizer: the pieces of the library's slow one, with the characters and words that they come from."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.config import EncoderConfig
from trainables.errors import UserError
from trainables.model import moses
from trainables.model.pretrained import load_tokenizer
from trainables.model.xlm_tokenizer import XlmTokenizer

MERGES = [
    ("h", "e"),
    ("l", "o</w>"),
    ("l", "lo</w>"),
    ("he", "llo</w>"),
    ("t", "h"),
    ("th", "e</w>"),
    ("e", "t"),
    ("et", "e</w>"),
]
CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,'\"!?:;()-%$é"
WORDS = ["<s>", "</s>", "<pad>", "<unk>", *(f"<special{i}>" for i in range(10))]
WORDS += [*CHARACTERS, *(f"{c}</w>" for c in CHARACTERS)]
WORDS += ["he", "lo</w>", "hello</w>", "the</w>", "ete</w>"]  # without all that merging needs on its way
VOCABULARY = {word: number for number, word in enumerate(WORDS)}

CASES = {
    ("en", "Hello, world! It's 5,300 dollars, isn't it?"): "Hello , world ! It 's 5,300 dollars , isn 't it ?",
    ("en", "Mr. Smith went home. He liked it..."): "Mr. Smith went home . He liked it ...",
    ("en", "The dogs' house is No. 5, e.g. here."): "The dogs ' house is No. 5 , e.g. here .",
    ("en", "No. It is p.m. now"): "No . It is p.m. now",
    ("en", "“Quoted”, he said: «bonjour» — ok"): '" Quoted , " he said : " bonjour " - ok',
    ("en", "，。？１２３"): ", . ? 123",
    ("en", "me@x.org / http://a.b"): "me @ x.org / http : / / a.b",
    ("fr", "l'été d'Or, qu'il «dit»"): "l' été d' Or , qu' il \" dit \"",
    ("de", "Am 5. Mai gibt's „so“ was."): 'Am 5. Mai gibt \' s " so " was .',
    ("ru", "Привет, мир! А. С. Пушкин."): "Привет , мир ! А. С. Пушкин .",
    ("hi", "नमस्ते दुनिया। यह क्या है?"): "नमस्ते दुनिया । यह क्या है ?",
    ("ar", "مرحبا، كيف حالك؟"): "مرحبا ، كيف حالك ؟",
    ("ko", "안녕하세요. 반갑습니다!"): "안녕하세요 . 반갑습니다 !",
}


@pytest.mark.parametrize(("language", "text"), CASES)
def test_words_are_those_of_moses(language: str, text: str) -> None:
    assert moses.words(language).normalize_str(text).split() == CASES[language, text].split()


def write(folder: Path, **own: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(VOCABULARY), encoding="utf-8")
    (folder / "merges.txt").write_text("".join(f"{a} {b} 7\n" for a, b in MERGES), encoding="utf-8")
    config = {"model_type": "xlm", "n_langs": own.pop("n_langs", 15), "vocab_size": len(WORDS)}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    if own:
        (folder / "tokenizer_config.json").write_text(json.dumps(own), encoding="utf-8")
    return folder


def loaded(folder: Path, language: str = "en") -> XlmTokenizer:
    tokenizer = load_tokenizer(EncoderConfig(name_or_path=str(folder)), language)
    assert isinstance(tokenizer, XlmTokenizer)
    return tokenizer


def test_pieces_offsets_and_words(tmp_path: Path) -> None:
    tokenizer, text = loaded(write(tmp_path)), "Hello, the été's Ж"
    found = tokenizer(text, return_offsets_mapping=True, return_special_tokens_mask=True)
    names = [WORDS[i] for i in found["input_ids"]]
    assert names == ["<s>", "hello</w>", ",</w>", "the</w>", "ete</w>", "'", "s</w>", "<unk>", "</s>"]
    assert found.word_ids() == [None, 0, 1, 2, 3, 4, 4, 5, None]
    parts = [text[a:b] for a, b in found["offset_mapping"][1:-1]]
    assert parts == ["Hello", ",", "the", "été", "'", "s", "Ж"]
    assert found["special_tokens_mask"] == [1, 0, 0, 0, 0, 0, 0, 0, 1]
    assert (tokenizer.pad_token_id, tokenizer.mask_token_id, tokenizer.is_fast) == (2, 5, True)


def test_what_merging_needs_and_the_vocabulary_has_not_is_unknown_to_the_encoder(tmp_path: Path) -> None:
    tokenizer = loaded(write(tmp_path))
    assert max(VOCABULARY.values()) < tokenizer.convert_tokens_to_ids("th"), "which merging needs"
    found = tokenizer([["th", "hello"], ["et"]], is_split_into_words=True)
    assert [[WORDS[i] for i in row] for row in found["input_ids"]] == [
        ["<s>", "t", "h</w>", "hello</w>", "</s>"],
        ["<s>", "e", "t</w>", "</s>"],
    ]
    (row,) = tokenizer(["ets"])["input_ids"]
    assert [WORDS[i] for i in row] == ["<s>", "<unk>", "s</w>", "</s>"], "its row is not there"


@pytest.mark.parametrize(
    ("own", "kept"),
    [
        ({}, False),
        ({"n_langs": 17}, True),
        ({"n_langs": 100}, True),
        ({"n_langs": 100, "do_lowercase_and_remove_accent": True}, False),
        ({"do_lowercase_and_remove_accent": False}, True),
    ],
)
def test_case_and_accents_go_where_the_checkpoint_is_without(tmp_path: Path, own: dict[str, Any], kept: bool) -> None:
    row = loaded(write(tmp_path, **own))("é T")["input_ids"]
    assert [WORDS[i] for i in row[1:-1]] == (["é</w>", "<unk>"] if kept else ["e</w>", "t</w>"])


def test_a_pair_is_cut_and_has_one_separator(tmp_path: Path) -> None:
    (row,) = loaded(write(tmp_path))(["the hello hello"], ["hello the"], truncation=True, max_length=6)["input_ids"]
    assert [WORDS[i] for i in row] == ["<s>", "the</w>", "hello</w>", "</s>", "hello</w>", "</s>"]


@pytest.fixture
def rjieba(monkeypatch: pytest.MonkeyPatch) -> None:
    """A segmenter that makes words of two signs."""
    module = ModuleType("rjieba")
    module.cut = lambda text: [text[i : i + 2] for i in range(0, len(text), 2)]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "rjieba", module)


@pytest.mark.usefixtures("rjieba")
def test_chinese_is_cut_by_its_segmenter(tmp_path: Path) -> None:
    text = "héllo。HE a"
    found = loaded(write(tmp_path), "zh")(text, return_offsets_mapping=True)
    cut = [text[a:b] for a, b in found["offset_mapping"][1:-1]]
    assert cut == ["h", "é", "l", "l", "o", "。", "H", "E", "a"]
    assert found.word_ids()[1:-1] == [0, 0, 1, 1, 2, 2, 3, 3, 4]
    assert [WORDS[i] for i in found["input_ids"][1:3]] == ["h", "e</w>"]


@pytest.mark.parametrize(("language", "package"), [("zh", "rjieba"), ("th", "pythainlp"), ("ja", "kytea")])
def test_a_segmenter_that_is_not_there_is_named(
    tmp_path: Path, language: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("rjieba", "pythainlp.tokenize", "Mykytea"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf"^encoder.name_or_path: XLM needs the package {package} .* \(got .*\)$"):
        loaded(write(tmp_path), language)


@pytest.mark.parametrize("language", ["en", "fr", "de", "ru"])
def test_whatever_the_text_pieces_follow_each_other_and_words_are_whole(tmp_path: Path, language: str) -> None:
    tokenizer = loaded(write(tmp_path), language)

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(st.text(alphabet="aBé.,'\"“”«»…()-5 \u00a0%!？。\u0301हि\n", max_size=14))
    def check(text: str) -> None:
        found = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
        offsets, words = found["offset_mapping"], found.word_ids()
        assert all(0 <= a <= b <= len(text) for a, b in offsets)
        assert words == sorted(words) and set(words) == set(range(len(set(words))))

    check()


def test_files_that_are_not_there_are_one_line(tmp_path: Path) -> None:
    (write(tmp_path) / "merges.txt").unlink()
    with pytest.raises(UserError, match=r"needs XLM's vocab.json and merges.txt \(got no merges.txt\)"):
        loaded(tmp_path)


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("language", ["en", "fr", "de", "ru", "ar", "tr", "ko"])
def test_it_agrees_with_the_librarys_own(tmp_path: Path, language: str, lowercase: bool) -> None:
    pytest.importorskip("sacremoses")
    from transformers.models.xlm.tokenization_xlm import XLMTokenizer

    # The library knows no other pieces than the vocabulary's.
    further = sorted({part for a, b in MERGES for part in (a, b, a + b)} - VOCABULARY.keys())
    whole = {word: number for number, word in enumerate([*WORDS, *further])}
    merges = "".join(f"{a} {b}\n" for a, b in MERGES)
    (tmp_path / "vocab.json").write_text(json.dumps(whole), encoding="utf-8")
    (tmp_path / "merges.txt").write_text(merges, encoding="utf-8")
    theirs = XLMTokenizer(
        str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"), do_lowercase_and_remove_accent=lowercase
    )
    ours = XlmTokenizer(whole, MERGES, lowercase, language)
    texts = [text for _, text in CASES]
    texts += ["wait--what - no-one", "it's... well.. ok . fine", "the end.'", "( a ) 50 % : ;", "hello\tthe\u00a0x"]
    for text in texts:
        if (language == "ko") != any("가" <= sign <= "힣" for sign in text):
            continue  # which the library takes apart in other languages
        if language != "en" and ("Mr." in text or "No." in text or "5." in text):
            continue  # abbreviations of the language
        expected = theirs._tokenize(text, lang=language)
        assert ours(text)["input_ids"][1:-1] == theirs.convert_tokens_to_ids(expected), text
