"""Training on two segmentations: what the second views are, and the loss against its formula, text by text."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor

from tests.conftest import REPOSITORY
from tests.trainables import tiny
from tests.trainables.model.kinds_of_tokenizer import of_texts
from tests.trainables.steps import stepped
from trainables.batch import Batch, Encoded
from trainables.config import TrialConfig
from trainables.distributed import Group
from trainables.errors import UserError
from trainables.loading import apply_point
from trainables.materials import fitting, keys
from trainables.materials import materials as materials_of
from trainables.materials.materials import Materials
from trainables.model.pretrained import load_tokenizer
from trainables.storage.checkpoint import trainable_weights
from trainables.tasks.base import IGNORED, Row, collate
from trainables.training.export import export
from trainables.training.loop import fit
from trainables.training.step import _backward
from trainables.training.trial import Trial, start

DATA = REPOSITORY / "tests" / "data"
TASKS = {"classification": "pairs", "tagging": "names", "span": "questions", "choice": "choices"}
WEIGHT, TEMPERATURE = 0.8, 2.0


def texts(value: Any) -> list[str]:
    """All strings in a row."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [text for each in inner for text in texts(each)]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny one whose tokenizer has several segmentations of nearly every word of the miniature tasks."""
    folder = tiny.write(tmp_path_factory.mktemp("encoder"), "xlm-roberta")
    rows = [json.loads(line) for file in sorted(DATA.glob("*/*.jsonl")) for line in file.read_text().splitlines()]
    of_texts([text for row in rows for text in texts(row)]).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDY_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def configured(encoder: Path, shape: str, **point: Any) -> TrialConfig:
    base = TrialConfig.model_validate(
        {
            "task": {"name": str(DATA / f"{TASKS.get(shape, shape)}.yaml"), "max_length": 120},
            "encoder": {"name_or_path": str(encoder), "dropout": 0.0},
            "training": {"batch_size": 3, "budget": {"steps": 4}, "learning_rate": 1e-3, "warmup_fraction": 0.0},
            "perturbation": {"method": "mvr", "view": {"weight": WEIGHT, "temperature": TEMPERATURE}},
        }
    )
    return apply_point(base, {key.replace("__", "."): value for key, value in point.items()})


def begun(config: TrialConfig, folder: Path) -> Trial:
    torch.set_num_threads(1)
    return start(config, materials_of.load(config), Group(), folder)


def names(materials: Materials, config: TrialConfig, encoded: Encoded, item: int) -> list[str]:
    """Pieces of an item by name, special ones left out."""
    c = materials.shape.sequences_per_item
    where = slice(int(encoded.offsets[item * c]), int(encoded.offsets[(item + 1) * c]))
    ids, special = encoded.ids[where], encoded.special[where]
    rows = ids if materials.kept is None else materials.kept[ids]
    return list(load_tokenizer(config.encoder).convert_ids_to_tokens(rows[~special].tolist()))


def view_of(materials: Materials, epoch: int, item: int) -> Encoded:
    assert materials.views is not None
    found = materials.views(epoch, item)
    assert found is not None
    return found


@pytest.mark.parametrize("trim", [True, False], ids=["trimmed", "whole"])
@pytest.mark.parametrize("shape", TASKS)
def test_a_second_view_is_the_same_text_and_has_its_label(shape: str, trim: bool, encoder: Path) -> None:
    config = configured(encoder, shape, encoder__trim_vocabulary=trim, perturbation__view__alpha=0.0)
    materials = materials_of.load(config)
    train, differ = materials.train, 0
    for item in range(len(train)):
        own = names(materials, config, train, item)
        for epoch in range(3):
            view = view_of(materials, epoch, item)
            assert (view.ids >= 0).all(), "every piece has a row"
            pieces = names(materials, config, view, 0)
            assert "".join(pieces) == "".join(own) and "<unk>" not in pieces
            differ += pieces != own
            if shape in ("classification", "choice"):
                assert view.labels.tolist() == train.item_labels(item).tolist()
            elif shape == "tagging":
                assert tagged(view, 0, pieces) == tagged(train, item, own)
            else:
                start, stop = answer(DATA / "questions" / "train.en.jsonl", item)
                for each, number in ((view, 0), (train, item)):
                    first, last = answered(each, number)
                    assert first[0] <= start < first[1] and last[0] < stop <= last[1]
    assert differ > 2 * len(train), "most differ"
    drawn = [{tuple(view_of(materials, epoch, item).ids) for epoch in range(3)} for item in range(len(train))]
    assert all(len(each) > 1 for each in drawn), "anew in each epoch"
    assert view_of(materials_of.load(config), 1, 0).ids.tolist() == view_of(materials, 1, 0).ids.tolist()


