"""The rules of what may be said, one by one."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from study.analysis.differences import Difference
from study.analysis.dose import Response
from study.analysis.intervals import UNKNOWN, Interval
from study.analysis.selection import Optimism
from study.reporting import words

STRONG = {"higher", "lower"}


def difference(
    estimate: float,
    by_seed: tuple[float, float],
    by_both: tuple[float, float],
    seeds: int = 8,
    control: str = "control a",
) -> Difference:
    return Difference(
        name="low_resource_mean",
        treatment="winner",
        control=control,
        estimate=estimate,
        per_seed=(estimate,) * seeds,
        seeds=tuple(range(seeds)),
        languages=("sw", "yo", "ht"),
        examples=300,
        by_seed=Interval(*by_seed),
        by_both=Interval(*by_both),
        by_examples=Interval(*by_both),
        p_seed=0.01,
        p_both=0.02,
        p_sign_flip=0.01,
        example_share=0.5,
    )


CASES = [
    (difference(0.02, (0.01, 0.03), (0.005, 0.035)), "higher", "winner scored higher than control a: +2.0 points"),
    (difference(-0.02, (-0.03, -0.01), (-0.035, -0.005)), "lower", "winner scored lower than control a: −2.0 points"),
    (
        difference(0.02, (0.01, 0.03), (-0.005, 0.045)),
        "higher here",
        "another sample of sentences may show no difference",
    ),
    (difference(-0.02, (-0.03, -0.01), (-0.05, 0.01)), "lower here", "lower than control a on these test sentences"),
    (difference(0.001, (-0.002, 0.004), (-0.004, 0.006)), "equivalent", "differ by less than 1 point"),
    (
        difference(0.01, (-0.002, 0.022), (-0.01, 0.03)),
        "open",
        "no difference between winner and control a can be told",
    ),
    (difference(0.001, (-0.002, 0.004), (-0.008, 0.012)), "open", "anything in that range agrees with the data"),
    (difference(0.09, (0.08, 0.1), (0.08, 0.1), seeds=2), "too few seeds", "2 seeds allow no conclusion"),
    (difference(0.09, (np.nan, np.nan), (np.nan, np.nan), seeds=1), "too few seeds", "1 seed allows no conclusion"),
    (difference(0.05, (np.nan, np.nan), (0.01, 0.09), seeds=3), "too few seeds", "no conclusion"),
]


@pytest.mark.parametrize(("d", "verdict", "part"), CASES)
def test_verdict_and_its_sentence(d: Difference, verdict: str, part: str) -> None:
    assert words.verdict(d) == verdict
    text = words.difference(d, "mean over low-resource languages, test accuracy")
    assert part in text
    assert text.startswith("Mean over low-resource languages, test accuracy: ")
    # Nothing but a sure difference is worded as one, and nothing is worded as a cause.
    assert ("scored higher than" in text or "scored lower than" in text) == ("higher" in verdict or "lower" in verdict)
    assert not any(word in text for word in ("significant", "improve", "because", "due to", "prove", "effect"))


@pytest.mark.parametrize(
    ("d", "unpaired", "refused"),
    [
        (CASES[0][0], (2, 0), True),
        (CASES[0][0], (2, 2), False),
        (CASES[0][0], (0, 2), False),
        (CASES[1][0], (0, 1), True),
        (CASES[1][0], (2, 0), False),
        (CASES[2][0], (2, 1), True),
        (CASES[4][0], (1, 0), True),
        (CASES[4][0], (0, 1), True),
        (CASES[5][0], (2, 0), False),
    ],
)
def test_who_lost_more_seeds_is_not_said_to_be_better(d: Difference, unpaired: tuple[int, int], refused: bool) -> None:
    """Where a configuration failed it has no scores: its survivors alone are compared."""
    lost = replace(d, unpaired=unpaired)
    assert (words.verdict(lost) == "survivors") == refused
    text = words.difference(lost, "x")
    assert ("nothing is concluded about winner and control a" in text) == refused
    if refused:
        name = "winner" if unpaired[0] > unpaired[1] else "control a"
        assert f"{name} failed under seeds under which" in text and f"({max(unpaired)} against {min(unpaired)})" in text
        assert "scored" not in text


def test_seeds_and_points_that_failed_are_said() -> None:
    assert words.lost_seeds("trial 5", 6, 8).startswith("Trial 5 has no scores under 2 of its 8 seeds: it is compared")
    assert "8 of its 8 seeds: it is not compared" in words.lost_seeds("control c", 0, 8)
    assert words.failed_points(1, 24).startswith("1 of the 24 trials of the design failed and is in no level")


def test_numbers_stand_with_both_intervals() -> None:
    text = words.difference(CASES[0][0], "x")
    assert (
        "(95 % interval +1.0 to +3.0 over 8 seeds; +0.5 to +3.5 when the test sentences count as a sample too)" in text
    )


@pytest.mark.parametrize(("seeds", "said"), [(3, True), (5, True), (6, False), (8, False)])
def test_what_the_number_of_seeds_cannot_conclude(seeds: int, said: bool) -> None:
    text = words.seeds(difference(0.02, (0.01, 0.03), (0.005, 0.035), seeds))
    assert (text is not None) == said
    if seeds == 5:
        assert text is not None
        assert "can never reach p = 0.05" in text
        assert "0.0625" in text


def test_the_limit_of_seeds_is_left_out_where_nothing_is_concluded() -> None:
    assert words.seeds(difference(0.01, (-0.01, 0.03), (-0.02, 0.04), 5)) is None


def test_weaker_controls_do_not_carry_the_claim() -> None:
    claim = difference(0.001, (-0.01, 0.012), (-0.02, 0.02), control="control d")
    weaker = difference(0.03, (0.02, 0.04), (0.01, 0.05), control="control a")
    texts = list(words.claim(claim, "x", [weaker, claim]))
    assert "no difference" in texts[0]
    assert "not the comparison that counts: the strongest control is control d" in texts[1]
    assert len(list(words.claim(weaker, "x", [weaker, claim]))) == 1
    assert len(list(words.claim(claim, "x", [replace(weaker, p_adjusted=0.06), claim]))) == 1, "one of several tests"


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("target_validation", 1, False, "validation", False), "oracle selection, uses target labels"),
        (("source_validation", 1, True, "validation", False), "baseline ranks above"),
        (("source_validation", 2, False, "validation", False), "opened 2 times"),
        (("source_validation", 1, False, "test", False), "chosen by its test scores"),
        (("source_validation", 1, False, "validation", True), "tuned on cross-lingual sentence pairs"),
    ],
)
def test_what_weakens_everything_is_said(arguments: tuple[str, int, bool, str, bool], part: str) -> None:
    (text,) = words.protocol(*arguments)
    assert part in text


def test_a_clean_protocol_needs_no_caution() -> None:
    assert list(words.protocol("source_validation", 1, False, "validation", False)) == []


def test_languages_count_only_what_stands_after_correction() -> None:
    table = pd.DataFrame(
        {
            "language": ["sw", "yo", "de", "fi"],
            "difference": [0.05, 0.03, -0.04, 0.01],
            "q_both": [0.01, 0.2, 0.04, 0.9],
            "q_seed": [0.001, 0.03, 0.001, 0.9],
            "seeds": 8,
        }
    )
    text = words.languages(table)
    assert "1 gains (sw) and 1 loses (de)" in text
    assert "on these very sentences 2 gain and 1 lose" in text
    assert "exploratory" in text
    assert "none gains and none loses" in words.languages(table.assign(q_both=0.5, q_seed=0.5))
    assert words.languages(table.assign(seeds=2)) == "None of 4 languages can be judged with 2 seeds."


def group(**changes: float) -> pd.Series:
    row = {
        "group": "low-resource", "rest": "class ≥ 3", "n_group": 6, "n_rest": 8, "difference": 0.03, "low": 0.01,
        "high": 0.05, "p": 0.004, "q": 0.02, "adjusted": 0.02, "adjusted_low": 0.005, "adjusted_high": 0.035,
    }  # fmt: skip
    return pd.Series(row | changes)


def test_groups_name_their_languages_and_what_explains_them() -> None:
    text = words.group(group())
    assert "(6 languages) against class ≥ 3 (8)" in text
    assert "do not account for it" in text
    assert "given baseline score and pretraining size none can be told" in words.group(group(adjusted_low=-0.01))
    assert "too few languages to account" in words.group(group(adjusted_low=np.nan, adjusted_high=np.nan))
    assert words.group(group(q=0.3)).endswith("no difference between the groups can be told.")


def test_correlation_is_a_trend_only_where_its_interval_says_so() -> None:
    assert "gains fall with resources" in words.resource(-0.6, Interval(-0.8, -0.2), 0.001, 30)
    assert "gains rise with resources" in words.resource(0.6, Interval(0.2, 0.8), 0.001, 30)
    assert "no trend can be told" in words.resource(-0.2, Interval(-0.5, 0.2), 0.3, 30)
    assert "no trend can be told" in words.resource(0.98, Interval(0.2, 0.99), 0.08, 4)
    assert words.resource(1.0, UNKNOWN, 1 / 12, 4).endswith(
        "4 languages: Spearman +1.00 (p 0.083); no trend can be told."
    )
    assert words.resource(1.0, UNKNOWN, 1 / 60, 5).endswith("(p 0.017); gains rise with resources.")
    nothing = Interval(math.nan, math.nan)
    assert "all of 30 languages gain alike" in words.resource(math.nan, nothing, math.nan, 30)
    assert "3 languages are too few" in words.resource(0.5, nothing, math.nan, 3)
    assert "too few" in words.resource(np.nan, UNKNOWN, np.nan, 3)


def response(**changes: object) -> Response:
    levels = pd.DataFrame(
        {"relative_norm": [0.05, 0.1, 0.4], "gain": [0.01, 0.02, -0.1], "low": [0.002, 0.01, -0.2], "high": 0.03}
    ).assign(points=1)
    whole = Response(
        "all target languages", "adversarial, ascent steps 2", 40, levels, "seeds", True,
        harm_from=0.4, gains=(0.05, 0.1), best=0.1, best_gain=Interval(0.01, 0.03), optimum=UNKNOWN,
    )  # fmt: skip
    return replace(whole, **changes)  # type: ignore[arg-type]


def test_a_response_says_harm_benefit_and_where_the_best_lies() -> None:
    text = words.response(response())
    assert text.startswith(
        "All target languages, adversarial, ascent steps 2: worse than no perturbation at every dose"
    )
    assert "better than no perturbation at 0.05 and 0.1, each dose taken for itself" in text
    assert "picked as the largest and so flatters" in text
    assert "may be outside of what was tried" in text
    inside = words.response(response(optimum=Interval(0.05, 0.1)))
    assert "lies between 0.05 and 0.1 (95 %)" in inside


def test_a_response_without_signs_concludes_nothing() -> None:
    text = words.response(response(harm_from=np.nan, gains=()))
    assert "harm cannot be told at the largest dose tried (0.4)" in text
    assert "no dose tried is better than no perturbation as far as can be told" in text
    assert "best" not in text
    lacking = response().levels.assign(high=[0.03, 0.03, np.nan])
    assert "harm cannot be told at 0.1, nor at the largest dose tried (0.4), which has no interval" in (
        words.response(response(levels=lacking, harm_from=np.nan))
    )
    assert "at every dose tried from 0.05 up to 0.1 (the largest, 0.4, has no interval)" in (
        words.response(response(levels=lacking, harm_from=0.05))
    )
    bare = response().levels.assign(low=np.nan, high=np.nan)
    assert "nothing is concluded" in words.response(response(levels=bare))


def test_a_trend_is_told_where_it_stands_after_correction() -> None:
    table = pd.DataFrame({"method": "adversarial", "relative_norm": [0.05, 0.4], "rho": [-0.6, 0.2], "q": [0.01, 0.4]})
    assert words.trend(table).endswith("gain falls with resources at adversarial 0.05 (−0.60).")
    assert words.trend(table.assign(q=0.2)).endswith("no trend can be told at any.")
    assert words.trend(table[:0]) == "Gain against resource class: no target language was scored at any magnitude."


def test_what_response_intervals_leave_out() -> None:
    assert list(words.response_caveats([response()])) == []
    texts = list(words.response_caveats([response(paired=False, over="points")]))
    assert "baseline's own noise" in texts[0]
    assert "not over seeds" in texts[1]
    (text,) = words.response_caveats([response(levels=response().levels.assign(points=3))])
    assert text.endswith("a dose here is the mean of neighbouring ones.")


def test_winners_curse() -> None:
    o = Optimism(("de", "sw"), 0.7, 0.66, 0.65, Interval(0.02, 0.06))
    text = words.optimism(o, "trial 4")
    assert "70.0" in text
    assert "Choosing flattered it: +4.0 points (95 % interval +2.0 to +6.0)" in text
    assert "cannot be told" in words.optimism(replace(o, curse=Interval(-0.01, 0.03)), "trial 4")
    assert "flattered" not in words.optimism(replace(o, chosen=0.62, curse=Interval(-0.06, -0.02)), "trial 4")
    assert words.optimism(replace(o, curse=UNKNOWN), "trial 4").endswith("on test.")
    unlike = words.optimism(replace(o, same_examples=False), "trial 4")
    assert unlike.endswith("different numbers of sentences: what choosing did cannot be told.")


@pytest.mark.parametrize(
    ("value", "text"), [(0.0126, "+1.3"), (-0.0126, "−1.3"), (0.0001, "0.0"), (-0.0004, "0.0"), (np.nan, "–")]
)
def test_points(value: float, text: str) -> None:
    assert words.points(value) == text


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.0, "< 0.001"), (0.0004, "< 0.001"), (0.0123, "0.012"), (0.0499, "0.050"), (0.5, "0.50"), (np.nan, "–")],
)
def test_p_values(p: float, text: str) -> None:
    assert words.p_text(p) == text


def test_reductions_in_words() -> None:
    assert words.reduction("low_resource_mean") == "mean over low-resource languages"
    assert words.reduction("group:script:Arab") == "mean over script:Arab"
    assert words.reduction("language:sw") == "language sw"
    assert words.reduction("cvar:0.2") == "mean over the worst share of languages"
