"""Suites: the file of one, its members as the studies that they are, and whether those were selected alike.

A member is what all share with its own overrides laid over, under the name ``SUITE.MEMBER``, and nothing more: whatever
is known of studies is known of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from study.question import catalogue, literature
from study.question.checks import check
from study.question.config import MemberConfig, StudyConfig, SuiteConfig
from trainables.errors import UserError, shown, suggestion
from trainables.loading import anchored, apply_point, load_config, parse_override, read_mapping, validate

ENDPOINT, METRIC = "protocol.primary_endpoint", "protocol.primary_metric"
SPACE = "search.space"
REFERENCE = "reference"

OF_MEMBER = "suite.members."
"""How the path of an argument begins that is about one member: ``suite.members.NAME.trial.task.data_dir=FOLDER``."""

HOW_IT_RUNS = ("priority", "at_once")
"""What a member has beside the paths of its study."""

NOT_A_MEMBERS = {
    "name": "a member's study is named SUITE.MEMBER",
    "question": "a suite asks one question",
    "scaling": "all members share one cluster: set it beside suite",
    "search.max_hours": "a member waits while others run: limit it by search.trials, search.patience or "
    "search.max_forward_equivalents",
}
"""What a member cannot have of its own, and why."""


def asked(source: str, overrides: Sequence[str] = ()) -> StudyConfig | SuiteConfig:
    """What a recipe's name or the path of a YAML file asks for, with ``a.b=value`` arguments laid over it.

    A file with a key ``suite`` is a suite: relative paths and search spaces in files of their own are resolved in what
    its members override too. Of a suite an argument ``suite.members.NAME.a.b=value`` is about one member alone, over
    what the file has for it. Raises `UserError` with every mistake that can be seen without its members.
    """
    path = catalogue.recipe_path(source)
    if not catalogue.is_suite(path):
        return catalogue.study_config(source, overrides)
    for_one = [text for text in overrides if text.startswith(OF_MEMBER)]
    config = load_config(SuiteConfig, path, [text for text in overrides if text not in for_one])
    members = _laid_over([_resolved(member, path.resolve().parent) for member in config.suite.members], for_one)
    suite = config.suite.model_copy(update={"members": members})
    search = config.search.model_copy(update={"space": _space(config.search.space)})
    if not any(SPACE in member.overrides for member in members):
        of_members = [text.removeprefix(OF_MEMBER).partition(".")[2] for text in for_one]
        for_all = [text for text in overrides if text not in for_one]
        if lost := list(catalogue.without_effect(search.space, for_all + of_members)):
            raise UserError(*lost)
    return config.model_copy(update={"suite": suite, "search": search})


def _resolved(member: MemberConfig, folder: Path) -> MemberConfig:
    values = {path: anchored(StudyConfig, path, value, folder) for path, value in member.overrides.items()}
    if SPACE in values:
        values[SPACE] = _space(values[SPACE])
    return member.model_copy(update={"overrides": values})


def _laid_over(members: list[MemberConfig], arguments: Sequence[str]) -> tuple[MemberConfig, ...]:
    """The members with what arguments say of one of them. Raises `UserError` with every mistake."""
    problems: list[str] = []
    for text in arguments:
        try:
            path, value = parse_override(text)
            name, _, own = path.removeprefix(OF_MEMBER).partition(".")
            names = [member.name for member in members]
            if name not in names:
                near = suggestion(name, names) or f", known: {', '.join(names)}"
                raise UserError(f"{path}: the suite has no such member{near} (got {name!r})")
            if not own:
                raise UserError(f"{path}: name a path of it, as {path}.trial.task.data_dir=… (got {shown(value)})")
            at = names.index(name)
            members[at] = _with_own(members[at], own, value)
        except UserError as error:
            problems += error.lines
    if problems:
        raise UserError(*problems)
    return tuple(members)


def _with_own(member: MemberConfig, path: str, value: Any) -> MemberConfig:
    """A member with one thing of its own; the last that is said of a path counts."""
    if path in HOW_IT_RUNS:
        try:
            return validate(MemberConfig, {**member.model_dump(mode="json"), path: value})
        except UserError as error:
            raise UserError(*(f"{OF_MEMBER}{member.name}.{line}" for line in error.lines)) from None
    before = {key: given for key, given in member.overrides.items() if key != path}
    mine = member.model_copy(update={"overrides": {path: value}})
    return member.model_copy(update={"overrides": {**before, **_resolved(mine, Path.cwd()).overrides}})


def _space(space: Any) -> Any:
    """A search space; what is in a file of its own is read."""
    return read_mapping(Path(space)) if isinstance(space, str) and space.endswith((".yaml", ".yml")) else space


def study_name(suite: str, member: str) -> str:
    """The name of a member's study."""
    return f"{suite}.{member}"


