"""A ledger in a real SQLite store of MLflow, number for number."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from study.question.config import StudyConfig
from study.record.ledger import Ledger
from study.record.lines import LEDGER, read_study
from study.tracking import mirror as mirror_module
from study.tracking import store as store_module
from study.tracking import tracker
from study.tracking.answers import reason, settings
from study.tracking.mirror import Mirror
from study.tracking.runs import STATUS, milliseconds, points
from study.tracking.tracker import log_artifacts, rebuild
from tests.study.conftest import LANGUAGES, evaluation, place_of
from tests.study.tracking.conftest import Dump, dump
from tests.study.tracking.test_charts import state
from trainables.errors import UserError
from trainables.scores import Evaluation, LanguageScores

Event = dict[str, Any]
Write = Callable[[list[Event]], Path]


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    with settings():
        yield


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "studies"


@pytest.fixture
def ledger(root: Path) -> Iterator[Ledger]:
    with Ledger.open(root / "small" / LEDGER) as ledger:
        yield ledger


def append(ledger: Ledger, events: list[Event]) -> None:
    for event in events:
        ledger.append(event["event"], **{k: v for k, v in event.items() if k != "event"})


def send(mirror: Mirror) -> None:
    while mirror.advance():
        pass
    mirror.finish()


def assert_equals_ledger(shown: Dump, path: Path, config: StudyConfig) -> None:
    """Every point, time and outcome of the ledger is in MLflow, and nothing else."""
    record = read_study(path)
    children = {run["tags"]["study.trial"]: run for run in shown.values() if "study.trial" in run["tags"]}
    assert children.keys() == {str(number) for number in record.trials}
    for number, trial in record.trials.items():
        run = children[str(number)]
        expected: dict[str, list[tuple[int, int, str]]] = {}
        for report in trial.reports:
            for p in points(config, report):
                expected.setdefault(p.key, []).append((p.step, p.milliseconds, repr(p.value)))
        assert run["points"] == expected
        assert run["status"] == STATUS.get(trial.state, "RUNNING")
        end = None if trial.finished is None else milliseconds(trial.finished)
        assert run["times"] == (milliseconds(trial.asked), end)
        for path_, value in trial.point.items():
            assert run["parameters"][path_] == (value if isinstance(value, str) else repr(value))


def test_a_study_is_there_number_for_number(
    store: str, ledger: Ledger, root: Path, events: list[Event], config: StudyConfig
) -> None:
    events[0]["fingerprints"] = {"data": "d" * 64}
    append(ledger, events)
    mirror = Mirror(place_of(ledger.path.parent), None, pytest.fail)
    send(mirror)
    shown = dump(store, "small")
    assert_equals_ledger(shown, ledger.path, config)
    assert len(shown) == 5
    assert shown["trial 3"]["status"] == "FAILED"
    parent = shown["small"]
    assert (parent["status"], parent["times"][1]) == ("FINISHED", 1320000)
    assert parent["inputs"] == [("intents", "d" * 36)]
    assert parent["artifacts"] == ["study.yaml"]
    stored = next((root / "mlflow-artifacts" / "small").rglob("study.yaml"))
    assert yaml.safe_load(stored.read_text(encoding="utf-8")) == config.model_dump(mode="json")
    assert mirror.unsent() == 0


@pytest.mark.parametrize("chunk", [mirror_module.CHUNK, 3])
def test_rebuilding_again_changes_nothing(
    store: str,
    ledger: Ledger,
    tmp_path: Path,
    empty_store: Path,
    events: list[Event],
    monkeypatch: pytest.MonkeyPatch,
    chunk: int,
) -> None:
    """However the ledger is cut: a trial that ends further down is no running one."""
    monkeypatch.setattr(mirror_module, "CHUNK", chunk)
    append(ledger, [*events, {**events[1], "trial": 4, "time": 1400.0}])
    append(ledger, [{**events[2], "trial": 4}, {**events[3], "trial": 4, "time": 1450.0}])
    ledger.append("asked", trial=5, time=1460.0, phase="confirm", kind="control", control="b", point={})
    assert rebuild(place_of(ledger.path.parent)) == len(events) + 5
    before = dump(store, "small", ids=True)
    assert before["trial 4 baseline"]["status"] == "RUNNING"
    assert before["trial 5 confirm control b"]["tags"]["control"] == "b"
    assert rebuild(place_of(ledger.path.parent)) == len(events) + 5
    assert dump(store, "small", ids=True) == before

    other = tmp_path / "other.db"
    other.write_bytes(empty_store.read_bytes())
    rebuild(place_of(ledger.path.parent), f"sqlite:///{other}")
    without_ids = {
        name: {k: v for k, v in run.items() if k not in ("id", "parent", "experiment")} for name, run in before.items()
    }
    assert dump(f"sqlite:///{other}", "small") == without_ids


def test_following_and_rebuilding_show_the_same(
    store: str, ledger: Ledger, tmp_path: Path, empty_store: Path, events: list[Event], config: StudyConfig
) -> None:
    mirror = Mirror(place_of(ledger.path.parent), None, pytest.fail)
    for event in events:
        append(ledger, [event])
        mirror.advance()
    send(mirror)
    other = tmp_path / "other.db"
    other.write_bytes(empty_store.read_bytes())
    rebuild(place_of(ledger.path.parent), f"sqlite:///{other}")
    assert dump(store, "small") == dump(f"sqlite:///{other}", "small")


@pytest.mark.parametrize(("fresh", "at_once"), [(False, False), (True, False), (True, True)])
def test_a_retried_trial_is_there_with_its_new_outcome(
    store: str,
    ledger: Ledger,
    events: list[Event],
    config: StudyConfig,
    monkeypatch: pytest.MonkeyPatch,
    fresh: bool,
    at_once: bool,
) -> None:
    """However the ledger was cut into chunks, and whoever sends it; the second outcome may be read with the retry."""
    first = {**events[3], "trial": 3, "attempt": 2, "time": 1315.0}
    failed = [*events[:-1], first, events[-1]]
    again: list[Event] = [
        {"event": "retried", "time": 1330.0, "trial": 3, "attempt": 3, "fresh": fresh},
        {"event": "started", "time": 1331.0, "trial": 3, "attempt": 3},
        {**events[4], "time": 1390.0, "trial": 3, "attempt": 3},
        {**events[5], "time": 1391.0, "trial": 3, "attempt": 3},
    ]
    mirror = Mirror(place_of(ledger.path.parent), None, pytest.fail)
    for event in failed:
        append(ledger, [event])
        mirror.advance()
    mirror.finish()
    assert_equals_ledger(dump(store, "small"), ledger.path, config)
    for events in [again] if at_once else [[event] for event in again]:
        append(ledger, events)
        mirror.advance()
    send(mirror)
    shown = dump(store, "small", ids=True)
    assert_equals_ledger(shown, ledger.path, config)
    assert (shown["trial 3"]["status"], shown["trial 3"]["tags"]["attempts"]) == ("FINISHED", "3")
    assert "mlflow.note.content" not in shown["trial 3"]["tags"] and shown["small"]["status"] == "FINISHED"
    assert rebuild(place_of(ledger.path.parent)) == len(failed) + len(again) + 1
    assert dump(store, "small", ids=True) == shown
    monkeypatch.setattr(mirror_module, "CHUNK", len(failed) + 1)  # the failure is the last event of the first
    rebuild(place_of(ledger.path.parent))
    assert dump(store, "small", ids=True) == shown


def test_reports_that_no_longer_count_are_not_there(store: str, ledger: Ledger, events: list[Event]) -> None:
    """Retried from nothing, and failed again before the first report, between two looks at the ledger."""
    mirror = Mirror(place_of(ledger.path.parent), None, pytest.fail)
    append(ledger, [*events[:-1], {**events[3], "trial": 3, "attempt": 2, "time": 1315.0}])
    send(mirror)
    assert dump(store, "small")["trial 3"]["points"]
    retried = {"event": "retried", "time": 1330.0, "trial": 3, "attempt": 3, "fresh": True}
    append(ledger, [events[-1], retried, {**events[-1], "time": 1340.0, "attempt": 3}])
    send(mirror)
    shown = dump(store, "small")["trial 3"]
    assert (shown["status"], shown["points"]) == ("FAILED", {})


def test_what_is_put_off_counts_as_not_sent(store: str, ledger: Ledger, events: list[Event]) -> None:
    """A mirror that is closed while it catches up says how much is missing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mirror_module, "CHUNK", 5)
        append(ledger, events)
        mirror = Mirror(place_of(ledger.path.parent), None, pytest.fail)
        mirror.advance()  # opened, study, and trial 0 without its last two events
        assert "trial 0 baseline" not in dump(store, "small") and mirror.unsent() == len(events) + 1 - 2
        send(mirror)
    assert mirror.unsent() == 0


