"""Every table of one study, and of several: captions that carry the protocol."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from study.analysis.differences import Difference, adjust
from study.analysis.importance import pareto_front
from study.analysis.intervals import Interval
from study.question import objectives
from study.reporting import beside, words
from study.reporting.findings import Confirmed, Findings
from study.reporting.source import REDUCTIONS, Source, caption
from study.reporting.table import Table
from trainables import pretraining
from trainables.conditions import MEASURED

MOST_TRIALS = 25
"""Trials that the table of trials shows: the best by the objective, and the baseline."""

SHORT = {
    "target_mean": "targets", "low_resource_mean": "low-resource", "worst_language": "worst", "transfer_gap": "gap",
    "relative_norm": "norm", "forward_equivalents": "cost", "value": "objective",
}  # fmt: skip
"""Column titles of reductions and of what a trial reports."""


def all_tables(findings: Findings) -> Iterator[Table]:
    """Every table that the data of one study allow."""
    source, confirmed = findings.source, findings.confirmed
    if confirmed is not None:
        yield headline(source, confirmed)
        yield scores(source, confirmed)
        yield languages(source, confirmed)
        if len(confirmed.groups):
            yield group_table(source, confirmed)
        if len(confirmed.further):
            yield further(source, confirmed)
    if findings.published:
        yield beside.table(source, findings.published)
    if findings.dosed is not None and findings.dosed.responses:
        yield trend(findings)
        yield doses(findings)
    if len(source.summary):
        yield trials(source)
        yield cost(source)


def headline(source: Source, confirmed: Confirmed) -> Table:
    """The primary endpoint: headline against every control, and what else was confirmed against the strongest."""
    means = confirmed.scores[confirmed.scores["reduction"] == source.endpoint].set_index("configuration")["mean"]
    rows = []
    for d in (*confirmed.controls, *confirmed.others, *confirmed.averages):
        is_claim = (d.treatment, d.control) == (confirmed.headline, confirmed.control)
        mark = " (the claim)" if is_claim else " (shown, not claimed)" if d.treatment != confirmed.headline else ""
        label, paid = (known.get(d.treatment, "–") for known in (source.supervision, source.cost))
        first, second = means[d.treatment], means[d.control]
        row = (
            f"{d.treatment} − {d.control}{mark}", label, paid, f"{100 * first:.1f}", f"{100 * second:.1f}",
            words.points(d.estimate), _paired_seeds(source, d), words.span(d.by_seed), words.span(d.by_both),
            words.p_text(d.p_seed), words.p_text(d.p_both), words.p_text(d.p_adjusted),
            words.p_text(d.p_sign_flip), f"{100 * d.example_share:.0f} %",
        )  # fmt: skip
        rows.append(row)
    text = (
        f"Primary endpoint ({words.reduction(source.endpoint)}, test {source.claimed}), in points. {caption(source)} "
        "The claim is the difference from the strongest control. Intervals at 95 %, paired by seed: over seeds on "
        "these sentences, and over seeds and sentences both; last column: share of the latter's variance that is the "
        "sentences'. Cost: forward-equivalents of a training of the first, and of the alignment that they share. "
        "p: t tests over seeds, and over both; Holm: the latter adjusted over the controls; flips: "
        "sign-flip test over seeds."
    )
    if not confirmed.claim.samples_examples:
        text += f" {words.WHOLE_LANGUAGES}"
    if confirmed.claim.is_lower_better:
        text += f" {words.LESS_IS_BETTER}"
    if source.looks:
        text += f" {words.looks(source.looks, source.config.protocol.most_seeds)}"
    columns = (
        "difference", "supervision", "cost", "first", "second", "Δ", "seeds", "95 % seeds", "95 % both", "p seeds",
        "p both", "p Holm", "p flips", "sentences",
    )  # fmt: skip
    return Table("headline", text, columns, tuple(rows), (0, 1))


def scores(source: Source, confirmed: Confirmed) -> Table:
    """Every confirmed configuration: reductions as mean ± SD over seeds."""
    there = {*confirmed.scores["reduction"]}
    if len(source.summary):  # of results without a study nobody knows the source
        there |= set(filter(objectives.needs_source, REDUCTIONS))
    reductions = [r for r in dict.fromkeys((*REDUCTIONS, source.endpoint)) if r in there]
    cells = {(r["configuration"], r["reduction"]): r for r in confirmed.scores.to_dict("records")}
    names = list(dict.fromkeys(confirmed.scores["configuration"]))
    names.sort(key=lambda name: (name != confirmed.headline, not name.startswith("control"), name))
    rows = tuple(
        (
            name
            + (" (headline)" if name == confirmed.headline else " (strongest)" if name == confirmed.control else ""),
            source.described.get(name, ""),
            source.supervision.get(name, "–"),
            _of(*source.seeds.get(name, (0, 0))),
            *(_mean_sd(cells.get((name, r))) for r in reductions),
        )
        for name in names
    )
    text = (
        f"What was confirmed: test {source.claimed} in points, mean ± standard deviation over seeds. {caption(source)} "
        "Supervision: what the method uses beside the labels of the source language."
        + " –: the source language has no test rows."
        * (not there <= set(confirmed.scores["reduction"]))
    )
    titles = tuple(f"{SHORT.get(r, r)}{' (primary)' if r == source.endpoint else ''}" for r in reductions)
    return Table("scores", text, ("configuration", "what it is", "supervision", "seeds", *titles), rows, (0, 1, 2))


def _of(some: int, planned: int) -> str:
    """``8``, or ``6 of 8``."""
    return f"{planned}" if some == planned else f"{some} of {planned}"


def _paired_seeds(source: Source, d: Difference) -> str:
    """Seeds that a difference is over, of those that its treatment was to be trained under."""
    planned = max(source.seeds.get(name, (0, 0))[1] for name in (d.treatment, d.control))
    return _of(len(d.seeds), max(planned, len(d.seeds)))


def _mean_sd(cell: Mapping[Any, Any] | None) -> str:
    if cell is None:
        return "–"
    mean, sd = 100 * float(cell["mean"]), 100 * float(cell["sd"])
    return f"{mean:.1f} ± {sd:.1f}" if cell["seeds"] > 1 else f"{mean:.1f}"


def languages(source: Source, confirmed: Confirmed) -> Table:
    """Every language: scores, difference, both intervals, corrected p-values; what was measured of it, if anything."""
    rows = []
    known = measured(confirmed.languages)
    for r in confirmed.languages.sort_values("difference", ascending=False).to_dict("records"):
        resource = r["resource_class"]
        row = (
            f"{r['name']} ({r['language']})", "–" if pd.isna(resource) else f"{resource:.0f}", r["script"] or "–",
            {True: "yes", False: "no"}.get(r["seen"], "–"),
            *(decimals(r[name]) for name in known), f"{r['examples']:.0f}",
            f"{100 * r['control']:.1f}", f"{100 * r['treatment']:.1f}", words.points(r["difference"]),
            words.span(Interval(r["seed_low"], r["seed_high"])), words.span(Interval(r["both_low"], r["both_high"])),
            *(words.p_text(r[c]) for c in ("q_seed", "q_both", "q_examples")),
        )  # fmt: skip
        rows.append(row)
    tests = ", ".join(sorted(confirmed.languages["test"].unique()))
    text = (
        f"{confirmed.headline} against {confirmed.control}, test {source.claimed} by language, in points. "
        f"{caption(source)} Exploratory: q are p-values corrected for the number of languages (Benjamini-Hochberg): "
        f"over seeds, over seeds and sentences, over sentences with the trained models held ({tests}). seen: in "
        f"pretraining, by the published list of {pretraining.words(source.pretraining)}. n: test sentences."
        + " fertility: tokens a word, overlap: share of its tokens that are trained on."
        * bool(known)
    )
    if not confirmed.claim.samples_examples:
        text += f" {words.WHOLE_LANGUAGES}"
    if source.is_error:
        text += f" {words.LESS_IS_BETTER}"
    columns = (
        "language", "class", "script", "seen", *known, "n", confirmed.control, confirmed.headline, "Δ", "95 % seeds",
        "95 % both", "q seeds", "q both", "q sentences",
    )  # fmt: skip
    return Table("languages", text, columns, tuple(rows), (0, 2))


def measured(facts: pd.DataFrame) -> list[str]:
    """Columns of a facts frame in which something was measured."""
    return [name for name in MEASURED if facts[name].notna().any()]


def decimals(value: Any) -> str:
    """A measured number, ``–`` where it is unknown."""
    return "–" if pd.isna(value) else f"{value:.2f}"


def group_table(source: Source, confirmed: Confirmed) -> Table:
    """Groups of languages compared."""
    rows = []
    for r in confirmed.groups.to_dict("records"):
        row = (
            f"{r['group']} against {r['rest']}", f"{r['n_group']} : {r['n_rest']}",
            words.points(r["mean_group"]), words.points(r["mean_rest"]), words.points(r["difference"]),
            words.span(Interval(r["low"], r["high"])), words.p_text(r["p"]), words.p_text(r["q"]),
            words.points(r["adjusted"]), words.span(Interval(r["adjusted_low"], r["adjusted_high"])),
            f"{r['adjusted_n']}", words.span(Interval(r["seed_low"], r["seed_high"])),
        )  # fmt: skip
        rows.append(row)
    of = f" of test {source.claimed}, less of which is a gain" if source.is_error else ""
    text = (
        f"Gain of {confirmed.headline} over {confirmed.control} by group of target languages, in points{of}. "
        f"{caption(source)} The unit is the language, regional variants count once: Welch interval and permutation p "
        "over languages; q: corrected (Benjamini-Hochberg); adjusted: given baseline score and log pretraining size "
        f"({pretraining.words(source.pretraining)}'s); last column: interval over seeds, these languages held."
    )
    columns = ("groups", "n", "gain", "rest", "Δ", "95 %", "p", "q", "adjusted Δ", "95 %", "n", "95 % seeds")
    return Table("groups", text, columns, tuple(rows))


def further(source: Source, confirmed: Confirmed) -> Table:
    """What else was scored on the test split: calibration, noise, attack, agreement …"""
    rows = tuple(
        (
            r["metric"].replace("_", " "), f"{r['languages']}", f"{r['seeds']}", f"{r['headline']:.4f}",
            f"{r['control']:.4f}", f"{r['difference']:+.4f}",
            f"{r['low']:+.4f} to {r['high']:+.4f}" if np.isfinite(r["low"]) else "–",
        )
        for r in confirmed.further.to_dict("records")
    )  # fmt: skip
    text = (
        f"Further test scores: {confirmed.headline} against {confirmed.control}, means over the target languages that "
        f"have the score, in its own unit (fractions, not points). {caption(source)} Intervals at 95 %, over paired "
        "seeds. Exploratory, not corrected for their number; of errors (Brier, calibration error, success of an "
        "attack) less is better, and what is right under attack is an upper bound."
    )
    columns = ("score", "languages", "seeds", "headline", "control", "Δ", "95 % seeds")
    return Table("further", text, columns, rows)


def doses(findings: Findings) -> Table:
    """Every level of every response."""
    assert findings.dosed is not None
    rows = []
    for response in findings.dosed.responses:
        for level in response.levels.to_dict("records"):
            interval = words.span(Interval(level["low"], level["high"]))
            values = f"{level['values']:.0f} {response.over}"
            cells = (f"{level['relative_norm']:.3f}", words.points(level["gain"]), interval, values)
            rows.append((response.unit, response.series.replace("_", " "), f"{response.languages}", *cells))
    text = (
        f"Gain over no perturbation by dose, validation {findings.source.metric}, in points. "
        f"{caption(findings.source)} Dose: achieved RMS norm of the perturbation per token over the encoder's mean "
        "embedding norm; of moved weights, over theirs; of respelt or replaced words, "
        "their share. Intervals at 95 %, each for itself."
    )
    if findings.source.failed:
        text += f" {words.failed_points(findings.source.failed, findings.source.designed)}"
    return Table("doses", text, ("languages", "series", "n", "dose", "gain", "95 %", "mean over"), tuple(rows), (0, 1))


def trend(findings: Findings) -> Table:
    """Correlation of gain with resource class by magnitude."""
    assert findings.dosed is not None
    rows = tuple(
        (
            r["method"].replace("_", " "), f"{r['relative_norm']:.3f}", words.signed(r["rho"]),
            "–" if np.isnan(r["low"]) else f"{words.signed(r['low'])} to {words.signed(r['high'])}",
            words.p_text(r["p"]), words.p_text(r["q"]), f"{r['languages']}",
        )
        for r in findings.dosed.trend.to_dict("records")
    )  # fmt: skip
    text = (
        f"Spearman correlation of gain with resource class (5: most resources) over target languages, by magnitude; "
        f"validation {findings.source.metric}. {caption(findings.source)} Interval at 95 % (Bonett and Wright); q: "
        "corrected for the number of magnitudes (Benjamini-Hochberg)."
    )
    return Table("trend", text, ("method", "dose", "rho", "95 %", "p", "q", "languages"), rows)


def trials(source: Source) -> Table:
    """The baseline and the best trials by the objective."""
    objective = source.config.search.optimised[0]
    ranked = source.summary.sort_values("value", ascending=objective.direction == "minimize", na_position="last")
    baseline = ranked["kind"] == "baseline"
    shown = pd.concat([ranked[baseline], ranked[~baseline]]).head(MOST_TRIALS)
    hidden = ("augmentation.method", "training.seed")
    parameters = [c for c in shown.columns if "." in c and c not in hidden and shown[c].nunique() > 1]
    values = [c for c in ("value", *REDUCTIONS, "relative_norm", "forward_equivalents") if c in shown.columns]
    rows = tuple(
        (_trial_name(r), str(r["seed"]), *(_plain(r[p]) for p in parameters), *(_number(c, r[c]) for c in values))
        for r in shown.to_dict("records")
    )
    kind = "design" if source.config.search.mode == "design" else "search"
    more = f" The best {MOST_TRIALS} of {len(source.summary)}." if len(source.summary) > MOST_TRIALS else ""
    text = (
        f"Trials of the {kind}, validation {source.metric}.{more} {caption(source)} Objective: as the selection rule "
        "may see it; scores in points; norm: achieved, relative; cost in forward-equivalents."
    )
    titles = (*(p.rpartition(".")[2].replace("_", " ") for p in parameters), *(SHORT.get(c, c) for c in values))
    return Table("trials", text, ("trial", "seed", *titles), rows)


def _trial_name(trial: Mapping[Any, Any]) -> str:
    kind = f" {trial['kind']}" if trial["kind"] in ("baseline", "enqueued") else ""
    state = f" ({trial['state']})" if trial["state"] != "COMPLETE" else ""
    return f"{trial['trial']}{kind}{state}"


def _number(column: str, value: object) -> str:
    number = float("nan") if value is None else float(str(value))
    if np.isnan(number):
        return "–"
    formats = {"value": f"{number:.4f}", "relative_norm": f"{number:.3f}", "forward_equivalents": f"{number:,.0f}"}
    return formats.get(column, words.points(number, signed=False))


def _plain(value: object) -> str:
    if value is None or value != value:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def cost(source: Source) -> Table:
    """What no other trial beats in both validation score and cost."""
    column = source.cost_score
    complete = source.summary[source.summary["state"] == "COMPLETE"].dropna(subset=[column, "forward_equivalents"])
    lower = objectives.is_lower_better(column, None)
    front = complete[pareto_front(complete[[column, "forward_equivalents"]].to_numpy(), [not lower, False])]
    front = front.sort_values("forward_equivalents").drop_duplicates([column, "forward_equivalents"])
    rows = []
    for r in front.to_dict("records"):
        name, score = str(r["perturbation.method"]).replace("_", " "), f"{100 * r[column]:.1f}"
        rows.append((_trial_name(r), name, score, f"{r['forward_equivalents']:,.0f}", f"{r['train_seconds']:,.0f}"))
    text = (
        f"Trials that none beats in both validation {source.metric} ({words.reduction(column)}"
        f"{', of which less is better' * lower}) and training cost. "
        f"{caption(source)} Cost in passes over one batch: forward 1, backward to the inputs 1, weight gradients 1. "
        "Single trials: differences within seed noise are not differences."
    )
    return Table("cost", text, ("trial", "method", "points", "forward-equivalents", "seconds"), tuple(rows), (0, 1))


def compared(all_findings: Sequence[Findings]) -> Table:
    """Several studies: one row per claim, Holm-adjusted over the studies."""
    claims = iter(adjust([f.confirmed.claim for f in all_findings if f.confirmed is not None]))
    rows = tuple(_compared_row(f.source, next(claims) if f.confirmed is not None else None) for f in all_findings)
    text = (
        "The claims of the studies side by side: headline minus strongest control in each study's own primary "
        "endpoint, in points. p: t test over seeds and sentences, Holm-adjusted over the studies. Different tasks, "
        "endpoints or selection rules are not comparable, and no difference between studies is tested here."
    )
    columns = (
        "study", "task", "selection", "endpoint", "against", "supervision", "Δ", "95 % seeds", "95 % both", "seeds",
        "p Holm",
    )  # fmt: skip
    return Table("studies", text, columns, rows, (0, 1, 2, 3, 4, 5))


def _compared_row(source: Source, claim: Difference | None) -> tuple[str, ...]:
    has_study = len(source.summary) > 0
    task, rule = (source.config.trial.task.title, source.rule) if has_study else ("–", "not recorded")
    if rule == "target_validation":
        rule += " (oracle selection, uses target labels)"
    of = f" of {metric}" if (metric := source.config.protocol.primary_metric) else ""
    less = words.less(objectives.is_lower_better(source.endpoint, source.claimed))
    known = (source.name, task, rule, f"{words.reduction(source.endpoint)}{of}{less}")
    if claim is None:
        return (*known, "not confirmed", *[""] * 6)
    label, spans = source.supervision.get(claim.treatment, "–"), (words.span(claim.by_seed), words.span(claim.by_both))
    numbers = (words.points(claim.estimate), *spans, _paired_seeds(source, claim), words.p_text(claim.p_adjusted))
    return (*known, claim.control, label, *numbers)
