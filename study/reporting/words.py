"""Conclusions in words, as strong as the data allow and no stronger. Every sentence of a report that concludes is here.

What is said of a difference A - B (`verdict`); an interval *excludes* if zero is outside of it:

=============================== ===================================================================================
fewer than 3 seeds              nothing
both intervals exclude          A scored higher (lower) than B, with the numbers
only the one by seed excludes   higher on these test sentences; another sample of them may say otherwise
neither; within one point       they differ by less than a point
neither                         no difference can be told; what the data allow is said as a range
the better one lost more seeds  nothing: where it failed it has no scores, and those that it has flatter it
=============================== ===================================================================================

Where languages are scored as a whole (a calibration error, an area under a noise curve), sentences are no sample and
there is one interval, over seeds: then the most that is said is the third row. Of errors, "better" is lower.

Intervals are at 95 %. "One point" is `NEGLIGIBLE`. Nothing is said of causes, and nothing beyond the languages, the
encoder and the task of the study. Selecting on target labels, opening the test split more than once, a baseline that
ranks above the headline, and search samples in place of a design are said before what they weaken.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from study.analysis.differences import Difference
from study.analysis.dose import Response
from study.analysis.intervals import Interval
from study.analysis.selection import Optimism
from study.analysis.significance import smallest_sign_flip_p
from trainables.scores import PARSED, Evaluation

NEGLIGIBLE = 0.01
"""A difference that most readers do not care about: one point."""

FEWEST_SEEDS = 3
"""Seeds below which nothing is concluded."""

ALPHA = 0.05
"""Level of every test, corrected where there are several."""

Verdict = Literal["too few seeds", "higher", "lower", "higher here", "lower here", "equivalent", "open", "survivors"]

DEMONSTRATION = (
    "The embedded encoder was itself tuned on cross-lingual sentence pairs: this study is a demonstration of the "
    "instrument, not evidence about encoders such as XLM-R that were not."
)

NOT_CONFIRMED = (
    "Nothing is confirmed yet: no configuration has been trained on fresh seeds and scored on the test split "
    "(study confirm). All scores here are of the validation split, and what was chosen by them looks better than it is."
)

NOTHING_TO_COMPARE = (
    "Nothing is concluded of the test split: the headline, or every control, has no scores there (study show says what "
    "failed)."
)

SEARCHED = (
    "The points were proposed by a search, which crowds the regions that looked good. They show what was tried, not "
    "how scores depend on the dose: no response is drawn and no threshold concluded (search.mode: design would allow "
    "it)."
)

WHOLE_LANGUAGES = (
    "Languages have this score as a whole, not sentence by sentence: sentences do not count as a sample, both "
    "intervals are the one over seeds, and another sample of them may say otherwise."
)

LESS_IS_BETTER = "Less is better: a negative difference speaks for the first."

SAMPLED = "The points were proposed by a search: they show what was tried, not how anything depends on a parameter."

ORACLE = "Selection read target labels (oracle selection, uses target labels): this is no zero-shot result."

AVERAGED = (
    "Control e is the mean of the weights of all completed trials: no training of its own, and no score has chosen it. "
    "It is one model for each seed that the trials shared: its intervals are over the others' seeds, and what the "
    "trials of another study would have given is not known."
)

_REDUCTIONS = {
    "source": "source language",
    "selection_mean": "mean over the languages that select",
    "selection_worst": "worst of the languages that select",
    "target_mean": "mean over target languages",
    "mean_with_source": "mean over all languages, the source counted",
    "low_resource_mean": "mean over low-resource languages",
    "high_resource_mean": "mean over high-resource languages",
    "worst_language": "worst language",
    "worst_k_mean": "mean over the worst languages",
    "cvar": "mean over the worst share of languages",
    "transfer_gap": "transfer gap",
}


def reduction(name: str) -> str:
    """A reduction of the protocol in words."""
    kind, _, argument = name.partition(":")
    named = {"language": f"language {argument}", "group": f"mean over {argument}", "cost": argument.replace("_", " ")}
    return named.get(kind) or _REDUCTIONS.get(kind, name)


def points(value: float, signed: bool = True) -> str:
    """A score difference in points: ``+1.3``; with a true minus sign."""
    if not np.isfinite(value):
        return "–"
    text = f"{100 * value:+.1f}" if signed else f"{100 * value:.1f}"
    return ("0.0" if text in ("+0.0", "-0.0") else text).replace("-", "−")


def signed(value: float) -> str:
    """A correlation: ``−0.25``; a dash for none."""
    return "–" if math.isnan(value) else f"{value:+.2f}".replace("-", "−")


def span(interval: Interval) -> str:
    """``+0.4 to +2.1``, in points; a dash for none."""
    return f"{points(interval.low)} to {points(interval.high)}" if interval.known else "–"


def p_text(p: float) -> str:
    """A p-value: two or three digits, never 0."""
    if not np.isfinite(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def verdict(d: Difference) -> Verdict:
    """What may be said of a difference (see the table above)."""
    if len(d.seeds) < FEWEST_SEEDS or not d.by_seed.known:
        return "too few seeds"
    treatment, control = d.unpaired
    if not d.by_seed.excludes_zero:
        equivalent = d.by_both.within(NEGLIGIBLE)
        return "open" if not equivalent else "survivors" if treatment != control else "equivalent"
    if treatment > control if is_better(d) else control > treatment:
        return "survivors"
    if d.by_both.excludes_zero and d.samples_examples:
        return "higher" if d.estimate > 0 else "lower"
    return "higher here" if d.estimate > 0 else "lower here"


def is_better(d: Difference) -> bool:
    """Whether the estimate speaks for the treatment."""
    return (d.estimate > 0) != d.is_lower_better


def less(is_lower_better: bool) -> str:
    """What to add to the name of a quantity."""
    return "; less is better" if is_lower_better else ""


def difference(d: Difference, endpoint: str) -> str:
    """The sentence about one difference of an endpoint, given in words."""
    also = f"; {span(d.by_both)} when the test sentences count as a sample too" if d.samples_examples else ""
    numbers = f"{points(d.estimate)} points (95 % interval {span(d.by_seed)} over {len(d.seeds)} seeds{also})"
    if d.is_lower_better and d.by_seed.excludes_zero:
        numbers += f", which is {'better' if is_better(d) else 'worse'}, since less is"
    match verdict(d):
        case "too few seeds":
            what = f"{len(d.seeds)} seed{'s allow' if len(d.seeds) > 1 else ' allows'} no conclusion about"
            text = f"{what} {d.treatment} and {d.control} (the difference seen is {points(d.estimate)} points)"
        case "higher" | "lower" as sign:
            text = f"{d.treatment} scored {sign} than {d.control}: {numbers}"
        case "higher here" | "lower here" as sign:
            text = (
                f"{d.treatment} scored {sign.removesuffix(' here')} than {d.control} on these test sentences: "
                f"{numbers}; another sample of sentences may show no difference or the reverse"
            )
        case "equivalent":
            text = f"{d.treatment} and {d.control} differ by less than {100 * NEGLIGIBLE:.0f} point: {numbers}"
        case "survivors":
            fewer, others = (d.treatment, d.control) if d.unpaired[0] > d.unpaired[1] else (d.control, d.treatment)
            text = (
                f"nothing is concluded about {d.treatment} and {d.control}: {fewer} failed under seeds under which "
                f"{others} did not ({max(d.unpaired)} against {min(d.unpaired)}), and its failures have no scores; on "
                f"the seeds that both have the difference is {numbers}"
            )
        case "open":
            text = (
                f"no difference between {d.treatment} and {d.control} can be told: {numbers}; anything in that range "
                "agrees with the data"
            )
    return f"{_capital(endpoint)}: {text}."


def seeds(d: Difference) -> str | None:
    """What the number of seeds cannot conclude, where a conclusion rests on it; None where it does not matter."""
    n, least = len(d.seeds), smallest_sign_flip_p(len(d.seeds))
    if n < FEWEST_SEEDS or not d.by_seed.excludes_zero or least <= ALPHA:
        return None
    return (
        f"{n} pairs of seeds can never reach p = {ALPHA} by flipping their signs (the smallest p possible is "
        f"{least:.4g}): the interval over seeds rests on differences being normally distributed, which so few cannot "
        "show."
    )


def is_sure(d: Difference) -> bool:
    """Whether a difference stands among the others that it is compared with (`differences.adjust`)."""
    return not d.p_adjusted >= ALPHA


def lost_seeds(configuration: str, scored: int, planned: int) -> str:
    """A configuration that has scores under some of its seeds only, said before anything is concluded of it."""
    rest = (
        f"it is compared on the other {scored}, and its failures count for nothing" if scored else "it is not compared"
    )
    return f"{_capital(configuration)} has no scores under {planned - scored} of its {planned} seeds: {rest}."


def failed_points(failed: int, asked: int) -> str:
    """Trials of a design that are in no level of a response."""
    return (
        f"{failed} of the {asked} trials of the design failed and {'are' if failed > 1 else 'is'} in no level: gains "
        "are those of trials that did not break, which flatters doses that break them."
    )


def claim(d: Difference, endpoint: str, others: Sequence[Difference] = ()) -> Iterator[str]:
    """The headline: the claim, what its seeds allow, and the weaker controls by which it must not be sold."""
    yield difference(d, endpoint)
    if limit := seeds(d):
        yield limit
    good = "lower" if d.is_lower_better else "higher"
    sure = good if d.samples_examples else f"{good} here"
    beaten = [o.control for o in others if o.control != d.control and verdict(o) == sure and is_sure(o)]
    if beaten and verdict(d) not in (good, f"{good} here"):
        yield (
            f"{_capital(d.treatment)} scored {good} than {_and(beaten)}, but that is not the comparison that counts: "
            f"the strongest control is {d.control}."
        )


def looks(found: Sequence[Mapping[str, Any]], most: int) -> str:
    """Of a confirmation that looked at its seeds as they came in: where it stopped, why, and what its intervals are."""
    last, seen = found[-1], ", ".join(str(look["seeds"]) for look in found)
    why = {
        "crossed": f"the difference crossed the bound of this look (p {p_text(last['p'])} by {_bound(last['bound'])})",
        "futile": f"more seeds had a chance of {100 * last['predictive']:.0f} % of showing a difference",
        "open": f"these were all (p {p_text(last['p'])}, bound {_bound(last['bound'])})",
        "go on": "the next look is still to come",
    }[last["verdict"]]
    return (
        f"Its seeds were looked at as they came in, after {seen} of at most {most}, by bounds that keep 5 % over all "
        f"looks together; {why}. The intervals against the controls are repeated confidence intervals, which hold "
        "whenever one stops; their p-values are those of this look, to be held against its bound and not against 5 %; "
        "corrected for several claims (Holm) is the p-value over all looks."
    )


def _bound(bound: float) -> str:
    return f"{bound:.2g}" if bound < 0.001 else f"{bound:.4f}".rstrip("0")


def averages(found: Sequence[Difference], endpoint: str) -> Iterator[str]:
    """Whether the mean of all trials' weights beats what was chosen, and the strongest control; nothing without one."""
    if not found:
        return
    yield from (difference(d, endpoint) for d in found)
    yield AVERAGED


