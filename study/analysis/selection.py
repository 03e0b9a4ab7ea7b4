"""Choices that validation scores make, and what choosing does to a score."""

from __future__ import annotations

from dataclasses import dataclass

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
    """t interval over the fresh seeds of `chosen` minus `fresh`: the winner's curse; the split is the same."""


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

    fresh = sides[1][sides[1]["language"].isin(common)].groupby("seed")["score"].mean()
    return Optimism(
        languages=tuple(sorted(common)),
        chosen=mean(sides[0]),
        fresh=mean(sides[1]),
        test=mean(sides[2]),
        curse=intervals.of_mean(mean(chosen) - fresh.to_numpy(dtype=float)),
    )
