"""Every family of encoders, entered at its embeddings, computes what the library computes from token ids."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.trainables import texts
from tests.trainables.model import tiny_families
from tests.trainables.model.tiny_families import CONFIGS, PAD, ROWS
from tests.trainables.steps import stepped
from tests.trainables.team import together
from tests.trainables.texts import Item
from trainables.batch import Batch
from trainables.config import EncoderConfig, TrialConfig
from trainables.distributed import Group
from trainables.errors import UserError
from trainables.loading import apply_point
from trainables.materials import weights
from trainables.model import dropout
from trainables.model.encoder import Encoder, Model
from trainables.model.families import families, number_of
from trainables.model.pretrained import kept_rows, load_encoder, save_encoder, trim
from trainables.storage import checkpoint
from trainables.storage.checkpoint import trainable_weights
from trainables.tasks.classification import Classification
from trainables.training.trial import Trial, start

TOLD = ("xmod", "xlm with languages")
"""Those that are told languages."""

BY_MODULE = ("deberta", "deberta-v2", "mdeberta", "mpnet", "rembert", "roformer")
"""Those that drop attention by an `nn.Dropout` of their own, in the open."""

LENGTHS = (9, 2, 6, 3)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("encoders")
    return {name: tiny_families.write(folder / name.replace(" ", "-"), name) for name in CONFIGS}


_LOADED: dict[Path, Encoder] = {}


def encoder(folders: dict[str, Path], name: str) -> Encoder:
    """A fresh copy."""
    folder = folders[name]
    if folder not in _LOADED:
        _LOADED[folder] = tiny_families.ours(folder)
    return copy.deepcopy(_LOADED[folder])


def batch(name: str, lengths: tuple[int, ...] = LENGTHS, more: int = 0, left: bool = False) -> Batch:
    """Texts whose tokens depend on their place in the batch alone, in languages that take turns."""
    width = max(lengths) + more
    mask = torch.zeros(len(lengths), width, dtype=torch.int64)
    ids = torch.full_like(mask, PAD)
    for row, length in enumerate(lengths):
        tokens = [5 + (7 * row + 3 * k * k) % (ROWS - 5) for k in range(length)]
        place = slice(width - length, width) if left else slice(0, length)
        ids[row, place], mask[row, place] = torch.tensor(tokens), 1
    languages = torch.arange(len(lengths)) % 3 if name in TOLD else None
    return Batch(ids, mask, torch.zeros_like(mask).bool(), mask, mask[:, 0], languages)


def states(of: Model, each: Batch) -> Tensor:
    """At the tokens alone."""
    return of.encoder.states(of.embed(each), each.layout)[each.attention_mask.bool()]


def test_there_is_a_tiny_encoder_of_every_family() -> None:
    kinds = {kind for kind, _ in CONFIGS.values()}
    assert all(kinds & set(family.kinds) for family in families())


@torch.no_grad()
@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
@pytest.mark.parametrize("name", CONFIGS)
def test_states_are_the_librarys_own(folders: dict[str, Path], name: str, left: bool) -> None:
    given = batch(name, left=left)
    of = tiny_families.model(encoder(folders, name))
    options: dict[str, Any] = {}
    if name in tiny_families.ABSOLUTE:
        options["position_ids"] = (given.attention_mask.cumsum(1) - 1).clamp_min(0)
    if name == "xmod":
        options["lang_ids"] = given.languages
    if name == "xlm with languages":
        options["langs"] = given.languages[:, None].expand_as(given.input_ids)  # type: ignore[index]
    library = tiny_families.theirs(folders[name], name)
    if name == "roformer":  # takes no positions and counts from the edge; they are relative, so that it does not matter
        options.pop("position_ids", None)
    expected = library(input_ids=given.input_ids, attention_mask=given.attention_mask, **options).last_hidden_state
    expected = expected[given.attention_mask.bool()]
    assert expected.std() > 0.05
    torch.testing.assert_close(states(of, given), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_gradient_reaches_the_embeddings_of_the_tokens_alone(folders: dict[str, Path], name: str) -> None:
    of, given = tiny_families.model(encoder(folders, name)).train(), batch(name)
    of.encoder.set_dropout(0.0)
    embedded = of.embed(given).detach()
    delta = torch.zeros_like(embedded, requires_grad=True)
    mask = given.attention_mask.bool()
    with torch.no_grad():
        torch.testing.assert_close(of.logits(embedded + delta, given)[mask], of.logits(embedded, given)[mask])
    (
        of.encoder.states(embedded + delta, given.layout)[mask] * torch.linspace(-1, 1, of.encoder.hidden_size)
    ).sum().backward()
    assert delta.grad is not None
    assert (delta.grad[mask].abs().amax(-1) > 0).all()
    assert not delta.grad[~mask].any()


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_neither_padding_nor_neighbours_matter(folders: dict[str, Path], name: str) -> None:
    of = tiny_families.model(encoder(folders, name))

    @settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5), more=st.integers(0, 4), left=st.booleans())
    def check(lengths: list[int], more: int, left: bool) -> None:
        together = states(of, batch(name, tuple(lengths), more, left)).split(lengths)
        for row, found in enumerate(together):
            alone = batch(name, tuple(lengths))
            part = slice(0, lengths[row])
            one = Batch(
                *(each[row : row + 1, part] for each in (alone.input_ids, alone.attention_mask, alone.special)),
                alone.labels, alone.sequence_keys, None if alone.languages is None else alone.languages[row : row + 1],
            )  # fmt: skip
            torch.testing.assert_close(found, states(of, one), rtol=1e-4, atol=1e-5)

    check()


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_trimmed_and_written_it_computes_the_same(folders: dict[str, Path], name: str, tmp_path: Path) -> None:
    whole, trimmed, given = (encoder(folders, name), encoder(folders, name), batch(name))
    tokenizer = SimpleNamespace(pad_token_id=PAD, all_special_ids=[0, 2, 3])
    kept = kept_rows(np.unique(given.input_ids.numpy()), tokenizer, trimmed)
    expected = states(tiny_families.model(whole), given)
    trim(trimmed, kept)
    save_encoder(trimmed, tmp_path / "trimmed")
    again = load_encoder(EncoderConfig(name_or_path="any"), False, tmp_path / "trimmed")
    renumbered = replace(given, input_ids=torch.from_numpy(np.searchsorted(kept, given.input_ids.numpy())))
    for each in (trimmed, again):
        assert each.table.shape[0] == len(kept) < ROWS
        torch.testing.assert_close(states(tiny_families.model(each), renumbered), expected, rtol=0, atol=1e-6)


def test_padding_that_nothing_is_counted_from_needs_no_rows_below_it(folders: dict[str, Path], tmp_path: Path) -> None:
    """EuroBERT's padding is its vocabulary's 128,001st token."""
    tokenizer = SimpleNamespace(pad_token_id=50, all_special_ids=[50, 51])
    whole = encoder(folders, "eurobert")
    whole.model.get_input_embeddings().padding_idx = 50
    kept = kept_rows(np.asarray([7, 9]), tokenizer, whole)
    assert kept.tolist() == [7, 9, 50, 51]
    trim(whole, kept)
    save_encoder(whole, tmp_path / "trimmed")
    again = load_encoder(EncoderConfig(name_or_path="any"), False, tmp_path / "trimmed")
    assert again.model.get_input_embeddings().padding_idx == again.model.config.pad_token_id == 2
    roberta = encoder(folders, "xlm-roberta")
    assert kept_rows(np.asarray([7, 9]), SimpleNamespace(pad_token_id=3, all_special_ids=[4]), roberta).tolist() == [
        0, 1, 2, 3, 4, 7, 9,
    ]  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_frozen_states_and_packing_give_the_same_where_they_are_used(
    folders: dict[str, Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    of, given = encoder(folders, name), batch(name)
    if of.family.shares_layers:
        return
    of.freeze(embeddings=True, lower_layers=1)
    plain = of.family.plain
    assert of.frozen_layers == plain
    of = tiny_families.model(of)
    assert of.encoder.packs(given.layout) == plain
    if plain:
        with of.encoder.above_frozen() as seen:
            expected = of.logits(of.embed(given), given)
        assert torch.equal(of.upper_logits(seen[0], given), expected)
        packed = states(of, given)
        monkeypatch.setattr(Encoder, "packs", lambda *_: False)
        torch.testing.assert_close(states(of, given), packed, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("embeddings", [False, True])
def test_what_is_frozen_is_what_is_not_counted(folders: dict[str, Path], name: str, embeddings: bool) -> None:
    of = encoder(folders, name)
    layers = 0 if of.family.shares_layers else 1
    of.freeze(embeddings, layers)
    config = EncoderConfig(name_or_path=str(folders[name]), freeze_embeddings=embeddings, freeze_lower_layers=layers)
    shapes = weights.stored(folders[name])
    assert shapes is not None
    trained = {n: p for n, p in of.model.named_parameters() if p.requires_grad}
    assert weights.count(shapes, config) == sum(p.numel() for p in trained.values())
    assert of.model.get_input_embeddings().weight.requires_grad != embeddings
    below = [p for p in of.family.layers_of(of.model)[0][0].parameters() if p.requires_grad]
    assert bool(below) == (layers == 0)
    assert weights.longest_input(config) == (
        None if "t5" in name else {True: 38, False: 40}[of.family.counts_from_padding]
    )


def test_layers_that_are_one_cannot_be_frozen_alone(folders: dict[str, Path]) -> None:
    with pytest.raises(UserError, match=r"freeze_lower_layers: must be 0, all layers of albert .* \(got 1\)"):
        encoder(folders, "albert").freeze(embeddings=False, lower_layers=1)


@pytest.mark.parametrize("name", CONFIGS)
def test_dropout_is_everywhere_and_one_for_all_passes(folders: dict[str, Path], name: str) -> None:
    of, given = tiny_families.model(encoder(folders, name)), batch(name)
    expected = states(of, given)
    of.train()
    of.encoder.set_dropout(0.0)
    torch.testing.assert_close(states(of, given), expected, rtol=1e-5, atol=1e-5)
    of.encoder.set_dropout(0.5)
    used: dict[int, int] = {}
    for module in of.modules():
        if isinstance(module, dropout.SharedDropout):
            module.register_forward_hook(lambda m, *_: used.update({m.place: used.get(m.place, 0) + 1}))

    def passed(seed: int) -> Tensor:
        of.masks.begin(seed)
        used.clear()
        torch.manual_seed(seed)
        return states(of, given).detach()

    first = passed(1)
    assert all(count == 1 for count in used.values())
    torch.manual_seed(1)
    again = states(of, given)
    assert torch.equal(first, again)
    assert not torch.allclose(passed(2), first)
    assert not any("drop" in key and isinstance(m, nn.Identity) for key, m in of.named_modules())
    assert 0 <= of.encoder.own_dropout < 1


@pytest.mark.parametrize("name", [name for name in CONFIGS if name not in BY_MODULE])
def test_attention_is_dropped_as_well(folders: dict[str, Path], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every dropout of states is undone, what remains is that of attention."""
    of, given = tiny_families.model(encoder(folders, name)), batch(name)
    expected = states(of, given)
    of.train()
    of.encoder.set_dropout(0.5)
    of.masks.begin(3)
    monkeypatch.setattr(nn.Dropout, "forward", lambda self, x: x)
    monkeypatch.setattr(dropout.SharedDropout, "forward", lambda self, x: x)
    drop = torch.nn.functional.dropout

    def of_attention(x: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
        return drop(x, p, training) if x.dim() == 4 else x

    monkeypatch.setattr(torch.nn.functional, "dropout", of_attention)
    assert not torch.allclose(states(of, given), expected, atol=1e-3)


# Trials


BASE = TrialConfig.model_validate(
    {
        "training": {"batch_size": 4, "budget": {"steps": 8}, "learning_rate": 1e-2, "warmup_fraction": 0.0},
        "perturbation": {"method": "adversarial", "epsilon": 0.3},
    }
)
METHODS = ("adversarial", "freelb", "smart", "random_perturbation", "ear")


def begun(folders: dict[str, Path], name: str, config: TrialConfig, directory: Path) -> Trial:
    """A trial of a tiny encoder on some texts of several lengths."""
    train = [
        Item(((0, *(5 + (row + 3 * k) % 50 for k in range(2 + row % 4)), 2),), (row % 2,), row) for row in range(8)
    ]
    shape = Classification(("no", "yes"), pair=False)
    materials = texts.write(shape, {"en": train}, {"en": [{"label": item.labels[0]} for item in train]}, train, 0.5)
    if name in TOLD:
        materials = replace(materials, train=replace(materials.train, languages=np.zeros(len(train), np.int64)))
    if config.perturbation.method == "ear":
        materials = replace(materials, originals=materials.train)
    materials.remember("encoder", lambda: encoder(folders, name))
    return start(config, materials, Group(), directory)


def copied(trial: Trial) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in trainable_weights(trial.model).items()}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", CONFIGS)
def test_every_method_trains_it(folders: dict[str, Path], name: str, method: str, tmp_path: Path) -> None:
    point = {"perturbation.method": method}
    if method == "ear":
        point |= {"augmentation.method": "synonyms", "augmentation.copies": 1, "perturbation.attention_layer": 1}  # type: ignore[dict-item]
    trial = begun(folders, name, apply_point(BASE, point), tmp_path)
    before = copied(trial)
    losses = [stepped(trial)[0] for _ in range(2)]
    assert all(map(math.isfinite, losses))
    after = copied(trial)
    still = {n for n, tensor in after.items() if torch.equal(tensor, before[n])}
    assert not any("layer" in n or "attentions" in n or "block" in n for n in still if "bias" not in n), still


