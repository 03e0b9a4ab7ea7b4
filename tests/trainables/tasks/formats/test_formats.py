"""Every format by a small file, and by real files where they are."""

from __future__ import annotations

import gzip
import json
import lzma
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from trainables.errors import UserError
from trainables.tasks.formats.conll import iob2
from trainables.tasks.formats.reading import FormatName, Reading, sound
from trainables.tasks.formats.registry import READERS, Piece, read_piece, recognise

PLAIN = Reading()
TAGGING = Reading(shape="tagging")
WEATHER = [{"text": "It rains.", "label": "yes"}, {"text": 'Él dijo "no", ¿no?', "label": "no"}]


def rows_of(path: Path, reading: Reading = PLAIN) -> list[dict[str, Any]]:
    return [row for _, row in sound(read_piece(Piece(path), reading))]


def problems_of(path: Path, reading: Reading = PLAIN) -> list[str]:
    with pytest.raises(UserError) as caught:
        rows_of(path, reading)
    return [line.removeprefix(f"{path}:") for line in caught.value.lines]


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def as_lines(rows: Sequence[Any]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def test_every_format_has_a_name() -> None:
    assert set(READERS) == set(get_args(FormatName))


# Recognised


CONLL = "-DOCSTART- O\n\n# a comment here\nEU B-ORG\nrejects O\n\n# O\nhash O\n"
CONLLU = """# text = Vámonos
1-2\tVámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tVamos\tir\tVERB\tV\t_\t0\troot\t_\t_
2\tnos\tnos\tPRON\tP\t_\t1\tobj\t_\t_
2.1\tx\t_\t_\t_\t_\t_\t_\t_\t_
"""
PLUS = "# global.columns = ID FORM UPOS PARSEME:MWE\n1\tgo\tVERB\t*\n"
QUESTION = {"id": "q", "question": "Who?", "answers": [{"text": "he", "answer_start": 0}]}
SQUAD = {"version": "1.1", "data": [{"title": "t", "paragraphs": [{"context": "he came", "qas": [QUESTION]}]}]}


@pytest.mark.parametrize(
    ("name", "content", "shape", "found"),
    [
        ("a.txt", as_lines(WEATHER), None, "jsonl"),
        ("a.json", as_lines(WEATHER), None, "jsonl"),
        ("a.json", as_lines(WEATHER).rstrip("\n"), None, "jsonl"),
        ("a.json", json.dumps(WEATHER), None, "json"),
        ("a.json", json.dumps(WEATHER, indent=1), None, "json"),
        ("a.json", json.dumps(SQUAD), "span", "squad"),
        ("a.json", json.dumps(SQUAD, indent=2), "span", "squad"),
        ("a.json", json.dumps({"data": SQUAD["data"]}), "span", "squad"),
        ("a.json", json.dumps({"len": 1, "data": SQUAD["data"], "more": "x" * 70_000}), "span", "squad"),
        ("a.json", json.dumps({"len": 1, "data": SQUAD["data"]}), "span", "squad"),
        ("a.json", as_lines([{"data": [1]}, {"data": [2]}]), None, "jsonl"),
        ("en.dev", "a\tb\n", "classification", "tsv"),
        ("en.dev", "[music]\tb\n", "classification", "tsv"),
        ("en.dev", "a\tb\n", "tagging", "conll"),
        ("en.tsv", "a\tb\n", "tagging", "conll"),
        ("en.dev", CONLL, "tagging", "conll"),
        ("en.dev", CONLLU, "tagging", "conllu"),
        ("en.dev", PLUS, "tagging", "conllu"),
        ("a.bin", b"PAR1", None, "parquet"),
        ("a.bin", b"ARROW1\0\0", None, "arrow"),
    ],
)
def test_a_format_is_recognised_by_what_is_in_a_file(
    name: str, content: str | bytes, shape: str | None, found: str, tmp_path: Path
) -> None:
    assert recognise(written(tmp_path, name, content), Reading(shape=shape)) == found


def test_a_format_may_be_named(tmp_path: Path) -> None:
    path = written(tmp_path, "a.json", "one text\nanother\n")
    assert rows_of(path, Reading(format="text")) == [{"text": "one text"}, {"text": "another"}]


def test_what_is_not_to_be_seen_is_said(tmp_path: Path) -> None:
    (line,) = problems_of(written(tmp_path, "a.txt", "one text\n"))
    assert "its format is not to be seen in it, name it in the task's file, format: jsonl or json or squad" in line


# The same rows in every form


def table(rows: Sequence[dict[str, str]], separator: str, header: bool = True) -> str:
    lines = [separator.join(f'"{v}"' for v in (r[k].replace('"', '""') for k in r)) for r in rows]
    return "\n".join([*([separator.join(f'"{k}"' for k in rows[0])] if header else []), *lines]) + "\n"


def forms(folder: Path) -> list[Path]:
    arrow = pa.Table.from_pylist(WEATHER)
    pyarrow.parquet.write_table(arrow, folder / "a.parquet")
    pyarrow.feather.write_feather(arrow, str(folder / "a.arrow"), compression="uncompressed")
    with pa.ipc.new_stream(folder / "b.arrow", arrow.schema) as stream:
        stream.write_table(arrow)
    return [
        folder / "a.parquet",
        folder / "a.arrow",
        folder / "b.arrow",
        written(folder, "a.jsonl", as_lines(WEATHER)),
        written(folder, "a.json", json.dumps(WEATHER)),
        written(folder, "a.csv", table(WEATHER, ",")),
        written(folder, "a.tsv", table(WEATHER, "\t")),
    ]


def test_all_forms_hold_the_same_rows_compressed_or_not(tmp_path: Path) -> None:
    for path in forms(tmp_path):
        assert rows_of(path) == WEATHER, path
        content = path.read_bytes()
        packed = {
            "gz": gzip.compress(content),
            "xz": lzma.compress(content),
            "zst": pa.compress(content, codec="zstd", asbytes=True),
        }
        for ending, data in packed.items():
            assert rows_of(written(tmp_path, f"{path.name}.{ending}", data)) == WEATHER, (path, ending)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.tsv"])
def test_marks_and_line_ends_are_no_text(name: str, tmp_path: Path) -> None:
    (path,) = (path for path in forms(tmp_path) if path.name == name)
    content = path.read_text(encoding="utf-8")
    path.write_bytes(("\ufeff" + content.replace("\n", "\r\n").rstrip()).encode())
    assert rows_of(path) == WEATHER


@pytest.mark.parametrize("ending", ["gz", "xz", "zst"])
def test_what_cannot_be_unpacked_is_one_line(ending: str, tmp_path: Path) -> None:
    content = as_lines(WEATHER).encode()
    packed = {"gz": gzip.compress, "xz": lzma.compress, "zst": lambda c: pa.compress(c, codec="zstd", asbytes=True)}
    (line,) = problems_of(written(tmp_path, f"a.jsonl.{ending}", packed[ending](content)[:-6]))
    assert line.startswith(" cannot be read (got ")


def test_another_encoding_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, "a.tsv", "text\nséquence\n".encode("latin-1"))
    assert rows_of(path, Reading(encoding="latin-1")) == [{"text": "séquence"}]
    assert problems_of(path) == ["2: must be UTF-8 (got byte 0xe9 at position 1)"]
    path = written(tmp_path, "b.tsv", b"text\n\x81\n")
    assert problems_of(path, Reading(encoding="cp1252"))[0].startswith("2: must be cp1252, as encoding: says (got byte")


