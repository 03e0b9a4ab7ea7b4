"""Noise in running text: nested in its rate, of its seed alone, in the letters of a language."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random

import pytest
from scipy import stats

from trainables.augmentation import augment
from trainables.augmentation.keyboards import neighbours
from trainables.augmentation.noise import alphabet, edited, noised, plain, thinned, units
from trainables.config import AugmentationConfig
from trainables.errors import UserError
from trainables.languages import own_languages

TEXTS = {
    "en": ["Well, I wasn't thinking about THAT 3rd one (again).", "McDonald's: nothing-new, x_y CO2."],
    "hi": ["उसने कहा कि वह हिन्दी में बोलेगा।", "क्या यह ठीक है?"],
    "ar": ["قالَ إنَّهُ سيَتَكَلَّمُ العَرَبِيَّة", "نعم"],
    "vi": ["Tôi không biết tiếng Việt, xin lỗi!", "Đường"],
    "th": ["ฉันไม่รู้ว่าเขาอยู่ที่ไหนในวันนี้ 3 คน", "ใช่"],
    "ja": ["彼は2019年に東京へ行きました。", "はい"],
    "tr": ["İstanbul'da ışık yok.", "EVET"],
    "am": ["ሰላም ለዓለም ሁሉ", "አዎ"],
}
ALL = [text for texts in TEXTS.values() for text in texts]
KINDS: dict[str, Callable[[Sequence[str], float, int], list[str]]] = {
    "character": lambda texts, rate, seed: noised(texts, rate, seed, edited(alphabet(texts))),
    "casing_accents": lambda texts, rate, seed: noised(texts, rate, seed, plain),
    "word_drop": thinned,
}


def parts(text: str) -> list[str]:
    """What rates count, and what lies between, one after the other."""
    found, end = [], 0
    for match in units().finditer(text):
        found += [text[end : match.start()], match.group()]
        end = match.end()
    return [*found, text[end:]]


@pytest.mark.parametrize("kind", KINDS)
def test_rate_zero_changes_nothing_and_a_seed_gives_one_text(kind: str) -> None:
    noise = KINDS[kind]
    assert noise(ALL, 0.0, 3) == ALL
    assert noise(ALL, 0.5, 3) == noise(ALL, 0.5, 3) != ALL
    assert noise(ALL, 0.5, 3) != noise(ALL, 0.5, 4)


def test_what_is_noised_at_one_rate_is_noised_alike_at_every_higher_one() -> None:
    def mark(word: str, random: Random) -> str:
        return f"<{word}{random.random()}>"

    before: set[str] = set()
    counts = []
    for rate in (0.0, 0.05, 0.1, 0.2, 0.6, 1.0):
        marked = noised([" ".join(["word"] * 400)] * 2, rate, 7, mark)
        found = {
            f"{t}.{k}={word}" for t, text in enumerate(marked) for k, word in enumerate(text.split()) if "<" in word
        }
        assert before <= found
        counts.append(len(found))
        before = found
    assert counts[0] == 0 and counts[-1] == 800
    assert len({entry.partition("=")[2] for entry in before}) == 800, "words share a draw"
    for rate, count in zip((0.05, 0.1, 0.2, 0.6), counts[1:], strict=False):
        assert stats.binomtest(count, 800, rate).pvalue > 1e-3


def test_words_that_are_left_out_stay_out_at_higher_rates_and_one_word_always_stays() -> None:
    text = " ".join(f"w{chr(97 + i)}" for i in range(26)) + "!"
    before = set(text.strip("!").split())
    for rate in (0.1, 0.3, 0.7, 1.0):
        (left,) = thinned([text], rate, 1)
        assert left.endswith("!") and "  " not in left
        words = set(left.strip("! ").split())
        assert words < before
        before = words
    assert len(before) == 1
    assert thinned(["yes", "Yes, no"], 1.0, 5)[0] == "yes"


@pytest.mark.parametrize("language", TEXTS)
def test_one_letter_of_a_word_changes_in_the_alphabet_of_the_language(language: str) -> None:
    letters = alphabet(TEXTS[language])
    assert all(letter.isalpha() and letter == letter.lower() for letter in letters)
    own = set("".join(TEXTS[language]).lower())
    for seed in range(30):
        for before, after in zip(TEXTS[language], noised(TEXTS[language], 1.0, seed, edited(letters)), strict=True):
            assert set(after.lower()) <= own
            assert not set("0123456789_") & set(before) or set("0123456789_") & set(after)
            words = parts(before)
            assert abs(len(after) - len(before)) <= sum(len(w) for w in words[1::2])
            for mark, neighbour in zip(after, [" ", *after], strict=False):  # no mark stands where no letter does
                if unicodedata.category(mark)[0] == "M":
                    assert unicodedata.category(neighbour)[0] in "LM"


def test_a_letter_is_inserted_deleted_or_replaced_each_as_often() -> None:
    change = edited(alphabet(["abcdefghij"]))
    lengths = Counter(len(change("word", Random(seed))) - 4 for seed in range(3000))
    assert set(lengths) == {-1, 0, 1}
    assert stats.chisquare(list(lengths.values())).pvalue > 1e-3
    assert all(change("aabb", Random(seed)) != "aabb" for seed in range(300))
    drawn = Counter(c for seed in range(3000) for c in change("zzzz", Random(seed)) if c != "z")
    assert set(drawn) == set("abcdefghij")
    assert stats.chisquare(list(drawn.values())).pvalue > 1e-3


def test_a_letter_takes_its_marks_along_and_no_word_loses_its_last() -> None:
    change = edited(["क", "म"])
    for seed in range(60):
        assert change("की", Random(seed)) != ""
        found = change("हिन्दी", Random(seed))  # ह+ि, न+्, द+ी
        assert found in {"न्दी", "हिदी", "हिन्"} or len(found) in (6, 7)
        assert found.count("ि") + found.count("्") + found.count("ी") == 3 or len(found) == 4


def test_case_is_kept_and_an_unchanged_letter_is_as_it_was_written() -> None:
    change = edited(["x"])
    found = {change("McDonald", Random(seed)) for seed in range(200)}
    assert {"XcDonald", "McXonald", "cDonald", "McDonalx", "McDonaldx"} <= found
    assert all("X" in word or word[0] in "Mcx" for word in found)
    assert {change("YES", Random(seed)) for seed in range(100)} == {
        "XES", "YXS", "YEX", "ES", "YS", "YE", "XYES", "YXES", "YEXS", "YESX",
    }  # fmt: skip


def test_scripts_without_spaces_are_noised_in_pieces_of_a_words_length() -> None:
    assert parts("彼は2019年に東京へ")[1::2] == ["彼は", "年に", "東京", "へ"]
    assert parts("ฉันไม่รู้ว่า x")[1::2] == ["ฉันไม่", "รู้ว่า", "x"]
    assert parts("well-known 한국어는 iPhone手机")[1::2] == ["well", "known", "한국어는", "iPhone手机"]


def test_new_letters_are_of_the_words_script_where_there_are_such() -> None:
    change = edited(alphabet(["OK Nova ใช่ก จึ 手机です"]))
    for word, letters in (("ก", set("ใชกจ่ึ")), ("机", set("手机です")), ("Ok", set("Oknovak"))):
        found = {c for seed in range(300) for c in change(word, Random(seed))}
        assert found - set(word) and {c.lower() for c in found} <= {c.lower() for c in letters}
    assert set("".join(edited(["ж"])("b", Random(seed)) for seed in range(9))) == {"b", "ж"}


def test_rare_letters_are_not_of_the_alphabet() -> None:
    assert alphabet(["abc " * 5000 + "Ж"]) == ("a", "b", "c")
    assert alphabet(["Aé! 3_ е́"]) == ("a", "é", "е")
    assert alphabet(["123 …"]) == ()


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("McDonald", "mcdonald"),
        ("Việt Đường", "viet đuong"),
        ("ΆΝΘΡΩΠΟΣ", "ανθρωπος"),
        ("İstanbul", "istanbul"),
        ("हिन्दी में", "हिन्दी में"),
        ("\u0958\u094d e\u0301\u0301X", "\u0958\u094d ex"),  # one sign stays one, though it could be taken apart
        ("العَرَبِيَّة", "العَرَبِيَّة"),
        ("한국어 がぎ", "한국어 がぎ"),
    ],
)
def test_case_and_accents_go_and_nothing_else(written: str, expected: str) -> None:
    assert noised([written], 1.0, 0, plain) == [expected]


def config(**options: object) -> AugmentationConfig:
    return AugmentationConfig.model_validate({"method": "character_noise", "copies": 2, "probability": 0.5} | options)


ROWS = [{"text": "the big dog ran home", "tokens": ["a", "Dog", "!", "3"], "label": 1, "tags": [0, 1, 2, 3]}] * 3


def test_copies_with_character_noise_are_nested_in_the_probability() -> None:
    low, high = (augment(config(probability=p), ROWS, ("text", "tokens"), "en", seed=2) for p in (0.2, 0.7))
    assert len(low) == len(high) == 6
    changed = 0
    for some, more in zip(low, high, strict=True):
        assert some["label"] == 1 and some["tags"] == [0, 1, 2, 3] and len(more["tokens"]) == 4
        assert more["tokens"][2:] == ["!", "3"]
        for own, one, two in zip(ROWS[0]["text"].split(), some["text"].split(), more["text"].split(), strict=True):
            assert one in (own, two)
            changed += one != own
    assert changed and low != high
    assert augment(config(), ROWS[:1], ("text",), "en", seed=2) == augment(config(), ROWS, ("text",), "en", seed=2)[:2]
    assert augment(config(probability=0.0), ROWS, ("text",), "en", seed=2) == [row for row in ROWS for _ in range(2)]
    assert len({row["text"] for row in augment(config(), ROWS, ("text",), "en", seed=2)}) > 4


def test_the_letters_of_a_group_are_those_of_its_languages() -> None:
    others = {"ru": ["жщы"], "uk": ["їґ"], "de": ["ß"]}
    options = {"alphabet": "script:Cyrl", "copies": 60, "probability": 1.0}
    rows = augment(config(**options), ROWS[:1], ("text",), "en", 1, lambda: others)
    assert set("".join(row["text"] for row in rows)) - set(ROWS[0]["text"]) == set("жщыїґ")
    own = own_languages({"de": {"groups": ("northern",)}})
    rows = augment(config(alphabet="northern", copies=20), ROWS[:1], ("text",), "en", 1, lambda: others, own)
    assert set("".join(row["text"] for row in rows)) - set(ROWS[0]["text"]) == {"ß"}
    with pytest.raises(UserError, match=r"augmentation\.alphabet: no target language .* there are ru, uk, de"):
        augment(config(alphabet="script:Thai"), ROWS, ("text",), "en", 1, lambda: others)
    with pytest.raises(UserError, match=r"augmentation\.alphabet: must be source, or a group; unknown group"):
        augment(config(alphabet="latin"), ROWS, ("text",), "en", 1)
    with pytest.raises(UserError, match=r"augmentation\.alphabet: its texts have no letters"):
        augment(config(), [{"text": "12"}], ("text",), "en", 1)


def test_letters_of_a_keyboard_are_those_around_the_one_that_is_hit() -> None:
    """On layouts as everybody knows them, letter by letter."""
    assert set(neighbours("en")["s"]) == set("awedxz") and set(neighbours("fr")["q"]) == set("azsw")
    assert set(neighbours("ru")["а"]) == set("вкепмс") and set(neighbours("de-AT")["ä"]) == set("üö")
    assert neighbours("sw") == {} and all(neighbours("ar").values())


@pytest.mark.parametrize("language", ["en", "ru", "tr"])
def test_typos_on_a_keyboard_are_of_neighbouring_keys(language: str) -> None:
    beside = neighbours(language)
    letters, word = tuple(sorted(beside)), "".join(sorted(beside))
    plainly, typed = edited(letters), edited(letters, beside)
    for seed in range(200):
        found = typed(word, Random(seed))
        if len(found) == len(word):
            ((old, new),) = [pair for pair in zip(word, found, strict=True) if pair[0] != pair[1]]
            assert new in beside[old]
        elif len(found) > len(word):
            place = next((i for i, (a, b) in enumerate(zip(word, found, strict=False)) if a != b), len(word))
            assert any(found[k] in beside[word[min(k, len(word) - 1)]] for k in range(max(place - 3, 0), place + 1))
        else:
            assert found == plainly(word, Random(seed))
    assert typed("漢", Random(1)) == plainly("漢", Random(1))
    assert set(edited(letters, {"e": "w"})("é", Random(3))) <= {"w", "é"}
