"""What every trial of a study reads and none changes: tokenised data, pristine encoder, embedding norm.

Prepared once per (encoder, data, phase) into the cache, memory-mapped by every worker of a node. An augmentation adds a
folder per seed: the copies that this seed trains on, and the word embeddings that they need beside the encoder's; so
does a method that segments its texts anew, whose folder has the texts and the embeddings of all it may come to. A warm
worker keeps its `Materials` from trial to trial, and what seeds share from seed to seed, as long as the encoder is
the same one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainables.batch import Encoded
from trainables.config import TrialConfig
from trainables.materials import noised, substitutes, twins, views
from trainables.materials.arrays import load_arrays, noised_folder, read_rows, rows_of_names
from trainables.materials.building import ADDED, KEPT, TEXTS, WORDS, build, build_copies
from trainables.materials.fitting import check
from trainables.materials.keys import copies_key, has_copies, has_own, materials_key
from trainables.materials.substitutes import Substitutes
from trainables.model.resegmenting import Resegmenting
from trainables.perturbation import view_of
from trainables.scores import Split
from trainables.seeds import derive
from trainables.storage import cache
from trainables.tasks.base import Row, TaskShape
from trainables.tasks.rows import collect


@dataclass(frozen=True)
class Materials:
    """Read-only inputs of a trial. `evaluation[split][language]` is tokenised; `rows` are what scores are made from."""

    shape: TaskShape
    source_language: str
    target_languages: tuple[str, ...]
    train: Encoded
    evaluation: Mapping[str, Mapping[str, Encoded]]
    rows: Mapping[str, Mapping[str, Sequence[Row]]]
    reference_norm: float
    """m: occurrence-weighted mean l2 norm of the pretrained word embeddings over the training tokens that all trials
    share; what scores are measured by."""
    pad_id: int
    uses_segments: bool
    encoder_folder: Path
    fingerprint: str
    noised: Mapping[str, Mapping[str, Encoded]] = field(default_factory=dict)
    """`noised[split][name]` are rows of a language under `evaluation.noise`, by the names of `noised.key_of`."""
    noisy_rows: Mapping[str, Mapping[str, Sequence[Row]]] = field(default_factory=dict)
    """What those are scored by whose noise is out of files, by the same names: they are rows of their own."""
    substitutes: Mapping[str, Mapping[str, Substitutes]] = field(default_factory=dict)
    """`substitutes[split][language]` are what a word attack may put in the place of words."""
    originals: Encoded | None = None
    """Only where the method compares the two: the examples whose copies `train` has, `augmentation.copies` of each."""
    views: Callable[[int, int], Encoded | None] | None = None
    """Only where the method compares the two: of (epoch, training item), another segmentation, if it has one."""
    own_norm: float | None = None
    """The same over the tokens that this configuration trains on, where those are its own."""
    copies_folder: Path | None = None
    """What is this configuration's own: of one with augmentation, where `train` is from, its seed's."""
    _memory: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    def training_norm(self) -> float:
        """m over the tokens that a trial trains on: what perturbations in training are measured by."""
        return self.reference_norm if self.own_norm is None else self.own_norm

    @property
    def kept(self) -> npt.NDArray[np.int64] | None:
        """Vocabulary row of each row that a trial's encoder has; None where its vocabulary is whole."""
        file = self.encoder_folder.with_name(KEPT)
        if not file.exists():
            return None
        kept: npt.NDArray[np.int64] = np.load(file)
        return kept if self.copies_folder is None else np.concatenate([kept, np.load(self.copies_folder / ADDED)])

    @property
    def added_words(self) -> npt.NDArray[np.float32] | None:
        """Embeddings (n, e) that a trial's encoder has after those of `encoder_folder`; None where there are none."""
        file = None if self.copies_folder is None else self.copies_folder / WORDS
        return np.load(file) if file is not None and file.exists() else None

    def remember(self, key: Any, make: Callable[[], Any]) -> Any:
        """Keep something derived from the materials alone (an evaluation stream, the pristine model) across trials."""
        if key not in self._memory:
            self._memory[key] = make()
        return self._memory[key]


