"""Commands that make something of a study: pages, tables, views, models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from study.commands.options import example, root_option


@click.command(epilog=example("study report quickstart --out page"))
@click.argument("names", nargs=-1, metavar="[NAME]…")
@root_option
@click.option("--from", "results", type=click.Path(path_type=Path), help="Anyone's results, as Parquet or CSV.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder; none: the study's own.")
def report(names: Sequence[str], root: Path, results: Path | None, out: Path | None) -> None:
    """Write the report of one study, or of several side by side: a page, tables and data."""
    from study.reporting import publishing

    publishing.publish(names, root, results, out)


@click.command(epilog=example("study model quickstart --to quickstart-model"))
@click.argument("name")
@click.argument("trial", type=click.IntRange(min=0), required=False)
@root_option
@click.option("--to", type=click.Path(path_type=Path, file_okay=False), help="Folder to write, new or empty.")
@click.option("--register", is_flag=True, help="Also, or only, as a version in MLflow's model registry.")
def model(name: str, trial: int | None, root: Path, to: Path | None, register: bool) -> None:
    """Write the trained model of the study NAME for transformers: of TRIAL, or of the trial that was chosen.

    An ordinary Hugging Face folder, with the whole vocabulary, tokenizer and model card. Which trials' weights are kept
    is the study's models.keep.
    """
    from study.reporting import models

    models.publish(name, root, trial, to, register)


@click.command(epilog=example("study rebuild quickstart --optuna --mlflow"))
@click.argument("name")
@root_option
@click.option("--optuna", is_flag=True, help="optuna.db in the study's folder, for optuna-dashboard.")
@click.option("--mlflow", is_flag=True, help="The runs in MLflow.")
@click.option("--uri", help="Another MLflow tracking server than the study's own.")
def rebuild(name: str, root: Path, optuna: bool, mlflow: bool, uri: str | None) -> None:
    """Make views of the study NAME anew from its ledger; done again, it changes nothing."""
    from study.views import rebuilding

    rebuilding.rebuild(root, name, optuna, mlflow, uri)
