"""Where a study lies: its files on this machine, and its folder in the store where its root is a URI.

Made once, by `roots.place`, from what a command is given; whoever needs a path of a study asks it here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from study.record.lines import LEDGER
from trainables.storage.store import Store

LOG = "log.txt"
CHECKPOINTS = "checkpoints"
PREDICTIONS = "predictions"
RESULTS = "results.parquet"
REPORT = "report"
OPTUNA = "optuna.db"
MANIFEST = "suite.json"


@dataclass(frozen=True)
class Place:
    """Of one study. Under a URI, checkpoints and predictions are in the store alone; log and views only here."""

    root: Path
    """Folder of all studies; for a URI the working folder of this machine."""
    name: str
    store: Store | None = None
    """The study's own folder in the store of its root."""

    @property
    def folder(self) -> Path:
        """Of the study, on this machine."""
        return self.root / self.name

    @property
    def ledger(self) -> Path:
        """All that happened."""
        return self.folder / LEDGER

    @property
    def log(self) -> Path:
        """What Ray, transformers and others have to say."""
        return self.folder / LOG

    @property
    def checkpoints(self) -> Path:
        """``<trial>/<step>``."""
        return self.folder / CHECKPOINTS

    def predictions(self, number: int) -> Path:
        """Parquet file with a confirm trial's example-level predictions."""
        return self.folder / PREDICTIONS / f"{number}.parquet"

    @property
    def results(self) -> Path:
        """What a confirmation leaves: a row per configuration, seed, language and example (`study.analysis.frames`)."""
        return self.folder / RESULTS

    @property
    def report(self) -> Path:
        """Folder of the report and the plots."""
        return self.folder / REPORT

    @property
    def optuna(self) -> Path:
        """The study as Optuna's own storage, where that was asked for."""
        return self.folder / OPTUNA

    @property
    def manifest(self) -> Path:
        """What a suite's members are, where this is a suite's folder."""
        return self.folder / MANIFEST

    def stored(self, path: Path) -> Store | None:
        """A path of the study in its store; None where it has none."""
        return None if self.store is None else self.store / path.relative_to(self.folder).as_posix()

    def address(self, path: Path) -> str:
        """Where another process, or machine, finds a path of the study: itself, or a URI."""
        stored = self.stored(path)
        return str(path.resolve()) if stored is None else stored.uri
