"""Several workers, or micro-batches, take the same steps as one worker at once: every shape of task, every method."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainables.shaped import BASE, ITEMS, PERTURBING, SHAPES, TASKS, begun, words
from tests.trainables.steps import stepped
from tests.trainables.team import together
from tests.trainables.texts import Item, encode
from trainables.config import TrialConfig
from trainables.distributed import Group
from trainables.errors import UserError
from trainables.loading import apply_point
from trainables.materials import fitting
from trainables.storage.checkpoint import trainable_weights
from trainables.training.passes import Limits
from trainables.training.saving import Saving
from trainables.training.trial import Trial

NO_GRADIENT = ("head.score.linear.bias", "encoder.model.encoder.layer.0.output.LayerNorm.bias")
"""What is added to every choice alike changes no loss: AdamW makes steps of what rounding leaves of its gradient."""

STEPS = 4
"""Batches of five and of two: every second one has less than an item for each of three workers."""


Result = tuple[list[float], dict[str, Tensor], dict[str, float]]


def trained(trial: Trial) -> Result:
    """Losses, weights and what the method carries in the end, and the diagnostics of all workers that add up."""
    losses = [stepped(trial)[0] for _ in range(STEPS)]
    parts = trial.group.gather(trial.meters.diagnostics)
    sums = {name: sum(getattr(each, name) for each in parts) for name in ("tokens", "items", "squared_norm")}
    tensors = {name: tensor.clone() for name, tensor in trainable_weights(trial.model).items()}
    carries = trial.perturbation.carries
    tensors |= {} if carries is None else {f"carried {name}": each.clone() for name, each in carries.tensors.items()}
    return losses, tensors, sums


def assert_equal(found: Result, expected: Result, shape: str = "") -> None:
    assert found[0] == pytest.approx(expected[0], rel=1e-3)
    assert found[2] == pytest.approx(expected[2], rel=1e-3)
    for name, tensor in expected[1].items():
        if shape == "choice" and name.removeprefix("carried ") in NO_GRADIENT:
            continue
        torch.testing.assert_close(found[1][name], tensor, rtol=0, atol=5e-4, msg=name)


def with_workers(config: TrialConfig, shape: str, folder: Path, world: int, **other: Any) -> Sequence[Result]:
    # Not by the workers: heads are drawn from the process's generator.
    trials = [begun(config, shape, folder, **other) for _ in range(world)]

    def work(group: Group) -> Result:
        trials[group.rank].group = group
        return trained(trials[group.rank])

    return together(world, work)


@pytest.mark.parametrize(
    ("shape", "method"),
    [*itertools.product(SHAPES, PERTURBING), ("relevance", "adversarial")],  # which trains as classification does
)
def test_workers_and_micro_batches_take_the_steps_of_one_worker(shape: str, method: str, tmp_path: Path) -> None:
    config = apply_point(BASE, {"perturbation.method": method})
    alone = trained(begun(config, shape, tmp_path))
    assert len({round(loss, 6) for loss in alone[0]}) == STEPS
    for world in (2, 3):
        for each in with_workers(config, shape, tmp_path, world):
            assert_equal(each, alone, shape)
    if not TASKS[shape][0].compares_items:
        parts = trained(begun(apply_point(config, {"training.micro_batch_size": 2}), shape, tmp_path))
        assert_equal(parts, alone, shape)


def test_two_masks_of_a_text_are_compared_alike_by_any_workers(tmp_path: Path) -> None:
    """Masks are a micro-batch's: where each has one text, any worker draws the same, and R-Drop adds the same."""
    point = {"perturbation.method": "rdrop", "encoder.dropout": 0.3, "training.micro_batch_size": 1}
    config = apply_point(BASE, point)
    trial = begun(config, "classification", tmp_path)
    alone = trained(trial)
    assert trial.meters.diagnostics.apart > 0
    for each in with_workers(config, "classification", tmp_path, 2):
        assert_equal(each, alone)
    more = trained(begun(apply_point(config, {"perturbation.weight": 50.0}), "classification", tmp_path))
    assert more[0][0] > alone[0][0], "what is compared is in the loss"


def test_copies_in_other_words_are_compared_alike_by_any_workers(tmp_path: Path) -> None:
    point = {"perturbation.method": "ear", "perturbation.attention_layer": 0, "augmentation.copies": 1}
    config = apply_point(BASE, point)
    longer = encode([Item((words(row, 1),), (row % 2,), row) for row in range(ITEMS)])
    trial = begun(config, "classification", tmp_path, originals=longer)
    alone = trained(trial)
    for each in with_workers(config, "classification", tmp_path, 2, originals=longer):
        assert_equal(each, alone)
    parts = apply_point(config, {"training.micro_batch_size": 2})
    assert_equal(trained(begun(parts, "classification", tmp_path, originals=longer)), alone)


def test_items_that_are_compared_are_not_taken_apart() -> None:
    config = apply_point(BASE, {"task.name": "tatoeba", "training.micro_batch_size": 2})
    with pytest.raises(UserError, match=r"training.micro_batch_size: the items of a batch are compared"):
        fitting.check(config)
    with pytest.raises(UserError, match=r"training.micro_batch_tokens: the items .* \(got 64, task 'tatoeba'\)"):
        fitting.check(apply_point(config, {"training.micro_batch_size": 5, "training.micro_batch_tokens": 64}))
    fitting.check(apply_point(config, {"training.micro_batch_size": 5}))


def out_of_memory_beyond(trial: Trial, most: int) -> list[int]:
    """Make passes over more examples than that fail as a device does; the sizes that were tried."""
    tried: list[int] = []
    backward = trial.perturbation.backward

    def limited(view: Any, *rest: float) -> Any:
        tried.append(len(view.embeddings))
        found = backward(view, *rest)
        if len(view.embeddings) > most:  # after the gradient has been accumulated
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return found

    trial.perturbation.backward = limited  # type: ignore[method-assign]
    return tried


def test_memory_that_does_not_suffice_halves_the_micro_batches_once(tmp_path: Path) -> None:
    config = apply_point(BASE, {"perturbation.method": "adversarial"})
    alone = trained(begun(config, "classification", tmp_path))
    trial, said = begun(config, "classification", tmp_path), list[str]()
    trial.say = said.append
    tried = out_of_memory_beyond(trial, 2)
    assert_equal(trained(trial), alone)
    assert (tried[0] == 5 and 5 not in tried[1:]) or tried[:2] == [2, 5]
    assert said == ["out of memory with 5 examples at once: goes on with 2 (training.micro_batch_size: 2)"]

    Saving(trial, lambda: None).write((), final=False)
    again = begun(config, "classification", tmp_path)
    assert again.step == trial.step and again.limits == trial.limits == Limits(2, None, halved=True)

    hopeless = begun(config, "classification", tmp_path / "hopeless")
    out_of_memory_beyond(hopeless, 0)
    with pytest.raises(torch.OutOfMemoryError) as caught:
        trained(hopeless)
    assert "training.micro_batch_tokens" in "".join(caught.value.__notes__)
