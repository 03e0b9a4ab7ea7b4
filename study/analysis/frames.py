"""The two frames that everything in this package reads, and how to check and reduce them.

**Results frame**: what a confirmation leaves, one row per configuration × seed × language × example.

============== ======== =======================================================================================
study          str      name of the study
configuration  str      name of what was trained, unique within the study (``trial 12``, ``control a`` …)
control        str      ``""`` for proposals of the study, else the letter of the control: ``a`` no perturbation, base
                        settings; ``b`` no perturbation, other knobs tuned; ``c`` no perturbation at equal
                        forward-equivalents; ``d`` random perturbation at equal achieved norm; ``e`` the mean of the
                        weights of all trials, one model which has had no training of its own
seed           int      training seed; equal seeds of two configurations are a pair
language       str      language code
example        str|int  the example within its language. Equal examples of two languages are translations of one
                        another and are resampled together (numbering unrelated examples alike does no harm)
score          float    score of this example, in [0, 1]
weight         float    optional, 1 if absent. The language's score is sum(score x weight) / sum(weight). This makes
                        corpus F1 exact: score 2 TP / (predicted + expected), weight predicted + expected
metric         str      optional, ``score`` if absent. ``accuracy`` is tested by McNemar, others by swapping sentences
split          str      optional, ``test`` if absent; ``validation`` rows choose the strongest control
confidence     float    optional: the probability of the prediction, in [0, 1], which `calibration` reads
prediction     any      optional, not read here
gold           any      optional, not read here
============== ======== =======================================================================================

**Trial frame**: what the ledger says, one row per trial × language × split (and metric).

=================== ===== =====================================================================================
study               str   name of the study
trial               int   number
phase               str   ``run`` or ``confirm``
kind                str   ``baseline``, ``sampled``, ``design``, ``enqueued``, ``control`` …
state               str   ``COMPLETE``, ``PRUNED``, ``FAIL`` or ``RUNNING``; only the first has a final score
configuration       str   as in the results frame; ``trial N`` in phase ``run``
control             str   as in the results frame
seed                int   training seed
language            str   language code
split               str   ``validation`` or ``test``
metric              str   name of the score
score               float in [0, 1]
examples            int   number of examples behind it
step                int   optimiser step of the checkpoint that was scored
forward_equivalents float cost of training up to there, in passes over one batch
train_seconds       float time of training up to there
relative_norm       float achieved RMS norm of the perturbation per token over the reference norm m, averaged over
                          training, or what else the method is dosed by (docs/methods.md); 0 without robust training
*dotted paths*      any   value of the parameter in this trial (``perturbation.epsilon`` …)
=================== ===== =====================================================================================

A trial that has no report yet has no row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from trainables import languages
from trainables.conditions import MEASURED
from trainables.errors import UserError, shown
from trainables.pretraining import Lists

Reduction = Callable[[Mapping[str, float]], float]
"""From language -> score to one number (`study.question.objectives` has those of the protocol)."""

RESULT_COLUMNS = ("study", "configuration", "control", "seed", "language", "example", "score")
"""Required columns of the results frame."""

RESULT_DEFAULTS: dict[str, float | str] = {"weight": 1.0, "metric": "score", "split": "test"}
"""Optional columns of the results frame that are filled in."""

TEXTS = ("study", "configuration", "control", "language", "example", "split", "metric", "prediction", "gold")
"""Columns of the results frame that are text in a text file, whatever they look like."""

MEANINGS = {
    "configuration": "what was trained",
    "language": "the language's code",
    "example": "a name of the sentence within its language: configurations are compared sentence by sentence",
    "score": "of one example, in [0, 1]",
}
"""Required columns in a few words."""

SYNONYMS = {
    "configuration": ("model", "method", "system", "config", "run", "name"),
    "control": ("is_control", "baseline"),
    "seed": ("random_seed", "rng"),
    "language": ("lang", "language_code", "locale", "target_language"),
    "example": ("id", "example_id", "sentence", "sentence_id", "idx", "index", "item", "guid"),
    "score": ("correct", "accuracy", "acc", "value", "f1", "right"),
}
"""What others call the required columns."""

TRIAL_COLUMNS = (
    "study", "trial", "phase", "kind", "state", "configuration", "control", "seed", "language", "split", "metric",
    "score", "examples", "step", "forward_equivalents", "train_seconds", "relative_norm",
)  # fmt: skip
"""Columns of every trial frame, before the dotted ones."""

FACT_COLUMNS = (
    *("language", "name", "family", "script", "resource_class", "pretraining_size", "seen", "variant_of"),
    *MEASURED,
)
"""Columns of the facts frame, one row per language. Unknown: NaN, None or ``""``; `variant_of` no language: ``""``.

