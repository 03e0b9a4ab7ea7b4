"""What programs write into a page of documentation: between two markers of it."""

from __future__ import annotations

from pathlib import Path


def put(path: Path, drawn: str, begin: str, end: str) -> None:
    """Write `drawn` between the markers of a page, a line each. Exits with a line where it lacks them."""
    before, begins, rest = path.read_text(encoding="utf-8").partition(begin)
    _, ends, after = rest.partition(end)
    if not (begins and ends):
        raise SystemExit(f"{path}: has no {begin} … {end}")
    path.write_text(f"{before}{begin}\n{drawn}\n{end}{after}", encoding="utf-8")
