"""Studies on a real local Ray, with the embedded encoder and data: from the command to ledger, table and MLflow."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from study.record.lines import read_study
from study.record.record import StudyRecord
from study.tracking.tracker import rebuild
from tests.conftest import REPOSITORY
from tests.study.conftest import place_of
from tests.waiting import wait_for
from trainables.config import TrialConfig
from trainables.loading import apply_point
from trainables.training.loop import run_trial

pytestmark = pytest.mark.slow

TRIAL: dict[str, Any] = {
    "task": {"target_languages": ["de", "lb", "th"]},
    "encoder": {"freeze_embeddings": True, "freeze_lower_layers": 10, "dropout": 0.0},
    "training": {"batch_size": 8, "budget": {"steps": 4}, "learning_rate": 2e-4, "head_learning_rate": 1e-2},
    "perturbation": {"method": "adversarial", "epsilon": 0.1},
    "evaluation": {"every": 2, "examples_per_language": 4},
}
BROKEN = 1e30
"""A learning rate that no trial survives."""


def study(**changes: Any) -> dict[str, Any]:
    config: dict[str, Any] = {
        "name": "tiny",
        "trial": TRIAL,
        "search": {"space": "adversarial", "trials": 3, "objectives": [{"reduce": "target_mean"}]},
        "protocol": {"selection": "target_validation", "primary_endpoint": "target_mean"},
    }
    return config | changes


WITHOUT_NETWORK = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
"""Runs a command where loopback is the only network there is."""


def can_isolate() -> bool:
    try:
        return subprocess.run([*WITHOUT_NETWORK, "true"], capture_output=True, timeout=10).returncode == 0
    except OSError:
        return False


@contextmanager
def command(*arguments: str, isolated: bool = False, output: Any = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
    """``study …`` as a process of its own; whatever happens, it and its children are gone afterwards."""
    process = subprocess.Popen(
        [*(WITHOUT_NETWORK if isolated else ()), sys.executable, "-m", "study", *arguments],
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        yield process
    finally:
        for each in [*family(process.pid), *([psutil.Process(process.pid)] if process.poll() is None else [])]:
            each.kill()
        process.wait(30)


def family(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def listening(processes: list[psutil.Process]) -> set[str]:
    """Addresses on which any of the processes accepts connections, IPv4 in its own form."""
    addresses = set()
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            addresses |= {c.laddr.ip for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    return {address.removeprefix("::ffff:") for address in addresses}


def finished(*arguments: str, seconds: float = 300, isolated: bool = False) -> tuple[int, str]:
    with command(*arguments, isolated=isolated) as process:
        output, _ = process.communicate(timeout=seconds)
    if process.returncode == 1 and "--root" in arguments:  # what Ray had to say, should the caller not expect this
        for log in Path(arguments[arguments.index("--root") + 1]).glob("*/log.txt"):
            output += f"\n{log}:\n{log.read_text(encoding='utf-8', errors='replace')[-5000:]}"
    return process.returncode, output


def written(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def reports(record: StudyRecord) -> int:
    return sum(len(t.reports) for t in record.trials.values())


def _started(record: StudyRecord) -> int:
    return sum(t.attempts for t in record.trials.values())


def assert_consistent(ledger: Path, trials: int, interval: int) -> StudyRecord:
    """Numbers complete, each trial finished once, no report twice, no more redone than a checkpoint interval."""
    rows = [json.loads(line) for line in ledger.read_text(encoding="utf-8").splitlines()]
    record = read_study(ledger)
    assert sorted(record.trials) == list(range(trials))
    ended = [row["trial"] for row in rows if row["event"] == "finished"]
    assert sorted(ended) == list(range(trials))
    reported = [(row["trial"], row["step"]) for row in rows if row["event"] == "report"]
    assert len(reported) == len(set(reported))
    assert all(t.state == "COMPLETE" for t in record.trials.values())
    assert {t.reports[-1].step for t in record.trials.values()} == {2 * interval}
    return record


def mlflow_runs(root: Path, name: str = "tiny") -> tuple[Any, dict[int, Any]]:
    """The parent run, and the children by trial number."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    children = {int(r.data.tags["study.trial"]): r for r in runs if "study.trial" in r.data.tags}
    (parent,) = [r for r in runs if "study.trial" not in r.data.tags]
    assert all(r.data.tags["mlflow.parentRunId"] == parent.info.run_id for r in children.values())
    return parent, children