def prepare(config: TrialConfig, splits: Sequence[Split] = ("validation",)) -> Path:
    """Build the materials of a trial configuration in the cache, or find them there: the folder that all seeds share.

    `run` reads train and validation only; `confirm` names ``test`` too. Raises `UserError` for missing or malformed
    data and encoders.
    """
    return _folders(config, splits)[0]


def _folders(config: TrialConfig, splits: Sequence[Split]) -> tuple[Path, Path | None]:
    """What all seeds share, and the configuration's own training data, where it has some."""
    check(config)
    shared = cache.build_once(
        f"materials-{materials_key(config, splits)}",
        lambda folder: build(config, splits, folder),
        "tokenised data, encoder",
    )
    if config.evaluation.agreement:
        _check_twins(shared, tuple(splits))
    if not has_own(config):
        return shared, None
    return shared, cache.build_once(
        f"copies-{copies_key(config, splits)}",
        lambda folder: build_copies(config, shared, folder),
        f"augmented training data of seed {config.training.seed}" if has_copies(config) else "segmentations",
    )


@lru_cache(maxsize=4)
def _check_twins(shared: Path, splits: tuple[Split, ...]) -> None:
    source = json.loads((shared / "meta.json").read_text(encoding="utf-8"))["source_language"]
    for split in splits:
        rows = {file.stem: read_rows(file) for file in sorted((shared / split).glob("*.jsonl"))}
        twins.check(rows, source, split)


def prepared(config: TrialConfig) -> Path | None:
    """What `run` takes for a trial configuration of any seed, if it is in the cache already."""
    return cache.found(f"materials-{materials_key(config, ('validation',))}")


def parsed_of(config: TrialConfig) -> Mapping[str, Mapping[str, Sequence[str | int]]]:
    """Split -> language -> who parsed its rows, how many and of how many, if the materials are in the cache already."""
    folder = prepared(config)
    return {} if folder is None else json.loads((folder / "meta.json").read_text(encoding="utf-8")).get("parsed", {})


def longest(config: TrialConfig) -> int | None:
    """Tokens of the longest training text of a trial configuration, if its materials are in the cache already.

    Of one that is segmented anew they may be as many as are allowed.
    """
    if view_of(config.perturbation) == "segments":
        return config.task.max_length
    folders = [prepared(config), _prepared_copies(config)]
    known = [np.diff(np.load(folder / "train" / "offsets.npy")) for folder in folders if folder is not None]
    return max((int(lengths.max()) for lengths in known), default=None)


def _prepared_copies(config: TrialConfig) -> Path | None:
    """The configuration's own training data, if it has some and they are in the cache already."""
    if not has_own(config):
        return None
    return cache.found(f"copies-{copies_key(config, ('validation',))}")


def added_rows(config: TrialConfig) -> int:
    """Word embeddings that `run` adds to those of `prepared` for this configuration; 0 where that is not known."""
    folder = _prepared_copies(config)
    return 0 if folder is None or not (folder / ADDED).exists() else len(np.load(folder / ADDED))


def fingerprints(materials: Path) -> dict[str, str]:
    """What the scores of a trial rest on: hashes of the rows and the pretrained encoder of its materials."""
    meta = json.loads((materials / "meta.json").read_text(encoding="utf-8"))
    return {"data": meta["fingerprint"], "encoder": meta["encoder"]}


def load(config: TrialConfig, splits: Sequence[Split] = ("validation",)) -> Materials:
    """The prepared materials, memory-mapped; built first where they are missing (another node, another process)."""
    shared, copies = _folders(config, splits)
    task_json = config.task.model_dump_json()
    if copies is None:
        return _open(shared, task_json)
    view = view_of(config.perturbation)
    found = _with_copies(shared, task_json, copies, view == "copies")
    return found if view != "segments" else replace(found, views=_resegmented(config, found, copies))


