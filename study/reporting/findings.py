"""Everything a report says of one study, computed once: the analysis applied to a `Source`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from study.analysis import calibration, differences, dose, groups, importance, intervals, selection, sequential
from study.analysis.differences import Difference
from study.analysis.dose import Response
from study.analysis.frames import collapse_variants, language_scores, reduce_seeds, seed_table
from study.analysis.intervals import Interval
from study.analysis.selection import Optimism
from study.question import objectives
from study.reporting import beside, words
from study.reporting.beside import Beside
from study.reporting.source import AVERAGE, REDUCTIONS, Source
from trainables import languages
from trainables.errors import UserError

SOURCE_UNIT = "source language"
ALL_UNIT = "all target languages"


@dataclass(frozen=True)
class Confirmed:
    """What the confirmation says."""

    headline: str
    control: str
    """The strongest."""
    chosen_by: str
    """``validation``, or ``test`` where there is nothing else."""
    claim: Difference
    """Of the primary endpoint, headline against strongest control."""
    controls: tuple[Difference, ...]
    """Headline against every control, Holm-adjusted among them."""
    others: tuple[Difference, ...]
    """Further configurations against the strongest control: shown, not chosen among."""
    averages: tuple[Difference, ...]
    """Headline against the mean of all trials' weights, and that against the strongest control, where it was kept: by
    seed is by the others' seeds."""
    scores: pd.DataFrame
    """configuration × reduction: mean and sd over seeds (columns configuration, reduction, mean, sd, seeds)."""
    languages: pd.DataFrame
    """As from `differences.language_differences`, with facts."""
    groups: pd.DataFrame
    resource: tuple[float, Interval, float, int]
    """Spearman of gain with resource class: rho, interval, p, languages."""
    by_language: pd.DataFrame
    """As from `groups.gains_by_language`: one row per language, variants averaged in."""
    optimism: Optimism | None
    further: pd.DataFrame
    """Other metrics than the primary: metric, languages, seeds, headline, control (strongest), difference, low, high.
    Means over seeds of the mean over target languages that have the metric, with the interval over paired seeds."""
    reliability: pd.DataFrame
    """As from `calibration.reliability`, of headline and strongest control by `_classes`; empty without
    confidences."""


@dataclass(frozen=True)
class Dosed:
    """What the trials of phase `run` say of the dose."""

    gains: pd.DataFrame
    searched: bool
    """Whether they are samples of a search, of which nothing may be concluded."""
    responses: tuple[Response, ...]
    """Of all target languages, each resource class, and the source language; none if searched."""
    by_language: tuple[Response, ...]
    """The same of each language for itself."""
    language_map: pd.DataFrame
    trend: pd.DataFrame
    """As from `dose.resource_trend`, over target languages; empty if searched."""


@dataclass(frozen=True)
class Findings:
    """Of one study."""

    source: Source
    confirmed: Confirmed | None
    dosed: Dosed | None
    importances: pd.DataFrame
    published: tuple[Beside, ...]
    """Ours beside what others have published."""
    conclusions: tuple[tuple[str, str], ...]
    """Topic and sentence, in the order in which they are to be read."""


def find(source: Source) -> Findings:
    """Analyse a study."""
    confirmed, dosed, published = _confirmed(source), _dosed(source), beside.find(source)
    varied = dose.varied(source.summary) if len(source.summary) else []
    perturbed = source.summary[source.summary["state"] == "COMPLETE"] if varied else source.summary
    if varied:
        perturbed = perturbed[(perturbed["kind"] != "baseline") & (perturbed["control"] == "")]
    return Findings(
        source,
        confirmed,
        dosed,
        importance.importances(perturbed, varied, "value") if varied else pd.DataFrame(),
        published,
        (*_conclusions(source, confirmed, dosed), *(("Published", text) for text in beside.sentences(published))),
    )


