"""Everything that keeps anyone's results from being compared, a line each."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from study.question import objectives, selection_problems
from study.reporting import known
from study.reporting.known import Said
from study.reporting.source import as_evaluation
from trainables.errors import suggestion

MOST_LINES = 20
"""Lines about examples that do not match; the rest is counted."""


def problems(part: pd.DataFrame, said: Said, paired: bool) -> Iterator[str]:
    """Everything that keeps one study from being compared; `paired`: its rows are sound, and can be paired."""
    configurations = sorted(map(str, part["configuration"].unique()))
    for name in ("source_language", "headline", "endpoint"):
        values = [] if name not in part.columns else list(map(str, part[name].dropna().unique()))
        if len(values) > 1:
            yield f"results.{name}: must have one value per study (got {', '.join(values)})"
    if said.metric is not None and said.metric not in set(part["metric"]):
        yield f"--metric: must be one of {', '.join(sorted(map(str, part['metric'].unique())))} (got {said.metric!r})"
    for name in said.controls:
        if name not in configurations:
            near = suggestion(name, configurations)
            yield f"--control: must be one of the configurations, {', '.join(configurations)}{near} (got {name!r})"
    if not part["control"].isin(tuple("abcd")).any() and not said.controls:
        yield (
            "results.control: must name at least one control, a, b, c or d, or give one with --control "
            f"(got none among {', '.join(configurations)})"
        )
    headline, candidates = known.headline(part, said).value, known.candidates(part)
    if headline not in candidates:
        got = "none, --headline names one" if headline is None else repr(headline)
        names = ", ".join(candidates) or "but there is none"
        yield f"--headline: must be a configuration that is no control, {names} (got {got})"
    if "split" in part.columns and not part["split"].eq("test").any():
        yield f"results.split: must have rows of the test split (got {', '.join(map(str, part['split'].unique()))})"
    if "language" in part.columns:
        yield from _endpoint_problems(part, said)
    if paired and headline in candidates:
        yield from _pairing_problems(part, str(headline))


def _endpoint_problems(part: pd.DataFrame, said: Said) -> Iterator[str]:
    config = known.config_of(known.source_language(part, said).value)
    name, languages = known.endpoint(part, said, config).value, known.languages(part)
    assert name is not None, "there is always a default"
    found = selection_problems.problems(known.config_of(config.trial.task.source_language, name), tested=languages)
    lines = [line.partition(": ")[2] for line in found if line.startswith("protocol.primary_endpoint")]
    if not lines:
        try:
            objectives.reduce(name, as_evaluation(dict.fromkeys(languages, 0.5)), config)
        except objectives.UnscoredError as error:
            lines = [f"{error} (got {name!r})"]
    for line in lines:
        hint = (
            f"; or one language alone, such as language:{languages[-1]}" if "the mean of a group needs" in line else ""
        )
        yield f"--endpoint: {line}{hint}"


def _pairing_problems(part: pd.DataFrame, headline: str) -> Iterator[str]:
    """Where two configurations do not share seeds, or not all examples under those that they share.

    Control (e) is the mean of trials of the search, whose seeds no confirmation has: it is paired with nothing.
    """
    test = part[(part["split"] == "test") & ~part["control"].eq("e")]
    sets = {
        (str(c), int(str(s)), str(k)): frozenset(map(str, rows))
        for (c, s, k), rows in test.groupby(["configuration", "seed", "language"], observed=True)["example"]
    }
    seeds: dict[str, set[int]] = {}
    for configuration, seed, _ in sets:
        seeds.setdefault(configuration, set()).add(seed)
    lines = []
    for other in (c for c in seeds if c != headline):
        common = sorted(seeds.get(headline, set()) & seeds[other])
        if not common:
            lines.append(f"results.seed: {headline} and {other} must share seeds (got none in common)")
        for language in known.languages(test):
            found = [(s, sets.get((headline, s, language)), sets.get((other, s, language))) for s in common]
            first = next((mine for _, mine, _ in found if mine), None)
            differing = next(((s, mine, its) for s, mine, its in found if mine != its or mine != first), None)
            if differing is not None:
                seed, mine, its = differing
                counts = f"{len(mine or ())} and {len(its or ())}"
                lines.append(
                    f"results.example: {headline} and {other} must share all examples of {language} under every seed "
                    f"(got {counts}, under seed {seed})"
                )
    yield from lines[:MOST_LINES]
    if len(lines) > MOST_LINES:
        yield f"results.example: … and {len(lines) - MOST_LINES} more lines like these"
