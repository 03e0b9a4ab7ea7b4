"""Two configurations compared: differences paired by seed, with seeds and examples as two sources of variation.

The model behind the intervals: the difference of a reduction of scores between two configurations, trained under seed s
and scored on example e, is ``effect + seed_s + example_e + rest_se``. Two intervals come from it:

- *by seed*: a t interval over the seeds' differences (df = seeds - 1). It is about new seeds on these very examples.
- *by both*: about new seeds on new examples as well. Its variance is that over seeds plus what the examples add (their
  two-way mean squares, as in Clark's quasi-F, 1973; the same as two-way cluster-robust variances, Cameron, Gelbach and
  Miller 2011), its degrees of freedom are Satterthwaite's, and it is never shorter than the one by seed.

Where examples dominate, the first covers the effect in the population of sentences far less often than 95 %; the
second holds in both cases (`benchmarks/coverage.py`). Reductions that are not linear (worst language, CVaR) enter
through their gradient, and ratios (corpus F1) through each sentence's influence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from study.analysis import intervals, significance
from study.analysis.frames import Reduction
from study.analysis.intervals import UNKNOWN, Interval
from trainables.errors import UserError

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Decomposition:
    """Estimate and variances of its mean; arrays over any leading dimensions. NaN for what one seed cannot tell."""

    estimate: Floats
    seed_variance: Floats
    """Of the mean over seeds, examples held."""
    example_variance: Floats
    """What the examples add to it; never negative."""
    conditional_variance: Floats
    """Over examples alone, the trained models held."""
    seeds: int
    examples: int
    df_both: Floats
    """Satterthwaite's degrees of freedom of the sum of the first two; at least seeds - 1."""

    def half_widths(self, level: float = intervals.LEVEL) -> tuple[Floats, Floats]:
        """Half the interval by seed, and by both."""
        quantile = (1 + level) / 2
        by_seed = stats.t.ppf(quantile, self.seeds - 1) * np.sqrt(self.seed_variance)
        both = stats.t.ppf(quantile, self.df_both) * np.sqrt(self.seed_variance + self.example_variance)
        return by_seed, np.maximum(by_seed, both)


def decompose(per_seed: npt.ArrayLike, influence: npt.ArrayLike) -> Decomposition:
    """`per_seed` (…, S) differences; `influence` (…, S, N): what each example adds to each, summing to zero over N."""
    d, z = np.asarray(per_seed, dtype=float), np.asarray(influence, dtype=float)
    s, n = z.shape[-2:]
    conditional = n / max(n - 1, 1) * np.sum(z.mean(axis=-2) ** 2, axis=-1)
    if s < 2:
        unknown = np.full(d.shape[:-1], np.nan)
        return Decomposition(d.mean(axis=-1), unknown, unknown, conditional, s, n, unknown)
    by_seed = d.var(axis=-1, ddof=1) / s
    rest = np.sum((z - z.mean(axis=-2, keepdims=True)) ** 2, axis=(-2, -1)) / (s * (s - 1)) * n / max(n - 1, 1)
    added, df = combine(by_seed, conditional, rest, s, n)
    return Decomposition(d.mean(axis=-1), by_seed, added, conditional, s, n, df)


def combine(
    by_seed: npt.ArrayLike, conditional: npt.ArrayLike, rest: npt.ArrayLike, seeds: int, examples: int
) -> tuple[Floats, Floats]:
    """What examples add to the variance over seeds, and Satterthwaite's df of the sum (at least seeds - 1).

    The arguments are three estimates of variances of the overall mean: over seeds, over examples, and of their
    interaction, which both contain.
    """
    a, b, c = (np.asarray(v, dtype=float) for v in (by_seed, conditional, rest))
    added = np.maximum(b - c, 0.0)
    free = max(examples - 1, 1)
    spread = a**2 / (seeds - 1) + np.where(added > 0, b**2 / free + c**2 / ((seeds - 1) * free), 0.0)
    df = np.divide((a + added) ** 2, spread, out=np.full(spread.shape, seeds - 1.0), where=spread > 0)
    return added, np.maximum(df, seeds - 1.0)