def expand(config: SuiteConfig) -> dict[str, StudyConfig]:
    """The members by name, in their order, each a complete study.

    Raises `UserError` with every mistake of every member, one line each, and where an endpoint over members is asked
    for that are selected by different rules.
    """
    names = [member.name for member in config.suite.members]
    problems = [f"suite.members: name given twice (got {n!r})" for n in dict.fromkeys(names) if names.count(n) > 1]
    metric = config.protocol.primary_metric
    if metric is not None and config.suite.endpoint is not None:
        problems.append(f"protocol.primary_metric: members are pooled by their tasks' own metric (got {metric!r})")
    if config.search.max_hours is not None:
        problems.append(f"search.max_hours: {NOT_A_MEMBERS['search.max_hours']} (got {config.search.max_hours:g})")
    problems += literature.suite_problems(config)
    members, found = {}, dict[str, list[str]]()
    for member in config.suite.members:
        try:
            members[member.name] = _member(config, member)
        except UserError as error:
            found[member.name] = error.lines
    problems += by_member(found, len(set(names)))
    if not problems:
        problems += [*_unequal(config, members), *literature.of_no_member(config, members.values())]
    if problems:
        raise UserError(*problems)
    return members


def about(found: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, list[str]]]:
    """Each line once, and the members that it is about."""
    for line in dict.fromkeys(line for lines in found.values() for line in lines):
        yield line, [name for name, lines in found.items() if line in lines]


def by_member(found: Mapping[str, Sequence[str]], members: int) -> Iterator[str]:
    """Lines with the member that each is about, or none where it is about every one of several `members`."""
    for line, those in about(found):
        yield from [line] if len(those) == members > 1 else (f"{name}: {line}" for name in those)


def chosen(asked: StudyConfig | SuiteConfig, member: str | None) -> StudyConfig | SuiteConfig:
    """What was asked for, or the study of one member of it. Raises `UserError` where it is no suite, or has none."""
    if member is None:
        return asked
    if isinstance(asked, StudyConfig):
        raise UserError(f"--member: {asked.name} is a study and no suite (got {member!r})")
    return one(asked, member)


def one(config: SuiteConfig, member: str) -> StudyConfig:
    """The study of one member. Raises `UserError`, with the near name, where there is none."""
    check_member(config, member)
    how = next(each for each in config.suite.members if each.name == member)
    try:
        return _member(config, how)
    except UserError as error:
        raise UserError(*(f"{member}: {line}" for line in error.lines)) from error


def check_member(config: SuiteConfig, member: str) -> None:
    """Raise `UserError`, with the near name, where a suite has no such member."""
    names = [each.name for each in config.suite.members]
    if member not in names:
        near = suggestion(member, names) or f", known: {', '.join(names)}"
        raise UserError(f"--member: the suite {config.suite.name} has no such member{near} (got {member!r})")


