"""Every method: what holds for all of them, and equality with a plain restatement of each formula."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.trainables.shaped import ALONE
from trainables.config import EncoderConfig, PerturbationConfig
from trainables.errors import UserError
from trainables.perturbation import create
from trainables.perturbation.ascent import inputs_only
from trainables.perturbation.base import METHODS, Diagnostics, read
from trainables.perturbation.carried import Start

M = 1.3
"""A reference norm."""

IN_BALL = {
    "adversarial": {},
    "freelb": {"ascent_steps": 3},
    "villa": {"ascent_steps": 3},
    "creat": {},
    "tavat": {"ascent_steps": 3},
    "smart": {},
    "vat": {},
    "r3f": {"distribution": "uniform"},
    "random_perturbation": {"distribution": "uniform"},
}
"""Methods whose perturbation lies in a ball of radius epsilon, and what they need for it."""

NOISED = {"view": {"kind": "noise"}}
"""What `xtune` needs where a batch has no second view."""

BALLS = [(norm, scope) for norm in ("l2", "linf") for scope in ("token", "sentence")]


def method(name: str, **options):
    return create(PerturbationConfig(method=name, **{"ascent_steps": 2, "step_size": 0.7, **options}), M)


def in_ball(name: str, **options):
    return method(name, **{**IN_BALL[name], **options})


def ball_norms(norm: str, scope: str, delta: torch.Tensor) -> torch.Tensor:
    rows = delta if scope == "token" else delta.flatten(1).unsqueeze(1)
    return rows.norm(dim=2) if norm == "l2" else rows.abs().amax(2)


def clean_gradients(setting):
    return setting.gradients(lambda: setting.loss(setting.logits(setting.encoder.embed(setting.ids))).sum().backward())


def step(setting, perturbation, magnitude=1.0, scale=1.0, draw=5):
    """Weight gradients, per-item loss and diagnostics of one training step."""
    begin(setting, perturbation)
    out = []
    gradients = setting.gradients(lambda: out.append(perturbation.backward(setting.view(draw), magnitude, scale)))
    loss, diagnostics = out[0]
    return gradients, loss, read([diagnostics])


def begin(setting, perturbation):
    """What the method carries, as a trial begins it, unless it is under way."""
    if perturbation.carries is not None and not hasattr(perturbation.carries, "tensors"):
        perturbation.carries.begin(
            Start({}, words=torch.arange(60), width=16, sequences=60, longest=setting.ids.shape[1], seed=0)
        )


def assert_same(ours, theirs, **tolerance):
    assert any(g.abs().sum() > 0 for g in theirs)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, **({"rtol": 1e-6, "atol": 1e-9} | tolerance))


# What holds for all


@pytest.mark.parametrize(("norm", "scope"), BALLS)
@pytest.mark.parametrize("name", IN_BALL)
def test_radius_and_padding(make, kind, name, norm, scope):
    s = make(kind)
    epsilon = 0.37
    step(s, in_ball(name, norm=norm, scope=scope, epsilon=epsilon, relative=False))
    assert len(s.points) >= 1
    for delta in s.deltas():
        # Read back out of x + delta, in double precision, the norm is exact to about 1e-15.
        assert (ball_norms(norm, scope, delta) <= epsilon).all()
        assert not delta[~s.mask].any()
    assert any(delta[s.mask].all() for delta in s.deltas()), "nothing was perturbed"


@pytest.mark.parametrize("name", IN_BALL)
def test_the_achieved_norm_grows_with_epsilon_and_magnitude(make, name):
    s = make()
    norms = [step(s, in_ball(name, epsilon=e))[2].squared_norm for e in (0.01, 0.1, 0.5, 2.0)]
    assert norms == sorted(norms)
    assert norms[0] > 0
    assert math.sqrt(norms[3] / norms[0]) == pytest.approx(200, rel=0.2)
    half, whole = (step(s, in_ball(name, epsilon=0.2), magnitude=m)[2].norm_max for m in (0.5, 1.0))
    assert half == pytest.approx(whole / 2, rel=0.2)


@pytest.mark.parametrize(("norm", "scope"), BALLS)
@pytest.mark.parametrize("name", ["adversarial", "freelb", "creat", "smart", "tavat", "vat"])
def test_the_ascent_raises_its_objective_in_every_shape(make, kind, shape, name, norm, scope):
    s = make(kind, shape)
    diagnostics = step(s, in_ball(name, norm=norm, scope=scope, epsilon=0.05, ascent_steps=3))[2]
    assert diagnostics.items == len(s.labels)
    assert diagnostics.loss_rise > 0


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("adversarial", {"epsilon": 0.0}),
        ("random_perturbation", {"epsilon": 0.0, "distribution": "uniform"}),
        ("random_perturbation", {"sigma": 0.0}),
        ("freelb", {"epsilon": 0.0, "ascent_steps": 1}),
        ("freeat", {"epsilon": 0.0}),
        ("tavat", {"epsilon": 0.0, "ascent_steps": 1}),
        ("villa", {"epsilon": 0.0, "ascent_steps": 3}),
        ("xtune", NOISED | {"example_weight": 0.0}),
    ],
)
def test_magnitude_zero_is_clean_training_bit_for_bit(make, kind, name, options):
    s = make(kind, dropout=0.2)
    ours = step(s, method(name, **options))[0]
    assert all(torch.equal(a, b) for a, b in zip(ours, clean_gradients(s), strict=True))
    warming_up = step(s, method(name, **options | {"epsilon": 0.3, "sigma": 0.3}), magnitude=0.0)[0]
    assert all(torch.equal(a, b) for a, b in zip(warming_up, clean_gradients(s), strict=True))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, IN_BALL[name] | {"epsilon": 0.0}) for name in ("freelb", "creat", "smart", "tavat", "vat", "r3f")),
        ("xtune", NOISED | {"sigma": 0.0}),
    ],
)
def test_magnitude_zero_is_clean_training_to_1e_6(make, kind, name, options):
    s = make(kind, dropout=0.2)
    ours = step(s, method(name, **options))[0]
    assert_same(ours, clean_gradients(s), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", [n for n in ALONE if n != "none"])
@pytest.mark.parametrize("start", ["uniform", "gaussian"])
def test_two_shards_are_one_batch(make, kind, name, start):
    lengths = (6, 3, 9, 4, 5, 7)
    options = {"epsilon": 0.3, "start": start, "ascent_steps": 2}
    whole, loss, diagnostics = step(make(kind, lengths=lengths), method(name, **options), scale=1 / 6)
    shards = [make(kind, lengths=lengths[i : i + 3], first=i) for i in (0, 3)]
    parts = [step(s, method(name, **options), scale=1 / 6) for s in shards]
    assert_same([a + b for a, b in zip(parts[0][0], parts[1][0], strict=True)], whole)
    torch.testing.assert_close(torch.cat([parts[0][1], parts[1][1]]), loss)
    total = Diagnostics()
    for part in parts:
        total.add(part[2])
    assert vars(total) == pytest.approx(vars(diagnostics))


@pytest.mark.parametrize("name", [n for n in ALONE if n not in ("none", "freeat")])  # which begins at zero
def test_a_sequences_perturbation_does_not_depend_on_its_batch_or_padding(make, name):
    options = {"epsilon": 0.3, "ascent_steps": 2, "scope": "sentence"}
    together, alone = make(), make(lengths=(9,), width=20, first=2)
    step(together, method(name, **options))
    step(alone, method(name, **options))
    for ours, theirs in zip(together.deltas(), alone.deltas(), strict=True):
        torch.testing.assert_close(ours[2, :9], theirs[0, :9])
    step(other := make(), method(name, **options), draw=6)
    assert not torch.allclose(other.deltas()[-1], together.deltas()[-1])


@pytest.mark.parametrize("name", ALONE)
def test_cost_is_what_forward_equivalents_say(make, name):
    """Counted in floating-point operations, where weight gradients of the ascent would show."""
    s = make(lengths=(9,) * 8)

    def flops(perturbation):
        with FlopCounterMode(display=False) as counter:
            step(s, perturbation)
        return counter.get_total_flops()

    clean = flops(method("none"))
    # The products of attention have no weights, and their backward costs two passes all the same: a few per cent.
    for options in ({"ascent_steps": 1}, {"ascent_steps": 3}, {"ascent_steps": 2, "epsilon": 0.0}):
        perturbation = method(name, **options)
        assert flops(perturbation) / clean == pytest.approx(perturbation.forward_equivalents / 3, rel=0.06), options
        assert perturbation.cost(EncoderConfig()) == perturbation.forward_equivalents
    for parameter in s.encoder.parameters():
        parameter.requires_grad_(parameter.ndim == 1)  # an adapter's are as few
    biases = EncoderConfig.model_validate({"adapter": {"method": "bitfit"}})
    for options in ({"ascent_steps": 1}, {"ascent_steps": 3}, {"ascent_steps": 2, "epsilon": 0.0}):
        perturbation = method(name, **options)
        assert flops(perturbation) / clean == pytest.approx(perturbation.cost(biases) / 3, rel=0.08), options


@pytest.mark.parametrize(
    ("name", "passes"),
    [
        ("none", 1),
        ("adversarial", 3),
        ("freelb", 2),
        ("villa", 3),
        ("smart", 4),
        ("creat", 4),
        ("freeat", 1),
        ("tavat", 2),
        ("vat", 4),
        ("r3f", 2),
        ("random_perturbation", 1),
    ],
)
def test_number_of_forward_passes(make, name, passes):
    s = make()
    step(s, method(name, ascent_steps=2))
    assert len(s.points) == passes


@pytest.mark.parametrize("name", ALONE)
def test_a_sequence_without_perturbable_tokens_and_frozen_embeddings(make, name):
    s = make(lengths=(2, 5, 4))
    s.encoder.model.embeddings.requires_grad_(False)
    gradients, loss, diagnostics = step(s, method(name))
    assert all(torch.isfinite(g).all() for g in gradients)
    assert torch.isfinite(loss).all()
    assert all(math.isfinite(v) for v in vars(diagnostics).values())


@pytest.mark.parametrize("name", ALONE)
def test_bfloat16_autocast(make, name):
    s = make()
    s.encoder.float()
    s.head.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        gradients, loss, _ = step(s, in_ball(name) if name in IN_BALL else method(name))
    assert all(torch.isfinite(g).all() for g in gradients)
    assert loss.shape == (6,)


# Each formula, restated plainly


def gradient_to(point, objective):
    point = point.clone().requires_grad_()
    objective(point).sum().backward()
    return point.grad


def project(norm, scope, delta, epsilon):
    """Written with loops over tokens or sentences, from the definition."""
    out = torch.zeros_like(delta)
    for i in range(len(delta)):
        for ball in [slice(t, t + 1) for t in range(delta.shape[1])] if scope == "token" else [slice(None)]:
            x = delta[i, ball]
            out[i, ball] = x.clamp(-epsilon, epsilon) if norm == "linf" else x * min(1.0, epsilon / (x.norm() + 1e-30))
    return out


def ascend(s, norm, scope, epsilon, eta, delta, objective):
    clean = s.encoder.embed(s.ids).detach()
    g = gradient_to(clean + delta, objective) * s.mask.unsqueeze(2)
    step = torch.zeros_like(g)
    for i in range(len(g)):
        for ball in [slice(t, t + 1) for t in range(g.shape[1])] if scope == "token" else [slice(None)]:
            step[i, ball] = g[i, ball].sign() if norm == "linf" else g[i, ball] / (g[i, ball].norm() + 1e-30)
    return project(norm, scope, delta + eta * epsilon * step, epsilon)


@pytest.mark.parametrize(("norm", "scope"), BALLS)
@pytest.mark.parametrize("start", ["zero", "uniform", "gaussian"])
def test_adversarial_is_pgd(make, kind, norm, scope, start):
    s, epsilon, eta = make(kind, dropout=0.1), 0.4, 0.7
    options = {"norm": norm, "scope": scope, "start": start, "epsilon": epsilon, "relative": False, "sigma": 0.5}
    ours = step(s, method("adversarial", ascent_steps=2, **options))[0]
    delta = s.deltas()[0]
    assert bool(delta.any()) == (start != "zero")
    for _ in range(2):
        delta = ascend(s, norm, scope, epsilon, eta, delta, lambda x: s.loss(s.logits(x)))
    theirs = s.gradients(lambda: s.loss(s.logits(s.encoder.embed(s.ids) + delta)).sum().backward())
    assert_same(ours, theirs, rtol=1e-3, atol=1e-4)


def test_freelb_averages_the_weight_gradients_of_its_points(make, kind, shape):
    s, epsilon, eta = make(kind, shape, dropout=0.1), 0.4, 0.7
    perturbation = method("freelb", ascent_steps=3, epsilon=epsilon, relative=False)
    ours, loss, _ = step(s, perturbation)
    deltas = [s.deltas()[0]]
    for _ in range(2):
        deltas.append(ascend(s, "l2", "token", epsilon, eta, deltas[-1], lambda x: s.loss(s.logits(x))))
    parts = [s.gradients(lambda d=d: s.loss(s.logits(s.encoder.embed(s.ids) + d)).sum().backward()) for d in deltas]
    assert_same(ours, [sum(p) / 3 for p in zip(*parts, strict=True)], rtol=1e-3, atol=1e-4)
    graph = s.gradients(lambda: perturbation.loss(s.view(), 1.0)[0].sum().backward())
    assert_same(graph, ours, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(perturbation.loss(s.view(), 1.0)[0], loss, rtol=1e-5, atol=1e-6)


def test_villa_adds_a_divergence_from_the_clean_output_at_each_point(make, kind, shape):
    s, epsilon, eta = make(kind, shape, dropout=0.1), 0.4, 0.7
    ours = step(s, method("villa", ascent_steps=2, epsilon=epsilon, relative=False, weight=1.5))[0]
    clean, first = s.logits(s.encoder.embed(s.ids)).detach(), s.deltas()[1]

    def objective(x):
        moved = s.logits(x)
        return s.loss(moved) + 1.5 * (plain_kl(s, clean, moved) + plain_kl(s, moved, clean))

    second = ascend(s, "l2", "token", epsilon, eta, first, objective)
    parts = [s.gradients(lambda d=d: objective(s.encoder.embed(s.ids) + d).sum().backward()) for d in (first, second)]
    assert_same(ours, [sum(p) / 2 for p in zip(*parts, strict=True)], rtol=1e-3, atol=1e-4)


def test_creat_also_turns_the_vectors_away(make, kind, shape):
    s, epsilon, eta = make(kind, shape, dropout=0.1), 0.4, 0.7
    ours, _, diagnostics = step(s, method("creat", ascent_steps=2, epsilon=epsilon, relative=False, weight=1.7))
    delta, x = s.deltas()[1], s.encoder.embed(s.ids).detach()
    held = s.encoded(x)[1].detach()

    def objective(point):
        logits, vectors = s.encoded(point)
        cosines = (vectors * held).sum(1) / vectors.norm(dim=1) / held.norm(dim=1)
        return s.loss(logits) - 1.7 * cosines.view(len(s.labels), -1).mean(1)

    before = objective(x + delta)
    for _ in range(2):
        delta = ascend(s, "l2", "token", epsilon, eta, delta, objective)

    def run():
        x = s.encoder.embed(s.ids)
        (0.5 * s.loss(s.logits(x)) + 0.5 * s.loss(s.logits(x + delta))).sum().backward()

    assert_same(ours, s.gradients(run), rtol=1e-3, atol=1e-4)
    assert diagnostics.loss_rise == pytest.approx((objective(x + delta) - before).sum().item(), rel=1e-4)


def plain_kl(s, p, q):
    """Per item, with loops over items and scored positions; span scores without padding, which has no probability."""
    if s.shape == "spans":
        p, q = ([x[..., s.attention[k] == 1] for k, x in enumerate(y)] for y in (p, q))
    out = []
    for i, labels in enumerate(s.labels.reshape(len(s.labels), -1)):
        pairs = zip(p[i].reshape(len(labels), -1), q[i].reshape(len(labels), -1), labels, strict=True)
        rows = [(a, b) for a, b, y in pairs if y >= 0]
        out.append(sum((a.softmax(0) * (a.softmax(0) / b.softmax(0)).log()).sum() for a, b in rows) / len(rows))
    return torch.stack(out)


@pytest.mark.parametrize("name", ["smart", "vat"])
def test_smart_and_vat(make, kind, shape, name):
    s, epsilon, eta = make(kind, shape, dropout=0.1), 0.4, 0.7
    ours = step(s, method(name, ascent_steps=2, epsilon=epsilon, relative=False, weight=1.7))[0]
    delta = s.deltas()[1]
    held = s.logits(s.encoder.embed(s.ids)).detach()

    def divergence(clean, moved):
        if name == "vat":
            return plain_kl(s, clean.detach(), moved)
        return plain_kl(s, clean, moved) + plain_kl(s, moved, clean)

    for _ in range(2):
        delta = ascend(s, "l2", "token", epsilon, eta, delta, lambda x: divergence(held, s.logits(x)))

    def run():
        x = s.encoder.embed(s.ids)
        clean, moved = s.logits(x), s.logits(x + delta)
        (s.loss(clean) + 1.7 * divergence(clean, moved)).sum().backward()

    assert_same(ours, s.gradients(run), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("distribution", ["gaussian", "uniform"])
def test_r3f_and_random_perturbation(make, kind, distribution):
    options = {"distribution": distribution, "epsilon": 0.4, "sigma": 0.2, "weight": 0.7}
    s = make(kind, dropout=0.1)
    ours = step(s, method("r3f", **options))[0]
    delta = s.deltas()[1]

    def r3f():
        x = s.encoder.embed(s.ids)
        clean, moved = s.logits(x), s.logits(x + delta)
        (s.loss(clean) + 0.7 * (plain_kl(s, clean, moved) + plain_kl(s, moved, clean))).sum().backward()

    assert_same(ours, s.gradients(r3f))
    s.points.clear()
    ours = step(s, method("random_perturbation", **options))[0]
    torch.testing.assert_close(s.deltas()[0], delta)  # common random numbers across methods
    assert_same(ours, s.gradients(lambda: s.loss(s.logits(s.encoder.embed(s.ids) + delta)).sum().backward()))


def test_gaussian_noise_has_scale_sigma(make):
    s = make(lengths=(30,) * 40)
    step(s, method("random_perturbation", sigma=0.3))
    assert s.deltas()[0][s.mask].std().item() == pytest.approx(0.3 * M / math.sqrt(16), rel=0.05)
    step(s, method("random_perturbation", sigma=0.3, relative=False))
    assert s.deltas()[-1][s.mask].std().item() == pytest.approx(0.3, rel=0.05)


def test_gradients_of_the_ascent_against_finite_differences(make, kind, shape):
    s = make(kind, shape)
    clean = s.encoder.embed(s.ids).detach()
    objectives = {
        "loss": lambda x: s.loss(s.logits(x)),
        "divergence": lambda x: s.divergence(s.logits(clean), s.logits(x)),
        "cosine": lambda x: torch.cosine_similarity(s.encoded(clean)[1], s.encoded(x)[1], dim=1),
    }
    torch.manual_seed(3)
    point = clean + 0.1 * torch.randn_like(clean)
    for name, objective in objectives.items():
        leaf = point.clone().requires_grad_()
        g = inputs_only(objective(leaf), leaf)
        for _ in range(5):
            direction = torch.randn_like(clean)
            rise = (objective(point + 1e-5 * direction) - objective(point - 1e-5 * direction)).sum() / 2e-5
            assert rise.item() == pytest.approx((g * direction).sum().item(), rel=1e-5, abs=1e-7), name


def test_diagnostics_are_what_they_say(make, shape):
    s = make(shape=shape)
    _, loss, d = step(s, method("adversarial", epsilon=0.8, ascent_steps=2, step_size=1.0))
    first, last = s.deltas()[0], s.deltas()[-1]
    x = s.encoder.embed(s.ids).detach()
    before, after = s.logits(x + first), s.logits(x + last)
    norms = last.norm(dim=2)
    flips = (s.answers(before) != s.answers(after)).reshape(len(loss), -1).any(1).sum().item()
    expected = Diagnostics(
        squared_norm=norms.square().sum().item(),
        tokens=s.mask.sum().item(),
        norm_max=norms.max().item(),
        clipped=d.clipped,
        balls=s.mask.sum().item(),
        loss_rise=(s.loss(after) - s.loss(before)).sum().item(),
        items=len(loss),
        flipped=flips,
        answered=len(loss),
    )
    assert vars(d) == pytest.approx(vars(expected), rel=1e-5)
    assert flips > 0
    # A step as long as the radius from inside the ball ends outside unless it turns back.
    assert 0.5 * d.balls < d.clipped <= d.balls
    unclipped = step(s, method("adversarial", epsilon=0.8, start="zero", ascent_steps=1, step_size=0.5))[2]
    assert unclipped.clipped == 0
    sentences = step(s, method("adversarial", scope="sentence", start="zero", ascent_steps=1, step_size=1.5))[2]
    assert sentences.clipped == sentences.balls == len(s.mask)


# Configuration


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"method": "adverserial"},
            "perturbation.method: unknown method, did you mean 'adversarial'? (got \"adverserial\")",
        ),
        ({"method": "freelb", "ascent_steps": 0}, "perturbation.ascent_steps: freelb needs at least 1 (got 0)"),
        ({"method": "vat", "start": "zero"}, "perturbation.start: vat needs"),
    ],
)
def test_refusals_are_one_line(options, message):
    with pytest.raises(UserError) as caught:
        create(PerturbationConfig(**options), M)
    assert len(caught.value.lines) == 1
    assert caught.value.lines[0].startswith(message)


def test_every_method_describes_itself():
    for name, cls in METHODS.items():
        assert cls.name == name
        assert cls.description
        assert cls.supervision == ("monolingual" if name == "ear" else "none")


@pytest.mark.parametrize("taught", [False, True])
def test_xtune_under_noise_is_its_formula(make, shape, taught, tmp_path):
    s = make(shape=shape)
    teacher = make("xlm-roberta", shape)
    options = {"view": {"kind": "noise"}, "sigma": 0.4, "example_weight": 3.0, "model_weight": 0.7}
    found = method("xtune", **options, teacher=str(tmp_path) if taught else None)
    assert found.view is None and found.forward_equivalents == 6.0 + taught
    answers = teacher.logits(teacher.encoder.embed(teacher.ids)).detach()
    view = replace(s.view(), classes=4, taught=lambda: answers)
    delta = method("random_perturbation", sigma=0.4).point(view, 0.5)[0].detach() - view.embeddings.detach()

    def restated():
        clean = s.encoder.embed(s.ids)
        p, q = s.logits(clean), s.logits(clean + delta)
        apart = 3.0 * (s.divergence(p.detach(), q) + s.divergence(q.detach(), p))
        apart = apart + (0.7 * s.divergence(answers, q) if taught else 0.0)
        (s.loss(p) + 0.5 * apart / 4).sum().backward()

    ours = s.gradients(lambda: found.loss(replace(view, embeddings=s.encoder.embed(s.ids)), 0.5)[0].sum().backward())
    assert_same(ours, s.gradients(restated))