def _confirmed(source: Source) -> Confirmed | None:
    results, headline = source.results, source.headline
    if results is None or headline is None:
        return None
    whole = results[results["split"] == "test"]
    test = whole[whole["control"] != AVERAGE]
    if headline not in set(test["configuration"]):
        return None
    control, chosen_by = _strongest(source, test)
    if control is None:
        return None
    letters = test.sort_values("control").drop_duplicates("configuration").set_index("configuration")["control"]

    of_endpoint = source.reduction(source.endpoint, source.claimed)
    is_lower_better = objectives.is_lower_better(source.endpoint, source.claimed)

    def compare(treatment: str, against: str) -> Difference:
        pair = differences.pair(test, treatment, against)
        return differences.difference(pair, of_endpoint, source.endpoint, source.level, is_lower_better)

    def beside(one: str, mean: str, turned: bool = False) -> Difference:
        pair = differences.pair(differences.beside(whole, one, mean), *((mean, one) if turned else (one, mean)))
        return differences.difference(pair, of_endpoint, source.endpoint, source.level, is_lower_better)

    means = sorted(map(str, whole.loc[whole["control"] == AVERAGE, "configuration"].unique()))
    averages = [d for mean in means for d in (beside(headline, mean), beside(control, mean, turned=True))]
    against = [_over_looks(source, compare(headline, str(name)), control) for name, a in letters.items() if a]
    others = [
        compare(str(name), control)
        for name, letter in letters.items()
        if not letter and name != headline and name not in source.apart
    ]
    paired = differences.pair(test, headline, control)
    scores = language_scores(whole)
    table = differences.language_differences(paired).merge(source.facts, on="language", how="left")
    treated, untreated = (seed_table(scores, name).loc[list(paired.seeds)] for name in (headline, control))
    targets = source.targets(treated.columns)
    gains = (treated[targets] - untreated[targets]) * (-1 if source.is_error else 1)
    by_language = groups.gains_by_language(gains, untreated[targets], source.facts)
    per_seed = collapse_variants(gains, source.facts)
    own = source.config.trial.task.own
    # Variants have been averaged in, so a group is of the languages they belong to.
    declared = {
        name: tuple({languages.base(code, own) for code in objectives.spellings(codes)})
        for name, codes in {**languages.own_groups(own), **source.config.protocol.groups}.items()
    }
    return Confirmed(
        headline=headline,
        control=control,
        chosen_by=chosen_by,
        claim=next(d for d in against if d.control == control),
        controls=tuple(differences.adjust(against)),
        others=tuple(others),
        averages=tuple(averages),
        scores=_reductions(source, scores, [*map(str, letters.index), *means]),
        languages=table,
        groups=groups.group_contrasts(by_language, per_seed, declared),
        resource=groups.spearman(by_language["resource_class"], by_language["gain"]),
        by_language=by_language,
        optimism=_optimism(source, headline),
        further=_further(source, headline, control),
        reliability=_reliability(source, headline, control),
    )


def _over_looks(source: Source, found: Difference, control: str) -> Difference:
    """With the p-value of the whole confirmation, where it looked: its bounds watch the strongest control alone."""
    if source.plan is None or not source.looks:
        return found
    p = max(found.p_seed, found.p_both)
    watched = found.control == control
    whole = (
        sequential.over_looks(source.plan, len(source.looks) - 1, p) if watched else sequential.whenever(source.plan, p)
    )
    return replace(found, p_over_looks=whole)


def _further(source: Source, headline: str, control: str) -> pd.DataFrame:
    rows = []
    for metric, part in source.further.groupby("metric", sort=False) if len(source.further) else ():
        tables = [seed_table(part, name) for name in (headline, control)]
        seeds = tables[0].index.intersection(tables[1].index)
        known = [table.loc[seeds].dropna(axis="columns") for table in tables]
        targets = source.targets(known[0].columns.intersection(known[1].columns))
        if not targets or not len(seeds):
            continue
        first, second = (reduce_seeds(table[targets], source.reduction("target_mean")) for table in known)
        span = intervals.of_mean(first - second)
        means = {"headline": first.mean(), "control": second.mean(), "difference": (first - second).mean()}
        found = {"metric": metric, "languages": len(targets), "seeds": len(seeds), **means}
        rows.append({**found, "low": span.low, "high": span.high})
    return pd.DataFrame(rows)


def _reliability(source: Source, *configurations: str) -> pd.DataFrame:
    asked = source.config.trial.evaluation.calibration
    results = source.results if source.answers is None else source.answers
    assert results is not None, "there are scores of the test split"
    results = results[results["configuration"].isin(configurations)]
    if asked is None or "confidence" not in results or results["confidence"].isna().all():
        return pd.DataFrame()
    units = _classes(source, source.targets(results["language"].unique()))
    return calibration.reliability(results, units, asked.bins)


def _strongest(source: Source, test: pd.DataFrame) -> tuple[str | None, str]:
    """The strongest control by validation under the selection rule; by test where validation is missing.

    Where seeds were looked at as they came in: the one that was the strongest at the first look.
    """
    looked = next((str(look["control"]) for look in source.looks if look["control"]), None)
    if looked in set(test["configuration"]):
        return looked, "validation"
    confirmed = source.trials[(source.trials["phase"] == "confirm") & (source.trials["split"] == "validation")]
    confirmed = confirmed[confirmed["configuration"].isin(test["configuration"])]
    if len(confirmed):
        return selection.strongest_control(confirmed, source.reduction("selection_mean")), "validation"

    def goodness(scores: Mapping[str, float]) -> float:
        reduced = source.reduction(source.endpoint, source.claimed)(scores)
        return -reduced if objectives.is_lower_better(source.endpoint, source.claimed) else reduced

    validation = source.results[source.results["split"] == "validation"] if source.results is not None else test[:0]
    if len(validation):
        return selection.strongest_control(language_scores(validation), goodness), "validation"
    scores = language_scores(test)
    if not scores["control"].isin(tuple("abcd")).any():
        raise UserError("results.control: must name at least one control, a, b, c or d (got none)")
    return selection.strongest_control(scores, goodness), "test"


