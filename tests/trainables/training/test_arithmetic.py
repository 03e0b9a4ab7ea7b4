"""How passes are computed changes what they cost, and results no further than rounding."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.trainables import shaped
from tests.trainables.steps import stepped
from trainables.config import EvaluationConfig, TrainingConfig, TrialConfig
from trainables.errors import UserError
from trainables.loading import apply_point
from trainables.scoring.evaluation import evaluate
from trainables.storage.checkpoint import trainable_weights
from trainables.training.step import arithmetic
from trainables.training.trial import Trial

BASE = apply_point(shaped.BASE, {"encoder.dropout": 0.2, "perturbation.method": "adversarial"})


def begun(folder: Path, **training: object) -> Trial:
    config: TrialConfig = apply_point(BASE, {f"training.{key}": value for key, value in training.items()})
    return shaped.begun(config, "classification", folder)


def trained(trial: Trial) -> tuple[list[float], dict[str, Tensor]]:
    return [stepped(trial)[0] for _ in range(4)], trainable_weights(trial.model)


def assert_same(found: tuple[list[float], dict[str, Tensor]], expected: tuple[list[float], dict[str, Tensor]]) -> None:
    assert found[0] == pytest.approx(expected[0], rel=1e-4)
    for name, tensor in expected[1].items():
        torch.testing.assert_close(found[1][name], tensor, rtol=0, atol=1e-5, msg=name)


def kept_bytes(trial: Trial) -> int:
    """What a step keeps for its backward passes, weights included; each tensor as often as it is kept."""
    sizes: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel() * tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        stepped(trial)
    return sum(sizes)


@pytest.mark.parametrize("method", [name for name in shaped.PERTURBING if "rdrop" not in name])
def test_layers_that_are_computed_again_give_the_same(method: str, tmp_path: Path) -> None:
    point = {"perturbation.method": method, "encoder.dropout": 0.2}
    plain, again = (
        shaped.begun(apply_point(shaped.BASE, {**point, "training.gradient_checkpointing": value}), "tagging", tmp_path)
        for value in (False, True)
    )
    assert_same(trained(again), trained(plain))


def test_less_is_kept_for_the_backward_pass(tmp_path: Path) -> None:
    assert kept_bytes(begun(tmp_path, gradient_checkpointing=True)) < 0.7 * kept_bytes(begun(tmp_path))


def test_an_encoder_that_cannot_do_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.XLMRobertaModel.supports_gradient_checkpointing", False)
    with pytest.raises(UserError, match=r"training.gradient_checkpointing: .*\(got 'xlm-roberta'\)"):
        begun(tmp_path, gradient_checkpointing=True)


def test_tokens_limit_a_pass(tmp_path: Path) -> None:
    config = apply_point(BASE, {"encoder.dropout": 0.0})
    whole = shaped.begun(config, "classification", tmp_path)
    cut = shaped.begun(apply_point(config, {"training.micro_batch_tokens": 12}), "classification", tmp_path)
    widths: list[tuple[int, int]] = []
    embed = cut.model.embed
    cut.model.embed = lambda batch: widths.append(tuple(batch.input_ids.shape)) or embed(batch)  # type: ignore[method-assign, assignment, func-returns-value, arg-type]
    assert_same(trained(cut), trained(whole))
    assert max(rows * width for rows, width in widths) <= 12 and len(widths) == 8


def test_tf32_is_allowed_while_a_trial_computes_and_not_after(tmp_path: Path) -> None:
    seen: list[str] = []
    trial = begun(tmp_path, precision="tf32")
    embed = trial.model.embed
    trial.model.embed = lambda batch: seen.append(torch.get_float32_matmul_precision()) or embed(batch)  # type: ignore[method-assign, assignment, func-returns-value]
    before = torch.get_float32_matmul_precision()
    found = trained(trial)
    assert set(seen) == {"high"} and torch.get_float32_matmul_precision() == before == "highest"
    assert_same(found, trained(begun(tmp_path)))
    with pytest.raises(ZeroDivisionError), arithmetic(TrainingConfig(precision="tf32"), torch.device("cpu")):
        1 / 0  # noqa: B018
    assert torch.get_float32_matmul_precision() == "highest"


def test_compiled_layers_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # All but the code that a compiler makes of the graphs, which takes minutes.
    whole = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **options: whole(self, backend="aot_eager", **options))
    config = apply_point(BASE, {"encoder.dropout": 0.0, "perturbation.method": "none", "training.batch_size": 7})
    plain = shaped.begun(config, "classification", tmp_path)
    compiled = shaped.begun(apply_point(config, {"training.compile": True}), "classification", tmp_path)
    assert_same(trained(compiled), trained(plain))
    layers = compiled.model.encoder.family.layers_of(compiled.model.encoder.model)
    assert all(module._compiled_call_impl for layer in layers for module in layer)


@pytest.mark.parametrize("method", shaped.PERTURBING)
def test_half_precision_trains_as_single_precision_does(method: str, tmp_path: Path) -> None:
    """Its losses differ, or nothing was computed in it, and by no more than its rounding."""
    found = {}
    for precision in ("fp32", "bf16", "fp16"):
        point = {"perturbation.method": method, "training.precision": precision}
        trial = shaped.begun(apply_point(shaped.BASE, point), "classification", tmp_path / precision)
        if precision == "fp16":  # The usual one is for longer training: its first steps overflow, and are left out.
            trial.scaler.update(1024.0)
        found[precision] = [stepped(trial)[0] for _ in range(3)]
        assert trial.scaler.get_scale() == (1024.0 if precision == "fp16" else 1.0), "a step was left out"
    exact = found.pop("fp32")
    for precision, losses in found.items():
        assert losses != exact
        assert losses == pytest.approx(exact, rel={"bf16": 1e-2, "fp16": 1e-3}[precision]), precision


class Casts(TorchDispatchMode):
    """Counts the casts of each parameter to half precision."""

    def __init__(self, trial: Trial) -> None:
        super().__init__()
        self.counts = {p.data_ptr(): 0 for p in trial.model.parameters()}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        casts = func is torch.ops.aten._to_copy.default and kwargs.get("dtype") == torch.bfloat16
        if casts and (address := args[0].data_ptr()) in self.counts:
            self.counts[address] += 1
        return func(*args, **(kwargs or {}))


def test_an_evaluation_in_half_precision_casts_each_weight_once(tmp_path: Path) -> None:
    trial = begun(tmp_path, precision="bf16")
    rows = [{"label": row % 2} for row in range(shaped.ITEMS)]
    vars(trial.materials)["rows"] = {"validation": {"en": rows}}
    config = EvaluationConfig(token_budget=64)
    casts = Casts(trial)
    with arithmetic(trial.config.training, trial.group.device), casts:
        evaluate(trial.model, trial.materials, "validation", None, config, trial.group)
    assert len(trial.materials._memory[("stream", "validation", None, 64, False)].batches) == 1
    with arithmetic(trial.config.training, trial.group.device), (several := Casts(trial)):
        config = config.model_copy(update={"token_budget": 8})
        evaluate(trial.model, trial.materials, "validation", None, config, trial.group)
    assert max(several.counts.values()) == max(casts.counts.values()) == 1
