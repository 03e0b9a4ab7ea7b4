"""A pretrained encoder and its tokenizer: loaded, its vocabulary trimmed or extended, and written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from transformers import AutoConfig, AutoTokenizer
from transformers.utils import cached_file, logging

from trainables.config import ENCODERS, OFFLINE, EncoderConfig
from trainables.errors import MachineError, UserError
from trainables.model.encoder import Encoder
from trainables.model.families import add_installed, family_of
from trainables.model.maps import LanguageMaps
from trainables.storage import disk
from trainables.syntax.added import Sizes

FAST = "tokenizer.json"
"""The file of a fast tokenizer."""


def resolve(config: EncoderConfig) -> str:
    """What `from_pretrained` is given: a local folder, or a hub id."""
    if config.name_or_path.startswith(OFFLINE):
        from trainables.offline.encoder import ensure

        name = config.name_or_path.removeprefix(OFFLINE)
        if name != "e5-small":
            raise UserError(f"encoder.name_or_path: unknown offline encoder, known: offline:e5-small (got {name!r})")
        return str(ensure())
    return config.name_or_path


def load_tokenizer(config: EncoderConfig, language: str = "en") -> Any:
    """The encoder's fast tokenizer; of a language where its words are found by rules of their language (XLM).

    Raises `UserError` where it cannot be had, and for one that lacks what is needed of it.
    """
    name = config.name_or_path
    if family_of(_from_pretrained(AutoConfig, config).model_type).slow_tokenizer and not _file(config, FAST):
        from trainables.model import xlm_tokenizer

        return xlm_tokenizer.read(partial(_file, config), language)
    tokenizer = _from_pretrained(AutoTokenizer, config, use_fast=True)
    if not tokenizer.is_fast:
        raise UserError(f"encoder.name_or_path: needs a fast tokenizer (got {name})")
    if tokenizer.pad_token_id is None:
        raise UserError(f"encoder.name_or_path: needs a tokenizer with a padding token (got {name}, which has none)")
    if not tokenizer.num_special_tokens_to_add():
        raise UserError(
            f"encoder.name_or_path: needs a tokenizer that marks where a text begins or ends (got {name}, which adds "
            "no special tokens)"
        )
    return tokenizer


def sizes_of(known: Mapping[str, Any], embedding: int) -> Sizes | None:
    """As `Encoder.sizes`, of what a ``config.json`` says, by whatever names its kind has them (``n_layers``, ``dim``).

    None where the library can make nothing of it.
    """
    try:
        return Sizes.of(AutoConfig.for_model(**{"model_type": "", **known}), embedding)
    except (ValueError, AttributeError):
        return None


def vocabulary_size(config: EncoderConfig) -> int:
    """Rows of an encoder's word embeddings. Raises `UserError` where it cannot be had."""
    return int(_from_pretrained(AutoConfig, config).vocab_size)


def tokenizer_kind(config: EncoderConfig, fetches: bool = True) -> str | None:
    """What kind of model an encoder's tokenizer has, as its file calls it; None where it has none, or it is not here.

    `fetches`: whether it is asked for where it is on the hub.
    """
    file = _file(config, FAST, fetches)
    return None if file is None else _kind_in(file)


@lru_cache(maxsize=8)
def _kind_in(file: Path) -> str | None:
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["model"]["type"])
    except (OSError, ValueError, KeyError):
        return None


def _file(config: EncoderConfig, name: str, fetches: bool = True) -> Path | None:
    """A file of an encoder, fetched where it is on the hub; None where it has none of that name."""
    try:
        found = cached_file(resolve(config), name, revision=config.revision or "main", local_files_only=not fetches)
    except OSError:
        return None
    return None if found is None else Path(found)


def load_encoder(config: EncoderConfig, uses_segments: bool, folder: Path | None = None) -> Encoder:
    """The pretrained encoder in fp32 and evaluation mode; from `folder` instead where given (a trimmed copy).

    Raises `UserError` where it cannot be had, or is of no known family.
    """
    source = config if folder is None else EncoderConfig(name_or_path=str(folder))
    family = family_of(_from_pretrained(AutoConfig, source).model_type)
    loader = getattr(transformers, family.auto_class)
    options: dict[str, Any] = {"use_safetensors": True, "dtype": torch.float32}
    model = _from_pretrained(loader, source, attn_implementation=family.attention, **options)
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return Encoder(model, uses_segments, None if folder is None else LanguageMaps.load(folder)).eval()


