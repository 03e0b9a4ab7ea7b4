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


def written(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    return folder


XSID = (
    "# id = 1\n# text = raining soon\n# intent = weather/find\n1\training\tweather/find\tB-weather/attribute\n"
    "2\tsoon\tweather/find\tB-datetime\n\n# id = 2\n# text = \n1\t\tweather/find\tO\n\n"
)


@pytest.mark.parametrize("folder", ["data/xSID-0.7", "."])
def test_xsid_is_read_as_it_is_published(folder: str, tmp_path: Path) -> None:
    """Four columns, the words second; of the eight words of the release that are nothing each is one."""
    names = ("en.train", "en.valid", "en.test", "de-ba.valid", "de-ba.test", "no.test")
    data = written(tmp_path, {f"{folder}/{name}.conll": XSID for name in names})
    written(data, {"data/xSID-0.4/de-ba.test.conll": "another release", "de.projectedTrain.conll": "no split"})
    task = load("xsid", data)
    labels = catalogue()["xsid"].labels
    tags = [labels.index("B-weather/attribute"), labels.index("B-datetime")]
    rows = [{"tokens": ["raining", "soon"], "tags": tags}, {"tokens": [""], "tags": [0]}]
    assert task.rows["test"] == {"de-ba": rows, "en": rows, "nb": rows}
    assert set(task.rows["validation"]) == {"de-ba", "en"}
    # The usual names too, in CoNLL and in columns of the task's own.
    one = {"tokens": ["raining", "soon"], "slots": ["B-weather/attribute", "B-datetime"]}
    usual = written(tmp_path / "usual", {"test.en.conll": XSID, "test.de.jsonl": json.dumps(one)})
    assert load("xsid", usual, "test").rows["test"] == {"de": rows[:1], "en": rows}


NAMES, KINDS = "Ada B-PER\nnaa O\nRarraba B-DATE\n\nda O\n", "Ada PROPN\nnaa VERB\n\nda CCONJ\n"


@pytest.mark.parametrize(
    ("name", "folder", "content", "beside"),
    [
        ("masakhaner2", "masakhane-ner/MasakhaNER2.0/data", NAMES, ["masakhane-ner/data"]),
        ("masakhaner2", "MasakhaNER2.0/data", NAMES, ["data", "MasakhaNER2.0/transfer_corpus"]),
        ("masakhaner2", ".", NAMES, []),
        ("masakhapos", "masakhane-pos/data", KINDS, ["masakhane-pos/transfer_corpus"]),
        ("masakhapos", "data", KINDS, ["transfer_corpus"]),
        ("masakhapos", ".", KINDS, []),
    ],
)
def test_masakhanes_repositories_are_read_as_they_are_cloned(
    name: str, folder: str, content: str, beside: list[str], tmp_path: Path
) -> None:
    """Of their folders that one which has the data set: others hold an earlier one, or what transfer starts from."""
    splits = ("train", "dev", "test")
    files = {f"{folder}/{code}/{split}.txt": content for code in ("hau", "swa") for split in splits}
    written(tmp_path, files | {f"{other}/hau/{split}.txt": "no O data\n" for other in beside for split in splits})
    task = load(name, tmp_path, source_language="hau")
    counts = {split: {code: len(rows) for code, rows in found.items()} for split, found in task.rows.items()}
    assert counts == {"train": {"ha": 2}, "validation": {"ha": 2, "sw": 2}, "test": {"ha": 2, "sw": 2}}
    assert task.rows["test"]["sw"][0]["tokens"][:2] == ["Ada", "naa"]


@pytest.mark.parametrize("wrapped", [False, True])
def test_indicxnli_is_read_as_it_is_published(wrapped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrays, which the authors' own scripts also read under the split's name; not the texts translated back."""
    monkeypatch.setattr("trainables.tasks.store.read_hub", lambda *rest: iter([("hub:1", rows[0])]))
    rows = [{"premise": "p", "hypothesis": "h", "label": label} for label in (2, 0)]
    for split in ("dev", "test"):
        content = json.dumps({"validation" if split == "dev" else split: rows} if wrapped else rows, indent=6)
        written(tmp_path / "indicxnli" / "forward" / split, {f"xnli_{code}.json": content for code in ("as", "hi")})
        written(tmp_path / "indicxnli" / "backward" / split, {"xnli_as.json": "[]"})
    task = load("indicxnli", tmp_path, "validation", "test")
    assert {split: {c: len(r) for c, r in found.items()} for split, found in task.rows.items()} == {
        split: {"as": 2, "en": 1, "hi": 2} for split in ("validation", "test")
    }
    assert task.rows["test"]["hi"][0] == {"text": "p", "text_pair": "h", "label": 2}
