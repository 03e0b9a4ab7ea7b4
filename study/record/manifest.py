"""The manifest of a suite: what was asked of which members. Written once, before the first of their ledgers.

``<root>/<suite>/suite.json``: ``schema`` (1), ``design`` (the suite as it was asked for, from which its members follow)
and ``hash`` (of the design, so that one that was edited is told from what was asked). What a member is once it has
begun, and all that happened to it, is in its own ledger ``<root>/<suite>.<member>/ledger.jsonl``: nothing of that is
here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study.record import roots
from study.record.place import MANIFEST, Place
from trainables.errors import UserError
from trainables.storage import files

SCHEMA = 1


def fingerprint(design: Mapping[str, Any]) -> str:
    """Hash (16 hex digits) of a design."""
    return hashlib.sha256(json.dumps(design, sort_keys=True).encode()).hexdigest()[:16]


def write(place: Place, design: Mapping[str, Any]) -> None:
    """Write a suite's manifest, whole or not at all, on this machine and in its store. Raises `UserError`."""
    document = {"schema": SCHEMA, "hash": fingerprint(design), "design": design}
    try:
        with files.replaced(place.manifest) as aside:
            aside.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{place.folder}: cannot be written, {error.strerror}") from error
    roots.keep(place, place.manifest)


def read(place: Place) -> dict[str, Any] | None:
    """The design in a suite's manifest, after `roots.refresh`; None where there is none.

    Raises `UserError` for one that is not as it was written.
    """
    try:
        document = json.loads(place.manifest.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        document = {}
    design = document.get("design") if isinstance(document, dict) else None
    if not isinstance(design, dict) or document.get("hash") != fingerprint(design):
        raise UserError(f"{place.manifest}: is not as it was written, the file is damaged or was edited")
    if document["schema"] > SCHEMA:
        raise UserError(f"{place.manifest}: was written by a newer version of this program")
    return design


def names(root: Path) -> list[str]:
    """Names of the suites under a root that are known here, after `roots.refresh`; sorted."""
    return sorted(path.parent.name for path in root.glob(f"*/{MANIFEST}") if not path.parent.name.startswith("."))