def test_a_resumed_study_goes_on_in_its_runs(
    store: str, ledger: Ledger, events: list[Event], config: StudyConfig
) -> None:
    append(ledger, events[:9])  # trial 1 has its first report
    send(Mirror(place_of(ledger.path.parent), None, pytest.fail))
    before = dump(store, "small", ids=True)
    assert before["small"]["status"] == before["trial 1"]["status"] == "RUNNING"
    append(ledger, [{**events[7], "attempt": 2}, *({**event, "attempt": 2} for event in events[9:11]), *events[11:]])
    send(Mirror(place_of(ledger.path.parent), None, pytest.fail))
    after = dump(store, "small", ids=True)
    assert_equals_ledger(after, ledger.path, config)
    assert {name: after[name]["id"] for name in before} == {name: run["id"] for name, run in before.items()}
    assert after["trial 1"]["tags"]["attempts"] == "2"


@pytest.mark.parametrize("is_followed", [True, False])
def test_a_step_that_a_later_attempt_repeats_is_there_once(
    store: str, ledger: Ledger, events: list[Event], config: StudyConfig, is_followed: bool
) -> None:
    append(ledger, events[:9])
    mirror = Mirror(place_of(ledger.path.parent), None, pytest.fail)
    send(mirror)
    again = {**events[8], "attempt": 2, "time": 1170.0, "evaluation": evaluation(10, 0.02, False).to_json()}
    append(ledger, [{**events[7], "attempt": 2}, again])
    send(mirror if is_followed else Mirror(place_of(ledger.path.parent), None, pytest.fail))
    shown = dump(store, "small")
    assert shown["trial 1"]["points"]["training/loss"] == [(10, 1170000, "0.1")]
    assert_equals_ledger(shown, ledger.path, config)


