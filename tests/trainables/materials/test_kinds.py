"""Encoders of every family prepared for a study: those that are told languages, and what does not go with a study."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, processors
from transformers import PreTrainedTokenizerFast

from tests.trainables.model import tiny_families
from tests.trainables.tiny import characters
from trainables.config import EvaluationConfig, TrialConfig
from trainables.distributed import Group
from trainables.errors import UserError
from trainables.loading import apply_point
from trainables.materials import weights
from trainables.materials.materials import load
from trainables.model.pretrained import load_encoder, load_tokenizer
from trainables.scoring.evaluation import evaluate
from trainables.scoring.stream import planned
from trainables.tasks.retrieval import Retrieval
from trainables.training.loop import run_trial
from trainables.training.trial import build_model

TEXTS = ["ask a cat", "no", "one two", "ten cats", "a", "why not ask"]
LANGUAGES = ("en", "de", "sw")
ROWS = 600


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same texts in each language."""
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "cache"))
    definition = "shape: classification\nlabels: ['yes', 'no']\nfiles: '{split}.{language}.jsonl'\n"
    (tmp_path / "own.yaml").write_text(definition, encoding="utf-8")
    lines = "".join(json.dumps({"text": t, "label": ("yes", "no")[i % 2]}) + "\n" for i, t in enumerate(TEXTS))
    for name in ("train.en", *(f"{split}.{code}" for split in ("validation", "test") for code in LANGUAGES)):
        (tmp_path / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    return tmp_path


def trial(data: Path, name: str, **more: Any) -> TrialConfig:
    """Of a tiny encoder of this name, with a token for each of the first signs."""
    folder = tiny_families.write(data / "encoder", name, 0.5, **{"vocab_size": ROWS, **more})
    signs(ROWS).save_pretrained(folder)
    config = {
        "task": {"name": str(data / "own.yaml"), "max_length": 16},
        "encoder": {"name_or_path": str(folder)},
        "training": {"batch_size": 3, "budget": {"steps": 2}},
        "evaluation": {"examples_per_language": 4},
    }
    return TrialConfig.model_validate(config)


def signs(rows: int) -> Any:
    whole = characters()
    state = json.loads(whole.backend_tokenizer.to_str())
    state["model"]["vocab"] = {k: v for k, v in state["model"]["vocab"].items() if v < rows or k == "▁"}
    state["model"]["vocab"]["▁"] = rows - 1
    backend = Tokenizer.from_str(json.dumps(state))
    names = {"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>"}
    inputs = ["input_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", model_input_names=inputs, **names)


XLM = {"lang2id": {"en": 0, "de": 2, "sw": 1}, "id2lang": {"0": "en", "1": "sw", "2": "de"}}
XMOD = {"languages": ["de_DE", "en_XX"], "default_language": "en_XX"}


@pytest.mark.parametrize(
    ("name", "more", "numbers"),
    [("xlm with languages", XLM, {"en": 0, "de": 2, "sw": 1}), ("xmod", XMOD, {"en": 1, "de": 0, "sw": 1})],
)
def test_every_text_is_told_its_own_language(
    data: Path, name: str, more: dict[str, Any], numbers: dict[str, int]
) -> None:
    config = trial(data, name, **more)
    weights.check_languages(config)
    materials = load(config)
    assert materials.train.languages is not None
    assert set(materials.train.languages.tolist()) == {numbers["en"]}
    for language, encoded in materials.evaluation["validation"].items():
        assert encoded.languages is not None
        assert set(encoded.languages.tolist()) == {numbers[language]} and len(encoded.languages) == len(TEXTS)
    # Equal texts are one input exactly where the encoder is told the same.
    plan = planned(materials, "validation", None, 64)
    assert len(plan.copies) == len(TEXTS) * len(set(numbers.values()))
    # And what is predicted in one stream of all languages is what each text alone gives, in its own.
    encoder = load_encoder(config.encoder, False, materials.encoder_folder)
    model = build_model(config, materials, encoder)
    seen: dict[str, list[list[float]]] = {}
    shape, whole = materials.shape, EvaluationConfig(token_budget=64)
    shape.predict = lambda logits, labels: logits.tolist()  # type: ignore[method-assign]
    shape.score = lambda rows, encoded, predictions, language: seen.update({language: predictions}) or {}  # type: ignore[method-assign, func-returns-value]
    evaluate(model, materials, "validation", None, whole, Group())
    ids = materials.evaluation["validation"]["en"]
    for language, number in numbers.items():
        for row in range(len(TEXTS)):
            tokens = torch.from_numpy(ids.sequence(row).astype("int64"))[None]
            told = torch.tensor([number])
            options = {"lang_ids": told} if name == "xmod" else {"langs": told[:, None].expand_as(tokens)}
            states = encoder.model(input_ids=tokens, **options).last_hidden_state
            expected = model.head(states, torch.ones_like(tokens))[0]
            torch.testing.assert_close(torch.tensor(seen[language][row]), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("xlm with languages", {"lang2id": {"en": 0, "de": 1}, "id2lang": {"0": "en", "1": "de"}, "n_langs": 2}),
        ("xmod", {"languages": ["en_XX", "de_DE"]}),
    ],
)
def test_a_language_that_it_does_not_know_is_one_line_before_anything_starts(
    data: Path, name: str, more: dict[str, Any]
) -> None:
    config = trial(data, name, **more)
    line = r"task.target_languages: .* is told the language of each text and knows de(_DE)?, en(_XX)? \(got sw\)$"
    for check in (weights.check_languages, load):
        with pytest.raises(UserError, match=rf"^{line}"):
            check(config)
    weights.check_languages(apply_point(config, {"task.target_languages": ["de"]}))


