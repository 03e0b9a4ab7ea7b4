"""What may be said over many tasks: each rule of the table, on planted gains."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from study.analysis import crossed, pooled
from study.analysis.crossed import Slope
from study.analysis.intervals import UNKNOWN, Interval
from study.analysis.pooled import Pooled
from study.reporting import suite_words


def found(*effects: float, seeds: int = 3, spread: float = 0.002) -> Pooled:
    """Pooled gains of tasks with these true gains, in points."""
    generator = np.random.default_rng(0)
    rows = [
        {"task": f"t{number}", "language": "de", "configuration": "mild", "seed": seed, "baseline": 0.5,
         "score": 0.5 + effect / 100 + generator.normal(0, spread)}
        for number, effect in enumerate(effects) for seed in range(seeds)
    ]  # fmt: skip
    return pooled.pool(pd.DataFrame(rows))[0]


def test_a_gain_in_all_tasks_is_one_on_tasks_like_these() -> None:
    text = " ".join(suite_words.pooled(found(2, 2.3, 1.8, 2.1)))
    assert "On tasks like these it gains (+2." in text
    assert "It holds whichever task is left out." in text
    assert "over 4 tasks (95 % interval" in text


def test_corrected_it_may_be_no_claim() -> None:
    text = " ".join(suite_words.pooled(found(2, 2.3, 1.8, 2.1), p_adjusted=0.08))
    assert "That is a gain on these tasks; of tasks like these it cannot be told" in text
    assert "p 0.080 after correction for the claims made together" in text
    unsure = replace(found(2, 2.3, 1.8, 2.1), here_interval=Interval(-0.01, 0.05))
    assert any("No difference can be told on tasks like these (+2" in t for t in suite_words.pooled(unsure, 0.08))


def test_a_gain_that_tasks_disagree_about_is_one_on_these_tasks() -> None:
    text = " ".join(suite_words.pooled(found(0, 0.2, 6, 0.1)))
    assert "That is a gain on these tasks; of tasks like these it cannot be told" in text
    assert "Tasks differ by more than seeds do (p < 0.001)" in text.replace("(p <", "(p <")


def test_the_task_that_carries_it_is_named() -> None:
    whole = found(1.0, 1.6, 1.2, 1.4)
    without = whole.without.assign(alike_low=[0.01, -0.01, 0.01, 0.01])
    text = " ".join(suite_words.pooled(replace(whole, without=without)))
    assert "It does not hold without t1." in text


def test_no_gain_is_said_as_a_range() -> None:
    text = " ".join(suite_words.pooled(found(0.05, -0.05, 0.02, -0.04)))
    assert "No difference can be told: on tasks like these anything in −" in text


def test_missing_tasks_single_seeds_and_a_single_task_are_said() -> None:
    assert "Not in it, for want of scores: qa." in suite_words.pooled(replace(found(1, 1), missing=("qa",)))
    assert "with one seed a task nothing is said of new seeds" in suite_words.pooled(found(1, 2, seeds=1))[0]
    assert suite_words.pooled(found(1))[-1] == "One task says nothing of tasks like it."


def test_seeds_and_tasks_that_agree_to_the_last_digit_are_not_called_one() -> None:
    seeds = suite_words.pooled(found(1, 2, spread=0))
    assert seeds[0].endswith("; since seeds agree to the last digit, nothing is said of new seeds.")
    both = found(25, 25, spread=0)
    assert suite_words.pooled(both)[-1] == "Tasks that agree to the last digit say nothing of tasks like these."
    (said,) = suite_words.points_of_design([(0.1, both, np.nan)])
    assert said == "Since tasks are too few, or agree to the last digit, nothing is said of tasks like these."
    assert suite_words.points_of_design([(0.1, found(1), np.nan)])[0].startswith("With one task a point")


def test_of_two_tasks_it_cannot_be_told_whether_one_carries_it() -> None:
    """The one that is left has no interval on tasks like it: that is no sign against it."""
    two = suite_words.pooled(found(10, 10.05, spread=0.0002))
    assert two[1].startswith("On tasks like these it gains")
    assert two[-1] == "Whether it holds without t0, or without t1 cannot be told."


def fitted(estimate: float, low: float, high: float, **more: object) -> Slope:
    plain = Slope(
        "mild", "resource_class", False, False, estimate, Interval(low, high), 0.01, 0.004, 18, 6, 90, ("got",), 1.5,
        {"nli": -0.002, "qa": 0.001},
    )  # fmt: skip
    return replace(plain, **more)  # type: ignore[arg-type]


DOWN = fitted(-0.003, -0.005, -0.001)
OPEN = fitted(-0.001, -0.004, 0.002)


def test_low_resource_languages_gain_more() -> None:
    text = " ".join(suite_words.slope(suite_words.LOW_RESOURCE, DOWN, DOWN, DOWN))
    assert "Low-resource languages gain more, in these tasks: −0.3 points of gain per resource class" in text
    assert "over 18 languages in 6 tasks; 1 more, whose fact is unknown, are left out" in text
    assert "It holds at equal baseline score as well" in text
    assert "this sign in 1 of the 2 tasks" in text
    assert "Of tasks like these it holds too" in text
    assert "not a cause" in text


def test_what_the_baseline_may_explain_is_said() -> None:
    text = " ".join(suite_words.slope(suite_words.LOW_RESOURCE, DOWN, OPEN, OPEN))
    assert "it may be no more than what goes with the baseline" in text
    assert "Of tasks like these it cannot be told" in text


def test_what_so_many_languages_cannot_tell_is_said() -> None:
    text = " ".join(suite_words.slope(suite_words.LOW_RESOURCE, OPEN, OPEN))
    assert text.startswith("Whether low-resource languages gain more cannot be told: −0.1 points")
    assert "show a slope of 0.4 points with a chance of 80 %" in text
    corrected = " ".join(suite_words.slope(suite_words.LOW_RESOURCE, DOWN, DOWN, p_adjusted=0.06))
    assert "cannot be told (corrected for the claims made together, p 0.060)" in corrected


@pytest.mark.parametrize(("sign", "said"), [(1, "The gain grows with the distance"), (-1, "The opposite of")])
def test_distance_is_told_per_tenth_and_with_its_sign(sign: int, said: str) -> None:
    band = Interval(0.02, 0.2) if sign > 0 else Interval(-0.2, -0.02)
    one = fitted(0.1 * sign, band.low, band.high)
    text = " ".join(suite_words.slope(suite_words.DISTANT, one, one))
    assert text.startswith(said)
    assert "1.0 points of gain per 0.1 of typological distance" in text


def test_too_few_languages_answer_nothing() -> None:
    none = fitted(float("nan"), 0, 0, interval=UNKNOWN, languages=3)
    said = suite_words.slope(suite_words.DISTANT, none, none)
    assert said == [
        "Whether the gain grows with the distance from the source cannot be told: 3 languages in 6 tasks are too few, "
        "or too much alike; 1 more, whose fact is unknown, are left out."
    ]


def test_a_real_fit_is_put_in_words() -> None:
    generator = np.random.default_rng(2)
    about = crossed.facts(["ar", "de", "es", "fi", "ru", "sw", "tr", "zh"], "en")
    rows = [
        {**fact, "task": task, "configuration": "mild", "seed": 0, "baseline": 0.6,
         "score": 0.6 + 0.1 * fact["distance"] + generator.normal(0, 0.004)}
        for fact in about.to_dict("records") for task in ("nli", "qa")
    ]  # fmt: skip
    table = crossed.cells(pd.DataFrame(rows))
    plain, adjusted = (crossed.slope(table, "mild", "distance", adjusted=a) for a in (False, True))
    text = " ".join(suite_words.slope(suite_words.DISTANT, plain, adjusted))
    assert text.startswith("The gain grows with the distance from the source, in these tasks: +")
