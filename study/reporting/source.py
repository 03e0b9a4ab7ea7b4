"""What a report is made from: a study's ledger and predictions, or anyone's results frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

import search_spaces
from search_spaces.dimensions import Space
from study.analysis import intervals, sequential
from study.analysis.frames import Reduction, language_facts, language_scores, of_languages
from study.proposals import ranking
from study.question import alignments, arms, encoders, literature, objectives
from study.question.config import Published, StudyConfig
from study.record.record import TrialRecord
from study.reporting import words
from study.views import history
from study.views.found import Study, find
from study.views.values import first_value, selection_words
from trainables import alignment
from trainables.config import OFFLINE, TrialConfig
from trainables.errors import UserError
from trainables.languages import ANY_ENCODER
from trainables.loading import apply_point
from trainables.model.catalogue import pretraining_of
from trainables.pretraining import Lists
from trainables.scores import Evaluation, LanguageScores

HEADLINE = "winner"
"""Kind of the confirm trials that are the headline, and their configuration's name unless they say otherwise."""

CONTROLS = {
    "a": "no perturbation, base settings",
    "b": "no perturbation, its other knobs tuned with an equal number of trials",
    "c": "no perturbation at equal forward-equivalents",
    "d": "random perturbation at the headline's achieved norm",
    "e": "the mean of the weights of all trials",
}
"""The standard controls in words."""

AVERAGE = "e"
"""Letter of the control that is no training, and has no fresh seeds."""

PACKAGES = ("torch", "transformers", "ray", "optuna", "numpy", "scipy", "statsmodels", "pandas", "plotly")
"""Packages whose versions are named."""

REDUCTIONS = ("source", "target_mean", "low_resource_mean", "worst_language", "transfer_gap")
"""Reductions that the headline table shows beside the primary endpoint."""

SUPERVISION = ("none", "monolingual", "bilingual", "parallel")
"""What a method needs beside labels of the source language, the least first."""

TREES, WITH_TREES = "syntax", " + "
"""What it is called where texts come with their trees, and what stands before that where more is needed."""

UNOFFICIAL = 0.0005
"""Difference between a language's score in the ledger and the same out of its predictions that is reported."""

ALIKE = 0.98
"""Share of the test's texts that a model which has learned nothing gives one answer to."""

SKEWED = 0.9
"""Share of right answers with which one answer to nearly all is no sign of that: most texts have that label."""

