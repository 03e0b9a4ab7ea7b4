"""Alignment's losses against plain restatements and finite differences; what it does to an encoder."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModel

from tests.trainables import tiny
from trainables.alignment import losses, maps, training
from trainables.alignment.maps import rotation
from trainables.alignment.sentences import Sentences
from trainables.alignment.training import Corpus, align, margin, within
from trainables.config import AlignmentConfig, EncoderConfig
from trainables.errors import UserError
from trainables.model.encoder import Encoder
from trainables.model.families import number_of
from trainables.model.maps import LanguageMaps, check_apart
from trainables.model.pretrained import load_encoder, load_tokenizer

CPU = torch.device("cpu")
WORDS = {"red": "rot", "dog": "hund", "runs": "rennt", "small": "klein", "house": "haus", "sees": "sieht"}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> EncoderConfig:
    """Few weights, and states that tell its letters apart, as those of a pretrained one do."""
    folder = tiny.write(tmp_path_factory.mktemp("encoder"), "xlm-roberta")
    model = AutoModel.from_pretrained(folder)
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "LayerNorm" in name:
            nn.init.constant_(parameter, float(name.endswith("weight")))
        else:
            nn.init.normal_(parameter, 0.0, 1.0 if "word_embeddings" in name else 0.1)
    model.save_pretrained(folder)
    return EncoderConfig(name_or_path=str(folder))


def corpus(config: EncoderConfig, linked: bool = True, held_out: bool = False) -> Corpus:
    """Sentences of two words of a language of six, word by word translated."""
    made = [f"{a} {b}" for a in WORDS for b in WORDS if a != b]
    made = made[::5] if held_out else [text for i, text in enumerate(made) if i % 5]
    tokenizer = load_tokenizer(config)
    sides = (made, [" ".join(WORDS[word] for word in text.split()) for text in made])
    one, two = (Sentences.of(side, tokenizer, 32) for side in sides)
    return Corpus(one, two, [frozenset({(0, 0), (1, 1)})] * len(made) if linked else None)


def aligned(
    config: EncoderConfig, objective: str, anchor: str = "none", **more: object
) -> tuple[Encoder, training.Aligned]:
    encoder = load_encoder(config, False)
    settings = {"steps": 30, "batch_size": 8, "learning_rate": 3e-3, "pairs": "x", **more}
    given = AlignmentConfig.model_validate({"objective": objective, "anchor": anchor, **settings})
    return encoder, align(encoder, {"de": corpus(config, objective.startswith("word"))}, given, CPU)


# Losses


def plainly_contrastive(one: Tensor, two: Tensor, temperature: float) -> float:
    def cosine(x: Tensor, y: Tensor) -> float:
        return float((x * y).sum() / (x.norm() * y.norm())) / temperature

    total = 0.0
    for i in range(len(one)):
        for queries, keys in ((one, two), (two, one)):
            scores = [cosine(queries[i], keys[j]) for j in range(len(keys))]
            total += math.log(sum(map(math.exp, scores))) - scores[i]
    return total / (2 * len(one))


def plainly_strong(one: Tensor, two: Tensor, temperature: float) -> float:
    every = [*one, *two]
    total = 0.0
    for i, x in enumerate(every):
        mate = (i + len(one)) % len(every)
        scores = {j: float((x * y).sum() / (x.norm() * y.norm())) / temperature for j, y in enumerate(every) if j != i}
        total += math.log(sum(map(math.exp, scores.values()))) - scores[mate]
    return total / len(every)


@pytest.mark.parametrize(
    ("loss", "plain"),
    [
        (lambda x, y: losses.contrastive(x, y, 0.3), lambda x, y: plainly_contrastive(x, y, 0.3)),
        (lambda x, y: losses.strong_contrastive(x, y, 0.3), lambda x, y: plainly_strong(x, y, 0.3)),
        (losses.l2, lambda x, y: sum(float(((a - b) ** 2).sum()) for a, b in zip(x, y, strict=True)) / len(x)),
    ],
    ids=["contrastive", "strong", "l2"],
)
def test_losses_are_what_the_papers_write(
    loss: Callable[[Tensor, Tensor], Tensor], plain: Callable[[Tensor, Tensor], float]
) -> None:
    torch.manual_seed(0)
    one, two = torch.randn(4, 6, dtype=torch.float64), torch.randn(4, 6, dtype=torch.float64)
    assert float(loss(one, two)) == pytest.approx(plain(one, two))
    torch.autograd.gradcheck(loss, (one.requires_grad_(), two.requires_grad_()))


def test_the_anchors_by_hand() -> None:
    start = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([[0.0]])}
    now = [("a", torch.tensor([4.0, 2.0], requires_grad=True)), ("b", torch.tensor([[4.0]], requires_grad=True))]
    assert losses.parameter_anchor(now, start).item() == 5.0
    here = [(name, value.clone().requires_grad_()) for name, value in start.items()]
    still = losses.parameter_anchor(here, start)
    still.backward()
    assert still.item() == 0.0
    assert all(value.grad is not None and not value.grad.isnan().any() for _, value in here)
    states = torch.tensor([[[1.0, 1.0], [3.0, 0.0]]])
    mask = torch.tensor([[True, False]])
    assert float(losses.state_anchor(states, torch.zeros_like(states), mask)) == 2.0


# Training


@pytest.mark.parametrize("objective", ["sentence_contrastive", "word_contrastive", "word_strong_contrastive"])
def test_held_out_translations_come_nearer_than_other_sentences(config: EncoderConfig, objective: str) -> None:
    test = corpus(config, held_out=True)
    before = margin(load_encoder(config, False), test, CPU)
    encoder, result = aligned(config, objective, "parameters", anchor_weight=0.01, steps=60)
    assert margin(encoder, test, CPU) > before + 0.02
    assert result.last < result.first and result.pairs == {"de": 24}


def spread(encoder: Encoder, config: EncoderConfig) -> float:
    """Mean squared distance of source words' states from their mean."""
    batch = corpus(config).source.batch(range(12), CPU)
    with torch.no_grad():
        states = encoder.states(encoder.embed(batch.input_ids), batch.layout)[batch.layout.mask]
    return float((states - states.mean(0)).square().sum(-1).mean())


