"""`study submit` up to sbatch, which is a stand-in here; tests/test_slurm.py has a real one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from study.cli import commands as study_commands
from study.cli import execute
from study.question.config import StudyConfig
from study.record.lines import owner_path
from study.record.ownership import claim
from tests.study.conftest import Event

ARGUMENTS = ("submit", "quickstart", "name=first", "--slurm", "nodes=2 time=60")


def submitted(capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, str]:
    status = execute(study_commands, "study", [*ARGUMENTS, *more])
    said = capsys.readouterr()
    return status, said.out + said.err


@pytest.fixture
def sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a sbatch that keeps what it is given in ``job``."""
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "sbatch"
    script.write_text(f"#!/bin/sh\n/bin/cat > {tmp_path}/job\necho Submitted batch job 7\n", encoding="utf-8")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_study_is_handed_over_once_it_is_known_to_be_able_to_run(
    sbatch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = submitted(capsys)
    assert status == 0 and "Submitted batch job 7" in said
    job = (sbatch / "job").read_text(encoding="utf-8")
    assert f"STUDY_ROOT={sbatch}/studies\n" in job and "set -- first /" in job
    assert not (sbatch / "studies").exists()

    (sbatch / "job").unlink()
    status, said = submitted(capsys, "--dry-run")
    assert (status, said) == (0, job)
    for wrong, words in (
        ("trial.training.seed=x", "trial.training.seed: must be"),
        ("scaling.gpus_per_worker=1", "add gpus-per-node=1"),
        ("protocol.pivots=[xx]", "protocol.pivots"),
    ):
        status, said = submitted(capsys, wrong)
        assert status == 2 and words in said
    assert not (sbatch / "job").exists()


def test_without_sbatch_or_against_its_will_it_says_so(sbatch: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = sbatch / "bin" / "sbatch"
    script.write_text("#!/bin/sh\necho 'sbatch: error: invalid partition' >&2; exit 1\n", encoding="utf-8")
    assert submitted(capsys) == (2, "sbatch: error: invalid partition\n")
    script.unlink()
    status, said = submitted(capsys)
    assert status == 2 and said.startswith("sbatch: is not to be found here")


def test_what_has_begun_is_gone_on_with_unless_it_runs_or_is_finished(
    sbatch: Path,
    capsys: pytest.CaptureFixture[str],
    config: StudyConfig,
    events: list[Event],
    write_study: Callable[[list[Event], str], Path],
) -> None:
    root = write_study(events[:-1], "small")
    small = sbatch / "small.yaml"
    small.write_text(json.dumps(config.model_dump(mode="json")), encoding="utf-8")

    def again(*more: str) -> tuple[int, str]:
        status = execute(study_commands, "study", ["submit", str(small), *more, "--slurm", "nodes=2"])
        said = capsys.readouterr()
        return status, said.out + said.err

    status, said = again()
    assert status == 0 and "Submitted batch job 7" in said
    (sbatch / "job").unlink()
    status, said = again("search.trials=9")
    assert status == 2 and "search.trials: the existing study has 4 (got 9)" in said
    owner = claim(owner_path(root / "small" / "ledger.jsonl"))
    status, said = again()
    assert status == 2 and "small is being run by another process" in said
    assert not (sbatch / "job").exists()
    assert again("--take-over")[0] == 0
    assert "STUDY_TAKE_OVER=1" in (sbatch / "job").read_text(encoding="utf-8")
    owner.release()
    write_study(events[-1:], "small")
    status, said = again()
    assert status == 2 and "small is finished already; study show small" in said
