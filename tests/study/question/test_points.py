"""Points in words."""

from __future__ import annotations

from study.question.points import describe_point, short


def test_points_are_described_by_as_much_as_tells_them_apart() -> None:
    assert describe_point({}) == "base settings"
    assert describe_point({"perturbation.epsilon": 0.12345}) == "epsilon=0.1235"
    assert short(["a.method", "b.method", "a.norm"]) == ["a.method", "b.method", "norm"]
