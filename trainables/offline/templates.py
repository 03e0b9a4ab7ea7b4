"""Sentences drawn at random from Home Assistant's sentence templates (``[turn] on the {area} (light|lamp)``).

hassil enumerates a template in order, so that a cap gives near-duplicates; here its expression tree is walked with a
random choice at every branch. What the package leaves open (rooms, names, free text) comes from `fillers`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import home_assistant_intents
from hassil.expression import (
    Alternative,
    Expression,
    Group,
    ListReference,
    Permutation,
    RuleReference,
    Sentence,
    TextChunk,
)
from hassil.intents import IntentData, Intents, RangeSlotList, TextSlotList

from trainables.seeds import derive

T = TypeVar("T")
Fillers = Mapping[str, Sequence[str]]
"""Name of an open list -> what may stand there."""


class Draw:
    """A stream of random choices that is the same on every platform and Python version (``random()`` alone is)."""

    def __init__(self, *names: str | int) -> None:
        self._random = random.Random(derive(0, *names))

    def index(self, n: int) -> int:
        """A number in [0, n)."""
        return int(self._random.random() * n)

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """The items in random order."""
        return [items[i] for _, i in sorted((self._random.random(), i) for i in range(len(items)))]


@dataclass(frozen=True)
class Template:
    """One sentence template of one language, and what its block says about it."""

    intent: str
    domain: str | None
    text: str
    lists: frozenset[str]
    """Lists that it refers to, directly or through a rule."""
    open_lists: frozenset[str]
    """Those of them that the package leaves open: they need fillers."""
    _expression: Expression = field(repr=False)
    _rules: Mapping[str, Sentence] = field(repr=False)
    _slots: Mapping[str, Any] = field(repr=False)

    def sample(self, fillers: Fillers, draw: Draw) -> str:
        """One sentence, white space normalised; every open list must have fillers."""
        return " ".join(_walk(self._expression, self, fillers, draw).split())


def templates(language: str, wanted: Callable[[str, str | None], object]) -> Iterator[Template]:
    """A language's templates, in the package's order, of every block whose (intent, domain) is wanted."""
    intents = Intents.from_dict(home_assistant_intents.get_intents(language))
    for name, intent in sorted(intents.intents.items()):
        for block in intent.data:
            domain = block.slots.get("domain")
            domain = domain if isinstance(domain, str) else None
            if wanted(name, domain):
                yield from _block(name, domain, block, intents)


def _block(intent: str, domain: str | None, block: IntentData, intents: Intents) -> Iterator[Template]:
    rules = {**intents.expansion_rules, **block.expansion_rules}
    slots = {**intents.slot_lists, **block.slot_lists}
    for sentence in block.sentences:
        lists = frozenset(sentence.list_names(rules))
        yield Template(
            intent=intent,
            domain=domain,
            text=sentence.text or "",
            lists=lists,
            open_lists=frozenset(name for name in lists if not _closed(slots.get(name))),
            _expression=sentence.expression,
            _rules=rules,
            _slots=slots,
        )


def _walk(node: Expression, template: Template, fillers: Fillers, draw: Draw) -> str:
    if isinstance(node, TextChunk):
        return str(node.original_text)
    if isinstance(node, Alternative):
        return _walk(node.items[draw.index(len(node.items))], template, fillers, draw)
    if isinstance(node, Permutation):
        return " ".join(_walk(item, template, fillers, draw) for item in draw.shuffled(node.items))
    if isinstance(node, Group):
        return "".join(_walk(item, template, fillers, draw) for item in node.items)
    if isinstance(node, RuleReference):
        return _walk(template._rules[node.rule_name].expression, template, fillers, draw)
    assert isinstance(node, ListReference), node
    return _fill(node, template, fillers, draw)


def _closed(values: object) -> bool:
    return isinstance(values, (TextSlotList, RangeSlotList))


def _fill(node: ListReference, template: Template, fillers: Fillers, draw: Draw) -> str:
    values = template._slots.get(node.list_name)
    if isinstance(values, TextSlotList):
        return _walk(values.values[draw.index(len(values.values))].text_in, template, fillers, draw)
    if isinstance(values, RangeSlotList):
        numbers = list(values.get_numbers())
        return f"{numbers[draw.index(len(numbers))]:g}"
    choices = fillers[node.list_name]
    return choices[draw.index(len(choices))]
