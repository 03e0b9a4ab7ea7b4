"""How well words are linked, and what alignment does to translations that it was not trained on.

`links` prints the alignment error rate of the built-in aligner with the embedded encoder, by layer, before links are
made one to one. `margin` aligns the embedded encoder, and prints by language how far the mean cosine of held-out
translations is above that of sentences shifted by one, before and after; it needs home-assistant-frontend. Without
either, the margin is measured as its defaults say, where that package is installed.

    python benchmarks/alignment.py links FOLDER     # awesome-align's gold pairs, PAIR.src-tgt and PAIR.gold
    python benchmarks/alignment.py margin word_contrastive 100 --languages all
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import torch

from trainables.alignment import maps, pairs, training
from trainables.alignment.linking import links_of
from trainables.alignment.sentences import Sentences
from trainables.alignment.training import Corpus
from trainables.alignment.words import Links, error_rate, mutual
from trainables.config import AlignmentConfig, EncoderConfig
from trainables.errors import UserError
from trainables.model.encoder import Encoder
from trainables.model.families import number_of
from trainables.model.pretrained import load_encoder, load_tokenizer

PACKAGE = "home-assistant-frontend"
OBJECTIVES = [each for each in get_args(AlignmentConfig.model_fields["objective"].annotation) if each != "none"]
LAYERS = (6, 8, 10)
LANGUAGES = ("cy", "de", "fi", "fr", "ga", "ja", "ko", "ru", "tr", "vi")
HELD_OUT, TRAINED = 40, 200
"""Pairs of each language."""

CPU = torch.device("cpu")


@torch.no_grad()
def links(folder: Path) -> None:
    """A line for each set of gold pairs."""
    config = EncoderConfig()
    encoder, tokenizer = load_encoder(config, False), load_tokenizer(config)
    print(f"{'pairs':>6}{'number':>8}" + "".join(f"{f'layer {layer}':>10}" for layer in LAYERS))
    for file in sorted(folder.glob("*.src-tgt")):
        lines = [line.split(" ||| ") for line in file.read_text(encoding="utf-8").split("\n") if line]
        one, two = (
            Sentences.of_words([[w for w in line[side].split(" ") if w] for line in lines], tokenizer, 512)
            for side in (0, 1)
        )
        gold = file.with_suffix(".gold").read_text(encoding="utf-8").splitlines()
        sure, possible = ([_gold(line, mark) for line in gold] for mark in "-p")
        rates = [error_rate(found, sure, possible) for found in _linked(encoder, one, two)]
        print(f"{file.stem:>6}{len(lines):>8}" + "".join(f"{rate:>10.1%}" for rate in rates), flush=True)


def _gold(line: str, mark: str) -> Links:
    """Links of a line, which are counted from 1 there; `mark`: sure ones ``i-j``, or merely possible ones ``ipj``."""
    return frozenset((int(i) - 1, int(j) - 1) for i, j in (item.split(mark) for item in line.split() if mark in item))


def _linked(encoder: Encoder, one: Sentences, two: Sentences) -> list[list[Links]]:
    """By layer the links of each pair: all layers' states come out of one pass."""
    seen: dict[int, torch.Tensor] = {}
    stack = encoder.family.layers_of(encoder.model)
    for layer in LAYERS:
        last = stack[layer - 1][-1]
        last.register_forward_hook(
            lambda _module, _inputs, output, at=layer: seen.update(
                {at: output[0] if isinstance(output, tuple) else output}
            )
        )
    found: list[list[Links]] = [[] for _ in LAYERS]
    for i in range(len(one.ids)):
        sides = []
        for side in (one, two):
            batch, firsts = side.batch([i], CPU), torch.from_numpy(side.firsts[i])
            encoder.states(encoder.embed(batch.input_ids), batch.layout)
            there = torch.nonzero(firsts >= 0).flatten()
            sides.append(
                ({layer: seen[layer].reshape(-1, encoder.hidden_size)[firsts[there]] for layer in LAYERS}, there)
            )
        (x, left), (y, right) = sides
        for links_of_layer, layer in zip(found, LAYERS, strict=True):
            linked = mutual(x[layer] @ y[layer].T)
            links_of_layer.append(frozenset((int(left[a]), int(right[b])) for a, b in linked))
    return found


