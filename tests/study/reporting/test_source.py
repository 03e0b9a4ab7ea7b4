"""What a report of a study is made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest

from study.proposals import ranking
from study.question.config import StudyConfig
from study.record.record import StudyRecord
from study.reporting import words
from study.reporting.findings import Findings
from study.reporting.source import Source, _strength, caption, from_ledger, supervision
from tests.study.reporting.conftest import build, configured
from trainables.config import AlignmentConfig, AugmentationConfig, PerturbationConfig, SyntaxConfig, TrialConfig
from trainables.errors import UserError
from trainables.loading import apply_point
from trainables.scores import Evaluation, LanguageScores


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


def test_supervision_is_the_strongest_of_method_augmentation_and_alignment_and_says_syntax() -> None:
    def label(perturbation: str, augmentation: str, syntax: Literal["none", "gate"] = "none", **alignment: Any) -> str:
        return supervision(
            TrialConfig(
                syntax=SyntaxConfig(kind=syntax),
                perturbation=PerturbationConfig(method=perturbation),
                augmentation=AugmentationConfig(method=augmentation),
                alignment=AlignmentConfig(pairs=Path("pairs"), **alignment),
            )
        )

    assert label("adversarial", "none") == "none"
    assert label("none", "synonyms") == "monolingual"
    assert label("adversarial", "code_switching") == "bilingual"
    assert label("adversarial", "code_switching", objective="word_l2") == "parallel"
    assert label("adversarial", "code_switching", objective="word_l2", control="source") == "bilingual"
    assert label("adversarial", "none", "gate") == "syntax"
    assert label("none", "none", "gate", objective="word_l2") == "parallel + syntax"
    ranked = ["none", "syntax", "monolingual", "monolingual + syntax", "parallel", "parallel + syntax"]
    assert [_strength(each) for each in ranked] == sorted(map(_strength, ranked))


def test_whose_trees_there_were_is_said_by_language() -> None:
    def told(gold: dict[str, float], predicted: dict[str, float]) -> str:
        shares = {"parsed_gold": gold, "parsed_predicted": predicted}
        scores = {name: LanguageScores(found, dict.fromkeys(found, 2)) for name, found in shares.items()}
        return words.parsed(Evaluation(1, "test", {"f1": scores["parsed_gold"], **scores}))

    assert told({"de": 1.0, "en": 0.5}, {"de": 0.0, "en": 0.0}) == "gold"
    assert (
        told({"de": 1.0, "sw": 0.0, "yo": 0.0}, {"de": 0.0, "sw": 1.0, "yo": 0.0}) == "gold de; predicted sw; none yo"
    )
    assert words.parsed(None) == words.parsed(Evaluation(1, "test", {"f1": LanguageScores({}, {})})) == ""


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
