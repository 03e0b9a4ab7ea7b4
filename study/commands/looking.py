"""Commands that show what is there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from study.commands.options import example, json_events_option, member_option, plain_option, root_option

if TYPE_CHECKING:
    from study.record.record import Phase
    from study.views.progress import Mode
    from trainables.scores import Split


@click.command(epilog=example("study ls --root studies"))
@root_option
def ls(root: Path) -> None:
    """List the suites and studies under the root."""
    from study.suite import tables

    click.echo(tables.listing(root))


@click.command(
    short_help="Show the study or suite NAME: its trials, and its best one against the baseline.",
    epilog=example("study show quickstart --json"),
)
@click.argument("name")
@root_option
@click.option("--json", "as_json", is_flag=True, help="Everything, as one JSON document.")
@click.option("--all", "every_trial", is_flag=True, help="All trials and columns, however many and wide.")
@member_option
def show(name: str, root: Path, as_json: bool, every_trial: bool, member: str | None) -> None:
    """Show the study NAME: its trials, and its best one against the baseline, language by language.

    Of a suite: its members, and what is confirmed of each.
    """
    from study.suite import found

    study = found.study_of(root, name, member)
    if found.is_suite(root, study):
        from study.suite import document, tables

        click.echo(document.document(root, study) if as_json else tables.text(root, study))
        return
    from study.views import document as studies
    from study.views import tables as of_study

    click.echo(studies.document(root, study) if as_json else of_study.text(root, study, every_trial))


@click.command(
    epilog=example("study plot quickstart --x perturbation.epsilon --y language:sw --colour perturbation.ascent_steps")
)
@click.argument("name")
@root_option
@click.option("--x", metavar="QUANTITY", help="On the horizontal axis; step: every evaluation, joined by trial.")
@click.option("--y", "ys", metavar="QUANTITY", multiple=True, help="On the vertical axis; given again, another panel.")
@click.option("--colour", "--color", metavar="QUANTITY", help="What the colour of a point tells.")
@click.option("--phase", type=click.Choice(["run", "confirm"]), default="run", show_default=True, help="Whose trials.")
@click.option(
    "--split", type=click.Choice(["validation", "test"]), help="Whose scores; none: validation, of confirm test."
)
@click.option("--log-x", is_flag=True, help="Logarithmic; else where the search space is.")
@click.option("--log-y", is_flag=True, help="The same of the vertical axis.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File, .svg, .png, .pdf or .html; none: SVG in the study's report folder. Its numbers are beside it, .csv.",
)
@member_option
@click.option("--list", "list_them", is_flag=True, help="Show the names of all quantities, and draw nothing.")
def plot(
    name: str,
    root: Path,
    x: str | None,
    ys: Sequence[str],
    colour: str | None,
    phase: Phase,
    split: Split | None,
    log_x: bool,
    log_y: bool,
    out: Path | None,
    member: str | None,
    list_them: bool,
) -> None:
    """Draw any recorded quantity of the study NAME against any other.

    A QUANTITY is a parameter by its path, a score (language:sw, target_mean, group:low_resource, and
    "target_mean of attacked_accuracy" for another metric), a cost, a training signal, or a fact of the trial. Of a
    suite: --member says whose.
    """
    if not list_them and (x is None or not ys):
        raise click.UsageError(f"--x and --y are needed; study plot {name} --list shows what there is to draw")
    from study.plots import plotting
    from study.plots.chart import Request
    from study.suite import found

    name = found.one_study(root, name, member, "plot")
    request = Request(x or "", tuple(ys), colour, phase, split, log_x, log_y)
    if list_them:
        click.echo(plotting.listing(root, name, request))
    else:
        plotting.plot(root, name, request, out)


@click.command(epilog=example("study watch quickstart --interval 5"))
@click.argument("name")
@root_option
@click.option("--interval", type=click.FloatRange(min=0.1), help="Seconds between two looks; none: 1, for a store 10.")
@plain_option
@json_events_option
@member_option
def watch(name: str, root: Path, interval: float | None, mode: Mode | None, member: str | None) -> int:
    """Watch the study or suite NAME, which runs elsewhere, as study run shows it.

    Until it ends; one that is not running is shown once. Only reads: a folder, also a shared one, or a store. Ctrl-C
    ends the watching, not the study. Exits with 0 if the study is finished, or goes on, with 1 if it was interrupted or
    its driver has died.
    """
    from study.suite import found

    study = found.study_of(root, name, member)
    if found.is_suite(root, study):
        from study.suite import watching

        return watching.follow(root, study, mode or "auto", interval)
    from study.views import following

    return following.follow(root, study, mode or "auto", interval)


@click.command(
    short_help="Rank the complete trials of the study NAME by any reduction of scores.",
    epilog=example("study rank quickstart --by worst_language"),
)
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
@member_option
def rank(
    name: str,
    root: Path,
    by: str,
    metric: str | None,
    direction: str | None,
    as_json: bool,
    every_trial: bool,
    member: str | None,
) -> None:
    """Rank the complete trials of the study NAME by any reduction of scores; of a suite, of the member that is named.

    Exploratory: it may read what the study's selection rule may not. Beside it stands the rank under that rule, which
    alone selects. Of each trial the validation scores of its result are read; nothing is stored.
    """
    from study.suite import found
    from study.views import ranks

    explored = ranks.explore(root, found.one_study(root, name, member, "rank"), by, metric, direction)
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
