"""Two workers are one: same examples, same starts, same perturbations, weights and scores; and what they exchange."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.trainables.recorded import recorded
from tests.trainables.team import Work, together
from trainables import distributed
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


def values(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def test_gradients_are_summed_also_where_a_worker_has_none() -> None:
    """Who had no item still takes part, with zeros, and ends with the sum: all take the same optimiser step."""
    workers = [[torch.nn.Parameter(torch.zeros(2, 3)), torch.nn.Parameter(torch.zeros(4))] for _ in range(3)]
    of_first = [torch.arange(6.0).view(2, 3), torch.tensor([1.0, 2.0, 3.0, 4.0])]
    of_last = torch.full((2, 3), 10.0)
    workers[0][0].grad, workers[0][1].grad = of_first[0].clone(), of_first[1].clone()
    workers[2][0].grad = of_last.clone()  # and none for its second parameter
    together(3, lambda group: group.sum_gradients(workers[group.rank], values()))
    for matrix, vector in workers:
        assert matrix.grad is not None and torch.equal(matrix.grad, of_first[0] + of_last)
        assert vector.grad is not None and torch.equal(vector.grad, of_first[1])


@pytest.mark.parametrize("size", [1, 100, 260, 10**6])
def test_gradients_travel_in_buckets(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes with what: every gradient is where it was, with the sum; few buckets are on their way at once."""
    monkeypatch.setattr(distributed, "BUCKET_BYTES", size)
    monkeypatch.setattr(distributed, "IN_FLIGHT", 3)
    monkeypatch.setattr(Work, "most", 0)
    shapes = [(3, 4), (5,), (8, 8), (2, 3), (), (7,), (4, 4), (0, 2), (1, 30)]
    generator = torch.Generator().manual_seed(0)
    own = [[torch.randn(shape, generator=generator) for shape in shapes] for _ in range(3)]
    own[1][0] = torch.randn(4, 3, generator=generator).t()  # no block of memory
    own[2][6] = own[2][6].t()

    def exchanged(group: Group) -> tuple[list[torch.Tensor], list[torch.Tensor], list[float]]:
        workers = [torch.nn.Parameter(torch.zeros(shape)) for shape in shapes]
        begun = [gradient.clone(memory_format=torch.preserve_format) for gradient in own[group.rank]]
        for parameter, gradient in zip(workers, begun, strict=True):
            parameter.grad = gradient
        summed = group.sum_gradients(workers, values(1.0 + 2.0**-40, float(group.rank == 1)))
        return [p.grad for p in workers if p.grad is not None], begun, summed.tolist()

    for found, begun, summed in together(3, exchanged):
        assert summed == [3.0 + 3 * 2.0**-40, 1.0], "not in the precision of gradients"
        for gradient, mine, *all_own in zip(found, begun, *own, strict=True):
            assert gradient is mine
            torch.testing.assert_close(gradient, sum(all_own))
    assert Work.most == (2 if size == 10**6 else 3)


def test_what_is_larger_than_a_bucket_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "BUCKET_BYTES", 40)
    sent: list[tuple[int, int]] = []
    workers = [torch.nn.Parameter(torch.zeros(size)) for size in (20, 3, 4, 2, 11)]
    for parameter in workers:
        parameter.grad = torch.ones_like(parameter)

    def all_reduce(tensor: torch.Tensor, async_op: bool) -> SimpleNamespace:
        sent.append((tensor.numel(), tensor.data_ptr()))
        return SimpleNamespace(wait=lambda: tensor.mul_(2.0))

    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    Group(0, 2).sum_gradients(workers, values(0.5))
    assert [size for size, _ in sent] == [1, 20, 9, 11]
    places = [parameter.grad.data_ptr() for parameter in workers if parameter.grad is not None]
    assert (sent[1][1], sent[3][1]) == (places[0], places[4]) and sent[2][1] not in places
    assert all(torch.equal(p.grad, torch.full_like(p, 2.0)) for p in workers if p.grad is not None)


def test_a_single_worker_keeps_its_gradients_as_they_are() -> None:
    trained, idle = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(2))
    trained.grad = torch.ones(2)
    assert Group().sum_gradients([trained, idle], values(0.5, 1.0)).tolist() == [0.5, 1.0]
    assert torch.equal(trained.grad, torch.ones(2)) and idle.grad is None


def test_values_are_summed_gathered_and_shared() -> None:
    found = together(
        3,
        lambda g: (
            g.sum_gradients([], values(g.rank, 0.5)).tolist(),
            g.gather(f"worker {g.rank}"),
            g.share({"from": g.rank}),
        ),
    )
    assert found == [([3.0, 1.5], ["worker 0", "worker 1", "worker 2"], {"from": 0})] * 3
    alone = Group()
    assert (alone.sum_gradients([], values(2.0)).tolist(), alone.gather("x"), alone.share("y")) == ([2.0], ["x"], "y")


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
    idle = torch.nn.Parameter(torch.zeros(2))
    summed = (lambda: group.sum_gradients([], values(1.0)), lambda: group.sum_gradients([idle], values()))
    for collective in (*summed, lambda: group.gather(1), lambda: group.share(1)):
        with pytest.raises(type(error)) as caught:
            collective()
        assert not isinstance(caught.value, PeerLostError)


@pytest.mark.parametrize(
    "collective",
    [
        lambda g: g.sum_gradients([torch.nn.Parameter(torch.zeros(2))], values()),
        lambda g: g.sum_gradients([], values(1.0)),
        lambda g: g.gather(1),
        lambda g: g.share(1),
        lambda g: g.barrier(),
    ],
)
def test_a_worker_that_is_gone_is_no_fault_of_the_trial(collective: Callable[[Group], object]) -> None:
    with pytest.raises(PeerLostError, match="1 of 2 workers"):
        together(2, lambda group: collective(group) if group.rank == 0 else None)
