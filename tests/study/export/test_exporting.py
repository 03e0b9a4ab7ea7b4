"""What an export holds, that it is what its description says, and that nothing else is touched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from study.cli import commands, execute
from study.export import exporting, headline, relations
from study.export.relations import Relation
from study.export.rows import rows
from study.question.config import StudyConfig
from study.record.ledger import Ledger
from study.reporting.findings import Findings
from study.views.found import find
from study.views.history import load_results, load_study
from tests.conftest import REPOSITORY
from tests.study.conftest import Event
from tests.study.reporting.conftest import FINE
from trainables.errors import UserError


def study(*arguments: str | Path) -> int:
    return execute(commands, "study", [str(a) for a in arguments])


@pytest.fixture(scope="module")
def exported(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export of the confirmed study."""
    folder = tmp_path_factory.mktemp("export") / "planted"
    exporting.export(root, "planted", folder)
    return folder


def read(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(folder / f"{name}.parquet")


@pytest.mark.parametrize("relation", relations.relations(), ids=lambda r: r.name)
def test_every_file_is_as_described(exported: Path, relation: Relation) -> None:
    assert pq.read_schema(exported / f"{relation.name}.parquet").equals(relation.schema)
    frame = read(exported, relation.name)
    assert not frame.duplicated(list(relation.key)).any()
    for column in relation.columns:
        allowed = "null" in column.meaning or relation.name in ("headline", "endpoint")
        assert allowed or frame[column.name].notna().all(), column.name
    text = (exported / "README.md").read_text()
    assert relations.describe(relation) in text
    assert f"| `{relation.name}.parquet` | {len(frame):,} |" in text


def test_rows_have_the_columns_that_are_described(root: Path) -> None:
    known = {r.name: [c.name for c in r.columns] for r in relations.relations()}
    for name, make in rows(find(root, "planted")).items():
        for row in list(make())[:3]:
            assert sorted(row) == sorted(known[name]), name


def test_the_scores_are_those_of_the_trial_frame(exported: Path, root: Path) -> None:
    keys = ["trial", "language", "split", "metric"]
    scores = read(exported, "scores")
    mine = scores[scores["final"]].merge(read(exported, "trials"), on=["study", "trial"])
    both = mine.merge(load_study("planted", root), on=keys, suffixes=("", "_frame"), how="outer", indicator=True)
    assert set(both["_merge"]) == {"both"}
    for column in ("score", "examples", "step", "configuration", "control", "seed", "phase", "kind", "state"):
        assert both[column].equals(both[f"{column}_frame"]), column
    points = read(exported, "points").pivot(index="trial", columns="parameter", values="number")
    frame = load_study("planted", root).drop_duplicates("trial").set_index("trial")
    expected = frame["perturbation.epsilon"].dropna()
    assert points["perturbation.epsilon"].dropna().to_dict() == expected.to_dict()


def test_the_results_are_those_of_the_results_frame(exported: Path, root: Path) -> None:
    expected = load_results("planted", root)
    assert expected is not None
    mine = read(exported, "results").astype({"example": int})
    columns = ["configuration", "seed", "split", "language", "example", "score", "weight", "prediction"]
    pd.testing.assert_frame_equal(mine[columns], expected[columns], check_dtype=False)


def test_objectives_sessions_and_openings_are_there(exported: Path, root: Path) -> None:
    objectives = read(exported, "objectives").set_index("trial")["value"]
    scores = read(exported, "scores").query("trial == 4 and language in ('de', 'fi', 'ru')")["score"]
    assert objectives[4] == pytest.approx(scores.mean())
    assert len(objectives) == 27
    assert read(exported, "openings")["reason"].tolist() == ["confirm"]
    assert read(exported, "sessions")["epoch"].tolist() == [1]
    (about,) = read(exported, "study").to_dict("records")
    assert json.loads(about["config"])["name"] == "planted"


def test_the_headline_is_the_reports(exported: Path, found: Findings) -> None:
    assert found.confirmed is not None
    table = pd.read_csv(exported / "headline.csv").set_index("language")
    expected = found.confirmed.languages.set_index("language")
    for column in ("difference", "seed_low", "both_high", "q_both"):
        pd.testing.assert_series_equal(table[column].sort_index(), expected[column].sort_index())
    assert set(table["split"]) == {"test"} and set(table["confirmed"]) == {True}
    assert read(exported, "headline")["difference"].tolist() == table["difference"].tolist()
    claim = pd.read_csv(exported / "endpoint.csv").query("is_claim")
    assert claim["difference"].tolist() == pytest.approx([found.confirmed.claim.estimate])
    cut = read(exported, "languages").set_index("language")
    assert cut["fertility"].to_dict() == pytest.approx(
        {k: FINE[k]["fertility"] or np.nan for k in cut.index}, nan_ok=True
    )
    assert set(cut["overlap"]) == {0.25}
    text = (exported / "headline.tex").read_text()
    assert "fertility & overlap" in text
    assert r"\toprule" in text and r"\label{tab:headline}" in text and "95 \\% seeds" in text


def test_an_unconfirmed_one_has_its_validation_labelled(root: Path, tmp_path: Path, searched: Findings) -> None:
    exporting.export(root, "searched", tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "headline.csv").set_index("language")
    assert set(table["split"]) == {"validation"} and set(table["confirmed"]) == {False}
    assert table["both_low"].isna().all()
    frame = load_study("searched", root)
    (best,) = searched.source.chosen
    sw = frame[frame["language"] == "sw"].set_index("trial")["score"]
    assert table.loc["sw", "difference"] == pytest.approx(sw[best] - sw[0])
    text = (tmp_path / "out" / "headline.tex").read_text()
    assert r"\caption{Validation, not confirmed: " in text and "looks better than it is" in text
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert not names & {"endpoint.csv", "endpoint.parquet", "results.parquet"}


def test_an_earlier_export_is_replaced_and_nothing_else(root: Path, tmp_path: Path, capsys: Any) -> None:
    assert study("export", "planted", "--root", root, "--to", tmp_path / "out") == 0
    first = capsys.readouterr().out.splitlines()
    there = {str(p) for p in (tmp_path / "out").iterdir()}
    assert set(first) == there - {str(tmp_path / "out" / exporting.MANIFEST)}
    (tmp_path / "out" / "mine.txt").write_text("precious")
    manifest = json.loads((tmp_path / "out" / exporting.MANIFEST).read_text())
    (tmp_path / "out" / "gone.parquet").write_text("of an earlier version")
    manifest["files"].append("gone.parquet")
    (tmp_path / "out" / exporting.MANIFEST).write_text(json.dumps(manifest))
    (tmp_path / "out" / "trials.parquet").unlink()
    assert study("export", "planted", "--root", root, "--to", tmp_path / "out") == 0
    assert (tmp_path / "out" / "mine.txt").read_text() == "precious"
    assert (tmp_path / "out" / "trials.parquet").exists()
    assert not (tmp_path / "out" / "gone.parquet").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_any_other_folder_is_refused(root: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("precious")
    assert study("export", "planted", "--root", root, "--to", tmp_path / "mine") == 2
    assert "--to: must be a new or empty folder, or an earlier export of this study" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    assert study("export", "planted", "--root", root, "--to", "s3://bucket/x") == 2
    assert "--to: must be a folder of this machine" in capsys.readouterr().err
    (tmp_path / "mine" / exporting.MANIFEST).write_text('{"study": "other", "uuid": "1", "files": []}')
    assert study("export", "planted", "--root", root, "--to", tmp_path / "mine") == 2
    assert "--to: holds an export of another study, other" in capsys.readouterr().err
    assert study("export", "plantd", "--root", root, "--to", tmp_path / "new") == 2
    assert "did you mean 'planted'?" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_failure_leaves_nothing_half_written(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(headline, "endpoint", full)
    with pytest.raises(UserError, match="cannot be written, No space left on device"):
        exporting.export(root, "planted", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_study_without_a_report_is_exported(config: StudyConfig, tmp_path: Path) -> None:
    facts: dict[str, Any] = {"uuid": "0" * 32, "code_version": "1", "fingerprints": {}, "protocol_hash": "ab"}
    with Ledger.open(tmp_path / "studies" / "small" / "ledger.jsonl") as ledger:
        ledger.append("study", config=config.model_dump(mode="json"), **facts)
    exporting.export(tmp_path / "studies", "small", tmp_path / "out")
    assert read(tmp_path / "out", "scores").empty
    assert not (tmp_path / "out" / "headline.csv").exists()


def test_a_failed_trial_keeps_its_error(events: list[Event], write_study: Any, tmp_path: Path) -> None:
    exporting.export(write_study(events), "small", tmp_path / "out")
    trial = read(tmp_path / "out", "trials").set_index("trial").loc[3]
    assert trial["state"] == "FAIL" and trial["error"].endswith("the loss is not finite") and trial["attempts"] == 2
    scores = read(tmp_path / "out", "scores")
    assert sorted(scores.loc[scores["trial"] == 1, "step"].unique()) == [10, 20]
    assert set(scores.loc[scores["final"], "step"]) == {20}


@pytest.mark.parametrize("name", ["quickstart-0.1", "quickstart-0.1-interrupted"])
def test_old_studies_are_exported(shared_data: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "quickstart").mkdir()
    shutil.copy(shared_data / "ledgers" / f"{name}.jsonl", tmp_path / "quickstart" / "ledger.jsonl")
    before = (tmp_path / "quickstart" / "ledger.jsonl").read_bytes()
    exporting.export(tmp_path, "quickstart", tmp_path / "out")
    languages = read(tmp_path / "out", "languages")
    assert len(languages) == 49 and languages["fertility"].isna().all(), "nothing was measured then"
    assert (tmp_path / "quickstart" / "ledger.jsonl").read_bytes() == before


def test_the_page_is_of_today() -> None:
    assert (REPOSITORY / "docs" / "export.md").read_text(encoding="utf-8") == relations.page(), "make docs"
