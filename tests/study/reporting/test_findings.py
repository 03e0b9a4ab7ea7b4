"""From a ledger to findings: the planted effects come out, in the protocol's terms."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from study.analysis import intervals
from study.proposals.ranking import trial_config
from study.reporting.findings import ALL_UNIT, SOURCE_UNIT, Findings, find
from study.reporting.source import Source, _cautions, from_ledger, stuck_of
from study.reporting.tables import headline
from study.views.found import find as find_study
from study.views.history import configuration_name
from tests.study.reporting.conftest import LANGUAGES, LOW, build, configured


def test_the_claim_is_the_endpoint_against_the_strongest_control(found: Findings) -> None:
    confirmed = found.confirmed
    assert confirmed is not None
    assert confirmed.headline.startswith("trial ")
    assert {d.control for d in confirmed.controls} == {"control a", "control c", "control d"}
    assert confirmed.chosen_by == "validation"
    assert confirmed.claim.languages == tuple(sorted(LOW))
    assert confirmed.claim.estimate == pytest.approx(0.12, abs=0.05)
    assert len(confirmed.claim.seeds) == 5


def test_the_claim_by_hand(found: Findings) -> None:
    confirmed, results = found.confirmed, found.source.results
    assert confirmed is not None and results is not None
    low = results[results["language"].isin(LOW)]
    means = low.groupby(["configuration", "seed", "language"])["score"].mean().groupby(["configuration", "seed"]).mean()
    per_seed = means[confirmed.headline] - means[confirmed.control]
    expected = stats.ttest_1samp(per_seed, 0).confidence_interval()
    assert confirmed.claim.estimate == pytest.approx(per_seed.mean())
    assert (confirmed.claim.by_seed.low, confirmed.claim.by_seed.high) == pytest.approx((expected.low, expected.high))


def test_strongest_control_is_chosen_by_what_the_rule_may_read(planted: Source) -> None:
    """Validation of the pivots decides, whatever test says."""
    trials = planted.trials.copy()
    boosted = (
        (trials["configuration"] == "control d") & (trials["split"] == "validation") & (trials["phase"] == "confirm")
    )
    for language, name in (("sw", "control a"), ("de", "control d")):
        trials.loc[boosted & (trials["language"] == language), "score"] = 0.95
        chosen = find(replace(planted, trials=trials)).confirmed
        assert chosen is not None
        if name == "control d":
            assert chosen.control == name


def test_groups_and_languages_are_there_with_their_numbers(found: Findings) -> None:
    confirmed = found.confirmed
    assert confirmed is not None
    low = confirmed.groups.set_index("group").loc["low-resource, class ≤ 2"]
    # de-CH counts within de, and the source language is no target.
    assert (low["n_group"], low["n_rest"]) == (6, 7)
    assert low["difference"] == pytest.approx(0.08, abs=0.05)
    assert sorted(confirmed.languages["language"]) == sorted(LANGUAGES)


def test_winners_curse_is_over_all_common_languages(found: Findings) -> None:
    confirmed = found.confirmed
    assert confirmed is not None and confirmed.optimism is not None
    assert confirmed.optimism.languages == tuple(sorted(LANGUAGES))
    assert confirmed.optimism.chosen == pytest.approx(confirmed.optimism.fresh, abs=0.03)


def test_responses_come_from_the_design(found: Findings) -> None:
    dosed = found.dosed
    assert dosed is not None and not dosed.searched
    units = {r.unit for r in dosed.responses}
    assert units == {ALL_UNIT, SOURCE_UNIT, "class 1", "class 2", "class 3", "class 4", "class 5"}
    overall = [r for r in dosed.responses if r.unit == ALL_UNIT]
    assert len(overall) == 2
    for response in overall:
        assert response.languages == 13
        assert response.best == pytest.approx(0.093)
        assert response.harm_from == pytest.approx(0.93 * 0.2)
        assert (response.over, response.paired) == ("seeds", True)


def test_every_language_has_a_response_of_its_own(found: Findings) -> None:
    assert found.dosed is not None
    assert {r.unit for r in found.dosed.by_language} == set(LANGUAGES)
    swahili = next(r for r in found.dosed.by_language if r.unit == "sw" and r.series.endswith("1"))
    assert swahili.languages == 1
    assert swahili.best == pytest.approx(0.093)
    assert swahili.levels["gain"].max() == pytest.approx(0.12, abs=0.02)


def test_a_search_is_shown_but_not_fitted(searched: Findings) -> None:
    assert searched.confirmed is None
    assert searched.dosed is not None
    assert searched.dosed.searched
    assert searched.dosed.responses == ()
    assert len(searched.dosed.gains)


def test_importances_are_of_the_perturbed_trials(found: Findings) -> None:
    assert set(found.importances["parameter"]) == {"perturbation.epsilon", "perturbation.ascent_steps"}
    assert found.importances["parameter"].iloc[0] == "perturbation.epsilon"


def test_conclusions_start_with_what_weakens_them(found: Findings, searched: Findings) -> None:
    topics = [topic for topic, _ in found.conclusions]
    assert topics[0] == "Caution"
    assert topics.index("Claim") > max(i for i, t in enumerate(topics) if t == "Caution")
    texts = " ".join(text for _, text in searched.conclusions)
    assert "Nothing is confirmed yet" in texts
    assert "proposed by a search" in texts
    assert "worse than no perturbation" not in texts


def test_predictions_that_miss_the_official_scores_are_named(planted: Source) -> None:
    assert planted.cautions == ()
    assert planted.results is not None
    wrong = planted.results.assign(score=np.where(planted.results["language"] == "sw", 0.5, planted.results["score"]))
    assert any("differ from the official accuracy" in text for text in _cautions(planted.trials, wrong))


def test_a_model_that_answers_alike_whatever_it_is_asked_is_named(planted: Source) -> None:
    """As a collapsed one does: every difference from it is one from a constant."""
    results = planted.results
    assert results is not None and planted.stuck == {}
    headline, seed = results["configuration"] == planted.headline, results["seed"] == results["seed"].min()
    told = results.assign(prediction=(results["example"].astype(int) % 2).map(str))
    assert stuck_of(told) == {}
    told["prediction"] = told["prediction"].mask(headline & seed, "1")
    of = results.loc[headline, "seed"].nunique()
    assert stuck_of(told.assign(score=0.95)) == {}, "most texts have that label"
    assert stuck_of(told) == {planted.headline: (1, of)} and stuck_of(told.assign(metric="f1")) == {}
    texts = [text for topic, text in find(replace(planted, stuck=stuck_of(told))).conclusions if topic == "Caution"]
    assert any(f"all but a few: {planted.headline} (1 of {of} seeds). Such a model has not" in text for text in texts)


def test_the_mean_of_all_trials_stands_beside_the_others(tmp_path: Path, found: Findings) -> None:
    """One model for each of the three seeds of the design: their mean is compared, and claimed it is not."""
    build(tmp_path, configured(), averages=True)
    with_mean = find(from_ledger("planted", tmp_path))
    confirmed, results = with_mean.confirmed, with_mean.source.results
    assert confirmed is not None and results is not None and found.confirmed is not None
    assert confirmed.claim == found.confirmed.claim and confirmed.controls == found.confirmed.controls
    assert with_mean.source.seeds["control e"] == (3, 3)
    first, second = confirmed.averages
    assert (first.treatment, first.control) == (confirmed.headline, "control e")
    assert (second.treatment, second.control) == ("control e", confirmed.control)
    low = results[results["language"].isin(LOW)]
    means = low.groupby(["configuration", "seed", "language"])["score"].mean().groupby(["configuration", "seed"]).mean()
    per_seed = means[confirmed.headline] - means["control e"].mean()
    assert first.per_seed == pytest.approx(tuple(per_seed))
    expected = stats.ttest_1samp(per_seed, 0).confidence_interval()
    assert (first.by_seed.low, first.by_seed.high) == pytest.approx((expected.low, expected.high))
    said = [sentence for topic, sentence in with_mean.conclusions if topic == "Averaging"]
    assert len(said) == 3 and f"{confirmed.headline} scored higher than control e" in said[0]
    row = next(r for r in headline(with_mean.source, confirmed).rows if r[0].startswith("control e"))
    assert row[0] == f"control e − {confirmed.control} (shown, not claimed)"
    assert row[3] == f"{100 * means['control e'].mean():.1f}"
    assert not any(topic == "Averaging" for topic, _ in found.conclusions)


def test_further_scores_are_compared_over_paired_seeds(found: Findings, root: Path) -> None:
    confirmed = found.confirmed
    assert confirmed is not None
    (row,) = confirmed.further.to_dict("records")
    study = find_study(root, "planted")
    by_name: dict[str, dict[int, float]] = {}
    for trial in study.trials:
        evaluation = trial.evaluation("test") if trial.phase == "confirm" else None
        if evaluation is not None:
            scores = evaluation.scores["brier"]
            seed = trial_config(study.config, trial).training.seed
            by_name.setdefault(configuration_name(trial), {})[seed] = (scores["sw"] + scores["de"]) / 2
    first, second = by_name[confirmed.headline], by_name[confirmed.control]
    differences = [first[seed] - second[seed] for seed in sorted(first)]
    assert (row["metric"], row["languages"], row["seeds"]) == ("brier", 2, 5)
    assert row["difference"] == pytest.approx(np.mean(differences))
    assert row["headline"] == pytest.approx(np.mean([*first.values()]))
    span = intervals.of_mean(differences)
    assert (row["low"], row["high"]) == (pytest.approx(span.low), pytest.approx(span.high))
