"""Which words of a sentence pair translate one another: links "i-j" between their words, counted from 0.

The built-in aligner takes the frozen encoder's own states (Dou and Neubig, awesome-align, EACL 2021): word similarities
in a middle layer, a softmax along each side, and the pairs that each find one another.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.errors import UserError

if TYPE_CHECKING:  # commands that describe a study do without torch
    from torch import Tensor

Links = frozenset[tuple[int, int]]

THRESHOLD = 1e-3
"""Least probability of a link in both directions (awesome-align's default)."""

UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff]")
"""Letters of scripts without spaces between words: Thai, Lao, Myanmar, Khmer, kana, Han."""


def words_of(text: str) -> list[str]:
    """The words of a text: between blanks; of scripts without blanks each letter, since its words are not known.

    >>> words_of("turn it off"), words_of("关灯 now")
    (['turn', 'it', 'off'], ['关', '灯', 'now'])
    """
    return UNSPACED.sub(lambda match: f" {match[0]} ", text).split()


def mutual(similarities: Tensor, threshold: float = THRESHOLD) -> Links:
    """Links (i, j) of a matrix (i, j) of dot products: each the other's best, and probable in both directions."""
    if 0 in similarities.shape:
        return frozenset()
    forward, backward = similarities.softmax(1), similarities.softmax(0)
    best = (similarities == similarities.amax(1, keepdim=True)) & (similarities == similarities.amax(0, keepdim=True))
    probable = (forward > threshold) & (backward > threshold)
    return frozenset((int(i), int(j)) for i, j in (best & probable).nonzero().tolist())


def one_to_one(links: Links, source: Sequence[str], target: Sequence[str]) -> Links:
    """Links of words that have no other, and are not written alike: those teach nothing (2010.02537)."""
    lefts, rights = [i for i, _ in links], [j for _, j in links]
    return frozenset(
        (i, j)
        for i, j in links
        if lefts.count(i) == rights.count(j) == 1
        and i < len(source)
        and j < len(target)
        and source[i].casefold() != target[j].casefold()
    )


def read_links(file: Path) -> list[Links]:
    """Links of each pair, a line each, as fast_align, eflomal and awesome-align write them: ``0-0 1-2 2-1``.

    Raises `UserError` for a line that is none.
    """
    found = []
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"alignment.links: cannot be read, {error} (got {str(file)!r})") from error
    for number, line in enumerate(lines, 1):
        items = line.split()
        if wrong := next((item for item in items if not re.fullmatch(r"\d+-\d+", item)), None):
            raise UserError(f"{file}, row {number}: must have links as in 0-0 1-2, counted from 0 (got {wrong[:40]!r})")
        found.append(frozenset((int(i), int(j)) for i, j in (item.split("-") for item in items)))
    return found


def write_links(file: Path, links: Iterable[Links]) -> None:
    """The same as `read_links` takes it."""
    lines = (" ".join(f"{i}-{j}" for i, j in sorted(each)) for each in links)
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def error_rate(found: Sequence[Links], sure: Sequence[Links], possible: Sequence[Links]) -> float:
    """Alignment error rate 1 − (|A∩S| + |A∩P|) / (|A| + |S|) (Och and Ney, 2003); P contains S. 0 is perfect."""
    hits = sum(len(a & s) + len(a & (s | p)) for a, s, p in zip(found, sure, possible, strict=True))
    size = sum(len(a) + len(s) for a, s in zip(found, sure, strict=True))
    return 1 - hits / size if size else 0.0