def test_training_and_cost_of_a_step_are_there_once(store: str, ledger: Ledger, events: list[Event]) -> None:
    tested = {**events[4]["evaluation"], "split": "test"}
    append(ledger, [*events[:5], {**events[4], "time": 1099.0, "evaluation": tested}])
    send(Mirror(place_of(ledger.path.parent), None, pytest.fail))
    shown = dump(store, "small")["trial 0 baseline"]["points"]
    assert [time for _, time, _ in shown["cost/train_seconds"]] == [1050000, 1090000]
    assert [time for _, time, _ in shown["test_accuracy/sw"]] == [1099000]


def test_scores_that_are_no_numbers_arrive(store: str, ledger: Ledger, events: list[Event]) -> None:
    broken = evaluation(10, 0.0, False)
    values = {**broken.primary.values, "sw": math.nan}
    scores = {"accuracy": LanguageScores(values, broken.primary.counts)}
    events[3]["evaluation"] = Evaluation(10, "validation", scores).to_json()
    append(ledger, events[:4])
    send(Mirror(place_of(ledger.path.parent), None, pytest.fail))
    shown = dump(store, "small")["trial 0 baseline"]["points"]
    assert shown["validation_accuracy/sw"] == [(10, 1050000, "nan")]
    assert shown["validation_accuracy/yo"] == [(10, 1050000, "0.15")]


def test_many_metrics_go_in_many_batches(
    store: str, ledger: Ledger, events: list[Event], config: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "LARGEST_BATCH", 7)
    append(ledger, events)
    send(Mirror(place_of(ledger.path.parent), None, pytest.fail))
    assert_equals_ledger(dump(store, "small"), ledger.path, config)


