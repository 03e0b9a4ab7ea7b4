"""A terminal to run commands in: what stood on its screen, frame by frame."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path

SEQUENCE = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|\x1b[()][A-Z0-9]|\x1b[=>78]")
"""A control sequence: of the first kind its arguments and its name."""

UNFINISHED = re.compile(r"\x1b(\[[?0-9;]*|[()])?$")


class Screen:
    """The cells of a terminal that knows what rich sends: text, cursor moves, erasing; colours leave no trace."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.rows: list[list[str]] = [[]]
        self.above: list[str] = []
        """Lines that have scrolled out."""
        self.row = self.column = 0
        self._rest = ""

    def feed(self, text: str) -> None:
        """Take what was written; a control sequence that is cut off waits for its end."""
        text = self._rest + text
        cut = UNFINISHED.search(text)
        self._rest = text[cut.start() :] if cut else ""
        text = text[: cut.start()] if cut else text
        position = 0
        while position < len(text):
            found = SEQUENCE.match(text, position)
            if found is not None:
                self._control(found[1] or "", found[2] or "")
                position = found.end()
            else:
                self._put(text[position])
                position += 1

    def lines(self) -> list[str]:
        """What can be seen."""
        return ["".join(row).rstrip() for row in self.rows]

    def _control(self, arguments: str, name: str) -> None:
        number = int(arguments) if arguments.isdigit() else None
        if name == "A":
            self.row = max(0, self.row - (number or 1))
        elif name == "G":
            self.column = (number or 1) - 1
        elif name == "K":
            kept = 0 if number == 2 else self.column
            self.rows[self.row] = self.rows[self.row][:kept]
        else:
            assert name in ("m", "h", "l", ""), f"no such control sequence is expected: {arguments}{name}"

    def _put(self, character: str) -> None:
        if character == "\r":
            self.column = 0
        elif character == "\n":
            self._down()
        else:
            if self.column == self.width:
                self.column = 0
                self._down()
            row = self.rows[self.row]
            row.extend(" " * (self.column + 1 - len(row)))
            row[self.column] = character
            self.column += 1

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append([])
        if len(self.rows) > self.height:
            self.above.append("".join(self.rows.pop(0)).rstrip())
            self.row -= 1


def watch(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], width: int, height: int
) -> tuple[int, list[list[str]], list[str]]:
    """Run a command in a terminal of this size: exit status, every picture it showed, all lines that stayed."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    sized = {k: v for k, v in environment.items() if k not in ("COLUMNS", "LINES")} | {"TERM": "xterm-256color"}
    process = subprocess.Popen(command, cwd=folder, env=sized, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    screen, frames = Screen(width, height), []
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        screen.feed(decode(chunk))
        frames.append(screen.lines())
    os.close(ours)
    return process.wait(), frames, [*screen.above, *screen.lines()]
