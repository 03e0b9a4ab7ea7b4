"""What a suite's confirmed members say together: one mean gain over their tasks, and which languages gain more.

A member's gain is that of its headline over its strongest control, under the seeds that both have, on the test split,
in its task's own metric whatever it claims itself. Of an endpoint of which less is better, less is a gain.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from study.analysis import crossed, pooled
from study.analysis.frames import language_scores, reduce_seeds, seed_table
from study.analysis.pooled import Claim, Pooled
from study.question.objectives import UnscoredError
from study.reporting import slopes, suite_words
from study.reporting.findings import Confirmed, Findings
from study.reporting.slopes import Both
from study.reporting.suite_words import CUT_FINE, DISTANT, LOW_RESOURCE, Question
from study.reporting.table import Table

HEADLINES = "The members' headlines over their strongest controls"
"""What is pooled: each member has a configuration of its own."""

QUESTIONS: Mapping[str, Question] = {"resources": LOW_RESOURCE, "distance": DISTANT, "fertility": CUT_FINE}
"""Those about a fact that nothing is known of are not asked."""


@dataclass(frozen=True)
class Together:
    """The answers over all members that are confirmed; fewer than two give none."""

    endpoint: str
    gain: Pooled | None
    words: tuple[tuple[str, str], ...]
    """Topic and sentence, in the order in which they are to be read."""
    table: pd.DataFrame
    """One row per member: task, gain (points), seeds."""
    slopes: tuple[Both, ...] = ()
    """On every fact that is known, those that no question is about too."""


def together(found: Mapping[str, Findings], endpoint: str | None) -> Together:
    """Pool what is there. `endpoint` is the suite's; without one the target mean is shown, and claimed it is not."""
    name = endpoint or "target_mean"
    confirmed = {m: f for m, f in found.items() if f.confirmed is not None}
    frame = pd.concat([pd.DataFrame(), *(_endpoint(m, f, name) for m, f in confirmed.items())], ignore_index=True)
    if frame.empty or frame["task"].nunique() < 2:
        return Together(name, None, (), pd.DataFrame())
    gains = pooled.pool(frame)
    if not gains:  # no member has its scores under all seeds
        return Together(name, None, (), pd.DataFrame())
    (gain,), (cells, lacking) = gains, _cells(confirmed)
    questions = {topic: each for topic, each in QUESTIONS.items() if cells[each.covariate].notna().any()}
    asked = {
        (topic, kind): crossed.slope(cells, HEADLINES, question.covariate, adjusted, over_tasks)
        for topic, question in questions.items()
        for kind, adjusted, over_tasks in (("plain", False, False), ("adjusted", True, False), ("alike", False, True))
    }
    claims = [Claim("gain", gain.alike.estimate, gain.alike.interval, gain.alike.p)] if endpoint else []
    claims += [Claim(t, s.estimate, s.interval, s.p) for (t, kind), s in asked.items() if kind == "plain"]
    holm = {claim.name: claim.p_adjusted for claim in pooled.adjust(claims)}
    said = [*suite_words.pooled(gain, holm.get("gain", float("nan"))), *suite_words.fall(name)]
    words = [("Gain", text) for text in said]
    if early := [m for m, f in confirmed.items() if f.source.looks and f.source.looks[-1]["verdict"] == "crossed"]:
        words.append(("Gain", suite_words.stopped_early(early)))
    if stuck := [m for m, f in confirmed.items() if _compared(f) & f.source.stuck.keys()]:
        words.append(("Caution", suite_words.one_answer(stuck)))
    if lost := [m for m, f in confirmed.items() if _lost_seeds(f)]:
        words.append(("Caution", suite_words.lost_seeds(lost)))
    if lacking:
        words.append(("Languages", suite_words.lacking(lacking)))
    for topic, question in questions.items():
        plain, adjusted, alike = (asked[topic, kind] for kind in ("plain", "adjusted", "alike"))
        said = suite_words.slope(question, plain, adjusted, alike, holm.get(topic, float("nan")))
        told = {text for _, text in words}
        words += [(topic.capitalize(), text) for text in said if text not in told]
    table = gain.tasks[["task", "gain", "seeds"]].assign(gain=100 * gain.tasks["gain"])
    return Together(name, gain, tuple(words), table, tuple(slopes.find(cells, [HEADLINES])))