def test_a_segmenter_that_is_not_there_is_named_before_anything_starts(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pythainlp.tokenize", None)
    config = trial(data, "xlm")
    weights.check_languages(apply_point(config, {"task.target_languages": ["sw"]}))
    folder = Path(config.encoder.name_or_path)
    for split in ("validation", "test"):
        (data / f"{split}.de.jsonl").rename(data / f"{split}.th.jsonl")
    weights.check_languages(config)  # with a fast tokenizer of its own
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"^encoder.name_or_path: XLM needs the package pythainlp .*words of th"):
        weights.check_languages(config)


def test_an_encoder_without_language_embeddings_is_told_none(data: Path) -> None:
    config = trial(data, "xlm", lang2id={"en": 0}, id2lang={"0": "en"})
    weights.check_languages(config)
    assert load(config).train.languages is None


def test_pairs_across_languages_are_told_both_and_pools_of_all_languages_are_refused() -> None:
    assert Retrieval("pairs", "accuracy").languages_of_item("de", "en") == ("de", "en")
    with pytest.raises(UserError, match="the candidates of a query are in many languages"):
        Retrieval("paragraphs", "map_at_20").languages_of_item("de", "en")


@pytest.mark.parametrize("name", tiny_families.CONFIGS)
def test_a_trial_of_it_runs_from_its_folder(data: Path, name: str) -> None:
    more = {"xlm with languages": XLM, "xmod": XMOD}.get(name, {})
    config = trial(data, name, **more)
    weights.check_length(config)
    *_, last = run_trial(config, data / "trial")
    assert sorted(last.primary.languages) == sorted(LANGUAGES)
    assert load(config).train.ids.max() < 40, "its vocabulary is trimmed"


# What does not go with a study


def spoilt(config: TrialConfig, change: Callable[[Any], None]) -> TrialConfig:
    folder = config.encoder.name_or_path
    tokenizer = load_tokenizer(config.encoder)
    change(tokenizer)
    tokenizer.save_pretrained(folder)
    return config


def without_padding(tokenizer: Any) -> None:
    tokenizer.pad_token = None


def without_ends(tokenizer: Any) -> None:
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A", special_tokens=[])


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (without_padding, r"needs a tokenizer with a padding token \(got .*encoder, which has none\)"),
        (without_ends, r"needs a tokenizer that marks where a text begins or ends \(got .*, which adds no special"),
    ],
)
def test_a_tokenizer_that_lacks_something_is_one_line(data: Path, change: Callable[[Any], None], line: str) -> None:
    config = spoilt(trial(data, "bert"), change)
    with pytest.raises(UserError, match=line) as caught:
        load(config)
    assert len(caught.value.lines) == 1


def test_layers_that_are_one_and_kinds_that_nobody_knows_are_refused_before_anything_starts(data: Path) -> None:
    config = trial(data, "albert")
    weights.check(config.encoder)
    with pytest.raises(UserError, match=r"^encoder.freeze_lower_layers: must be 0, all layers of albert .* \(got 1\)$"):
        weights.check(apply_point(config, {"encoder.freeze_lower_layers": 1}).encoder)
    written = Path(config.encoder.name_or_path) / "config.json"
    written.write_text(json.dumps({"model_type": "gpt2"}), encoding="utf-8")
    with pytest.raises(UserError, match=r"^encoder.name_or_path: must be an encoder of a known kind.* \(got 'gpt2'\)$"):
        weights.check(config.encoder)


def test_a_tokenizer_of_another_encoder_is_one_line(data: Path) -> None:
    config = trial(data, "bert", vocab_size=50)
    with pytest.raises(UserError, match=r"embeds 50 tokens, its tokenizer has more \(got id \d+\)$"):
        load(config)


def test_texts_beyond_its_positions_are_one_line(data: Path) -> None:
    for name, longest in (("xlm", 40), ("modernbert", 40), ("xmod", 38), ("mt5", None)):
        config = apply_point(trial(data, name), {"task.max_length": 64})
        if longest is None:
            weights.check_length(config)
            continue
        with pytest.raises(UserError, match=rf"^task.max_length: .* has positions for {longest} tokens \(got 64\)$"):
            weights.check_length(config)
