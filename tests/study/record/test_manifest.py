"""A suite's manifest: written once and whole, read back as it was, and told from one that was edited."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from study.record import manifest, roots
from trainables.errors import UserError

DESIGN = {"suite": {"name": "many", "members": [{"name": "a"}]}}


def test_what_is_written_is_read_back_and_listed(tmp_path: Path) -> None:
    place = roots.place(tmp_path, "many")
    assert manifest.read(place) is None
    manifest.write(place, DESIGN)
    assert manifest.read(place) == DESIGN
    assert manifest.names(tmp_path) == ["many"]
    assert roots.names(tmp_path) == []  # it is no study
    assert [path.name for path in place.folder.iterdir()] == ["suite.json"]  # nothing is left half written


@pytest.mark.parametrize("content", ["{}", "nonsense", '{"schema": 1, "hash": "0", "design": {}}', "[]"])
def test_a_manifest_that_was_changed_is_refused(tmp_path: Path, content: str) -> None:
    place = roots.place(tmp_path, "many")
    manifest.write(place, DESIGN)
    place.manifest.write_text(content)
    with pytest.raises(UserError, match="is not as it was written"):
        manifest.read(place)


def test_a_manifest_of_a_later_version_is_refused(tmp_path: Path) -> None:
    place = roots.place(tmp_path, "many")
    manifest.write(place, DESIGN)
    place.manifest.write_text(json.dumps(json.loads(place.manifest.read_text()) | {"schema": 2}))
    with pytest.raises(UserError, match="newer version"):
        manifest.read(place)
