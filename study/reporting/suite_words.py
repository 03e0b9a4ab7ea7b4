"""What may be said of a configuration over many tasks, in words as strong as the tasks and languages allow.

=========================================== ========================================================================
of the mean gain over tasks
interval on tasks like these excludes zero  a gain on tasks like these, and whether one task carries it
only the one on these tasks                 a gain on these tasks; another set of tasks may say otherwise
neither                                     no gain can be told; what the data allow is said as a range
of a slope over languages
interval excludes zero, also adjusted       languages of that kind gain more (less), also at equal baseline score
only unadjusted                             they do; their baseline may be all there is to it
neither                                     cannot be told, and which slope so many languages would have shown
=========================================== ========================================================================

Slopes are what goes together over languages, never causes: resources, distance, script and fertility go together too.
A claim that is made among several needs its Holm-adjusted p-value under `words.ALPHA` as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from study.analysis.crossed import Covariate, Slope
from study.analysis.pooled import Pooled
from study.analysis.random_effects import RandomEffects
from study.question import objectives
from study.reporting.words import ALPHA, p_text, points, reduction, span


@dataclass(frozen=True)
class Question:
    """A claim of the literature, as a slope with a sign."""

    covariate: Covariate
    claim: str
    sign: int
    """Of the slope, if the claim holds."""
    unit: str
    scale: float = 1.0
    """Units of the fact that a slope is told for."""


LOW_RESOURCE = Question("resource_class", "low-resource languages gain more", -1, "resource class")
DISTANT = Question(
    "distance", "the gain grows with the distance from the source", 1, "0.1 of typological distance", 0.1
)

CUT_FINE = Question("fertility", "languages whose words are cut into more tokens gain more", 1, "token a word")

LOSSES = "To lose less counts as gaining more."

TOGETHER = (
    "This is what goes together over these languages, not a cause: resources, distance from the source, script and "
    "baseline score go together themselves."
)


def fall(endpoint: str) -> list[str]:
    """What a gain is in an endpoint of which less is better; nothing of another."""
    is_lower_better = objectives.is_lower_better(endpoint, None)
    return [f"Less of the {reduction(endpoint)} is better: a gain is by how much it fell."] if is_lower_better else []


def pooled(found: Pooled, p_adjusted: float = math.nan) -> list[str]:
    """Sentences about the mean gain of one configuration over tasks; `p_adjusted` of the one on tasks like these."""
    alike, count = found.alike, len(found.tasks)
    numbers = f"{points(found.here)} points over {count} task{'s' * (count != 1)}"
    if not found.here_interval.known:
        why = "with one seed a task" if found.tasks["seeds"].max() < 2 else "since seeds agree to the last digit,"
        said = [f"{found.configuration}: {numbers}; {why} nothing is said of new seeds."]
    else:
        said = [f"{found.configuration}: {numbers} (95 % interval {span(found.here_interval)} on these tasks)."]
    if found.missing:
        said.append(f"Not in it, for want of scores: {', '.join(found.missing)}.")
    if not alike.interval.known:
        agree = "Tasks that agree to the last digit say nothing of tasks like these."
        return [*said, "One task says nothing of tasks like it." if count == 1 else agree]
    seen = alike.interval.excludes_zero and not p_adjusted >= ALPHA
    band = f"{points(alike.estimate)}, 95 % interval {span(alike.interval)}"
    if corrected := alike.interval.excludes_zero and not seen:
        band += f", p {p_text(p_adjusted)} after correction for the claims made together"
    if seen:
        said.append(f"On tasks like these it {'gains' if alike.estimate > 0 else 'loses'} ({band}).")
    elif found.here_interval.excludes_zero:
        what = "gain" if found.here > 0 else "loss"
        said.append(f"That is a {what} on these tasks; of tasks like these it cannot be told ({band}).")
    elif corrected:
        said.append(f"No difference can be told on tasks like these ({band}).")
    else:
        said.append(f"No difference can be told: on tasks like these anything in {span(alike.interval)} is possible.")
    said.append(_heterogeneity(alike))
    if seen:
        said.append(_carried(found))
    return said


def stopped_early(members: Sequence[str]) -> str:
    """Of members whose confirmation was ended by what it had shown."""
    return (
        f"The confirmation of {', '.join(members)} ended early, since it had shown a difference: such a gain is a "
        "little too large in the mean. In its own claim, and beside those of other members, that is corrected for."
    )


def points_of_design(found: Sequence[tuple[float, Pooled, float]]) -> list[str]:
    """Which points of a design gain, and lose, over tasks: (dose, pooled gain, p-value corrected over the points)."""
    if not any(g.alike.interval.known for _, g, _ in found):
        alone = all(len(g.tasks) == 1 for _, g, _ in found)
        why = "With one task a point" if alone else "Since tasks are too few, or agree to the last digit,"
        return [f"{why} nothing is said of tasks like these."]
    sure = [(g, p) for _, g, p in found if g.alike.interval.excludes_zero and p < ALPHA]
    said = []
    for verb, sign in (("gain", 1), ("lose", -1)):
        those = [f"{g.configuration} ({points(g.alike.estimate)})" for g, _ in sure if g.alike.estimate * sign > 0]
        if those:
            said.append(f"On tasks like these {verb}{'s' * (len(those) == 1)}: {'; '.join(those)}.")
    left = len(found) - len(sure)
    if left:
        who = "the other" if sure else "the"
        said.append(
            f"Of {who} {left} point{'s' * (left != 1)} it cannot be told whether tasks like these gain or lose."
        )
    return said


def dose_slope(question: Question, plain: Slope, adjusted: Slope, dose: str) -> str:
    """Whether a claim's slope grows with the dose: `plain` and `adjusted` are of the gain per unit of it."""
    who = f"{plain.languages} languages in {plain.tasks} tasks"
    if not plain.interval.known:
        return (
            f"Whether {question.claim} all the more at a larger dose cannot be told: {who} are too few, or too alike."
        )
    rate = f"{_rate(question, plain)} and unit of {dose}, over {who}"
    if not plain.interval.excludes_zero:
        return f"Whether {question.claim} all the more at a larger dose cannot be told: {rate}."
    claim = question.claim[0].upper() + question.claim[1:]
    holds = plain.estimate * question.sign > 0
    head = f"{claim}, the more so the larger the dose" if holds else f"With the dose the opposite of “{claim}” grows"
    return f"{head}: {rate}. {LOSSES} {_at_equal_baseline(question, plain, adjusted)}"