@dataclass(frozen=True)
class Difference:
    """A compared with B: an estimate in score units and what can be said of it."""

    name: str
    treatment: str
    control: str
    estimate: float
    per_seed: tuple[float, ...]
    seeds: tuple[int, ...]
    languages: tuple[str, ...]
    """Those that the reduction depends on (of worst_language, the worst)."""
    examples: int
    """Different sentences in them, translations of one another counted once."""
    by_seed: Interval
    by_both: Interval
    by_examples: Interval
    """About new examples, these trained models held."""
    p_seed: float
    p_both: float
    p_sign_flip: float
    example_share: float
    """Share of the variance of the estimate that comes from the examples, in [0, 1]."""
    unpaired: tuple[int, int] = (0, 0)
    """Seeds that are left out, since the treatment, or the control, has no scores under them while the other has."""
    p_adjusted: float = float("nan")
    """Holm's, over the claims made together; see `adjust`."""
    samples_examples: bool = True
    """Whether examples are a sample too; scores that languages have as a whole vary over seeds alone."""
    is_lower_better: bool = False
    """Whether a negative estimate speaks for the treatment."""
    p_over_looks: float | None = None
    """That of the whole confirmation, where seeds were looked at as they came in: the one to be put beside others."""


def adjust(claims: Sequence[Difference]) -> list[Difference]:
    """The same claims with Holm-adjusted p-values of the test by both, the larger of the two: a claim needs both.

    Of a confirmation with looks the p-value over all of them: that of the look at which it stopped is too small.
    """
    each = [c.p_both if c.p_over_looks is None else c.p_over_looks for c in claims]
    return [replace(c, p_adjusted=float(p)) for c, p in zip(claims, significance.holm(each), strict=True)]


