"""Commands that run trials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from study.commands.options import (
    config_arguments,
    example,
    how,
    max_failures_option,
    member_option,
    root_option,
    run_options,
    take_over_option,
)


@click.command(
    short_help="Run the study or suite in CONFIG, with KEY=VALUE in place of what it says.",
    epilog=example("study run quickstart name=small search.trials=4 trial.training.seed=1"),
)
@config_arguments
@run_options
@max_failures_option
@member_option
@click.option("--dry-run", is_flag=True, help="Say what it would take, trials, hours and disk, and run nothing.")
@click.option("--enqueue", multiple=True, metavar="'KEY=VALUE …'", help="A point to try first; may be repeated.")
@click.option("--from", "learn_from", multiple=True, metavar="NAME", help="A study to learn from; may be repeated.")
def run(
    config: str,
    overrides: Sequence[str],
    member: str | None,
    dry_run: bool,
    enqueue: Sequence[str],
    learn_from: Sequence[str],
    **options: Any,
) -> int:
    """Run the study in CONFIG, a recipe's name or a YAML file; KEY=VALUE sets dotted paths of it.

    A study that is finished already shows its result; one that was interrupted says how to go on. With --from the
    ended trials of another study of the same data and base settings are known to the sampler from the start. A CONFIG
    with a key suite runs its members, which share workers; each is a study of its own, SUITE.MEMBER. Paths of one
    member begin with suite.members.NAME: suite.members.mewslix.trial.task.data_dir=FOLDER.
    """
    from study.question import catalogue, suites
    from study.question.config import SuiteConfig

    asked = suites.chosen(suites.asked(config, overrides), member)
    if isinstance(asked, SuiteConfig) and (enqueue or learn_from):
        raise click.UsageError(
            f"--enqueue and --from are about one study, and {config} is a suite: --member says which"
        )
    if dry_run:
        from study.planning import dry_run as planning

        click.echo(planning.words(asked, options["root"]))
        return 0
    from study import launch, launch_suite

    if isinstance(asked, SuiteConfig):
        return launch_suite.run(asked, how(options))
    return launch.run(catalogue.enqueued(asked, enqueue), how(options), learn_from)


@click.command(epilog=example("study submit quickstart scaling.gpus_per_worker=1 --slurm 'nodes=2 gpus-per-node=4'"))
@config_arguments
@root_option
@take_over_option
@click.option(
    "--slurm",
    multiple=True,
    required=True,
    metavar="'KEY=VALUE …'",
    help="Long options of sbatch, such as nodes, gpus-per-node, time, partition, account; may be repeated.",
)
@click.option("--dry-run", is_flag=True, help="Print the job, as a script for sbatch, and submit nothing.")
def submit(config: str, overrides: Sequence[str], slurm: Sequence[str], dry_run: bool, **options: Any) -> int:
    """Hand the study or suite in CONFIG to Slurm, as one job on any number of nodes.

    The job runs Ray on its nodes for as long as it lasts. Before its time limit the trials write their checkpoints, and
    the job queues itself again, until the study is finished; so it does after a preemption, or where a node is lost.
    What has begun already is gone on with. The root is a folder that all nodes share, or a URI.
    """
    from study import submission
    from study.launch import Options

    return submission.submit(config, overrides, Options(**options), slurm, dry_run)


@click.command(short_help="Go on with the interrupted study or suite NAME.", epilog=example("study resume quickstart"))
@click.argument("name")
@run_options
@take_over_option
@max_failures_option
@member_option
def resume(name: str, member: str | None, **options: Any) -> int:
    """Go on with the interrupted study or suite NAME: finished trials stay, the others continue from checkpoints."""
    from study import launch, launch_suite
    from study.suite import found

    study = found.study_of(options["root"], name, member)
    if found.is_suite(options["root"], study):
        return launch_suite.resume(study, how(options))
    return launch.resume(study, how(options))


@click.command(epilog=example("study retry quickstart 3 5"))
@click.argument("name")
@click.argument("trials", nargs=-1, type=click.IntRange(min=0), metavar="[TRIALS]…")
@run_options
@take_over_option
@max_failures_option
@click.option("--force", is_flag=True, help="Also what failed by its own fault: a bad point, divergence.")
@member_option
def retry(name: str, trials: Sequence[int], force: bool, member: str | None, **options: Any) -> int:
    """Run failed TRIALS of the study NAME again, or all that failed.

    They keep their numbers, points and seeds, and the study goes on after them as with resume. What failed by no fault
    of its own (workers lost, memory exhausted) continues from its last checkpoint, if that is left: the latest three
    have one. What failed by its own fault, with --force, begins anew. Once the test split is open only trials of
    confirm are retried. If interrupted, go on with resume, or with confirm.

    Of a suite: whatever failed of any of its members, one member after the other; TRIALS are those of a --member.
    """
    from study import launch, launch_suite
    from study.suite import found

    study = found.study_of(options["root"], name, member)
    if found.is_suite(options["root"], study):
        if trials:
            study = found.one_study(options["root"], name, member, "retry TRIALS")
        return launch_suite.retry(study, how(options), force)
    return launch.retry(study, how(options), trials, force)


@click.command(
    short_help="Score the best trial of the study NAME and the controls on the test split.",
    epilog=example("study confirm quickstart --runners-up 1"),
)
@click.argument("name")
@run_options
@take_over_option
@member_option
@click.option("--runners-up", type=click.IntRange(min=0), default=0, help="Further configurations, by rank.")
@click.option("--again", is_flag=True, help="Open the test split once more, for what is new.")
def confirm(name: str, member: str | None, runners_up: int, again: bool, **options: Any) -> int:
    """Score the best trial of the study NAME and the controls on the test split, over fresh seeds.

    Of a suite: of each of its members.
    """
    from study import launch, launch_suite
    from study.suite import found

    study = found.study_of(options["root"], name, member)
    if found.is_suite(options["root"], study):
        return launch_suite.confirm(study, how(options), runners_up, again)
    return launch.confirm(study, how(options), runners_up, again)
