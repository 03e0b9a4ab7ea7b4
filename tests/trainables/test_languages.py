"""The language table against what the benchmarks, the task data and the papers say, and the groups made from it."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from trainables import pretraining
from trainables.config import TaskConfig
from trainables.errors import UserError
from trainables.languages import (
    base,
    collapse_variants,
    group,
    is_relative,
    is_seen,
    language,
    normalize,
    own_groups,
    pretraining_size,
    table,
    undecided,
)
from trainables.loading import validate
from trainables.offline import intents

FIRST = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "language_facts.py"))["FIRST"].split()

XTREME_R = {
    5: "ar de en es fr ja zh",
    4: "eu fa fi hi hu it ko nl pl pt ru tr vi",
    3: "af bg bn el et he id ka kk lt ms ro ta th tl uk ur",
    2: "ht mr pa sw wo yo",
    1: "az gu jv ml my qu te",
}
"""The 50 languages of XTREME-R by resource class."""


def test_xtreme_r_has_50_languages_13_of_them_low_resource() -> None:
    codes = [code for row in XTREME_R.values() for code in row.split()]
    assert len(codes) == 50
    for expected, row in XTREME_R.items():
        assert {code: language(code).resource_class for code in row.split()} == dict.fromkeys(row.split(), expected)
    assert len(group("low_resource", codes)) == 13
    assert group("unseen", sorted(codes)) == ("ht", "qu", "wo", "yo")


def test_every_row_is_whole_and_consistent() -> None:
    for code, row in table().items():
        assert (row.code, normalize(code)) == (code, code)
        assert row.name
        assert row.script is None or len(row.script) == 4
        assert row.resource_class in (None, *range(6))
        if row.variant_of:
            assert base(row.variant_of) == row.variant_of in table()
        if row.variant_of and "-" in code:
            assert row.resource_class == language(row.variant_of).resource_class


def test_the_first_97_rows_are_whole() -> None:
    first = [table()[code] for code in FIRST]
    assert len(first) == 97
    assert all(row.family and row.script and row.resource_class is not None for row in first)


def test_what_no_source_says_is_not_known() -> None:
    """No class in Joshi et al., no family of a language that only its code is known of: neither zero nor False."""
    assert language("acm").resource_class is None
    assert (language("bbj").family, language("bzd").script) == (None, None)


def test_flores_200_is_in_the_table_under_the_codes_that_it_had(shared_data: Path) -> None:
    names = (shared_data / "languages" / "flores200.txt").read_text().split()
    codes = {name: normalize(name) for name in names}
    assert len(set(codes.values())) == 205
    assert set(codes.values()) <= set(table())
    assert {name: codes[name] for name in ("acm_Arab", "ace_Latn", "ace_Arab", "crh_Latn", "tzm_Tfng", "gaz_Latn")} == {
        "acm_Arab": "acm-Arab", "ace_Latn": "ace", "ace_Arab": "ace-Arab", "crh_Latn": "crh-Latn",
        "tzm_Tfng": "tzm-Tfng", "gaz_Latn": "om",
    }  # fmt: skip
    for name, code in codes.items():
        assert language(code).script == name[4:] or name in ("jpn_Jpan", "kor_Hang", "zho_Hans"), name


def test_both_tables_are_what_the_sources_give(shared_data: Path, tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "docs" / "language_facts.py"
    copy = runpy.run_path(str(script))
    globals_ = copy["main"].__globals__  # where the script looks for its paths
    for name in ("TABLE", "TYPOLOGY"):
        path = globals_[name]
        globals_[name] = tmp_path / path.name
        (tmp_path / path.name).write_bytes(path.read_bytes())
    copy["main"](shared_data)
    for name in ("languages.csv", "typology.csv"):
        assert (tmp_path / name).read_bytes() == (script.parents[1] / "trainables" / name).read_bytes()


def test_published_sizes() -> None:
    """Table 6 of the XLM-R paper, table 5 of that of mT5; none where there is no such number, or not one encoder."""
    sizes = {"en": 300.8, "sw": 1.6, "ur": 5.7, "jv": 0.2, "zh": 46.9, "zh-TW": 16.6, "nb": 49.0}
    assert {code: pretraining_size(code, ["XLM-R"]) for code in sizes} == sizes
    assert pretraining_size("en", ["mT5"]) == 2733
    assert [
        pretraining_size("yo", ["XLM-R"]),
        pretraining_size("en", ["mBERT"]),
        pretraining_size("en", [None]),
    ] == 3 * [None]
    assert pretraining_size("en", ["XLM-R", "mT5"]) is None


def test_the_lists_are_whole_and_their_codes_normal() -> None:
    for name, known in pretraining.lists().items():
        assert known.source
        assert all(map(known.amounts.__contains__, ("en", "fr"))), name
        # Glot500 has a few languages in another script alone, Chinese beside them.
        assert [code for code in known.amounts if normalize(code) != code] == []
    assert {name: len(known.amounts) for name, known in pretraining.lists().items()} == {
        "XLM-R": 96, "mBERT": 106, "mT5": 107, "XLM-15": 15, "XLM-17": 17, "XLM-100": 99, "Glot500": 542,
        "mmBERT": 1832, "EuroBERT": 15,
    }  # fmt: skip
    # Of the table's first languages, those that XLM-R did not see.
    unseen = {code for code in FIRST if is_seen(code, "XLM-R") is False}
    assert " ".join(sorted(unseen)) == "ay bm bo gn ht ig kw lb nqo qu rw sat ti war wo yo zu"


def test_seen_is_about_the_encoders_in_question() -> None:
    codes = ("sw", "yo", "am", "wo", "own")
    assert group("seen", codes, ["XLM-R"]) == group("seen:XLM-R", codes, ["mBERT"]) == ("sw", "am")
    assert group("seen", codes, ["mBERT"]) == group("seen_mbert", codes) == ("sw", "yo")
    assert group("seen", codes, ["XLM-R", "mBERT"]) == ("sw",), "by all of them"
    assert group("unseen", codes, ["XLM-R", "mBERT"]) == ("wo",), "by all of them"
    assert undecided("unseen", codes, ["XLM-R", "mBERT"]) == ("own",), "seen by one of both is known"
    assert group("unseen", codes, ["XLM-R", None]) == group("seen", codes, [None]) == ()
    assert undecided("unseen", codes, [None]) == codes
    assert (is_relative("unseen"), is_relative("unseen:XLM-R"), is_relative("low_resource")) == (True, False, False)
    with pytest.raises(UserError, match="known lists: XLM-R, mBERT, mT5"):
        group("seen:xlmr", codes)


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("swh_Latn", "sw"), ("swh", "sw"), ("arb_Arab", "ar"), ("zho_Hans", "zh"), ("cmn", "zh"), ("zsm_Latn", "ms"),
        ("quy_Latn", "qu"), ("pes_Arab", "fa"), ("azj_Latn", "az"), ("aze", "az"), ("tgl_Latn", "tl"), ("fil", "tl"),
        ("iw", "he"), ("grn_Latn", "gn"), ("ayr_Latn", "ay"), ("no", "nb"), ("nob_Latn", "nb"), ("npi_Deva", "ne"),
        ("lvs_Latn", "lv"), ("khk_Cyrl", "mn"), ("uzn_Latn", "uz"), ("gle", "ga"), ("nqo_Nkoo", "nqo"),
        ("srp_Latn", "sr-Latn"), ("sr-Latn", "sr-Latn"), ("pt_BR", "pt-BR"), ("zh-CN", "zh-CN"), ("de-CH", "de-CH"),
        ("klingon-empire", "klingon-empire"), ("my dialect", "my dialect"), ("kor_Hang", "ko"),
    ],
)  # fmt: skip
def test_codes_are_normalised(written: str, code: str) -> None:
    assert normalize(written) == code
    assert normalize(code) == code


XTREME = "copa lareqa mlqa panx pawsx sib200 siqa squad tatoeba tydiqa udpos xcopa xnli xquad"


def test_the_languages_of_the_benchmarks_are_in_the_table(shared_data: Path) -> None:
    files = [path for folder in XTREME.split() for path in (shared_data / folder).glob("*.jsonl")]
    names = [path.name.split(".")[-2] for path in files]
    assert len(set(names)) > 100
    assert {name for name in names if normalize(name) not in table()} == set()
    sib = {path.name.split(".")[-2] for path in (shared_data / "sib200").glob("test.*")}
    assert len({normalize(code) for code in sib}) == len(sib) == 68


def test_the_embedded_tasks_languages_are_in_the_table() -> None:
    codes = json.loads((intents.ensure() / "meta.json").read_text())["languages"]
    assert set(codes) <= set(table())
    assert set(group("low_resource", codes)) == {"cy", "ga", "is", "lb", "ml", "nb", "ne"}


def test_variants_count_once() -> None:
    scores = {"zh-CN": 0.8, "en": 0.9, "zh-TW": 0.6, "pt": 0.5, "pt-BR": 0.7, "xx": 0.1}
    collapsed = collapse_variants(scores)
    assert collapsed == pytest.approx({"zh": 0.7, "en": 0.9, "pt": 0.6, "xx": 0.1})
    assert list(collapsed) == ["zh", "en", "pt", "xx"]
    assert base("sr-Latn") == "sr"


def test_groups() -> None:
    codes = ("en", "ur", "sw", "ar", "th", "yo", "fa", "own")
    assert group("low_resource", codes) == ("sw", "yo")
    assert group("high_resource", codes) == ("en", "ar", "fa")
    assert group("script:Arab", codes) == ("ur", "ar", "fa")
    assert group("family:indo-european", codes) == ("en", "ur", "fa")
    assert group("class:3", codes) == ("ur", "th")
    assert group("unseen", codes) == ("yo",)
    assert group("seen", codes) == ("en", "ur", "sw", "ar", "th", "fa")
    assert group("unseen_mbert", ("am", "yo", "own")) == ("am",)


@pytest.mark.parametrize("name", ["lowresource", "script:", "seen:en", "klass:3", ""])
def test_an_unknown_group_is_the_users_error(name: str) -> None:
    with pytest.raises(UserError, match="unknown group of languages"):
        group(name, ("en",))
    with pytest.raises(UserError, match="did you mean 'low_resource'"):
        group("lowresource", ())


def test_unknown_languages_are_allowed_and_in_no_group() -> None:
    own = language("my dialect")
    assert (own.code, own.resource_class, is_seen(own.code, "XLM-R")) == ("my dialect", None, None)


@pytest.mark.parametrize(
    ("code", "of", "script"),
    [
        ("de-muc", "de", "Latn"), ("de-ba", "de", "Latn"), ("ca-valencia", "ca", "Latn"), ("be-tarask", "be", "Cyrl"),
        ("tw", "ak", "Latn"), ("fat", "ak", "Latn"), ("prs", "fa", "Arab"), ("ks-Deva", "ks", "Deva"),
        ("acm-Arab", "acm", "Arab"), ("quz", "qu", "Latn"), ("kzj", "dtp", "Latn"), ("toba_batak", "toba_batak", None),
        ("ak", "ak", "Latn"), ("sr-Latn", "sr", "Latn"), ("bzd", "bzd", None),
    ],
)  # fmt: skip
def test_a_variant_knows_its_language_and_its_script(code: str, of: str, script: str | None) -> None:
    assert base(code) == of
    assert language(code).script == script


def test_a_variant_is_not_counted_as_its_language_where_facts_are_asked_for() -> None:
    assert group("high_resource", ("de", "de-muc", "de-CH")) == ("de", "de-CH")
    assert group("script:Arab", ("prs", "ks_Arab", "ks-Deva", "xx")) == ("prs", "ks_Arab")


def test_members_of_a_macro_language_are_three_rows_and_one_mean() -> None:
    assert collapse_variants({"ak": 0.3, "tw": 0.6, "fat": 0.9, "de": 0.5}) == pytest.approx({"ak": 0.6, "de": 0.5})


OWN = TaskConfig(
    facts={
        "low-sorbian_hills": {"name": "Hill", "family": "Slavic", "resource_class": 0, "groups": ["hills"]},
        "swh": {"resource_class": 5, "groups": ["hills", "coast"]},
        "sw-x-tz": {"variant_of": "swh"},
    }  # type: ignore[dict-item]
).own


def test_ones_own_languages_go_before_the_table() -> None:
    assert language("low-sorbian_hills", OWN).family == "Slavic"
    assert language("low-sorbian_hills").family is None
    sw = language("sw", OWN)
    assert (sw.resource_class, sw.name, sw.script) == (5, "Swahili", "Latn")
    assert language("sw").resource_class == 2
    assert base("sw-x-tz", OWN) == "sw"
    codes = ("de", "sw", "low-sorbian_hills", "yo")
    assert group("low_resource", codes, own=OWN) == ("low-sorbian_hills", "yo")
    assert group("family:slavic", codes, own=OWN) == ("low-sorbian_hills",)
    assert group("hills", codes, own=OWN) == ("sw", "low-sorbian_hills")
    assert own_groups(OWN) == {"hills": ("low-sorbian-hills", "sw"), "coast": ("sw",)}
    assert collapse_variants({"sw": 0.2, "sw-x-tz": 0.4, "yo": 0.9}, OWN) == pytest.approx({"sw": 0.3, "yo": 0.9})
    with pytest.raises(UserError, match="did you mean 'hills'"):
        group("hill", codes, own=OWN)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"sw": {}, "swh": {}}, "'sw' and 'swh' are one language"),
        ({"sw": {"groups": ["seen"]}}, "sw: 'seen' is a group already"),
        ({"sw": {"variant_of": "swh"}}, "sw: variant_of must be a language that is no variant itself (got 'sw')"),
        ({"xx": {"variant_of": "zh-TW"}}, "xx: variant_of must be a language that is no variant itself (got 'zh-TW')"),
        ({"xx": {"script": "latin"}}, "facts.xx.script: must match"),
        ({"xx": {"class": 1}}, "unknown key 'class'"),
    ],
)
def test_facts_that_do_not_add_up_are_refused(facts: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        validate(TaskConfig, {"facts": facts})
    assert message in str(caught.value)


CUT = {"sw": {"fertility": 2.5, "overlap": 0.2}, "th": {"fertility": None, "overlap": 0.4}, "de": {"fertility": 1.5}}


@pytest.mark.parametrize(
    ("name", "members", "unknown"),
    [
        ("fertility>2", ("sw",), ("th", "yo")),
        ("fertility<=2.5", ("sw", "de"), ("th", "yo")),
        ("overlap>=.4", ("th",), ("de", "yo")),
    ],
)
def test_groups_by_what_was_measured(name: str, members: tuple[str, ...], unknown: tuple[str, ...]) -> None:
    codes = ("sw", "th", "de", "yo")
    assert (group(name, codes, measured=CUT), undecided(name, codes, measured=CUT)) == (members, unknown)
    with pytest.raises(UserError, match="measured on the rows of a study, when it begins: no language is chosen by"):
        group(name, codes)


def test_a_number_is_compared_with_one() -> None:
    with pytest.raises(UserError, match=r"group: takes a number, as in fertility>0\.5"):
        group("fertility>much", ["sw"], measured=CUT)
