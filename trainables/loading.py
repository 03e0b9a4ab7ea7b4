"""YAML files and ``a.b=value`` arguments -> any of our configuration models; every error at once.

All errors of an input come at once, each as one line ``path: rule (got value)``, where the path is the dotted one that
files, the command line and search spaces share.

The YAML is the safe subset with three departures from YAML 1.1, each a source of silent mistakes: ``2e-4`` is a number
without a dot, ``010`` and ``1:30`` are no octal and sexagesimal numbers, and dates stay text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from trainables.errors import NORWEGIAN, UserError, broken_rule, kind_of, shown
from trainables.fields import no_such_key, submodel

Model = TypeVar("Model", bound=BaseModel)

MAX_BYTES = 4_000_000
"""Larger files are no configuration."""


def load_config(model: type[Model], source: Path | None, overrides: Sequence[str] = ()) -> Model:
    """A validated `model` from the YAML file `source` and, over it, ``a.b=value`` arguments.

    Relative paths in a file are relative to that file, those in arguments to the working directory. A mapping given as
    an argument (``training.budget={epochs: 1}``) replaces the file's; ``a[0].b`` is a key of a list's first entry.
    Raises `UserError` with every mistake.
    """
    data = {} if source is None else _anchor(model, read_mapping(source), source.resolve().parent)
    problems: list[str] = []
    for text in overrides:
        try:
            path, value = parse_override(text)
            _set(data, path, anchored(model, path, value, Path.cwd()))
        except UserError as error:
            problems += error.lines
    try:
        config = validate(model, data)
    except UserError as error:
        problems += error.lines
    if problems:
        raise UserError(*problems)
    return config


def anchored(model: type[BaseModel], path: str, value: Any, folder: Path) -> Any:
    """A value under a dotted path of `model`, made absolute where it is a relative path: relative to `folder`."""
    name, _, rest = path.partition(".")
    if name not in model.model_fields:
        return value
    if not rest:
        return _anchor_value(model.model_fields[name], value, folder)
    inner = submodel(model.model_fields[name].annotation)
    return value if inner is None else anchored(inner, rest, value, folder)


def apply_point(config: Model, point: Mapping[str, Any]) -> Model:
    """Dotted values laid over a frozen configuration: a new, validated one.

    Raises `UserError` for paths that do not exist and values that their fields refuse.

    >>> from trainables.config import TrialConfig
    >>> apply_point(TrialConfig(), {"perturbation.method": "smart", "perturbation.epsilon": 0.3}).perturbation.epsilon
    0.3
    """
    data = config.model_dump(mode="json")
    for path, value in point.items():
        _set(data, path, value)
    return validate(type(config), data)


def flat(data: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted path and value of everything in nested mappings; an empty one is a value."""
    for name, value in data.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def validate(model: type[Model], data: Mapping[str, Any]) -> Model:
    """`data` (plain JSON types) as a `model`; no type is guessed: text is no number, true is not 1."""
    try:
        return model.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        raise UserError(*_word(model, data, error)) from None


def parse_override(text: str) -> tuple[str, Any]:
    """``"a.b=value"`` -> ``("a.b", value)``, the value read as YAML.

    >>> parse_override("task.target_languages=[sw, yo]")
    ('task.target_languages', ['sw', 'yo'])
    """
    path, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[^\s.=]+(\.[^\s.=]+)*", path):
        raise UserError(f"{path or 'argument'}: an argument looks like path=value (got {shown(text)})")
    try:
        return path, _parse(value, path)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML, {_yaml_problem(error)} (got {shown(value)})") from None


