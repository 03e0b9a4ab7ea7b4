"""The families of encoders: what each calls its parts, and what it is given beside the embeddings.

Whatever perturbs, freezes, trims, packs or looks inside an encoder asks its `Family`, never the encoder's attributes.
A further family is one more `Family`: in this table, or in that of an installed package, which names it as an entry
point of the group `GROUP` (docs/encoders.md).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from importlib.metadata import entry_points
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal

from trainables.errors import UserError
from trainables.languages import normalize

if TYPE_CHECKING:
    from torch import nn

EMBEDDINGS = -1
"""In place of a layer's number: the embedding layer."""

ABOVE = -2
"""In place of a layer's number: a part of the encoder that is in no layer, and that nothing freezes."""


GROUP = "robust_transfer.families"
"""Entry points of this group are `Family`s of other packages: every process that has the package knows them."""

Numbers = Mapping[str | None, int]
"""The number that an encoder knows each language by; under None that of all others, where it has one."""


@dataclass(frozen=True)
class Languages:
    """How an encoder is told the language of a text."""

    argument: str
    """Of its forward."""
    by_token: bool
    """Whether it is told at each token (s, t), or once a sequence (s,)."""
    numbers: Callable[[Mapping[str, Any]], Numbers]
    """From its configuration; empty where it was trained without."""


@dataclass(frozen=True)
class Linears:
    """Linear layers of a layer, by their paths in it: where adapters go."""

    query: str
    key: str
    value: str
    feed_forward: str
    """The feed-forward's last."""

    @classmethod
    def joint(cls, attention: str, feed_forward: str) -> Linears:
        """Of a layer with one for queries, keys and values."""
        return cls(attention, attention, attention, feed_forward)


