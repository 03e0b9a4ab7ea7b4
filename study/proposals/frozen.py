"""A trial as Optuna keeps it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from search_spaces.dimensions import Space
from study.proposals.proposer import Feedback, Proposed


def frozen_trial(proposed: Proposed, feedback: Feedback, searched_only: Space | None = None) -> FrozenTrial:
    """A trial as Optuna keeps it: sampled parameters, values, intermediate values, constraints."""
    distributions = {
        k: json_to_distribution(json.dumps(d))
        for k, d in proposed.distributions.items()
        if searched_only is None or k in searched_only
    }
    constraints = {f"constraints:{k}": v for k, v in feedback.constraints.items()}
    values: Sequence[float] | None = feedback.values if feedback.outcome == "COMPLETE" else None
    if feedback.outcome == "PRUNED" and feedback.intermediate:
        values = [feedback.intermediate[max(feedback.intermediate)]]  # as Optuna's `tell` does
    return create_trial(
        state=TrialState[feedback.outcome] if feedback.outcome is not None else TrialState.RUNNING,
        values=values,
        params={k: proposed.point[k] for k in distributions},
        distributions=distributions,
        system_attrs={**proposed.attributes, **constraints},
        intermediate_values=dict(feedback.intermediate),
    )


def distributions_json(distributions: Mapping[str, optuna.distributions.BaseDistribution]) -> dict[str, Any]:
    """Dimension -> Optuna's JSON form of its distribution."""
    return {k: json.loads(distribution_to_json(d)) for k, d in distributions.items()}
