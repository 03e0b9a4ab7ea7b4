"""Dose and response: how gain over no perturbation depends on how much of it there was.

Only trials of a design count: a search crowds the regions that looked good, so its samples show neither the response
nor its uncertainty. The dose is what the method is dosed by, the *achieved* norm where there is one; epsilon is not.
Nothing is assumed of the shape: robust training collapses beyond some dose, and a smooth curve through that misleads
just where it matters, at the edge. Levels are compared with one another and with no perturbation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special, stats

from study.analysis import groups, intervals, significance
from study.analysis.frames import collapse_variants
from study.analysis.intervals import UNKNOWN, Interval

Floats = npt.NDArray[np.float64]

SEED_PARAMETER = "training.seed"
"""The dotted path that makes replicates of a point, not another point."""

ENCODER = ("encoder.name_or_path", "encoder.revision")
"""The dotted paths that say which encoder a trial trains."""

METHOD, AUGMENTATION = "perturbation.method", "augmentation.method"
"""The dotted paths that say how a trial trains robustly."""

FEWEST = 3
"""Values that a level is the mean of, at least: seeds of a replicated point, else points of similar dose."""

MOST_LEVELS = 8
"""Levels into which the points of a design without replicates are gathered, at most."""


def dose_gains(trials: pd.DataFrame, searched: bool = False) -> pd.DataFrame:
    """Gain over no perturbation of every finished, perturbed trial and language, on the validation split.

    `trials` is a trial frame of one study and one metric; no perturbation is that of a trial's own encoder. Columns:
    trial, point (its parameters but the seed, in words), series (method, which is the augmentation's where there is no
    other, encoder, and what else of kind rather than size varies, as the number of ascent steps), seed, language,
    relative_norm, score, gain, paired (whether the baseline has this seed; else its mean is subtracted).
    Search samples are left out unless `searched`; nothing may be concluded from their shape.
    """
    mine = trials[(trials["phase"] == "run") & (trials["state"] == "COMPLETE") & (trials["split"] == "validation")]
    mine = mine.copy()
    mine["point"] = _words(mine, varied(mine))
    encoder = [p for p in varied(mine) if p in ENCODER]
    kinds = [p for p in varied(mine) if _is_kind(mine, p)]
    mine["series"] = _words(mine.assign(**{METHOD: _methods(mine)}), [METHOD, *encoder, *kinds])
    mine["encoder"] = _words(mine, encoder)
    parts = mine.groupby("encoder", group_keys=False)
    clean = [_unperturbed(part) for _, part in parts]
    unperturbed = pd.concat(clean).reindex(mine.index) if clean else mine["kind"].eq("baseline")
    baseline = mine[unperturbed].groupby(["encoder", "seed", "language"])["score"].mean().rename("paired_score")
    mean = baseline.groupby(["encoder", "language"]).mean().rename("mean_score")
    dosed = mine[~unperturbed & (mine["relative_norm"] > 0)]
    if not searched:
        dosed = dosed[dosed["kind"] == "design"]
    dosed = dosed.merge(baseline.reset_index(), how="left", on=["encoder", "seed", "language"])
    dosed = dosed.merge(mean.reset_index(), how="left", on=["encoder", "language"])
    dosed["paired"] = dosed["paired_score"].notna()
    dosed["gain"] = dosed["score"] - dosed["paired_score"].fillna(dosed["mean_score"])
    columns = ["trial", "point", "series", "seed", "language", "relative_norm", "score", "gain", "paired"]
    return dosed[columns].dropna(subset="gain").reset_index(drop=True)


def varied(trials: pd.DataFrame) -> list[str]:
    """Dotted columns of a trial frame that take more than one value, the seed aside."""
    return [c for c in trials.columns if "." in c and c != SEED_PARAMETER and trials[c].nunique() > 1]


def _methods(trials: pd.DataFrame) -> pd.Series[str]:
    """The method of each trial: its perturbation, else its augmentation."""
    perturbation = trials[METHOD]
    if AUGMENTATION not in trials.columns:
        return perturbation
    return perturbation.where(perturbation != "none", trials[AUGMENTATION])


def _is_kind(trials: pd.DataFrame, parameter: str) -> bool:
    """Whether a parameter of the robust training says which, not how much: a category, or how many steps or copies."""
    if not parameter.startswith(("perturbation.", "augmentation.")) or parameter in (METHOD, AUGMENTATION):
        return False
    return parameter.endswith(("ascent_steps", "copies")) or not pd.api.types.is_numeric_dtype(
        trials[parameter].infer_objects()
    )


def _words(trials: pd.DataFrame, names: list[str]) -> pd.Series[str]:
    """Values of some parameters in words, as ``adversarial, ascent steps 2``: the method by its value alone."""
    columns = [n for n in names if n in trials.columns]
    words = [
        ", ".join(
            str(v) if n.endswith(".method") else f"{n.rpartition('.')[2].replace('_', ' ')} {_short(v)}"
            for n, v in zip(columns, row, strict=True)
            if pd.notna(v)
        )
        for row in trials[columns].itertuples(index=False)
    ]
    return pd.Series(words, index=trials.index, dtype=object)


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _unperturbed(trials: pd.DataFrame) -> pd.Series[bool]:
    """The baseline, and points of the design that differ from it in nothing (as epsilon 0 and probability 0 do)."""
    clean = trials["relative_norm"].eq(0.0)
    base = trials[trials["kind"] == "baseline"]
    for column in (c for c in varied(trials) if not c.startswith("perturbation.")):
        expected = base[column].iloc[0] if len(base) else np.nan
        same = trials[column].isna() if pd.isna(expected) else trials[column].eq(expected)
        if column.startswith("augmentation."):  # which is the dose of these, and that is 0
            same |= trials[METHOD].eq("none")
        clean &= same
    return clean | trials["kind"].eq("baseline")


def by_unit(gains: pd.DataFrame, units: Mapping[str, str], variant_of: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Mean gain of each trial in each unit (a group, or a language itself): variants count once within their language.

    `units` maps language codes to unit names; languages without one are left out. Columns: unit, trial, point, series,
    seed, relative_norm, gain, paired, languages.
    """
    keys = ["unit", "trial", "point", "series", "seed", "relative_norm", "paired"]
    rows = gains.assign(unit=gains["language"].map(units))
    rows["language"] = rows["language"].map(lambda code: (variant_of or {}).get(code) or code)
    per_language = rows.dropna(subset="unit").groupby([*keys, "language"])[["gain"]].mean().reset_index()
    return per_language.groupby(keys).agg(gain=("gain", "mean"), languages=("language", "size")).reset_index()


