"""What methods carry from step to step: perturbations of words (TAVAT) and of places in the batch (FreeAT)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainables.shaped import BASE, begun
from tests.trainables.steps import stepped
from trainables.loading import apply_point
from trainables.perturbation import balls, create
from trainables.perturbation.carried import Rows, Start
from trainables.storage.checkpoint import trainable_weights
from trainables.training import loop
from trainables.training.loop import fit
from trainables.training.trial import Trial

EPSILON, ETA = 0.3, 0.7
SETTINGS: dict[str, Any] = {
    "training.max_grad_norm": None,
    "training.schedule": "constant",
    "perturbation.relative": False,
    "perturbation.step_size": ETA,
}


def trial(folder: Path, method: str, **point: Any) -> Trial:
    """Classification, in batches of five and of two; two steps on each with FreeAT."""
    return begun(apply_point(BASE, SETTINGS | {"perturbation.method": method} | point), "classification", folder)


def by_gradients(made: Trial) -> Trial:
    """Its update subtracts the gradient itself."""
    made.optimizer = torch.optim.SGD([p for p in made.model.parameters() if p.requires_grad], lr=1.0)
    made.optimizer.param_groups[0]["peak"] = 1.0
    return made


def weights(made: Trial) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in trainable_weights(made.model).items()}


def rows(made: Trial) -> Tensor:
    assert made.perturbation.carries is not None
    return made.perturbation.carries.tensors["rows"].clone()


def losses_at(made: Trial, batch: Any, delta: Tensor) -> tuple[Tensor, Tensor]:
    """Per-item loss with x + delta, and its gradient there; the weights' is left in them."""
    point = (made.model.embed(batch) + delta).detach().requires_grad_()
    found = made.materials.shape.loss(made.model.logits(point, batch), batch.labels)
    made.optimizer.zero_grad()
    through = made.model.embed(batch) + delta
    made.materials.shape.loss(made.model.logits(through, batch), batch.labels).mean().backward()
    (gradient,) = torch.autograd.grad(found.sum(), point)
    return found.detach(), gradient


def within(delta: Tensor) -> Tensor:
    """Each token pulled back to length EPSILON."""
    return delta * (EPSILON / delta.norm(dim=-1, keepdim=True).clamp(min=1e-30)).clamp(max=1.0)


def unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True).clamp(min=1e-30)


