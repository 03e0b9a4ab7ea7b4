"""What a confirmation could show, and what it would cost, before either is paid for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap

import numpy as np

from study.analysis import power
from study.analysis.power import Spread
from study.planning import needs, preflight
from study.planning.describe import titled
from study.proposals import ranking
from study.question import objectives
from study.question.config import StudyConfig
from study.views import history
from study.views.found import Study, find
from trainables.conditions import is_measured
from trainables.errors import UserError
from trainables.languages import collapse_variants
from trainables.scores import LanguageScores

EXAMPLES = 200
"""Test sentences of a language where neither the configuration, nor the command, nor a pilot says how many."""

POINTS = (0.5, 1, 2, 3, 5)
"""Differences, in points, whose seeds are listed."""

WIDTH = 100
"""Columns of a line that is broken."""


@dataclass(frozen=True)
class Pilot:
    """What an earlier study says about the spread of differences."""

    spread: Spread
    examples: int
    """Sentences of a language that it scored."""
    words: str
    """Where it comes from."""


def words(config: StudyConfig, root: Path, pilot: str | None = None, examples: int | None = None) -> str:
    """The plan as text. Raises `UserError` for a study that makes no sense, or a pilot that tells nothing.

    `pilot` names a study under `root`; `examples` is the number of test sentences of a language.
    """
    tested = preflight.tested(config)
    known = None if pilot is None else spread_of(find(root, pilot), root, config, tested)
    count, source = _examples(config, known, examples)
    units, note = _languages(config, tested)
    plan = power.plan(config.protocol.most_seeds, units, count, known.spread if known else power.ASSUMED)
    sections = {
        "endpoint": [
            f"{config.protocol.endpoint} on the test split: {units} language{'s' * (units != 1)}{note}",
            f"{count} sentences of each ({source})",
        ],
        "spread": list(_spread(plan.spread, known)),
        "power": [part for line in plan.lines() for part in wrap(line, WIDTH)],
        "seeds": [_seeds_for(plan)],
        "run": [f"{needs.trials(config)} trials, {needs.length(config.trial)}"],
        "confirm": [_confirm(config)],
        "time": list(_time(config, root, count)),
        "disk": [needs.disk(config, root)],
    }
    return "\n".join([f"plan of study {config.name}", "", *titled(sections)])


def spread_of(study: Study, root: Path, config: StudyConfig, tested: tuple[str, ...]) -> Pilot:
    """The spread in a confirmed study, or in a design with replicates, over the languages of the endpoint if it has
    any of them. Raises `UserError` for any other study."""
    wanted = set(objectives.members_of(config.protocol.primary_endpoint, tested, config)) or set(tested)
    found = _confirmed(study, root, wanted) or _replicated(study, wanted)
    if found is None:
        raise UserError(
            f"--pilot: needs a confirmed study (study confirm {study.name}), or a design with search.replicates of 2 "
            f"or more, whose seeds show what varies by seed (got {study.name}, which is neither)"
        )
    return found


def _confirmed(study: Study, root: Path, wanted: set[str]) -> Pilot | None:
    """From the winner and control (a) on the test split."""
    results = history.load_results(study.name, root)
    if results is None:
        return None
    results = results[results["split"] == "test"]
    names = {t.kind: history.configuration_name(t) for t in study.trials if t.phase == "confirm"}
    control = "control a"
    of_both = [set(results.loc[results["configuration"] == n, "seed"]) for n in (names["winner"], control)]
    if len(of_both[0] & of_both[1]) < 2:
        return None
    inside = results["language"].isin(wanted)
    results = results[inside] if inside.any() else results
    counted = results.groupby("language", observed=True)["example"].nunique()
    if counted.min() < 2:
        return None
    seeds = len(of_both[0] & of_both[1])
    text = f"study {study.name}, confirmed: {names['winner']} and {control}, {seeds} seeds, {len(counted)} languages"
    return Pilot(power.from_pilot(results, names["winner"], control), round(counted.mean()), text)


def _replicated(study: Study, wanted: set[str]) -> Pilot | None:
    """From the points of a design and the baseline under the same seeds, on the validation split."""
    differences, examples = [], []
    for ranked in ranking.ranking(study.config, study.record):
        baseline = ranking.baselines(study.config, study.record, ranked.point)
        before, after = _by_seed(study, [t.number for t in baseline]), _by_seed(study, ranked.numbers)
        seeds = sorted(before.keys() & after.keys())
        if len(seeds) < 2:
            continue
        names = sorted(set.intersection(*({*s[k].values} for s in (before, after) for k in seeds)))
        names = [k for k in names if k in wanted] or names
        table = [[after[seed].values[k] - before[seed].values[k] for k in names] for seed in seeds]
        differences.append(np.array(table))
        examples += [after[seed].counts[k] for seed in seeds for k in names]
    if not differences:
        return None
    count = round(sum(examples) / len(examples))
    seeds_words = f"{max(len(d) for d in differences)} seeds, {differences[0].shape[1]} languages"
    text = f"study {study.name}, a design: {len(differences)} points against the baseline, {seeds_words}, on validation"
    return Pilot(power.from_scores(differences, count), count, f"{text}; sentences as assumed")


def _by_seed(study: Study, numbers: Sequence[int]) -> dict[int, LanguageScores]:
    """Training seed -> validation scores of the completed among some trials."""
    found = {}
    for number in numbers:
        trial = study.record.trials[number]
        outcome = trial.result(study.config.trial) if trial.state == "COMPLETE" else None
        if outcome is not None:
            found[ranking.trial_config(study.config, trial).training.seed] = outcome.primary
    return found


def _examples(config: StudyConfig, pilot: Pilot | None, asked: int | None) -> tuple[int, str]:
    if asked is not None:
        return asked, "--examples"
    if (declared := config.protocol.confirm_examples_per_language) is not None:
        return declared, "protocol.confirm_examples_per_language"
    if pilot is not None:
        return pilot.examples, "as in the pilot"
    return EXAMPLES, "assumed, the test split stays closed; --examples N says otherwise"


def _languages(config: StudyConfig, tested: tuple[str, ...]) -> tuple[int, str]:
    """Languages in the primary endpoint, regional variants counted once, and what to know about that number."""
    name = config.protocol.primary_endpoint
    metric = config.protocol.primary_metric
    also = f"; the plan is that of the task's own metric, not of {metric}" if metric else ""
    kind, _, argument = name.partition(":")
    if kind == "group" and is_measured(argument) and config.measured is None:
        return (
            objectives.SMALLEST_GROUP,
            f", the fewest that a group may have: who is in it is measured when the study begins{also}",
        )
    members = objectives.members_of(name, tested, config)
    count = len(collapse_variants(dict.fromkeys(members, 0.0), config.trial.task.own))
    match kind:
        case "worst_language" | "selection_worst" | "transfer_gap":
            return 1, f", a rough guide: taken as the score of one language{also}"
        case "worst_k_mean":
            return min(count, int(argument or objectives.WORST_K)), f", a rough guide: which ones varies{also}"
        case "cvar":
            part = round(count * float(argument or objectives.CVAR_FRACTION))
            return max(1, part), f", a rough guide: which ones varies{also}"
    once = f" of {len(members)}, regional variants counted once" if count < len(members) else ""
    return count, f"{once}{also}"


def _spread(spread: Spread, pilot: Pilot | None) -> Iterator[str]:
    points = [100 * v for v in (spread.seed, spread.language_seed)]
    yield (
        f"standard deviations of a difference: {points[0]:.2f} points over seeds in common to the languages, "
        f"{points[1]:.2f} in each"
    )
    if pilot is None:
        yield "assumed, as on the embedded default; --pilot NAME takes it from a study of yours"
    else:
        yield f"from {pilot.words}"


def _seeds_for(plan: power.Plan) -> str:
    needed = []
    for points in POINTS:
        seeds = power.seeds_needed(points / 100, plan.spread, plan.languages, plan.examples, both=True)
        needed.append(f"{points:g}: {seeds if seeds is not None else 'no number is enough'}")
    seen = f"to see a difference of so many points on {power.NEW} with a chance of {power.POWER:.0%}"
    return f"needed {seen}: {', '.join(needed)}"


def _confirm(config: StudyConfig) -> str:
    names, seeds = needs.configurations(config), config.protocol.most_seeds
    return f"{len(names) * seeds} trials: {', '.join(names)}, each under {seeds} seeds"


def _time(config: StudyConfig, root: Path, examples: int) -> Iterator[str]:
    """Of both phases, and what that occupies."""
    pace = needs.pace(config, root)
    if pace is None:
        yield f"known once a study of this encoder and task has run under {root}, however short"
        return
    evaluation = config.trial.evaluation.model_copy(update={"examples_per_language": examples})
    fresh = config.trial.model_copy(update={"evaluation": evaluation})
    one, confirmed = pace.seconds(config.trial, examples), pace.seconds(fresh, examples, scorings=2)
    if one is None or confirmed is None:
        yield "a budget in epochs is as long as the data; give training.budget.steps to have it estimated"
        return
    run = one * needs.trials(config)
    confirm = confirmed * len(needs.configurations(config)) * config.protocol.most_seeds
    at_once = needs.at_once(config.scaling)
    yield (
        f"run {needs.duration(run / at_once)}, confirm {needs.duration(confirm / at_once)}, "
        f"{at_once} trial{'s' * (at_once > 1)} at a time (by what earlier studies took; base settings)"
    )
    kind, hours = needs.occupied(run + confirm, config.scaling)
    yield f"{hours:.2g} {kind}-hours in all"