@dataclass(frozen=True)
class Family:
    """How the encoders of some kinds are built. Parts are named by their paths from the model without a head."""

    kinds: tuple[str, ...]
    """`model_type` of their configurations."""
    embeddings: tuple[str, ...] = ("embeddings",)
    """What makes up the embedding layer: words, positions, types, and their norm."""
    layers: tuple[str, ...] = ("encoder.layer",)
    """The lists whose i-th members together are layer i, the lowest first."""
    above: tuple[str, ...] = ()
    """What is neither: a last norm, a projection between embeddings and layers."""
    takes_positions: bool = True
    """Whether it is told the position of each token."""
    counts_from_padding: bool = False
    """Whether positions are counted from behind the padding token's number on (RoBERTa), not from 0."""
    takes_segments: bool = True
    """Whether it is told the segment of each token."""
    plain: bool = False
    """Whether only attention looks beyond a token, and its layers can be entered in the middle: so that batches go
    without their padding, and what frozen layers give is kept. Elsewhere more happens between embeddings and layers
    (RemBERT's projection, a convolution beside DeBERTa's first layer)."""
    attention: Literal["sdpa", "eager"] = "sdpa"
    """The fastest attention that the library has for it."""
    dropout: str = "hidden_dropout_prob"
    """Key of its configuration that holds the dropout probability of its states."""
    dropout_numbers: tuple[str, ...] = ()
    """Names under which modules keep a dropout probability as a plain number, beside those in `nn.Dropout`s."""
    repeats_dropout: bool = False
    """Whether one `nn.Dropout` serves several places of a pass, which must not get one mask."""
    shares_layers: bool = False
    """Whether all layers are one: none can be frozen alone."""
    linears: Linears = Linears("attention.self.query", "attention.self.key", "attention.self.value", "output.dense")
    """Where `encoder.adapter` adapts its layers."""
    linears_in_files: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    """What its files call linear layers of a layer otherwise, or hold several of as one."""
    never_trained: tuple[str, ...] = ()
    """Names of modules that no trial trains."""
    languages: Languages | None = None
    """How it is told languages, if it is."""
    auto_class: str = "AutoModel"
    """Class of transformers that loads the encoder alone."""
    slow_tokenizer: bool = False
    """Whether the library has none but a slow tokenizer for it, in place of which `xlm_tokenizer` is taken."""

    def embedding_layer(self, model: nn.Module) -> list[nn.Module]:
        """The modules of the embedding layer; those that a checkpoint does not have are left out."""
        top = dict(model.named_modules())
        return [top[path] for path in self.embeddings if path in top]

    def layers_of(self, model: nn.Module) -> list[tuple[nn.Module, ...]]:
        """The modules of each layer, the lowest first."""
        return list(zip(*(attrgetter(path)(model) for path in self.layers), strict=True))

    def repeats(self, layers: int, distinct: int) -> float:
        """How often a pass goes through each of the layers that have weights of their own, `layers` deep in all."""
        return layers / distinct if self.shares_layers else 1.0

    def trains(self, parameter: str) -> bool:
        """Whether a trial that freezes nothing trains a parameter, by its name."""
        return not any(f".{name}." in parameter for name in self.never_trained)

    def language_numbers(self, config: Mapping[str, Any]) -> Numbers:
        """The numbers of the languages that an encoder with this configuration has to be told; empty: none."""
        return {} if self.languages is None else self.languages.numbers(config)

    def check_frozen(self, kind: str, lower_layers: int) -> None:
        """Raise `UserError` where layers are to be frozen alone that are all one."""
        if lower_layers and self.shares_layers:
            raise UserError(
                f"encoder.freeze_lower_layers: must be 0, all layers of {kind} encoders are one (got {lower_layers})"
            )

    def check_syntax(self, kind: str) -> None:
        """Raise `UserError` where nothing can be added to the keys and values of the layers.

        Plain families alone are known to use them for nothing but attention to the tokens that they are of.
        """
        if not self.plain or self.linears.key == self.linears.value:
            able = ", ".join(each for family in families() if family.plain for each in family.kinds)
            raise UserError(
                f"syntax.kind: augmented adds to the keys and values of each layer, as only encoders of the kinds "
                f"{able} are known to take it; gate serves every encoder (got {kind})"
            )

    def part(self, parameter: str) -> int | None:
        """The layer, counted from 0, of a parameter by its name in a checkpoint, whatever prefix that has.

        `EMBEDDINGS` or `ABOVE` where it is in none, None where it is no part of the encoder (a head, the pooler).
        """
        if (found := self._parts.search(parameter)) is None:
            return None
        if found["layer"] is not None:
            return int(found["layer"])
        return EMBEDDINGS if found["embeddings"] is not None else ABOVE

    def path_in_layer(self, parameter: str) -> str | None:
        """What follows a layer's number in the name of its parameter; None where it is in no layer."""
        found = self._parts.search(parameter)
        return None if found is None or found["layer"] is None else parameter[found.end() :]

    def longest(self, positions: int, pad_id: int) -> int:
        """Tokens, special ones included, that an encoder with so many positions takes."""
        return positions - self.first_position(pad_id)

    def first_position(self, pad_id: int) -> int:
        """Position of a sequence's first token."""
        return pad_id + 1 if self.counts_from_padding else 0

    @cached_property
    def _parts(self) -> re.Pattern[str]:
        def either(paths: tuple[str, ...]) -> str:
            return "|".join(map(re.escape, paths)) or r"(?!)"

        return re.compile(
            rf"(?:^|\.)(?:(?P<embeddings>{either(self.embeddings)})|(?:{either(self.layers)})\.(?P<layer>\d+)"
            rf"|(?P<above>{either(self.above)}))\."
        )


def number_of(code: str, numbers: Numbers) -> int | None:
    """The number of a language by its code here: of its own name, else of the same language elsewhere written, else
    of all others; None where an encoder has none of these. Where all others have a number that no name has, one that is
    not named is among them: ``pt`` where ``pt-br`` is named.

    >>> number_of("zh", {"en_XX": 0, "zh_CN": 1}), number_of("sw", {"en": 4, None: 7}), number_of("sw", {"en": 4})
    (1, 7, None)
    """
    if code in numbers:
        return numbers[code]
    named = {name: number for name, number in numbers.items() if name is not None}
    ways: list[Callable[[str], str]] = [normalize]
    if None not in numbers or numbers[None] in named.values():
        ways.append(lambda name: re.split("[-_]", normalize(name))[0])
    for same in ways:
        found = [number for name, number in named.items() if same(name) == same(code)]
        if found:
            return found[0]
    return numbers.get(None)


