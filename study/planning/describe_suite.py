"""A suite in words, before it runs: its members, by what each is selected, what is claimed over all, what it takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from study.planning import dry_run, preflight
from study.planning.describe import titled
from study.question import alignments, literature, suites
from study.question.config import StudyConfig, SuiteConfig
from study.views.values import selection_words


def words(suite: SuiteConfig, root: Path) -> str:
    """The whole description; ``--member`` has the rest of each. Raises `UserError` for a suite that makes no sense."""
    members = suites.expand(suite)
    preflight.check_sense(members)
    claimed = suite.suite.endpoint
    sections = {
        name: [*_member(config), *([] if claimed else [f"claims {config.protocol.endpoint}"])]
        for name, config in members.items()
    }
    sections["endpoint"] = [f"{claimed}, over all members" if claimed else "each member's own; nothing over all"]
    sections["footing"] = [suites.pooled_label(suite, members) or "all members are selected by the same rules"]
    head = [f"suite {suite.suite.name}", *([suite.question] if suite.question else []), ""]
    return "\n".join([*head, *titled(sections), "", dry_run.words(suite, root)])


def _member(config: StudyConfig) -> Iterator[str]:
    task, checkpoint = config.trial.task, config.trial.evaluation.checkpoint
    yield f"study {config.name}: task {task.title}, trained on {task.source_language}"
    yield selection_words(config)
    yield f"checkpoint of a trial: {checkpoint.replace('_', ' ')}"
    if found := dict.fromkeys(f"{t.alignment.objective} ({t.alignment.pairs})" for t in alignments.choices(config)):
        yield f"aligned before fine-tuning: {', '.join(found)}"
    if config.search.left_out:
        yield f"arms left out: {'; '.join(f'{name}, {why}' for name, why in config.search.left_out.items())}"
    yield from (f"published beside it: {told}" for told in literature.words(config))