@dataclass(frozen=True)
class Response:
    """The response of one unit to one series of doses, and what may be said of it (NaN, unknown: nothing)."""

    unit: str
    series: str
    languages: int
    levels: pd.DataFrame
    """One row per level, by rising dose: relative_norm, gain, low, high (95 % t interval), values (how many the mean is
    over), points (of the design that it gathers)."""
    over: str
    """What the values of a level are: ``seeds``, or ``points`` of similar dose where the design has too few seeds."""
    paired: bool
    """Whether every gain is over the baseline of its own seed; else the baseline's own noise is in no interval."""
    harm_from: float
    """Dose from which on every larger one that has an interval is worse than no perturbation."""
    gains: tuple[float, ...]
    """Doses whose interval lies above zero, each for itself."""
    best: float
    """Dose of the level with the largest gain."""
    best_gain: Interval
    """Its interval; it was picked as the largest, so its estimate flatters."""
    optimum: Interval
    """Doses among which the best of those tried lies with 95 % confidence; unknown if that may be the smallest or the
    largest, so that the optimum may lie outside of what was tried."""


def responses(trial_gains: pd.DataFrame) -> list[Response]:
    """The response of each unit and series of `by_unit`."""
    groups = trial_gains.groupby(["unit", "series"], sort=True)
    return [_response(str(unit), str(series), part) for (unit, series), part in groups]


