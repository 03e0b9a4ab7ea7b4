"""Reading and tokenising a large task: its time against the tokenizer's own, and its memory.

Writes synthetic pairs of XNLI's length as JSON lines, then reads and tokenises them in a process of its own per size,
and prints its peak. What must grow is the token arrays, 5 bytes a token; the limit is on everything beyond them. The
other sides, in further processes, are the same without the processes that help it (alone), and what one would write:
the tokenizer on lists of a thousand pairs, put into arrays. CPU is that of all of a side's processes; peak that of the
main one, helper that of the largest that helps. With --languages: so many languages, one after another, each of 1,000
pairs of its own words.

    python benchmarks/data.py [--rows 1000000] [--limit-mb 1500]
    python benchmarks/data.py --languages 205
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
        found = _plainly(options.child) if options.plainly else _measure(options.child, options.alone)
        print(json.dumps(found))
        return 0
    if options.languages:
        return _many(options.languages)
    names = ("rows", "tokens", "seconds", "CPU", "alone s", "alone CPU", "plain s", "plain CPU")
    names += ("peak MB", "beyond MB", "helper MB")
    print("  ".join(f"{name:>11}" for name in names))
    broken = False
    for rows in (options.rows // 10, options.rows):
        with tempfile.TemporaryDirectory() as folder:
            _write(Path(folder), rows)
            found, alone, plainly = _child(folder), _child(folder, "--alone"), _child(folder, "--plainly")
        if not found["sum"] == alone["sum"] == plainly["sum"]:
            print("the sides have different tokens")
            return 1
        beyond = found["peak"] - found["arrays"]
        broken = broken or beyond > options.limit_mb
        times = (f"{side[what]:.1f}" for side in (found, alone, plainly) for what in ("seconds", "cpu"))
        sizes = (f"{found['peak']:.0f}", f"{beyond:.0f}", f"{found['helper']:.0f}")
        cells = (f"{rows:,d}", f"{found['tokens']:,d}", *times, *sizes)
        print("  ".join(f"{cell:>11}" for cell in cells), flush=True)
    if broken:
        print(f"above the limit of {options.limit_mb} MB beyond the arrays")
    return int(broken)


def _child(folder: str, *options: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", folder, *options]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def _many(languages: int) -> int:
    """Each a language of its own words."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(languages):
            _write(Path(folder), 1000, f"q{chr(97 + number // 26)}{chr(97 + number % 26)}", number, 2000)
        for name, how in (("as it is", ()), ("alone", ("--alone",))):
            found = _child(folder, *how)
            print(
                f"{name}: {languages} languages, {found['tokens']:,d} tokens, {found['seconds']:.1f} s, "
                f"{found['cpu']:.1f} CPU-s, peak {found['peak']:.0f} MB"
            )
    return 0


def _write(folder: Path, rows: int, language: str = "en", seed: int = 0, words_of: int = WORDS) -> None:
    draw = random.Random(seed)
    words = ["".join(draw.choices("aeioubdfgklmnprstvz", k=1 + k.bit_length() // 2)) for k in range(words_of)]
    weights = list(accumulate(1 / (k + 1) for k in range(words_of)))
    (folder / "task.yaml").write_text(TASK)
    with (folder / f"train.{language}.jsonl").open("w") as file:
        for i in range(rows):
            premise, hypothesis = (" ".join(draw.choices(words, cum_weights=weights, k=n)) for n in (20, 10))
            file.write(json.dumps({"premise": premise, "hypothesis": hypothesis, "label": i % 3}) + "\n")


def _measure(folder: Path, alone: bool) -> dict[str, Any]:
    from transformers import AutoTokenizer

    from trainables.config import TaskConfig
    from trainables.offline.encoder import ensure
    from trainables.tasks import encoding
    from trainables.tasks.task import load_task

    if alone:
        encoding.cpus = lambda: 1
    tokenizer = AutoTokenizer.from_pretrained(ensure())
    began, worked = time.perf_counter(), _cpu()
    encoded = []
    for file in sorted(folder.glob("train.*.jsonl")):
        config = TaskConfig(name=str(folder / "task.yaml"), source_language=file.name.split(".")[1])
        task = load_task(config, ("train",))
        encoded += [task.shape.encode(rows, tokenizer, 128) for rows in task.rows["train"].values()]
    return {
        "tokens": sum(len(each.ids) for each in encoded),
        "seconds": time.perf_counter() - began,
        "cpu": _cpu() - worked,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "helper": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
        "arrays": sum(array.nbytes for each in encoded for array in each.arrays().values()) / 2**20,
        "sum": _sum(encoded[0].ids, encoded[0].special),
    }


def _cpu() -> float:
    """Of this process and those that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _plainly(folder: Path) -> dict[str, Any]:
    """Reads the file, checks nothing, and tokenises a thousand pairs at a time."""
    from transformers import AutoTokenizer

    from trainables.offline.encoder import ensure

    tokenizer = AutoTokenizer.from_pretrained(ensure())
    began, worked = time.perf_counter(), _cpu()
    ids, special = [], []
    with (folder / "train.en.jsonl").open() as file:
        while lines := list(islice(file, 1000)):
            rows = [json.loads(line) for line in lines]
            texts = [row["premise"] for row in rows], [row["hypothesis"] for row in rows]
            found = tokenizer(*texts, truncation=True, max_length=128, return_special_tokens_mask=True)
            ids += [np.asarray(row, dtype=np.int32) for row in found["input_ids"]]
            special += [np.asarray(row, dtype=np.bool_) for row in found["special_tokens_mask"]]
    seconds, cpu = time.perf_counter() - began, _cpu() - worked
    return {"sum": _sum(np.concatenate(ids), np.concatenate(special)), "seconds": seconds, "cpu": cpu}


def _sum(ids: npt.NDArray[np.int32], special: npt.NDArray[np.bool_]) -> str:
    return sha256(ids.tobytes() + special.tobytes()).hexdigest()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the larger of two sizes")
    parser.add_argument("--limit-mb", type=float, default=1500, help="most memory beyond the arrays")
    parser.add_argument("--languages", type=int, default=0, help="so many small ones instead")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--plainly", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
