"""What a worker does with the trials of its slot, with a real mailbox and without Ray."""

from __future__ import annotations

import errno
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import ray
import torch
from safetensors import SafetensorError

from study.record import faults
from tests.trainables import texts
from tests.trainables.team import together
from tests.trainables.texts import Item
from tests.trainables.workers.conftest import Post
from trainables.config import TrialConfig
from trainables.distributed import Group, PeerLostError
from trainables.errors import MachineError, UserError
from trainables.scores import Evaluation, LanguageScores
from trainables.scoring.stream import stream
from trainables.storage import checkpoint, soup
from trainables.storage.store import Store
from trainables.tasks.classification import Classification
from trainables.workers import worker

SLOT = "slot-1"
TRIAL = TrialConfig.model_validate({"training": {"seed": 5}})

Play = Callable[..., Iterator[Evaluation]]
"""What stands in for `run_trial`."""


def evaluation(step: int, final: bool = False) -> Evaluation:
    return Evaluation(step, "validation", {"accuracy": LanguageScores({"sw": 0.5}, {"sw": 4})}, final=final)


def payload(directory: str = "nowhere", **changes: Any) -> dict[str, Any]:
    trial = TRIAL.model_dump(mode="json")
    return {"trial": trial, "directory": directory, "final_split": "validation", "predictions": None} | changes


class Stage:
    """A slot of one or several workers, and the trials that they are to run."""

    def __init__(self, post: Post, patch: pytest.MonkeyPatch) -> None:
        self.post = post
        self.pool = ThreadPoolExecutor()
        self.groups = threading.local()
        self.plays: dict[int, Play] = {}
        self.begun: list[tuple[TrialConfig, Path, dict[str, Any]]] = []
        context = SimpleNamespace(
            get_world_rank=lambda: self.groups.mine.rank, get_world_size=lambda: self.groups.mine.world
        )
        patch.setattr("ray.train.get_context", lambda: context)
        patch.setattr("trainables.training.loop.run_trial", self._run_trial)
        patch.setattr(worker, "device", lambda gpus: torch.device("cpu"))
        self.config = {
            "mailbox": post,
            "slot": SLOT,
            "folder": "",
            "trials": 5,
            "growth_mb": 10**6,
            "threads": 1,
            "gpus": 0,
            "meeting": None,
        }

    def _run_trial(self, config: TrialConfig, directory: Path, **options: Any) -> Iterator[Evaluation]:
        self.begun.append((config, directory, options))
        return self.plays[config.training.seed](group=options["group"], directory=directory, options=options)

    def submit(self, number: int, play: Play, attempt: int = 1, **changes: Any) -> None:
        """Hand the slot its next trial."""
        trial = TRIAL.model_dump(mode="json")
        trial["training"]["seed"] = number
        self.plays[number] = play
        self.post.call("submit", SLOT, number, attempt, payload(**{"trial": trial, **changes}))

    def serve(self, world: int = 1) -> None:
        """Run the workers until they leave."""

        def work(group: Group) -> None:
            self.groups.mine = group
            worker.serve(self.config)

        together(world, work)

    def serve_aside(self, world: int = 1) -> Future[None]:
        """The same in a thread."""
        return self.pool.submit(self.serve, world)

    def items(self, until: Sequence[str] = ("done", "failed", "interrupted", "halted")) -> list[dict[str, Any]]:
        """What the driver is given, asking until the trial is over: each question says to go on."""
        taken: list[dict[str, Any]] = []
        while not taken or taken[-1]["kind"] not in until:
            item = self.post.call("take", SLOT, 20.0)
            assert item is not None, f"nothing came after {taken}"
            taken.append(item)
        return taken


