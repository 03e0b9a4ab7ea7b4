"""``python -m trainables CONFIG [key=value …]``: one trial in this process, without Ray (debuggers, profilers)."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from trainables.config import TrialConfig
from trainables.environment import write_anywhere
from trainables.errors import UserError
from trainables.languages import normalize
from trainables.loading import load_config, read_mapping
from trainables.scores import Evaluation
from trainables.tasks.definition import complete

HEADER = f"{'step':>6}  {'loss':>7}  {'source':>6}  {'targets':>7}  {'worst':<14}  {'examples':>8}  {'seconds':>7}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 2 user error, 130 interrupted."""
    options = _parser().parse_args(arguments)
    write_anywhere()
    try:
        # The hub is asked only where a configuration names something that lives there.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        if options.config is not None and "trial" in read_mapping(options.config):
            raise UserError(f"{options.config}: is a study, of which a trial is a part: study run {options.config}")
        config = load_config(TrialConfig, options.config, options.overrides)
        config = config.model_copy(update={"task": complete(config.task)})
        with _folder(options.directory) as directory:
            _run(config, directory, options.json)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def table_line(evaluation: Evaluation, source: str) -> str:
    """One evaluation: scores are of the task's primary metric, `targets` their mean over all but the source."""
    scores = evaluation.primary
    targets = [language for language in scores.languages if language != source] or list(scores.languages)
    worst = min(targets, key=lambda language: (scores[language], language))
    mean = sum(scores[language] for language in targets) / len(targets)
    own = f"{scores[source]:6.3f}" if source in scores.values else "     –"
    seconds = evaluation.cost.get("train_seconds", 0.0) + evaluation.cost.get("evaluation_seconds", 0.0)
    return (
        f"{evaluation.step:6d}  {evaluation.training.get('loss', float('nan')):7.4f}  {own}  {mean:7.3f}  "
        f"{worst + f' {scores[worst]:.3f}':<14}  {sum(scores.counts.values()):8d}  {seconds:7.1f}"
    )


def _run(config: TrialConfig, directory: Path, as_json: bool) -> None:
    from trainables.materials import idle, weights
    from trainables.training.loop import run_trial

    weights.check(config.encoder)
    weights.check_length(config)
    weights.check_languages(config)
    idle.check(config)
    for i, evaluation in enumerate(run_trial(config, directory, say=partial(print, file=sys.stderr))):
        if as_json:
            print(json.dumps(evaluation.to_json()), flush=True)
        else:
            print(*([] if i else [f"{HEADER}  ({evaluation.split} {evaluation.metric})\n"]), end="")
            print(table_line(evaluation, _source(config, evaluation)), flush=True)


def _source(config: TrialConfig, evaluation: Evaluation) -> str:
    """The source language as the scores call it."""
    given = config.task.source_language
    return given if given in evaluation.primary.values else normalize(given)


@contextmanager
def _folder(chosen: Path | None) -> Iterator[Path]:
    """Where the checkpoints are kept: the folder asked for (and resumed from), or one that is gone afterwards."""
    if chosen is not None:
        yield chosen
    else:
        with tempfile.TemporaryDirectory(prefix="trial-") as folder:
            yield Path(folder)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trainables",
        description="Run one trial in this process, without Ray.",
        epilog="example: python -m trainables trial.yaml perturbation.epsilon=0.2 training.budget.steps=20",
    )
    parser.add_argument("config", type=Path, metavar="CONFIG", help="YAML file of what stands under trial: in a study")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="a dotted path of that file, and its value")
    parser.add_argument("--directory", type=Path, help="keep the checkpoints here, and resume from them")
    parser.add_argument("--json", action="store_true", help="print each evaluation as one line of JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
