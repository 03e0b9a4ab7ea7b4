"""The commands. Each parses, imports what it needs, and calls one function; ``--help`` imports nothing heavy.

User errors are lines without a traceback. A study without a completed trial, or one that stopped before its budget was
met, exits with 1. What Ray, transformers and others write goes to ``<root>/<name>/log.txt``, not to the screen. There
is no hidden network: usage statistics, telemetry and hub calls are off unless asked for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from trainables.environment import write_anywhere
from trainables.errors import UserError

Command = TypeVar("Command", bound=Callable[..., Any])

FAILED, USER_ERROR, INTERRUPTED = 1, 2, 130
"""Exit statuses beside 0, done."""


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


take_over_option = click.option(
    "--take-over", is_flag=True, help="Even if another process, that must be dead, still owns the study."
)


def run_options(command: Command) -> Command:
    """Options of the commands that run trials."""
    for option in reversed(
        [
            root_option,
            click.option("--quiet", "mode", flag_value="quiet", help="Show the result only."),
            click.option("--plain", "mode", flag_value="plain", help="Plain lines on a terminal too."),
            click.option("--json-events", "mode", flag_value="json", help="One JSON object per event, nothing else."),
            click.option("--address", help="A running Ray cluster, such as auto; none: a local one is started."),
        ]
    ):
        command = option(command)
    return command


def example(text: str) -> str:
    """The last paragraph of a command's help."""
    return f"Example: {text}"


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def commands() -> None:
    """Studies of robust cross-lingual transfer: run them, look at them, confirm what they found.

    Example: study run quickstart search.trials=4
    """


@commands.command(epilog=example("study run quickstart name=small search.trials=4 trial.training.seed=1"))
@click.argument("config")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]…")
@run_options
@click.option("--max-failures", type=click.IntRange(min=1), help="Stop after this many failed trials.")
@click.option("--enqueue", multiple=True, metavar="'KEY=VALUE …'", help="A point to try first; may be repeated.")
@click.option("--from", "learn_from", multiple=True, metavar="NAME", help="A study to learn from; may be repeated.")
def run(
    config: str, overrides: Sequence[str], enqueue: Sequence[str], learn_from: Sequence[str], **options: Any
) -> int:
    """Run the study in CONFIG, a recipe's name or a YAML file; KEY=VALUE sets dotted paths of it.

    A study that is finished already shows its result; one that was interrupted says how to go on. With --from the
    ended trials of another study of the same data and base settings are known to the sampler from the start.
    """
    from study import launch
    from study.question import catalogue

    study = catalogue.enqueued(catalogue.study_config(config, overrides), enqueue)
    return launch.run(study, _options(options), learn_from)


@commands.command(epilog=example("study resume quickstart"))
@click.argument("name")
@run_options
@take_over_option
@click.option("--max-failures", type=click.IntRange(min=1), help="Stop after this many failed trials.")
def resume(name: str, **options: Any) -> int:
    """Go on with the interrupted study NAME: finished trials stay, the others continue from their checkpoints."""
    from study import launch

    return launch.resume(name, _options(options))


@commands.command(epilog=example("study confirm quickstart --runners-up 1"))
@click.argument("name")
@run_options
@take_over_option
@click.option("--runners-up", type=click.IntRange(min=0), default=0, help="Further configurations, by rank.")
@click.option("--again", is_flag=True, help="Open the test split once more, for what is new.")
def confirm(name: str, runners_up: int, again: bool, **options: Any) -> int:
    """Score the best trial of the study NAME and the controls on the test split, over fresh seeds."""
    from study import launch

    return launch.confirm(name, _options(options), runners_up, again)


@commands.command(epilog=example("study show quickstart --json"))
@click.argument("name")
@root_option
@click.option("--json", "as_json", is_flag=True, help="Everything, as one JSON document.")
@click.option("--all", "every_trial", is_flag=True, help="All trials, however many.")
def show(name: str, root: Path, as_json: bool, every_trial: bool) -> None:
    """Show the study NAME: its trials, and its best one against the baseline, language by language."""
    from study.views import tables
    from study.views.document import document

    click.echo(document(root, name) if as_json else tables.text(root, name, every_trial))


@commands.command(epilog=example("study ls --root studies"))
@root_option
def ls(root: Path) -> None:
    """List the studies under the root."""
    from study.views import tables

    click.echo(tables.listing(root))


@commands.command(epilog=example("study mlflow --port 5001"))
@root_option
@click.option(
    "--port", type=click.IntRange(1, 65535), default=5000, show_default=True, help="On the loopback interface."
)
def mlflow(root: Path, port: int) -> int:
    """Serve the MLflow pages of the studies under the root, until interrupted."""
    from study.tracking.server import serve_ui

    return serve_ui(root, port)


