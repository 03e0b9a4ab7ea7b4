"""The fields of our configuration models, found by dotted path."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from trainables.errors import UserError, broken_rule, suggestion


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
            return " or ".join(dict.fromkeys(broken_rule(e) for e in error.errors(include_url=False)))
        return None


def field_at(model: type[BaseModel], path: str) -> Field:
    """The field under a dotted path such as ``perturbation.epsilon``. Raises `UserError` with the nearest name."""
    here = model
    *parents, last = path.split(".")
    for depth, name in enumerate(parents):
        inner = submodel(here.model_fields[name].annotation) if name in here.model_fields else None
        if inner is None:
            raise UserError(f"{path}: {no_such_key(model, here, parents[:depth], name)}")
        here = inner
    if last not in here.model_fields:
        raise UserError(f"{path}: {no_such_key(model, here, parents, last)}")
    return _describe(path, here.model_fields[last])


def fields_of(model: type[BaseModel], prefix: str = "", defaults: BaseModel | None = None) -> Iterator[Field]:
    """Every field of a model that is not itself a model, depth first, in the order of declaration.

    `defaults` is the instance that stands where nothing is given, if its values are not those of the model.
    """
    for name, info in model.model_fields.items():
        field = _describe(f"{prefix}{name}", info)
        if defaults is not None:
            field = replace(field, default=getattr(defaults, name))
        inner = submodel(info.annotation)
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


def submodel(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation holds, optional or as the entry of a list, if any."""
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return annotation if issubclass(annotation, BaseModel) else None
    return next((inner for a in get_args(annotation) if (inner := submodel(a)) is not None), None)


def no_such_key(model: type[BaseModel], here: type[BaseModel], parents: Sequence[str], name: str) -> str:
    """The rule for an unknown key: what was probably meant, among its siblings or deeper below them."""
    if name in here.model_fields:
        return f"{'.'.join((*parents, name))} has no keys"
    below = [".".join((*parents, f.path)) for f in fields_of(here) if f.path.rsplit(".", 1)[-1] == name]
    above = [f.path for f in fields_of(model) if f.path.rsplit(".", 1)[-1] == name]
    near = suggestion(name, list(here.model_fields)) if not below else ""
    if not near and (below or above):
        near = f", did you mean {(below or above)[0]!r}?"
    return f"unknown key {name!r}{near or ', known: ' + ', '.join(here.model_fields)}"
