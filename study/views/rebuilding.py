"""Making a study's views anew from its ledger."""

from __future__ import annotations

from pathlib import Path

from study.question.config import study_directory
from study.record.lines import LEDGER
from study.views.found import find
from trainables.errors import UserError

OPTUNA = "optuna.db"
"""In the study's folder."""


def rebuild(root: Path, name: str, optuna: bool, mlflow: bool, uri: str | None = None) -> None:
    """Write the views that are asked for; done again, it changes nothing. `uri`: not the study's own MLflow."""
    if not (optuna or mlflow):
        raise UserError("rebuild: name a view, --optuna or --mlflow or both")
    study = find(root, name)
    folder = study_directory(root, name)
    if optuna:
        from study.views.optuna_export import export_optuna

        export_optuna(study.record, folder / OPTUNA)
        print(f"Optuna: {folder / OPTUNA}, to be seen with optuna-dashboard sqlite:///{folder / OPTUNA}")
    if mlflow:
        from study.tracking import tracker

        sent = tracker.rebuild(folder / LEDGER, uri)
        print(f"MLflow: {sent} events of {name}")
