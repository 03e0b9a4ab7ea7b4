"""One quantity of a study against another: the points of a figure, and everything that its caption has to say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from study.plots import quantities
from study.plots.quantities import Quantity, Seen
from study.question import encoders
from study.question.config import StudyConfig
from study.record.record import Phase, TrialRecord
from study.reporting import words
from study.views.found import Study
from study.views.tables import state_words
from trainables.errors import UserError
from trainables.scores import Split

BASELINE = "baseline"
"""Role of the trials that everything else is read against: the baseline of `run`, control (a) of `confirm`."""

MOST_COLOURS = 36
"""Categories that differ in colour or shape."""

MOST_NAMED = 6
"""Trials that a caption names one by one."""


@dataclass(frozen=True)
class Request:
    """What is to be drawn, by the names of quantities."""

    x: str
    ys: tuple[str, ...]
    colour: str | None = None
    phase: Phase = "run"
    split: Split | None = None
    """None: the one that the phase is about."""
    log_x: bool = False
    log_y: bool = False

    @property
    def scored_on(self) -> Split:
        """The split of the scores."""
        return self.split or ("validation" if self.phase == "run" else "test")


@dataclass(frozen=True)
class Chart:
    """A figure before it is drawn."""

    title: str
    note: str
    """How many trials of which phase and split, what was left out, and what the lines are."""
    x: Quantity
    ys: tuple[Quantity, ...]
    colour: Quantity | None
    points: pd.DataFrame
    """One row per point: trial, role, state, seed, step, and the quantities by their names, unscaled."""
    joined: bool
    """Whether the points of a trial are its evaluations in the order of their steps, and joined by a line."""
    log_x: bool
    log_y: bool
    compared: bool = True
    """Whether all are read against one baseline: those of several encoders are none together."""

    def numbers(self, quantity: Quantity) -> pd.Series[float] | None:
        """A quantity as it is drawn, scaled; None where it is categories."""
        column = self.points[quantity.name].dropna()
        if quantity.is_category or not column.map(lambda v: isinstance(v, int | float)).all():
            return None
        return quantity.scale * pd.to_numeric(self.points[quantity.name]).astype(float)

    def reference(self, quantity: Quantity) -> float:
        """The mean of the baseline's values, scaled; NaN without one, with one for each of several encoders, or where
        points are joined."""
        values = self.numbers(quantity)
        if values is None or self.joined or quantity.kind == "parameter":
            return float("nan")
        return float(values[self.points["role"] == BASELINE].mean()) if self.compared else float("nan")

    @property
    def placed(self) -> pd.DataFrame:
        """The points that have a place on the horizontal axis."""
        return self.points[self.points[self.x.name].notna()]


def chart(study: Study, request: Request) -> Chart:
    """What a request asks for. Raises `UserError` naming everything that is wrong with it."""
    every = request.x == "step"
    seen = quantities.observations(study, request.phase, request.scored_on, every)
    asked = [("--x", request.x), *(("--y", y) for y in request.ys)]
    asked += [("--colour", request.colour)] if request.colour is not None else []
    found, problems = [], []
    for option, name in asked:
        try:
            found.append(quantities.find(study, seen, name, option))
        except UserError as error:
            problems += error.lines
    if problems:
        raise UserError(*dict.fromkeys(problems))
    x, ys = found[0], tuple(dict.fromkeys(found[1 : 1 + len(request.ys)]))
    colour = found[-1] if request.colour is not None else None
    points = _points(seen, [x, *ys, *([colour] if colour else [])])
    compared = len({encoders.label(s.config) for s in seen if role(s.trial) == BASELINE}) <= 1
    drawn = Chart("", "", x, ys, colour, points, every, request.log_x, request.log_y, compared)
    if colour is not None and drawn.numbers(colour) is None and points[colour.name].nunique() > MOST_COLOURS:
        raise UserError(f"--colour: more than {MOST_COLOURS} categories cannot be told apart (got {colour.name!r})")
    logs = _logs(drawn, request)
    lacking = _check_drawable(drawn)
    return Chart(
        title=f"{study.name}: {study.config.question}".rstrip(": "),
        note=" ".join(_note(study, request, drawn, lacking)),
        x=x, ys=ys, colour=colour, points=points, joined=every, log_x=logs[0], log_y=logs[1],
        compared=compared,
    )  # fmt: skip


def _points(seen: Sequence[Seen], drawn: Iterable[Quantity]) -> pd.DataFrame:
    rows = [
        {
            "trial": s.trial.number, "role": role(s.trial), "state": s.trial.state,
            "seed": s.config.training.seed, "step": s.evaluation.step, **{q.name: q.value(s) for q in drawn},
        }
        for s in seen
    ]  # fmt: skip
    return pd.DataFrame(rows).astype({"trial": int, "step": int})


def role(trial: TrialRecord) -> str:
    """``trial``, `BASELINE`, or the control that a trial belongs to."""
    if trial.kind == "baseline" or (trial.phase == "confirm" and trial.control == "a"):
        return BASELINE
    return f"control {trial.control}" if trial.control else "trial"


def _logs(drawn: Chart, request: Request) -> tuple[bool, bool]:
    """Whether each axis is logarithmic: asked for, or declared by the search space where the values allow it."""
    problems, answers = [], []
    for option, asked, axis in (("--log-x", request.log_x, [drawn.x]), ("--log-y", request.log_y, list(drawn.ys))):
        numbers = [drawn.numbers(q) for q in axis]
        lowest = [np.nan if n is None else float(n.min()) for n in numbers]
        bad = [q.name for q, low in zip(axis, lowest, strict=True) if not low > 0]
        if asked and bad:
            problems.append(f"{option}: needs numbers above zero (got {', '.join(bad)})")
        answers.append(asked or (all(q.log for q in axis) and not bad))
    if problems:
        raise UserError(*problems)
    return answers[0], answers[1]


def _check_drawable(drawn: Chart) -> list[int]:
    """Numbers of the trials that lack a value on either axis, the baseline apart. Raises `UserError` if all do."""
    scored = drawn.points[[q.name for q in drawn.ys]].notna().any(axis=1)
    whole = scored & drawn.points[drawn.x.name].notna()
    if not whole.any():
        names = ", ".join(q.name for q in drawn.ys)
        raise UserError(f"--y: no trial has a value both of {names} and of {drawn.x.name}")
    lost = set(drawn.points.loc[~whole, "trial"]) - set(drawn.points.loc[whole, "trial"])
    is_line = (drawn.points["role"] == BASELINE) & any(np.isfinite(drawn.reference(q)) for q in drawn.ys)
    return sorted(lost - set(drawn.points.loc[is_line, "trial"]))


def _note(study: Study, request: Request, drawn: Chart, lacking: Sequence[int]) -> Iterator[str]:
    trials = [t for t in study.trials if t.phase == request.phase]
    shown = set(drawn.placed["trial"]) - set(lacking)
    what = f"{len(shown)} of {len(trials)} trials of phase {request.phase}{_how(study.config, request.phase)}"
    seeds = drawn.points.loc[drawn.points["trial"].isin(shown), "seed"].nunique()
    yield f"{what}, {request.scored_on} split, {seeds} training seed{'s' * (seeds != 1)}."
    if request.scored_on == "test":
        yield f"The test split was opened {len(study.record.openings)}×."
    left = [t for t in trials if t.number not in shown and t.number not in set(drawn.points["trial"])]
    parts = _states(study, left)
    if lacking:
        names = " or ".join(q.name for q in (drawn.x, *drawn.ys))
        parts.append(f"{len(lacking)} without a value of {names} ({_numbers(lacking)})")
    if parts:
        yield f"Left out: {', '.join(parts)}."
    if drawn.joined:
        if rest := _states(study, [t for t in trials if t.number in shown and t.state != "COMPLETE"]):
            yield f"Of those drawn {', '.join(rest)}."
        yield "Every evaluation of a trial is a point."
    if request.phase == "run" and study.config.search.mode == "search" and drawn.x.kind == "parameter":
        yield words.SAMPLED
    lines = [q for q in drawn.ys if np.isfinite(drawn.reference(q))]
    if lines:
        called = "the unperturbed baseline" if request.phase == "run" else "control a, no perturbation"
        numbers = sorted(set(drawn.points.loc[drawn.points["role"] == BASELINE, "trial"]))
        yield f"Dashed: {called} ({'mean of trials' if len(numbers) > 1 else 'trial'} {_numbers(numbers)})."
    if drawn.numbers(drawn.x) is None and drawn.placed[drawn.x.name].duplicated().any():
        bars = "Bars: means; p" if any(drawn.numbers(q) is not None for q in drawn.ys) else "P"
        yield f"{bars}oints of a category are spread sideways."


def _states(study: Study, trials: Iterable[TrialRecord]) -> list[str]:
    """How many trials are in which state."""
    return [f"{n} {words}" for words, n in Counter(state_words(study, t) for t in trials).items()]


def _how(config: StudyConfig, phase: Phase) -> str:
    if phase == "confirm" or config.search.space is None:
        return ""
    return f" (a {config.search.mode}, {config.search.sampler})"


def _numbers(numbers: Sequence[int]) -> str:
    more = ["…"] if len(numbers) > MOST_NAMED else []
    return ", ".join([*map(str, numbers[:MOST_NAMED]), *more])
