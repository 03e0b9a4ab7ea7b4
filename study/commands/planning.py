"""Commands that say what there is to choose from, and what a study would do, before it runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from study.commands.options import config_arguments, example, member_option, root_option


@click.command(
    short_help="Say in words what the study or suite in CONFIG would do.",
    epilog=example("study describe quickstart search.sampler=random"),
)
@config_arguments
@member_option
@root_option
def describe(config: str, overrides: Sequence[str], member: str | None, root: Path) -> None:
    """Say in words what the study in CONFIG would do: what varies, what is held, who selects, what it takes.

    Of a suite: its members, by what each is selected, what is claimed over all; --member has the rest of one, and paths
    of one begin with suite.members.NAME.
    """
    from study.planning import describe, describe_suite
    from study.question import suites
    from study.question.config import SuiteConfig

    asked = suites.chosen(suites.asked(config, overrides), member)
    if isinstance(asked, SuiteConfig):
        click.echo(describe_suite.words(asked, root))
    else:
        click.echo(describe.words(asked, root))


@click.command(
    short_help="Say what a confirmation of the study in CONFIG could show, and what it costs.",
    epilog=example("study plan quickstart protocol.confirm_seeds=12 --pilot quickstart"),
)
@config_arguments
@member_option
@root_option
@click.option("--pilot", metavar="NAME", help="A confirmed study, or a design with replicates, that shows the spread.")
@click.option("--examples", type=click.IntRange(min=2), help="Test sentences of each language.")
def plan(
    config: str, overrides: Sequence[str], member: str | None, root: Path, pilot: str | None, examples: int | None
) -> None:
    """Say what a confirmation of the study in CONFIG could show, and what it costs: before paying for it.

    The detectable difference of the primary endpoint for the planned seeds, languages and sentences, the seeds that
    smaller ones need, the time and the disk. Without a pilot the spread of differences is assumed. Of a suite: of each
    member by itself, nothing of them together.
    """
    from study.planning import power_plan
    from study.question import suites
    from study.question.config import SuiteConfig

    asked = suites.chosen(suites.asked(config, overrides), member)
    studies = suites.expand(asked).values() if isinstance(asked, SuiteConfig) else [asked]
    click.echo("\n\n".join(power_plan.words(study, root, pilot, examples) for study in studies))


@click.command(
    short_help="Look at this machine, and at a cluster, and say how to cure what is lacking.",
    epilog=example("study doctor quickstart --address auto"),
)
@click.argument("config", required=False)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]…")
@root_option
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--address", help="A running Ray cluster, such as auto: its machines are looked at as well.")
def doctor(config: str | None, overrides: Sequence[str], root: Path, as_json: bool, address: str | None) -> int:
    """Look at this machine, and at a cluster: versions, scripts, devices, disks; each line with its cure.

    With a CONFIG, also whether its trials fit into the memory of their devices, whether the cluster has what that study
    needs, and whether its MLflow server answers.
    """
    from study.planning import doctor
    from study.question import catalogue

    study = catalogue.study_config(config, overrides) if config else None
    findings = doctor.examine(root, study, address)
    if address is not None:
        from study.planning import cluster_doctor

        findings += cluster_doctor.examine(address, root, study)
    text, status = doctor.report(findings, as_json)
    click.echo(text)
    return status


@click.command(epilog=example("study recipes"))
def recipes() -> None:
    """List the shipped studies."""
    from study.question import catalogue
    from study.views import layout

    click.echo(layout.listed(catalogue.recipes(), layout.width()))


@click.command(epilog=example("study spaces adversarial"))
@click.argument("name", required=False)
def spaces(name: str | None) -> None:
    """List the shipped search spaces, or the dimensions of one."""
    from study.question import catalogue
    from study.views import layout

    click.echo(layout.listed(catalogue.space(name) if name else catalogue.spaces(), layout.width()))


@click.command(epilog=example("study methods --combine"))
@click.option(
    "--combine", is_flag=True, help="Which of them go together, joined as adversarial+sam, and why others do not."
)
def methods(combine: bool) -> None:
    """List the robust training methods."""
    from study.question import catalogue
    from study.views import layout

    if combine:
        rows, notes = catalogue.combinations()
        click.echo(f"{layout.columns(rows)}\n\n{layout.listed(notes, layout.width())}")
        return
    click.echo(layout.listed(catalogue.methods(), layout.width()))


@click.command(epilog=example("study tasks"))
def tasks() -> None:
    """List the tasks."""
    from study.question import catalogue
    from study.views import layout

    click.echo(layout.listed(catalogue.tasks(), layout.width()))


@click.command(
    short_help="List encoders and what is published of each, or all that is known of one.",
    epilog=example("study encoders xlm-roberta-base --task xnli"),
)
@click.argument("name", required=False)
@click.option("--task", metavar="TASK", help="Say which of its languages were in each encoder's pretraining.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def encoders(name: str | None, task: str | None, as_json: bool) -> None:
    """List encoders that the field uses and what is published of each, or all that is known of one.

    Family, million parameters above the embeddings, languages, licence, a revision with safetensors where main has
    none, whose list its pretraining languages are on, and whether parallel text aligned them. ? is not known here. Any
    other encoder of a known family can be trained as well.
    """
    from study.question import published
    from study.views import layout

    if as_json:
        click.echo(published.document(name, task))
    elif name is not None:
        click.echo(layout.listed(published.details(name, task), layout.width()))
    else:
        table, left_out, _ = layout.fit(published.rows(task), layout.width(), ["revision", "languages", "family"])
        click.echo("\n".join([table, *([f"Left out for want of room: {', '.join(left_out)}."] if left_out else [])]))


@click.command(
    short_help="Say what is understood of the data of TASK: files, languages, labels, lengths.",
    epilog=example("study data xnli task.data_dir=data encoder.name_or_path=xlm-roberta-base"),
)
@click.argument("task")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]…")
@click.option("--rows", type=click.IntRange(min=0), default=3, show_default=True, help="Rows of each language to show.")
@click.option("--json", "as_json", is_flag=True, help="As one JSON document.")
@click.option(
    "--write-yaml",
    type=click.Path(path_type=Path, dir_okay=False),
    help="TASK is a folder: propose a task's file for the data in it, write it here, and look at that.",
)
def data(task: str, overrides: Sequence[str], rows: int, as_json: bool, write_yaml: Path | None) -> None:
    """Say what is understood of the data of TASK: files, languages, labels, lengths, repetitions, some rows.

    TASK is one of the catalogue or the path of a task's YAML file; keys are those of a trial, such as task.data_dir.
    All splits are read, test too; nothing is scored. A malformed row is one line, and ends with exit status 2.
    """
    import json

    from study.planning import proposal, survey, survey_words
    from study.views import layout
    from trainables.config import TrialConfig
    from trainables.loading import load_config
    from trainables.tasks.definition import catalogue

    if write_yaml is None and Path(task).is_dir() and task not in catalogue():
        raise click.UsageError(f"{task} is a folder: --write-yaml FILE.yaml proposes a task's file for it")
    if write_yaml is not None:
        source, left = proposal.write(Path(task), write_yaml)
        task, overrides = str(write_yaml), [f"task.source_language={source}", *overrides]
        if left:
            click.echo(proposal.left_words(left), err=True)
    own = [text.removeprefix("trial.") for text in overrides]  # as a study's file has them
    found = survey.survey(load_config(TrialConfig, None, [f"task.name={json.dumps(task)}", *own]), rows)
    click.echo(survey_words.document(found) if as_json else survey_words.words(found, layout.width()))
