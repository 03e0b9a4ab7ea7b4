"""What a report is made from: ledgers and anyone's results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from study.analysis.frames import read_results
from study.proposals import ranking
from study.question.config import StudyConfig
from study.record.record import StudyRecord
from study.reporting.findings import Findings, find
from study.reporting.source import Source, caption, from_ledger, from_results, supervision
from tests.study.reporting.conftest import build, configured
from tests.study.simulated import results
from trainables.config import AugmentationConfig, PerturbationConfig, TrialConfig
from trainables.errors import UserError
from trainables.loading import apply_point


def test_a_ledger_gives_protocol_provenance_and_configurations(planted: Source) -> None:
    rules, reproduction = dict(planted.protocol), dict(planted.reproduction)
    assert "pivot_validation" in rules["selection rule"]
    assert rules["test split"] == "opened 1 time"
    assert rules["trials"].startswith("27 in a design, fixed before the first trial (grid): 27 complete")
    assert reproduction["fingerprint of data"] == "d0"
    assert len(reproduction["training seeds, run"].split(", ")) == 3
    assert len(reproduction["training seeds, confirm"].split(", ")) == 5
    assert planted.headline is not None
    assert "epsilon 0.1" in planted.described[planted.headline]
    assert planted.described["control a"] == "no perturbation, base settings"
    assert planted.is_demonstration
    assert len(planted.chosen) == 3


def test_captions_carry_the_protocol(planted: Source, searched: Findings) -> None:
    text = caption(planted)
    for part in ("planted", "pivot_validation", "low_resource_mean", "5 seeds", "opened 1×"):
        assert part in text
    assert "not confirmed" in caption(searched.source)
    assert "test split closed" in caption(searched.source)


def test_an_unknown_study_is_a_user_error(root: Path) -> None:
    with pytest.raises(UserError, match="no such study"):
        from_ledger("plantd", root)


def test_supervision_is_the_stronger_of_method_and_augmentation() -> None:
    def label(perturbation: str, augmentation: str) -> str:
        return supervision(
            TrialConfig(
                perturbation=PerturbationConfig(method=perturbation),
                augmentation=AugmentationConfig(method=augmentation),
            )
        )

    assert label("adversarial", "none") == "none"
    assert label("none", "synonyms") == "monolingual"
    assert label("adversarial", "code_switching") == "bilingual"


def test_anyones_results_give_the_same_claim(found: Findings, root: Path) -> None:
    confirmed = found.confirmed
    assert confirmed is not None
    (source,) = from_results(read_results(root / "planted" / "results.parquet"), headline=confirmed.headline)
    again = find(source).confirmed
    assert again is not None
    assert again.chosen_by == "test"
    same = next(d for d in confirmed.controls if d.control == again.control)
    assert again.claim.estimate == pytest.approx(same.estimate)
    assert again.claim.by_both == same.by_both
    assert source.endpoint == "low_resource_mean"


def test_endpoint_falls_back_to_all_targets_where_few_are_low_resource() -> None:
    frame = results(np.random.default_rng(0), {"winner": 0.02}, ["en", "de", "fi", "sw"], seeds=3, examples=20)
    (source,) = from_results(frame)
    assert source.endpoint == "target_mean"
    assert source.reduction("target_mean")({"en": 1.0, "de": 0.5, "fi": 0.6, "sw": 0.7}) == pytest.approx(0.6)


def test_a_mean_of_two_languages_is_no_endpoint_but_one_language_is() -> None:
    two = results(np.random.default_rng(0), {"winner": 0.1}, ["de", "fi"], seeds=3, examples=9)
    with pytest.raises(UserError, match="needs 3 languages"):
        from_results(two)
    (named,) = from_results(two, endpoint="language:fi")
    assert named.endpoint == "language:fi"
    (alone,) = from_results(two[two["language"] == "fi"])
    assert find(alone).confirmed is not None


def test_several_studies_in_one_file_are_several_sources() -> None:
    first = results(np.random.default_rng(0), {"winner": 0.0}, ["de", "fi", "sw"], seeds=3, examples=9, study="one")
    both = pd.concat([first, first.assign(study="two")])
    assert [s.name for s in from_results(both)] == ["one", "two"]


def test_what_cannot_be_known_is_asked_for() -> None:
    frame = results(np.random.default_rng(0), {"mine": 0.0, "yours": 0.0}, ["de", "fi", "sw"], seeds=3, examples=9)
    with pytest.raises(UserError, match="headline: must be a configuration that is no control, mine, yours"):
        from_results(frame)
    with pytest.raises(UserError, match="primary_endpoint: unknown reduction"):
        from_results(frame, endpoint="low_resorce_mean", headline="mine")
    (alone,) = from_results(frame[frame["control"] == ""], headline="mine")
    with pytest.raises(UserError, match=r"results\.control: must name at least one control"):
        find(alone)


def test_a_control_that_repeats_the_headline_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def with_repetition(config: StudyConfig, record: StudyRecord, winner: ranking.Ranked) -> dict[str, TrialConfig]:
        return {**standard(config, record, winner), "d": apply_point(config.trial, winner.point)}

    standard = ranking.controls
    config = configured(search={"space": "smoothing", "levels": {"perturbation.sigma": [0.1, 0.2]}, "replicates": 1})
    with monkeypatch.context() as patched:
        patched.setattr(ranking, "controls", with_repetition)
        build(tmp_path, config)
    source = from_ledger(config.name, tmp_path)
    assert source.results is not None and "control a" in set(source.results["configuration"])
    assert "control d" not in {*source.results["configuration"], *source.trials["configuration"], *source.described}
    assert any(text.startswith("Control d is left out") for text in source.cautions)
