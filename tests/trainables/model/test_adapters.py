"""A part of an encoder is trained: what is put where, that it changes nothing at first, and that nothing else moves."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.trainables.model import tiny_families
from tests.trainables.model.test_families import (
    BASE,
    assert_two_workers_take_the_steps_of_one,
    batch,
    begun,
    copied,
    encoder,
    states,
)
from tests.trainables.model.tiny_families import CONFIGS, LAYERS
from tests.trainables.steps import stepped
from trainables.config import EncoderConfig, TrialConfig
from trainables.errors import UserError
from trainables.loading import apply_point
from trainables.materials import weights
from trainables.model import adapters
from trainables.model.dropout import SharedDropout
from trainables.model.encoder import Encoder
from trainables.storage import checkpoint
from trainables.training.trial import build_model

LORA = {"encoder.adapter.method": "lora"}
WITHOUT_BIASES = ("modernbert", "eurobert", "t5", "mt5", "umt5")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("encoders")
    return {name: tiny_families.write(folder / name.replace(" ", "-"), name) for name in CONFIGS}


def settings(folder: Path, method: str, **more: Any) -> EncoderConfig:
    own = {name: more.pop(name) for name in ("rank", "alpha", "targets", "dropout") if name in more}
    given = {"name_or_path": str(folder), "adapter": {"method": method, **own}, **more}
    return EncoderConfig.model_validate(given)


def adapted(folders: dict[str, Path], name: str, method: str, **more: Any) -> tuple[Encoder, EncoderConfig]:
    """As a trial begins with it."""
    of, config = encoder(folders, name), settings(folders[name], method, **more)
    of.freeze(config.freeze_embeddings, config.freeze_lower_layers)
    of.adapt(config)
    return of, config


def learnt(of: nn.Module) -> None:
    """Move all that is trained."""
    torch.manual_seed(2)
    for parameter in of.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, 0.5, 0.2)


# Where


@pytest.mark.parametrize("method", ["lora", "ia3"])
@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_it_starts_as_the_encoder_and_merges_into_it(folders: dict[str, Path], name: str, method: str) -> None:
    given, base = batch(name), encoder(folders, name)
    expected = states(tiny_families.model(base), given)
    of, _ = adapted(folders, name, method)
    own = {n for n, p in of.model.named_parameters() if p.requires_grad}
    assert own and all(of.family.part(n) in range(LAYERS) for n in own)
    model = tiny_families.model(of)
    assert torch.equal(states(model, given), expected)
    learnt(of)
    moved = states(model, given)
    assert not torch.allclose(moved, expected, atol=1e-2)
    whole = of.merged()
    torch.testing.assert_close(states(tiny_families.model(whole), given), moved, rtol=1e-5, atol=1e-5)
    assert whole.model.state_dict().keys() == base.model.state_dict().keys()
    assert torch.equal(states(model, given), moved), "merging is done to a copy"


@pytest.mark.parametrize("method", ["lora", "ia3", "bitfit"])
@pytest.mark.parametrize("name", CONFIGS)
def test_what_is_trained_is_what_is_counted_and_frozen_layers_get_none(
    folders: dict[str, Path], name: str, method: str
) -> None:
    if method == "bitfit" and name in WITHOUT_BIASES:
        with pytest.raises(UserError, match=r"^encoder.adapter.method: needs biases, and .*none.* \(got 'bitfit'\)$"):
            adapted(folders, name, method)
        return
    shapes = weights.stored(folders[name])
    assert shapes is not None
    for layers in (0, 1)[: 1 if name == "albert" else 2]:
        of, config = adapted(folders, name, method, freeze_embeddings=True, freeze_lower_layers=layers)
        own = {n: p for n, p in of.model.named_parameters() if p.requires_grad}
        assert weights.count(shapes, config) == sum(p.numel() for p in own.values()) > 0
        assert {of.family.part(n) for n in own} & {*range(LAYERS)} == {
            *range(layers, 1 if name == "albert" else LAYERS)
        }
        assert of.frozen_layers == layers * of.family.plain
        weights.check(config)


def test_attention_of_each_family_is_what_is_adapted(folders: dict[str, Path]) -> None:
    for name, path in (("bert", "attention.self.query"), ("xlm", "q_lin"), ("t5", "SelfAttention.q")):
        of, _ = adapted(folders, name, "lora")
        own = {n.partition(".lora")[0] for n, p in of.model.named_parameters() if p.requires_grad}
        assert len(own) == 2 * LAYERS and sum(n.endswith(path) for n in own) == LAYERS
    of, _ = adapted(folders, "mt5", "ia3")
    scales = {n: p.numel() for n, p in of.model.named_parameters() if p.requires_grad}
    assert sorted(scales.values()) == [16, 16, 16, 16, 24, 24], "keys and values, and what enters the last layer"


def test_targets_may_be_named_and_keep_what_is_below_them(folders: dict[str, Path]) -> None:
    of, config = adapted(
        folders, "bert", "lora", targets=["1.output.dense", "intermediate.dense"], freeze_lower_layers=1
    )
    own = {n.partition(".lora")[0] for n, p in of.model.named_parameters() if p.requires_grad}
    assert own == {f"encoder.layer.1.{path}.dense" for path in ("output", "intermediate")}
    of, config = adapted(folders, "bert", "lora", targets=["1.attention.self.query"])
    assert of.frozen_layers == 1 and not config.freeze_embeddings
    assert adapted(folders, "bert", "bitfit")[0].frozen_layers == 0, "the embeddings' norm has a bias"


@pytest.mark.parametrize(
    ("name", "more", "line"),
    [
        ("xlm", {"targets": ["query", "q_lin"]},
         r'targets: .* xlm encoders have k_lin, lin1, lin2, out_lin, q_lin, v_lin \(got "query"\)$'),
        ("t5", {"targets": ["relative_attention_bias"]}, r'targets: .* \(got "relative_attention_bias"\)$'),
        ("xmod", {"targets": ["dense1"]}, r'targets: .*attention.self.query.* \(got "dense1"\)$'),
        ("bert", {"targets": ["0.attention.self.query"], "freeze_lower_layers": 1},
         r"^encoder.freeze_lower_layers: must leave a layer that an adapter can go to \(got 1\)$"),
        ("bert", {"freeze_lower_layers": 2}, r"^encoder.freeze_lower_layers: must leave a layer .* \(got 2\)$"),
    ],
)  # fmt: skip
def test_targets_that_match_nothing_are_one_line(
    folders: dict[str, Path], name: str, more: dict[str, Any], line: str
) -> None:
    """Before there is a model, and where there is one."""
    for refused in (lambda: weights.check(settings(folders[name], "lora", **more)),
                    lambda: adapted(folders, name, "lora", **more)):  # fmt: skip
        with pytest.raises(UserError, match=line) as caught:
            refused()
        assert len(caught.value.lines) == 1


def test_a_family_that_calls_its_parts_otherwise_is_asked_for_targets(folders: dict[str, Path]) -> None:
    of, config = encoder(folders, "bert"), settings(folders["bert"], "lora")
    of.family = replace(of.family, linears=replace(of.family.linears, query="q", value="v"))
    with pytest.raises(UserError, match=r'^encoder.adapter.targets: .*attention.self.query.* \(got "auto"\)$'):
        of.adapt(config)


def test_without_the_library_there_is_one_line_and_nothing_else(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapters, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "peft", None)
    for method in adapters.BY_LIBRARY:
        for refused in (lambda m=method: weights.check(settings(folders["bert"], m)),
                        lambda m=method: adapted(folders, "bert", m)):  # fmt: skip
            with pytest.raises(UserError) as caught:
                refused()
            (line,) = caught.value.lines
            assert line.startswith(f"encoder.adapter.method: {method} needs the library peft, pip install ")
            assert "'robust-transfer-study[adapters]'" in line
    weights.check(settings(folders["bert"], "bitfit"))
    adapted(folders, "bert", "bitfit")
    adapted(folders, "bert", "none")


@pytest.mark.parametrize(
    ("point", "line"),
    [
        ({"rank": 0, "method": "lora"}, ".rank: must be at least 1 (got 0)"),
        ({"method": "bitfit", "rank": 4}, ": bitfit reads no rank; in a space let it depend on the method (got 4)"),
        ({"method": "ia3", "dropout": 0.1}, ": ia3 reads no dropout; in a space let it depend on the method (got 0.1)"),
        ({"alpha": 4.0}, ": none reads no alpha; in a space let it depend on the method (got 4.0)"),
        ({"method": "lora", "targets": []}, ": targets must have at least one entry (got none)"),
    ],
)
def test_keys_that_do_not_go_together_are_one_line(point: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as caught:
        apply_point(BASE, {f"encoder.adapter.{name}": value for name, value in point.items()})
    assert caught.value.lines == [f"encoder.adapter{line}"]


# Trials


@pytest.mark.parametrize(
    ("name", "method", "perturbation"),
    [
        ("bert", "lora", "adversarial"),
        ("xlm with languages", "lora", "freelb"),
        ("modernbert", "lora", "smart"),
        ("mt5", "lora", "adversarial"),
        ("mdeberta", "ia3", "adversarial"),
        ("albert", "ia3", "random_perturbation"),
        ("xmod", "bitfit", "adversarial"),
        ("distilbert", "bitfit", "ear"),
        ("bert", "lora", "ear"),
    ],
)
def test_adapter_and_head_alone_are_trained(
    folders: dict[str, Path], name: str, method: str, perturbation: str, tmp_path: Path
) -> None:
    point: dict[str, Any] = {"encoder.adapter.method": method, "perturbation.method": perturbation}
    if perturbation == "ear":
        point |= {"augmentation.method": "synonyms", "augmentation.copies": 1, "perturbation.attention_layer": 1}
    trial = begun(folders, name, apply_point(BASE, point), tmp_path)
    before = {n: p.detach().clone() for n, p in trial.model.named_parameters()}
    own = copied(trial).keys()
    optimised = {id(p) for group in trial.optimizer.param_groups for p in group["params"]}
    assert optimised == {id(p) for n, p in trial.model.named_parameters() if n in own}
    losses = [stepped(trial)[0] for _ in range(2)]
    assert all(map(math.isfinite, losses))
    moved = {n for n, p in trial.model.named_parameters() if not torch.equal(p, before[n])}
    assert moved == own
    mark = {"lora": ".lora_", "ia3": ".ia3_", "bitfit": "bias"}[method]
    assert all(n.startswith("head.") or mark in n for n in own)


def trained(folders: dict[str, Path], point: dict[str, Any], folder: Path, steps: int = 3) -> tuple[list[float], Any]:
    trial = begun(folders, "bert", apply_point(BASE, point), folder)
    return [stepped(trial)[0] for _ in range(steps)], copied(trial)


def test_an_adapter_that_counts_nothing_is_training_the_head_alone_bit_for_bit(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    alone = {"encoder.freeze_embeddings": True, "encoder.freeze_lower_layers": LAYERS}
    losses, expected = trained(folders, alone, tmp_path / "head")
    nothing, found = trained(folders, LORA | {"encoder.adapter.alpha": 0.0}, tmp_path / "nothing")
    assert nothing == losses
    assert all(n.startswith("head.") and torch.equal(tensor, found[n]) for n, tensor in expected.items())
    something, _ = trained(folders, LORA, tmp_path / "something")
    assert something[0] == losses[0] and something[1:] != losses[1:]


@pytest.mark.parametrize("method", ["lora", "ia3", "bitfit"])
def test_a_checkpoint_has_adapter_and_head_and_resumes_bit_for_bit(
    folders: dict[str, Path], method: str, tmp_path: Path
) -> None:
    config = apply_point(BASE, {"encoder.adapter.method": method})
    whole = begun(folders, "bert", config, tmp_path / "whole")
    first = begun(folders, "bert", config, tmp_path / "halves")
    for trial in (whole, first):
        stepped(trial)
    checkpoint.save(tmp_path / "halves", first.step, first.model, first.optimizer, [])
    found = checkpoint.latest(tmp_path / "halves")
    assert found is not None
    own = {n: p.numel() for n, p in first.model.named_parameters() if p.requires_grad}
    assert {n: w.numel() for n, w in found.weights.items()} == own
    assert sum(own.values()) < 0.3 * sum(p.numel() for p in first.model.parameters())
    assert {n.partition("//")[0] for n in found.optimizer} == own.keys()
    resumed = begun(folders, "bert", config, tmp_path / "halves")
    assert resumed.step == 1
    for trial in (whole, resumed):
        stepped(trial)
    expected = copied(whole)
    assert all(torch.equal(tensor, expected[n]) for n, tensor in copied(resumed).items())


@pytest.mark.parametrize("point", [LORA, {"encoder.adapter.method": "ia3"}], ids=["lora", "ia3"])
def test_two_workers_take_the_steps_of_one(folders: dict[str, Path], point: dict[str, Any], tmp_path: Path) -> None:
    config = apply_point(BASE, point | {"encoder.dropout": 0.0, "training.learning_rate": 1e-3})
    assert_two_workers_take_the_steps_of_one(folders, "bert", config, tmp_path)


def test_the_seed_draws_its_matrices_and_not_the_head(folders: dict[str, Path], tmp_path: Path) -> None:
    def beginning(**point: Any) -> dict[str, torch.Tensor]:
        paths = {name.replace("__", "."): value for name, value in point.items()}
        return copied(begun(folders, "bert", apply_point(BASE, LORA | paths), tmp_path))

    one, same, other = beginning(), beginning(), beginning(training__seed=1)
    assert all(torch.equal(tensor, same[n]) for n, tensor in one.items())
    drawn = [n for n in one if "lora_A" in n]
    assert drawn and not any(torch.equal(one[n], other[n]) for n in drawn)
    bare = begun(folders, "bert", BASE, tmp_path).model.head.state_dict()
    assert all(torch.equal(tensor, one[f"head.{n}"]) for n, tensor in bare.items())


def test_its_dropout_is_its_own_and_one_for_all_passes(folders: dict[str, Path], tmp_path: Path) -> None:
    point = LORA | {"encoder.adapter.dropout": 0.5, "encoder.dropout": 0.0}
    trial = begun(folders, "bert", apply_point(BASE, point), tmp_path)
    rates = [m.p for m in trial.model.modules() if isinstance(m, SharedDropout)]
    assert rates.count(0.5) == 2 * LAYERS and set(rates) == {0.0, 0.5}
    learnt(trial.model)
    model, given = trial.model.train(), batch("bert")

    def passed(seed: int) -> torch.Tensor:
        model.masks.begin(seed)
        return torch.stack([states(model, given), states(model, given)]).detach()

    first, other = passed(1), passed(2)
    assert torch.equal(first[0], first[1]) and not torch.allclose(first, other)


def test_layers_that_are_computed_again_train_it_alike(folders: dict[str, Path], tmp_path: Path) -> None:
    points = [LORA, LORA | {"training.gradient_checkpointing": True}]
    (losses, expected), (again, found) = (trained(folders, p, tmp_path / str(i)) for i, p in enumerate(points))
    assert again == pytest.approx(losses, rel=1e-5)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-5)


def test_the_cost_is_without_weight_gradients(folders: dict[str, Path], tmp_path: Path) -> None:
    base: TrialConfig = apply_point(BASE, {"training.budget.steps": None, "training.budget.forward_equivalents": 24.0})
    clean = {"perturbation.method": "none"}
    points = (clean, clean | LORA, LORA, {"encoder.adapter.method": "bitfit"})
    steps = [begun(folders, "bert", apply_point(base, point), tmp_path).steps for point in points]
    assert steps == [8, 12, 6, 6], "3 and 2 a clean step; 5 and 4 with one ascent step"


@torch.no_grad()
def test_texts_go_through_it_without_their_padding(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    of, _ = adapted(folders, "bert", "lora")
    model, given = tiny_families.model(of), batch("bert")
    learnt(of)
    assert of.packs(given.layout)
    packed = states(model, given)
    monkeypatch.setattr(Encoder, "packs", lambda *_: False)
    torch.testing.assert_close(states(model, given), packed, rtol=1e-5, atol=1e-5)


def test_a_model_is_built_on_the_device_of_the_pristine_one(folders: dict[str, Path], tmp_path: Path) -> None:
    """What is drawn is drawn on the CPU, whatever the device."""
    trial = begun(folders, "bert", apply_point(BASE, LORA), tmp_path)
    pristine = encoder(folders, "bert").to("meta")
    built = build_model(trial.config, trial.materials, pristine)
    own = [p for n, p in built.encoder.named_parameters() if p.requires_grad]
    assert own and all(p.device.type == "meta" for p in own)