@dataclass(frozen=True)
class Paired:
    """Example scores of two configurations on common seeds, as arrays.

    `scores[language]` and `weights[language]` are (2, S, n); `units[language]` (n,) numbers the examples over all
    languages, translations of one another alike; there are `size` of them.
    """

    treatment: str
    control: str
    metric: str
    seeds: tuple[int, ...]
    scores: Mapping[str, Floats]
    weights: Mapping[str, Floats]
    units: Mapping[str, npt.NDArray[np.int64]]
    size: int
    unpaired: tuple[int, int] = (0, 0)
    """Seeds of the control's that the treatment lacks, and the reverse: trials that failed have no scores."""

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages both were scored in, sorted."""
        return tuple(self.scores)

    @property
    def samples_examples(self) -> bool:
        """Whether languages have several examples: what has one is scored as a whole (`frames.of_languages`)."""
        return any(each.shape[-1] > 1 for each in self.scores.values())

    def language_scores(self) -> Floats:
        """(2, S, L): scores of treatment and control by seed and language."""
        return np.stack([_ratio(self.scores[k], self.weights[k]) for k in self.languages], axis=-1)


def _ratio(scores: Floats, weights: Floats) -> Floats:
    return _divide((scores * weights).sum(axis=-1), weights.sum(axis=-1))


def _divide(top: Floats, bottom: Floats) -> Floats:
    """Quotient, 0 where nothing was weighed."""
    return np.asarray(np.divide(top, bottom, out=np.zeros(np.shape(top)), where=bottom > 0))


def pair(results: pd.DataFrame, treatment: str, control: str) -> Paired:
    """Arrays of two configurations of a checked results frame (one study, one split), on their common seeds.

    Raises `UserError` where they share no seed, or were not scored on the same examples under every seed.
    """
    both = results[results["configuration"].isin((treatment, control))]
    first, second = (set(map(int, both.loc[both["configuration"] == name, "seed"])) for name in (treatment, control))
    common, unpaired = sorted(first & second), (len(second - first), len(first - second))
    if not common:
        raise UserError(f"results.seed: {treatment} and {control} must share seeds (got none in common)")
    both = both[both["seed"].isin(common)]
    units, names = pd.factorize(both["example"].astype(str), sort=True)
    both = both.assign(_unit=units, _side=(both["configuration"] == control).astype(int))
    scores, weights, which = {}, {}, {}
    for language, rows in both.groupby("language", sort=True, observed=True):
        rows = rows.sort_values(["_side", "seed", "_unit"])
        shape = (2, len(common), len(rows) // (2 * len(common)))
        unit = rows["_unit"].to_numpy()
        if len(rows) != int(np.prod(shape)) or not np.all((grid := unit.reshape(shape)) == grid[0, 0]):
            raise UserError(
                f"results.example: {treatment} and {control} must share all examples of {language!s} under every seed"
            )
        scores[str(language)] = rows["score"].to_numpy(dtype=float).reshape(shape)
        weights[str(language)] = rows["weight"].to_numpy(dtype=float).reshape(shape)
        which[str(language)] = grid[0, 0].astype(np.int64)
    metric = str(both["metric"].iloc[0])
    return Paired(treatment, control, metric, tuple(common), scores, weights, which, len(names), unpaired)


def beside(results: pd.DataFrame, treatment: str, single: str) -> pd.DataFrame:
    """Results in which what was made once stands under every seed of `treatment`, so that the two can be a `pair`.

    `single` is a configuration without fresh seeds: each example has its mean over the models there are. What an
    interval over seeds then says is about the treatment's alone.
    """
    seeds = sorted(results.loc[results["configuration"] == treatment, "seed"].unique())
    rows = results[results["configuration"] == single]
    rows = rows.assign(score=rows["score"] * rows["weight"])
    keys = ["study", "configuration", "control", "language", "example", "split", "metric"]
    means = rows.groupby(keys, sort=False, observed=True)[["score", "weight"]].mean().reset_index()
    means["score"] = _divide(means["score"].to_numpy(), means["weight"].to_numpy())
    others = results[results["configuration"] != single]
    return pd.concat([others, *(means.assign(seed=seed) for seed in seeds)], ignore_index=True)


def difference(
    data: Paired, reduction: Reduction, name: str, level: float = intervals.LEVEL, is_lower_better: bool = False
) -> Difference:
    """Treatment minus control of `reduction` over languages, paired by seed; `level` of the intervals by seed and by
    both, which is a higher one where seeds were looked at as they came in (`sequential`)."""
    per_seed, influence, languages = _seeds(data, reduction)
    found = _difference(data, name, per_seed, influence, languages, level)
    return replace(found, is_lower_better=is_lower_better)


def parts(data: Paired, reduction: Reduction) -> Decomposition:
    """What the difference of `reduction` is made of."""
    return decompose(*_seeds(data, reduction)[:2])


def _seeds(data: Paired, reduction: Reduction) -> tuple[Floats, Floats, tuple[str, ...]]:
    """(S,) differences, (S, N) influence of the N examples that matter, and the languages that do."""
    table = data.language_scores()
    values = _values(data.languages, table, reduction)
    return values[0] - values[1], *_influence(data, table, reduction)


def _values(languages: tuple[str, ...], table: Floats, reduction: Reduction) -> Floats:
    """The reduction of each row of scores: (2, S) of a `table` (2, S, L)."""
    return np.apply_along_axis(lambda row: reduction(dict(zip(languages, row, strict=True))), -1, table)


def _influence(data: Paired, table: Floats, reduction: Reduction) -> tuple[Floats, tuple[str, ...]]:
    """(S, N): derivative of each seed's difference with respect to the weight of each of the N examples that matter;
    and the languages that do."""
    slopes = _slopes(data.languages, table, reduction)
    result = np.zeros((len(data.seeds), data.size))
    matters, languages = np.zeros(data.size, dtype=bool), []
    for index, language in enumerate(data.languages):
        if np.any(slopes[..., index]):
            own = slopes[..., index, None] * _example_influence(data, language)
            np.add.at(result.T, data.units[language], (own[0] - own[1]).T)
            matters[data.units[language]] = True
            languages.append(language)
    return result[:, matters], tuple(languages)


def _slopes(languages: tuple[str, ...], table: Floats, reduction: Reduction) -> Floats:
    """Gradient of the reduction at each row of scores: the shape of `table` (2, S, L).

    Differences are central, since scores are multiples of one over the number of examples and languages do tie: where
    two are the worst, raising either changes nothing and lowering either does, so that one-sided differences would give
    both a slope of 0, and examples no variance at all. Centrally each of the two has 1/2, as the mean of the slopes on
    either side of the tie. Of three each has 1/2 as well, which errs towards longer intervals.
    """
    step = 1e-6

    def gradient(row: Floats) -> Floats:
        scores = dict(zip(languages, map(float, row), strict=True))

        def at(language: str, moved: float) -> float:
            return reduction({**scores, language: scores[language] + moved})

        return np.array([(at(k, step) - at(k, -step)) / (2 * step) for k in languages])

    # Means are linear: one gradient serves all rows, which saves most of the time. The worst of two languages is not,
    # though one of them be the worst in every row: where they tie, moving them apart tells.
    common, apart = gradient(table[0, 0]), step * np.arange(1, len(languages) + 1)
    near = (table - apart, table + apart)
    if all(np.allclose(rows @ common, _values(languages, rows, reduction), rtol=0, atol=1e-7) for rows in near):
        return np.broadcast_to(common, table.shape)
    return np.apply_along_axis(gradient, -1, table)


def _example_influence(data: Paired, language: str) -> Floats:
    """(2, S, n): influence of each example on its language's score; sums to zero over n."""
    scores, weights = data.scores[language], data.weights[language]
    centred = weights * (scores - _ratio(scores, weights)[..., None])
    return _divide(centred, np.broadcast_to(weights.sum(axis=-1, keepdims=True), centred.shape))


