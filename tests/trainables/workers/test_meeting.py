"""Workers of one trial meet: all of them, of one generation, and where nobody else can reach them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import REPOSITORY
from tests.trainables.workers.conftest import Post
from trainables.distributed import Group
from trainables.workers import mailbox
from trainables.workers.meeting import loopback, meeting

SLOT = "slot-1"

WORKER = """
import json, sys
import psutil, torch
from types import SimpleNamespace
from trainables.distributed import Group
from trainables.workers import meeting

folder, rank = sys.argv[1], int(sys.argv[2])
meeting.ray = SimpleNamespace(get=lambda name: name)
mailbox = SimpleNamespace(meet=SimpleNamespace(remote=lambda slot, rank, world: f"{slot}-1"))
group = Group(rank, 2)
with meeting.meeting(mailbox, "slot", group, folder):
    total = group.sum_gradients([], torch.tensor([1.0 + rank])).tolist()
    listening = [c.laddr.ip for c in psutil.Process().net_connections("inet") if c.status == psutil.CONN_LISTEN]
    group.barrier()
print(json.dumps([total, sorted(set(listening))]))
"""


def test_two_workers_exchange_and_listen_on_loopback_only(tmp_path: Path) -> None:
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path), str(rank)], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    try:
        found = [json.loads(worker.communicate(timeout=120)[0]) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [total for total, _ in found] == [[3.0], [3.0]]
    for _, addresses in found:
        assert {address.removeprefix("::ffff:") for address in addresses} <= {"127.0.0.1"}


@pytest.mark.parametrize(("device", "by"), [("cuda:1", "nccl"), ("cpu", "gloo")])
def test_they_meet_by_what_their_device_takes(
    device: str, by: str, post: Post, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr("torch.distributed.init_process_group", lambda name, **options: made.append((name, options)))
    monkeypatch.setattr("torch.distributed.destroy_process_group", lambda: None)
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        monkeypatch.setenv(name, "")  # and as it was after the test
    other = post.ask("meet", SLOT, 0, 2)
    with meeting(post, SLOT, Group(1, 2, torch.device(device)), str(tmp_path)):
        pass
    other.result(10)
    ((name, options),) = made
    assert (name, options["rank"], options["world_size"]) == (by, 1, 2)


def test_all_are_told_one_name_that_nobody_was_told_before(post: Post) -> None:
    names = []
    for _ in range(2):
        waiting = [post.ask("meet", SLOT, rank, 3) for rank in (2, 0, 1)]
        (name,) = {each.result(10) for each in waiting}
        names.append(name)
    assert len(set(names)) == 2


def test_who_died_while_it_waited_is_not_waited_with(post: Post) -> None:
    gone = post.ask("meet", SLOT, 1, 2)
    post.call("died", SLOT, "worker 1: killed")
    first = post.ask("meet", SLOT, 0, 2)
    with pytest.raises(TimeoutError):
        first.result(0.3)
    second = post.ask("meet", SLOT, 1, 2)
    assert first.result(10) == second.result(10)
    gone.result(10)


def test_one_who_does_not_come_is_not_waited_for_without_end(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox, "MEETING_SECONDS", 0.1)
    with pytest.raises(TimeoutError):
        post.call("meet", SLOT, 0, 2)


def test_this_machine_has_a_loopback_interface() -> None:
    assert loopback().startswith("lo")
