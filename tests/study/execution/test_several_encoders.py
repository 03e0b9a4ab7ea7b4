"""One study over three families of encoders, on a real local Ray: from the command to table and report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from study.cli import commands, execute
from study.record.lines import read_study
from tests.trainables.materials.test_kinds import ROWS, TEXTS, signs
from tests.trainables.model import tiny_families
from trainables.config import TrialConfig
from trainables.loading import apply_point
from trainables.materials.building import KEPT
from trainables.materials.materials import prepare

LANGUAGES = ("en", "de", "fr", "sw")
FAMILIES = ("bert", "xlm", "modernbert")
SPREADS = {"bert": 0.2, "xlm": 0.4, "modernbert": 0.8}
"""Standard deviation of all weights of each, so that the norms of their embeddings differ."""


def written(folder: Path) -> dict[str, Any]:
    """A study of three tiny encoders with random weights and a few texts, on the disk."""
    definition = "shape: classification\nlabels: ['yes', 'no']\nfiles: '{split}.{language}.jsonl'\n"
    (folder / "own.yaml").write_text(definition, encoding="utf-8")
    lines = "".join(json.dumps({"text": t, "label": ("yes", "no")[i % 2]}) + "\n" for i, t in enumerate(TEXTS))
    for name in ("train.en", *(f"{split}.{code}" for split in ("validation", "test") for code in LANGUAGES)):
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    for name in FAMILIES:
        signs(ROWS).save_pretrained(tiny_families.write(folder / name, name, SPREADS[name], vocab_size=ROWS))
    freezing = {"type": "fixed", "value": 1, "when": {"encoder.name_or_path": "bert"}}
    return {
        "name": "families",
        "trial": {
            "task": {"name": str(folder / "own.yaml"), "max_length": 16},
            "encoder": {"name_or_path": "bert"},
            "training": {"batch_size": 3, "budget": {"steps": 2}},
            "perturbation": {"method": "adversarial", "epsilon": 0.2, "perturb_special_tokens": True},
        },
        "search": {
            "mode": "design",
            "sampler": "grid",
            "space": {
                "encoder.name_or_path": list(FAMILIES),
                "encoder.freeze_lower_layers": freezing,
                "perturbation.epsilon": [0.2],
            },
            "objectives": [{"reduce": "target_mean"}],
        },
        "protocol": {"selection": "target_validation", "primary_endpoint": "target_mean"},
        "scaling": {"concurrent_trials": 1},
    }


@pytest.mark.slow
def test_three_families_in_one_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    root = tmp_path / "studies"
    (tmp_path / "families.yaml").write_text(yaml.safe_dump(written(tmp_path)), encoding="utf-8")
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run = [sys.executable, "-m", "study", "run", "families.yaml", "--root", str(root), "--plain"]
    done = subprocess.run(run, capture_output=True, text=True, timeout=300, env={**os.environ})
    log = root / "families" / "log.txt"
    assert done.returncode == 0, done.stdout + done.stderr + (log.read_text() if log.exists() else "")

    record = read_study(root / "families" / "ledger.jsonl")
    trials = list(record.trials.values())
    assert [(t.kind, Path(t.point["encoder.name_or_path"]).name) for t in trials] == [
        (kind, name) for kind in ("baseline", "design") for name in FAMILIES
    ]
    assert {t.state for t in trials} == {"COMPLETE"}
    assert sorted(record.fingerprints) == ["data", *(f"encoder {tmp_path / name}" for name in sorted(FAMILIES))]
    base = TrialConfig.model_validate(record.config["trial"])
    norms = {}
    for trial in trials[3:]:
        config = apply_point(base, trial.point)
        folder = prepare(config)
        name = Path(config.encoder.name_or_path).name
        assert config.encoder.freeze_lower_layers == (name == "bert")
        assert len(np.load(folder / KEPT)) < ROWS, "the vocabulary is trimmed"
        # Radii are in units of each encoder's own norm.
        norms[name] = json.loads((folder / "meta.json").read_text())["reference_norm"]
        training = trial.reports[-1].evaluation.training
        assert training["perturbation_norm"] / training["relative_norm"] == pytest.approx(norms[name])
        assert 0 < training["relative_norm"] <= 0.2 + 1e-6
    assert norms["bert"] < norms["xlm"] < norms["modernbert"]

    assert execute(commands, "study", ["show", "families", "--root", str(root)]) == 0
    shown = capsys.readouterr().out
    best = next(t for t in trials if f"Best trial {t.number} " in shown)
    own = next(t for t in trials[:3] if t.point["encoder.name_or_path"] == best.point["encoder.name_or_path"])
    encoder = best.point["encoder.name_or_path"]
    assert f"Best trial {best.number} against the unperturbed baseline of {encoder} (trial {own.number})" in shown
    assert execute(commands, "study", ["report", "families", "--root", str(root)]) == 0
    page = next((root / "families" / "report").glob("*.html")).read_text(encoding="utf-8")
    assert all(str(tmp_path / name) in page for name in FAMILIES)
