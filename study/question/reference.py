"""The reference of every configuration field, written from the models: ``python -m study.question.reference``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from study.question.config import StudyConfig, SuiteConfig
from trainables.fields import Field, fields_of, submodel

HEAD = """# Configuration

Every key of a study's file, by the dotted path that works on the command line as well (`study run CONFIG path=value`;
of a list's entries, `[]` below, by their number where the file has the list: `search.objectives[0].metric=f1`).
In a search space, and in the file of a single trial (`python -m trainables`), paths begin after `trial.`.

Generated from the models in `study/question/config.py` and `trainables/config.py` by `make docs`.
"""

TABLE = """
| key | value | default | meaning |
|---|---|---|---|
"""


def markdown() -> str:
    """The whole document."""
    parts = [HEAD]
    section = None
    of_suites = (field for field in fields_of(SuiteConfig) if field.path.startswith("suite."))
    for field in (*fields_of(StudyConfig), *of_suites):
        here = _section(field.path)
        if here != section:
            section = here
            parts.append(f"\n## {section or 'study'}\n\n{_words_of(section)}\n{TABLE}")
        parts.append(_row(field))
    return "".join(parts)


def written(path: str) -> str:
    """A path as users write it: with the place of an entry in a list, or its key."""
    path = re.sub(r"(search\.objectives|evaluation\.noise|suite\.members|^reference)\.", r"\1[].", path)
    return path.replace("task.facts.", "task.facts.CODE.")


def _section(path: str) -> str:
    """Parts of a study are sections; parts of a trial too."""
    parents = path.split(".")[:-1]
    return ".".join(parents[: 2 if parents[:1] == ["trial"] else 1])


def _words_of(section: str) -> str:
    """The docstring of a section's model."""
    model: type[BaseModel] = SuiteConfig if section == "suite" else StudyConfig
    for name in filter(None, section.split(".")):
        inner = submodel(model.model_fields[name].annotation)
        assert inner is not None, "a section is a model, or a list of one"
        model = inner
    return " ".join((model.__doc__ or "").split())


def _row(field: Field) -> str:
    default = "required" if field.required else f"`{_value(field.default)}`"
    doc = field.doc.replace("|", "\\|")
    return f"| `{written(field.path)}` | {_kind(field)} | {default} | {doc} |\n"


def _kind(field: Field) -> str:
    """What the field takes, in words."""
    words = [f"`{json.dumps(choice)}`".replace('"', "") for choice in field.choices]
    names = {float: "number", int: "whole number", bool: "true or false", str: "text", Path: "path"}
    names |= {tuple: "list", dict: "mapping", list: "list"}
    words += [names[kind] + _range(field, kind) if kind in names else "mapping" for kind in field.types]
    return ", ".join(words) + (" or null" if field.optional else "")


def _range(field: Field, kind: type) -> str:
    if kind not in (float, int):
        return ""
    low = "" if field.low is None else f" {'>' if field.low_open else '≥'} {field.low:.10g}"
    high = "" if field.high is None else f" {'<' if field.high_open else '≤'} {field.high:.10g}"
    return f"{low}{' and' if low and high else ''}{high}"


def _value(value: Any) -> str:
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", exclude_none=True)
    if isinstance(value, tuple):
        value = [v.model_dump(mode="json") if isinstance(v, BaseModel) else v for v in value]
    return json.dumps(value) if not isinstance(value, str) else value or '""'


if __name__ == "__main__":
    print(markdown(), end="")
