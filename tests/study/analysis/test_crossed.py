"""Slopes of gain on facts about languages: by hand, with facts missing, and against planted truth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks.pooled import WORLDS, slope_rates
from study.analysis import crossed

LANGUAGES = ("ar", "de", "es", "fi", "hi", "ru", "sw", "tr", "yo", "zh")


def gains(slope: float = -0.004, noise: float = 0.002, doses: tuple[float, ...] = (0.1, 0.2)) -> pd.DataFrame:
    """Three tasks, two seeds; the gain per 0.1 of dose falls by `slope` a resource class."""
    generator = np.random.default_rng(1)
    about = crossed.facts(LANGUAGES, "en").set_index("language")
    rows = [
        {"task": task, "language": language, "configuration": f"dose {dose}", "dose": dose, "seed": seed,
         "baseline": 0.6 + 0.02 * about.loc[language, "resource_class"],
         "gain": 10 * dose * (0.01 + slope * about.loc[language, "resource_class"]) + generator.normal(0, noise)}
        for task in ("nli", "ner", "qa") for language in LANGUAGES for dose in doses for seed in (0, 1)
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    frame["score"] = frame["baseline"] + frame.pop("gain")
    return frame.merge(about.reset_index(), on="language")


def test_facts_are_those_of_the_tables() -> None:
    found = crossed.facts(["tr", "de", "got"], "en").set_index("language")
    assert found.loc["tr", ["distance", "resource_class", "other_script"]].tolist() == [0.4933, 4.0, 0.0]
    assert found.loc["tr", "log_pretraining_size"] == pytest.approx(np.log10(20.9))
    assert np.isnan(found.loc["got", "log_pretraining_size"])
    assert crossed.facts(["ru"], "en")["other_script"].tolist() == [1.0]
    # Turkish is not among the sources of the table of distances.
    assert crossed.facts(["de"], "tr")["distance"].isna().all()


def test_the_planted_slope_is_found_at_each_dose_and_per_unit_of_dose() -> None:
    table = crossed.per_dose(crossed.cells(gains()))
    for name, factor in (("dose 0.1", 1), ("dose 0.2", 2), (crossed.PER_DOSE, 10)):
        found = crossed.slope(table, name, "resource_class", adjusted=False)
        assert found.interval.low < -0.004 * factor < found.interval.high
        assert found.interval.excludes_zero
        assert found.detectable < 0.004 * factor
        assert (found.languages, found.tasks, found.cells) == (10, 3, 30)
        assert sorted(found.by_task) == ["ner", "nli", "qa"]
        assert all(v < 0 for v in found.by_task.values())


def test_one_dose_has_no_slope_on_dose() -> None:
    table = crossed.cells(gains(doses=(0.1,)))
    assert crossed.per_dose(table) is table


def test_unknown_facts_are_dropped_and_counted() -> None:
    frame = gains()
    frame.loc[frame["language"].isin(["sw", "yo"]), "resource_class"] = np.nan
    found = crossed.slope(crossed.cells(frame), "dose 0.1", "resource_class")
    assert found.dropped == ("sw", "yo")
    assert (found.languages, found.cells) == (8, 24)
    nothing = crossed.slope(crossed.cells(frame), "dose 0.1", "fertility")
    assert nothing.dropped == LANGUAGES
    assert not nothing.interval.known


def test_too_few_languages_or_one_fact_have_no_slope() -> None:
    frame = gains()
    few = crossed.slope(crossed.cells(frame[frame["language"].isin(LANGUAGES[:4])]), "dose 0.1", "resource_class")
    alike = crossed.slope(crossed.cells(frame.assign(resource_class=3.0)), "dose 0.1", "resource_class")
    for found in (few, alike):
        assert not found.interval.known
        assert np.isnan(found.p)


def test_at_equal_baseline_a_gain_that_goes_with_the_baseline_alone_is_no_slope() -> None:
    generator = np.random.default_rng(3)
    frame = gains(slope=0.0)
    frame["baseline"] += frame["language"].map(dict(zip(LANGUAGES, generator.normal(0, 0.05, 10), strict=True)))
    frame["score"] = frame["baseline"] - 0.2 * (frame["baseline"] - 0.6) + generator.normal(0, 0.002, len(frame))
    table = crossed.cells(frame)
    plain, adjusted = (crossed.slope(table, "dose 0.1", "resource_class", adjusted=a) for a in (False, True))
    assert plain.estimate < 0
    assert abs(adjusted.estimate) < abs(plain.estimate)
    assert not adjusted.interval.excludes_zero


def test_over_tasks_the_slope_is_less_sure() -> None:
    table = crossed.cells(gains())
    tilt = table["task"].map({"nli": -0.004, "ner": 0.0, "qa": 0.004})
    table["gain"] += tilt * (table["resource_class"] - table["resource_class"].mean())
    these, alike = (crossed.slope(table, "dose 0.1", "resource_class", False, o) for o in (False, True))
    assert alike.interval.high - alike.interval.low > 1.5 * (these.interval.high - these.interval.low)


@pytest.mark.parametrize(("tasks", "languages"), [(3, 12), (6, 8), (10, 8)])
def test_coverage(tasks: int, languages: int) -> None:
    """600 suites each: 92 and 98 % are three Monte-Carlo errors away. The level is what coverage leaves."""
    found = slope_rates(np.random.default_rng(tasks), 600, tasks, languages, WORLDS["languages differ"])
    assert found.untold == 0
    assert 0.92 <= found.here <= 0.98
    assert 0.92 <= found.alike <= 0.98
