"""The sets that studies of low-resource transfer report, on their real files where those are at hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from trainables.config import TaskConfig
from trainables.errors import UserError
from trainables.languages import language, normalize, table
from trainables.tasks.definition import Hub, catalogue
from trainables.tasks.hub import read_hub
from trainables.tasks.plan import Plan
from trainables.tasks.task import Task, load_task

LOW_RESOURCE = (
    "nusax afrisenti masakhanews masakhaner2 masakhapos sib200 americasnli taxi1500 belebele afrixnli indicxnli xsid"
)

READ_HERE = {"nusax", "afrisenti", "masakhanews", "sib200", "americasnli", "taxi1500"}


def load(name: str, data: Path, *splits: str, **changes: Any) -> Task:
    return load_task(TaskConfig(name=name, data_dir=data, **changes), splits or ("train", "validation", "test"))


@pytest.mark.parametrize("name", LOW_RESOURCE.split())
def test_an_entry_says_where_it_is_from_and_what_it_was_held_against(name: str) -> None:
    task = catalogue()[name]
    assert task.licence
    assert task.citation
    assert task.checked == ("files" if name in READ_HERE else "never")
    Plan.of(TaskConfig(name=name))
    dialects = {"de-ba", "de-muc", "de-st"}  # xSID's own names, which stand for no row of the table
    assert {code for code in task.codes if code not in table()} <= dialects
    assert all(
        language(code).script for code in task.codes if code not in {"bzd", "cni", "hch", "nah", "oto", "shp", "tar"}
    )


def test_sib_200_has_its_205_languages(shared_data: Path) -> None:
    names = (shared_data / "languages" / "flores200.txt").read_text().split()
    assert sorted(catalogue()["sib200"].spelt) == sorted(names)
    assert len(set(catalogue()["sib200"].codes)) == 205
    assert len(set(catalogue()["belebele"].codes)) == 122


def test_nusax_is_a_whole_study_of_twelve_languages(shared_data: Path) -> None:
    task = load("nusax", shared_data)
    assert {split: {len(rows) for rows in by.values()} for split, by in task.rows.items()} == {
        "train": {500}, "validation": {100}, "test": {400},
    }  # fmt: skip
    assert task.languages == ("en", "ace", "ban", "bbc", "bjn", "bug", "id", "jv", "mad", "min", "nij", "su")
    labels = [{code: row["label"] for code, row in zip(task.rows["test"], rows, strict=True)} for rows in
              zip(*task.rows["test"].values(), strict=True)]  # fmt: skip
    assert all(len(set(row.values())) == 1 for row in labels)  # parallel, and labels are those of the item


def test_afrisenti_trains_on_nusaxs_english_or_on_a_language_of_its_own(shared_data: Path) -> None:
    english = load("afrisenti", shared_data)
    assert len(english.rows["train"]["en"]) == 500
    assert len(english.target_languages) == 14
    nusax = load("nusax", shared_data, "train")
    theirs, ours = catalogue()["nusax"].labels, catalogue()["afrisenti"].labels
    for mine, there in zip(english.rows["train"]["en"], nusax.rows["train"]["en"], strict=True):
        assert (mine["text"], ours[mine["label"]]) == (there["text"], theirs[there["label"]])
    hausa = load("afrisenti", shared_data, "train", "validation", source_language="ha")
    assert (len(hausa.rows["train"]["ha"]), len(hausa.target_languages)) == (300, 13)
    assert "en" not in hausa.rows["validation"]


def test_a_source_of_its_own_needs_no_other_tasks_data(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(shared_data / "afrisenti", tmp_path / "afrisenti")
    assert load("afrisenti", tmp_path, "train", source_language="hau").source_language == "ha"
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr("trainables.tasks.store.read_hub", lambda hub, *rest: asked.append((hub.id, *rest)) or iter(()))
    with pytest.raises(UserError, match="has no rows for train"):
        load("afrisenti", tmp_path, "train")  # English is borrowed, from a folder or else from the hub
    assert asked[0][:2] == ("indonlp/NusaX-senti", "en")


def test_masakhanews(shared_data: Path) -> None:
    task = load("masakhanews", shared_data, "train", "test", source_language="yor")
    assert (len(task.rows["train"]["yo"]), len(task.target_languages)) == (100, 15)
    raw = json.loads((shared_data / "masakhanews" / "test.eng.jsonl").read_text().splitlines()[0])
    assert task.rows["test"]["en"][0] == {"text": raw["headline"], "text_pair": raw["text"], "label": raw["label"]}


def test_americasnli_is_trained_and_its_english_scored_on_xnli(shared_data: Path) -> None:
    task = load("americasnli", shared_data, "train", "validation")
    assert task.target_languages == ("ay", "bzd", "cni", "gn", "hch", "nah", "oto", "qu", "shp", "tar")
    assert len(task.rows["train"]["en"]) == 8000
    assert len(task.rows["validation"]["en"]) == 500
    assert len(task.rows["validation"]["oto"]) == 222


def test_taxi1500_takes_the_languages_that_have_files(shared_data: Path) -> None:
    task = load("taxi1500", shared_data)
    assert task.languages == ("en", "chr", "cop", "eu", "syr", "uk")
    assert {len(rows) for rows in task.rows["test"].values()} == {111}
    assert task.label_counts["chr"] == 6


def test_sib200(shared_data: Path) -> None:
    task = load("sib200", shared_data)
    there = {path.name.split(".")[1] for path in (shared_data / "sib200").glob("test.*")}
    assert set(task.languages) == {normalize(name) for name in there}
    assert len(task.rows["train"]["en"]) == 701


def hub_of(folder: Path, names: list[str], column: str = "label") -> Hub:
    """A data set as the hub has it, whose numbers are classes with names."""
    import datasets

    feature = datasets.ClassLabel(names=names)
    if column == "tags":
        feature = datasets.List(feature)
    values: list[Any] = [[0, 1]] if column == "tags" else [0]
    rows = datasets.Dataset.from_dict({column: values}, features=datasets.Features({column: feature}))
    (folder / "data").mkdir(parents=True)
    rows.to_parquet(str(folder / "data" / "test-00000-of-00001.parquet"))
    return Hub(id=str(folder))


@pytest.mark.parametrize("column", ["label", "tags"])
def test_the_hubs_own_names_of_classes_must_be_ours(
    column: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    hub = hub_of(tmp_path / "repo", ["positive", "negative", "neutral"], column)
    same = read_hub(hub, "en", "en", "test", (column, ("positive", "negative", "neutral")))
    assert [row[column] for _, row in same] == ([[0, 1]] if column == "tags" else [0])
    for ours, message in (
        (("positive", "neutral", "negative"), "number 1 must be 'neutral' (got 'negative')"),
        (("positive", "negative"), "number 2 must be 'none' (got 'neutral')"),
    ):
        with pytest.raises(UserError) as caught:
            list(read_hub(hub, "en", "en", "test", (column, ours)))
        assert len(caught.value.lines) == 1
        assert f"the hub's classes of {column} are not those of the task, {message}" in str(caught.value)


def test_a_loading_script_is_never_run() -> None:
    with pytest.raises(UserError) as caught:
        load_task(TaskConfig(name="masakhaner2", source_language="hau"), ("train",))
    assert str(caught.value) == (
        "task.data_dir: the hub has masakhaner2 as a loading script (masakhane/masakhaner2), which is never run; name "
        "a folder that has its files, such as masakhaner2/train.en.jsonl (got none)"
    )
