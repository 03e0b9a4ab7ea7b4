"""Making a study's views anew from its ledger."""

from __future__ import annotations

from pathlib import Path

from study import show
from study.config import study_directory
from study.ledger import LEDGER
from trainables.loading import UserError

OPTUNA = "optuna.db"
"""In the study's folder."""


def rebuild(root: Path, name: str, optuna: bool, mlflow: bool, uri: str | None = None) -> None:
    """Write the views that are asked for; done again, it changes nothing. `uri`: not the study's own MLflow."""
    if not (optuna or mlflow):
        raise UserError("rebuild: name a view, --optuna or --mlflow or both")
    study = show.find(root, name)
    folder = study_directory(root, name)
    if optuna:
        from study.optuna_export import export_optuna

        export_optuna(study.record, folder / OPTUNA)
        print(f"Optuna: {folder / OPTUNA}, to be seen with optuna-dashboard sqlite:///{folder / OPTUNA}")
    if mlflow:
        from study import tracking

        sent = tracking.rebuild(folder / LEDGER, uri)
        print(f"MLflow: {sent} events of {name}")
