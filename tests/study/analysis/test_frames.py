"""The results frame: what is refused, what is filled in, and how scores are reduced."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from seqeval.metrics import f1_score

from study.analysis import frames
from tests.study.simulated import FACTS, mean_of, results
from trainables.config import TaskConfig
from trainables.errors import UserError


@pytest.fixture
def frame() -> pd.DataFrame:
    return results(np.random.default_rng(0), {"winner": 0.02}, ["nan", "sw"], seeds=3, examples=5)


def test_optional_columns_are_filled_in(frame: pd.DataFrame) -> None:
    checked = frames.check_results(frame.drop(columns=["weight", "metric", "split"]))
    assert set(checked["weight"]) == {1.0}
    assert set(checked["metric"]) == {"score"}
    assert set(checked["split"]) == {"test"}


@pytest.mark.parametrize("column", frames.RESULT_COLUMNS)
def test_missing_column_is_named(frame: pd.DataFrame, column: str) -> None:
    with pytest.raises(UserError, match=f"results.{column}: is a required column"):
        frames.check_results(frame.drop(columns=column))


def test_all_faults_come_at_once(frame: pd.DataFrame) -> None:
    frame.loc[0, "score"] = 57.3
    frame.loc[1, "weight"] = -1.0
    broken = pd.concat([frame, frame.iloc[[4]]])
    with pytest.raises(UserError) as error:
        frames.check_results(broken)
    assert [line.split(":")[0] for line in error.value.lines] == ["results.score", "results.weight", "results"]


def test_two_metrics_are_refused(frame: pd.DataFrame) -> None:
    with pytest.raises(UserError, match="must be one metric"):
        frames.check_results(pd.concat([frame, frame.assign(metric="f1")]))


@pytest.mark.parametrize("name", ["results.csv", "results.parquet"])
def test_reading_keeps_southern_min(frame: pd.DataFrame, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    frame.to_csv(path, index=False) if name.endswith("csv") else frame.to_parquet(path)
    read = frames.read_results(path)
    assert sorted(read["language"].unique()) == ["nan", "sw"]
    assert sorted(read["control"].unique()) == ["", "a"]
    assert read["score"].sum() == frame["score"].sum()


def test_unreadable_files_are_user_errors(tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(UserError, match="is no readable"):
        frames.read_results(tmp_path / "broken.parquet")
    with pytest.raises(UserError, match="does not exist"):
        frames.read_results(tmp_path / "absent.parquet")


def test_weights_make_corpus_f1_exact() -> None:
    """Sentence scores and weights as the frame documents them, against seqeval's corpus F1."""
    gold = [["B-PER", "O", "B-LOC"], ["O", "O"], ["B-ORG", "I-ORG", "O"], ["O", "B-LOC", "O"]]
    guess = [["B-PER", "O", "O"], ["O", "O"], ["B-ORG", "O", "B-PER"], ["O", "B-LOC", "O"]]
    found = [(1, 1, 2), (0, 0, 0), (0, 2, 1), (1, 1, 1)]  # true positives, predicted, expected
    rows = [{"score": 2 * tp / max(p + e, 1), "weight": p + e, "example": i} for i, (tp, p, e) in enumerate(found)]
    frame = pd.DataFrame(rows).assign(
        study="s", configuration="winner", control="", seed=1, language="sw", metric="f1", split="test"
    )
    scores = frames.language_scores(frames.check_results(frame))
    assert scores["score"].item() == pytest.approx(f1_score(gold, guess))
    assert scores["examples"].item() == 4


def test_variants_count_once() -> None:
    table = pd.DataFrame({"de": [0.8], "de-CH": [0.6], "sw": [0.4]})
    collapsed = frames.collapse_variants(table, FACTS)
    assert dict(collapsed.iloc[0]) == pytest.approx({"de": 0.7, "sw": 0.4})


def test_seed_table_and_reduction() -> None:
    frame = results(np.random.default_rng(0), {"winner": 0.0}, ["sw", "yo"], seeds=2, examples=4)
    scores = frames.language_scores(frame)
    table = frames.seed_table(scores, "winner")
    by_hand = frame[(frame["configuration"] == "winner") & (frame["seed"] == 101)]
    assert table.loc[101, "sw"] == by_hand[by_hand["language"] == "sw"]["score"].mean()
    assert frames.reduce_seeds(table, mean_of())[101] == pytest.approx(by_hand["score"].mean())


def test_facts_are_those_of_ones_own_languages_too() -> None:
    own = TaskConfig.model_validate(
        {"facts": {"xx": {"resource_class": 1, "variant_of": "yy"}, "sw": {"family": "Own"}}}
    ).own
    facts = frames.language_facts(["xx", "sw", "acm"], own=own).set_index("language")
    assert list(facts.index) == ["xx", "sw", "acm", "yy"]
    assert list(facts.loc["xx", ["resource_class", "variant_of"]]) == [1.0, "yy"]
    assert facts.loc["sw", "family"] == "Own"
    assert np.isnan(facts.loc["acm", "resource_class"])
