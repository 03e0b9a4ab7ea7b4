"""Reading and tokenising a large task: its time against the tokenizer's own, and its memory.

Writes synthetic pairs of XNLI's length as JSON lines, then reads and tokenises them in a process of its own per size,
and prints its peak. What must grow is the token arrays, 5 bytes a token; the limit is on everything beyond them. The
other side, in a further process, is what one would write: the tokenizer on lists of a thousand pairs, put into arrays.

    python benchmarks/data.py [--rows 1000000] [--limit-mb 1500]
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

TASK = """
shape: classification
columns: {text: premise, text_pair: hypothesis}
labels: ["0", "1", "2"]
"""
WORDS = 100_000
"""Words of the made-up language; the k-th most frequent one is as frequent as 1 / k (Zipf)."""


def main() -> int:
    """Print the table; exit status 1 if the limit is broken."""
    options = _options()
    if options.child is not None:
        print(json.dumps((_plainly if options.plainly else _measure)(options.child)))
        return 0
    names = ("rows", "tokens", "seconds", "CPU", "plain CPU", "times", "peak MB", "beyond MB")
    print("  ".join(f"{name:>11}" for name in names))
    broken = False
    for rows in (options.rows // 10, options.rows):
        with tempfile.TemporaryDirectory() as folder:
            _write(Path(folder), rows)
            found, plainly = _child(folder), _child(folder, "--plainly")
        if found["sum"] != plainly["sum"]:
            print("the two sides have different tokens")
            return 1
        beyond = found["peak"] - found["arrays"]
        broken = broken or beyond > options.limit_mb
        cells = (f"{rows:,d}", f"{found['tokens']:,d}", f"{found['seconds']:.1f}", f"{found['cpu']:.1f}")
        cells += (f"{plainly['cpu']:.1f}", f"{plainly['cpu'] / found['cpu']:.2f}")
        print("  ".join(f"{cell:>11}" for cell in (*cells, f"{found['peak']:.0f}", f"{beyond:.0f}")), flush=True)
    if broken:
        print(f"above the limit of {options.limit_mb} MB beyond the arrays")
    return int(broken)


def _child(folder: str, *options: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", folder, *options]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def _write(folder: Path, rows: int) -> None:
    draw = random.Random(0)
    words = ["".join(draw.choices("aeioubdfgklmnprstvz", k=1 + k.bit_length() // 2)) for k in range(WORDS)]
    weights = list(accumulate(1 / (k + 1) for k in range(WORDS)))
    (folder / "task.yaml").write_text(TASK)
    with (folder / "train.en.jsonl").open("w") as file:
        for i in range(rows):
            premise, hypothesis = (" ".join(draw.choices(words, cum_weights=weights, k=n)) for n in (20, 10))
            file.write(json.dumps({"premise": premise, "hypothesis": hypothesis, "label": i % 3}) + "\n")


def _measure(folder: Path) -> dict[str, Any]:
    from transformers import AutoTokenizer

    from trainables.config import TaskConfig
    from trainables.offline.encoder import ensure
    from trainables.tasks.task import load_task

    tokenizer = AutoTokenizer.from_pretrained(ensure())
    began, worked = time.perf_counter(), time.process_time()
    task = load_task(TaskConfig(name=str(folder / "task.yaml")), ("train",))
    encoded = task.shape.encode(task.rows["train"]["en"], tokenizer, 128)
    return {
        "tokens": len(encoded.ids),
        "seconds": time.perf_counter() - began,
        "cpu": time.process_time() - worked,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "arrays": sum(array.nbytes for array in encoded.arrays().values()) / 2**20,
        "sum": _sum(encoded.ids, encoded.special),
    }


def _plainly(folder: Path) -> dict[str, Any]:
    """Reads the file, checks nothing, and tokenises a thousand pairs at a time."""
    from transformers import AutoTokenizer

    from trainables.offline.encoder import ensure

    tokenizer = AutoTokenizer.from_pretrained(ensure())
    worked = time.process_time()
    ids, special = [], []
    with (folder / "train.en.jsonl").open() as file:
        while lines := list(islice(file, 1000)):
            rows = [json.loads(line) for line in lines]
            texts = [row["premise"] for row in rows], [row["hypothesis"] for row in rows]
            found = tokenizer(*texts, truncation=True, max_length=128, return_special_tokens_mask=True)
            ids += [np.asarray(row, dtype=np.int32) for row in found["input_ids"]]
            special += [np.asarray(row, dtype=np.bool_) for row in found["special_tokens_mask"]]
    return {"sum": _sum(np.concatenate(ids), np.concatenate(special)), "cpu": time.process_time() - worked}


def _sum(ids: npt.NDArray[np.int32], special: npt.NDArray[np.bool_]) -> str:
    return sha256(ids.tobytes() + special.tobytes()).hexdigest()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the larger of two sizes")
    parser.add_argument("--limit-mb", type=float, default=1500, help="most memory beyond the arrays")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--plainly", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
