"""The fixed design of `confirm`: winner and controls over fresh reserved seeds, scored on the test split.

With looks (`looks`) it is that design up to the next look, and goes on until one says that enough is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import pandas as pd
import pyarrow as pa

from study.execution import looks, measuring
from study.execution.checkpoints import Checkpoints
from study.execution.members import Listener, Member
from study.execution.retry import reopen
from study.execution.runner import averaged, execute, made_from, said, write_study
from study.execution.trials import Trials
from study.proposals import ranking
from study.proposals.arms import Planned
from study.proposals.spending import unfinished
from study.question import rules
from study.question.config import StudyConfig
from study.record import roots
from study.record.lines import Reading
from study.record.place import Place
from study.record.record import StudyRecord
from trainables.config import TrialConfig
from trainables.errors import UserError
from trainables.loading import apply_point
from trainables.materials.keys import untrained
from trainables.storage import files, soup


def confirm_study(
    place: Place,
    *,
    runners_up: int = 0,
    again: bool = False,
    retry: Sequence[int] = (),
    take_over: bool = False,
    events: Listener | None = None,
    address: str | None = None,
    reading: Reading | None = None,
) -> StudyRecord:
    """Open the test split once, and score the rank-1 configuration, `runners_up` further ones and the controls on it.

    What was interrupted goes on; what is complete is left as it is, unless `again` opens the test split once more for
    configurations that were not among those confirmed. Failed trials that `retry` names run again, and nothing that is
    new does. `reading` has what is known of the study's ledger already. Raises `UserError` where the study's trials are
    not all done.
    """
    reading = reading or Reading(place.ledger)
    record = reading.update()
    config = StudyConfig.model_validate(record.config)
    while due(config, record, runners_up, again, retry):
        seen = len(record.looks)
        _execute(config, place, reading, Asked(runners_up, again, retry), take_over, events, address)
        record = reading.update()
        if len(record.looks) == seen:  # none of its protocol, or interrupted before it
            break
    keep_results(config, record, place)
    return record


def due(
    config: StudyConfig, record: StudyRecord, runners_up: int = 0, again: bool = False, retry: Sequence[int] = ()
) -> list[Planned]:
    """The design of a confirmation that has something left to run; empty where nothing is (arguments: see
    `confirm_study`). Raises `UserError` as `design` does.
    """
    planned = design(config, record, runners_up, again, retry)
    done = [t for t in record.trials.values() if t.phase == "confirm"]
    is_left = retry or len(done) < len(planned) or any(not t.ended for t in done) or looks.due(config, record)
    return planned if is_left else []


def design(
    config: StudyConfig, record: StudyRecord, runners_up: int = 0, again: bool = False, retry: Sequence[int] = ()
) -> list[Planned]:
    """All that a confirmation has run, or is to run up to the next look (arguments: see `confirm_study`).

    Raises `UserError` where the study's trials are not all done, or the test split is closed to it.
    """
    name = config.name
    if left := unfinished(config, record):
        numbers = ", ".join(str(t.number) for t in left)
        raise UserError(f"{name}: trials {numbers} are not finished; study resume {name}")
    done = [t for t in record.trials.values() if t.phase == "confirm"]
    earlier = len({t.attributes["configuration"] for t in done if t.kind == "runner_up"})
    looking = config.protocol.confirm is not None
    if looking and done and runners_up > earlier:
        raise UserError(f"{name}: a confirmation with looks has its runners-up from the start (got {earlier} then)")
    planned = plan(config, record, max(runners_up, earlier), again)[: len(done) if retry else None]
    if len(done) < len(planned) and done and not (again or looking) and all(t.ended for t in done):
        raise UserError(f"{name}: the test split was opened already; --again opens it once more for what is new")
    return planned


@dataclass(frozen=True)
class Asked:
    """What is asked of a confirmation (see `confirm_study`)."""

    runners_up: int = 0
    again: bool = False
    retry: Sequence[int] = ()


@contextmanager
def confirming(
    config: StudyConfig,
    place: Place,
    reading: Reading,
    wanted: Asked,
    hear: Listener,
    take_over: bool = False,
) -> Iterator[Member]:
    """A study whose ledger is this process's and says that the test split is open, with what is left of the design.

    Once that has run, `look`.
    """
    with roots.opened(place, take_over, hear) as ledger:
        # Control (e) is of what is averaged: what an earlier driver left of that comes first.
        checkpoints = Checkpoints(config, reading.update(), place, partial(averaged, ledger), partial(said, hear))
        record = reading.update()
        planned = design(config, record, wanted.runners_up, wanted.again, wanted.retry)
        asked = sum(t.phase == "confirm" for t in record.trials.values())
        configurations = sorted({str(p.attributes["configuration"]) for p in planned[asked:]})
        if asked < len(planned) and not _is_open(config, record, configurations):
            most = "at most " * (config.protocol.confirm is not None) + str(config.protocol.most_seeds)
            reason = f"confirm {', '.join(configurations)} over {most} seeds"
            looks.announce(config, ledger)
            about = {"reason": reason, "configurations": configurations}
            ledger.append("test_opened", protocol_hash=rules.protocol_hash(config), **about)
        known = made_from(config, ("validation", "test"))
        config = measuring.opened(config)
        write_study(config, ledger, record, known)
        record = reopen(ledger, reading, checkpoints, wanted.retry)
        yield Member(Trials(config, ledger, record, planned), checkpoints, hear)


def look(member: Member, place: Place, reading: Reading) -> None:
    """Take the look that is due, if one is. Raises `UserError` where predictions cannot be read."""
    config, record = member.trials.config, reading.update()
    if looks.due(config, record):
        looks.take(config, record, _joined(config, record, place), member.trials.ledger)


def _is_open(config: StudyConfig, record: StudyRecord, configurations: Sequence[str]) -> bool:
    """Whether the test split was opened for these already: the parts of a confirmation with looks are one opening,
    agreed on before, and who opened it may have been killed before the first trial."""
    if config.protocol.confirm is not None:
        return bool(record.openings)
    return any(set(configurations) <= set(opening.get("configurations", ())) for opening in record.openings)


def _execute(
    config: StudyConfig,
    place: Place,
    reading: Reading,
    wanted: Asked,
    take_over: bool,
    events: Listener | None,
    address: str | None,
) -> None:
    hear = events or (lambda event: None)
    hear({"event": "waiting", "for": "data and encoder, with the test split"})
    with confirming(config, place, reading, wanted, hear, take_over) as member:
        if member.trials.remaining:
            execute([member], config.name, hear, address)
        if not wanted.retry:
            look(member, place, reading)


def keep_results(config: StudyConfig, record: StudyRecord, place: Place) -> None:
    """Write the results of what is confirmed (`results`), here and to the store. Raises `UserError`."""
    found = results(config, record, place)
    try:
        with files.replaced(place.results) as aside:
            found.to_parquet(aside)
    except OSError as error:
        raise UserError(f"{place.results}: cannot be written, {error.strerror or error}") from error
    roots.keep(place, place.results)


def plan(config: StudyConfig, record: StudyRecord, runners_up: int = 0, again: bool = False) -> list[Planned]:
    """Every configuration under every reserved seed, configuration by configuration; what is new follows what is there.

    Winner, controls, the best of each other arm, and as many runners-up as are asked for. Once the test split is open,
    control (e) is new with `again` alone.

    With looks: up to the next one, look by look.
    """
    choice = ranking.choose(config, record)

    def named(kind: str, ranked: ranking.Ranked) -> tuple[str, str | None, str, TrialConfig]:
        arm = ranking.arm_of(record, ranked)
        trial = f"trial {ranked.numbers[0]}"
        return kind, None, trial if arm is None else f"{arm} ({trial})", apply_point(config.trial, ranked.point)

    configurations = [named("winner", choice.winner)]
    for letter, control in ranking.controls(config, record, choice.winner).items():
        configurations.append(("control", letter, f"control {letter}", control))
    arms = [each for each in ranking.best_of_arms(config, record).values() if each != choice.winner]
    configurations += [named("arm", each) for each in arms]
    left = [each for each in choice.runners_up if each not in arms]
    further = [named("runner_up", each) for each in left[:runners_up]]
    first, *others = rules.confirm_looks(config)[: looks.parts(config, record)]
    planned = [
        *_seeded(config, configurations, first),
        *(_averages(config, record, choice.winner) if _has_averages(config, record, again) else ()),
        *_seeded(config, further, first),
        *(planned for seeds in others for planned in _seeded(config, [*configurations, *further], seeds)),
    ]
    there = [(t.attributes["configuration"], t.point) for t in record.trials.values() if t.phase == "confirm"]
    known = [(each.attributes["configuration"], each.point) for each in planned]
    order = [there.index(each) if each in there else len(there) for each in known]
    return [planned[i] for i in sorted(range(len(planned)), key=order.__getitem__)]


def _seeded(
    config: StudyConfig, configurations: Sequence[tuple[str, str | None, str, TrialConfig]], seeds: Sequence[int]
) -> Iterator[Planned]:
    for kind, control, name, trial in configurations:
        for seed in seeds:
            yield Planned(_point(config, trial, seed), kind, control, {"configuration": name})


def _has_averages(config: StudyConfig, record: StudyRecord, again: bool) -> bool:
    """Whether control (e) is in the design: since the test split was opened, or as what is new, and agreed to."""
    done = [t for t in record.trials.values() if t.phase == "confirm"]
    opened = {name for opening in record.openings for name in opening.get("configurations", ())}
    is_there = "control e" in opened or any(t.control == "e" for t in done)
    return is_there or not done or (again and config.protocol.confirm is None)


def _averages(config: StudyConfig, record: StudyRecord, winner: ranking.Ranked) -> Iterator[Planned]:
    """Control (e): the means that the winner's weights are in, one for each of its replicates, scored as they are.

    Under the seed that their trials share: there are no fresh ones without as many trainings again.
    """
    for mean in dict.fromkeys(record.trials[number].mean for number in winner.numbers):
        trials = [t for t in record.trials.values() if mean is not None and t.mean == mean]
        if len(trials) < soup.FEWEST:
            continue
        trial = untrained(ranking.trial_config(config, trials[0]))
        numbers = [t.number for t in trials]
        about = {"configuration": "control e", "mean": mean, "trials": numbers}
        yield Planned(_point(config, trial, trial.training.seed), "control", "e", about)


def _point(config: StudyConfig, trial: TrialConfig, seed: int) -> dict[str, object]:
    """The configuration under a fresh seed, scored on as much of its splits as the protocol says."""
    training = trial.training.model_copy(update={"seed": seed})
    shorter = trial.evaluation.intermediate_examples_per_language or trial.evaluation.examples_per_language
    evaluation = trial.evaluation.model_copy(
        update={
            "examples_per_language": config.protocol.confirm_examples_per_language,
            # The best checkpoint is found among evaluations of equal size.
            "intermediate_examples_per_language": (
                None if trial.evaluation.checkpoint == "best_source_validation" else shorter
            ),
        }
    )
    return rules.difference(config.trial, trial.model_copy(update={"training": training, "evaluation": evaluation}))


def results(config: StudyConfig, record: StudyRecord, place: Place) -> pd.DataFrame:
    """The results frame of all complete confirm trials (columns: see `study.analysis.frames`). Raises `UserError`."""
    if (found := _joined(config, record, place)) is None:
        raise UserError(f"{config.name}: no confirm trial is complete")
    return found


def _joined(config: StudyConfig, record: StudyRecord, place: Place) -> pd.DataFrame | None:
    """The same; None where no trial is complete."""
    frames = list(_results(config, record, place))
    return pd.concat(frames, ignore_index=True) if frames else None


def _results(config: StudyConfig, record: StudyRecord, place: Place) -> Iterator[pd.DataFrame]:
    for trial in record.trials.values():
        if trial.phase == "confirm" and trial.state == "COMPLETE":
            path = place.predictions(trial.number)
            roots.bring(place, path)
            try:
                frame = pd.read_parquet(path)
            except FileNotFoundError as error:  # of pyarrow's, with no errno
                raise UserError(f"{path}: is gone, and study confirm cannot do without it") from error
            except (OSError, pa.ArrowInvalid) as error:
                raise UserError(f"{path}: cannot be read, {error}") from error
            frame.insert(0, "study", config.name)
            frame.insert(1, "configuration", trial.attributes["configuration"])
            frame.insert(2, "control", trial.control or "")
            frame.insert(3, "seed", ranking.trial_config(config, trial).training.seed)
            yield frame
