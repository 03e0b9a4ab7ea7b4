"""What is prepared for a trial, against the files, the tokenizer and the encoder that it was prepared from."""

from __future__ import annotations

import gc
import json
import math
import os
import shutil
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformers import AutoModel, PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaModel

from tests.conftest import REPOSITORY
from trainables.augmentation import resources
from trainables.batch import Encoded
from trainables.config import TrialConfig
from trainables.errors import UserError
from trainables.layout import Layout
from trainables.loading import apply_point
from trainables.materials import materials as module
from trainables.materials import vocabulary
from trainables.materials.keys import copies_key, materials_key
from trainables.materials.materials import Materials, added_rows, load, prepare, prepared
from trainables.materials.weights import trained
from trainables.model.pretrained import extend, load_encoder, load_tokenizer
from trainables.scores import Split
from trainables.storage import cache

ROWS: dict[str, list[tuple[str, str]]] = {
    "train.en": [("the cat sat", "yes"), ("a dog ran far far away", "no"), ("the dog sat", "no")],
    "validation.en": [("a cat ran", "yes"), ("the cat sat", "no")],
    "validation.de": [("die katze sass", "no"), ("der hund rannte weit", "yes"), ("quark", "no")],
    "validation.sw": [("paka alikaa", "yes")],
    "test.en": [("the mouse ran", "yes")],
    "test.de": [("die maus rannte", "no")],
    "test.sw": [("panya alikimbia", "yes"), ("paka", "no")],
}
LABELS = ("yes", "no")
UNKNOWN = "quark"
DEFINITION = "shape: classification\nlabels: ['yes', 'no']\nfiles: '{split}.{language}.jsonl'\n"


