"""Trials on the embedded encoder and data: exactness, resuming, robustness, without Ray."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainables.steps import stepped
from tests.trainables.team import together
from trainables.config import TrialConfig
from trainables.distributed import Group
from trainables.loading import apply_point
from trainables.materials import materials as materials_of
from trainables.materials.materials import Materials
from trainables.scores import Evaluation
from trainables.scoring import predictions
from trainables.storage import checkpoint
from trainables.training.loop import _best_weights, fit, run_trial
from trainables.training.step import DivergedError, train_step
from trainables.training.trial import Trial, _resume, start

BASE = TrialConfig.model_validate(
    {
        "task": {"target_languages": ["de", "lb", "th"]},
        "encoder": {"freeze_embeddings": True, "freeze_lower_layers": 10},
        "training": {"batch_size": 8, "budget": {"steps": 4}, "learning_rate": 2e-4, "head_learning_rate": 1e-2},
        "evaluation": {"every": 2, "examples_per_language": 2},
    }
)
ADVERSARIAL = apply_point(BASE, {"perturbation.method": "adversarial", "perturbation.ascent_steps": 2})

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def materials() -> Materials:
    return materials_of.load(BASE)


def begin(config: TrialConfig, materials: Materials, directory: Path) -> Trial:
    return start(config, materials, Group(), directory)


def weights(trial: Trial) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in checkpoint.trainable_weights(trial.model).items()}


def trained(config: TrialConfig, materials: Materials, directory: Path) -> tuple[list[Evaluation], dict[str, Tensor]]:
    trial = begin(config, materials, directory)
    return list(fit(trial)), weights(trial)


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def results(evaluations: list[Evaluation]) -> list[Any]:
    return [(e.step, e.final, {m: s.values for m, s in e.scores.items()}) for e in evaluations]


def test_a_trial_scores_every_language_at_every_evaluation(materials: Materials, tmp_path: Path) -> None:
    evaluations, _ = trained(ADVERSARIAL, materials, tmp_path)
    assert [(e.step, e.final, e.split) for e in evaluations] == [(2, False, "validation"), (4, True, "validation")]
    assert evaluations[0].primary.languages == ("de", "en", "lb", "th")
    assert set(evaluations[0].primary.counts.values()) == {2}
    training = evaluations[-1].training
    assert training["loss_rise"] > 0
    assert 0 < training["relative_norm"] <= 0.1 * (1 + 1e-6)
    assert evaluations[-1].cost["forward_equivalents"] == 4 * (3 + 2 * 2)


@pytest.mark.parametrize(
    ("point", "whole"),
    [
        ({"perturbation.method": "adversarial", "perturbation.epsilon": 0.2}, 0.2),
        ({"perturbation.method": "random_perturbation", "perturbation.sigma": 0.3}, 0.3),
        ({"perturbation.method": "r3f", "perturbation.distribution": "uniform", "perturbation.epsilon": 0.4}, 0.4),
    ],
)
def test_the_epsilon_of_warm_up_and_decay_is_recorded(
    materials: Materials, tmp_path: Path, point: dict[str, Any], whole: float
) -> None:
    """Of four steps at 0, 1/2, 1 and 1 of it, two to an evaluation; of none there is nothing to say."""
    evaluations, _ = trained(
        apply_point(BASE, {**point, "perturbation.warmup_fraction": 0.5}), materials, tmp_path / "a"
    )
    assert [e.training["effective_epsilon"] for e in evaluations] == pytest.approx([whole / 4, whole])
    evaluations, _ = trained(BASE, materials, tmp_path / "b")
    assert all("effective_epsilon" not in e.training for e in evaluations)


def test_the_last_evaluation_has_a_size_of_its_own(materials: Materials, tmp_path: Path) -> None:
    point = {"evaluation.examples_per_language": 3, "evaluation.intermediate_examples_per_language": 2}
    evaluations, _ = trained(apply_point(BASE, point), materials, tmp_path)
    assert [set(e.primary.counts.values()) for e in evaluations] == [{2}, {3}]


def test_epsilon_zero_is_clean_training_bit_for_bit(materials: Materials, tmp_path: Path) -> None:
    clean = trained(BASE, materials, tmp_path / "clean")
    for method in ("adversarial", "random_perturbation"):
        point = {"perturbation.method": method, "perturbation.epsilon": 0.0, "perturbation.sigma": 0.0}
        zero = trained(apply_point(BASE, point), materials, tmp_path / method)
        assert_same(clean[1], zero[1])
        assert results(clean[0]) == results(zero[0])


def test_the_seed_decides_everything(materials: Materials, tmp_path: Path) -> None:
    first, again = (trained(ADVERSARIAL, materials, tmp_path / name) for name in ("first", "again"))
    assert_same(first[1], again[1])
    assert results(first[0]) == results(again[0])
    _, other = trained(apply_point(ADVERSARIAL, {"training.seed": 1}), materials, tmp_path / "other")
    assert any(not torch.equal(tensor, other[name]) for name, tensor in first[1].items())


def test_pairs_by_seed_share_all_but_the_perturbation(materials: Materials, tmp_path: Path) -> None:
    clean, robust = begin(BASE, materials, tmp_path / "a"), begin(ADVERSARIAL, materials, tmp_path / "b")
    assert_same(weights(clean), weights(robust))
    assert all((clean.batches.at(i) == robust.batches.at(i)).all() for i in range(4))


def test_the_materials_stay_pristine(materials: Materials, tmp_path: Path) -> None:
    before = begin(BASE, materials, tmp_path / "before")
    reference = weights(before)
    trained(ADVERSARIAL, materials, tmp_path / "between")
    assert_same(reference, weights(begin(BASE, materials, tmp_path / "after")))


@pytest.mark.parametrize("killed_after", [2, 3])
def test_a_resumed_trial_equals_an_undisturbed_one(materials: Materials, tmp_path: Path, killed_after: int) -> None:
    whole = trained(ADVERSARIAL, materials, tmp_path / "whole")
    trial = begin(ADVERSARIAL, materials, tmp_path / "halves")
    evaluations = fit(trial)
    first = next(evaluations)
    while trial.step < killed_after:  # steps since the checkpoint are lost with the process
        train_step(trial)
    resumed = begin(ADVERSARIAL, materials, tmp_path / "halves")
    assert resumed.step == 2
    again = list(fit(resumed))
    assert results([first]) == results(again[:1])
    assert results(whole[0]) == results(again)
    assert_same(whole[1], weights(resumed))


def test_an_interrupted_trial_loses_no_step(materials: Materials, tmp_path: Path) -> None:
    whole = trained(BASE, materials, tmp_path / "whole")
    trial = begin(BASE, materials, tmp_path / "halves")
    assert results(list(fit(trial, interrupted=lambda: trial.step >= 2))) == results(whole[0][:1])
    resumed = begin(BASE, materials, tmp_path / "halves")
    assert resumed.step == 3
    assert results(list(fit(resumed))) == results(whole[0][1:])
    assert_same(whole[1], weights(resumed))


def test_a_trial_whose_budget_became_shorter_is_scored(materials: Materials, tmp_path: Path) -> None:
    """It has its last step by now, and was interrupted before it had a result."""
    trial = begin(BASE, materials, tmp_path)
    list(fit(trial, interrupted=lambda: trial.step >= 2))
    resumed = begin(BASE, materials, tmp_path)
    resumed.steps = resumed.step
    assert [(e.step, e.final) for e in fit(resumed)] == [(3, True)]
    again = begin(BASE, materials, tmp_path)
    again.steps = again.step
    assert [(e.step, e.final) for e in fit(again)] == [(3, True)], "once"


def test_a_finished_trial_reports_its_result_again(materials: Materials, tmp_path: Path) -> None:
    whole, _ = trained(BASE, materials, tmp_path)
    assert results(list(fit(begin(BASE, materials, tmp_path)))) == results(whole[-1:])


def test_a_corrupt_checkpoint_falls_back_to_the_one_before(materials: Materials, tmp_path: Path) -> None:
    config = apply_point(BASE, {"evaluation.every": 1})
    trial = begin(config, materials, tmp_path)
    evaluations = fit(trial)
    for _ in range(3):
        next(evaluations)
    assert checkpoint.steps(tmp_path) == [2, 3]
    (tmp_path / "3" / checkpoint.WEIGHTS).write_bytes(b"torn")
    assert begin(config, materials, tmp_path).step == 2


def test_a_trial_that_falls_back_keeps_its_new_checkpoints(materials: Materials, tmp_path: Path) -> None:
    """What lies above the step it goes on from would pass for newer, and every new checkpoint be deleted at once."""
    config = apply_point(BASE, {"evaluation.every": 1})
    evaluations = fit(begin(config, materials, tmp_path))
    for _ in range(3):
        next(evaluations)
    for step in (2, 3):
        (tmp_path / str(step) / checkpoint.WEIGHTS).write_bytes(b"torn")
    said: list[str] = []
    again = run_trial(config, tmp_path, say=said.append)
    next(again)
    assert said == ["its checkpoint of step 2, 3 cannot be read: it goes on from step 0"]
    assert checkpoint.steps(tmp_path) == [1]
    assert [e.step for e in again] == [2, 3, 4]


def test_micro_batches_add_up_to_the_batch(materials: Materials, tmp_path: Path) -> None:
    config = apply_point(ADVERSARIAL, {"encoder.dropout": 0.0})
    _, whole = trained(config, materials, tmp_path / "whole")
    _, parts = trained(apply_point(config, {"training.micro_batch_size": 3}), materials, tmp_path / "parts")
    for name, tensor in whole.items():
        assert torch.allclose(tensor, parts[name], atol=2e-4), name


def test_the_best_checkpoint_on_the_source_is_the_result(materials: Materials, tmp_path: Path) -> None:
    config = apply_point(
        BASE, {"evaluation.checkpoint": "best_source_validation", "evaluation.every": 1, "training.budget.steps": 3}
    )
    trial = begin(config, materials, tmp_path)
    evaluations = fit(trial)
    first = next(evaluations)
    trial.best = (1, 2.0)  # nothing later beats it
    *_, final = evaluations
    assert (final.step, final.final) == (3, True)
    assert final.primary.values == first.primary.values


def test_a_loss_that_is_not_finite_ends_the_trial(materials: Materials, tmp_path: Path) -> None:
    trial = begin(apply_point(BASE, {"training.head_learning_rate": 1e30}), materials, tmp_path)
    with pytest.raises(DivergedError, match=r"the training loss is (nan|inf) at step"):
        list(fit(trial))


def test_bf16_trains(materials: Materials, tmp_path: Path) -> None:
    evaluations, _ = trained(apply_point(ADVERSARIAL, {"training.precision": "bf16"}), materials, tmp_path)
    exact, _ = trained(ADVERSARIAL, materials, tmp_path / "fp32")
    assert evaluations[0].training["loss"] == pytest.approx(exact[0].training["loss"], rel=0.05)


def test_fp16_keeps_its_loss_scale_in_the_checkpoint(materials: Materials, tmp_path: Path) -> None:
    point = {"training.precision": "fp16", "training.batch_size": 2}
    config = apply_point(ADVERSARIAL, {**point, "perturbation.ascent_steps": 1})
    trial = begin(config, materials, tmp_path)
    trial.scaler.load_state_dict({**trial.scaler.state_dict(), "scale": 512.0})
    assert list(fit(trial, interrupted=lambda: True)) == []  # one step, and a checkpoint
    assert trial.meters.diagnostics.loss_rise > 0
    expected = trial.scaler.state_dict()
    assert (expected["scale"], expected["_growth_tracker"]) == (512.0, 1)
    assert begin(config, materials, tmp_path).scaler.state_dict() == expected
    before = weights(trial)
    trial.scaler.update(2.0**40)
    loss, _ = stepped(trial)
    assert_same(before, weights(trial))  # a step whose gradients overflow is left out, and the scale halved
    assert loss < 10 and trial.scaler.get_scale() == 2.0**39


def test_a_precision_without_loss_scale_has_none_in_the_checkpoint(materials: Materials, tmp_path: Path) -> None:
    trial = begin(BASE, materials, tmp_path)
    assert list(fit(trial, interrupted=lambda: True)) == []
    kept = checkpoint.latest(tmp_path)
    assert kept is not None and kept.scaler == {}


def test_attacked_and_certified_scores_stand_beside_the_clean_ones(materials: Materials, tmp_path: Path) -> None:
    point = {
        "training.budget.steps": 40,
        "training.batch_size": 16,
        "evaluation.every": None,
        "evaluation.attack": {"epsilon": [0.01, 10.0], "ascent_steps": 2, "examples_per_language": 6},
        "evaluation.certify": {"sigma": 0.001, "selection_draws": 3, "draws": 12, "alpha": 0.05,
                               "examples_per_language": 3},
        "evaluation.examples_per_language": 6,
    }  # fmt: skip
    (evaluation,), _ = trained(apply_point(BASE, point), materials, tmp_path)
    clean, weak, strong = (evaluation.scores[m] for m in ("accuracy", "attacked_accuracy_0.01", "attacked_accuracy_10"))
    assert evaluation.metric == "accuracy"
    assert clean.counts == weak.counts == strong.counts == dict.fromkeys(("de", "en", "lb", "th"), 6)
    assert all(strong[k] <= weak[k] <= clean[k] for k in clean.languages)
    assert sum(strong.values.values()) < sum(clean.values.values())
    certified, radius = evaluation.scores["certified_accuracy"], evaluation.scores["certified_radius"]
    assert set(certified.counts.values()) == {3}
    assert sum(certified.values.values()) > 0
    cap = 0.001 / 384**0.5 * 1.65  # Phi^-1(0.05 ** (1 / 12)) is 0.77, and no draw can certify more
    assert 0 < max(radius.values.values()) < cap
    distance = evaluation.scores["certified_word_distance"]
    assert set(distance.counts.values()) == {3}
    assert all(0.1 < value < 2 for value in distance.values.values())  # of the length of a word's embedding


def test_the_test_split_is_read_only_where_it_is_named(materials: Materials, tmp_path: Path) -> None:
    assert set(materials.evaluation) == {"validation"}
    assert not (materials.encoder_folder.parent / "test").exists()
    told: list[Any] = []
    evaluations = list(
        run_trial(
            apply_point(BASE, {"training.budget.steps": 1}),
            tmp_path / "trial",
            final_split="test",
            predicted=lambda m, outcomes: told.extend(predictions.table(m, *outcome) for outcome in outcomes),
        )
    )
    assert [(e.split, e.final) for e in evaluations] == [("validation", False), ("test", True)]
    predictions.write(tmp_path / "kept.parquet", told)
    import pandas as pd

    frame = pd.read_parquet(tmp_path / "kept.parquet")
    for evaluation in evaluations:
        mine = frame[frame["split"] == evaluation.split].groupby("language")["score"]
        assert mine.mean().to_dict() == pytest.approx(dict(evaluation.primary.values))
        assert mine.size().to_dict() == dict(evaluation.primary.counts)
    assert all(isinstance(json.loads(p), list) for p in frame["prediction"].head())


class Folders:
    """A trial's state as two workers see it who share no folder: rank 0 alone has what it kept."""

    def __init__(self, root: Path) -> None:
        self.root = root
        torch.manual_seed(0)
        self.model = torch.nn.Linear(3, 2)
        self.optimizer = torch.optim.AdamW(self.model.parameters())
        self.model(torch.ones(3)).sum().backward()
        self.optimizer.step()
        self.saved = {name: p.detach().clone() for name, p in self.model.named_parameters()}

    def of(self, group: Group) -> Any:
        model = torch.nn.Linear(3, 2)
        return SimpleNamespace(
            group=group,
            config=BASE,
            materials=SimpleNamespace(kept=None),
            perturbation=SimpleNamespace(carries=None),
            directory=self.root / str(group.rank),
            model=model,
            optimizer=torch.optim.AdamW(model.parameters()),
            scaler=torch.amp.GradScaler("cpu", enabled=False),
            lost=(),
            step=0,
        )


def test_the_best_checkpoint_of_rank_0_is_every_workers(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    checkpoint.save(tmp_path / "0", 2, folders.model, None, [])
    for found in together(2, lambda group: _best_weights(folders.of(group), 2)):
        assert_same(dict(found), folders.saved)
    with pytest.raises(RuntimeError, match="that of step 1, cannot be read"):
        together(2, lambda group: _best_weights(folders.of(group), 1))


def test_workers_that_share_no_folder_go_on_from_rank_0s_checkpoint(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    checkpoint.save(tmp_path / "0", 2, folders.model, folders.optimizer, [], best=(1, 0.5), seconds=(3.0, 1.0))

    def resume(group: Group) -> Any:
        trial = folders.of(group)
        _resume(trial)
        return trial

    for trial in together(2, resume):
        assert (trial.step, trial.best, trial.meters.train_seconds) == (2, (1, 0.5), 3.0)
        assert_same({name: p.detach() for name, p in trial.model.named_parameters()}, folders.saved)
        for mine, kept in zip(trial.model.parameters(), folders.model.parameters(), strict=True):
            assert_same(trial.optimizer.state[mine], folders.optimizer.state[kept])
