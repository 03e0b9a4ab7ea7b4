"""YAML files and ``a.b=value`` arguments -> any of our configuration models; every input error is worded here.

All errors of an input come at once, each as one line ``path: rule (got value)``, where the path is the dotted one that
files, the command line and search spaces share.

The YAML is the safe subset with three departures from YAML 1.1, each a source of silent mistakes: ``2e-4`` is a number
without a dot, ``010`` and ``1:30`` are no octal and sexagesimal numbers, and dates stay text.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import annotated_types
import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

Model = TypeVar("Model", bound=BaseModel)

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
"""What may name a folder, an experiment and a tag alike."""

MAX_BYTES = 4_000_000
"""Larger files are no configuration."""


class UserError(Exception):
    """A mistake in the input: one line per mistake, shown without a traceback."""

    def __init__(self, *lines: str) -> None:
        super().__init__(*lines)
        self.lines: list[str] = list(lines)

    def __str__(self) -> str:
        return "\n".join(self.lines)


def load_config(
    model: type[Model], source: Path | None, overrides: Sequence[str] = (), base: Mapping[str, Any] | None = None
) -> Model:
    """A validated `model` from, in rising precedence, `base`, the YAML file `source` and ``a.b=value`` arguments.

    Relative paths in a file are relative to that file, those in arguments to the working directory. A mapping given as
    an argument (``training.budget={epochs: 1}``) replaces the file's. Raises `UserError` with every mistake.
    """
    data: dict[str, Any] = _copy(base or {})
    if source is not None:
        _merge(data, _anchor(model, read_mapping(source), source.resolve().parent))
    problems: list[str] = []
    for text in overrides:
        try:
            path, value = parse_override(text)
            _set(data, path, _anchor_at(model, path, value, Path.cwd()))
        except UserError as error:
            problems += error.lines
    try:
        config = validate(model, data)
    except UserError as error:
        problems += error.lines
    if problems:
        raise UserError(*problems)
    return config


def apply_point(config: Model, point: Mapping[str, Any]) -> Model:
    """Dotted values laid over a frozen configuration: a new, validated one.

    Raises `UserError` for paths that do not exist and values that their fields refuse.
    """
    data = config.model_dump(mode="json")
    for path, value in point.items():
        _set(data, path, value)
    return validate(type(config), data)


def validate(model: type[Model], data: Mapping[str, Any]) -> Model:
    """`data` (plain JSON types) as a `model`; no type is guessed: text is no number, true is not 1."""
    try:
        return model.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        raise UserError(*_word(model, data, error)) from None


def parse_override(text: str) -> tuple[str, Any]:
    """``"a.b=value"`` -> ``("a.b", value)``, the value read as YAML."""
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
        raise UserError(f"{source}: must be a mapping of keys to values (got {_kind(data)})")
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


def suggestion(name: str, known: Sequence[str]) -> str:
    """``, did you mean 'epsilon'?`` where a known name is near, else nothing."""
    near = difflib.get_close_matches(name.lower(), [k.lower() for k in known], n=1, cutoff=0.6)
    original = next((k for k in known if near and k.lower() == near[0]), None)
    return f", did you mean {original!r}?" if original is not None else ""


def shown(value: Any) -> str:
    """A value as a message quotes it: as JSON, cut to a line's length."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


# Fields by dotted path


@dataclass(frozen=True)
class Field:
    """One field of a configuration model, found by its dotted path."""

    path: str
    annotation: Any
    """The full annotation, bounds included, as `pydantic.TypeAdapter` takes it."""
    types: tuple[type, ...]
    """Plain types it accepts, None and literal choices apart: ``(float,)``."""
    choices: tuple[Any, ...]
    """Literal values it accepts."""
    optional: bool
    """Whether it may be None."""
    low: float | None
    """Lower bound of numbers; itself excluded if `low_open`."""
    high: float | None
    """Upper bound of numbers; itself excluded if `high_open`."""
    low_open: bool
    high_open: bool
    default: Any
    required: bool
    doc: str

    def problem(self, value: Any) -> str | None:
        """The rule that `value` breaks, in words, or None."""
        try:
            TypeAdapter(self.annotation).validate_json(json.dumps(value), strict=True)
        except ValidationError as error:
            return " or ".join(dict.fromkeys(_rule(e) for e in error.errors(include_url=False)))
        return None


