"""A study in words, before it runs: what varies, what is held, which rule selects, what it takes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import search_spaces
from study.execution.concurrency import on_a_card
from study.planning import needs, preflight
from study.planning.survey_words import unscored
from study.question import alignments, arms, encoders, literature, objectives
from study.question.config import ProtocolConfig, ScalingConfig, StudyConfig
from study.views.found import planned
from study.views.values import selection_words
from trainables import alignment as aligned
from trainables import machine
from trainables.config import AdapterConfig, Budget, EncoderConfig, TrialConfig
from trainables.languages import group, normalize
from trainables.loading import apply_point, flat
from trainables.materials import weights
from trainables.materials.materials import parsed_of
from trainables.model import catalogue
from trainables.tasks.definition import find
from trainables.tasks.plan import Plan

HELD = {
    "training": {"batch_size", "budget", "learning_rate", "head_learning_rate", "precision", "seed"},
    "perturbation": set[str](),
    "augmentation": set[str](),
    "evaluation": {"every", "examples_per_language"},
}
"""Room of a trial's configuration -> its keys of which other sections tell."""

UNKNOWN = "?"
"""In the place of what is not known before something has run, or is here."""


def words(config: StudyConfig, root: Path) -> str:
    """The whole description; raises `UserError` for a study that makes no sense."""
    tested = preflight.tested(config)
    pace = needs.pace(config, root)
    sections = {
        "data": _data(config, tested),
        "encoder": _encoders(config, tested),
        **({"alignment": found} if (found := list(_alignments(config, tested, pace))) else {}),
        **({"syntax": _syntax(config)} if config.trial.syntax.kind != "none" else {}),
        "training": _training(config),
        **({"held": held} if (held := list(_held(config))) else {}),
        "varies": _varies(config),
        **({"arms": _arms(config)} if config.search.arms else {}),
        "proposals": _proposals(config),
        "objectives": [objectives.words(o) for o in config.search.objectives],
        "selection": [selection_words(config)],
        "confirm": [f"{_seeds(config.protocol)}; primary endpoint {config.protocol.endpoint}"],
        "groups": _groups(config, tested),
        **({"published": published} if (published := literature.words(config)) else {}),
        "workers": _workers(config.scaling),
        "time": _time(config, pace),
        "disk": [needs.disk(config, root)],
    }
    return "\n".join([f"study {config.name}", *([config.question] if config.question else []), "", *titled(sections)])


def _seeds(protocol: ProtocolConfig) -> str:
    if protocol.confirm is None:
        return f"{protocol.confirm_seeds} fresh seeds"
    return f"at most {protocol.most_seeds} fresh seeds, a look after every {protocol.confirm.seeds.look_every}"


def titled(sections: Mapping[str, Iterable[str]]) -> list[str]:
    """Lines with the titles of their sections beside them."""
    width = max(map(len, sections)) + 2
    return [
        f"{(title if i == 0 else ''):<{width}}{line}"
        for title, section in sections.items()
        for i, line in enumerate(section)
    ]


def _groups(config: StudyConfig, languages: Sequence[str]) -> Iterator[str]:
    """Who is in each group that is named or always shown."""
    named = [config.protocol.primary_endpoint, *(o.reduce for o in config.search.objectives), "low_resource_mean"]
    chosen = config.trial.task.target_languages
    named += [name for name in (() if chosen == "all" else chosen) if name.startswith("group:")]
    for name in dict.fromkeys([*named, *(f"group:{declared}" for declared in config.protocol.groups)]):
        if text := objectives.membership(name, languages, config):
            yield text


def _data(config: StudyConfig, languages: Sequence[str]) -> Iterator[str]:
    task, evaluation = config.trial.task, config.trial.evaluation
    targets = "all its other languages" if task.target_languages == "all" else ", ".join(task.target_languages)
    sources = objectives.sources(config)
    plan = Plan.of(task)
    validated = [code for code in plan.sources("validation") if code not in sources]
    if later := [code for code in languages if code not in {*validated, *sources}]:
        targets = ", ".join(validated) or task.source_language
    yield f"task {task.title}: trained on {task.source_language}, evaluated on {targets} (validation only)"
    if later:
        yield f"without validation rows, scored by confirm alone: {', '.join(later)}"
    if lacking := plan.shape.unscored:
        yield unscored(lacking)
    if not sources & set(languages):
        yield f"no test rows in {task.source_language}: confirm scores the targets alone, and has no transfer gap"
    if shared := find(task.name)[0].searched({normalize(task.source_language), *languages}):
        yield (
            f"candidates of the evaluated languages only: an evaluation of test encodes {shared:,}, and what is meant "
            "in other languages"
        )
        if evaluation.examples_per_language is not None:
            yield "  fewer examples have fewer candidates, in proportion"
    size = evaluation.examples_per_language
    when = f"every {evaluation.every} steps and at the end" if evaluation.every else "at the end"
    yield f"{'whole splits' if size is None else f'{size} examples per language'}, {when}"