@pytest.fixture
def stage(post: Post, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    # Collecting takes longer than all else, and what is frozen would stay so in the tests' own process.
    monkeypatch.setattr(worker, "gc", SimpleNamespace(collect=lambda: 0, freeze=lambda: None))
    stage = Stage(post, monkeypatch)
    yield stage
    post.call("interrupt")  # ends the thread that waits for it
    post.call("close", SLOT)
    stage.pool.shutdown()
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(precision)


def plays(*steps: int, final: bool = True) -> Play:
    """A trial that is evaluated at these steps, the last one final unless it is interrupted before."""

    def play(**_: Any) -> Iterator[Evaluation]:
        for step in steps:
            yield evaluation(step, final and step == steps[-1])

    return play


def fails(error: BaseException, rank: int | None = None) -> Play:
    def play(group: Group, **_: Any) -> Iterator[Evaluation]:
        if rank is None or group.rank == rank:
            raise error
        group.gather(None)  # waits for the one that failed
        yield evaluation(1, True)

    return play


@pytest.mark.parametrize("world", [1, 2])
def test_one_trial_after_another_is_run_reported_and_done(stage: Stage, world: int) -> None:
    stage.submit(1, plays(2, 4), directory="first", final_split="test")
    served = stage.serve_aside(world)
    first = stage.items()
    assert [(item["kind"], item["attempt"]) for item in first] == [
        ("started", 1), ("report", 1), ("report", 1), ("done", 1),
    ]  # fmt: skip
    assert [item["evaluation"] for item in first[1:3]] == [evaluation(2), evaluation(4, True)]
    stage.submit(2, plays(3), attempt=4)  # as in a study that was resumed
    assert [(item["kind"], item["attempt"]) for item in stage.items()] == [("started", 4), ("report", 4), ("done", 4)]
    stage.post.call("close", SLOT)
    served.result(20)
    assert len(stage.begun) == 2 * world
    assert {(config.training.seed, str(folder)) for config, folder, _ in stage.begun} == {(1, "first"), (2, "nowhere")}
    assert [options["final_split"] for _, _, options in stage.begun] == ["test"] * world + ["validation"] * world
    assert sorted(options["group"].rank for _, _, options in stage.begun) == sorted([*range(world)] * 2)


def test_the_first_worker_alone_talks_to_the_mailbox(stage: Stage) -> None:
    speakers: list[str] = []

    def play(group: Group, **_: Any) -> Iterator[Evaluation]:
        if group.rank == 0:
            speakers.append(threading.current_thread().name)
        yield evaluation(1, True)

    stage.submit(1, play)
    served = stage.serve_aside(2)
    assert stage.items()[-1]["kind"] == "done"
    stage.post.call("close", SLOT)
    served.result(20)
    asking = {thread for name, thread in stage.post.asked if name in ("next_job", "post")}
    assert asking == set(speakers) and len(speakers) == 1
    assert [name for name, _ in stage.post.asked].count("post") == 2


@pytest.mark.parametrize("world", [1, 2])
def test_a_trial_that_is_to_stop_takes_no_further_step(stage: Stage, world: int) -> None:
    steps: list[int] = []
    closed: list[int] = []

    def play(group: Group, **_: Any) -> Iterator[Evaluation]:
        try:
            for step in (1, 2, 3):
                steps.append(step)
                yield evaluation(step)
        finally:
            closed.append(group.rank)

    stage.submit(1, play)
    served = stage.serve_aside(world)
    assert stage.items(until=["report"])[-1]["evaluation"].step == 1
    stage.post.call("stop", SLOT)
    stage.submit(2, plays(1))
    assert [item["kind"] for item in stage.items()] == ["started", "report", "done"]
    stage.post.call("close", SLOT)
    served.result(20)
    assert steps == [1] * world and sorted(closed) == list(range(world)), "its checkpoints are let go of"


def test_a_failure_is_posted_with_its_cause_and_the_next_trial_runs(stage: Stage) -> None:
    stage.submit(1, fails(ValueError("the loss is not finite")))
    served = stage.serve_aside()
    (_, failed) = stage.items()
    assert failed["kind"] == "failed" and failed["attempt"] == 1
    assert failed["error"].startswith("Traceback") and "ValueError: the loss is not finite" in failed["error"]
    stage.submit(2, plays(1))
    assert stage.items()[-1]["kind"] == "done"
    stage.post.call("close", SLOT)
    served.result(20)


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


@pytest.mark.parametrize(
    "error", [OutOfMemoryError("no room"), MemoryError(), RuntimeError("CUDA error: an illegal memory access")]
)
def test_a_process_that_cannot_be_trusted_any_more_ends(stage: Stage, error: Exception) -> None:
    stage.submit(1, fails(error))
    with pytest.raises(type(error)):
        stage.serve()
    assert [item["kind"] for item in stage.post.take_all(SLOT)] == ["started", "failed"]


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (OutOfMemoryError("no room"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (ValueError("the loss is not finite"), False),
    ],
)
def test_too_little_memory_names_the_keys_to_turn(stage: Stage, error: Exception, named: bool) -> None:
    stage.submit(1, fails(error))
    with pytest.raises(type(error)) if isinstance(error, OutOfMemoryError) else nullcontext():
        served = stage.serve_aside()
        failed = stage.items()[-1]
        stage.post.call("close", SLOT)
        served.result(20)
    assert faults.own(failed["error"]) != named
    keys = ("training.micro_batch_size", "evaluation.token_budget")
    assert all((key in faults.last_line(failed["error"])) == named for key in keys)


def test_a_key_that_was_named_already_is_not_named_again(stage: Stage) -> None:
    error = OutOfMemoryError("no room")
    error.add_note("training.micro_batch_size: a smaller one needs less memory")
    stage.submit(1, fails(error))
    with pytest.raises(OutOfMemoryError):
        stage.serve()
    failed = stage.post.take_all(SLOT)[-1]
    assert failed["error"].count("micro_batch_size") == 1


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "as the system says", "/disk/weights"), "/disk/weights: as the system says"),
        (OSError(errno.EIO, "as the system says", "/disk/weights"), "/disk/weights: as the system says"),
        (OSError("1048576 requested and 8176 written"), "nowhere: No space left on device"),  # numpy's
        (SafetensorError("I/O error: No space left on device (os error 28)"), "nowhere: No space left on device"),
        (MachineError("STUDY_CACHE: there is no room"), "STUDY_CACHE: there is no room"),
        (OSError(errno.ENOENT, "as the system says", "/disk/weights"), None),
        (OSError("there is no such encoder"), None),
        (UserError("task.data_dir: must be a folder"), None),
    ],
)
def test_a_disk_that_would_fail_any_trial_halts_the_study(stage: Stage, error: Exception, words: str | None) -> None:
    stage.submit(1, fails(error))
    served = stage.serve_aside()
    item = stage.items()[-1]
    assert item["kind"] == ("failed" if words is None else "halted")
    assert words is None or item["error"] == words
    stage.post.call("close", SLOT)
    served.result(20)