def protocol(
    rule: str, openings: int, baseline_ranks_higher: bool, chosen_by: str, is_demonstration: bool
) -> Iterator[str]:
    """What weakens every conclusion, said before any of them."""
    if rule == "target_validation":
        yield ORACLE
    if baseline_ranks_higher:
        yield (
            "By the selection rule the unperturbed baseline ranks above every perturbed configuration: the headline is "
            "the best of those, not the best of all."
        )
    if openings > 1:
        yield f"The test split has been opened {openings} times: later results are no longer blind to it."
    if chosen_by == "test":
        yield "The strongest control was chosen by its test scores, for want of others: that favours the control."
    if is_demonstration:
        yield DEMONSTRATION


def unofficial(metric: str, off: float) -> str:
    """Scores that the predictions give, which the official ones differ from."""
    return (
        f"The differences below are of means of sentence scores, which differ from the official {metric} by up to "
        f"{points(off, False)} points in a language (the predictions carry no weights that would make them equal)."
    )


def one_answer(seeds: Mapping[str, tuple[int, int]]) -> str:
    """Configurations that give one answer to everything: under how many seeds, of how many."""
    who = ", ".join(f"{name} ({stuck} of {of} seeds)" for name, (stuck, of) in seeds.items())
    return (
        f"One and the same answer to all test sentences, or all but a few: {who}. Such a model has not learned the "
        "task, and by what others differ from it is no gain or loss of a method."
    )


