"""A small suite on disk: its manifest, and members that are finished, begun or not begun."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from study.question import suites
from study.question.config import SuiteConfig
from study.record import manifest, roots
from study.record.ledger import Ledger
from tests.study.conftest import Event
from trainables.loading import validate


@pytest.fixture
def asked(events: list[Event]) -> SuiteConfig:
    """Three members of the same search, as in the small study; the suite claims one endpoint over them."""
    shared = {k: v for k, v in events[0]["config"].items() if k not in ("name", "measured")}
    members = [{"name": "a"}, {"name": "b", "priority": 1}, {"name": "c", "overrides": {"search.trials": 3}}]
    suite = {"name": "many", "endpoint": "low_resource_mean", "members": members}
    return validate(SuiteConfig, {**shared, "suite": suite})


@pytest.fixture
def write_suite(tmp_path: Path, events: list[Event], asked: SuiteConfig) -> Callable[..., Path]:
    """Write the manifest, and of each named member so many of the small study's events; returns the root."""

    def write(**begun: int | Sequence[Event]) -> Path:
        root = tmp_path / "studies"
        manifest.write(roots.place(root, "many"), asked.model_dump(mode="json"))
        for name, config in suites.expand(asked).items():
            if name not in begun:
                continue
            given = begun[name]
            rows: list[dict[str, Any]] = copy.deepcopy(events[:given] if isinstance(given, int) else list(given))
            rows[0]["config"] = config.model_dump(mode="json")
            with Ledger.open(roots.place(root, config.name).ledger) as ledger:
                for row in rows:
                    ledger.append(row["event"], **{k: v for k, v in row.items() if k != "event"})
        return root

    return write
