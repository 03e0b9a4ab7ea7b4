"""What a study takes: checkpoints measured against real ones, trials at a time, time from an earlier study's ledger."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study.planning import needs, preflight
from study.question.catalogue import study_config
from study.question.config import StudyConfig
from study.record import roots
from trainables import machine
from trainables.config import TrialConfig
from trainables.errors import UserError
from trainables.loading import apply_point, validate
from trainables.materials.materials import load
from trainables.materials.weights import trained
from trainables.model.pretrained import load_encoder
from trainables.storage import checkpoint
from trainables.training.optimiser import build_optimizer
from trainables.training.trial import build_model

Event = dict[str, Any]

SMALL: dict[str, Any] = {
    "task": {"target_languages": ["de", "lb", "th"]},
    "encoder": {"freeze_embeddings": True, "freeze_lower_layers": 10},
    "evaluation": {"every": 2},
}


def written(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("platform", "device", "found"),
    [("linux", "nvidia0", 3), ("linux", "kfd", 3), ("linux", "dxg", 3), ("linux", "nvme0", 0), ("darwin", "null", 3)],
)
def test_torch_is_asked_for_gpus_where_a_driver_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str, device: str, found: int
) -> None:
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    (tmp_path / device).touch()
    assert needs.gpus(tmp_path) == found


@pytest.mark.parametrize("frozen", [True, False])
def test_a_checkpoint_is_as_large_as_foretold(tmp_path: Path, frozen: bool) -> None:
    """A model and an optimiser as a trial has them, the vocabulary trimmed, after a step that changed nothing."""
    config = apply_point(TrialConfig.model_validate(SMALL), {"encoder.freeze_embeddings": frozen})
    materials = load(config)
    pristine = load_encoder(config.encoder, materials.uses_segments, materials.encoder_folder)
    model = build_model(config, materials, pristine)
    optimizer = build_optimizer(model, config.training)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = parameter.detach() * 0
    optimizer.step()
    checkpoint.save(tmp_path, 1, model, optimizer, [])
    checkpoint.save(tmp_path, 2, model, None, [])
    count = trained(config)
    assert count is not None
    assert written(tmp_path / "1") == pytest.approx(needs.FULL * count, rel=0.01)
    assert written(tmp_path / "2") == pytest.approx(needs.WEIGHTS * count, rel=0.01)


def test_the_embedded_encoder_is_counted_before_it_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = study_config("quickstart")
    built = needs.checkpoints(config)
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path))
    assert needs.checkpoints(config) == built
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("trainables.materials.weights.prepared", lambda config: None)
    whole = config.model_copy(update={"trial": apply_point(config.trial, {"encoder.freeze_embeddings": False})})
    assert (needs.checkpoints(whole) or 0) > 5 * (built or 0)


def test_what_is_at_most_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cpus", lambda: 3)
    monkeypatch.setattr(needs, "trained", lambda trial: 2 - trial.encoder.freeze_embeddings)

    def most(**changes: Any) -> int | None:
        return needs.checkpoints(validate(StudyConfig, {"name": "x", "trial": SMALL, **changes}))

    weights = 3 * 4
    assert most() == 3 * 3 * 12 + weights
    assert most(scaling={"concurrent_trials": 2}) == 2 * 3 * 12 + weights
    best = SMALL | {"evaluation": {"every": 2, "checkpoint": "best_source_validation"}}
    assert most(trial=best) == 3 * 4 * 12 + weights
    mean = SMALL | {"evaluation": {"every": 2, "checkpoint": "average"}}
    assert most(trial=mean) == 3 * 3 * (12 + 4) + weights
    assert most(trial=SMALL | {"evaluation": {}}) == 3 * (12 + 4) + weights
    often = {"evaluation": {}, "training": {"checkpoint_minutes": 10}}
    assert most(trial=SMALL | often) == 3 * 3 * 12 + weights
    near = {"perturbation": {"method": "bregman"}}
    assert most(trial=SMALL | near) == 3 * 3 * (12 + 4) + weights
    assert most(search={"space": {"perturbation.method": ["none", "smart+bregman"]}}) == 3 * 3 * (12 + 4) + weights
    monkeypatch.setattr(needs, "loaded", lambda trial: {"embeddings.word_embeddings.weight": (5, 2)})
    assert most(trial=SMALL | {"perturbation": {"method": "tavat+sam"}}) == 3 * 3 * (12 + 4 * 5 * 2) + weights
    assert most(search={"space": {"encoder.freeze_embeddings": [True, False]}}) == 2 * (3 * 3 * 12 + weights)
    assert most(models={"keep": 5}) == 3 * 3 * 12 + 5 * 4
    assert most(models={"average": True}) == 3 * 3 * 12 + weights + 2 * 8
    # Baseline and the one trial; then the winner and three controls under 8 seeds.
    assert most(models={"keep": "all"}, trial=SMALL | {"perturbation": {"method": "adversarial"}}) == (
        3 * 3 * 12 + (2 + 4 * 8) * 4
    )
    monkeypatch.setattr(needs, "trained", lambda trial: None)
    assert most() is None


def test_preflight_asks_for_what_the_study_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = study_config("quickstart")
    most = needs.checkpoints(config)
    assert most is not None
    kept = tmp_path / "quickstart" / "checkpoints" / "3" / "60"
    kept.mkdir(parents=True)
    (kept / "weights.safetensors").write_bytes(bytes(1000))
    assert preflight.disk([config], tmp_path) == most - 1000
    assert preflight.disk([config], tmp_path, address="auto") is None
    (tmp_path / "of a store").mkdir()
    (tmp_path / "of a store" / roots.MARK).write_text("s3://bucket/studies")
    assert preflight.disk([config], tmp_path / "of a store") is None
    monkeypatch.setattr(needs, "together", lambda configs: 2**70)
    with pytest.raises(UserError, match=r"--root: needs .* GiB for checkpoints \(got .* free at"):
        preflight.check(config, tmp_path)


def test_what_stays_and_what_is_registered_is_said(tmp_path: Path) -> None:
    told = needs.disk(study_config("quickstart", ["models.keep=all", "tracking.register_model=true"]), tmp_path)
    assert "the weights of all 40, confirmed ones too)" in told
    assert "the registered model takes 448 MiB more, at first twice" in told  # 117.5 million parameters
    told = needs.disk(study_config("quickstart", ["models.keep=1"]), tmp_path)
    assert "the weights of the best 1)" in told and "registered" not in told


def test_an_encoder_that_is_not_here_is_said(tmp_path: Path) -> None:
    config = study_config("quickstart", ["trial.encoder.name_or_path=nobody/nothing"])
    assert needs.checkpoints(config) is None
    assert "known once the encoder nobody/nothing is on this machine" in needs.disk(config, tmp_path)


def test_trials_are_those_that_will_be_asked_for() -> None:
    assert needs.trials(study_config("quickstart")) == 8
    assert needs.trials(study_config("intents_search")) == 12 + 11  # control (b) has a search of its own
    # 4 radii x 2 numbers of steps, 3 scales of noise, the baseline; each under 3 seeds.
    assert needs.trials(study_config("intents_design")) == 3 * (8 + 3 + 1)


def test_pace_of_an_earlier_study(write_study: Callable[..., Path], events: list[Event], config: StudyConfig) -> None:
    root = write_study(events)
    pace = needs.pace(config, root)
    assert pace is not None
    # 20 steps of 32 examples and 3 forward-equivalents took 30 s; nothing is known of the scoring's time.
    assert pace.training * 32 * 60 == pytest.approx(30)
    assert (pace.evaluation, pace.languages, pace.examples) == (0.0, 7, 40)
    twice = config.trial.model_copy(update={"training": config.trial.training.model_copy(update={"batch_size": 64})})
    assert pace.seconds(twice, 40) == pytest.approx(2 * (pace.seconds(config.trial, 40) or 0))
    other = config.model_copy(update={"trial": apply_point(config.trial, {"encoder.freeze_lower_layers": 3})})
    assert needs.pace(other, root) is None


def test_pace_of_a_study_that_knew_fewer_keys(
    write_study: Callable[..., Path], events: list[Event], config: StudyConfig
) -> None:
    earlier = copy.deepcopy(events)
    for event in earlier:
        if event["event"] == "study":
            del event["config"]["trial"]["encoder"]["adapter"]
    assert needs.pace(config, write_study(earlier)) == needs.pace(config, write_study(events)) is not None


@pytest.mark.parametrize(
    ("every", "last", "before", "scored"),
    [(None, 5, 2, 5), (10, 5, 2, 5 + 2), (8, 5, 2, 5 + 2 * 2), (8, 5, None, 5 * 3)],
)
def test_time_of_a_trial_counts_each_evaluation_once(
    every: int | None, last: int, before: int | None, scored: int
) -> None:
    point = {"training.budget.steps": 20, "training.batch_size": 32, "evaluation.every": every}
    point |= {"evaluation.examples_per_language": last, "evaluation.intermediate_examples_per_language": before}
    trial = apply_point(TrialConfig(), point)
    pace = needs.Pace(training=0.01, evaluation=0.1, languages=3, examples=40)
    assert pace.seconds(trial, 40) == pytest.approx(0.01 * 3 * 20 * 32 + 0.1 * 3 * scored)
    assert pace.seconds(trial, 40, scorings=2) == pytest.approx(0.01 * 3 * 20 * 32 + 0.1 * 3 * (scored + 5))


@pytest.mark.parametrize(("seconds", "words"), [(40, "40 seconds"), (720, "12 minutes"), (12_600, "3.5 hours")])
def test_duration(seconds: float, words: str) -> None:
    assert needs.duration(seconds) == words
