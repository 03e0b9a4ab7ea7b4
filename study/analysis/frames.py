"""The two frames that everything in this package reads, and how to check and reduce them.

**Results frame**: what a confirmation leaves, one row per configuration × seed × language × example.

============== ======== =======================================================================================
study          str      name of the study
configuration  str      name of what was trained, unique within the study (``trial 12``, ``control a`` …)
control        str      ``""`` for proposals of the study, else the letter of the control: ``a`` no perturbation, base
                        settings; ``b`` no perturbation, other knobs tuned; ``c`` no perturbation at equal
                        forward-equivalents; ``d`` random perturbation at equal achieved norm
seed           int      training seed; equal seeds of two configurations are a pair
language       str      language code
example        str|int  the example within its language. Equal examples of two languages are translations of one
                        another and are resampled together (numbering unrelated examples alike does no harm)
score          float    score of this example, in [0, 1]
weight         float    optional, 1 if absent. The language's score is sum(score x weight) / sum(weight). This makes
                        corpus F1 exact: score 2 TP / (predicted + expected), weight predicted + expected
metric         str      optional, ``score`` if absent. ``accuracy`` is tested by McNemar, others by swapping sentences
split          str      optional, ``test`` if absent; ``validation`` rows choose the strongest control
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
                          training; 0 without perturbation
*dotted paths*      any   value of the parameter in this trial (``perturbation.epsilon`` …)
=================== ===== =====================================================================================

A trial that has no report yet has no row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from trainables import languages
from trainables.errors import UserError

Reduction = Callable[[Mapping[str, float]], float]
"""From language -> score to one number (`study.question.objectives` has those of the protocol)."""

RESULT_COLUMNS = ("study", "configuration", "control", "seed", "language", "example", "score")
"""Required columns of the results frame."""

RESULT_DEFAULTS: dict[str, float | str] = {"weight": 1.0, "metric": "score", "split": "test"}
"""Optional columns of the results frame that are filled in."""

TRIAL_COLUMNS = (
    "study", "trial", "phase", "kind", "state", "configuration", "control", "seed", "language", "split", "metric",
    "score", "examples", "step", "forward_equivalents", "train_seconds", "relative_norm",
)  # fmt: skip
"""Columns of every trial frame, before the dotted ones."""

FACT_COLUMNS = ("language", "name", "family", "script", "resource_class", "pretraining_size", "seen", "variant_of")
"""Columns of the facts frame, one row per language. Unknown: NaN, None or ``""``; `variant_of` no language: ``""``.

`resource_class` in 0 … 5; `pretraining_size` in GiB of the encoder's pretraining text (XLM-R's), `seen` whether there
was any.
"""


def check_results(frame: pd.DataFrame) -> pd.DataFrame:
    """The results frame with its optional columns filled in; raises `UserError` naming every fault."""
    missing = [c for c in RESULT_COLUMNS if c not in frame.columns]
    if missing:
        raise UserError(
            *(f"results.{c}: is a required column (got {', '.join(map(str, frame.columns))})" for c in missing)
        )
    frame = frame.copy()
    for column, default in RESULT_DEFAULTS.items():
        if column not in frame.columns:
            frame[column] = default
    frame["control"] = frame["control"].fillna("").astype(str)
    faults = list(_result_faults(frame))
    if faults:
        raise UserError(*faults)
    return frame.reset_index(drop=True)


def _result_faults(frame: pd.DataFrame) -> Iterable[str]:
    if frame.empty:
        yield "results: has no rows"
        return
    for column in ("study", "configuration", "seed", "language", "example"):
        if empty := int(frame[column].isna().sum()):
            yield f"results.{column}: must have a value in every row (got {empty} empty)"
    score = pd.to_numeric(frame["score"], errors="coerce")
    if bad := int((~score.between(0, 1)).sum()):
        yield f"results.score: must be a fraction in [0, 1] (got {bad} rows that are not)"
    if bad := int((~(pd.to_numeric(frame["weight"], errors="coerce") >= 0)).sum()):
        yield f"results.weight: must be zero or more (got {bad} rows that are not)"
    keys = ["study", "configuration", "seed", "language", "example", "split", "metric"]
    if twice := int(frame.duplicated(keys).sum()):
        yield f"results: one row per configuration x seed x language x example (got {twice} repeated rows)"
    if (metrics := sorted(map(str, frame["metric"].unique()))) and len(metrics) > 1:
        yield f"results.metric: must be one metric (got {', '.join(metrics)})"


def read_results(path: Path) -> pd.DataFrame:
    """A checked results frame out of a Parquet or CSV file, or a folder of Parquet files."""
    if not path.exists():
        raise UserError(f"{path}: does not exist")
    try:
        # Identifiers stay text: "nan" is Southern Min, not a missing value.
        if path.suffix == ".csv":
            text = dict.fromkeys(("study", "configuration", "control", "language", "example"), str)
            frame = pd.read_csv(path, dtype=text, keep_default_na=False, na_values={"score": [""], "seed": [""]})
        else:
            frame = pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: is no readable Parquet or CSV file ({str(error).splitlines()[0]})") from error
    return check_results(frame)


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


def language_facts(codes: Iterable[str]) -> pd.DataFrame:
    """The facts frame of some languages, and of those they are variants of."""
    wanted = list(dict.fromkeys(codes))
    wanted += [b for b in dict.fromkeys(map(languages.base, wanted)) if b not in wanted]
    rows = []
    for code in wanted:
        known = languages.language(code)
        row = {
            "language": code, "name": known.name, "family": known.family or "", "script": known.script or "",
            "resource_class": np.nan if known.resource_class is None else float(known.resource_class),
            "pretraining_size": np.nan if known.pretraining_size is None else known.pretraining_size,
            "seen": known.seen_xlmr, "variant_of": known.variant_of or "",
        }  # fmt: skip
        rows.append(row)
    return pd.DataFrame(rows, columns=list(FACT_COLUMNS))


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