def tagged(encoded: Encoded, item: int, pieces: list[str]) -> list[tuple[str, int]]:
    """The words of an item and their tags: each begins with its first piece."""
    labels = encoded.item_labels(item)[1:-1]
    found: list[tuple[str, int]] = []
    for piece, label in zip(pieces, labels.tolist(), strict=True):
        if label != IGNORED:
            found.append((piece, label))
        else:
            found[-1] = (found[-1][0] + piece, found[-1][1])
    return found


def answered(encoded: Encoded, item: int) -> tuple[list[int], list[int]]:
    """Characters of the first and of the last piece of an item's answer."""
    first, last, begin, _, *characters = encoded.item_labels(item).tolist()
    spans = np.asarray(characters).reshape(-1, 2)
    return spans[first - begin].tolist(), spans[last - begin].tolist()


def answer(file: Path, row: int) -> tuple[int, int]:
    """Characters of a row's answer."""
    found = json.loads(file.read_text(encoding="utf-8").splitlines()[row])["answers"]
    return found["answer_start"][0], found["answer_start"][0] + len(found["text"][0])


def test_what_does_not_fit_is_left_out(encoder: Path) -> None:
    config = configured(encoder, "tagging", task__max_length=9, perturbation__view__alpha=0.0)
    materials = materials_of.load(config)
    cut = 0
    for item in range(len(materials.train)):
        assert materials.views is not None
        view = materials.views(0, item)
        own = materials.train.item_labels(item)
        if view is None:
            assert (own == IGNORED).all()
            continue
        scored = [labels[labels != IGNORED].tolist() for labels in (own, view.item_labels(0))]
        common = min(map(len, scored))
        cut += common < len(scored[0])
        assert scored[0][:common] == scored[1][:common], "its own words, from the first"
        places = materials.shape.places(own, view.item_labels(0))
        assert places is not None
        for found, labels in zip(places, (own, view.item_labels(0)), strict=True):
            assert found[found >= 0].tolist() == list(range(common))
            assert ((found < 0) | (labels != IGNORED)).all()
    assert cut


@pytest.mark.parametrize("seed", range(3))
def test_places_of_a_context_are_the_same_characters(seed: int, encoder: Path) -> None:
    config = configured(encoder, "span", task__max_length=40, perturbation__view__alpha=0.0, training__seed=seed)
    materials = materials_of.load(config)
    cut = 0
    for item in range(len(materials.train)):
        view, own = view_of(materials, 0, item), materials.train.item_labels(item)
        places = materials.shape.places(own, view.item_labels(0))
        assert places is not None
        cut += not materials.shape.keeps_label(own, view.item_labels(0))
        stretches = []
        for found, labels in zip(places, (own, view.item_labels(0)), strict=True):
            spans = labels[4:].reshape(-1, 2) - labels[4]
            numbers = found[int(labels[2]) :]
            assert found[0] == 0 and (found[1 : int(labels[2])] == -1).all() and len(numbers) == len(spans)
            stretches.append(
                {n: (int(spans[numbers == n, 0].min()), int(spans[numbers == n, 1].max())) for n in set(numbers) - {-1}}
            )
        assert stretches[0].keys() == stretches[1].keys() == set(range(1, len(stretches[0]) + 1))
        assert [s[0] for s in stretches[0].values()] == [s[0] for s in stretches[1].values()]
        for one, other in zip(stretches[0].values(), stretches[1].values(), strict=True):
            assert one == other
    assert cut, "an answer that the second view has no room for"


def logits_of(trial: Trial, encoded: Encoded, item: int) -> tuple[Tensor, Batch]:
    """Of one item by itself."""
    batch = collate(trial.materials.shape, encoded, [item], trial.materials.pad_id)
    return trial.model.logits(trial.model.embed(batch), batch), batch


