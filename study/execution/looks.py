"""Looks at the primary endpoint while a confirmation's seeds come in: when, at what, and what they found.

A look is a function of the ledger and the predictions: what it found is an event, and whoever goes on reads it there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from study.analysis import differences, selection, sequential
from study.analysis.frames import Reduction, check_results, of_languages
from study.proposals import ranking
from study.question import objectives
from study.question.config import StudyConfig
from study.record.ledger import Ledger
from study.record.record import StudyRecord, TrialRecord
from trainables.scores import Evaluation, LanguageScores, Split

GOING_ON = "go on"
"""Verdict of a look after which more seeds are trained."""


def agreed(config: StudyConfig) -> sequential.Plan | None:
    """The plan of the protocol; None: no looks."""
    confirm = config.protocol.confirm
    return None if confirm is None else sequential.plan(confirm.seeds.most, confirm.seeds.look_every, confirm.spending)


def announce(config: StudyConfig, ledger: Ledger) -> None:
    """Write the plan down, before anything of the test split is read."""
    if (plan := agreed(config)) is not None:
        ledger.append("looks", looks=list(plan.looks), bounds=list(plan.bounds), spending=plan.spending)


def parts(config: StudyConfig, record: StudyRecord) -> int:
    """How many of `rules.confirm_looks` are to be trained: those looked at, and one more unless that was the last."""
    if config.protocol.confirm is None:
        return 1
    return len(record.looks) + (not record.looks or record.looks[-1]["verdict"] == GOING_ON)


def due(config: StudyConfig, record: StudyRecord) -> bool:
    """Whether the seeds of the next look are all trained, and nobody has looked."""
    done = [t for t in record.trials.values() if t.phase == "confirm"]
    is_open = config.protocol.confirm is not None and parts(config, record) > len(record.looks)
    return is_open and bool(done) and all(t.ended for t in done)


def take(config: StudyConfig, record: StudyRecord, results: pd.DataFrame | None, ledger: Ledger) -> None:
    """Look at headline against strongest control, and write down what was found. All looks are at the same control.

    Where a side has no scores at all, or one seed, nothing is found, and more seeds are trained; so too where no trial
    is complete (no `results`).
    """
    assert record.agreed is not None, "looks are agreed before the test split is opened"
    plan = sequential.Plan(tuple(record.agreed["looks"]), tuple(record.agreed["bounds"]), record.agreed["spending"])
    at = len(record.looks)
    headline = next(str(t.attributes["configuration"]) for t in _trials(record) if t.kind == "winner")
    control = next((look["control"] for look in record.looks if look["control"]), None)
    found = None
    if results is not None and (control := control or _strongest(config, record)) is not None:
        found = _found(config, record, results, plan, headline, control)
    if found is None:
        nothing = dict.fromkeys(("estimate", "low", "high", "p", "predictive"), math.nan)
        verdict = GOING_ON if at + 1 < len(plan.looks) else "open"
        found = {"seeds": 0, **nothing, "bound": plan.bounds[at], "verdict": verdict}
    ledger.append("look", treatment=headline, control=control, **found)


def _found(
    config: StudyConfig, record: StudyRecord, results: pd.DataFrame, plan: sequential.Plan, headline: str, control: str
) -> dict[str, Any] | None:
    """What a look finds; None where the two have not two seeds in common."""
    metric = next((e.metric for t in _trials(record) if (e := t.evaluation("test")) is not None), None)
    claimed = config.protocol.primary_metric
    if claimed in (None, metric):
        test = check_results(results)
        test = test[(test["split"] == "test") & (test["metric"] == metric)]
    else:
        test = of_languages(_scores(config, record, claimed))
    seeds = [set(test.loc[test["configuration"] == name, "seed"]) for name in (headline, control)]
    if len(set.intersection(*seeds)) < 2:
        return None
    pair = differences.pair(test, headline, control)
    parts = differences.parts(pair, _reduction(config, config.protocol.primary_endpoint, claimed))
    look = sequential.look(parts, plan, len(record.looks))
    return {
        "seeds": look.seeds, "estimate": look.estimate, "low": look.interval.low, "high": look.interval.high,
        "p": look.p, "bound": look.bound, "predictive": look.predictive, "verdict": look.verdict,
    }  # fmt: skip


def _trials(record: StudyRecord) -> list[TrialRecord]:
    return [t for t in record.trials.values() if t.phase == "confirm"]


def _strongest(config: StudyConfig, record: StudyRecord) -> str | None:
    """The control that validation says is the strongest (in `confirm` no evaluation but that on test is final)."""
    return selection.strongest_control(_scores(config, record), _reduction(config, "selection_mean"))


def _scores(config: StudyConfig, record: StudyRecord, claimed: str | None = None) -> pd.DataFrame:
    """Of confirmed trials by language: a further metric on test, or the primary one on validation."""
    split: Split = "test" if claimed else "validation"
    rows = [
        {"study": config.name, "configuration": t.attributes["configuration"], "control": t.control or "",
         "language": language, "seed": ranking.trial_config(config, t).training.seed, "score": score, "split": split,
         "metric": claimed or scored.metric}
        for t in record.trials.values() if t.phase == "confirm" and t.state == "COMPLETE"
        if (scored := t.result(config.trial, split) or t.evaluation(split)) is not None
        and (claimed or scored.metric) in scored.scores
        for language, score in scored.scores[claimed or scored.metric].values.items()
    ]  # fmt: skip
    columns = ["study", "configuration", "control", "language", "seed", "score", "split", "metric"]
    return pd.DataFrame(rows, columns=columns)


def _reduction(config: StudyConfig, name: str, metric: str | None = None) -> Reduction:
    def reduce(scores: Mapping[str, float]) -> float:
        values = {metric or "score": LanguageScores(scores, dict.fromkeys(scores, 1))}
        return objectives.reduce(name, Evaluation(0, "test", values), config)

    return reduce
