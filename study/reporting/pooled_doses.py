"""The same design in several tasks: what each of its points gains over no perturbation, pooled over the tasks.

Trials of phase `run`, on the validation split, each over the baseline of its own seed: nothing here was declared, and
no word of it is a claim. A point is known by its parameters, the same in all members that have it; its dose is what
its method is dosed by.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from study.analysis import crossed, pooled
from study.analysis.frames import Reduction
from study.analysis.pooled import Claim, Pooled
from study.question.objectives import UnscoredError
from study.reporting import dose_figures, slopes, suite_words, words
from study.reporting.findings import Findings
from study.reporting.pooling import QUESTIONS, variants, with_facts
from study.reporting.slopes import Both
from study.reporting.table import Table


@dataclass(frozen=True)
class Doses:
    """What the design says over the members that have run it."""

    endpoint: str
    points: tuple[tuple[float, Pooled, float], ...]
    """By rising dose: mean over members of a point's dose, its pooled gain, and Holm's p-value, over
    the points, of the gain on tasks like these."""
    slopes: tuple[Both, ...]
    """Of each point, and of the gain per unit of dose where that is one, on each fact."""
    units: tuple[str, ...]
    """What the doses are: ``achieved relative norm``, …"""


def together(found: Mapping[str, Findings], endpoint: str | None) -> Doses | None:
    """Pool the designs of at least two members; None where there are no two. Without an endpoint: the target mean."""
    name = endpoint or "target_mean"
    designed = {m: f for m, f in found.items() if f.dosed is not None and not f.dosed.searched}
    trials = {member: _trials(each) for member, each in designed.items()}
    reduced = [_endpoint(member, trials[member], designed[member].source.gain(name)) for member in designed]
    frame = pd.concat([pd.DataFrame(), *reduced], ignore_index=True)
    if frame.empty or frame["task"].nunique() < 2:
        return None
    gains = pooled.pool(frame)
    if not gains:  # no point has its scores under all seeds
        return None
    dose = frame.groupby(["configuration", "task"])["dose"].mean().groupby("configuration").mean()
    adjusted = pooled.adjust([Claim(g.configuration, g.alike.estimate, g.alike.interval, g.alike.p) for g in gains])
    points = [(float(dose[g.configuration]), g, c.p_adjusted) for g, c in zip(gains, adjusted, strict=True)]
    points.sort(key=lambda point: (point[0], point[1].configuration))
    units = dose_figures.units(s for each in designed.values() if each.dosed for s in each.dosed.gains["series"])
    found_slopes = _slopes(designed, trials, [g.configuration for _, g, _ in points], is_one_unit=len(units) == 1)
    return Doses(name, tuple(points), tuple(found_slopes), units)


def _trials(findings: Findings) -> pd.DataFrame:
    """Rows of the gains frame without a task: one per point, seed and language; a baseline of another seed is its
    mean."""
    assert findings.dosed is not None
    rows = findings.dosed.gains.assign(baseline=lambda f: f["score"] - f["gain"])
    rows = rows.rename(columns={"point": "configuration", "relative_norm": "dose"})
    keys = ["configuration", "seed", "language"]
    return rows.groupby(keys, sort=True)[["score", "baseline", "dose"]].mean().reset_index()


def _endpoint(member: str, rows: pd.DataFrame, reduction: Reduction) -> pd.DataFrame:
    """The gains frame whose only language is the endpoint; empty where the member's languages have no such."""
    found = []
    for (configuration, seed), part in rows.groupby(["configuration", "seed"], sort=True):
        scores = part.set_index("language")
        try:
            both = {c: reduction({str(k): float(v) for k, v in scores[c].items()}) for c in ("score", "baseline")}
        except UnscoredError:
            return pd.DataFrame()
        found.append({"configuration": configuration, "seed": seed, "dose": float(part["dose"].mean()), **both})
    return pd.DataFrame(found).assign(task=member, language="endpoint")


def _slopes(
    found: Mapping[str, Findings], trials: Mapping[str, pd.DataFrame], points: Sequence[str], is_one_unit: bool
) -> Iterator[Both]:
    frames = []
    for member, rows in trials.items():
        targets = rows[rows["language"].isin(found[member].source.targets(rows["language"].unique()))]
        frames.append(with_facts(targets, found[member]).assign(task=member))
    cells = crossed.cells(pd.concat(frames, ignore_index=True), variants(found.values()))
    cells = crossed.per_dose(cells) if is_one_unit else cells
    per_dose = [crossed.PER_DOSE] if crossed.PER_DOSE in set(cells["configuration"]) else []
    return slopes.find(cells, [*points, *per_dose])


