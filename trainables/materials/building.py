"""Making materials: tokenised data, the pristine encoder with its vocabulary trimmed, a trial's own training data."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from trainables.alignment import load_pristine
from trainables.augmentation import augment, texts_of
from trainables.batch import Encoded
from trainables.config import TrialConfig
from trainables.errors import UserError
from trainables.materials import noised, noisy_files, substitutes, views
from trainables.materials.arrays import noised_folder, of_rows, places, read_rows, renumbered, save, write_rows
from trainables.materials.keys import has_copies
from trainables.materials.parsed import check_parsed, has_syntax, parsed_languages
from trainables.model.families import Numbers, number_of
from trainables.model.resegmenting import Resegmenting
from trainables.perturbation import view_of
from trainables.progress import told
from trainables.scores import Split
from trainables.seeds import derive
from trainables.tasks.base import Row
from trainables.tasks.task import load_task

KEPT = "kept.npy"
"""File of it: the vocabulary rows that are left, where the vocabulary was trimmed."""

ADDED, WORDS = "added.npy", "words.npy"
"""Files of one's own training data: vocabulary rows (n,) that the trimmed one lacks, and their embeddings (n, e)."""

TEXTS = "train.jsonl"
"""File of it: the training rows, where they are to be segmented anew."""


def build(config: TrialConfig, splits: Sequence[Split], folder: Path) -> None:
    from trainables.model.pretrained import accepts_segments, kept_rows, load_tokenizer, save_encoder, trim

    task = load_task(config.task, ("train", *splits), heads=has_syntax(config))
    tokenizer = load_tokenizer(config.encoder, task.source_language)
    encoder = load_pristine(config, accepts_segments(tokenizer))

    def encode(rows: Sequence[Row], language: str) -> Encoded:
        own = load_tokenizer(config.encoder, language) if encoder.family.slow_tokenizer else tokenizer
        found = task.shape.encode(rows, own, config.task.max_length)
        return found.with_trees() if has_syntax(config) else found

    if has_syntax(config):
        check_parsed(task)
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
        found = {name: of_rows(encode(rows, noised.language_of(name)), numbers) for name, numbers, rows in made}
        noisy[split] = noisy_files.read(config, task.shape, split, task.rows[split])
        found |= {name: encode(rows, noised.language_of(name)) for name, rows in noisy[split].items()}
        if found:  # files may have no noise for a split
            encoded[noised_folder(split)] = found
    others = {split: substitutes.find(config, task.shape, split, task.rows[split], encode) for split in splits}
    _check_ids(encoder, encoded, config.encoder.name_or_path)
    numbers = language_numbers(config, encoder.language_numbers, [task.source_language, *task.target_languages])
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
        encoded = {s: {k: renumbered(e, kept) for k, e in languages.items()} for s, languages in encoded.items()}
        others = {split: substitutes.renumbered(each, lambda i: places(i, kept)) for split, each in others.items()}
        trim(encoder, kept)
        np.save(folder / KEPT, kept)
    save_encoder(encoder, folder / "encoder")
    for name, languages in encoded.items():
        save(folder / name, languages)
    for split in splits:
        substitutes.write(folder, split, others[split])
        for language, rows in task.rows[split].items():
            write_rows(folder / split / f"{language}.jsonl", rows)
        for name, rows in noisy.get(split, {}).items():
            write_rows(folder / noised_folder(split) / f"{name}.jsonl", rows)
    meta = {
        "source_language": task.source_language,
        "target_languages": list(task.target_languages),
        "splits": list(splits),
        "reference_norm": norm,
        "pad_id": pad_id,
        "language_numbers": numbers,
        "uses_segments": accepts_segments(tokenizer),
        "parsed": {split: parsed_languages(task, split) for split in ("train", *splits)} if has_syntax(config) else {},
        "fingerprint": noisy_files.fingerprint(task.fingerprint, noisy),
        "encoder": fingerprint,
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")


def build_copies(config: TrialConfig, shared: Path, folder: Path) -> None:
    """A configuration's own training data. What they add to a trimmed vocabulary comes after its rows, so that all that
    is shared keeps its numbers."""
    from trainables.model.pretrained import accepts_segments, load_tokenizer

    task = load_task(config.task, ("train",), heads=has_syntax(config))
    tokenizer = load_tokenizer(config.encoder, task.source_language)
    encoder = load_pristine(config, accepts_segments(tokenizer))
    source, seed = task.source_language, derive(config.training.seed, "augmentation")
    columns = task.shape.text_columns

    def others() -> dict[str, list[str]]:
        """Of the target languages, without their labels: the test split stays closed."""
        files = sorted((shared / "validation").glob("*.jsonl"))
        return {file.stem: list(texts_of(read_rows(file), columns)) for file in files if file.stem != source}

    rows: Sequence[Row] = task.rows["train"][source]
    if has_copies(config):
        rows = augment(config.augmentation, rows, columns, source, seed, others, config.task.own)
    train = task.shape.encode(rows, tokenizer, config.task.max_length)
    train = train.with_trees() if has_syntax(config) else train
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
        train = renumbered(train, np.concatenate([kept, added]))
        np.save(folder / ADDED, added)
        np.save(folder / WORDS, encoder.table.numpy()[added])
    save(folder / "train", {source: train})
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
    """Content of the pretrained weights, untrimmed, and of the languages' maps."""
    digest = blake2b(digest_size=12)
    maps = {} if encoder.maps is None else encoder.maps.state_dict()
    for name, tensor in sorted({**encoder.model.state_dict(), **maps}.items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().view(-1).numpy())
    return digest.hexdigest()