def test_attention_that_is_not_shown_is_one_line(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    of, given = tiny_families.model(encoder(folders, "bert")), batch("bert")
    monkeypatch.setattr(type(of.encoder.model), "forward", lambda *_, **__: SimpleNamespace(attentions=None))
    with pytest.raises(UserError, match=r"^perturbation.method: compares attention, which bert encoders do not show"):
        of.inside(of.embed(given), given, 0)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_resumed_trial_equals_an_undisturbed_one(folders: dict[str, Path], name: str, tmp_path: Path) -> None:
    whole = begun(folders, name, BASE, tmp_path / "whole")
    first = begun(folders, name, BASE, tmp_path / "halves")
    for trial in (whole, first):
        stepped(trial)
    checkpoint.save(tmp_path / "halves", first.step, first.model, first.optimizer, [])
    resumed = begun(folders, name, BASE, tmp_path / "halves")
    assert resumed.step == 1
    for trial in (whole, resumed):
        stepped(trial)
    expected = copied(whole)
    assert all(torch.equal(tensor, expected[n]) for n, tensor in copied(resumed).items())


def assert_two_workers_take_the_steps_of_one(
    folders: dict[str, Path], name: str, config: TrialConfig, tmp_path: Path
) -> None:
    alone = begun(folders, name, config, tmp_path)
    trials = [begun(folders, name, config, tmp_path) for _ in range(2)]
    losses = [stepped(alone)[0] for _ in range(2)]

    def work(group: Group) -> list[float]:
        trials[group.rank].group = group
        return [stepped(trials[group.rank])[0] for _ in range(2)]

    for found in together(2, work):
        assert found == pytest.approx(losses, rel=1e-4)
    expected = copied(alone)
    for trial in trials:
        for key, tensor in copied(trial).items():
            torch.testing.assert_close(tensor, expected[key], rtol=0, atol=5e-4, msg=key)


@pytest.mark.parametrize("name", ["xlm with languages", "modernbert", "mt5"])
def test_two_workers_take_the_steps_of_one(folders: dict[str, Path], name: str, tmp_path: Path) -> None:
    config = apply_point(BASE, {"encoder.dropout": 0.0, "training.learning_rate": 1e-3})
    assert_two_workers_take_the_steps_of_one(folders, name, config, tmp_path)


def test_numbers_of_languages() -> None:
    numbers: dict[str | None, int] = {"en_XX": 0, "zh_CN": 1, "zh_TW": 2, "tl_XX": 3}
    assert [number_of(code, numbers) for code in ("en", "zh", "zh-TW", "fil", "sw")] == [0, 1, 2, 3, None]
    assert number_of("sw", {**numbers, None: 0}) == 0


def test_a_layout_without_the_languages_that_it_is_told_is_a_mistake(folders: dict[str, Path]) -> None:
    for name in TOLD:
        with pytest.raises(AssertionError, match="no known language"):
            states(tiny_families.model(encoder(folders, name)), replace(batch(name), languages=None))


def test_the_language_is_used(folders: dict[str, Path]) -> None:
    for name in TOLD:
        of, given = tiny_families.model(encoder(folders, name)), batch(name)
        other = replace(given, languages=torch.tensor([1, 1, 2, 0]))
        one, two = (list(states(of, each).split(LENGTHS)) for each in (given, other))
        same = [torch.allclose(a, b) for a, b in zip(one, two, strict=True)]
        assert same == [False, True, True, True], name
