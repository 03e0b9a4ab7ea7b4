"""The encoder that a trial begins from: as it was pretrained, or aligned with sentence pairs, once, in the cache."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterable
from hashlib import blake2b
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from trainables.alignment import pairs as of_pairs
from trainables.alignment.pairs import Pair, Pairs
from trainables.config import AlignmentConfig, TrialConfig
from trainables.errors import UserError
from trainables.languages import normalize
from trainables.model.content import key_of, stamps
from trainables.progress import told
from trainables.seeds import derive
from trainables.storage import cache
from trainables.tasks.plan import SPLITS, Plan

if TYPE_CHECKING:  # its module loads torch
    from trainables.alignment.sentences import Sentences
    from trainables.alignment.training import Corpus
    from trainables.alignment.words import Links
    from trainables.model.encoder import Encoder

FORMAT = 3
"""Version of the folder's layout, of which pairs are left out and of which words are linked; part of its key."""

ENCODER, META = "encoder", "meta.json"

TESTED = 0.05
"""Share of the pairs that may be sentences of the evaluated splits: with more, the pairs are a test set."""

_SENTENCE_END = re.compile(r"(?<=[.!?…。！？।؟።])[\"”’»')\]]*\s*")
"""Where a text of several sentences is taken apart. Too often, after an abbreviation, only leaves out a pair of it."""

COUNTED = 32 * 2**20
"""Most bytes of files that are read for the number of their pairs alone."""

UNREAD = {
    "linear_map": {"pooling", "temperature", "steps", "learning_rate", "anchor", "anchor_weight"},
}
"""Keys that an objective does not read, where they are no part of its encoders' key."""


def supervision(config: AlignmentConfig) -> Literal["none", "parallel"]:
    """What the phase needs beside labels of the source language. The control on source sentences reads no others."""
    return "none" if config.objective == "none" or config.control == "source" else "parallel"


def passes(config: AlignmentConfig) -> int:
    """Forward-equivalents of a step: forward, backward and weight gradients of both sides, and the frozen encoder's.

    Of a linear map, which has no steps: of each batch of pairs, once, both sides forward.
    """
    if config.objective == "linear_map":
        return 2
    return 2 * 3 + 2 * (config.anchor == "source_states")


def cost_words(config: AlignmentConfig) -> str:
    """What aligning costs in forward-equivalents, in words; nothing where nothing is aligned."""
    if config.objective == "none":
        return ""
    if config.objective == "linear_map":
        return f"{passes(config)} for every {config.batch_size} pairs"
    return f"{config.steps * passes(config):,}"


def licence(config: AlignmentConfig) -> str:
    """Of the sentence pairs; ``unknown`` of files, which say nothing of it."""
    return of_pairs.LICENCES.get(str(config.pairs), "unknown")


def counted(config: TrialConfig, languages: Iterable[str]) -> dict[str, int] | None:
    """Language -> sentence pairs that there are for it; None of files too large to be read for a number.

    `languages` are those that are evaluated. Pairs that are evaluated themselves, or that words are not linked in, are
    counted too. Raises `UserError` where the pairs cannot be had.
    """
    alignment, source = config.alignment, normalize(config.task.source_language)
    assert alignment.pairs is not None
    if str(alignment.pairs) not in of_pairs.PACKAGES and _bytes(Path(alignment.pairs)) > COUNTED:
        return None
    wanted = set(languages) - {source} if alignment.languages == "targets" else alignment.languages
    most = alignment.pairs_per_language
    return {code: len(each[:most]) for code, each in of_pairs.load(alignment.pairs, source, wanted).items()}


def _bytes(place: Path) -> int:
    files = place.rglob("*") if place.is_dir() else [place]
    return sum(file.stat().st_size for file in files if file.is_file())


