"""What is evaluated, in which batches: nested subsets, every item once, equal inputs together, within the budget."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainables import texts
from tests.trainables.texts import Item
from trainables.materials.materials import Materials
from trainables.scoring.stream import join, planned, stream, subset
from trainables.tasks.base import IGNORED, TaskShape
from trainables.tasks.choice import MultipleChoice
from trainables.tasks.classification import Classification
from trainables.tasks.tagging import Tagging

ROWS = 60

CLASSES = Classification(("no", "yes"), pair=False)
TAGGING = Tagging(("O", "X"))


def materials(shape: TaskShape, evaluated: dict[str, list[Item]]) -> Materials:
    return texts.write(shape, evaluated, {language: [] for language in evaluated})


def one_by_one(count: int, per_row: int = 1) -> list[Item]:
    """Different texts, `per_row` items of each row."""
    return [Item(((0, 10 + i, 2),), (0,), i // per_row) for i in range(count)]


@pytest.mark.parametrize("language", ["en", "sw"])
def test_evaluated_subsets_are_nested(language: str) -> None:
    encoded = texts.encode(one_by_one(ROWS))
    chosen = {n: set(subset(encoded, n, language)) for n in (1, 5, 20, 40, ROWS)}
    assert [len(each) for each in chosen.values()] == list(chosen)
    for smaller, larger in pairwise(chosen.values()):
        assert smaller < larger
    assert chosen[20] != set(range(20)), "a random choice, not the beginning of the file"
    assert subset(encoded, None, language) == subset(encoded, ROWS + 9, language) == list(range(ROWS))


def test_a_subset_is_the_same_in_every_call_and_every_process() -> None:
    here = [subset(texts.encode(one_by_one(ROWS)), 6, language) for language in ("en", "sw", "th")]
    assert here == [subset(texts.encode(one_by_one(ROWS)), 6, language) for language in ("en", "sw", "th")]
    assert len({tuple(each) for each in here}) == 3, "each language has its own choice"
    told = (
        "from tests.trainables import texts; from tests.trainables.scoring.test_stream import one_by_one, ROWS;"
        "from trainables.scoring.stream import subset;"
        "print([subset(texts.encode(one_by_one(ROWS)), 6, k) for k in ('en', 'sw', 'th')])"
    )
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == str(here)


def test_a_subset_takes_all_items_of_a_row_or_none() -> None:
    encoded = texts.encode(one_by_one(3 * ROWS, per_row=3))
    chosen = subset(encoded, 7, "en")
    assert chosen == sorted(chosen)
    assert set(Counter(encoded.rows[chosen].tolist()).values()) == {3} and len(chosen) == 21


Text = tuple[int, ...]


@st.composite
def evaluations(draw: st.DrawFn) -> tuple[TaskShape, dict[str, list[Item]], int, int | None]:
    """Items of three languages out of few texts, a budget that holds the longest, and the size of a subset."""
    shape = draw(st.sampled_from([CLASSES, MultipleChoice(("1", "2"), 2), TAGGING]))
    pool = draw(st.lists(st.lists(st.integers(4, 6), min_size=2, max_size=20).map(tuple), min_size=3, max_size=9))
    read: st.SearchStrategy[Text] = st.sampled_from(pool)
    evaluated: dict[str, list[Item]] = {}
    for language in ("en", "sw", "th"):
        items = []
        for row in range(draw(st.integers(2, 14))):
            sequences = tuple(draw(read) for _ in range(shape.sequences_per_item))
            labels: tuple[int, ...] = (draw(st.integers(0, 1)),)
            if shape is TAGGING:
                labels = tuple(draw(st.sampled_from([0, IGNORED])) for _ in sequences[0])
            elif shape is not CLASSES:
                labels = (*labels, 2)
            items.append(Item(sequences, labels, row))
        evaluated[language] = items
    return shape, evaluated, draw(st.sampled_from([1, 20, 40, 41, 80, 160, 400])), draw(st.sampled_from([None, 2, 5]))


QUICK = settings(max_examples=60, deadline=None, derandomize=True, database=None)


@QUICK
@given(evaluations())
def test_every_item_is_covered_once_by_an_equal_input(
    case: tuple[TaskShape, dict[str, list[Item]], int, int | None],
) -> None:
    shape, evaluated, token_budget, examples = case
    plan = stream(materials(shape, evaluated), "validation", examples, token_budget)
    asked = [key for batch in plan.batches for key in batch]
    assert len(set(asked)) == len(asked) and set(asked) == plan.copies.keys()
    covered = Counter(copy for copies in plan.copies.values() for copy in copies)
    expected = Counter((language, i) for language, items in plan.items.items() for i in range(len(items)))
    assert covered == expected and set(expected.values()) == {1}
    inputs = set()
    for (language, item), copies in plan.copies.items():
        first = evaluated[language][item]
        inputs.add((first.sequences, first.labels if shape is TAGGING else ()))
        for other, position in copies:
            copied = evaluated[other][plan.items[other][position]]
            assert copied.sequences == first.sequences
            assert shape is not TAGGING or copied.labels == first.labels
    assert shape is not CLASSES or len(inputs) == len(asked), "an input is asked once, whatever its labels"


@QUICK
@given(evaluations())
def test_batches_are_of_like_length_and_within_the_budget(
    case: tuple[TaskShape, dict[str, list[Item]], int, int | None],
) -> None:
    shape, evaluated, token_budget, examples = case
    plan = stream(materials(shape, evaluated), "validation", examples, token_budget)
    lengths = [[evaluated[language][item].longest for language, item in batch] for batch in plan.batches]
    flat = [length for batch in lengths for length in batch]
    assert flat == sorted(flat)
    padded = [max(batch) * len(batch) * shape.sequences_per_item for batch in lengths]
    assert all(size <= token_budget or len(batch) == 1 for size, batch in zip(padded, lengths, strict=True))
    for batch, after in pairwise(lengths):
        more = after[0] * (len(batch) + 1) * shape.sequences_per_item
        assert more > token_budget - shape.sequences_per_item, "no batch is cut that could have held one more"


def test_the_choices_of_an_item_count_together() -> None:
    items = [Item(((0, 5, 5, 10 + i, 2), (0, 2)), (0, 2), i) for i in range(10)]
    found = materials(MultipleChoice(("1", "2"), 2), {"en": items})
    assert [len(batch) for batch in stream(found, "validation", None, 40).batches] == [4, 4, 2]
    assert [len(batch) for batch in stream(found, "validation", None, 39).batches] == [3, 3, 3, 1]


def test_equal_texts_with_other_scored_words_are_not_duplicates() -> None:
    tokens = (0, 7, 8, 9, 2)
    labels = [(IGNORED, 0, 0, 1, IGNORED), (IGNORED, 0, IGNORED, 1, IGNORED), (IGNORED, 0, 0, 1, IGNORED)]
    evaluated = {
        "en": [Item((tokens,), each, row) for row, each in enumerate(labels)],
        "sw": [Item((tokens,), labels[1], 0)],
    }
    plan = stream(materials(TAGGING, evaluated), "validation", None, 1000)
    assert dict(plan.copies) == {("en", 0): [("en", 0), ("en", 2)], ("en", 1): [("en", 1), ("sw", 0)]}
    one = {language: [Item((tokens,), (row,), row) for row in range(2)] for language in evaluated}
    together = stream(materials(CLASSES, one), "validation", None, 1000)
    assert dict(together.copies) == {("en", 0): [("en", 0), ("en", 1), ("sw", 0), ("sw", 1)]}


def test_texts_that_only_run_together_alike_are_not_duplicates() -> None:
    shape = MultipleChoice(("1", "2"), 2)
    pairs = [((0, 5, 2), (0, 6, 2, 2)), ((0, 5, 2, 0), (6, 2, 2))]
    evaluated = {"en": [Item(pair, (0, 2), row) for row, pair in enumerate(pairs)]}
    assert len(stream(materials(shape, evaluated), "validation", None, 1000).copies) == 2


def test_a_joined_stream_has_the_items_that_were_asked_for() -> None:
    shape = MultipleChoice(("1", "2"), 2)
    evaluated = {
        "en": [Item(((0, 5, 2), (0, 6, 7, 2)), (0, 2), 4), Item(((0, 8, 2), (0, 2)), (1, 2), 5)],
        "sw": [Item(((0, 9, 9, 9, 2), (0, 4, 2)), (1, 2), 6)],
    }
    whole = {language: texts.encode(items) for language, items in evaluated.items()}
    asked = [("sw", 0), ("en", 1), ("en", 0), ("sw", 0)]
    joined = join([(whole[language], item) for language, item in asked], shape.sequences_per_item)
    expected = texts.encode([evaluated[language][item] for language, item in asked])
    for name, array in expected.arrays().items():
        assert np.array_equal(joined.arrays()[name], array), name


def test_a_plan_is_made_once_for_each_evaluation() -> None:
    found = materials(CLASSES, {"en": one_by_one(9), "sw": one_by_one(9)})
    plan = planned(found, "validation", 4, 100)
    assert planned(found, "validation", 4, 100) is plan
    assert [len(each) for each in plan.items.values()] == [4, 4]
    assert len(planned(found, "validation", 5, 100).items["en"]) == 5
    assert len(planned(found, "validation", 4, 9).batches) > len(plan.batches) == 1