_FAMILIES: dict[str, Family] = {}


def register(family: Family) -> Family:
    """Make encoders of a family's kinds known to this process."""
    for kind in family.kinds:
        assert kind not in _FAMILIES, f"encoders of the kind {kind!r} are registered already"
    _FAMILIES.update(dict.fromkeys(family.kinds, family))
    return family


@cache
def add_installed() -> None:
    """Register the families of installed packages, once a process. What their modules do besides is done by then.

    Raises `UserError` for one that cannot be.
    """
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            family = entry.load()
        except Exception as error:
            raise UserError(f"entry point {entry.name!r} of {GROUP}: must load (got {error!r})") from error
        if not isinstance(family, Family) or not _FAMILIES.keys().isdisjoint(family.kinds):
            raise UserError(f"entry point {entry.name!r} of {GROUP}: must be a Family of new kinds (got {family!r})")
        register(family)


def families() -> Iterator[Family]:
    """All that are known, each once. Raises `UserError` where one of an installed package cannot be had."""
    add_installed()
    yield from dict.fromkeys(_FAMILIES.values())


def family_of(kind: str) -> Family:
    """The family of a `model_type`. Raises `UserError` for one that is not known."""
    add_installed()
    if kind not in _FAMILIES:
        known = ", ".join(sorted(_FAMILIES))
        raise UserError(
            f"encoder.name_or_path: must be an encoder of a known kind, {known}, or of one that an "
            f"installed package adds as an entry point of {GROUP!r}, see docs/encoders.md (got {kind!r})"
        )
    return _FAMILIES[kind]


def is_plain(kind: str) -> bool:
    """Whether encoders of a `model_type` are known to be plain, those of installed packages included."""
    return any(kind in family.kinds and family.plain for family in families())


def _xlm_numbers(config: Mapping[str, Any]) -> Numbers:
    """Of a checkpoint with language embeddings (those of XNLI's 15); the ones of 17 and 100 languages have none."""
    has_embeddings = config.get("use_lang_emb", True) and int(config.get("n_langs", 1)) > 1
    return dict(config.get("lang2id") or {}) if has_embeddings else {}


def _xmod_numbers(config: Mapping[str, Any]) -> Numbers:
    """Adapters by their order; a language without one gets that of the configuration's default, if it has a default."""
    numbers: dict[str | None, int] = {name: i for i, name in enumerate(config.get("languages", ()))}
    default = config.get("default_language")
    return numbers | ({} if default is None else {None: numbers[default]})


