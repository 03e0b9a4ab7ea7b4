"""What every trial of a study reads and none changes: tokenised data, pristine encoder, embedding norm.

Prepared once per (encoder, data, phase) into the cache, memory-mapped by every worker of a node. An augmentation adds a
folder per seed: the copies that this seed trains on, and the word embeddings that they need beside the encoder's; so
does a method that segments its texts anew, whose folder has the texts and the embeddings of all it may come to. A warm
worker keeps its `Materials` from trial to trial, and what seeds share from seed to seed, as long as the encoder is
the same one.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainables.alignment import alignment_key, load_pristine
from trainables.augmentation import augment, texts_of
from trainables.augmentation.character_noise import SOURCE
from trainables.batch import Encoded
from trainables.config import EncoderConfig, TrialConfig
from trainables.errors import UserError
from trainables.materials import noised, noisy_files, substitutes, teachers, twins, views
from trainables.materials.substitutes import Substitutes
from trainables.model.content import key_of, stamps
from trainables.model.families import Numbers, number_of
from trainables.model.resegmenting import Resegmenting
from trainables.perturbation import create, view_of
from trainables.progress import told
from trainables.scores import Split
from trainables.seeds import derive
from trainables.storage import cache
from trainables.tasks.base import Row, TaskShape
from trainables.tasks.relevance import Relevance
from trainables.tasks.rows import collect
from trainables.tasks.task import load_task

FORMAT = 2
"""Version of the folders' layouts; part of the cache keys."""

KEPT = "kept.npy"
"""File of it: the vocabulary rows that are left, where the vocabulary was trimmed."""

ADDED, WORDS = "added.npy", "words.npy"
"""Files of one's own training data: vocabulary rows (n,) that the trimmed one lacks, and their embeddings (n, e)."""

TEXTS = "train.jsonl"
"""File of it: the training rows, where they are to be segmented anew."""


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
    """m: occurrence-weighted mean l2 norm of the pretrained word embeddings over the training tokens."""
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
    copies_folder: Path | None = None
    """What is this configuration's own: of one with augmentation, where `train` is from, its seed's."""
    _memory: dict[Any, Any] = field(default_factory=dict, repr=False)

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
        lambda folder: _build(config, splits, folder),
        "tokenised data, encoder",
    )
    if config.evaluation.agreement:
        _check_twins(shared, tuple(splits))
    if not _has_own(config):
        return shared, None
    is_augmented = config.augmentation.method != "none"
    return shared, cache.build_once(
        f"copies-{copies_key(config, splits)}",
        lambda folder: _build_copies(config, shared, folder),
        f"augmented training data of seed {config.training.seed}" if is_augmented else "segmentations",
    )


def _has_own(config: TrialConfig) -> bool:
    """Whether training needs more than all trials share."""
    return config.augmentation.method != "none" or view_of(config.perturbation) == "segments"


@lru_cache(maxsize=4)
def _check_twins(shared: Path, splits: tuple[Split, ...]) -> None:
    source = json.loads((shared / "meta.json").read_text(encoding="utf-8"))["source_language"]
    for split in splits:
        rows = {file.stem: _read_rows(file) for file in sorted((shared / split).glob("*.jsonl"))}
        twins.check(rows, source, split)


def prepared(config: TrialConfig) -> Path | None:
    """What `run` takes for a trial configuration of any seed, if it is in the cache already."""
    return cache.found(f"materials-{materials_key(config, ('validation',))}")


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
    if not _has_own(config):
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


