"""A confirmation that looks at its seeds as they come in: planned, stopped, resumed and told, on simulated answers."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from study.analysis import differences, sequential
from study.execution import confirm, looks, suite
from study.question import rules
from study.question.checks import check
from study.question.config import MemberConfig, StudyConfig
from study.record.lines import Reading, read_events, read_study
from study.record.place import Place
from study.reporting import tables, words
from study.reporting.findings import find
from study.reporting.source import from_ledger
from study.tracking import runs
from study.views import document
from study.views import tables as show
from study.views.found import find as find_study
from tests.study.reporting import conftest as planted
from trainables.errors import UserError
from trainables.scores import LanguageScores

LOOKS = {"seeds": {"most": 9, "look_every": 3}, "spending": "obrien_fleming"}


class StoppedError(Exception):
    """The process ends here."""


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a study that has run: the configuration with looks."""
    root = tmp_path_factory.mktemp("run")
    planted.build(root, study(), confirmed=False)
    return Place(root, "planted").ledger


@pytest.fixture
def confirmed(tmp_path: Path, ledger: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Place]:
    """Run `study confirm` on a study whose trials are answered, not trained; again on what is there."""
    validation = planted.validation
    monkeypatch.setattr(planted, "validation", lambda proposal: replace(validation(proposal), final=False))
    monkeypatch.setattr(confirm, "made_from", lambda *_: {})
    monkeypatch.setattr(confirm, "write_study", lambda *_: None)
    monkeypatch.setattr(confirm, "Checkpoints", lambda *_: None)
    monkeypatch.setattr(confirm, "reopen", lambda ledger, reading, *_: reading.update())

    def run(name: str = "planted", limit: int | None = None, loses: str = "", **more: Any) -> Place:
        place, left = Place(tmp_path, name), [limit]

        def execute(running: Any, *_: Any) -> None:
            def fails(proposal: Any) -> bool:
                if left[0] is not None:
                    left[0] -= 1
                    if left[0] < 0:
                        raise StoppedError
                return proposal.kind == loses

            planted.drive(running[0].trials, place, fails)

        monkeypatch.setattr(confirm, "execute", execute)
        if not place.ledger.exists():
            place.ledger.parent.mkdir()
            shutil.copy(ledger, place.ledger)
        with contextlib.suppress(StoppedError):
            confirm.confirm_study(place, **more)
        return place

    return run


def study(**protocol: Any) -> StudyConfig:
    return planted.configured(protocol={"confirm": LOOKS, "confirm_seeds": 8, **protocol})


def test_the_looks_are_in_the_ledger_before_the_test_split_is_opened(confirmed: Callable[..., Place]) -> None:
    place = confirmed(limit=2)
    names = [e["event"] for e in read_events(place.ledger)]
    assert names.index("looks") < names.index("test_opened")
    agreed = read_study(place.ledger).agreed
    assert agreed is not None
    plan = sequential.plan(9, 3)
    assert (agreed["looks"], agreed["bounds"]) == (list(plan.looks), pytest.approx(list(plan.bounds)))


