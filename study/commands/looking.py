"""Commands that show what is there."""

from __future__ import annotations

from pathlib import Path

import click

from study.commands.options import example, root_option


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
@click.option("--all", "every_trial", is_flag=True, help="All trials and columns, however many and wide.")
def show(name: str, root: Path, as_json: bool, every_trial: bool) -> None:
    """Show the study NAME: its trials, and its best one against the baseline, language by language."""
    from study.views import tables
    from study.views.document import document

    click.echo(document(root, name) if as_json else tables.text(root, name, every_trial))


@click.command(epilog=example("study mlflow --port 5001"))
@root_option
@click.option(
    "--port", type=click.IntRange(1, 65535), default=5000, show_default=True, help="On the loopback interface."
)
def mlflow(root: Path, port: int) -> int:
    """Serve the MLflow pages of the studies under the root, until interrupted."""
    from study.tracking.server import serve_ui

    return serve_ui(root, port)
