"""Robust to what? One method of each of six axes, three doses, three seeds, at equal cost, on clean and noisy texts.

Every run trains the embedded encoder for as many forward-equivalents (passes over one batch) as every other, so that a
method whose step costs twice as much takes half as many steps, and is scored on the validation split as it is, with
misspelt words and with words left out. Each finished run is a line of the record: killed and started anew, it goes on
where it was. Tables, figure and sentences are made of the record; `--write` puts them into docs/methods.md.

    python benchmarks/axes.py --write                     # two processes, about half an hour of two idle cores
    python benchmarks/axes.py --budget 30 --seeds 1 --examples 5 --record /tmp/try.jsonl    # a quick try
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from study.analysis import intervals
from study.question import objectives
from study.question.config import StudyConfig
from study.question.pages import put
from trainables.config import TrialConfig
from trainables.loading import apply_point, validate
from trainables.materials.materials import load
from trainables.perturbation import create
from trainables.scores import Evaluation, LanguageScores
from trainables.storage.cache import cache_root
from trainables.training.loop import run_trial

REPOSITORY = Path(__file__).resolve().parent.parent
PAGE, FIGURE = REPOSITORY / "docs" / "methods.md", REPOSITORY / "docs" / "images" / "axes.png"
BEGIN, END = "<!-- made by python benchmarks/axes.py --write -->", "<!-- end of what it made -->"

Point = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Axis:
    """One place to be robust at: a method, and the setting that says how much."""

    name: str
    method: str
    setting: str
    """The dotted path that is dosed."""
    doses: tuple[float, ...]
    fixed: Point
    reported: str = ""
    """What a trial reports of the dose that it had, where it does."""


AXES = (
    Axis(
        "inputs", "adversarial", "perturbation.epsilon", (0.02, 0.06, 0.2),
        {"perturbation.method": "adversarial", "perturbation.ascent_steps": 1}, "relative_norm",
    ),
    Axis(
        "noise", "random_perturbation", "perturbation.sigma", (0.2, 0.6, 1.2),
        {"perturbation.method": "random_perturbation"}, "relative_norm",
    ),
    Axis(
        "weights", "sam", "perturbation.rho", (0.02, 0.05, 0.2),
        {"perturbation.method": "sam"}, "relative_weight_norm",
    ),
    Axis(
        "dropout", "rdrop", "perturbation.weight", (0.3, 1.0, 3.0),
        {"perturbation.method": "rdrop"}, "output_divergence",
    ),
    Axis(
        "segmentation", "mvr", "perturbation.view.probability", (0.3, 0.6, 1.0),
        {"perturbation.method": "mvr"}, "added_pieces",
    ),
    Axis(
        "spelling", "character_noise", "augmentation.probability", (0.05, 0.15, 0.4),
        {"augmentation.method": "character_noise", "augmentation.copies": 3},
    ),
)  # fmt: skip
CLEAN = "none"

SCORES = {
    "accuracy": "as they are",
    "noise_accuracy_character_0.1": "a tenth of the words misspelt",
    "noise_accuracy_word_drop_0.1": "a tenth of the words left out",
}
"""Metrics, and what the texts are then."""
MEANS = {"target_mean": "all", "low_resource_mean": "low"}
COLUMNS = tuple(product(SCORES, MEANS))

BASE: dict[str, Any] = {
    "task": {"name": "intents"},
    "encoder": {"freeze_embeddings": True, "freeze_lower_layers": 6},
    "training": {"batch_size": 32, "learning_rate": 2.0e-4, "head_learning_rate": 1.0e-2},
}
"""As in the recipe `intents_methods`."""


@dataclass(frozen=True)
class Run:
    """One trial: a dose of an axis (none: clean training) under a seed."""

    axis: Axis | None
    dose: float
    seed: int
    budget: float | None = None
    """Forward-equivalents of clean training in as few steps as a dearer method has; none: as many as all have."""

    @property
    def point(self) -> dict[str, Any]:
        """What it sets beside the base, the budget and the sizes of the evaluation."""
        own = {} if self.axis is None else {**self.axis.fixed, self.axis.setting: self.dose}
        fewer = {} if self.budget is None else {"training.budget.forward_equivalents": self.budget}
        return {**own, **fewer, "training.seed": self.seed}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what the record lacks, then print what it says."""
    options = _options(arguments)
    base = base_of(options.budget, options.examples)
    runs = planned(range(options.seeds), base)
    done = recorded(options.record, base, runs)
    missing = [run for run in runs if key(base, run) not in done]
    print(f"{len(runs)} runs, {len(runs) - len(missing)} of them in {options.record}", file=sys.stderr, flush=True)
    if missing:
        mend(options.record)
        for line in carried_out(missing, base, options.processes):
            with options.record.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        done = recorded(options.record, base, runs)
    found = {run: done[key(base, run)] for run in runs}
    study = validate(StudyConfig, {"name": "axes", "trial": base.model_dump(mode="json")})
    text = page(found, study)
    print(text)
    if options.write:
        draw(found, study, options.figure)
        picture = f"![Difference from clean training by dose, a panel for each axis](images/{FIGURE.name})"
        put(options.page, f"{text}\n\n{picture}", BEGIN, END)


