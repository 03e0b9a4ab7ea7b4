"""A study's record as text and as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study.question.config import StudyConfig
from study.record.record import StudyRecord
from study.reporting.source import from_ledger
from study.suite import tables as lists
from study.tracking import runs
from study.views import document as views
from study.views import tables
from study.views.found import find, is_finished, planned
from study.views.values import first_value, selection_words
from tests.study.conftest import LANGUAGES
from trainables.errors import UserError
from trainables.loading import validate
from trainables.scores import Evaluation, LanguageScores

Event = dict[str, Any]
Write = Callable[..., Path]


def text_of(write_study: Write, events: list[Event], every_trial: bool = False) -> str:
    return tables.text(write_study(events), "small", every_trial)


def line_of(text: str, start: str) -> list[str]:
    return next(re.split(r"  +", line.strip()) for line in text.splitlines() if line.strip().startswith(start))


def test_the_result_compares_the_best_trial_with_the_baseline(write_study: Write, events: list[Event]) -> None:
    text = text_of(write_study, events)
    assert "study small: Does it help?" in text
    assert "finished, 4 trials: 3 complete, 1 failed" in text
    assert "Selected on: validation in the 2 pivot languages (de, fr)" in text
    assert "Best trial 2 against the unperturbed baseline (trial 0):" in text
    assert line_of(text, "source") == ["source", "0.9000", "0.9500", "+0.0500", "1", "40"]
    assert line_of(text, "target_mean") == ["target_mean", "0.5583", "0.5917", "+0.0333", "6", "240"]
    assert line_of(text, "worst_language") == ["worst_language", "0.3000", "0.3500", "+0.0500", "6", "240"]
    assert line_of(text, "transfer_gap") == ["transfer_gap", "0.3417", "0.3583", "+0.0167", "7", "280"]
    assert line_of(text, "low_resource_mean")[-2:] == ["3", "120"]  # sw, yo, te
    assert "Of 6 target languages 5 gained, 1 lost." in text
    assert "Gained most: de +0.050 (n = 40)" in text
    assert "Lost most:   te -0.050 (n = 40)" in text
    assert "trial 3 failed: RuntimeError: the loss is not finite" in text


def test_certificates_are_shown_beside_the_nearest_other_word(write_study: Write, events: list[Event]) -> None:
    assert "Certified" not in text_of(write_study, events)
    for event in events:
        if event["event"] == "report":
            scores = {"accuracy": 0.5, "radius": 0.021, "word_distance": 0.83}
            event["evaluation"]["scores"] |= {f"certified_{k}": {"de": [v, 4]} for k, v in scores.items()}
    assert (
        "Certified, means over target languages: 0.5000 right, within a radius of 0.0210; the nearest other word is "
        "0.8300 away (unit: the length of a word's embedding)."
    ) in text_of(write_study, events)


def test_the_table_has_every_trial_and_marks_the_best(write_study: Write, events: list[Event]) -> None:
    text = text_of(write_study, events)
    assert line_of(text, "trial  ")[:3] == ["trial", "epsilon", "ascent_steps"]
    assert line_of(text, "0 baseline")[1:4] == ["–", "–", "0.7750"]
    assert line_of(text, "2 *")[1:4] == ["0.2", "2", "0.8250"]
    assert line_of(text, "3  ")[-1] == "failed"


def test_trials_are_named_by_their_arm(write_study: Write, events: list[Event]) -> None:
    marks = {"attributes": {"arm": "words"}}
    own = [e | marks if (e["event"], e.get("trial")) == ("asked", 1) else e for e in events]
    assert line_of(text_of(write_study, own), "1 words")[1:3] == ["0.1", "1"]
    found = find(write_study(own), "small")
    assert [trial["arm"] for trial in views.as_json(found)["trials"]][:3] == [None, "words", None]
    assert runs.trial_name(found.trials[1]) == "trial 1 words"
    assert (runs.trial_tags(found.config, found.trials[1])["arm"], found.trials[1].called) == ("words", "words")
    assert [trial.called for trial in found.trials[:3]] == ["baseline", "words", ""]


def test_what_all_trials_share_has_no_column(write_study: Write, events: list[Event]) -> None:
    for event in events:
        if event["event"] == "asked" and event["kind"] == "sampled":
            event["point"] |= {"perturbation.norm": "l2"}
    assert "norm" not in text_of(write_study, events)
    assert "ascent_steps" in text_of(write_study, events)


def test_an_objective_and_a_bound_of_one_reduction_are_two(write_study: Write, events: list[Event]) -> None:
    """Told apart by their metric, in tables, documents, figures and importances."""
    both = [{"reduce": "source", "metric": "accuracy"}, {"reduce": "source", "metric": "f1", "threshold": 0.4}]
    events[0]["config"]["search"]["objectives"] = [
        {"direction": "maximize", "threshold": None, **objective} for objective in both
    ]
    for event in events:
        if event["event"] == "report":
            event["evaluation"]["scores"]["f1"] = {"en": [0.5, 40]}
    root = write_study(events)
    text = tables.text(root, "small")
    head = next(line for line in text.splitlines() if line.startswith("trial"))
    assert "source of accuracy" in head and "source of f1" in head
    assert line_of(text, "2 *")[3:5] == ["0.9500", "0.5000"]
    best = json.loads(views.document(root, "small"))["trials"][2]
    assert best["objectives"] == {"source of accuracy": pytest.approx(0.95), "source of f1": 0.5}
    summary = from_ledger("small", root).summary
    assert summary["value"].tolist() == pytest.approx([0.9, 0.91, 0.95])


def test_a_baseline_that_ranks_higher_is_said(write_study: Write, events: list[Event]) -> None:
    for event in events:
        if event["event"] == "report" and event["trial"] == 0:
            event["evaluation"]["scores"]["accuracy"]["de"][0] = 1.0
            event["evaluation"]["scores"]["accuracy"]["fr"][0] = 1.0
    assert "(trial 0); the baseline itself ranks higher:" in text_of(write_study, events)


def test_without_a_complete_baseline_nothing_is_compared(write_study: Write, events: list[Event]) -> None:
    for event in events:
        if event["event"] == "finished" and event["trial"] == 0:
            event |= {"outcome": "FAIL", "error": "no"}
    text = text_of(write_study, events)
    assert "There is no complete baseline to compare it with." in text
    assert "Gained most" not in text


def test_what_nobody_runs_any_more_was_interrupted(write_study: Write, events: list[Event]) -> None:
    text = text_of(write_study, [*events[:9], events[11]])
    assert "unfinished, 3 trials: 1 complete, 1 interrupted, 1 waiting" in text
    assert line_of(text, "1  ")[-1] == "10 interrupted"


def test_a_long_table_is_cut_by_rank(write_study: Write, events: list[Event]) -> None:
    complete = [e for e in events if e.get("trial") == 1]
    for number in range(4, 60):
        events += [{**e, "trial": number} for e in complete]
    text = text_of(write_study, events)
    assert "… and 30 more trials (--all)" in text
    assert line_of(text, "2 *")
    assert "more trials" not in text_of(write_study, events, every_trial=True)


@pytest.mark.parametrize(
    ("protocol", "words"),
    [
        ({"selection": "source_validation"}, "in the source language (en); no target label is read by any choice."),
        ({"selection": "target_validation"}, "oracle selection, uses target labels"),
    ],
)
def test_the_selection_is_stated(protocol: dict[str, Any], words: str) -> None:
    assert words in selection_words(validate(StudyConfig, {"name": "x", "protocol": protocol}))


def test_the_document_holds_everything_the_ledger_does(write_study: Write, events: list[Event]) -> None:
    document = json.loads(views.document(write_study(events), "small"))
    assert document["schema"] == 1
    assert document["state"] == "finished"
    assert document["best"] == 2
    assert document["baseline_ranks_higher"] is False
    assert document["selection"]["languages"] == ["de", "en", "fr"]
    assert document["config"] == events[0]["config"]
    assert [t["number"] for t in document["trials"]] == [0, 1, 2, 3]
    best, failed = document["trials"][2], document["trials"][3]
    assert best["parameters"] == {"perturbation.epsilon": 0.2, "perturbation.ascent_steps": 2}
    assert best["objectives"] == {"selection_mean": pytest.approx(0.825)}
    assert (best["result_step"], best["attempts"], best["state"]) == (20, 1, "COMPLETE")
    reported = [e for e in events if e["event"] == "report" and e["trial"] == 2]
    assert [(r["step"], r["final"]) for r in best["reports"]] == [(10, False), (20, True)]
    for report, event in zip(best["reports"], reported, strict=True):
        expected = event["evaluation"]["scores"]["accuracy"]
        assert {k: [v["score"], v["examples"]] for k, v in report["scores"]["accuracy"].items()} == expected
        assert report["cost"] == event["evaluation"]["cost"]
        assert report["time"] == event["time"]
    assert best["reports"][1]["summary"]["worst_language"] == pytest.approx(0.35)
    assert (failed["state"], failed["attempts"], failed["objectives"]) == ("FAIL", 2, None)
    assert failed["error"].endswith("the loss is not finite")


@pytest.mark.parametrize(
    ("rises", "trials"), [([0.1, 0.2], None), ([0.1, 0.0], "trial 2"), ([float("nan"), 0.1], "trial 2")]
)
def test_an_ascent_that_raises_nothing_is_warned_of(
    write_study: Write, events: list[Event], rises: list[float], trials: str | None
) -> None:
    for event in events:
        if event["event"] == "report" and event["trial"] == 2:
            event["evaluation"]["training"]["loss_rise"] = rises[event["step"] == 20]
    text = text_of(write_study, events)
    document = json.loads(views.document(write_study(events), "small"))
    warnings = [t["warning"] for t in document["trials"]]
    if trials is None:
        assert "Warning" not in text and warnings == [None] * 4
    else:
        assert text.count(f"Warning: the ascent of {trials} raised nothing") == 1
        assert [w is not None for w in warnings] == [False, False, True, False]


def test_numbers_that_are_not_finite_are_null(write_study: Write, events: list[Event]) -> None:
    events[3]["evaluation"]["scores"]["accuracy"]["sw"][0] = float("nan")
    document = json.loads(views.document(write_study(events), "small"))
    assert document["trials"][0]["reports"][0]["scores"]["accuracy"]["sw"] == {"score": None, "examples": 40}


@pytest.mark.parametrize(
    ("cut", "finished"),
    [(2, False), (6, False), (16, False), (17, False), (19, False), (20, True)],
)
def test_when_a_study_is_finished(config: StudyConfig, events: list[Event], cut: int, finished: bool) -> None:
    assert is_finished(config, StudyRecord.of(events[:cut])) is finished


def test_a_study_is_finished_with_its_controls_search(config: StudyConfig, events: list[Event]) -> None:
    search = config.search.model_copy(update={"space": "optimiser"})
    protocol = config.protocol.model_copy(update={"tune_controls": True})
    tuned = config.model_copy(update={"search": search, "protocol": protocol})
    assert not is_finished(tuned, StudyRecord.of(events))
    for number in (4, 5, 6):
        own = {
            "trial": number,
            "phase": "run",
            "kind": "control",
            "control": "b",
            "point": {"training.weight_decay": 0},
        }
        events.append({"event": "asked", "time": 2000.0, **own})
        events.append(
            {"event": "finished", "time": 2001.0, "trial": number, "attempt": 0, "outcome": "FAIL", "error": "x"}
        )
        assert is_finished(tuned, StudyRecord.of(events)) is (number == 6)


def test_all_trials_spend_what_a_study_may_cost(config: StudyConfig, events: list[Event]) -> None:
    cost = config.search.model_copy(update={"max_forward_equivalents": 100.0, "trials": 9})
    own = next(e for e in events if e["event"] == "asked" and e["trial"] == 1)
    own["kind"], own["control"] = "control", "b"
    assert is_finished(config.model_copy(update={"search": cost}), StudyRecord.of(events[:11]))


def test_a_spent_budget_finishes_a_study(config: StudyConfig, events: list[Event]) -> None:
    record = StudyRecord.of(events[:11])  # two of four trials, 60 forward-equivalents each
    assert not is_finished(config, record)
    spent = config.search.model_copy(update={"max_forward_equivalents": 100.0})
    assert is_finished(config.model_copy(update={"search": spent}), record)
    ample = config.search.model_copy(update={"max_forward_equivalents": 1000.0})
    assert not is_finished(config.model_copy(update={"search": ample}), record)


def test_a_baseline_does_not_try_the_patience_of_a_search(config: StudyConfig, events: list[Event]) -> None:
    """Its score is no proposal's: however good it is, the first trial beside it may still be the best."""
    events[3]["evaluation"]["scores"]["accuracy"] = {k: [1.0, 40] for k in LANGUAGES}
    events[4]["evaluation"]["scores"]["accuracy"] = {k: [1.0, 40] for k in LANGUAGES}
    record = StudyRecord.of(events[:11])  # the baseline, and one trial
    patient = config.search.model_copy(update={"patience": 1})
    assert not is_finished(config.model_copy(update={"search": patient}), record)
    # The second trial betters the first one, and the third has failed.
    patient = config.search.model_copy(update={"patience": 1, "trials": 9})
    assert is_finished(config.model_copy(update={"search": patient}), StudyRecord.of(events))
    assert not is_finished(config.model_copy(update={"search": patient}), StudyRecord.of(events[:16]))


