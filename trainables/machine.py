"""What this process may use of the machine that it is on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def cpus() -> int:
    """CPUs that are ours: the least of the machine's, our affinity mask's, and our cgroup's quota; at least 1."""
    return max(1, min(cpu_limits().values()))


def words() -> str | None:
    """What limits our CPUs, such as ``1 of 2 by CPU affinity``; None where they are the machine's."""
    limits = cpu_limits()
    least = min(limits, key=lambda name: limits[name])
    return None if least == "machine" else f"{cpus()} of {limits['machine']} by {least}"


def cpu_limits(proc: Path = Path("/proc/self/cgroup"), mounted: Path = CGROUPS) -> Mapping[str, int]:
    """What limits our CPUs -> how many it leaves, of a quota the whole ones. The machine's own number comes first."""
    limits = {"machine": os.cpu_count() or 1}
    if hasattr(os, "sched_getaffinity"):
        limits["CPU affinity"] = len(os.sched_getaffinity(0))
    quotas = list(_quotas(proc, mounted))
    if quotas:
        limits["cgroup quota"] = int(min(quotas))
    return limits


def memory(proc: Path = Path("/proc/self/cgroup"), mounted: Path = CGROUPS) -> int:
    """Bytes of memory that are ours: the least of the machine's and of our cgroup's limit."""
    import psutil

    limits = (_limit(folder) for folder in _groups("memory", proc, mounted))
    return min([psutil.virtual_memory().total, *(limit for limit in limits if limit is not None)])


def _quotas(proc: Path, mounted: Path) -> Iterator[float]:
    """CPUs of each quota that holds for this process."""
    quotas = (_quota(folder) for folder in _groups("cpu", proc, mounted))
    yield from (quota for quota in quotas if quota is not None)


def _groups(controller: str, proc: Path, mounted: Path) -> Iterator[Path]:
    """Folders of what a controller holds this process to: of its cgroup and of all above it (versions 2 and 1)."""
    try:
        lines = proc.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        root = mounted / controllers if (mounted / controllers).is_dir() else mounted / controller
        base = root if controllers else mounted
        inner = base / path.lstrip("/")
        # In a container the path may be that of its host; then the mount itself is our cgroup.
        for folder in (inner, *inner.parents) if inner.is_dir() else (base,):
            yield folder
            if folder == base:
                break


def _limit(folder: Path) -> int | None:
    for name in ("memory.max", "memory.limit_in_bytes"):
        try:
            return int((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):  # no limit is written "max"
            continue
    return None


def _quota(folder: Path) -> float | None:
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        else:
            both = (folder / f"cpu.cfs_{name}_us" for name in ("quota", "period"))
            quota, period = (file.read_text(encoding="utf-8") for file in both)
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError):  # no limit is written "max"
        return None
