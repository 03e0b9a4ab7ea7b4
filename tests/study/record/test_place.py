"""Where a study's files lie, for a folder and for a URI."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.record import roots
from study.record.place import Place
from trainables.errors import UserError
from trainables.storage.store import Store


def test_everything_of_a_study_is_in_its_folder(tmp_path: Path) -> None:
    place = roots.place(tmp_path, "small")
    assert place == Place(tmp_path, "small")
    paths = [place.ledger, place.log, place.checkpoints, place.results, place.report, place.optuna]
    assert [p.parent for p in paths] == [tmp_path / "small"] * 6 and len(set(paths)) == 6
    assert place.predictions(7) == tmp_path / "small" / "predictions" / "7.parquet"
    assert place.stored(place.ledger) is None


def test_other_processes_find_it_wherever_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    place = roots.place(Path("studies"), "small")
    assert place.folder == Path("studies/small"), "as the user gave it"
    assert place.address(place.checkpoints / "3") == str(tmp_path.resolve() / "studies/small/checkpoints/3")


def test_under_a_uri_it_is_in_the_store_too(tmp_path: Path) -> None:
    (tmp_path / roots.MARK).write_text("s3://bucket/studies?region=eu-west-1", encoding="utf-8")
    place = roots.place(tmp_path, "small")
    assert place.store == Store("s3://bucket/studies/small?region=eu-west-1")
    expected = "s3://bucket/studies/small/predictions/7.parquet?region=eu-west-1"
    assert place.address(place.predictions(7)) == expected


def test_another_process_that_brings_a_study_up_to_date_is_waited_for_within_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(roots, "QUIET_SECONDS", 0.05)
    monkeypatch.setattr(roots, "LOCK_SECONDS", 0.05)
    place = Place(tmp_path, "small")
    words = r"^small: another process .*\.small\.lock\)$"
    with roots._locked(place), pytest.raises(UserError, match=words), roots.store_errors(), roots._locked(place):
        pass
    assert capsys.readouterr().err == "small: waiting for another process that brings it up to date\n"
    with roots._locked(place):
        pass
    assert not capsys.readouterr().err


def test_errors_say_where_and_why_as_far_as_anybody_knows(tmp_path: Path) -> None:
    for error, there, words in (
        (OSError(28, "No space left on device"), tmp_path, f"{tmp_path}: No space left on device"),
        (OSError(28, "No space left on device", "file"), tmp_path, "file: No space left on device"),
        (OSError("it broke"), None, "it broke"),
        (TimeoutError(), tmp_path, f"{tmp_path}: TimeoutError"),
    ):
        with pytest.raises(UserError) as told, roots.store_errors(there):
            raise error
        assert str(told.value) == words
