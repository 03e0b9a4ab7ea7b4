"""A Hugging Face encoder as `embed` and `states`, and the model of a trial: encoder and head.

Suffixes: s sequences, t tokens, d hidden size, e embedding size, v vocabulary rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer
from transformers.masking_utils import create_bidirectional_mask
from transformers.utils import logging

from trainables.batch import Batch
from trainables.config import ENCODERS, OFFLINE, EncoderConfig
from trainables.errors import UserError
from trainables.model import dropout
from trainables.model.heads import pool
from trainables.model.packing import Packing

PLAIN = ("bert", "roberta", "xlm-roberta", "xlm-roberta-xl", "camembert")
"""Kinds whose layers can be entered in the middle, and in which only attention looks beyond a token: elsewhere more
happens between embeddings and layers (RemBERT's projection, a convolution beside DeBERTa's first layer)."""


class Encoder(nn.Module):
    """A pretrained encoder, entered at its word embeddings.

    Positions are always passed explicitly: the library derives them from the padding only on its `input_ids` path.
    """

    def __init__(self, model: Any, uses_segments: bool) -> None:
        """`uses_segments`: the second text of a pair has token type 1 (BERT; not XLM-R, not E5)."""
        super().__init__()
        self.model = model
        self.uses_segments = uses_segments
        embeddings = model.embeddings
        # RoBERTa's kin count positions from padding_idx + 1, BERT's from 0; only the former keep a padding_idx.
        self.first_position = int(embeddings.padding_idx) + 1 if hasattr(embeddings, "padding_idx") else 0
        self.frozen_layers = 0
        """How many of the lowest layers are known to give an unperturbed text the same states for good (`freeze`)."""

    @property
    def hidden_size(self) -> int:
        """Size of a token's state."""
        return int(self.model.config.hidden_size)

    @property
    def attention(self) -> str:
        """The library's name of how attention is computed."""
        return str(self.model.config._attn_implementation)

    def embed(self, input_ids: Tensor) -> Tensor:
        """Word embeddings (s, t, e) of token ids (s, t), before positions and layer norm."""
        embedded: Tensor = self.model.get_input_embeddings()(input_ids)
        return embedded

    @property
    def table(self) -> Tensor:
        """Word embeddings (v, e) of the whole vocabulary, as it is after trimming."""
        weight: Tensor = self.model.get_input_embeddings().weight
        return weight.detach()

    def states(self, embeddings: Tensor, attention_mask: Tensor, special: Tensor) -> Tensor:
        """Last hidden states (s, t, d). `attention_mask` and `special` are (s, t); padding may be on either side."""
        packing = self._packing(attention_mask)
        states: Tensor = self._run(embeddings, attention_mask, special, packing).last_hidden_state
        return states if packing is None else packing.unpack(states)

    def _packing(self, attention_mask: Tensor) -> Packing | None:
        """How a batch goes through the layers without its padding, where layers and attention can do without."""
        config = self.model.config
        packs = self.attention == dropout.ATTENTION and config.model_type in PLAIN and not config.is_decoder
        return Packing.of(attention_mask) if packs else None

    def show_attention(self, layer: int) -> None:
        """Compute attention in the open from now on, so that `inside` can read it: fused kernels give no weights.

        Raises `UserError` where there is no such layer (counted from 0).
        """
        layers = len(self.model.encoder.layer)
        if layer >= layers:
            raise UserError(f"perturbation.attention_layer: must be below the encoder's {layers} layers (got {layer})")
        self.model.set_attn_implementation("eager")

    def inside(
        self, embeddings: Tensor, attention_mask: Tensor, special: Tensor, layer: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `states`, with what enters the first layer (s, t, d) and the attention of a layer (s, heads, t, t).

        Needs `show_attention`. In training the attention is the one used, dropout included.
        """
        shown = {"output_attentions": True, "output_hidden_states": True}
        output = self._run(embeddings, attention_mask, special, None, **shown)
        return output.last_hidden_state, output.hidden_states[0], output.attentions[layer]

    def _run(
        self, embeddings: Tensor, attention_mask: Tensor, special: Tensor, packing: Packing | None, **options: bool
    ) -> Any:
        # Padding gets the first position; nothing attends to it.
        positions = (attention_mask.cumsum(1) - 1).clamp_min(0) + self.first_position
        inputs = {
            "inputs_embeds": embeddings,
            "position_ids": positions,
            "token_type_ids": segments(special) if self.uses_segments else torch.zeros_like(positions),
        }
        if packing is None:
            return self.model(attention_mask=attention_mask, **inputs, **options)
        return self.model(packing=packing, **{name: packing.pack(each) for name, each in inputs.items()}, **options)

    def freeze(self, embeddings: bool, lower_layers: int) -> None:
        """Keep the embedding layer and the lowest layers as pretrained."""
        if embeddings:
            self.model.embeddings.requires_grad_(False)
        layers = self.model.encoder.layer
        if lower_layers > len(layers):
            raise UserError(
                f"encoder.freeze_lower_layers: must be at most the encoder's {len(layers)} layers (got {lower_layers})"
            )
        for layer in layers[:lower_layers]:
            layer.requires_grad_(False)
        self.frozen_layers = lower_layers if embeddings and self.model.config.model_type in PLAIN else 0

    @contextmanager
    def above_frozen(self) -> Iterator[list[Tensor]]:
        """Within, each run of `states` appends the states that leave the last frozen layer, as `upper` takes them."""
        seen: list[Tensor] = []
        last = self.model.encoder.layer[self.frozen_layers - 1]
        hook = last.register_forward_hook(
            lambda _module, _inputs, output: seen.append(output[0] if isinstance(output, tuple) else output)
        )
        try:
            yield seen
        finally:
            hook.remove()

    def upper(self, states: Tensor, attention_mask: Tensor) -> Tensor:
        """Last hidden states (s, t, d) from the states that leave the last frozen layer (`above_frozen`)."""
        encoder, config = self.model.encoder, self.model.config
        packing = self._packing(attention_mask)
        options: dict[str, Any] = {"packing": packing}
        if packing is None:
            mask = create_bidirectional_mask(config=config, inputs_embeds=states, attention_mask=attention_mask)
            options = {"attention_mask": mask}
        whole = encoder.layer
        encoder.layer = whole[self.frozen_layers :]
        try:
            last: Tensor = encoder(states, **options).last_hidden_state
        finally:
            encoder.layer = whole
        return last if packing is None else packing.unpack(last)

    def set_dropout(self, probability: float) -> None:
        """Set every dropout probability of the encoder, attention included."""
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.p = probability


def segments(special: Tensor) -> Tensor:
    """Token types (s, t) of BERT's pairs: 0 up to and including the first separator, 1 after it."""
    before = special.long().cumsum(1) - special.long()
    return (before >= 2).long()


class Model(nn.Module):
    """What a trial trains: the encoder and the task's head."""

    def __init__(self, encoder: Encoder, head: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        encoder.model.set_attn_implementation(dropout.ATTENTION)
        self.masks = dropout.share(self)

    def embed(self, batch: Batch) -> Tensor:
        """Word embeddings (s, t, e) of a batch."""
        return self.encoder.embed(batch.input_ids)

    def logits(self, embeddings: Tensor, batch: Batch) -> Tensor:
        """Logits as the task's head shapes them."""
        logits: Tensor = self.head(
            self.encoder.states(embeddings, batch.attention_mask, batch.special), batch.attention_mask
        )
        return logits

    def upper_logits(self, states: Tensor, batch: Batch) -> Tensor:
        """As `logits`, from the states that leave the last frozen layer (`Encoder.above_frozen`)."""
        logits: Tensor = self.head(self.encoder.upper(states, batch.attention_mask), batch.attention_mask)
        return logits

    def inside(self, embeddings: Tensor, batch: Batch, layer: int) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, and of each sequence the mean (s, d) of what enters the first layer and the attention of a layer."""
        states, entered, attention = self.encoder.inside(embeddings, batch.attention_mask, batch.special, layer)
        logits: Tensor = self.head(states, batch.attention_mask)
        return logits, pool(entered, batch.attention_mask, "mean"), attention


def resolve(config: EncoderConfig) -> str:
    """What `from_pretrained` is given: a local folder, or a hub id."""
    if config.name_or_path.startswith(OFFLINE):
        from trainables.offline.encoder import ensure

        name = config.name_or_path.removeprefix(OFFLINE)
        if name != "e5-small":
            raise UserError(f"encoder.name_or_path: unknown offline encoder, known: offline:e5-small (got {name!r})")
        return str(ensure())
    return config.name_or_path


def load_tokenizer(config: EncoderConfig) -> Any:
    """The encoder's fast tokenizer."""
    tokenizer = _from_pretrained(AutoTokenizer, config, use_fast=True)
    if not tokenizer.is_fast:
        raise UserError(f"encoder.name_or_path: needs a fast tokenizer (got {config.name_or_path})")
    return tokenizer


def load_encoder(config: EncoderConfig, uses_segments: bool, folder: Path | None = None) -> Encoder:
    """The pretrained encoder in fp32 and evaluation mode; from `folder` instead where given (a trimmed copy)."""
    source = config if folder is None else EncoderConfig(name_or_path=str(folder))
    options: dict[str, Any] = {"attn_implementation": "sdpa", "use_safetensors": True, "dtype": torch.float32}
    model = _from_pretrained(AutoModel, source, **options)
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    if not hasattr(model, "embeddings") or not hasattr(getattr(model, "encoder", None), "layer"):
        raise UserError(
            f"encoder.name_or_path: must be an encoder of the BERT or RoBERTa kind (got {config.name_or_path}, "
            f"a {type(model).__name__})"
        )
    return Encoder(model, uses_segments).eval()


def save_encoder(encoder: Encoder, folder: Path) -> None:
    """Write what `load_encoder` reads from a folder, which is made.

    Not by `save_pretrained`: that writes on rank 0 of a process group alone, and this is done by whoever comes first.
    Raises `RuntimeError` where what is there afterwards is not what was to be written.
    """
    folder.mkdir()
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in encoder.model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    encoder.model.config.architectures = [type(encoder.model).__name__]
    encoder.model.config.to_json_file(folder / "config.json")
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    if found != {name: tuple(tensor.shape) for name, tensor in weights.items()}:
        raise RuntimeError(f"{folder}: {len(weights)} parameters were written, {len(found)} are there")


def _from_pretrained(loader: Any, config: EncoderConfig, **options: Any) -> Any:
    source = resolve(config)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        return loader.from_pretrained(source, revision=config.revision or "main", trust_remote_code=False, **options)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"encoder.name_or_path: {ENCODERS} (got {config.name_or_path!r}: {reason})") from error


def trim(encoder: Encoder, kept: npt.NDArray[np.int64]) -> None:
    """Keep only these rows of the word embeddings, in this order; the row of id ``kept[i]`` becomes row ``i``.

    The padding id must keep its place (see `kept_rows`): RoBERTa's positions are counted from it.
    """
    words = encoder.model.get_input_embeddings()
    smaller = nn.Embedding(len(kept), words.embedding_dim, padding_idx=words.padding_idx)
    with torch.no_grad():
        smaller.weight.copy_(words.weight[torch.from_numpy(kept)])
    encoder.model.set_input_embeddings(smaller)
    encoder.model.config.vocab_size = len(kept)


def extend(encoder: Encoder, embeddings: npt.NDArray[np.float32]) -> None:
    """Give the word embeddings more rows (n, e), after those they have and trained or frozen like them."""
    words = encoder.model.get_input_embeddings()
    whole = torch.cat([words.weight.detach(), torch.from_numpy(embeddings).to(words.weight)])
    words.weight = nn.Parameter(whole, requires_grad=words.weight.requires_grad)
    words.num_embeddings = encoder.model.config.vocab_size = len(whole)


def kept_rows(used: npt.NDArray[np.int64], tokenizer: Any) -> npt.NDArray[np.int64]:
    """Sorted vocabulary rows to keep: those used, the special tokens, and all up to the padding id."""
    return np.unique(np.concatenate([used, tokenizer.all_special_ids, np.arange(tokenizer.pad_token_id + 1)]))


def accepts_segments(tokenizer: Any) -> bool:
    """Whether this encoder was pretrained with token types that tell the texts of a pair apart."""
    return "token_type_ids" in tokenizer.model_input_names
