"""Anyone's results as the source of a report: what is missing is filled in where it can be, and said on the page.

All that is wrong with a file comes at once, a line each. `known.Said` is what the user says beside the file; columns
``source_language``, ``headline`` and ``endpoint`` (one value per study) say the same where the user does not. Open this
first, then `known` (what follows from what) and `foreign_problems`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from study.analysis import frames
from study.analysis.frames import TRIAL_COLUMNS, language_facts
from study.reporting import foreign_problems, known
from study.reporting.known import Known, Said
from study.reporting.source import CONTROLS, Source, stuck_of, versions
from trainables.errors import UserError

NOTHING = Said()

UNPERTURBED = ("baseline", "control", "clean", "vanilla", "none", "unperturbed", "no perturbation")
"""Names by which a configuration is known as control (a)."""

SPLITS = {"dev": "validation", "valid": "validation", "val": "validation"}
"""What others call the splits."""

YES, NO = ("true", "yes", "1"), ("false", "no", "0", "nan")
"""Words of a column that only says whether there is a control."""


def read(path: Path, said: Said = NOTHING) -> list[Source]:
    """One source per study in a file of results. Raises `UserError` with everything that is wrong."""
    return from_results(frames.read_table(path), said, path.name.split(".")[0] or "results")


def from_results(results: pd.DataFrame, said: Said = NOTHING, name: str = "results") -> list[Source]:
    """One source per study named in anyone's results frame (see `study.analysis.frames`); `name` for one without.

    Filled in: the study, one seed, no control or that of the configuration's name (``baseline``), the test split. The
    endpoint is by default `low_resource_mean` where three languages are, else `target_mean`, and one language alone
    stands for itself. Raises `UserError` with everything that is wrong.
    """
    filled = frames.with_defaults(_filled(results, said, name))
    faults = list(frames.result_faults(filled, given=results.columns))
    if "configuration" in filled.columns:
        parts = list(filled.groupby("study", sort=False, observed=True))
        for study, part in parts:
            problems = list(foreign_problems.problems(part, said, paired=not faults))
            faults += [f"{p} (study {study})" if len(parts) > 1 else p for p in problems]
    if faults:
        choice = ", --metric chooses one"
        raise UserError(*(f"{f}{choice}" if f.startswith("results.metric: must be one") else f for f in faults))
    return [
        _source(str(study), part.reset_index(drop=True), said, has_seeds="seed" in results.columns)
        for study, part in frames.check_results(filled).groupby("study", sort=False)
    ]


def _filled(results: pd.DataFrame, said: Said, name: str) -> pd.DataFrame:
    """What can be known without asking; nothing is put in place of a value that is there and wrong."""
    frame = results.copy()
    if "study" not in frame.columns:
        frame.insert(0, "study", name)
    if "seed" not in frame.columns:
        frame["seed"] = 0
    if "metric" not in frame.columns and said.metric is not None:
        frame["metric"] = said.metric
    elif said.metric is not None and frame["metric"].eq(said.metric).any():
        frame = frame[frame["metric"] == said.metric]
    if "split" in frame.columns:
        frame["split"] = frame["split"].map(lambda v: SPLITS.get(str(v).lower(), v))
    if "configuration" in frame.columns:
        names = frame["configuration"].map(str)
        if said.controls:
            frame["control"] = names.isin(said.controls).map({True: "a", False: ""})
        elif "control" not in frame.columns:
            frame["control"] = names.map(_letter_of_name)
    elif "control" not in frame.columns:
        frame["control"] = ""
    if not said.controls:
        frame["control"] = frame["control"].map(_letter)
    return frame


def _words(value: object) -> str:
    return re.sub(r"[\s_-]+", " ", str(value)).strip().casefold()


def _letter_of_name(name: str) -> str:
    """The control that a configuration is by its name, or none."""
    words = _words(name)
    letter = re.fullmatch(r"control ([a-d])", words)
    return letter[1] if letter else "a" if words in UNPERTURBED else ""


def _letter(value: object) -> str:
    """A cell of the column `control` as a letter, where it can only mean that."""
    words = "" if value is None or value is pd.NA or value != value else _words(value)
    if words in (*YES, *NO):
        return "a" if words in YES else ""
    return words if words in ("", *"abcd") else _letter_of_name(words) or str(value)


def _source(name: str, results: pd.DataFrame, said: Said, has_seeds: bool) -> Source:
    languages, seeds = known.languages(results), sorted(map(int, results["seed"].unique()))
    source, headline = known.source_language(results, said), known.headline(results, said)
    endpoint = known.endpoint(results, said, known.config_of(source.value))
    letters = results.drop_duplicates("configuration").set_index("configuration")["control"].to_dict()
    metric = str(results["metric"].iloc[0])
    runs = f"{len(seeds)} seeds" if has_seeds else "one run of each, no seed is named"
    counts = f"{len(results):,} rows, {len(languages)} languages, {len(letters)} configurations, {runs}"
    controls = ", ".join(f"{c} ({CONTROLS[str(k)]})" for c, k in letters.items() if k)
    return Source(
        name=name,
        question="",
        metric=metric,
        config=known.config_of(source.value, endpoint.value),
        trials=pd.DataFrame(columns=list(TRIAL_COLUMNS)),
        summary=pd.DataFrame(),
        results=results,
        facts=language_facts(languages),
        headline=headline.value,
        seeds={
            str(name): (int(part["seed"].nunique()), len(seeds))
            for name, part in results.groupby("configuration", sort=False)
        },
        described={str(c): CONTROLS.get(str(k), "") for c, k in letters.items()},
        cautions=tuple(_cautions(source, endpoint)),
        stuck=stuck_of(results[results["split"] == "test"]),
        protocol=(
            ("results", counts),
            ("source language", source.words),
            ("headline", headline.words),
            ("controls", controls),
            ("primary endpoint", f"{endpoint.words}; of {metric}, test split"),
            ("selection rule", "not recorded: these results did not come with a study"),
        ),
        reproduction=(("seeds", ", ".join(map(str, seeds)) if has_seeds else "none named"), *versions()),
    )


def _cautions(source: Known, endpoint: Known) -> Sequence[str]:
    """What is not known and weakens a conclusion."""
    lines = []
    if endpoint.value != endpoint.words:
        lines.append(
            "The primary endpoint did not come with the results but is a default: a claim needs one that was declared "
            "before they were seen."
        )
    if source.value is None:
        lines.append("The source language is not known: what was trained on may be among the target languages.")
    return lines
