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
