"""A headless Chromium over its debugging pipe: what a page logs and requests, how it looks, how it prints."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


def chromium() -> str | None:
    """Path of the browser, or None."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    """One browser with one page. Use as a context manager; `profile` is an empty folder of its own."""

    def __init__(self, profile: Path, width: int = 1100, height: int = 900) -> None:
        path = chromium()
        assert path is not None
        theirs, self._write = os.pipe()
        self._read, theirs_too = os.pipe()
        # The browser reads its commands from descriptor 3 and answers on 4.
        source, target = (fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (theirs, theirs_too))

        def connect() -> None:
            os.dup2(source, 3)
            os.dup2(target, 4)

        self._process = subprocess.Popen(
            [path, *FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}", "about:blank"],
            preexec_fn=connect,
            pass_fds=(3, 4, source, target),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for fd in (theirs, theirs_too, source, target):
            os.close(fd)
        self._buffer, self._next, self.events = b"", 0, list[dict[str, Any]]()
        self._session: str | None = None
        opened = self._command("Target.createTarget", url="about:blank")
        attached = self._command("Target.attachToTarget", targetId=opened["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._command(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        os.close(self._read)
        os.close(self._write)

    def resize(self, width: int, height: int) -> None:
        """Be a phone with a screen of so many pixels."""
        self._command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=True
        )

    def open(self, page: Path, timeout: float = 120) -> None:
        """Load a local page and wait until it has loaded and drawn."""
        self._command("Page.navigate", url=page.resolve().as_uri())
        deadline = time.monotonic() + timeout
        while not any(e["method"] == "Page.loadEventFired" for e in self.events):
            assert time.monotonic() < deadline, "the page did not load"
            self._take(1.0)
        self.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done, 500)))")

    def evaluate(self, script: str) -> Any:
        """Value of a JavaScript expression, awaited if it is a promise."""
        answer = self._command("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def screenshot(self, target: Path) -> None:
        """The whole page as PNG."""
        size = self._command("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        data = self._command("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)["data"]
        target.write_bytes(base64.b64decode(data))

    def pdf(self) -> bytes:
        """The page as it prints."""
        data = self._command("Page.printToPDF", printBackground=True, preferCSSPageSize=True)["data"]
        return base64.b64decode(data)

    @property
    def errors(self) -> list[str]:
        """What the page logged as error or warning, and its uncaught exceptions."""
        found = []
        for event in self.events:
            data = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                found.append(str(data["exceptionDetails"]))
            elif event["method"] == "Runtime.consoleAPICalled" and data["type"] in ("error", "warning", "assert"):
                found.append(str([a.get("value", a.get("description")) for a in data["args"]]))
            elif event["method"] == "Log.entryAdded" and data["entry"]["level"] in ("error", "warning"):
                found.append(data["entry"]["text"])
        return found

    @property
    def requests(self) -> list[str]:
        """Addresses the page asked for, data and blob addresses left out."""
        asked = (e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent")
        return [url for url in asked if not url.startswith(("data:", "blob:"))]

    def _command(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._next += 1
        number = self._next
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            for answer in self._take(1.0):
                if answer.get("id") == number:
                    assert "error" not in answer, answer["error"]
                    result: dict[str, Any] = answer["result"]
                    return result
        raise AssertionError(f"no answer to {method}")

    def _take(self, wait: float) -> list[dict[str, Any]]:
        """Messages that have arrived; events are kept."""
        if select.select([self._read], [], [], wait)[0]:
            self._buffer += os.read(self._read, 1 << 20)
        *whole, self._buffer = self._buffer.split(b"\0")
        messages = [json.loads(m) for m in whole]
        self.events += [m for m in messages if "method" in m]
        return [m for m in messages if "id" in m]
