"""The alignment itself: optimiser steps on sentence pairs, after which translations have states alike."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from trainables.alignment import losses
from trainables.alignment.sentences import Sentences, joined
from trainables.alignment.words import Links
from trainables.batch import Batch
from trainables.config import AlignmentConfig
from trainables.errors import UserError
from trainables.model.encoder import Encoder
from trainables.model.heads import pool
from trainables.model.pretrained import needed_rows, trim
from trainables.progress import Progress
from trainables.schedule import rate
from trainables.seeds import derive

WARMUP = 0.04
"""Share of the steps in which the learning rate rises (2010.02537: 4,000 of 100,000)."""


@dataclass(frozen=True)
class Corpus:
    """Sentence pairs of one language: `source` and `target` have the same number of sentences."""

    source: Sentences
    target: Sentences
    links: Sequence[Links] | None = None
    """Of each pair, the words that translate one another; none: for objectives on sentences."""


@dataclass(frozen=True)
class Aligned:
    """What came of it."""

    pairs: Mapping[str, int]
    """Language -> pairs that were trained on."""
    first: float
    """Loss of the first step, the anchor apart …"""
    last: float
    """… and the mean over the last tenth of them."""


def within(links: Links, source: npt.NDArray[np.int64], target: npt.NDArray[np.int64]) -> Links:
    """Those links whose words both have a first token, given its place in their sentences: others were cut off."""
    return frozenset(
        (i, j) for i, j in links if i < len(source) and j < len(target) and source[i] >= 0 and target[j] >= 0
    )


def usable_pairs(corpora: Mapping[str, Corpus]) -> list[tuple[str, int]]:
    """Language and number of each pair that can be aligned: where words are, one with links.

    Raises `UserError` for fewer than two, which no contrast can do with.
    """
    usable = [
        (code, i)
        for code, corpus in sorted(corpora.items())
        for i in range(len(corpus.source.ids))
        if corpus.links is None or corpus.links[i]
    ]
    if len(usable) < 2:
        raise UserError(f"alignment.pairs: must have two pairs at least that can be aligned (got {len(usable)})")
    return usable


def align(
    encoder: Encoder,
    corpora: Mapping[str, Corpus],
    config: AlignmentConfig,
    device: torch.device,
) -> Aligned:
    """Train all of an encoder that its family trains, in place, on the pairs of all languages together.

    Without dropout, in fp32. What is drawn is a function of `config.seed`. Raises `UserError` where no pair has links,
    or there are fewer pairs than a contrast needs.
    """
    usable = usable_pairs(corpora)
    with _rows_in_use(encoder, corpora) as renumbered:
        return _align(encoder, renumbered, usable, config, device)


@contextmanager
def _rows_in_use(encoder: Encoder, corpora: Mapping[str, Corpus]) -> Iterator[dict[str, Corpus]]:
    """Within, the encoder has the word embeddings of these sentences alone, which are given by their new numbers.

    Nothing moves the others: they have no gradient, nor has an anchor one where nothing has moved. Of XLM-R base nine
    tenths of all parameters are word embeddings that no pair has, which need be neither trained nor compared.
    """
    words, config = encoder.model.get_input_embeddings(), encoder.model.config
    before = config.vocab_size, config.pad_token_id
    sides = [side for corpus in corpora.values() for side in (corpus.source, corpus.target)]
    used = np.concatenate([ids for side in sides for ids in side.ids])
    kept = needed_rows(used, sides[0].pad_id, encoder)
    trim(encoder, kept)

    def renumbered(side: Sentences) -> Sentences:
        ids = [np.searchsorted(kept, each) for each in side.ids]
        return replace(side, ids=ids, pad_id=int(np.searchsorted(kept, side.pad_id)))

    try:
        yield {
            code: replace(each, source=renumbered(each.source), target=renumbered(each.target))
            for code, each in corpora.items()
        }
    finally:
        with torch.no_grad():
            words.weight[torch.from_numpy(kept)] = encoder.table.to(words.weight)
        encoder.model.set_input_embeddings(words)
        config.vocab_size, config.pad_token_id = before


def _align(
    encoder: Encoder,
    corpora: Mapping[str, Corpus],
    usable: Sequence[tuple[str, int]],
    config: AlignmentConfig,
    device: torch.device,
) -> Aligned:
    encoder.to(device).eval()
    encoder.freeze(embeddings=False, lower_layers=0)
    pristine = _pristine(encoder, config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(config.seed, "projector"))
        projector = losses.Projector(encoder.hidden_size).to(device)
    trained = [(name, p) for name, p in encoder.named_parameters() if p.requires_grad]
    start = {name: p.detach().clone() for name, p in trained} if config.anchor == "parameters" else {}
    parameters = [p for _, p in trained] + list(projector.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, config.steps, WARMUP))
    history = []
    progress = Progress("aligning", "steps", config.steps)
    for step, chosen in enumerate(_batches(usable, config), 1):
        loss, states, batch = _loss(encoder, projector, [(corpora[code], i) for code, i in chosen], config, device)
        history.append(float(loss.detach()))
        if not math.isfinite(history[-1]):
            raise UserError(
                f"alignment: the loss is {history[-1]} at step {step}, try a smaller alignment.learning_rate"
            )
        if config.anchor == "parameters":
            loss = loss + config.anchor_weight * losses.parameter_anchor(trained, start)
        elif pristine is not None:
            with torch.no_grad():
                before = pristine.states_at(pristine.embed(batch.input_ids), batch.layout, config.layer)
            own = batch.layout.mask.clone()
            own[len(chosen) :] = False  # the translations come after the source sentences
            loss = loss + config.anchor_weight * losses.state_anchor(states, before, own)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        progress.add(note=f"loss {history[-1]:.3f}")
    tail = history[-max(1, len(history) // 10) :]
    for parameter in encoder.parameters():
        parameter.requires_grad_(True).grad = None
    counts = {code: sum(each == code for each, _ in usable) for code in sorted(corpora)}
    return Aligned(counts, history[0], sum(tail) / len(tail))


def _pristine(encoder: Encoder, config: AlignmentConfig) -> Encoder | None:
    return copy.deepcopy(encoder) if config.anchor == "source_states" else None


def _batches(usable: Sequence[tuple[str, int]], config: AlignmentConfig) -> Iterator[list[tuple[str, int]]]:
    """A batch for each step: epoch after epoch in new orders, a batch across their border where need be."""
    order: list[tuple[str, int]] = []
    epoch = 0
    for _ in range(config.steps):
        while len(order) < config.batch_size:
            more = list(usable)
            random.Random(derive(config.seed, "pairs", epoch)).shuffle(more)
            order, epoch = order + more, epoch + 1
        yield order[: config.batch_size]
        order = order[config.batch_size :]


def _loss(
    encoder: Encoder,
    projector: nn.Module,
    chosen: Sequence[tuple[Corpus, int]],
    config: AlignmentConfig,
    device: torch.device,
) -> tuple[Tensor, Tensor, Batch]:
    """The objective on some pairs; the states of both sides, the source's first, and their batch."""
    sides = [(corpus.source, i) for corpus, i in chosen], [(corpus.target, i) for corpus, i in chosen]
    batch = joined([*sides[0], *sides[1]], device)
    states = encoder.states_at(encoder.embed(batch.input_ids), batch.layout, config.layer).float()
    if config.objective == "sentence_contrastive":
        mask = batch.attention_mask * ~batch.special if config.pooling == "mean" else batch.attention_mask
        one, two = pool(states, mask, config.pooling).chunk(2)
    else:
        one, two = (linked_states(states, chosen, side) for side in (0, 1))
    if config.objective == "word_l2":
        return losses.l2(one, two), states, batch
    contrast = losses.LOSSES[config.objective]
    return contrast(projector(one), projector(two), config.temperature), states, batch