def _encoders(config: StudyConfig, languages: Sequence[str]) -> Iterator[str]:
    """Each of them: what is held of it, what is published of it, and how it gets here where it is not here yet."""
    for point in encoders.settings(config):
        trial = apply_point(config.trial, point)
        name, revision = encoders.identity(trial)
        yield ", ".join([encoders.label(trial), *_parts(trial.encoder)])
        pretrained = [_pretraining(config, name, languages), catalogue.licence_warning(name)]
        yield from (f"  {words}" for words in pretrained if words)
        if weights.is_hub_id(name) and not weights.is_here(trial.encoder):
            yield f"  not on this machine; one without a network needs {catalogue.fetching(name, revision)}"
            entry = catalogue.find(name)
            if revision is None and entry is not None and entry.revision is not None:
                yield f"  and encoder.revision {entry.revision}, since its main has no safetensors"


def _parts(encoder: EncoderConfig) -> Iterator[str]:
    if encoder.freeze_embeddings:
        yield "embeddings frozen"
    if encoder.freeze_lower_layers:
        yield f"{encoder.freeze_lower_layers} lower layers frozen"
    if encoder.trim_vocabulary:
        yield "vocabulary trimmed"
    yield from _adapter(encoder.adapter)


def _pretraining(config: StudyConfig, name: str, languages: Sequence[str]) -> str:
    """How many of the target languages an encoder was pretrained on, by its published list."""
    if (whose := catalogue.pretraining_of(name)) is None:
        return "which languages it was pretrained on is not known here"
    targets = [code for code in languages if code not in objectives.sources(config)]
    seen, unseen = (group(kind, targets, (whose,)) for kind in ("seen", "unseen"))
    those = f", not on {', '.join(unseen)}" if unseen else ""
    return f"pretrained on {len(seen)} of {len(targets)} target languages{those} ({whose}'s list)"


def _alignments(config: StudyConfig, tested: Sequence[str], pace: needs.Pace | None) -> Iterator[str]:
    """What is done before fine-tuning, once for all trials, and what is known of it: of all that the space offers."""
    read: dict[str, dict[str, int] | None] = {}
    for trial in alignments.choices(config):
        yield from _alignment(trial, tested, pace, read)
    if found := alignments.endless(config):
        yield f"{', '.join(found)} has no list of values: encoders are aligned when a trial asks for one"


def _alignment(
    trial: TrialConfig, tested: Sequence[str], pace: needs.Pace | None, read: dict[str, dict[str, int] | None]
) -> Iterator[str]:
    """`read` are the numbers of pairs that have been said, to which it adds: a package takes seconds to be read."""
    alignment = trial.alignment
    pairs = f"sentence pairs of {alignment.pairs}"
    pairs += "" if alignment.control == "none" else f" (control: {alignment.control})"
    if alignment.objective == "linear_map":
        yield f"linear_map, a rotation for each language from all its {pairs}"
    else:
        steps = f"{alignment.steps} steps of {alignment.batch_size}"
        yield f"{alignment.objective}, {steps} {pairs}, anchor: {alignment.anchor}"
    paid, *per = aligned.cost_words(alignment).split(" ", 1) or [""]
    cost, label = " ".join([paid, "forward-equivalents", *per]), aligned.supervision(alignment)
    yield f"  {cost}, once for all trials that share it; supervision: {label}"
    each = "" if alignment.objective == "linear_map" else f"{aligned.passes(alignment)} a step; "
    count = weights.whole(trial.encoder)
    size = UNKNOWN if count is None else needs.size(count * needs.WEIGHTS)
    known = aligned.known(trial)
    place = alignment.model_dump_json(include={"pairs", "languages", "pairs_per_language"})
    is_said = known is None and place in read
    if known is None and not is_said:
        read[place] = aligned.counted(trial, tested)
    counts = read[place] if known is None else known["pairs"]
    yield f"  {each}about {_aligning(trial, counts, pace)}; {size} in the cache"
    if is_said:
        yield f"  pairs of {alignment.pairs}: as above"
        return
    yield f"  pairs of {alignment.pairs}, licence: {aligned.licence(alignment)}"
    pairs = UNKNOWN if counts is None else ", ".join(f"{code} {number}" for code, number in counts.items())
    if known is None:
        yield f"  {pairs} pairs, those that are evaluated among them"
    else:
        yield f"  it is in the cache: {pairs} pairs, {sum(known['dropped'].values())} left out that are evaluated"


def _aligning(trial: TrialConfig, counts: Mapping[str, int] | None, pace: needs.Pace | None) -> str:
    """How long an alignment takes by the pace of earlier trainings, whose texts have other lengths."""
    alignment = trial.alignment
    is_map = alignment.objective == "linear_map"
    if pace is None or (is_map and counts is None):
        return f"{UNKNOWN} minutes (known once a study of that encoder and task has run)"
    pairs = sum((counts or {}).values()) if is_map else alignment.steps * alignment.batch_size
    return f"{needs.duration(pace.training * aligned.passes(alignment) * pairs)} (by what earlier studies took)"