def languages(table: pd.DataFrame, is_error: bool = False) -> str:
    """What the map of languages shows (`differences.language_differences`), corrected for their number; of an error,
    less is a gain."""
    table = table.assign(difference=-table["difference"]) if is_error else table
    n, fewest = len(table), int(table["seeds"].min())
    if fewest < FEWEST_SEEDS:
        who = f"None of {n} languages can" if n > 1 else "The one language cannot"
        return f"{who} be judged with {fewest} seed{'s' * (fewest != 1)}."
    both, seed = (_movers(table, column) for column in ("q_both", "q_seed"))
    is_whole = "p_examples" in table and table["p_examples"].isna().all()
    text = (
        f"Of {n} language{'s' * (n != 1)}, each for itself and corrected for their number (false discovery rate 5 %), "
        f"{_counted(both[0], 'gain')} and {_counted(both[1], 'lose')}, "
        f"{'seeds alone' if is_whole else 'seeds and test sentences both'} counted"
    )
    if len(seed[0]) > len(both[0]) or len(seed[1]) > len(both[1]):
        text += f"; on these very sentences {len(seed[0])} gain and {len(seed[1])} lose"
    return f"{text}. Languages are exploratory: the claim is the primary endpoint."


def _movers(table: pd.DataFrame, column: str) -> tuple[list[str], list[str]]:
    sure = table[table[column] < ALPHA]
    gain, loss = (
        sorted(map(str, sure.loc[side, "language"])) for side in (sure["difference"] > 0, sure["difference"] < 0)
    )
    return gain, loss