def base_of(budget: float, examples: int) -> TrialConfig:
    """The trial that all runs share: as many forward-equivalents, scored on so many examples of each language."""
    training = {**BASE["training"], "budget": {"forward_equivalents": budget}}
    noise = [{"kind": kind, "rate": [0.1], "examples_per_language": examples} for kind in ("character", "word_drop")]
    evaluation = {"examples_per_language": examples, "noise": noise}
    return validate(TrialConfig, {**BASE, "training": training, "evaluation": evaluation})


def planned(seeds: Sequence[int], base: TrialConfig) -> list[Run]:
    """Clean training, in fewer steps too, and all doses, seed by seed: what is there early compares what is whole."""
    budgets = sorted({*map(partial(clean_budget, base), AXES)} - {base.training.budget.forward_equivalents})
    doses = [(axis, dose) for axis in AXES for dose in axis.doses]
    return [
        *(Run(axis, dose, seed) for seed in seeds for axis, dose in [(None, 0.0), *doses]),
        *(Run(None, 0.0, seed, budget) for seed in seeds for budget in budgets),
    ]


def clean_budget(base: TrialConfig, axis: Axis) -> float:
    """Forward-equivalents of as many clean steps as an axis takes."""
    whole = base.training.budget.forward_equivalents
    assert whole is not None, "the base has one"
    clean, own = (create(apply_point(base, point).perturbation).forward_equivalents for point in ({}, axis.fixed))
    return whole * clean / own


def key(base: TrialConfig, run: Run) -> str:
    """What names a run in the record: every setting that its scores depend on."""
    return apply_point(base, run.point).model_dump_json(exclude_defaults=True)


def recorded(record: Path, base: TrialConfig, runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """Lines of the record by their key; one that was cut off by a kill is none."""
    known, found = {key(base, run) for run in runs}, {}
    for line in record.read_text(encoding="utf-8").splitlines() if record.exists() else ():
        try:
            content = json.loads(line)
        except ValueError:
            continue
        if isinstance(content, dict) and content.get("key") in known:
            found[content["key"]] = content
    return found


def mend(record: Path) -> None:
    """End the line that a kill has cut off, or the next would be lost with it."""
    if record.exists() and record.read_bytes()[-1:] not in (b"", b"\n"):
        with record.open("a", encoding="utf-8") as file:
            file.write("\n")


def carried_out(runs: Sequence[Run], base: TrialConfig, processes: int) -> Iterator[dict[str, Any]]:
    """The lines of these runs, as they are done, several at a time; how long the rest takes is told on the way."""
    load(base)  # what all runs share is prepared here, once, so that no process waits for another
    began = time.monotonic()
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_leave_with_parent) as pool:
        waiting: list[Future[dict[str, Any]]] = [pool.submit(carry_out, base, run) for run in runs]
        try:
            for count, future in enumerate(as_completed(waiting), start=1):
                yield (line := future.result())
                left = (time.monotonic() - began) / count * (len(runs) - count)
                words = f"{count} of {len(runs)}, about {left / 60:.0f} min left ({line['cpu_seconds']:.0f} CPU-s)"
                print(words, file=sys.stderr, flush=True)
        finally:
            pool.shutdown(cancel_futures=True)


