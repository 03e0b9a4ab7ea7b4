"""Whether trials fit into the memory of pretended devices, and which key makes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from study.planning import doctor, fits
from study.planning.finding import Finding
from study.question.config import StudyConfig
from tests.trainables import tiny
from trainables.devices import Device
from trainables.errors import UserError
from trainables.loading import validate

GB = 2**30


@pytest.fixture(autouse=True)
def only_what_the_trial_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """No materials, and processes that weigh nothing beside a tiny encoder."""
    for module in ("materials", "weights"):
        monkeypatch.setattr(f"trainables.materials.{module}.prepared", lambda config: None)
    monkeypatch.setattr(fits, "PROCESS", {"cpu": 0, "cuda": 0})


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("tiny"), "xlm-roberta")


def study(encoder: Path, trial: dict[str, Any] | None = None, **more: Any) -> StudyConfig:
    base: dict[str, Any] = {"encoder": {"name_or_path": str(encoder)}, "training": {"batch_size": 64}}
    for name, values in (trial or {}).items():
        base[name] = base.get(name, {}) | values
    return validate(StudyConfig, {"name": "small", "trial": base, **more})


def card(size: float) -> Device:
    return Device("cuda", "a card", int(size), (9, 0))


def on_cards(config: StudyConfig, size: float) -> Finding:
    return fits.examine(config, [card(80 * GB), card(size), Device("cpu", "a CPU", 1)], 1)


def need(config: StudyConfig) -> int:
    found = fits.needed(config.trial, config.scaling, "cuda")
    assert found is not None
    return found


def test_the_smallest_card_counts_and_as_much_of_it_as_a_worker_is_given(encoder: Path) -> None:
    for share in (1, 0.5):
        config = study(encoder, scaling={"gpus_per_worker": share})
        exact = need(config) / share
        levels = [on_cards(config, exact * factor).level for factor in (0.99, 1.01, 1.24, 1.26)]
        assert levels == ["failure", "warning", "warning", "ok"]
        assert f"(share {share})" in on_cards(config, 2 * exact).found
    assert fits.room(study(encoder, scaling={"gpus_per_worker": 2}).scaling, card(GB), 1).share == 1


def test_a_machine_is_shared_by_the_workers_that_run_at_a_time(encoder: Path) -> None:
    config = study(encoder, scaling={"workers_per_trial": 2})
    exact = fits.needed(config.trial, config.scaling, "cpu") or 0
    for at_once, levels in ((1, ["failure", "ok"]), (3, ["failure", "ok"])):
        machines = [Device("cpu", "a CPU", int(2 * at_once * exact * factor)) for factor in (0.99, 1.26)]
        assert [fits.examine(config, [each], at_once).level for each in machines] == levels
    finding = fits.examine(config, [Device("cpu", "a CPU", 6 * exact)], 4)
    assert (finding.level, finding.cure) == ("failure", "scaling.concurrent_trials=2")


def test_the_cure_is_a_value_that_is_enough(encoder: Path) -> None:
    config = study(encoder, scaling={"gpus_per_worker": 1})
    finding = on_cards(config, need(config) * 0.95)
    assert finding.level == "failure"
    key, _, value = finding.cure.partition("=")
    assert (key, int(value) < 64) == ("trial.training.micro_batch_size", True)
    cured = study(encoder, {"training": {"micro_batch_size": int(value)}}, scaling={"gpus_per_worker": 1})
    assert on_cards(cured, need(config) * 0.95).level == "ok"


def test_items_that_are_compared_are_cured_by_a_smaller_batch(encoder: Path) -> None:
    config = study(encoder, {"task": {"name": "tatoeba"}}, scaling={"gpus_per_worker": 1})
    assert on_cards(config, need(config) * 0.95).cure.startswith("trial.training.batch_size=")


def test_where_no_batch_is_small_enough_a_whole_card_or_another(encoder: Path) -> None:
    half = study(encoder, {"training": {"batch_size": 1}}, scaling={"gpus_per_worker": 0.5})
    assert on_cards(half, need(half) * 1.5).cure == "scaling.gpus_per_worker=1"
    assert on_cards(half, need(half) * 0.5).cure.endswith("a device with more memory")


def test_what_the_space_may_propose_counts(encoder: Path) -> None:
    alone = study(encoder, scaling={"gpus_per_worker": 1})
    searched = study(
        encoder,
        scaling={"gpus_per_worker": 1},
        search={
            "space": {
                "perturbation.method": ["none", "smart"],
                "training.batch_size": {"type": "int", "low": 8, "high": 128},
            }
        },
    )
    for config, words in (
        (alone, "64 texts of 128 tokens under none"),
        (searched, "128 texts of 128 tokens under smart"),
    ):
        assert words in on_cards(config, 80 * GB).found


def test_a_space_that_may_drop_out_needs_room_for_masks(encoder: Path) -> None:
    dropout = {"encoder.dropout": {"type": "float", "low": 0.0, "high": 0.3}}
    searched = study(encoder, {"encoder": {"dropout": 0.0}}, search={"space": dropout})
    levels = []
    for probability in (0.0, 0.3):
        alone = study(encoder, {"encoder": {"dropout": probability}})
        room = Device("cpu", "a CPU", int((fits.needed(alone.trial, alone.scaling, "cpu") or 0) / fits.SAFE) + 1)
        levels.append(fits.examine(searched, [room], 1).level)
    assert levels == ["failure", "ok"]


def test_what_is_not_known_is_no_reason_to_fail(encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = study(encoder, {"encoder": {"name_or_path": "nobody/nothing"}})
    assert fits.examine(unknown, [Device("cpu", "a CPU", GB)], 1) == Finding(
        "ok", "fits", "known once the encoder nobody/nothing is on this machine"
    )
    assert fits.examine(study(encoder, scaling={"gpus_per_worker": 1}), [], 1).level == "warning"

    def refuse(*_: Any) -> None:
        raise UserError("task.name: unknown")

    monkeypatch.setattr(fits, "task_shape", refuse)
    assert fits.examine(study(encoder), [Device("cpu", "a CPU", GB)], 1).level == "failure"


def test_the_doctor_names_each_device_and_whether_a_study_fits(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainables.devices.cards", lambda: [card(GB), card(3 * GB)])
    config = study(encoder, scaling={"gpus_per_worker": 0.5})
    findings = {f.what: f for f in doctor.examine(tmp_path, config)}
    assert findings["gpu 1"].found.startswith("a card, 3.0 GiB; fp32, tf32, bf16, fp16; attention: flash")
    assert findings["cpu"].found
    assert findings["fits"].found.startswith("needs ")
    assert "fits" not in {f.what for f in doctor.examine(tmp_path, config, "auto")}