def restated(trial: Trial, items: list[int]) -> Tensor:
    """The mean loss of a batch in the first epoch."""
    shape, losses = trial.materials.shape, []
    for item in items:
        view = view_of(trial.materials, 0, item)
        (one, batch), (other, second) = logits_of(trial, trial.materials.train, item), logits_of(trial, view, 0)
        both = (shape.loss(one, batch.labels) + shape.loss(other, second.labels))[0] / 2
        losses.append(both + WEIGHT * apart(trial, one[0] / TEMPERATURE, other[0], batch.labels[0], view, item))
    return torch.stack(losses).mean()


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) of probabilities over the last dimension."""
    return (p * (p / q).log()).sum(-1)


def apart(
    trial: Trial, one: Tensor, other: Tensor, labels: Tensor, view: Encoded, item: int, reverse: bool = False
) -> Tensor:
    """The divergence of two texts' logits, or of the second's from the first's."""

    def kl(p: Tensor, q: Tensor) -> Tensor:
        return divergence(q, p) if reverse else divergence(p, q)

    if one.dim() == 1:
        count = int(labels[1]) if labels.dim() else len(one)
        return kl(one[:count].softmax(0), other[:count].softmax(0))
    theirs = torch.from_numpy(view.item_labels(0))
    if labels.shape == one.shape[:1]:  # tags, of the first pieces of words
        return kl(one[labels != IGNORED].softmax(-1), other[theirs != IGNORED].softmax(-1)).mean()
    sums = []
    for logits, each in ((one, trial.materials.train.item_labels(item)), (other, view.item_labels(0))):
        begin, spans = int(each[2]), each[4:].reshape(-1, 2)
        possible = torch.cat([logits[:1], logits[begin : begin + len(spans)]]).softmax(0)
        sums.append((possible, [int(start) for start, _ in spans]))
    shared = sorted(set(sums[0][1]) & set(sums[1][1]))
    total = torch.zeros(())
    for end in range(2):
        p, q = (
            torch.stack(
                [chances[0, end]]
                + [
                    torch.stack([chances[1 + k, end] for k, s in enumerate(starts) if a <= s < b]).sum()
                    for a, b in zip(shared, [*shared[1:], 10**6], strict=True)
                ]
            )
            for chances, starts in sums
        )
        total = total + kl(p, q) / 2
    return total


@pytest.mark.parametrize("shape", TASKS)
def test_a_training_step_is_the_formula(shape: str, encoder: Path, tmp_path: Path) -> None:
    trial = begun(configured(encoder, shape), tmp_path)
    items = trial.batches.at(0)
    parameters = {name: p for name, p in trial.model.named_parameters() if p.requires_grad}
    expected = restated(trial, items.tolist())
    plain = torch.autograd.grad(expected, list(parameters.values()), allow_unused=True)
    trial.model.train()
    _backward(trial, items, 1 / len(items))
    for (name, parameter), gradient in zip(parameters.items(), plain, strict=True):
        found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        wanted = torch.zeros_like(parameter) if gradient is None else gradient
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")
    trial.optimizer.zero_grad()
    loss, _ = stepped(trial)
    assert loss == pytest.approx(float(expected.detach()), rel=1e-4)


