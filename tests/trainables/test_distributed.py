"""Two workers are one: same examples, same starts, same perturbations, weights and scores; and what they exchange."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.trainables.recorded import recorded
from tests.trainables.team import together
from trainables.config import TrialConfig
from trainables.distributed import Group, PeerLostError
from trainables.materials import materials as materials_of

REPOSITORY = Path(__file__).resolve().parents[2]

TRIAL = TrialConfig.model_validate(
    {
        "task": {"target_languages": ["de", "lb", "th"]},
        "encoder": {"freeze_embeddings": True, "freeze_lower_layers": 10, "dropout": 0.0},
        # Seven items: the workers' shares are uneven, and so is what is scored.
        "training": {"batch_size": 7, "budget": {"steps": 3}, "learning_rate": 2e-4, "head_learning_rate": 1e-2},
        "perturbation": {"method": "adversarial", "ascent_steps": 2},
        "evaluation": {"examples_per_language": 5},
    }
)


@pytest.mark.slow
def test_two_workers_equal_one(tmp_path: Path) -> None:
    materials_of.prepare(TRIAL)
    (tmp_path / "config.json").write_text(TRIAL.model_dump_json(), encoding="utf-8")
    command = [sys.executable, "-m", "tests.trainables.recorded", str(tmp_path / "config.json"), str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen([*command, str(rank), "2"], cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=300)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
    # What this test has written itself; the pickle holds plain tuples and dictionaries of tensors.
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = recorded(TRIAL, tmp_path / "alone", Group())
    finally:
        torch.set_num_threads(threads)

    for name in ("starts", "ends"):
        assert first[name] and second[name] and not first[name].keys() & second[name].keys(), "shares do not overlap"
        together = first[name] | second[name]
        assert together.keys() == alone[name].keys() and len(together) == 3 * 7
        if name == "starts":
            assert all(torch.equal(delta, alone[name][key]) for key, delta in together.items())
        else:
            norm = max(float(delta.norm(dim=-1).max()) for delta in together.values())
            for key, delta in together.items():
                torch.testing.assert_close(delta, alone[name][key], rtol=0, atol=1e-3 * norm)
    assert first["counts"] == second["counts"] == alone["counts"]
    assert first["scores"] == second["scores"] == alone["scores"]
    for name in alone["weights"]:
        assert torch.equal(first["weights"][name], second["weights"][name]), name
        torch.testing.assert_close(first["weights"][name], alone["weights"][name], rtol=0, atol=2e-4)
    for mine, own in zip(first["training"], alone["training"], strict=True):
        speed = "examples_per_second"
        assert {k: v for k, v in mine.items() if k != speed} == pytest.approx(
            {k: v for k, v in own.items() if k != speed}, rel=1e-4
        )


def test_gradients_are_summed_also_where_a_worker_has_none() -> None:
    """Who had no item still takes part, with zeros, and ends with the sum: all take the same optimiser step."""
    workers = [[torch.nn.Parameter(torch.zeros(2, 3)), torch.nn.Parameter(torch.zeros(4))] for _ in range(3)]
    of_first = [torch.arange(6.0).view(2, 3), torch.tensor([1.0, 2.0, 3.0, 4.0])]
    of_last = torch.full((2, 3), 10.0)
    workers[0][0].grad, workers[0][1].grad = of_first[0].clone(), of_first[1].clone()
    workers[2][0].grad = of_last.clone()  # and none for its second parameter
    together(3, lambda group: group.sum_gradients(workers[group.rank]))
    for matrix, vector in workers:
        assert matrix.grad is not None and torch.equal(matrix.grad, of_first[0] + of_last)
        assert vector.grad is not None and torch.equal(vector.grad, of_first[1])


def test_a_single_worker_keeps_its_gradients_as_they_are() -> None:
    trained, idle = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(2))
    trained.grad = torch.ones(2)
    Group().sum_gradients([trained, idle])
    assert torch.equal(trained.grad, torch.ones(2)) and idle.grad is None


def test_values_are_summed_gathered_and_shared() -> None:
    found = together(3, lambda g: (g.sum(g.rank, 0.5), g.gather(f"worker {g.rank}"), g.share({"from": g.rank})))
    assert found == [([3.0, 1.5], ["worker 0", "worker 1", "worker 2"], {"from": 0})] * 3
    alone = Group()
    assert (alone.sum(2.0), alone.gather("x"), alone.share("y")) == ([2.0], ["x"], "y")


def test_tensors_are_spread_from_rank_0_whatever_the_others_have() -> None:
    own = {"a": torch.arange(6.0).view(2, 3), "step": torch.tensor(7.0), "b": torch.tensor([1, 2])}

    def spread(group: Group) -> dict[str, torch.Tensor]:
        return group.spread(own if group.rank == 0 else {"a": torch.zeros(9)} if group.rank == 1 else None)

    for found in together(3, spread):
        assert found.keys() == own.keys()
        assert all(torch.equal(found[name], own[name]) and found[name].dtype == own[name].dtype for name in own)
    assert Group().spread(own).keys() == own.keys()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("CUDA error: device-side assert triggered"),
    ],
)
def test_what_a_device_did_is_the_trials_own_fault(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **keywords: object) -> None:
        raise error

    for name in ("all_reduce", "all_gather_object", "broadcast_object_list"):
        monkeypatch.setattr(torch.distributed, name, fail)
    group = Group(0, 2)
    for collective in (lambda: group.sum(1.0), lambda: group.gather(1), lambda: group.share(1)):
        with pytest.raises(type(error)) as caught:
            collective()
        assert not isinstance(caught.value, PeerLostError)


@pytest.mark.parametrize(
    "collective", [lambda g: g.sum(1.0), lambda g: g.gather(1), lambda g: g.share(1), lambda g: g.barrier()]
)
def test_a_worker_that_is_gone_is_no_fault_of_the_trial(collective: Callable[[Group], object]) -> None:
    with pytest.raises(PeerLostError, match="1 of 2 workers"):
        together(2, lambda group: collective(group) if group.rank == 0 else None)
