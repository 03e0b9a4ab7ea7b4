"""Two workers are one: same examples, same random starts, same perturbations, weights and scores."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.trainables.recorded import recorded
from trainables.config import TrialConfig
from trainables.distributed import Group
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