Rows = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Source:
    """One study, ready to be analysed: frames of one metric (the primary one), and facts in words."""

    name: str
    question: str
    metric: str
    config: StudyConfig
    """Of results without a study: a default one with the endpoint and source language that were given."""
    trials: pd.DataFrame
    """Trial frame; empty for results without a study."""
    summary: pd.DataFrame
    """One row per trial of phase `run` with a score: trial, kind, control, state, seed, value (first objective), the
    reductions it allows (validation), forward_equivalents, train_seconds, relative_norm, and the dotted parameters."""
    results: pd.DataFrame | None
    """Results frame of the test split, of the claimed metric; None before the confirmation."""
    facts: pd.DataFrame
    headline: str | None
    """Configuration of the results that is rank 1."""
    chosen: tuple[int, ...] = ()
    """Trials of phase `run` that are the headline's replicates."""
    baselines: tuple[int, ...] = ()
    """Trials of phase `run` that are the unperturbed baseline of the headline's encoder."""
    baseline_ranks_higher: bool = False
    openings: int = 0
    """How often the test split was opened."""
    looks: tuple[Mapping[str, Any], ...] = ()
    """What the looks at the confirmation found: the ledger's `look` events."""
    plan: sequential.Plan | None = None
    """When it looks, and by which bounds, as agreed before the test split was opened."""
    seeds: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Confirmed configuration -> seeds under which it has scores, and seeds that it was to be trained under."""
    failed: int = 0
    """Trials of a design that failed …"""
    designed: int = 0
    """… out of so many."""
    described: Mapping[str, str] = field(default_factory=dict)
    """Configuration -> what it is, in words."""
    supervision: Mapping[str, str] = field(default_factory=dict)
    """Configuration -> kind of supervision beside source labels."""
    cost: Mapping[str, str] = field(default_factory=dict)
    """Configuration -> what a training of it takes in forward-equivalents, in words."""
    apart: frozenset[str] = frozenset()
    """Confirmed configurations of another encoder than the headline's: what they differ in from its controls is no gain
    of a method."""
    pretraining: Lists = ANY_ENCODER
    """The list of pretraining languages that `facts` are about: that of the headline's encoder, else of all."""
    stuck: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Confirmed configurations that answer alike whatever they are asked: under so many seeds, of so many."""
    cautions: tuple[str, ...] = ()
    """What else weakens every conclusion, in sentences."""
    protocol: Rows = ()
    reproduction: Rows = ()
    resolved: str = ""
    """The resolved configuration as YAML."""
    further: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Test scores of the confirm trials by other metrics than the claimed one: a trial frame."""
    answers: pd.DataFrame | None = None
    """Results frame of the primary metric, example by example, where `results` are of another."""
    published: tuple[Published, ...] = ()
    """What others have published of this task and the headline's encoder."""

    @property
    def endpoint(self) -> str:
        """Name of the primary endpoint."""
        return self.config.protocol.primary_endpoint

    @property
    def claimed(self) -> str:
        """The metric of the primary endpoint, and of all that is said of the test split."""
        return self.config.protocol.primary_metric or self.metric

    @property
    def of_the_task(self) -> pd.DataFrame | None:
        """Results frame of the primary metric, which is what members of a suite have in common."""
        return self.results if self.answers is None else self.answers

    @property
    def is_error(self) -> bool:
        """Whether less of the claimed metric is better."""
        return objectives.is_error(self.claimed)

    @property
    def level(self) -> float:
        """Of the confirmation's intervals: that of the last look where seeds were looked at as they came in."""
        return 1 - float(self.looks[-1]["bound"]) if self.looks else intervals.LEVEL

    @property
    def rule(self) -> str:
        """The selection rule."""
        return self.config.protocol.selection

    @property
    def is_demonstration(self) -> bool:
        """Whether the only encoder is the embedded one."""
        return all(name.startswith(OFFLINE) for name in encoders.labels(self.config))

    @property
    def cost_score(self) -> str:
        """The reduction that cost is weighed against: the primary endpoint, or what is nearest to it of what is there.

        A task without validation rows in its target languages has neither an endpoint nor a target mean in a search.
        """
        nearest = (self.endpoint, "target_mean", "selection_mean", "source")
        return next((name for name in nearest if name in self.summary.columns), self.endpoint)

    def targets(self, languages: Iterable[object]) -> list[str]:
        """Those of some languages that are not the source language."""
        return [str(k) for k in languages if k not in objectives.sources(self.config)]

    def reduction(self, name: str, metric: str = "score") -> Reduction:
        """A reduction of the protocol as a function of language -> score; raises `objectives.UnscoredError`."""

        def reduce(scores: Mapping[str, float]) -> float:
            return objectives.reduce(name, as_evaluation(scores, metric), self.config)

        return reduce

    def gain(self, name: str) -> Reduction:
        """A reduction of which more is better, whose differences are gains: of a gap its negative."""
        reduce, sign = self.reduction(name), -1.0 if objectives.is_lower_better(name, None) else 1.0
        return lambda scores: sign * reduce(scores)

    def allows(self, name: str, languages: Mapping[str, float]) -> bool:
        """Whether a reduction has a value for these languages, a group mean over enough of them."""
        try:
            objectives.reduce(name, as_evaluation(languages), self.config)
        except objectives.UnscoredError:
            return False
        members = objectives.members_of(name, tuple(languages), self.config)
        enough = objectives.SMALLEST_GROUP if name.endswith("_mean") or name.startswith("group:") else 1
        return name == "selection_mean" or len(members) >= enough


def as_evaluation(scores: Mapping[str, float], metric: str = "score") -> Evaluation:
    """Scores by language as the reductions take them."""
    return Evaluation(0, "test", {metric: LanguageScores(scores, dict.fromkeys(scores, 1))})


