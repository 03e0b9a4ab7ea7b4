"""Tasks as a whole: which splits are read, from where, in which languages, and what is said about malformed data."""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from trainables import languages
from trainables.config import TaskConfig
from trainables.errors import UserError
from trainables.offline import intents
from trainables.tasks.definition import catalogue, complete
from trainables.tasks.plan import HELD_OUT, is_held_out
from trainables.tasks.task import load_task, task_key, task_shape

PAIRS = [
    {"premise": "It rains.", "hypothesis": "It is wet, \"very\" wet.", "label": "yes"},
    {"premise": "", "hypothesis": "Es regnet über Köln,\nimmer.", "label": "no"},
]  # fmt: skip
OWN = {"shape": "classification", "columns": {"text": "premise", "text_pair": "hypothesis"}, "labels": ["yes", "no"]}


def write(folder: Path, name: str, rows: list[dict[str, Any]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def own_task(folder: Path, definition: Mapping[str, Any] = OWN) -> TaskConfig:
    """A task described by a file in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "own.yaml").write_text(json.dumps(definition))
    return TaskConfig(name=str(folder / "own.yaml"))


@pytest.fixture
def pairs(miniatures: Path) -> TaskConfig:
    return TaskConfig(name=str(miniatures / "pairs.yaml"))


def test_targets_by_a_group_of_ones_own(tmp_path: Path) -> None:
    facts = {"xx": {"groups": ["hills"]}, "swh": {"groups": ["hills"]}}
    config = own_task(tmp_path, {**OWN, "facts": facts})
    for code in ("en", "xx", "sw", "yo"):
        for split in ("train", "validation"):
            write(tmp_path, f"{split}.{code}.jsonl", PAIRS)
    config = complete(config.model_copy(update={"target_languages": ("group:hills",)}))
    assert load_task(config, ("validation",)).target_languages == ("sw", "xx")
    near = config.model_copy(update={"target_languages": ("group:distance_syntactic<0.5",)})
    assert load_task(near, ("validation",)).target_languages == ("yo",)


def test_own_task_in_one_file(pairs: TaskConfig) -> None:
    task = load_task(pairs, ("train", "validation", "test"))
    assert task.languages == ("en", "de", "sw")
    assert {k: len(v) for k, v in task.rows["test"].items()} == {"de": 4, "en": 4, "sw": 4}
    assert list(task.rows["train"]) == ["en"]
    assert task.rows["train"]["en"][1] == {
        "text": "The cat sleeps on the sofa.",
        "text_pair": "The sofa is red.",
        "label": 1,
    }
    assert [row["label"] for row in task.rows["train"]["en"]] == [0, 1, 2, 0, 1, 2]
    assert task.rows["validation"]["sw"][2]["text"] == ""
    assert task.label_counts == {"en": 3, "de": 3, "sw": 3}
    assert task.definition.licence == "CC0"
    assert task.shape.labels == task_shape(pairs).labels == ("yes", "unclear", "no")


def test_only_the_splits_asked_for_are_read(miniatures: Path, tmp_path: Path) -> None:
    shutil.copytree(miniatures / "pairs", tmp_path / "pairs")
    shutil.copy(miniatures / "pairs.yaml", tmp_path)
    for path in (tmp_path / "pairs").glob("test.*"):
        path.write_bytes(b"\xff not a row")
    config = TaskConfig(name=str(tmp_path / "pairs.yaml"))
    task = load_task(config, ("train", "validation"))
    assert list(task.rows) == list(task.fingerprints) == ["train", "validation"]
    task_key(config)
    with pytest.raises(UserError, match=r"test\.de\.jsonl:1: must be UTF-8"):
        load_task(config, ("test",))


def test_a_split_depends_on_its_own_files_alone(pairs: TaskConfig) -> None:
    whole, part = load_task(pairs, ("train", "validation", "test")), load_task(pairs, ("train", "validation"))
    assert {k: whole.fingerprints[k] for k in part.fingerprints} == part.fingerprints
    assert whole.fingerprint != part.fingerprint
    assert whole.rows["validation"] == part.rows["validation"]


@pytest.mark.parametrize("ending", ["jsonl", "csv", "tsv", "parquet"])
def test_formats_hold_the_same_rows(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"train.en.{ending}"
    same = [{k: v.replace("\n", " ") for k, v in row.items()} for row in PAIRS] if ending == "tsv" else PAIRS
    if ending == "jsonl":
        write(tmp_path, path.name, same)
    elif ending == "parquet":
        pyarrow.parquet.write_table(pa.Table.from_pylist(same), path)
    else:
        comma = "," if ending == "csv" else "\t"
        lines = [comma.join(f'"{value}"' for value in row) for row in (same[0], *(r.values() for r in quoted(same)))]
        path.write_text("\ufeff" + "\r\n".join(lines) + "\r\n", encoding="utf-8")
    rows = load_task(own_task(tmp_path), ("train",)).rows["train"]["en"]
    assert rows == [{"text": r["premise"], "text_pair": r["hypothesis"], "label": i} for i, r in enumerate(same)]


def quoted(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Values as they stand between quotes in a CSV file."""
    return [{k: v.replace('"', '""') for k, v in row.items()} for row in rows]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"premise": "a", "label": "yes"}\n', "1: must have a column 'hypothesis', there are 'premise', 'label'"),
        (b'{"premise": "a", "hypotesis": "b"}\n', "1: must have a column 'hypothesis', did you mean 'hypotesis'?"),
        (b'\n{"premise": "a", "hypothesis": 3, "label": "yes"}\n', "2: hypothesis must be text (got 3)"),
        (
            b'{"premise": "a", "hypothesis": "b", "label": "yess"}\n',
            "1: label must be one of yes, no, or a number below 2, did you mean 'yes'? (got \"yess\")",
        ),
        (b'{"premise": "a", "hypothesis": "b", "label": 2}\n', "1: label must be one of yes, no, or a number below 2"),
        (b'{"premise": "a", "hypothesis": "b", "label": true}\n', "1: label must be one of yes, no"),
        (b'{"premise": "a", "hypothesis": "b", "label": -1}\n', "1: label is blank: these rows are published without"),
        (b'{"premise": "a\xff"}\n', "1: must be UTF-8 (got byte 0xff at position 14)"),
        (b'{"premise": "a"\n', "1: must be one JSON object"),
        (b'["a"]\n', '1: must be one JSON object (got ["a"])'),
    ],
)
def test_malformed_rows_are_one_line_with_file_and_row(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "train.en.jsonl").write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_task(own_task(tmp_path), ("train",))
    assert len(caught.value.lines) == 1
    assert caught.value.lines[0].startswith(f"{tmp_path / 'train.en.jsonl'}:{message}")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.en.csv", b"premise,hypothesis,label\na,b\n", "2: must have as many cells as the header"),
        ("train.en.csv", b'premise,hypothesis,label\na,"b"c,yes\n', "2: not valid CSV"),
        ("train.en.csv", b"premise,hypothesis,label\n\xff,b,yes\n", "2: must be UTF-8"),
        ("train.en.parquet", b"nonsense", " must be a Parquet file"),
        ("train.en.jsonl", b"", " has no rows for train"),
        ("train.en.jsonl", b"\n\n", " has no rows for train"),
    ],
)
def test_malformed_files_are_named(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=re.escape(f"{tmp_path / name}:{message}")):
        load_task(own_task(tmp_path), ("train",))


