"""Noisy copies of evaluated rows that files have, and their clean twins: found, read as the task's own files are, and
held against each other."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np

from trainables.config import TASK_ROWS, NoiseConfig, TrialConfig
from trainables.errors import UserError, shown
from trainables.materials.noised import chosen_rows, key_of
from trainables.materials.parsed import has_syntax
from trainables.scores import Split
from trainables.tasks import task as tasks
from trainables.tasks.base import Row, TaskShape
from trainables.tasks.heads import without_heads
from trainables.tasks.plan import Plan
from trainables.tasks.store import Files

EVALUATED: tuple[Split, ...] = ("validation", "test")

MOST_NAMED = 5
"""Rows with another label that a message names."""

ByLanguage = Mapping[str, Sequence[Row]]


def problems(config: TrialConfig) -> list[str]:
    """Patterns that name no file of any evaluated split, one line each; no file is opened."""
    found = []
    for path, pattern, plan in _plans(config):
        if not any(plan.store(None).languages(part.split) for split in EVALUATED for part in plan.parts(split)):
            looked = [plan.store(None).looked(part.split) for part in plan.parts("test")[:1]]
            found.append(f"{path}: must name files; looked for {''.join(looked)} (got {shown(pattern)})")
    return found


def keys(config: TrialConfig) -> list[str]:
    """Names the content of the files without reading them; equal keys mean equal rows."""
    return [
        plan.store(None).key(part.split) + " heads" * plan.reads_heads
        for _, _, plan in _plans(config)
        for split in EVALUATED
        for part in plan.parts(split)
    ]


def read(config: TrialConfig, shape: TaskShape, split: Split, own: ByLanguage) -> dict[str, Sequence[Row]]:
    """Rows of a split by the names of `noised.key_of`, rate 0 being the clean ones; `own` are the task's.

    The same rows at each rate. Raises `UserError` for malformed rows, and for noisy ones that are not those of the
    clean files one by one: their labels, and what else is no text that may change, are to be equal.
    """
    rows: dict[str, Sequence[Row]] = {}
    for path, noise in _noises(config):
        noisy = {rate: _of_pattern(config, _at(noise, rate), split, own) for rate in noise.rates if rate}
        clean: ByLanguage = own if noise.clean == TASK_ROWS else {}
        if noise.clean not in (TASK_ROWS, None):
            clean = _of_pattern(config, noise.clean, split, own)
        for language in sorted({code for found in noisy.values() for code in found}):
            copies = {rate: found[language] for rate, found in noisy.items() if language in found}
            if noise.clean is not None:
                if language not in clean:
                    rule = f"must have the clean rows of {language}, {split}, whose noisy ones there are"
                    raise UserError(f"{path}.clean: {rule} (got {shown(noise.clean)})")
                for copy in copies.values():
                    _check_parallel(f"{path}.files", f"{split} in {language}", noise, shape, clean[language], copy)
                copies = {0.0: clean[language], **copies}
            for rate, copy in copies.items():
                numbers = chosen_rows(np.arange(len(copy)), noise.examples_per_language, language)
                rows[key_of(noise.label, rate, language)] = [copy[int(number)] for number in numbers]
    return rows


def fingerprint(task: str, noisy: Mapping[str, Mapping[str, Sequence[Row]]]) -> str:
    """The task's own fingerprint, and with it that of the rows of noisy files where there are any."""
    sums = [tasks.fingerprint(rows) for _, rows in sorted(noisy.items()) if rows]
    return blake2b(" ".join([task, *sums]).encode(), digest_size=32).hexdigest() if sums else task


def _check_parallel(
    path: str, where: str, noise: NoiseConfig, shape: TaskShape, clean: Sequence[Row], noisy: Sequence[Row]
) -> None:
    rule = f"must have the {len(clean)} clean rows of {where} in their order, with their labels"
    if noise.clean == TASK_ROWS:
        rule += "; where those are no rows of the task, clean names their files, or is null"
    if len(clean) != len(noisy):
        raise UserError(f"{path}: {rule} (got {len(noisy)} rows)")
    pairs = enumerate(zip(clean, noisy, strict=True), start=1)
    other = [n for n, (one, two) in pairs if _given(one, shape) != _given(two, shape)]
    if other:
        named = ", ".join([*map(str, other[:MOST_NAMED]), *["…"] * (len(other) > MOST_NAMED)])
        raise UserError(f"{path}: {rule} (got another label in {len(other)} of {len(noisy)}: rows {named})")


def _given(row: Row, shape: TaskShape) -> dict[str, object]:
    """What noise leaves alone: all but the texts, and their heads."""
    return {name: value for name, value in without_heads(row).items() if name not in shape.text_columns}


def _of_pattern(config: TrialConfig, pattern: str | None, split: Split, languages: Collection[str]) -> ByLanguage:
    assert pattern is not None
    plan = _plan(config, pattern)
    return plan.read_of(split, plan.own_sources(split, languages))


def _noises(config: TrialConfig) -> Iterator[tuple[str, NoiseConfig]]:
    return (
        (f"evaluation.noise[{i}]", noise) for i, noise in enumerate(config.evaluation.noise) if noise.kind == "files"
    )


def _plans(config: TrialConfig) -> Iterator[tuple[str, str, Plan]]:
    """(path in the configuration, pattern, its plan) of everything that is named."""
    for path, noise in _noises(config):
        patterns = [(f"{path}.files", _at(noise, rate)) for rate in noise.rates if rate]
        if noise.clean is not None and noise.clean != TASK_ROWS:
            patterns.append((f"{path}.clean", noise.clean))
        yield from ((place, pattern, _plan(config, pattern)) for place, pattern in patterns)


def _at(noise: NoiseConfig, rate: float) -> str:
    """The pattern of the files of one rate."""
    assert noise.files is not None, "of its kind"
    return noise.files.replace("{rate}", f"{rate:g}")


def _plan(config: TrialConfig, pattern: str) -> Plan:
    """The task, as if its rows were in other files: with their trees where a trial asks for those."""
    plan = Plan.of(config.task, has_syntax(config))
    store = plan.store(None)
    folder = store.folder if isinstance(store, Files) else Path()
    other = {"files": pattern, "language_column": None, "hub": None, "builtin": None}
    definition = plan.definition.model_copy(update=other)
    return Plan(config.task.model_copy(update={"data_dir": None}), definition, folder, plan.reads_heads)
