"""Trees in materials: prepared, stored, opened, and whose they are."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from tests.trainables import tiny
from trainables.batch import NO_TREE
from trainables.config import TrialConfig
from trainables.distributed import Group
from trainables.errors import UserError
from trainables.loading import apply_point
from trainables.materials.materials import load, parsed_of, prepare
from trainables.materials.weights import cost, trained
from trainables.scoring.parsed import parsed_scores
from trainables.scoring.stream import stream
from trainables.storage.checkpoint import trainable_weights
from trainables.training.loop import run_trial
from trainables.training.trial import start

WORDS = "1\tab\t_\tDET\t_\t_\t2\t_\t_\t_\n2\tc\t_\tNOUN\t_\t_\t0\t_\t_\t_\n\n"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrialConfig:
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "cache"))
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}.en.conllu").write_text(WORDS * 3)
    bare = WORDS.replace("\t2\t_\t_", "\t_\t_\t_").replace("\t0\t_\t_", "\t_\t_\t_")
    (tmp_path / "validation.yo.conllu").write_text(WORDS + bare)
    (tmp_path / "validation.wo.conllu").write_text(bare)
    (tmp_path / "task.yaml").write_text(json.dumps({"shape": "tagging", "labels": ["DET", "NOUN"]}))
    encoder = tiny.write(tmp_path / "encoder", "xlm-roberta")
    return TrialConfig.model_validate(
        {
            "task": {"name": str(tmp_path / "task.yaml")},
            "encoder": {"name_or_path": str(encoder)},
            "training": {"batch_size": 2, "budget": {"steps": 2}},
            "syntax": {"kind": "augmented"},
        }
    )


def test_trees_are_prepared_where_they_are_asked_for(config: TrialConfig, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        materials = load(config)
    assert "no trees of wo, which are scored without syntax" in caplog.text
    assert materials.train.tree(0).tolist() == [0, 4, 1, 1, 0, 4, 0]
    validation = materials.evaluation["validation"]
    assert (validation["wo"].tree(0) == NO_TREE).all() and validation["yo"].tree(0).tolist() == [0, 4, 1, 1, 0, 4, 0]
    assert np.array_equal(validation["en"].tree(2), validation["yo"].tree(0))
    assert parsed_of(config)["validation"] == {"en": ["gold", 3, 3], "yo": ["gold", 1, 2], "wo": ["none", 0, 1]}
    plan = stream(materials, "validation", None, 1000)
    assert len(plan.copies) == 2, "equal words with a tree and without one are two inputs"
    shares = parsed_scores(materials, "validation", plan)
    assert shares["parsed_gold"].values == {"en": 1.0, "yo": 0.5, "wo": 0.0}
    assert set(shares["parsed_predicted"].values.values()) == {0.0}
    assert load(apply_point(config, {"syntax.kind": "none"})).train.parents is None


def test_a_trial_says_whose_trees_it_had(config: TrialConfig, tmp_path: Path) -> None:
    (evaluation,) = run_trial(config, tmp_path / "trial")
    assert list(evaluation.scores) == ["f1", "token_accuracy", "parsed_gold", "parsed_predicted"]
    (without,) = run_trial(apply_point(config, {"syntax.kind": "none"}), tmp_path / "without")
    assert list(without.scores) == ["f1", "token_accuracy"]


def test_what_is_added_is_counted_before_there_is_a_model(config: TrialConfig, tmp_path: Path) -> None:
    for kind in ("augmented", "gate"):
        point = apply_point(config, {"syntax.kind": kind})
        trial = start(point, load(point), Group(), tmp_path / kind)
        head = sum(parameter.numel() for parameter in trial.model.head.parameters())
        assert trained(point) == sum(each.numel() for each in trainable_weights(trial.model).values()) - head
        assert cost(point, 9.0) == pytest.approx(trial.model.cost(9.0))
    assert cost(apply_point(config, {"syntax.kind": "none"}), 9.0) == 9.0


def test_without_a_tree_to_train_on_there_is_no_syntax(config: TrialConfig, tmp_path: Path) -> None:
    (tmp_path / "train.en.conllu").write_text((tmp_path / "validation.wo.conllu").read_text())
    with pytest.raises(UserError, match=r"syntax.kind: needs dependency heads of the training texts.*rows of en\)"):
        prepare(config)
