"""Making a study's views anew from its ledger."""

from __future__ import annotations

from pathlib import Path

from study import show
from study.config import study_directory
from study.ledger import LEDGER
from study.tracking import rebuild as rebuild_mlflow


def rebuild(root: Path, name: str, uri: str | None) -> None:
    """The study's runs in MLflow: at `uri`, or where the study tracks to."""
    study = show.find(root, name)
    sent = rebuild_mlflow(study_directory(root, study.name) / LEDGER, uri)
    print(f"{name}: {sent} events are in MLflow")