def from_ledger(name: str, root: Path, known: Study | None = None) -> Source:
    """The study `name` under `root`, `known` if it was read already, with its predictions where it has been
    confirmed."""
    study = known or find(root, name)
    config, choice = study.config, study.choice
    trials = history.trial_frame(study)
    metric = _primary_metric(study)
    claimed = config.protocol.primary_metric or metric
    tested = trials[(trials["phase"] == "confirm") & (trials["split"] == "test") & (trials["state"] == "COMPLETE")]
    further = tested[tested["metric"] != claimed].reset_index(drop=True)
    of_claimed = of_languages(tested[tested["metric"] == claimed])
    trials = trials[trials["metric"] == metric].reset_index(drop=True)
    results = history.results_of(study.place)
    if results is not None:
        results = results[(results["split"] == "test") & (results["metric"] == metric)].reset_index(drop=True)
    confirmed = [t for t in study.trials if t.phase == "confirm"]
    names = {history.configuration_name(t): t for t in confirmed}
    repeated = [n for n, t in names.items() if choice and _repeats(study, t, choice.winner)]
    trials, results = _without(trials, repeated), None if results is None else _without(results, repeated)
    answers, cautions, stuck = None, tuple(_cautions(trials, results)), stuck_of(results)
    if results is not None and claimed != metric:
        answers, results = results, _without(of_claimed, repeated)
    names = {n: t for n, t in names.items() if n not in repeated}
    resolved = {n: ranking.trial_config(config, t) for n, t in names.items()}
    winner = apply_point(config.trial, choice.winner.point) if choice else None
    lists = encoders.pretraining_lists(config) if winner is None else (pretraining_of(winner.encoder.name_or_path),)
    paths = dict.fromkeys(path for t in study.trials if t.phase == "run" for path in t.point)
    space = None if config.search.space is None else search_spaces.load(config.search.space)
    apart = [n for n, t in resolved.items() if winner is not None and encoders.identity(t) != encoders.identity(winner)]
    return Source(
        name=name,
        question=config.question,
        metric=metric,
        config=config,
        trials=trials,
        summary=_summary(study, metric),
        results=results,
        facts=language_facts(map(str, trials["language"].unique()), lists, config.trial.task.own, config.measured),
        headline=next((n for n, t in names.items() if t.kind == HEADLINE), None),
        chosen=choice.winner.numbers if choice else (),
        baselines=tuple(t.number for t in ranking.baselines(config, study.record, choice.winner.point))
        if choice
        else (),
        baseline_ranks_higher=bool(choice and choice.baseline_ranks_higher),
        openings=len(study.record.openings),
        looks=tuple(study.record.looks),
        plan=_plan(study.record.agreed),
        seeds=_seeds(names, confirmed, results) if results is not None else {},
        failed=sum(t.kind == "design" and t.state == "FAIL" for t in study.trials),
        designed=sum(t.kind == "design" for t in study.trials),
        described={n: CONTROLS.get(t.control or "") or _words(resolved[n], paths, space) for n, t in names.items()},
        supervision={n: _supervision(study, t) for n, t in names.items()},
        cost={n: _cost(study, t) for n, t in names.items()},
        apart=frozenset(apart),
        pretraining=lists,
        cautions=(
            *map(words.repeated_control, repeated),
            *map(words.another_encoder, apart),
            *cautions,
        ),
        stuck=stuck,
        protocol=tuple(_protocol_rows(study)),
        reproduction=tuple(_reproduction_rows(study)),
        resolved=yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
        further=_without(further, repeated),
        answers=answers,
        published=_published(config, winner),
    )


def _plan(agreed: Mapping[str, Any] | None) -> sequential.Plan | None:
    if agreed is None:
        return None
    return sequential.Plan(tuple(agreed["looks"]), tuple(agreed["bounds"]), agreed["spending"])


def _published(config: StudyConfig, winner: TrialConfig | None) -> tuple[Published, ...]:
    """Of the study's task, and of the encoder that its headline has, where it trains several."""
    mine = (winner or config.trial).encoder.name_or_path
    rows = literature.of_study(config)
    return tuple(row for row in rows if row.encoder is None or literature.same_encoder(row.encoder, mine))


def _seeds(names: Iterable[str], confirmed: Sequence[TrialRecord], results: pd.DataFrame) -> dict[str, tuple[int, int]]:
    """Seeds with scores, and seeds planned, of each confirmed configuration."""
    scored = results.groupby("configuration")["seed"].nunique().to_dict()
    planned = Counter(map(history.configuration_name, confirmed))
    return {name: (int(scored.get(name, 0)), planned[name]) for name in names}


def _supervision(study: Study, trial: TrialRecord) -> str:
    """The kind of supervision that a confirmed trial used, or the strongest of those that a mean of trials is of."""
    numbers = trial.attributes.get("trials", ())
    trials = [study.record.trials[number] for number in numbers] or [trial]
    label = max((supervision(ranking.trial_config(study.config, t)) for t in trials), key=_strength)
    whose = words.parsed(trial.evaluation("test"))
    return f"{label} ({whose})" if whose else label


def _strength(label: str) -> tuple[int, bool]:
    """Rank of a kind of supervision, and whether there were trees beside it."""
    kind, _, trees = label.partition(WITH_TREES)
    return (0, True) if label == TREES else (SUPERVISION.index(kind), bool(trees))


