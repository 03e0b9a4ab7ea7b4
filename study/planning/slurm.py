"""A job of Slurm's for a study: what sbatch is asked for, checked, and the script with that filled in."""

from __future__ import annotations

import math
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from study.question.config import ScalingConfig
from trainables.errors import UserError

SCRIPT = Path(__file__).with_suffix(".sbatch")
"""The job as a script, which is also ``cluster/slurm.sbatch``."""

FILLED_IN = "set -uo pipefail\n"
"""The line of the script before which a job's own lines are put."""

OWN = {
    "array": "one study is one job, whose trials run side by side on its nodes",
    "ntasks": "each node runs one Ray: give nodes",
    "ntasks-per-node": "each node runs one Ray: give nodes",
    "signal": "it follows from scaling.grace_seconds",
    "wrap": "the job runs the study",
}
"""Options of sbatch that the script decides on, and why."""

MARGIN_SECONDS = 120.0
"""Time between the warning and the limit beyond what trials are given for their checkpoints: Slurm may warn a minute
early, and Ray and the study end after the trials."""

Options = Mapping[str, str]
"""Long options of sbatch without their dashes; an empty value for those that have none."""


def options(given: Sequence[str]) -> dict[str, str]:
    """Options of sbatch out of ``KEY=VALUE`` or ``KEY``, several in one text or each in its own.

    Raises `UserError` with every one that cannot be.

    >>> options(["nodes=2 gpus-per-node=4", "exclusive"])
    {'nodes': '2', 'gpus-per-node': '4', 'exclusive': ''}
    """
    found: dict[str, str] = {}
    problems = []
    for word in (word for text in given for word in shlex.split(text)):
        key, _, value = word.removeprefix("--").partition("=")
        if not re.fullmatch(r"[a-z][a-z-]*", key) or re.search(r'[\n"]', value):
            problems.append(f"--slurm: must be KEY=VALUE, of the long options of sbatch (got {word!r})")
        elif key in OWN:
            problems.append(f"--slurm: {key} is not to be set, {OWN[key]} (got {word!r})")
        else:
            found[key] = value
    if problems:
        raise UserError(*problems)
    return found


def check(asked: Options, scaling: ScalingConfig) -> None:
    """Raise `UserError` with every reason why a job of these options is none for a study of this `scaling`."""
    problems = [*_gpus(asked, scaling), *_time(asked, scaling)]
    if problems:
        raise UserError(*problems)


def _gpus(asked: Options, scaling: ScalingConfig) -> Iterator[str]:
    has_gpus = any(key.startswith("gpus") for key in asked) or "gpu" in asked.get("gres", "")
    if scaling.gpus_per_worker and not has_gpus:
        yield (
            f"--slurm: scaling.gpus_per_worker is {scaling.gpus_per_worker:g}, and the job has no GPU: add "
            "gpus-per-node=1, or more"
        )
    if has_gpus and not scaling.gpus_per_worker:
        yield "scaling.gpus_per_worker: must be more than 0 in a job that has GPUs, or none of them is used (got 0)"


def _time(asked: Options, scaling: ScalingConfig) -> Iterator[str]:
    limit, notice = seconds(asked.get("time", "")), notice_seconds(scaling)
    if limit is not None and limit < 2 * notice:
        yield (
            f"--slurm: time must be at least {math.ceil(2 * notice / 60)} minutes: {notice} s before its end trials "
            f"write their checkpoints (got {asked['time']!r})"
        )


def notice_seconds(scaling: ScalingConfig) -> int:
    """How long before its time limit a job is told of it."""
    return math.ceil(scaling.grace_seconds + MARGIN_SECONDS)


def seconds(limit: str) -> int | None:
    """A time limit as Slurm writes it; None for what is none.

    >>> [seconds(each) for each in ("90", "1:30", "2:00:00", "1-12", "1-12:30", "unlimited")]
    [5400, 90, 7200, 129600, 131400, None]
    """
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", limit)
    if match is None:
        return None
    days, first, second, third = (int(each or 0) for each in match.groups())
    if match[1] is not None or match[4] is not None:  # days-hours:minutes:seconds, hours:minutes:seconds
        return ((days * 24 + first) * 60 + second) * 60 + third
    return first * 60 + second


def script(
    name: str, arguments: Sequence[str], root: str, asked: Options, scaling: ScalingConfig, take_over: bool = False
) -> str:
    """The job of the study `name` as a script that sbatch takes.

    `arguments` are those of ``study run``, `root` is absolute or a URI. The environment of the job is this process's.
    """
    defaults = {"job-name": name, "dependency": "singleton", "signal": f"B:USR1@{notice_seconds(scaling)}"}
    lines = {**defaults, **_cpus(asked, scaling), **asked}
    own = [f"#SBATCH --{key}" + (f'="{value}"' if value else "") for key, value in lines.items()]
    variables = {"STUDY_BIN": str(Path(sys.executable).parent), "STUDY_ROOT": root}
    own += [f"{key}={shlex.quote(value)}" for key, value in variables.items()]
    own += ["STUDY_TAKE_OVER=1"] * take_over
    own.append(shlex.join(["set", "--", name, *arguments]))
    before, after = SCRIPT.read_text(encoding="utf-8").split(FILLED_IN, 1)
    return before + "\n".join(own) + "\n" + FILLED_IN + after


def _cpus(asked: Options, scaling: ScalingConfig) -> dict[str, str]:
    """CPUs of a node for as many workers as its GPUs hold, where nothing is said of CPUs."""
    gpus = asked.get("gpus-per-node", "").rpartition(":")[2]
    if (
        not gpus.isdigit()
        or not scaling.gpus_per_worker
        or any(k in ("exclusive", "cpus-per-task", "cpus-per-gpu") for k in asked)
    ):
        return {}
    return {"cpus-per-task": str(math.ceil(int(gpus) / scaling.gpus_per_worker * scaling.cpus_per_worker))}
