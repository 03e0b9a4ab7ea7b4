"""The words of augmented copies: trimmed or not, and in checkpoints of versions that numbered them otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.trainables.training.test_loop import BASE, assert_same, begin, results, trained, weights
from trainables.config import TrialConfig
from trainables.loading import apply_point
from trainables.materials.arrays import places
from trainables.materials.materials import load
from trainables.model.pretrained import load_tokenizer
from trainables.storage import checkpoint, tensors
from trainables.training.export import _load as put_into_the_whole_vocabulary
from trainables.training.loop import fit
from trainables.training.rows import words_of
from trainables.training.trial import Trial, build_model


@pytest.fixture
def augmented(tmp_path: Path) -> TrialConfig:
    """On the embedded data, whose English knows these words; embeddings are trained."""
    resource = tmp_path / "synonyms.json"
    words = {"what": ["quel"], "the": ["zebra", "los"], "me": ["kangaroo"], "my": ["kvak"], "is": ["bist"]}
    resource.write_text(json.dumps(words), encoding="utf-8")
    point = {"augmentation.method": "synonyms", "augmentation.resource": str(resource)}
    point |= {"encoder.freeze_embeddings": False, "encoder.dropout": 0.0, "training.weight_decay": 0.1}
    return apply_point(BASE, point)


def test_a_trimmed_vocabulary_learns_and_scores_as_the_whole_one(augmented: TrialConfig, tmp_path: Path) -> None:
    whole = apply_point(augmented, {"encoder.trim_vocabulary": False})
    found = trained(augmented, load(augmented), tmp_path / "trimmed")
    expected = trained(whole, load(whole), tmp_path / "whole")
    kept = load(augmented).kept
    assert kept is not None and load(augmented).added_words is not None
    for mine, theirs in zip(found[0], expected[0], strict=True):
        assert mine.primary.values == theirs.primary.values
        assert mine.training["loss"] == pytest.approx(theirs.training["loss"], rel=1e-5)
    for name, tensor in expected[1].items():
        rows = torch.from_numpy(kept) if name.endswith("word_embeddings.weight") else slice(None)
        torch.testing.assert_close(found[1][name], tensor[rows], rtol=0, atol=1e-6)


def as_before(written: Path, trial: Trial) -> np.ndarray:
    """Make a checkpoint what it was when a seed's table had its own data's words alone, in order; which they are."""
    materials, table = trial.materials, words_of(trial.model)
    kept = materials.kept
    assert kept is not None
    used = [materials.train.ids, *(e.ids for each in materials.evaluation.values() for e in each.values())]
    always = [*load_tokenizer(trial.config.encoder).all_special_ids, 0, 1]  # and all up to the padding
    rows = np.union1d(kept[np.unique(np.concatenate(used))], always)
    place = torch.from_numpy(places(rows, kept))
    found = checkpoint.read(written)
    assert found is not None
    weights = {**found.weights, table: found.weights[table][place]}
    optimizer = {
        name: value[place] if name.startswith(f"{table}//") and value.ndim else value
        for name, value in found.optimizer.items()
    }
    meta = json.loads(json.loads((written / checkpoint.META).read_text())["meta"])
    del meta["numbering"]
    for name, named in ((checkpoint.WEIGHTS, weights), (checkpoint.OPTIMIZER, optimizer)):
        save_file({each: tensor.contiguous() for each, tensor in named.items()}, written / name)
        meta["checksums"][name] = tensors.checksum(written / name)
    body = json.dumps(meta)
    envelope = {"checksum": checkpoint._digest(body.encode()), "meta": body}
    (written / checkpoint.META).write_text(json.dumps(envelope), encoding="utf-8")
    assert not np.array_equal(rows, kept)
    return rows


def test_a_checkpoint_in_the_former_order_goes_on(augmented: TrialConfig, tmp_path: Path) -> None:
    materials = load(augmented)
    whole = trained(augmented, materials, tmp_path / "whole")
    trial = begin(augmented, materials, tmp_path / "halves")
    next(fit(trial))
    before = dict(found.weights) if (found := checkpoint.latest(tmp_path / "halves")) else {}
    rows = as_before(tmp_path / "halves" / "2", trial)
    resumed = begin(augmented, materials, tmp_path / "halves")
    assert resumed.step == 2
    used = torch.from_numpy(places(rows, materials.kept))
    table = words_of(trial.model)
    assert torch.equal(weights(resumed)[table][used], before.pop(table)[used])
    assert_same(before, {name: tensor for name, tensor in weights(resumed).items() if name != table})
    assert results(list(fit(resumed))) == results(whole[0])
    ended = weights(resumed)
    assert torch.equal(ended.pop(table)[used], whole[1].pop(table)[used])
    assert_same(ended, whole[1])


@pytest.mark.parametrize("former", [False, True])
def test_a_model_for_others_has_each_word_at_its_place(augmented: TrialConfig, tmp_path: Path, former: bool) -> None:
    materials = load(augmented)
    trial = begin(augmented, materials, tmp_path)
    next(fit(trial))
    written = checkpoint.latest(tmp_path)
    if former:
        as_before(tmp_path / "2", trial)
    found = checkpoint.latest(tmp_path)
    assert found is not None and written is not None
    whole = apply_point(augmented, {"encoder.trim_vocabulary": False})
    model = build_model(augmented, materials, begin(whole, load(whole), tmp_path / "other").model.encoder)
    put_into_the_whole_vocabulary(model, found, augmented, materials)
    assert materials.kept is not None
    ids = torch.from_numpy(materials.train.ids[:50].copy())
    expected = written.weights[words_of(trial.model)]
    assert torch.equal(model.encoder.table[torch.from_numpy(materials.kept)[ids]], expected[ids])