def _difference(
    data: Paired,
    name: str,
    per_seed: Floats,
    influence: Floats,
    languages: tuple[str, ...],
    level: float = intervals.LEVEL,
) -> Difference:
    found = decompose(per_seed, influence)
    estimate, s = float(found.estimate), found.seeds
    error, examples_error = np.sqrt(float(found.seed_variance)), np.sqrt(float(found.conditional_variance))
    total = float(found.seed_variance + found.example_variance)
    half = float(found.half_widths(level)[1])
    # Where seeds say nothing of how they vary, neither does what includes them, however sentences vary.
    by_seed = intervals.around(estimate, error, s - 1, level)
    p_seed = intervals.p_value(estimate, error, s - 1)
    p_both = intervals.p_value(estimate, np.sqrt(total), float(found.df_both))
    return Difference(
        name, data.treatment, data.control, estimate, tuple(map(float, per_seed)), data.seeds, languages,
        found.examples,
        by_seed=by_seed,
        by_both=Interval(estimate - half, estimate + half) if by_seed.known else UNKNOWN,
        by_examples=intervals.around(estimate, examples_error, found.examples - 1),
        p_seed=p_seed,
        # The larger of the two, as the interval is the longer of the two.
        p_both=float(np.maximum(p_seed, p_both)),
        p_sign_flip=significance.sign_flip(per_seed),
        example_share=float(found.example_variance) / total if total > 0 else 0.0,
        unpaired=data.unpaired,
        samples_examples=data.samples_examples,
    )  # fmt: skip


def language_differences(data: Paired) -> pd.DataFrame:
    """Every language for itself: exploratory, corrected by Benjamini and Hochberg.

    One row per language: language, treatment, control (scores), difference, seed_low, seed_high, both_low, both_high,
    p_seed, p_both, p_examples, test (which test gave p_examples: McNemar's for accuracy, else swapped sentences),
    q_seed, q_both, q_examples (adjusted), seeds, examples.
    """
    table = data.language_scores()
    rows = []
    for index, language in enumerate(data.languages):
        influence = _example_influence(data, language)
        one = _difference(
            data, language, table[0, :, index] - table[1, :, index], influence[0] - influence[1], (language,)
        )
        p_examples, test = _examples_test(data, language)
        treatment, control = table[..., index].mean(axis=1)
        row = {
            "language": language, "treatment": treatment, "control": control, "difference": one.estimate,
            "seed_low": one.by_seed.low, "seed_high": one.by_seed.high,
            "both_low": one.by_both.low, "both_high": one.by_both.high,
            "p_seed": one.p_seed, "p_both": one.p_both, "p_examples": p_examples, "test": test,
            "seeds": len(data.seeds), "examples": one.examples,
        }  # fmt: skip
        rows.append(row)
    frame = pd.DataFrame(rows)
    for source in ("seed", "both", "examples"):
        frame[f"q_{source}"] = significance.benjamini_hochberg(frame[f"p_{source}"].to_numpy())
    return frame


def _examples_test(data: Paired, language: str) -> tuple[float, str]:
    """p over examples, the trained models held, and the name of the test; NaN where a language is scored as a whole."""
    if not data.samples_examples:
        return float("nan"), "none, whole languages are scored"
    scores, weights = data.scores[language], data.weights[language]
    if data.metric == "accuracy" and np.all((scores == 0) | (scores == 1)) and np.all(weights == 1):
        if len(data.seeds) == 1:
            return significance.mcnemar(scores[0, 0], scores[1, 0]), "McNemar, exact"
        return significance.clustered_mcnemar(scores[0] - scores[1]), "McNemar, seeds clustered by sentence"
    return significance.swap_sentences((scores[0], scores[1]), (weights[0], weights[1])), "swapped sentences"
