"""Addresses of MLflow, and the server behind `study mlflow`."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from study.tracking.server import default_uri, serve_ui, validate_uri
from study.tracking.tracker import rebuild
from tests.ports import free_port
from tests.study.conftest import place_of
from trainables.errors import UserError


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:5000",
        "https://mlflow.example.org/prefix",
        "http://[::1]:5000",
        "http://me:secret@host:80",
        "sqlite:///mlflow.db",
        "sqlite:////data/with blanks/mlflow.db",
        "postgresql+psycopg2://user@host/db",
        "mysql://host/db",
        "databricks",
        "databricks://profile",
    ],
)
def test_a_good_uri_passes(uri: str) -> None:
    assert validate_uri(uri) == uri


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("", "sqlite:///"),
        ("mlruns", "no longer writes plain folders"),
        ("file:///tmp/mlruns", "no longer writes plain folders"),
        ("localhost:5000", "did you mean http://localhost:5000?"),
        ("htp://host:5000", "did you mean 'http'?"),
        ("redis://host", "must be an MLflow tracking URI such as"),
        ("http:host", "must name a host"),
        ("http:///path", "must name a host"),
        ("http://host:port", "must be a valid URL"),
        ("http://host:99999", "must be a valid URL"),
        ("http://a host:5000", "no blanks"),
        ("http://host:5000?x=1", "no query"),
        ("http://host:5000/#/experiments/1", "no fragment"),
        ("sqlite://mlflow.db", "three slashes"),
        ("sqlite://", "three slashes"),
        ("sqlite:///", "three slashes"),
        (" http://host", "blanks"),
        ("http://host\n", "blanks"),
    ],
)
def test_a_bad_uri_is_refused_in_one_line(uri: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        validate_uri(uri)
    (line,) = caught.value.lines
    assert line.startswith("tracking.uri: ")
    assert words in line
    assert "(got " in line
    assert "\n" not in line


def test_passwords_are_not_shown() -> None:
    with pytest.raises(UserError) as caught:
        validate_uri("htp://me:secret@host")
    assert str(caught.value).startswith("tracking.uri: ")
    assert "secret" not in str(caught.value)


def test_the_default_is_a_file_under_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_uri(Path("studies")) == f"sqlite:///{tmp_path / 'studies' / 'mlflow.db'}"
    assert validate_uri(default_uri(Path("studies")))


def test_serving_needs_something_to_serve_and_a_port(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no study under it"):
        serve_ui(tmp_path)
    (tmp_path / "mlflow.db").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"port: address already in use \(got {port}\)"):
            serve_ui(tmp_path, port)


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_the_pages_are_served_until_interrupted(
    store: str, events: list[dict[str, Any]], write_study: Callable[..., Path], end: signal.Signals
) -> None:
    root = write_study(events)
    rebuild(place_of(root / "small"))
    port = free_port()
    code = (
        f"from pathlib import Path; from study.tracking.server import serve_ui; serve_ui(Path({str(root)!r}), {port})"
    )
    command = [sys.executable, "-c", code]
    pages = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert pages.stdout is not None
        lines = [pages.stdout.readline(), pages.stdout.readline()]
        assert lines[0].startswith(f"MLflow at http://127.0.0.1:{port} ")
        assert re.match(rf"  small: trials: http://127\.0\.0\.1:{port}/#/experiments/\d+/runs\?\S+\n", lines[1])
        listening = psutil.net_connections("tcp4")
        assert {c.laddr.ip for c in listening if c.laddr and c.laddr.port == port and c.status == "LISTEN"} == {
            "127.0.0.1"
        }
        children = psutil.Process(pages.pid).children(recursive=True)
        assert children
        pages.send_signal(end)
        assert pages.wait(30) == 0
        assert not psutil.wait_procs(children, timeout=10)[1]
    finally:
        if pages.poll() is None:
            pages.terminate()
            pages.wait(30)
