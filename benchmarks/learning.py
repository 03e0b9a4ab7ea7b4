"""Does every task learn? Two checks per task with the embedded encoder, in one process and one thread.

``fitted``: the score on 64 English training examples after training on them. ``source``: the score on validation of
the source language (English, where there is any) after about `--minutes` of training on its rows (in CPU time, so that
other work on the machine shortens nothing), beside the better of uniform and majority guessing; then the mean over the
other languages on test, all of them scored.

    python benchmarks/learning.py --data FOLDER [--minutes 5] [TASK …]

`FOLDER` holds the tasks' files as docs/tasks.md says (`task.data_dir`).
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.config import Budget, EncoderConfig, EvaluationConfig, TaskConfig, TrainingConfig, TrialConfig
from trainables.errors import UserError
from trainables.materials.materials import Materials, load
from trainables.scores import Evaluation, Split
from trainables.tasks.answers import normaliser, score_answer
from trainables.tasks.plan import Plan
from trainables.tasks.relevance import Relevance
from trainables.tasks.retrieval import Retrieval
from trainables.tasks.span import SpanAnswering
from trainables.tasks.tagging import Tagging
from trainables.training.loop import run_trial

TASKS = ("xnli", "pawsx", "xcopa", "udpos", "panx", "xquad", "mlqa", "tydiqa", "tatoeba", "lareqa")
FITTED = {
    "xnli": ("xnli", "xnli"),
    "pawsx": ("pawsx", "pawsx"),
    "xcopa": ("copa", "copa"),
    "udpos": ("udpos", "udpos"),
    "panx": ("panx", "panx"),
    "xquad": ("squad", "squad"),
    "tydiqa": ("squad", "tydiqa"),
}
"""Task -> (as what, from whose training file) 64 examples are fitted. Not those that carve a validation split out of
their training rows, nor retrieval, which learns from pairs of another task. MLQA trains on SQuAD as XQuAD does."""
SOURCES = {"masakhanews": "pcm"}
"""Task -> source language, where the pack that the tests use has no English training rows. Others: English."""
LONG = ("xquad", "mlqa", "tydiqa", "squad")

EXAMPLES = 64
LONGEST = 600
"""Characters of a row that is fitted: short ones are learned as well, and sooner."""


def main() -> None:
    """Print one row per task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=TASKS, metavar="TASK")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--examples", type=int, default=40, help="per language, evaluated")
    options = parser.parse_args()
    print("| task | fitted | steps | minutes | source | guessing | beats it | other languages | of them | metric |")
    print("|---|---:|---:|---:|---:|---:|---|---:|---:|---|")
    for task in options.tasks:
        fitted = f"{fit(*FITTED[task], options.data):.2f}" if task in FITTED else "–"
        print(f"| `{task}` | {fitted} | {learn(task, options.data, options.minutes, options.examples)} |", flush=True)


