"""What a study takes before it runs: checkpoints on disk, trials at a time, and time by what earlier studies took."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import search_spaces
from study.execution.concurrency import held
from study.question import arms, encoders
from study.question.config import ScalingConfig, StudyConfig
from study.record import roots
from study.record.lines import begun_as
from study.views.found import Study, find
from trainables import machine
from trainables.config import TrialConfig
from trainables.errors import UserError
from trainables.loading import validate
from trainables.materials.weights import is_here, loaded, passes, trained, whole, words
from trainables.perturbation import Parts
from trainables.perturbation.tavat import Tavat

WEIGHTS, FULL, MEAN = 4, 12, 8
"""Bytes for each trained parameter: of its weight in fp32, with AdamW's two moments beside it, and in fp64."""

METHOD = "perturbation.method"


# Disk


def checkpoints(config: StudyConfig) -> int | None:
    """Most bytes that the study's checkpoints take at any time, on this machine; None where the encoder is not here.

    What as few that failed by no fault of their own keep besides, to be retried from, is not counted: most studies have
    none.
    """
    return together([config])


def running(config: StudyConfig) -> int | None:
    """Most bytes of the checkpoints of trials that run at one time.

    Each has its last two and, for a moment, the next one, with its optimiser and what its method carries; one more
    where the best is kept, and with each the mean where weights are averaged. Without checkpoints between there is one,
    written when the trial is interrupted, and the final weights.
    """
    if (parameters := _parameters(config)) is None:
        return None
    whole, evaluation = FULL * parameters + carried(config, parameters), config.trial.evaluation
    if evaluation.every is None and config.trial.training.checkpoint_minutes is None:
        each = whole + WEIGHTS * parameters
    else:
        each = whole * (3 + (evaluation.checkpoint == "best_source_validation"))
        each += WEIGHTS * parameters * 3 * (evaluation.checkpoint == "average")
    return at_once(config.scaling) * each


def finished(config: StudyConfig) -> int | None:
    """Bytes of the weights that stay: of the best few finished trials, or of all, those of a confirmation too; where
    trials are averaged, a mean in fp64 for each seed and encoder, and for a moment the next one."""
    parameters = _parameters(config)
    means = config.models.average * (config.search.replicates * len(encoders.settings(config)) + 1)
    return None if parameters is None else parameters * (kept(config) * WEIGHTS + means * MEAN)


def _parameters(config: StudyConfig) -> int | None:
    """Trained parameters of the largest of the study's encoders; None where one is not here."""
    counts = [trained(trial) for trial in encoders.choices(config)]
    return None if None in counts else max(c for c in counts if c is not None)


def together(members: Iterable[StudyConfig]) -> int | None:
    """Most bytes that the checkpoints of several studies take that share their slots; None where one's is not known."""
    each = [(running(config), finished(config)) for config in members]
    under_way = [size for size, _ in each if size is not None]
    weights = [size for _, size in each if size is not None]
    return None if len(under_way) < len(each) or len(weights) < len(each) else max(under_way) + sum(weights)


def carried(config: StudyConfig, parameters: int) -> int:
    """Most bytes of a checkpoint that are what a method carries, of those that the study names: a moving average of so
    many parameters, or a row for each word. The rows of a batch's places (FreeAT) are few, and not counted."""
    methods = [Parts.of(name) for name in _methods(config)]
    average = parameters if any(each.outputs is not None for each in methods) else 0
    if not any(each.inputs is Tavat for each in methods):
        return WEIGHTS * average
    tables = [math.prod(words(shapes)) for trial in encoders.choices(config) if (shapes := loaded(trial)) is not None]
    return WEIGHTS * (average + max(tables, default=0))


def _methods(config: StudyConfig) -> set[str]:
    found = {config.trial.perturbation.method}
    space = None if config.search.space is None else search_spaces.load(config.search.space)
    return found if space is None or METHOD not in space else found | {str(each) for each in space[METHOD].choices}


def kept(config: StudyConfig) -> int:
    """Most finished trials whose weights stay."""
    if config.models.keep != "all":
        return config.models.keep
    return trials(config) + len(configurations(config)) * config.protocol.most_seeds


def used(config: StudyConfig, root: Path) -> int:
    """Bytes that the checkpoints of this study take already."""
    files = roots.place(root, config.name).checkpoints.rglob("*")
    return sum(path.stat().st_size for path in files if path.is_file())


def registered(config: StudyConfig) -> str:
    """What the chosen model takes in MLflow, in words; nothing where none is registered."""
    count = whole(config.trial.encoder) if config.tracking.register_model else None
    return "" if count is None else f"; the registered model takes {size(count * WEIGHTS)} more, at first twice"


def disk(config: StudyConfig, root: Path) -> str:
    """What the checkpoints and a registered model take, and what is free, in words."""
    place, most = roots.place(root, config.name), checkpoints(config)
    if place.store is not None:
        return f"{'checkpoints' if most is None else f'at most {size(most)} of checkpoints'} under {roots.shown(root)}"
    free = size(shutil.disk_usage(existing(root)).free)
    if most is None:
        return f"{unknown(config)}; {free} free at {root}"
    count, most_kept = at_once(config.scaling), config.models.keep
    whose = f"all {kept(config)}, confirmed ones too" if most_kept == "all" else f"the best {most_kept}"
    return (
        f"at most {size(most)} of checkpoints under {place.folder} ({count} running trial{'s' * (count > 1)}, "
        f"the weights of {whose}){registered(config)}; {free} free"
    )


def unknown(config: StudyConfig) -> str:
    """Why what a study takes is not known, in words: encoders that are not here."""
    trials = encoders.choices(config)
    absent = dict.fromkeys(encoders.label(trial) for trial in trials if not is_here(trial.encoder))
    names = ", ".join(absent or encoders.labels(config))
    return (
        f"known once the encoder{'s' * (len(absent) > 1)} {names} {'are' if len(absent) > 1 else 'is'} on this machine"
    )