def test_several_malformed_rows_come_at_once_but_not_all(tmp_path: Path) -> None:
    write(tmp_path, "train.en.jsonl", [{"premise": i} for i in range(100)])
    with pytest.raises(UserError) as caught:
        load_task(own_task(tmp_path), ("train",))
    assert [line.split(": ")[0].rpartition(":")[2] for line in caught.value.lines] == ["1", "2", "3", "4", "5"]


def test_two_files_of_one_language_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "train.en.jsonl", PAIRS)
    (tmp_path / "train.en.csv").write_text("premise,hypothesis,label\n")
    with pytest.raises(UserError, match="a second file of train in 'en'"):
        load_task(own_task(tmp_path), ("train",))


def test_targets_by_name_and_by_group(shared_data: Path) -> None:
    def evaluated(*targets: str) -> tuple[str, ...]:
        config = TaskConfig(name="xnli", data_dir=shared_data, target_languages=targets)
        return load_task(config, ("validation",)).languages

    assert evaluated("sw", "ur") == ("en", "sw", "ur")
    assert evaluated("swh_Latn", "en") == ("en", "sw")
    assert evaluated("group:low_resource", "group:script:Arab") == ("en", "ar", "my", "sw", "ur")
    assert load_task(TaskConfig(name="xnli", data_dir=shared_data), ("validation",)).languages == (
        "en", "ar", "bg", "de", "el", "es", "fr", "hi", "ru", "sw", "th", "tr", "ur", "vi", "zh",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target_languages": ("sw", "yo")}, r"task\.target_languages: xnli has validation rows only in ar, .*'yo'"),
        (
            {"target_languages": ("german", "xx", "Swahilli", "jp", "german")},
            r"^task\.target_languages: xnli has no such language, did you mean 'de', 'sw'\? "
            r"\(got 'german', 'Swahilli'\)\n"
            r"task\.target_languages: xnli has validation rows only in ar, .*; looked for .*"
            r"\(got 'xx', 'jp' \(ja\?\)\)$",
        ),
        (
            {"target_languages": ("group:low", "de", "group:klass:3")},
            r"^task\.target_languages: unknown group of languages.*\n"
            r"task\.target_languages: unknown group of languages.*'klass:3'\)$",
        ),
        ({"source_language": "english"}, r"^task\.source_language: xnli has no such language, did you mean 'en'\?"),
        ({"source_language": "de"}, r"task\.source_language: xnli has train rows only in en; looked for .*train\.de"),
        ({"name": "xnly"}, r"task\.name: unknown task, did you mean 'xnli'\?"),
        ({"name": "own.yaml"}, r"task\.name: own\.yaml: no such file"),
        ({"data_dir": Path("/nowhere")}, r"task\.data_dir: must be a folder \(got /nowhere\)"),
    ],
)
def test_what_is_not_there_is_named(changes: dict[str, Any], message: str, shared_data: Path) -> None:
    config = TaskConfig.model_validate({"name": "xnli", "data_dir": shared_data, **changes})
    with pytest.raises(UserError, match=message):
        load_task(config, ("train", "validation"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ["yes"]}, "labels: a task of shape classification needs at least two"),
        ({"labels": ["a", "a"]}, "labels: must be different from each other"),
        ({"shape": "classify"}, "shape: must be 'classification'"),
        ({"files": "{split}.jsonl"}, "with {split} and {language} in it"),
        ({"column": {}}, "column: unknown"),
    ],
)
def test_a_malformed_task_file_is_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    config = own_task(tmp_path, {**OWN, **changes})
    with pytest.raises(UserError, match=re.escape(f"{tmp_path / 'own.yaml'}: ")) as caught:
        load_task(config, ("train",))
    assert message in str(caught.value)


