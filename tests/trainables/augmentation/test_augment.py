"""Copies of training rows with other words."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from scipy import stats

from trainables.augmentation import augment, check
from trainables.augmentation.base import METHODS
from trainables.augmentation.words import replace_words, words_of
from trainables.config import AugmentationConfig
from trainables.errors import UserError

ROWS = [
    {"text": "The BIG Dog can't run, big dog.", "other": "A big dog runs", "label": 1},
    {"text": "nothing known here 42", "other": "Dog-house: big", "label": 0},
]
COLUMNS = ("text", "other")


@pytest.fixture
def synonyms(tmp_path):
    path = tmp_path / "synonyms.json"
    path.write_text(
        json.dumps({"big": ["large", "great", "huge"], "dog": ["hound"], "run": ["run", "sprint", "go off"]})
    )
    return path


@pytest.fixture
def translations(tmp_path):
    path = tmp_path / "translations.tsv"
    path.write_text("de\tdog\tHund\nde\tbig\tgroß\nsw\tdog\tmbwa\nhi\tbig\tबड़ा\n", encoding="utf-8")
    return path


def config(resource, **options):
    return AugmentationConfig(**{"method": "synonyms", "copies": 3, "resource": resource} | options)


def test_words_are_found_and_cased():
    assert list(words_of("Can't stop: CO2, well-known हिन्दी 3rd x_y é")) == [
        "can't", "stop", "well", "known", "हिन्दी", "é",
    ]  # fmt: skip
    swap = {"dog": "hound", "i": "we", "a": "any"}
    text = replace_words("Dog, DOG dog; I (a) [A].", lambda w: swap.get(w, w))
    assert text == "Hound, HOUND hound; We (any) [Any]."


def test_copies_keep_everything_but_known_words(synonyms):
    out = augment(config(synonyms, copies=4), ROWS, COLUMNS, "en", seed=1)
    assert len(out) == 8
    assert [row["label"] for row in out] == [1] * 4 + [0] * 4
    for row in out[:4]:
        the, big, dog, cant, run, big2, dog2 = row["text"].replace(",", "").replace(".", "").split()
        assert (the, cant) == ("The", "can't")
        assert big in {"BIG", "LARGE", "GREAT", "HUGE"}
        assert dog in {"Dog", "Hound"}
        assert run in {"run", "sprint"}  # a synonym of two words would change the number of words
        assert big2 in {"big", "large", "great", "huge"}
        assert dog2 in {"dog", "hound"}
        assert row["text"].count(",") == 1
        assert row["text"].endswith(".")
        assert row["other"].endswith("runs")
    assert {row["text"] for row in out[4:]} == {"nothing known here 42"}
    assert ROWS[0]["text"] == "The BIG Dog can't run, big dog."


def test_each_word_is_drawn_uniformly_from_itself_and_its_synonyms(synonyms):
    out = augment(config(synonyms, copies=4000), [{"text": "big"}], ["text"], "en", seed=3)
    counts = Counter(row["text"] for row in out)
    assert set(counts) == {"big", "large", "great", "huge"}
    assert stats.chisquare(list(counts.values())).pvalue > 1e-3
    rarely = augment(config(synonyms, copies=4000, probability=0.1), [{"text": "big"}], ["text"], "en", seed=3)
    assert 0.9 < sum(row["text"] == "big" for row in rarely) / 4000 < 0.95


def test_seeded_per_example_and_independent_between_the_sentences_of_a_pair(synonyms):
    rows = [{"text": "big " * 30, "other": "big " * 30}] * 2
    out = augment(config(synonyms, copies=2), rows, COLUMNS, "en", seed=7)
    assert out == augment(config(synonyms, copies=2), rows, COLUMNS, "en", seed=7)
    assert out[:2] == augment(config(synonyms, copies=2), rows[:1], COLUMNS, "en", seed=7)
    assert out != augment(config(synonyms, copies=2), rows, COLUMNS, "en", seed=8)
    texts = [row[column] for row in out for column in COLUMNS]
    assert len(set(texts)) == len(texts) == 8


def test_lists_of_words_keep_their_length(synonyms):
    rows = [{"tokens": ["The", "Dog", "go", "off", ".", "RUN"], "tags": list("abcdef")}]
    for row in augment(config(synonyms, copies=20), rows, ["tokens"], "en", seed=0):
        assert len(row["tokens"]) == 6
        assert row["tokens"][1] in {"Dog", "Hound"}
        assert row["tags"] == list("abcdef")


def test_code_switching_draws_a_language_for_every_word(translations):
    out = augment(config(translations, method="code_switching", copies=200), ROWS, COLUMNS, "en", seed=0)
    assert {row["text"].split()[2] for row in out[:200]} == {"Hund", "Mbwa"}
    assert {row["text"].split()[1] for row in out[:200]} == {"GROSS", "बड़ा"}
    counts = Counter(row["other"].split()[2] for row in out[:200])
    assert set(counts) == {"Hund", "mbwa"}
    assert min(counts.values()) > 70


def test_supervision_labels():
    assert METHODS["synonyms"].supervision == "monolingual"
    assert METHODS["code_switching"].supervision == "bilingual"


def test_method_none_changes_nothing():
    assert augment(AugmentationConfig(), ROWS, (), "en", seed=0) == ROWS


@pytest.mark.parametrize(
    ("options", "columns", "message"),
    [
        ({"method": "sinonyms"}, COLUMNS, "augmentation.method: unknown method, did you mean 'synonyms'?"),
        ({}, (), "augmentation.method: this task's texts cannot be changed word by word"),
        ({}, ("label_text",), "augmentation.resource: knows none of the 2 words"),
    ],
)
def test_refusals_are_one_line(synonyms, options, columns, message):
    rows = [row | {"label_text": "unknown words"} for row in ROWS]
    with pytest.raises(UserError) as caught:
        augment(config(synonyms, **options), rows, columns, "en", seed=0)
    assert len(caught.value.lines) == 1
    assert caught.value.lines[0].startswith(message)


def test_check_knows_none():
    check(AugmentationConfig())
    check(AugmentationConfig(method="code_switching"))
