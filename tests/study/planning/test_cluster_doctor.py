"""What is said of a cluster's cards, by a pretended driver's words; of its machines see tests/test_ray_up.py."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from study.planning import cluster_doctor, fits
from study.planning.finding import Finding
from study.question.config import ScalingConfig, StudyConfig
from trainables.devices import Device

CARD = Device("cuda", "NVIDIA A10G", 23028 << 20, (8, 6))


def test_a_machine_lists_its_cards_without_taking_hold_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\necho 'NVIDIA A10G, 23028, 8.6'\necho 'NVIDIA A10G, 23028, 8.6'\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert cluster_doctor.look(str(tmp_path / "probe"))["cards"] == [CARD, CARD]


@pytest.mark.parametrize(("counted", "levels"), [(1, ["ok", "ok"]), (2, ["warning", "ok"])])
def test_cards_are_named_and_counted_against_rays(counted: int, levels: list[str]) -> None:
    answer: dict[str, Any] = {
        "versions": {name: version(name) for name in cluster_doctor.SAME},
        "open_token": False,
        "cards": [CARD],
    }
    findings = list(cluster_doctor._told("head (10.0.0.1)", answer, counted))
    assert [finding.level for finding in findings] == levels
    assert findings[-1].what == "head (10.0.0.1) gpu 0"
    assert findings[-1].found.startswith("NVIDIA A10G, 22.5 GiB; fp32, tf32, bf16, fp16")


def test_a_study_is_held_against_the_cards_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    fitting = Finding("ok", "fits", "it does")
    monkeypatch.setattr(fits, "examine", lambda config, cards, at_once: fitting if cards == [CARD] else None)
    on_cards = StudyConfig(name="x", scaling=ScalingConfig(gpus_per_worker=1))
    assert list(cluster_doctor._fits(on_cards, [CARD])) == [fitting]
    for config, cards in ((on_cards, []), (StudyConfig(name="x"), [CARD]), (None, [CARD])):
        assert list(cluster_doctor._fits(config, cards)) == []