def fit(name: str, rows_of: str, data: Path, examples: int = EXAMPLES, steps: int = 120) -> float:
    """Score on the English examples that were trained on."""
    lines = short_rows(data / rows_of / "train.en.jsonl")[:examples]
    with tempfile.TemporaryDirectory() as folder:
        mine = Path(folder) / "data" / name
        mine.mkdir(parents=True)
        for split in ("train", "validation"):
            (mine / f"{split}.en.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        config = configuration(name, mine.parent, steps=steps, dropout=0.0, learning_rate=5e-4, targets=())
        *_, last = run_trial(config, Path(folder) / "trial")
    return last.primary["en"]


def short_rows(path: Path) -> list[str]:
    """The first lines of a file that are not long."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if len(json.dumps(json.loads(line), ensure_ascii=False)) <= LONGEST][:EXAMPLES]


def learn(task: str, data: Path, minutes: float, examples: int) -> str:
    """The remaining cells of a task's row."""
    split = tested(task, data)
    with tempfile.TemporaryDirectory() as folder:
        tried = run(configuration(task, data, steps=6, examples=1), Path(folder) / "probe", split)
        steps = max(20, min(2000, int(60 * minutes * 6 / tried.seconds)))
        config = configuration(task, data, steps=steps, examples=examples)
        done = run(config, Path(folder) / "trial", split)
    outcomes = done.outcomes
    language = config.task.source_language
    source = next(e.primary[language] for e in outcomes if e.split == "validation")
    last = outcomes[-1]
    guessed = guess(load(config, ("validation", "test") if split == "test" else ("validation",)), examples)
    cells = [
        str(steps),
        f"{done.seconds / 60:.1f}",
        f"{source:.3f}",
        f"{guessed:.3f}",
        "yes" if source > guessed else "**no**",
        *others(last, language),
        f"{last.metric}, {split}",
    ]
    return " | ".join(cells)


@dataclass(frozen=True)
class Done:
    """A trial's evaluations, and the CPU seconds of its training."""

    outcomes: list[Evaluation]
    seconds: float


def run(config: TrialConfig, directory: Path, split: Split) -> Done:
    """Run a trial. Its training is taken to have had the same share of a core as all of it, whatever else ran."""
    wall, cpu = time.perf_counter(), time.process_time()
    outcomes = list(run_trial(config, directory, final_split=split))
    share = (time.process_time() - cpu) / (time.perf_counter() - wall)
    return Done(outcomes, share * outcomes[-1].cost["train_seconds"])


def tested(task: str, data: Path) -> Split:
    """The split on which all languages are scored: test, unless the folder lacks it, or has the source's alone."""
    plan = Plan.of(configuration(task, data, steps=1).task)
    try:
        return "test" if plan.sources("test").keys() > {plan.source} else "validation"
    except UserError:
        return "validation"


def others(test: Evaluation, source: str) -> Sequence[str]:
    """Mean over the languages beside the source, and how many there are."""
    scores = [value for language, value in test.primary.values.items() if language != source]
    return f"{statistics.fmean(scores):.3f}", str(len(scores))


def configuration(
    task: str,
    data: Path,
    steps: int,
    dropout: float | None = None,
    learning_rate: float = 2e-4,
    targets: Any = "all",
    examples: int | None = None,
) -> TrialConfig:
    """A trial of clean training; the lower half of the encoder stays as it is."""
    return TrialConfig(
        task=TaskConfig(
            name=task,
            data_dir=data,
            source_language=SOURCES.get(task, "en"),
            target_languages=targets,
            max_length=256 if task in LONG else 128,
        ),
        encoder=EncoderConfig(freeze_embeddings=True, freeze_lower_layers=0 if dropout == 0.0 else 6, dropout=dropout),
        training=TrainingConfig(
            batch_size=8 if task in LONG else 16,
            budget=Budget(steps=steps),
            learning_rate=learning_rate,
            head_learning_rate=5e-3,
        ),
        evaluation=EvaluationConfig(token_budget=2048, examples_per_language=examples),
    )


def guess(materials: Materials, examples: int) -> float:
    """Score of the better of uniform and majority guessing on the source language's validation rows."""
    shape, draw, source = materials.shape, random.Random(0), materials.source_language
    rows, encoded = materials.rows["validation"][source], materials.evaluation["validation"][source]
    if isinstance(shape, SpanAnswering):
        compare = normaliser("squad", source)
        scores = [score_answer(_any_span(row["context"], draw), row["answers"]["text"], compare)[0] for row in rows]
        return statistics.fmean(scores)
    if isinstance(shape, Retrieval):
        pool = min(examples, len(rows))
        ranks = 1 if shape.metrics[0] == "accuracy" else min(20, pool)
        return sum(1 / rank for rank in range(1, ranks + 1)) / pool
    width = [int((encoded.item_labels(j) >= 0).sum()) for j in range(len(encoded))]
    tagging = isinstance(shape, Tagging)
    choices = range(len(shape.labels))
    constant = [[[c] * n if tagging else c for n in width] for c in choices]
    uniform = [[draw.choice(choices) for _ in range(n)] if tagging else draw.choice(choices) for n in width]
    if isinstance(shape, Relevance):
        constant, uniform = [[[c, float(c)] for c in each] for each in constant], [[c, float(c)] for c in uniform]
    return max(shape.score(rows, encoded, answers, source)[shape.metrics[0]][0] for answers in (*constant, uniform))


def _any_span(context: str, draw: random.Random) -> str:
    words = context.split()
    start = draw.randrange(len(words))
    return " ".join(words[start : start + draw.randint(1, 10)])


if __name__ == "__main__":
    main()
