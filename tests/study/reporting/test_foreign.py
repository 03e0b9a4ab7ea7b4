"""Anyone's results: what is filled in, what is said of it on the page, and that all that is wrong comes at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from study.analysis.frames import RESULT_COLUMNS, RESULT_DEFAULTS, read_results
from study.cli import commands, execute
from study.reporting.findings import Findings, find
from study.reporting.foreign import from_results, read
from study.reporting.known import Said
from study.reporting.source import Source
from tests.conftest import REPOSITORY
from tests.study.simulated import results
from trainables.errors import UserError

LANGUAGES = ("de", "fi", "sw")


def study(*arguments: str | Path) -> int:
    return execute(commands, "study", [str(a) for a in arguments])


def answers(names: Sequence[str] = ("ours",), languages: Sequence[str] = LANGUAGES, seeds: int = 3) -> pd.DataFrame:
    """Ten sentences a language, as somebody else writes them down: no study, no letter of a control, no split."""
    frame = results(np.random.default_rng(0), dict.fromkeys(names, 0.2), languages, seeds=seeds, examples=10)
    frame["configuration"] = frame["configuration"].replace("control a", "baseline")
    return frame[["configuration", "seed", "language", "example", "score"]]


def one(frame: pd.DataFrame, **said: Any) -> Source:
    (source,) = from_results(frame, Said(**said))
    return source


def lines(frame: pd.DataFrame, **said: Any) -> list[str]:
    with pytest.raises(UserError) as error:
        from_results(frame, Said(**said))
    return error.value.lines


def test_anyones_results_give_the_same_claim(found: Findings, root: Path) -> None:
    confirmed = found.confirmed
    assert confirmed is not None
    source = one(read_results(root / "planted" / "results.parquet"), headline=confirmed.headline)
    again = find(source).confirmed
    assert again is not None
    assert again.chosen_by == "test"
    same = next(d for d in confirmed.controls if d.control == again.control)
    assert again.claim.estimate == pytest.approx(same.estimate)
    assert again.claim.by_both == same.by_both
    assert source.endpoint == "low_resource_mean"


def test_what_is_missing_is_filled_in_and_said(tmp_path: Path) -> None:
    answers().to_csv(tmp_path / "mine.csv", index=False)
    (source,) = read(tmp_path / "mine.csv")
    assert (source.name, source.headline, source.endpoint) == ("mine", "ours", "target_mean")
    facts = dict(source.protocol)
    assert facts["source language"] == "not known: every language counts as a target (--source)"
    assert facts["headline"] == "ours, the only configuration that is no control"
    assert facts["controls"] == "baseline (no perturbation, base settings)"
    assert facts["primary endpoint"] == "target_mean, by default: none is named (--endpoint); of score, test split"
    assert [c.split(" did ")[0] for c in source.cautions] == [
        "The primary endpoint",
        "The source language is not known: what was trained on may be among the target languages.",
    ]
    confirmed = find(source).confirmed
    assert confirmed is not None and confirmed.control == "baseline" and len(confirmed.claim.seeds) == 3


def test_what_is_said_is_taken() -> None:
    frame = answers(("ours", "theirs"), ("en", *LANGUAGES))
    source = one(frame, source="de", headline="theirs", endpoint="language:sw", metric="accuracy")
    assert (source.headline, source.endpoint, source.metric) == ("theirs", "language:sw", "accuracy")
    assert source.targets(["de", "en", "sw"]) == ["en", "sw"]
    assert source.cautions == ()
    assumed = one(frame, headline="ours")
    assert assumed.targets(["de", "en"]) == ["de"]
    assert dict(assumed.protocol)["source language"] == "en, assumed: none is named (--source)"


def test_columns_say_the_same_and_options_come_first() -> None:
    frame = answers(("ours", "theirs")).assign(source_language="fi", headline="theirs", endpoint="language:sw")
    source = one(frame)
    assert (source.headline, source.endpoint) == ("theirs", "language:sw")
    assert source.targets(LANGUAGES) == ["de", "sw"]
    assert one(frame, headline="ours").headline == "ours"
    (line,) = lines(
        frame.assign(endpoint=frame["language"].map("language:{}".format)), headline="ours", endpoint="source"
    )[:1]
    assert line.startswith("results.endpoint: must have one value per study (got language:de")  # fmt: skip


@pytest.mark.parametrize(
    ("cells", "letter"),
    [("baseline", "a"), ("Control_B", "b"), ("A", "a"), ("yes", "a"), (True, "a"), ("vanilla", "a"), (1, "a")],
)
def test_a_control_is_known_by_a_word(cells: object, letter: str) -> None:
    frame = answers()
    is_baseline = frame["configuration"] == "baseline"
    source = one(frame.assign(control=[cells if b else (False if cells is True else "") for b in is_baseline]))
    assert source.results is not None
    letters = source.results.groupby("configuration")["control"].first().to_dict()
    assert letters == {"baseline": letter, "ours": ""}


def test_a_control_is_named_by_an_option() -> None:
    frame = answers().replace({"configuration": {"baseline": "erm"}})
    (first, second) = lines(frame)
    assert first == (
        "results.control: must name at least one control, a, b, c or d, or give one with --control "
        "(got none among erm, ours)"
    )
    assert second.startswith("--headline: must be a configuration that is no control, erm, ours")
    source = one(frame, controls=("erm",))
    assert source.headline == "ours"


def test_without_seeds_it_is_one_run_and_nothing_is_concluded() -> None:
    frame = answers(seeds=1).drop(columns="seed")
    source = one(frame)
    assert dict(source.protocol)["results"].endswith("one run of each, no seed is named")
    (claim,) = (text for topic, text in find(source).conclusions if topic == "Claim")
    assert "1 seed allows no conclusion" in claim


def test_everything_that_is_wrong_comes_at_once() -> None:
    frame = answers(("ours", "theirs")).assign(split="test", weight=1.0).rename(columns={"language": "lang"})
    frame = frame.astype({"score": object, "seed": object})
    frame.loc[2, "score"], frame.loc[5, "score"], frame.loc[3, "seed"] = "abc", 1.5, "first"
    frame.loc[4, "split"], frame.loc[6, "weight"] = "train", -1
    assert lines(frame, controls=("baselin",), headline="our", metric=None) == [
        "results.language: is a required column, rename 'lang' to it (got configuration, seed, lang, example, score, "
        "split, weight)",
        'results.seed: must be a whole number in every row (got "first" in row 4)',
        'results.score: must be a fraction in [0, 1] (got "abc" in row 3, and 1 more row)',
        "results.weight: must be zero or more (got -1.0 in row 7)",
        'results.split: must be test or validation (got "train" in row 5)',
        "--control: must be one of the configurations, baseline, ours, theirs, did you mean 'baseline'? "
        "(got 'baselin')",
        "--headline: must be a configuration that is no control, baseline, ours, theirs (got 'our')",
    ]


def test_percentages_are_told() -> None:
    (line,) = lines(answers().assign(score=87.5))
    assert line.startswith("results.score: must be a fraction in [0, 1], divide percentages by 100 (got 87.5 in row 1")


def test_examples_that_do_not_match_are_named_by_language() -> None:
    frame = answers()
    mine = frame["configuration"] == "ours"
    some = frame[mine & (frame["language"] == "sw") & (frame["seed"] == 101)].index[:3]
    frame = frame.drop([*some, *frame[mine & (frame["language"] == "de")].index])
    rule = "results.example: ours and baseline must share all examples of"
    assert lines(frame) == [
        f"{rule} de under every seed (got 0 and 10, under seed 100)",
        f"{rule} sw under every seed (got 7 and 10, under seed 101)",
    ]
    unpaired = answers()
    unpaired.loc[unpaired["configuration"] == "ours", "seed"] += 50
    assert lines(unpaired) == ["results.seed: ours and baseline must share seeds (got none in common)"]


def test_two_metrics_are_a_choice() -> None:
    frame = answers()
    both = pd.concat([frame.assign(metric="f1"), frame.assign(metric="accuracy")])
    assert lines(both) == ["results.metric: must be one metric (got accuracy, f1), --metric chooses one"]
    assert one(both, metric="f1").metric == "f1"
    assert "--metric: must be one of accuracy, f1 (got 'f2')" in lines(both, metric="f2")


@pytest.mark.parametrize(
    ("endpoint", "line"),
    [
        ("low_resorce_mean", "--endpoint: unknown reduction, did you mean 'low_resource_mean'? (got 'low_resorce"),
        ("low_resource_mean", "--endpoint: the mean of a group needs 3 languages, it has sw"),
        ("language:xx", "--endpoint: none of its languages is evaluated (got 'language:xx')"),
        ("transfer_gap", "--endpoint: needs test rows in the source language, en, which has none (got 'transfer_gap')"),
        ("cost:train_seconds", "--endpoint: must be a reduction of scores (got 'cost:train_seconds')"),
    ],
)  # fmt: skip
def test_an_endpoint_that_has_no_value_is_refused(endpoint: str, line: str) -> None:
    (got,) = lines(answers(), endpoint=endpoint)
    assert got.startswith(line)


def test_a_mean_of_two_languages_is_no_endpoint_but_one_language_is() -> None:
    two = answers(languages=("de", "fi"))
    (line,) = lines(two)
    assert "needs 3 languages" in line and line.endswith("or one language alone, such as language:fi")
    assert one(two, endpoint="language:fi").endpoint == "language:fi"
    assert find(one(two[two["language"] == "fi"])).confirmed is not None


def test_several_studies_in_one_file_are_several_sources() -> None:
    both = pd.concat([answers().assign(study="one"), answers().assign(study="two")])
    assert [s.name for s in from_results(both)] == ["one", "two"]
    bad = pd.concat([answers().assign(study="one"), answers(("x", "y")).assign(study="two")])
    (line,) = lines(bad)
    assert line.startswith("--headline: ") and line.endswith("(study two)")


@pytest.mark.parametrize("kind", ["csv", "tsv", "csv.gz", "semicolon.csv", "bom.csv", "parquet"])
def test_every_usual_file_is_read(tmp_path: Path, kind: str) -> None:
    frame, path = answers(languages=("de", "nan", "sw")), tmp_path / f"mine.{kind}"
    if kind == "parquet":
        frame.to_parquet(path)
    else:
        separator = "\t" if kind == "tsv" else ";" if kind.startswith("semi") else ","
        frame.to_csv(path, index=False, sep=separator, encoding="utf-8-sig" if kind.startswith("bom") else "utf-8")
    (source,) = read(path)
    assert source.name == "mine"
    assert source.results is not None and sorted(source.results["language"].unique()) == ["de", "nan", "sw"]
    assert source.results["score"].sum() == frame["score"].sum()


def test_the_command_writes_a_page_and_mistakes_write_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    answers(("ours", "theirs")).to_csv("mine.csv", index=False)
    assert study("report", "--from", "mine.csv") == 2
    assert "--headline: must be a configuration that is no control, ours, theirs" in capsys.readouterr().err
    assert study("report", "--source", "en") == 2
    assert study("report", "--from", "absent.csv") == 2
    assert [p.name for p in tmp_path.iterdir()] == ["mine.csv"]
    given = ["--headline", "ours", "--source", "de", "--endpoint", "language:sw", "--metric", "accuracy"]
    assert study("report", "--from", "mine.csv", *given, "--out", "page") == 0
    text = (tmp_path / "page" / "report.md").read_text()
    assert "- **source language**: de" in text and "- **primary endpoint**: language:sw; of accuracy" in text


def test_the_columns_are_documented(capsys: Any) -> None:
    assert study("report", "--help") == 0
    text = capsys.readouterr().out
    page = (REPOSITORY / "docs" / "results.md").read_text(encoding="utf-8")
    for column in (*RESULT_COLUMNS, *RESULT_DEFAULTS, "source_language", "headline", "endpoint"):
        assert f"  {column} " in text or f" {column} " in text or f" {column}," in text, column
        assert f"| `{column}` |" in page, column