`resource_class` in 0 … 5; `seen` whether the encoders were pretrained on it, `pretraining_size` on how much text, both
by the published list of the encoder. `fertility` (tokens a word) and `overlap` (share of tokens that are trained on)
were measured when the study began.
"""


def check_results(frame: pd.DataFrame) -> pd.DataFrame:
    """The results frame with its optional columns filled in; raises `UserError` naming every fault."""
    frame = with_defaults(frame)
    if faults := list(result_faults(frame)):
        raise UserError(*faults)
    return frame.astype({"score": float, "weight": float, "seed": int}).reset_index(drop=True)


def with_defaults(frame: pd.DataFrame) -> pd.DataFrame:
    """The same with the columns of `RESULT_DEFAULTS`, and no control where none is named."""
    frame = frame.copy()
    for column, default in RESULT_DEFAULTS.items():
        if column not in frame.columns:
            frame[column] = default
    if "control" in frame.columns:
        frame["control"] = frame["control"].fillna("").astype(str)
    return frame


def result_faults(frame: pd.DataFrame, given: Iterable[object] | None = None) -> Iterator[str]:
    """Everything that is wrong with a results frame `with_defaults`, a line each; rows are numbered from 1.

    `given`: the columns that it came with.
    """
    there = list(map(str, frame.columns if given is None else given))
    for column in (c for c in RESULT_COLUMNS if c not in frame.columns):
        alike = next((c for c in SYNONYMS.get(column, ()) if c in there), None)
        hint = f", rename {alike!r} to it" if alike else f" ({MEANINGS[column]})" if column in MEANINGS else ""
        yield f"results.{column}: is a required column{hint} (got {', '.join(there)})"
    if frame.empty:
        yield "results: has no rows"
        return
    for column, rule, bad in _broken(frame):
        if bad.any():
            first = int(np.flatnonzero(bad)[0])
            value, more = shown(_plain(frame[column].iloc[first])), int(bad.sum()) - 1
            rest = f", and {more} more row{'s' * (more > 1)}" if more else ""
            yield f"results.{column}: {rule} (got {value} in row {first + 1}{rest})"
    keys = ["study", "configuration", "seed", "language", "example", "split", "metric"]
    twice = frame.duplicated([k for k in keys if k in frame.columns])
    if twice.any() and not set(keys) - set(frame.columns):
        first = int(np.flatnonzero(twice)[0]) + 1
        yield (
            "results: one row per configuration x seed x language x example (got "
            f"{int(twice.sum())} repeated rows, the first is row {first})"
        )
    if len(metrics := sorted(map(str, frame["metric"].unique()))) > 1:
        yield f"results.metric: must be one metric (got {', '.join(metrics)})"


def _broken(frame: pd.DataFrame) -> Iterator[tuple[str, str, pd.Series[bool]]]:
    """Column, the rule of its values, and the rows that break it."""
    for column in ("study", "configuration", "language", "example"):
        if column in frame.columns:
            empty = frame[column].isna() | frame[column].astype(str).str.strip().eq("")
            yield column, "must have a value in every row", empty
    if "seed" in frame.columns:
        seed = pd.to_numeric(frame["seed"], errors="coerce")
        yield "seed", "must be a whole number in every row", ~(seed % 1 == 0)
    if "score" in frame.columns:
        score = pd.to_numeric(frame["score"], errors="coerce").astype(float)
        is_percent = bool(score.max() > 1 and score.between(0, 100).all())
        hint = ", divide percentages by 100" if is_percent else ""
        yield "score", f"must be a fraction in [0, 1]{hint}", ~score.between(0, 1)
    weight = pd.to_numeric(frame["weight"], errors="coerce")
    yield "weight", "must be zero or more", ~(weight >= 0)
    yield "split", "must be test or validation", ~frame["split"].isin(["test", "validation"])
    if "control" in frame.columns:
        yield "control", "must be empty, or one of a, b, c, d, e", ~frame["control"].isin(["", *"abcde"])


def _plain(value: object) -> object:
    """A cell as Python has it; what is missing as None."""
    if pd.isna(value):  # type: ignore[call-overload]
        return None
    return value.item() if isinstance(value, np.generic) else value


def read_results(path: Path) -> pd.DataFrame:
    """A checked results frame out of a Parquet or CSV file, or a folder of Parquet files."""
    return check_results(read_table(path))


def read_table(path: Path) -> pd.DataFrame:
    """Any table out of a Parquet file, a folder of them, or text with a header (``.csv``, ``.tsv``, also ``.gz``).

    Identifiers stay text: "nan" is Southern Min, not a missing value. Raises `UserError`.
    """
    if not path.exists():
        raise UserError(f"{path}: does not exist")
    is_text = bool({".csv", ".tsv", ".txt"} & set(path.suffixes))
    try:
        frame = _read_text(path) if is_text else pd.read_parquet(path)
    except (ValueError, OSError) as error:
        kind = "text with commas or tabs" if is_text else "Parquet file (text must be named .csv or .tsv)"
        raise UserError(f"{path}: is no readable {kind}: {str(error).splitlines()[0]}") from error
    return frame.rename(columns=lambda c: str(c).strip())


def _read_text(path: Path) -> pd.DataFrame:
    head = pd.read_csv(path, nrows=0, sep="\x01", encoding="utf-8-sig", dtype=str)  # the whole line
    separator = max(",\t;", key="".join(map(str, head.columns)).count)
    return pd.read_csv(
        path,
        sep=separator,
        encoding="utf-8-sig",
        dtype=dict.fromkeys(TEXTS, str),
        keep_default_na=False,
        na_values={"score": [""], "seed": [""], "weight": [""]},
        skipinitialspace=True,
    )


def language_scores(results: pd.DataFrame) -> pd.DataFrame:
    """Score of each configuration × seed × language, with columns study, configuration, control, seed, language, split,
    metric, score, examples."""
    keys = ["study", "configuration", "control", "seed", "language", "split", "metric"]
    weighted = results.assign(_product=results["score"] * results["weight"])
    sums = weighted.groupby(keys, sort=True, observed=True).agg(
        product=("_product", "sum"), weight=("weight", "sum"), examples=("score", "size")
    )
    # A sentence without anything to find has no weight; a language with no weight at all has no score.
    sums["score"] = sums["product"] / sums["weight"].where(sums["weight"] > 0)
    return sums.reset_index()[[*keys, "score", "examples"]]


def of_languages(scores: pd.DataFrame) -> pd.DataFrame:
    """A results frame of scores that languages have as a whole, such as a calibration error.

    `scores` has the columns study, configuration, control, seed, language, split, metric and score. Each language is
    its own only example: what then varies are seeds alone.
    """
    columns = [*RESULT_COLUMNS, *RESULT_DEFAULTS]
    return scores.assign(example=scores["language"], weight=1.0)[columns].reset_index(drop=True)


def language_facts(
    codes: Iterable[str],
    lists: Lists = languages.ANY_ENCODER,
    own: languages.Own = languages.NO_OWN,
    measured: languages.Measured | None = None,
) -> pd.DataFrame:
    """The facts frame of some languages, and of those they are variants of.

    `lists` are the pretraining lists of the encoders, `own` facts over those of the table, `measured` a study's.
    """
    wanted = list(dict.fromkeys(codes))
    wanted += [b for b in dict.fromkeys(languages.base(code, own) for code in wanted) if b not in wanted]
    rows = []
    for code in wanted:
        known, size = languages.language(code, own), languages.pretraining_size(code, lists)
        row = {
            "language": code, "name": known.name, "family": known.family or "", "script": known.script or "",
            "resource_class": np.nan if known.resource_class is None else float(known.resource_class),
            "pretraining_size": np.nan if size is None else size, "seen": languages.seen(code, lists),
            "variant_of": known.variant_of or "", **as_numbers(code, measured),
        }  # fmt: skip
        rows.append(row)
    return pd.DataFrame(rows, columns=list(FACT_COLUMNS))


def as_numbers(code: str, measured: languages.Measured | None) -> dict[str, float]:
    """What was measured of a language, NaN where that is not known."""
    found = (measured or {}).get(code, {})
    return {name: np.nan if (value := found.get(name)) is None else value for name in MEASURED}


def seed_table(scores: pd.DataFrame, configuration: str) -> pd.DataFrame:
    """Scores of one configuration, one row per seed, one column per language (`scores`: one split, one metric)."""
    mine = scores[scores["configuration"] == configuration]
    return mine.pivot(index="seed", columns="language", values="score").sort_index()


def reduce_seeds(table: pd.DataFrame, reduction: Reduction) -> pd.Series[float]:
    """`reduction` of each row of a `seed_table`: seed -> value."""
    values = [reduction({str(k): float(v) for k, v in row.items()}) for _, row in table.iterrows()]
    return pd.Series(values, index=table.index, dtype=float)


def collapse_variants(table: pd.DataFrame, facts: pd.DataFrame) -> pd.DataFrame:
    """Columns of regional variants averaged into their language (de and de-CH -> de), so that each counts once.

    `table` has one column per language code; languages without facts stand for themselves.
    """
    variant_of = {str(r.language): str(r.variant_of or r.language) for r in facts.itertuples()}
    canonical = [variant_of.get(str(c), str(c)) for c in table.columns]
    return table.T.groupby(canonical).mean().T
