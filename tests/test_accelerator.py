"""``python benchmarks/accelerator.py`` where nothing is installed but what training needs; no times are looked at."""

from __future__ import annotations

import json
import subprocess
from importlib import import_module
from typing import Any

import pytest

from tests import bare
from tests.conftest import REPOSITORY

SCRIPT = REPOSITORY / "benchmarks" / "accelerator.py"

ROWS = ["clean", "PGD-1", "PGD-3", "SMART", "forward pass alone", "evaluation", "Trainer, bf16", "Trainer, defaults"]
ENCODERS = ["XLM-R large", "XLM-R base", "e5-small"]


@pytest.fixture(autouse=True)
def repository_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)


def rows(output: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


@pytest.mark.slow
def test_it_runs_on_a_bare_machine() -> None:
    done = bare.run(bare.BEYOND, SCRIPT, "--dry", "--peak", "1")
    assert done.returncode == 0, done.stderr
    found = rows(done.stdout)
    assert [(row["shape"], row["row"]) for row in found] == [(e, r) for e in ENCODERS for r in ROWS]
    for row in found:
        trainer = str(row["row"]).startswith("Trainer")
        assert row["note"] == ("left out: accelerate is not installed" if trainer else "")
        assert all((row[key] is None) == trainer for key in ("seconds", "tokens_per_second", "mfu"))
    table = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert len(table) == 1 + len(found)
    assert "DRY RUN" in done.stdout


@pytest.mark.slow
def test_what_the_time_limit_leaves_no_room_for_is_named() -> None:
    done = bare.run(bare.BEYOND, SCRIPT, "--dry", "--minutes", "0")
    assert done.returncode == 0, done.stderr
    assert [(row["shape"], row["note"]) for row in rows(done.stdout)] == [(e, "left out: time limit") for e in ENCODERS]
    assert done.stdout.count("| left out: time limit |") == len(ENCODERS)


@pytest.mark.slow
def test_a_row_is_out_once_it_is_measured() -> None:
    process = subprocess.Popen(
        bare.command(bare.BEYOND, SCRIPT, "--dry"), cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    first = next(line for line in process.stdout if line.startswith("{"))
    process.kill()
    rest = process.stdout.read()
    process.wait()
    assert json.loads(first)["row"] == "clean"
    assert "| encoder |" not in rest


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    return import_module("accelerator")


def test_goals_stand_beside_what_was_measured(accelerator: Any) -> None:
    row = accelerator.Row
    lines = accelerator.goals(
        [
            row("XLM-R large", "clean", mfu=0.41),
            row("XLM-R large", "PGD-1", times_clean=1.9),
            row("XLM-R large", "evaluation", share_of_forward=0.7),
            row("XLM-R large", "Trainer, bf16", note="left out: accelerate is not installed"),
            row("XLM-R large", "Trainer, defaults", times_clean=2.5),
            row("e5-small", "all", note="left out: time limit"),
        ]
    )
    assert lines[2:] == [
        "| MFU of a clean step | XLM-R large | ≥ 0.40 | 0.41 | kept |",
        "| PGD-1 in clean steps | XLM-R large | ≤ 1.85 | 1.90 | MISSED |",
        "| clean step, times Trainer, bf16 | XLM-R large | ≥ 1.30 |  | not measured |",
        "| clean step, times Trainer, defaults | XLM-R large | ≥ 3.00 | 2.50 | MISSED |",
        "| evaluation, of the forward pass alone | XLM-R large | ≥ 0.70 | 0.70 | kept |",
        "| evaluation, of the forward pass alone | e5-small | ≥ 0.70 |  | not measured |",
    ]


@pytest.mark.parametrize(
    ("card", "precision", "peak"),
    [
        ("NVIDIA H200", "bf16", 989.0),
        ("NVIDIA H100 80GB HBM3", "bf16", 989.0),
        ("NVIDIA H100 PCIe", "bf16", 756.0),
        ("NVIDIA A100-SXM4-80GB", "bf16", 312.0),
        ("NVIDIA A100 80GB PCIe", "fp16", 312.0),
        ("NVIDIA L4", "bf16", 121.0),
        ("NVIDIA A10", "bf16", 125.0),
        ("Tesla V100-SXM2-16GB", "fp16", 125.0),
        ("Tesla V100-SXM2-16GB", "bf16", None),
        ("NVIDIA H200 NVL", "bf16", None),
        ("NVIDIA L40S", "bf16", None),
        ("NVIDIA A10G", "bf16", None),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "bf16", None),
        ("CPU", "bf16", None),
    ],
)
def test_the_peak_is_of_exactly_that_card(accelerator: Any, card: str, precision: str, peak: float | None) -> None:
    assert accelerator.known_peak(card, precision)[0] == peak