def save_encoder(encoder: Encoder, folder: Path) -> None:
    """Write what `load_encoder` reads from a folder, which is made.

    Not by `save_pretrained`: that writes on rank 0 of a process group alone, and this is done by whoever comes first.
    Raises `RuntimeError` where what is there afterwards is not what was to be written.
    """
    folder.mkdir()
    state = encoder.model.state_dict()
    first = {tensor.data_ptr(): name for name, tensor in reversed(state.items())}  # one name for tied weights
    weights = {name: state[name].detach().cpu().contiguous() for name in state if first[state[name].data_ptr()] == name}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    encoder.model.config.architectures = [type(encoder.model).__name__]
    encoder.model.config.to_json_file(folder / "config.json")
    if encoder.maps is not None:
        encoder.maps.save(folder)
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    if found != {name: tuple(tensor.shape) for name, tensor in weights.items()}:
        raise RuntimeError(f"{folder}: {len(weights)} parameters were written, {len(found)} are there")


def _from_pretrained(loader: Any, config: EncoderConfig, **options: Any) -> Any:
    source = resolve(config)
    add_installed()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        return loader.from_pretrained(source, revision=config.revision or "main", trust_remote_code=False, **options)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        kind = MachineError if disk.number(error) in disk.FULL else UserError
        raise kind(f"encoder.name_or_path: {ENCODERS} (got {config.name_or_path!r}: {reason})") from error


def trim(encoder: Encoder, kept: npt.NDArray[np.int64]) -> None:
    """Keep only these rows of the word embeddings, in this order; the row of id ``kept[i]`` becomes row ``i``.

    The padding id goes with its row; where positions are counted from it that has kept its place (see `kept_rows`).
    """
    words, config = encoder.model.get_input_embeddings(), encoder.model.config
    padding = None if words.padding_idx is None else int(np.searchsorted(kept, words.padding_idx))
    smaller = nn.Embedding(len(kept), words.embedding_dim, padding_idx=padding)
    with torch.no_grad():
        smaller.weight.copy_(words.weight[torch.from_numpy(kept)])
    encoder.model.set_input_embeddings(smaller)
    config.vocab_size = len(kept)
    if padding is not None:
        config.pad_token_id = padding


def extend(encoder: Encoder, embeddings: npt.NDArray[np.float32]) -> None:
    """Give the word embeddings more rows (n, e), after those they have and trained or frozen like them."""
    words = encoder.model.get_input_embeddings()
    whole = torch.cat([words.weight.detach(), torch.from_numpy(embeddings).to(words.weight)])
    words.weight = nn.Parameter(whole, requires_grad=words.weight.requires_grad)
    words.num_embeddings = encoder.model.config.vocab_size = len(whole)


def kept_rows(used: npt.NDArray[np.int64], tokenizer: Any, encoder: Encoder) -> npt.NDArray[np.int64]:
    """Sorted vocabulary rows to keep: those used, the special tokens, the padding, and all below it that counts."""
    return needed_rows(np.concatenate([used, tokenizer.all_special_ids]), tokenizer.pad_token_id, encoder)


def needed_rows(used: npt.NDArray[np.int64], pad_id: int, encoder: Encoder) -> npt.NDArray[np.int64]:
    """The same of tokens that have the special ones among them: the rows that `trim` must be given."""
    words = encoder.model.get_input_embeddings()
    pads = [pad_id, *([] if words.padding_idx is None else [words.padding_idx])]
    if encoder.family.counts_from_padding:
        pads = [*range(max(pads) + 1)]
    rows = np.unique(np.concatenate([used, pads]))
    return np.asarray(rows[rows < words.num_embeddings], dtype=np.int64)


def accepts_segments(tokenizer: Any) -> bool:
    """Whether this encoder was pretrained with token types that tell the texts of a pair apart."""
    return "token_type_ids" in tokenizer.model_input_names
