"""Every method on the embedded encoder and its data: what must hold in single precision, at real sizes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.trainables.shaped import ALONE
from trainables.config import PerturbationConfig, TrialConfig
from trainables.distributed import Group
from trainables.materials import materials as materials_of
from trainables.perturbation import create
from trainables.perturbation.base import Perturbable, read
from trainables.tasks.base import collate
from trainables.training.trial import start

TRIAL = TrialConfig.model_validate(
    {
        "task": {"target_languages": ["de", "lb", "th"]},
        "encoder": {"freeze_embeddings": False, "freeze_lower_layers": 9},
        "evaluation": {"every": 2, "examples_per_language": 2},
    }
)
pytestmark = pytest.mark.slow

CARRYING = [name for name in ALONE if create(PerturbationConfig(method=name)).carries is not None]
IN_BALL = [name for name in ALONE if name not in ("none", *CARRYING)]
"""Of one step by itself."""
BALLS = [(norm, scope) for norm in ("l2", "linf") for scope in ("token", "sentence")]


class Real:
    """A trial's model in training mode, a batch, and the points its forward was asked for."""

    def __init__(self, folder: Path) -> None:
        materials = materials_of.load(TRIAL)
        self.m = materials.reference_norm
        trial = start(TRIAL, materials, Group(), folder)
        self.model, self.shape = trial.model.train(), materials.shape
        self.batch = collate(self.shape, materials.train, [3, 70, 200, 411, 900, 1201], materials.pad_id)
        self.mask = self.batch.attention_mask.bool() & ~self.batch.special
        self.points: list[Tensor] = []

    def forward(self, embeddings: Tensor) -> Tensor:
        self.points.append(embeddings.detach())
        torch.manual_seed(0)
        return self.model.logits(embeddings, self.batch)

    def encoded(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        self.points.append(embeddings.detach())
        torch.manual_seed(0)
        return self.model.encoded(embeddings, self.batch, TRIAL.encoder.pooling)

    def view(self) -> Perturbable:
        labels = self.batch.labels
        return Perturbable(
            self.forward,
            self.model.embed(self.batch),
            self.mask,
            lambda logits: self.shape.loss(logits, labels),
            lambda p, q: self.shape.divergence(p, q, labels),
            lambda logits: self.shape.answers(logits, labels),
            self.batch.sequence_keys,
            11,
            encoded=self.encoded,
        )

    def step(self, method: str, **options):
        """Diagnostics, perturbations and weight gradients of one step."""
        self.points.clear()
        self.model.zero_grad()
        options = {"distribution": "uniform", "ascent_steps": 2, **options}
        _, diagnostics = create(PerturbationConfig(method=method, **options), self.m).backward(self.view(), 1.0, 0.1)
        clean = self.model.embed(self.batch).detach()
        gradients = [p.grad.clone() for p in self.model.parameters() if p.grad is not None]
        return read([diagnostics]), [point - clean for point in self.points], gradients


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Real(tmp_path_factory.mktemp("trial"))
    torch.set_num_threads(threads)


def test_the_batch_has_padding_and_special_tokens(real):
    assert (~real.batch.attention_mask.bool()).any()
    assert real.batch.special.any()


@pytest.mark.parametrize(("norm", "scope"), BALLS)
@pytest.mark.parametrize("name", IN_BALL)
def test_radius_padding_and_loss_rise(real, name, norm, scope):
    epsilon = 0.3
    diagnostics, deltas, _ = real.step(name, norm=norm, scope=scope, epsilon=epsilon)
    d, tokens = deltas[0].shape[2], real.mask.sum(1).double()
    for delta in deltas:
        assert not delta[~real.mask].any()
        rows = delta.double() if scope == "token" else delta.double().flatten(1)
        if norm == "linf":
            assert (rows.abs() <= epsilon * real.m / math.sqrt(d)).all()
        else:
            radius = epsilon * real.m * (tokens.sqrt() if scope == "sentence" else tokens.new_ones(1))
            assert (rows.norm(dim=-1) <= (radius if scope == "sentence" else radius.view(1, 1))).all()
    rms = math.sqrt(diagnostics.squared_norm / diagnostics.tokens) / real.m
    assert 0.1 < rms <= epsilon
    if diagnostics.items:
        assert diagnostics.loss_rise > 0


@pytest.mark.parametrize("name", IN_BALL)
def test_the_achieved_norm_grows_with_epsilon(real, name):
    norms = [math.sqrt(real.step(name, epsilon=e, ascent_steps=1)[0].squared_norm) for e in (0.01, 0.1, 1.0)]
    assert norms[1] / norms[0] == pytest.approx(10, rel=0.1)
    assert norms[2] / norms[1] == pytest.approx(10, rel=0.1)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("adversarial", {"epsilon": 0.0}),
        ("random_perturbation", {"epsilon": 0.0}),
        ("random_perturbation", {"sigma": 0.0, "distribution": "gaussian"}),
    ],
)
def test_magnitude_zero_is_clean_training_bit_for_bit(real, name, options):
    ours, clean = real.step(name, **options)[2], real.step("none")[2]
    assert len(ours) == len(clean)
    assert all(torch.equal(a, b) for a, b in zip(ours, clean, strict=True))


@pytest.mark.parametrize("name", ["freelb", "smart", "vat", "r3f"])
def test_magnitude_zero_is_clean_training_to_1e_6(real, name):
    for a, b in zip(real.step(name, epsilon=0.0)[2], real.step("none")[2], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
