"""Commands that remove something."""

from __future__ import annotations

from pathlib import Path

import click

from study.commands.options import example, root_option, take_over_option


@click.command(epilog=example("study rm quickstart --checkpoints-only"))
@click.argument("name")
@root_option
@click.option("--yes", is_flag=True, help="Answer the question; where there is no terminal it is needed.")
@click.option("--checkpoints-only", is_flag=True, help="Free the disk, and keep scores, tables and reports.")
@take_over_option
def rm(name: str, root: Path, yes: bool, checkpoints_only: bool, take_over: bool) -> int:
    """Remove the study NAME, after saying what it holds and asking; of a suite, its members too.

    On the disk and in the store. Its runs in the studies' own MLflow go into MLflow's bin; those on a server stay. A
    removal that was interrupted leaves no study behind; the same command deletes what is left of it.
    """
    from study import removal

    return removal.remove(root, name, yes, checkpoints_only, take_over)


@click.command(
    short_help="Show what the cache folder holds, or remove what nobody has used.",
    epilog=example("study cache --unused 7"),
)
@click.option("--unused", "days", type=click.FloatRange(min=0), metavar="DAYS", help="Remove what is unused so long.")
@click.option("--yes", is_flag=True, help="Answer the question; where there is no terminal it is needed.")
def cache(days: float | None, yes: bool) -> int:
    """Show what the cache folder holds, or with --unused remove what nobody has used for DAYS, after asking.

    Prepared data and encoders of all studies are there, in ~/.cache/robust-transfer-study or STUDY_CACHE, and all of it
    can be built again. What a running process uses stays. By itself, what is unused for 30 days is removed when
    something new is built; STUDY_CACHE_DAYS names another number of days, 0 keeps everything.
    """
    from study import cached

    return cached.show() if days is None else cached.clear(days, yes)
