"""Files of every format with random mistakes: what they must come to, for the suite and for ``make chaos``."""

from __future__ import annotations

import codecs
import csv
import gzip
import json
import lzma
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
from hypothesis import strategies as st

from trainables.errors import UserError
from trainables.tasks.base import DataError, RowError
from trainables.tasks.formats.reading import Raw, Reading, sound
from trainables.tasks.formats.registry import Piece, read_piece

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=12)
WORD = st.text(st.characters(categories=["L", "M", "N", "Po"]), min_size=1, max_size=6).filter(
    lambda word: not word.startswith("#")  # where a sentence begins so, it may be a comment: `test_formats` has those
)
TAGS = st.sampled_from(["O", "B-PER", "B-LOC"])
TABLE = st.lists(
    st.fixed_dictionaries({"text": TEXT.map(lambda t: f"x{t}"), "label": st.sampled_from("ab")}), min_size=1, max_size=6
)
SENTENCES = st.lists(st.lists(st.tuples(WORD, TAGS), min_size=1, max_size=4), min_size=1, max_size=4)

Sentences = Sequence[Sequence[tuple[str, str]]]


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


def _conll(sentences: Sentences, line: str) -> bytes:
    """Sentences of lines in which ``{i}``, ``{word}`` and ``{tag}`` stand."""
    lines = (
        "".join(line.format(i=i, word=w, tag=t) + "\n" for i, (w, t) in enumerate(words, 1)) for words in sentences
    )
    return "\n".join(lines).encode()


def _texts(rows: Sequence[Mapping[str, str]], column: str) -> bytes:
    return "".join(f"{row[column]}\n" for row in rows).encode()


@dataclass(frozen=True)
class Kind:
    """A way to write rows."""

    written: Callable[[Any], tuple[bytes, ...]]
    """The files' contents: several where lines belong together."""
    reading: Reading
    count: Callable[[bytes], int | None]
    """How many rows a file has, if that can be told without reading them as we do; None where not."""
    has: Callable[[Any], Any] = list
    """Which part of the rows is written."""


def _lines(content: bytes) -> list[bytes]:
    lines = content.removeprefix(codecs.BOM_UTF8).split(b"\n")
    return lines if lines[-1] else lines[:-1]


def _objects(content: bytes) -> int:
    return sum(1 for line in _lines(content) if line.decode().strip())


def _cells_of(content: bytes) -> int:
    return sum(1 for line in _lines(content) if line.strip(b"\r\n"))


def _below_header(content: bytes) -> int:
    return max(0, _cells_of(content) - 1)


def _records(content: bytes) -> int:
    text = content.decode("utf-8-sig")
    return max(0, sum(1 for cells in csv.reader(StringIO(text, newline=""), strict=True) if cells) - 1)


def _array(content: bytes) -> int | None:
    value = json.loads(content.decode("utf-8-sig"))
    return len(value) if isinstance(value, list) else None


def _questions(content: bytes) -> int:
    articles = json.loads(content.decode("utf-8-sig"))["data"]
    return sum(len(paragraph["qas"]) for article in articles for paragraph in article["paragraphs"])


def _sentences(content: bytes) -> int:
    """Runs of lines, between blank ones, that are not all comments."""
    runs, words = 0, 0
    for line in [*_lines(content), b""]:
        if not line.rstrip(b"\r\n").strip(b" \t"):
            runs, words = runs + (words > 0), 0
        words += not line.startswith(b"#") and bool(line.rstrip(b"\r\n").strip(b" \t"))
    return runs


def _rows_of_arrow(content: bytes) -> int:
    with pa.ipc.open_stream(content) as stream:
        return int(stream.read_all().num_rows)


