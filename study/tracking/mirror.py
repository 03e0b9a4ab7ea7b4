"""Sends a ledger to MLflow. Level-triggered: what a run must hold is compared with what was sent, and the rest sent.

Whatever is sent twice is there once: runs are looked up by their tags before they are created, and points carry the
ledger's times. Only `MlflowClient` is used, in batches; its own retries are off, since a repeated request may create a
run twice. MLflow can't take back a point: a run that holds one which the ledger no longer counts is deleted and
written anew.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from study.question.config import StudyConfig
from study.record.lines import Tail
from study.record.record import Report, StudyRecord, TrialRecord
from study.tracking import database, runs
from study.tracking.charts import Views, view_tag
from study.tracking.runs import PHASE, STATUS, STUDY, TRIAL, UUID, Point, milliseconds
from study.tracking.server import QUIET, artifact_folder, default_uri, public
from trainables.environment import environment, past_proxies
from trainables.scores import Split, parse_score_key

Say = Callable[[str], None]
"""Shows one line to the user."""

CHUNK = 200
"""Events read at a time: the bound of what is held in memory."""

LARGEST_BATCH, SMALLEST_BATCH = 1000, 50
"""Metric points a request: MLflow's limit, and what even a slow server takes within the time-out."""

SECONDS = 10
"""Time a request may take, unless MLFLOW_HTTP_REQUEST_TIMEOUT says otherwise."""

REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")
"""MLflow's codes for what would be refused again."""

PARENT = "mlflow.parentRunId"
"""MLflow's own tag by which a run is a child."""


@dataclass
class _Run:
    """A run as far as it has been written."""

    id: str
    tags: dict[str, str]
    sent: dict[tuple[int, Split], int] = field(default_factory=dict)
    """(step, split) of the reports in it -> their attempt."""
    has_parameters: bool = False
    ended: bool = False


def settings(seconds: int = SECONDS) -> AbstractContextManager[None]:
    """MLflow's settings, which it reads at every request from the environment: to hold while a `Mirror` is used.

    `seconds` is the time a request may take, where the user's own environment names none.
    """
    usual = {**QUIET, "MLFLOW_HTTP_REQUEST_TIMEOUT": str(seconds)}
    ours = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}
    return environment({name: os.environ.get(name, value) for name, value in usual.items()} | ours | past_proxies())


