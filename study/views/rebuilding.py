"""Making a study's views anew from its ledger."""

from __future__ import annotations

from pathlib import Path

from study.views.found import find
from trainables.errors import UserError


def rebuild(root: Path, name: str, optuna: bool, mlflow: bool, uri: str | None = None) -> None:
    """Write the views that are asked for; done again, it changes nothing. `uri`: not the study's own MLflow."""
    if not (optuna or mlflow):
        raise UserError("rebuild: name a view, --optuna or --mlflow or both")
    study = find(root, name)
    if optuna:
        from study.views.optuna_export import export_optuna

        file = study.place.optuna
        export_optuna(study.record, file)
        print(f"Optuna: {file}, to be seen with optuna-dashboard sqlite:///{file}")
    if mlflow:
        from study.tracking import tracker

        sent = tracker.rebuild(study.place, uri)
        print(f"MLflow: {sent} events of {name}")
