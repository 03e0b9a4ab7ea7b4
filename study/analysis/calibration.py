"""Whether answers are right as often as the model is sure of them, bin by bin."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from study.analysis import intervals
from trainables.scoring.calibration import bin_of


def reliability(results: pd.DataFrame, units: Mapping[str, str], bins: int) -> pd.DataFrame:
    """Bins of equal width over the answers of a results frame that has a `confidence`, its languages pooled by unit.

    One row per configuration x unit x bin that has answers: `bin` (from 0), its mean `confidence`, `accuracy` with
    `low` and `high` (t interval over seeds; NaN for one seed), `share` of the unit's answers, `seeds` that have any.
    Means over seeds, each counted alike; fractions.
    """
    known = results[results["confidence"].notna() & results["language"].isin(units)]
    known = known.assign(
        unit=known["language"].map(dict(units)), bin=bin_of(known["confidence"].to_numpy(dtype=float), bins)
    )
    keys = ["configuration", "unit", "bin"]
    each = known.groupby([*keys, "seed"]).agg(
        confidence=("confidence", "mean"), accuracy=("score", "mean"), answers=("score", "size")
    )
    each = each.reset_index()
    each["share"] = each["answers"] / each.groupby(keys[:2])["answers"].transform("sum")
    rows = []
    for key, part in each.groupby(keys):
        span = intervals.of_mean(part["accuracy"])
        rows.append({
            **dict(zip(keys, key, strict=True)),
            "confidence": part["confidence"].mean(), "accuracy": part["accuracy"].mean(),
            "low": max(span.low, 0.0) if span.known else np.nan, "high": min(span.high, 1.0) if span.known else np.nan,
            "share": part["share"].sum(), "seeds": len(part),
        })  # fmt: skip
    return pd.DataFrame(rows)