def test_a_mean_of_other_trials_than_the_ledger_names_is_not_scored(stage: Stage, tmp_path: Path) -> None:
    for number in (2, 3):
        checkpoint.save(tmp_path / str(number), 20, torch.nn.Linear(1, 1), None, [])
        soup.add(tmp_path / "mean", number, tmp_path / str(number))
    served = stage.serve_aside()
    for number, averaged in enumerate([(0, 1, 2, 3), (2, 3)], 1):
        stage.submit(number, plays(20), weights=str(tmp_path / "mean"), averaged=averaged)
        last = stage.items()[-1]
        assert last["kind"] == ("failed" if number == 1 else "done")
        assert number == 2 or "must be the mean of trials 0, 1, 2, 3 (got 2, 3)" in last["error"]
    stage.post.call("close", SLOT)
    served.result(20)
    assert [options["weights"] for *_, options in stage.begun] == [tmp_path / "mean"]


def test_a_lost_peer_is_no_failure_of_the_trial(stage: Stage) -> None:
    stage.submit(1, fails(PeerLostError("a worker left")))
    with pytest.raises(PeerLostError):
        stage.serve()
    assert [item["kind"] for item in stage.post.take_all(SLOT)] == ["started"]
    assert stage.post.call("next_job", SLOT)["attempt"] == 2, "whoever serves the slot next goes on with it"


def test_the_worker_that_failed_says_so_itself(stage: Stage) -> None:
    """The others are stuck in a collective by then; all end, as they no longer agree on where they are."""
    stage.submit(1, fails(ValueError("of the second"), rank=1))
    with pytest.raises(ValueError, match="of the second"):
        stage.serve(2)
    started, failed = stage.post.take_all(SLOT)
    assert (started["kind"], failed["kind"]) == ("started", "failed") and "of the second" in failed["error"]


