"""Typological distances against what their sources say, and the groups made from them."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from trainables import typology
from trainables.languages import distance, group, normalize, undecided


def test_distances_are_those_of_the_source(shared_data: Path) -> None:
    with (shared_data / "typology" / "distances.en.csv").open() as file:
        rows = {row["language"]: row for row in csv.DictReader(file)}
    for name in ("fr", "de", "swh_Latn", "yor_Latn", "quy_Latn", "tr", "jpn_Jpan", "ht", "eu", "sat_Olck", "bzd"):
        for kind in typology.KINDS:
            observed = rows[name].get(f"observed_{kind}", "1") != "0"
            given = float(rows[name][f"distance_{kind}"]) if observed else None
            assert distance(kind, "en", name) == given, (name, kind)


def test_published_values() -> None:
    assert {k: distance("syntactic", "en", k) for k in ("fr", "de", "sw", "yo", "tr", "ja")} == {
        "fr": 0.1882, "de": 0.0975, "sw": 0.5262, "yo": 0.3997, "tr": 0.4933, "ja": 0.4998,
    }  # fmt: skip
    assert distance("genetic", "en", "eu") == 1.0


def test_distances_are_known_from_nine_languages_and_of_variants() -> None:
    assert set(typology.sources()) == {"en", "de", "es", "fr", "zh", "ar", "ru", "sw", "id"}
    assert distance("syntactic", "yo", "sw") is None
    assert distance("syntactic", "sw", "yo") == distance("syntactic", "swh", "yor")
    assert (
        distance("syntactic", "en", "zh-TW")
        == distance("syntactic", "zh-CN", "en")
        == distance("syntactic", "en", "zh")
    )
    assert distance("syntactic", "en", "acm_Arab") == distance("syntactic", "en", "acm") is not None


def test_a_distance_of_which_nothing_is_observed_is_unknown() -> None:
    """All features of Banjar's syntax are imputed, and all of Arabic's sounds: as the source too."""
    assert distance("syntactic", "en", "bjn") is None
    assert distance("phonological", "en", "ar") is distance("phonological", "ar", "en") is None
    assert normalize("bjn_Latn") == "bjn"


@pytest.mark.parametrize(
    ("name", "members", "unknown"),
    [
        ("distance_syntactic>0.5", ("sw",), ("bjn", "xx")),
        ("distance_syntactic>=0.3997", ("sw", "yo", "tr"), ("bjn", "xx")),
        ("distance_syntactic<0.3997", ("de", "ru"), ("bjn", "xx")),
        ("distance_syntactic<=.3997", ("yo", "de", "ru"), ("bjn", "xx")),
        ("distance_genetic<1", ("de", "ru"), ("xx",)),
        ("same_script", ("sw", "yo", "de", "tr", "bjn"), ("xx",)),
        ("other_script", ("ru",), ("xx",)),
    ],
)
def test_groups_by_distance_from_the_source(name: str, members: tuple[str, ...], unknown: tuple[str, ...]) -> None:
    codes = ("sw", "yo", "de", "tr", "ru", "bjn", "xx")
    assert (group(name, codes, source="en"), undecided(name, codes, source="en")) == (members, unknown)
    assert group(name, codes) == ()
    assert undecided(name, codes) == codes
