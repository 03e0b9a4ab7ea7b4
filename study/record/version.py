"""Which code a study was run with."""

from __future__ import annotations

import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

DISTRIBUTION = "robust-transfer-study"


def code_version() -> str:
    """The package's version; in a git checkout with the commit, and ``+changes`` where files differ from it."""
    try:
        installed = version(DISTRIBUTION)
    except PackageNotFoundError:
        installed = "unknown"
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists():
        return installed
    described = _git(checkout, "rev-parse", "--short=12", "HEAD")
    if described is None:
        return installed
    changes = "+changes" if _git(checkout, "status", "--porcelain", "--untracked-files=no") else ""
    return f"{installed} ({described}{changes})"


def _git(checkout: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(checkout), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
