"""Files of every format with random mistakes, many of them: ``python -m tests.chaos.formats --cases 10000``."""

from __future__ import annotations

import argparse

from hypothesis import HealthCheck, given, seed, settings

from tests.trainables.tasks.formats.mistaken import Case, check, files


def main() -> None:
    """Raise at the first file that ends in anything but its rows, or lines about them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()

    @seed(arguments.seed)
    @settings(max_examples=arguments.cases, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(files())
    def cases(case: Case) -> None:
        check(case)

    cases()
    print(f"{arguments.cases} files with mistakes: rows, or lines about them")


if __name__ == "__main__":
    main()