def sides(findings: Findings, confirmed: Confirmed) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores by seed and language, in the task's own metric, of headline and strongest control on the seeds of both."""
    results = findings.source.of_the_task
    assert results is not None, "what is confirmed has results"
    scores = language_scores(results[results["split"] == "test"])
    treated, control = (seed_table(scores, name) for name in (confirmed.headline, confirmed.control))
    seeds = treated.index.intersection(control.index)
    languages = treated.columns.intersection(control.columns)
    return treated.loc[seeds, languages], control.loc[seeds, languages]


def _compared(findings: Findings) -> set[str]:
    """The configurations that the gain is of."""
    assert findings.confirmed is not None
    return {findings.confirmed.headline, findings.confirmed.control}


def _lost_seeds(findings: Findings) -> bool:
    """Whether the headline or its control has no scores under some of its seeds."""
    seeds = findings.source.seeds
    return any(seeds[name][0] < seeds[name][1] for name in _compared(findings) & seeds.keys())


def _endpoint(member: str, findings: Findings, endpoint: str) -> pd.DataFrame:
    """Rows of the gains frame whose only language is the endpoint; none where the member's languages have no such."""
    assert findings.confirmed is not None
    treated, control = sides(findings, findings.confirmed)
    reduction = findings.source.gain(endpoint)
    try:
        values = {"score": reduce_seeds(treated, reduction), "baseline": reduce_seeds(control, reduction)}
    except UnscoredError:
        return pd.DataFrame()
    rows = pd.DataFrame(values).rename_axis("seed").reset_index()
    return rows.assign(task=member, language=endpoint, configuration=HEADLINES)


def _cells(found: Mapping[str, Findings]) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """Every target language of every member, with what is known of it as a target of the member's source; and the
    languages that are not in it, by member, since they lack a score under some seed."""
    frames: list[pd.DataFrame] = []
    for member, findings in found.items():
        assert findings.confirmed is not None
        treated, control = sides(findings, findings.confirmed)
        targets = findings.source.targets(treated.columns)
        long = pd.DataFrame({"score": treated[targets].stack(), "baseline": control[targets].stack()}).rename_axis(
            ["seed", "language"]
        )
        frames.append(with_facts(long.reset_index(), findings).assign(task=member, configuration=HEADLINES))
    frame = pd.concat(frames, ignore_index=True)
    unknown = frame[frame[["score", "baseline"]].isna().any(axis=1)]
    lacking = {str(member): sorted(map(str, each.unique())) for member, each in unknown.groupby("task")["language"]}
    return crossed.cells(frame, variants(found.values())), lacking


def with_facts(rows: pd.DataFrame, findings: Findings) -> pd.DataFrame:
    """Rows of target languages with what is known of each as a target of the member's source."""
    source, task = findings.source, findings.source.config.trial.task
    targets = list(map(str, rows["language"].unique()))
    known = crossed.facts(targets, task.source_language, source.pretraining, task.own, measured=source.config.measured)
    return rows.merge(known, on="language")


def variants(found: Iterable[Findings]) -> dict[str, str]:
    """Regional variant -> the language that it counts in."""
    facts = [row for each in found for row in each.source.facts.itertuples()]
    return {str(row.language): str(row.variant_of) for row in facts if row.variant_of}


def slope_table(answers: Together) -> Table:
    """Which languages gain more, by fact."""
    text = (
        "Which languages gain more: slope of the gain in points per unit of a fact of the language, over languages and "
        "tasks (REML, Kenward and Roger), as languages are and at equal baseline score; 95 % about new languages in "
        "these tasks. What is claimed of them is said above, corrected; every other row is exploratory."
    )
    return slopes.table("gain_slopes", text, "gain", answers.slopes)


def tables(answers: Together) -> Iterator[tuple[str, str]]:
    """The gain of each member in words, for a table of names."""
    for row in answers.table.itertuples():
        yield str(row.task), f"{row.gain:+.1f} points over {row.seeds} seeds".replace("-", "−")