def field_at(model: type[BaseModel], path: str) -> Field:
    """The field under a dotted path such as ``perturbation.epsilon``. Raises `UserError` with the nearest name."""
    here = model
    *parents, last = path.split(".")
    for depth, name in enumerate(parents):
        inner = _submodel(here.model_fields[name].annotation) if name in here.model_fields else None
        if inner is None:
            raise UserError(f"{path}: {_no_such_key(model, here, parents[:depth], name)}")
        here = inner
    if last not in here.model_fields:
        raise UserError(f"{path}: {_no_such_key(model, here, parents, last)}")
    return _describe(path, here.model_fields[last])


def fields_of(model: type[BaseModel], prefix: str = "", defaults: BaseModel | None = None) -> Iterator[Field]:
    """Every field of a model that is not itself a model, depth first, in the order of declaration.

    `defaults` is the instance that stands where nothing is given, if its values are not those of the model.
    """
    for name, info in model.model_fields.items():
        field = _describe(f"{prefix}{name}", info)
        if defaults is not None:
            field = replace(field, default=getattr(defaults, name))
        inner = _submodel(info.annotation)
        if inner is None or field.optional:
            yield field
        if inner is not None:
            yield from fields_of(inner, f"{prefix}{name}.", field.default if isinstance(field.default, inner) else None)


def _describe(path: str, info: FieldInfo) -> Field:
    bounds: dict[str, float] = {}
    types: dict[type, None] = {}
    choices: list[Any] = []

    def visit(annotation: Any) -> None:
        origin = get_origin(annotation)
        if origin is Annotated:
            inner, *metadata = get_args(annotation)
            note(metadata)
            visit(inner)
        elif origin in (Union, UnionType):
            for member in get_args(annotation):
                visit(member)
        elif origin is Literal:
            choices.extend(get_args(annotation))
        else:
            types[origin or annotation] = None

    def note(metadata: Sequence[Any]) -> None:
        for item in metadata:
            if isinstance(item, FieldInfo):
                note(item.metadata)
            for name in ("ge", "gt", "le", "lt"):
                if isinstance(item, getattr(annotated_types, name.title())):
                    bounds[name] = getattr(item, name)

    note(info.metadata)
    visit(info.annotation)
    full = Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation
    return Field(
        path=path,
        annotation=full,
        types=tuple(t for t in types if t is not NoneType),
        choices=tuple(choices),
        optional=NoneType in types,
        low=bounds.get("gt", bounds.get("ge")),
        high=bounds.get("lt", bounds.get("le")),
        low_open="gt" in bounds,
        high_open="lt" in bounds,
        default=None if info.is_required() else info.get_default(call_default_factory=True),
        required=info.is_required(),
        doc=" ".join((info.description or "").split()),
    )


