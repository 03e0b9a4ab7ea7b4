"""Links between words by an encoder's own states: which there are, and that they are found once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trainables.alignment.linking import kept_links, links_of
from trainables.alignment.sentences import Sentences
from trainables.config import EncoderConfig
from trainables.model.pretrained import load_encoder, load_tokenizer


def test_a_pretrained_encoder_s_own_similarities_link_words() -> None:
    """Those that are written alike teach nothing."""
    config = EncoderConfig()
    encoder, tokenizer = load_encoder(config, False), load_tokenizer(config)
    one, two = (
        Sentences.of([text], tokenizer, 32)
        for text in ("The small dog sleeps in Berlin", "In Berlin schläft der kleine Hund")
    )
    (found,) = links_of(encoder, one, two, None)
    assert {(1, 4), (2, 5), (3, 2)} <= found and (5, 1) not in found
    emptied = replace(one, words=[["\x00", *one.words[0]]], firsts=[np.array([-1, *one.firsts[0]])])
    (later,) = links_of(encoder, emptied, two, None)  # a word of which no token is left
    assert later == {(i + 1, j) for i, j in found}


def test_the_order_in_which_pairs_are_linked_is_not_theirs() -> None:
    """Batches are of like lengths; links stay with their pairs."""
    config = EncoderConfig()
    encoder, tokenizer = load_encoder(config, False), load_tokenizer(config)
    texts = ["The small dog sleeps in Berlin", "Good night", "The red house is very old"]
    theirs = ["In Berlin schläft der kleine Hund", "Gute Nacht", "Das rote Haus ist sehr alt"]
    one, two = (Sentences.of(each, tokenizer, 32) for each in (texts, theirs))
    alone = [
        links_of(encoder, *(Sentences.of([t], tokenizer, 32) for t in pair), None)[0]
        for pair in zip(texts, theirs, strict=True)
    ]
    assert links_of(encoder, one, two, None, batch=2) == alone and len(set(alone)) == 3


def test_what_is_kept_is_what_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the form of `alignment.links`, a line a pair."""
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path))
    config = EncoderConfig()
    encoder, tokenizer = load_encoder(config, False), load_tokenizer(config)
    one = Sentences.of(["The small dog sleeps", "Hm"], tokenizer, 32)
    two = Sentences.of(["Der kleine Hund schläft", "Hm"], tokenizer, 32)
    first, second = (kept_links(encoder, "e5", {"de": (one, two)}, None) for _ in range(2))
    assert first == second == {"de": links_of(encoder, one, two, None)} and first["de"][0] and not first["de"][1]
    (entry,) = tmp_path.glob("links-*")
    assert [file.name for file in entry.glob("*.txt")] == ["de.txt"]
    kept_links(encoder, "another", {"de": (one, two)}, None)
    kept_links(encoder, "e5", {"de": (two, one)}, None)
    assert len(list(tmp_path.glob("links-*"))) == 3