def read_mapping(source: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises `UserError` where there is none, with every duplicate or unnamed key."""
    data = read_yaml(source)
    if not isinstance(data, dict):
        raise UserError(f"{source}: must be a mapping of keys to values (got {kind_of(data)})")
    return data


def read_yaml(source: Path) -> Any:
    """What a YAML file holds, as plain JSON types."""
    try:
        if source.is_file() and source.stat().st_size > MAX_BYTES:
            raise UserError(f"{source}: too large for a configuration (got {source.stat().st_size:,} bytes)")
        text = source.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{source}: no such file") from None
    except IsADirectoryError:
        raise UserError(f"{source}: must be a YAML file (got a folder)") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{source}: must be UTF-8 text (got byte 0x{error.object[error.start]:02x})") from None
    except OSError as error:
        raise UserError(f"{source}: cannot be read, {error.strerror}") from None
    if not text.strip():
        raise UserError(f"{source}: must be a mapping of keys to values (got an empty file)")
    try:
        return _parse(text, str(source))
    except yaml.YAMLError as error:
        raise UserError(f"{source}: not valid YAML, {_yaml_problem(error)}") from None


# YAML


class _Loader(yaml.SafeLoader):
    """Safe YAML in which numbers are those of YAML 1.2 and dates are text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rsplit(":", 1)[-1] in ("bool", "null", "merge")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(0|[1-9][0-9_]*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9][0-9_]*\.[0-9_]*|[0-9][0-9_]*(?=[eE]))([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|nan)$"),
    list("-+.0123456789"),
)


def _parse(text: str, where: str) -> Any:
    """YAML text -> plain JSON types; `UserError` for keys given twice or not text, YAMLError for bad syntax."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        problems = _key_problems(node) if node is not None else []
        if problems:
            raise UserError(*problems)
        return loader.construct_document(node) if node is not None else None
    except (ValueError, RecursionError) as error:  # what PyYAML's constructors let through, such as 1e999999999999
        raise UserError(f"{where}: not valid YAML, {error}") from None
    finally:
        loader.dispose()


def _key_problems(root: yaml.Node) -> list[str]:
    """Duplicate keys, keys that are not text, and anchors inside themselves, over a whole document."""
    problems: list[str] = []
    seen: set[int] = set()

    def visit(node: yaml.Node, path: str, above: tuple[int, ...]) -> None:
        if id(node) in above:
            problems.append(f"{path}: must not contain itself (line {node.start_mark.line + 1})")
        if id(node) in seen:
            return
        seen.add(id(node))
        above = (*above, id(node))
        if isinstance(node, yaml.SequenceNode):
            for i, item in enumerate(node.value):
                visit(item, f"{path}[{i}]", above)
        elif isinstance(node, yaml.MappingNode):
            names: set[str] = set()
            for key, value in node.value:
                name = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
                below = f"{path}.{name}" if path else name
                line = key.start_mark.line + 1
                kind = key.tag.rsplit(":", 1)[-1]
                if kind == "bool":
                    problems.append(f"{below}: {NORWEGIAN} (line {line})")
                elif kind not in ("str", "merge"):
                    problems.append(f"{below}: a key must be text, write it in quotes (line {line})")
                elif name in names and kind == "str":
                    problems.append(f"{below}: key given twice (line {line})")
                names.add(name)
                visit(value, below, above)

    visit(root, "", ())
    return problems


def _yaml_problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    return f"{' '.join(str(problem).split())}" + (f" (line {mark.line + 1}, column {mark.column + 1})" if mark else "")


# Arguments and relative paths


def _set(data: dict[str, Any], path: str, value: Any) -> None:
    here: Any = data
    steps = _STEP.findall(path)
    if _joined(steps) != path or path.startswith("["):
        raise UserError(f"{path}: must be keys between dots, entries of a list as in a.b[0].c (got {shown(value)})")
    for depth, (step, following) in enumerate(zip(steps, [*steps[1:], None], strict=True)):
        name: Any = step
        if step.startswith("["):
            name = int(step[1:-1])
            if name >= len(here):
                whole = _joined(steps[:depth])
                raise UserError(f"{path}: has {len(here)} entries here, give all: {whole}=[…] (got {step})")
        if following is None:
            here[name] = value
            return
        kind = list if following.startswith("[") else dict
        inner = here[name] if isinstance(here, list) else here.get(name)
        if inner is None:  # also an optional part that is switched on by setting one of its keys
            inner = kind()
            if kind is dict:
                here[name] = inner
        if not isinstance(inner, kind):
            whole = _joined(steps[: depth + 1])
            raise UserError(f"{path}: {whole} has no {'entries' if kind is list else 'keys'} (got {shown(inner)})")
        here = inner


_STEP = re.compile(r"\[\d+\]|[^.]+?(?=\[\d+\]|\.|$)")
"""A key of a dotted path, or the number of a list's entry."""


