"""Files of every format with random mistakes: right values, or one line for each; never a traceback."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings

from tests.trainables.tasks.formats.mistaken import Case, check, files


@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(files())
def test_mistakes_are_lines(case: Case) -> None:
    check(case)
