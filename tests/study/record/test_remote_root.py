"""Studies whose root is a URI, against a real S3 server on the loopback interface: the seam first, then a real Ray."""

from __future__ import annotations

import json
import logging
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pandas as pd
import pytest
import torch
from moto.server import ThreadedMotoServer
from torch import nn

from study import cli, launch_suite
from study.execution import confirm
from study.execution import suite as executed
from study.execution.checkpoints import Checkpoints
from study.execution.members import Member
from study.execution.retry import reopen
from study.execution.simulation import LANGUAGES
from study.execution.trials import Proposal
from study.question import suites
from study.question.config import StudyConfig, SuiteConfig
from study.record import manifest, roots, segments
from study.record.ledger import Ledger
from study.record.lines import LEDGER, Reading, read_events, read_study
from study.record.place import MANIFEST, RESULTS, Place
from study.record.record import StudyRecord
from study.views import following, models
from study.views.found import find
from tests.study.conftest import Event, evaluation, place_of
from tests.study.reporting.conftest import build, configured
from tests.study.test_launch_suite import simulated
from tests.study.test_launch_suite import suite as many
from tests.waiting import wait_for
from trainables.errors import UserError
from trainables.loading import validate
from trainables.storage import checkpoint, soup
from trainables.storage.scratch import scratch
from trainables.storage.shelf import Shelf
from trainables.storage.store import Store

BUCKET = "bucket"


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadedMotoServer]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    server._ip_address, server._port = host, port  # where it comes back after a stop
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        }.items():
            patch.setenv(name, value)
        yield server
        server.stop()


@pytest.fixture
def uri(server: ThreadedMotoServer) -> str:
    """A root in an empty bucket."""
    urllib.request.urlopen(urllib.request.Request(f"{endpoint(server)}/moto-api/reset", method="POST")).close()
    boto3.client("s3", endpoint_url=endpoint(server)).create_bucket(Bucket=BUCKET)
    return f"s3://{BUCKET}/studies"


def endpoint(server: ThreadedMotoServer) -> str:
    return "http://{}:{}".format(*server.get_host_and_port())


