"""The doctor's findings: scripts, folders, and what they make of the exit status."""

from __future__ import annotations

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from study.planning import doctor
from study.planning.finding import Finding
from study.question.config import StudyConfig
from trainables.storage import cache

RAYS = "#!/usr/bin/python\nimport sys\nfrom ray.tune.cli.scripts import cli\nsys.exit(cli())\n"
OURS = "#!/usr/bin/python\nimport sys\nfrom study.cli import tune\nsys.exit(tune())\n"


@pytest.mark.parametrize(("content", "level"), [(RAYS, "warning"), (OURS, "ok"), (None, "warning")])
def test_an_overwritten_tune_is_told_with_its_cure(tmp_path: Path, content: str | None, level: str) -> None:
    if content is not None:
        (tmp_path / "tune").write_text(content)
    finding = doctor.script_tune(tmp_path)
    assert finding.level == level
    assert finding.cure == ("" if level == "ok" else "pip install --force-reinstall --no-deps -e .")


def test_a_failure_has_a_cure_and_an_exit_status(tmp_path: Path) -> None:
    text, status = doctor.report(doctor.examine(tmp_path))
    assert status == 0
    (tmp_path / "file").write_text("")
    text, status = doctor.report(doctor.examine(tmp_path / "file" / "studies"))
    assert status == 1
    line = next(line for line in text.splitlines() if line.startswith("failure"))
    assert line.endswith("– another --root")


def test_a_small_disk_for_the_cache_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "cache"))
    assert next(f for f in doctor.examine(tmp_path) if f.what == "cache").level == "ok"
    monkeypatch.setattr(doctor, "CACHE_DISK", 2**80)
    finding = next(f for f in doctor.examine(tmp_path) if f.what == "cache")
    assert (finding.level, finding.cure) == ("warning", "set STUDY_CACHE to a larger disk")
    assert str(cache.cache_root()) in finding.found


def test_a_package_out_of_range_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "requires", lambda name: ["optuna<1", "absent-package>=2", "torch>=2; extra == 'x'"])
    findings = {f.what: f for f in doctor.examine(tmp_path)}
    assert findings["optuna"].level == "failure"
    assert findings["absent-package"].found == "not installed"
    assert "torch" not in findings


def test_a_package_that_only_a_study_with_adapters_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "requires", lambda name: ["optuna>=1", "peft>=99; extra == 'adapters'"])

    def found(**search: Any) -> list[Finding]:
        given = {"name": "small", "search": search, "trial": {"evaluation": {"examples_per_language": 1}}}
        return [f for f in doctor.examine(tmp_path, StudyConfig.model_validate(given), "auto") if f.what == "peft"]

    assert found() == found(space={"encoder.adapter.method": ["none", "bitfit"]}) == []
    (finding,) = found(space={"encoder.adapter.method": ["none", "ia3"]})
    assert finding.level == "failure"
    assert finding.cure == "pip install 'robust-transfer-study[adapters]' (needs >=99)"


def test_the_json_form(tmp_path: Path) -> None:
    text, _ = doctor.report(doctor.examine(tmp_path), as_json=True)
    python = next(f for f in json.loads(text) if f["what"] == "python")
    assert python == {"level": "ok", "what": "python", "found": sys.version.split()[0], "cure": ""}


def test_a_start_is_told_what_this_machine_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    config = StudyConfig(name="small")
    monkeypatch.setattr(doctor, "MEMORY", 0)
    monkeypatch.setattr(doctor, "CACHE_DISK", 0)
    monkeypatch.setattr(doctor, "requires", lambda name: ["optuna>=1"])
    assert doctor.brief(config) == []
    monkeypatch.setattr(doctor, "MEMORY", 2**80)
    monkeypatch.setattr(doctor, "requires", lambda name: ["optuna<1"])
    optuna, memory = doctor.brief(config)
    assert optuna.startswith("failure: optuna: ")
    assert memory.endswith("GiB free – run one trial at a time: scaling.concurrent_trials=1")
    assert doctor.brief(config, "auto") == [optuna]


class Mlflow(BaseHTTPRequestHandler):
    """Answers as a server does that was given the status as its name."""

    def do_GET(self) -> None:
        assert self.path.endswith("/health")
        self.send_response(int(self.path.split("/")[1]))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.mark.parametrize(
    ("path", "level", "words"),
    [("200", "ok", "answers"), ("403", "warning", "--allowed-hosts 127.0.0.1"), ("500", "warning", "answers 500")],
)
def test_an_mlflow_server_is_asked_under_the_name_of_the_study(path: str, level: str, words: str) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Mlflow) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/{path}"
        (finding,) = doctor.tracking(address)
        server.shutdown()
    assert finding.level == level
    assert words in finding.found
    (gone,) = doctor.tracking(address)
    assert (gone.level, gone.found) == ("warning", f"{address} is not there (connection refused)")
    assert list(doctor.tracking(None)) == list(doctor.tracking("sqlite:////data/mlflow.db")) == []