def check(config: TrialConfig) -> None:
    """Raise `UserError` where the method does not go with the rest of the trial's configuration."""
    from trainables.tasks.task import task_shape

    method, shape = create(config.perturbation), task_shape(config.task)
    problems = method.problems(config) + noised.problems(config.evaluation, shape)
    problems += noisy_files.problems(config)
    of_answers = ("attack", "certify", "calibration", "agreement")
    for name in [name for name in of_answers if getattr(config.evaluation, name) and not shape.has_single_answers]:
        rule = "only for tasks with one answer an example, classification and multiple choice"
        problems.append(f"evaluation.{name}: {rule} (got task {config.task.name!r})")
    if isinstance(shape, Relevance):
        attack = config.evaluation.attack
        asked = {"attack.kind": attack is not None and attack.kind == "words", "agreement": config.evaluation.agreement}
        rule = "not for graded documents, several of which are one row"
        got = f"got task {config.task.name!r}"
        problems += [f"evaluation.{name}: {rule} ({got})" for name, is_asked in asked.items() if is_asked]
    size, tokens = config.training.micro_batch_size, config.training.micro_batch_tokens
    if shape.compares_items:
        rule = "the items of a batch are compared with each other and cannot be taken apart; leave it out"
        if size is not None and size < config.training.batch_size:
            got = f"got {size} of {config.training.batch_size}, task {config.task.name!r}"
            problems.append(f"training.micro_batch_size: {rule} ({got})")
        if tokens is not None:
            problems.append(f"training.micro_batch_tokens: {rule} (got {tokens}, task {config.task.name!r})")
    name = config.perturbation.method
    if method.view == "segments":
        if shape.compares_items:
            problems.append(
                f"perturbation.method: {name} compares an example with itself in another segmentation, not with the "
                f"others of its batch; it serves all tasks but retrieval (got task {config.task.name!r})"
            )
        problems += _segmentation_problems(config.encoder)
    if method.teacher is not None:
        problems += teachers.problems(method.teacher, shape, _rows_of(config.encoder))
    if method.view == "copies":
        if config.augmentation.method == "none":
            problems.append(
                f"perturbation.method: {name} compares examples with copies in other words and needs "
                "augmentation.method synonyms (got 'none')"
            )
        if not shape.has_single_answers:
            problems.append(
                f"perturbation.method: {name} serves tasks with one answer an example, classification and multiple "
                f"choice (got task {config.task.name!r})"
            )
    if problems:
        raise UserError(*problems)


def _segmentation_problems(encoder: EncoderConfig) -> list[str]:
    """Why an encoder's tokenizer cannot segment a text in several ways, as far as can be told from here."""
    from trainables.model.encoder import tokenizer_kind
    from trainables.model.segments import check_kind

    try:
        if (kind := tokenizer_kind(encoder)) is not None:
            check_kind(kind)
    except UserError as error:
        return error.lines
    return []


def _rows_of(encoder: EncoderConfig) -> int | None:
    """Of an encoder's whole vocabulary; None where it is not here."""
    from trainables.model.encoder import vocabulary_size

    try:
        return vocabulary_size(encoder)
    except UserError:
        return None


def materials_key(config: TrialConfig, splits: Sequence[Split]) -> str:
    """Content key of what is shared: equal exactly for trials that can share it, whatever their augmentation."""
    from trainables.tasks.task import task_key

    parts: dict[str, Any] = {
        "format": FORMAT,
        "task": task_key(config.task),
        "languages": [config.task.source_language, config.task.target_languages, config.task.max_length],
        "encoder": key_of(config.encoder),
        "trim": config.encoder.trim_vocabulary,
        "augmentation": None,  # as before copies had a folder of their own, so that what was prepared then is found
        "splits": sorted(splits),
    }
    if config.alignment.objective != "none":
        parts["alignment"] = alignment_key(config)
    if config.evaluation.noise:  # else as before there was any
        parts["noise"] = [noise.model_dump(mode="json") for noise in config.evaluation.noise]
        parts["noise"] += noisy_files.keys(config)
    if (attack := config.evaluation.attack) is not None and attack.kind == "words":
        files = [attack.resource] if attack.resource is not None and attack.resource.exists() else []
        parts["substitutes"] = [attack.examples_per_language, attack.candidates, *stamps(files)]
    return _key(parts)


def copies_key(config: TrialConfig, splits: Sequence[Split]) -> str:
    """Content key of a configuration's own training data: a seed's augmented ones, or those that are segmented anew."""
    parts: dict[str, Any] = {"format": FORMAT, "materials": materials_key(config, splits)}
    if config.augmentation.method != "none":
        augmentation = config.augmentation.model_dump(mode="json")
        if augmentation["alphabet"] == SOURCE:
            del augmentation["alphabet"]  # as before there was one
        own = [augmentation, config.training.seed]
        words = config.augmentation.resource
        files = [] if words is None else sorted(words.iterdir()) if words.is_dir() else [words]
        parts["augmentation"] = own + stamps(file for file in files if file.exists())
    if view_of(config.perturbation) == "segments":  # else as before there were any
        parts["segments"] = True
    return _key(parts)