def _resegmented(config: TrialConfig, materials: Materials, own: Path) -> views.Resegmented:
    from trainables.model.pretrained import load_tokenizer

    view, kept = config.perturbation.view, materials.kept
    tokenizer: Resegmenting = materials.remember(
        "segmentations", lambda: Resegmenting(load_tokenizer(config.encoder, materials.source_language))
    )
    return views.Resegmented(
        shape=materials.shape,
        rows=_open_texts(own / TEXTS),
        train=materials.train,
        tokenizer=tokenizer,
        draws=tokenizer.sampler(view.alpha, view.dropout),
        probability=view.probability,
        max_length=config.task.max_length,
        seed=derive(config.training.seed, "segments"),
        numbers=None if kept is None else views.numbering(kept),
    )


@lru_cache(maxsize=1)
def _open_texts(file: Path) -> Sequence[Row]:
    with file.open(encoding="utf-8") as lines:
        return collect(json.loads(line) for line in lines)


@lru_cache(maxsize=2)
def _with_copies(shared: Path, task_json: str, copies: Path, paired: bool) -> Materials:
    """A trial's own materials: what is remembered of the evaluation and the encoder is remembered for all seeds."""
    base, source = _open(shared, task_json), load_arrays(copies / "train")
    meta = json.loads((copies / "meta.json").read_text(encoding="utf-8"))
    numbers = json.loads((shared / "meta.json").read_text(encoding="utf-8"))["language_numbers"]
    language = base.source_language
    return replace(
        base,
        train=_numbered(source[language], language, language, base.shape, numbers),
        own_norm=meta["reference_norm"],
        originals=base.train if paired else None,
        copies_folder=copies,
    )


@lru_cache(maxsize=1)
def _open(folder: Path, task_json: str) -> Materials:
    """What trials of one encoder share, the last that was asked for: another's, and what it remembers, is let go."""
    from trainables.config import TaskConfig
    from trainables.tasks.task import task_shape

    _with_copies.cache_clear()  # they are of the encoder before, and remember its weights too
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    source = meta["source_language"]
    shape, numbers = task_shape(TaskConfig.model_validate_json(task_json)), meta["language_numbers"]

    def loaded(part: Path, language_of: Callable[[str], str] = str) -> dict[str, Encoded]:
        return {
            name: _numbered(each, language_of(name), source, shape, numbers) for name, each in load_arrays(part).items()
        }

    evaluation = {split: loaded(folder / split) for split in meta["splits"]}
    noisy = {split: folder / noised_folder(split) for split in meta["splits"]}
    return Materials(
        shape=shape,
        source_language=source,
        target_languages=tuple(meta["target_languages"]),
        train=loaded(folder / "train")[source],
        evaluation=evaluation,
        rows={s: {k: read_rows(folder / s / f"{k}.jsonl") for k in languages} for s, languages in evaluation.items()},
        reference_norm=meta["reference_norm"],
        pad_id=meta["pad_id"],
        uses_segments=meta["uses_segments"],
        encoder_folder=folder / "encoder",
        fingerprint=meta["fingerprint"],
        noised={s: loaded(part, noised.language_of) for s, part in noisy.items() if part.exists()},
        substitutes={s: substitutes.read(folder, s) for s in meta["splits"]},
        noisy_rows={s: rows_of_names(part) for s, part in noisy.items()},
    )


def _numbered(encoded: Encoded, language: str, source: str, shape: TaskShape, numbers: Mapping[str, int]) -> Encoded:
    """With the numbers of its sequences' languages, where the encoder is told them."""
    if not numbers:
        return encoded
    item = [numbers[code] for code in shape.languages_of_item(language, source)]
    return replace(encoded, languages=np.tile(np.asarray(item, dtype=np.int64), len(encoded)))
