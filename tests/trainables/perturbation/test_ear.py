"""EAR against its formula, written with loops, on real attention."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from trainables.config import PerturbationConfig
from trainables.perturbation import create
from trainables.perturbation.base import Inside


def inside(setting, ids, attention, layer):
    """One pass of the tiny encoder that shows its inside."""
    setting.encoder.model.set_attn_implementation("eager")
    embeddings = setting.encoder.embed(ids)
    first = setting.encoder.family.first_position(setting.encoder.model.config.pad_token_id)
    positions = (attention.cumsum(1) - 1).clamp_min(0) + first
    out = setting.encoder.model(
        inputs_embeds=embeddings,
        attention_mask=attention,
        position_ids=positions,
        output_attentions=True,
        output_hidden_states=True,
    )
    weights = attention.unsqueeze(2).to(embeddings.dtype)
    pooled = (out.last_hidden_state * weights).sum(1) / weights.sum(1)
    entered = (out.hidden_states[0] * weights).sum(1) / weights.sum(1)
    return Inside(setting.head(pooled), entered, out.attentions[layer], attention.bool())


@pytest.fixture
def pair(make, kind):
    """Items and copies of them that differ in words and, the second one, in length."""
    s = make(kind, lengths=(6, 5, 7))
    ids, attention = s.ids.clone(), s.attention.clone()
    ids[:, 2] = (ids[:, 2] + 3) % 50 + 5
    ids[1, 5], attention[1, 5] = 11, 1
    return s, lambda layer: (inside(s, s.ids, s.attention, layer), inside(s, ids, attention, layer))


def restated(s, own, copy, alpha, beta):
    total = s.loss(own.logits) + s.loss(copy.logits)
    out = []
    for i, ce in enumerate(total):
        push = ((own.pooled[i] - copy.pooled[i]) ** 2).mean()
        n, k = int(own.tokens[i].sum()), int(copy.tokens[i].sum())
        width = max(n, k)
        a, b = torch.zeros(2, width, width), torch.zeros(2, width, width)
        a[:, :n, :n], b[:, :k, :k] = own.attention[i, :, :n, :n], copy.attention[i, :, :k, :k]
        out.append(ce - alpha * push + beta * ((a - b) ** 2).mean())
    return torch.stack(out)


def test_ear_is_its_formula(pair):
    s, reworded = pair
    options = {"push_weight": 0.3, "pull_weight": 2.0, "attention_layer": 1}
    ear = create(PerturbationConfig(method="ear", **options), 1.0)
    ours = ear.loss(replace(s.view(), reworded=reworded), 1.0)[0]
    own, copy = reworded(1)
    torch.testing.assert_close(ours, restated(s, own, copy, 0.3, 2.0), rtol=1e-5, atol=1e-6)
    assert (restated(s, own, copy, 0.3, 2.0) - restated(s, own, copy, 0.0, 0.0)).abs().min() > 1e-4
    without = ear.loss(replace(s.view(), reworded=reworded), 0.0)[0]
    torch.testing.assert_close(without, s.loss(own.logits) + s.loss(copy.logits))


def test_gradients_reach_words_and_the_layers_below_the_attention(pair):
    s, reworded = pair
    ear = create(PerturbationConfig(method="ear", push_weight=5.0, pull_weight=0.0), 1.0)
    view = replace(s.view(), reworded=lambda _: reworded(1))
    none = create(PerturbationConfig(method="ear", push_weight=0.0, pull_weight=0.0), 1.0)
    words = s.encoder.model.get_input_embeddings().weight
    grads = []
    for method in (ear, none):
        s.gradients(lambda m=method: m.backward(view, 1.0, 1.0))
        grads.append(words.grad.clone())
    assert not torch.allclose(*grads)
