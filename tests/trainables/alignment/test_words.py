"""Links between words: the built-in aligner, files of others, and the error rate."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from trainables.alignment import words
from trainables.errors import UserError


def test_each_word_s_best_is_its_best_too() -> None:
    similar = torch.tensor([[9.0, 1.0, 0.0], [8.0, 2.0, 0.0], [0.0, 0.0, 7.0]])
    assert words.mutual(similar) == {(0, 0), (2, 2)}  # the second one's best has a better one
    assert words.mutual(similar, threshold=0.9) == {(2, 2)}  # (0, 0) is not so sure from the other side
    assert words.mutual(torch.zeros(0, 3)) == frozenset()


def test_words_with_several_links_or_written_alike_are_left_out() -> None:
    links = frozenset({(0, 0), (1, 1), (1, 2), (2, 3), (5, 4)})
    assert words.one_to_one(links, ["a", "b", "Berlin"], ["x", "y", "z", "berlin"]) == {(0, 0)}


def test_links_of_others_are_read(tmp_path: Path) -> None:
    file = tmp_path / "sw.txt"
    file.write_text("0-0 2-1\n\n10-3\n", encoding="utf-8")
    assert words.read_links(file) == [{(0, 0), (2, 1)}, frozenset(), {(10, 3)}]
    words.write_links(file, [frozenset({(10, 3), (2, 1)}), frozenset()])
    assert file.read_text(encoding="utf-8") == "2-1 10-3\n\n" and words.read_links(file) == [{(10, 3), (2, 1)}, set()]
    file.write_text("0-0\n1p2\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"row 2: must have links as in 0-0 1-2, counted from 0 .got '1p2'."):
        words.read_links(file)
    with pytest.raises(UserError, match="cannot be read"):
        words.read_links(tmp_path / "absent.txt")


def test_error_rate_by_hand() -> None:
    """|A| = 3, |S| = 2; one link is sure, two are possible at least."""
    found, sure, possible = [frozenset({(0, 0), (1, 1), (2, 2)})], [frozenset({(0, 0), (3, 3)})], [frozenset({(1, 1)})]
    assert words.error_rate(found, sure, possible) == pytest.approx(1 - (1 + 2) / (3 + 2))
    assert words.error_rate(sure, sure, possible) == 0.0