def test_the_key_follows_the_files_without_reading_them(tmp_path: Path) -> None:
    config = own_task(tmp_path)
    write(tmp_path, "train.en.jsonl", PAIRS)
    (tmp_path / "test.en.jsonl").write_bytes(b"\xff")
    first = task_key(config)
    assert task_key(config) == first
    write(tmp_path, "train.en.jsonl", PAIRS * 2)
    second = task_key(config)
    write(tmp_path, "validation.sw.jsonl", PAIRS)
    assert len({first, second, task_key(config), task_key(own_task(tmp_path, {**OWN, "labels": ["no", "yes"]}))}) == 4


def test_the_key_of_groups_follows_what_is_said_of_languages(miniatures: Path) -> None:
    """By which they are members; languages that are named are none of it."""

    def key(targets: list[str], **groups: list[str]) -> str:
        facts = {code: {"groups": names} for code, names in groups.items()}
        given = {"name": str(miniatures / "names.yaml"), "target_languages": targets, "facts": facts}
        return task_key(TaskConfig.model_validate(given))

    assert len({key(["group:mine"], yo=["mine"]), key(["group:mine"], sw=["mine"]), key(["group:low_resource"])}) == 3
    assert key(["yo"], yo=["mine"]) == key(["sw"], sw=["mine"]) == key(["yo"])


def test_no_network_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(UserError) as caught:
        load_task(TaskConfig(name="xnli"), ("train",))
    (line,) = caught.value.lines
    assert line.startswith("task.name: needs facebook/xnli/en/train of the Hugging Face hub, which cannot be reached")
    assert "task.data_dir" in line


