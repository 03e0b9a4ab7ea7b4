"""Scores on noised texts, per language, and the area under their curves over rates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from trainables.config import EvaluationConfig
from trainables.distributed import Group
from trainables.materials.materials import Materials
from trainables.materials.noised import key_of, language_of
from trainables.model.encoder import Model
from trainables.scores import LanguageScores, Split
from trainables.scoring.evaluation import evaluate


def noise_scores(
    model: Model, materials: Materials, split: Split, config: EvaluationConfig, group: Group
) -> dict[str, LanguageScores]:
    """What `evaluation.noise` asks for: ``noise_<metric>_<kind>_<rate>``, at rate 0 on the same examples without noise.

    Where a kind has several rates, ``noise_<metric>_<kind>_area`` too. All kinds, rates and languages are one stream:
    what noise left alone is computed once. Languages that files lack have no score there.
    """
    if not materials.noised.get(split):
        return {}
    view = materials.remember(("noised", split), lambda: _noised_only(materials, split))
    by_metric, _, _ = evaluate(model, view, split, None, config, group)
    scores: dict[str, LanguageScores] = {}
    for noise in config.noise:
        for metric, found in by_metric.items():
            curve = {rate: _at(found, noise.label, rate, materials.evaluation[split]) for rate in noise.rates}
            name = f"noise_{metric}_{noise.label}"
            scores |= {f"{name}_{rate:g}": each for rate, each in curve.items() if each.languages}
            if len(curve) > 2 and 0.0 in curve and (whole := _area(curve)).languages:
                scores[f"{name}_area"] = whole
    return scores


def area(rates: Sequence[float], values: Sequence[float]) -> float:
    """The mean height of a curve from its first rate to its last, straight between them (trapezoidal rule).

    >>> area([0.0, 0.1, 0.3], [1.0, 0.5, 0.5])
    0.5833333333333334
    """
    points = pairwise(zip(rates, values, strict=True))
    return sum((b - a) * (at_a + at_b) / 2 for (a, at_a), (b, at_b) in points) / (rates[-1] - rates[0])


def _noised_only(materials: Materials, split: Split) -> Materials:
    """Materials whose languages are those of the noised rows: ``character_0.1/sw``."""
    names, own = materials.noised[split], materials.noisy_rows.get(split, {})
    rows = {name: own[name] if name in own else materials.rows[split][language_of(name)] for name in names}
    return replace(materials, evaluation={split: names}, rows={split: rows}, noised={}, _memory={})


def _at(found: LanguageScores, label: str, rate: float, languages: Iterable[str]) -> LanguageScores:
    names = {language: name for language in languages if (name := key_of(label, rate, language)) in found.values}
    return LanguageScores(
        {language: found.values[name] for language, name in names.items()},
        {language: found.counts[name] for language, name in names.items()},
    )


def _area(curve: Mapping[float, LanguageScores]) -> LanguageScores:
    """Of each language that has all rates, over the examples of rate 0."""
    clean = curve[0.0]
    whole = [k for k in clean.languages if all(k in scores.values for scores in curve.values())]
    areas = {k: area(list(curve), [scores[k] for scores in curve.values()]) for k in whole}
    return LanguageScores(areas, {k: clean.counts[k] for k in whole})
