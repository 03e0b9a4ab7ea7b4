"""The attack of the evaluation."""

from __future__ import annotations

import pytest
import torch

from trainables.config import AttackConfig
from trainables.perturbation.attack import attacked_logits

M = 1.3


def judge(s):
    return lambda logits: (s.answers(logits) == s.labels).reshape(len(s.labels), -1).all(1)


@pytest.mark.parametrize(("norm", "scope"), [("l2", "token"), ("l2", "sentence"), ("linf", "token")])
def test_scores_fall_with_the_radius_and_with_restarts(make, kind, shape, norm, scope):
    s = make(kind, shape)
    s.labels = s.answers(s.logits(s.encoder.embed(s.ids)))  # the clean model is right throughout
    right = judge(s)
    radii = (0.5, 0.01, 2.0)
    options = {"epsilon": radii, "norm": norm, "scope": scope, "ascent_steps": 4}
    one, three = (attacked_logits(s.view(), AttackConfig(**options, restarts=r), M, right) for r in (1, 3))
    assert list(one) == sorted(radii)
    count = [int(right(one[e]).sum()) for e in sorted(radii)]
    assert count == sorted(count, reverse=True)
    assert count[-1] < len(s.labels)
    for e in radii:
        assert (right(three[e]) <= right(one[e])).all()
        assert s.loss(one[e]).sum() > s.loss(s.logits(s.encoder.embed(s.ids))).sum()


def test_every_point_lies_in_the_ball_and_leaves_padding_alone(make, kind):
    s = make(kind)
    attacked_logits(s.view(), AttackConfig(epsilon=(0.4,), relative=False, ascent_steps=3, restarts=2), M, judge(s))
    deltas = s.deltas()
    assert len(deltas) == 1 + 2 * 4
    assert not deltas[0].any()
    for delta in deltas:
        assert (delta.norm(dim=2) <= 0.4).all()
        assert not delta[~s.mask].any()
    assert not torch.equal(deltas[1], deltas[5])  # restarts differ


def test_a_wrong_answer_at_any_point_counts_even_at_a_lower_loss(make):
    """The judge calls the first perturbed answer wrong and all later ones right: the first must stay."""
    s = make()
    seen = []

    def right(logits):
        seen.append(logits)
        return torch.full((6,), len(seen) != 2)

    worst = attacked_logits(s.view(), AttackConfig(epsilon=(0.4,), ascent_steps=3, restarts=2), M, right)[0.4]
    assert torch.equal(worst, seen[1])


def test_an_attack_does_not_depend_on_batch_and_padding(make):
    together, alone = make(), make(lengths=(9,), width=20, first=2)
    config = AttackConfig(epsilon=(0.3,), restarts=2)
    ours = attacked_logits(together.view(), config, M, judge(together))[0.3]
    theirs = attacked_logits(alone.view(), config, M, judge(alone))[0.3]
    torch.testing.assert_close(ours[2], theirs[0], rtol=1e-4, atol=1e-5)


def test_no_weight_is_touched(make):
    s = make()
    gradients = s.gradients(lambda: attacked_logits(s.view(), AttackConfig(), M, judge(s)))
    assert not any(g.any() for g in gradients)
