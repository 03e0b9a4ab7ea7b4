"""What there is to choose from: recipes, tasks, spaces and methods by name, each with a one-line description."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from study.question.config import StudyConfig
from trainables.errors import UserError, suggestion
from trainables.loading import apply_point, load_config, parse_override, read_mapping

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
"""Shipped studies, one YAML file each."""

Rows = list[tuple[str, str]]
"""Names and their descriptions."""


def study_config(source: str, overrides: Sequence[str] = ()) -> StudyConfig:
    """A study by the name of a shipped recipe or the path of a YAML file, with ``a.b=value`` arguments laid over it.

    A search space in a file of its own becomes part of the configuration, which is then complete, and the folder of a
    local encoder is named in full: workers have working folders of their own.
    """
    config = load_config(StudyConfig, recipe_path(source), overrides)
    space = config.search.space
    if isinstance(space, str) and space.endswith((".yaml", ".yml")):
        search = config.search.model_copy(update={"space": read_mapping(Path(space))})
        config = config.model_copy(update={"search": search})
    if Path(config.trial.encoder.name_or_path).is_dir():
        folder = str(Path(config.trial.encoder.name_or_path).resolve())
        config = config.model_copy(update={"trial": apply_point(config.trial, {"encoder.name_or_path": folder})})
    return config


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
    """Robust training methods: perturbations, what stands around one, augmentations; their supervision and dose."""
    from trainables import augmentation, perturbation

    rows = [(m.name, m.description, m.supervision, m.dose) for m in perturbation.METHODS.values()]
    rows += [(m.name, f"{m.description}; alone, or +{m.name}", "none", m.dose) for m in (perturbation.RDrop,)]
    rows += [(w.name, f"{w.description}; alone, or +{w.name}", "none", w.dose) for w in perturbation.WEIGHTS.values()]
    rows += [(m.name, m.description, m.supervision, "") for m in augmentation.METHODS.values()]
    return [
        (name, f"{words} (supervision: {needed}{f'; dose: {dose}' if dose else ''})")
        for name, words, needed, dose in rows
    ]


def combinations() -> list[list[str]]:
    """Which methods of the inputs go with what may stand around them: rows of cells, titles first."""
    from trainables import perturbation

    cells: dict[str, dict[str, str]] = {}
    for method, around, combine in perturbation.combinations():
        cells.setdefault(method, {})[around] = "yes" if combine else "–"
    ways = list(next(iter(cells.values())))
    return [["method", *(f"+{way}" for way in ways)], *([name, *row.values()] for name, row in cells.items())]


def tasks() -> Rows:
    """Tasks of the catalogue."""
    from trainables.tasks.definition import catalogue

    return [(name, task.description) for name, task in catalogue().items()]
