"""What an accelerator gives: our training step and evaluation beside `transformers.Trainer`, on one card in one run.

Three shapes with random weights and the vocabulary of XLM-R: XLM-R large, XLM-R base, and the embedded encoder's. Steps
are clean, adversarial with one and three ascent steps, and SMART's; half precision, texts of 128 tokens without
padding, micro-batches of 32, four to a step. Needs neither Ray nor Optuna, MLflow or datasets; the Trainer's rows need
accelerate.

    python benchmarks/accelerator.py [--minutes 10] [--precision bf16] [--peak TFLOPS] [--dry]

Each row is printed as JSON once it is measured, so that a run that is cut off has lost none; the table comes at the
end. What the time limit leaves no room for is left out, and the table says so. Without a card, or with `--dry`, all of
it runs on the CPU in tiny sizes, which shows that it runs and nothing else.

A step is the median of rounds of steps with a synchronisation around each round. MFU is the share of the card's peak
that 2·N operations a token and pass make (forward 1, backward to the inputs 1, weight gradients 1: 6·N for a clean
step), N being the parameters outside of the embeddings; attention's own products count as nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import torch
import transformers
from _sides import OutOfTimeError, Setting, Shape, Sides, Timed, measured, release

SHAPES = (
    Shape("XLM-R large", 24, 1024, 16),
    Shape("XLM-R base", 12, 768, 12),
    Shape("e5-small", 12, 384, 12),
)
"""The goals' first."""

PEAKS = (
    (r"A100[- ](SXM|PCIE|80GB PCIe).*", {"bf16": 312, "fp16": 312}, "NVIDIA A100 datasheet"),
    (r"H100 80GB HBM3", {"bf16": 989, "fp16": 989}, "NVIDIA H100 datasheet, SXM"),
    (r"H100 PCIe", {"bf16": 756, "fp16": 756}, "NVIDIA H100 datasheet, PCIe"),
    (r"H200", {"bf16": 989, "fp16": 989}, "NVIDIA H200 datasheet, SXM"),
    (r"L4", {"bf16": 121, "fp16": 121}, "NVIDIA L4 datasheet"),
    (r"A10", {"bf16": 125, "fp16": 125}, "NVIDIA A10 datasheet"),
    (r"V100-SXM.*", {"fp16": 125}, "NVIDIA V100 datasheet, SXM"),
)
"""What a card calls itself, without its maker -> its dense TFLOP/s by type, and who says so. Others need `--peak`."""

METHODS = {"clean": ("none", 0), "PGD-1": ("adversarial", 1), "PGD-3": ("adversarial", 3), "SMART": ("smart", 1)}
"""Row -> the method of training and its ascent steps."""

ASCENT = 0.68
"""Clean steps that an ascent step costs by its arithmetic (`ascent.py`)."""


@dataclass(frozen=True)
class Row:
    """One line of the table; what does not apply to it, or was not measured, is None."""

    shape: str
    row: str
    seconds: float | None = None
    tokens_per_second: float | None = None
    mfu: float | None = None
    times_clean: float | None = None
    share_of_forward: float | None = None
    memory: float | None = None
    """GB."""
    rounds: int = 0
    note: str = ""


def main() -> None:
    """Print each row, the table and the goals."""
    options = _options()
    # One card, whatever the machine has: the Trainer would take all of them.
    os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    deadline = time.monotonic() + 60 * options.minutes
    dry = options.dry or not torch.cuda.is_available()
    if dry:
        torch.set_num_threads(1)
    setting, shapes = _sizes(dry, options.precision)
    peak, source = (options.peak, "given") if options.peak else known_peak(_card(setting.device), options.precision)
    print(f"{_card(setting.device)}{', dry run: tiny sizes, no measurement' if dry else ''}", flush=True)
    rows: list[Row] = []
    for row in _rows(shapes, setting, deadline, peak):
        print(json.dumps(asdict(row)), flush=True)
        rows.append(row)
    print(f"\n{_heading(setting, peak, source, dry)}\n")
    print("\n".join(table(rows)) + "\n")
    if not dry:
        print("\n".join(goals(rows)), flush=True)


def known_peak(card: str, precision: str) -> tuple[float | None, str]:
    """Dense TFLOP/s of a card, and who says so; None where the table does not have exactly that card."""
    name = re.sub(r"^(NVIDIA|Tesla) ", "", card)
    for pattern, peaks, source in PEAKS:
        if re.fullmatch(pattern, name) and "MIG" not in name and precision in peaks:
            return float(peaks[precision]), source
    return None, "unknown: give --peak"


def _rows(shapes: tuple[Shape, ...], setting: Setting, deadline: float, peak: float | None) -> Iterator[Row]:
    for shape in shapes:
        if time.monotonic() > deadline:
            yield Row(shape.name, "all", note="left out: time limit")
            continue
        try:
            yield from _rows_of(shape, setting, deadline, peak)
        except Exception as error:  # the next shape may fit
            yield Row(shape.name, "all that follow", note=_failed(error))
        release(setting.device)


