"""What there is to choose from: recipes, tasks, spaces and methods by name, each with a one-line description."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import ascii_lowercase
from typing import Any

from study.question import arms, encoders, rules
from study.question.config import StudyConfig
from trainables.config import TrialConfig
from trainables.errors import UserError, shown, suggestion
from trainables.languages import is_relative
from trainables.loading import apply_point, load_config, parse_override, read_mapping, read_yaml
from trainables.pretraining import XLM_R, words
from trainables.scores import DOSES

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
"""Shipped studies, one YAML file each."""

TEACHER = "perturbation.teacher"
"""Path of a setting that names a folder, as `encoders.NAME` is."""

Rows = list[tuple[str, str]]
"""Names and their descriptions."""


def study_config(source: str, overrides: Sequence[str] = ()) -> StudyConfig:
    """A study by the name of a shipped recipe or the path of a YAML file, with ``a.b=value`` arguments laid over it."""
    path = recipe_path(source)
    if is_suite(path):
        raise UserError(f"CONFIG: must be one study, this is a suite of several (got {source!r})")
    if TrialConfig.model_fields.keys() & (given := read_mapping(path).keys()) and "trial" not in given:
        raise UserError(
            f"{path}: is what one trial is, not a study: run it with python -m trainables {path}, or put all of it "
            "under a key trial"
        )
    config = in_full(load_config(StudyConfig, path, overrides))
    if lost := list(without_effect(config.search.space, overrides)):
        raise UserError(*lost)
    return config


def without_effect(space: Any, overrides: Sequence[str]) -> Iterator[str]:
    """What is wrong with methods given as arguments that no trial would have: `search.space` holds another.

    Baselines have none. A space in a file of its own has been read.
    """
    methods = [f"trial.{path}" for path in rules.BASELINE]
    given = [(path, value) for path, value in map(parse_override, overrides) if path in methods]
    if not given:
        return  # nothing is loaded for what is about something else
    import search_spaces
    from trainables import augmentation, perturbation

    dimensions = () if space is None else search_spaces.load(space).dimensions
    held = {f"trial.{d.path}": d.choices[0] for d in dimensions if d.kind == "fixed" and not d.when}
    known = {*perturbation.METHODS, *augmentation.METHODS, *(way.name for way in perturbation.around())}
    for path, value in given:
        method = held.get(path)
        if method is None or value in (method, "none"):
            continue
        if known.issuperset(str(value).split("+")):  # what is misspelt is said as such, by the checks
            rule = f"search.space holds it at {method} in every trial; with search.space=null, or another, it counts"
            yield f"{path}: {rule} (got {shown(value)})"


def is_suite(path: Path) -> bool:
    """Whether a YAML file holds a suite."""
    data = read_yaml(path)
    return isinstance(data, Mapping) and "suite" in data


def in_full(config: StudyConfig) -> StudyConfig:
    """The same study, complete in itself.

    A search space in a file of its own becomes part of the configuration. The folders of local encoders are named in
    full, since workers have working folders of their own, and so is whose pretraining languages the task's target
    languages are chosen by. Raises `UserError`.
    """
    config = completed(config)
    space = config.search.space
    if isinstance(space, str) and space.endswith((".yaml", ".yml")):
        search = config.search.model_copy(update={"space": read_mapping(Path(space))})
        config = config.model_copy(update={"search": search})
    config = arms.without_missing(config)
    search = config.search.model_copy(
        update={name: _in_full(getattr(config.search, name)) for name in ("space", "levels", "enqueue", "arms")}
    )
    teacher = config.trial.perturbation.teacher
    named = {encoders.NAME: _folder(config.trial.encoder.name_or_path)}
    named |= {} if teacher is None else {TEACHER: _folder(str(teacher))}
    config = config.model_copy(update={"search": search, "trial": apply_point(config.trial, named)})
    if config.trial.task.target_languages == "all":
        return config
    targets = [_whose(config, name) for name in config.trial.task.target_languages]
    task = config.trial.task.model_copy(update={"target_languages": tuple(targets)})
    return config.model_copy(update={"trial": config.trial.model_copy(update={"task": task})})


def _in_full(data: Any) -> Any:
    """Part of a configuration with the folders of its encoders, wherever it names some, in full."""
    if isinstance(data, Mapping):
        return {k: _folders(v) if k in (encoders.NAME, TEACHER) else _in_full(v) for k, v in data.items()}
    return type(data)(map(_in_full, data)) if isinstance(data, list | tuple) else data


def _folders(data: Any) -> Any:
    """A dimension's value, choices or long form with folders in full."""
    if isinstance(data, Mapping):
        return {k: _folders(v) if k in ("choices", "value") else _in_full(v) for k, v in data.items()}
    return type(data)(map(_folders, data)) if isinstance(data, list | tuple) else _folder(data)


def _folder(name: Any) -> Any:
    return str(Path(name).resolve()) if isinstance(name, str) and Path(name).is_dir() else name


def _whose(config: StudyConfig, target: str) -> str:
    """A target language; of a group that depends on the encoder, with the list that it is about, unless it is XLM-R's.

    Raises `UserError` where there is not just one: all trials are scored on the same languages.
    """
    group = target.removeprefix("group:")
    if group == target or not is_relative(group):
        return target
    lists = encoders.pretraining_lists(config)
    if len(lists) > 1 or lists[0] is None:
        raise UserError(
            f"trial.task.target_languages: must say by whose pretraining, as {target}:XLM-R does; the encoders' lists "
            f"are {words(lists)} (got {target!r})"
        )
    return target if lists[0] == XLM_R else f"{target}:{lists[0]}"


