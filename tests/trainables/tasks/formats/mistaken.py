"""Files of every format with random mistakes: what they must come to, for the suite and for ``make chaos``."""

from __future__ import annotations

import gzip
import json
import lzma
import tempfile
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
from hypothesis import strategies as st

from trainables.errors import UserError
from trainables.tasks.base import RowError
from trainables.tasks.formats.reading import Raw, Reading, sound
from trainables.tasks.formats.registry import Piece, read_piece

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=12)
WORD = st.text(st.characters(categories=["L", "M", "N", "Po"]), min_size=1, max_size=6)
TAGS = st.sampled_from(["O", "B-PER", "B-LOC"])
TABLE = st.lists(
    st.fixed_dictionaries({"text": TEXT.map(lambda t: f"x{t}"), "label": st.sampled_from("ab")}), min_size=1, max_size=6
)
SENTENCES = st.lists(st.lists(st.tuples(WORD, TAGS), min_size=1, max_size=4), min_size=1, max_size=4)


def _cells(rows: Sequence[Mapping[str, str]], separator: str, quote: bool) -> bytes:
    lines = [list(rows[0]), *([row[name] for name in rows[0]] for row in rows)]
    if quote:
        lines = [[f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in cells] for cells in lines]
    return "".join(separator.join(cells) + "\n" for cells in lines).encode()


def _parquet(rows: Sequence[Mapping[str, str]]) -> bytes:
    pyarrow.parquet.write_table(pa.Table.from_pylist(list(rows)), target := BytesIO())
    return target.getvalue()


def _arrow(rows: Sequence[Mapping[str, str]]) -> bytes:
    table = pa.Table.from_pylist(list(rows))
    with pa.ipc.new_stream(target := BytesIO(), table.schema) as stream:
        stream.write_table(table)
    return target.getvalue()


def _squad(rows: Sequence[Mapping[str, str]]) -> bytes:
    asked = [{"context": r["text"], "qas": [{"id": r["label"], "question": r["label"]}]} for r in rows]
    return json.dumps({"data": [{"title": "t", "paragraphs": asked}]}, ensure_ascii=False).encode()


def _conll(sentences: Sequence[Sequence[tuple[str, str]]], separator: str) -> bytes:
    return "\n".join("".join(f"{word}{separator}{tag}\n" for word, tag in words) for words in sentences).encode()


def _conllu(sentences: Sequence[Sequence[tuple[str, str]]]) -> bytes:
    lines = ("".join(f"{i}\t{w}\t_\t{t}" + "\t_" * 6 + "\n" for i, (w, t) in enumerate(s, 1)) for s in sentences)
    return "\n".join(lines).encode()


OF_TABLES: Mapping[str, Callable[[Any], bytes]] = {
    "a.jsonl": lambda rows: "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode(),
    "b.ndjson": lambda rows: "".join(json.dumps(row) + "\n" for row in rows).encode(),
    "a.json": lambda rows: json.dumps(rows).encode(),
    "squad.json": _squad,
    "a.csv": lambda rows: _cells(rows, ",", quote=True),
    "a.tsv": lambda rows: _cells(rows, "\t", quote=False),
    "b.tsv": lambda rows: _cells(rows, "\t", quote=True),
    "a.parquet": _parquet,
    "a.arrow": _arrow,
}
OF_SENTENCES: Mapping[str, Callable[[Any], bytes]] = {
    "tabs.conll": lambda sentences: _conll(sentences, "\t"),
    "blanks.conll": lambda sentences: _conll(sentences, " "),
    "a.conllu": _conllu,
}
PACKINGS: Mapping[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: bytes(pa.compress(data, codec="zstd", asbytes=True)),
}
ROW_A_LINE = ("a.jsonl", "b.ndjson", "a.tsv")
"""Files of which each line that is not blank is a row, or else an error."""


@st.composite
def mistakes(draw: st.DrawFn, content: bytes) -> bytes:
    """Content with a few mistakes: bytes cut out, put in, changed or repeated, lines joined or left out."""
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 8)))
        put = draw(
            st.sampled_from(
                [b"", b"\n", b"\t", b'"', b"\r", b" ", b"\xff", b"{", b"\\ud800", b"\0", content[start:end] * 2]
            )
        )
        content = content[:start] + put + content[end:]
    return content


@st.composite
def files(draw: st.DrawFn) -> tuple[str, bytes, bytes, Any]:
    """(name, content as it should be, content with mistakes, the rows of the former)."""
    name = draw(st.sampled_from([*OF_TABLES, *OF_SENTENCES]))
    rows = draw(TABLE if name in OF_TABLES else SENTENCES)
    packing = draw(st.sampled_from(list(PACKINGS)))
    content = {**OF_TABLES, **OF_SENTENCES}[name](rows)
    before = draw(st.booleans())  # mistakes in what is packed, or in the package
    whole = PACKINGS[packing](content)
    broken = PACKINGS[packing](draw(mistakes(content))) if before else draw(mistakes(whole))
    return f"{name}{packing}", whole, broken, rows


def check(name: str, whole: bytes, broken: bytes, rows: Any) -> None:
    """Raise AssertionError unless the file gives its rows, and the one with mistakes rows or lines about them."""
    reading = Reading(shape="tagging" if name.partition(".c")[2].startswith("onll") else None)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(whole)
        assert _plain([row for _, row in sound(read_piece(Piece(path), reading))]) == _plain(rows), name
        path.write_bytes(broken)
        found: list[Raw] = []
        try:
            found = list(read_piece(Piece(path), reading))
        except UserError as error:
            problems = error.lines
        else:
            problems = []
        assert all(str(path) in line and "\n" not in line for line in problems), problems
        for place, row in found:
            assert place.startswith(str(path)) and isinstance(row, dict | RowError), (place, row)
            assert not isinstance(row, RowError) or "\n" not in str(row), str(row)
        if name in ROW_A_LINE and not problems:
            _none_is_dropped(name, broken, found)


def _plain(rows: Any) -> Any:
    """Rows of any format in one form: texts with their labels, or words with their tags."""
    plain = []
    for row in rows:
        if isinstance(row, list):
            plain.append([list(pair) for pair in row])
        elif "tokens" in row:
            plain.append([list(pair) for pair in zip(row["tokens"], row["tags"], strict=True)])
        else:
            plain.append([row.get("context", row.get("text")), row.get("question", row.get("label"))])
    return plain


def _none_is_dropped(name: str, content: bytes, found: Sequence[Raw]) -> None:
    blank = bytes.strip if name.endswith("json") or name.endswith("jsonl") else lambda line: line.strip(b"\r\n")
    lines = [line for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n") if blank(line)]
    expected = len(lines) - (1 if name.endswith("tsv") and lines else 0)
    assert len(found) == expected or any(type(row).__name__ == "DataError" for _, row in found), (content, found)