register(Family(kinds=("bert",), plain=True))
register(Family(kinds=("ernie", "roc_bert")))
register(Family(kinds=("electra",), above=("embeddings_project",)))
register(Family(kinds=("roberta", "xlm-roberta", "camembert"), counts_from_padding=True, plain=True))
register(Family(kinds=("xlm-roberta-xl",), counts_from_padding=True, plain=True, above=("encoder.LayerNorm",)))
register(Family(kinds=("roberta-prelayernorm",), counts_from_padding=True, above=("LayerNorm",)))
# The adapters of the target languages see no text in training, and their authors freeze all (Pfeiffer et al. 2022).
register(
    Family(
        kinds=("xmod",),
        counts_from_padding=True,
        repeats_dropout=True,
        never_trained=("adapter_modules", "adapter_layer_norm"),
        languages=Languages("lang_ids", by_token=False, numbers=_xmod_numbers),
    )
)
register(
    Family(
        kinds=("distilbert",),
        layers=("transformer.layer",),
        takes_segments=False,
        plain=True,
        dropout="dropout",
        linears=Linears("attention.q_lin", "attention.k_lin", "attention.v_lin", "ffn.lin2"),
    )
)
register(
    Family(
        kinds=("albert",),
        layers=("encoder.albert_layer_groups",),
        above=("encoder.embedding_hidden_mapping_in",),
        repeats_dropout=True,
        shares_layers=True,
        linears=Linears(
            "albert_layers.0.attention.query",
            "albert_layers.0.attention.key",
            "albert_layers.0.attention.value",
            "albert_layers.0.ffn_output",
        ),
    )
)
# What XLM takes as token types it looks up among the words.
register(
    Family(
        kinds=("xlm",),
        embeddings=("embeddings", "position_embeddings", "lang_embeddings", "layer_norm_emb"),
        layers=("attentions", "layer_norm1", "ffns", "layer_norm2"),
        takes_segments=False,
        attention="eager",
        dropout="dropout",
        dropout_numbers=("dropout", "attention_dropout"),
        languages=Languages("langs", by_token=True, numbers=_xlm_numbers),
        slow_tokenizer=True,
        linears=Linears("q_lin", "k_lin", "v_lin", "lin2"),
    )
)
_DEBERTA = Family(
    kinds=("deberta",),
    above=("encoder.rel_embeddings", "encoder.LayerNorm", "encoder.conv"),
    attention="eager",
    linears=Linears.joint("attention.self.in_proj", "output.dense"),
)
register(_DEBERTA)
register(
    replace(
        _DEBERTA,
        kinds=("deberta-v2",),
        linears=Linears(
            "attention.self.query_proj", "attention.self.key_proj", "attention.self.value_proj", "output.dense"
        ),
    )
)
register(Family(kinds=("rembert",), above=("encoder.embedding_hidden_mapping_in",), attention="eager"))
register(
    Family(
        kinds=("roformer",),
        above=("embeddings_project",),
        takes_positions=False,
        attention="eager",
        never_trained=("embed_positions",),
    )
)
# Their files call the embeddings' norm, and what is in a layer, otherwise than the library does.
_JINA = Family(
    kinds=("jina_embeddings_v3",),
    embeddings=("embeddings", "emb_ln"),
    layers=("layers",),
    dropout_numbers=("attention_dropout",),
    linears=Linears("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.fc2"),
    linears_in_files={
        "mixer.Wqkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "mixer.out_proj": ("self_attn.o_proj",),
    },
)
register(_JINA)
register(
    replace(
        _JINA,
        kinds=("nomic_bert",),
        linears=replace(_JINA.linears, feed_forward="mlp.down_proj"),
        linears_in_files={
            "attn.Wqkv": _JINA.linears_in_files["mixer.Wqkv"],
            "attn.out_proj": ("self_attn.o_proj",),
            "mlp.fc11": ("mlp.up_proj",),
            "mlp.fc12": ("mlp.gate_proj",),
            "mlp.fc2": ("mlp.down_proj",),
        },
    )
)
register(
    Family(
        kinds=("mpnet",),
        above=("encoder.relative_attention_bias",),
        counts_from_padding=True,
        takes_segments=False,
        attention="eager",
        linears=Linears("attention.attn.q", "attention.attn.k", "attention.attn.v", "output.dense"),
    )
)
register(
    Family(
        kinds=("modernbert",),
        layers=("layers",),
        above=("final_norm",),
        takes_segments=False,
        dropout="mlp_dropout",
        dropout_numbers=("attention_dropout",),
        linears=Linears.joint("attn.Wqkv", "mlp.Wo"),
    )
)
register(
    Family(
        kinds=("eurobert",),
        embeddings=("embed_tokens",),
        layers=("layers",),
        above=("norm",),
        takes_segments=False,
        dropout="attention_dropout",
        dropout_numbers=("attention_dropout",),
        linears=Linears("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.down_proj"),
    )
)
register(
    Family(
        kinds=("t5", "mt5", "umt5"),
        embeddings=("shared",),
        layers=("encoder.block",),
        above=("encoder.final_layer_norm",),
        takes_positions=False,
        takes_segments=False,
        dropout="dropout_rate",
        dropout_numbers=("dropout",),
        repeats_dropout=True,
        auto_class="AutoModelForTextEncoding",
        linears=Linears(
            "layer.0.SelfAttention.q", "layer.0.SelfAttention.k", "layer.0.SelfAttention.v", "layer.1.DenseReluDense.wo"
        ),
    )
)