def _cost(study: Study, trial: TrialRecord) -> str:
    """Forward-equivalents of a confirmed training, and those of the alignment that it began from."""
    resolved = ranking.trial_config(study.config, trial)
    outcome = trial.result(resolved) or trial.evaluation()
    if outcome is None or "forward_equivalents" not in outcome.cost:
        return "–"
    paid = f"{outcome.cost['forward_equivalents']:,.0f}"
    return f"{paid} + {aligned}" if (aligned := alignment.cost_words(resolved.alignment)) else paid


def supervision(trial: TrialConfig) -> str:
    """The strongest kind of supervision beside source labels that a trial uses, and whether it looks along trees."""
    from trainables import augmentation, perturbation

    try:
        needed = perturbation.supervision(trial.perturbation.method)
    except UserError:  # a method of somebody's own, which is not installed here
        needed = "none"
    kinds = (needed, augmentation.supervision(trial.augmentation), alignment.supervision(trial.alignment))
    strongest = max(kinds, key=SUPERVISION.index)
    if trial.syntax.kind == "none":
        return strongest
    return TREES if strongest == "none" else f"{strongest}{WITH_TREES}{TREES}"


def _repeats(study: Study, trial: TrialRecord, winner: ranking.Ranked) -> bool:
    """Whether a confirmed control is none for this winner by the protocol, being the same treatment."""
    if trial.control in ("", None, AVERAGE):
        return False
    return trial.control not in ranking.controls(study.config, study.record, winner)


def _without(frame: pd.DataFrame, configurations: Sequence[str]) -> pd.DataFrame:
    return frame[~frame["configuration"].isin(configurations)].reset_index(drop=True)


def _cautions(trials: pd.DataFrame, results: pd.DataFrame | None) -> Iterator[str]:
    """Where the predictions' own scores are not the scores in the ledger (a corpus F1 without weights, say)."""
    if results is None or results.empty:
        return
    keys = ["configuration", "seed", "language"]
    official = trials[(trials["phase"] == "confirm") & (trials["split"] == "test")]
    both = language_scores(results).merge(official[[*keys, "score"]], on=keys, suffixes=("", "_official"))
    off = float((both["score"] - both["score_official"]).abs().max()) if len(both) else 0.0
    if off > UNOFFICIAL:
        yield words.unofficial(str(results["metric"].iloc[0]), off)


def stuck_of(results: pd.DataFrame | None) -> dict[str, tuple[int, int]]:
    """`Source.stuck`; empty where answers are not of one kind for all texts, as the tags of sentences are not."""
    if results is None or "prediction" not in results or set(results["metric"]) != {"accuracy"}:
        return {}
    given = results.groupby(["configuration", "seed"], observed=True)
    share = given["prediction"].agg(lambda answers: answers.value_counts(normalize=True).max())
    alike = (share >= ALIKE) & (given["score"].mean() < SKEWED)
    seeds = alike.groupby("configuration", observed=True).agg(["sum", "size"])
    return {str(name): (int(row["sum"]), int(row["size"])) for name, row in seeds.iterrows() if row["sum"]}


def _primary_metric(study: Study) -> str:
    return next((r.evaluation.metric for t in study.trials for r in t.reports), "score")


def _summary(study: Study, metric: str) -> pd.DataFrame:
    value = first_value(study.config)
    rows = []
    for trial in study.trials:
        evaluation = trial.result(study.config.trial) or trial.evaluation()
        if trial.phase != "run" or evaluation is None:
            continue
        resolved = ranking.trial_config(study.config, trial)
        row: dict[str, Any] = {
            "trial": trial.number, "kind": trial.kind, "control": trial.control or "", "state": trial.state,
            "seed": resolved.training.seed, "value": value(evaluation),
            **objectives.summary(evaluation, study.config, metric), **evaluation.cost,
            "relative_norm": history.dose(trial, resolved, evaluation.step),
            "perturbation.method": resolved.perturbation.method, **trial.point,
        }  # fmt: skip
        rows.append(row)
    return pd.DataFrame(rows)


def _words(trial: TrialConfig, paths: Iterable[str], space: Space | None) -> str:
    """A trial's values at the paths that the study varies, without the seed and what nothing in it reads:
    ``perturbation: epsilon 0.1, …``."""
    parts: dict[str, list[str]] = {}
    for path in paths:
        head, _, tail = path.partition(".")
        value = history.value_at(trial, path)
        if path != "training.seed" and value != "none" and not history.is_off(trial, path, space):
            text = f"{value:.3g}" if isinstance(value, float) else str(value)
            parts.setdefault(head, []).append(f"{tail.replace('_', ' ')} {text}")
    return "; ".join(f"{head}: {', '.join(values)}" for head, values in parts.items())


