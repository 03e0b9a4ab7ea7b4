"""Handing a study to a batch system: it is checked here, where its user is, and run there as one job."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence

from study import launch, launch_suite
from study.launch import Options
from study.planning import preflight, slurm
from study.question import catalogue, suites
from study.question.config import SuiteConfig
from study.record import roots
from study.suite.found import FoundSuite
from study.views.found import Study
from trainables.errors import UserError

ANSWER_SECONDS = 120.0
"""Time in which sbatch must answer."""

SOMEWHERE_ELSE = "slurm"
"""What stands for the address of a cluster that is still to come: nothing is judged by this machine's resources."""


def submit(source: str, overrides: Sequence[str], options: Options, given: Sequence[str], dry_run: bool) -> int:
    """Hand the study or suite `source` to Slurm, with the options of sbatch that are `given`; returns 0.

    With `dry_run` the job's script is printed, and nothing handed over. Raises `UserError` before that where the study
    cannot run, is run already or is finished, and where sbatch is missing or refuses.
    """
    config = suites.asked(source, overrides)
    asked = slurm.options(given)
    slurm.check(asked, config.scaling)
    existing: Study | FoundSuite | None
    if isinstance(config, SuiteConfig):
        name, key = config.suite.name, "suite.name"
        existing = launch_suite.begun(config, options)
        preflight.check_together(suites.expand(config), options.root, SOMEWHERE_ELSE)
    else:
        name, key = config.name, "name"
        existing = launch.begun(config, options)
        preflight.check(config, options.root, SOMEWHERE_ELSE)
    condition = None if existing is None else existing.condition
    if condition == "finished":
        raise UserError(f"{key}: {name} is finished already; study show {name}{launch.shown_root(options.root)}")
    if condition == "running" and not options.take_over:
        raise UserError(f"{key}: {name} is being run by another process; if that is gone: --take-over")
    # The name again: what is written in the file by the time the job begins may be another study's.
    arguments = [str(catalogue.recipe_path(source).resolve()), *overrides, f"{key}={name}"]
    root = roots.shown(options.root.absolute())
    text = slurm.script(name, arguments, root, asked, config.scaling, options.take_over)
    if dry_run:
        print(text, end="")
        return 0
    print(_handed_over(text))
    print(f"Its output: {name}-NUMBER.txt here, unless --slurm says otherwise; study watch {name} --root {root}")
    return 0


def _handed_over(text: str) -> str:
    """What sbatch says to a job."""
    if shutil.which("sbatch") is None:
        raise UserError(
            "sbatch: is not to be found here; call this on a login node of a cluster with Slurm, or with --dry-run, "
            "which prints the job"
        )
    try:
        done = subprocess.run(["sbatch"], input=text, capture_output=True, text=True, timeout=ANSWER_SECONDS)
    except subprocess.TimeoutExpired:
        raise UserError(
            f"sbatch: no answer within {ANSWER_SECONDS:.0f} s; squeue --me says whether it is there"
        ) from None
    if done.returncode:
        raise UserError(*(f"sbatch: {line.removeprefix('sbatch: ')}" for line in done.stderr.strip().splitlines()))
    return done.stdout.strip()