class Mirror:
    """One study's ledger on its way to MLflow. After an exception the same call goes on where it broke off.

    `uri` None is the SQLite file under the studies' root; `say` hears of single runs that MLflow refuses. `record` is
    what the ledger adds up to as far as it was read, less the reports of trials that are done with for good; `sent`
    counts the events of the ledger that are in MLflow.
    """

    def __init__(self, ledger: Path, uri: str | None, say: Say) -> None:
        self.ledger, self.root, self.experiment = ledger, ledger.parent.parent, ledger.parent.name
        self.uri = uri or default_uri(self.root)
        self._say = say
        self._batch = LARGEST_BATCH
        self._said: set[str] = set()
        self._forget()

    def _forget(self) -> None:
        """Start over, as when the server has lost what it had."""
        self.record = StudyRecord()
        self._tail = Tail(self.ledger)
        self._read = self.sent = 0
        self._pending: dict[int | None, None] = {}
        self._config: StudyConfig | None = None
        self._experiment_id: str | None = None
        self._parent: _Run | None = None
        self._children: dict[int, _Run] = {}
        self._is_new = False
        self._unsure: set[int | None] = set()
        self._stored = ""
        self._views = Views()
        self._view_tags: dict[str, str] = {}

    @cached_property
    def _client(self) -> Any:
        """MLflow's client. The first access takes seconds: the import, and perhaps the making of a database."""
        from mlflow import MlflowClient

        database.ensure(self.uri)
        return MlflowClient(self.uri)

    def advance(self) -> bool:
        """Read and send the next chunk of events. False if there was none. Raises whatever MLflow raises."""
        if not self._pending and self.ledger.exists():
            for event in islice(self._tail.poll(), CHUNK):
                self.record.apply(event)
                self._read += 1
                self._pending[event.get("trial")] = None
        if not self._pending:
            return False
        try:
            self._send()
        except Exception as error:
            self._batch = max(SMALLEST_BATCH, self._batch // 2)
            if _code(error) == "RESOURCE_DOES_NOT_EXIST":
                self._forget()
            raise
        self._batch = min(LARGEST_BATCH, self._batch * 2)
        self.sent = self._read
        return True

    def finish(self) -> None:
        """To be called once all is sent: ends the parent run if every trial has ended."""
        if self._parent is None:
            return
        self._store_configuration()
        self._drop_doubles(None, self._parent)
        trials = self.record.trials.values()
        if trials and all(trial.ended for trial in trials) and self.record.last_time is not None:
            self._client.set_terminated(self._parent.id, "FINISHED", milliseconds(self.record.last_time))
            self._parent.ended = True

    def unsent(self) -> int:
        """Events in the ledger that are not yet in MLflow."""
        if not self.ledger.exists():
            return 0
        with self.ledger.open("rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b"")) - self.sent

    @property
    def parent(self) -> tuple[Any, Any]:
        """MLflow's client, and the parent run as it has it."""
        assert self._parent is not None, "the ledger has not been sent"
        return self._client, self._client.get_run(self._parent.id)

    def store(self, paths: Sequence[Path], folder: str) -> None:
        """Store files and folders with the parent run."""
        assert self._parent is not None, "the ledger has not been sent"
        for path in paths:
            if path.is_dir():
                self._client.log_artifacts(self._parent.id, str(path), f"{folder}/{path.name}")
            else:
                self._client.log_artifact(self._parent.id, str(path), folder)

    def _send(self) -> None:
        if self.record.uuid is None:
            self._pending.clear()
            return
        if None in self._pending or self._parent is None:
            self._config = StudyConfig.model_validate(self.record.config)
            self._write_parent()
        for number in [n for n in self._pending if n is not None]:
            if number in self.record.trials:
                self._write_or_leave_out(self.record.trials[number])
            del self._pending[number]
        self._write_views()
        self._pending.clear()

    def _say_once(self, kind: str, line: str) -> None:
        if kind not in self._said:
            self._said.add(kind)
            self._say(line)

    # The parent run

    def _write_parent(self) -> None:
        config = self._config
        assert config is not None
        if self._parent is None:
            found = self._find(f"tags.{PHASE} = '{STUDY}'")
            self._is_new = not found and not self._find()
            run = self._keep_one(found)
            if run is None:
                begun = self.record.sessions[0]["time"] if self.record.sessions else self.record.last_time
                run = self._create(None, self.experiment, begun or 0.0, {PHASE: STUDY})
            self._parent = _Run(run.info.run_id, dict(run.data.tags), ended=run.info.status != "RUNNING")
        self._log(self._parent, [], {}, runs.study_tags(self.record, config))
        self._store_configuration()

    def _store_configuration(self) -> None:
        """The configuration as an artifact, the data as inputs. Artifacts may have a store that fails by itself."""
        assert self._parent is not None
        assert self._config is not None
        text = yaml.safe_dump(self.record.config, sort_keys=False, allow_unicode=True)
        if text == self._stored:
            return
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs = [
            DatasetInput(Dataset(name, digest, "local", "{}"), [InputTag("mlflow.data.context", "training")])
            for name, digest in runs.datasets(self.record, self._config).items()
        ]
        try:
            if inputs:
                self._client.log_inputs(self._parent.id, inputs)
            self._client.log_text(self._parent.id, text, "study.yaml")
        except Exception as error:
            self._say_once("artifact", f"MLflow at {public(self.uri)} took no artifact: it {reason(error, self.uri)}")
        else:
            self._stored = text

    def _write_views(self) -> None:
        assert self._config is not None
        for view in self._views.views({number: run.id for number, run in self._children.items()}):
            key, value = view_tag(str(self.record.uuid), self._config, view)
            if self._view_tags.get(key) != value:
                self._client.set_experiment_tag(self._experiment, key, value)
                self._view_tags[key] = value

    # Child runs

    def _write_or_leave_out(self, trial: TrialRecord) -> None:
        """A run that MLflow refuses is written anew once, then left out: what comes after it is not held up."""
        self._views.note(trial)
        try:
            self._write_trial(trial)
        except Exception as error:
            if not _refused(error):
                raise
            try:
                self._children[trial.number] = self._start(trial, anew=True)
                self._write_trial(trial)
            except Exception as again:
                if not _refused(again):
                    raise
                self._say_once("refused", f"MLflow left out trial {trial.number}: it {reason(again, self.uri)}")
                self._children[trial.number] = _Run("", {}, ended=True)

    def _write_trial(self, trial: TrialRecord) -> None:
        config = self._config
        assert config is not None
        run = self._children.get(trial.number)
        if run is None:
            run = self._children[trial.number] = self._start(trial)
        elif run.ended and not trial.ended:  # it failed, and is retried
            run = self._children[trial.number] = self._start(trial, anew=True)
        if not run.ended:
            reports = [r for r in trial.reports if run.sent.get((r.step, r.split)) != r.attempt]
            if any((r.step, r.split) in run.sent for r in reports):  # a later attempt repeated a step
                run = self._children[trial.number] = self._start(trial, anew=True)
                reports = trial.reports
            points = [p for r in reports for p in runs.points(config, r, with_costs=_is_first(r, trial))]
            parameters = {} if run.has_parameters else runs.trial_parameters(config, trial)
            self._log(run, points, parameters, runs.trial_tags(config, trial))
            run.has_parameters = True
            run.sent |= {(r.step, r.split): r.attempt for r in reports}
            if trial.ended and trial.finished is not None:
                self._drop_doubles(trial.number, run)
                self._client.set_terminated(run.id, STATUS[trial.state], milliseconds(trial.finished))
                run.ended = True
        if run.ended and trial.state != "FAIL":  # who failed may be retried
            trial.reports, trial.distributions, trial.attributes = [], {}, {}

    def _start(self, trial: TrialRecord, anew: bool = False) -> _Run:
        """The trial's run: the one that is there, or a new one; with `anew` always a new one."""
        assert self._parent is not None
        looked_up = anew or not self._is_new or trial.number in self._unsure
        found = self._find(f"tags.`{TRIAL}` = '{trial.number}'") if looked_up else []
        run = self._keep_one(found)
        if run is not None and (anew or not self._agrees(run, trial)):
            self._client.delete_run(run.info.run_id)
            run = None
        if run is None:
            tags = {TRIAL: str(trial.number), PHASE: trial.phase, PARENT: self._parent.id}
            run = self._create(trial.number, runs.trial_name(trial), trial.asked, tags)
        started = _Run(run.info.run_id, dict(run.data.tags), ended=run.info.status in STATUS.values())
        self._log(started, [], {}, {PARENT: self._parent.id})
        if self._parent.ended and not trial.ended:
            self._client.update_run(self._parent.id, "RUNNING")
            self._parent.ended = False
        return started

    def _agrees(self, run: Any, trial: TrialRecord) -> bool:
        """Whether all that a run holds is in the ledger. One that has ended is complete: its end is written last."""
        if run.info.start_time != milliseconds(trial.asked):
            return False
        if run.info.status in STATUS.values():
            ended = trial.ended and trial.finished is not None
            return ended and (run.info.status, run.info.end_time) == (
                STATUS[trial.state],
                milliseconds(trial.finished or 0),
            )
        there = {(r.split, r.step, milliseconds(r.time)) for r in trial.reports}
        seen: set[Split] = set()
        for key in run.data.metrics:
            parsed = parse_score_key(key)
            if parsed is not None and parsed[0] not in seen:
                seen.add(parsed[0])
                history = self._client.get_metric_history(run.info.run_id, key)
                if any((parsed[0], point.step, point.timestamp) not in there for point in history):
                    return False
        return True

    # Runs of both kinds

    @property
    def _experiment(self) -> str:
        """Identifier of the experiment, which is created if need be."""
        if self._experiment_id is None:
            found = self._client.get_experiment_by_name(self.experiment)
            if found is not None and found.lifecycle_stage != "active":
                command = f"mlflow experiments restore --experiment-id {found.experiment_id}"
                raise OSError(f"has the experiment {self.experiment!r} in its bin, restore it with: {command}")
            if found is not None:
                self._experiment_id = str(found.experiment_id)
            else:
                by_server = self.uri.startswith(("http:", "https:", "databricks"))
                folder = None if by_server else (artifact_folder(self.root) / self.experiment).as_uri()
                self._experiment_id = str(self._client.create_experiment(self.experiment, artifact_location=folder))
        return self._experiment_id

    def _find(self, clause: str = "") -> list[Any]:
        """This study's runs, or at most ten of them, that a clause of MLflow's filter language describes."""
        clauses = (
            [f"tags.`{UUID}` = '{self.record.uuid}'", clause] if clause else [f"tags.`{UUID}` = '{self.record.uuid}'"]
        )
        return list(self._client.search_runs([self._experiment], " and ".join(clauses), max_results=10))

    def _keep_one(self, found: Sequence[Any]) -> Any | None:
        """One of several runs that are to be one, the fullest; the others are deleted."""
        if not found:
            return None
        first, *others = sorted(found, key=lambda run: (len(run.data.metrics), run.info.run_id), reverse=True)
        for run in others:
            self._client.delete_run(run.info.run_id)
        return first

    def _create(self, key: int | None, name: str, begun: float, tags: dict[str, str]) -> Any:
        """A new run. If the request fails it may have been created all the same: `key` is unsure from then on."""
        was_sure = key not in self._unsure
        self._unsure.add(key)
        tags = {UUID: str(self.record.uuid), **tags}
        run = self._client.create_run(self._experiment, milliseconds(begun), tags, name)
        if was_sure:
            self._unsure.discard(key)
        return run

    def _drop_doubles(self, key: int | None, run: _Run) -> None:
        """Delete what a request that seemed to fail has created after all."""
        if key in self._unsure:
            clause = f"tags.{PHASE} = '{STUDY}'" if key is None else f"tags.`{TRIAL}` = '{key}'"
            for other in self._find(clause):
                if other.info.run_id != run.id:
                    self._client.delete_run(other.info.run_id)
            self._unsure.discard(key)

    def _log(self, run: _Run, points: Sequence[Point], parameters: dict[str, str], tags: dict[str, str]) -> None:
        """Send what a run lacks, in batches."""
        from mlflow.entities import Metric, Param, RunTag

        changed = {key: value for key, value in tags.items() if run.tags.get(key) != value}
        params = [Param(key, value) for key, value in parameters.items()]
        new_tags = [RunTag(key, value) for key, value in changed.items()]
        for start in range(0, max(len(points), 1), self._batch):
            batch = [Metric(p.key, p.value, p.milliseconds, p.step) for p in points[start : start + self._batch]]
            if batch or params or new_tags:
                self._client.log_batch(run.id, batch, params, new_tags)
            params, new_tags = [], []
        run.tags |= changed


def _is_first(report: Report, trial: TrialRecord) -> bool:
    """Whether it is the first report of its step: validation and test may both be scored there."""
    return next(r for r in trial.reports if r.step == report.step) is report


def _code(error: BaseException) -> str | None:
    return getattr(error, "error_code", None)


def _refused(error: BaseException) -> bool:
    """Whether it is about this one run, and not about MLflow being reached."""
    code = _code(error)
    return code in REFUSALS if code is not None else not isinstance(error, OSError)


def reason(error: BaseException, uri: str) -> str:
    """Why MLflow did not take something, as a clause whose subject is MLflow."""
    text = str(error)
    host = urlsplit(uri).hostname or ""
    status = re.search(r"error code (\d{3})|too many (\d{3}) error responses", text)
    number = next((n for n in status.groups() if n), "") if status else ""
    if "Invalid Host header" in text or number == "403":
        return f"answers 403, forbidden: if it does not know its own name, start it with --allowed-hosts {host}"
    if number == "401":
        return "answers 401, unauthorized: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    if number:
        return f"answers {number}"
    if "timed out" in text or "timeout" in text:
        return f"does not answer within {os.environ.get('MLFLOW_HTTP_REQUEST_TIMEOUT', SECONDS)} s"
    if "Connection refused" in text:
        return "is not there (connection refused)"
    if "Failed to resolve" in text or "Name or service not known" in text:
        return "has no such host"
    first = text.strip().partition("\n")[0] or type(error).__name__
    return first if isinstance(error, OSError) else f"fails: {public(first)[:200]}"
