"""The running mean of several trials' weights: exact, in any order, each trial once, whoever is killed meanwhile."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from torch import nn

from trainables.storage import checkpoint, files, soup

SHAPE = (3, 4)


def ended(folder: Path, seed: int, shape: tuple[int, int] = SHAPE) -> Path:
    """A trial that ended, with weights drawn from a seed."""
    torch.manual_seed(seed)
    checkpoint.save(folder, 20, nn.Linear(*shape), None, [])
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found = checkpoint.latest(folder)
    assert found is not None
    return dict(found.weights)


def test_it_is_the_mean_in_whatever_order_trials_end(tmp_path: Path) -> None:
    trials = [ended(tmp_path / f"trial{i}", i) for i in range(4)]
    expected = {
        name: torch.stack([weights(trial)[name].double() for trial in trials]).mean(0) for name in ("weight", "bias")
    }
    for at, order in enumerate(list(permutations(range(4)))[::5]):
        mean = tmp_path / f"mean{at}"
        assert all(soup.add(mean, i, trials[i]) for i in order)
        assert soup.members(mean) == order
        for name, value in weights(mean).items():
            assert value.dtype == torch.float64
            assert torch.allclose(value, expected[name], rtol=0, atol=1e-12)


def test_the_mean_of_equals_is_any_of_them(tmp_path: Path) -> None:
    one = ended(tmp_path / "one", 0)
    for number in range(5):
        soup.add(tmp_path / "mean", number, one)
    assert all(torch.equal(value.float(), weights(one)[name]) for name, value in weights(tmp_path / "mean").items())


def test_a_trial_is_taken_once(tmp_path: Path) -> None:
    trials = [ended(tmp_path / f"trial{i}", i) for i in range(2)]
    for number in (0, 1, 1, 0):
        assert soup.add(tmp_path / "mean", number, trials[number])
    assert soup.members(tmp_path / "mean") == (0, 1)
    assert checkpoint.steps(tmp_path / "mean") == [2]


def test_what_cannot_be_averaged_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    mean = tmp_path / "mean"
    assert not soup.add(mean, 0, tmp_path / "absent")
    assert soup.members(mean) == () and not mean.exists()
    soup.add(mean, 0, ended(tmp_path / "trial", 0))
    before = weights(mean)
    with pytest.raises(ValueError, match="other names or shapes"):
        soup.add(mean, 1, ended(tmp_path / "wider", 1, (3, 5)))
    assert soup.members(mean) == (0,) and torch.equal(weights(mean)["weight"], before["weight"])


@pytest.mark.parametrize("at", ["sync", "rename", "keep_only"])
def test_whoever_is_killed_leaves_a_whole_mean(tmp_path: Path, at: str) -> None:
    """Before the new one takes its place nothing is lost; after that the next one knows that the trial is in."""

    class Killed(BaseException): ...

    mean, trials = tmp_path / "mean", [ended(tmp_path / f"trial{i}", i) for i in range(2)]
    soup.add(mean, 0, trials[0])
    where = {"sync": (files, "sync"), "rename": (Path, "rename"), "keep_only": (checkpoint, "keep_only")}[at]
    with patch.object(*where, side_effect=Killed), pytest.raises(Killed):
        soup.add(mean, 1, trials[1])
    assert soup.members(mean) == ((0, 1) if at == "keep_only" else (0,))
    soup.add(mean, 1, trials[1])
    assert soup.members(mean) == (0, 1)
    expected = (weights(trials[0])["weight"].double() + weights(trials[1])["weight"]) / 2
    assert torch.allclose(weights(mean)["weight"], expected, rtol=0, atol=1e-12)


def test_a_corrupt_mean_is_none(tmp_path: Path) -> None:
    mean = tmp_path / "mean"
    soup.add(mean, 0, ended(tmp_path / "trial", 0))
    (mean / "1" / checkpoint.WEIGHTS).write_bytes(b"torn")
    assert soup.members(mean) == ()
    with pytest.raises(soup.DamagedError, match="none of its means is whole"):
        soup.add(mean, 1, ended(tmp_path / "other", 1))
    assert checkpoint.steps(mean) == [1], "nothing takes its place"


def test_a_mean_of_others_is_told_from_the_one_that_is_meant(tmp_path: Path) -> None:
    mean = tmp_path / "mean"
    for number in (2, 0):
        soup.add(mean, number, ended(tmp_path / f"trial{number}", number))
    soup.check(mean, (0, 2))
    with pytest.raises(soup.DamagedError, match=r"must be the mean of trials 0, 1, 2 \(got 0, 2\)"):
        soup.check(mean, (0, 1, 2))
    with pytest.raises(soup.DamagedError, match=r"trials 0 \(got none\)"):
        soup.check(tmp_path / "absent", (0,))
