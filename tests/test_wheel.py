"""The wheel: installed elsewhere, it has all that a study needs."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

SMALL = (
    "trial.training.budget.steps=2",
    "trial.evaluation.every=null",
    "trial.evaluation.examples_per_language=4",
    "trial.evaluation.intermediate_examples_per_language=null",
    "trial.task.target_languages=[de, fr, it, cy, ga, is, lb]",
    "protocol.pivots=[de, fr]",
)


@pytest.mark.slow
def test_a_wheel_installed_elsewhere_runs_the_quickstart_in_an_empty_folder(tmp_path: Path) -> None:
    source, wheels, elsewhere, empty = (tmp_path / name for name in ("source", "wheels", "venv", "empty"))
    empty.mkdir()
    # From a copy: a build leaves folders in the tree that it is made of.
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(REPOSITORY), str(source)], check=True)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(wheels), str(source)], check=True)
    (wheel,) = wheels.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(elsewhere)], check=True)
    python = str(elsewhere / "bin" / "python")
    subprocess.run([*pip, "--python", python, "install", "--no-deps", "--no-index", str(wheel)], check=True)
    # What the project depends on is taken from here; only a folder's own .pth files make editable installations.
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    (Path(site) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")

    def run(*command: str) -> str:
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "STUDY_ROOT")}
        done = subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    where = run(python, "-c", "import study, trainables, search_spaces as s; print(study, trainables, s)")
    assert where.count(str(elsewhere)) == 3
    bin_folder = elsewhere / "bin"
    assert "quickstart" in run(str(bin_folder / "study"), "recipes")
    text = run(str(bin_folder / "study"), "run", "quickstart", "search.trials=2", "--plain", *SMALL)
    assert "low_resource_mean" in text
    assert (empty / "studies" / "quickstart" / "ledger.jsonl").is_file()
    assert "tune run is study run" in " ".join(run(str(bin_folder / "tune"), "--help").split())