def _heterogeneity(alike: RandomEffects) -> str:
    future = f"another such task, measured as these are, is expected within {span(alike.prediction)} (95 %)"
    if math.isnan(alike.tau2):
        return f"How tasks differ is not told apart from how seeds do; {future}."
    differ = (
        f"tasks differ by more than seeds do (p {p_text(alike.p_heterogeneity)})"
        if alike.p_heterogeneity < ALPHA
        else f"that tasks differ cannot be told (p {p_text(alike.p_heterogeneity)})"
    )
    spread = points(math.sqrt(alike.tau2), signed=False)
    upper = points(math.sqrt(max(alike.tau2_interval.high, 0.0)), signed=False)
    return (
        f"{differ.capitalize()}: standard deviation of the true gains {spread} points, at most {upper} by its "
        f"interval; I² {100 * alike.i2:.0f} %; {future}."
    )


def _carried(found: Pooled) -> str:
    rows = found.without
    held = (rows["alike_low"] > 0) if found.alike.estimate > 0 else (rows["alike_high"] < 0)
    if held.all():
        return "It holds whichever task is left out."
    told = rows["alike_low"].notna()
    said = []
    if (told & ~held).any():
        said.append(f"It does not hold without {_or_without(rows.loc[told & ~held, 'task'])}.")
    if not told.all():
        said.append(f"Whether it holds without {_or_without(rows.loc[~told, 'task'])} cannot be told.")
    return " ".join(said)


