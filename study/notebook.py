"""Studies from a notebook or a script: what the command line does, with a data frame at the end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from study import launch
from study.question import catalogue
from study.question.config import StudyConfig
from study.record import roots
from study.record.lines import begun_as
from study.views.found import find
from study.views.history import load_study


def run_study(
    config: StudyConfig | Path | str, overrides: Sequence[str] = (), root: Path | str = "studies"
) -> pd.DataFrame:
    """Run a study, or go on with it if it was interrupted, print its result, and return its trial frame.

    `config` is a configuration, the name of a recipe, or the path of a YAML file, and `overrides` are ``a.b=value``
    laid over the latter two. A finished study is not run again. Raises `UserError` for anything that forbids to start,
    and `KeyboardInterrupt` once an interrupted study is checkpointed.
    """
    if isinstance(config, StudyConfig):
        study = catalogue.in_full(config)
    else:
        study = catalogue.study_config(str(config), overrides)
    options = launch.Options(roots.folder(root), mode="quiet")
    roots.refresh(options.root, study.name)
    is_begun = begun_as(roots.place(options.root, study.name).ledger) is not None
    existing = find(options.root, study.name) if is_begun else None
    if existing is not None and existing.condition == "unfinished":
        launch.same_configuration(study, existing)
        launch.resume(study.name, options, existing)
    else:
        launch.run(study, options)
    return load_study(study.name, options.root)
