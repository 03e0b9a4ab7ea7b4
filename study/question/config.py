"""What a study is: a complete, validated, immutable `StudyConfig`; and several together, a `SuiteConfig`."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from trainables.config import Config, Positive, PositiveInt, TrialConfig
from trainables.errors import NAME_PATTERN

EQUAL_COST: Final = "forward_equivalents"
"""Of `tune_controls`: arms have searches of equal cost, not of equal numbers of trials."""

SelectionRule = Literal["source_validation", "pivot_validation", "target_validation"]


class Objective(Config):
    """A scalar reduction of per-language scores, with a direction; with a threshold it is a constraint."""

    reduce: str = "selection_mean"
    """Name of a reduction: `selection_mean`, `target_mean`, `mean_with_source`, `low_resource_mean`,
    `high_resource_mean`, `worst_language`, `worst_k_mean`, `cvar`, `transfer_gap`, `source`, `language:CODE`,
    `group:NAME`, `cost:forward_equivalents`, …"""
    metric: str | None = None
    """Which metric is reduced; none: the task's primary one."""
    direction: Literal["maximize", "minimize"] = "maximize"
    """Which way is better."""
    threshold: float | None = None
    """Given: the value must reach it (maximize) or stay under it (minimize), and is not optimised."""

    @property
    def name(self) -> str:
        """What tables, figures and documents call its value: ``selection_mean``, or ``selection_mean of f1``."""
        return f"{self.reduce} of {self.metric}" if self.metric else self.reduce


class SearchConfig(Config):
    """How points are proposed."""

    mode: Literal["search", "design"] = "search"
    """`search`: best achievable; `design`: all points fixed before the first trial (unbiased response curves)."""
    space: str | dict[str, Any] | None = None
    """Name of a shipped search space, path of a YAML file, or the dimensions themselves; none: a single run."""
    sampler: Literal["tpe", "gp", "nsga2", "random", "grid", "latin_hypercube", "sobol"] = "tpe"
    """Who proposes: tpe, gp, nsga2, random for `search`; grid, latin_hypercube, sobol for `design`."""
    trials: PositiveInt = 8
    """Number of trials, the baseline and failed ones included (a grid is as large as it is). With `arms` see
    `protocol.tune_controls`."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of the sampler."""
    replicates: PositiveInt = 1
    """Training seeds per design point (`design` only)."""
    levels: dict[str, tuple[float | int | str | bool, ...]] = Field(default_factory=dict)
    """Grid levels per dotted path, where the space does not list them (`grid` only)."""
    objectives: Annotated[tuple[Objective, ...], Field(min_length=1)] = (Objective(),)
    """What is optimised; entries with a threshold are constraints."""
    pruner: Literal["none", "median", "percentile", "successive_halving", "hyperband"] = "none"
    """Who stops hopeless trials early."""
    enqueue: tuple[dict[str, Any], ...] = ()
    """Points to try first, after the baseline."""
    arms: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Treatments to be compared, by name: the values of the space's dimensions that each has (`search` only). Each has
    a search of its own over what that leaves of the space, other treatments off; the best of each is confirmed."""
    optional_arms: tuple[str, ...] = ()
    """Arms that are left out, in place of refusing the study, where their words or sentence pairs are not installed, or
    where syntax is theirs and the training rows have no heads, or task or encoder cannot take it."""
    left_out: dict[str, str] = Field(default_factory=dict)
    """Those that were, and why: filled in when the study begins."""
    max_hours: Positive | None = None
    """Hours, over all sessions, after which no new trial starts; none: no limit."""
    max_forward_equivalents: Positive | None = None
    """Training cost of all trials together, in passes over one batch, after which no new trial starts."""
    patience: PositiveInt | None = None
    """Trials in a row without a better first objective after which no new one starts (`search` only)."""
    max_failures: PositiveInt | None = None
    """Failed trials after which the study stops; none: no limit but that of identical first failures."""

    @property
    def optimised(self) -> tuple[Objective, ...]:
        """The objectives without a threshold; trials are ranked by the first."""
        return tuple(o for o in self.objectives if o.threshold is None)

    @property
    def constraints(self) -> tuple[Objective, ...]:
        """Those with one."""
        return tuple(o for o in self.objectives if o.threshold is not None)


class SeedsConfig(Config):
    """Seeds that come in until enough is known."""

    most: Annotated[int, Field(ge=3)]
    """Fresh seeds at most."""
    look_every: Annotated[int, Field(ge=3)]
    """Seeds after which the primary endpoint is looked at; the last look is at `most`."""


class ConfirmConfig(Config):
    """A confirmation that stops when it knows."""

    seeds: SeedsConfig
    """How many, and when they are looked at."""
    spending: Literal["obrien_fleming", "pocock"] = "obrien_fleming"
    """How the level is spent over the looks: hardly any of it early, or in nearly equal parts."""


class ProtocolConfig(Config):
    """Who may see which scores, and what is claimed."""

    selection: SelectionRule = "source_validation"
    """What objective, pruner, kept checkpoint and choice for `confirm` may read."""
    pivots: tuple[str, ...] = ()
    """The languages that select under `pivot_validation`."""
    primary_endpoint: str = "target_mean"
    """The one reduction of test scores that is claimed; everything else is exploratory."""
    primary_metric: str | None = None
    """Which metric it reduces, such as `calibration_error` or `noise_accuracy_character_area`; none: the task's primary
    one."""
    confirm_seeds: Annotated[int, Field(ge=3)] = 8
    """Fresh seeds of `study confirm`."""
    confirm: ConfirmConfig | None = None
    """Looks at the primary endpoint on the way, in place of `confirm_seeds`; none: all seeds are trained."""
    confirm_examples_per_language: PositiveInt | None = None
    """Examples of each language that `study confirm` scores; none: the whole splits."""
    groups: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Named groups of languages for objectives and tables."""
    tune_controls: bool | Literal["all", "forward_equivalents"] = False
    """Give control (b), the unperturbed one, a search of its own with an equal number of trials. With `search.arms`:
    `all` gives it and every arm `search.trials` (less the baseline), `forward_equivalents` a search that costs as much
    as so many unperturbed trials; else the arms share `search.trials`, and (b) has as many as they together."""

    @property
    def endpoint(self) -> str:
        """What tables call the primary endpoint: ``target_mean``, or ``target_mean of brier``."""
        return f"{self.primary_endpoint} of {self.primary_metric}" if self.primary_metric else self.primary_endpoint

    @property
    def most_seeds(self) -> int:
        """Fresh seeds of `study confirm`, at most."""
        return self.confirm_seeds if self.confirm is None else self.confirm.seeds.most


