"""Weights that a trial is given instead of training: whose they may be, and what they score."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.trainables import shaped
from tests.trainables.training.test_loop import BASE, begin, results
from trainables.config import TrialConfig
from trainables.distributed import Group
from trainables.errors import UserError
from trainables.loading import apply_point
from trainables.materials import materials as materials_of
from trainables.materials.keys import untrained
from trainables.model.pretrained import load_encoder
from trainables.storage import checkpoint, soup
from trainables.training import average
from trainables.training.loop import run_trial
from trainables.training.rows import words_of
from trainables.training.trial import build_model, start

WORDS = apply_point(BASE, {"encoder.freeze_embeddings": False, "training.budget.steps": 2})
"""Its word embeddings are trained, so that their rows matter."""


def kin(config: TrialConfig) -> str:
    materials = materials_of.load(config)
    model = build_model(config, materials, load_encoder(config.encoder, materials.uses_segments))
    return average.kin(config, materials.kept, model)


def test_only_those_with_the_same_head_encoder_and_words_are_kin() -> None:
    mine = kin(BASE)
    same = ({"perturbation.method": "adversarial"}, {"training.learning_rate": 1e-3}, {"encoder.dropout": 0.3})
    others = (
        {"training.seed": 1},
        {"encoder.pooling": "first"},
        {"encoder.freeze_lower_layers": 9},
        {"task.target_languages": ("de", "fi")},
    )
    assert {kin(apply_point(BASE, point)) for point in same} == {mine}
    assert len({mine, *(kin(apply_point(BASE, point)) for point in others)}) == len(others) + 1


def test_how_far_layers_of_syntax_see_tells_kin_apart(tmp_path: Path) -> None:
    """Their weights have the same names and shapes."""
    model = shaped.begun(shaped.BASE, "tagging", tmp_path).model
    gates = [{"syntax.kind": "gate", "syntax.deltas": (first, None)} for first in (2, 4)]
    kin = [average.kin(apply_point(shaped.BASE, point), None, model) for point in gates]
    assert kin[0] != kin[1]
    unread = {"syntax.delta": 1, "syntax.graph_heads": 2, "syntax.graph_layers": 1}
    assert average.kin(apply_point(shaped.BASE, gates[0] | unread), None, model) == kin[0]


def test_given_weights_are_scored_and_nothing_is_trained(tmp_path: Path) -> None:
    """On a split with words that the trial had no row for: those are as they were pretrained."""
    own = list(run_trial(WORDS, tmp_path / "trained"))
    for number in (0, 1):
        soup.add(tmp_path / "mean", number, tmp_path / "trained")
    given = list(run_trial(WORDS, tmp_path / "given", weights=tmp_path / "mean"))
    assert results(given) == results(own[-1:])
    assert given[0].cost["forward_equivalents"] == 0 and given[0].cost["train_seconds"] == 0
    assert results(list(run_trial(WORDS, tmp_path / "given", weights=tmp_path / "mean"))) == results(given)

    tested = list(run_trial(WORDS, tmp_path / "tested", weights=tmp_path / "mean", final_split="test"))
    assert [(e.split, e.final) for e in tested] == [("validation", False), ("test", True)]
    # Its materials are others (the longest sequence, say), and so is the order in which numbers are added up.
    assert tested[0].primary.values == pytest.approx(dict(own[-1].primary.values), abs=0.01)
    mine, theirs = materials_of.load(WORDS), materials_of.load(WORDS, ("validation", "test"))
    assert mine.kept is not None and theirs.kept is not None and len(theirs.kept) > len(mine.kept)
    trial = start(WORDS, theirs, Group(), tmp_path / "fresh", tmp_path / "mean")
    found, before = checkpoint.latest(tmp_path / "mean"), load_encoder(WORDS.encoder, theirs.uses_segments)
    assert found is not None
    table = words_of(trial.model)
    trained = dict(zip(mine.kept.tolist(), found.weights[table], strict=True))
    pristine = before.model.get_input_embeddings().weight
    for row, value in zip(theirs.kept.tolist(), trial.model.get_parameter(table), strict=True):
        assert torch.allclose(value, trained[row].float() if row in trained else pristine[row], atol=1e-6), row


def test_weights_of_trials_with_words_of_their_own_are_scored(tmp_path: Path) -> None:
    """Texts that are segmented anew have tokens that no other trial has a row for."""
    config = apply_point(WORDS, {"perturbation.method": "mvr", "perturbation.view.probability": 1.0})
    own = list(run_trial(config, tmp_path / "trained"))
    soup.add(tmp_path / "mean", 0, tmp_path / "trained")
    assert results(list(run_trial(untrained(config), tmp_path / "given", weights=tmp_path / "mean"))) == results(
        own[-1:]
    )
    assert kin(apply_point(config, {"perturbation.method": "none"})) != kin(config)
    assert untrained(apply_point(config, {"perturbation.method": "adversarial"})).perturbation.method == "none"


def test_weights_of_others_are_refused(tmp_path: Path) -> None:
    config = apply_point(BASE, {"training.budget.steps": 1})
    with pytest.raises(UserError, match="must have a whole checkpoint"):
        begin_with(config, tmp_path, tmp_path / "absent")
    list(run_trial(config, tmp_path / "trained"))
    with pytest.raises(UserError, match="must be those of this trial's encoder, head and vocabulary"):
        begin_with(apply_point(config, {"training.seed": 1}), tmp_path, tmp_path / "trained")
    assert begin(config, materials_of.load(config), tmp_path / "other").step == 0


def begin_with(config: TrialConfig, tmp_path: Path, weights: Path) -> None:
    start(config, materials_of.load(config), Group(), tmp_path / "given", weights)