def _counted(names: Sequence[str], verb: str) -> str:
    if not names:
        return f"none {verb}s"
    return f"{len(names)} {verb}{'s' * (len(names) == 1)} ({', '.join(names)})"


def group(row: pd.Series[float]) -> str:
    """One row of `groups.group_contrasts`."""
    interval = Interval(float(row["low"]), float(row["high"]))
    text = (
        f"{_capital(str(row['group']))} ({row['n_group']:.0f} languages) against {row['rest']} ({row['n_rest']:.0f}): "
        f"gains differ by {points(float(row['difference']))} points (95 % interval over languages {span(interval)}, "
        f"permutation p {p_text(float(row['p']))}, corrected {p_text(float(row['q']))})"
    )
    if not float(row["q"]) < ALPHA:
        return f"{text}: no difference between the groups can be told."
    adjusted = Interval(float(row["adjusted_low"]), float(row["adjusted_high"]))
    if not adjusted.known:
        return f"{text}; too few languages to account for baseline score and pretraining size."
    if adjusted.excludes_zero:
        return f"{text}; baseline score and pretraining size do not account for it (adjusted {span(adjusted)})."
    return f"{text}; given baseline score and pretraining size none can be told (adjusted {span(adjusted)})."


def repeated_control(control: str) -> str:
    """A control that a study has confirmed and that is the headline once more."""
    return f"{_capital(control)} is left out: the headline is itself random noise of that norm, and equals it."


def another_encoder(name: str) -> str:
    """A confirmed configuration that differs from the headline in more than its method."""
    return f"{_capital(name)} has another encoder than the headline: it is compared with no control."


def no_groups(comparisons: int) -> str:
    """Where no comparison of groups stands after correction."""
    return f"None of {comparisons} comparisons between groups of languages shows a difference in gain that can be told."


def resource(rho: float, interval: Interval, p: float, n: int) -> str:
    """Spearman's correlation of gain with resource class over languages."""
    if n == 1:
        return "Gain and resource class: one language has no correlation."
    if math.isnan(rho) and n > 3:
        return f"Gain and resource class: all of {n} languages gain alike, so there is no correlation."
    if math.isnan(p):
        return f"Gain and resource class: {n} languages are too few for a correlation."
    spread = f"95 % interval {signed(interval.low)} to {signed(interval.high)}, " if interval.known else ""
    text = f"Gain against resource class over {n} languages: Spearman {signed(rho)} ({spread}p {p_text(p)})"
    if not p < ALPHA or (interval.known and not interval.excludes_zero):
        return f"{text}; no trend can be told."
    return f"{text}; gains {'rise' if rho > 0 else 'fall'} with resources."


def trend(table: pd.DataFrame) -> str:
    """Correlation of gain with resource class at each magnitude (`dose.resource_trend`)."""
    n = len(table)
    if not n:
        return "Gain against resource class: no target language was scored at any magnitude."
    sure = table[table["q"] < ALPHA]
    text = f"Gain against resource class at {n} magnitude{'s' * (n != 1)} (Spearman over languages, corrected)"
    if sure.empty:
        return f"{text}: no trend can be told at any."
    parts = [
        f"{'rises' if r > 0 else 'falls'} with resources at {m.replace('_', ' ')} {d:.2g} ({signed(r)})"
        for m, d, r in zip(sure["method"], sure["relative_norm"], sure["rho"], strict=True)
    ]
    return f"{text}: gain {_and(parts)}."