# In words


def sentences(doses: Doses) -> Iterator[str]:
    """What the design says over all members, as strongly as exploration may."""
    gains = [g for _, g, _ in doses.points]
    yield (
        f"Exploratory, on validation: {len(gains)} point{'s' * (len(gains) != 1)} of the design over no perturbation, "
        f"{words.reduction(doses.endpoint)}; p-values are corrected over the points (Holm), and none was declared."
    )
    yield from suite_words.fall(doses.endpoint)
    yield from suite_words.points_of_design(doses.points)
    for question in QUESTIONS.values():
        for plain, adjusted in doses.slopes:
            if plain.configuration == crossed.PER_DOSE and plain.covariate == question.covariate:
                yield suite_words.dose_slope(question, plain, adjusted, doses.units[0])


def tables(doses: Doses) -> Iterator[Table]:
    """Points by dose, and what their gains go together with."""
    points = tuple(
        (
            g.configuration, f"{dose:.3f}", _tasks(g), _seeds(g),
            words.points(g.here), words.span(g.here_interval), words.points(g.alike.estimate),
            words.span(g.alike.interval), words.p_text(p), words.span(g.alike.prediction),
        )
        for dose, g, p in doses.points
    )  # fmt: skip
    text = (
        f"Points of the members' designs by dose, {words.reduction(doses.endpoint)}, in points over no perturbation "
        "under the same seed (where that has none, over its mean). Exploratory: validation scores of phase run. Dose: "
        f"{', or '.join(doses.units)}, mean over tasks. On these tasks: 95 % over seeds; on tasks like these: REML, "
        "Hartung and Knapp; p: Holm, over the points; last column: where another such task is expected (95 %). A task "
        "that lacks a point is in no mean of it."
    )
    columns = (
        "point",
        "dose",
        "tasks",
        "seeds",
        "these tasks",
        "95 %",
        "tasks like these",
        "95 %",
        "p Holm",
        "another",
    )
    yield Table("pooled_doses", text, columns, points)
    per_dose = (
        f"“{crossed.PER_DOSE}”: of the gain per unit of {doses.units[0]}, the interaction of dose and fact."
        if len(doses.units) == 1
        else f"None is {crossed.PER_DOSE}, whose kinds are several."
    )
    text = (
        "Which languages gain more at each point: slope of the gain in points per unit of a fact of the language, over "
        "languages and tasks (REML, Kenward and Roger), as languages are and at equal baseline score; 95 % about new "
        f"languages in these tasks. {per_dose} Exploratory: validation, not corrected for their "
        "number; what goes together is no cause. – : too few languages, or too much alike."
    )
    yield slopes.table("dose_slopes", text, "point", doses.slopes)


def _tasks(gain: Pooled) -> str:
    there, asked = len(gain.tasks), len(gain.tasks) + len(gain.missing)
    return f"{there}" if there == asked else f"{there} of {asked}"


def _seeds(gain: Pooled) -> str:
    low, high = int(gain.tasks["seeds"].min()), int(gain.tasks["seeds"].max())
    return f"{low}" if low == high else f"{low} to {high}"


def frames(doses: Doses) -> Iterator[tuple[str, pd.DataFrame]]:
    """The numbers of the tables, unrounded, as fractions."""
    rows = [
        {
            "point": g.configuration, "dose": dose, "tasks": len(g.tasks), "missing": " ".join(g.missing),
            "here": g.here, "here_low": g.here_interval.low, "here_high": g.here_interval.high,
            "alike": g.alike.estimate, "alike_low": g.alike.interval.low, "alike_high": g.alike.interval.high,
            "p": g.alike.p, "p_holm": p, "tau2": g.alike.tau2, "i2": g.alike.i2,
            "another_low": g.alike.prediction.low, "another_high": g.alike.prediction.high,
        }
        for dose, g, p in doses.points
    ]  # fmt: skip
    yield "pooled_doses", pd.DataFrame(rows)
    yield "dose_slopes", slopes.frame(doses.slopes)
