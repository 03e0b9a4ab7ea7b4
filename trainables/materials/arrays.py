"""How tokenised data and rows lie in a folder: an array a file, memory-mapped; rows as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainables.batch import Encoded
from trainables.tasks.base import Row


def places(rows: npt.NDArray[Any], kept: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Where each of these vocabulary rows is among those that were kept, which may stand in any order."""
    order = np.argsort(kept)
    return order[np.searchsorted(kept, rows, sorter=order)]


def renumbered(encoded: Encoded, kept: npt.NDArray[np.int64]) -> Encoded:
    place = np.zeros(int(kept.max()) + 1, dtype=np.int32)
    place[kept] = np.arange(len(kept))
    return Encoded(**encoded.arrays() | {"ids": place[encoded.ids]})


def of_rows(encoded: Encoded, numbers: npt.NDArray[np.int64]) -> Encoded:
    """What was tokenised of some rows, with the numbers that these have among all."""
    return replace(encoded, rows=numbers[encoded.rows])


def save(folder: Path, languages: Mapping[str, Encoded]) -> None:
    """One file per array: the languages one after another, offsets running on, so that a slice is a language."""
    folder.mkdir()
    index: dict[str, list[int]] = {}
    items = sequences = 0
    for language, encoded in languages.items():
        index[language] = [items, items + len(encoded), sequences, sequences + len(encoded.offsets) - 1]
        items, sequences = index[language][1], index[language][3]
    parts = [encoded.arrays() for encoded in languages.values()]
    for name in ("ids", "special", "labels", "rows", *(("parents",) if "parents" in parts[0] else ())):
        np.save(folder / f"{name}.npy", np.concatenate([part[name] for part in parts]))
    for name in ("offsets", "label_offsets"):
        np.save(folder / f"{name}.npy", _running(part[name] for part in parts))
    (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")


def _running(offsets: Any) -> npt.NDArray[np.int64]:
    running = [np.zeros(1, dtype=np.int64)]
    for part in offsets:
        running.append(part[1:] + running[-1][-1])
    return np.concatenate(running)


def load_arrays(folder: Path) -> dict[str, Encoded]:
    array = {p.stem: np.load(p, mmap_mode="r") for p in folder.glob("*.npy")}
    index: dict[str, list[int]] = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    return {
        language: Encoded(
            ids=array["ids"],
            special=array["special"],
            offsets=array["offsets"][first_sequence : end_sequence + 1],
            labels=array["labels"],
            label_offsets=array["label_offsets"][first : end + 1],
            rows=array["rows"][first:end],
            parents=array.get("parents"),
        )
        for language, (first, end, first_sequence, end_sequence) in index.items()
    }


def noised_folder(split: str) -> str:
    return f"{split}.noised"


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(dict(row), ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def read_rows(path: Path) -> list[Row]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def rows_of_names(folder: Path) -> dict[str, list[Row]]:
    """Rows of noisy files by what `noised.key_of` calls them."""
    return {f.relative_to(folder).with_suffix("").as_posix(): read_rows(f) for f in sorted(folder.glob("*/*.jsonl"))}
