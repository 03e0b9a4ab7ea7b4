"""Mistakes in the input, and how they are worded: one line each, ``path: rule (got value)``.

`UserError`s end a command with exit status 2 and no traceback. Programmer errors are assertions.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
"""What may name a folder, an experiment and a tag alike."""


class UserError(Exception):
    """A mistake in the input: one line per mistake, shown without a traceback."""

    def __init__(self, *lines: str) -> None:
        super().__init__(*lines)
        self.lines: list[str] = list(lines)

    def __str__(self) -> str:
        return "\n".join(self.lines)


class MachineError(UserError):
    """A mistake in what a machine has (a full disk, a folder that is closed): no trial's fault, and any other's too."""


def suggestion(name: str, known: Sequence[str]) -> str:
    """``, did you mean 'epsilon'?`` where a known name is near, else nothing."""
    near = nearest(name, known)
    return f", did you mean {near!r}?" if near is not None else ""


def nearest(name: str, known: Sequence[str], cutoff: float = 0.6) -> str | None:
    """The known name that a name is a slip of, as far as letters tell; None where none is near."""
    near = difflib.get_close_matches(name.lower(), [k.lower() for k in known], n=1, cutoff=cutoff)
    return next((k for k in known if near and k.lower() == near[0]), None)


def shown(value: Any) -> str:
    """A value as a message quotes it: as JSON, cut to a line's length."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


NORWEGIAN = "YAML reads a bare no, yes, on or off as true or false, write 'no' in quotes (Norwegian)"


def broken_rule(error: Mapping[str, Any]) -> str:
    """pydantic's kinds of error in our words."""
    kind, context, value = error["type"], error.get("ctx", {}), error["input"]
    if kind == "string_type" and isinstance(value, bool):
        return NORWEGIAN
    if kind == "literal_error":
        choices = context["expected"]
        near = suggestion(value, re.findall(r"'([^']*)'", choices)) if isinstance(value, str) else ""
        return f"must be {choices}{near}"
    if kind == "value_error":
        return str(context["error"])
    if kind == "string_pattern_mismatch" and context["pattern"] == NAME_PATTERN:
        return "must be letters, digits, '.', '_' or '-', start with a letter or digit and be at most 100"
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


def kind_of(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, list):
        return "a list"
    return "a mapping" if isinstance(value, dict) else shown(value)
