"""A real MLflow: an SQLite store that is made once, a server over it, and a gate before the server that misbehaves."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from study.tracking.server import QUIET
from tests.ports import free_port

Dump = dict[str, dict[str, Any]]


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database: making one takes seconds, copying it none."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    os.environ.update(QUIET)
    from mlflow import MlflowClient

    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(tmp_path: Path, empty_store: Path) -> str:
    """URI of an empty SQLite store of this test's own: the default one under the root ``studies``."""
    root = tmp_path / "studies"
    root.mkdir()
    shutil.copy(empty_store, root / "mlflow.db")
    return f"sqlite:///{root / 'mlflow.db'}"


class Server:
    """`mlflow server`, in a process group of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.store = f"sqlite:///{folder / 'mlflow.db'}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = {
            "--host": "127.0.0.1",
            "--port": str(self.port),
            "--workers": "1",
            "--backend-store-uri": self.store,
            "--artifacts-destination": str(self.folder / "artifacts"),
        }
        command = [sys.executable, "-m", "mlflow", "server", *(part for option in options.items() for part in option)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, env={**os.environ, **QUIET}, start_new_session=True, **quiet)  # type: ignore[call-overload]
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            assert self.process.poll() is None, "mlflow server did not start"
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                    return
            except OSError:
                time.sleep(0.1)
        raise TimeoutError("mlflow server did not start")

    def kill(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Server]:
    """A real server for the tests of one module; each takes an experiment name of its own."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(empty_store, folder / "mlflow.db")
    running = Server(folder)
    try:
        running.start()
        yield running
    finally:
        running.kill()


class Gate:
    """Stands between client and server. What it does to a request is `fault(method, path)`:

    ``""`` passes it on; a number answers with that status; ``hang`` never answers; ``lost`` passes it on and loses the
    answer; ``held`` passes it on only after `release`; ``slow`` passes it on after a while.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.fault: Callable[[str, str], str] = lambda method, path: ""
        self.released = threading.Event()
        self.connections: list[socket.socket] = []
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._listener: ThreadingHTTPServer | None = None

    def open(self) -> None:
        gate = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

            def setup(self) -> None:
                super().setup()
                gate.connections.append(self.connection)

            def do_GET(self) -> None:
                gate.handle(self)

            def do_POST(self) -> None:
                gate.handle(self)

            def do_PUT(self) -> None:
                gate.handle(self)

        self._listener = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._listener.daemon_threads = True
        threading.Thread(target=self._listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self.released.set()
        if self._listener is not None:
            self._listener.shutdown()
            self._listener.server_close()
            for connection in self.connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        fault = self.fault(request.command, request.path)
        if fault in ("hang", "held"):
            self.released.wait(60)
        if fault == "slow":
            time.sleep(0.15)
        if fault == "hang":
            request.close_connection = True
        elif fault.isdigit():
            text = b"Invalid Host header - possible DNS rebinding attack detected" if fault == "403" else b"no"
            self._answer(request, int(fault), text, "text/plain")
        else:
            upstream = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)
            headers = {k: v for k, v in request.headers.items() if k.lower() not in ("host", "connection")}
            upstream.request(request.command, request.path, body, headers)
            answer = upstream.getresponse()
            content = answer.read()
            upstream.close()
            if fault in ("lost", "held"):
                self.released.wait(60)
                request.close_connection = True
            else:
                self._answer(request, answer.status, content, answer.headers.get_content_type())

    @staticmethod
    def _answer(request: BaseHTTPRequestHandler, status: int, content: bytes, kind: str) -> None:
        try:
            request.send_response(status)
            request.send_header("Content-Type", kind)
            request.send_header("Content-Length", str(len(content)))
            request.end_headers()
            request.wfile.write(content)
        except OSError:
            request.close_connection = True  # the client has given up


@pytest.fixture
def gate(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """An open gate."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")  # whatever the machine is busy with
    gate = Gate(server)
    gate.open()
    yield gate
    gate.close()


def dump(uri: str, experiment: str, ids: bool = False) -> Dump:
    """All that MLflow shows of the runs of an experiment, by name; `ids` adds what differs between two stores."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    runs = client.search_runs([found.experiment_id], max_results=1000) if found is not None else []
    result: Dump = {}
    for run in runs:
        parent = run.data.tags.get("mlflow.parentRunId")
        tags = {k: v for k, v in run.data.tags.items() if k != "mlflow.parentRunId"}
        shown = {
            "status": run.info.status,
            "times": (run.info.start_time, run.info.end_time),
            "parameters": run.data.params,
            "tags": tags,
            "is_child": parent is not None,
            "points": {
                key: [(p.step, p.timestamp, repr(p.value)) for p in client.get_metric_history(run.info.run_id, key)]
                for key in run.data.metrics
            },
            "inputs": sorted((i.dataset.name, i.dataset.digest) for i in run.inputs.dataset_inputs),
            "artifacts": artifacts(run.info.artifact_uri),
        }
        assert run.info.run_name not in result, "a run is there twice"
        own = {"id": run.info.run_id, "parent": parent, "experiment": dict(found.tags)}
        result[run.info.run_name] = shown | (own if ids else {})
    return result


def artifacts(uri: str) -> list[str]:
    """Files in a local folder of artifacts."""
    folder = Path(uri.removeprefix("file://"))
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def glimpse(uri: str, experiment: str) -> dict[str, Any]:
    """MLflow's own objects of the runs of an experiment, by name."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    return {run.info.run_name: run for run in client.search_runs([found.experiment_id])} if found is not None else {}


def wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    """Until `condition` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)