class ScalingConfig(Config):
    """What one trial occupies, and how many run at a time."""

    executor: Literal["warm", "fresh"] = "warm"
    """`warm`: worker processes serve one trial after another; `fresh`: new processes for each trial."""
    workers_per_trial: PositiveInt = 1
    """Ray Train workers of one trial (data parallel)."""
    cpus_per_worker: Positive = 1
    """CPUs, and compute threads, of each worker."""
    gpus_per_worker: Annotated[float, Field(ge=0.0)] = 0
    """GPUs of each worker; with a fraction below 1, of trials with one worker each, several trials share one."""
    concurrent_trials: Literal["auto"] | PositiveInt = "auto"
    """Trials at a time; `auto`: as many as the cluster's CPUs and GPUs hold at the start. A number is a limit, and on a
    cluster that grows what it grows to."""
    max_attempts: PositiveInt = 3
    """Executions of a trial whose workers are lost, before it counts as failed."""
    worker_wait_minutes: Positive = 60
    """Minutes without a sign of life from a trial's workers (their machines are gone or frozen, and no others come)
    after which the study stops, to be resumed."""
    grace_seconds: Positive = 60
    """Seconds that interrupted trials have to write their checkpoints before the study ends without them: more where
    encoders are large or the store is far."""
    recycle_after_trials: PositiveInt = 200
    """A warm group's processes are replaced after this many trials."""
    recycle_after_growth_mb: PositiveInt = 2048
    """… or once a worker's memory has grown by this many MB."""


class ModelsConfig(Config):
    """Which trained models outlive their trials, for `study model`."""

    keep: Literal["all"] | PositiveInt = 3
    """Finished trials whose weights stay on the disk: the best by the selection rule, or `all`, confirmed ones too."""
    average: bool = False
    """Keep the running mean of the weights of all completed trials too, in fp64, one for each seed, encoder and
    vocabulary: `study confirm` scores it as control (e), a model that was chosen by no score."""


class TrackingConfig(Config):
    """Where MLflow is, and what else it is given."""

    uri: str | None = None
    """MLflow tracking URI; none: an SQLite file under the studies' root."""
    register_model: bool = False
    """Register the chosen trial's model under the study's name when the study ends (half a gigabyte and more)."""


