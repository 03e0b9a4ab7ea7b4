"""A mailbox in a thread of its own, behind a handle like that of its actor: no Ray is started."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from trainables.workers.mailbox import Mailbox

SECONDS = 30.0
"""Longest wait for an answer of the mailbox."""


class _Method:
    def __init__(self, post: Post, name: str) -> None:
        self.post, self.name = post, name

    def remote(self, *arguments: Any) -> Future[Any]:
        return self.post.ask(self.name, *arguments)


class Post:
    """What `ray.get` and an actor's handle are to drivers and workers."""

    def __init__(self, max_attempts: int = 3) -> None:
        self.box = Mailbox(max_attempts)
        self.asked: list[tuple[str, str]] = []
        """Names of the methods called, and of the threads that did."""
        self.lost: BaseException | None = None
        """What every call raises, once the actor is gone."""
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="mailbox", daemon=True)
        self.thread.start()

    def __getattr__(self, name: str) -> _Method:
        return _Method(self, name)

    def ask(self, name: str, *arguments: Any) -> Future[Any]:
        """Call a method in the mailbox's thread."""
        self.asked.append((name, threading.current_thread().name))
        answer: Coroutine[Any, Any, Any] = getattr(self.box, name)(*arguments)
        return asyncio.run_coroutine_threadsafe(answer, self.loop)

    def get(self, answer: Future[Any]) -> Any:
        """Wait for an answer."""
        if self.lost is not None:
            raise self.lost
        return answer.result(SECONDS)

    def call(self, name: str, *arguments: Any) -> Any:
        """Ask, and wait for the answer."""
        return self.ask(name, *arguments).result(SECONDS)

    def take_all(self, slot: str) -> list[dict[str, Any]]:
        """What the slot's workers have posted until there is nothing more."""
        items = []
        while (item := self.call("take", slot, 0.05)) is not None:
            items.append(item)
        return items

    def end(self) -> None:
        """End the thread, and what still waits in it."""

        async def cancelled() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(cancelled(), self.loop).result(SECONDS)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(SECONDS)
        self.loop.close()


@pytest.fixture
def post(monkeypatch: pytest.MonkeyPatch) -> Iterator[Post]:
    """A mailbox; `ray.get` waits for its answers."""
    post = Post()
    monkeypatch.setattr("ray.get", post.get)
    yield post
    post.end()
