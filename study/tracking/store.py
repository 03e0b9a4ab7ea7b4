"""The runs of one study in MLflow: found by their tags, made, thrown away, written to in batches.

Whatever is sent twice is there once: a run is looked up by its tag before it is created, and what a request that seemed
to fail has created after all is deleted later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from study.tracking import database, whole
from study.tracking.runs import PARENT, STATUS, TRIAL, UUID, Point, milliseconds
from study.tracking.server import artifact_folder, default_uri
from study.tracking.whole import There, Whole

LARGEST_BATCH, SMALLEST_BATCH = 1000, 50
"""Metric points a request: MLflow's limit, and what even a slow server takes within the time-out."""

PAGE = 100
"""Runs that a search brings at once, each with all that it holds."""

THREADS = 4
"""Requests at once to a server, which waits for its database in most of their time."""

Key = tuple[str, str]
"""Tag and value by which a run is found among those of its study."""


@dataclass
class Run:
    """A run as far as it has been written."""

    id: str
    tags: dict[str, str]
    ended: bool = False

    @property
    def left_out(self) -> bool:
        """Whether MLflow has refused it."""
        return not self.id


class Store:
    """The experiment of one study. `uri` None is the SQLite file under the studies' root. Raises what MLflow raises."""

    def __init__(self, uri: str | None, root: Path, experiment: str) -> None:
        self.uri = uri or default_uri(root)
        self.root, self.name = root, experiment
        self.by_server = self.uri.startswith(("http:", "https:", "databricks"))
        self._batch = LARGEST_BATCH
        self.forget()

    def forget(self) -> None:
        """Start over, as when the server has lost what it had."""
        self.uuid = ""
        self._experiment_id: str | None = None
        self._location: str | None = None
        self._unsure: set[Key] = set()

    @cached_property
    def client(self) -> Any:
        """MLflow's client. The first access takes seconds: the import, and perhaps the making of a database."""
        from mlflow import MlflowClient

        database.ensure(self.uri)
        return MlflowClient(self.uri)

    @property
    def threads(self) -> int:
        """How many may write runs at once."""
        return THREADS if self.by_server else 1

    @property
    def experiment(self) -> str:
        """Identifier of the experiment, which is created if need be."""
        if self._experiment_id is None:
            found = self.client.get_experiment_by_name(self.name)
            if found is not None and found.lifecycle_stage != "active":
                command = f"mlflow experiments restore --experiment-id {found.experiment_id}"
                raise OSError(f"has the experiment {self.name!r} in its bin, restore it with: {command}")
            if found is not None:
                self._experiment_id = str(found.experiment_id)
            else:
                folder = None if self.by_server else (artifact_folder(self.root) / self.name).as_uri()
                self._experiment_id = str(self.client.create_experiment(self.name, artifact_location=folder))
        return self._experiment_id

    def find(self, key: Key | None = None) -> list[Any]:
        """MLflow's runs of this study, or at most ten of them, that have the tag of a key."""
        clauses = [f"tags.`{tag}` = '{value}'" for tag, value in [(UUID, self.uuid), *([key] if key else [])]]
        return list(self.client.search_runs([self.experiment], " and ".join(clauses), max_results=10))

    def run(
        self,
        key: Key,
        name: str,
        begun: float,
        tags: dict[str, str],
        agrees: Callable[[Any], bool] = lambda run: True,
        look: bool = True,
        anew: bool = False,
    ) -> Run:
        """The run of a key: the one that is there, if it `agrees`, or a new one; with `anew` always a new one.

        Name, begin (Unix seconds) and tags are those of a new one. Without `look` none can be there.
        """
        found = self._keep_one(self.find(key)) if look or anew or key in self._unsure else None
        if found is not None and (anew or not agrees(found)):
            self.client.delete_run(found.info.run_id)
            found = None
        if found is None:
            found = self._create(key, name, begun, tags)
        return Run(found.info.run_id, dict(found.data.tags), found.info.status in STATUS.values())

    def _keep_one(self, found: Sequence[Any]) -> Any | None:
        """One of several runs that are to be one, the fullest; the others are deleted."""
        if not found:
            return None
        first, *others = sorted(found, key=lambda run: (len(run.data.metrics), run.info.run_id), reverse=True)
        for run in others:
            self.client.delete_run(run.info.run_id)
        return first

    def _create(self, key: Key, name: str, begun: float, tags: dict[str, str]) -> Any:
        """A new run. If the request fails it may have been created all the same: `key` is unsure from then on."""
        was_sure = key not in self._unsure
        self._unsure.add(key)
        tags = {UUID: self.uuid, **dict([key]), **tags}
        run = self.client.create_run(self.experiment, milliseconds(begun), tags, name)
        if was_sure:
            self._unsure.discard(key)
        return run

    def there(self, begun: Sequence[float]) -> dict[int, There]:
        """The runs of trials that were begun then (Unix seconds), by number, as far as they can be known at once."""
        if self.uri.startswith("sqlite:"):
            return whole.there(self.uri, self.uuid)
        found: dict[int, There] = {}
        if begun:
            first, last = milliseconds(min(begun)), milliseconds(max(begun))
            times = f"attributes.start_time >= {first} and attributes.start_time <= {last}"
            for run in self._search(f"tags.`{UUID}` = '{self.uuid}' and {times}"):
                if (number := run.data.tags.get(TRIAL)) is not None:
                    info, parent = run.info, run.data.tags.get(PARENT)
                    one = There(info.run_id, info.status, (info.start_time, info.end_time), parent)
                    found[int(number)] = one if int(number) not in found else replace(one, id="", status="")
        return found

    def _search(self, query: str) -> Iterator[Any]:
        """All runs of the experiment that a query finds, page by page: each has everything of its runs."""
        token = None
        while True:
            page = self.client.search_runs([self.experiment], query, max_results=PAGE, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def write_whole(self, parent: Run, runs: Sequence[Whole]) -> dict[int, Run]:
        """Those of `runs` that could be written at once, by trial's number: none that was there, none to a server."""
        if not runs or not self.uri.startswith("sqlite:"):
            return {}  # a server's location is asked for in vain
        if self._location is None:
            self._location = str(self.client.get_experiment(self.experiment).artifact_location)
        ids = whole.write(self.uri, self.experiment, self._location, parent.id, self.uuid, runs)
        return {run.number: Run(ids[run.number], dict(run.tags), ended=True) for run in runs if run.number in ids}

    def end(self, key: Key, run: Run, status: str, seconds: float) -> None:
        """The run is complete. Deletes what a request that seemed to fail has created after all."""
        self.drop_doubles(key, run)
        self.client.set_terminated(run.id, status, milliseconds(seconds))
        run.ended = True

    def reopen(self, run: Run) -> None:
        """The run goes on, if it had ended."""
        if run.ended:
            self.client.update_run(run.id, "RUNNING")
            run.ended = False

    def drop_doubles(self, key: Key, run: Run) -> None:
        """Delete the other runs of a key."""
        if key in self._unsure:
            for other in self.find(key):
                if other.info.run_id != run.id:
                    self.client.delete_run(other.info.run_id)
            self._unsure.discard(key)

    def fare(self, well: bool) -> None:
        """Take larger batches after requests that went well, and smaller ones after one that did not."""
        self._batch = min(LARGEST_BATCH, self._batch * 2) if well else max(SMALLEST_BATCH, self._batch // 2)

    def log(
        self,
        run: Run,
        points: Sequence[Point] = (),
        parameters: dict[str, str] | None = None,
        tags: dict[str, str] | None = None,
    ) -> None:
        """Send what a run lacks, in batches."""
        from mlflow.entities import Metric, Param, RunTag

        changed = {key: value for key, value in (tags or {}).items() if run.tags.get(key) != value}
        params = [Param(key, value) for key, value in (parameters or {}).items()]
        new_tags = [RunTag(key, value) for key, value in changed.items()]
        for start in range(0, max(len(points), 1), self._batch):
            batch = [Metric(p.key, p.value, p.milliseconds, p.step) for p in points[start : start + self._batch]]
            if batch or params or new_tags:
                self.client.log_batch(run.id, batch, params, new_tags)
            params, new_tags = [], []
        run.tags |= changed

    def describe(self, run: Run, texts: Mapping[str, str], datasets: Mapping[str, str]) -> None:
        """What belongs to a run besides: files of text, by name, and the digests of its data, by name."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        used = [InputTag("mlflow.data.context", "training")]
        inputs = [DatasetInput(Dataset(name, digest, "local", "{}"), used) for name, digest in datasets.items()]
        if inputs:
            self.client.log_inputs(run.id, inputs)
        for name, text in texts.items():
            self.client.log_text(run.id, text, name)

    def keep(self, run: Run, paths: Sequence[Path], folder: str) -> None:
        """Files and folders, as artifacts in `folder`."""
        for path in paths:
            if path.is_dir():
                self.client.log_artifacts(run.id, str(path), f"{folder}/{path.name}")
            else:
                self.client.log_artifact(run.id, str(path), folder)