def _syntax(config: StudyConfig) -> Iterator[str]:
    """What is added to the encoder, and whose trees are known as far as that is prepared."""
    trial = config.trial
    syntax = trial.syntax
    if syntax.kind == "gate":
        yield f"gate: heads that see along paths of {', '.join(str(d or 'any') for d in syntax.deltas)}"
    else:
        yield f"augmented: paths of at most {syntax.delta}, weight of the probes {syntax.probe_weight:g}"
    clean = weights.cost(trial, 3.0)
    added = "not known how many" if clean is None else f"{clean / 3.0 - 1:.1%}"
    yield f"  {added} more forward-equivalents a clean step; supervision: syntax"
    for split, languages in parsed_of(trial).items():
        told = ", ".join(f"{code} {how}" for code, (how, *_) in languages.items())
        yield f"  parsed, {split}: {told}"


def _adapter(adapter: AdapterConfig) -> list[str]:
    if adapter.method in ("none", "bitfit"):
        return [] if adapter.method == "none" else ["biases alone trained (bitfit)"]
    what = f"lora of rank {adapter.rank}, alpha {adapter.alpha:g}," if adapter.method == "lora" else adapter.method
    where = "its family's targets" if adapter.targets == "auto" else ", ".join(adapter.targets)
    return [f"trained by {what} on {where}"]


def _training(config: StudyConfig) -> Iterator[str]:
    training = config.trial.training
    head = f" (head {training.head_learning_rate:g})" if training.head_learning_rate else ""
    yield (
        f"{_budget(training.budget)} of {training.batch_size} examples, "
        f"learning rate {training.learning_rate:g}{head}, {training.precision}, seed {training.seed}"
    )


def _budget(budget: Budget) -> str:
    if budget.steps is not None:
        return f"{budget.steps} steps"
    if budget.epochs is not None:
        return f"{budget.epochs:g} epochs in batches"
    return f"{budget.forward_equivalents:g} forward-equivalents in batches"


def _held(config: StudyConfig) -> Iterator[str]:
    """What is set otherwise than by default, neither said elsewhere nor by the space: room by room."""
    offered = {path for space in arms.spaces(config).values() for path in (d.path for d in space.dimensions)}
    for room, known in HELD.items():
        part = dict(flat(getattr(config.trial, room).model_dump(mode="json", exclude_defaults=True)))
        found = {
            path: value
            for path, value in part.items()
            if path.partition(".")[0] not in known and f"{room}.{path}" not in offered
        }
        if found:
            yield f"{room}: {', '.join(f'{key} {_shown(value)}' for key, value in found.items())}"


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _varies(config: StudyConfig) -> list[str]:
    if config.search.space is None:
        return [f"nothing: method {config.trial.perturbation.method}, once"]
    return search_spaces.load(config.search.space).describe()


def _arms(config: StudyConfig) -> Iterator[str]:
    """What each arm pins, what is left for it to search, and which were left out."""
    for name, space in arms.spaces(config).items():
        pinned = ", ".join(f"{path} {value}" for path, value in config.search.arms[name].items())
        searched = ", ".join(d.path for d in space.searched) or "nothing"
        yield f"{name}: {pinned}; searches {searched}"
    yield from (f"{name}: left out, {why}" for name, why in config.search.left_out.items())
    yield arms.effort(config)


def _proposals(config: StudyConfig) -> Iterator[str]:
    search = config.search
    count = f"{planned(config)} trials" if search.sampler != "grid" else "every combination of levels"
    seeds = f", {search.replicates} seeds per point" if search.replicates > 1 else ""
    how = f"a {search.mode} by {search.sampler}" if search.space is not None else "no search"
    several = len(encoders.settings(config))
    baseline = "an unperturbed baseline for each encoder" if several > 1 else "the unperturbed baseline (trial 0)"
    yield f"{how}: {count}{seeds}, {baseline} among them; pruner {search.pruner}"


def _workers(scaling: ScalingConfig) -> Iterator[str]:
    gpus = f" and {scaling.gpus_per_worker:g} GPU" if scaling.gpus_per_worker else ""
    yield f"{scaling.workers_per_trial} per trial, each with {scaling.cpus_per_worker:g} CPU{gpus}, {scaling.executor}"
    if scaling.concurrent_trials != "auto":
        yield f"at most {scaling.concurrent_trials} trials at a time"
    elif not scaling.gpus_per_worker:
        cpus = machine.cpus()
        yield f"as many trials at a time as fit: {needs.at_once(scaling)} on {cpus} CPU{'s' * (cpus > 1)} here"
    else:
        shared = on_a_card(scaling)
        yield f"as many trials at a time as the cluster's GPUs hold{f', {shared} on each' if shared > 1 else ''}"


def _time(config: StudyConfig, pace: needs.Pace | None) -> Iterator[str]:
    """From what the same encoder and task took in earlier studies."""
    yield needs.length(config.trial)
    seconds = None if pace is None else pace.seconds(config.trial, pace.examples)
    if seconds is None:
        yield "how long that takes is known after the first trial"
        return
    everything = needs.duration(seconds * needs.trials(config) / needs.at_once(config.scaling))
    yield f"about {needs.duration(seconds)} per trial, {everything} for all (by what earlier studies took)"
