"""One optimiser step: how strong its perturbation is, and what each worker contributes to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import XLMRobertaConfig, XLMRobertaModel

from tests.trainables import shaped, texts
from tests.trainables.steps import stepped
from tests.trainables.team import together
from tests.trainables.texts import Item
from trainables.config import TrialConfig
from trainables.distributed import Group
from trainables.loading import apply_point
from trainables.model.encoder import Encoder
from trainables.perturbation.base import Perturbable
from trainables.storage.checkpoint import trainable_weights
from trainables.tasks.classification import Classification
from trainables.training import loop
from trainables.training.step import magnitude, train_step
from trainables.training.trial import Meters, Trial, start

M = 0.5
"""The reference norm."""

BASE = TrialConfig.model_validate(
    {
        "encoder": {"dropout": 0.0},
        "training": {"batch_size": 3, "budget": {"steps": 8}, "learning_rate": 1e-2, "warmup_fraction": 0.0},
        "perturbation": {"method": "adversarial", "start": "zero", "epsilon": 0.3},
    }
)


def encoder() -> Encoder:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 16, "vocab_size": 20, "max_position_embeddings": 16, "type_vocab_size": 1}
    return Encoder(XLMRobertaModel(XLMRobertaConfig(**sizes), add_pooling_layer=False), uses_segments=False).eval()


def begun(config: TrialConfig, folder: Path, items: int, group: Group | None = None) -> Trial:
    """A trial of a tiny encoder on that many texts."""
    train = [Item(((0, 5 + row, 9 + row % 3, 2),), (row % 2,), row) for row in range(items)]
    shape = Classification(("no", "yes"), pair=False)
    materials = texts.write(shape, {"en": train}, {"en": [{"label": item.labels[0]} for item in train]}, train, M)
    materials.remember("encoder", encoder)
    return start(config, materials, group or Group(), folder)


def test_the_magnitude_rises_at_the_start_and_falls_at_the_end(tmp_path: Path) -> None:
    point = {"perturbation.warmup_fraction": 0.25, "perturbation.decay_fraction": 0.5}
    trial = begun(apply_point(BASE, point), tmp_path, 6)
    expected = [0.0, 0.5, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25]
    for share in expected:
        assert magnitude(trial) == pytest.approx(share)
        trial.meters = Meters()
        stepped(trial)
        # A step as long as the radius from the middle of the ball ends at its edge.
        assert trial.meters.diagnostics.norm_max == pytest.approx(0.3 * M * share, rel=1e-3)


@pytest.mark.parametrize(
    ("fraction", "expected"), [(0.0, [1.0] * 8), (1.0, [1 - k / 8 for k in range(8)]), (0.125, [1.0] * 8)]
)
def test_the_magnitude_decays_as_long_as_it_is_told_to(tmp_path: Path, fraction: float, expected: list[float]) -> None:
    trial = begun(apply_point(BASE, {"perturbation.decay_fraction": fraction}), tmp_path, 6)
    found = []
    while trial.step < trial.steps:
        found.append(magnitude(trial))
        trial.step += 1
    assert found == pytest.approx(expected)


def views(config: TrialConfig, folder: Path, steps: int = 4) -> list[Perturbable]:
    """What the method sees of each of a trial's batches."""
    trial = begun(config, folder, 6)
    seen: list[Perturbable] = []
    backward = trial.perturbation.backward

    def watched(view: Perturbable, *rest: float) -> Any:
        seen.append(view)
        return backward(view, *rest)

    trial.perturbation.backward = watched  # type: ignore[method-assign]
    for _ in range(steps):
        train_step(trial)
    return seen


def test_start_and_end_of_a_text_are_perturbed_only_if_asked_for(tmp_path: Path) -> None:
    for asked, expected in ((False, [False, True, True, False]), (True, [True] * 4)):
        config = apply_point(BASE, {"perturbation.perturb_special_tokens": asked})
        assert [view.mask.tolist() for view in views(config, tmp_path)] == [[expected] * 3] * 4


