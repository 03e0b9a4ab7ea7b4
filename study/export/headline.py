"""The tables that a paper begins with, as numbers and for LaTeX: of a confirmed study, and of one that is not yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from study.analysis.differences import Difference
from study.reporting import tables, words
from study.reporting.findings import Confirmed, Findings
from study.reporting.source import Source, caption
from study.reporting.table import Table

Rows = list[dict[str, Any]]


def headline(found: Findings) -> tuple[Rows, Table] | None:
    """Every language: the headline against the strongest control on test, else the best trial against the baseline on
    validation; None where there is nothing to compare."""
    source, confirmed = found.source, found.confirmed
    if confirmed is not None:
        return list(_tested(source, confirmed)), tables.languages(source, confirmed)
    rows = list(_validated(source))
    return (rows, _validation_table(source, rows)) if rows else None


def endpoint(found: Findings) -> tuple[Rows, Table] | None:
    """The primary endpoint of a confirmed study, as its report has it."""
    source, confirmed = found.source, found.confirmed
    if confirmed is None:
        return None
    compared = (*confirmed.controls, *confirmed.others, *confirmed.averages)
    return [_compared(source, confirmed, d) for d in compared], tables.headline(source, confirmed)


def _compared(source: Source, confirmed: Confirmed, d: Difference) -> dict[str, Any]:
    return {
        "study": source.name, "endpoint": source.endpoint, "metric": source.claimed,
        "treatment_configuration": d.treatment, "control_configuration": d.control,
        "is_claim": (d.treatment, d.control) == (confirmed.headline, confirmed.control), "difference": d.estimate,
        "seed_low": d.by_seed.low, "seed_high": d.by_seed.high, "both_low": d.by_both.low, "both_high": d.by_both.high,
        "p_seed": d.p_seed, "p_both": d.p_both, "p_adjusted": d.p_adjusted, "p_sign_flip": d.p_sign_flip,
        "example_share": d.example_share, "seeds": len(d.seeds), "examples": d.examples,
    }  # fmt: skip


def _tested(source: Source, confirmed: Confirmed) -> Iterator[dict[str, Any]]:
    common = {
        "study": source.name, "confirmed": True, "split": "test", "metric": source.claimed,
        "treatment_configuration": confirmed.headline, "control_configuration": confirmed.control,
    }  # fmt: skip
    for row in confirmed.languages.sort_values("difference", ascending=False).to_dict("records"):
        yield {**common, **{str(k): v for k, v in row.items()}}


def _validated(source: Source) -> Iterator[dict[str, Any]]:
    """The best trial, its replicates averaged, against the baseline on validation; largest gain first."""
    trials = source.trials
    trials = trials[(trials["phase"] == "run") & (trials["split"] == "validation") & (trials["state"] == "COMPLETE")]
    best, baseline = (trials[trials["trial"].isin(numbers)] for numbers in (source.chosen, source.baselines))
    scores = pd.DataFrame(
        {
            "treatment": best.groupby("language")["score"].mean(),
            "control": baseline.groupby("language")["score"].mean(),
            "examples": best.groupby("language")["examples"].first(),
        }
    ).dropna()
    scores["difference"] = scores["treatment"] - scores["control"]
    common = {
        "study": source.name, "confirmed": False, "split": "validation", "metric": source.metric,
        "treatment_configuration": f"trial {', '.join(map(str, source.chosen))}",
        "control_configuration": "baseline", "seeds": len(set(best["seed"]) & set(baseline["seed"])),
    }  # fmt: skip
    scores = scores.astype({"examples": int}).sort_values("difference", ascending=False).reset_index()
    for row in scores.to_dict("records"):
        yield {**common, **{str(k): v for k, v in row.items()}}


def _validation_table(source: Source, rows: Rows) -> Table:
    facts = source.facts.set_index("language")
    measured = tables.measured(facts)
    best = rows[0]["treatment_configuration"]
    cells = []
    for row in rows:
        known = facts.loc[row["language"]]
        resource = known["resource_class"]
        line = (
            f"{known['name']} ({row['language']})", "–" if pd.isna(resource) else f"{resource:.0f}",
            known["script"] or "–", *(tables.decimals(known[name]) for name in measured),
            f"{row['examples']}", f"{100 * row['control']:.1f}", f"{100 * row['treatment']:.1f}",
            words.points(row["difference"]),
        )  # fmt: skip
        cells.append(line)
    text = (
        f"Validation, not confirmed: {best}, the best by the selection rule, against the unperturbed baseline, "
        f"{source.metric} by language, in points. {caption(source)} What was chosen by these scores looks better than "
        "it is, and no interval is given. n: validation sentences."
    )
    return Table(
        "headline", text, ("language", "class", "script", *measured, "n", "baseline", best, "Δ"), tuple(cells), (0, 2)
    )