def confirmed(events: list[Event], ended: bool = True) -> list[Event]:
    """The study, confirmed with two seeds of its best trial and one of control (a)."""
    opened = {"event": "test_opened", "time": 2000.0, "protocol_hash": "abc", "reason": "confirm"}
    rows, evaluation = [*events, opened], events[14]["evaluation"]
    for number, (name, control, de) in enumerate(
        [("trial 2", None, 0.9), ("trial 2", None, 0.7), ("control a", "a", 0.5)], 4
    ):
        asked = {"phase": "confirm", "kind": "winner", "control": control, "point": {"training.seed": number}}
        scores = {k: list(v) for k, v in evaluation["scores"]["accuracy"].items()} | {"de": [de, 40]}
        final = {**evaluation, "split": "test", "scores": {"accuracy": scores}}
        common = {"time": 2000.0 + number, "trial": number}
        rows.append({"event": "asked", **common, **asked, "attributes": {"configuration": name}})
        rows.append({"event": "started", **common, "attempt": 1})
        rows.append({"event": "report", **common, "attempt": 1, "step": 20, "evaluation": final})
        rows.append({"event": "finished", **common, "attempt": 1, "outcome": "COMPLETE", "error": None})
    return rows if ended else rows[:-1]


def test_a_confirmation_has_a_table_of_its_own(write_study: Write, events: list[Event]) -> None:
    text = text_of(write_study, confirmed(events))
    assert (
        "Confirmed on the test split (opened 1 time), means over fresh seeds; primary endpoint low_resource_mean"
        in text
    )
    header, winner, control = (line_of(text, start) for start in ("configuration", "trial 2  ", "control a"))
    column = header.index("target_mean")
    assert (winner[1], control[1]) == ("2", "1")
    # de is one of six targets: its mean over two seeds is 0.8 against 0.5.
    assert float(winner[column]) - float(control[column]) == pytest.approx(0.05, abs=1e-4)
    assert "Not confirmed yet" not in text
    assert "finished, 7 trials" in text


