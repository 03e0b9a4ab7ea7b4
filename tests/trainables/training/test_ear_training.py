"""Training by EAR, step by step: against its formula, restated text by text without any padding, and as a trial."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.trainables.steps import stepped
from trainables.augmentation import augment
from trainables.augmentation.words import words_of
from trainables.config import TrialConfig
from trainables.distributed import Group
from trainables.errors import UserError
from trainables.loading import apply_point
from trainables.materials import arrays
from trainables.materials import materials as materials_of
from trainables.materials.materials import Materials
from trainables.model.pretrained import load_tokenizer
from trainables.seeds import derive
from trainables.tasks.base import Row
from trainables.tasks.task import load_task
from trainables.training.loop import fit
from trainables.training.step import _backward
from trainables.training.trial import Trial, start

PUSH, PULL, LAYER = 3.0, 40.0, 2

EAR = TrialConfig.model_validate(
    {
        "task": {"target_languages": ["de", "th"]},
        "encoder": {"freeze_lower_layers": 1, "dropout": 0.0},
        "training": {"batch_size": 6, "micro_batch_size": 4, "budget": {"steps": 2}, "learning_rate": 2e-4},
        "perturbation": {"method": "ear", "push_weight": PUSH, "pull_weight": PULL, "attention_layer": LAYER},
        "augmentation": {"method": "synonyms", "copies": 2},
        "evaluation": {"examples_per_language": 2},
    }
)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrialConfig:
    """With a word of another length as only synonym of every word, so that every batch has copies that differ."""
    rows = load_task(EAR.task, ("train",)).rows["train"]["en"]
    words = sorted({word for row in rows for word in words_of(row["text"])})
    path = tmp_path_factory.mktemp("words") / "synonyms.json"
    synonyms = {word: [other] for word, other in zip(words, reversed(words), strict=True) if word != other}
    path.write_text(json.dumps(synonyms), encoding="utf-8")
    return apply_point(EAR, {"augmentation.resource": str(path)})


@pytest.fixture(scope="module")
def materials(config: TrialConfig) -> Materials:
    return materials_of.load(config)


def begin(config: TrialConfig, materials: Materials, directory: Path) -> Trial:
    torch.set_num_threads(1)
    return start(config, materials, Group(), directory)


def alone(trial: Trial, ids: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (classes,), mean of the embedding layer's output (d,), attention (heads, t, t) of one text by itself."""
    assert trial.materials.kept is not None
    numbers = torch.from_numpy(arrays.places(np.array(ids), trial.materials.kept))
    out = trial.model.encoder.model(input_ids=numbers[None], output_attentions=True, output_hidden_states=True)
    logits = trial.model.head.linear(out.last_hidden_state[0].mean(0))
    return logits, out.hidden_states[0][0].mean(0), out.attentions[LAYER][0]


def restated(trial: Trial, pairs: list[tuple[Row, Row]]) -> Tensor:
    """The mean loss of a batch."""
    tokenizer = load_tokenizer(trial.config.encoder)
    total = torch.zeros(())
    for one, other in pairs:
        assert one["label"] == other["label"]
        (a, pooled_a, attention_a), (b, pooled_b, attention_b) = (
            alone(trial, tokenizer(row["text"])["input_ids"]) for row in (one, other)
        )
        wide = max(attention_a.shape[-1], attention_b.shape[-1])
        squares = torch.zeros(len(attention_a), wide, wide)
        squares[:, : attention_a.shape[-1], : attention_a.shape[-1]] += attention_a
        squares[:, : attention_b.shape[-1], : attention_b.shape[-1]] -= attention_b
        total = total - a.log_softmax(0)[one["label"]] - b.log_softmax(0)[one["label"]]
        total = total - PUSH * ((pooled_a - pooled_b) ** 2).mean() + PULL * (squares**2).mean()
    return total / len(pairs)


def test_a_training_step_is_the_formula(config: TrialConfig, materials: Materials, tmp_path: Path) -> None:
    trial = begin(config, materials, tmp_path)
    items = trial.batches.at(0)
    originals = load_task(config.task, ("train",)).rows["train"]["en"]
    copies = augment(config.augmentation, originals, ("text",), "en", derive(config.training.seed, "augmentation"))
    assert len(materials.train) == len(copies) == 2 * len(originals)
    pairs = [(originals[j // 2], copies[j]) for j in items.tolist()]
    assert sum(one["text"] != other["text"] for one, other in pairs) >= 3, "a batch that can tell"
    names = [n for n, p in trial.model.named_parameters() if p.requires_grad]
    expected = restated(trial, pairs)
    plain = torch.autograd.grad(expected, [p for p in trial.model.parameters() if p.requires_grad])
    _backward(trial, items, 1 / len(items))
    parameters = dict(trial.model.named_parameters())
    for name, gradient in zip(names, plain, strict=True):
        torch.testing.assert_close(
            parameters[name].grad, gradient, rtol=1e-3, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}"
        )
    trial.optimizer.zero_grad()
    loss, _ = stepped(trial)  # in micro-batches, padded each to its own width
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5)


def test_a_trial_by_ear(config: TrialConfig, materials: Materials, tmp_path: Path) -> None:
    config = apply_point(config, {"encoder.dropout": 0.1})
    trial = begin(config, materials, tmp_path / "ear")
    (evaluation,) = fit(trial)
    assert evaluation.final and evaluation.primary.languages == ("de", "en", "th")
    assert evaluation.cost["forward_equivalents"] == 2 * 6, "two passes forward and back, with weight gradients"
    assert trial.batches.per_epoch == -(-len(materials.train) // 6), "an epoch is every pair once"
    both = apply_point(config, {"perturbation.push_weight": 0.0, "perturbation.pull_weight": 0.0})
    (other,) = fit(begin(both, materials, tmp_path / "both"))
    assert other.training["loss"] != pytest.approx(evaluation.training["loss"], rel=1e-3)
    again = begin(config, materials, tmp_path / "ear")
    assert again.step == 2 and again.resumed == (evaluation,)


def test_the_encoder_that_trials_share_stays_as_it_is(
    config: TrialConfig, materials: Materials, tmp_path: Path
) -> None:
    trial = begin(config, materials, tmp_path)
    pristine = materials.remember("encoder", lambda: None)
    assert pristine.model.config._attn_implementation == "sdpa"
    assert trial.model.encoder.model.config._attn_implementation == "eager"


def test_what_cannot_be_trained_is_refused(config: TrialConfig, materials: Materials, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"needs augmentation\.method synonyms"):
        materials_of.load(apply_point(config, {"augmentation.method": "none"}))
    with pytest.raises(UserError, match=r"must be below the encoder's 12 layers \(got 12\)"):
        begin(apply_point(config, {"perturbation.attention_layer": 12}), materials, tmp_path)
