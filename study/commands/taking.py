"""Commands that make something of a study: pages, tables, views, models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from study.commands.options import example, member_option, root_option


@click.command(epilog=example("study report quickstart --out page"))
@click.argument("names", nargs=-1, metavar="[NAME]…")
@root_option
@member_option
@click.option("--from", "results", type=click.Path(path_type=Path), help="Anyone's results, as Parquet, CSV or TSV.")
@click.option("--source", metavar="CODE", help="Of results: the language trained on.")
@click.option("--headline", metavar="NAME", help="Of results: the configuration that is the claim.")
@click.option("--endpoint", metavar="REDUCTION", help="Of results: what is claimed; target_mean, language:sw …")
@click.option("--control", "controls", metavar="NAME", multiple=True, help="Of results: an unperturbed configuration.")
@click.option("--metric", metavar="NAME", help="Of results: which metric, or what theirs is called.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder; none: the study's own.")
def report(
    names: Sequence[str],
    root: Path,
    member: str | None,
    results: Path | None,
    source: str | None,
    headline: str | None,
    endpoint: str | None,
    controls: Sequence[str],
    metric: str | None,
    out: Path | None,
) -> None:
    """Write the report of one study, or of several side by side: a page, tables and data.

    Of a suite: a page that sets its members side by side, and the report of each.

    \b
    Results (--from) have one row per configuration, seed, language and example:
      configuration  what was trained (required)
      language       its code (required)
      example        a name of the sentence within its language (required)
      score          of this example, in [0, 1] (required)
      seed           training seed; without: one run of each configuration
      control        a, b, c, d or empty; without: by name, such as baseline
      study          without: the file's name
      split          test or validation; without: test
      metric         accuracy, f1 …; without: score
      weight         of the example in its language's score; without: 1
      source_language, headline, endpoint   the same as the options
    """
    from study.reporting import publishing
    from study.reporting.known import Said
    from study.suite import found

    said = Said(source, headline, endpoint, tuple(controls), metric)
    if member is not None:
        names = [found.study_of(root, name, member) for name in names]
    publishing.publish(names, root, results, said, out)


@click.command(epilog=example("study export quickstart --to quickstart_data"))
@click.argument("name")
@root_option
@click.option(
    "--to",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder, new or empty; that of an earlier export of this study is brought up to date.",
)
@member_option
def export(name: str, root: Path, to: Path, member: str | None) -> None:
    """Write everything recorded of the study NAME as tidy Parquet tables.

    A README in the folder describes them. Beside them, as CSV and for LaTeX: the headline per language (of a study
    that is not confirmed, on validation). Of a suite: a folder for each member that has begun.
    """
    from study.export import exporting
    from study.suite import found

    study = found.study_of(root, name, member)
    if not found.is_suite(root, study):
        exporting.export(root, study, to)
        return
    for each in found.begun_members(found.find(root, study)):
        exporting.export(root, each.place.name, to / each.name)


@click.command(
    short_help="Write the trained model of the study NAME for transformers.",
    epilog=example("study model quickstart --to quickstart-model"),
)
@click.argument("name")
@click.argument("trial", type=click.IntRange(min=0), required=False)
@root_option
@click.option("--to", type=click.Path(path_type=Path, file_okay=False), help="Folder to write, new or empty.")
@click.option("--register", is_flag=True, help="Also, or only, as a version in MLflow's model registry.")
@member_option
def model(name: str, trial: int | None, root: Path, to: Path | None, register: bool, member: str | None) -> None:
    """Write the trained model of the study NAME for transformers: of TRIAL, or of the trial that was chosen.

    An ordinary Hugging Face folder, with the whole vocabulary, tokenizer and model card. Which trials' weights are kept
    is the study's models.keep. Of a suite: --member says whose.
    """
    from study.models import models
    from study.suite import found

    models.publish(found.one_study(root, name, member, "model"), root, trial, to, register)


@click.command(epilog=example("study soup quickstart --to quickstart-soup"))
@click.argument("name")
@root_option
@click.option("--to", type=click.Path(path_type=Path, file_okay=False), help="Folder to write, new or empty.")
@member_option
def soup(name: str, root: Path, to: Path | None, member: str | None) -> None:
    """Average the weights that the study NAME kept, and score their mean on validation.

    Those are of its best trials: it is no control (e), for which set models.average before a study begins.
    """
    from study.models import soup as soups
    from study.suite import found

    for line in soups.cook(found.one_study(root, name, member, "soup"), root, to):
        click.echo(line)


@click.command(epilog=example("study rebuild quickstart --optuna --mlflow"))
@click.argument("name")
@root_option
@click.option("--optuna", is_flag=True, help="optuna.db in the study's folder, for optuna-dashboard.")
@click.option("--mlflow", is_flag=True, help="The runs in MLflow.")
@click.option("--uri", help="Another MLflow tracking server than the study's own.")
@member_option
def rebuild(name: str, root: Path, optuna: bool, mlflow: bool, uri: str | None, member: str | None) -> None:
    """Make views of the study NAME anew from its ledger; done again, it changes nothing.

    Of a suite: of each member that has begun.
    """
    from study.suite import found
    from study.views import rebuilding

    study = found.study_of(root, name, member)
    is_suite = found.is_suite(root, study)
    for each in [m.place.name for m in found.begun_members(found.find(root, study))] if is_suite else [study]:
        rebuilding.rebuild(root, each, optuna, mlflow, uri)
