"""What an evaluation will score: the names of its metrics, known before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainables.config import AttackConfig, EvaluationConfig

CALIBRATION = ("calibration_error", "brier", "confidence_weighted_accuracy")


def measured(config: EvaluationConfig, own: Sequence[str]) -> tuple[str, ...]:
    """Names of all metrics of the last evaluation, of a task whose `own` metrics are given, the primary one first."""
    clean = [*own, *(CALIBRATION if config.calibration is not None else ())]
    return (*clean, *(["agreement"] if config.agreement else []), *_noised(config, clean), *_robust(config, own))


def _noised(config: EvaluationConfig, clean: Sequence[str]) -> Iterator[str]:
    for noise in config.noise:
        for metric in clean:
            name = f"noise_{metric}_{noise.label}"
            yield from (f"{name}_{rate:g}" for rate in noise.rates)
            if len(noise.rates) > 2 and 0.0 in noise.rates:
                yield f"{name}_area"


def _robust(config: EvaluationConfig, own: Sequence[str]) -> Iterator[str]:
    if config.attack is not None:
        yield from _attacked(config.attack, own)
    if config.certify is not None:
        yield from (f"certified_{name}" for name in ("accuracy", "radius", "word_distance"))


def _attacked(config: AttackConfig, own: Sequence[str]) -> Iterator[str]:
    if config.kind == "words":
        yield from (f"attacked_{name}_words" for name in ("accuracy", "success", "queries"))
        return
    radii = [f"_{epsilon:g}" for epsilon in config.epsilon] if len(config.epsilon) > 1 else [""]
    yield from (f"attacked_{metric}{radius}" for metric in own for radius in radii)
