"""How many trials a cluster holds at a time."""

from __future__ import annotations

import pytest

from study.execution.concurrency import concurrency, concurrency_words, held, on_a_card
from study.planning import describe
from study.question.config import ScalingConfig
from trainables.errors import UserError

EIGHT = {"CPU": 8.0, "GPU": 2.0}


@pytest.mark.parametrize(
    ("scaling", "trials"),
    [
        ({}, 8),
        ({"cpus_per_worker": 3}, 2),
        ({"cpus_per_worker": 0.5}, 16),
        ({"workers_per_trial": 3}, 2),
        ({"gpus_per_worker": 1}, 2),
        ({"gpus_per_worker": 0.25}, 8),
        ({"cpus_per_worker": 8, "gpus_per_worker": 1}, 1),
        ({"concurrent_trials": 3}, 3),
        ({"concurrent_trials": 30}, 8),
    ],
)
def test_the_scarcest_resource_and_the_limit_decide(scaling: dict[str, float], trials: int) -> None:
    assert concurrency(ScalingConfig.model_validate(scaling), [EIGHT]) == trials


def test_a_cluster_that_holds_no_trial_is_the_users_to_mend() -> None:
    with pytest.raises(UserError, match=r"scaling: one trial needs 2 x \(2 CPU, 2 GPU\), the cluster has 8 CPU, 2 GPU"):
        concurrency(ScalingConfig(workers_per_trial=2, cpus_per_worker=2, gpus_per_worker=2), [EIGHT])


@pytest.mark.parametrize(
    ("gpus", "trials"), [(0.5, 4), (0.6, 2), (0.9, 2), (0.4, 4), (0.1, 20), (1 / 3, 6), (0.05, 40), (2, 1), (3, 0)]
)
def test_a_fraction_of_a_gpu_lies_on_one_card(gpus: float, trials: int) -> None:
    """Two cards hold two workers of 0.6, though there is 1.2 and 0.8 of them left."""
    scaling = ScalingConfig(gpus_per_worker=gpus, cpus_per_worker=0.1)
    assert held(scaling, [EIGHT]) == trials


@pytest.mark.parametrize(("gpus", "workers"), [(0, 0), (0.5, 2), (0.6, 1), (1 / 3, 3), (1, 0), (2, 0)])
def test_how_many_share_a_card_is_described(gpus: float, workers: int) -> None:
    scaling = ScalingConfig(gpus_per_worker=gpus)
    assert on_a_card(scaling) == workers
    (_, last) = describe._workers(scaling)
    assert (f"{workers} on each" in last) == (workers > 1)


def test_a_worker_lies_on_one_machine() -> None:
    three = [{"CPU": 3.0, "GPU": 3.0}] * 3
    for need in ({"cpus_per_worker": 2}, {"cpus_per_worker": 0.1, "gpus_per_worker": 2}):
        assert held(ScalingConfig.model_validate(need), three) == 3
        assert held(ScalingConfig.model_validate({**need, "workers_per_trial": 2}), three) == 1
    # A machine with CPUs and one with GPUs do not make one with both.
    assert held(ScalingConfig(gpus_per_worker=1), [{"CPU": 8.0}, {"GPU": 8.0}]) == 0
    with pytest.raises(UserError, match=r"the cluster has 9 CPU, 9 GPU on 3 machines"):
        concurrency(ScalingConfig(cpus_per_worker=4), three)


def test_parts_are_counted_as_ray_counts_them() -> None:
    """3 × 0.1 is a little more than 0.3 in floating point, and one trial less would fit."""
    assert held(ScalingConfig(workers_per_trial=3, cpus_per_worker=0.1), [{"CPU": 0.3}]) == 1
    assert held(ScalingConfig(cpus_per_worker=1e-9), [{"CPU": 1.0}]) == 10_000


def test_what_runs_is_said_in_words() -> None:
    assert concurrency_words(ScalingConfig(), 1) == "1 trial at a time, each 1 worker of 1 CPU"
    two = ScalingConfig(workers_per_trial=2, cpus_per_worker=0.5, gpus_per_worker=1)
    assert concurrency_words(two, 3) == "3 trials at a time, each 2 workers of 0.5 CPU, 1 GPU"