class Published(Config):
    """Scores that somebody has published, or that are one's own from elsewhere, to stand beside the study's."""

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    """What the report calls them."""
    where: str
    """Where they are from: paper, table, page."""
    values: dict[str, Annotated[float, Field(ge=0.0, le=100.0)]] = Field(default_factory=dict)
    """Language -> score on test, in percent; none where only `average` is known."""
    task: str | None = None
    """Task of the catalogue; none: the study's (of a suite it must be named)."""
    encoder: str | None = None
    """Which encoder was fine-tuned; none: the study's."""
    metric: str | None = None
    """Metric of the task; none: its primary one."""
    source_language: str | None = None
    """Language trained on; none: the study's."""
    seeds: PositiveInt | None = None
    """Seeds that they are a mean over, where that is known."""
    average: Annotated[float, Field(ge=0.0, le=100.0)] | None = None
    """The mean as it was printed, the source counted; it stands beside no other set of languages."""
    languages: tuple[str, ...] | None = None
    """Languages that `average` is over, where there are no values of theirs."""
    confidence: str = ""
    """How surely the numbers are those of the source."""
    differs: tuple[str, ...] = ()
    """What is known to be otherwise than in this study, in words."""

    @model_validator(mode="after")
    def _values_or_an_average(self) -> Published:
        if self.values and self.languages is not None:
            raise ValueError(f"languages are those of values, where these are given (got {len(self.languages)} more)")
        if not self.values and (self.average is None or not self.languages):
            raise ValueError("give values by language, or an average and the languages that it is over (got neither)")
        return self

    @property
    def mean_over(self) -> tuple[str, ...]:
        """The languages of its mean."""
        return tuple(self.values) or self.languages or ()

    @property
    def mean(self) -> float:
        """Over these, in percent: of the values where they are known, since a printed one may be a slip."""
        if self.values:
            return sum(self.values.values()) / len(self.values)
        assert self.average is not None, "one of both is given"
        return self.average


class StudyConfig(Config):
    """One question: a base trial configuration, a search space, a protocol, a budget."""

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    """Name of the study, of its folder and of its MLflow experiment."""
    question: str = ""
    """The question it answers, in words."""
    measured: dict[str, dict[str, float | None]] | None = None
    """By language its `fertility`, tokens a word, and `overlap`, share of its tokens that are trained on. Measured on
    the study's own rows when it begins, whatever stands here; null in studies from before that was done."""
    reference: tuple[str | Published, ...] | None = None
    """Published scores that stand beside the study's own in its report: names of shipped ones (`conneau2020`), or one's
    own; none: whatever is shipped of its task and encoder; `[]`: nothing."""
    trial: TrialConfig = TrialConfig()
    """The base that every trial varies."""
    search: SearchConfig = SearchConfig()
    """How points are proposed."""
    protocol: ProtocolConfig = ProtocolConfig()
    """Who may see what."""
    scaling: ScalingConfig = ScalingConfig()
    """Workers."""
    models: ModelsConfig = ModelsConfig()
    """Trained models."""
    tracking: TrackingConfig = TrackingConfig()
    """MLflow."""


class MemberConfig(Config):
    """One study of a suite: what it has in common with the others, and what it has of its own."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,49}$")]
    """Its name within the suite; its study is called ``SUITE.MEMBER``."""
    overrides: dict[str, Any] = Field(default_factory=dict)
    """Dotted path -> value, laid over what all members share: ``trial.task.name``, ``search.trials``, … As an argument:
    ``suite.members.NAME.trial.task.name=xnli``, and so ``priority`` and ``at_once``."""
    priority: int = 0
    """Trials of a member with a higher one start first; among equals in the order of the list."""
    at_once: PositiveInt | None = None
    """Most of its trials at a time, so that a search learns from those that have ended; none: as many as fit."""


class Suite(Config):
    """Several studies that ask one question and share one cluster."""

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    """Name of the suite, and of its folder."""
    endpoint: str | None = None
    """The one reduction of test scores that is claimed over all members, declared before any trial; none: each member
    has its own, and nothing is claimed over all."""
    footing: Literal["equal", "labelled"] = "equal"
    """Where members are selected by different rules an endpoint over all is refused (`equal`), or labelled wherever it
    is shown (`labelled`)."""
    members: Annotated[tuple[MemberConfig, ...], Field(min_length=1)]
    """Its studies, in the order in which they run."""


class SuiteConfig(Config):
    """One question over several studies: what they share, and what each has of its own."""

    suite: Suite
    """Name, members and endpoint."""
    question: str = ""
    """The question it answers, in words."""
    reference: tuple[str | Published, ...] | None = None
    """As in a study; of what is named each member has what is of its task and encoder."""
    trial: TrialConfig = TrialConfig()
    """As in a study."""
    search: SearchConfig = SearchConfig()
    """As in a study."""
    protocol: ProtocolConfig = ProtocolConfig()
    """As in a study."""
    scaling: ScalingConfig = ScalingConfig()
    """Workers, of all members alike: they share one cluster."""
    models: ModelsConfig = ModelsConfig()
    """As in a study."""
    tracking: TrackingConfig = TrackingConfig()
    """As in a study."""
