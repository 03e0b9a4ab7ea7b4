"""What syntax adds, against plain restatements sequence by sequence, and finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AlbertConfig, AlbertModel, XLMRobertaConfig, XLMRobertaModel

from trainables.batch import NO_TREE
from trainables.config import SyntaxConfig
from trainables.errors import UserError
from trainables.layout import Layout, Paths
from trainables.model.encoder import Encoder, Model
from trainables.model.families import family_of
from trainables.model.heads import TokenHead
from trainables.syntax import added, trees
from trainables.syntax.added import Augmented
from trainables.syntax.gate import Gate
from trainables.syntax.probes import Probes

TREES = ([0, 0, 1, 1, 3, 0], [0, 0, 1, 0], None)
"""Parents of a sequence of six tokens, of one of four, and of one of five whose tree is not known."""

LENGTHS = (6, 4, 5)


def paths_of(*known: list[int] | None, lengths: tuple[int, ...] = LENGTHS) -> Paths:
    parents = np.full((len(known), max(lengths)), NO_TREE, dtype=np.int16)
    for row, tree in zip(parents, known, strict=True):
        row[: len(tree or ())] = tree or ()
    return Paths(*map(torch.from_numpy, trees.distances(parents)))


def layout_of(*known: list[int] | None, lengths: tuple[int, ...] = LENGTHS) -> Layout:
    mask = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    special = torch.zeros_like(mask)
    special[:, 0] = True
    return Layout.of(mask.long(), special, None, paths_of(*known, lengths=lengths))


def model(**config: Any) -> Model:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 40}
    sizes |= {"intermediate_size": 24, "max_position_embeddings": 20, "type_vocab_size": 1}
    encoder = Encoder(XLMRobertaModel(XLMRobertaConfig(**sizes), add_pooling_layer=False), uses_segments=False)
    syntax = added.create(SyntaxConfig.model_validate(config), encoder.sizes, 0.0)
    return Model(encoder, TokenHead(16, 3, 0.0), syntax).eval()


def graph_by_hand(syntax: Augmented, embeddings: Tensor, distances: Tensor) -> Tensor:
    """Of one sequence (t, e), token by token and head by head."""
    states = embeddings
    for layer in syntax.graph.layers:
        mapped = (states @ layer.linear.weight.T).view(len(states), layer.heads, layer.size)
        rows = []
        for i in range(len(states)):
            near = [j for j in range(len(states)) if distances[i, j] <= syntax.delta]
            heads = []
            for h in range(layer.heads):
                scores = [layer.looking[h] @ mapped[i, h] + layer.seen[h] @ mapped[j, h] for j in near]
                weights = functional.leaky_relu(torch.stack(scores), 0.2).softmax(0)
                heads.append(sum(w * mapped[j, h] for w, j in zip(weights, near, strict=True)))
            rows.append(torch.cat(heads))
        states = torch.stack(rows)
    return functional.layer_norm(states, states.shape[-1:], syntax.graph.norm.weight, syntax.graph.norm.bias)


def encoder_by_hand(of: Model, embeddings: Tensor, given: list[tuple[Tensor, Tensor]] | None) -> Tensor:
    """Last states (t, d) of one sequence without padding, with something added to the first head's keys and values."""
    inner: Any = of.encoder.model
    positions = torch.arange(len(embeddings))[None] + 2
    states = inner.embeddings(inputs_embeds=embeddings[None], position_ids=positions)[0]
    heads, z = 4, 4
    for number, layer in enumerate(inner.encoder.layer):
        own = layer.attention.self
        query, key, value = own.query(states), own.key(states), own.value(states)
        if given is not None:
            key = torch.cat([key[:, :z] + given[number][0], key[:, z:]], 1)
            value = torch.cat([value[:, :z] + given[number][1], value[:, z:]], 1)
        mixed = []
        for h in range(heads):
            part = slice(h * z, (h + 1) * z)
            mixed.append((query[:, part] @ key[:, part].T / z**0.5).softmax(-1) @ value[:, part])
        attended = layer.attention.output.LayerNorm(layer.attention.output.dense(torch.cat(mixed, 1)) + states)
        states = layer.output.LayerNorm(
            layer.output.dense(functional.gelu(layer.intermediate.dense(attended))) + attended
        )
    return states


