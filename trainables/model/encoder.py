"""A Hugging Face encoder as `embed` and `states`, and the model of a trial: encoder and head.

Suffixes: s sequences, t tokens, d hidden size, e embedding size, v vocabulary rows.
"""

from __future__ import annotations

import copy
import itertools
import operator
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from trainables.batch import Batch
from trainables.config import AdapterConfig, EncoderConfig
from trainables.errors import UserError
from trainables.layout import Layout
from trainables.model import adapters, dropout
from trainables.model.attention import ATTENTION
from trainables.model.families import Numbers, family_of
from trainables.model.heads import pool
from trainables.model.maps import LanguageMaps
from trainables.syntax import added
from trainables.syntax.added import Augmented, Sizes, Syntax
from trainables.syntax.gate import Gate


class Encoder(nn.Module):
    """A pretrained encoder, entered at its word embeddings.

    Positions are always passed explicitly: the library derives them from the padding only on its `input_ids` path.
    """

    def __init__(self, model: Any, uses_segments: bool, maps: LanguageMaps | None = None) -> None:
        """`uses_segments`: the second text of a pair has token type 1 (BERT; not XLM-R, not E5).

        `maps`: what each language's last states go through.

        Raises `UserError` for a model of no known family.
        """
        super().__init__()
        self.model = model
        self.family = family_of(model.config.model_type)
        self.uses_segments = uses_segments
        self.maps = maps
        self._own_numbers = self.family.language_numbers(model.config.to_dict())
        self.adapter = AdapterConfig()
        self.is_compiled = False
        self.frozen_layers = 0
        """How many of the lowest layers are known to give an unperturbed text the same states for good (`freeze`)."""
        self._given: tuple[Layout, bool, dict[str, Tensor]] | None = None

    @property
    def hidden_size(self) -> int:
        """Size of a token's state."""
        return int(self.model.config.hidden_size)

    @property
    def sizes(self) -> Sizes:
        """What modules are made after that are added to it."""
        return Sizes.of(self.model.config, int(self.model.get_input_embeddings().embedding_dim))

    @property
    def language_numbers(self) -> Numbers:
        """The numbers by which it, or its maps, are told the language of each sequence; empty: they are told none."""
        return self._own_numbers or ({} if self.maps is None else self.maps.numbers)

    @property
    def own_dropout(self) -> float:
        """Dropout probability of its states, as its configuration has it."""
        return float(getattr(self.model.config, self.family.dropout))

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

    def states(self, embeddings: Tensor, layout: Layout) -> Tensor:
        """Last hidden states (s, t, d) of word embeddings (s, t, e)."""
        states: Tensor = self._run(embeddings, layout, self.packs(layout)).last_hidden_state
        return self._mapped(self._padded(states, layout), layout)

    def states_at(self, embeddings: Tensor, layout: Layout, layer: int | None) -> Tensor:
        """States (s, t, d) that leave a layer, counted from 1, for word embeddings (s, t, e); None: the last.

        Raises `UserError` where there is no such layer.
        """
        if layer is None:
            return self.states(embeddings, layout)
        if layer > (layers := int(self.model.config.num_hidden_layers)):
            raise UserError(f"alignment: a layer must be one of the encoder's {layers} (got {layer})")
        found = self._run(embeddings, layout, self.packs(layout), output_hidden_states=True)
        return self._padded(found.hidden_states[layer], layout)

    @contextmanager
    def adding(self, added: Sequence[tuple[Tensor, Tensor]], layout: Layout, packs: bool) -> Iterator[None]:
        """Within, the first head's keys and values have something added: of each layer a pair (s, t, z).

        `packs`: whether the batch goes through the layers without its padding. The encoder must be one of those that
        `families.check_syntax` lets pass.
        """
        paths = self.family.linears.key, self.family.linears.value
        hooks = [
            layer.get_submodule(path).register_forward_hook(partial(_added, layout.pack(each) if packs else each))
            for (layer,), pair in zip(self.family.layers_of(self.model), added, strict=True)
            for path, each in zip(paths, pair, strict=True)
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def leave_out_padding(self) -> None:
        """Compute attention by `attention.attention` from now on, which needs none (`packs`), where the kind can."""
        if self.family.attention == "sdpa":
            self.model.set_attn_implementation(ATTENTION)

    def packs(self, layout: Layout) -> bool:
        """Whether a batch goes through the layers without its padding: where it has any, and they can do without."""
        is_able = (
            self.attention == ATTENTION and self.family.plain and not getattr(self.model.config, "is_decoder", False)
        )
        return is_able and not layout.is_full

    def _padded(self, states: Tensor, layout: Layout) -> Tensor:
        return layout.unpack(states.flatten(0, 1)) if self.packs(layout) else states

    def _mapped(self, states: Tensor, layout: Layout) -> Tensor:
        if self.maps is None:
            return states
        assert layout.languages is not None, "texts of no known language"
        mapped: Tensor = self.maps(states, layout.languages)
        return mapped

    def show_attention(self, layer: int) -> None:
        """Compute attention in the open from now on, so that `inside` can read it: fused kernels give no weights.

        Raises `UserError` where there is no such layer (counted from 0).
        """
        layers = int(self.model.config.num_hidden_layers)
        if layer >= layers:
            raise UserError(f"perturbation.attention_layer: must be below the encoder's {layers} layers (got {layer})")
        if self.family.attention != "eager":
            self.model.set_attn_implementation("eager")

    def inside(self, embeddings: Tensor, layout: Layout, layer: int) -> tuple[Tensor, Tensor, Tensor]:
        """As `states`, with what enters the first layer (s, t, d) and the attention of a layer (s, heads, t, t).

        Needs `show_attention`. In training the attention is the one used, dropout included. Raises `UserError` for an
        encoder that does not show it.
        """
        output = self._run(embeddings, layout, False, output_attentions=True, output_hidden_states=True)
        if not output.attentions or not output.hidden_states:
            kind = self.model.config.model_type
            raise UserError(f"perturbation.method: compares attention, which {kind} encoders do not show (got 'ear')")
        return self._mapped(output.last_hidden_state, layout), output.hidden_states[0], output.attentions[layer]

    def _run(self, embeddings: Tensor, layout: Layout, packs: bool, **options: bool) -> Any:
        inputs = self._inputs(layout, packs)
        if packs:
            return self.model(inputs_embeds=layout.pack(embeddings), layout=layout, **inputs, **options)
        mask = self._mask(layout, embeddings.dtype)
        return self.model(inputs_embeds=embeddings, attention_mask=mask, **inputs, **options)

    def _mask(self, layout: Layout, dtype: torch.dtype) -> Tensor | None:
        """What the library is told of the padding; None: there is none.

        Plain families take what their attention wants (s, 1, 1, t): to make it of (s, t) the library reads that back
        from the device, in each pass.
        """
        seen = layout.attention_mask
        if seen is None:
            return None
        if not self.family.plain:
            return layout.mask.long()
        if self.attention != "eager":
            return seen
        return torch.zeros_like(seen, dtype=dtype).masked_fill_(~seen, torch.finfo(dtype).min)

    def _inputs(self, layout: Layout, packs: bool) -> dict[str, Tensor]:
        """What the encoder is given beside embeddings and mask: the same for all passes over a batch."""
        if self._given is not None and self._given[0] is layout and self._given[1] == packs:
            return self._given[2]
        given = {}
        if self.family.takes_positions:
            # Padding gets the first position; nothing attends to it.
            given["position_ids"] = layout.ranks + self.family.first_position(self.model.config.pad_token_id or 0)
        if self.family.takes_segments:
            given["token_type_ids"] = layout.segments if self.uses_segments else torch.zeros_like(layout.ranks)
        if self._own_numbers:
            assert self.family.languages is not None and layout.languages is not None, "texts of no known language"
            each, by_token = layout.languages, self.family.languages.by_token
            given[self.family.languages.argument] = each[:, None].expand_as(layout.ranks) if by_token else each
        if packs:
            given = {name: layout.pack(each) for name, each in given.items()}
        self._given = (layout, packs, given)
        return given

    def freeze(self, embeddings: bool, lower_layers: int) -> None:
        """Keep the embedding layer and the lowest layers as pretrained, and what no trial of its family trains.

        Raises `UserError` where it has not so many layers, or they are all one.
        """
        for name, parameter in self.model.named_parameters():
            if not self.family.trains(name):
                parameter.requires_grad_(False)
        if embeddings:
            for module in self.family.embedding_layer(self.model):
                module.requires_grad_(False)
        layers = self.family.layers_of(self.model)
        self.family.check_frozen(self.model.config.model_type, lower_layers)
        if lower_layers > len(layers):
            raise UserError(
                f"encoder.freeze_lower_layers: must be at most the encoder's {len(layers)} layers (got {lower_layers})"
            )
        for layer in layers[:lower_layers]:
            for module in layer:
                module.requires_grad_(False)
        self.frozen_layers = self._unchanging()

    def adapt(self, config: EncoderConfig) -> None:
        """Train the few parameters of an adapter in place of the encoder's own that are not frozen.

        Those that it adds are drawn from torch's generator of the CPU. Raises `UserError` where it cannot be had, or
        has nothing to train here.
        """
        adapters.insert(self.model, self.family, config)
        self.adapter = config.adapter
        self.frozen_layers = self._unchanging()

    def merged(self) -> Encoder:
        """An encoder of the library's own parts alone that computes the same."""
        if self.adapter.method not in adapters.BY_LIBRARY:
            return self
        own = copy.deepcopy(self)
        adapters.merge(own.model)
        own.adapter = AdapterConfig()
        return own

    def _unchanging(self) -> int:
        """How many of the lowest layers, and the embeddings below them, have nothing that is trained."""
        parts = [self.family.embedding_layer(self.model), *self.family.layers_of(self.model)]
        is_trained = (any(p.requires_grad for module in part for p in module.parameters()) for part in parts)
        still = len(list(itertools.takewhile(operator.not_, is_trained)))
        return max(0, still - 1) if self.family.plain else 0

    @contextmanager
    def above_frozen(self) -> Iterator[list[Tensor]]:
        """Within, each run of `states` appends the states that leave the last frozen layer, as `upper` takes them."""
        seen: list[Tensor] = []
        last = self.family.layers_of(self.model)[self.frozen_layers - 1][-1]
        hook = last.register_forward_hook(
            lambda _module, _inputs, output: seen.append(output[0] if isinstance(output, tuple) else output)
        )
        try:
            yield seen
        finally:
            hook.remove()

    def upper(self, states: Tensor, layout: Layout) -> Tensor:
        """Last hidden states (s, t, d) from the states that leave the last frozen layer (`above_frozen`)."""
        owner, _, name = self.family.layers[0].rpartition(".")
        stack = self.model.get_submodule(owner)
        packs = self.packs(layout)
        options = {"layout": layout} if packs else {"attention_mask": self._mask(layout, states.dtype)}
        whole = getattr(stack, name)
        setattr(stack, name, whole[self.frozen_layers :])
        try:
            last: Tensor = stack(states, **options).last_hidden_state
        finally:
            setattr(stack, name, whole)
        return self._mapped(self._padded(last, layout), layout)

    def recompute(self) -> None:
        """Keep only what enters each layer for the backward pass, and compute the layer again there.

        Raises `UserError` where the library cannot do that with this encoder.
        """
        if not self.model.supports_gradient_checkpointing:
            kind = self.model.config.model_type
            raise UserError(f"training.gradient_checkpointing: the library cannot do that for its kind (got {kind!r})")
        self.model.gradient_checkpointing_enable({"use_reentrant": False})

    def compile_layers(self) -> None:
        """Compile each layer at its first use."""
        self.is_compiled = True
        for layer in self.family.layers_of(self.model):
            for module in layer:
                module.compile(dynamic=True)

    def set_dropout(self, probability: float) -> None:
        """Set every dropout probability of the encoder, attention included."""
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.p = probability
            for name in self.family.dropout_numbers:
                if isinstance(getattr(module, name, None), float):
                    setattr(module, name, probability)
            for name, child in list(module.named_children()):
                if isinstance(child, nn.Identity) and "drop" in name:  # built without, since its probability was 0
                    setattr(module, name, nn.Dropout(probability).train(module.training))


def _added(each: Tensor, _module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    """An output (…, h z) with `each` (…, z) added to that of its first head."""
    first, others = output.tensor_split([each.shape[-1]], dim=-1)
    return torch.cat([first + each.to(first.dtype), others], -1)


class Model(nn.Module):
    """What a trial trains: the encoder, the task's head, and what syntax adds to them."""

    def __init__(self, encoder: Encoder, head: nn.Module, syntax: Syntax | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.syntax = syntax
        if isinstance(syntax, Augmented):
            encoder.frozen_layers = 0  # what frozen layers give changes with what is added in them
        encoder.leave_out_padding()
        self.masks = dropout.share(head if encoder.family.repeats_dropout else self)

    @property
    def drops_out(self) -> bool:
        """Whether anything has a dropout probability above 0."""
        numbers = self.encoder.family.dropout_numbers
        found: list[object] = [module.p for module in self.modules() if isinstance(module, nn.Dropout)]
        found += [getattr(module, name, None) for module in self.encoder.modules() for name in numbers]
        return any(isinstance(each, float) and each > 0.0 for each in found)

    def train(self, mode: bool = True) -> Self:
        """As every module; evaluation has no masks to keep."""
        if not mode:
            self.masks.forget()
        return super().train(mode)

    def embed(self, batch: Batch) -> Tensor:
        """Word embeddings (s, t, e) of a batch."""
        return self.encoder.embed(batch.input_ids)

    def forward(self, batch: Batch, added: Tensor | None = None) -> Tensor:
        """Logits of a batch, with something added to its word embeddings (s, t, e)."""
        embeddings = self.embed(batch)
        return self.logits(embeddings if added is None else embeddings + added, batch)

    def logits(self, embeddings: Tensor, batch: Batch) -> Tensor:
        """Logits as the task's head shapes them."""
        logits: Tensor = self.head(self.states(embeddings, batch.layout), batch.attention_mask)
        return logits

    def states(self, embeddings: Tensor, layout: Layout) -> Tensor:
        """The states (s, t, d) that the head is given."""
        with self._augmented(embeddings, layout, self.encoder.packs(layout)):
            return self._gated(self.encoder.states(embeddings, layout), layout)

    @contextmanager
    def _augmented(self, embeddings: Tensor, layout: Layout, packs: bool) -> Iterator[None]:
        given = self.syntax(embeddings, layout) if isinstance(self.syntax, Augmented) else None
        if given is None:
            yield
            return
        with self.encoder.adding(given, layout, packs):
            yield

    def _gated(self, states: Tensor, layout: Layout) -> Tensor:
        return self.syntax(states, layout) if isinstance(self.syntax, Gate) else states

    def auxiliary(self, batch: Batch) -> Tensor | None:
        """What syntax adds to the loss of each sequence (s,) of the unperturbed batch; None: nothing."""
        if not isinstance(self.syntax, Augmented):
            return None
        return self.syntax.auxiliary(self.embed(batch), batch.layout)

    def cost(self, passes: float) -> float:
        """Forward-equivalents of a step that has so many without syntax."""
        family, layers = self.encoder.family, self.encoder.family.layers_of(self.encoder.model)
        weights = sum(added.count(module) for layer in layers for module in layer)
        return added.passes(self.syntax, weights * family.repeats(self.encoder.sizes.layers, len(layers)), passes)

    def encoded(self, embeddings: Tensor, batch: Batch, pooling: Literal["mean", "first"]) -> tuple[Tensor, Tensor]:
        """As `logits`, with the pooled last hidden states (s, d) of each sequence."""
        states = self.states(embeddings, batch.layout)
        logits: Tensor = self.head(states, batch.attention_mask)
        return logits, pool(states, batch.attention_mask, pooling)

    def upper_logits(self, states: Tensor, batch: Batch) -> Tensor:
        """As `logits`, from the states that leave the last frozen layer (`Encoder.above_frozen`)."""
        upper = self._gated(self.encoder.upper(states, batch.layout), batch.layout)
        logits: Tensor = self.head(upper, batch.attention_mask)
        return logits

    def inside(self, embeddings: Tensor, batch: Batch, layer: int) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, and of each sequence the mean (s, d) of what enters the first layer and the attention of a layer."""
        with self._augmented(embeddings, batch.layout, packs=False):
            states, entered, attention = self.encoder.inside(embeddings, batch.layout, layer)
        logits: Tensor = self.head(self._gated(states, batch.layout), batch.attention_mask)
        return logits, pool(entered, batch.attention_mask, "mean"), attention