@pytest.fixture
def shell_of_a_batch_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long folder for temporary files, another Ray's address, a proxy that is away, an output that is ASCII."""
    folder = tmp_path / ("x" * 87)
    folder.mkdir()
    shell = {"TMPDIR": str(folder), "RAY_ADDRESS": "192.0.2.1:6379", "PYTHONIOENCODING": "ascii"}
    for name, value in {**shell, "http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(name, value)


def test_ledger_table_and_mlflow_agree(tmp_path: Path, shell_of_a_batch_job: None) -> None:
    root = tmp_path / "studies"
    space = {
        "perturbation.epsilon": {"type": "float", "low": 0.03, "high": 0.6, "log": True},
        "perturbation.ascent_steps": {"type": "int", "low": 1, "high": 2},
        "training.head_learning_rate": {"type": "categorical", "choices": [1e-2, BROKEN]},
    }
    enqueue = [
        {"perturbation.epsilon": 0.2, "perturbation.ascent_steps": 1, "training.head_learning_rate": rate}
        for rate in (BROKEN, 1e-2)
    ]
    config = written(tmp_path / "tiny.yaml", study(search=study()["search"] | {"space": space, "enqueue": enqueue}))

    status, output = finished("run", str(config), "--root", str(root), isolated=can_isolate())
    assert status == 0, output
    assert "RAY_ADDRESS (192.0.2.1:6379) is not used: a local Ray is started" in output
    record = read_study(root / "tiny" / "ledger.jsonl")
    assert {n: t.state for n, t in record.trials.items()} == {0: "COMPLETE", 1: "FAIL", 2: "COMPLETE"}
    assert record.trials[0].kind == "baseline"
    assert "DivergedError" in (record.trials[1].error or "")
    assert not list((root / "tiny").glob("checkpoints/1"))

    shown = json.loads(finished("show", "tiny", "--json", "--root", str(root))[1])
    _, children = mlflow_runs(root)
    assert sorted(children) == [0, 1, 2]
    assert {n: r.info.status for n, r in children.items()} == {0: "FINISHED", 1: "FAILED", 2: "FINISHED"}
    for number in (0, 2):
        trial = record.trials[number]
        evaluation = trial.reports[-1].evaluation
        assert evaluation.final
        assert evaluation.primary.languages == ("de", "en", "lb", "th")
        (table,) = [t for t in shown["trials"] if t["number"] == number]
        for language, score in evaluation.primary.values.items():
            assert children[number].data.metrics[f"validation_accuracy/{language}"] == score
            assert table["reports"][-1]["scores"]["accuracy"][language]["score"] == score
        assert children[number].data.metrics["cost/forward_equivalents"] == evaluation.cost["forward_equivalents"]
        expected = sum(v for k, v in evaluation.primary.values.items() if k != "en") / 3
        assert table["objectives"]["target_mean"] == pytest.approx(expected)

    # The third trial of this study ran in a process that others had used: a fresh one gives the same, bit for bit.
    fresh = apply_point(TrialConfig.model_validate(TRIAL), record.trials[2].point)
    *_, alone = run_trial(fresh, tmp_path / "alone")
    warm = record.trials[2].reports[-1].evaluation
    assert alone.scores == warm.scores
    for key in ("loss", "loss_rise", "perturbation_norm"):
        assert alone.training[key] == warm.training[key]

    status, again = finished("run", str(config), "--root", str(root), seconds=60)
    assert status == 0, again
    assert reports(read_study(root / "tiny" / "ledger.jsonl")) == reports(record)


def test_a_killed_driver_is_resumed(tmp_path: Path) -> None:
    root, config = tmp_path, written(tmp_path / "tiny.yaml", study())
    ledger = root / "tiny" / "ledger.jsonl"
    with command("run", str(config), "--root", str(root)) as process:
        wait_for(lambda: ledger.exists() and reports(read_study(ledger)) >= 3, 240, "three reports")
        children = family(process.pid)
        assert listening(children) == {"127.0.0.1"}
        process.kill()
        process.wait(30)
        wait_for(lambda: not any(_training(p) for p in children), 30, "training processes end with their driver")
        for each in children:  # Ray's agents linger for about a minute
            if each.is_running():
                each.kill()
    status, output = finished("run", str(config), "--root", str(root), seconds=60)
    assert status == 2
    assert "study resume tiny" in output
    status, output = finished("resume", "tiny", "--root", str(root))
    assert status == 0, output
    record = assert_consistent(ledger, trials=3, interval=2)
    assert max(t.attempts for t in record.trials.values()) <= 2
    rebuild(place_of(ledger.parent))  # on a busy machine, resume's minute for MLflow may not have been enough
    _, runs = mlflow_runs(root)
    assert sorted(runs) == [0, 1, 2]
    assert all(run.info.status == "FINISHED" for run in runs.values())


def _training(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE and "Worker" in process.name()
    except psutil.NoSuchProcess:
        return False


def test_an_interrupted_study_is_checkpointed_and_resumed(tmp_path: Path) -> None:
    longer = TRIAL | {"training": TRIAL["training"] | {"budget": {"steps": 300}}}
    longer |= {"evaluation": {"every": 150, "examples_per_language": 4}}
    config = written(tmp_path / "tiny.yaml", study(trial=longer, search=study()["search"] | {"trials": 2}))
    ledger = tmp_path / "tiny" / "ledger.jsonl"

    def started() -> bool:
        return ledger.exists() and _started(read_study(ledger)) == 2

    with command("run", str(config), "--root", str(tmp_path)) as process:
        wait_for(started, 240, "both trials start")
        time.sleep(3)
        children = family(process.pid)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 130, output
        assert "study resume tiny" in output
        wait_for(lambda: not any(p.is_running() for p in children), 90, "no orphan is left")
    kept = [int(p.name) for p in (tmp_path / "tiny" / "checkpoints").glob("*/[0-9]*")]
    assert kept, "the trials under way have checkpoints"
    assert all(0 < step < 300 and step != 150 for step in kept)
    record = read_study(ledger)
    assert all(not t.ended for t in record.trials.values())
    with command("resume", "tiny", "--root", str(tmp_path)) as process:
        wait_for(lambda: _started(read_study(ledger)) == 4, 240, "both go on")
        children = family(process.pid)
        frozen = [p for p in children if _training(p)]
        for each in frozen:  # so that nobody writes a checkpoint, and one Ctrl-C alone would wait for its whole grace
            each.suspend()
        process.send_signal(signal.SIGINT)
        time.sleep(1)  # two signals that arrive together are one
        assert process.poll() is None
        before = time.monotonic()
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        assert time.monotonic() - before < 30, "a second one waits for nobody's checkpoint"
        for each in frozen:
            with suppress(psutil.NoSuchProcess):
                each.resume()
        assert frozen
        assert process.returncode == 130, output
        assert "study resume tiny" in output
        wait_for(lambda: not any(p.is_running() for p in children), 90, "no orphan is left")


def test_a_study_whose_ledger_cannot_be_written_says_so(tmp_path: Path) -> None:
    """The driver may write no longer files, as on a full disk."""
    config = written(tmp_path / "tiny.yaml", study())
    ledger = tmp_path / "tiny" / "ledger.jsonl"
    with command("run", str(config), "--root", str(tmp_path), "--plain") as process:
        wait_for(lambda: ledger.exists() and _started(read_study(ledger)) >= 1, 240, "a trial starts")
        size = ledger.stat().st_size + 300
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, size))
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 2, output
        assert f"{ledger}: cannot be written, File too large; no trial is lost" in output
        assert "go on with study resume tiny" in output
        assert "Traceback" not in output
    assert not any(t.ended for t in read_study(ledger).trials.values())