def hub_like(folder: Path) -> str:
    """A data set as the hub has it, with one configuration per language, in a local folder."""
    configs = []
    for language, words in {"en": ("a", "b"), "swh": ("c", "d")}.items():
        for split in ("train", "test"):
            target = folder / language / f"{split}.parquet"
            target.parent.mkdir(parents=True, exist_ok=True)
            rows = [{"premise": w, "hypothesis": split, "label": i} for i, w in enumerate(words)]
            pyarrow.parquet.write_table(pa.Table.from_pylist(rows), target)
        files = "".join(f"  - split: {s}\n    path: {language}/{s}.parquet\n" for s in ("train", "test"))
        configs.append(f"- config_name: {language}\n  data_files:\n{files}")
    (folder / "README.md").write_text(f"---\nconfigs:\n{''.join(configs)}---\n")
    return str(folder)


def test_rows_of_the_hub_come_by_language_configurations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "hf"))
    hub = {"id": hub_like(tmp_path / "repo"), "config": "{language}"}
    definition = {**OWN, "hub": hub, "languages": {"en": "en", "sw": "swh"}}
    task = load_task(own_task(tmp_path / "own", definition), ("train", "test"))
    assert task.rows["train"] == {"en": [{"text": w, "text_pair": "train", "label": i} for i, w in enumerate("ab")]}
    assert [row["text"] for row in task.rows["test"]["sw"]] == ["c", "d"]
    with pytest.raises(UserError, match=r"cannot read .*/en/validation from the Hugging Face hub; task\.data_dir"):
        load_task(own_task(tmp_path / "own", definition), ("validation",))


def test_the_catalogue_is_whole() -> None:
    assert catalogue()["intents"].labels == intents.LABELS
    for name, definition in catalogue().items():
        assert definition.description, name
        assert definition.licence, name
        assert definition.citation, name
        without = name in ("intents_areas", "lareqa", "mewslix", "taxi1500", "xsid")
        elsewhere = definition.builtin is not None or definition.crossed or without
        assert (definition.hub is None) == elsewhere, name
        assert {languages.base(code) for code in definition.codes} <= set(languages.table()), name
        assert all(languages.normalize(code) == code for code in definition.codes), name
        for part in (*definition.splits.train, *definition.splits.validation, *definition.splits.test):
            assert part.task is None or part.task in catalogue(), name


def test_the_areas_are_the_intents_under_coarser_classes() -> None:
    fine, coarse = (load_task(TaskConfig(name=name), ("train", "validation")) for name in ("intents", "intents_areas"))
    names, areas = catalogue()["intents"].labels, catalogue()["intents_areas"].labels
    for split in ("train", "validation"):
        for language, rows in fine.rows[split].items():
            same = coarse.rows[split][language]
            assert [row["text"] for row in same] == [row["text"] for row in rows]
            pairs = {(names[a["label"]], areas[b["label"]]) for a, b in zip(rows, same, strict=True)}
            assert len({name for name, _ in pairs}) == len(pairs)  # a class of one is in one of the other
    assert {row["label"] for row in coarse.rows["train"]["en"]} == set(range(len(areas)))


def test_the_embedded_task_loads_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    intents.ensure()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: pytest.fail("asked for the network"))
    task = load_task(TaskConfig(), ("train", "validation"))
    assert len(task.languages) == 49
    assert task.label_counts["en"] == 29
    assert task.label_counts["af"] < 29


def test_sib200_is_an_own_task(miniatures: Path, shared_data: Path) -> None:
    config = TaskConfig(name=str(miniatures / "sib200.yaml"), data_dir=shared_data / "sib200")
    task = load_task(config, ("train", "validation", "test"))
    assert len(task.rows["train"]["en"]) == 701
    assert len(task.languages) == 68
    assert {len(rows) for rows in task.rows["validation"].values()} == {99}
    assert {len(rows) for rows in task.rows["test"].values()} == {204}
    assert set(task.label_counts.values()) == {7}
    assert len(languages.group("low_resource", task.target_languages)) > 25


def test_a_tenth_of_the_contexts_is_held_out() -> None:
    held = sum(is_held_out(f"context {i}") for i in range(10_000))
    assert abs(held / 10_000 - HELD_OUT) < 0.01
    assert is_held_out("x") == is_held_out("x")