def test_an_interrupted_trial_says_that_it_is_not_done(stage: Stage) -> None:
    def play(options: dict[str, Any], **_: Any) -> Iterator[Evaluation]:
        yield evaluation(1)
        deadline = time.monotonic() + 20
        while not options["interrupted"]() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert time.monotonic() < deadline, "nobody told it"

    stage.submit(1, play)
    served = stage.serve_aside()
    stage.items(until=["report"])
    waiting = stage.pool.submit(stage.items)
    stage.post.call("interrupt")
    assert [item["kind"] for item in waiting.result(20)] == ["interrupted"]
    stage.post.call("close", SLOT)
    served.result(20)


def watch() -> threading.Thread:
    """The thread that asks whether the study is interrupted."""
    (found,) = [thread for thread in threading.enumerate() if thread.name == "interrupts"]
    return found


def test_nobody_watches_a_study_whose_driver_is_gone(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = threading.Event()

    def asked(answer: Any) -> None:
        gone.wait(10)
        raise ray.exceptions.RayActorError()

    monkeypatch.setattr("ray.get", asked)
    with worker._watching(stage.post, SLOT) as interrupted:
        thread = watch()
        gone.set()
        thread.join(10)
        assert not thread.is_alive() and not interrupted()


def test_a_watch_that_fails_fails_the_trial(stage: Stage) -> None:
    stage.post.lost = ValueError("a fault of ours")
    with worker._watching(stage.post, SLOT) as interrupted:
        for thread in threading.enumerate():
            if thread.name == "interrupts":
                thread.join(10)
        with pytest.raises(ValueError, match="a fault of ours"):
            interrupted()
    stage.post.lost = None


def unavailable() -> ray.exceptions.RayError:
    return ray.exceptions.ActorUnavailableError("the network is away", b"0" * 16)


def test_a_network_that_is_away_for_a_while_ends_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker.time, "sleep", lambda seconds: time_of.wait(0.01))
    time_of = threading.Event()
    stage.post.lost = unavailable()
    with worker._watching(stage.post, SLOT) as interrupted:
        thread = watch()
        thread.join(0.2)
        assert thread.is_alive()
        stage.post.lost = None
        stage.post.call("interrupt")
        thread.join(10)
        assert interrupted()


def test_a_network_that_stays_away_is_given_up(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "BLIP_SECONDS", -1.0)
    stage.post.lost = unavailable()
    with pytest.raises(ray.exceptions.ActorUnavailableError):
        worker._asked(stage.post.interrupted, SLOT, 0.1)
    stage.post.lost = None


def test_processes_are_replaced_after_their_number_of_trials(stage: Stage) -> None:
    stage.config["trials"] = 2
    served = stage.serve_aside()
    for number in (1, 2):
        stage.submit(number, plays(1))
        assert stage.items()[-1]["kind"] == "done"
    served.result(20)  # though nobody has closed the slot


@pytest.mark.parametrize("world", [1, 2])
def test_processes_are_replaced_once_one_has_grown_too_much(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, world: int
) -> None:
    """Growth since the end of the first trial, and of any worker: here, the last."""
    done = dict.fromkeys(range(world), 0)

    def peak() -> int:
        return 1000 + (100 * done[world - 1] if stage.groups.mine.rank == world - 1 else 0)

    def play(group: Group, **_: Any) -> Iterator[Evaluation]:
        done[group.rank] += 1
        yield evaluation(1, True)

    monkeypatch.setattr(worker, "_peak_mb", peak)
    stage.config["growth_mb"] = 150
    served = stage.serve_aside(world)
    for number in (1, 2, 3):
        assert not served.done()
        stage.submit(number, play)
        assert stage.items()[-1]["kind"] == "done"
    served.result(20)
    assert set(done.values()) == {3}


