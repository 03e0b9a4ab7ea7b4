"""Accuracy where words are replaced by others that are taken to keep the label, greedily and with bounded queries.

In the manner of PWWS (Ren et al. 2019) and TextFooler (Jin et al. 2020, arXiv 1907.11932): one query for each word says
how much the answer rests on it; the words are then gone through in that order, each is left as whatever raises the loss
most, and the attack ends with the first wrong answer. What it leaves right is an upper bound of the robust accuracy:
other replacements, or more queries, can only lower it. That a replacement keeps the label is assumed, not checked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from trainables.batch import NO_TREE, Encoded
from trainables.config import AttackConfig
from trainables.distributed import Group
from trainables.materials.materials import Materials
from trainables.materials.substitutes import Variant
from trainables.model.encoder import Model
from trainables.scores import LanguageScores, Split
from trainables.scoring.stream import subset
from trainables.tasks.base import collate

Edit = tuple[Variant, ...]
"""Words of an item that are replaced, and how; nothing: the item as it is."""

Ask = Callable[[Sequence[Edit]], list[tuple[bool, float]]]
"""Whether a model answers each edited item rightly, and its loss."""


@dataclass(frozen=True)
class Outcome:
    """Of one item."""

    right: bool
    """As it is."""
    survived: bool
    """However it was edited."""
    queries: int
    """Edited items that were asked, up to the first wrong answer."""


def word_attack_scores(
    model: Model, materials: Materials, split: Split, config: AttackConfig, budget: int, group: Group
) -> dict[str, LanguageScores]:
    """``attacked_accuracy_words``; ``attacked_success_words``, the share of rightly answered items that an edit gets
    wrong; ``attacked_queries_words``, the mean number of edits that these items took.

    Of languages whose words are known to the resource. Each item is attacked by itself: the results depend neither on
    the workers nor on other items.
    """
    model.eval()
    keys = [
        (language, item)
        for language in sorted(materials.substitutes[split])
        for item in subset(materials.evaluation[split][language], config.examples_per_language, language)
    ]
    mine = []
    for language, item in keys[group.rank :: group.world]:
        words = materials.substitutes[split][language][item]
        ask = _asker(model, materials, materials.evaluation[split][language], item, budget, group)
        mine.append(((language, item), attacked(ask, words, config.queries)))
    found = dict(each for part in group.gather(mine) for each in part)
    by_language: dict[str, list[Outcome]] = {}
    for language, item in keys:
        by_language.setdefault(language, []).append(found[(language, item)])
    right = {language: [o for o in each if o.right] for language, each in by_language.items()}
    scores = {
        "attacked_accuracy_words": _mean(by_language, lambda o: o.survived),
        "attacked_success_words": _mean(right, lambda o: not o.survived),
        "attacked_queries_words": _mean(right, lambda o: o.queries),
    }
    return {name: each for name, each in scores.items() if each.languages}


def _mean(by_language: dict[str, list[Outcome]], of: Callable[[Outcome], float]) -> LanguageScores:
    known = {language: outcomes for language, outcomes in by_language.items() if outcomes}
    means = {language: float(np.mean([of(outcome) for outcome in each])) for language, each in known.items()}
    return LanguageScores(means, {language: len(each) for language, each in known.items()})


def attacked(ask: Ask, words: Sequence[Sequence[Variant]], queries: int) -> Outcome:
    """The greedy search: `words` with the variants of each, at most `queries` edits asked."""
    ((right, clean),) = ask([()])
    if not right:
        return Outcome(right=False, survived=False, queries=0)
    search = _Search(ask, queries, {(): clean})
    if not search.survives([(word[0],) for word in words]):
        return Outcome(True, False, search.used)
    probed = [k for k, word in enumerate(words) if (word[0],) in search.losses]
    edit: Edit = ()
    for k in sorted(probed, key=lambda k: -search.losses[(words[k][0],)]):
        options = [(*edit, variant) for variant in words[k] if all(map(_apart(variant), edit))]
        if not search.survives(options):
            return Outcome(True, False, search.used)
        edit = max((edit, *options), key=lambda each: search.losses.get(each, -np.inf))
    return Outcome(True, True, search.used)


@dataclass
class _Search:
    """What has been asked of one item."""

    ask: Ask
    most: int
    losses: dict[Edit, float]
    used: int = field(default=0)

    def survives(self, edits: Sequence[Edit]) -> bool:
        """Ask those that were not asked yet, as many as may be; whether all answers are right."""
        new = [edit for edit in edits if edit not in self.losses][: self.most - self.used]
        for edit, (right, loss) in zip(new, self.ask(new) if new else [], strict=True):
            self.used += 1
            self.losses[edit] = loss
            if not right:
                return False
        return True


def _apart(variant: Variant) -> Callable[[Variant], bool]:
    """Whether another variant changes other tokens."""

    def check(other: Variant) -> bool:
        pairs = ((one, two) for one in variant for two in other if one[0] == two[0])
        return not any((a < d and c < b) or (a == b == c == d) for (_, a, b, _), (_, c, d, _) in pairs)

    return check


def _asker(model: Model, materials: Materials, encoded: Encoded, item: int, budget: int, group: Group) -> Ask:
    """What the model says of edits of one item, in batches of like texts within the token budget."""
    shape, own = materials.shape, encoded.pick([item], materials.shape.sequences_per_item)

    @torch.no_grad()
    def ask(edits: Sequence[Edit]) -> list[tuple[bool, float]]:
        found: list[tuple[bool, float]] = []
        longest = int(np.diff(own.offsets).max()) + max((_added(edit) for edit in edits), default=0)
        size = max(budget // (longest * shape.sequences_per_item), 1)
        for start in range(0, len(edits), size):
            part = edited(own, edits[start : start + size])
            batch = collate(shape, part, range(len(part)), materials.pad_id).to(group.device)
            logits = model.logits(model.embed(batch), batch)
            right = shape.answers(logits, batch.labels) == shape.gold(batch.labels)
            found += zip(right.tolist(), shape.loss(logits.float(), batch.labels).tolist(), strict=True)
        return found

    return ask


def _added(edit: Edit) -> int:
    """Tokens that an edit adds to a sequence at most."""
    return sum(max(len(ids) - (end - first), 0) for variant in edit for _, first, end, ids in variant)


def edited(own: Encoded, edits: Sequence[Edit]) -> Encoded:
    """The only item of an `Encoded` under each of some edits."""
    count = len(own.offsets) - 1
    ids: list[list[int]] = []
    special: list[list[bool]] = []
    for edit in edits:
        for k in range(count):
            span = slice(int(own.offsets[k]), int(own.offsets[k + 1]))
            tokens, marks = own.ids[span].tolist(), own.special[span].tolist()
            splices = [splice for variant in edit for splice in variant if splice[0] == k]
            for _, first, end, new in sorted(splices, reverse=True):
                tokens[first:end], marks[first:end] = new, [False] * len(new)
            ids.append(tokens)
            special.append(marks)
    labels = own.item_labels(0)
    return Encoded(
        ids=np.asarray([token for each in ids for token in each], dtype=np.int32),
        special=np.asarray([mark for each in special for mark in each], dtype=np.bool_),
        offsets=np.cumsum([0, *map(len, ids)]),
        labels=np.tile(labels, len(edits)),
        label_offsets=np.arange(len(edits) + 1, dtype=np.int64) * len(labels),
        rows=np.repeat(own.rows, len(edits)),
        languages=None if own.languages is None else np.tile(own.languages, len(edits)),
        parents=None if own.parents is None else np.full(sum(map(len, ids)), NO_TREE, dtype=np.int16),
    )