def test_damaged_offsets_of_arrow_are_seen(tmp_path: Path) -> None:
    forms(tmp_path)
    path, lengths = tmp_path / "b.arrow", [len(row["text"].encode()) for row in WEATHER]
    offsets, wrong = ((0, lengths[0], sum(lengths) + more) for more in (0, 2))
    content = path.read_bytes()
    assert content.count(struct.pack("<3i", *offsets)) == 1
    path.write_bytes(content.replace(struct.pack("<3i", *offsets), struct.pack("<3i", *wrong)))
    assert problems_of(path)[0].startswith(" must be an Arrow file (got ")


# JSON


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('[{"a": 1}, 2]', "2: must be one JSON object (got 2)"),
        ('[{"a": 1},', " must be JSON (got Expecting value"),
        ('[{"a": 1, "a": 2}]', " must be JSON (got the key 'a' twice)"),
        ('[{"a": "\\ud83d"}]', " must be Unicode text (got half of a surrogate pair, '\\ud83d')"),
        ("[" * 100_000, " must be JSON (got "),
        ('{"data": {"a": 1}}', "1: must be one JSON object"),
    ],
)
def test_malformed_arrays(content: str, line: str, tmp_path: Path) -> None:
    path = written(tmp_path, "a.json", content)
    if content.startswith("{"):
        assert rows_of(path) == [{"data": {"a": 1}}]
    else:
        assert problems_of(path)[0].startswith(line)


# SQuAD's form


