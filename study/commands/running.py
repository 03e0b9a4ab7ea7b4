"""Commands that run trials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from study.commands.options import config_arguments, example, how, max_failures_option, run_options, take_over_option


@click.command(epilog=example("study run quickstart name=small search.trials=4 trial.training.seed=1"))
@config_arguments
@run_options
@max_failures_option
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
    return launch.run(study, how(options), learn_from)


@click.command(epilog=example("study resume quickstart"))
@click.argument("name")
@run_options
@take_over_option
@max_failures_option
def resume(name: str, **options: Any) -> int:
    """Go on with the interrupted study NAME: finished trials stay, the others continue from their checkpoints."""
    from study import launch

    return launch.resume(name, how(options))


@click.command(epilog=example("study retry quickstart 3 5"))
@click.argument("name")
@click.argument("trials", nargs=-1, type=click.IntRange(min=0), metavar="[TRIALS]…")
@run_options
@take_over_option
@max_failures_option
@click.option("--force", is_flag=True, help="Also what failed by its own fault: a bad point, divergence.")
def retry(name: str, trials: Sequence[int], force: bool, **options: Any) -> int:
    """Run failed TRIALS of the study NAME again, or all that failed.

    They keep their numbers, points and seeds, and the study goes on after them as with resume. What failed by no fault
    of its own (workers lost, memory exhausted) continues from its last checkpoint, if that is left: the latest three
    have one. What failed by its own fault, with --force, begins anew. Once the test split is open only trials of
    confirm are retried. If interrupted, go on with resume, or with confirm.
    """
    from study import launch

    return launch.retry(name, how(options), trials, force)


@click.command(epilog=example("study confirm quickstart --runners-up 1"))
@click.argument("name")
@run_options
@take_over_option
@click.option("--runners-up", type=click.IntRange(min=0), default=0, help="Further configurations, by rank.")
@click.option("--again", is_flag=True, help="Open the test split once more, for what is new.")
def confirm(name: str, runners_up: int, again: bool, **options: Any) -> int:
    """Score the best trial of the study NAME and the controls on the test split, over fresh seeds."""
    from study import launch

    return launch.confirm(name, how(options), runners_up, again)
