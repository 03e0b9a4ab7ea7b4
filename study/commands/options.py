"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from study.launch import Options

Command = TypeVar("Command", bound=Callable[..., Any])


class Root(click.Path):
    """A folder, or a URI, in whose place the command sees a folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if "://" in str(value):
            from study.record import roots

            value = roots.folder(value)
        return super().convert(value, param, ctx)


root_option = click.option(
    "--root",
    type=Root(path_type=Path, file_okay=False),
    default="studies",
    envvar="STUDY_ROOT",
    show_default=True,
    show_envvar=True,
    help="Folder of all studies, or its URI in an object store: s3://bucket/studies.",
)

member_option = click.option("--member", metavar="NAME", help="Of a suite, this member alone.")

take_over_option = click.option(
    "--take-over", is_flag=True, help="Even if another process, that must be dead, still owns the study."
)

max_failures_option = click.option(
    "--max-failures", type=click.IntRange(min=1), help="Stop after this many failed trials."
)


plain_option = click.option("--plain", "mode", flag_value="plain", help="Plain lines on a terminal too.")

json_events_option = click.option(
    "--json-events", "mode", flag_value="json", help="One JSON object per event, nothing else."
)


def config_arguments(command: Command) -> Command:
    """``CONFIG [KEY=VALUE]…``: a recipe's name or a YAML file, and dotted paths of it."""
    return click.argument("config")(click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]…")(command))


def run_options(command: Command) -> Command:
    """Options of the commands that run trials."""
    for option in reversed(
        [
            root_option,
            click.option("--quiet", "mode", flag_value="quiet", help="Show the result only."),
            plain_option,
            json_events_option,
            click.option("--address", help="A running Ray cluster, such as auto; none: a local one is started."),
        ]
    ):
        command = option(command)
    return command


def how(given: Mapping[str, Any]) -> Options:
    """What `run_options` were given, as `launch` takes it."""
    from study.launch import Options

    return Options(**{**given, "mode": given["mode"] or "auto"})


def example(text: str) -> str:
    """The last paragraph of a command's help."""
    return f"Example: {text}"
