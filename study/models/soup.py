"""`study soup`: the mean of the weights that a study happened to keep, which are those of its best trials.

It is no control (e): that is of all completed trials (`models.average`), and chosen by no score; this one is of those
that scores have chosen.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from study.models.models import CARD, aside, checked
from study.proposals import ranking
from study.record.record import TrialRecord
from study.views import layout, models
from study.views.found import Study, find
from trainables.errors import UserError
from trainables.materials.keys import untrained
from trainables.scores import Evaluation
from trainables.storage import checkpoint, soup
from trainables.storage.scratch import scratch

LABEL = "mean of the kept best"
"""What it is called, everywhere."""


def cook(name: str, root: Path, to: Path | None) -> Iterator[str]:
    """Average the kept weights of the best trials of the study `name`, score them on validation, and say so.

    With `to`, write the model for transformers into a new or empty folder too. Raises `UserError`, with nothing
    written, where no two trials with weights have a seed, encoder and vocabulary in common.
    """
    target = None if to is None else checked(to)
    study = find(root, name)
    with scratch(models.SCRATCH) as folder:
        trials = _averaged(study, folder / "mean")
        best = trials[0]
        config = untrained(ranking.trial_config(study.config, best))
        models.check_materials(study, best, config)
        from trainables.training.loop import run_trial

        *_, scored = run_trial(config, folder / "trial", weights=folder / "mean")
        numbers = ", ".join(str(t.number) for t in trials)
        yield f"{LABEL}: the weights of trials {numbers} of {name}, averaged; validation {scored.metric}"
        yield layout.columns(list(_table(study, trials, scored)))
        yield (
            "These trials' weights were kept (models.keep), being the best by the selection rule. This is not control "
            "(e), which is of all completed trials and chosen by no score (models.average: true, before a study "
            "begins)."
        )
        if target is not None:
            from trainables.training.export import export

            with aside(target.parent) as written:
                export(config, folder / "trial", written)
                (written / CARD).write_text(_card(name, numbers, scored), encoding="utf-8")
                written.rename(target)
            yield f"{LABEL} of {name}: {to}"


def _averaged(study: Study, mean: Path) -> list[TrialRecord]:
    """Write the mean into a folder; the trials that it is of, the best first.

    Seeds, encoders and vocabularies may differ: of those that go together, the mean is of the set whose best ranks
    highest, less those that nothing goes with.
    """
    complete = [t for t in study.trials if t.phase == "run" and t.state == "COMPLETE"]
    there = [t for t in complete if t.number in models.kept(study.place)]
    order = [number for ranked in ranking.ranking(study.config, study.record) for number in ranked.numbers]
    there.sort(key=lambda t: order.index(t.number) if t.number in order else len(order))
    kin: dict[str, list[TrialRecord]] = {}
    for trial in there:
        with models.weights(study, trial) as folder:
            kin.setdefault(checkpoint.kin(folder), []).append(trial)
    for together in (trials for name, trials in kin.items() if name and len(trials) >= soup.FEWEST):
        averaged = [trial for trial in together if _added(study, trial, mean)]
        if len(averaged) >= soup.FEWEST:
            return averaged
        shutil.rmtree(mean, ignore_errors=True)  # all but one have no whole weights
    known = ", ".join(str(t.number) for t in there) or "none"
    raise UserError(
        f"{study.name}: two trials at least must have kept their weights, with a seed, an encoder and a vocabulary "
        f"in common, as written by this version (got weights of trials {known})"
    )


def _added(study: Study, trial: TrialRecord, mean: Path) -> bool:
    with models.weights(study, trial) as folder:
        return soup.add(mean, trial.number, folder)


def _table(study: Study, trials: Sequence[TrialRecord], scored: Evaluation) -> Iterator[tuple[str, ...]]:
    """Language by language, beside each of the trials, on the very examples that those were scored on."""
    results = [trial.result(study.config.trial) for trial in trials]
    yield ("language", LABEL, *(f"trial {trial.number}" for trial in trials))
    for language, value in scored.primary.values.items():
        theirs = ("–" if r is None else f"{r.primary.values[language]:.4f}" for r in results)
        yield (language, f"{value:.4f}", *theirs)


def _card(name: str, numbers: str, scored: Evaluation) -> str:
    rows = "".join(f"| {language} | {100 * value:.1f} |\n" for language, value in scored.primary.values.items())
    return (
        f"# {name}, {LABEL}\n\nThe mean of the weights of trials {numbers} of the study {name}, those that were kept: "
        f"the best by its selection rule. Scores are on the validation split, which chose them ({scored.metric}, in "
        f"percent), and so somewhat too good.\n\n| language | score |\n| --- | --- |\n{rows}"
    )
