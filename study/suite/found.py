"""A suite as it lies on disk: what was asked of its members, and how far each is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from study.question import suites
from study.question.config import MemberConfig, StudyConfig, SuiteConfig
from study.record import manifest, roots
from study.record.lines import begun_as
from study.record.place import Place
from study.views import found
from study.views.found import Condition, Study
from trainables.errors import UserError
from trainables.loading import validate


@dataclass(frozen=True)
class Member:
    """One of a suite's studies."""

    how: MemberConfig
    place: Place
    study: Study | None
    """As its ledger has it; None where it has not begun."""
    config: StudyConfig | None
    """The ledger's, or what was asked for where it has not begun."""
    problem: str = ""
    """Why there is neither."""

    @property
    def name(self) -> str:
        """Within the suite."""
        return self.how.name

    @property
    def condition(self) -> Condition:
        """Of its study; unfinished, too, if it has not begun."""
        return "unfinished" if self.study is None else self.study.condition

    @property
    def state(self) -> str:
        """How far it is, in a word."""
        if self.problem:
            return "damaged"
        return "not begun" if self.study is None else self.study.condition

    @property
    def done(self) -> bool:
        """Whether phase `run` has met its budget, whoever holds its ledger."""
        return self.study is not None and found.is_finished(self.study.config, self.study.record)

    @property
    def failed(self) -> bool:
        """Whether it is finished and has nothing to show for it."""
        return self.study is not None and not any(t.state == "COMPLETE" for t in self.study.trials)


@dataclass(frozen=True)
class FoundSuite:
    """A suite's manifest, and its members in their order."""

    place: Place
    config: SuiteConfig
    members: dict[str, Member]

    @property
    def name(self) -> str:
        """Of the suite."""
        return self.place.name

    @property
    def condition(self) -> Condition:
        """Running if one of its members is, finished if all are."""
        conditions = {member.condition for member in self.members.values()}
        if "running" in conditions:
            return "running"
        return "finished" if conditions == {"finished"} else "unfinished"

    @property
    def configs(self) -> dict[str, StudyConfig]:
        """The members' configurations, where they are known."""
        return {name: member.config for name, member in self.members.items() if member.config is not None}

    @property
    def label(self) -> str:
        """What stands beside an endpoint over all members; nothing where they are on equal footing."""
        return suites.pooled_label(self.config, self.configs)


def is_suite(root: Path, name: str) -> bool:
    """Whether `name` is that of a suite under `root`."""
    roots.refresh(root, name)
    return roots.place(root, name).manifest.is_file()


def find(root: Path, name: str) -> FoundSuite:
    """The suite `name` under `root`. Raises `UserError`, with the near name, where there is none."""
    roots.refresh(root, name)
    place = roots.place(root, name)
    design = manifest.read(place)
    if design is None:
        near = roots.known(root, name, manifest.names(root))
        raise UserError(f"{name}: no such suite under {roots.shown(root)}{near}")
    config = validate(SuiteConfig, design)
    return FoundSuite(place, config, {how.name: _member(root, config, how) for how in config.suite.members})


def study_of(root: Path, name: str, member: str | None) -> str:
    """The name of the study that is meant by a name and, if it is a suite's, one of its members."""
    if member is None:
        return name
    if not is_suite(root, name):
        raise UserError(f"--member: {name} is no suite under {roots.shown(root)} (got {member!r})")
    design = manifest.read(roots.place(root, name))
    suites.check_member(validate(SuiteConfig, design or {}), member)
    return suites.study_name(name, member)


def begun_members(suite: FoundSuite) -> list[Member]:
    """The members whose ledger says what they are. Raises `UserError` where there is none."""
    found = [member for member in suite.members.values() if member.study is not None]
    if not found:
        raise UserError(f"{suite.name}: none of its members has begun; go on with study resume {suite.name}")
    return found


def one_study(root: Path, name: str, member: str | None, command: str) -> str:
    """As `study_of`, for commands that are about one study. Raises `UserError`, with the members, where it is none."""
    study = study_of(root, name, member)
    if is_suite(root, study):
        design = manifest.read(roots.place(root, study))
        names = [each.name for each in validate(SuiteConfig, design or {}).suite.members]
        raise UserError(
            f"--member: study {command} is about one study, and {name} is a suite: name one of its members, "
            f"{', '.join(names)} (got none)"
        )
    return study


def _member(root: Path, config: SuiteConfig, how: MemberConfig) -> Member:
    name = suites.study_name(config.suite.name, how.name)
    place = roots.place(root, name)
    try:
        roots.refresh(root, name)
        if begun_as(place.ledger) is not None:
            study = found.find(root, name)
            return Member(how, place, study, study.config)
        return Member(how, place, None, suites.one(config, how.name))
    except UserError as error:
        return Member(how, place, None, None, str(error))
