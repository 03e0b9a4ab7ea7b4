"""Variables that hold for a while, and who is asked past proxies."""

from __future__ import annotations

import os
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from trainables.environment import environment, past_proxies


def test_what_was_set_is_what_it_was_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT", "before")
    before = dict(os.environ)
    with environment({"KEPT": "meanwhile", "NEW": "1"}, also=["LATER"]):
        os.environ["LATER"] = "set by somebody"
        assert os.environ["KEPT"] == "meanwhile" and os.environ["NEW"] == "1"
    assert dict(os.environ) == before


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *words: object) -> None:
        pass


def test_this_machine_is_never_asked_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "intranet.example")
    server = HTTPServer(("127.0.0.1", 0), _Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/health"
        opener = urllib.request.build_opener()  # the usual one may have been made before there was a proxy
        with pytest.raises(OSError, match="refused"):
            opener.open(url, timeout=5)
        with environment(past_proxies()), opener.open(url, timeout=5) as answer:
            assert answer.status == 200
            assert os.environ["no_proxy"].split(",")[0] == "intranet.example"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
