"""Whose trees a trial with syntax had, per language: shares of the evaluated rows, by who parsed them."""

from __future__ import annotations

import numpy as np

from trainables.batch import NO_TREE
from trainables.materials.materials import Materials
from trainables.scores import PARSED, LanguageScores, Split
from trainables.scoring.stream import Stream
from trainables.tasks.heads import HOW


def parsed_scores(materials: Materials, split: Split, plan: Stream) -> dict[str, LanguageScores]:
    """``parsed_gold`` and ``parsed_predicted``; nothing where no trees were asked for."""
    if all(encoded.parents is None for encoded in materials.evaluation[split].values()):
        return {}
    shares: dict[str, dict[str, float]] = {name: {} for name in PARSED}
    counts: dict[str, int] = {}
    for language, items in plan.items.items():
        encoded, rows = materials.evaluation[split][language], materials.rows[split][language]
        known = {int(encoded.rows[item]) for item in items if (encoded.tree(item) != NO_TREE).any()}
        of = np.unique(encoded.rows[items])
        counts[language] = len(of)
        for name, how in PARSED.items():
            shares[name][language] = sum(rows[row][HOW] == how for row in known) / len(of)
    return {name: LanguageScores(values, counts) for name, values in shares.items()}