def _reductions(source: Source, scores: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    rows = []
    for name in names:
        table = seed_table(scores, name)
        languages = dict.fromkeys(map(str, table.columns), 0.5)
        for reduction in dict.fromkeys((*REDUCTIONS, source.endpoint)):
            if reduction == source.endpoint or source.allows(reduction, languages):
                values = reduce_seeds(table, source.reduction(reduction, source.claimed))
                row = {"configuration": name, "reduction": reduction, "mean": values.mean(), "sd": values.std()}
                rows.append({**row, "seeds": len(values)})
    return pd.DataFrame(rows)


def _optimism(source: Source, headline: str) -> Optimism | None:
    chosen = source.trials[(source.trials["phase"] == "run") & source.trials["trial"].isin(source.chosen)]
    return selection.optimism(source.trials, chosen, headline)


def _dosed(source: Source) -> Dosed | None:
    if source.trials.empty:
        return None
    gains = dose.dose_gains(source.trials)
    searched = gains.empty
    if searched:
        gains = dose.dose_gains(source.trials, searched=True)
    if gains.empty:
        return None
    variants = {str(r.language): str(r.variant_of) for r in source.facts.itertuples() if r.variant_of}
    cells = dose.language_map(gains)
    if searched:
        return Dosed(gains, True, (), (), cells, pd.DataFrame())
    targets = source.targets(source.trials["language"].unique())
    all_units = (dict.fromkeys(targets, ALL_UNIT), _classes(source, targets))
    found = [r for units in all_units for r in dose.responses(dose.by_unit(gains, units, variants))]
    own = dose.responses(dose.by_unit(gains, {k: k for k in gains["language"].unique()}))
    trend = dose.resource_trend(cells[cells["language"].isin(targets)], source.facts)
    return Dosed(gains, False, tuple(found), tuple(own), cells, trend)


def _classes(source: Source, targets: Iterable[str]) -> dict[str, str]:
    """Language -> panel of the small multiples."""
    known = source.facts.set_index("language")["resource_class"]
    units = {k: f"class {known[k]:.0f}" if np.isfinite(known[k]) else "class unknown" for k in targets}
    return units | dict.fromkeys(objectives.sources(source.config), SOURCE_UNIT)


def _conclusions(source: Source, confirmed: Confirmed | None, dosed: Dosed | None) -> Iterator[tuple[str, str]]:
    has_study = len(source.summary) > 0
    caveats = words.protocol(
        source.rule if has_study else "",
        source.openings,
        source.baseline_ranks_higher,
        confirmed.chosen_by if confirmed else "",
        source.is_demonstration and has_study,
    )
    lost = [words.lost_seeds(name, *seeds) for name, seeds in source.seeds.items() if seeds[0] < seeds[1]]
    stuck = [words.one_answer(source.stuck)] if source.stuck else []
    yield from (("Caution", text) for text in (*caveats, *lost, *stuck, *source.cautions))
    if confirmed is None:
        yield "Caution", words.NOT_CONFIRMED if source.results is None else words.NOTHING_TO_COMPARE
    else:
        yield from _confirmed_conclusions(source, confirmed)
    if dosed is None:
        return
    if dosed.searched:
        yield "Dose", words.SEARCHED
    overall = [r for r in dosed.responses if r.unit == ALL_UNIT]
    yield from (("Dose", words.response(r)) for r in overall)
    yield from (("Dose", text) for text in words.response_caveats(overall))
    if not dosed.searched:
        if source.failed:
            yield "Dose", words.failed_points(source.failed, source.designed)
        yield "Dose", words.trend(dosed.trend)


def _confirmed_conclusions(source: Source, confirmed: Confirmed) -> Iterator[tuple[str, str]]:
    endpoint = f"{words.reduction(source.endpoint)}, test {source.claimed}"
    yield from (("Claim", text) for text in words.claim(confirmed.claim, endpoint, confirmed.controls))
    if source.looks:
        yield "Claim", words.looks(source.looks, source.config.protocol.most_seeds)
    yield from (("Averaging", text) for text in words.averages(confirmed.averages, endpoint))
    yield "Languages", words.languages(confirmed.languages, source.is_error)
    sure = [row for _, row in confirmed.groups.iterrows() if row["q"] < words.ALPHA]
    yield from (("Groups", words.group(row)) for row in sure)
    if len(confirmed.groups) and not sure:
        yield "Groups", words.no_groups(len(confirmed.groups))
    yield "Groups", words.resource(*confirmed.resource)
    if confirmed.optimism is not None:
        yield "Choosing", words.optimism(confirmed.optimism, confirmed.headline)