def _key(parts: Mapping[str, Any]) -> str:
    return blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=12).hexdigest()


def _build(config: TrialConfig, splits: Sequence[Split], folder: Path) -> None:
    from trainables.model.encoder import accepts_segments, kept_rows, load_tokenizer, save_encoder, trim

    task = load_task(config.task, ("train", *splits))
    tokenizer = load_tokenizer(config.encoder, task.source_language)
    encoder = load_pristine(config, accepts_segments(tokenizer))

    def encode(rows: Sequence[Row], language: str) -> Encoded:
        own = load_tokenizer(config.encoder, language) if encoder.family.slow_tokenizer else tokenizer
        return task.shape.encode(rows, own, config.task.max_length)

    encoded: dict[str, dict[str, Encoded]] = {}
    for split in ("train", *splits):
        by_language = told(sorted(task.rows[split].items()), f"tokenising {split}", "languages", len(task.rows[split]))
        encoded[split] = {language: encode(rows, language) for language, rows in by_language}
    noisy: dict[str, dict[str, Sequence[Row]]] = {}
    if unknown := noised.without_layout(config.evaluation, task.rows[splits[0]] if splits else ()):
        words = "evaluation.noise: no keyboard is known of %s, whose new letters are any of their own"
        logging.getLogger(__name__).warning(words, ", ".join(unknown))
    for split in splits if config.evaluation.noise else ():
        made = noised.noised_rows(config.evaluation, task.shape, task.rows[split])
        found = {name: _of_rows(encode(rows, noised.language_of(name)), numbers) for name, numbers, rows in made}
        noisy[split] = noisy_files.read(config, task.shape, split, task.rows[split])
        found |= {name: encode(rows, noised.language_of(name)) for name, rows in noisy[split].items()}
        if found:  # files may have no noise for a split
            encoded[_noised_folder(split)] = found
    others = {split: substitutes.find(config, task.shape, split, task.rows[split], encode) for split in splits}
    _check_ids(encoder, encoded, config.encoder.name_or_path)
    known = encoder.family.language_numbers(encoder.model.config.to_dict())
    numbers = language_numbers(config, known, [task.source_language, *task.target_languages])
    fingerprint = _weights_fingerprint(encoder)
    norm = _reference_norm(encoder, encoded["train"][task.source_language])
    pad_id = int(tokenizer.pad_token_id)
    if config.encoder.trim_vocabulary:
        occurs = np.zeros(encoder.model.get_input_embeddings().num_embeddings, dtype=np.bool_)
        all_ids = [each.ids for languages in encoded.values() for each in languages.values()]
        for each in (*all_ids, *map(substitutes.ids_of, others.values())):
            occurs[each] = True  # to sort millions of tokens takes longer than all else
        kept = kept_rows(np.flatnonzero(occurs), tokenizer, encoder)
        pad_id = int(np.searchsorted(kept, pad_id))
        encoded = {s: {k: _renumber(e, kept) for k, e in languages.items()} for s, languages in encoded.items()}
        others = {split: substitutes.renumbered(each, lambda i: places(i, kept)) for split, each in others.items()}
        trim(encoder, kept)
        np.save(folder / KEPT, kept)
    save_encoder(encoder, folder / "encoder")
    for name, languages in encoded.items():
        _save(folder / name, languages)
    for split in splits:
        substitutes.write(folder, split, others[split])
        for language, rows in task.rows[split].items():
            _write_rows(folder / split / f"{language}.jsonl", rows)
        for name, rows in noisy.get(split, {}).items():
            _write_rows(folder / _noised_folder(split) / f"{name}.jsonl", rows)
    meta = {
        "source_language": task.source_language,
        "target_languages": list(task.target_languages),
        "splits": list(splits),
        "reference_norm": norm,
        "pad_id": pad_id,
        "language_numbers": numbers,
        "uses_segments": accepts_segments(tokenizer),
        "fingerprint": noisy_files.fingerprint(task.fingerprint, noisy),
        "encoder": fingerprint,
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")


def _build_copies(config: TrialConfig, shared: Path, folder: Path) -> None:
    """A configuration's own training data. What they add to a trimmed vocabulary comes after its rows, so that all that
    is shared keeps its numbers."""
    from trainables.model.encoder import accepts_segments, load_tokenizer

    task = load_task(config.task, ("train",))
    tokenizer = load_tokenizer(config.encoder, task.source_language)
    encoder = load_pristine(config, accepts_segments(tokenizer))
    source, seed = task.source_language, derive(config.training.seed, "augmentation")
    columns = task.shape.text_columns

    def others() -> dict[str, list[str]]:
        """Of the target languages, without their labels: the test split stays closed."""
        files = sorted((shared / "validation").glob("*.jsonl"))
        return {file.stem: list(texts_of(_read_rows(file), columns)) for file in files if file.stem != source}

    rows: Sequence[Row] = task.rows["train"][source]
    if config.augmentation.method != "none":
        rows = augment(config.augmentation, rows, columns, source, seed, others)
    train = task.shape.encode(rows, tokenizer, config.task.max_length)
    _check_ids(encoder, {"train": {source: train}}, config.encoder.name_or_path)
    norm = _reference_norm(encoder, train)
    used = [np.asarray(train.ids, dtype=np.int64)]
    if view_of(config.perturbation) == "segments":
        found = views.reachable(Resegmenting(tokenizer), task.shape, rows, train, config.task.max_length)
        used.append(found[found < len(encoder.table)])
        lines = (json.dumps(dict(row), ensure_ascii=False) + "\n" for row in rows)
        with (folder / TEXTS).open("w", encoding="utf-8") as file:
            file.writelines(lines)
    if (shared / KEPT).exists():
        kept = np.load(shared / KEPT)
        added = np.setdiff1d(np.concatenate(used), kept)
        train = _renumber(train, np.concatenate([kept, added]))
        np.save(folder / ADDED, added)
        np.save(folder / WORDS, encoder.table.numpy()[added])
    _save(folder / "train", {source: train})
    (folder / "meta.json").write_text(json.dumps({"reference_norm": norm}, indent=1), encoding="utf-8")


def language_numbers(config: TrialConfig, numbers: Numbers, languages: Iterable[str]) -> dict[str, int]:
    """The encoder's number of each language, by its code here; empty where `numbers`, all it knows, are.

    Raises `UserError` for a language that it has none for, and a task that mixes them within a text.
    """
    from trainables.tasks.task import task_shape

    if not numbers:
        return {}
    task_shape(config.task).languages_of_item(config.task.source_language, config.task.source_language)
    found = {code: number_of(code, numbers) for code in languages}
    lacking = [code for code, number in found.items() if number is None]
    if lacking:
        raise UserError(
            f"task.target_languages: {config.encoder.name_or_path} is told the language of each text and knows "
            f"{', '.join(sorted(str(name) for name in numbers))} (got {', '.join(lacking)})"
        )
    return {code: number for code, number in found.items() if number is not None}


def _check_ids(encoder: Any, encoded: Mapping[str, Mapping[str, Encoded]], name: str) -> None:
    """Raise `UserError` for a tokenizer that is not this encoder's."""
    rows = encoder.model.get_input_embeddings().num_embeddings
    highest = max(int(each.ids.max(initial=0)) for languages in encoded.values() for each in languages.values())
    if highest >= rows:
        raise UserError(f"encoder.name_or_path: {name} embeds {rows} tokens, its tokenizer has more (got id {highest})")


def _reference_norm(encoder: Any, train: Encoded) -> float:
    """m (docs/methods.md): mean l2 norm of the training tokens' word embeddings, special tokens excluded."""
    norms = encoder.model.get_input_embeddings().weight.detach().norm(dim=-1).numpy()
    return float(norms[train.ids[~train.special]].mean(dtype=np.float64))


def _weights_fingerprint(encoder: Any) -> str:
    """Content of the pretrained weights, untrimmed."""
    digest = blake2b(digest_size=12)
    for name, tensor in sorted(encoder.model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().view(-1).numpy())
    return digest.hexdigest()


def places(rows: npt.NDArray[Any], kept: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Where each of these vocabulary rows is among those that were kept, which may stand in any order."""
    order = np.argsort(kept)
    return order[np.searchsorted(kept, rows, sorter=order)]


def _renumber(encoded: Encoded, kept: npt.NDArray[np.int64]) -> Encoded:
    place = np.zeros(int(kept.max()) + 1, dtype=np.int32)
    place[kept] = np.arange(len(kept))
    return Encoded(**encoded.arrays() | {"ids": place[encoded.ids]})


def _save(folder: Path, languages: Mapping[str, Encoded]) -> None:
    """One file per array: the languages one after another, offsets running on, so that a slice is a language."""
    folder.mkdir()
    index: dict[str, list[int]] = {}
    items = sequences = 0
    for language, encoded in languages.items():
        index[language] = [items, items + len(encoded), sequences, sequences + len(encoded.offsets) - 1]
        items, sequences = index[language][1], index[language][3]
    parts = [encoded.arrays() for encoded in languages.values()]
    for name in ("ids", "special", "labels", "rows"):
        np.save(folder / f"{name}.npy", np.concatenate([part[name] for part in parts]))
    for name in ("offsets", "label_offsets"):
        np.save(folder / f"{name}.npy", _running(part[name] for part in parts))
    (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")


def _running(offsets: Any) -> npt.NDArray[np.int64]:
    running = [np.zeros(1, dtype=np.int64)]
    for part in offsets:
        running.append(part[1:] + running[-1][-1])
    return np.concatenate(running)


def _load(folder: Path) -> dict[str, Encoded]:
    array = {p.stem: np.load(p, mmap_mode="r") for p in folder.glob("*.npy")}
    index: dict[str, list[int]] = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    return {
        language: Encoded(
            ids=array["ids"],
            special=array["special"],
            offsets=array["offsets"][first_sequence : end_sequence + 1],
            labels=array["labels"],
            label_offsets=array["label_offsets"][first : end + 1],
            rows=array["rows"][first:end],
        )
        for language, (first, end, first_sequence, end_sequence) in index.items()
    }


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
    from trainables.model.encoder import load_tokenizer

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
    base, source = _open(shared, task_json), _load(copies / "train")
    meta = json.loads((copies / "meta.json").read_text(encoding="utf-8"))
    numbers = json.loads((shared / "meta.json").read_text(encoding="utf-8"))["language_numbers"]
    language = base.source_language
    return replace(
        base,
        train=_numbered(source[language], language, language, base.shape, numbers),
        reference_norm=meta["reference_norm"],
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
        return {name: _numbered(each, language_of(name), source, shape, numbers) for name, each in _load(part).items()}

    evaluation = {split: loaded(folder / split) for split in meta["splits"]}
    noisy = {split: folder / _noised_folder(split) for split in meta["splits"]}
    return Materials(
        shape=shape,
        source_language=source,
        target_languages=tuple(meta["target_languages"]),
        train=loaded(folder / "train")[source],
        evaluation=evaluation,
        rows={s: {k: _read_rows(folder / s / f"{k}.jsonl") for k in languages} for s, languages in evaluation.items()},
        reference_norm=meta["reference_norm"],
        pad_id=meta["pad_id"],
        uses_segments=meta["uses_segments"],
        encoder_folder=folder / "encoder",
        fingerprint=meta["fingerprint"],
        noised={s: loaded(part, noised.language_of) for s, part in noisy.items() if part.exists()},
        substitutes={s: substitutes.read(folder, s) for s in meta["splits"]},
        noisy_rows={s: _rows_of_names(part) for s, part in noisy.items()},
    )


def _numbered(encoded: Encoded, language: str, source: str, shape: TaskShape, numbers: Mapping[str, int]) -> Encoded:
    """With the numbers of its sequences' languages, where the encoder is told them."""
    if not numbers:
        return encoded
    item = [numbers[code] for code in shape.languages_of_item(language, source)]
    return replace(encoded, languages=np.tile(np.asarray(item, dtype=np.int64), len(encoded)))


def _of_rows(encoded: Encoded, numbers: npt.NDArray[np.int64]) -> Encoded:
    """What was tokenised of some rows, with the numbers that these have among all."""
    return replace(encoded, rows=numbers[encoded.rows])


def _noised_folder(split: str) -> str:
    return f"{split}.noised"


def _write_rows(path: Path, rows: Sequence[Row]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(dict(row), ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _rows_of_names(folder: Path) -> dict[str, list[Row]]:
    """Rows of noisy files by what `noised.key_of` calls them."""
    return {f.relative_to(folder).with_suffix("").as_posix(): _read_rows(f) for f in sorted(folder.glob("*/*.jsonl"))}


def _read_rows(path: Path) -> list[Row]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
