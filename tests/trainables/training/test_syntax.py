"""Trials with syntax: workers, micro-batches, resumption, methods around it, and none of it where it is off."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.trainables.shaped import BASE, begun, materials
from tests.trainables.steps import stepped
from tests.trainables.team import together
from trainables.batch import NO_TREE, Encoded
from trainables.config import TrialConfig
from trainables.distributed import Group
from trainables.errors import UserError
from trainables.loading import apply_point
from trainables.materials import fitting
from trainables.materials.keys import materials_key
from trainables.storage.checkpoint import trainable_weights
from trainables.training.export import export
from trainables.training.loop import fit
from trainables.training.trial import Trial

STEPS = 4
KINDS = ("augmented", "gate")
SMALL: dict[str, dict[str, Any]] = {
    "augmented": {"syntax.kind": "augmented", "syntax.delta": 2, "syntax.graph_layers": 2, "syntax.graph_heads": 2},
    "gate": {"syntax.kind": "gate", "syntax.deltas": [1, None]},
}


def rooted(encoded: Encoded) -> Encoded:
    """Chains of tokens; every third sequence has no tree."""
    lengths = np.diff(encoded.offsets)
    trees = [
        np.full(n, NO_TREE) if i % 3 == 2 else np.maximum(np.arange(n) - 1 - i % 2, 0) for i, n in enumerate(lengths)
    ]
    return replace(encoded, parents=np.concatenate(trees).astype(np.int16))


def trial(shape: str, folder: Path, **point: Any) -> Trial:
    return begun(apply_point(BASE, point), shape, folder, train=rooted(materials(shape).train))


def trained(of: Trial) -> tuple[list[float], dict[str, Tensor]]:
    losses = [stepped(of)[0] for _ in range(STEPS)]
    return losses, {name: tensor.clone() for name, tensor in trainable_weights(of.model).items()}


def assert_close(found: tuple[list[float], dict[str, Tensor]], expected: tuple[list[float], dict[str, Tensor]]) -> None:
    assert found[0] == pytest.approx(expected[0], rel=1e-3) and found[1].keys() == expected[1].keys()
    for name, tensor in expected[1].items():
        # What is added to all keys alike, or to all scores of a softmax, changes no loss: rounding alone moves it.
        if not name.endswith(("key.bias", ".looking")) and ".keys." not in name:
            torch.testing.assert_close(found[1][name], tensor, rtol=0, atol=1e-3, msg=name)


@pytest.mark.parametrize(
    ("shape", "kind", "method"),
    [
        ("tagging", "augmented", "adversarial"),
        ("classification", "augmented", "freelb+sam"),
        ("classification", "gate", "adversarial"),
    ],
)
def test_workers_and_micro_batches_take_the_steps_of_one_worker(
    shape: str, kind: str, method: str, tmp_path: Path
) -> None:
    point = {**SMALL[kind], "perturbation.method": method}
    alone = trained(trial(shape, tmp_path, **point))
    workers = [trial(shape, tmp_path, **point) for _ in range(2)]

    def work(group: Group) -> tuple[list[float], dict[str, Tensor]]:
        workers[group.rank].group = group
        return trained(workers[group.rank])

    for found in together(2, work):
        assert_close(found, alone)
    assert_close(trained(trial(shape, tmp_path, **point, **{"training.micro_batch_size": 2})), alone)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", KINDS)
def test_all_that_is_added_learns(kind: str, precision: str, tmp_path: Path) -> None:
    of = trial("tagging", tmp_path, **SMALL[kind], **{"training.precision": precision})
    before = {name: tensor.clone() for name, tensor in trainable_weights(of.model).items() if "syntax." in name}
    assert before
    losses, after = trained(of)
    assert np.isfinite(losses).all()
    assert [name for name, tensor in before.items() if torch.equal(tensor, after[name])] == []


def test_probes_are_part_of_the_loss_at_the_clean_texts(tmp_path: Path) -> None:
    first = {
        weight: stepped(trial("tagging", tmp_path, **SMALL["augmented"], **{"syntax.probe_weight": weight}))[0]
        for weight in (0.0, 1.0, 2.0)
    }
    assert first[1.0] > first[0.0]
    assert first[2.0] - first[1.0] == pytest.approx(first[1.0] - first[0.0], rel=1e-4)


def test_without_syntax_trees_change_nothing_bit_for_bit(tmp_path: Path) -> None:
    with_trees = trained(trial("tagging", tmp_path))
    without = trained(begun(BASE, "tagging", tmp_path))
    assert with_trees[0] == without[0]
    assert all(torch.equal(with_trees[1][name], tensor) for name, tensor in without[1].items())


@pytest.mark.parametrize("kind", KINDS)
def test_resuming_is_bit_for_bit(kind: str, tmp_path: Path) -> None:
    point = {**SMALL[kind], "evaluation.every": 4, "perturbation.method": "adversarial"}
    whole = trial("classification", tmp_path / "whole", **point)
    list(fit(whole))
    begun_first = trial("classification", tmp_path / "half", **point)
    evaluations = fit(begun_first)
    next(evaluations)
    evaluations.close()
    resumed = trial("classification", tmp_path / "half", **point)
    assert resumed.step == 4
    list(fit(resumed))
    one, other = (trainable_weights(each.model) for each in (whole, resumed))
    assert all(torch.equal(other[name], tensor) for name, tensor in one.items()) and "syntax" in "".join(one)


def test_a_step_costs_what_is_added(tmp_path: Path) -> None:
    assert trial("tagging", tmp_path, **SMALL["gate"]).cost > trial("tagging", tmp_path).cost == 3.0


def test_frozen_layers_are_not_kept_where_something_is_added_in_them(tmp_path: Path) -> None:
    frozen = {"encoder.freeze_embeddings": True, "encoder.freeze_lower_layers": 1}
    kept = {kind: trial("tagging", tmp_path, **SMALL[kind], **frozen).model.encoder.frozen_layers for kind in KINDS}
    assert kept == {"augmented": 0, "gate": 1}


def test_what_does_not_go_together_is_refused() -> None:
    def check(**point: Any) -> None:
        fitting.check(apply_point(TrialConfig(), {f"{k.replace('__', '.')}": v for k, v in point.items()}))

    for name in ("xquad", "wpr"):
        with pytest.raises(UserError, match=rf"syntax.kind: only for tagging and for classification .* task '{name}'"):
            check(syntax__kind="gate", task__name=name)
    with pytest.raises(UserError, match=r"training.gradient_checkpointing: not where syntax augments layers"):
        check(syntax__kind="augmented", task__name="udpos", training__gradient_checkpointing=True)
    check(syntax__kind="gate", task__name="udpos", training__gradient_checkpointing=True)


def test_trials_share_materials_whatever_the_kind_and_others_keep_their_key() -> None:
    keys = {kind: materials_key(apply_point(TrialConfig(), {"syntax.kind": kind}), ()) for kind in ("none", *KINDS)}
    assert keys["augmented"] == keys["gate"] != keys["none"]


def test_a_model_that_looks_along_trees_is_not_let_out(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"syntax.kind: no class of transformers looks along trees; .* \(got 'gate'\)"):
        export(apply_point(BASE, SMALL["gate"]), tmp_path, tmp_path)