def _joined(steps: Sequence[str]) -> str:
    return ".".join(steps).replace(".[", "[")


def _anchor(model: type[BaseModel], data: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Relative paths in `data` made absolute: fields of type Path, and text that is plainly a relative path."""
    return {
        name: _anchor_value(model.model_fields[name], value, folder) if name in model.model_fields else value
        for name, value in data.items()
    }


def _anchor_value(info: FieldInfo, value: Any, folder: Path) -> Any:
    inner = submodel(info.annotation)
    if inner is not None and isinstance(value, Mapping):
        return _anchor(inner, value, folder)
    names = [name for part in get_args(info.annotation) if get_origin(part) is Literal for name in get_args(part)]
    is_path = Path in (info.annotation, *get_args(info.annotation)) and value not in names
    if isinstance(value, str) and (is_path or (_plainly_relative(value) and not info.metadata)):
        return str(folder / Path(value).expanduser())
    return value


def _plainly_relative(text: str) -> bool:
    """Whether text can be nothing but a path: names of tasks, encoders and spaces are not touched."""
    return (
        "\n" not in text
        and "://" not in text
        and (text.startswith(("./", "../", "~/")) or text.endswith((".yaml", ".yml")))
    )


# Wording


def _word(model: type[BaseModel], data: Mapping[str, Any], error: ValidationError) -> list[str]:
    """One line per mistake. The members of a union complain one by one: they are brought together again."""
    by_path: dict[tuple[str | int, ...], list[str]] = {}
    in_union: set[tuple[str | int, ...]] = set()
    for e in error.errors(include_url=False):
        loc, tags = _clean(data, e)
        in_union |= tags | ({loc} if e["type"] == "too_short" else set())
        rule = _unknown(model, loc) if e["type"] == "extra_forbidden" else broken_rule(e)
        got = "" if e["type"] in ("missing", "value_error") else f" (got {_got(e['input'])})"
        by_path.setdefault(loc, []).append(f"{rule}\0{got}")
    lines = []
    for loc, rules in by_path.items():
        if loc in in_union and any(len(other) > len(loc) and other[: len(loc)] == loc for other in by_path):
            continue  # the entry, or the member of a union, that is really wrong complains deeper down
        texts = list(dict.fromkeys(rule.partition("\0")[0] for rule in rules))
        texts = [t for t in texts if t == NORWEGIAN] or texts
        lines.append(
            f"{_dotted(loc)}: {' or '.join(texts).replace(' or must be ', ' or ')}{rules[0].partition(chr(0))[2]}"
        )
    return lines


def _clean(data: Any, error: Mapping[str, Any]) -> tuple[tuple[str | int, ...], set[tuple[str | int, ...]]]:
    """An error's location without pydantic's names of union members, and the locations at which there is a union."""
    loc: tuple[str | int, ...] = error["loc"]
    unions = set()
    path: list[str | int] = []
    here = data
    for i, part in enumerate(loc):
        if part in here if isinstance(here, Mapping) else isinstance(here, list) and part in range(len(here)):
            here = here[part]
        elif not (i == len(loc) - 1 and error["type"] == "missing"):
            unions.add(tuple(path))
            continue
        path.append(part)
    return tuple(path), unions


def _dotted(loc: Sequence[str | int]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return text.removeprefix(".") or "configuration"


def _unknown(model: type[BaseModel], loc: Sequence[str | int]) -> str:
    here = model
    *parents, name = (part for part in loc if isinstance(part, str))
    for parent in parents:
        inner = submodel(here.model_fields[parent].annotation) if parent in here.model_fields else None
        here = inner or here
    return no_such_key(model, here, parents, name)


def _got(value: Any) -> str:
    return kind_of(value) if isinstance(value, list | dict) and len(shown(value)) > 40 else shown(value)
