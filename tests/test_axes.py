"""``python benchmarks/axes.py``: what it runs at equal cost, that it goes on where it was, and what it dares to say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks import ascent, axes
from benchmarks.axes import AXES, COLUMNS, SCORES, Compared, Run
from study.question.config import StudyConfig
from study.question.pages import put
from trainables.loading import apply_point, validate
from trainables.perturbation import METHODS, around, create

BASE = axes.base_of(budget=60.0, examples=2)
STUDY = validate(StudyConfig, {"name": "axes", "trial": BASE.model_dump(mode="json")})
LANGUAGES = ("en", "de", "fi", "sw", "yo", "am")


def line(run: Run, gain: float = 0.0) -> dict[str, Any]:
    """What a run would have left: seeds differ by a little, doses by `gain`."""
    drawn = {"0": 0.0, "1": 0.013, "2": -0.007}[str(run.seed)] + gain * (1 + 0.1 * run.seed)
    scores = {metric: dict.fromkeys(LANGUAGES, 0.5 + drawn) for metric in SCORES}
    known = {"step": 10, "forward_equivalents": 60.0, "reported": run.dose, "cpu_seconds": 60.0}
    return {"key": axes.key(BASE, run), "scores": scores, **known}


def test_every_axis_is_dosed_by_what_its_method_reads_at_the_same_cost() -> None:
    runs = axes.planned(range(3), BASE)
    assert len(runs) == 3 * (1 + 6 * 3 + 2) and len({axes.key(BASE, run) for run in runs}) == len(runs)
    assert [run.budget for run in runs[-2:]] == [30.0, 36.0], "clean training in the steps of SAM, and of PGD-1"
    assert [run.axis for run in runs[: 3 * (1 + 6 * 3) : 1 + 6 * 3]] == [None] * 3, (
        "each seed begins with clean training"
    )
    for axis in AXES:
        trials = [apply_point(BASE, Run(axis, dose, 0).point) for dose in axis.doses]
        assert len({trial.model_dump_json() for trial in trials}) == len(axis.doses) == 3
        costs = {create(trial.perturbation).forward_equivalents for trial in trials}
        assert len(costs) == 1, "a dose changes no cost"
        (method,) = {axis.fixed.get("perturbation.method"), axis.fixed.get("augmentation.method")} - {None}
        assert method == axis.method


def test_what_is_in_the_record_is_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed after some runs, with a line cut in half, it does the others; then it has nothing left to do."""
    record, page, done = tmp_path / "runs.jsonl", tmp_path / "page.md", []
    page.write_text(f"before\n{axes.BEGIN}\nold\n{axes.END}\nafter\n")
    asked = ["--budget", "60", "--examples", "2", "--record", str(record), "--write"]
    asked += ["--page", str(page), "--figure", str(tmp_path / "axes.png")]

    def carried_out(runs: Sequence[Run], *_: Any, most: int = 1000) -> Any:
        for run in runs[:most]:
            done.append(axes.key(BASE, run))
            yield line(run)

    monkeypatch.setattr(axes, "carried_out", lambda *arguments: carried_out(*arguments, most=20))
    with pytest.raises(KeyError):  # stands for a kill: what is there is no page yet
        axes.main(asked)
    with record.open("a") as file:
        file.write('{"key": "cut o')
    assert page.read_text().split("\n")[2] == "old"
    monkeypatch.setattr(axes, "carried_out", carried_out)
    axes.main(asked)
    assert len(done) == len(set(done)) == 63
    axes.main(asked)
    assert len(done) == 63
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "\nold\n" not in text
    assert (tmp_path / "axes.png").stat().st_size > 1000
    assert "63 runs of 60 forward-equivalents" in text and text.count("| `sam` |") == 3
    assert text.count("| clean, fewer steps | `none` |") == 2
    assert "0 of 24 comparisons of inputs, weights, dropout, segmentation lie outside their seeds' spread" in text
    assert "\n- No axis differs from clean training by more than its seeds' spread, in any of 108" in text
    assert "63 of them in" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="has no <!--"):
        put(record, "text", axes.BEGIN, axes.END)


def rows(gains: dict[str, tuple[float, ...]]) -> list[Compared]:
    """Differences by axis, of all doses and scores alike."""
    none = (0.5, -0.4, 0.1)
    return [
        Compared(axis, dose, metric, mean, gains.get(axis.name, none))
        for axis in AXES
        for metric, mean in COLUMNS
        for dose in axis.doses
    ]