def test_questions_and_paragraphs_of_squads_form(tmp_path: Path) -> None:
    path = written(tmp_path, "a.json", json.dumps(SQUAD))
    assert rows_of(path) == [{"title": "t", "context": "he came", **QUESTION}]
    assert rows_of(path, Reading(paragraphs=True)) == [{"title": "t", "context": "he came", "qas": [QUESTION]}]


@pytest.mark.parametrize(
    ("articles", "line"),
    [
        (
            [{"paragraphs": [{"context": "c"}]}],
            "data[0].paragraphs[0].qas: must be a list, as in SQuAD's files (got null",
        ),
        ([{"paragraphs": [{"qas": []}]}], "data[0].paragraphs[0]: must have a context"),
        ([{"paragraphs": 1}], "data[0].paragraphs: must be a list, as in SQuAD's files (got 1)"),
        ([3], "data[0]: must be an object (got 3)"),
        ([{"paragraphs": [{"context": "c", "qas": [4]}]}], "data[0].paragraphs[0].qas[0]: must be an object (got 4)"),
    ],
)
def test_malformed_articles_are_placed(articles: list[Any], line: str, tmp_path: Path) -> None:
    path = written(tmp_path, "a.json", json.dumps({"data": articles}))
    assert problems_of(path, Reading(format="squad"))[0].startswith(line)


# Cells


def test_tables_without_a_line_of_names(tmp_path: Path) -> None:
    reading = Reading(header=("text", "label"))
    lines = "a \"b\tyes\n'c'\tno\n"
    rows = [{"text": 'a "b', "label": "yes"}, {"text": "'c'", "label": "no"}]
    assert rows_of(written(tmp_path, "en.test", lines), reading) == rows
    assert rows_of(written(tmp_path, "a.tsv", "text\tlabel\r\n" + lines), reading) == rows
    assert rows_of(written(tmp_path, "a.csv", table(WEATHER, ",", header=False)), reading) == WEATHER
    assert problems_of(written(tmp_path, "b.tsv", "a\nb\tc\td\ne\tf\n"), reading) == [
        "1: must have as many cells as the header, 2 (got 1)",
        "2: must have as many cells as the header, 2 (got 3)",
    ]


