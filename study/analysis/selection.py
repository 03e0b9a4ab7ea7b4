"""Choices that validation scores make, and what choosing does to a score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from study.analysis import intervals
from study.analysis.frames import Reduction, reduce_seeds, seed_table
from study.analysis.intervals import Interval


def strongest_control(scores: pd.DataFrame, reduction: Reduction) -> str | None:
    """Name of the control with the highest mean over seeds of `reduction`; the first letter wins a tie.

    `scores` as from `frames.language_scores`, one study and one split: validation, reduced by the selection rule. (On
    test scores the choice favours the control: conservative, and to be said.) None where there is no control.
    """
    controls = scores.loc[scores["control"].isin(tuple("abcd")), ["control", "configuration"]].drop_duplicates()
    means = {
        str(name): float(reduce_seeds(seed_table(scores, str(name)), reduction).mean())
        for name in controls.sort_values("control")["configuration"]
    }
    return max(means, key=means.__getitem__) if means else None


@dataclass(frozen=True)
class Optimism:
    """What the winner looked like when it was chosen, and what fresh seeds and the test split say.

    Scores are means over `languages`, those that both phases and both splits scored.
    """

    languages: tuple[str, ...]
    chosen: float
    """Validation, in the search: the score that won."""
    fresh: float
    """Validation, fresh seeds."""
    test: float
    """Test, fresh seeds."""
    curse: Interval
    """t interval of `chosen` minus `fresh`, the winner's curse: with the noise of the seeds of both, as the fresh ones
    have it."""
    same_examples: bool = True
    """Whether both were scored on equally many sentences: else they differ without any choice."""


def optimism(trials: pd.DataFrame, chosen: pd.DataFrame, headline: str) -> Optimism | None:
    """Winner's curse of configuration `headline` on the languages that both phases and both splits scored.

    `trials`: a trial frame of one study and metric. `chosen`: its rows of phase `run` that stand for the headline (one
    trial, or its replicates). None where one side is missing.
    """
    confirmed = trials[(trials["phase"] == "confirm") & (trials["state"] == "COMPLETE")]
    mine = confirmed[confirmed["configuration"] == headline]
    chosen = chosen[chosen["split"] == "validation"]
    sides = [chosen, mine[mine["split"] == "validation"], mine[mine["split"] == "test"]]
    common = frozenset.intersection(*(frozenset(map(str, side["language"])) for side in sides))
    if not common:
        return None

    def mean(rows: pd.DataFrame) -> float:
        return float(rows.loc[rows["language"].isin(common), "score"].mean())

    own, fresh = (side[side["language"].isin(common)] for side in sides[:2])
    values, draws = fresh.groupby("seed")["score"].mean().to_numpy(dtype=float), own["seed"].nunique()
    error = float(values.std(ddof=1) * np.sqrt(1 / values.size + 1 / draws)) if values.size > 1 else float("nan")
    counts = [side.groupby("language")["examples"].max() for side in (own, fresh)]
    return Optimism(
        languages=tuple(sorted(common)),
        chosen=mean(sides[0]),
        fresh=mean(sides[1]),
        test=mean(sides[2]),
        curse=intervals.around(mean(chosen) - float(values.mean()), error, values.size - 1),
        same_examples=bool(counts[0].eq(counts[1]).all()),
    )
