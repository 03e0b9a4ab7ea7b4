"""The tutorial, executed: its commands in order, with a small local encoder where it names one of the hub."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import XLMRobertaConfig, XLMRobertaModel

from study.record.lines import read_study
from tests.terminal import watch
from trainables.config import EncoderConfig
from trainables.model.pretrained import resolve
from trainables.offline import intents

REPOSITORY = Path(__file__).resolve().parent.parent
TUTORIAL = REPOSITORY / "docs" / "tutorial.md"

SECONDS = 600
"""Time for one block on a busy machine; half a minute is more usual."""


def blocks() -> list[str]:
    """The blocks of commands, in their order."""
    return re.findall(r"^```sh\n(.*?)^```$", TUTORIAL.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_no_block_of_commands_is_left_out() -> None:
    fences = re.findall(r"^```(\w*)$", TUTORIAL.read_text(encoding="utf-8"), re.MULTILINE)
    assert fences == ["sh", ""] * len(blocks())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with a small XLM-R in it (twelve layers of 32, the whole vocabulary).

    Beside it are the commands, and a cache that has the embedded encoder and data, and takes what nobody else can use.
    """
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, arguments in (("study", " -m study"), ("python", "")):
        script = commands / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}"{arguments} "$@"\n')
        script.chmod(0o755)
    work = tmp_path / "work"
    encoder = work / "xlm-roberta-base"
    embedded = Path(resolve(EncoderConfig()))
    config = XLMRobertaConfig(
        vocab_size=json.loads((embedded / "config.json").read_text())["vocab_size"],
        hidden_size=32, num_hidden_layers=12, num_attention_heads=4, intermediate_size=64, max_position_embeddings=514,
        type_vocab_size=1, pad_token_id=1,
    )  # fmt: skip
    XLMRobertaModel(config, add_pooling_layer=False).save_pretrained(encoder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(embedded / name, encoder)
    (tmp_path / "cache").mkdir()
    for entry in (embedded, intents.ensure()):
        (tmp_path / "cache" / entry.name).symlink_to(entry)
    return work


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_the_tutorial(folder: Path) -> None:
    environment = {
        **os.environ,
        "PATH": f"{folder.parent / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "STUDY_CACHE": str(folder.parent / "cache"),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    environment.pop("STUDY_ROOT", None)

    def run(commands: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, f"{commands}\n{done.stdout}"
        return done.stdout

    def watched(commands: str, width: int, height: int) -> str:
        """The same at a terminal, whose live table is looked at."""
        status, frames, left = watch(["bash", "-euo", "pipefail", "-c", commands], folder, environment, width, height)
        assert status == 0, "\n".join(left)
        check_live_table(frames, width)
        return "\n".join(left)

    outputs = []
    for block in blocks():
        if "study run quickstart" in block:
            outputs.append(watched(block, 80, 24))
        elif "study confirm" in block:
            outputs.append(watched(block, 140, 40))
        else:
            outputs.append(run(block))
    output, piped = "".join(outputs), outputs[-1]

    # What the text promises is there.
    assert "Warning: no number of seeds shows one point" in output
    assert "Selected on: validation in the 2 pivot languages (de, fr)" in output
    assert "Confirmed on the test split (opened 1 time)" in output
    assert "from study first, confirmed:" in output
    assert (folder / "studies" / "first" / "report" / "report.html").stat().st_size > 100_000
    assert "worst_language reads validation labels that the rule may not" in output
    assert (folder / "epsilon.svg").is_file() and (folder / "epsilon.csv").is_file()
    assert (folder / "first_data" / "scores.parquet").is_file()
    assert re.search(r"\[\{'label': '\w+', 'score': ", output)
    assert "removed the checkpoints of the study first" in output
    assert "study intents_suite.areas" in output and re.search(r"^areas +intents_areas ", output, re.MULTILINE)
    mine = read_study(folder / "studies" / "mine" / "ledger.jsonl")
    assert {number: trial.state for number, trial in mine.trials.items()} == {0: "COMPLETE", 1: "COMPLETE"}
    assert mine.trials[1].reports[-1].evaluation.primary.languages == ("en",)

    # The last study was piped: plain lines, in which every event can be found.
    assert "\x1b" not in piped
    for words in ("waiting for Ray", "trial 0 baseline: perturbation.method=none", "trial 1 started", "2 of 2 trials"):
        assert words in piped


def check_live_table(frames: list[list[str]], width: int) -> None:
    """What the terminal showed: a title, what is waited for, running trials with their steps, and how far it is."""
    shown = [[line for line in frame if line] for frame in frames]
    assert any("waiting for" in line for frame in shown for line in frame)
    summary = re.compile(r"\d+ of \d+ trials.* · elapsed [\d:]+ · ")
    # Whole pictures: what was read may end in the middle of one.
    live = [frame for frame in shown if "study first" in frame and any(map(summary.match, frame))]
    assert any(re.match(r" *\d+( \w+)? +running ", line) for frame in live for line in frame)
    for frame in live:
        header = frame[frame.index("study first") + 1].split()
        assert header[:6] == ["trial", "state", "attempt", "step", "selection_mean", "time"]
        assert ("point" in header) is (width >= 100)
    assert any(re.search(r"(running|complete) +1 +[24] +0\.\d{4}", line) for frame in live for line in frame)
    assert not any(re.search(r"\(pid=|WARNING|INFO|ray::", line) for frame in shown for line in frame)
