"""Model cards of a simulated study, confirmed: whose scores they give, how surely, and what they do not know."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from study.analysis import intervals
from study.models.card import card
from study.models.hub_metadata import base_model
from study.models.scored import Model
from study.record.lines import Reading
from study.views import history
from study.views.found import find
from tests.study.reporting.conftest import EXAMPLES, LANGUAGES
from trainables.training.export import Exported

EXPORTED = Exported(
    "AutoModelForSequenceClassification", "text-classification", ("no", "yes"), "mean", 12, 1, True, 2e-6, 30
)


@pytest.fixture(scope="module")
def study(root: Path) -> Any:
    return find(root, "planted")


@pytest.fixture(scope="module")
def model(root: Path, study: Any) -> Model:
    """The first replicate of the winner."""
    return Model(study, study.record.trials[study.choice.winner.numbers[0]], history.load_results("planted", root))


def table(text: str, title: str) -> dict[str, list[str]]:
    """Cells by language of the first table after some words."""
    lines = text[text.index(title) :].splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("| ---"))
    rows = [line.strip("| ").split(" | ") for line in lines[first + 1 : first + 1 + len(LANGUAGES)]]
    return {cells[0]: cells[1:] for cells in rows}


def test_validation_scores_have_wilsons_intervals(model: Model) -> None:
    recorded = model.trial.evaluation()
    assert recorded is not None
    cells = table(card(model, EXPORTED), "This model on the validation split")
    for language, value in recorded.primary.values.items():
        interval = intervals.of_share(round(value * EXAMPLES), EXAMPLES)
        span = f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"
        assert cells[language] == [f"{100 * value:.1f}", span, str(EXAMPLES)]


def test_the_winner_under_fresh_seeds_is_told_apart_from_this_model(model: Model) -> None:
    text = card(model, EXPORTED)
    assert "trained anew under 5 fresh seeds" in text and "There is one seed" not in text
    assert "This model on the test split" not in text
    results = model.results
    assert results is not None
    own = results[results["configuration"] == "trial " + str(model.trial.number)]
    if own.empty:
        (name,) = {n for n in results["configuration"].unique() if n.startswith("trial")}
        own = results[results["configuration"] == name]
    means = own[own["language"] == "sw"].groupby("seed")["score"].mean()
    interval = intervals.of_mean(means)
    span = f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"
    assert table(text, "trained anew")["sw"] == [f"{100 * means.mean():.1f}", span, str(EXAMPLES)]
    head = yaml.safe_load(text.split("---\n")[1])
    assert {r["dataset"]["split"] for r in head["model-index"][0]["results"]} == {"validation"}


def test_a_confirmed_trial_has_its_own_test_scores(model: Model) -> None:
    """Of another metric than a share of examples the interval is that of the examples that the study keeps."""
    trial = next(t for t in model.study.trials if t.phase == "confirm" and t.kind == "winner")
    recorded = trial.evaluation("test")
    assert recorded is not None and model.results is not None
    text = card(replace(model, trial=trial), EXPORTED)
    cells = table(text, "This model on the test split")
    assert {k: cells[k][0] for k in LANGUAGES} == {k: f"{100 * recorded.primary[k]:.1f}" for k in LANGUAGES}
    splits = {r["dataset"]["split"] for r in yaml.safe_load(text.split("---\n")[1])["model-index"][0]["results"]}
    assert splits == {"validation", "test"} and "trained for the confirmation" in text
    of_f1 = replace(model, trial=trial, results=model.results.assign(metric="f1"))
    own = model.results[(model.results["seed"] == of_f1.config.training.seed) & (model.results["language"] == "yo")]
    own = own[own["configuration"] == history.configuration_name(trial)]
    expected = intervals.of_mean(own["score"])
    (score,) = [s for s in of_f1.scores("test")[1] if s.language == "yo"]
    assert (score.interval.low, score.interval.high) == pytest.approx((expected.low, expected.high))


def test_a_model_that_is_one_of_several_seeds_says_so(model: Model) -> None:
    """One of the confirmation's, and one of a design's replicates that was not chosen; nobody else has one seed."""
    confirmed = next(t for t in model.study.trials if t.phase == "confirm" and t.kind == "winner")
    assert model.results is not None
    own = model.results[model.results["configuration"] == history.configuration_name(confirmed)]
    of_confirmed = own[own["language"] == "sw"].groupby("seed")["score"].mean()
    trials = [t for t in model.study.trials if t.kind == "design" and t.number not in model.study.choice.winner.numbers]
    same = {k: v for k, v in trials[0].point.items() if k != "training.seed"}.items()
    of_run = [t.evaluation().primary["sw"] for t in trials if same <= t.point.items()]  # type: ignore[union-attr]
    for trial, split, values in ((confirmed, "test", of_confirmed), (trials[0], "validation", of_run)):
        text = card(replace(model, trial=trial), EXPORTED)
        words = f"under {len(values)} seeds, this model's among them, on the {split} split"
        interval = intervals.of_mean(values)
        span = f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"
        assert table(text, words)["sw"] == [f"{100 * np.mean(values):.1f}", span, str(EXAMPLES)]
        assert "There is one seed" not in text and "Those are other models" not in text


def test_a_metric_without_examples_has_no_interval(model: Model) -> None:
    packed = [
        replace(r, packed=json.dumps({**json.loads(r.packed), "scores": {"f1": _scores(r.packed)}}).encode())
        for r in model.trial.reports
    ]
    trial = replace(model.trial, reports=packed)
    alone = replace(model.study, reading=Reading(Path("nowhere")))
    text = card(replace(model, study=alone, trial=trial, results=None), EXPORTED)
    assert "there are none: f1 is no share of examples" in text and "There is one seed" in text
    assert {cells[1] for cells in table(text, "This model on the validation split").values()} == {"–"}


def _scores(packed: bytes) -> Any:
    (scores,) = json.loads(packed)["scores"].values()
    return scores


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("offline:e5-small", ("intfloat/multilingual-e5-small", "mit")),
        ("FacebookAI/xlm-roberta-base", ("FacebookAI/xlm-roberta-base", "mit")),
        ("nobody/nothing", ("nobody/nothing", "unknown")),
        ("/models/mine", (None, "unknown")),
    ],
)
def test_the_base_model_and_its_licence(name: str, expected: tuple[str | None, str]) -> None:
    assert base_model(name) == expected


@pytest.mark.parametrize("pooling", ["mean", "first", ""])
def test_what_is_in_the_folder(model: Model, pooling: str) -> None:
    text = card(model, replace(EXPORTED, pooling=pooling, pooling_layers=int(pooling == "mean")))
    assert ("a further layer (number 13) does nothing but pool" in text) == (pooling == "mean")
    assert ("tanh" in text) == (pooling == "first")
    assert ("not in fp16" in text) == bool(pooling)
    assert "the embeddings of all others are the base model's" in text and np.isfinite(EXPORTED.largest_difference)


@pytest.mark.parametrize("auto_class", ["AutoModel", "AutoModelForMultipleChoice", "AutoModelForQuestionAnswering"])
def test_the_code_is_python(model: Model, auto_class: str) -> None:
    text = card(model, replace(EXPORTED, auto_class=auto_class))
    code = text.split("```python\n")[1].split("```")[0]
    compile(code, "README.md", "exec")
    assert f"{auto_class}.from_pretrained(folder)" in code and "{pooled}" not in code