def test_without_an_anchor_distances_collapse_and_with_one_they_do_not(config: EncoderConfig) -> None:
    """All states one and the same is the least distance there is."""
    before = spread(load_encoder(config, False), config)
    free = aligned(config, "word_l2", "none", steps=150, learning_rate=1e-2)[0]
    assert spread(free, config) < 0.01 * before
    for anchor in ("parameters", "source_states"):
        held = aligned(config, "word_l2", anchor, steps=150, learning_rate=1e-2, anchor_weight=10.0)[0]
        assert spread(held, config) > 0.1 * before, anchor


def test_a_rotation_is_the_best_there_is_and_the_identity_where_nothing_is_known() -> None:
    """Restated: of 200,000 rotations of the plane none is better; of x in a plane of four dimensions the rest stays."""
    torch.manual_seed(0)
    x = torch.randn(50, 2, dtype=torch.float64)
    y = torch.stack([-x[:, 1], x[:, 0]], 1) + 0.3 * torch.randn(50, 2, dtype=torch.float64)
    found = rotation(sum((torch.outer(b, a) for a, b in zip(x, y, strict=True)), torch.zeros(2, 2)))
    angles = torch.linspace(0, 2 * math.pi, 2001, dtype=torch.float64)
    turns = torch.stack(
        [torch.stack([angles.cos(), -angles.sin()], -1), torch.stack([angles.sin(), angles.cos()], -1)], 1
    )
    distances = [float((x @ w.T - y).square().sum()) for w in turns]
    assert float((x @ found.T - y).square().sum()) <= min(distances) + 1e-9
    torch.testing.assert_close(found, turns[int(np.argmin(distances))], atol=0.01, rtol=0.0)
    wide_x, wide_y = (torch.cat([each, torch.zeros_like(each)], 1) for each in (x, y))
    wide = rotation(wide_y.T @ wide_x)
    torch.testing.assert_close(wide[:2, :2], found, atol=1e-4, rtol=0.0)
    torch.testing.assert_close(wide[2:, 2:], torch.eye(2, dtype=torch.float64))


def test_maps_bring_linked_words_together_and_train_nothing(config: EncoderConfig) -> None:
    encoder, pristine = load_encoder(config, False), load_encoder(config, False)
    given = AlignmentConfig.model_validate({"objective": "linear_map", "pairs": "x", "batch_size": 5})
    corpora = {"de": corpus(config), "fr": corpus(config)}
    result = maps.fit(encoder, corpora, given, CPU)
    assert encoder.maps is not None and encoder.maps.numbers == {None: 0, "de": 1, "fr": 2}
    assert all(torch.equal(p, q) for p, q in zip(encoder.parameters(), pristine.parameters(), strict=True))
    x, y = [], []
    for i in range(24):
        each = corpora["de"]
        for side, states in ((each.source, y), (each.target, x)):
            batch = side.batch([i], CPU)
            with torch.no_grad():
                of_tokens = pristine.states(pristine.embed(batch.input_ids), batch.layout)[0]
            states += [of_tokens[place] for place in side.firsts[i]]
    weight = encoder.maps.matrices[1]
    before = sum(float((a - b).square().sum()) for a, b in zip(x, y, strict=True)) / len(x)
    after = sum(float((weight @ a - b).square().sum()) for a, b in zip(x, y, strict=True)) / len(x)
    assert result.first == pytest.approx(before, rel=1e-4) and result.last == pytest.approx(after, rel=1e-3)
    assert after < 0.7 * before


