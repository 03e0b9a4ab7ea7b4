"""What `make` does on machines that people have: which Python, which installer, and what an interruption leaves.

The Pythons and installers here are scripts that note what they were asked to do; CI's own set-up is the real thing.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

PYTHON = """#!/bin/sh
echo "{name} $*" >>"$NOTES"
case "$*" in
  *version_info*) echo {version} ;;
  *ensurepip*) {ensurepip} ;;
  *"-m venv"*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; cp "$0" "$3/bin/pip"; echo study.cli >"$3/bin/tune" ;;
  *"pip config list"*) echo "$PIP_KNOWS" ;;
  *"pip install"*) [ -z "${{KILLED:-}}" ] || kill -9 $PPID ;;
esac
"""

UV = """#!/bin/sh
echo "uv $*" >>"$NOTES"
case "$*" in
  venv*) mkdir -p .venv/bin; echo study.cli >.venv/bin/tune; printf '#!/bin/sh\\n' >.venv/bin/python
         chmod +x .venv/bin/python ;;
esac
"""

TOOLS = ("sh", "cat", "cp", "rm", "mkdir", "grep", "chmod", "true", "false")


class Machine:
    """A folder with a project, and a PATH with nothing but basic tools and the Pythons that a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.project = folder / "bin", folder / "project"
        self.notes = folder / "notes"
        self.venv = self.project / ".venv"
        for each in (self.bin, self.project):
            each.mkdir()
        for tool in TOOLS:
            (self.bin / tool).symlink_to(next(p for p in map(Path, (f"/bin/{tool}", f"/usr/bin/{tool}")) if p.exists()))
        for name in ("pyproject.toml", "constraints.txt"):
            (self.project / name).touch()
            os.utime(self.project / name, (0, 0))

    def has(self, name: str, version: str = "", ensurepip: str = "true") -> None:
        text = UV if name == "uv" else PYTHON.format(name=name, version=version, ensurepip=ensurepip)
        (self.bin / name).write_text(text, encoding="utf-8")
        (self.bin / name).chmod(0o755)

    def set_up(self, **environment: str) -> subprocess.CompletedProcess[str]:
        self.notes.unlink(missing_ok=True)
        return subprocess.run(
            ["/bin/sh", str(REPOSITORY / ".ci" / "set_up"), ".venv", "dev"],
            cwd=self.project,
            env={"PATH": str(self.bin), "NOTES": str(self.notes), "PIP_KNOWS": "", **environment},
            capture_output=True,
            text=True,
        )

    def installed_with(self) -> list[str]:
        """The words before ``install`` of each installation that was begun."""
        lines = self.notes.read_text(encoding="utf-8").splitlines() if self.notes.exists() else []
        return [line.partition(" install")[0] for line in lines if "pip install" in line]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_takes_the_first_python_that_fits_and_says_which(machine: Machine) -> None:
    machine.has("python3.11", "3.11.9", ensurepip="false")
    machine.has("python3", "3.10.2")
    machine.has("python3.13", "3.13.1")
    done = machine.set_up()
    assert done.returncode == 0, done.stderr
    assert "Python 3.13.1 (python3.13) and pip" in done.stdout
    assert machine.installed_with() == ["python3.13 -m pip"]
    again = machine.set_up()
    assert (again.returncode, again.stdout, machine.installed_with()) == (0, "", [])
    os.utime(machine.project / "constraints.txt")  # now
    os.utime(machine.venv / ".installed-dev", (1, 1))
    assert machine.set_up().returncode == 0
    assert machine.installed_with() == ["python3.13 -m pip"]


def test_says_why_no_python_fits_and_leaves_nothing(machine: Machine) -> None:
    machine.has("python3.12", "3.12.3", ensurepip="false")
    machine.has("python3", "3.9.18")
    machine.has("python", "3.15.0")
    (machine.bin / "python3.13").write_text("#!/bin/sh\nexit 127\n")  # a shim of a Python that is not chosen
    (machine.bin / "python3.13").chmod(0o755)
    done = machine.set_up()
    assert done.returncode == 1
    for words in (
        "python3.11: not found",
        "python3.12: is Python 3.12.3 without venv",
        "python3.13: does not start",
        "python3: is Python 3.9.18",
        "python: is Python 3.15.0",
        "make PYTHON=",
    ):
        assert words in done.stderr
    assert not machine.venv.exists()
    assert "python3.9: not found" in machine.set_up(PYTHON="python3.9").stderr


def test_an_interrupted_set_up_is_made_anew(machine: Machine) -> None:
    machine.has("python3.12", "3.12.3")
    assert machine.set_up(KILLED="yes").returncode != 0
    (machine.venv / "half").touch()
    done = machine.set_up()
    assert done.returncode == 0, done.stderr
    assert "was interrupted: .venv is made anew" in done.stdout
    assert not (machine.venv / "half").exists()
    assert machine.set_up().stdout == ""


def test_an_environment_whose_python_is_gone_is_made_anew(machine: Machine) -> None:
    machine.has("python3.12", "3.12.3")
    machine.set_up()
    (machine.venv / "bin" / "python").unlink()
    assert machine.set_up().returncode == 0
    assert machine.installed_with() == ["python3.12 -m pip"]
    assert (machine.venv / "bin" / "python").exists()


def test_uv_is_taken_where_it_is_installed(machine: Machine) -> None:
    machine.has("python3.12", "3.12.3", ensurepip="false")
    machine.has("uv")
    done = machine.set_up()
    assert done.returncode == 0, done.stderr
    assert "Python 3.12.3 (python3.12) and uv" in done.stdout
    assert machine.installed_with() == ["uv pip"]


def test_uv_brings_a_python_where_none_fits(machine: Machine) -> None:
    machine.has("uv")
    done = machine.set_up()
    assert done.returncode == 0, done.stderr
    assert "3.11, which uv brings" in done.stdout


@pytest.mark.parametrize(
    ("environment", "installer"),
    [
        ({"PIP_KNOWS": "global.index-url='file:///mirror'"}, "python3.12 -m pip"),
        ({"PIP_KNOWS": "global.index-url='file:///mirror'", "UV_INDEX": "file:///mirror"}, "uv pip"),
        ({"PIP_KNOWS": "global.index-url='file:///mirror'", "INSTALLER": "uv"}, "uv pip"),
        ({"PIP_KNOWS": "global.timeout='60'"}, "uv pip"),
        ({"INSTALLER": "pip"}, "python3.12 -m pip"),
    ],
)
def test_pip_is_taken_where_only_pip_knows_the_index(
    environment: dict[str, str], installer: str, machine: Machine
) -> None:
    machine.has("python3.12", "3.12.3")
    machine.has("uv")
    done = machine.set_up(**environment)
    assert done.returncode == 0, done.stderr
    assert machine.installed_with() == [installer]