def words() -> list[str]:
    """Every word of the data but one, each beside one of a text that nobody has read."""
    seen = sorted({word for rows in ROWS.values() for text, _ in rows for word in text.split()} - {UNKNOWN})
    return [each for word in seen for each in (f"un{word}", word)]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny encoder with a tokenizer that knows whole words, as a local folder."""
    folder = tmp_path_factory.mktemp("encoder")
    special = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
    vocabulary = special | {word: i for i, word in enumerate(words(), start=4)}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ends = [("<s>", 0), ("</s>", 2)]
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=ends
    )
    names = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "pad_token": "<pad>"}
    inputs = ["input_ids", "attention_mask"]
    PreTrainedTokenizerFast(
        tokenizer_object=inner, **names, unk_token="<unk>", model_input_names=inputs
    ).save_pretrained(folder)
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 16, "max_position_embeddings": 40, "type_vocab_size": 1, "initializer_range": 0.5}
    config = XLMRobertaConfig(**sizes, vocab_size=len(vocabulary), pad_token_id=1)
    XLMRobertaModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def write(folder: Path, rows: Mapping[str, Sequence[tuple[str, str]]]) -> None:
    for name, each in rows.items():
        lines = [json.dumps({"text": text, "label": label}) + "\n" for text, label in each]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "own.yaml").write_text(DEFINITION, encoding="utf-8")
    write(folder, ROWS)
    return folder


@pytest.fixture
def config(encoder: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrialConfig:
    """With a cache of its own."""
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "cache"))
    task = {"name": str(data / "own.yaml"), "max_length": 8}
    return TrialConfig.model_validate({"task": task, "encoder": {"name_or_path": str(encoder)}})


def untrimmed(config: TrialConfig) -> TrialConfig:
    return apply_point(config, {"encoder.trim_vocabulary": False})


def pretrained(encoder: Path) -> Tensor:
    """The word embeddings as the folder has them, (v, d)."""
    table: Tensor = AutoModel.from_pretrained(encoder).get_input_embeddings().weight.detach()
    return table


def sequences(encoded: Encoded) -> list[list[int]]:
    return [encoded.sequence(i).tolist() for i in range(len(encoded.offsets) - 1)]


def parts(materials: Materials) -> dict[str, Encoded]:
    """All that was tokenised, by the name of its file."""
    evaluated = {f"{s}.{k}": e for s, languages in materials.evaluation.items() for k, e in languages.items()}
    return {"train.en": materials.train, **evaluated}


def test_rows_and_labels_are_those_of_the_files(config: TrialConfig) -> None:
    materials = load(config, ("validation", "test"))
    assert (materials.source_language, materials.target_languages) == ("en", ("de", "sw"))
    for split, languages in materials.rows.items():
        assert sorted(languages) == ["de", "en", "sw"]
        for language, rows in languages.items():
            expected = ROWS[f"{split}.{language}"]
            assert rows == [{"text": text, "label": LABELS.index(label)} for text, label in expected]
    for name, encoded in parts(materials).items():
        assert [LABELS[encoded.item_labels(i)[0]] for i in range(len(encoded))] == [label for _, label in ROWS[name]]
        assert encoded.rows.tolist() == list(range(len(ROWS[name])))
    assert (materials.pad_id, materials.uses_segments, materials.originals) == (1, False, None)


@pytest.mark.parametrize("trim", [True, False])
def test_how_languages_are_cut_is_measured_on_the_rows(config: TrialConfig, data: Path, trim: bool) -> None:
    """A token a word here, and of Thai no words; of training counts what `max_length` leaves, so no sixth word."""
    write(data, {"validation.sw": [("paka the dog away", "yes")], "validation.th": [("paka", "yes")], "test.fr": []})
    write(data, {"test.fr": [("the", "no")], "test.th": [("the", "no")]})
    config = apply_point(config, {"encoder.trim_vocabulary": trim, "task.max_length": 8})
    write(data, {"train.en": [("the cat sat", "yes"), ("a dog ran far far rannte away", "no")]})
    found = vocabulary.measured(config)
    assert found == {
        "en": {"fertility": 1.0, "overlap": 1.0},
        "de": {"fertility": 1.0, "overlap": 1 / 8},
        "sw": {"fertility": 1.0, "overlap": 2 / 4},
        "th": {"fertility": None, "overlap": 0.0},
    }
    both = vocabulary.measured(config, ("validation", "test"))
    assert both == {**found, "fr": {"fertility": 1.0, "overlap": 1.0}}, "of test what validation has not"


@pytest.mark.parametrize("trim", [True, False])
def test_tokens_are_the_tokenizers_whatever_their_new_numbers(config: TrialConfig, trim: bool) -> None:
    materials = load(config if trim else untrimmed(config), ("validation", "test"))
    tokenizer = load_tokenizer(config.encoder)
    numbers = materials.encoder_folder.parent / "kept.npy"
    assert numbers.exists() == trim
    former = np.load(numbers) if trim else np.arange(len(tokenizer))
    assert np.array_equal(former, np.unique(former)), "each row is kept once, in its order"
    seen = set()
    for name, encoded in parts(materials).items():
        for found, (text, _) in zip(sequences(encoded), ROWS[name], strict=True):
            expected = tokenizer(text)["input_ids"]
            assert former[found].tolist() == expected == [0, *tokenizer.convert_tokens_to_ids(text.split()), 2]
            seen.update(expected)
        assert np.array_equal(encoded.special[: encoded.offsets[-1]], np.isin(_former(encoded, former), [0, 2]))
    if trim:
        assert set(former.tolist()) == seen | {0, 1, 2, 3}
        assert len(former) < len(tokenizer) - 10


def _former(encoded: Encoded, former: np.ndarray[Any, np.dtype[np.int64]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    return former[encoded.ids[: encoded.offsets[-1]]]


def test_the_trimmed_encoder_has_the_rows_that_its_tokens_had(config: TrialConfig, encoder: Path) -> None:
    materials = load(config)
    trimmed = load_encoder(config.encoder, False, materials.encoder_folder)
    kept = np.load(materials.encoder_folder.parent / "kept.npy")
    ids = torch.tensor([sequences(materials.train)[1]])
    former = torch.tensor([load_tokenizer(config.encoder)(ROWS["train.en"][1][0])["input_ids"]])
    assert torch.equal(trimmed.embed(ids), pretrained(encoder)[former])
    assert trimmed.model.get_input_embeddings().num_embeddings == len(kept)
    whole = AutoModel.from_pretrained(encoder, add_pooling_layer=False).eval()
    mask = torch.ones_like(ids)
    with torch.no_grad():
        states = trimmed.states(trimmed.embed(ids), Layout.of(mask, torch.zeros_like(ids).bool()))
        torch.testing.assert_close(states, whole(input_ids=former, attention_mask=mask).last_hidden_state)


def test_long_texts_are_cut(config: TrialConfig, data: Path) -> None:
    text = "a dog ran far away " * 3
    write(data, {"validation.sw": [(text, "yes"), ("paka", "no")]})
    materials = load(config)
    assert [len(each) for each in sequences(materials.evaluation["validation"]["sw"])] == [8, 3]
    assert materials.rows["validation"]["sw"][0]["text"] == text


@pytest.mark.parametrize("name", ["choices", "names", "pairs"])
def test_each_language_is_found_again_among_those_of_its_split(config: TrialConfig, name: str) -> None:
    """Where an item has several sequences, or a row several items, these are not of equal number."""
    own = untrimmed(apply_point(config, {"task.name": str(REPOSITORY / "tests" / "data" / f"{name}.yaml")}))
    materials, tokenizer = load(own, ("validation", "test")), load_tokenizer(config.encoder)
    for split, languages in materials.evaluation.items():
        assert len(languages) > 1
        for language, encoded in languages.items():
            expected = materials.shape.encode(materials.rows[split][language], tokenizer, 8)
            assert sequences(encoded) == sequences(expected)
            labels = [[each.item_labels(i).tolist() for i in range(len(each))] for each in (encoded, expected)]
            assert labels[0] == labels[1] and encoded.rows.tolist() == expected.rows.tolist()


def test_the_reference_norm_is_that_of_the_words_trained_on(config: TrialConfig, encoder: Path) -> None:
    """As often as they occur; not of the ends, not of the words of other splits."""
    table = pretrained(encoder).double()
    number = {word: i for i, word in enumerate(words(), start=4)}
    occurring = [word for text, _ in ROWS["train.en"] for word in text.split()]
    norms = [math.sqrt(sum(float(x) ** 2 for x in table[number[word]])) for word in occurring]
    expected = sum(norms) / len(norms)
    assert expected != pytest.approx(float(table.norm(dim=1).mean()), rel=1e-3)
    assert load(config).reference_norm == pytest.approx(expected, rel=1e-6)
    assert load(untrimmed(config), ("validation", "test")).reference_norm == pytest.approx(expected, rel=1e-6)


def test_the_fingerprint_changes_with_the_data_and_with_nothing_else(config: TrialConfig, data: Path) -> None:
    before, key = load(config).fingerprint, materials_key(config, ("validation",))
    assert load(untrimmed(config)).fingerprint == before
    write(data, {"test.sw": [("panya", "no")]})
    assert load(config).fingerprint == before, "nobody has read the test split"
    changed = set()
    for name, rows in ROWS.items():
        if name.startswith("test"):
            continue
        text, label = rows[0]
        for other in ((f"{text} far", label), (text, "yes" if label == "no" else "no")):
            write(data, {name: [other, *rows[1:]]})
            changed.add(load(config).fingerprint)
        write(data, {name: rows})
        # Files written anew are another key, as their content cannot be known without reading it.
        assert materials_key(config, ("validation",)) != key
        assert load(config).fingerprint == before
    assert len(changed) == 8 and before not in changed


def test_what_trials_differ_in_does_not_divide_them_unless_it_is_prepared(config: TrialConfig) -> None:
    def key(point: dict[str, Any], splits: Sequence[Any] = ("validation",)) -> str:
        return materials_key(apply_point(config, point), splits)

    own = key({})
    shared: list[dict[str, Any]] = [
        {"training.seed": 7},
        {"training.learning_rate": 1e-3},
        {"perturbation.method": "adversarial"},
        {"encoder.freeze_lower_layers": 1},
        {"evaluation.token_budget": 64},
    ]
    assert {key(point) for point in shared} == {own}
    apart: list[dict[str, Any]] = [
        {"task.max_length": 9},
        {"task.target_languages": ["de"]},
        {"task.source_language": "de"},
        {"encoder.trim_vocabulary": False},
        {"encoder.name_or_path": "offline:e5-small"},
    ]
    keys = [own, key({}, ("validation", "test")), *map(key, apart)]
    assert len(set(keys)) == len(keys)
    assert key({}, ("test", "validation")) == key({}, ("validation", "test"))


def test_copies_are_those_of_a_seed_and_an_augmentation(config: TrialConfig) -> None:
    def key(point: dict[str, Any], splits: Sequence[Any] = ("validation",)) -> str:
        synonyms = apply_point(config, {"augmentation.method": "synonyms", **point})
        assert materials_key(synonyms, splits) == materials_key(config, splits) or "task.max_length" in point
        return copies_key(synonyms, splits)

    own = key({})
    ear = {"perturbation.method": "ear", "perturbation.attention_layer": 0}
    assert {key(point) for point in (ear, {"training.learning_rate": 1e-3}, {"perturbation.epsilon": 0.5})} == {own}
    apart = [
        {"training.seed": 7},
        {"augmentation.copies": 2},
        {"augmentation.probability": 0.5},
        {"task.max_length": 9},
    ]
    keys = [own, key({}, ("validation", "test")), *map(key, apart)]
    assert len(set(keys)) == len(keys)


def test_an_augmentation_of_no_word_is_clean_training_bit_for_bit(synonyms: TrialConfig, config: TrialConfig) -> None:
    """It trains on the very same data, however many copies were asked for; but where a method compares the two."""
    never = {"augmentation.probability": 0.0, "augmentation.copies": 3}
    assert load(apply_point(synonyms, never)) is load(config)
    for method in ("character_noise", "code_switching"):
        assert load(apply_point(config, {"augmentation.method": method, **never})) is load(config)
    ear = {**never, "perturbation.method": "ear", "perturbation.attention_layer": 0}
    paired = load(apply_point(synonyms, ear))
    assert paired.originals is not None and len(paired.train) == 3 * len(paired.originals)


def test_other_words_in_the_same_file_make_other_copies(synonyms: TrialConfig) -> None:
    resource, before = synonyms.augmentation.resource, load(synonyms)
    assert resource is not None
    resource.write_text(json.dumps({"cat": ["panya"], "dog": ["panya"], "ran": ["panya"]}), encoding="utf-8")
    after = load(synonyms)
    assert sequences(after.train) != sequences(before.train) and after.evaluation is before.evaluation
    missing = apply_point(synonyms, {"augmentation.resource": str(resource.with_name("nothing.json"))})
    with pytest.raises(UserError, match=r"augmentation\.resource: cannot be read"):
        load(missing)


def test_words_that_are_installed_meanwhile_are_taken_up(
    config: TrialConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dictionary, a thesaurus: of a trial that names no file of its own."""
    for name in ("WORDNET", "THESAURI", "DICTIONARIES"):
        monkeypatch.setattr(resources, name, tmp_path)
    switching = apply_point(config, {"augmentation.method": "code_switching", "augmentation.resource": None})
    attacked = apply_point(config, {"evaluation.attack": {"kind": "words"}})
    splits: tuple[Split, ...] = ("validation",)
    keys = [(copies_key(switching, splits), materials_key(attacked, splits))]
    for name in ("freedict-eng-deu.index", "th_de_DE_v2.dat"):
        (tmp_path / name).write_text("UTF-8\n", encoding="utf-8")
        keys.append((copies_key(switching, splits), materials_key(attacked, splits)))
    first, second, third = keys
    assert first[0] != second[0] and second[1] != third[1] and second[0] == third[0]