def _protocol_rows(study: Study) -> Iterator[tuple[str, str]]:
    config = study.config
    task = config.trial.task
    yield "task", f"{task.title}, trained on {task.source_language} only"
    yield "encoder", ", ".join(encoders.labels(config))
    yield "selection rule", f"{config.protocol.selection}. {selection_words(config)}"
    for told in literature.words(config):
        yield "published beside it", told
    yield "primary endpoint", f"{config.protocol.endpoint}, test split; all else is exploratory"
    objective = config.search.optimised[0]
    yield "objective", f"{objective.name}, {objective.direction}"
    for bound in config.search.constraints:
        yield "constraint", f"{bound.name} {'≥' if bound.direction == 'maximize' else '≤'} {bound.threshold}"
    kind = "a design, fixed before the first trial" if config.search.mode == "design" else "a search"
    asked = sum(t.phase == "run" for t in study.trials)
    states = [t.state for t in study.trials if t.phase == "run"]
    ended = (
        f"{states.count('COMPLETE')} complete, {states.count('PRUNED')} stopped early, {states.count('FAIL')} failed"
    )
    yield "trials", f"{asked} in {kind} ({config.search.sampler}): {ended}"
    if config.search.arms:
        yield "arms", f"{', '.join(arms.names(config))}, the best of each confirmed; {arms.effort(config)}"
    for trial in alignments.choices(config):
        aligned = trial.alignment
        needed = f"supervision: {alignment.supervision(aligned)}; licence: {alignment.licence(aligned)}"
        yield f"aligned: {aligned.objective}", f"sentence pairs of {aligned.pairs}; {needed}"
    yield from ((f"left out: {name}", why) for name, why in config.search.left_out.items())
    yield "score of a trial", f"one checkpoint for all languages: {config.trial.evaluation.checkpoint}"
    openings = study.record.openings
    yield "test split", f"opened {len(openings)} time{'s' * (len(openings) != 1)}" if openings else "closed so far"


def _reproduction_rows(study: Study) -> Iterator[tuple[str, str]]:
    config, record = study.config, study.record
    yield "study", f"{study.name}, uuid {record.uuid}"
    yield "code", str(record.code_version)
    yield "protocol hash", str(record.protocol_hash)
    for name, value in record.fingerprints.items():
        parts = value if isinstance(value, list) else [value]
        yield f"fingerprint of {name}", " ".join(map(str, parts))
    run = sorted({ranking.trial_config(config, t).training.seed for t in study.trials if t.phase == "run"})
    yield "training seeds, run", ", ".join(map(str, run)) or "–"
    fresh = sorted({ranking.trial_config(config, t).training.seed for t in study.trials if t.phase == "confirm"})
    yield "training seeds, confirm", ", ".join(map(str, fresh)) or "–"
    yield "sampler's seed", str(config.search.seed)
    yield "commands", f"study run configuration.yaml && study confirm {study.name} && study report {study.name}"
    yield from versions()


def versions() -> Iterator[tuple[str, str]]:
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    yield "packages, when reporting", ", ".join(found)


def caption(source: Source) -> str:
    """What every table's caption carries: protocol, selection rule, seeds, test openings."""
    seeds = source.results["seed"].nunique() if source.results is not None else 0
    parts = [
        f"Study {source.name}",
        f"selection: {source.rule}" if source.summary.shape[0] else "selection rule not recorded",
        f"primary endpoint: {source.config.protocol.endpoint}",
        f"{seeds} seed{'s' * (seeds != 1)}" if seeds else "not confirmed",
    ]
    lost = [f"{name} {planned - scored}" for name, (scored, planned) in source.seeds.items() if scored < planned]
    if lost:
        parts.append(f"seeds without scores: {', '.join(lost)}")
    if source.summary.shape[0]:
        parts.append(f"test split opened {source.openings}×" if source.openings else "test split closed")
    languages = [
        str(k) for frame in (source.results, source.trials) if frame is not None for k in frame["language"].unique()
    ]
    members = objectives.membership(source.endpoint, tuple(dict.fromkeys(languages)), source.config)
    text = "; ".join([*parts, *([members] if members else [])]) + "."
    if source.rule == "target_validation" and source.summary.shape[0]:
        text += " Oracle selection, uses target labels."
    if source.baseline_ranks_higher:
        text += " The unperturbed baseline ranks above the headline by the selection rule."
    return text