@commands.command(epilog=example("study rebuild quickstart --optuna --mlflow"))
@click.argument("name")
@root_option
@click.option("--optuna", is_flag=True, help="optuna.db in the study's folder, for optuna-dashboard.")
@click.option("--mlflow", is_flag=True, help="The runs in MLflow.")
@click.option("--uri", help="Another MLflow tracking server than the study's own.")
def rebuild(name: str, root: Path, optuna: bool, mlflow: bool, uri: str | None) -> None:
    """Make views of the study NAME anew from its ledger; done again, it changes nothing."""
    from study.views import rebuilding

    rebuilding.rebuild(root, name, optuna, mlflow, uri)


@commands.command(epilog=example("study report quickstart --out page"))
@click.argument("names", nargs=-1, metavar="[NAME]…")
@root_option
@click.option("--from", "results", type=click.Path(path_type=Path), help="Anyone's results, as Parquet or CSV.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder; none: the study's own.")
def report(names: Sequence[str], root: Path, results: Path | None, out: Path | None) -> None:
    """Write the report of one study, or of several side by side: a page, tables and data."""
    from study.reporting import publishing

    publishing.publish(names, root, results, out)


@commands.command(epilog=example("study describe quickstart search.sampler=random"))
@click.argument("config")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]…")
@root_option
def describe(config: str, overrides: Sequence[str], root: Path) -> None:
    """Say in words what the study in CONFIG would do: what varies, what is held, who selects, what it takes."""
    from study.planning import describe
    from study.question import catalogue

    click.echo(describe.words(catalogue.study_config(config, overrides), root))


@commands.command(epilog=example("study plan quickstart protocol.confirm_seeds=12 --pilot quickstart"))
@click.argument("config")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]…")
@root_option
@click.option("--pilot", metavar="NAME", help="A confirmed study, or a design with replicates, that shows the spread.")
@click.option("--examples", type=click.IntRange(min=2), help="Test sentences of each language.")
def plan(config: str, overrides: Sequence[str], root: Path, pilot: str | None, examples: int | None) -> None:
    """Say what a confirmation of the study in CONFIG could show, and what it costs: before paying for it.

    The detectable difference of the primary endpoint for the planned seeds, languages and sentences, the seeds that
    smaller ones need, the time and the disk. Without a pilot the spread of differences is assumed.
    """
    from study.planning import power_plan
    from study.question import catalogue

    click.echo(power_plan.words(catalogue.study_config(config, overrides), root, pilot, examples))


@commands.command(epilog=example("study recipes"))
def recipes() -> None:
    """List the shipped studies."""
    from study.question import catalogue
    from study.views import tables

    click.echo(tables.columns(catalogue.recipes(), right=()))


@commands.command(epilog=example("study spaces adversarial"))
@click.argument("name", required=False)
def spaces(name: str | None) -> None:
    """List the shipped search spaces, or the dimensions of one."""
    from study.question import catalogue
    from study.views import tables

    click.echo(tables.columns(catalogue.space(name) if name else catalogue.spaces(), right=()))


@commands.command(epilog=example("study methods"))
def methods() -> None:
    """List the robust training methods."""
    from study.question import catalogue
    from study.views import tables

    click.echo(tables.columns(catalogue.methods(), right=()))


@commands.command(epilog=example("study tasks"))
def tasks() -> None:
    """List the tasks."""
    from study.question import catalogue
    from study.views import tables

    click.echo(tables.columns(catalogue.tasks(), right=()))


@commands.command(epilog=example("study doctor quickstart --address auto"))
@click.argument("config", required=False)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]…")
@root_option
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--address", help="A running Ray cluster, such as auto: its machines are looked at as well.")
def doctor(config: str | None, overrides: Sequence[str], root: Path, as_json: bool, address: str | None) -> int:
    """Look at this machine, and at a cluster: versions, scripts, devices, disks; each line with its cure.

    With a CONFIG, also whether the cluster has what that study needs, and whether its MLflow server answers.
    """
    from study.planning import doctor
    from study.question import catalogue

    study = catalogue.study_config(config, overrides) if config else None
    findings = doctor.examine(root, study)
    if address is not None:
        from study.planning import cluster_doctor

        findings += cluster_doctor.examine(address, root, study.scaling if study is not None else None)
    text, status = doctor.report(findings, as_json)
    click.echo(text)
    return status


def _options(given: dict[str, Any]) -> Any:
    from study.launch import Options

    return Options(**{**given, "mode": given["mode"] or "auto"})


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
