"""The picture of a running study: its state, its estimate, its lines, its table, and where the chatter goes."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from study.question.config import Objective, StudyConfig
from study.record.faults import last_line
from study.record.record import StudyRecord
from study.views.chatter import chatter_to, notice
from study.views.picture import View, clock
from study.views.progress import unfailing, watched
from study.views.values import first_value
from tests.terminal import watch
from trainables.scores import Evaluation

Event = dict[str, Any]

REPOSITORY = Path(__file__).resolve().parents[3]


def score(evaluation: Evaluation) -> float:
    return (evaluation.primary["de"] + evaluation.primary["fr"]) / 2


def view_of(config: StudyConfig, events: list[Event]) -> View:
    view = View(config, 4, score, begun=1000.0)
    for event in events:
        view.hear(event)
    return view


def drawn(view: View, now: float, width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=False)
    console.print(view.table(now, width, height))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_state_of_a_finished_study(config: StudyConfig, events: list[Event]) -> None:
    view = view_of(config, events)
    assert (len(view.ended), view.running, view.total, view.best) == (4, [], 4, 2)
    assert view.summary(1320.0) == "4 of 4 trials (1 failed) · elapsed 5:20 · about 0:00 left · best 0.8250 (trial 2)"


def test_an_objective_by_what_is_measured_as_the_study_begins(config: StudyConfig, events: list[Event]) -> None:
    """When the picture is begun nothing is known of it; the study's own event says it."""
    search = config.search.model_copy(update={"objectives": (Objective(reduce="group:fertility>2"),)})
    protocol = config.protocol.model_copy(update={"selection": "target_validation", "pivots": ()})
    config = config.model_copy(update={"search": search, "protocol": protocol})
    view = View(config, 4, first_value(config), begun=1000.0)
    events[0] = {**events[0], "config": {**events[0]["config"], "measured": {"de": {"fertility": 2.5}}}}
    for event in events:
        view.hear(event)
    assert view.best == 2 and view.values[2] == pytest.approx(0.85), "of German alone"


def test_a_minimised_objective_turns_the_best_round(config: StudyConfig, events: list[Event]) -> None:
    objective = config.search.objectives[0].model_copy(update={"direction": "minimize"})
    search = config.search.model_copy(update={"objectives": (objective,)})
    assert view_of(config.model_copy(update={"search": search}), events).best == 0


def test_estimate_of_what_is_left(config: StudyConfig, events: list[Event]) -> None:
    nothing = view_of(config, events[:2])
    assert nothing.remaining(1010.0) is None
    assert "estimating" in nothing.summary(1010.0)
    # Half of the first trial's steps after 49 s: 49 more, then three trials of 98 s.
    half = view_of(config, events[:4])
    assert half.remaining(1050.0) == pytest.approx(49 + 3 * 98)
    # One trial took 90 s, nothing runs: three are left.
    one = view_of(config, events[:6])
    assert one.remaining(1091.0) == pytest.approx(3 * 90)


def test_estimate_counts_on_trials_side_by_side(config: StudyConfig, events: list[Event]) -> None:
    first, second = [e for e in events if e.get("trial") == 0], [e for e in events if e.get("trial") == 1]
    interleaved = [events[0], *first[:2], *second[:2], first[-1]]
    view = view_of(config, interleaved)
    view.hear({**second[-1], "time": 1191.0})
    assert view.most_at_once == 2
    assert view.remaining(1191.0) == pytest.approx(2 * 90 / 2)


@pytest.mark.parametrize("count", [2, 4, 6, 11, 99])
def test_a_picture_of_a_record_is_that_of_its_events(config: StudyConfig, events: list[Event], count: int) -> None:
    heard, taken = view_of(config, events[:count]), View(config, 4, score, begun=1000.0)
    taken.take_up(StudyRecord.of(events[:count]))
    assert (taken.record, taken.values) == (heard.record, heard.values)
    assert taken.summary(1400.0) == heard.summary(1400.0)


def test_two_at_once_are_seen_in_a_record(config: StudyConfig, events: list[Event]) -> None:
    first, second = [e for e in events if e.get("trial") == 0], [e for e in events if e.get("trial") == 1]
    view = View(config, 4, score)
    view.take_up(StudyRecord.of([events[0], *first[:2], second[0], {**second[1], "time": 1050.0}, first[-1]]))
    assert view.most_at_once == 2


def test_events_in_words(config: StudyConfig, events: list[Event]) -> None:
    view = View(config, 4, score, begun=1000.0)
    lines = []
    for event in events:
        view.hear(event)
        lines += view.lines(event)
    assert lines[:6] == [
        "trial 0 baseline: perturbation.method=none augmentation.method=none",
        "trial 0 started",
        "trial 0 step 10: selection_mean 0.3875",
        "trial 0 step 20: selection_mean 0.7750",
        "trial 0 complete at 0.7750",
        "1 of 4 trials · elapsed 1:31 · about 4:30 left · best 0.7750 (trial 0)",
    ]
    assert "trial 1: epsilon=0.1 ascent_steps=1" in lines
    assert lines[-3:-1] == ["trial 3 started, attempt 2", "trial 3 failed: RuntimeError: the loss is not finite"]