LOST_DRIVER = """
import sys, types
from study import cli
from study.execution import runner
class Lost(runner.TrialDriver):
    __module__ = "nowhere"
sys.modules["nowhere"] = types.ModuleType("nowhere")
sys.modules["nowhere"].Lost = runner.TrialDriver = Lost
sys.exit(cli.main(sys.argv[1:]))
"""
"""The command of a project whose trial drivers find one of its modules on the driver's machine only."""


def test_trial_drivers_that_never_come_up_end_the_study(tmp_path: Path) -> None:
    config = written(tmp_path / "tiny.yaml", study(scaling={"max_attempts": 1}, search={"trials": 1}))
    words = [sys.executable, "-c", LOST_DRIVER, "run", str(config), "--root", str(tmp_path), "--plain"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    record = read_study(tmp_path / "tiny" / "ledger.jsonl")
    assert {t.state for t in record.trials.values()} == {"FAIL"}
    assert "No module named 'nowhere'" in str(record.trials[0].error), record.trials[0].error


def test_a_trial_whose_worker_was_lost_for_good_is_retried_from_its_checkpoint(tmp_path: Path) -> None:
    longer = TRIAL | {"training": TRIAL["training"] | {"budget": {"steps": 60}}, "perturbation": {"method": "none"}}
    longer |= {"evaluation": {"every": 10, "examples_per_language": 4}}
    scaling = {"max_attempts": 1, "concurrent_trials": 1}
    config = written(tmp_path / "tiny.yaml", study(trial=longer, scaling=scaling, search={"trials": 1}))
    ledger = tmp_path / "tiny" / "ledger.jsonl"
    with command("run", str(config), "--root", str(tmp_path), "--plain") as process:
        wait_for(lambda: ledger.exists() and reports(read_study(ledger)) >= 1, 240, "a report")
        (victim,) = [p for p in family(process.pid) if "RayTrainWorker" in " ".join(p.cmdline() or [p.name()])]
        victim.kill()
        output, _ = process.communicate(timeout=240)
    assert process.returncode == 1, output
    failed = read_study(ledger).trials[0]
    assert failed.state == "FAIL" and "its workers were lost 1 times" in str(failed.error)
    status, output = finished("show", "tiny", "--root", str(tmp_path))
    assert "By no fault of its own: trial 0; study retry tiny" in output
    status, output = finished("retry", "tiny", "--root", str(tmp_path), "--plain")
    assert status == 0, output
    assert "trial 0 runs again, from its last checkpoint" in output
    trial = read_study(ledger).trials[0]
    assert (trial.state, trial.attempts, trial.retries) == ("COMPLETE", 2, 1)
    assert [r.step for r in trial.reports] == [10, 20, 30, 40, 50, 60]
    assert [r.attempt for r in trial.reports[: len(failed.reports)]] == [1] * len(failed.reports)
    rebuild(place_of(ledger.parent))
    _, children = mlflow_runs(tmp_path)
    assert children[0].info.status == "FINISHED"


def test_a_lost_worker_is_replaced(tmp_path: Path) -> None:
    """Fresh workers, two a trial: one is killed, the trial goes on from its checkpoint, scores as one worker does."""
    base = TRIAL | {"perturbation": {"method": "none"}}
    scaling = {"executor": "fresh", "workers_per_trial": 2}
    config = written(tmp_path / "tiny.yaml", study(trial=base, scaling=scaling, search={"trials": 1}))
    ledger = tmp_path / "tiny" / "ledger.jsonl"
    with command("run", str(config), "--root", str(tmp_path)) as process:
        wait_for(lambda: ledger.exists() and reports(read_study(ledger)) >= 1, 240, "a report")
        # Two workers, that listen for each other too.
        assert listening(family(process.pid)) == {"127.0.0.1"}
        victims = [p for p in family(process.pid) if "RayTrainWorker" in " ".join(p.cmdline() or [p.name()])]
        if victims:
            victims[-1].kill()
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
    record = read_study(ledger)
    result = record.trials[0].reports[-1].evaluation
    *_, alone = run_trial(TrialConfig.model_validate(base), tmp_path / "alone")
    assert result.primary.counts == alone.primary.counts
    assert result.training["loss"] == pytest.approx(alone.training["loss"], rel=1e-4)
    assert result.primary.values == pytest.approx(dict(alone.primary.values), abs=0.26)


LEFT_OUT = ("TrainController", "SynchronizationActor", "AutoscalingCoordinator")
"""In the titles of processes that Ray starts beside those that a local study has a use for."""


def test_what_dies_gives_its_cpus_back(tmp_path: Path) -> None:
    """Workers that take the whole machine: were it not given back, the next ones would wait for it for ever."""
    base = TRIAL | {"training": TRIAL["training"] | {"budget": {"steps": 6}}}
    base |= {"evaluation": {"every": 1, "examples_per_language": 4}}
    scaling = {"cpus_per_worker": os.cpu_count()}
    config = written(tmp_path / "tiny.yaml", study(trial=base, scaling=scaling, search={"trials": 1}))
    ledger = tmp_path / "tiny" / "ledger.jsonl"
    with command("run", str(config), "--root", str(tmp_path)) as process:
        for kind, before in (("RayTrainWorker", 0), ("ResourceTrainable", 2)):
            wait_for(
                lambda before=before: ledger.exists() and reports(read_study(ledger)) > before,  # type: ignore[misc]
                240,
                f"a report that {kind} does not live to see the next of",
            )
            titles = {p: " ".join(p.cmdline() or [p.name()]) for p in family(process.pid)}
            assert not [title for title in titles.values() if any(name in title for name in LEFT_OUT)]
            (victim,) = [p for p, title in titles.items() if kind in title]
            assert "PL_DISABLE_FORK" not in victim.environ()  # what is handed variables of its own starts twice
            victim.kill()
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
    trials = read_study(ledger).trials
    assert {each.state for each in trials.values()} == {"COMPLETE"}
    assert [each.evaluation.step for each in trials[0].reports] == [1, 2, 3, 4, 5, 6]
    assert trials[0].attempts == 3


def test_no_cause_of_death_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in the trial's error and in the study's log. A folder that is named like a package kills nobody."""
    (tmp_path / "tokenizers").mkdir()
    (tmp_path / "tokenizers" / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH")))))
    names = ("Segfault", "Exit", "Kill", "Missing")
    methods = [f"tests.study.execution.deaths:{name}" for name in names]
    search = {"mode": "design", "sampler": "grid", "space": {"perturbation.method": methods}}
    config = study(search=study()["search"] | search, scaling={"max_attempts": 1})
    status, output = finished("run", str(written(tmp_path / "tiny.yaml", config)), "--root", str(tmp_path))
    record = read_study(tmp_path / "tiny" / "ledger.jsonl")
    assert record.trials[0].state == "COMPLETE" and status == 0, output
    errors = {str(t.point["perturbation.method"]).rpartition(":")[2]: t.error or "" for t in record.trials.values()}
    assert "SIGSEGV" in errors["Segfault"] or "Segmentation fault" in errors["Segfault"], errors["Segfault"]
    assert "the licence server said no" in errors["Exit"], errors["Exit"]
    assert "its workers were lost 1 times" in errors["Kill"] and "died unexpectedly" in errors["Kill"], errors["Kill"]
    assert "No module named 'apex'" in errors["Missing"], errors["Missing"]
    log = (tmp_path / "tiny" / "log.txt").read_text(encoding="utf-8")
    assert "the licence server said no" in log and "No module named 'apex'" in log