def _member(config: SuiteConfig, member: MemberConfig) -> StudyConfig:
    if found := list(_own_problems(config, member)):
        raise UserError(*found)
    shared = config.model_dump(mode="json", exclude={"suite"})
    base = validate(StudyConfig, {**shared, "name": study_name(config.suite.name, member.name)})
    endpoint = {} if config.suite.endpoint is None else {ENDPOINT: config.suite.endpoint}
    study = catalogue.in_full(apply_point(base, {**endpoint, **member.overrides}))
    if REFERENCE not in member.overrides:
        study = literature.for_member(study)
    try:
        check(study)
    except UserError as error:
        raise UserError(*(_as_written(line, of_suite=bool(endpoint)) for line in error.lines)) from None
    return study


def _as_written(line: str, of_suite: bool) -> str:
    """What is wrong with a member's endpoint, of the key that says it: the suite's, which is laid over its members."""
    written = f"suite.endpoint{line.removeprefix(ENDPOINT)}"
    return written if of_suite and line.startswith(f"{ENDPOINT}:") else line


def _own_problems(config: SuiteConfig, member: MemberConfig) -> Iterator[str]:
    for path, value in member.overrides.items():
        for key, why in NOT_A_MEMBERS.items():
            if path == key or path.startswith(f"{key}."):
                yield f"{path}: {why} (got {shown(value)})"
    if config.suite.endpoint is not None and (own := member.overrides.get(METRIC)) is not None:
        yield f"{METRIC}: members are pooled by their tasks' own metric (got {shown(own)})"
    theirs = member.overrides.get(ENDPOINT)
    if config.suite.endpoint is not None and theirs not in (None, config.suite.endpoint):
        yield f"{ENDPOINT}: the suite's is {config.suite.endpoint}, the same for all members (got {shown(theirs)})"


# Equal footing


def selected_by(config: StudyConfig) -> dict[str, str]:
    """By what a study's trials and checkpoints are chosen: name of the choice -> the rule."""
    objectives = ", ".join(objective.name for objective in config.search.objectives)
    return {
        "selection": config.protocol.selection,
        "objectives": objectives,
        "checkpoint": config.trial.evaluation.checkpoint,
    }


def differences(members: Mapping[str, StudyConfig]) -> dict[str, dict[str, str]]:
    """Where members are selected by different rules: name of the choice -> member -> its rule. Empty on equal footing.

    Which languages are pivots is no difference: tasks have different ones.
    """
    rules = {name: selected_by(config) for name, config in members.items()}
    choices = dict.fromkeys(choice for rule in rules.values() for choice in rule)
    by_choice = {choice: {name: rule[choice] for name, rule in rules.items()} for choice in choices}
    return {choice: rule for choice, rule in by_choice.items() if len(set(rule.values())) > 1}


def footing_words(members: Mapping[str, StudyConfig]) -> str:
    """What differs in how members are selected, in one line; nothing where nothing does."""
    parts = []
    for choice, rules in differences(members).items():
        by_rule: dict[str, list[str]] = {}
        for name, rule in rules.items():
            by_rule.setdefault(rule, []).append(name)
        parts.append(f"{choice} " + ", ".join(f"{rule} ({', '.join(names)})" for rule, names in by_rule.items()))
    return "; ".join(parts)


def pooled_label(config: SuiteConfig, members: Mapping[str, StudyConfig]) -> str:
    """What has to stand beside the endpoint over all members wherever it is shown; nothing on equal footing."""
    words = footing_words(members)
    return f"members are not on equal footing: {words}" if words else ""


def _unequal(config: SuiteConfig, members: Mapping[str, StudyConfig]) -> Iterator[str]:
    words = footing_words(members)
    if words and config.suite.endpoint is not None and config.suite.footing == "equal":
        yield (
            f"suite.endpoint: members are selected by different rules, {words}: one endpoint over them compares unlike "
            f"things; suite.footing=labelled says so beside it (got {config.suite.endpoint!r})"
        )
