"""Alignment with parallel data: the phase before fine-tuning that robust training was proposed instead of.

In: an encoder and sentence pairs. Out: an encoder of the same form, made once in the cache and shared by all trials.
aligned    `load_pristine`, the encoder that trials begin from, aligned or not; start here
pairs      sentence pairs out of files and packages; words: links between their words; linking: found by an encoder
sentences  as the encoder takes them; losses: what is minimised, and what anchors; training: the steps
maps       without steps: a rotation of each language's states
"""

from __future__ import annotations

from trainables.alignment.aligned import (
    alignment_key,
    check,
    cost_words,
    counted,
    known,
    licence,
    load_pristine,
    passes,
    supervision,
)

__all__ = [
    "alignment_key",
    "check",
    "cost_words",
    "counted",
    "known",
    "licence",
    "load_pristine",
    "passes",
    "supervision",
]