def check(config: AlignmentConfig) -> None:
    """Raise `UserError` where the sentence pairs or links that are named cannot be had; reads none."""
    if config.pairs is not None:
        of_pairs.check(config.pairs)
    if config.links is not None and not config.links.is_dir():
        raise UserError(f"alignment.links: must be a folder of word links (got {str(config.links)!r})")


def load_pristine(config: TrialConfig, uses_segments: bool) -> Encoder:
    """The encoder with its whole vocabulary, from which a trial of this configuration begins.

    Raises `UserError` for an encoder, or sentence pairs, that cannot be had.
    """
    from trainables.model.pretrained import load_encoder

    folder = prepare(config)
    return load_encoder(config.encoder, uses_segments, None if folder is None else folder / ENCODER)


def prepare(config: TrialConfig) -> Path | None:
    """The folder of the aligned encoder, made in the cache unless it is there; None where nothing is aligned."""
    if config.alignment.objective == "none":
        return None
    return cache.build_once(
        f"aligned-{alignment_key(config)}", lambda folder: _build(config, folder), "aligned encoder", 24 * 3600.0
    )


def known(config: TrialConfig) -> dict[str, Any] | None:
    """What is recorded of an aligned encoder (pairs of each language, how many were dropped, losses), if it is made."""
    folder = cache.found(f"aligned-{alignment_key(config)}")
    return None if folder is None else dict(json.loads((folder / META).read_text(encoding="utf-8")))


def alignment_key(config: TrialConfig) -> str:
    """Content key: equal for trials that share an aligned encoder, whatever else they differ in."""
    from trainables.tasks.task import task_key

    alignment = config.alignment
    parts = {
        "format": FORMAT,
        "alignment": alignment.model_dump(mode="json", exclude=UNREAD.get(alignment.objective)),
        "pairs": _stamp(alignment.pairs),
        "links": _stamp(alignment.links),
        "encoder": key_of(config.encoder),
        "task": task_key(config.task),  # its evaluated sentences are left out
        "languages": [config.task.source_language, config.task.target_languages],
    }
    return blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=12).hexdigest()


def _stamp(place: Path | str | None) -> Any:
    if place is None:
        return None
    place = Path(place)
    if str(place) in of_pairs.PACKAGES:
        try:
            return metadata.version(str(place))
        except metadata.PackageNotFoundError:
            return None  # said where it is read
    return stamps(sorted(p for p in place.rglob("*") if p.is_file()) if place.is_dir() else [place] * place.exists())


def _build(config: TrialConfig, folder: Path) -> None:
    import torch

    from trainables.alignment import maps, training
    from trainables.model.pretrained import accepts_segments, load_encoder, load_tokenizer, save_encoder

    alignment = config.alignment
    plan = Plan.of(config.task)
    chosen, dropped = _chosen(config, plan)
    tokenizer = load_tokenizer(config.encoder, plan.source)
    encoder = load_encoder(config.encoder, accepts_segments(tokenizer))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoder.to(device)
    encoder.leave_out_padding()  # of a program's texts, one long one a batch, it is three quarters of all tokens

    def tokenizer_of(language: str) -> Any:
        return load_tokenizer(config.encoder, language) if encoder.family.slow_tokenizer else tokenizer

    corpora = _corpora(config, encoder, tokenizer_of, plan.source, chosen)
    align = maps.fit if alignment.objective == "linear_map" else training.align
    result = align(encoder, corpora, alignment, device)
    save_encoder(encoder.to("cpu"), folder / ENCODER)
    meta = {
        "pairs": result.pairs,
        "dropped": dropped,
        "licence": licence(alignment),
        "loss": [result.first, result.last],
    }
    (folder / META).write_text(json.dumps(meta, indent=1), encoding="utf-8")