def test_freeat_replays_batches_and_carries_what_it_found(tmp_path: Path) -> None:
    """Restated with a dictionary of (place in the batch, place of the token)."""
    ours, other = (by_gradients(trial(tmp_path / name, "freeat")) for name in ("ours", "other"))
    other.model.train()
    carried: dict[tuple[int, int], Tensor] = {}
    rise, items_seen = 0.0, 0
    for step in range(6):
        items = other.batches.at(step // 2)
        items_seen += len(items)
        batch, _ = other.feed.take(0, items, lambda: None)
        own = (batch.layout.mask & ~batch.special).nonzero().tolist()
        delta = torch.zeros_like(other.model.embed(batch)).detach()
        for s, t in own:
            delta[s, t] = carried.get((s, t), delta[s, t])
        losses, gradient = losses_at(other, batch, delta)
        for s, t in own:
            carried[s, t] = within(delta[s, t] + ETA * EPSILON * unit(gradient[s, t]))
            rise += float(gradient[s, t] @ (carried[s, t] - delta[s, t]))
        other.optimizer.step()
        assert stepped(ours)[0] == pytest.approx(float(losses.mean()), rel=1e-4), step
        norms = [delta[s, t].norm().item() for s, t in own]
        assert ours.meters.diagnostics.norm_max >= max(norms) * (1 - 1e-4)
    for name, tensor in weights(ours).items():
        torch.testing.assert_close(tensor, weights(other)[name], rtol=1e-3, atol=1e-4, msg=name)
    metrics = loop._training_metrics(ours)
    assert 0 < metrics["perturbation_norm"] <= EPSILON and "answers_flipped" not in metrics
    assert metrics["loss_rise"] * items_seen == pytest.approx(rise, rel=1e-2)


def test_tavat_reads_words_and_leaves_them_behind(tmp_path: Path) -> None:
    """Restated with a dictionary of words; two steps, so that the second one finds what the first one left."""
    point = {"perturbation.ascent_steps": 3, "perturbation.scope": "sentence", "perturbation.start": "zero"}
    ours, other = (by_gradients(trial(tmp_path / name, "tavat", **point)) for name in ("ours", "other"))
    other.model.train()
    table = list(rows(other))
    assert 0.0 < max(float(row.abs().max()) for row in table) <= 0.1  # sigma's default
    for step in range(2):
        batch, _ = other.feed.take(0, other.batches.at(step), lambda: None)
        own = batch.layout.mask & ~batch.special
        ids, n = batch.input_ids, len(batch.input_ids)
        eta = torch.stack([torch.stack([table[w] for w in line]) for line in ids.tolist()]) * own.unsqueeze(2)
        delta = torch.zeros_like(eta)
        total: list[Tensor] = []
        mean = 0.0
        for k in range(3):
            for s in range(n):
                share = min(1.0, EPSILON / float((eta[s] + delta[s]).norm()))
                eta[s], delta[s] = eta[s] * share, delta[s] * share
            losses, gradient = losses_at(other, batch, eta + delta)
            mean += float(losses.mean()) / 3
            found = [p.grad for p in other.model.parameters() if p.requires_grad]
            total = [g.clone() if g is not None else torch.zeros(()) for g in found] if k == 0 else [
                a + (g if g is not None else 0) for a, g in zip(total, found, strict=True)
            ]  # fmt: skip
            if k == 2:
                break
            gradient = gradient * own.unsqueeze(2)
            for s in range(n):
                delta[s] += ETA * EPSILON * gradient[s] / gradient[s].norm()
                eta[s] += ETA * EPSILON * unit(gradient[s])
                lengths = eta[s].norm(dim=1)
                eta[s] *= (lengths / lengths.max()).unsqueeze(1)
        left: dict[int, list[Tensor]] = {}
        for s, t in own.nonzero().tolist():
            left.setdefault(int(ids[s, t]), []).append(eta[s, t].clone())
        for word, found_rows in left.items():
            table[word] = torch.stack(found_rows).mean(0)
        with torch.no_grad():
            for p, g in zip((p for p in other.model.parameters() if p.requires_grad), total, strict=True):
                p.sub_(g / 3)
        assert stepped(ours)[0] == pytest.approx(mean, rel=1e-3)
        torch.testing.assert_close(rows(ours), torch.stack(table), rtol=1e-3, atol=1e-4)
    for name, tensor in weights(ours).items():
        torch.testing.assert_close(tensor, weights(other)[name], rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("method", ["freeat", "tavat", "tavat+sam"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_resumed_to_the_bit(tmp_path: Path, method: str, precision: str) -> None:
    point = {"training.budget": {"steps": 5}, "evaluation.every": 3, "training.precision": precision}
    whole = trial(tmp_path / "whole", method, **point)
    list(fit(whole))
    first = trial(tmp_path / "parts", method, **point)
    start = rows(first)
    for evaluation in fit(first):
        assert evaluation.step == 3
        break
    again = trial(tmp_path / "parts", method, **point)
    assert again.step == 3 and not torch.equal(rows(again), start)
    list(fit(again))
    assert torch.equal(rows(whole), rows(again))
    assert all(torch.equal(a, b) for a, b in zip(weights(whole).values(), weights(again).values(), strict=True))


def test_a_budget_in_epochs_is_as_many_steps_on_fewer_batches(tmp_path: Path) -> None:
    made = trial(tmp_path, "freeat", **{"training.budget": {"epochs": 4}, "perturbation.replays": 4})
    assert made.steps == 8 and made.steps * made.perturbation.forward_equivalents == 24.0
    assert len({made.batch(step).tobytes() for step in range(8)}) == 2
    assert (made.batch(0) == made.batch(3)).all() and (made.batch(4) == made.batches.at(1)).all()


def test_one_replay_at_no_distance_is_clean_training_bit_for_bit(tmp_path: Path) -> None:
    point = {"perturbation.replays": 1, "perturbation.epsilon": 0.0, "encoder.dropout": 0.2}
    ours, clean = (trial(tmp_path / method, method, **point) for method in ("freeat", "none"))
    assert [stepped(ours)[0] for _ in range(3)] == [stepped(clean)[0] for _ in range(3)]
    assert all(torch.equal(a, b) for a, b in zip(weights(ours).values(), weights(clean).values(), strict=True))


def test_a_words_row_is_the_same_whatever_the_vocabulary_is_trimmed_to() -> None:
    tables = []
    for words in (torch.arange(50), torch.tensor([3, 17, 40])):
        carries = create(apply_point(BASE, {"perturbation.method": "tavat"}).perturbation, 1.3).carries
        assert carries is not None
        carries.begin(Start({}, words, width=8, sequences=1, longest=1, seed=4))
        tables.append(carries.tensors["rows"])
    assert torch.equal(tables[0][[3, 17, 40]], tables[1])
    assert tables[0].abs().max().item() == pytest.approx(0.1 * 1.3 / 8**0.5, rel=0.05)


def test_rows_are_the_mean_of_what_is_left_behind_and_else_as_they_were() -> None:
    carries = Rows(lambda start: torch.ones(4, 2))
    carries.begin(Start({}, torch.arange(4), 2, 1, 1, 0))
    numbers, mask = torch.tensor([[0, 2, 2, 3]]), torch.tensor([[True, True, True, False]])
    carries.write(numbers, mask, torch.full((1, 4, 2), 9.0))
    carries.forget()  # as where memory did not suffice, and the passes are made again
    carries.write(numbers, mask, torch.tensor([[[5.0, 5.0], [1.0, 3.0], [3.0, 3.0], [9.0, 9.0]]]))
    carries.update({}, 0.5)
    assert carries.tensors["rows"].tolist() == [[5.0, 5.0], [1.0, 1.0], [2.0, 3.0], [1.0, 1.0]]
    assert carries.read(numbers, mask)[0].tolist() == [[5.0, 5.0], [2.0, 3.0], [2.0, 3.0], [0.0, 0.0]]


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("scope", ["token", "sentence"])
def test_parts_are_shortened_alike_until_their_sum_is_in_the_ball(norm: Any, scope: Any) -> None:
    torch.manual_seed(0)
    a, b, mask = torch.randn(3, 4, 5), torch.randn(3, 4, 5), torch.ones(3, 4, dtype=torch.bool)
    a[0], b[0] = a[0] / 100, b[0] / 100
    around = balls.ball(norm, scope, 0.5, None, mask, a)
    (p, q), size = around.project_together(a, b)
    assert (around.norm.measure(p + q, around.dims) <= 0.5).all()
    assert around.left(size) == around.count - (4 if scope == "token" else 1)
    torch.testing.assert_close(p * b, q * a)
    assert torch.equal(p[0], a[0]) and torch.equal(q[0], b[0])