def _or_without(tasks: Iterable[object]) -> str:
    return ", or without ".join(map(str, tasks))


def one_answer(members: Sequence[str]) -> str:
    """Members whose headline or strongest control answers alike whatever it is asked."""
    return (
        f"In {' and in '.join(members)} the headline or its control gives one answer to all test sentences under some "
        "seed, and has not learned the task: what differs there is in all that is said here, and is no gain or loss "
        "of a method."
    )


def lost_seeds(members: Sequence[str]) -> str:
    """Members whose headline or strongest control failed under some of its seeds."""
    return (
        f"In {' and in '.join(members)} the headline or its control has no scores under some of its seeds: what is "
        "said here is of the seeds that are left, and a method that breaks under the others looks better than it is."
    )


def lacking(languages: Mapping[str, Sequence[str]]) -> str:
    """Languages that are left out, by member."""
    those = "; ".join(f"{', '.join(codes)} of {member}" for member, codes in languages.items())
    return f"Left out of what follows, since a score is missing under some seed: {those}."


def slope(
    question: Question, plain: Slope, adjusted: Slope, alike: Slope | None = None, p_adjusted: float = math.nan
) -> list[str]:
    """Sentences that answer one question: `plain` and `adjusted` about these tasks, `alike` (unadjusted) about tasks
    like these, `p_adjusted` Holm's of the plain one."""
    who = f"{plain.languages} languages in {plain.tasks} tasks"
    dropped = f"; {len(plain.dropped)} more, whose fact is unknown, are left out" if plain.dropped else ""
    if not plain.interval.known:
        return [f"Whether {question.claim} cannot be told: {who} are too few, or too much alike{dropped}."]
    numbers = f"{_rate(question, plain)} over {who}{dropped}"
    if not plain.interval.excludes_zero or p_adjusted >= ALPHA:
        least = points(abs(plain.detectable) * question.scale, signed=False)
        holm = f" (corrected for the claims made together, p {p_text(p_adjusted)})" if p_adjusted >= ALPHA else ""
        return [
            f"Whether {question.claim} cannot be told{holm}: {numbers}.",
            f"So many languages and tasks show a slope of {least} points with a chance of 80 %: a smaller one is not "
            "ruled out.",
        ]
    holds = plain.estimate * question.sign > 0
    claim = question.claim[0].upper() + question.claim[1:]
    said = [
        f"{claim}, in these tasks: {numbers}." if holds else f"The opposite of “{question.claim}” is seen: {numbers}."
    ]
    said.append(_at_equal_baseline(question, plain, adjusted))
    said.append(_direction(plain))
    if alike is not None:
        held = alike.interval.excludes_zero and alike.estimate * plain.estimate > 0
        said.append(
            f"Of tasks like these {'it holds too' if held else 'it cannot be told'} ({_rate(question, alike)})."
        )
    return [*said, LOSSES, TOGETHER]


def _at_equal_baseline(question: Question, plain: Slope, adjusted: Slope) -> str:
    if not adjusted.interval.known:
        return "Whether it holds at equal baseline score cannot be told: there are too few languages."
    if adjusted.interval.excludes_zero and adjusted.estimate * plain.estimate > 0:
        return f"It holds at equal baseline score as well ({_rate(question, adjusted)})."
    return (
        f"At equal baseline score it cannot be told ({_rate(question, adjusted)}): it may be no more than what goes "
        "with the baseline."
    )


def _direction(plain: Slope) -> str:
    same, tasks = sum(v * plain.estimate > 0 for v in plain.by_task.values()), len(plain.by_task)
    if not tasks:
        return "No task alone has languages enough for a slope."
    return f"The slope has this sign in {same} of the {tasks} task{'s' * (tasks != 1)} with languages enough for one."


def _rate(question: Question, found: Slope) -> str:
    low, high = found.interval.low * question.scale, found.interval.high * question.scale
    band = f"{points(low)} to {points(high)}" if found.interval.known else "unknown"
    return f"{points(found.estimate * question.scale)} points of gain per {question.unit} (95 % interval {band})"
