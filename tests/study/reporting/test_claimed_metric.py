"""A primary endpoint of another metric than the task's: less may be better, and languages have it as a whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from study.analysis import intervals
from study.export import headline
from study.export.rows import rows as exported
from study.reporting import benchmark, confirmation_figures, findings, pooling, words
from study.reporting.figures import all_figures
from study.reporting.findings import Findings
from study.reporting.source import from_ledger
from study.reporting.tables import all_tables, compared
from study.views import tables as show
from study.views.found import find
from tests.study.reporting import conftest as planted
from tests.study.reporting.conftest import EXAMPLES, LANGUAGES, build, configured, gain, noise
from trainables.scores import LanguageScores


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`planted`, whose errors fall as its accuracies rise."""

    def brier(proposal: planted.Proposal) -> LanguageScores:
        seed, method = proposal.trial.training.seed, proposal.point.get("perturbation.method")
        drawn = {k: float(noise(k, seed, method).normal(0, 0.002)) for k in LANGUAGES}
        return LanguageScores(
            {k: 0.7 - gain(proposal, k) + drawn[k] for k in LANGUAGES}, dict.fromkeys(LANGUAGES, EXAMPLES)
        )

    root = tmp_path_factory.mktemp("studies")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(planted, "brier", brier)
        build(root, configured(protocol={"primary_metric": "brier"}))
    return root


@pytest.fixture(scope="module")
def found(folder: Path) -> Findings:
    return findings.find(from_ledger("planted", folder))


def test_the_claim_is_of_the_metric_that_was_named_and_varies_over_seeds_alone(found: Findings) -> None:
    confirmed = found.confirmed
    assert confirmed is not None
    claim = confirmed.claim
    assert claim.is_lower_better and not claim.samples_examples
    assert claim.estimate == pytest.approx(-0.12, abs=0.01)  # three times the planted gain
    assert claim.by_both == claim.by_seed and claim.example_share == 0.0
    span = intervals.of_mean(claim.per_seed)
    assert (claim.by_seed.low, claim.by_seed.high) == pytest.approx((span.low, span.high))
    assert confirmed.languages["p_examples"].isna().all()
    assert confirmed.further["metric"].tolist() == ["accuracy"]
    assert len(confirmed.reliability), "which answers give, whatever is claimed"


def test_an_export_names_the_claimed_metric(folder: Path) -> None:
    (row,) = exported(find(folder, "planted"))["study"]()
    assert (row["metric"], row["primary_metric"]) == ("accuracy", "brier")


def test_members_are_pooled_by_their_tasks_own_metric(found: Findings) -> None:
    """Where an error falls, accuracy rises: that is a gain."""
    pooled = pooling.together({"one": found, "two": found}, None).gain
    assert pooled is not None and pooled.here > 0.05
    scores, languages = benchmark.tables({"one": found}, ["one"])
    assert float(scores.rows[0][1].split()[0]) > 55
    assert all(gain.startswith("+") for _, gain in languages.rows)


def test_a_lower_error_is_called_better_everywhere(found: Findings) -> None:
    confirmed = found.confirmed
    assert confirmed is not None
    said = dict(reversed(found.conclusions))
    assert f"{confirmed.headline} scored lower than {confirmed.control} on these test sentences" in said["Claim"]
    assert "test brier" in said["Claim"] and "which is better, since less is" in said["Claim"]
    assert "another sample of sentences may show" in said["Claim"] and "count as a sample" not in said["Claim"]
    n = len(LANGUAGES)
    assert f"{n} gain (" in said["Languages"] and "none loses, seeds alone counted" in said["Languages"]
    # Low-resource languages gain more, so resource class and gain fall together.
    assert confirmed.by_language["gain"].min() > 0 and confirmed.resource[0] < 0
    tables = {table.name: table for table in all_tables(found)}
    assert tables["headline"].caption.count(words.LESS_IS_BETTER) == 1
    assert words.WHOLE_LANGUAGES in tables["headline"].caption and words.LESS_IS_BETTER in tables["languages"].caption
    assert "primary endpoint: low_resource_mean of brier" in tables["scores"].caption
    assert compared([found]).rows[0][3] == f"{words.reduction('low_resource_mean')} of brier; less is better"
    assert "; less is better" in str(confirmation_figures.studies([found]).drawing.data[-1].y[0])
    axes = {figure.name: figure.drawing.layout.xaxis.title.text for figure in all_figures(found)}
    assert axes["controls"].endswith("(points of test brier; less is better)")


def test_a_higher_error_is_called_worse_and_its_survivors_flatter_it() -> None:
    from dataclasses import replace

    from tests.study.reporting.test_words import difference as made

    worse = replace(made(0.05, (0.04, 0.06), (0.04, 0.06)), is_lower_better=True, samples_examples=False)
    assert words.verdict(worse) == "higher here"
    assert "which is worse, since less is" in words.difference(worse, "brier")
    better = replace(
        worse, estimate=-0.05, by_seed=intervals.Interval(-0.06, -0.04), by_both=intervals.Interval(-0.06, -0.04)
    )
    assert words.verdict(better) == "lower here"
    assert words.verdict(replace(better, unpaired=(2, 0))) == "survivors"
    assert words.verdict(replace(worse, unpaired=(2, 0))) == "higher here"


def test_tables_of_a_terminal_and_documents_have_it(found: Findings, folder: Path) -> None:
    rows, _ = headline.endpoint(found) or ([], None)
    assert {row["metric"] for row in rows} == {"brier"} and {row["endpoint"] for row in rows} == {"low_resource_mean"}
    shown = show.text(folder, "planted")
    assert "primary endpoint low_resource_mean of brier:" in shown
    mean = np.mean([row["difference"] for row in rows if row["is_claim"]])
    assert mean < 0