def test_each_step_has_noise_of_its_own_which_the_seed_decides(tmp_path: Path) -> None:
    first, again, other = (
        [view.draw for view in views(apply_point(BASE, {"training.seed": seed}), tmp_path)] for seed in (0, 0, 1)
    )
    assert first == again
    assert len({*first, *other}) == 8


def test_a_second_pass_has_a_dropout_mask_of_its_own_which_stays(tmp_path: Path) -> None:
    seen: list[list[Tensor]] = []
    trial = begun(apply_point(BASE, {"encoder.dropout": 0.4}), tmp_path, 6)

    def watched(view: Perturbable, *rest: float) -> Any:
        assert view.forward_again is not None
        passes = (view.forward, view.forward_again, view.forward, view.forward_again)
        seen.append([each(view.embeddings).detach() for each in passes])
        return type(trial.perturbation).backward(trial.perturbation, view, *rest)

    trial.perturbation.backward = watched  # type: ignore[method-assign]
    train_step(trial)
    first, again, first_once_more, again_once_more = seen[0]
    assert torch.equal(first, first_once_more) and torch.equal(again, again_once_more)
    assert not torch.allclose(first, again)


def test_the_seed_decides_with_which_head_a_trial_begins_and_nothing_of_the_encoder(tmp_path: Path) -> None:
    first, again, other = (
        trainable_weights(begun(apply_point(BASE, {"training.seed": seed}), tmp_path, 4).model) for seed in (0, 0, 1)
    )
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())
    differing = {name for name, tensor in first.items() if not torch.equal(tensor, other[name])}
    assert differing == {name for name in first if name.startswith("head.")}


def trained(trial: Trial, steps: int) -> tuple[list[float], dict[str, Tensor]]:
    """Losses, and the weights in the end."""
    losses = [stepped(trial)[0] for _ in range(steps)]
    return losses, {name: tensor.clone() for name, tensor in trainable_weights(trial.model).items()}


@pytest.mark.parametrize("world", [2, 3])
def test_a_worker_without_items_takes_the_same_step(tmp_path: Path, world: int) -> None:
    """Four texts in batches of three: every other batch has a single one, which is the first worker's."""
    losses, weights = trained(begun(BASE, tmp_path, 4), 6)
    before = trainable_weights(begun(BASE, tmp_path, 4).model)
    assert any(not torch.equal(before[name], tensor) for name, tensor in weights.items())
    trials = [begun(BASE, tmp_path, 4) for _ in range(world)]  # heads are drawn from the process's generator
    assert {len(trials[0].batches.at(step)) for step in range(6)} == {1, 3}

    def work(group: Group) -> tuple[list[float], dict[str, Tensor]]:
        trials[group.rank].group = group
        return trained(trials[group.rank], 6)

    for theirs, others in together(world, work):
        assert theirs == pytest.approx(losses, rel=1e-4)
        for name, tensor in weights.items():
            torch.testing.assert_close(others[name], tensor, rtol=0, atol=1e-4)


def test_an_interruption_of_one_worker_reaches_all(tmp_path: Path) -> None:
    trials = [begun(BASE, tmp_path, 4) for _ in range(2)]

    def work(group: Group) -> list[bool]:
        trial = trials[group.rank]
        trial.group = group
        return [stepped(trial, lambda: group.rank == 1 and trial.step == 1)[1] for _ in range(3)]

    assert together(2, work) == [[False, True, False]] * 2


def test_a_perturbation_is_as_strong_as_the_texts_say_that_are_trained_on(tmp_path: Path) -> None:
    """By their own norm, where an augmentation gives a trial some: that of the shared ones is for scores."""
    made = shaped.begun(apply_point(BASE, {"training.batch_size": 5}), "classification", tmp_path, own_norm=2 * M)
    stepped(made)
    assert made.perturbation.reference_norm == 2 * M
    assert loop._training_metrics(made)["relative_norm"] == pytest.approx(0.3, rel=1e-5)