def test_a_clear_effect_stops_it_and_it_stays_stopped(confirmed: Callable[..., Place], tmp_path: Path) -> None:
    config, place = study(), confirmed()
    record = read_study(place.ledger)
    assert record.looks[-1]["verdict"] == "crossed"
    seeds = record.looks[-1]["seeds"]
    assert seeds < 9
    trained = {t.point["training.seed"] for t in record.trials.values() if t.phase == "confirm"}
    assert trained == set(rules.confirm_seeds(config)[:seeds])
    assert len(record.openings) == 1
    events = len(read_events(place.ledger))
    confirmed()
    assert len(read_events(place.ledger)) == events

    source = from_ledger(config.name, tmp_path)
    found = find(source)
    assert found.confirmed is not None
    other = next(d.control for d in found.confirmed.controls if d.control != found.confirmed.control)
    elsewhere = find(replace(source, looks=({**record.looks[-1], "control": other},))).confirmed
    assert elsewhere is not None and elsewhere.claim.control == other
    claim, last = found.confirmed.claim, record.looks[-1]
    assert (claim.treatment, claim.control) == (last["treatment"], last["control"])
    assert (claim.by_both.low, claim.by_both.high) == pytest.approx((last["low"], last["high"]))
    assert words.verdict(claim) == "higher"
    plan, at = sequential.plan(9, 3), len(record.looks) - 1
    assert claim.p_over_looks == pytest.approx(sequential.over_looks(plan, at, last["p"]))
    (alone,) = differences.adjust([claim])
    assert alone.p_adjusted == claim.p_over_looks >= claim.p_both
    rest = [d for d in found.confirmed.controls if d.control != claim.control]
    assert [d.p_over_looks for d in rest] == [min(3 * max(d.p_seed, d.p_both), 1.0) for d in rest]
    told = document.as_json(find_study(tmp_path, config.name))["looks"]
    assert (told["seeds"], [look["verdict"] for look in told["taken"]][-1]) == ([3, 6, 9], "crossed")
    assert (
        runs.study_tags(record, config)["looks"]
        == f"{', '.join(str(k['seeds']) for k in record.looks)} of 9 seeds: crossed"
    )
    said = [text for _, text in found.conclusions]
    assert any("of at most 9, by bounds that keep 5 %" in text and "crossed the bound" in text for text in said)
    assert "repeated confidence intervals" in {t.name: t for t in tables.all_tables(found)}["headline"].caption


