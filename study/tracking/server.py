"""Addresses of MLflow, and the MLflow server that shows the studies under one root. Imports no MLflow."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

from study.record import roots
from study.tracking.charts import view_links
from trainables.environment import environment, past_proxies
from trainables.errors import UserError, suggestion

SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")
"""What MLflow tracks to without plug-ins."""

EXAMPLES = "such as http://127.0.0.1:5000 or sqlite:////data/mlflow.db"

START_SECONDS = 300.0
"""Time in which a server must have come up: it imports for ten seconds or more, and may migrate its database."""

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    # Else the server keeps ten more processes for jobs that nobody gives it.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}
"""Environment of our servers, where the user's own says nothing else."""


def default_uri(root: Path) -> str:
    """The SQLite file under the studies' root.

    Raises `UserError` for a folder whose name a URI cannot have: the file would lie in another one, beside it.
    """
    path = root.resolve() / "mlflow.db"
    if re.search(r"\?|%[0-9A-Fa-f]{2}", str(path)):
        raise UserError(f"--root: MLflow's file cannot lie in a folder with ? or % in its name (got {path.parent})")
    return f"sqlite:///{path}"


def artifact_folder(root: Path) -> Path:
    """Where artifacts go that no server takes."""
    return root.resolve() / "mlflow-artifacts"


def public(uri: str) -> str:
    """A URI without its password."""
    return re.sub(r"(//[^:/@]*):[^@/]*@", r"\1:…@", uri)


def validate_uri(uri: str) -> str:
    """`uri`, if MLflow can track to such a one. Raises `UserError`; asks no server."""
    problem = _uri_problem(uri)
    if problem is not None:
        raise UserError(f"tracking.uri: {problem} (got {json.dumps(public(uri), ensure_ascii=False)})")
    return uri


def _uri_problem(uri: str) -> str | None:
    scheme, colon, rest = uri.partition(":")
    backend = scheme.partition("+")[0]
    known = (*SCHEMES, *(plugin.name for plugin in entry_points(group="mlflow.tracking_store")))
    if uri != uri.strip() or not uri.isprintable():
        return "must not begin or end with blanks"
    if uri == "databricks":
        return None
    if backend == "file" or not colon:
        return f"must be an MLflow tracking URI {EXAMPLES}; MLflow no longer writes plain folders"
    if re.fullmatch(r"\d+(/.*)?", rest):
        return f"must be an MLflow tracking URI, did you mean http://{uri}?"
    if backend not in known:
        return f"must be an MLflow tracking URI{suggestion(backend, known) or f' {EXAMPLES}'}"
    if backend == "sqlite" and not re.fullmatch(r"///.*[^/]", rest):
        return "must name a file after three slashes, or four if its path is absolute, as in sqlite:////data/mlflow.db"
    return _url_problem(uri) if backend in ("http", "https") else None


def _url_problem(uri: str) -> str | None:
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        return f"must be a valid URL, {str(error)[:1].lower()}{str(error)[1:]}"
    if not host or not uri.partition(":")[2].startswith("//") or port == 0:
        return f"must name a host, as in {parts.scheme}://127.0.0.1:5000"
    return "must have no blanks, no query and no fragment" if parts.query or parts.fragment or " " in uri else None


def serve_ui(root: Path, port: int = 5000) -> int:
    """Show the studies under `root` in MLflow's own pages on the loopback interface, until SIGINT or SIGTERM.

    To be called in the main thread. Prints the address of each study's prepared charts. Returns the exit status. Raises
    `UserError` if nothing was tracked under this root, or the port is taken.
    """
    if absent := roots.absent(root):
        raise UserError(f"root: {absent} (got {str(root)!r})")
    if not (root / "mlflow.db").exists():
        raise UserError(f"root: no study under it was tracked to its own MLflow store (got {str(root)!r})")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UserError(f"port: {error.strerror or error}".lower() + f" (got {port})") from None
    with environment(past_proxies()):
        return _serve(root, port)


def _serve(root: Path, port: int) -> int:
    address = f"http://127.0.0.1:{port}"
    before = {number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    server = _start(root, port)
    try:
        _await(server, address)
        for line in _index(address):
            print(line, flush=True)
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        _stop(server)
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _start(root: Path, port: int) -> subprocess.Popen[bytes]:
    """The server in a process group of its own, so that none of its workers is left behind."""
    options = {
        "--host": "127.0.0.1",
        "--port": str(port),
        "--workers": "1",
        "--backend-store-uri": default_uri(root),
        "--artifacts-destination": str(artifact_folder(root)),
    }
    command = [sys.executable, "-m", "mlflow", "server", *(part for option in options.items() for part in option)]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, env={**QUIET, **os.environ}, stdout=quiet, stderr=quiet, start_new_session=True)


def _stop(server: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, number)
            server.wait(10.0)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def _await(server: subprocess.Popen[bytes], address: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5.0):
                return
        except OSError:
            time.sleep(0.2)
    raise UserError(f"port: MLflow's server did not come up at {address}")


def _index(address: str) -> Iterator[str]:
    """One line per study and phase: what it is, and where its charts are."""
    yield f"MLflow at {address} (Ctrl-C ends it)"
    body = json.dumps({"max_results": 1000, "order_by": ["last_update_time DESC"]}).encode()
    request = urllib.request.Request(
        f"{address}/api/2.0/mlflow/experiments/search", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30.0) as answer:
        experiments: list[dict[str, Any]] = json.load(answer).get("experiments", [])
    for experiment in experiments:
        tags = {tag["key"]: tag["value"] for tag in experiment.get("tags", [])}
        for name, link in view_links(address, experiment["experiment_id"], tags):
            yield f"  {name}: {link}"
