"""Frames with planted effects, small and exact, for tests of analysis and reporting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from study.analysis.frames import Reduction

FACTS = pd.DataFrame(
    [
        ("ar", "Arabic", "Afro-Asiatic", "Arab", 5, 2.87e9, True, ""),
        ("az", "Azerbaijani", "Turkic", "Latn", 1, 7.8e8, True, ""),
        ("bg", "Bulgarian", "Indo-European", "Cyrl", 3, 5.5e9, True, ""),
        ("de", "German", "Indo-European", "Latn", 5, 1.02e10, True, ""),
        ("de-CH", "Swiss German", "Indo-European", "Latn", 5, 1.02e10, True, "de"),
        ("en", "English", "Indo-European", "Latn", 5, 5.56e10, True, ""),
        ("eu", "Basque", "Basque", "Latn", 4, 2.7e8, True, ""),
        ("fi", "Finnish", "Uralic", "Latn", 4, 6.73e9, True, ""),
        ("ht", "Haitian Creole", "Indo-European", "Latn", 2, np.nan, False, ""),
        ("ka", "Georgian", "Kartvelian", "Geor", 3, 4.69e8, True, ""),
        ("mr", "Marathi", "Indo-European", "Deva", 2, 1.75e8, True, ""),
        ("qu", "Quechua", "Quechuan", "Latn", 1, np.nan, False, ""),
        ("ru", "Russian", "Indo-European", "Cyrl", 4, 2.34e10, True, ""),
        ("sw", "Swahili", "Atlantic-Congo", "Latn", 2, 2.75e8, True, ""),
        ("yo", "Yoruba", "Atlantic-Congo", "Latn", 2, np.nan, False, ""),
    ],
    columns=["language", "name", "family", "script", "resource_class", "pretraining_size", "seen", "variant_of"],
)
"""Facts of fifteen languages, true enough for tests."""


def results(
    generator: np.random.Generator,
    effects: Mapping[str, float | Mapping[str, float]],
    languages: Sequence[str],
    seeds: int = 5,
    examples: int = 80,
    accuracy: float = 0.6,
    flip: float = 0.1,
    study: str = "simulated",
) -> pd.DataFrame:
    """A results frame of accuracies: ``control a`` and the configurations of `effects`, name -> expected gain over it.

    Of the control's right answers a share `flip` turns wrong, and as many wrong ones right, besides the gain; half of
    the sentences do so alike under all seeds. A name of the form ``control X`` is control X.
    """
    frames = []
    for language in languages:
        base = np.repeat(generator.random((1, examples)) < accuracy, seeds, axis=0)
        answers = {"control a": base}
        for name, effect in effects.items():
            gain = effect if isinstance(effect, float) else effect.get(language, 0.0)
            lasting = generator.random((1, examples)) < 0.5
            u = np.where(lasting, generator.random((1, examples)), generator.random((seeds, examples)))
            lost, won = flip, (gain + accuracy * flip) / (1 - accuracy)
            answers[name] = np.where(base, u >= lost, u < won)
        for name, right in answers.items():
            index = pd.MultiIndex.from_product([range(100, 100 + seeds), range(examples)], names=["seed", "example"])
            frame = pd.DataFrame({"score": right.astype(float).ravel()}, index=index).reset_index()
            letter = name.removeprefix("control ") if name.startswith("control ") else ""
            frames.append(frame.assign(configuration=name, control=letter, language=language))
    table = pd.concat(frames, ignore_index=True).assign(study=study, metric="accuracy", split="test", weight=1.0)
    return table.assign(example=table["language"] + "-" + table["example"].astype(str))


def design_trials(
    generator: np.random.Generator,
    response: Mapping[str, Mapping[float, float]] | None = None,
    epsilons: Sequence[float] = (0.05, 0.1, 0.2, 0.4, 0.8),
    seeds: int = 4,
    noise: float = 0.004,
    languages: Sequence[str] = tuple(FACTS["language"]),
    kind: str = "design",
    study: str = "simulated",
) -> pd.DataFrame:
    """A trial frame of a design: baseline and `epsilons` × K 1, 2, under each seed.

    The gain at epsilon e is 0.05 x - 0.12 x^2 with x = 2.5 e, twice that in low-resource languages, unless `response`
    gives it by language and epsilon. Seeds move all scores of a trial and its baseline alike.
    """
    low = set(FACTS.loc[FACTS["resource_class"] <= 2, "language"])
    base = {k: generator.uniform(0.45, 0.85) for k in languages}
    points = [(0.0, 0), *((e, k) for e in epsilons for k in (1, 2))]
    rows, number = [], 0
    for seed in range(seeds):
        shift = generator.normal(0, 0.02)
        for epsilon, steps in points:
            for language in languages:
                x = 2.5 * epsilon
                gain = (0.05 * x - 0.12 * x**2) * (2 if language in low else 1)
                if response is not None:
                    gain = response[language][epsilon] if epsilon else 0.0
                row = {
                    "study": study, "trial": number, "phase": "run", "kind": kind if epsilon else "baseline",
                    "state": "COMPLETE", "configuration": f"trial {number}", "control": "", "seed": seed,
                    "language": language, "split": "validation", "metric": "accuracy",
                    "score": base[language] + shift + gain + generator.normal(0, noise), "examples": 60, "step": 60,
                    "forward_equivalents": 60.0 * (3 + 2 * steps), "train_seconds": 50.0 + 30 * steps,
                    "relative_norm": 0.95 * epsilon, "training.seed": seed,
                    "perturbation.method": "adversarial" if epsilon else "none",
                    "perturbation.epsilon": epsilon if epsilon else np.nan,
                    "perturbation.ascent_steps": float(steps) if epsilon else np.nan,
                }  # fmt: skip
                rows.append(row)
            number += 1
    return pd.DataFrame(rows)


def mean_of(languages: Sequence[str] | None = None) -> Reduction:
    """The reduction that averages the given languages, or all there are."""

    def reduce(scores: Mapping[str, float]) -> float:
        return float(np.mean([scores[k] for k in (scores if languages is None else languages)]))

    return reduce