def test_sentences_follow_from_the_numbers() -> None:
    first, *others = axes.said(rows({}))
    assert first.startswith("No axis differs from clean training") and "(5 would by chance alone)" in first
    assert all("nothing can be told" in text for text in others[:-1])
    assert others[-1].startswith("On noisy texts no axis does more, or less")
    first, *others = axes.said(rows({"weights": (2.0, 2.1, 1.9), "noise": (-3.0, -3.1, -2.9)}))
    assert first.startswith("36 of 108 comparisons with clean training lie outside their seeds' spread; 5 would")
    assert next(text for text in others if text.startswith("weights")).startswith("weights (`sam`): gains at 0.02 +2.0")
    assert "loses at 0.2 −3.0 (as they are, all)" in next(text for text in others if text.startswith("noise"))
    assert "inputs (`adversarial`): nothing can be told from clean training." in others
    few = rows({})
    few[0] = Compared(few[0].axis, few[0].dose, few[0].metric, few[0].mean, (2.0, 2.1, 1.9))
    assert "1 of 108" in next(axes.said(few)) and "none of them is to be believed" in next(axes.said(few))
    (only,) = axes.said([Compared(r.axis, r.dose, r.metric, r.mean, (1.0,)) for r in few])
    assert only.startswith("One seed says nothing")


def test_what_fewer_steps_lose_is_told_from_what_a_method_does() -> None:
    """Thirty clean steps lose five points, and SAM no more than they do: at equal cost it loses, in equal steps not."""
    runs = axes.planned(range(3), BASE)
    short = {run: run.budget == 30.0 or (run.axis is not None and run.axis.name == "weights") for run in runs}
    found = {run: line(run, gain=-0.05 * short[run]) for run in runs}
    [sam] = {row.is_told for row in axes.compared(found, STUDY) if row.axis.name == "weights"}
    equal = axes.compared(found, STUDY, at_equal_steps=True)
    assert sam and not any(row.is_told for row in equal if row.axis.name == "weights")
    (text,) = axes.said_at_equal_steps(equal, STUDY)
    # R-Drop and two segmentations take as many steps, and lose nothing here.
    assert "12 of 24 comparisons" in text and "dropout at 0.3 +5." in text and "weights at" not in text


def test_noisy_texts_are_told_from_clean_ones_by_the_same_seeds() -> None:
    found = [
        Compared(r.axis, r.dose, r.metric, r.mean, (3.0, 2.9, 3.2) if "character" in r.metric else r.differences)
        for r in rows({"spelling": (1.0, 1.0, 1.1)})
    ]
    last = [*axes.said(found)][-1]
    assert "Noisy texts change otherwise than clean ones" in last and "spelling at 0.05 (a tenth of the words" in last


def test_a_run_is_scored_on_clean_and_noisy_texts_at_the_cost_that_was_asked_for() -> None:
    """A real one, of the dearest step and of the axis that changes the texts."""
    base = apply_point(axes.base_of(budget=12.0, examples=1), {"task.target_languages": ["de", "ml"]})
    for name in ("weights", "spelling"):
        axis = next(axis for axis in AXES if axis.name == name)
        found = json.loads(json.dumps(axes.carry_out(base, Run(axis, axis.doses[1], 0))))
        assert found["forward_equivalents"] == 12.0 and found["step"] == (2 if name == "weights" else 4)
        assert set(found["scores"]) == set(SCORES)
        assert all(set(scores) == {"en", "de", "ml"} for scores in found["scores"].values())


def test_the_cost_of_every_method_is_measured_and_held_to_a_tenth_of_its_arithmetic() -> None:
    """But of the one that computes attention in the open, which no clean step does."""
    assert {*METHODS, *(way.name for way in around())} - {method for method, *_ in ascent.METHODS} == {"none", "ear"}
    assert all(0 < limit <= 0.1 for *_, limit in ascent.METHODS)
    rows, broken = ascent.table([[1.0, 1.01, 1.02], [2.0, 2.0, 2.0]], ascent.METHODS[:2])
    assert rows[2] == "| random_perturbation |  | 1.010 | ± 0.010 | 1.000 | +1.0 % | 3 % kept |"
    assert broken == 1 and rows[3].endswith("+100.0 % | 3 % BROKEN |")
