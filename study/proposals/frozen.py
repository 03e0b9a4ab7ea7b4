"""A trial as Optuna keeps it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from search_spaces.dimensions import Space
from study.proposals.proposer import Proposed, Told


def frozen_trial(proposed: Proposed, told: Told, searched_only: Space | None = None) -> FrozenTrial:
    """A trial as Optuna keeps it: sampled parameters, values, intermediate values, constraints."""
    distributions = {
        k: json_to_distribution(json.dumps(d))
        for k, d in proposed.distributions.items()
        if searched_only is None or k in searched_only
    }
    constraints = {f"constraints:{k}": v for k, v in told.constraints.items()}
    values: Sequence[float] | None = told.values if told.outcome == "COMPLETE" else None
    if told.outcome == "PRUNED" and told.intermediate:
        values = [told.intermediate[max(told.intermediate)]]  # as Optuna's `tell` does
    return create_trial(
        state=TrialState[told.outcome] if told.outcome is not None else TrialState.RUNNING,
        values=values,
        params={k: proposed.point[k] for k in distributions},
        distributions=distributions,
        system_attrs={**proposed.attributes, **constraints},
        intermediate_values=dict(told.intermediate),
    )


def distributions_json(distributions: Mapping[str, optuna.distributions.BaseDistribution]) -> dict[str, Any]:
    """Dimension -> Optuna's JSON form of its distribution."""
    return {k: json.loads(distribution_to_json(d)) for k, d in distributions.items()}
