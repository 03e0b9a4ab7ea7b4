"""The scripts `study` and `tune`: the commands put together, and how their errors end.

User errors are lines without a traceback. A study without a completed trial, or one that stopped before its budget was
met, exits with 1. What Ray, transformers and others write goes to ``<root>/<name>/log.txt``, not to the screen. There
is no hidden network: usage statistics, telemetry and hub calls are off unless asked for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from study.commands import clearing, looking, planning, running, taking
from study.commands.options import example
from trainables.environment import write_anywhere
from trainables.errors import UserError

FAILED, USER_ERROR, INTERRUPTED = 1, 2, 130
"""Exit statuses beside 0, done."""

SECTIONS: Mapping[str, Sequence[click.Command]] = {
    "Run": (running.run, running.submit, running.resume, running.retry, running.confirm),
    "Look": (looking.ls, looking.show, looking.watch, looking.rank, looking.plot, looking.mlflow),
    "Take out": (taking.report, taking.export, taking.model, taking.soup, taking.rebuild),
    "Clear away": (clearing.rm, clearing.cache),
    "Plan and choose": (
        planning.describe,
        planning.plan,
        planning.doctor,
        planning.recipes,
        planning.spaces,
        planning.methods,
        planning.tasks,
        planning.encoders,
        planning.data,
    ),
}
"""The commands in the order of their help."""


class Sections(click.Group):
    """A group whose help lists its commands by what they are for."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, members in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(str(each.name), each.get_short_help_str(limit=90)) for each in members])


commands = Sections(
    "study",
    commands=[command for members in SECTIONS.values() for command in members],
    help="Studies of robust cross-lingual transfer: run them, look at them, confirm what they found.",
    epilog=example("study run quickstart search.trials=4"),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def main(arguments: Sequence[str] | None = None) -> None:
    """The script `study`: exits with 0 done, 1 failed, 2 user error, 130 interrupted."""
    write_anywhere()
    _at_home()
    sys.exit(execute(commands, "study", arguments))


def tune(arguments: Sequence[str] | None = None) -> None:
    """The script `tune`: Ray's own commands with ours added; where names collide Ray's stays."""
    write_anywhere()
    _at_home()
    sys.exit(execute(tune_commands(), "tune", arguments))


def _at_home() -> None:
    """Libraries look for their folders at home, Ray when it is imported: who has no home is at home in the cache."""
    try:
        Path.home()
    except RuntimeError:
        if "STUDY_CACHE" in os.environ:  # else the cache folder is asked for, in so many words
            os.environ["HOME"] = os.environ["STUDY_CACHE"]


def tune_commands() -> click.Group:
    """The commands of `tune`."""
    from ray.tune.cli.scripts import cli as of_ray

    both = {**commands.commands, **of_ray.commands}
    words = "Ray's own tune commands (ls, lsx, add-note …), and those of this project: tune run is study run."
    return click.Group("tune", commands=both, help=words, epilog=example("tune run quickstart"))


def execute(group: click.Group, name: str, arguments: Sequence[str] | None) -> int:
    """Run one command; errors of the user become lines without a traceback."""
    try:
        status = group.main(arguments, prog_name=name, standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except UserError as error:
        click.echo(error, err=True)
        return USER_ERROR
    except click.ClickException as error:
        error.show()
        return USER_ERROR
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