def _rows_of(shape: Shape, setting: Setting, deadline: float, peak: float | None) -> Iterator[Row]:
    """One shape's, each put beside those before it."""
    with tempfile.TemporaryDirectory() as folder:
        sides = Sides(shape, setting, Path(folder), deadline)
        clean: float | None = None
        for name, (method, ascent_steps) in METHODS.items():
            row = _row(shape, name, partial(sides.step, method, ascent_steps), setting, deadline, peak)
            clean = row.seconds if name == "clean" else clean
            yield replace(row, times_clean=row.seconds / clean if row.seconds and clean else None)
        forward = _row(shape, "forward pass alone", sides.forward, setting, deadline, peak)
        yield forward
        evaluation = _row(shape, "evaluation", sides.evaluation, setting, deadline, peak)
        speeds = evaluation.tokens_per_second, forward.tokens_per_second
        yield replace(evaluation, share_of_forward=speeds[0] / speeds[1] if speeds[0] and speeds[1] else None)
        for name, half_precision in ((f"Trainer, {setting.precision}", True), ("Trainer, defaults", False)):
            if find_spec("accelerate") is None:
                yield Row(shape.name, name, note="left out: accelerate is not installed")
                continue
            row = _row(shape, name, partial(sides.trainer, half_precision), setting, deadline, peak)
            yield replace(row, times_clean=row.seconds / clean if row.seconds and clean else None)


def _row(
    shape: Shape, name: str, side: Callable[[], Timed], setting: Setting, deadline: float, peak: float | None
) -> Row:
    """One side's; where it fails the row says why, and the others go on."""
    if time.monotonic() > deadline:
        return Row(shape.name, name, note="left out: time limit")
    try:
        found = measured(side, setting.device)
    except OutOfTimeError:
        return Row(shape.name, name, note="left out: time limit")
    except Exception as error:
        return Row(shape.name, name, note=_failed(error))
    seconds = statistics.median(found.seconds)
    return Row(
        shape.name,
        name,
        seconds,
        found.tokens / seconds,
        mfu=found.operations / seconds / (peak * 1e12) if peak else None,
        memory=found.memory / 1e9 if found.memory else None,
        rounds=len(found.seconds),
    )


def _failed(error: Exception) -> str:
    return f"failed: {type(error).__name__}: {' '.join(str(error).split())[:160]}".replace("|", "/")


def table(rows: list[Row]) -> list[str]:
    """The lines of a Markdown table."""
    names = ("seconds", "tokens a second", "MFU", "times clean", "of forward alone", "peak memory, GB", "rounds")
    lines = [f"| encoder | row | {' | '.join(names)} | note |", f"|---|---|{'---:|' * len(names)}---|"]
    for row in rows:
        cells = (
            row.shape,
            row.row,
            _shown(row.seconds, "{:.4f}"),
            _shown(row.tokens_per_second, "{:,.0f}"),
            _shown(row.mfu, "{:.1%}"),
            _shown(row.times_clean, "{:.2f}"),
            _shown(row.share_of_forward, "{:.0%}"),
            _shown(row.memory, "{:.1f}"),
            str(row.rounds or ""),
            row.note,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def goals(rows: list[Row]) -> list[str]:
    """What is aimed at beside what was measured, as the lines of a Markdown table."""
    lines = ["| goal | encoder | wanted | measured | |", "|---|---|---:|---:|---|"]
    for shape in dict.fromkeys(row.shape for row in rows):
        of = {row.row: row for row in rows if row.shape == shape}
        none = Row(shape, "")
        clean = of.get("clean", none)
        found: list[tuple[str, float | None, float, bool]] = []
        if shape == SHAPES[0].name:
            found.append(("MFU of a clean step", clean.mfu, 0.40, True))
        for name, row in of.items():
            if name.startswith("Trainer"):
                found.append((f"clean step, times {name}", row.times_clean, 3.0 if "defaults" in name else 1.3, True))
            elif name.startswith("PGD"):
                bound = 1.1 * (1 + ASCENT * METHODS[name][1])
                found.append((f"{name} in clean steps", row.times_clean, bound, False))
        found.append(("evaluation, of the forward pass alone", of.get("evaluation", none).share_of_forward, 0.70, True))
        for goal, value, wanted, least in found:
            kept = "not measured" if value is None else "kept" if (value >= wanted) == least else "MISSED"
            bound = f"{'≥' if least else '≤'} {wanted:.2f}"
            lines.append(f"| {goal} | {shape} | {bound} | {_shown(value, '{:.2f}')} | {kept} |")
    return lines


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def _heading(setting: Setting, peak: float | None, source: str, dry: bool) -> str:
    """What the figures hang on."""
    return (
        f"{'DRY RUN, NO MEASUREMENT. ' if dry else ''}{_card(setting.device)}, driver {_driver()}, torch "
        f"{torch.__version__}, transformers {transformers.__version__}, Python {sys.version.split()[0]}; "
        f"{setting.precision}, {setting.accumulated} × {setting.texts} texts of {setting.tokens} tokens a step, whole "
        f"vocabulary; peak {f'{peak:g} TFLOP/s' if peak else '–'} ({source}); median of {setting.rounds} rounds of "
        f"{setting.steps} steps."
    )


def _card(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def _driver() -> str:
    """The card's driver, as its own tool says; that may be missing."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.splitlines()[0].strip() if done.stdout.strip() else "unknown"


def _sizes(dry: bool, precision: str) -> tuple[Setting, tuple[Shape, ...]]:
    if not dry:
        setting = Setting(
            torch.device("cuda"), precision, 32, 128, accumulated=4, evaluated=2048, warmup=4, rounds=7, steps=4
        )
        return setting, SHAPES
    setting = Setting(torch.device("cpu"), precision, 2, 8, accumulated=2, evaluated=4, warmup=1, rounds=1, steps=1)
    return setting, tuple(replace(shape, layers=2, hidden=16, heads=2, vocabulary=50) for shape in SHAPES)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="rows that do not fit are left out")
    parser.add_argument("--precision", choices=("bf16", "fp16"), default="bf16")
    parser.add_argument("--peak", type=float, help="the card's dense TFLOP/s in that type, where it is not known here")
    parser.add_argument("--dry", action="store_true", help="tiny sizes on the CPU")
    return parser.parse_args()


if __name__ == "__main__":
    main()
