"""Memory of reading and tokenising a large task: the peak must not grow with the rows beyond the arrays themselves.

Writes synthetic pairs of XNLI's length as JSON lines, then reads and tokenises them in a process of its own per size,
and prints its peak. What must grow is the token arrays, 5 bytes a token; the limit is on everything beyond them.

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
from pathlib import Path

TASK = """
shape: classification
columns: {text: premise, text_pair: hypothesis}
labels: ["0", "1", "2"]
"""
VOCABULARY = """
the a of and to in is was he for it with as his on be at by had not are but from or have an they which one you
were her all she there would their we him been has when who will more no if out so said what up its about into
than them can only other new some could time these two may then do first any my now such like our over man"""


def main() -> int:
    """Print the table; exit status 1 if the limit is broken."""
    options = _options()
    if options.child is not None:
        print(json.dumps(_measure(options.child)))
        return 0
    print(f"{'rows':>10}  {'tokens':>12}  {'seconds':>8}  {'peak MB':>8}  {'arrays MB':>9}  {'beyond MB':>9}")
    broken = False
    for rows in (options.rows // 10, options.rows):
        with tempfile.TemporaryDirectory() as folder:
            _write(Path(folder), rows)
            command = [sys.executable, __file__, "--child", folder]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        beyond = found["peak"] - found["arrays"]
        broken = broken or beyond > options.limit_mb
        print(
            f"{rows:10,d}  {found['tokens']:12,d}  {found['seconds']:8.1f}  {found['peak']:8.0f}  "
            f"{found['arrays']:9.0f}  {beyond:9.0f}",
            flush=True,
        )
    if broken:
        print(f"above the limit of {options.limit_mb} MB beyond the arrays")
    return int(broken)


def _write(folder: Path, rows: int) -> None:
    draw, words = random.Random(0), VOCABULARY.split()
    (folder / "task.yaml").write_text(TASK)
    with (folder / "train.en.jsonl").open("w") as file:
        for i in range(rows):
            premise, hypothesis = (" ".join(draw.choices(words, k=n)) for n in (20, 10))
            file.write(json.dumps({"premise": premise, "hypothesis": hypothesis, "label": i % 3}) + "\n")


def _measure(folder: Path) -> dict[str, float]:
    from transformers import AutoTokenizer

    from trainables.config import TaskConfig
    from trainables.offline.encoder import ensure
    from trainables.tasks.task import load_task

    tokenizer = AutoTokenizer.from_pretrained(ensure())
    began = time.perf_counter()
    task = load_task(TaskConfig(name=str(folder / "task.yaml")), ("train",))
    encoded = task.shape.encode(task.rows["train"]["en"], tokenizer, 128)
    return {
        "tokens": len(encoded.ids),
        "seconds": time.perf_counter() - began,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "arrays": sum(array.nbytes for array in encoded.arrays().values()) / 2**20,
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the larger of two sizes")
    parser.add_argument("--limit-mb", type=float, default=1500, help="most memory beyond the arrays")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