@pytest.mark.parametrize(("fresh", "words"), [(True, "from the start"), (False, "from its last checkpoint")])
def test_a_retried_trial_waits_with_its_scores_or_without(
    config: StudyConfig, events: list[Event], fresh: bool, words: str
) -> None:
    failed = [*events[:-1], {**events[3], "trial": 3, "attempt": 2}, events[-1]]
    view = view_of(config, failed)
    retried = {"event": "retried", "time": 9000.0, "trial": 3, "attempt": 3, "fresh": fresh}
    view.hear(retried)
    assert list(view.lines(retried)) == [f"trial 3 runs again, {words}"]
    assert len(view.ended) == 3 and (3 in view.values) is not fresh
    row, *_ = [line.split() for line in drawn(view, 9001.0, 80, 24) if line.split()[:1] == ["3"]]
    assert row == ["3", "waiting", "2", *([] if fresh else ["10", "0.3875"])], "no clock runs"


def test_an_ascent_that_raises_nothing_is_warned_of_once(config: StudyConfig, events: list[Event]) -> None:
    for event in events:
        if event["event"] == "report" and event["trial"] in (1, 2):
            rises = {1: {10: 0.2, 20: 0.1}, 2: {10: -0.01, 20: 0.0}}
            event["evaluation"]["training"] |= {"loss_rise": rises[event["trial"]][event["step"]]}
    view = View(config, 4, score, begun=1000.0)
    lines = []
    for event in events:
        view.hear(event)
        lines += view.lines(event)
    (warned,) = [i for i, line in enumerate(lines) if "Warning" in line]
    assert lines[warned - 1].startswith("trial 2 step 10")
    assert lines[warned] == "Warning: the ascent of trial 2 raised nothing: broken, or its magnitude is far off."
    for width, height in ((80, 8), (140, 50)):
        table = drawn(view, 1400.0, width, height)
        assert len(table) <= height
        assert sum("Warning: the ascent of trial 2 raised nothing" in line for line in table) == 1


def test_waiting_is_shown_until_a_trial_starts(config: StudyConfig, events: list[Event]) -> None:
    view = view_of(config, [*events[:2], {"event": "waiting", "for": "worker processes"}])
    assert drawn(view, 1001.0, 80, 24)[-1].strip() == "waiting for worker processes"
    view.hear(events[2])
    assert not any("waiting for" in line for line in drawn(view, 1001.0, 80, 24))


@pytest.mark.parametrize(("width", "height"), [(80, 24), (140, 50)])
def test_table_fits_the_terminal(config: StudyConfig, events: list[Event], width: int, height: int) -> None:
    lines = drawn(view_of(config, events), 1400.0, width, height)
    assert all(len(line) <= width for line in lines)
    assert lines[0].strip() == "study small"
    assert lines[1].split()[:6] == ["trial", "state", "attempt", "step", "selection_mean", "time"]
    assert [line.split()[0] for line in lines[2:6]] == ["0", "1", "2", "3"]
    assert lines[4].split()[:6] == ["2", "complete", "1", "20", "0.8250", "*"]
    assert ("epsilon=0.2" in lines[4]) is (width >= 100)


def test_a_long_table_keeps_running_trials_and_the_best(config: StudyConfig, events: list[Event]) -> None:
    view = view_of(config, events)
    for number in range(4, 60):
        view.hear({"event": "asked", "time": 1400.0, "trial": number, "phase": "run", "kind": "sampled", "point": {}})
    view.hear({"event": "started", "time": 1400.0, "trial": 5, "attempt": 1})
    lines = drawn(view, 1410.0, 80, 15)
    assert len(lines) <= 15
    numbers = [line.split()[0] for line in lines[2:11]]
    assert {"2", "5", "59"} <= set(numbers)
    assert "… and 51 more trials" in lines[11]


def test_what_is_shown_breaks_nothing_of_what_runs(tmp_path: Path) -> None:
    """Its errors are in the log, once each kind, and it hears of the next event all the same."""
    heard, log = list[str](), tmp_path / "log.txt"

    def listen(event: Event) -> None:
        heard.append(event["event"])
        raise KeyError(event["event"]) if len(heard) < 3 else BrokenPipeError

    listener = unfailing(listen, log)
    for name in ("asked", "reported", "completed"):
        listener({"event": name})
    assert heard == ["asked", "reported", "completed"]
    ends = [line for line in log.read_text().splitlines() if line.startswith(("KeyError", "BrokenPipeError"))]
    assert ends == ["KeyError: 'asked'", "BrokenPipeError"]
    unfailing(listen, tmp_path / "absent" / "log.txt")({"event": "stopped"})