def test_another_encoder_in_the_same_folder_is_another_key(config: TrialConfig, encoder: Path) -> None:
    before = materials_key(config, ("validation",))
    weights = encoder / "model.safetensors"
    found = weights.stat()
    os.utime(weights, ns=(found.st_atime_ns, found.st_mtime_ns + 1_000_000))
    assert materials_key(config, ("validation",)) != before
    os.utime(weights, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert materials_key(config, ("validation",)) == before


def test_the_test_split_is_not_read_unless_asked_for(config: TrialConfig, data: Path) -> None:
    for language in ("en", "de", "sw"):
        (data / f"test.{language}.jsonl").write_text("{no JSON", encoding="utf-8")
    materials = load(config)
    assert set(materials.evaluation) == set(materials.rows) == {"validation"}
    folder = materials.encoder_folder.parent
    assert not (folder / "test").exists()
    former = np.load(folder / "kept.npy")
    assert not np.isin(load_tokenizer(config.encoder).convert_tokens_to_ids(["mouse", "panya"]), former).any()
    with pytest.raises(UserError, match=r"test\.\w+\.jsonl:1"):
        load(config, ("validation", "test"))
    key = materials_key(config, ("validation", "test"))
    assert cache.found(f"materials-{key}") is None, "nothing half made is left behind"


def test_arrays_are_mapped_not_read_and_cannot_be_written(config: TrialConfig) -> None:
    for name, encoded in parts(load(config)).items():
        folder = prepare(config) / name.partition(".")[0]
        for field, array in encoded.arrays().items():
            assert isinstance(array, np.memmap), (name, field)
            assert Path(str(array.filename)) == folder / f"{field}.npy", "languages of a split share a file"
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 0


def test_what_is_prepared_is_found_again(config: TrialConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    assert prepared(config) is None
    first = load(config)
    monkeypatch.setattr(module, "build", lambda *_: pytest.fail("built again"))
    assert prepare(config) == prepared(config) == first.encoder_folder.parent
    assert load(apply_point(config, {"training.seed": 3})) is first, "a warm worker keeps them"
    assert [first.remember("key", lambda: 1), first.remember("key", lambda: 2)] == [1, 1]


@pytest.fixture
def synonyms(config: TrialConfig, tmp_path: Path) -> TrialConfig:
    """With words that no other text of train and validation has, one of each being far from all others."""
    resource = tmp_path / "synonyms.json"
    words = {"cat": ["mouse"], "dog": ["panya"], "ran": ["unran"], "sat": ["unsat", "sass"]}
    resource.write_text(json.dumps(words), encoding="utf-8")
    point = {"augmentation.method": "synonyms", "augmentation.copies": 2, "augmentation.resource": str(resource)}
    return apply_point(config, point)


def test_seeds_share_all_but_what_they_train_on(config: TrialConfig, synonyms: TrialConfig) -> None:
    plain = load(config)
    seeds = [load(apply_point(synonyms, {"training.seed": seed})) for seed in range(3)]
    for materials in seeds:
        assert materials.encoder_folder == plain.encoder_folder
        assert prepare(synonyms) == plain.encoder_folder.parent
        assert materials.evaluation is plain.evaluation and materials.rows is plain.rows
        assert materials.remember("key", object) is plain.remember("key", object)
    texts = [sequences(each.train) for each in seeds]
    assert len({str(each) for each in texts}) == len({each.training_norm for each in seeds}) == 3
    assert {each.reference_norm for each in seeds} == {plain.reference_norm} == {plain.training_norm}
    root = plain.encoder_folder.parent.parent
    assert len(list(root.glob("*/encoder"))) == 1, "an encoder is stored once"
    assert load(apply_point(synonyms, {"training.seed": 2})) is seeds[2], "a warm worker keeps them"


def test_a_worker_lets_go_of_the_encoder_before(config: TrialConfig, synonyms: TrialConfig, tmp_path: Path) -> None:
    """With all that was derived of it, copies of a seed included; no collector of garbage is needed for that."""

    class Weights:
        pass

    kept = weakref.ref(load(synonyms).remember("encoder", Weights))
    other = tmp_path / "another"
    shutil.copytree(config.encoder.name_or_path, other)
    gc.disable()
    try:
        assert kept() is not None
        load(apply_point(config, {"encoder.name_or_path": str(other)}))
        assert kept() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("seed", range(3))
def test_a_seeds_words_are_found_trimmed_or_not(synonyms: TrialConfig, encoder: Path, seed: int) -> None:
    """The same tokens, embeddings and reference norm; the words that are added are those that the seed has, no more."""
    own = apply_point(synonyms, {"training.seed": seed})
    trimmed, whole = load(own), load(untrimmed(own))
    kept, table = trimmed.kept, pretrained(encoder)
    assert kept is not None and whole.kept is None and whole.added_words is None
    ids = kept[trimmed.train.ids]
    assert np.array_equal(ids, whole.train.ids)
    assert trimmed.training_norm == whole.training_norm
    norms = table.double().norm(dim=1).numpy()[ids[~trimmed.train.special]]
    assert trimmed.training_norm == pytest.approx(norms.mean(), rel=1e-6)
    count = added_rows(own)
    shared = len(kept) - count
    assert set(kept[shared:]) == set(ids) - set(kept[:shared]), "no word is added that is there, or that is not needed"
    assert count > 0 and added_rows(apply_point(own, {"training.seed": 99})) == 0
    plain = apply_point(own, {"augmentation.method": "none"})
    assert (trained(own) or 0) == (trained(plain) or 0) + count * table.shape[1], "they take place in checkpoints"
    model = load_encoder(own.encoder, False, trimmed.encoder_folder)
    model.freeze(embeddings=bool(seed % 2), lower_layers=0)
    assert trimmed.added_words is not None
    extend(model, trimmed.added_words)
    assert torch.equal(model.table, table[torch.from_numpy(kept)])
    words = model.model.get_input_embeddings()
    assert words.weight.requires_grad == (seed % 2 == 0) and words.num_embeddings == len(kept)


def test_copies_and_their_originals_are_prepared_in_pairs(config: TrialConfig, tmp_path: Path) -> None:
    resource = tmp_path / "synonyms.json"
    resource.write_text(json.dumps({"cat": ["mouse"], "dog": ["mouse"]}), encoding="utf-8")
    synonyms = {"augmentation.method": "synonyms", "augmentation.copies": 2, "augmentation.resource": str(resource)}
    alone = load(apply_point(config, synonyms))
    paired = load(apply_point(config, {**synonyms, "perturbation.method": "ear", "perturbation.attention_layer": 0}))
    assert alone.originals is None and paired.originals is not None
    former = paired.kept
    assert former is not None
    number = load_tokenizer(config.encoder).convert_tokens_to_ids
    texts = [text.split() for text, _ in ROWS["train.en"]]
    assert [former[each].tolist()[1:-1] for each in sequences(paired.originals)] == [number(text) for text in texts]
    copies = [former[each].tolist()[1:-1] for each in sequences(paired.train)]
    assert len(copies) == 2 * len(texts)
    for copy, text in zip(copies, [text for text in texts for _ in range(2)], strict=True):
        either = [{*number([word]), *(number(["mouse"]) if word in ("cat", "dog") else [])} for word in text]
        assert all(word in each for word, each in zip(copy, either, strict=True))
    assert number("mouse") in {word for copy in copies for word in copy}
    assert sequences(alone.train) == sequences(paired.train)
    assert paired.copies_folder == alone.copies_folder, "nothing but the originals is more, and all seeds share those"
    with pytest.raises(UserError, match=r"needs augmentation\.method synonyms"):
        prepare(apply_point(config, {"perturbation.method": "ear"}))
