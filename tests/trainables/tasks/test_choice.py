"""Multiple choice: uneven numbers of choices in one batch, XCOPA's repaired questions, and the score."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainables.config import TaskConfig
from trainables.errors import UserError
from trainables.tasks.base import RowError, collate
from trainables.tasks.choice import MultipleChoice
from trainables.tasks.task import load_task, task_shape

SHAPE = MultipleChoice(("0", "1"), most_choices=3)
TWO = {"premise": "ab", "question": "Why?", "choices": ["c", "de"], "label": 1}
THREE = {"premise": "f", "question": "", "choices": ["g", "h", "i"], "label": 2}


def test_rows_are_read_from_their_columns() -> None:
    raw = {"context": "p", "question": "effect", "answerA": "x", "answerB": "y", "answerC": "z", "label": "3"}
    columns = {"premise": "context", "choice1": "answerA", "choice2": "answerB", "choice3": "answerC"}
    row = MultipleChoice(("1", "2", "3"), 3).read(raw, columns)
    expected = {"premise": "p", "question": "What happened as a result?", "choices": ["x", "y", "z"], "label": 2}
    assert row == expected
    with pytest.raises(RowError, match="must have a column 'choice1'"):
        SHAPE.read(raw, {"premise": "context"})


def test_each_choice_is_a_sequence_and_missing_ones_are_empty(tokenizer: Any) -> None:
    encoded = SHAPE.encode([TWO, THREE], tokenizer, 64)
    texts = [tokenizer.decode(encoded.sequence(i).tolist(), skip_special_tokens=True) for i in range(6)]
    assert [text.replace(" ", "").replace("▁", " ") for text in texts] == [
        " ab Why? c", " ab Why? de", "", " f g", " f h", " f i",
    ]  # fmt: skip
    assert encoded.special[encoded.offsets[2] : encoded.offsets[3]].all()
    assert [encoded.item_labels(j).tolist() for j in range(2)] == [[1, 2], [2, 3]]
    batch = collate(SHAPE, encoded, [0, 1], pad_id=1)
    assert len(batch.input_ids) == 6
    assert batch.labels.tolist() == [[1, 2], [2, 3]]
    assert np.diff(encoded.label_offsets).tolist() == [2, 2]


def test_a_missing_choice_takes_no_probability() -> None:
    logits = torch.tensor([[0.0, 0.0, 50.0], [0.0, 0.0, math.log(2.0)]], requires_grad=True)
    labels = torch.tensor([[1, 2], [2, 3]])
    loss = SHAPE.loss(logits, labels)
    assert loss.tolist() == pytest.approx([math.log(2), math.log(2)], rel=1e-6)
    loss.sum().backward()
    assert logits.grad is not None
    assert logits.grad[0, 2] == 0
    assert SHAPE.predict(logits, labels) == SHAPE.answers(logits, labels).tolist() == [0, 2]
    moved = logits.detach() + torch.tensor([[0.0, 0.0, 7.0], [0.0, math.log(2.0), 0.0]])
    divergence = SHAPE.divergence(logits.detach(), moved, labels)
    # (1/4, 1/4, 1/2) against (1/5, 2/5, 2/5)
    expected = 0.25 * math.log(5 / 4) + 0.25 * math.log(5 / 8) + 0.5 * math.log(5 / 4)
    assert divergence.tolist() == pytest.approx([0.0, expected], abs=1e-6)


def test_the_head_gives_one_logit_per_choice() -> None:
    head = SHAPE.head(8, "mean", 0.0)
    states, mask = torch.randn(6, 5, 8), torch.ones(6, 5, dtype=torch.int64)
    logits = head(states, mask)
    assert logits.shape == (2, 3)
    torch.testing.assert_close(logits[1, 0], head(states[3:6], mask[3:6])[0, 0])


def test_classes_are_the_width_of_the_logits_where_the_training_data_has_more_choices() -> None:
    """XCOPA has two, SIQA, on which it is trained, three."""
    assert [MultipleChoice(("choice1", "choice2"), most).classes for most in (2, 3)] == [2, 3]


def test_miniature_score_by_hand(miniatures: Path, tokenizer: Any) -> None:
    task = load_task(TaskConfig(name=str(miniatures / "choices.yaml")), ("train", "validation", "test"))
    assert task.languages == ("en", "et")
    rows = task.rows["test"]["et"]
    assert rows[0]["question"] == "What happened as a result?"
    encoded = task.shape.encode(rows, tokenizer, 128)
    assert task.shape.score(rows, encoded, [0, 0, 0], "et") == {"accuracy": (pytest.approx(2 / 3), 3)}


def test_xcopa_is_trained_on_siqa_and_copa_and_has_english_from_copa(shared_data: Path) -> None:
    config = TaskConfig(name="xcopa", data_dir=shared_data)
    task = load_task(config, ("train", "validation", "test"))
    assert len(task.rows["train"]["en"]) == 3678 + 400
    assert {len(row["choices"]) for row in task.rows["train"]["en"]} == {2, 3}
    assert task_shape(config).sequences_per_item == 3
    assert task.languages == ("en", "et", "ht", "id", "it", "qu", "sw", "ta", "th", "tr", "vi", "zh")
    assert {len(rows) for rows in task.rows["validation"].values()} == {100}
    assert {len(rows) for rows in task.rows["test"].values()} == {500}


@pytest.mark.parametrize("split", ["validation", "test"])
def test_xcopas_wrong_questions_are_repaired(split: str, shared_data: Path) -> None:
    """As published all Thai questions are `effect`; labels of the source come from the translations."""
    task = load_task(TaskConfig(name="xcopa", data_dir=shared_data), (split,))
    english = [row["question"] for row in task.rows[split]["en"]]
    assert 0.4 < english.count("What was the cause?") / len(english) < 0.6
    for code, rows in task.rows[split].items():
        assert [row["question"] for row in rows] == english, code
        assert [row["label"] for row in rows] == [row["label"] for row in task.rows[split]["en"]], code


def test_a_question_that_cannot_be_repaired_is_named(tmp_path: Path) -> None:
    row = '{"premise": "a", "choice1": "b", "choice2": "c", "question": "effect", "label": 0, "idx": %d}\n'
    for name, numbers in {"copa": range(2), "xcopa": range(3)}.items():
        (tmp_path / name).mkdir()
        language = "en" if name == "copa" else "th"
        (tmp_path / name / f"validation.{language}.jsonl").write_text("".join(row % i for i in numbers))
    with pytest.raises(UserError, match=r"validation\.th\.jsonl:3: must have a row of equal idx in copa \(got 2\)"):
        load_task(TaskConfig(name="xcopa", data_dir=tmp_path), ("validation",))


def test_a_task_without_a_split_says_so(shared_data: Path) -> None:
    with pytest.raises(UserError, match="siqa has no test split"):
        load_task(TaskConfig(name="siqa", data_dir=shared_data), ("test",))