def test_an_interrupted_confirmation_says_how_to_go_on(write_study: Write, events: list[Event]) -> None:
    text = text_of(write_study, confirmed(events, ended=False))
    assert "Not confirmed yet: study confirm small" in text
    assert "Not finished" not in text


def test_a_single_run_is_finished_after_baseline_and_trial(config: StudyConfig) -> None:
    single = config.model_copy(update={"search": config.search.model_copy(update={"space": None})})
    assert planned(single) == 2
    clean = validate(StudyConfig, {"name": "x"})
    assert planned(clean) == 1


def test_a_grid_is_as_large_as_it_is(config: StudyConfig) -> None:
    levels = {"perturbation.epsilon": (0.1, 0.5), "perturbation.ascent_steps": (1,)}
    grid = {"mode": "design", "space": "adversarial", "sampler": "grid", "levels": levels, "replicates": 2, "trials": 8}
    assert planned(config.model_copy(update={"search": config.search.model_copy(update=grid)})) == 6


def test_an_unknown_study_suggests_a_near_one(write_study: Write, events: list[Event]) -> None:
    with pytest.raises(UserError, match=r"smal: no such study under .*, did you mean 'small'\?"):
        find(write_study(events), "smal")


def test_a_damaged_ledger_does_not_hide_the_others(write_study: Write, events: list[Event]) -> None:
    root = write_study(events)
    (root / "broken").mkdir()
    (root / "broken" / "ledger.jsonl").write_text("nonsense\nmore of it\n")
    listing = lists.listing(root)
    assert re.search(r"broken +damaged", listing)
    assert re.search(r"small +finished", listing)