def test_runs_of_another_making_are_written_anew(
    store: str, ledger: Ledger, events: list[Event], config: StudyConfig
) -> None:
    """A parameter with another value, a report the ledger has not, a run deleted by hand, one that is there twice."""
    from mlflow import MlflowClient

    client = MlflowClient(store)
    append(ledger, events[:4])
    append(ledger, events[6:9])
    append(ledger, events[11:13])
    first = Mirror(place_of(ledger.path.parent), None, pytest.fail)
    send(first)
    runs = dump(store, "small", ids=True)
    experiment = client.get_experiment_by_name("small").experiment_id
    tags = {"study.uuid": "0" * 32, "study.trial": "0", "phase": "run"}
    other = client.create_run(experiment, tags=tags, run_name="another")
    client.log_param(other.info.run_id, "perturbation.epsilon", "12")
    client.delete_run(runs["trial 0 baseline"]["id"])
    for language in LANGUAGES:
        client.log_metric(runs["trial 1"]["id"], f"validation_accuracy/{language}", 0.5, step=11, timestamp=5)
    client.create_run(experiment, tags={**tags, "study.trial": "2"}, run_name="twice")
    append(ledger, [*events[4:6], *events[9:11], *events[13:]])
    send(Mirror(place_of(ledger.path.parent), None, pytest.fail))
    assert_equals_ledger(dump(store, "small"), ledger.path, config)


def test_a_run_deleted_meanwhile_is_written_anew(
    store: str, ledger: Ledger, events: list[Event], config: StudyConfig
) -> None:
    from mlflow import MlflowClient

    append(ledger, events[:4])
    mirror = Mirror(place_of(ledger.path.parent), None, pytest.fail)
    send(mirror)
    MlflowClient(store).delete_run(dump(store, "small", ids=True)["trial 0 baseline"]["id"])
    append(ledger, events[4:])
    send(mirror)
    assert_equals_ledger(dump(store, "small"), ledger.path, config)


def test_a_server_that_lost_everything_gets_everything(
    store: str, ledger: Ledger, tmp_path: Path, empty_store: Path, events: list[Event], config: StudyConfig
) -> None:
    append(ledger, events[:9])
    mirror = Mirror(place_of(ledger.path.parent), None, pytest.fail)
    send(mirror)
    other = tmp_path / "other.db"
    other.write_bytes(empty_store.read_bytes())
    mirror.store.client = Mirror(place_of(ledger.path.parent), f"sqlite:///{other}", pytest.fail).store.client
    append(ledger, events[9:])
    with pytest.raises(Exception, match="not found"):
        send(mirror)
    send(mirror)
    assert_equals_ledger(dump(f"sqlite:///{other}", "small"), ledger.path, config)


def test_a_trial_that_cannot_be_shown_does_not_hold_up_the_others(
    store: str, ledger: Ledger, events: list[Event]
) -> None:
    events[6]["point"] = {"perturbation.no_such_field": 1}
    append(ledger, events)
    said: list[str] = []
    send(Mirror(place_of(ledger.path.parent), None, said.append))
    assert {"trial 0 baseline", "trial 2", "trial 3", "small"} <= dump(store, "small").keys()
    assert len(said) == 1
    assert "trial 1" in said[0]
    assert "no_such_field" in said[0]


def test_events_of_a_driver_that_was_taken_over_change_nothing(
    store: str, ledger: Ledger, events: list[Event], config: StudyConfig
) -> None:
    append(ledger, events[:9])
    late = ledger.append("opened", pid=1, host="elsewhere", since=0.0)
    with ledger.path.open("rb+") as file:  # as a takeover writes it
        text = file.read().decode()
        row = text.splitlines()[-1]
        file.seek(len(text.encode()) - len(row.encode()) - 1)
        file.write(row.replace(f'"epoch":{late["epoch"]}', f'"epoch":{late["epoch"] + 1}').encode() + b"\n")
    append(ledger, events[9:])  # still under the old epoch
    send(Mirror(place_of(ledger.path.parent), None, pytest.fail))
    shown = dump(store, "small")
    assert_equals_ledger(shown, ledger.path, config)
    assert shown["trial 1"]["status"] == "RUNNING"


def test_memory_is_bounded_while_nothing_can_be_sent(
    ledger: Ledger, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror_module, "CHUNK", 5)
    append(ledger, events)
    mirror = Mirror(place_of(ledger.path.parent), "http://127.0.0.1:9", pytest.fail)
    for _ in range(3):
        with pytest.raises(Exception, match="refused"):
            mirror.advance()
    assert len(mirror.record.trials) == 1
    assert mirror.unsent() == len(events) + 1


def test_reports_are_let_go_once_their_trial_is_done(store: str, ledger: Ledger, events: list[Event]) -> None:
    append(ledger, events[:10])
    mirror = Mirror(place_of(ledger.path.parent), None, pytest.fail)
    send(mirror)
    assert [len(trial.reports) for trial in mirror.record.trials.values()] == [0, 2]