def test_looks_are_at_the_metric_that_is_claimed(
    confirmed: Callable[..., Place], ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of which languages have one score each: the look is at what the report will say."""

    def brier(proposal: Any) -> LanguageScores:
        own = proposal.trial.training.seed, proposal.point.get("perturbation.method")
        drawn = {k: float(planted.noise(k, *own).normal(0, 0.002)) for k in planted.LANGUAGES}
        values = {k: 0.7 - planted.gain(proposal, k) + drawn[k] for k in planted.LANGUAGES}
        return LanguageScores(values, dict.fromkeys(values, planted.EXAMPLES))

    monkeypatch.setattr(planted, "brier", brier)
    config = study(primary_metric="brier").model_dump(mode="json")
    (tmp_path / "planted").mkdir()
    with (tmp_path / "planted" / ledger.name).open("w", encoding="utf-8") as file:
        for event in read_events(ledger):
            changed = {**event, "config": config} if event["event"] == "study" else event
            file.write(json.dumps(changed) + "\n")
    place = confirmed()
    last = read_study(place.ledger).looks[-1]
    assert last["verdict"] == "crossed" and last["estimate"] == pytest.approx(-0.12, abs=0.01)
    found = find(from_ledger("planted", tmp_path)).confirmed
    assert found is not None
    assert (found.claim.estimate, found.claim.by_both.low) == pytest.approx((last["estimate"], last["low"]))


def test_killed_anywhere_it_comes_to_the_same(confirmed: Callable[..., Place]) -> None:
    whole = confirmed("whole")
    for _ in range(9):
        place = confirmed(limit=5)
        if read_study(place.ledger).looks and read_study(place.ledger).looks[-1]["verdict"] != looks.GOING_ON:
            break
    wanted, got = read_study(whole.ledger), read_study(place.ledger)
    kept = ("seeds", "estimate", "p", "bound", "verdict", "control")
    assert [[look[k] for k in kept] for look in got.looks] == [[look[k] for k in kept] for look in wanted.looks]
    assert len(got.openings) == 1
    assert [t.point for t in got.trials.values()] == [t.point for t in wanted.trials.values()]


@pytest.mark.parametrize("looking", [True, False])
def test_killed_before_the_first_trial_it_is_one_opening(
    confirmed: Callable[..., Place], monkeypatch: pytest.MonkeyPatch, looking: bool
) -> None:
    if not looking:  # a fixed number of seeds
        config = planted.configured(protocol={"confirm_seeds": 3})
        monkeypatch.setattr(confirm.StudyConfig, "model_validate", lambda *_: config)

    def stop(*_: Any) -> None:
        raise StoppedError

    with monkeypatch.context() as patched:
        patched.setattr(confirm, "write_study", stop)
        place = confirmed()
    assert not any(t.phase == "confirm" for t in read_study(place.ledger).trials.values())
    confirmed(limit=1)
    assert len(read_study(place.ledger).openings) == 1


def test_killed_between_the_last_trial_and_the_look_it_looks_when_it_goes_on(
    confirmed: Callable[..., Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, take = study(), looks.take

    def stop(*_: Any) -> None:
        raise StoppedError

    monkeypatch.setattr(looks, "take", stop)
    place = confirmed()
    record = read_study(place.ledger)
    assert looks.due(config, record) and not record.looks
    monkeypatch.setattr(looks, "take", take)
    monkeypatch.setattr(confirm, "execute", stop)
    with pytest.raises(StoppedError):  # of the next part's trials: the first look was taken without any
        confirm.confirm_study(place)
    assert len(read_study(place.ledger).looks) == 1


def test_runners_up_join_at_the_start_or_never(confirmed: Callable[..., Place]) -> None:
    place = confirmed(runners_up=1)
    names = {t.attributes["configuration"] for t in read_study(place.ledger).trials.values() if t.kind == "runner_up"}
    assert len(names) == 1
    with pytest.raises(UserError, match="has its runners-up from the start"):
        confirm.confirm_study(place, runners_up=2)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(UserError, match=r"look_every: must be at most protocol\.confirm\.seeds\.most, 3 \(got 4\)"):
        check(study(confirm={"seeds": {"most": 3, "look_every": 4}}))
    with pytest.raises(UserError, match=r"protocol\.confirm_seeds: protocol\.confirm says how many"):
        check(study(confirm_seeds=5))
    with pytest.raises(UserError, match=r"protocol\.confirm\.seeds\.look_every: must be at least 3"):
        study(confirm={"seeds": {"most": 8, "look_every": 2}})


def test_the_last_part_may_be_short_and_without_looks_there_is_one() -> None:
    config = study(confirm={"seeds": {"most": 10, "look_every": 4}})
    assert [len(part) for part in rules.confirm_looks(config)] == [4, 4, 2]
    fixed = planted.configured(protocol={"confirm_seeds": 5})
    assert [len(part) for part in rules.confirm_looks(fixed)] == [5]


def test_a_protocol_without_looks_and_of_the_tasks_metric_has_the_hash_that_it_had() -> None:
    config = planted.configured()
    assert rules.protocol_hash(StudyConfig(name="a")) == "bf331c2df8748c0c"
    expected = rules.protocol_hash(config)
    assert expected not in (
        rules.protocol_hash(study()),
        rules.protocol_hash(planted.configured(protocol={"primary_metric": "brier"})),
    )


def test_a_winner_without_scores_is_looked_at_for_nothing_until_the_end(confirmed: Callable[..., Place]) -> None:
    record = read_study(confirmed(loses="winner").ledger)
    assert [look["verdict"] for look in record.looks] == ["go on", "go on", "open"]
    assert [look["seeds"] for look in record.looks] == [0, 0, 0]


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ("crossed", "the difference crossed the bound of this look (p < 0.001 by 0.0055)"),
        ("futile", "more seeds had a chance of 4 % of showing a difference"),
        ("open", "these were all (p < 0.001, bound 0.0055)"),
        ("go on", "the next look is still to come"),
    ],
)
def test_where_it_stopped_is_told(verdict: str, said: str) -> None:
    look = {"seeds": 4, "p": 0.0003, "bound": 0.0055, "predictive": 0.04, "verdict": verdict}
    text = words.looks([look], 20)
    assert "after 4 of at most 20" in text
    assert said in text


def test_between_looks_it_is_said_to_go_on(confirmed: Callable[..., Place], monkeypatch: pytest.MonkeyPatch) -> None:
    take = looks.take
    monkeypatch.setattr(looks, "take", lambda *arguments: None)
    place = confirmed()
    assert not read_study(place.ledger).looks
    shown = show.text(place.root, "planted")
    assert "Not confirmed yet: study confirm planted" in shown
    monkeypatch.setattr(looks, "take", take)
    confirmed()
    assert "Not confirmed yet" not in show.text(place.root, "planted")


def members(root: Path, ledger: Path, *names: str) -> dict[str, Place]:
    """Members of a suite, by name: each begins with the same study, which is to be confirmed."""
    places = {name: Place(root, f"many.{name}") for name in names}
    for place in places.values():
        place.ledger.parent.mkdir()
        shutil.copy(ledger, place.ledger)
    return places


def confirm_all(places: dict[str, Place]) -> dict[str, str]:
    """Member -> why it was refused."""
    joining = [
        suite.Joining(MemberConfig(name=name), study(), place, Reading(place.ledger)) for name, place in places.items()
    ]
    return suite.confirm_suite("many", joining, lambda event: None)


def test_in_a_suite_each_member_looks_for_itself_and_is_resumed(
    tmp_path: Path, ledger: Path, confirmed: Callable[..., Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One member shows its effect before the end, the other has none; killed between two looks it comes to the same."""
    places = members(tmp_path, ledger, "clear", "none")
    gain, calls = planted.gain, [0]

    def execute(running: Any, *_: Any) -> None:
        calls[0] += 1
        if calls[0] == 2:
            raise StoppedError
        for member in running:
            share = 1.0 if member.name == "clear" else 0.0
            monkeypatch.setattr(planted, "gain", lambda *about, share=share: share * gain(*about))
            planted.drive(member.trials, places[member.name], lambda proposal: False)

    monkeypatch.setattr(suite, "execute", execute)

    with contextlib.suppress(StoppedError):
        confirm_all(places)
    assert {name: len(read_study(place.ledger).looks) for name, place in places.items()} == {"clear": 1, "none": 1}
    assert confirm_all(places) == {}
    events = {name: len(read_events(place.ledger)) for name, place in places.items()}
    assert confirm_all(places) == {}
    assert {name: len(read_events(place.ledger)) for name, place in places.items()} == events
    records = {name: read_study(place.ledger) for name, place in places.items()}
    assert [record.looks[-1]["verdict"] for record in records.values()] in (["crossed", "futile"], ["crossed", "open"])
    assert records["clear"].looks[-1]["seeds"] == 6
    assert [len(record.openings) for record in records.values()] == [1, 1]
    assert all(place.results.exists() for place in places.values())


def test_a_member_of_which_nothing_is_complete_keeps_no_other_from_its_look(
    tmp_path: Path, ledger: Path, confirmed: Callable[..., Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    places = members(tmp_path, ledger, "clear", "lost")

    def execute(running: Any, *_: Any) -> None:
        for member in running:
            planted.drive(member.trials, places[member.name], lambda proposal, name=member.name: name == "lost")

    monkeypatch.setattr(suite, "execute", execute)
    refused = confirm_all(places)
    assert refused == {"lost": "planted: no confirm trial is complete"}
    found = {name: read_study(place.ledger).looks for name, place in places.items()}
    assert found["clear"][-1]["verdict"] == "crossed" and places["clear"].results.exists()
    assert [(look["seeds"], look["verdict"]) for look in found["lost"]] == [(0, "go on"), (0, "go on"), (0, "open")]


def test_predictions_that_are_gone_keep_no_other_from_its_look(
    tmp_path: Path, ledger: Path, confirmed: Callable[..., Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    places = members(tmp_path, ledger, "gone", "clear")

    def execute(running: Any, *_: Any) -> None:
        for member in running:
            planted.drive(member.trials, places[member.name], lambda proposal: False)
        next((tmp_path / "many.gone" / "predictions").iterdir()).unlink(missing_ok=True)

    monkeypatch.setattr(suite, "execute", execute)
    refused = confirm_all(places)
    assert list(refused) == ["gone"] and ".parquet: is gone" in refused["gone"]
    assert read_study(places["clear"].ledger).looks[-1]["verdict"] == "crossed" and places["clear"].results.exists()