def _response(unit: str, series: str, part: pd.DataFrame) -> Response:
    dose, values, gathered, over = level_values(part)
    gain, low, high = bands(values)
    kept = dose[possibly_best(values)]
    best, harmful = int(np.argmax(gain)), harm_from(high)
    is_inside = dose[0] < kept.min() and kept.max() < dose[-1]
    counts = np.sum(~np.isnan(values), axis=0)
    return Response(
        unit,
        series,
        languages=int(part["languages"].max()),
        levels=pd.DataFrame(
            {"relative_norm": dose, "gain": gain, "low": low, "high": high, "values": counts, "points": gathered}
        ),
        over=over,
        paired=bool(part["paired"].all()),
        harm_from=float(dose[harmful]) if harmful is not None else float("nan"),
        gains=tuple(map(float, dose[low > 0])),
        best=float(dose[best]),
        best_gain=Interval(float(low[best]), float(high[best])),
        optimum=Interval(float(kept.min()), float(kept.max())) if is_inside else UNKNOWN,
    )


def level_values(part: pd.DataFrame) -> tuple[Floats, Floats, npt.NDArray[np.int64], str]:
    """Doses (levels,), rising; values (keys, levels) whose means are the levels, NaN where there is none.

    Then how many points of the design are a level (levels,), and of what kind the keys are. Where most points of one
    unit and series have `FEWEST` seeds each is a level, with a value per seed: one that has lost a seed changes nothing
    for the others. Else points of neighbouring doses make up a level, with a value per point, or per seed where there
    are seeds enough.
    """
    points = part.groupby("point").agg(relative_norm=("relative_norm", "mean"), seeds=("seed", "nunique"))
    points = points.sort_values("relative_norm")
    order = np.arange(len(points))
    if points["seeds"].median() >= FEWEST:
        points["level"] = order
    else:
        points["level"] = order * max(1, min(MOST_LEVELS, len(points) // FEWEST)) // len(points)
    over = "seeds" if part["seed"].nunique() >= FEWEST else "points"
    rows = part.merge(points[["level"]], left_on="point", right_index=True)
    rows["key"] = rows["seed"] if over == "seeds" else rows["point"]
    values = rows.groupby(["key", "level"])["gain"].mean().unstack("level")
    levels = points.groupby("level")["relative_norm"]
    gathered = np.asarray(levels.size(), dtype=np.int64)
    return levels.mean().to_numpy(dtype=float), values.to_numpy(dtype=float), gathered, over


def bands(values: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean of each column, and both ends of its t interval: NaN for fewer than `FEWEST` values or identical ones."""
    counts = np.sum(~np.isnan(values), axis=0)
    mean = np.nanmean(values, axis=0)
    squares = np.nansum((values - mean) ** 2, axis=0)
    error = np.sqrt(squares / np.maximum(counts - 1, 1) / counts)
    half = stats.t.ppf((1 + intervals.LEVEL) / 2, np.maximum(counts - 1, 1)) * error
    half = np.where((counts >= FEWEST) & (error > intervals.NO_VARIATION), half, np.nan)
    return mean, mean - half, mean + half


def harm_from(high: Floats) -> int | None:
    """First level of the unbroken run of levels, up to the largest that has an interval, whose intervals are below 0.

    A fixed sequence from the largest dose down: harm is claimed wrongly in at most 2.5 % of studies, however many doses
    there are (toxicology's lowest observed adverse effect level). A level without an interval breaks the run.
    """
    judged = high[: np.flatnonzero(~np.isnan(high)).max(initial=-1) + 1]
    harmful = np.cumprod((judged < 0)[::-1])[::-1]
    return int(np.argmax(harmful)) if harmful.any() else None


def possibly_best(values: Floats) -> npt.NDArray[np.bool_]:
    """Which columns may have the largest true mean: those that no other one beats significantly.

    One-sided t tests, paired by row where rows have both, at 5 % divided by the number of rivals: the best level is
    among the answer with 95 % confidence (subset selection, as in Hsu's comparisons with the best).
    """
    columns = values.T
    alpha = 0.05 / max(len(columns) - 1, 1)
    return np.array([not any(_is_beaten(mine, rival, alpha) for rival in columns) for mine in columns])


def _is_beaten(mine: Floats, rival: Floats, alpha: float) -> bool:
    gap = (rival - mine)[~np.isnan(rival - mine)]
    if gap.size >= FEWEST:
        error = gap.std(ddof=1) / np.sqrt(gap.size)
        return bool(error > intervals.NO_VARIATION and special.stdtr(gap.size - 1, -gap.mean() / error) < alpha)
    a, b = mine[~np.isnan(mine)], rival[~np.isnan(rival)]
    if min(len(a), len(b)) < FEWEST:
        return False
    return bool(stats.ttest_ind(a, b, equal_var=False, alternative="less").pvalue < alpha)


def language_map(gains: pd.DataFrame) -> pd.DataFrame:
    """Language × magnitude: mean gain, and which cells differ from zero (Benjamini and Hochberg over the whole map).

    Each method has its own bins, since one norm means another thing to another method. Doses of a method's series that
    agree to two digits share a bin; where those are more than `MOST_LEVELS`, so many bins hold nearly equal numbers of
    points. Columns: language, method, bin (counted through all methods), relative_norm (mean in the bin), gain, seeds,
    p, q. A cell's p is a t test over seeds, its points of one seed averaged first; NaN with fewer than `FEWEST` seeds.
    """
    points = gains.groupby(["series", "point"])[["relative_norm"]].mean().reset_index()
    points["method"] = points["series"].map(method_of)
    points = pd.concat([_binned(part) for _, part in points.groupby("method", sort=True)], ignore_index=True)
    points["bin"] = points.groupby(["method", "bin"], sort=True).ngroup()
    rows = gains.merge(points[["series", "point", "method", "bin"]], on=["series", "point"])
    cells = rows.groupby(["language", "bin", "seed"])["gain"].mean().unstack("seed")
    gain, _, high = bands(cells.to_numpy(dtype=float).T)
    free = np.maximum(cells.notna().sum(axis=1).to_numpy() - 1, 1)
    error = (high - gain) / stats.t.ppf((1 + intervals.LEVEL) / 2, free)
    p = 2 * stats.t.sf(np.abs(gain) / error, free)
    table = cells.index.to_frame(index=False).assign(gain=gain, seeds=cells.notna().sum(axis=1).to_numpy(), p=p)
    table["q"] = significance.benjamini_hochberg(p)
    table["relative_norm"] = table["bin"].map(rows.groupby("bin")["relative_norm"].mean())
    table["method"] = table["bin"].map(rows.groupby("bin")["method"].first())
    columns = ["language", "method", "bin", "relative_norm", "gain", "seeds", "p", "q"]
    return table.sort_values(["bin", "language"], ignore_index=True)[columns]


def method_of(series: str) -> str:
    """The method of a series, whose name goes on with its other knobs."""
    return series.partition(",")[0]


def _binned(points: pd.DataFrame) -> pd.DataFrame:
    """Points of one method with their bins."""
    points = points.sort_values("relative_norm")
    # Points of one dose stay together: those of a grid differ in it only by how well the ascent fills the ball.
    same = points["relative_norm"].map(lambda d: float(f"{d:.1e}")).rank(method="dense").to_numpy(dtype=int) - 1
    order = np.arange(len(points))
    return points.assign(bin=same if same.max() < MOST_LEVELS else order * MOST_LEVELS // len(points))


def resource_trend(cells: pd.DataFrame, facts: pd.DataFrame) -> pd.DataFrame:
    """Spearman correlation of gain with resource class over languages, at each magnitude of a `language_map`.

    Variants count once. Columns: method, relative_norm, rho, low, high (95 %), p, languages, q (Benjamini and Hochberg
    over all magnitudes). No rows where there are no cells.
    """
    resource = facts.set_index("language")["resource_class"]
    rows = []
    for (method, dose), part in cells.groupby(["method", "relative_norm"], sort=True):
        gains = collapse_variants(part.set_index("language")[["gain"]].T, facts).iloc[0]
        rho, band, p, n = groups.spearman(
            resource.reindex(gains.index).to_numpy(dtype=float), gains.to_numpy(dtype=float)
        )
        found = {"rho": rho, "low": band.low, "high": band.high, "p": p, "languages": n}
        rows.append({"method": method, "relative_norm": dose, **found})
    table = pd.DataFrame(rows, columns=["method", "relative_norm", "rho", "low", "high", "p", "languages"])
    return table.assign(q=significance.benjamini_hochberg(table["p"].to_numpy(dtype=float)))