def test_quotes_of_a_csv_may_be_text(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", 'text,label\n"a,yes\nb",no\n')
    assert rows_of(path, Reading(quoting=False)) == [{"text": '"a', "label": "yes"}, {"text": 'b"', "label": "no"}]
    assert rows_of(path) == [{"text": "a,yes\nb", "label": "no"}]


def test_up_to_five_malformed_rows_of_a_table_are_named(tmp_path: Path) -> None:
    lines = problems_of(written(tmp_path, "a.tsv", "text\tlabel\n" + "a\n" * 9))
    assert [line.split(":")[0] for line in lines] == ["2", "3", "4", "5", "6"]


# CoNLL


def test_a_word_and_its_tag_on_a_line(tmp_path: Path) -> None:
    rows = rows_of(written(tmp_path, "en.dev", CONLL.replace("# a comment", "# a longer comment")), TAGGING)
    assert [(row["tokens"], row["tags"]) for row in rows] == [
        (["EU", "rejects"], ["B-ORG", "O"]),
        (["#", "hash"], ["O", "O"]),
    ]


def test_four_columns_and_a_choice_of_one(tmp_path: Path) -> None:
    path = written(tmp_path, "eng.testa", "EU NNP I-NP I-ORG\nLondon NNP I-NP I-LOC\n\nParis NNP I-NP I-LOC\n")
    first, second = rows_of(path, TAGGING)
    assert (first["tokens"], first["tags"]) == (["EU", "London"], ["B-ORG", "B-LOC"])
    assert first["column2"] == ["NNP", "NNP"] and first["column3"] == ["B-NP", "I-NP"]
    assert second == {"tokens": ["Paris"], "tags": ["B-LOC"], "column1": ["Paris"], "column2": ["NNP"]} | {
        "column3": ["B-NP"],
        "column4": ["B-LOC"],
    }
    named = Reading(shape="tagging", header=("word", "pos", "chunk", "ner"))
    assert rows_of(path, named)[1] == {"word": ["Paris"], "pos": ["NNP"], "chunk": ["B-NP"], "ner": ["B-LOC"]}
    as_called = Reading(shape="tagging", columns={"tokens": "words", "tags": "ner_tags"})
    assert rows_of(path, as_called)[1]["ner_tags"] == ["B-LOC"] and rows_of(path, as_called)[1]["words"] == ["Paris"]


def test_comments_are_told_from_words_by_their_columns(tmp_path: Path) -> None:
    content = "# id = 1\n# text = show all\n1\tshow\treminder/show\tO\n2\tall\treminder/show\tB-reference\n"
    reading = Reading(shape="tagging", header=("id", "word", "intent", "slot"))
    (row,) = rows_of(written(tmp_path, "en.valid.conll", content), reading)
    assert row["word"] == ["show", "all"] and row["slot"] == ["O", "B-reference"]
    assert rows_of(written(tmp_path, "b.conll", "# nothing but comments\n"), TAGGING) == []
    # As wide as the words, which are cut at blanks: by its tab, or by its last cell, which is no tag.
    wide = "# id d4a1\tdomain=en\nits _ _ O\nParis _ _ B-LOC\n\n# _ _ O\na _ _ O\n"
    for labels in ((), ("O", "B-LOC", "I-LOC")):
        first, second = rows_of(written(tmp_path, "c.conll", wide), Reading(shape="tagging", labels=labels))
        assert (first["tokens"], second["tokens"]) == (["its", "Paris"], ["#", "a"])
    # A slip in the tag of a word is no comment: it is for the task to say that there is no such tag.
    (row,) = rows_of(written(tmp_path, "d.conll", "# sym\nfoo O\n"), Reading(shape="tagging", labels=("O", "B-LOC")))
    assert row["tags"] == ["sym", "O"]


def test_tabs_leave_blanks_to_words(tmp_path: Path) -> None:
    (row,) = rows_of(written(tmp_path, "en.dev", "New\u00a0York x\tB-LOC\n2 000\tO"), TAGGING)
    assert row["tokens"] == ["New\u00a0York x", "2 000"]


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (
            "a O\nb\n\nc O\nd O O\n",
            [f"{i}: must have as many columns as the first line, 2 (got {n})" for i, n in ((2, 1), (5, 3))],
        ),
        ("a\n", ["1: must have at least two columns, a word and its tag (got 1)"]),
        ("a\tO\n\tO\n", ["2: must have a word and its tags in 2 columns (got an empty column 1)"]),
    ],
)
def test_malformed_words_are_placed(content: str, lines: list[str], tmp_path: Path) -> None:
    assert problems_of(written(tmp_path, "en.dev", content), TAGGING) == lines


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("I-A I-A O I-B B-B I-A", "B-A I-A O B-B B-B B-A"),
        ("B-A E-A S-B O B-C I-C E-C", "B-A I-A B-B O B-C I-C I-C"),
        ("S-A E-A B-A M-A E-A I-A", "B-A B-A B-A I-A I-A B-A"),
        ("B-A L-A U-A U-A", "B-A I-A B-A B-A"),
        ("B-A I-A I-B O", "B-A I-A B-B O"),
        ("NOUN X I-A", "NOUN X I-A"),
    ],
)
def test_chunks_become_iob2(tags: str, found: str) -> None:
    assert iob2(tags.split()) == found.split()
    assert iob2(found.split()) == found.split()


def test_a_task_keeps_the_scheme_of_its_labels() -> None:
    assert iob2(["S-A"], ["O", "B-A", "I-A", "E-A", "S-A"]) == ["S-A"]
    assert iob2(["I-A"], ["O", "I-A"]) == ["I-A"]
    assert iob2(["I-A"], ["O", "B-A", "I-A"]) == ["B-A"]


# CoNLL-U


def test_words_have_blanks_where_two_columns_are_named(tmp_path: Path) -> None:
    """As Vietnamese treebanks have them; elsewhere a line of three columns among those of two is malformed."""
    path = written(tmp_path, "vi.test", "x A\nthủ  tướng A\n10\u00a0000 km B \n\na B\n")
    named = Reading(shape="tagging", header=("words", "pos"))
    assert rows_of(path, named) == [
        {"words": ["x", "thủ  tướng", "10\u00a0000 km"], "pos": ["A", "A", "B"]},
        {"words": ["a"], "pos": ["B"]},
    ]
    assert problems_of(path, TAGGING) == [
        f"{line}: must have as many columns as the first line, 2 (got 3)" for line in (2, 3)
    ]
    (line,) = problems_of(written(tmp_path, "b.test", "a b NOUN\nb\n"), named)
    assert line == "2: must have as many columns as the first line, 2 (got 1)"


def test_words_of_conllu_and_all_that_is_said_of_them(tmp_path: Path) -> None:
    (row,) = rows_of(written(tmp_path, "es.conllu", CONLLU))
    assert row["tokens"] == ["Vamos", "nos"] and row["pos_tags"] == row["tags"] == row["upos"] == ["VERB", "PRON"]
    assert (row["xpos"], row["deprel"], row["heads"]) == (["V", "P"], ["root", "obj"], [0, 1])
    assert rows_of(written(tmp_path, "blanks.conllu", CONLLU.replace("\t", "  "))) == [row]