def response(r: Response) -> str:
    """What one response to the dose allows to say."""
    where = f"{_capital(r.unit)}, {r.series.replace('_', ' ')}"
    if r.levels["low"].isna().all():
        return f"{where}: too few values at each dose for any interval; nothing is concluded."
    return f"{where}: {'; '.join([_harm(r), *_benefit(r)])}."


def _harm(r: Response) -> str:
    largest, judged = r.levels["relative_norm"].max(), r.levels.dropna(subset="high")["relative_norm"].max()
    if judged == largest:
        at, up = f"the largest dose tried ({largest:.2g})", f"up (the largest was {largest:.2g})"
    else:
        at = f"{judged:.2g}, nor at the largest dose tried ({largest:.2g}), which has no interval"
        up = f"up to {judged:.2g} (the largest, {largest:.2g}, has no interval)"
    if not np.isfinite(r.harm_from):
        return f"harm cannot be told at {at}"
    return f"worse than no perturbation at every dose tried from {r.harm_from:.2g} {up}"


def _benefit(r: Response) -> Iterator[str]:
    if not r.gains:
        yield "no dose tried is better than no perturbation as far as can be told"
        return
    listed = _and([f"{g:.2g}" for g in r.gains])
    yield f"better than no perturbation at {listed}, each dose taken for itself"
    if r.best_gain.known:
        yield f"the largest gain, {span(r.best_gain)} points at {r.best:.2g}, was picked as the largest and so flatters"
    if not r.optimum.known:
        yield "where the best dose lies cannot be told, it may be outside of what was tried"
        return
    low, high = r.optimum.low, r.optimum.high
    place = f"is {low:.2g}" if low == high else f"lies between {low:.2g} and {high:.2g}"
    yield f"the best of the doses tried {place} (95 %)"


def response_caveats(found: Sequence[Response]) -> Iterator[str]:
    """What the intervals of responses leave out."""
    if any(not r.paired for r in found):
        yield (
            "Not every seed of the design has a baseline: the baseline's own noise is in none of these intervals, and "
            "may move all gains alike."
        )
    series = len({r.series for r in found})
    if series > 1:
        yield (
            f"Each of the {series} series is judged for itself, at 5 % a dose and 2.5 % for harm: among so many a "
            "false finding is likelier than in one."
        )
    if any(r.over == "points" for r in found):
        yield "The design has too few seeds: intervals are over points of similar dose, not over seeds."
    if any(r.levels["points"].max() > 1 for r in found):
        yield "Few points of the design have seeds enough of their own: a dose here is the mean of neighbouring ones."


def optimism(o: Optimism, headline: str) -> str:
    """The winner's curse."""
    text = (
        f"When {headline} was chosen, its mean over {len(o.languages)} languages was {points(o.chosen, False)} on "
        f"validation; fresh seeds gave {points(o.fresh, False)} there and {points(o.test, False)} on test"
    )
    numbers = f"{points(o.chosen - o.fresh)} points (95 % interval {span(o.curse)})"
    if not o.same_examples:
        return f"{text}. The two are of different numbers of sentences: what choosing did cannot be told."
    if not o.curse.known:
        return f"{text}."
    if not o.curse.excludes_zero:
        return f"{text}. Whether choosing flattered it cannot be told: {numbers}."
    return (
        f"{text}. {'Choosing flattered it' if o.chosen > o.fresh else 'It scored lower when it was chosen'}: {numbers}."
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def parsed(evaluation: Evaluation | None) -> str:
    """Whose trees a trial with syntax had: ``gold``, or by language; empty without syntax."""
    shares = {how: evaluation.scores[name] for name, how in PARSED.items() if evaluation and name in evaluation.scores}
    if not shares:
        return ""
    of: dict[str, list[str]] = {}
    for code in next(iter(shares.values())).languages:
        of.setdefault(next((how for how, found in shares.items() if found[code] > 0), "none"), []).append(code)
    return next(iter(of)) if len(of) == 1 else "; ".join(f"{how} {', '.join(codes)}" for how, codes in of.items())
