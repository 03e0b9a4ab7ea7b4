"""Example-level scores add up to the language's score, also where that is no mean over examples."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from tests.trainables import texts
from tests.trainables.texts import Item
from trainables.config import TaskConfig, TrialConfig
from trainables.materials.materials import load
from trainables.scoring import predictions
from trainables.scoring.evaluation import score
from trainables.scoring.stream import stream
from trainables.tasks.base import IGNORED
from trainables.tasks.tagging import Tagging

ROWS = 40


def test_weighted_scores_of_sentences_are_the_f1_of_the_language(shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "panx").mkdir()
    for name in ("train.en", "validation.en", "validation.sw"):
        lines = (shared_data / "panx" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()[:ROWS]
        (tmp_path / "panx" / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    materials = load(TrialConfig(task=TaskConfig(name="panx", data_dir=tmp_path, target_languages=("sw",))))
    plan = stream(materials, "validation", None, 1024)
    draw, answers = random.Random(0), {}
    for language, items in plan.items.items():
        gold = [materials.evaluation["validation"][language].item_labels(item) for item in items]
        tags = range(len(materials.shape.labels))
        answers[language] = [[int(t) if draw.random() < 0.8 else draw.choice(tags) for t in g if t >= 0] for g in gold]
    expected = score(materials, "validation", plan, answers)["f1"]
    frame = predictions.table(materials, "validation", plan, {"answers": answers}).to_pandas()
    for language, rows in frame.groupby("language"):
        assert len(rows) == ROWS and rows["score"].nunique() > 5
        mean = float(np.average(rows["score"], weights=rows["weight"]))
        assert mean == pytest.approx(expected[str(language)]), language
        assert mean != pytest.approx(rows["score"].mean(), abs=1e-3), "the weights matter here"


def test_a_sentence_weighs_as_much_as_there_is_to_find_in_it() -> None:
    gold, answers = [[1, 2], [1, 0, 1], [0, 0]], [[1, 2], [1, 0, 0], [0, 1]]
    items = [Item(((0, *range(5, 5 + len(tags)), 2),), (IGNORED, *tags, IGNORED), row) for row, tags in enumerate(gold)]
    rows = [{"tokens": ["word"] * len(tags), "tags": tags} for tags in gold]
    materials = texts.write(Tagging(("O", "B-PER", "I-PER")), {"en": items}, {"en": rows})
    plan = stream(materials, "validation", None, 1024)
    frame = predictions.table(materials, "validation", plan, {"answers": {"en": answers}}).to_pandas()
    assert frame["score"].tolist() == pytest.approx([1.0, 2 / 3, 0.0])
    assert frame["weight"].tolist() == [2.0, 3.0, 1.0]
    official = score(materials, "validation", plan, {"en": answers})["f1"]["en"]
    assert float(np.average(frame["score"], weights=frame["weight"])) == pytest.approx(official) == pytest.approx(2 / 3)
