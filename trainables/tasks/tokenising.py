"""Tokenising by several processes, which know the tokenizer and nothing else: neither torch nor transformers.

They are programs of their own, not forks: those of a process that has threads may wait for ever, and multiprocessing
would run the main program again. Each reads chunks of texts from a pipe and writes back what became of them; it ends
when its pipe does, however its parent ended.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from typing import IO

from trainables.model.by_word import ByWord, Encoding

Texts = Sequence[tuple[str, ...]]


def in_processes(by_word: ByWord, chunks: Iterable[Texts], count: int) -> Iterator[list[Encoding]]:
    """What becomes of each chunk, in their order, by so many processes; at most twice as many chunks are on their way.

    Raises RuntimeError with what one of them died of. They are ended when this generator is, by an interrupt too.
    """
    free: SimpleQueue[_Process] = SimpleQueue()
    processes = []
    pool = ThreadPoolExecutor(count, thread_name_prefix="tokenising")

    def encode(chunk: Texts) -> list[Encoding]:
        process = free.get()
        try:
            return process.encode(chunk)
        finally:
            free.put(process)

    try:
        for _ in range(count):
            processes.append(_Process(by_word))
            free.put(processes[-1])
        waiting: deque[Future[list[Encoding]]] = deque()
        for chunk in chunks:
            waiting.append(pool.submit(encode, chunk))
            if len(waiting) > 2 * count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for process in processes:
            process.end()
        pool.shutdown(cancel_futures=True)


class _Process:
    """One of them, as its parent sees it."""

    def __init__(self, by_word: ByWord) -> None:
        command = [sys.executable, "-c", f"from {__name__} import work; work()"]
        path = os.pathsep.join(each for each in sys.path if each)
        environment = {**os.environ, "PYTHONPATH": path, "TOKENIZERS_PARALLELISM": "false"}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin, self._process.stdout
        self._by_word: ByWord | None = by_word

    def encode(self, chunk: Texts) -> list[Encoding]:
        try:
            if self._by_word is not None:
                _send(self._to, self._by_word)
                self._by_word = None
            _send(self._to, chunk)
            found = pickle.load(self._from)
        except (OSError, EOFError, pickle.UnpicklingError):
            raise RuntimeError(f"a process that tokenised ended with status {self._process.wait()}") from None
        if isinstance(found, str):
            raise RuntimeError(f"a process that tokenised failed:\n{found}")
        encoded: list[Encoding] = found
        return encoded

    def end(self) -> None:
        """Now, whatever it is at."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._to, self._from):
            with suppress(OSError):  # what it still held went nowhere
                pipe.close()


def work() -> None:
    """What such a process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # its parent, which has it too, says when it is over
    own, out = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever is printed is no answer
    try:
        by_word: ByWord = pickle.load(own)
        while True:
            _send(out, by_word.whole(pickle.load(own)))
    except (EOFError, BrokenPipeError):
        return
    except BaseException:
        _send(out, traceback.format_exc())


def _send(pipe: IO[bytes], value: object) -> None:
    pickle.dump(value, pipe, pickle.HIGHEST_PROTOCOL)
    pipe.flush()