@pytest.mark.parametrize("packed", [True, False])
def test_augmented_layers_are_the_plain_restatement(packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    of, layout = model(kind="augmented", delta=2, graph_layers=2, graph_heads=2), layout_of(*TREES)
    if not packed:
        monkeypatch.setattr(Encoder, "packs", lambda *_: False)
    assert of.encoder.packs(layout) == packed and isinstance(of.syntax, Augmented)
    embeddings = torch.randn(3, 6, 16)
    found = of.states(embeddings, layout)
    for row, (n, tree) in enumerate(zip(LENGTHS, TREES, strict=True)):
        given = None
        if tree is not None:
            states = graph_by_hand(of.syntax, embeddings[row, :n], layout.paths.between[row, :n, :n])  # type: ignore[union-attr]
            given = [(k(states), v(states)) for k, v in zip(of.syntax.keys, of.syntax.values, strict=True)]
        torch.testing.assert_close(
            found[row, :n], encoder_by_hand(of, embeddings[row, :n], given), rtol=1e-4, atol=1e-5
        )


def gate_by_hand(gate: Gate, states: Tensor, distances: Tensor) -> Tensor:
    """Softmax, division by distance, weights that sum up to one again: of one sequence (t, d), as it is published."""
    size = gate.query.out_features // len(gate.deltas)
    mixed = []
    for h, delta in enumerate(gate.deltas):
        part = slice(h * size, (h + 1) * size)
        query, key, value = (each(states)[:, part] for each in (gate.query, gate.key, gate.value))
        scores = query @ key.T / size**0.5
        lengths = distances.float().clamp_min(1)
        if delta is None:
            weights = scores.softmax(-1)
        else:
            weights = scores.masked_fill(distances > delta, -torch.inf).softmax(-1) / lengths
            weights = weights / weights.sum(-1, keepdim=True)
        mixed.append(weights @ value)
    return functional.layer_norm(states + gate.output(torch.cat(mixed, 1)), states.shape[-1:])


def test_the_gate_is_the_plain_restatement_and_bare_sequences_pass() -> None:
    of, layout = model(kind="gate", deltas=[1, 2, None]), layout_of(*TREES)
    assert isinstance(of.syntax, Gate)
    embeddings = torch.randn(3, 6, 16)
    found, plain = of.states(embeddings, layout), of.encoder.states(embeddings, layout)
    for row, (n, tree) in enumerate(zip(LENGTHS, TREES, strict=True)):
        expected = plain[row, :n]
        if tree is not None:
            expected = gate_by_hand(of.syntax, expected, layout.paths.between[row, :n, :n])  # type: ignore[union-attr]
        torch.testing.assert_close(found[row, :n], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[2, :5], plain[2, :5], rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["augmented", "gate"])
def test_a_batch_without_any_tree_is_the_encoders_own_bit_for_bit(kind: str) -> None:
    of, embeddings = model(kind=kind), torch.randn(3, 6, 16)
    bare = layout_of(None, None, None)
    expected = of.encoder.states(embeddings, bare)
    assert torch.equal(of.states(embeddings, bare), expected)
    nobody = Layout.of(bare.mask.long(), torch.zeros_like(bare.mask))
    assert torch.equal(of.states(embeddings, nobody), of.encoder.states(embeddings, nobody))


def test_weights_of_zero_add_nothing_bit_for_bit() -> None:
    of, layout, embeddings = model(kind="augmented"), layout_of(*TREES), torch.randn(3, 6, 16)
    assert isinstance(of.syntax, Augmented)
    for linear in (*of.syntax.keys, *of.syntax.values):
        torch.nn.init.zeros_(linear.weight)
        torch.nn.init.zeros_(linear.bias)
    assert torch.equal(of.states(embeddings, layout), of.encoder.states(embeddings, layout))


def test_probes_are_their_formulas_and_their_gradients_finite_differences() -> None:
    torch.manual_seed(0)
    probes, paths = Probes(3).double(), paths_of(*TREES)
    states = torch.randn(3, 6, 3, dtype=torch.float64, requires_grad=True)
    found = probes(states, paths)
    for row, n in ((0, 6), (1, 4)):
        between, depth, h = probes.between.weight, probes.depth.weight, states[row]
        pairs = [(i, j) for i in range(n) for j in range(n)]
        off = sum(abs(int(paths.between[row, i, j]) - (between @ (h[i] - h[j])).square().sum()) for i, j in pairs)
        wrong = sum(abs(int(paths.depths[row, i]) - (depth @ h[i]).square().sum()) for i in range(n))
        torch.testing.assert_close(found[row], off / n**2 + wrong / n)
    assert found[2] == 0
    assert torch.autograd.gradcheck(lambda x: probes(x, paths), (states,), eps=1e-6, atol=1e-5)


def test_distances_cancel_in_whole_precision() -> None:
    """Of equal states they are nothing, however long these are and whatever the passes are computed in."""
    probes, paths = Probes(16), paths_of(*[TREES[0]] * 8, lengths=LENGTHS[:1] * 8)
    states = 10 * torch.randn(8, 1, 16).expand(8, 6, 16)
    apart = paths.between.float().sum((1, 2)) / 36
    with torch.autocast("cpu", dtype=torch.bfloat16):
        deep = probes.depth(states).float().square().sum(-1)
        found = probes(states, paths) - (paths.depths.float() - deep).abs().mean(1)
    torch.testing.assert_close(found, apart, atol=1e-2, rtol=0)


def test_probes_weigh_and_weigh_nothing() -> None:
    layout, embeddings = layout_of(*TREES), torch.randn(3, 6, 16)
    one, two, off = (model(kind="augmented", probe_weight=w).syntax for w in (1.0, 2.0, 0.0))
    assert isinstance(one, Augmented) and isinstance(two, Augmented) and isinstance(off, Augmented)
    first, second = one.auxiliary(embeddings, layout), two.auxiliary(embeddings, layout)
    assert first is not None and second is not None
    torch.testing.assert_close(second, 2 * first)
    assert off.auxiliary(embeddings, layout) is None


def test_cost_counts_what_is_added() -> None:
    layers = 3 * (4 * 16**2 + 2 * 16 * 24 + 4 * 16 + 24 + 16 + 4 * 16)
    assert model().cost(9.0) == 9.0
    gate = model(kind="gate")
    assert gate.syntax is not None
    assert gate.cost(9.0) == pytest.approx(9 * (1 + added.count(gate.syntax) / layers))
    of = model(kind="augmented", probe_weight=0.5)
    assert isinstance(of.syntax, Augmented)
    probes, graph = added.count(of.syntax.probes), added.count(of.syntax.graph)
    whole = added.count(of.syntax) - probes
    assert of.cost(9.0) == pytest.approx(9 * (1 + whole / layers) + 3 * (graph + probes) / layers)


def test_layers_that_are_all_one_count_as_often_as_they_are_gone_through() -> None:
    sizes: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 6, "num_attention_heads": 4, "vocab_size": 40}
    config = AlbertConfig(**sizes, intermediate_size=24, embedding_size=8)
    encoder = Encoder(AlbertModel(config, add_pooling_layer=False), uses_segments=False)
    gate = Gate(16, (1, None), 0.0)
    once = sum(p.numel() for p in encoder.model.encoder.albert_layer_groups.parameters())
    assert Model(encoder, TokenHead(16, 3, 0.0), gate).cost(9.0) == pytest.approx(
        9 * (1 + added.count(gate) / (6 * once))
    )


def test_probes_without_weight_have_no_gradient_to_be_decayed_by() -> None:
    for weight in (0.0, 0.5):
        syntax = model(kind="augmented", probe_weight=weight).syntax
        assert isinstance(syntax, Augmented)
        assert {each.requires_grad for each in syntax.probes.parameters()} == {weight > 0}
        assert all(each.requires_grad for each in syntax.graph.parameters())


@pytest.mark.parametrize("kind", ["modernbert", "xlm", "albert", "deberta-v2", "mt5"])
def test_encoders_whose_layers_cannot_take_it_are_refused_in_words(kind: str) -> None:
    with pytest.raises(
        UserError, match=rf"syntax.kind: augmented adds to the keys .* gate serves every .*\(got {kind}\)"
    ):
        family_of(kind).check_syntax(kind)


@pytest.mark.parametrize("kind", ["bert", "xlm-roberta", "xlm-roberta-xl", "distilbert", "camembert"])
def test_plain_encoders_take_it(kind: str) -> None:
    family_of(kind).check_syntax(kind)