def test_a_map_is_no_other_languages(config: EncoderConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by a number that two share, nor by a name that is another's beginning."""
    numbers = LanguageMaps.of({"pt-br": torch.zeros(2, 2)}, {}).numbers
    assert (number_of("pt-br", numbers), number_of("pt", numbers)) == (1, 0)
    told: dict[str | None, int] = {"en_XX": 0, "de_DE": 1, "pt_XX": 2, None: 0}
    monkeypatch.setattr(Encoder, "language_numbers", told)
    encoder, pairs = load_encoder(config, False), corpus(config)
    pairs = replace(pairs, source=replace(pairs.source, number=0))
    given = AlignmentConfig.model_validate({"objective": "linear_map", "pairs": "x"})
    for codes, other in ((["sw"], "others"), (["en"], "the source"), (["pt", "pt-br"], "pt")):
        with pytest.raises(UserError, match=f"got {codes[-1]}, whose number is that of {other}"):
            maps.fit(encoder, dict.fromkeys(codes, pairs), given, CPU)
    check_apart(["de", "pt"], told, 0)


def test_the_seed_decides_everything_and_a_layer_may_be_named(config: EncoderConfig) -> None:
    def weights(**more: object) -> Tensor:
        encoder, _ = aligned(config, "sentence_contrastive", "parameters", steps=3, **more)
        return torch.cat([p.detach().flatten() for p in encoder.parameters()])

    assert torch.equal(weights(), weights())
    assert not torch.equal(weights(), weights(seed=1))
    first = aligned(config, "sentence_contrastive", "none", steps=3, layer=1)[0]
    pristine = load_encoder(config, False)
    changed = {
        name.split(".")[3]
        for (name, p), q in zip(first.named_parameters(), pristine.parameters(), strict=True)
        if "encoder.layer" in name and not torch.equal(p, q)
    }
    assert changed == {"0"}  # nothing above the first layer has a part in it
    with pytest.raises(UserError, match=r"a layer must be one of the encoder's 2 .got 3."):
        aligned(config, "sentence_contrastive", layer=3)


@pytest.mark.parametrize("anchor", ["parameters", "source_states", "none"])
def test_word_embeddings_that_no_pair_has_need_not_be_trained(
    config: EncoderConfig, anchor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same encoder comes out as with all of them, and those stay as they were to the bit."""
    own, _ = aligned(config, "word_contrastive", anchor, steps=5)
    monkeypatch.setattr(training, "_rows_in_use", lambda encoder, corpora: nullcontext(corpora))
    whole, _ = aligned(config, "word_contrastive", anchor, steps=5)
    pristine = load_encoder(config, False)
    for (name, one), two in zip(own.named_parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=2e-5, msg=name)
    sides = (corpus(config).source, corpus(config).target)
    used = np.unique(np.concatenate([ids for side in sides for ids in side.ids]))
    moved = (own.table != pristine.table).any(1).numpy()
    assert moved[used].sum() > 5 and not np.delete(moved, used).any() and len(used) < len(moved) / 2
    assert own.model.config.vocab_size == pristine.model.config.vocab_size
    assert own.model.config.pad_token_id == pristine.model.config.pad_token_id


@pytest.mark.parametrize("padding", [None, 40])
def test_padding_keeps_its_row(config: EncoderConfig, padding: int | None) -> None:
    """Also where a model pads with another token than its tokenizer: no word's row may stand for padding."""
    encoder = load_encoder(config, False)
    words = encoder.model.get_input_embeddings()
    words.padding_idx = words.padding_idx if padding is None else padding
    row = words.weight[words.padding_idx].detach().clone()
    with training._rows_in_use(encoder, {"de": corpus(config)}) as renumbered:
        own = encoder.model.get_input_embeddings()
        assert torch.equal(own.weight[own.padding_idx], row)
        assert renumbered["de"].source.pad_id == 1
    assert encoder.model.get_input_embeddings() is words


def test_fewer_pairs_than_a_contrast_needs(config: EncoderConfig) -> None:
    whole = corpus(config)
    bare = Corpus(whole.source, whole.target, [frozenset()] * len(whole.source.ids))
    given = AlignmentConfig.model_validate({"objective": "word_l2", "pairs": "x"})
    with pytest.raises(UserError, match=r"two pairs at least that can be aligned .got 0."):
        align(load_encoder(config, False), {"de": bare}, given, CPU)


def test_words_that_were_cut_off_have_no_links(config: EncoderConfig) -> None:
    sentences = Sentences.of(["abc def ghi"], load_tokenizer(config), 8)
    assert sentences.firsts[0].tolist() == [2, 6, -1]  # a blank is a token of its own here
    assert within(frozenset({(0, 0), (1, 2), (2, 1), (3, 0)}), sentences.firsts[0], sentences.firsts[0]) == {(0, 0)}
