"""`study plan`: what a confirmation could show; pilots, and what is no pilot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from study.analysis import power
from study.planning import needs, power_plan
from study.question.catalogue import study_config
from study.question.config import StudyConfig
from study.record.place import RESULTS
from trainables.errors import UserError
from trainables.loading import validate
from trainables.scores import Evaluation, LanguageScores

Event = dict[str, Any]

LANGUAGES = ("en", "de", "fr", "sw", "yo", "te", "th")


def test_a_plan_from_assumptions(tmp_path: Path) -> None:
    text = power_plan.words(study_config("quickstart"), tmp_path)
    for words in (
        "low_resource_mean on the test split: 7 languages",
        "200 sentences of each (assumed",
        "With 8 seeds, 7 languages and 200 test sentences",
        "Warning: no number of seeds shows one point",
        "8 trials, 300 forward-equivalents each",
        "32 trials: winner, control a, control c, control d, each under 8 seeds",
        "known once a study of this encoder and task has run",
        "of checkpoints under",
    ):
        assert words in text
    assert list(tmp_path.iterdir()) == []


def test_every_statement_says_which_sentences_it_is_about(tmp_path: Path) -> None:
    """New ones first: the chance of one point, the warning and the list of seeds are all about these."""
    text = " ".join(power_plan.words(study_config("quickstart"), tmp_path).split())
    power_, seeds = text.split(" power ")[1].split(" run ")[0].split(" seeds needed ")
    of_new, of_these, translated, warning = power_.split(". ")
    assert "1.5 points or more" in of_new and "one point" in of_new and "on new sentences" in of_new
    assert of_these.startswith("On those very sentences alone, 1.1 points") and "one point" not in of_these
    assert translated.startswith("Sentences of different languages count as different ones")
    assert "no number of seeds shows one point on new sentences" in warning
    assert "points on new sentences" in seeds


def test_more_seeds_than_planned_are_asked_for(tmp_path: Path) -> None:
    config = study_config("quickstart", ["protocol.primary_endpoint=target_mean", "protocol.confirm_seeds=3"])
    text = power_plan.words(config, tmp_path, examples=2000)
    assert "2000 sentences of each (--examples)" in text
    assert "Warning: a difference of one point on new sentences needs" in text
    assert "3 are planned" in text


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ("language:cy", "1 language\n"),
        ("worst_language", "1 language, a rough guide"),
        ("worst_k_mean:4", "4 languages, a rough guide"),
        ("cvar:0.5", "22 languages, a rough guide"),
        ("group:fertility>2", "3 languages, the fewest that a group may have"),
        ("target_mean", "43 languages of 48, regional variants counted once\n"),
    ],
)
def test_languages_of_an_endpoint(tmp_path: Path, endpoint: str, words: str) -> None:
    config = study_config("quickstart", [f"protocol.primary_endpoint={endpoint}"])
    assert words in power_plan.words(config, tmp_path)


def test_what_is_wrong_with_the_study_is_said_first(tmp_path: Path) -> None:
    config = study_config("quickstart", ["search.sampler=grid", "trial.perturbation.method=adversarail"])
    with pytest.raises(UserError) as caught:
        power_plan.words(config, tmp_path)
    assert len(caught.value.lines) == 3


def test_a_search_of_one_seed_is_no_pilot(write_study: Callable[..., Path], events: list[Event]) -> None:
    with pytest.raises(UserError, match=r"--pilot: needs a confirmed study \(study confirm small\)"):
        power_plan.words(study_config("quickstart"), write_study(events), pilot="small")


def test_an_unknown_pilot(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such study"):
        power_plan.words(study_config("quickstart"), tmp_path, pilot="nothing")


def test_a_confirmed_study_is_a_pilot(write_study: Callable[..., Path], events: list[Event]) -> None:
    confirmed = [
        {"event": "asked", "time": 2000.0, "trial": 4, "phase": "confirm", "kind": "winner", "point": {},
         "attributes": {"configuration": "trial 2"}},
    ]  # fmt: skip
    root = write_study([*events, *confirmed])
    generator = np.random.default_rng(0)
    rows = [
        {"study": "small", "configuration": name, "control": control, "seed": seed, "language": language,
         "example": example, "score": float(generator.random() < 0.7), "metric": "accuracy", "split": "test"}
        for name, control in (("trial 2", ""), ("control a", "a"))
        for seed in range(4) for language in LANGUAGES for example in range(30)
    ]  # fmt: skip
    pd.DataFrame(rows).to_parquet(root / "small" / RESULTS)
    text = power_plan.words(study_config("quickstart"), root, pilot="small")
    assert "from study small, confirmed: trial 2 and control a, 4 seeds" in text
    assert "30 sentences of each (as in the pilot)" in text


def test_a_design_with_replicates_is_a_pilot(write_study: Callable[..., Path]) -> None:
    """Two points and the baseline under three seeds: the seeds' spread comes out of the scores."""
    config = validate(
        StudyConfig,
        {
            "name": "dose",
            "search": {"mode": "design", "sampler": "grid", "replicates": 3, "trials": 9,
                       "space": {"perturbation.method": "adversarial", "perturbation.ascent_steps": [1, 2]}},
            "protocol": {"selection": "target_validation"},
        },
    )  # fmt: skip
    rows: list[Event] = [
        {"event": "study", "time": 1.0, "config": config.model_dump(mode="json"), "uuid": "0", "code_version": "1",
         "fingerprints": {}, "protocol_hash": "x"}
    ]  # fmt: skip
    shift = {0: 0.00, 1: 0.05, 2: -0.05}
    for number in range(9):
        steps, seed = divmod(number, 3)
        point: dict[str, Any] = {"training.seed": seed}
        point |= {"perturbation.method": "adversarial", "perturbation.ascent_steps": steps} if steps else {}
        # What a seed does to every trial alike is in no difference.
        values = dict.fromkeys(LANGUAGES, 0.5 + 0.1 * seed + (shift[seed] if steps else 0.0))
        scores = LanguageScores(values, dict.fromkeys(LANGUAGES, 40))
        evaluation = Evaluation(60, "validation", {"accuracy": scores}, {}, {}, True)
        common = {"trial": number, "attempt": 1, "time": 2.0 + number}
        kind = "design" if steps else "baseline"
        rows += [
            {"event": "asked", "trial": number, "time": 2.0, "phase": "run", "kind": kind, "point": point},
            {"event": "started", **common},
            {"event": "report", **common, "step": 60, "evaluation": evaluation.to_json()},
            {"event": "finished", **common, "outcome": "COMPLETE", "error": None},
        ]
    text = power_plan.words(study_config("quickstart"), write_study(rows, "dose"), pilot="dose")
    assert "from study dose, a design: 2 points against the baseline, 3 seeds, 7 languages" in text
    # Differences of 0, 5 and -5 points in every language: a standard deviation of 5 over seeds, none in each.
    assert "5.00 points over seeds in common to the languages, 0.00 in each" in text


def test_a_confirmation_takes_the_time_of_two_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pace = needs.Pace(training=0.0, evaluation=1.0, languages=2, examples=40)
    monkeypatch.setattr(needs, "pace", lambda config, root: pace)
    overrides = ["scaling.concurrent_trials=1", "trial.evaluation={examples_per_language: 10}"]
    text = power_plan.words(study_config("quickstart", overrides), tmp_path, examples=30)
    # 8 trials of 2 languages x 10 examples; 32 of 2 splits x 2 languages x 30.
    assert "run 3 minutes, confirm 64 minutes, 1 trial at a time" in text


def test_scores_alone_give_the_spread_over_seeds() -> None:
    generator = np.random.default_rng(1)
    common, own, noise = (generator.normal(0, sd, shape) for sd, shape in
                          ((0.02, (400, 1)), (0.05, (400, 30)), (power.ASSUMED.rest / 10, (400, 30))))  # fmt: skip
    got = power.from_scores([common + own + noise], examples=100)
    assert got.seed == pytest.approx(0.02, rel=0.15)
    assert got.language_seed == pytest.approx(0.05, rel=0.1)
    assert (got.example, got.rest) == (power.ASSUMED.example, power.ASSUMED.rest)