def completed(config: StudyConfig) -> StudyConfig:
    """The same study with what its task's definition says in it; facts that do not go with it are left to the checks.

    Raises `UserError` for a task that is unknown, or whose file is missing or says what cannot be: then there is
    nothing to hold the rest of the study against.
    """
    from trainables.tasks.definition import complete, find

    try:
        find(config.trial.task.name)
    except UserError as error:
        raise UserError(*(f"trial.{line}" if line.startswith("task.") else line for line in error.lines)) from None
    try:
        task = complete(config.trial.task)
    except UserError:
        return config
    return config.model_copy(update={"trial": config.trial.model_copy(update={"task": task})})


def enqueued(config: StudyConfig, points: Sequence[str]) -> StudyConfig:
    """The same study with points to try first, each given as ``path=value path=value``."""
    first = tuple(dict(parse_override(part) for part in text.split()) for text in points)
    search = config.search.model_copy(update={"enqueue": (*config.search.enqueue, *first)})
    return config.model_copy(update={"search": search})


def recipe_path(source: str) -> Path:
    """The file that a recipe's name or a path stands for."""
    shipped = {path.stem: path for path in RECIPES.glob("*.yaml")}
    if source in shipped:
        return shipped[source]
    path = Path(source)
    if path.exists() or path.suffix or len(path.parts) > 1:
        return path
    near = suggestion(source, list(shipped)) or f", known: {', '.join(sorted(shipped))}, or the path of a YAML file"
    raise UserError(f"CONFIG: unknown recipe{near} (got {source!r})")


def recipes() -> Rows:
    """Shipped studies and the question each answers."""
    return [(path.stem, str(read_mapping(path).get("question", ""))) for path in sorted(RECIPES.glob("*.yaml"))]


def spaces() -> Rows:
    """Shipped search spaces."""
    import search_spaces

    return [(name, search_spaces.load(name).description) for name in search_spaces.names()]


def space(name: str) -> Rows:
    """The dimensions of one space, and its size."""
    import search_spaces

    found = search_spaces.load(name)
    return [*((d.path, d.describe()) for d in found.dimensions), ("in all", found.size())]


def methods() -> Rows:
    """Perturbations, what stands around one, augmentations, and syntax, with their supervision and dose."""
    from trainables import augmentation, perturbation, syntax

    rows: list[tuple[str, str, str, str]]
    rows = [(m.name, m.description, m.supervision, m.dose) for m in perturbation.METHODS.values()]
    rows += [(w.name, f"{w.description}; alone, or +{w.name}", "none", w.dose) for w in perturbation.around()]
    rows += [(m.name, m.description, m.supervision, m.dose) for m in augmentation.METHODS.values()]
    rows += [(f"syntax.kind={kind}", words, "syntax", "") for kind, words in syntax.KINDS.items()]
    return [(name, f"{words} (supervision: {needed}{_dose(dose)})") for name, words, needed, dose in rows]


def _dose(name: str) -> str:
    """With its unit, where it is not a method's of one's own."""
    unit = f", {DOSES[name]}" if name in DOSES else ""
    return f"; dose: {name}{unit}" if name else ""


def combinations() -> tuple[list[list[str]], Rows]:
    """Which methods go with what may stand around one and with augmentations: rows of cells, titles first, and notes.

    What stands around a method has rows too, of what else may stand there with it. Notes are by what is in the cells.
    """
    from trainables import augmentation, perturbation

    rows: dict[str, list[str]] = {}
    letters: dict[str, str] = {}
    for method, _, why in perturbation.combinations():
        rule = (why or "").partition(" (")[0]  # Without the names, which are the row's and the column's.
        cell = f"– {letters.setdefault(rule, ascii_lowercase[len(letters)])}" if rule else "yes"
        rows.setdefault(method, [method]).append(cell)
    for method, row in rows.items():
        row.append(_augmented(method))
    titles = ["method", *(f"+{way.name}" for way in perturbation.around()), "augmentation"]
    notes = [(letter, rule) for rule, letter in letters.items()]
    notes += [
        ("needed", f"copies are compared with their texts: by augmentation.method {', '.join(augmentation.METHODS)}"),
        ("copies", "needed with perturbation.view.kind copies, else free"),
        ("", "More than two go together where any two of them do; of two methods without a column none do."),
    ]
    return [titles, *rows.values()], notes


def _augmented(method: str) -> str:
    """Whether a method goes with augmentations: it does, but some cannot do without."""
    from trainables.config import PerturbationConfig, ViewConfig
    from trainables.perturbation import view_of

    plain = PerturbationConfig(method=method)
    asked = PerturbationConfig(method=method, view=ViewConfig(kind="copies"))
    return "needed" if view_of(plain) == "copies" else "copies" if view_of(asked) == "copies" else "yes"


def tasks() -> Rows:
    """Tasks of the catalogue, each with what its entry was held against."""
    from trainables.tasks.definition import TaskDefinition, catalogue

    def said(task: TaskDefinition) -> str:
        shared = task.searched(task.codes)
        cost = f"{shared:,} candidates are encoded an evaluation of test, of all languages; " if shared else ""
        return f"{task.description} ({cost}checked: {task.checked})"

    return [(name, said(task)) for name, task in catalogue().items()]
