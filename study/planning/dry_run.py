"""What a suite, or a study, would take before it runs: trials, hours of devices and disk, member by member."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from study.planning import needs, preflight
from study.planning.describe import UNKNOWN, titled
from study.question import encoders, suites
from study.question.config import StudyConfig, SuiteConfig
from study.record import roots
from study.views import layout

IN_DISK = "weights that stay, by member; all: with those of the trials that run"
"""What the column of a table with several members has."""


def words(asked: StudyConfig | SuiteConfig, root: Path) -> str:
    """A table of the members, and what they take together; of a study, or one member, that is what it takes itself.

    Raises `UserError` for what makes no sense.
    """
    suite = asked if isinstance(asked, SuiteConfig) else None
    members = suites.expand(asked) if isinstance(asked, SuiteConfig) else {asked.name: asked}
    preflight.check_sense(members)
    configs = list(members.values())
    scaling = configs[0].scaling
    seconds = [_seconds(config, root) for config in configs]
    alone = len(configs) == 1
    weights = [(needs.checkpoints if alone else needs.finished)(config) for config in configs]
    device = needs.occupied(0.0, scaling)[0]
    rows = [["study" if suite is None else "member", "task", "encoder", "trials", f"{device}-hours", "disk"]]
    for (name, config), each, kept in zip(members.items(), seconds, weights, strict=True):
        hours = UNKNOWN if each is None else f"{needs.occupied(each, scaling)[1]:.2g}"
        size = UNKNOWN if kept is None else needs.size(kept)
        rows.append(
            [name, config.trial.task.title, ", ".join(encoders.labels(config)), str(needs.trials(config)), hours, size]
        )
    known, most = [each for each in seconds if each is not None], needs.together(configs)
    if not alone:
        hours = f"{needs.occupied(sum(known), scaling)[1]:.2g}" if len(known) == len(configs) else UNKNOWN
        total = UNKNOWN if most is None else needs.size(most)
        rows.append(["all", "", "", str(sum(map(needs.trials, configs))), hours, total])
    at_once = needs.at_once(scaling)
    table, _, _ = layout.fit(rows, layout.width(), ["encoder", "task"])
    notes = {
        "at once": [f"{at_once} trial{'s' * (at_once > 1)} here{', of whichever member has one left' * (not alone)}"],
        "time": list(_time(seconds, at_once, root)),
        "disk": [needs.disk(configs[0], root) if alone else IN_DISK],
        **({"missing here": missing} if (missing := _missing(members, root)) else {}),
        **({} if suite is None else {"endpoint": list(_endpoint(suite, members))}),
    }
    return "\n".join([table, "", *titled(notes)])


def _seconds(config: StudyConfig, root: Path) -> float | None:
    """Of all trials of phase `run`, one after another, by what earlier studies took; None where none is comparable."""
    pace = needs.pace(config, root)
    each = None if pace is None else pace.seconds(config.trial, pace.examples)
    return None if each is None else each * needs.trials(config)


def _time(seconds: Sequence[float | None], at_once: int, root: Path) -> Iterator[str]:
    known = [each for each in seconds if each is not None]
    if len(known) == len(seconds):
        yield f"about {needs.duration(sum(known) / at_once)} for all trials here (by what earlier studies took)"
    else:
        yield f"{UNKNOWN}: known once a study of that encoder and task has run under {roots.shown(root)}, however short"


def _missing(members: Mapping[str, StudyConfig], root: Path) -> list[str]:
    """Why a run would be refused on this machine, each line once, with the members that it is about."""
    own = {name: preflight.absent(config) for name, config in members.items()}
    scaling = next(iter(members.values())).scaling
    lines = preflight.shared_problems(scaling, root, preflight.disk(list(members.values()), root))
    for line, those in suites.about(own):
        lines.append(line if len(those) == len(members) else f"{', '.join(those)}: {line}")
    return lines


def _endpoint(suite: SuiteConfig, members: Mapping[str, StudyConfig]) -> Iterator[str]:
    yield suite.suite.endpoint or "each member's own, and none over all"
    if label := suites.footing_words(members):
        yield f"members are selected by different rules: {label}"