@pytest.fixture(scope="module")
def teachers(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Of a shape, the folder of a model that a first stage has trained."""
    made: dict[str, Path] = {}

    def teacher(shape: str) -> Path:
        if shape not in made:
            folder = tmp_path_factory.mktemp("teacher")
            config = configured(encoder, shape, perturbation__method="xtune", training__seed=7)
            list(fit(begun(config, folder / "checkpoints")))
            made[shape] = folder / "model"
            made[shape].mkdir()
            export(config, folder / "checkpoints", made[shape])
        return made[shape]

    return teacher


def said(folder: Path, trial: Trial, encoded: Encoded, item: int) -> Tensor:
    """What a folder's model says of one item by itself, as transformers loads it."""
    shape, c = trial.materials.shape, trial.materials.shape.sequences_per_item
    model = getattr(transformers, shape.auto_class).from_pretrained(folder).eval()
    kept = trial.materials.kept
    assert kept is not None
    texts_of_item = [torch.from_numpy(kept[encoded.sequence(item * c + k)]) for k in range(c)]
    ids = torch.nn.utils.rnn.pad_sequence(texts_of_item, batch_first=True, padding_value=1)
    ids = ids[None] if shape.auto_class.endswith("MultipleChoice") else ids
    with torch.no_grad():
        output = model(input_ids=ids, attention_mask=(ids != 1).long())
    found: Tensor = output.logits if "logits" in output else torch.stack([output.start_logits, output.end_logits], -1)
    return found[0]


@pytest.mark.parametrize("stage", [1, 2])
@pytest.mark.parametrize(("shape", "classes"), [("classification", 3), ("tagging", 5), ("span", 1), ("choice", 2)])
def test_a_step_of_xtune_is_the_formula(
    shape: str, classes: int, stage: int, encoder: Path, teachers: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = teachers(shape) if stage == 2 else None
    options = {"perturbation__example_weight": 3.0, "perturbation__model_weight": 0.7}
    config = configured(
        encoder, shape, perturbation__method="xtune", perturbation__teacher=folder and str(folder), **options
    )
    trial = begun(config, tmp_path)
    assert trial.perturbation.cost(config.encoder) == 5 + stage
    items, losses = trial.batches.at(0), []
    for item in items.tolist():
        view = view_of(trial.materials, 0, item)
        (one, batch), (other, second) = logits_of(trial, trial.materials.train, item), logits_of(trial, view, 0)
        labels = batch.labels[0]
        loss = trial.materials.shape.loss(one, batch.labels)[0]
        there = apart(trial, one[0].detach(), other[0], labels, view, item)
        back = apart(trial, one[0], other[0].detach(), labels, view, item, reverse=True)
        loss = loss + 3.0 / classes * (there + back)
        if folder is not None:
            taught = said(folder, trial, view, 0)[None]
            loss = loss + 0.7 / classes * trial.materials.shape.divergence(taught, other, second.labels)[0]
        losses.append(loss)
    expected = torch.stack(losses).mean()
    parameters = [p for p in trial.model.parameters() if p.requires_grad]
    plain = torch.autograd.grad(expected, parameters, allow_unused=True)
    trial.model.train()
    _backward(trial, items, 1 / len(items))
    for parameter, gradient in zip(parameters, plain, strict=True):
        found, wanted = (torch.zeros_like(parameter) if g is None else g for g in (parameter.grad, gradient))
        largest = float(wanted.abs().max())
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=2e-6 + 1e-4 * largest)
    trial.optimizer.zero_grad()
    assert stepped(trial)[0] == pytest.approx(float(expected.detach()), rel=1e-4)


def test_copies_may_be_the_second_view(encoder: Path, tmp_path: Path) -> None:
    noise = {"augmentation__method": "character_noise", "augmentation__copies": 2, "augmentation__probability": 0.5}
    point = {"perturbation__method": "xtune", "perturbation__view__kind": "copies"}
    trial = begun(configured(encoder, "classification", **point, **noise), tmp_path)
    items, losses = trial.batches.at(0), []
    assert trial.materials.originals is not None
    for item in items.tolist():
        (one, batch), (other, _) = (
            logits_of(trial, encoded, k)
            for encoded, k in ((trial.materials.originals, item // 2), (trial.materials.train, item))
        )
        p, q = one[0].softmax(0), other[0].softmax(0)
        losses.append(
            trial.materials.shape.loss(one, batch.labels)[0] + 5.0 / 3 * (divergence(p, q) + divergence(q, p))
        )
    assert stepped(trial)[0] == pytest.approx(float(torch.stack(losses).mean().detach()), rel=1e-4)
    with pytest.raises(UserError, match=r"xtune compares examples with copies in other words and needs"):
        fitting.check(configured(encoder, "classification", **point))


def test_xtune_resumes_and_without_a_view_is_clean(
    encoder: Path, teachers: Callable[[str], Path], tmp_path: Path
) -> None:
    point = {"perturbation__method": "xtune", "encoder__dropout": 0.1, "evaluation__every": 2}
    config = configured(encoder, "classification", perturbation__teacher=str(teachers("classification")), **point)
    undisturbed = begun(config, tmp_path / "one")
    *_, last = fit(undisturbed)
    assert last.cost["forward_equivalents"] == 4 * 7
    next(fit(begun(config, tmp_path / "two")))
    resumed = begun(config, tmp_path / "two")
    assert resumed.step == 2 and list(fit(resumed))
    never = apply_point(config, {"perturbation.view.probability": 0.0, "perturbation.teacher": None})
    found = [never, apply_point(never, {"perturbation.method": "none"})]
    trained = [undisturbed, resumed, *(begun(each, tmp_path / str(k)) for k, each in enumerate(found))]
    for trial in trained[2:]:
        list(fit(trial))
    for one, other in (trained[:2], trained[2:]):
        for name, weight in weights_of(one).items():
            assert torch.equal(weights_of(other)[name], weight), name


def test_who_cannot_teach_is_refused_before_anything_is_prepared(
    encoder: Path, teachers: Callable[[str], Path], tmp_path: Path
) -> None:
    point = {"perturbation__method": "xtune"}

    def lines(shape: str, folder: Path) -> list[str]:
        with pytest.raises(UserError) as caught:
            fitting.check(configured(encoder, shape, **point, perturbation__teacher=str(folder)))
        return caught.value.lines

    (line,) = lines("classification", tmp_path / "nowhere")
    assert line.startswith("perturbation.teacher: must be a folder that `study model` has written")
    assert "must have a readable config.json" in lines("classification", tmp_path)[0]
    kind, labels = lines("classification", teachers("tagging"))
    assert "must be a model ForSequenceClassification (got " in kind and "must have the task's labels, yes" in labels
    other = shutil.copytree(teachers("classification"), tmp_path / "other")
    known = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**known, "vocab_size": 17}))
    (line,) = lines("classification", other)
    assert "must share the encoder's vocabulary of" in line and line.endswith("(got 17)")
    (other / "model.safetensors").unlink()
    assert "must have weights in safetensors" in lines("classification", other)[0]


