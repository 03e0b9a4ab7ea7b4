"""Commands that show what is there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from study.commands.options import example, root_option

if TYPE_CHECKING:
    from study.views.progress import Mode


@click.command(epilog=example("study ls --root studies"))
@root_option
def ls(root: Path) -> None:
    """List the studies under the root."""
    from study.views import tables

    click.echo(tables.listing(root))


@click.command(epilog=example("study show quickstart --json"))
@click.argument("name")
@root_option
@click.option("--json", "as_json", is_flag=True, help="Everything, as one JSON document.")
@click.option("--all", "every_trial", is_flag=True, help="All trials, however many.")
def show(name: str, root: Path, as_json: bool, every_trial: bool) -> None:
    """Show the study NAME: its trials, and its best one against the baseline, language by language."""
    from study.views import tables
    from study.views.document import document

    click.echo(document(root, name) if as_json else tables.text(root, name, every_trial))


@click.command(epilog=example("study watch quickstart --interval 5"))
@click.argument("name")
@root_option
@click.option("--interval", type=click.FloatRange(min=0.1), help="Seconds between two looks; none: 1, for a store 10.")
@click.option("--plain", "mode", flag_value="plain", help="Plain lines on a terminal too.")
@click.option("--json-events", "mode", flag_value="json", help="One JSON object per event, nothing else.")
def watch(name: str, root: Path, interval: float | None, mode: Mode | None) -> int:
    """Watch the study NAME, which runs elsewhere, as study run shows it.

    Until it ends; one that is not running is shown once. Only reads: a folder, also a shared one, or a store. Ctrl-C
    ends the watching, not the study. Exits with 0 if the study is finished, or goes on, with 1 if it was interrupted or
    its driver has died.
    """
    from study.views import following

    return following.follow(root, name, mode or "auto", interval)


@click.command(epilog=example("study rank quickstart --by worst_language"))
@click.argument("name")
@root_option
@click.option("--by", required=True, metavar="REDUCTION", help="worst_language, language:sw, group:low_resource, …")
@click.option("--metric", help="What is reduced, such as attacked_accuracy; none: the task's primary metric.")
@click.option(
    "--direction",
    type=click.Choice(["maximize", "minimize"]),
    help="Which way is better; none: up, but down for transfer_gap and costs.",
)
@click.option("--json", "as_json", is_flag=True, help="As one JSON document.")
@click.option("--all", "every_trial", is_flag=True, help="All trials, however many.")
def rank(
    name: str, root: Path, by: str, metric: str | None, direction: str | None, as_json: bool, every_trial: bool
) -> None:
    """Rank the complete trials of the study NAME by any reduction of scores.

    Exploratory: it may read what the study's selection rule may not. Beside it stands the rank under that rule, which
    alone selects. Of each trial the validation scores of its result are read; nothing is stored.
    """
    from study.views import ranks

    explored = ranks.explore(root, name, by, metric, direction)
    click.echo(ranks.document(explored) if as_json else ranks.text(explored, every_trial))


@click.command(epilog=example("study mlflow --port 5001"))
@root_option
@click.option(
    "--port", type=click.IntRange(1, 65535), default=5000, show_default=True, help="On the loopback interface."
)
def mlflow(root: Path, port: int) -> int:
    """Serve the MLflow pages of the studies under the root, until interrupted."""
    from study.tracking.server import serve_ui

    return serve_ui(root, port)