def test_what_another_encoder_takes_is_no_growth(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that trains a small encoder and then a large one is not replaced for that."""
    peak = [1000]

    def play(options: Any, group: Group, **_: Any) -> Iterator[Evaluation]:
        peak[0] += 100
        yield evaluation(1, True)

    monkeypatch.setattr(worker, "_peak_mb", lambda: peak[0])
    stage.config["growth_mb"] = 150
    served = stage.serve_aside()
    for number, name in enumerate(("small", "large", "larger", "small", "large"), start=1):
        assert not served.done(), "a hundred once is not too much"
        stage.submit(number, play, trial=trial_of(number, name))
        assert stage.items()[-1]["kind"] == "done"
    served.result(20)


def trial_of(seed: int, encoder: str) -> dict[str, Any]:
    trial = TRIAL.model_dump(mode="json")
    trial["training"]["seed"] = seed
    trial["encoder"]["name_or_path"] = encoder
    return trial


def test_what_a_trial_did_to_the_process_is_undone_for_the_next(stage: Stage) -> None:
    def state() -> tuple[Any, ...]:
        precision = torch.get_float32_matmul_precision()
        return torch.get_num_threads(), torch.is_grad_enabled(), torch.get_default_dtype(), precision

    seen: list[tuple[Any, ...]] = []

    def play(**_: Any) -> Iterator[Evaluation]:
        seen.append(state())
        torch.set_num_threads(1)
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)
        torch.set_float32_matmul_precision("medium")
        yield evaluation(1, True)

    stage.config |= {"threads": 2, "trials": 3}
    served = stage.serve_aside()
    for number in (1, 2, 3):
        stage.submit(number, play if number < 3 else plays(1))
        stage.items()
    served.result(20)
    assert seen == [(2, True, torch.float32, "highest")] * 2
    assert torch.get_default_dtype() == torch.float32


class Shelf:
    """Stands in for the shelf of an object store: a folder."""

    place: Path

    def __init__(self, store: Store, folder: Path) -> None:
        assert store.uri == URI
        self.folder = folder

    def fetch(self) -> None:
        shutil.copytree(self.place, self.folder, dirs_exist_ok=True)

    def put(self) -> None:
        shutil.copytree(self.folder, self.place, dirs_exist_ok=True)


URI = "s3://bucket/studies/mine/checkpoints/7"


def test_a_trial_can_keep_its_checkpoints_in_the_store(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainables.storage.shelf.Shelf", Shelf)
    monkeypatch.setattr(Shelf, "place", tmp_path, raising=False)
    (tmp_path / "1").mkdir()
    found: list[list[str]] = []

    def kept() -> list[str]:
        return sorted(path.name for path in tmp_path.iterdir())

    def play(directory: Path, options: dict[str, Any], **_: Any) -> Iterator[Evaluation]:
        found.append(sorted(path.name for path in directory.iterdir()))
        for step in (2, 3):
            (directory / f"{step}").mkdir()
            options["keep"]()
            yield evaluation(step)
        (directory / "4").mkdir()  # an interrupted trial leaves one more
        options["keep"]()

    stage.submit(1, play, directory=URI)
    served = stage.serve_aside()
    stage.items(until=["report"])
    assert found == [["1"]], "it goes on from what is there"
    assert kept() == ["1", "2"]
    stage.items(until=["report"])
    assert kept() == ["1", "2", "3"]
    assert stage.items()[-1]["kind"] == "interrupted"
    assert kept() == ["1", "2", "3", "4"]
    stage.post.call("close", SLOT)
    served.result(20)


def test_checkpoints_on_a_disk_are_written_in_their_place(tmp_path: Path) -> None:
    with worker._checkpoints(str(tmp_path)) as (folder, keep):
        assert folder == tmp_path
        keep()


@pytest.mark.parametrize("remote", [False, True])
def test_predictions_are_written_where_they_are_wanted(tmp_path: Path, remote: bool) -> None:
    place = tmp_path / "kept" / "7.parquet"
    place.parent.mkdir()
    keep = worker._keep_predictions(place.as_uri() if remote else str(place))
    assert keep is not None and worker._keep_predictions(None) is None
    items = {"en": [Item(((0, 5, 2),), (1,), 0)], "sw": [Item(((0, 6, 2),), (0,), 0), Item(((0, 7, 2),), (1,), 1)]}
    rows = {language: [{"label": item.labels[0]} for item in each] for language, each in items.items()}
    materials = texts.write(Classification(("no", "yes"), pair=False), items, rows)
    plan = stream(materials, "validation", None, 64)
    keep(materials, [("validation", plan, {"answers": {"en": [1], "sw": [1, 1]}})])
    frame = pd.read_parquet(place)
    assert list(zip(frame["language"], frame["example"], frame["score"], strict=True)) == [
        ("en", 0, 1.0), ("sw", 0, 0.0), ("sw", 1, 1.0),
    ]  # fmt: skip


def test_memory_is_counted_in_megabytes() -> None:
    found = worker._peak_mb()
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("no /proc to compare with")
    peak = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    assert found == pytest.approx(peak / 1024, rel=0.05)
