"""The formula of a trial's memory against what autograd saves, and what the optimiser keeps."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel

from tests.trainables import texts
from tests.trainables.texts import Item
from trainables.config import TrialConfig
from trainables.distributed import Group
from trainables.loading import apply_point
from trainables.model.encoder import Encoder
from trainables.perturbation import METHODS, Parts
from trainables.scoring.robustness import robust_scores
from trainables.tasks.base import IGNORED, TaskShape
from trainables.tasks.choice import MultipleChoice
from trainables.tasks.classification import Classification
from trainables.tasks.tagging import Tagging
from trainables.training import memory
from trainables.training.memory import Load, Memory, Network
from trainables.training.step import train_step
from trainables.training.trial import Trial, start

TOLERANCE = 0.15

BASE = TrialConfig.model_validate(
    {"training": {"batch_size": 64, "budget": {"steps": 8}}, "perturbation": {"epsilon": 0.3, "ascent_steps": 2}}
)
FROZEN = {"encoder.freeze_embeddings": True, "encoder.freeze_lower_layers": 2}
NAMES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
SIZES: dict[str, tuple[dict[str, int], list[int]]] = {
    "narrow": (dict(zip(NAMES, (32, 3, 4, 64), strict=True)), [12] * 4),
    "ragged": (dict(zip(NAMES, (64, 4, 4, 256), strict=True)), [40, 33, 21, 20, 12, 6]),
    "long": (dict(zip(NAMES, (48, 3, 12, 96), strict=True)), [90, 88]),
}
"""An encoder's sizes, and the lengths of a batch's texts."""


class Book:
    """What lives of what autograd saves, by its storage, and the most that did at any time; parameters apart."""

    def __init__(self, trial: Trial) -> None:
        self.outside = {p.untyped_storage().data_ptr() for p in trial.model.parameters()}
        self.living: Counter[int] = Counter()
        self.sizes: dict[int, int] = {}
        self.peak = 0

    def add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if (place := storage.data_ptr()) not in self.outside:
            self.living[place] += 1
            self.sizes[place] = storage.nbytes()
            self.peak = max(self.peak, sum(self.sizes[each] for each in self.living))

    def drop(self, tensor: Tensor) -> None:
        place = tensor.untyped_storage().data_ptr()
        self.living[place] -= 1
        if self.living[place] <= 0:
            del self.living[place]


class Saved:
    """A tensor that autograd has saved, for as long as it does."""

    def __init__(self, tensor: Tensor, book: Book) -> None:
        # Detached: an output that its own node saves would keep itself alive.
        self.tensor, self.book = tensor.detach(), book
        book.add(tensor)

    def __del__(self) -> None:
        self.book.drop(self.tensor)


def begun(point: dict[str, Any], size: str, kind: str, shape: str, dropout: float, folder: Path) -> Trial:
    sizes, lengths = SIZES[size]

    def encoder() -> Encoder:
        torch.manual_seed(0)
        config = AutoConfig.for_model(
            kind, vocab_size=50, max_position_embeddings=100, type_vocab_size=2, hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout, **sizes,
        )  # fmt: skip
        return Encoder(AutoModel.from_config(config, add_pooling_layer=False), uses_segments=False).eval()

    def words(row: int, length: int) -> tuple[int, ...]:
        return (0, *(5 + (row + k) % 30 for k in range(length - 2)), 2)

    made = [words(row, length) for row, length in enumerate(lengths)]
    shapes: dict[str, tuple[TaskShape, list[Item]]] = {
        "classification": (
            Classification(("no", "yes"), pair=False),
            [Item((text,), (row % 2,), row) for row, text in enumerate(made)],
        ),
        "tagging": (
            Tagging(tuple("abcdefgh")),
            [Item((text,), (IGNORED, *[3] * (len(text) - 2), IGNORED), row) for row, text in enumerate(made)],
        ),
        "choice": (
            MultipleChoice(("1", "2"), 2),
            [Item((text, text), (row % 2, 2), row) for row, text in enumerate(made)],
        ),
    }
    task, train = shapes[shape]
    materials = texts.write(task, {"en": train}, {"en": [{"label": item.labels[0]} for item in train]}, train, 0.5)
    if Parts.of(point.get("perturbation.method", "none")).inputs.reads_attention:
        materials = replace(materials, originals=materials.train)
    if point.get("perturbation.method") in ("mvr", "xtune"):
        shorter = [Item((text[:-2] + text[-1:],), (row % 2,), row) for row, text in enumerate(made)]
        materials = replace(materials, views=lambda epoch, item: texts.encode(shorter[item : item + 1]))
    if "syntax.kind" in point:
        chain = np.concatenate([np.maximum(np.arange(length) - 1, 0) for length in lengths]).astype(np.int16)
        materials = replace(materials, train=replace(materials.train, parents=chain))
    materials.remember("encoder", encoder)
    return start(apply_point(BASE, point), materials, Group(), folder)


def predicted(trial: Trial, load: Load | None = None, device: str = "cpu") -> Memory:
    """By default for all texts at once."""
    model, pristine = trial.model, trial.materials.remember("encoder", lambda: None)
    shapes = {name: tuple(parameter.shape) for name, parameter in pristine.model.named_parameters()}
    network = Network.of(model.encoder.model.config.to_dict(), shapes, model.head, trial.config.encoder.dropout)
    lengths = [int(end - begin) for begin, end in itertools.pairwise(trial.materials.train.offsets)]
    load = load or Load(len(lengths), max(lengths), sum(lengths))
    return memory.needed(trial.config, network, load, device=device)


def measured(trial: Trial, act: Callable[[Trial], object] = train_step) -> int:
    """Most bytes that wait for a backward pass during a step: what autograd saves, and masks until the next batch."""
    book = Book(trial)
    factors = trial.model.masks.factors

    def kept(*arguments: Any) -> Tensor:
        drawn: Tensor = factors(*arguments)
        book.add(drawn)
        return drawn

    trial.model.masks.factors = kept  # type: ignore[method-assign]
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: Saved(tensor, book), lambda saved: saved.tensor):
        act(trial)
    return book.peak


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("frozen", [{}, FROZEN], ids=["whole", "frozen"])
@pytest.mark.parametrize("method", ["none", "adversarial", "freelb", "smart", "r3f", "rdrop"])
@pytest.mark.parametrize(("size", "kind"), [("narrow", "xlm-roberta"), ("ragged", "bert"), ("long", "xlm-roberta")])
def test_what_waits_for_the_backward_pass(
    size: str, kind: str, method: str, frozen: dict[str, Any], precision: str, tmp_path: Path
) -> None:
    point = {"perturbation.method": method, "training.precision": precision, **frozen}
    trial = begun(point, size, kind, "classification", 0.1, tmp_path)
    assert predicted(trial).saved == pytest.approx(measured(trial), rel=TOLERANCE)


@pytest.mark.parametrize("method", ["mvr", "xtune"])
def test_a_second_view_of_another_length_has_masks_of_its_own(method: str, tmp_path: Path) -> None:
    trial = begun({"perturbation.method": method}, "long", "xlm-roberta", "classification", 0.1, tmp_path)
    assert predicted(trial).saved == pytest.approx(measured(trial), rel=TOLERANCE)


@pytest.mark.parametrize("shape", ["tagging", "choice"])
@pytest.mark.parametrize("method", ["none", "vat"])
@pytest.mark.parametrize(
    "point",
    [{}, {"encoder.dropout": 0.0}, {"encoder.freeze_lower_layers": 2}, {"encoder.freeze_embeddings": True}],
    ids=["whole", "no dropout", "lower layers frozen", "embeddings frozen"],
)
def test_other_heads_and_other_parts_that_are_frozen(
    point: dict[str, Any], method: str, shape: str, tmp_path: Path
) -> None:
    trial = begun({"perturbation.method": method, **point}, "ragged", "xlm-roberta", shape, 0.1, tmp_path)
    items = 2 if shape == "choice" else 1
    assert len(trial.materials.train.offsets) - 1 == items * len(SIZES["ragged"][1])
    assert predicted(trial).saved == pytest.approx(measured(trial), rel=TOLERANCE)


WIDE = {"rank": 32, "dropout": 0.1, "targets": ["query", "intermediate.dense"]}


@pytest.mark.parametrize(
    ("adapter", "method", "precision"),
    [
        ({"method": "lora"}, "adversarial", "bf16"),
        ({"method": "lora"}, "smart", "fp32"),
        ({"method": "lora", **WIDE}, "none", "fp32"),
        ({"method": "lora", **WIDE}, "smart", "bf16"),
        ({"method": "ia3"}, "none", "bf16"),
        ({"method": "ia3"}, "adversarial", "fp32"),
        ({"method": "bitfit"}, "smart", "bf16"),
    ],
)
def test_an_adapter_keeps_less(adapter: dict[str, Any], method: str, precision: str, tmp_path: Path) -> None:
    point = {f"encoder.adapter.{name}": value for name, value in adapter.items()}
    point |= {"perturbation.method": method, "training.precision": precision, "encoder.freeze_lower_layers": 1}
    trial = begun(point, "ragged", "bert", "classification", 0.1, tmp_path)
    assert predicted(trial).saved == pytest.approx(measured(trial), rel=0.03)


@pytest.mark.parametrize("point", [{}, FROZEN, {"training.precision": "bf16"}], ids=["whole", "frozen", "bf16"])
def test_a_method_that_reads_attention(point: dict[str, Any], tmp_path: Path) -> None:
    own = {"perturbation.method": "ear", "perturbation.attention_layer": 1, "augmentation.copies": 1}
    trial = begun(own | point, "ragged", "xlm-roberta", "classification", 0.1, tmp_path)
    assert predicted(trial).saved == pytest.approx(measured(trial), rel=TOLERANCE)


@pytest.mark.parametrize("point", [{}, FROZEN], ids=["whole", "frozen"])
def test_an_attack_in_the_end_that_takes_more_than_a_step(point: dict[str, Any], tmp_path: Path) -> None:
    small = {"evaluation.token_budget": 192, "training.micro_batch_size": 1}
    trial = begun(small | point, "long", "bert", "classification", 0.0, tmp_path)
    plain = predicted(trial, Load.of(1, 90)).saved
    trial.config = apply_point(trial.config, {"evaluation.attack": {"examples_per_language": 4}})
    config = trial.config.evaluation

    def attack(trial: Trial) -> object:
        return robust_scores(trial.model.eval(), trial.materials, "validation", config, trial.group)

    found = predicted(trial, Load.of(1, 90)).saved
    assert found > 1.2 * plain
    assert found == pytest.approx(measured(trial, attack), rel=TOLERANCE)
    # An accelerator attacks as many tokens at once as it scores, and not as many as a CPU.
    trial.config = apply_point(trial.config, {"evaluation.accelerator_token_budget": 192 * 16})
    assert predicted(trial, Load.of(1, 90)).saved == found
    assert predicted(trial, Load.of(1, 90), "cuda").saved > 10 * found


@pytest.mark.parametrize(
    "frozen",
    [
        {},
        FROZEN,
        {"encoder.freeze_lower_layers": 1},
        *({"encoder.adapter.method": m} for m in ("lora", "ia3", "bitfit")),
    ],
)
@pytest.mark.parametrize("kind", ["bert", "xlm-roberta"])
def test_parameters_gradients_and_moments_to_the_byte(kind: str, frozen: dict[str, Any], tmp_path: Path) -> None:
    trial = begun(frozen, "narrow", kind, "tagging", 0.1, tmp_path)
    found = predicted(trial)
    parameters = list(trial.model.parameters())
    assert found.parameters == sum(p.nbytes for p in parameters)
    assert found.gradients == sum(p.nbytes for p in parameters if p.requires_grad)
    train_step(trial)
    states = [each for state in trial.optimizer.state.values() for each in state.values()]
    assert found.optimizer == sum(each.nbytes for each in states)


@pytest.mark.parametrize("method", ["bregman", "freeat", "tavat+sam"])
@pytest.mark.parametrize("point", [{}, {"encoder.adapter.method": "lora"}], ids=["whole", "lora"])
def test_what_a_method_carries_to_the_byte(method: str, point: dict[str, Any], tmp_path: Path) -> None:
    trial = begun({"perturbation.method": method, **point}, "narrow", "bert", "choice", 0.1, tmp_path)
    carries = trial.perturbation.carries
    assert carries is not None
    carries.forget()
    assert predicted(trial).carried == sum(each.nbytes for each in (*carries.tensors.values(), *carries.found))


@pytest.mark.parametrize(("precision", "dropout"), [("fp32", 0.0), ("fp32", 0.1), ("bf16", 0.1)])
@pytest.mark.parametrize("kind", ["augmented", "gate"])
def test_layers_of_syntax_keep_what_they_look_at(kind: str, precision: str, dropout: float, tmp_path: Path) -> None:
    point = {"syntax.kind": kind, "training.precision": precision}
    trial = begun(point, "long", "xlm-roberta", "classification", dropout, tmp_path)
    assert predicted(trial).saved == pytest.approx(measured(trial), rel=TOLERANCE)


def test_layers_that_are_computed_again_keep_what_enters_them(tmp_path: Path) -> None:
    point = {"training.gradient_checkpointing": True}
    plain, again = (predicted(begun(each, "long", "bert", "classification", 0.0, tmp_path)) for each in ({}, point))
    tokens, hidden = sum(SIZES["long"][1]), SIZES["long"][0]["hidden_size"]
    layers = SIZES["long"][0]["num_hidden_layers"]
    assert layers * tokens * hidden * 4 < again.saved < 0.8 * plain.saved
    assert again.gradients == plain.gradients


def test_every_method_has_a_number_of_graphs() -> None:
    ours = {name for name, method in METHODS.items() if method.__module__.startswith("trainables.")}
    assert ours == memory.GRAPHS.keys()


def test_what_an_accelerator_does_not_keep(tmp_path: Path) -> None:
    """Its kernels drop out within attention: probabilities are nowhere in full, twice the length is twice as much."""
    trial = begun({}, "long", "bert", "classification", 0.1, tmp_path)
    shapes = {name: tuple(parameter.shape) for name, parameter in trial.model.encoder.model.named_parameters()}
    network = Network.of(trial.model.encoder.model.config.to_dict(), shapes, trial.model.head)
    short, long = (memory.needed(trial.config, network, Load.of(4, t), device="cuda") for t in (64, 128))
    assert long.saved == pytest.approx(2 * short.saved, rel=0.01)
    on_cpu = memory.needed(trial.config, network, Load.of(4, 128))
    assert on_cpu.attention + on_cpu.masks > 2 * (long.attention + long.masks)


def test_several_workers_hold_the_gradients_twice(tmp_path: Path) -> None:
    trial = begun({}, "narrow", "bert", "classification", 0.1, tmp_path)
    shapes = {name: tuple(parameter.shape) for name, parameter in trial.model.encoder.model.named_parameters()}
    network = Network.of(trial.model.encoder.model.config.to_dict(), shapes, trial.model.head)
    alone, two = (memory.needed(trial.config, network, Load.of(4, 12), world=world) for world in (1, 2))
    assert two.total - alone.total == two.exchange == two.gradients