def existing(root: Path) -> Path:
    """The studies' folder, or the nearest of its parents that exists."""
    folder = root.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def size(count: float) -> str:
    """``0.9 GiB``, ``43 MiB``, ``7 KiB``."""
    if count < 2**20:
        return f"{math.ceil(count / 2**10)} KiB"
    return f"{count / 2**30:.1f} GiB" if count >= 2**29 else f"{count / 2**20:.0f} MiB"


# Trials at a time


DRIVERS = ("nvidia*", "nvhost*", "nvgpu*", "kfd", "dxg")
"""What is in /dev on Linux where a driver is loaded for something that torch calls a GPU."""


def gpus(devices: Path = Path("/dev")) -> int:
    """GPUs of this machine. Torch is asked, which takes a second, where there may be one."""
    if sys.platform == "linux" and not any(found for name in DRIVERS for found in devices.glob(name)):
        return 0
    import torch

    return torch.cuda.device_count()


def at_once(scaling: ScalingConfig) -> int:
    """Trials at a time on this machine; 1 where not even one fits."""
    here = {"CPU": machine.cpus(), "GPU": gpus() if scaling.gpus_per_worker else 0}
    most = math.inf if scaling.concurrent_trials == "auto" else scaling.concurrent_trials
    return max(1, int(min(held(scaling, [here]), most)))


# Time


@dataclass(frozen=True)
class Pace:
    """How fast earlier studies of the same encoder and task were, a trial's workers together."""

    training: float
    """Seconds for each example and forward-equivalent."""
    evaluation: float
    """Seconds for each scored example."""
    languages: int
    """Languages they scored."""
    examples: int
    """Most examples of a language that they scored at once."""

    def seconds(self, trial: TrialConfig, examples: int, scorings: int = 1) -> float | None:
        """Of one trial whose last evaluation scores `examples` a language where the configuration names no number,
        `scorings` splits. None where its length is unknown (epochs)."""
        if (length := passes(trial)) is None:
            return None
        steps, evaluation = trial.training.budget.steps, trial.evaluation
        last = evaluation.examples_per_language or examples
        before = evaluation.intermediate_examples_per_language or last
        earlier = (steps - 1) // evaluation.every if steps and evaluation.every else 0
        scored = self.languages * (scorings * last + earlier * before)
        return self.training * length * trial.training.batch_size + self.evaluation * scored


def length(trial: TrialConfig) -> str:
    """How long a trial trains, in words."""
    count = passes(trial)
    if count is None:
        return f"{trial.training.budget.epochs:g} epochs each"
    return f"{count:g} forward-equivalents each with the base settings"


def duration(seconds: float) -> str:
    """``40 seconds``, ``12 minutes``, ``3.5 hours``."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def pace(config: StudyConfig, root: Path) -> Pace | None:
    """From all studies under `root` with the same encoder, task and worker size; None where there is none.

    A study of several encoders has no one pace, and gives none.
    """
    if len(encoders.settings(config)) > 1:
        return None  # each has a pace of its own
    train = passed = evaluate = scored = 0.0
    languages = examples = 0
    for other in _comparable(config, root):
        for trial in other.trials:
            if not trial.reports:
                continue
            reports = [r.evaluation for r in trial.reports]
            cost = reports[-1].cost
            batch = trial.point.get("training.batch_size", other.config.trial.training.batch_size)
            train += cost.get("train_seconds", 0.0)
            passed += cost.get("forward_equivalents", 0.0) * batch
            evaluate += cost.get("evaluation_seconds", 0.0)
            scored += sum(sum(e.primary.counts.values()) for e in reports)
            languages = max(languages, len(reports[-1].primary.languages))
            examples = max(examples, *reports[-1].primary.counts.values())
    return Pace(train / passed, evaluate / scored, languages, examples) if passed and scored else None


def _comparable(config: StudyConfig, root: Path) -> Iterator[Study]:
    roots.refresh(root)
    for name in roots.names(root):
        try:
            began = begun_as(roots.place(root, name).ledger)
            if began is None or not _is_comparable(config, validate(StudyConfig, began)):
                continue
            study = find(root, name)
            if len(encoders.settings(study.config)) == 1:
                yield study
        except UserError:  # a damaged ledger is no reason not to estimate
            continue


def _is_comparable(config: StudyConfig, other: StudyConfig) -> bool:
    return _compared(config) == _compared(other)


_compared = attrgetter(
    "trial.encoder",
    "trial.task",
    "scaling.workers_per_trial",
    "scaling.cpus_per_worker",
    "scaling.gpus_per_worker",
)
"""What two studies share whose times are comparable."""


def occupied(seconds: float, scaling: ScalingConfig) -> tuple[str, float]:
    """What trials that take so many seconds in all occupy: GPU or CPU, and hours of it."""
    kind, each = ("GPU", scaling.gpus_per_worker) if scaling.gpus_per_worker else ("CPU", scaling.cpus_per_worker)
    return kind, seconds / 3600 * scaling.workers_per_trial * each


# Trials


def trials(config: StudyConfig) -> int:
    """Trials of phase `run`: baseline, search or design, and control (b)'s own."""
    from study.proposals.arms import run_arms

    return sum(arm.proposer.remaining() for arm in run_arms(config))


def configurations(config: StudyConfig) -> list[str]:
    """What `confirm` trains under every seed, at most: the winner, the standard controls, and the other arms' best."""
    tuned = ["control b"] if config.protocol.tune_controls else []
    return ["winner", "control a", *tuned, "control c", "control d", *arms.names(config)[1:]]