def test_an_experiment_in_the_bin_is_named(
    store: str, ledger: Ledger, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.setattr(tracker, "INSISTENCE", 1)
    client = MlflowClient(store)
    client.delete_experiment(client.create_experiment("small"))
    append(ledger, events)
    with pytest.raises(UserError, match="mlflow experiments restore --experiment-id 1"):
        rebuild(place_of(ledger.path.parent))


def test_a_ledger_that_was_only_opened_shows_nothing(store: str, ledger: Ledger) -> None:
    send(Mirror(place_of(ledger.path.parent), None, pytest.fail))
    assert dump(store, "small") == {}


def test_the_view_names_what_is_varied(store: str, ledger: Ledger, events: list[Event]) -> None:
    append(ledger, events)
    send(Mirror(place_of(ledger.path.parent), None, pytest.fail))
    shown = dump(store, "small", ids=True)
    ((key, value),) = shown["small"]["experiment"].items()
    assert key == f"mlflow.sharedViewState.{'0' * 32}-run"
    parallel, _, table, *bars = state(value)["compareRunCharts"]
    assert parallel["selectedParams"] == ["perturbation.epsilon", "perturbation.ascent_steps"]
    assert table["baselineColumnUuid"] == shown["trial 0 baseline"]["id"]
    assert [bar["metricKey"] for bar in bars] == [f"validation_accuracy/{k}" for k in sorted(LANGUAGES)]


def test_artifacts_are_stored_with_the_study(store: str, ledger: Ledger, tmp_path: Path, events: list[Event]) -> None:
    append(ledger, events)
    (tmp_path / "figures").mkdir()
    for path in (tmp_path / "report.html", tmp_path / "figures" / "forest.svg"):
        path.write_text("x", encoding="utf-8")
    log_artifacts(place_of(ledger.path.parent), [tmp_path / "report.html", tmp_path / "figures"])
    folder = next((tmp_path / "studies" / "mlflow-artifacts").rglob("report"))
    assert {str(p.relative_to(folder)) for p in folder.rglob("*.*")} == {"report.html", "figures/forest.svg"}


def test_rebuilding_without_a_ledger_or_a_server(
    tmp_path: Path, ledger: Ledger, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracker, "INSISTENCE", 2)
    with pytest.raises(UserError, match="no such ledger"):
        rebuild(place_of(tmp_path / "none"))
    append(ledger, events)
    with pytest.raises(UserError) as caught:
        rebuild(place_of(ledger.path.parent), "http://me:secret@127.0.0.1:9")
    assert caught.value.lines == ["http://me:…@127.0.0.1:9: MLflow is not there (connection refused)"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("failed with error code 403 != 200. Response body: 'Invalid Host header'", "--allowed-hosts ray-head"),
        ("failed with error code 401 != 200", "MLFLOW_TRACKING_USERNAME"),
        ("Max retries exceeded (Caused by ResponseError('too many 503 error responses'))", "answers 503"),
        ("failed with timeout exception", "does not answer within"),
        ("[Errno 111] Connection refused", "connection refused"),
        ("Failed to resolve 'ray-head'", "no such host"),
        ("(sqlite3.OperationalError) database or disk is full\nmore", "fails: (sqlite3.OperationalError) database or"),
    ],
)
def test_reasons_are_worded(text: str, words: str) -> None:
    said = reason(RuntimeError(text), "http://ray-head:5000")
    assert words in said
    assert "\n" not in said


def test_importing_it_imports_no_mlflow() -> None:
    code = """
import study.tracking.server, study.tracking.tracker, sys
print([m for m in sys.modules if m.partition('.')[0] in ('mlflow', 'ray')])
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_nothing_goes_anywhere_else(store: str, ledger: Ledger, events: list[Event]) -> None:
    """MLflow's usage statistics are off: not even a name is looked up."""
    append(ledger, events)
    code = f"""
import socket, time
asked = []
socket.getaddrinfo = lambda *address, **options: asked.append(address) or []
socket.socket.connect = lambda self, address: asked.append(address)
from pathlib import Path
from study.record.place import Place
from study.tracking.tracker import rebuild
assert rebuild(Place(Path({str(ledger.path.parent.parent)!r}), {ledger.path.parent.name!r})) == {len(events) + 1}
time.sleep(1.0)
print(asked)
"""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(ledger.path.parent)}  # not that of a test: MLflow looks for it
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
