"""Exact nearest-neighbour search, and scores of ranked lists as XTREME-R's and XGLUE's scripts compute them."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Sequence
from itertools import groupby
from typing import Protocol

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]

TOP = 20
"""Ranks that LAReQA and Mewsli-X look at."""


class Blocks(Protocol):
    """Vectors (n, d) that are read a block at a time: an array, in memory or of a file, or some of its rows."""

    def __len__(self) -> int: ...

    def __getitem__(self, block: slice, /) -> Vectors: ...


def top_k(
    queries: Blocks, candidates: Blocks, k: int, query_block: int = 512, candidate_block: int = 16384
) -> npt.NDArray[np.int64]:
    """Indices (q, min(k, c)) of the candidates (c, d) with the largest dot products with each query (q, d), best first.

    Exact, in blocks, so that memory does not grow with q times c, nor with c times d; each candidate is read once. Of
    equal products the first comes first; those of equal candidates may be rounded otherwise, at the edge of a block.
    """
    starts = range(0, len(queries), query_block)
    best = [_nothing(len(queries[i : i + query_block])) for i in starts]
    for start in range(0, len(candidates), candidate_block):
        block = candidates[start : start + candidate_block].T
        for n, i in enumerate(starts):
            part = queries[i : i + query_block] @ block
            numbers = np.broadcast_to(np.arange(start, start + part.shape[1]), part.shape)
            scores, indices = best[n]
            best[n] = _best(np.hstack([scores, part]), np.hstack([indices, numbers]), k)
    found = [indices for _, indices in best]
    return np.concatenate(found) if found else np.zeros((0, min(k, len(candidates))), dtype=np.int64)


def _nothing(queries: int) -> tuple[Vectors, npt.NDArray[np.int64]]:
    return np.zeros((queries, 0), dtype=np.float32), np.zeros((queries, 0), dtype=np.int64)


def _best(scores: Vectors, indices: npt.NDArray[np.int64], k: int) -> tuple[Vectors, npt.NDArray[np.int64]]:
    scores = np.where(np.isnan(scores), np.float32(-np.inf), scores)  # of a model that broke: the worst
    if k < scores.shape[1]:
        # A partition alone takes any of those that equal the last one: the first of them are wanted.
        last = -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]
        above, equal = scores > last, scores == last
        wanted = above | (equal & (np.cumsum(equal, axis=1) <= k - above.sum(axis=1, keepdims=True)))
        kept = np.nonzero(wanted)[1].reshape(len(scores), k)
        scores, indices = np.take_along_axis(scores, kept, 1), np.take_along_axis(indices, kept, 1)
    order = np.lexsort((indices, -scores), axis=1)
    return np.take_along_axis(scores, order, 1), np.take_along_axis(indices, order, 1)


def average_precision(targets: Collection[Hashable], ranked: Sequence[Hashable], k: int | None = None) -> float:
    """AP@k: sum over the hits of hits so far / rank, over the smaller of the number of targets and k (LAReQA).

    >>> average_precision({"a", "b"}, ["a", "c", "b"])
    0.8333333333333333
    """
    hits, total = 0, 0.0
    seen: set[Hashable] = set()
    for rank, candidate in enumerate(ranked[:k], start=1):
        if candidate in targets and candidate not in seen:
            hits += 1
            total += hits / rank
        seen.add(candidate)
    return total / (min(len(targets), k) if k else len(targets))


def reciprocal_rank(target: str, ranked: Sequence[str], k: int = TOP) -> float:
    """1 / rank of the target among the first k, 0 if it is not there (Mewsli-X)."""
    return next((1 / rank for rank, candidate in enumerate(ranked[:k], start=1) if candidate == target), 0.0)


def ndcg(gains: Sequence[float], scores: Sequence[float]) -> float:
    """DCG of the documents by falling score / that by falling gain, where DCG = sum of gain / log2(rank + 1).

    Over all ranks, gains taken as they are. Documents of equal score share the mean of their gains: the mean over all
    their orders (McSherry and Najork 2008; scikit-learn's ``ndcg_score``, which XGLUE calls). 0 where no gain is.

    >>> round(ndcg([4, 0, 0], [1, 1, 1]), 5)
    0.71031
    """
    known = [-math.inf if math.isnan(score) else score for score in scores]  # of a model that broke: the worst
    ranking = sorted(zip(known, gains, strict=True), reverse=True)
    shared: list[float] = []
    for _, tied in groupby(ranking, key=lambda document: document[0]):
        own = [gain for _, gain in tied]
        shared += [sum(own) / len(own)] * len(own)
    best = _dcg(sorted(gains, reverse=True))
    return _dcg(shared) / best if best else 0.0


def _dcg(gains: Sequence[float]) -> float:
    return math.fsum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))