def _chosen(config: TrialConfig, plan: Plan) -> tuple[Pairs, dict[str, int]]:
    """The pairs to train on, those of evaluated sentences left out, and how many each language lost.

    Texts of the evaluated splits are read for this and nothing else, without their labels. Raises `UserError` where
    the pairs are those of the test itself.
    """
    alignment = config.alignment
    assert alignment.pairs is not None
    rows = [plan.read(split) for split in SPLITS if split != "train" and plan.parts(split)]
    evaluated = {code for split in rows for code in split} - {plan.source}
    wanted = evaluated if alignment.languages == "targets" else alignment.languages
    found = of_pairs.load(alignment.pairs, plan.source, wanted, alignment.links)
    texts = {text for split in rows for each in split.values() for row in each for text in plan.shape.texts(row)}
    evaluated_texts = {of_pairs.normalised(part) for text in texts for part in (text, *_SENTENCE_END.split(text))}
    kept, lost = of_pairs.without(found, evaluated_texts - {""})
    if sum(lost.values()) > TESTED * sum(map(len, found.values())):
        worst, every = (
            ", ".join(f"{code} {count}" for code, count in lost.most_common(3)),
            sum(map(len, found.values())),
        )
        raise UserError(
            f"alignment.pairs: must be other sentences than those that are evaluated; of {every} pairs "
            f"{sum(lost.values())} are among them, {worst} (got {str(alignment.pairs)!r})"
        )
    most = alignment.pairs_per_language
    return {code: each[:most] for code, each in kept.items()}, dict(lost)


def _corpora(
    config: TrialConfig, encoder: Encoder, tokenizer_of: Callable[[str], Any], source: str, chosen: Pairs
) -> dict[str, Corpus]:
    """Each language's pairs, tokenised and, for objectives on words, linked; under a control pairs that are none."""
    from trainables.alignment.linking import kept_links
    from trainables.alignment.training import Corpus, within

    alignment = config.alignment
    sides = {
        code: _sides(alignment, encoder, tokenizer_of, source, code, pairs)
        for code, pairs in told(chosen.items(), "sentence pairs", "languages", len(chosen))
    }
    links: dict[str, list[Links]] = {}
    if alignment.links_words:
        if alignment.control == "source":
            links = {code: [_same(words) for words in one.words] for code, (one, _) in sides.items()}
        elif alignment.links is not None:
            links = {code: [pair.links or frozenset() for pair in pairs] for code, pairs in chosen.items()}
        else:
            links = kept_links(encoder, key_of(config.encoder), sides, alignment.links_layer)
    if alignment.control == "shuffled":
        # After linking: words keep the places of their translations, which are others' in another sentence. Links that
        # were found there would be of real translations, and the control a part of the treatment.
        sides = {
            code: (one, two.picked(_shuffled(alignment, code, len(two.ids)))) for code, (one, two) in sides.items()
        }
    return {
        code: Corpus(one, two, [within(each, one.firsts[i], two.firsts[i]) for i, each in enumerate(links[code])])
        if links
        else Corpus(one, two)
        for code, (one, two) in sides.items()
    }


def _shuffled(alignment: AlignmentConfig, code: str, size: int) -> list[int]:
    order = list(range(size))
    random.Random(derive(alignment.seed, "shuffled", code)).shuffle(order)
    return order


def _same(words: list[str]) -> Links:
    """Of a sentence with itself."""
    return frozenset((i, i) for i in range(len(words)))


def _sides(
    alignment: AlignmentConfig,
    encoder: Encoder,
    tokenizer_of: Callable[[str], Any],
    source: str,
    code: str,
    pairs: list[Pair],
) -> tuple[Sentences, Sentences]:
    from trainables.alignment.sentences import Sentences
    from trainables.model.families import number_of

    numbers = encoder.language_numbers

    def side(texts: Iterable[str], language: str) -> Sentences:
        number = number_of(language, numbers) if numbers else None
        return Sentences.of(list(texts), tokenizer_of(language), alignment.max_length, number)

    one = side((pair.source for pair in pairs), source)
    if alignment.control == "source":
        return one, one
    return one, side((pair.target for pair in pairs), code)