def weights_of(trial: Trial) -> dict[str, Tensor]:
    return trainable_weights(trial.model)


def test_without_a_second_view_training_is_clean_bit_for_bit(encoder: Path, tmp_path: Path) -> None:
    never = {"perturbation__view__probability": 0.0, "encoder__dropout": 0.1}
    found = [
        begun(configured(encoder, "tagging", **never, perturbation__method=method), tmp_path / method)
        for method in ("mvr", "none")
    ]
    (mvr,), (clean,) = (tuple(fit(trial)) for trial in found)
    assert mvr.training["loss"] == clean.training["loss"] and "added_pieces" not in mvr.training
    assert mvr.cost["forward_equivalents"] == clean.cost["forward_equivalents"] == 4 * 3
    for name, weight in weights_of(found[1]).items():
        assert torch.equal(weights_of(found[0])[name], weight), name


@pytest.mark.parametrize("shape", ["classification", "tagging"])
def test_a_resumed_trial_equals_an_undisturbed_one(shape: str, encoder: Path, tmp_path: Path) -> None:
    config = configured(encoder, shape, encoder__dropout=0.1, evaluation__every=2)
    undisturbed = begun(config, tmp_path / "one")
    _first, last = fit(undisturbed)
    assert last.cost["forward_equivalents"] == 4 * 6 and last.training["added_pieces"] > 0.05
    assert last.training["view_divergence"] > 0
    next(fit(begun(config, tmp_path / "two")))
    resumed = begun(config, tmp_path / "two")
    assert resumed.step == 2
    *_, again = fit(resumed)
    assert again.scores == last.scores and again.training["view_divergence"] == last.training["view_divergence"]
    for name, weight in weights_of(undisturbed).items():
        assert torch.equal(weights_of(resumed)[name], weight), name


