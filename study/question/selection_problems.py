"""What a configuration asks for that its selection rule forbids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from study.question import encoders, objectives
from study.question.config import Objective, StudyConfig
from study.question.rules import RESERVED_SEEDS, selectors
from trainables import languages as languages_
from trainables.conditions import is_measured
from trainables.errors import shown

OF_RULE = ("selection_mean", "selection_worst")
"""Reductions of what the selection rule selects by."""

NOT_EVALUATED = "none of its languages is evaluated"


def problems(
    config: StudyConfig, languages: Sequence[str] | None = None, tested: Sequence[str] | None = None
) -> list[str]:
    """What the configuration asks for that its rule forbids: lines ``path: rule (got value)``.

    `languages` are those the task evaluates on validation, the source included, and `tested` those on test, where they
    are known already.
    """
    rule, source = config.protocol.selection, config.trial.task.source_language
    if rule == "source_validation" and languages is not None and not objectives.sources(config) & set(languages):
        return [
            "protocol.selection: source_validation selects by the source language, in which the task has no validation "
            f"rows, only in targets (got {source!r})"
        ]
    return [
        *_pivot_problems(config, languages),
        *_rule_problems(config, languages),
        *_group_problems(config, languages, tested),
        *_seed_problems(config),
        *_checkpoint_problems(config),
        *_objective_problems(config, languages),
        *_endpoint_problems(config, tested),
    ]


def _pivot_problems(config: StudyConfig, languages: Sequence[str] | None) -> Iterator[str]:
    rule, pivots = config.protocol.selection, config.protocol.pivots
    if rule == "pivot_validation" and not set(pivots) - objectives.sources(config):
        yield "protocol.pivots: pivot_validation needs at least one language beside the source (got none)"
    if rule != "pivot_validation" and pivots:
        given = f"{', '.join(pivots)} under {rule}"
        yield f"protocol.pivots: only pivot_validation has pivots, protocol.pivots=[] leaves them out (got {given})"
    elif outside := _outside(pivots, languages):
        some = config.trial.task.target_languages != "all"
        among = "among trial.task.target_languages, " if some else "languages "
        near = _near(outside, languages or (), config)
        yield f"protocol.pivots: must be {among}with a validation split{near} (got {_listed(outside)})"


def _rule_problems(config: StudyConfig, languages: Sequence[str] | None) -> Iterator[str]:
    """A rule that has nothing to select by, where an objective asks for that; of pivots it is said of them."""
    asked = any(objective.reduce in OF_RULE for objective in config.search.objectives)
    lacks = languages is not None and not set(languages) - objectives.sources(config)
    if config.protocol.selection == "target_validation" and asked and lacks:
        given = config.trial.task.target_languages
        yield (
            "protocol.selection: target_validation selects by target languages, of which none has validation rows "
            f"(got trial.task.target_languages {shown(given)})"
        )


def _outside(names: Iterable[str], languages: Sequence[str] | None) -> list[str]:
    """Those of some languages that are not among others, in either spelling; none where these are not known."""
    return [] if languages is None else [k for k in names if not objectives.spellings([k]) & set(languages)]


def _near(names: Iterable[str], evaluated: Sequence[str], config: StudyConfig) -> str:
    return languages_.suggested(names, evaluated, config.trial.task.own)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


def _group_problems(
    config: StudyConfig, languages: Sequence[str] | None, tested: Sequence[str] | None
) -> Iterator[str]:
    if languages is None or tested is None:
        return
    for name, members in config.protocol.groups.items():
        evaluated = (*languages, *tested)
        if outside := _outside(members, evaluated):
            near = _near(outside, evaluated, config)
            yield f"protocol.groups.{name}: must be languages the task evaluates{near} (got {_listed(outside)})"


def _seed_problems(config: StudyConfig) -> Iterator[str]:
    seed = config.trial.training.seed
    if seed >= RESERVED_SEEDS:
        yield f"trial.training.seed: must be below {RESERVED_SEEDS}, the rest is for confirm (got {seed})"
    if (confirm := config.protocol.confirm) is None:
        return
    if confirm.seeds.look_every > confirm.seeds.most:
        yield (
            "protocol.confirm.seeds.look_every: must be at most protocol.confirm.seeds.most, "
            f"{confirm.seeds.most} (got {confirm.seeds.look_every})"
        )
    usual = type(config.protocol).model_fields["confirm_seeds"].default
    if config.protocol.confirm_seeds != usual:
        given = config.protocol.confirm_seeds
        yield f"protocol.confirm_seeds: protocol.confirm says how many there are, leave it at {usual} (got {given})"


def _checkpoint_problems(config: StudyConfig) -> Iterator[str]:
    evaluation = config.trial.evaluation
    if evaluation.average_last is not None and evaluation.checkpoint != "average":
        yield (
            "trial.evaluation.average_last: is of trial.evaluation.checkpoint average "
            f"(got {evaluation.average_last}, checkpoint {evaluation.checkpoint})"
        )
    if evaluation.checkpoint == "last":
        return
    if evaluation.every is None:
        yield f"trial.evaluation.checkpoint: {evaluation.checkpoint} needs trial.evaluation.every (got none)"
    if evaluation.checkpoint == "average":
        return
    few = evaluation.intermediate_examples_per_language
    if few is not None and few != evaluation.examples_per_language:
        yield (
            "trial.evaluation.checkpoint: best_source_validation compares evaluations of equal size"
            f" (got intermediate_examples_per_language {few}, examples_per_language {evaluation.examples_per_language})"
        )


def _objective_problems(config: StudyConfig, languages: Sequence[str] | None) -> Iterator[str]:
    for i, objective in enumerate(config.search.objectives):
        path = f"search.objectives[{i}].reduce"
        problem = _reduction_problem(objective.reduce, config, languages) or _label_problem(objective.reduce, config)
        if problem and not (problem == NOT_EVALUATED and objective.reduce in OF_RULE):  # said of rule and pivots
            yield f"{path}: {problem} (got {objective.reduce!r})"
        is_lower_better = objectives.is_lower_better(objective.reduce, objective.metric)
        if is_lower_better and objective.direction == "maximize":
            yield f"search.objectives[{i}].direction: {objective.name} is to be minimized (got 'maximize')"
        if objective.reduce == "transfer_gap" and not is_lower_better and objective.direction == "minimize":
            yield f"search.objectives[{i}].direction: {objective.name} is to be maximized (got 'minimize')"
    optimised = config.search.optimised
    if not optimised:
        yield "search.objectives: at least one must have no threshold, to be optimised (got constraints alone)"
    scored = [o for o in config.search.objectives if _is_floor(o)]
    if optimised and not scored and any(o.reduce == "transfer_gap" for o in optimised):
        yield (
            "search.objectives: transfer_gap needs a floor on the scores beside it, such as"
            " {reduce: source, threshold: 0.5}: a broken model has no gap (got it alone)"
        )


def _is_floor(objective: Objective) -> bool:
    """Whether a broken model does badly by it: by a score, in its own direction, and by no gap or cost."""
    is_lower_better = objectives.is_lower_better(objective.reduce, objective.metric)
    is_score = objective.reduce != "transfer_gap" and not objective.reduce.startswith("cost:")
    return is_score and is_lower_better == (objective.direction == "minimize")


def _endpoint_problems(config: StudyConfig, tested: Sequence[str] | None) -> Iterator[str]:
    name = config.protocol.primary_endpoint
    problem = _reduction_problem(name, config, tested)
    if objectives.needs_source(name) and tested is not None and not objectives.sources(config) & set(tested):
        problem = f"needs test rows in the source language, {config.trial.task.source_language}, which has none"
    if name.startswith("cost:"):
        problem = "must be a reduction of scores"
    if problem:
        yield f"protocol.primary_endpoint: {problem} (got {name!r})"


def _reduction_problem(name: str, config: StudyConfig, languages: Sequence[str] | None) -> str | None:
    if problem := objectives.name_problem(name, config):
        return problem
    kind, _, argument = name.partition(":")
    single = kind in ("source", "language", "cost", "worst_language", *OF_RULE)
    declared = config.protocol.groups.get(argument) if kind == "group" else None
    if kind == "group" and declared is None and languages_.is_relative(argument):
        lists = encoders.pretraining_lists(config)
        if None in lists:
            return f"which languages the encoder was pretrained on is not known: name a list, as in {name}:XLM-R"
    if single and (kind in ("source", "cost") or languages is None):
        return None
    if (
        kind == "group"
        and declared is None
        and is_measured(argument)
        and not set(languages or ()) <= set(config.measured or ())
    ):
        return None  # once it is known of all of them
    if languages is None:
        if declared is None:
            return None
        members: Sequence[str] = objectives.members_of(name, sorted(objectives.spellings(declared)), config)
    else:
        members = objectives.members_of(name, languages, config)
    if not members:
        return NOT_EVALUATED + (_near([argument], languages or (), config) if kind == "language" else "")
    units = languages_.collapse_variants(dict.fromkeys(members, 0.0), config.trial.task.own)
    if not single and len(units) < objectives.SMALLEST_GROUP:
        return f"the mean of a group needs {objectives.SMALLEST_GROUP} languages, it has {', '.join(sorted(units))}"
    return None


def _label_problem(name: str, config: StudyConfig) -> str | None:
    """Why the rule forbids to select by a reduction, or None."""
    allowed = selectors(config)
    kind, _, argument = name.partition(":")
    if allowed is None or kind in ("source", "cost", *OF_RULE):
        return None
    rule = config.protocol.selection
    if kind == "language":
        outside: Iterable[str] = {argument} - allowed
    elif kind == "group" and argument in config.protocol.groups:
        outside = set(config.protocol.groups[argument]) - allowed
    else:
        return f"{rule} does not allow to select by labels of all target languages; selection_mean is allowed"
    return f"{rule} does not allow to select by labels of {', '.join(sorted(outside))}" if outside else None