def test_conllu_plus_names_its_columns(tmp_path: Path) -> None:
    (row,) = rows_of(written(tmp_path, "en.cupt", PLUS), TAGGING)
    assert row["tokens"] == ["go"] and row["tags"] == ["VERB"] and row["parseme:mwe"] == ["*"]
    assert (
        "must have FORM among them, and no column twice"
        in problems_of(written(tmp_path, "b.cupt", PLUS.replace("FORM", "WORD")), TAGGING)[0]
    )


WORD = "{}\t{}\t_\tNOUN\t_\t_\t0\troot\t_\t_\n"


@pytest.mark.parametrize(
    ("ids", "lines"),
    [
        (["1", "2", "1", "2"], ["3: must have a blank line before it, ids start again (got 1 after 2)"]),
        (["1", "3"], ["2: must have the id 2, ids count words (got 3)"]),
        (["1", "x", "3"], ['2: must have a word\'s number, a range or an empty node as its id (got "x")']),
        (["1", "9" * 9999], [f"2: must have a word's number, a range or an empty node as its id (got \"{'9' * 76}…)"]),
    ],
)
def test_ids_that_do_not_count_words_are_placed(ids: list[str], lines: list[str], tmp_path: Path) -> None:
    assert problems_of(written(tmp_path, "a.conllu", "".join(WORD.format(i, "w") for i in ids))) == lines


def test_a_treebank_without_its_words_is_refused(tmp_path: Path) -> None:
    (line,) = problems_of(written(tmp_path, "a.conllu", WORD.format(1, "_") + WORD.format(2, "_")))
    assert line == "1: must have its words: this treebank is published without them (got _ in every FORM)"
    assert rows_of(written(tmp_path, "b.conllu", WORD.format(1, "_") + WORD.format(2, "b")))[0]["tokens"] == ["_", "b"]


# Lines that belong together


def test_lines_that_belong_together(tmp_path: Path) -> None:
    paths = {
        "query": written(tmp_path, "tatoeba.afr-eng.afr", "Ja.\r\n\r\nNee."),
        "candidate": written(tmp_path, "tatoeba.afr-eng.eng", "Yes.\n\nNo.\n"),
    }
    piece = Piece(paths["query"], tuple(paths.items()))
    assert list(sound(read_piece(piece, Reading())))[::2] == [
        (f"{paths['query']}:1", {"query": "Ja.", "candidate": "Yes."}),
        (f"{paths['query']}:3", {"query": "Nee.", "candidate": "No."}),
    ]
    written(tmp_path, "tatoeba.afr-eng.eng", "Yes.\n")
    with pytest.raises(UserError, match=r"afr-eng.afr:2: must have a line that belongs to it in .*eng \(got 1 lines"):
        list(sound(read_piece(piece, Reading())))


# Real files


def real(shared_data: Path, *parts: str) -> Path:
    path = shared_data.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs {path}, which is not part of the repository")
    return path


@pytest.mark.parametrize(
    ("name", "header", "count"),
    [
        ("QADSM/xglue.qadsm.de.dev", ("query", "ad_title", "ad_description", "relevance_label"), 300),
        ("QADSM/xglue.qadsm.de.test", ("query", "ad_title", "ad_description", "relevance_label"), 100),
        ("QAM/xglue.qam.de.dev", ("question", "annswer", "label"), 300),
        ("NC/xglue.nc.de.dev", ("news_title", "news_body", "news_category"), 60),
    ],
)
def test_xglues_own_files(name: str, header: tuple[str, ...], count: int, shared_data: Path) -> None:
    path = real(shared_data, "xglue", "samples", name)
    rows = rows_of(path, Reading(header=header, shape="classification"))
    assert len(rows) == count and not any("\r" in value for row in rows for value in row.values())
    assert len({row[header[-1]] for row in rows}) <= 10


def test_real_treebanks(shared_data: Path) -> None:
    counts = {code: len(rows_of(real(shared_data, "syntax", f"test.{code}.conllu"), TAGGING)) for code in ("ta", "wo")}
    assert counts == {"ta": 120, "wo": 200}


def test_real_parallel_text(shared_data: Path) -> None:
    folder = real(shared_data, "parallel", "ntrex")
    piece = Piece(folder / "yo.txt", (("query", folder / "yo.txt"), ("candidate", folder / "en.txt")))
    assert len(list(sound(read_piece(piece, Reading())))) == 1000
