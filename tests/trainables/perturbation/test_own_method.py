"""The worked example of docs/methods.md, as it stands there: saved, named in YAML, trained with."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch

from trainables.config import TrialConfig
from trainables.errors import UserError
from trainables.loading import load_config
from trainables.perturbation import create
from trainables.perturbation.base import METHODS, read

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "methods.md"


def block(language: str) -> str:
    """The only code block of a language in the section on own methods."""
    section = DOCUMENT.read_text(encoding="utf-8").split("## A method of one's own")[1]
    (found,) = re.findall(rf"```{language}\n(.*?)```", section, flags=re.DOTALL)
    return str(found)


@pytest.fixture
def example(tmp_path, monkeypatch):
    """Configuration of the example, its module importable."""
    (tmp_path / "mixed_training.py").write_text(block("python"), encoding="utf-8")
    (tmp_path / "trial.yaml").write_text(block("yaml"), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield load_config(TrialConfig, tmp_path / "trial.yaml").perturbation
    METHODS.pop("mixed", None)
    sys.modules.pop("mixed_training", None)


def test_the_documented_example_trains(example, make):
    method = create(example, reference_norm=1.3)
    assert METHODS["mixed"] is type(method)
    assert method.forward_equivalents == 8
    s = make()
    out = []
    gradients = s.gradients(lambda: out.append(method.backward(s.view(), 1.0, 1.0)))
    loss, diagnostics = out[0]
    assert any(g.abs().sum() > 0 for g in gradients)
    assert read([diagnostics]).loss_rise > 0
    clean, worst = (s.loss(s.logits(point)) for point in (s.points[0], s.points[-1]))
    torch.testing.assert_close(loss, 0.5 * clean + 0.5 * worst, rtol=1e-6, atol=1e-6)
    again = create(example.model_copy(update={"method": "mixed"}), reference_norm=1.3)
    assert type(again) is type(method)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:Thing", "cannot be imported"),
        ("mixed_training:Missing", "cannot be imported"),
        ("mixed_training:Tensor", "must name a subclass of Perturbation"),
        (":Thing", "cannot be imported"),
    ],
)
def test_what_cannot_be_found_is_one_line(example, name, message):
    with pytest.raises(UserError, match=message) as caught:
        create(example.model_copy(update={"method": name}))
    assert len(caught.value.lines) == 1
    assert caught.value.lines[0].startswith("perturbation.method: ")
    assert repr(name)[1:-1] in caught.value.lines[0]