def _submodel(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation holds, optional or as the entry of a list, if any."""
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return annotation if issubclass(annotation, BaseModel) else None
    return next((inner for a in get_args(annotation) if (inner := _submodel(a)) is not None), None)


def _no_such_key(model: type[BaseModel], here: type[BaseModel], parents: Sequence[str], name: str) -> str:
    """The rule for an unknown key: what was probably meant, among its siblings or deeper below them."""
    if name in here.model_fields:
        return f"{'.'.join((*parents, name))} has no keys"
    below = [".".join((*parents, f.path)) for f in fields_of(here) if f.path.rsplit(".", 1)[-1] == name]
    above = [f.path for f in fields_of(model) if f.path.rsplit(".", 1)[-1] == name]
    near = suggestion(name, list(here.model_fields)) if not below else ""
    if not near and (below or above):
        near = f", did you mean {(below or above)[0]!r}?"
    return f"unknown key {name!r}{near or ', known: ' + ', '.join(here.model_fields)}"


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
                    problems.append(f"{below}: {_NORWEGIAN} (line {line})")
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


# Layers and relative paths


def _copy(data: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _copy(v) if isinstance(v, Mapping) else v for k, v in data.items()}


def _merge(below: dict[str, Any], above: Mapping[str, Any]) -> None:
    """Lay one mapping over another, in place; mappings merge, everything else replaces."""
    for key, value in above.items():
        mine = below.get(key)
        if isinstance(mine, dict) and isinstance(value, Mapping):
            _merge(mine, value)
        else:
            below[key] = value


def _set(data: dict[str, Any], path: str, value: Any) -> None:
    here = data
    *parents, last = path.split(".")
    for depth, name in enumerate(parents):
        inner = here.setdefault(name, {})
        if inner is None:  # an optional part that is switched on by setting one of its keys
            inner = here[name] = {}
        if not isinstance(inner, dict):
            raise UserError(f"{path}: {'.'.join(parents[: depth + 1])} has no keys (got {shown(inner)})")
        here = inner
    here[last] = value


def _anchor(model: type[BaseModel], data: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Relative paths in `data` made absolute: fields of type Path, and text that is plainly a relative path."""
    return {
        name: _anchor_value(model.model_fields[name], value, folder) if name in model.model_fields else value
        for name, value in data.items()
    }


def _anchor_at(model: type[BaseModel], path: str, value: Any, folder: Path) -> Any:
    """As `_anchor`, for one value under a dotted path."""
    name, _, rest = path.partition(".")
    if name not in model.model_fields:
        return value
    if not rest:
        return _anchor_value(model.model_fields[name], value, folder)
    inner = _submodel(model.model_fields[name].annotation)
    return value if inner is None else _anchor_at(inner, rest, value, folder)


def _anchor_value(info: FieldInfo, value: Any, folder: Path) -> Any:
    inner = _submodel(info.annotation)
    if inner is not None and isinstance(value, Mapping):
        return _anchor(inner, value, folder)
    is_path = Path in (info.annotation, *get_args(info.annotation))
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

_NORWEGIAN = "YAML reads a bare no, yes, on or off as true or false, write 'no' in quotes (Norwegian)"


def _word(model: type[BaseModel], data: Mapping[str, Any], error: ValidationError) -> list[str]:
    """One line per mistake. The members of a union complain one by one: they are brought together again."""
    by_path: dict[tuple[str | int, ...], list[str]] = {}
    in_union: set[tuple[str | int, ...]] = set()
    for e in error.errors(include_url=False):
        loc, tags = _clean(data, e)
        in_union |= tags | ({loc} if e["type"] == "too_short" else set())
        rule = _unknown(model, loc) if e["type"] == "extra_forbidden" else _rule(e)
        got = "" if e["type"] in ("missing", "value_error") else f" (got {_got(e['input'])})"
        by_path.setdefault(loc, []).append(f"{rule}\0{got}")
    lines = []
    for loc, rules in by_path.items():
        if loc in in_union and any(len(other) > len(loc) and other[: len(loc)] == loc for other in by_path):
            continue  # the entry, or the member of a union, that is really wrong complains deeper down
        texts = list(dict.fromkeys(rule.partition("\0")[0] for rule in rules))
        texts = [t for t in texts if t == _NORWEGIAN] or texts
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
        inner = _submodel(here.model_fields[parent].annotation) if parent in here.model_fields else None
        here = inner or here
    return _no_such_key(model, here, parents, name)


def _rule(error: Mapping[str, Any]) -> str:
    """pydantic's kinds of error in our words."""
    kind, context, value = error["type"], error.get("ctx", {}), error["input"]
    if kind == "string_type" and isinstance(value, bool):
        return _NORWEGIAN
    if kind == "literal_error":
        choices = context["expected"]
        near = suggestion(value, re.findall(r"'([^']*)'", choices)) if isinstance(value, str) else ""
        return f"must be {choices}{near}"
    if kind == "value_error":
        return str(context["error"])
    if kind == "string_pattern_mismatch" and context["pattern"] == NAME_PATTERN:
        return "must be letters, digits, '.', '_' or '-', and start with a letter or digit"
    template = _RULES.get(kind)
    numbers = {k: f"{v:g}" if isinstance(v, float) else v for k, v in context.items()}
    return template.format(**numbers) if template is not None else str(error["msg"]).lower()


_RULES = {
    "missing": "is required",
    "string_type": "must be text",
    "string_pattern_mismatch": "must match {pattern}",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be finite",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "path_type": "must be a path",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must have at least {min_length} entry",
    "too_long": "must have at most {max_length} entries",
    "model_type": "must be a mapping of keys to values",
    "dict_type": "must be a mapping of keys to values",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "set_type": "must be a list",
}


def _got(value: Any) -> str:
    return _kind(value) if isinstance(value, list | dict) and len(shown(value)) > 40 else shown(value)


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, list):
        return "a list"
    return "a mapping" if isinstance(value, dict) else shown(value)
