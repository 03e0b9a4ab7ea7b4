"""Fine-tuning a part of an encoder: LoRA and IA3 by the library `peft`, which is an extra, or its biases alone.

What is adapted follows from the names and shapes of an encoder's parameters, so that it can be checked and counted
before there is a model; `insert` puts it into one, `merge` makes it an ordinary one again. Nothing goes into layers
that are frozen: what they give unperturbed texts never changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from trainables.config import AdapterConfig, EncoderConfig
from trainables.errors import UserError, shown
from trainables.model.families import EMBEDDINGS, Family

if TYPE_CHECKING:
    from torch import nn

Shapes = Mapping[str, tuple[int, ...]]
"""Of parameters by their names."""

LIBRARY, EXTRA = "peft", "adapters"
"""What is needed for `BY_LIBRARY`, and the extra of this project that brings it."""

BY_LIBRARY = ("lora", "ia3")
"""Methods that add parameters, and train none of the encoder's own."""


@dataclass(frozen=True)
class Linear:
    """A linear layer within one of the encoder's layers."""

    name: str
    """Of the module."""
    layer: int
    path: str
    """From that layer on."""
    out: int
    into: int
    """Numbers that leave it, and that enter it, a token."""
    is_last: bool
    """Whether it is the last of its feed-forward: IA3 scales what enters that, and of others what leaves them."""


# Out of names and shapes


def check_installed(adapter: AdapterConfig) -> None:
    """Raise `UserError` where an adapter needs a library that is not there. It is not imported."""
    if adapter.method in BY_LIBRARY and find_spec(LIBRARY) is None:
        cure = f"pip install 'robust-transfer-study[{EXTRA}]'"
        raise UserError(f"encoder.adapter.method: {adapter.method} needs the library {LIBRARY}, {cure} (got none)")


def check(family: Family, shapes: Shapes, encoder: EncoderConfig) -> None:
    """Raise `UserError` where an adapter has nothing to train of an encoder with these parameters."""
    method = encoder.adapter.method
    if method in BY_LIBRARY:
        adapted(family, shapes, encoder)
    elif method == "bitfit" and not trained(family, shapes, encoder):
        rule = f"needs biases, and {'/'.join(family.kinds)} encoders have none, or all are frozen"
        raise UserError(f"encoder.adapter.method: {rule} (got 'bitfit')")


def trained(family: Family, shapes: Shapes, encoder: EncoderConfig) -> Shapes:
    """The encoder's parameters that a trial changes; those that an adapter adds have names that nothing else has.

    Raises `UserError` as `adapted` does.
    """
    method, rank = encoder.adapter.method, encoder.adapter.rank
    if method == "none":
        return unfrozen(family, shapes, encoder)
    if method == "bitfit":
        return {name: shape for name, shape in unfrozen(family, shapes, encoder).items() if is_bias(name)}
    found: dict[str, tuple[int, ...]] = {}
    for linear in adapted(family, shapes, encoder):
        if method == "lora":
            found |= {f"{linear.name}.down": (rank, linear.into), f"{linear.name}.up": (linear.out, rank)}
        else:
            found[f"{linear.name}.scale"] = (linear.into if linear.is_last else linear.out,)
    return found


def unfrozen(family: Family, shapes: Shapes, encoder: EncoderConfig) -> Shapes:
    """The encoder's own parameters that are not frozen, whatever its adapter."""
    found = {}
    for name, shape in shapes.items():
        part = family.part(name)
        if part is None:
            continue
        frozen = encoder.freeze_embeddings if part == EMBEDDINGS else 0 <= part < encoder.freeze_lower_layers
        if family.trains(name) and not frozen:
            found[name] = shape
    return found


def is_bias(parameter: str) -> bool:
    """Whether a parameter is a bias, by its name."""
    return parameter.endswith("bias")


def adapted(family: Family, shapes: Shapes, encoder: EncoderConfig) -> list[Linear]:
    """What LoRA or IA3 adapts: the targets in all layers that are not frozen.

    Raises `UserError` for a target that no linear layer is called by, with those there are.
    """
    linears, targets = _linears(family, shapes), encoder.adapter.targets
    if targets == "auto":
        paths = _automatic(family, encoder.adapter)
        chosen = [linear for linear in linears if linear.path in paths]
        unknown = [] if chosen else ["auto"]
    else:
        ends = tuple(f".{target}" for target in targets)
        chosen = [linear for linear in linears if f".{linear.name}".endswith(ends)]
        unknown = [t for t in targets if not any(f".{linear.name}".endswith(f".{t}") for linear in chosen)]
    if unknown:
        known = ", ".join(sorted({linear.path for linear in linears})) or "none"
        rule = f"must be ends of names of linear layers, of which {'/'.join(family.kinds)} encoders have {known}"
        raise UserError(f"encoder.adapter.targets: {rule} (got {', '.join(map(shown, unknown))})")
    chosen = [linear for linear in chosen if linear.layer >= encoder.freeze_lower_layers]
    if not chosen:
        rule = "encoder.freeze_lower_layers: must leave a layer that an adapter can go to"
        raise UserError(f"{rule} (got {encoder.freeze_lower_layers})")
    return chosen


def _automatic(family: Family, adapter: AdapterConfig) -> tuple[str, ...]:
    """As the authors have it: Hu et al. 2021 (section 5.1), Liu et al. 2022 (section 3.3)."""
    linears = family.linears
    if adapter.method == "lora":
        return (linears.query, linears.value)
    return (linears.key, linears.value, linears.feed_forward)


def _linears(family: Family, shapes: Shapes) -> list[Linear]:
    found = []
    for parameter, shape in shapes.items():
        layer, within = family.part(parameter), family.path_in_layer(parameter)
        # T5's table of distances has the shape of a linear layer's weights, and is called a bias.
        is_matrix = len(shape) == 2 and parameter.endswith(".weight") and not parameter.endswith("bias.weight")
        if layer is None or within is None or not is_matrix or not family.trains(parameter):
            continue
        here, path = parameter.removesuffix(within), within.removesuffix(".weight")
        paths = family.linears_in_files.get(path, (path,))
        out, into = shape[0] // len(paths), shape[1]
        found += [Linear(f"{here}{p}", layer, p, out, into, p == family.linears.feed_forward) for p in paths]
    return found


# Of a model


def insert(model: nn.Module, family: Family, encoder: EncoderConfig) -> None:
    """Put the adapter into a model without a head that is frozen as configured; all else of it is frozen then.

    LoRA's matrices are drawn from torch's generator of the CPU. Raises `UserError` as `check_installed` and `check` do.
    """
    method = encoder.adapter.method
    if method == "none":
        return
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    check_installed(encoder.adapter)
    check(family, shapes, encoder)
    if method == "bitfit":
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(parameter.requires_grad and is_bias(name))
        return
    from peft import inject_adapter_in_model

    inject_adapter_in_model(_settings(encoder.adapter, adapted(family, shapes, encoder)), model)


def _settings(adapter: AdapterConfig, linears: Sequence[Linear]) -> Any:
    """The library's own configuration."""
    from peft import IA3Config, LoraConfig

    names = [linear.name for linear in linears]
    if adapter.method == "ia3":
        last = [linear.name for linear in linears if linear.is_last]
        return IA3Config(target_modules=names, feedforward_modules=last)
    return LoraConfig(r=adapter.rank, lora_alpha=adapter.alpha, lora_dropout=adapter.dropout, target_modules=names)


def merge(model: nn.Module) -> None:
    """Take what LoRA or IA3 has learnt into the weights of a model's linear layers, which are ordinary ones then."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            model.set_submodule(name, module.get_base_layer())
