"""What a word of a CoNLL-U file is: a syntactic word, or a token as it is written.

XTREME's UDPOS fuses a multiword token ("del") into one word, with the tag of its head, and takes blanks and zero-width
non-joiners out of words (google/xtreme: third_party/ud-conversion-tools, utils_preprocess.py). Published numbers are on
those; Universal Dependencies scores syntactic words ("de", "el"). Empty nodes are no words of either.
"""

from __future__ import annotations

from collections.abc import Sequence

Sentence = Sequence[Sequence[str]]
"""Lines of one sentence of a CoNLL-U file, ten cells each: all of them, or those of its words."""

_ID, _FORM, _TAG, _HEAD = 0, 1, 3, 6

_PRECEDENCE = {
    "": "VERB NOUN PROPN PRON ADJ NUM ADV INTJ AUX ADP DET PART CCONJ SCONJ X PUNCT",
    "es": "VERB AUX PRON ADP DET",
    "fr": "VERB AUX PRON NOUN ADJ ADV ADP DET PART SCONJ CONJ",
    "it": "VERB AUX ADV PRON ADP DET INTJ",
}
"""Which tag a multiword token has whose words are equally far from the root, by language (none: all others)."""


def fused(sentence: Sentence, language: str = "") -> Sentence:
    """Words of XTREME: a multiword token stays one, with the cells of whichever of its words is nearest to the root.

    Ids and heads are still those of the syntactic words. Raises `ValueError` for a multiword token without its words.

    >>> lines = "1-2 del _ _ _ _ _", "1 de _ ADP _ _ 3", "2 el _ DET _ _ 3", "3 sol _ NOUN _ _ 0"
    >>> [" ".join(cells) for cells in fused([line.split() for line in lines])]
    ['1 del _ ADP _ _ 3', '3 sol _ NOUN _ _ 0']
    """
    by_id = {cells[_ID]: cells for cells in sentence if cells[_ID].isdigit()}
    words, last = [], 0
    for cells in sentence:
        first, _, end = cells[_ID].partition("-")
        if end:
            span = [str(k) for k in range(int(first), int(end) + 1)] if first.isdigit() and end.isdigit() else []
            if not span or not by_id.keys() >= set(span):
                raise ValueError(f"a multiword token must have lines of its words below it (got {cells[_ID]!r})")
            last = int(end)
            words.append(_written(by_id[_head(by_id, span, language)], cells[_FORM]))
        elif first.isdigit() and int(first) > last:
            words.append(_written(cells, cells[_FORM]))
    return words


def heads_of_fused(sentence: Sentence, words: Sentence) -> list[str]:
    """The heads of the words that `fused` makes of a sentence, counted by these: 0 that of the root.

    A word hangs on the one that holds the head of its own nearest to the root; so there are no circles. What is no
    word's number stays as it is.

    >>> lines = "1-2 del _ _ _ _ _", "1 de _ ADP _ _ 3", "2 el _ DET _ _ 3", "3 sol _ NOUN _ _ 0"
    >>> sentence = [line.split() for line in lines]
    >>> heads_of_fused(sentence, fused(sentence))
    ['2', '0']
    """
    spans = [cells[_ID].split("-") for cells in sentence if "-" in cells[_ID]]
    begins = {str(k): first for first, end in spans for k in range(int(first), int(end) + 1)}
    numbers = {begins.get(cells[_ID], cells[_ID]): str(number) for number, cells in enumerate(words, start=1)}
    return [numbers.get(begins.get(cells[_HEAD], cells[_HEAD]), cells[_HEAD]) for cells in words]


def _written(cells: Sequence[str], form: str) -> Sequence[str]:
    """A word's line with another form, without blanks and zero-width non-joiners."""
    return [*cells[:_FORM], form.replace(" ", "").replace("\u200c", ""), *cells[_FORM + 1 :]]


def _head(by_id: dict[str, Sequence[str]], span: Sequence[str], language: str) -> str:
    """Id of the word of a span that is nearest to the root; among several, that whose tag goes first."""
    precedence = _PRECEDENCE.get(language, _PRECEDENCE[""]).split()
    ranks = {tag: rank for rank, tag in enumerate(precedence)}
    return min(span, key=lambda k: (_depth(by_id, k), ranks.get(by_id[k][_TAG], len(ranks))))


def _depth(by_id: dict[str, Sequence[str]], word: str) -> int:
    """Words from one to the root, itself included; a circle ends where it began."""
    seen: set[str] = set()
    while word in by_id and word not in seen:
        seen.add(word)
        word = by_id[word][_HEAD]
    return len(seen)