def test_first_value_is_none_where_nothing_was_scored(config: StudyConfig) -> None:
    value = first_value(config)
    assert value(Evaluation(1, "validation", {"accuracy": LanguageScores({"sw": 0.5}, {"sw": 1})})) is None
    scores = LanguageScores({"de": 0.5, "fr": 0.7, "sw": 0.1}, {"de": 1, "fr": 1, "sw": 1})
    assert value(Evaluation(1, "validation", {"accuracy": scores})) == pytest.approx(0.6)


def test_several_objectives_show_their_front_and_who_misses_a_constraint(
    write_study: Write, events: list[Event]
) -> None:
    cost = {"reduce": "cost:forward_equivalents", "direction": "minimize"}
    bound = {"reduce": "source", "direction": "maximize", "threshold": 0.905}
    events[0]["config"]["search"]["objectives"] += [cost, bound]
    text = text_of(write_study, events)
    # All cost the same, so the best is alone on the front; the baseline's source score is 0.9.
    assert "Pareto front of selection_mean and cost:forward_equivalents: trial 2." in text
    assert "Constraint source at least 0.905: missed by trial 0, not ranked." in text
    for event in events:
        if event["event"] == "report" and event["trial"] == 1:
            event["evaluation"]["cost"]["forward_equivalents"] = 1.0
    assert "cost:forward_equivalents: trials 1, 2." in text_of(write_study, events)
    events[0]["config"]["search"]["objectives"].pop(1)
    assert "Pareto" not in text_of(write_study, events)