def linked_states(states: Tensor, chosen: Sequence[tuple[Corpus, int]], side: int) -> Tensor:
    """States (links, d) of the linked words of one side of a batch that has all sources, then all targets."""
    rows, places = [], []
    for row, (corpus, i) in enumerate(chosen):
        firsts = (corpus.source, corpus.target)[side].firsts[i]
        for link in sorted(corpus.links[i] if corpus.links is not None else ()):
            rows.append(row + side * len(chosen))
            places.append(int(firsts[link[side]]))
    return states[rows, places]


@torch.no_grad()
def margin(encoder: Encoder, corpus: Corpus, device: torch.device, layer: int | None = None, batch: int = 64) -> float:
    """By how much the mean cosine of translations is above that of sentences one further, of mean-pooled states."""
    sides = []
    for side in (corpus.source, corpus.target):
        vectors = []
        for begin in range(0, len(side.ids), batch):
            each = side.batch(range(begin, min(begin + batch, len(side.ids))), device)
            states = encoder.states_at(encoder.embed(each.input_ids), each.layout, layer).float()
            vectors.append(nn.functional.normalize(pool(states, each.attention_mask * ~each.special, "mean"), dim=-1))
        sides.append(torch.cat(vectors))
    one, two = sides
    return float(((one * two).sum(-1) - (one * two.roll(1, 0)).sum(-1)).mean())