class Machines:
    """Machines that have nothing in common but the store."""

    def __init__(self, uri: str, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.uri, self.folder, self.patch = uri, folder, patch

    def __getitem__(self, name: str) -> Path:
        """The root's working folder on the machine of that name, which is where this process is from now on."""
        self.patch.setenv("STUDY_CACHE", str(self.folder / name))
        return roots.folder(self.uri)

    def place(self, name: str) -> Place:
        return roots.place(self[name], "small")

    def ledger(self, name: str) -> Path:
        return self.place(name).ledger

    def events(self, name: str) -> list[Event]:
        """What a reader on the machine sees, but for who opened the ledger and when."""
        ledger = self.ledger(name)
        roots.refresh(ledger.parent.parent, "small")
        return plain(read_events(ledger))


@pytest.fixture
def machines(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machines:
    return Machines(uri, tmp_path / "machines", monkeypatch)


def plain(events: list[Event]) -> list[Event]:
    own = ("epoch", "time", "elapsed")
    return [{k: v for k, v in e.items() if k not in own} for e in events if e["event"] != "opened"]


def append(ledger: Ledger, events: list[Event]) -> None:
    for event in events:
        ledger.append(event["event"], **{k: v for k, v in event.items() if k not in ("event", "time")})


def nothing(event: object) -> None:
    pass


# Roots


def test_a_file_uri_is_its_path(tmp_path: Path) -> None:
    assert roots.folder(f"file://{tmp_path}/a%20b") == tmp_path / "a b"
    assert roots.store(tmp_path) is None
    with pytest.raises(UserError, match="absolute path"):
        roots.folder("file://elsewhere/studies")


@pytest.mark.parametrize(
    ("root", "words"),
    [
        ("s3a://bucket/studies", "--root: unknown scheme, did you mean 's3'? (got s3a://)"),
        ("s3://bucket", "--root: must name a bucket and a folder in it"),
        ("s3://key:secret@bucket/studies", "--root: credentials belong into the environment"),
        ("s3://nowhere/studies", "--root: there is no bucket nowhere (got s3://nowhere/studies)"),
        ("s3://bucket/studies?endpoint_override=http://127.0.0.1:9", "--root: the store does not answer"),
    ],
)
def test_an_unusable_root_is_one_line(
    machines: Machines, root: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    machines.patch.setenv("STUDY_CACHE", str(machines.folder))
    assert cli.execute(cli.commands, "study", ["run", "quickstart", "--root", root]) == cli.USER_ERROR
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert "secret" not in line
    assert not machines.folder.exists()


def test_refused_credentials_are_one_line(
    server: ThreadedMotoServer, machines: Machines, capsys: pytest.CaptureFixture[str]
) -> None:
    def reset(count: bytes) -> None:
        headers = {"Content-Type": "text/plain"}
        urllib.request.urlopen(
            urllib.request.Request(f"{endpoint(server)}/moto-api/reset-auth", count, headers, method="POST")
        ).close()

    reset(b"0")
    try:
        status = cli.execute(cli.commands, "study", ["ls", "--root", machines.uri])
    finally:
        reset(b"inf")
    assert status == cli.USER_ERROR
    (line,) = capsys.readouterr().err.splitlines()
    assert "--root: must be readable: credentials are missing, or do not allow it" in line


# The ledger


def test_another_machine_goes_on_with_a_study(machines: Machines, events: list[Event]) -> None:
    with roots.opened(machines.place("a"), False, nothing) as ledger:
        append(ledger, events[:8])
    assert machines.events("b") == plain(events[:8])
    with roots.opened(machines.place("b"), False, nothing) as ledger:
        assert ledger.epoch == 2
        append(ledger, events[8:])
    assert machines.events("a") == machines.events("c") == plain(events)
    assert [name[:6] for name in sorted((Store(machines.uri) / "small").sizes("owners"))] == ["000001", "000002"]
    assert machines.ledger("a").read_bytes() == machines.ledger("c").read_bytes()
    shutil.rmtree(machines["c"])
    assert machines.events("c") == plain(events)


def test_commands_find_a_study_that_is_nowhere_here(
    machines: Machines, events: list[Event], capsys: pytest.CaptureFixture[str]
) -> None:
    with roots.opened(machines.place("a"), False, nothing) as ledger:
        append(ledger, events)
    machines.patch.setenv("STUDY_CACHE", str(machines.folder / "b"))
    assert cli.execute(cli.commands, "study", ["ls", "--root", machines.uri]) == 0
    assert "small" in capsys.readouterr().out
    assert cli.execute(cli.commands, "study", ["show", "small", "--json", "--root", machines.uri]) == 0
    assert len(json.loads(capsys.readouterr().out)["trials"]) == 4
    assert cli.execute(cli.commands, "study", ["show", "smal", "--root", machines.uri]) == cli.USER_ERROR
    assert f"smal: no such study under {machines.uri}, did you mean 'small'?" in capsys.readouterr().err


def test_a_confirmation_is_reported_elsewhere(machines: Machines, tmp_path: Path) -> None:
    """Workers bring predictions to the store, one machine makes the results of them, and another one the report."""
    planted, plain_root = configured(), tmp_path / "plain"
    build(plain_root, planted)
    with roots.opened(place_of(machines["a"] / "planted"), False, nothing) as ledger:
        append(ledger, plain(read_events(plain_root / "planted" / LEDGER)))
    for file in (plain_root / "planted" / "predictions").iterdir():
        (Store(machines.uri) / "planted/predictions" / file.name).upload(file)
    place = place_of(machines["b"] / "planted")
    roots.refresh(place.root, "planted")
    confirm.results(planted, read_study(place.ledger), place).to_parquet(place.results)
    roots.keep(place, place.results)
    machines.patch.setenv("STUDY_CACHE", str(machines.folder / "c"))
    page = tmp_path / "page"
    assert cli.execute(cli.commands, "study", ["report", "planted", "--root", machines.uri, "--out", str(page)]) == 0
    made = pd.read_parquet(plain_root / "planted" / RESULTS)
    pd.testing.assert_frame_equal(pd.read_parquet(page / RESULTS)[made.columns], made)
    with pytest.raises(UserError, match=f"{machines.uri}/planted/predictions/999.parquet: there is no such object"):
        roots.bring(place, place.predictions(999))


def test_of_two_drivers_one_owns_a_study(machines: Machines, events: list[Event]) -> None:
    store = Store(machines.uri) / "small"
    path = machines.ledger("a")
    said: list[str] = []
    with Ledger.open(path) as first:
        mirror = segments.Uploader(first, segments.claim(store), None, said.append)
        append(first, events[:4])
        mirror.flush()
        with pytest.raises(UserError, match=r"owned by process \d+ .* take over with --take-over"):
            roots.opened(machines.place("b"), False, nothing).__enter__()
        with roots.opened(machines.place("b"), True, nothing) as second:
            append(second, events[4:8])
            # What the first one was uploading while it was taken over arrives now.
            append(first, events[8:])
            late = path.read_bytes()[mirror.stored :]
            store.write(segments.Segment(mirror.tenure.id, mirror.after, mirror.stored, 0).name, late)
            with pytest.raises(UserError, match="taken over by process"):
                mirror.flush()
            assert mirror._try()
            first.guard = mirror.guard
            with pytest.raises(UserError, match="taken over by process"):
                append(first, events[:1])
    assert machines.events("c") == machines.events("b") == plain(events[:8])
    assert machines.events("a") == plain(events[:8])
    (left,) = path.parent.glob("ledger.left-*")
    assert plain(read_events(left)) == plain(events[:4] + events[8:])


def test_an_upload_that_hangs_does_not_hang_the_driver(
    machines: Machines, events: list[Event], capsys: pytest.CaptureFixture[str]
) -> None:
    released, hanging = threading.Event(), threading.Event()
    original = Store.write

    def write(store: Store, name: str, content: bytes) -> None:
        if threading.current_thread().name == "mirror":
            hanging.set()
            released.wait(120)
        original(store, name, content)

    opened = roots.opened(machines.place("a"), False, nothing)
    ledger = opened.__enter__()
    machines.patch.setattr(Store, "write", write)
    machines.patch.setattr(segments, "UPLOAD_SECONDS", 0.2)
    append(ledger, [{**events[0], "event": "stopped", "cause": "enough"}])
    assert hanging.wait(60)
    begun = time.monotonic()
    with pytest.raises(UserError, match=r"lacks the last \d+ bytes of the ledger"):
        opened.__exit__(None, None, None)
    assert time.monotonic() - begun < 60
    assert "thread mirror: has not ended within 0.2 s" in capsys.readouterr().err
    released.set()  # its upload arrives now, and not in the bucket of the next test, where it would be a stray segment
    wait_for(lambda: all(each.name != "mirror" for each in threading.enumerate()), 60, "the upload that hung")


def test_a_missing_segment_is_damage(machines: Machines, events: list[Event]) -> None:
    with roots.opened(machines.place("a"), False, nothing) as ledger:
        append(ledger, events)
    store = Store(machines.uri) / "small"
    first = min(store.sizes("ledger"))
    assert len(store.sizes("ledger")) > 1
    store.remove(f"ledger/{first}")
    with pytest.raises(UserError, match="damaged"):
        machines.events("b")


KILLED = """
import os, signal, sys
from pathlib import Path
from study.record import roots, segments
from trainables.storage.store import Store
which, path = sys.argv[1:]
def kill(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)
with roots.opened(roots.place(Path(path).parents[1], Path(path).parent.name), False, lambda event: None) as ledger:
    ledger.append("note", number=1)
    ledger.guard.__self__.flush()
    ledger.append("note", number=2)
    if which == "after":
        segments._know = kill
    else:
        Store.write = kill
    ledger.guard.__self__.flush()
"""
"""A driver that is killed before or after the upload of its last segment."""


@pytest.mark.parametrize(("when", "stored"), [("before", [1]), ("after", [1, 2])])
def test_a_driver_killed_at_an_upload(machines: Machines, when: str, stored: list[int]) -> None:
    path = machines.ledger("a")
    done = subprocess.run([sys.executable, "-c", KILLED, when, str(path)], timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL
    assert [e["number"] for e in machines.events("b")] == stored
    assert [e["number"] for e in machines.events("a")] == [1, 2], "what is here is not lost"
    with path.open("ab") as file:
        file.write(b'{"event": "torn')
    with roots.opened(place_of(path.parent), False, nothing) as ledger:
        ledger.append("note", number=3)
    assert [e["number"] for e in machines.events("a")] == [1, 2, 3]
    assert [e["number"] for e in machines.events("b")] == [1, 2, 3]
    assert machines.ledger("a").read_bytes() == machines.ledger("b").read_bytes()


def test_a_store_that_is_away(server: ThreadedMotoServer, machines: Machines, events: list[Event]) -> None:
    path = machines.ledger("a")
    said: list[Any] = []
    tries: list[bool] = []
    original = segments.Uploader._try

    def counted(mirror: segments.Uploader) -> bool:
        tries.append(original(mirror))
        return tries[-1]

    machines.patch.setattr(segments.Uploader, "_try", counted)
    machines.patch.setattr(segments, "SECONDS", 0.1)
    with roots.opened(place_of(path.parent), False, said.append) as ledger:
        append(ledger, events[:4])
        server.stop()
        append(ledger, events[4:8])
        wait_for(lambda: tries.count(False) >= 2, 60, "two attempts in vain")
        server.start()
        append(ledger, events[8:])
    assert len([e for e in said if e["event"] == "note"]) == 1
    assert machines.events("b") == plain(events)

    machines.patch.setattr(segments, "PATIENCE_SECONDS", 0.0)
    opened = roots.opened(place_of(path.parent), False, nothing)
    ledger = opened.__enter__()
    server.stop()
    append(ledger, events[:1])
    with pytest.raises(UserError, match=r"lacks the last \d+ bytes of the ledger; .*ledger.jsonl has them all"):
        opened.__exit__(None, None, None)
    server.start()
    assert machines.events("b") == plain(events)
    roots.settle(machines.place("a"))
    assert machines.events("b") == plain(events + events[:1])


def test_a_segment_without_bytes_is_none_of_the_chain() -> None:
    owner = "000001-0123abcd"
    first, second = segments.Segment(owner, owner, 0, 10), segments.Segment(owner, owner, 10, 30)
    empty = segments.Segment(owner, owner, 30, 30)
    sizes = {each.name: each.end - each.offset for each in (first, second, empty)}
    assert segments.chain(sizes) == [first, second]


def test_a_study_is_watched_from_another_machine(
    server: ThreadedMotoServer, machines: Machines, events: list[Event], capfd: pytest.CaptureFixture[str]
) -> None:
    """Its store is away for a while."""
    path, show = machines.ledger("a"), following._show
    machines.patch.setattr(segments, "SECONDS", 0.1)
    opened = roots.opened(place_of(path.parent), False, nothing)
    ledger = opened.__enter__()
    append(ledger, events[:4])
    uploader: segments.Uploader = ledger.guard.__self__  # type: ignore[union-attr]
    wait_for(lambda: uploader.stored == ledger.end, 30, "the upload")

    away = threading.Event()

    def go_on() -> None:
        server.stop()
        away.wait(60)
        server.start()
        append(ledger, events[4:])
        opened.__exit__(None, None, None)

    driver = threading.Thread(target=go_on)

    def watched(news: following.News, listen: Any, pause: float) -> None:
        driver.start()
        show(news, lambda event: (listen(event), "waiting for it" in event.get("words", "") and away.set()), pause)

    machines.patch.setattr(following, "_show", watched)
    root = machines["b"]
    assert following.follow(root, "small", "plain", 0.2) == following.FINISHED
    driver.join(60)
    lines = [line.partition("] ")[2] or line for line in capfd.readouterr().out.splitlines()]
    assert "trial 2 complete at 0.8250" in lines and lines[-1] == "not running: the study is finished"
    assert sum(line.endswith("; waiting for it") for line in lines) == 1
    assert not any(path.name == "ledger.jsonl.owner" for path in (root / "small").iterdir())


def test_a_study_removed_from_the_store_is_gone(machines: Machines, events: list[Event]) -> None:
    with roots.opened(machines.place("a"), False, nothing) as ledger:
        append(ledger, events)
    (Store(machines.uri) / "small").remove_all()
    roots.refresh(machines["a"], "small")
    assert not machines.ledger("a").exists()


def study(*arguments: str) -> int:
    return cli.execute(cli.commands, "study", list(arguments))


def test_rm_removes_a_study_here_and_in_the_store(
    machines: Machines, events: list[Event], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("small", "other"):
        with roots.opened(place_of(machines["a"] / name), False, nothing) as ledger:
            append(ledger, events)
    store = Store(machines.uri)
    (store / "small").write("checkpoints/2/20/weights.safetensors", bytes(3 << 20))
    (store / "small").write("checkpoints/2/20/meta.json", b"{}")
    there = set(store.sizes("small"))
    assert study("rm", "small", "--root", machines.uri, "--checkpoints-only", "--yes") == 0
    assert f"{machines.uri}/small: 3 MiB" in capsys.readouterr().out
    assert {name for name in store.sizes("small") if not name.startswith("owners")} == {
        name for name in there if not name.startswith(("checkpoints", "owners"))
    }
    assert machines.events("b") == plain(events)
    with roots.opened(machines.place("a"), False, nothing):
        assert machines["b"] and study("rm", "small", "--root", machines.uri, "--yes") == 2
        assert "small is being run by another process; stop it first" in capsys.readouterr().err
    assert machines["a"] and study("rm", "small", "--root", machines.uri, "--yes") == 0
    assert store.sizes("small") == {} and not (machines["a"] / "small").exists()
    assert "other" in store.folders()
    roots.refresh(machines["b"])
    assert roots.names(machines["b"]) == ["other"], "nobody has it any more"
    with roots.opened(machines.place("a"), False, nothing) as ledger:
        append(ledger, events[:2])
    assert machines.events("b") == plain(events[:2])


@pytest.mark.parametrize("after", range(4))
def test_a_removal_from_a_store_that_breaks_off_leaves_no_study(
    machines: Machines, events: list[Event], after: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """After so many deletions."""
    with roots.opened(machines.place("a"), False, nothing) as ledger:
        append(ledger, events)
    (Store(machines.uri) / "small").write("checkpoints/2/20/meta.json", b"{}")
    left = [None] * after
    remove_all = Store.remove_all

    def breaking(store: Store) -> None:
        if not left:
            raise OSError(5, "broken", store.uri)
        left.pop()
        remove_all(store)

    with machines.patch.context() as patch:
        patch.setattr(Store, "remove_all", breaking)
        assert study("rm", "small", "--root", machines.uri, "--yes") == 2
    assert "broken" in capsys.readouterr().err
    for machine in "ab":
        roots.refresh(machines[machine])
        assert roots.names(machines[machine]) == []
    if after < 3:  # all that is left then is the folder itself
        with (
            pytest.raises(UserError, match="study rm small completes it"),
            roots.opened(machines.place("b"), False, nothing),
        ):
            pass
        assert study("rm", "small", "--root", machines.uri, "--yes") == 0
    assert (Store(machines.uri) / "small").sizes() == {}


# Checkpoints


def save(folder: Path, step: int, gain: float = 0.0) -> None:
    model = nn.Linear(2, 2)
    with torch.no_grad():
        model.weight.fill_(step)
    checkpoint.save(folder, step, model, None, [evaluation(step, gain, True)])


def newest(store: Store) -> int | None:
    """Step of the checkpoint that another machine would go on from."""
    with scratch("study-store") as folder:
        Shelf(store, folder).fetch()
        found = checkpoint.latest(folder)
        assert found is None or found.weights["weight"][0, 0] == found.step
        return None if found is None else found.step


def test_a_checkpoint_in_a_store_is_whole_or_absent(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(uri) / "small/checkpoints/0"
    shelf = Shelf(store, tmp_path)
    shelf.fetch()
    assert newest(store) is None
    for step in (10, 20):
        save(tmp_path, step)
        shelf.put()
        assert newest(store) == step
    save(tmp_path, 30)
    with monkeypatch.context() as patch:  # the connection breaks before the last object
        patch.setattr(Store, "write", lambda *given: (_ for _ in ()).throw(OSError("broken")))
        with pytest.raises(OSError, match="broken"):
            shelf.put()
    assert "30/weights.safetensors" in store.sizes()
    assert newest(store) == 20
    checkpoint.keep_only(tmp_path, {20, 30})
    shelf.put()
    assert newest(store) == 30
    assert {name.partition("/")[0] for name in store.sizes()} == {"20", "30"}
    (store / 30).write(checkpoint.WEIGHTS, b"torn")
    assert newest(store) == 20


def test_the_best_trials_keep_their_weights(machines: Machines, config: StudyConfig, tmp_path: Path) -> None:
    store = Store(machines.uri) / "small/checkpoints"
    gains = [0.01, 0.05, 0.02, 0.04, 0.03]
    for number, gain in enumerate(gains):
        for step in (10, 20):
            save(tmp_path / str(number), step, gain)
        shelf = Shelf(store / number, tmp_path / str(number))
        shelf.put()
    (store / 1 / 10).remove(checkpoint.META)  # an upload that was never finished
    kept = Checkpoints(config, StudyRecord(), machines.place("a"))
    assert kept.place_of(3) == f"{machines.uri}/small/checkpoints/3"
    for number in range(len(gains)):
        kept.finished(number, "COMPLETE")
    best = sorted(range(len(gains)), key=lambda n: -gains[n])[: config.models.keep]
    files = {f"{n}/20/{name}" for n in best for name in (checkpoint.WEIGHTS, checkpoint.META)}
    assert set(store.sizes()) == files
    kept.finished(best[0], "FAIL")
    assert set(store.sizes()) == {f for f in files if not f.startswith(f"{best[0]}/")}


def test_the_mean_of_all_trials_is_in_the_store(machines: Machines, config: StudyConfig, tmp_path: Path) -> None:
    """Whichever machine the driver is on."""
    averaging = config.model_copy(update={"models": config.models.model_copy(update={"average": True, "keep": 1})})
    store = Store(machines.uri) / "small/checkpoints"
    told: list[int] = []
    for number, machine in ((0, "a"), (1, "b"), (2, "a")):
        state = checkpoint.state(20, nn.Linear(2, 2), None, [])
        checkpoint.write(tmp_path / str(number), replace(state, kin="kin"))
        Shelf(store / number, tmp_path / str(number)).put()
        kept = Checkpoints(averaging, StudyRecord(), machines.place(machine), lambda number, _: told.append(number))
        kept.finished(number, "COMPLETE")
    assert told == [0, 1, 2]
    assert kept.mean_of("kin") == f"{machines.uri}/small/checkpoints/means/kin"
    mean = Shelf(Store(kept.mean_of("kin")), tmp_path / "mean")
    mean.fetch()
    assert soup.members(mean.folder) == (0, 1, 2)
    assert set((store / "means").sizes()) == {f"kin/3/{name}" for name in (checkpoint.WEIGHTS, checkpoint.META)}


def test_a_lost_trial_goes_on_from_the_store_and_another_begins_anew(
    machines: Machines, config: StudyConfig, events: list[Event], tmp_path: Path
) -> None:
    failed = {**events[-1], "error": "its workers were lost 3 times"}
    lost = [*events[:-1], failed, {**events[-4], "trial": 4}, {**failed, "trial": 4, "error": "ValueError: no"}]
    store = Store(machines.uri) / "small/checkpoints"
    for number in (3, 4):
        save(tmp_path / str(number), 10)
        shelf = Shelf(store / number, tmp_path / str(number))
        shelf.put()
    with roots.opened(machines.place("a"), False, nothing) as ledger:
        append(ledger, lost)
        reading = Reading(ledger.path)
        kept = Checkpoints(config, reading.update(), machines.place("b"))
        assert list(kept.left) == [3] and newest(store / 3) == 10 and (store / 4).sizes() == {}
        reopen(ledger, reading, kept, (3, 4))
        retried = [e for e in read_events(ledger.path) if e["event"] == "retried"]
    assert [(e["trial"], e["fresh"]) for e in retried] == [(3, False), (4, True)]
    kept.restart(3)
    assert store.sizes() == {}


def test_a_trained_model_comes_from_the_store(machines: Machines, events: list[Event], tmp_path: Path) -> None:
    """On a machine that has run nothing; it leaves nothing there."""
    with roots.opened(machines.place("a"), False, nothing) as ledger:
        append(ledger, events)
    store = Store(machines.uri) / "small/checkpoints"
    save(tmp_path / "2", 20, 0.05)
    Shelf(store / 2, tmp_path / "2").put()
    root = machines["b"]
    study = find(root, "small")
    assert (models.kept(study.place), models.chosen(study).number) == ([2], 2)
    with models.weights(study, study.record.trials[2]) as folder:
        found = checkpoint.latest(folder)
        assert found is not None and found.step == 20
    assert not folder.exists()
    with (
        pytest.raises(UserError, match="has those of trials 2 and not that of trial 1; all keeps every one"),
        models.weights(study, study.record.trials[1]),
    ):
        pass


# A real Ray


def age(store: Store, meta: str, seconds: float) -> None:
    """Let a checkpoint's training have taken so much longer: whoever goes on from it tells of that in its reports."""
    envelope = json.loads(store.read(meta))
    content = json.loads(envelope["meta"])
    content["seconds"][0] += seconds
    body = json.dumps(content)
    store.write(meta, json.dumps({"checksum": checkpoint._digest(body.encode()), "meta": body}).encode())


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_killed_study_goes_on_elsewhere(uri: str, tmp_path: Path) -> None:
    """Its driver is killed in mid-study, and of its machine nothing is left but the data and the encoder."""
    from tests.study.execution.test_runner import TRIAL, assert_consistent, command, family, finished, study, written

    trial = TRIAL | {"encoder": TRIAL["encoder"] | {"freeze_lower_layers": 12}}
    trial |= {"training": TRIAL["training"] | {"budget": {"steps": 80}}}
    trial |= {"evaluation": {"every": 40, "examples_per_language": 4}}
    config = written(tmp_path / "tiny.yaml", study(trial=trial))
    store, root, copy = Store(uri) / "tiny", roots.folder(uri), tmp_path / "copy"

    def remote() -> StudyRecord:
        shutil.rmtree(copy, ignore_errors=True)
        segments.refresh(store, copy, store.sizes())
        return read_study(copy / LEDGER) if copy.exists() else StudyRecord()

    def under_way() -> dict[int, str]:
        """Trials whose newest checkpoint in the store is that of step 40, and its meta file."""
        sizes, trials = store.sizes("checkpoints"), remote().trials.values()
        going = [t.number for t in trials if not t.ended and f"{t.number}/80/{checkpoint.META}" not in sizes]
        metas = {number: f"{number}/40/{checkpoint.META}" for number in going}
        return {number: f"checkpoints/{meta}" for number, meta in metas.items() if meta in sizes}

    def in_mid_study() -> bool:
        assert process.poll() is None, process.communicate()[0]
        return bool(under_way()) and any(t.ended for t in remote().trials.values())

    try:
        with command("run", str(config), "--root", uri, "--plain") as process:
            wait_for(in_mid_study, 500, "mid-study", every=1.0)
            children = family(process.pid)
            process.kill()
            process.wait(30)
            for each in children:
                if each.is_running():
                    each.kill()
        interrupted, ended = under_way(), {t.number for t in remote().trials.values() if t.ended}
        for meta in interrupted.values():
            age(store, meta, 1e6)
        shutil.rmtree(root)
        status, output = finished("resume", "tiny", "--root", uri, "--plain", seconds=500)
        assert status == 0, output
        remote()
        record = assert_consistent(copy / LEDGER, trials=3, interval=40)
        assert record.epoch == 2
        assert interrupted
        for each in record.trials.values():
            seconds = each.reports[-1].evaluation.cost["train_seconds"]
            assert (seconds > 1e6) == (each.number in interrupted), "it went on from its checkpoint"
            assert each.attempts <= 1 + (each.number not in ended)
        assert {name.partition("/")[0] for name in store.sizes("checkpoints")} == {"0", "1", "2"}
        assert (root / "tiny" / LEDGER).read_bytes() == (copy / LEDGER).read_bytes()
    finally:
        shutil.rmtree(root, ignore_errors=True)


# Suites


def test_a_suite_s_manifest_is_known_on_another_machine(machines: Machines) -> None:
    design = {"suite": {"name": "many", "members": [{"name": "small"}]}}
    manifest.write(roots.place(machines["one"], "many"), design)
    root = machines["two"]
    assert manifest.names(root) == []
    roots.refresh(root)
    assert manifest.names(root) == ["many"]
    assert manifest.read(roots.place(root, "many")) == design
    assert roots.names(root) == []


def test_a_suite_is_shown_watched_and_reported_from_another_machine(
    machines: Machines, events: list[Event], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its members are found in the store, one that has run and one that has not begun."""
    monkeypatch.setattr("study.reporting.publishing.log_artifacts", lambda *_: None)
    shared = {k: v for k, v in events[0]["config"].items() if k not in ("name", "measured")}
    asked = validate(SuiteConfig, {**shared, "suite": {"name": "many", "members": [{"name": "a"}, {"name": "b"}]}})
    root = machines["one"]
    manifest.write(roots.place(root, "many"), asked.model_dump(mode="json"))
    member = suites.expand(asked)["a"]
    with roots.opened(roots.place(root, member.name), False, nothing) as ledger:
        append(ledger, [{**events[0], "config": member.model_dump(mode="json")}, *events[1:]])
    root = machines["two"]
    there = ["--root", machines.uri]
    assert study("show", "many", *there) == 0
    assert re.search(r"a +.*finished +4 of 4", capsys.readouterr().out)
    assert study("ls", *there) == 0
    assert re.search(r"many +unfinished .*\n +many\.a +finished.*\n +many\.b +not begun", capsys.readouterr().out)
    assert study("watch", "many", *there, "--plain") == 1
    assert "go on with study resume many" in capsys.readouterr().out
    assert study("report", "many", *there) == 0
    assert "1 of 2 members" in (root / "many" / "report" / "report.html").read_text(encoding="utf-8")


def test_a_suite_is_run_resumed_and_confirmed_on_one_machine_after_the_other(
    machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Interrupted in its run and in its confirmation, and gone on with where nothing of it is but in the store."""

    def predict(member: Member, proposal: Proposal) -> None:
        """As workers do, who bring predictions to the store themselves."""
        place, right = member.checkpoints.place, proposal.trial.training.seed % 3
        rows = [(k, i, float(i < 2 + right)) for k in LANGUAGES[:4] for i in range(6)]
        frame = pd.DataFrame(rows, columns=["language", "example", "score"]).assign(confidence=0.5, prediction="0")
        frame.assign(split="test", metric="accuracy").to_parquet(tmp_path / "predictions.parquet")
        there = place.stored(place.predictions(proposal.number))
        assert there is not None
        there.upload(tmp_path / "predictions.parquet")

    bench = simulated(machines["one"], monkeypatch)
    bench.predict = predict
    monkeypatch.setattr(executed, "keep_results", confirm.keep_results)
    monkeypatch.setattr(executed.measuring, "_measured", lambda *_: {})  # or each cache builds data and encoder
    store = Store(machines.uri)
    bench.killed_after = 4
    with pytest.raises(KeyboardInterrupt):
        launch_suite.run(many(members=[{"name": "a"}, {"name": "b"}]), bench.options)
    assert MANIFEST in (store / "many").sizes()
    bench.root, bench.killed_after = machines["two"], None
    assert launch_suite.resume("many", bench.options) == 0
    bench.root, bench.killed_after = machines["three"], 2
    with pytest.raises(KeyboardInterrupt):
        launch_suite.confirm("many", bench.options)
    bench.root, bench.killed_after = machines["four"], None
    assert launch_suite.confirm("many", bench.options) == 0
    root = machines["five"]
    there = ["--root", machines.uri]
    capsys.readouterr()
    assert study("ls", *there) == study("show", "many", *there) == 0
    assert re.search(r"many +finished .*suite of 2", capsys.readouterr().out)
    for name, attempts in {"a": [1, 1, 1], "b": [1, 2, 1]}.items():
        assert roots.place(root, f"many.{name}").results.exists(), "what a report is made of is here"
        record = read_study(roots.place(root, f"many.{name}").ledger)
        assert [t.attempts for t in record.trials.values() if t.phase == "run"] == attempts
        assert all(t.state == "COMPLETE" for t in record.trials.values())