def _leave_with_parent() -> None:
    """End this process when the one that started it is gone: killed, it cannot end the others itself."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def carry_out(base: TrialConfig, run: Run) -> dict[str, Any]:
    """One run in one thread: its scores by metric and language, the dose that it had, and what it took."""
    torch.set_num_threads(1)
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        *_, last = run_trial(apply_point(base, run.point), Path(folder))
    return {
        "key": key(base, run),
        "scores": {metric: dict(last.scores[metric].values) for metric in SCORES},
        "step": last.step,
        "forward_equivalents": last.cost["forward_equivalents"],
        "reported": None if run.axis is None else last.training.get(run.axis.reported),
        "cpu_seconds": time.process_time() - began,
    }


Found = Mapping[Run, Mapping[str, Any]]


def value(line: Mapping[str, Any], study: StudyConfig, metric: str, mean: str) -> float:
    """A mean over languages of a metric of one run, in points."""
    scores = line["scores"][metric]
    evaluation = Evaluation(0, "validation", {metric: LanguageScores(scores, dict.fromkeys(scores, 1))})
    return 100 * objectives.reduce(mean, evaluation, study)


@dataclass(frozen=True)
class Compared:
    """A dose against clean training under the same seeds, by one mean of one metric, in points."""

    axis: Axis
    dose: float
    metric: str
    mean: str
    differences: tuple[float, ...]

    @property
    def gain(self) -> float:
        """Mean over the seeds."""
        return statistics.fmean(self.differences)

    @property
    def is_told(self) -> bool:
        """Whether the 95 % t interval of the differences over seeds leaves zero out."""
        return intervals.of_mean(self.differences).excludes_zero


def clean_runs(found: Found, budget: float | None = None) -> dict[int, Mapping[str, Any]]:
    """Seed -> clean training; in fewer steps where a `budget` is given."""
    return {run.seed: line for run, line in found.items() if run.axis is None and run.budget == budget}


def compared(found: Found, study: StudyConfig, at_equal_steps: bool = False) -> list[Compared]:
    """Every dose by every score; `at_equal_steps` against clean training that took as few steps."""
    whole = study.trial.training.budget.forward_equivalents
    rows = []
    for axis, (metric, mean) in product(AXES, COLUMNS):
        budget = clean_budget(study.trial, axis) if at_equal_steps else whole
        clean = clean_runs(found, None if budget == whole else budget)
        for dose in axis.doses:
            lines = {run.seed: line for run, line in found.items() if (run.axis, run.dose) == (axis, dose)}
            gains = (
                value(line, study, metric, mean) - value(clean[seed], study, metric, mean)
                for seed, line in lines.items()
            )
            rows.append(Compared(axis, dose, metric, mean, tuple(gains)))
    return rows


def page(found: Found, study: StudyConfig) -> str:
    """The part of the page that the record makes: how it was measured, the table, and what may be said of it."""
    rows, seeds, base = compared(found, study), sorted({run.seed for run in found}), study.trial
    budget = base.training.budget.forward_equivalents
    examples, seconds = base.evaluation.examples_per_language, sum(line["cpu_seconds"] for line in found.values())
    languages = len(next(iter(found.values()))["scores"]["accuracy"]) - 1
    head = (
        f"{len(found)} runs of {budget:g} forward-equivalents (batches of {base.training.batch_size}) on the embedded "
        f"encoder, {len(seeds)} seed{'s' * (len(seeds) > 1)}, {examples} validation examples in each of {languages} "
        f"target languages and English; {seconds / 60:.0f} CPU-minutes. Clean training in points, mean ± standard "
        "deviation over seeds; below it the difference from it under the same seeds, likewise. *All*: mean over target "
        "languages; *low*: over the low-resource ones. Bold: the 95 % t interval over seeds leaves zero out."
    )
    titles = ["axis", "method", "dose", "had", "steps", *(f"{SCORES[m]}: {MEANS[k]}" for m, k in COLUMNS)]
    lines = ["| " + " | ".join(titles) + " |", "|---|---|---|---:|---:|" + "---:|" * len(COLUMNS)]
    lines.append("| " + " | ".join(_clean_cells(found, study)) + " |")
    budgets = sorted({run.budget for run in found if run.budget is not None}, reverse=True)
    lines += ["| " + " | ".join(_fewer_cells(found, study, fewer)) + " |" for fewer in budgets]
    for axis in AXES:
        for dose in axis.doses:
            mine = [row for row in rows if (row.axis, row.dose) == (axis, dose)]
            lines.append("| " + " | ".join(_cells(axis, dose, found, mine)) + " |")
    sentences = [*said(rows), *said_at_equal_steps(compared(found, study, at_equal_steps=True), study)]
    return "\n".join([head, "", *lines, "", *(f"- {text}" for text in sentences)])


def _clean_cells(found: Found, study: StudyConfig) -> list[str]:
    clean = [*clean_runs(found).values()]
    values = [[value(line, study, metric, mean) for line in clean] for metric, mean in COLUMNS]
    return ["clean", f"`{CLEAN}`", "", "", _mean_of(clean, "step", ".0f"), *(_spread(each, "") for each in values)]


def _fewer_cells(found: Found, study: StudyConfig, budget: float) -> list[str]:
    whole, fewer = clean_runs(found), clean_runs(found, budget)
    cells = []
    for metric, mean in COLUMNS:
        gains = [value(fewer[s], study, metric, mean) - value(whole[s], study, metric, mean) for s in fewer]
        cells.append(_marked(gains))
    return ["clean, fewer steps", f"`{CLEAN}`", "", "", _mean_of([*fewer.values()], "step", ".0f"), *cells]


def _cells(axis: Axis, dose: float, found: Found, rows: Sequence[Compared]) -> list[str]:
    lines = [line for run, line in found.items() if (run.axis, run.dose) == (axis, dose)]
    had = _mean_of(lines, "reported", ".3g") if axis.reported else f"{dose:g}"
    by_column = {(row.metric, row.mean): row for row in rows}
    cells = [_marked(by_column[column].differences) for column in COLUMNS]
    knob = axis.setting.partition(".")[2]
    return [axis.name, f"`{axis.method}`", f"`{knob}` {dose:g}", had, _mean_of(lines, "step", ".0f"), *cells]


def _marked(gains: Sequence[float]) -> str:
    """Differences from clean training, bold where their interval leaves zero out."""
    text = _spread(gains, "+")
    return f"**{text}**" if intervals.of_mean(gains).excludes_zero else text


def _mean_of(lines: Sequence[Mapping[str, Any]], name: str, form: str) -> str:
    known = [line[name] for line in lines if line[name] is not None]
    return f"{statistics.fmean(known):{form}}" if known else "–"


def _spread(values: Sequence[float], sign: str) -> str:
    mean = f"{statistics.fmean(values):{sign}.1f}".replace("-", "−")
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.1f}"


def said(rows: Sequence[Compared]) -> Iterator[str]:
    """What the numbers allow to say, and no more: a function of them."""
    told = [row for row in rows if row.is_told]
    seeds = len(rows[0].differences)
    if seeds < 2:
        yield "One seed says nothing of how far seeds differ: no difference is concluded from it."
        return
    expected = f"{(1 - intervals.LEVEL) * len(rows):.0f}"
    if not told:
        yield (
            f"No axis differs from clean training by more than its seeds' spread, in any of {len(rows)} comparisons "
            f"({expected} would by chance alone)."
        )
    elif len(told) <= 2 * (1 - intervals.LEVEL) * len(rows):
        yield (
            f"{len(told)} of {len(rows)} comparisons with clean training lie outside their seeds' spread, and "
            f"{expected} would by chance alone: none of them is to be believed without fresh seeds."
        )
    else:
        yield (
            f"{len(told)} of {len(rows)} comparisons with clean training lie outside their seeds' spread; {expected} "
            "would by chance alone."
        )
    for axis in AXES:
        mine = [row for row in told if row.axis == axis]
        gains, losses = ([row for row in mine if (row.gain > 0) == better] for better in (True, False))
        parts = [_listed(part, verb) for part, verb in ((gains, "gains"), (losses, "loses")) if part]
        yield f"{axis.name} (`{axis.method}`): {'; '.join(parts) or 'nothing can be told from clean training'}."
    yield from _robust(rows)


def said_at_equal_steps(rows: Sequence[Compared], study: StudyConfig) -> Iterator[str]:
    """What is left of the axes that take fewer steps beside clean training that takes as few."""
    whole = study.trial.training.budget.forward_equivalents
    dear = [axis for axis in AXES if clean_budget(study.trial, axis) != whole]
    if len(rows[0].differences) < 2 or not dear:
        return
    mine = [row for row in rows if row.axis in dear and row.metric == next(iter(SCORES))]
    told = [row for row in mine if row.is_told]
    words = (f"{row.axis.name} at {row.dose:g} {row.gain:+.1f} ({MEANS[row.mean]})".replace("-", "−") for row in told)
    yield (
        f"In as few steps as theirs clean training loses too (its rows above). Beside that, texts as they are, "
        f"{len(told)} of {len(mine)} comparisons of {', '.join(axis.name for axis in dear)} lie outside their seeds' "
        f"spread, of which {(1 - intervals.LEVEL) * len(mine):.0f} would by chance alone{': ' * bool(told)}"
        f"{'; '.join(words)}."
    )


def _listed(rows: Sequence[Compared], verb: str) -> str:
    by_dose: dict[float, list[str]] = {}
    for row in rows:
        words = f"{row.gain:+.1f} ({SCORES[row.metric]}, {MEANS[row.mean]})".replace("-", "−")
        by_dose.setdefault(row.dose, []).append(words)
    return f"{verb} " + "; ".join(f"at {dose:g} {', '.join(words)}" for dose, words in by_dose.items())


def _robust(rows: Sequence[Compared]) -> Iterator[str]:
    """Whether what an axis does to noisy texts is more than what it does to clean ones, by the same seeds."""
    by_place = {(row.axis.name, row.dose, row.metric, row.mean): row for row in rows}
    clean, *noisy = SCORES
    more = []
    for axis, metric in product(AXES, noisy):
        for dose in axis.doses:
            pair = [by_place[axis.name, dose, name, "target_mean"].differences for name in (metric, clean)]
            extra = [n - c for n, c in zip(*pair, strict=True)]
            if intervals.of_mean(extra).excludes_zero:
                size = f"{statistics.fmean(extra):+.1f}".replace("-", "−")
                more.append(f"{axis.name} at {dose:g} ({SCORES[metric]}: {size})")
    tried = len(AXES) * len(AXES[0].doses) * len(noisy)
    expected = f"of {tried} comparisons, of which {(1 - intervals.LEVEL) * tried:.0f} would by chance alone"
    if more:
        yield f"Noisy texts change otherwise than clean ones, all target languages, in {len(more)} {expected}: " + (
            "; ".join(more) + "."
        )
    else:
        yield f"On noisy texts no axis does more, or less, than on clean ones: none {expected}."


def draw(found: Found, study: StudyConfig, path: Path) -> None:
    """A panel for each axis: difference from clean training by dose, on clean and on misspelt texts."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = compared(found, study)
    figure, panels = plt.subplots(1, len(AXES), figsize=(12, 2.6), sharey=True, layout="constrained")
    for panel, axis in zip(panels, AXES, strict=True):
        for metric, colour in zip(SCORES, ("#1f4e79", "#c55a11", "#7f7f7f"), strict=True):
            mine = [r for r in rows if (r.axis, r.metric, r.mean) == (axis, metric, "target_mean")]
            spread = [statistics.stdev(r.differences) if len(r.differences) > 1 else 0.0 for r in mine]
            doses, gains = [r.dose for r in mine], [r.gain for r in mine]
            panel.errorbar(doses, gains, spread, color=colour, marker="o", ms=3, lw=1, capsize=2, label=SCORES[metric])
        panel.axhline(0.0, color="black", lw=0.6)
        panel.set_xscale("log")
        panel.set_xticks(axis.doses, [f"{dose:g}" for dose in axis.doses])
        panel.minorticks_off()
        panel.set_title(f"{axis.name}: {axis.method}".replace("_", " "), fontsize=8)
        panel.set_xlabel(axis.setting.partition(".")[2], fontsize=7)
        panel.tick_params(labelsize=7)
    panels[0].set_ylabel("difference from clean (points)", fontsize=7)
    panels[0].legend(fontsize=6, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90, metadata={"Software": None})
    plt.close(figure)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=float, default=180.0, help="forward-equivalents of each run (60 clean steps)")
    parser.add_argument("--examples", type=int, default=40, help="per language, as they are and of each noise")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--record", type=Path, default=None, help="JSON lines of finished runs (in the cache folder)")
    parser.add_argument("--write", action="store_true", help="put table, sentences and figure into the documentation")
    parser.add_argument("--page", type=Path, default=PAGE, help=argparse.SUPPRESS)
    parser.add_argument("--figure", type=Path, default=FIGURE, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    for name in ("budget", "examples", "seeds", "processes"):
        if getattr(options, name) <= 0:
            parser.error(f"--{name}: must be more than 0 (got {getattr(options, name):g})")
    if options.record is None:
        options.record = cache_root() / "axes.jsonl"
    options.record.parent.mkdir(parents=True, exist_ok=True)
    return options


if __name__ == "__main__":
    main()
