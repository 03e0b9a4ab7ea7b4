"""What an evaluation computes is read one batch late."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from tests.trainables import shaped
from trainables.batch import Batch
from trainables.config import EvaluationConfig
from trainables.distributed import Group
from trainables.model.encoder import Model
from trainables.scoring.evaluation import on_host, predict_stream
from trainables.scoring.stream import planned


def test_a_batch_is_read_after_the_next_one_was_asked_for() -> None:
    materials = shaped.materials("classification")
    plan = planned(materials, "validation", None, 12)
    happened: list[str] = []

    def respond(batch: Batch) -> Callable[[], dict[str, list[Any]]]:
        number = sum(word.startswith("ask") for word in happened)
        happened.append(f"ask {number}")

        def answers() -> dict[str, list[Any]]:
            happened.append(f"read {number}")
            return {"clean": batch.sequence_keys.tolist()}

        return answers

    found = predict_stream(cast(Model, torch.nn.Linear(1, 1)), materials, "validation", plan, Group(), respond)
    count = len(plan.batches)
    assert count > 2
    between = [word for n in range(1, count) for word in (f"ask {n}", f"read {n - 1}")]
    expected = ["ask 0", *between, f"read {count - 1}"]
    assert happened == expected
    assert None not in found["clean"]["en"]


def test_what_is_on_a_cpu_is_there() -> None:
    values = torch.arange(3.0)
    assert on_host(values, values + 1)()[1].tolist() == [1, 2, 3]


def test_an_accelerator_takes_larger_batches() -> None:
    config = EvaluationConfig(token_budget=64, accelerator_token_budget=128)
    assert config.tokens_on("cpu") == 64
    assert config.tokens_on("meta") == 128


def test_what_is_elsewhere_is_waited_for_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []

    class There:
        device = SimpleNamespace(type="cuda")

        def to(self, where: str, non_blocking: bool) -> str:
            happened.append(f"to {where}{' later' if non_blocking else ''}")
            return "copy"

    class Event:
        def __init__(self, kind: str) -> None:
            assert kind == "cuda"

        def record(self) -> None:
            happened.append("record")

        def synchronize(self) -> None:
            happened.append("synchronize")

    monkeypatch.setattr(torch, "Event", Event)
    wait = on_host(cast(torch.Tensor, There()))
    assert happened == ["to cpu later", "record"]
    assert wait() == ["copy"]
    assert happened[2:] == ["synchronize"]