@pytest.mark.parametrize("method", ["mvr", "xtune"])
def test_an_item_without_a_second_view_counts_as_it_is(method: str, encoder: Path, tmp_path: Path) -> None:
    config = configured(encoder, "tagging", perturbation__method=method)
    found = materials_of.load(config)
    trial, clean = (
        start(each, replace(found, views=views), Group(), tmp_path)
        for each, views in (
            (config, lambda epoch, item: None),
            (apply_point(config, {"perturbation.method": "none"}), None),
        )
    )
    assert stepped(trial)[0] == pytest.approx(stepped(clean)[0], rel=1e-6)
    for name, weight in weights_of(clean).items():
        torch.testing.assert_close(weights_of(trial)[name], weight, rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", ["mvr", "xtune"])
def test_half_precision_trains(method: str, encoder: Path, teachers: Callable[[str], Path], tmp_path: Path) -> None:
    """The teacher computes in full: in half, a head made of the library's parts would say something else."""
    point = {"perturbation__method": method, "perturbation__teacher": str(teachers("classification"))}
    whole, half = (
        stepped(begun(configured(encoder, "classification", **point, training__precision=precision), tmp_path))[0]
        for precision in ("fp32", "bf16")
    )
    assert half == pytest.approx(whole, rel=0.05)


def test_copies_in_other_words_are_segmented_anew_too(encoder: Path) -> None:
    noise = {"augmentation__method": "character_noise", "augmentation__copies": 2, "augmentation__probability": 0.5}
    config = configured(encoder, "classification", **noise)
    materials = materials_of.load(config)
    for item in range(len(materials.train)):
        own, view = (
            names(materials, config, e, i) for e, i in ((materials.train, item), (view_of(materials, 0, item), 0))
        )
        assert "".join(own) == "".join(view)
    assert keys.copies_key(config, ("validation",)) != keys.copies_key(
        apply_point(config, {"perturbation.method": "none"}), ("validation",)
    )


def test_what_has_no_second_segmentation_is_refused(encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"serves all tasks but retrieval \(got task .*translations"):
        fitting.check(configured(encoder, "translations"))
    words = tiny.write(tmp_path / "words", "xlm-roberta")
    with pytest.raises(UserError, match="needs a tokenizer of the kind Unigram, BPE or WordPiece"):
        fitting.check(configured(words, "classification"))


def test_tags_stay_with_their_words_whatever_the_row() -> None:
    """The part of a row that an item shows begins where the one before ended."""
    from trainables.tasks.tagging import Tagging

    row: Row = {"tokens": list("abcdef"), "tags": [0, 1, 2, 0, 1, 2]}
    labels = [[IGNORED, 0, 1, IGNORED], [IGNORED, IGNORED, 2, 0, 1, IGNORED], [IGNORED, IGNORED, IGNORED], [2]]
    encoded = Encoded(
        *(np.zeros(17, t) for t in (np.int32, np.bool_)),  # type: ignore[arg-type]
        offsets=np.cumsum([0, *map(len, labels)]),
        labels=np.asarray(list(chain.from_iterable(labels))),
        label_offsets=np.cumsum([0, *map(len, labels)]),
        rows=np.asarray([0, 0, 0, 0]),
    )
    parts = [Tagging(("x", "y", "z")).part(row, encoded, item) for item in range(4)]
    assert parts[2] is None
    found = [(p["tokens"], p["tags"], p["before"]) for p in parts if p is not None]
    assert found == [(["a", "b"], [0, 1], 0), (["c", "d", "e"], [2, 0, 1], 2), (["f"], [2], 5)]


@pytest.mark.parametrize(("method", "kind"), [("mvr", "segments"), ("xtune", "segments"), ("xtune", "noise")])
def test_the_second_view_has_the_first_ones_mask_or_as_the_authors_have_it_its_own(
    method: str, kind: str, encoder: Path, tmp_path: Path
) -> None:
    """Without noise both views are the same text, and outputs differ by the masks alone."""
    given: dict[str, Any] = {"perturbation__method": method, "perturbation__view__kind": kind}
    given |= {"encoder__dropout": 0.3, "perturbation__sigma": 0.0}
    losses = {}
    for masks in ("one", "two"):
        trial = begun(configured(encoder, "classification", perturbation__view__masks=masks, **given), tmp_path / masks)
        losses[masks], _ = stepped(trial)
    clean = begun(
        configured(encoder, "classification", perturbation__method="none", encoder__dropout=0.3), tmp_path / "none"
    )
    found, _ = stepped(clean)
    if kind == "noise":
        assert losses["one"] == pytest.approx(found, rel=1e-5)
    assert abs(losses["two"] - losses["one"]) > 1e-3
    for point, words in (
        ({"training__gradient_checkpointing": True}, "computes passes again under one mask"),
        ({"encoder__dropout": 0.0}, "there is nothing to mask"),
    ):
        config = configured(encoder, "classification", **{**given, "perturbation__view__masks": "two", **point})
        with pytest.raises(UserError, match=f"perturbation.view.masks: .*{words}"):
            fitting.check(config)
