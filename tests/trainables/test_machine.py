"""How many CPUs are ours, and how much memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from trainables.machine import cpu_limits, cpus, memory


def limits(folder: Path, line: str, files: dict[str, str]) -> dict[str, int]:
    """The limits of a process whose cgroup is `line`, where the file system of cgroups holds `files`."""
    confine(folder, f"12:memory:/elsewhere\n{line}\n", files)
    return dict(cpu_limits(folder / "self", folder / "mounted"))


def confine(folder: Path, lines: str, files: dict[str, str]) -> None:
    (folder / "self").write_text(lines)
    for name, content in files.items():
        (folder / "mounted" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "mounted" / name).write_text(content)


@pytest.mark.parametrize(
    ("line", "files", "expected"),
    [
        ("0::/job", {"job/cpu.max": "150000 100000\n"}, 1),
        ("0::/job", {"job/cpu.max": "max 100000\n"}, None),
        ("0::/batch/job", {"batch/cpu.max": "300000 100000\n", "batch/job/cpu.max": "max 100000\n"}, 3),
        ("0::/batch/job", {"batch/cpu.max": "300000 100000\n", "batch/job/cpu.max": "700000 100000\n"}, 3),
        ("0::/of/the/host", {"cpu.max": "200000 100000\n"}, 2),
        ("4:cpu,cpuacct:/job", {"cpu,cpuacct/job/cpu.cfs_quota_us": "400000",
                                "cpu,cpuacct/job/cpu.cfs_period_us": "100000"}, 4),
        ("4:cpu:/job", {"cpu/job/cpu.cfs_quota_us": "-1\n", "cpu/job/cpu.cfs_period_us": "100000\n"}, None),
        ("4:cpuset:/job", {"cpu/job/cpu.cfs_quota_us": "100000", "cpu/job/cpu.cfs_period_us": "100000"}, None),
    ],
)  # fmt: skip
def test_a_quota_is_read_as_both_versions_write_it(
    line: str, files: dict[str, str], expected: int | None, tmp_path: Path
) -> None:
    found = limits(tmp_path, line, files)
    assert found.get("cgroup quota") == expected
    assert found["machine"] == os.cpu_count()


@pytest.mark.parametrize(
    ("line", "files", "expected"),
    [
        ("0::/job", {"job/memory.max": "1048576\n"}, 2**20),
        ("0::/job", {"job/memory.max": "max\n"}, None),
        ("0::/batch/job", {"batch/memory.max": "1048576\n", "batch/job/memory.max": "2097152\n"}, 2**20),
        ("0::/of/the/host", {"memory.max": "2097152\n"}, 2**21),
        ("4:memory:/job", {"memory/job/memory.limit_in_bytes": "1048576\n"}, 2**20),
        ("4:memory:/job", {"memory/job/memory.limit_in_bytes": "9223372036854771712\n"}, None),
    ],
)
def test_a_limit_of_memory_is_read_as_both_versions_write_it(
    line: str, files: dict[str, str], expected: int | None, tmp_path: Path
) -> None:
    confine(tmp_path, f"{line}\n", files)
    whole = psutil.virtual_memory().total
    assert memory(tmp_path / "self", tmp_path / "mounted") == (expected or whole)


def test_a_share_of_a_cpu_is_one() -> None:
    assert cpus() >= 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity masks on this system")
def test_a_mask_of_one_cpu_leaves_one() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code += "from trainables.machine import cpus; print(cpus())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"