PLAIN, TAGGING = Reading(), Reading(shape="tagging")
TABLES: Mapping[str, Kind] = {
    "a.jsonl": Kind(
        lambda rows: ("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode(),), PLAIN, _objects
    ),
    "b.ndjson": Kind(lambda rows: ("".join(json.dumps(row) + "\n" for row in rows).encode(),), PLAIN, _objects),
    "a.json": Kind(lambda rows: (json.dumps(rows).encode(),), PLAIN, _array),
    "squad.json": Kind(lambda rows: (_squad(rows),), PLAIN, _questions),
    "a.csv": Kind(lambda rows: (_cells(rows, ",", quote=True),), PLAIN, _records),
    "a.tsv": Kind(lambda rows: (_cells(rows, "\t", quote=False),), PLAIN, _below_header),
    "b.tsv": Kind(lambda rows: (_cells(rows, "\t", quote=True),), PLAIN, _below_header),
    "headerless.tsv": Kind(
        lambda rows: ("".join(f"{row['text']}\t{row['label']}\n" for row in rows).encode(),),
        Reading(header=("text", "label")),
        _cells_of,
    ),
    "a.parquet": Kind(lambda rows: (_parquet(rows),), PLAIN, lambda c: int(pa.parquet.read_table(BytesIO(c)).num_rows)),
    "a.arrow": Kind(lambda rows: (_arrow(rows),), PLAIN, _rows_of_arrow),
    "a.txt": Kind(
        lambda rows: (_texts(rows, "text"),),
        Reading(format="text"),
        lambda content: len(_lines(content)),
        lambda rows: [{"text": row["text"]} for row in rows],
    ),
    "parallel": Kind(
        lambda rows: (_texts(rows, "text"), _texts(rows, "label")), PLAIN, lambda content: len(_lines(content))
    ),
}
IDS = Reading(shape="tagging", header=("id", "tokens", "intent", "tags"))
PLUS = "# global.columns = ID FORM UPOS\n"
SENTENCE_FILES: Mapping[str, Kind] = {
    "tabs.conll": Kind(lambda found: (_conll(found, "{word}\t{tag}"),), TAGGING, _sentences),
    "blanks.conll": Kind(lambda found: (_conll(found, "{word} {tag}"),), TAGGING, _sentences),
    "three.conll": Kind(lambda found: (_conll(found, "{word} NN {tag}"),), TAGGING, _sentences),
    "four.conll": Kind(lambda found: (_conll(found, "{word}\tNN\tI-NP\t{tag}"),), TAGGING, _sentences),
    "numbered.conll": Kind(lambda found: (_conll(found, "{i}\t{word}\tfind\t{tag}"),), IDS, _sentences),
    "a.conllu": Kind(lambda found: (_conll(found, "{i}\t{word}\t_\t{tag}" + "\t_" * 6),), TAGGING, _sentences),
    "a.conllup": Kind(lambda found: (PLUS.encode() + _conll(found, "{i}\t{word}\t{tag}"),), TAGGING, _sentences),
}
KINDS = {**TABLES, **SENTENCE_FILES}
PACKINGS: Mapping[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: bytes(pa.compress(data, codec="zstd", asbytes=True)),
}


@dataclass(frozen=True)
class Case:
    """Files of one kind, as they should be and with mistakes."""

    kind: str
    packing: str
    whole: tuple[bytes, ...]
    broken: tuple[bytes, ...]
    inside: tuple[bytes, ...] | None
    """What is in those with mistakes, unpacked; None where the packing has them."""
    rows: Any


@st.composite
def mistakes(draw: st.DrawFn, content: bytes) -> bytes:
    """Content with a few mistakes: bytes cut out, put in, changed or repeated, lines joined or left out."""
    for _ in range(draw(st.integers(0, 3))):
        begins = [0, *(i + 1 for i, byte in enumerate(content) if byte == ord("\n"))]  # lines may be put in and cut out
        start = draw(st.sampled_from(begins) | st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 8)))
        put = draw(
            st.sampled_from(
                [b"", b"\n", b"\t", b'"', b"\r", b" ", b"\xff", b"{", b"\\ud800", b"\0", content[start:end] * 2]
            )
        )
        content = content[:start] + put + content[end:]
    return content


@st.composite
def files(draw: st.DrawFn) -> Case:
    """Files of any kind, packed or not."""
    kind = draw(st.sampled_from(list(KINDS)))
    rows = draw(TABLE if kind in TABLES else SENTENCES)
    packing = draw(st.sampled_from(list(PACKINGS)))
    pack, contents = PACKINGS[packing], KINDS[kind].written(rows)
    whole = tuple(map(pack, contents))
    if packing and not draw(st.booleans()):  # mistakes in the package
        return Case(kind, packing, whole, tuple(draw(mistakes(each)) for each in whole), None, rows)
    inside = tuple(draw(mistakes(each)) for each in contents)
    return Case(kind, packing, whole, tuple(map(pack, inside)), inside, rows)


def write(folder: Path, case: Case, contents: Sequence[bytes]) -> Piece:
    """The case's files with these contents."""
    names = [f"{case.kind}{i or ''}{case.packing}" for i in range(len(contents))]
    for name, content in zip(names, contents, strict=True):
        (folder / name).write_bytes(content)
    paths = [folder / name for name in names]
    return Piece(paths[0], tuple(zip(("text", "label"), paths, strict=True)) if len(paths) > 1 else ())


def check(case: Case) -> None:
    """Raise AssertionError unless the files give their rows, and those with mistakes rows or lines about them."""
    kind = KINDS[case.kind]
    with tempfile.TemporaryDirectory() as folder:
        piece = write(Path(folder), case, case.whole)
        assert _plain([row for _, row in sound(read_piece(piece, kind.reading))]) == _plain(kind.has(case.rows)), case
        piece = write(Path(folder), case, case.broken)
        found: list[Raw] = []
        try:
            found = list(read_piece(piece, kind.reading))
        except UserError as error:
            problems = error.lines
        else:
            problems = []
        paths = tuple(map(str, piece.paths))
        assert all(line.startswith(paths) and "\n" not in line for line in problems), problems
        for place, row in found:
            assert place.startswith(paths) and isinstance(row, dict | RowError), (place, row)
            assert not isinstance(row, RowError) or "\n" not in str(row), str(row)
        if case.inside is not None and not problems:
            _none_is_dropped(case, case.inside, found)


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


def _none_is_dropped(case: Case, contents: Sequence[bytes], found: Sequence[Raw]) -> None:
    """As many rows, or errors in their places, as there are, unless reading stopped at an error that says so."""
    if any(isinstance(row, DataError) for _, row in found):
        return
    if (
        KINDS[case.kind].count is _below_header
        and isinstance(found[0][1] if found else None, RowError)
        and len(found) == 1
    ):
        return  # of the line of names, without which there are no rows
    try:
        counts = [KINDS[case.kind].count(content) for content in contents]
    except (ValueError, KeyError, TypeError, RecursionError, csv.Error, OSError, pa.ArrowException):
        return  # what is no such file any more is an error, or of another format
    if None in counts:
        return
    assert len(set(counts)) == 1, "lines without fellows are an error"
    if case.kind in SENTENCE_FILES:  # of which one may have several errors
        lines = [int(place.rpartition(":")[2]) - 1 for place, _ in found]
        before = [_sentences(b"\n".join(contents[0].split(b"\n")[: line + 1])) for line in lines]
        assert len(set(before)) == counts[0], (case, found)
    elif not any(isinstance(row, RowError) for _, row in found) or case.kind != "squad.json":
        assert len(found) == counts[0], (case, found)