def margin(objective: str, steps: int, languages: Sequence[str] | None) -> None:
    """A line for each of some languages, or of all that have enough pairs, the spread over them, and what it took."""
    config = EncoderConfig()
    settings = {"pairs": PACKAGE, "steps": steps, "batch_size": 16, "learning_rate": 1e-4}
    alignment = AlignmentConfig.model_validate({"objective": objective, **settings})
    found = pairs.load(PACKAGE, "en", languages)
    few = {code: len(each) for code, each in found.items() if len(each) < 2 * HELD_OUT}
    found = {code: each for code, each in found.items() if code not in few}
    encoder, tokenizer = load_encoder(config, False), load_tokenizer(config)
    encoder.leave_out_padding()
    apart = {code: each[-HELD_OUT:] for code, each in found.items()}
    tested = {pairs.normalised(text) for each in apart.values() for p in each for text in (p.source, p.target)}
    kept, _ = pairs.without({code: each[:-HELD_OUT] for code, each in found.items()}, tested)

    def side(texts: list[str], language: str) -> Sentences:
        numbers = encoder.language_numbers
        return Sentences.of(texts, tokenizer, 96, number_of(language, numbers) if numbers else None)

    def corpus(each: list[pairs.Pair], code: str, linked: bool) -> Corpus:
        one, two = side([p.source for p in each], "en"), side([p.target for p in each], code)
        return Corpus(one, two, links_of(encoder, one, two, None) if linked else None)

    def margins() -> dict[str, float]:
        return {code: training.margin(encoder, corpus(each, code, False), CPU) for code, each in apart.items()}

    began, before = time.process_time(), margins()
    corpora = {code: corpus(each[:TRAINED], code, alignment.links_words) for code, each in kept.items()}
    align = maps.fit if objective == "linear_map" else training.align
    align(encoder, corpora, alignment, CPU)
    after = margins()
    print(f"{'language':>9}{'pairs':>7}{'before':>8}{'after':>8}{'rise':>8}")
    for code in sorted(before):
        size = len(corpora[code].source.ids)
        print(f"{code:>9}{size:>7}{before[code]:>8.3f}{after[code]:>8.3f}{after[code] - before[code]:>8.3f}")
    for name, spread in (("least", min), ("median", statistics.median), ("most", max)):
        cells = (spread(values) for values in (before.values(), after.values(), [after[c] - before[c] for c in before]))
        print(f"{name:>9}{'':>7}" + "".join(f"{cell:>8.3f}" for cell in cells))
    print(f"not risen: {', '.join(code for code in sorted(before) if after[code] <= before[code]) or 'none'}")
    if few:
        print(f"left out, fewer than {2 * HELD_OUT} pairs: {', '.join(f'{code} {n}' for code, n in few.items())}")
    print(f"{time.process_time() - began:.0f} s of CPU")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", metavar="links | margin")
    linking = parts.add_parser("links", help="error rate of the word aligner on gold links")
    linking.add_argument("folder", type=Path, metavar="FOLDER", help="with PAIR.src-tgt and PAIR.gold")
    rising = parts.add_parser("margin", help="what an alignment does to held-out translations")
    rising.add_argument("objective", nargs="?", choices=OBJECTIVES, default="sentence_contrastive", metavar="OBJECTIVE")
    rising.add_argument("steps", nargs="?", type=int, default=30, metavar="STEPS")
    rising.add_argument("--languages", nargs="+", default=LANGUAGES, metavar="CODE", help="or all")
    return parser


def main() -> None:
    """What was asked for; without a part what can be done here, and what is missing for the rest."""
    parser = _parser()
    options = parser.parse_args()
    if options.part == "links":
        if not list(options.folder.glob("*.src-tgt")):
            parser.error(f"FOLDER: must have files PAIR.src-tgt (got {str(options.folder)!r})")
        links(options.folder)
        return
    if options.part is None:
        parser.print_usage()
        print("links is left out: needs a folder of gold links")
        options = parser.parse_args(["margin"])
    try:
        pairs.check(PACKAGE)
    except UserError as missing:
        print(f"margin is left out: {missing.lines[0]}")
        return
    margin(options.objective, options.steps, None if "all" in options.languages else options.languages)


if __name__ == "__main__":
    main()
