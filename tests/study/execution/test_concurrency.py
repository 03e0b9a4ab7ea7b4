"""How many trials a cluster holds at a time."""

from __future__ import annotations

import pytest

from study.execution.concurrency import concurrency, concurrency_words
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
    assert concurrency(ScalingConfig.model_validate(scaling), EIGHT) == trials


def test_a_cluster_that_holds_no_trial_is_the_users_to_mend() -> None:
    with pytest.raises(UserError, match=r"scaling: one trial needs 2 x \(2 CPU, 2 GPU\), the cluster has 8 CPU, 2 GPU"):
        concurrency(ScalingConfig(workers_per_trial=2, cpus_per_worker=2, gpus_per_worker=2), EIGHT)


def test_what_runs_is_said_in_words() -> None:
    assert concurrency_words(ScalingConfig(), 1) == "1 trial at a time, each 1 worker of 1 CPU"
    two = ScalingConfig(workers_per_trial=2, cpus_per_worker=0.5, gpus_per_worker=1)
    assert concurrency_words(two, 3) == "3 trials at a time, each 2 workers of 0.5 CPU, 1 GPU"