def test_plain_lines_when_piped(tmp_path: Path, config: StudyConfig, events: list[Event], capfd: Any) -> None:
    with watched(config, 4, score, tmp_path / "small" / "log.txt") as listen:
        for event in events:
            listen(event)
        os.write(2, b"chatter of a library\n")
        os.write(1, b"more of it\n")
    out, err = capfd.readouterr()
    assert "trial 2 complete at 0.8250" in out
    assert "chatter" not in out + err
    assert (tmp_path / "small" / "log.txt").read_text() == "chatter of a library\nmore of it\n"


PLAYER = """
import json, os, sys, time
from pathlib import Path
from study.question.config import StudyConfig
from study.views.progress import unfailing, watched
from trainables.loading import validate
config = validate(StudyConfig, json.loads(Path("config.json").read_text()))
score = lambda evaluation: evaluation.primary["de"]
with watched(config, 4, score, Path("log.txt")) as listen:
    for event in json.loads(Path("events.json").read_text()):
        listen(event)
        os.write(2, b"chatter of a library")
    time.sleep(0.7)
"""


@pytest.mark.parametrize(("width", "height"), [(80, 24), (140, 40)])
def test_live_table_on_a_terminal(
    tmp_path: Path, config: StudyConfig, events: list[Event], width: int, height: int
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config.model_dump(mode="json")))
    (tmp_path / "events.json").write_text(json.dumps(events))
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    status, frames, left = watch([sys.executable, "-c", PLAYER], tmp_path, environment, width, height)
    assert status == 0
    assert not any("chatter" in line for frame in [*frames, left] for line in frame)
    # What stays is the last picture, once, whatever was drawn before it.
    assert [line for line in left if line == "study small"] == ["study small"]
    (best,) = [line for line in left if line.split()[:4] == ["2", "complete", "1", "20"]]
    assert ("epsilon=0.2" in best) is (width >= 100)
    assert any(line.startswith("4 of 4 trials (1 failed)") for line in left)


def test_json_events_and_quiet(tmp_path: Path, config: StudyConfig, events: list[Event], capfd: Any) -> None:
    with watched(config, 4, score, tmp_path / "log.txt", "json") as listen:
        for event in events:
            listen(event)
    assert [json.loads(line) for line in capfd.readouterr().out.splitlines()] == events
    with watched(config, 4, score, tmp_path / "log.txt", "quiet") as listen:
        for event in events:
            listen(event)
    assert capfd.readouterr().out == ""


def test_preparations_in_the_log_become_notices(tmp_path: Path, config: StudyConfig, capfd: Any) -> None:
    with watched(config, 4, score, tmp_path / "log.txt", "plain"):
        command = "import sys; print('cache: building the encoder …', file=sys.stderr)"
        subprocess.run([sys.executable, "-c", command], check=True)
        deadline = time.monotonic() + 10
        shown = ""
        while "building" not in shown and time.monotonic() < deadline:
            time.sleep(0.05)
            shown += capfd.readouterr().out
    assert "waiting for the cache (building the encoder …)" in shown


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("cache: building the encoder …\n", "the cache (building the encoder …)"),
        ("cache: waiting for another process that builds it\n", "another process that builds it"),
        ("cache: built the encoder in 3.0 s (/x)\n", None),
        (
            "aligning: 51 of 1,000 steps (0.67 a second), loss 0.441\n",
            "aligning: 51 of 1,000 steps (0.67 a second), loss 0.441",
        ),
        ("anything else: 3 of them", None),
    ],
)
def test_notices(line: str, words: str | None) -> None:
    assert notice(line) == words


def test_outputs_are_given_back_after_an_error(tmp_path: Path, capfd: Any) -> None:
    with pytest.raises(RuntimeError), chatter_to(tmp_path / "log.txt"):
        raise RuntimeError
    os.write(1, b"here again\n")
    assert capfd.readouterr().out == "here again\n"


def test_earlier_events_count_on_resume(tmp_path: Path, config: StudyConfig, events: list[Event], capfd: Any) -> None:
    with watched(config, 4, score, tmp_path / "log.txt", "plain", StudyRecord.of(events[:6])) as listen:
        for event in events[6:11]:
            listen(event)
    assert "2 of 4 trials" in capfd.readouterr().out


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (65.4, "1:05"), (7384, "2:03:04"), (-3, "0:00")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_small_words() -> None:
    assert last_line("a\nb: c\n\n") == "b: c"
    assert last_line("") == ""


def test_colours_say_nothing_that_words_do_not(config: StudyConfig, events: list[Event]) -> None:
    view = View(config, 4, lambda evaluation: 0.5, begun=1000.0)
    for event in events:
        view.hear(event)
    console = Console(width=120, file=io.StringIO())
    console.print(view.table(2000.0, 120, 40))
    rows = [line.split() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    states = {row[0]: row[1] for row in rows if row and row[0] in ("1", "3")}
    assert states == {"1": "complete", "3": "failed"}
