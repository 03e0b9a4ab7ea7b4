"""What an export holds, declared once, in ``relations.yaml``: the types of its files, its README and docs/export.md.

``python -m study.export.relations`` prints that page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

import pyarrow as pa
import yaml

Type = Literal["text", "integer", "number", "boolean", "time"]

ARROW: Mapping[Type, pa.DataType] = {
    "text": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "time": pa.timestamp("us", tz="UTC"),
}
"""Types in Parquet; every column may be null where its meaning says so, and only there."""


@dataclass(frozen=True)
class Column:
    """One column: its type, its unit and range, and what it means."""

    name: str
    type: Type
    range: str
    meaning: str


@dataclass(frozen=True)
class Relation:
    """One table: a file ``NAME.parquet``."""

    name: str
    rows: str
    """What there is one row of."""
    key: tuple[str, ...]
    """Columns that are unique together."""
    columns: tuple[Column, ...]
    condition: str = ""
    """When the file is there; empty: always."""
    as_text: bool = False
    """Whether it is there as CSV and as a LaTeX table (booktabs) too."""

    @property
    def schema(self) -> pa.Schema:
        """The file's."""
        return pa.schema([(c.name, ARROW[c.type]) for c in self.columns])


@cache
def relations() -> tuple[Relation, ...]:
    """Every table of an export, in the order of ``relations.yaml``."""
    text = resources.files(__package__).joinpath("relations.yaml").read_text(encoding="utf-8")
    return tuple(_read(name, entry) for name, entry in yaml.safe_load(text).items())


def _read(name: str, entry: Mapping[str, Any]) -> Relation:
    columns = tuple(Column(each, *cells) for each, cells in entry["columns"].items())
    condition, as_text = entry.get("condition", ""), entry.get("text", False)
    return Relation(name, entry["rows"], tuple(entry["key"]), columns, condition, as_text)


JOINS = """
Every table but `languages` has `study`, so that exports of several studies can be laid under one another. `trials`,
`points`, `evaluations`, `scores`, `reductions` and `objectives` join on `study, trial`; `evaluations`, `scores` and
`reductions` on `study, trial, split, step`. The score of a trial is the row with `final`. `languages` joins on
`language`, and `results` to the trials of phase `confirm` on `study, configuration, seed`.
""".strip()

EXAMPLE = """```python
import pandas as pd

names = ("scores", "trials", "languages")
scores, trials, languages = (pd.read_parquet(f"{folder}/{name}.parquet") for name in names)
results = scores[scores.final].merge(trials, on=["study", "trial"]).merge(languages, on="language")
results[results.phase == "run"].groupby(["perturbation_method", "resource_class"]).score.mean()
```"""

UNITS = "Times are in UTC, fractions are no percentages, and null stands for what does not exist."

PAGE = f"""# What an export holds

`study export NAME --to DIR` writes everything that a study has recorded as tidy tables in Parquet, and a `README.md`
that describes them as this page does. `headline` and `endpoint` are there as CSV and for LaTeX (booktabs, utf8) too: of
a confirmed study the differences with their intervals, as its report has them; of any other the best trial against the
baseline on validation, labelled so.

The folder is new, empty, or holds an earlier export of the same study, whose files are then replaced; other files in it
stay. The ledger remains the truth: an export can be deleted and made again. `study.load_study` and `study.load_results`
give two of these views as data frames, without a file.

{JOINS}

{EXAMPLE}

{UNITS}

Generated from `study/export/relations.yaml` by `make docs`.
"""


def page() -> str:
    """The whole document docs/export.md."""
    return "\n".join([PAGE, *(describe(relation) for relation in relations())])


def describe(relation: Relation) -> str:
    """One table of an export, as Markdown."""
    key = ", ".join(f"`{name}`" for name in relation.key)
    head = f"One row per {relation.rows}; unique: {key}."
    if relation.condition:
        head += f" Only where {relation.condition}."
    if relation.as_text:
        head += f" Also as `{relation.name}.csv` and `{relation.name}.tex`."
    lines = ["| column | type | unit and range | meaning |", "|---|---|---|---|", *_lines(relation)]
    return f"## {relation.name}.parquet\n\n{head}\n\n" + "\n".join(lines) + "\n"


def _lines(relation: Relation) -> Iterator[str]:
    for column in relation.columns:
        yield f"| `{column.name}` | {column.type} | {column.range} | {column.meaning} |"


if __name__ == "__main__":
    print(page(), end="")
