"""The aligned encoder as a material: made once, shared by all trials, out of other sentences than are evaluated."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import torch

from tests.trainables import tiny
from trainables.alignment import aligned, linking, training
from trainables.alignment.aligned import alignment_key, known, load_pristine, supervision
from trainables.alignment.training import Aligned, Corpus
from trainables.alignment.words import Links
from trainables.config import TaskConfig, TrialConfig
from trainables.errors import UserError
from trainables.loading import apply_point
from trainables.materials import materials as materials_of
from trainables.model.pretrained import load_encoder
from trainables.model.stock import stock
from trainables.tasks.base import collate
from trainables.tasks.plan import Plan
from trainables.tasks.task import load_task
from trainables.training.loop import run_trial
from trainables.training.trial import build_model

MINIATURES = Path(__file__).resolve().parents[2] / "data"
EN = ["A small dog runs home.", "She reads a book.", "We see the red house.", "It is late now.", "He eats an apple."]
DE = ["Ein kleiner Hund rennt heim.", "Er liest.", "Wir sehen das rote Haus.", "Es ist schon spät.", "Er isst Obst."]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("encoder"), "xlm-roberta")


def trial(encoder: Path, folder: Path, **alignment: Any) -> TrialConfig:
    """A trial on pairs of sentences, one of which is among the test's (`She reads a book.`)."""
    folder.mkdir(exist_ok=True)
    # Twenty and more, so that the one that is evaluated is a small part.
    (folder / "en.txt").write_text("\n".join(EN + [f"Number {i} is here." for i in range(30)]) + "\n", encoding="utf-8")
    (folder / "de.txt").write_text(
        "\n".join(DE + [f"Nummer {i} ist hier." for i in range(30)]) + "\n", encoding="utf-8"
    )
    return TrialConfig.model_validate(
        {
            "task": {"name": str(MINIATURES / "pairs.yaml"), "target_languages": ["de"]},
            "encoder": {"name_or_path": str(encoder)},
            "training": {"budget": {"steps": 1}, "batch_size": 2},
            "alignment": {"objective": "sentence_contrastive", "pairs": str(folder), "steps": 2, **alignment},
        }
    )


def test_trials_begin_from_the_aligned_encoder(encoder: Path, tmp_path: Path) -> None:
    config = trial(encoder, tmp_path / "pairs")
    plain = apply_point(config, {"alignment.objective": "none"})
    first, again = load_pristine(config, False), load_pristine(config, False)
    pristine = load_encoder(config.encoder, False)
    states = [torch.cat([p.detach().flatten() for p in each.parameters()]) for each in (first, again, pristine)]
    assert torch.equal(states[0], states[1]) and not torch.equal(states[0], states[2])
    assert known(config) is not None and known(config)["dropped"] == {"de": 1}  # type: ignore[index]
    mine, theirs = (materials_of.load(each) for each in (config, plain))
    assert mine.encoder_folder != theirs.encoder_folder
    assert (
        materials_of.fingerprints(mine.encoder_folder.parent)["encoder"]
        != (materials_of.fingerprints(theirs.encoder_folder.parent)["encoder"])
    )
    *_, evaluation = run_trial(config, tmp_path / "trial")
    assert evaluation.final


def test_a_linear_map_stands_behind_the_last_layer_and_only_for_its_own_language(encoder: Path, tmp_path: Path) -> None:
    """In training and evaluation: of the materials' encoder, and of states that were kept of frozen layers."""
    config = trial(encoder, tmp_path / "pairs", objective="linear_map")
    config = apply_point(
        config, {"encoder.freeze_lower_layers": 2, "encoder.freeze_embeddings": True, "encoder.trim_vocabulary": False}
    )
    materials = materials_of.load(config)
    model = build_model(config, materials, load_encoder(config.encoder, False, materials.encoder_folder))
    model.eval()
    plain = load_encoder(config.encoder, False).eval()
    assert model.encoder.maps is not None
    number = {code: int(each.languages[0]) for code, each in materials.evaluation["validation"].items()}  # type: ignore[index]
    assert number == {"en": 0, "de": 1}
    weight = model.encoder.maps.matrices[1]
    assert not torch.allclose(weight, torch.eye(len(weight)), atol=0.01)
    torch.testing.assert_close(weight @ weight.T, torch.eye(len(weight)))
    for code, encoded in materials.evaluation["validation"].items():
        batch = collate(materials.shape, encoded, range(2), materials.pad_id)
        with torch.no_grad(), model.encoder.above_frozen() as seen:
            states = model.encoder.states(model.embed(batch), batch.layout)
            plainly = plain.states(plain.embed(batch.input_ids), batch.layout)
            expected = torch.stack([torch.stack([weight @ x for x in s]) for s in plainly]) if code == "de" else plainly
            upper, there = model.encoder.upper(seen[0], batch.layout), batch.layout.mask
            torch.testing.assert_close(states[there], expected[there])
            torch.testing.assert_close(upper[there], expected[there])
    with pytest.raises(UserError, match="transformers loads no encoder with maps of languages"):
        stock(model.encoder, model.head, materials.shape.auto_class)
    *_, evaluation = run_trial(config, tmp_path / "trial")
    assert evaluation.final


def test_workers_of_a_trial_load_one_encoder_that_one_of_them_made(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ask at once, neither having it: the second waits for the first, and reads the same bits."""
    config = trial(encoder, tmp_path / "pairs", seed=77)
    built, build, together = [], aligned._build, Barrier(2)

    def counted(config: TrialConfig, folder: Path) -> None:
        built.append(folder)
        build(config, folder)

    def worker(rank: int) -> dict[str, torch.Tensor]:
        together.wait(60)
        return load_pristine(config, False).state_dict()

    monkeypatch.setattr(aligned, "_build", counted)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(worker, range(2))
    assert len(built) == 1
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_what_makes_another_aligned_encoder(encoder: Path, tmp_path: Path) -> None:
    config = trial(encoder, tmp_path / "pairs")
    same = ({"training.seed": 5}, {"perturbation.method": "adversarial"}, {"encoder.pooling": "first"})
    others = ({"alignment.seed": 1}, {"alignment.control": "shuffled"}, {"alignment.anchor": "none"})
    mine = alignment_key(config)
    assert {alignment_key(apply_point(config, point)) for point in same} == {mine}
    assert len({mine, *(alignment_key(apply_point(config, point)) for point in others)}) == 4
    unread = ({"alignment.steps": 7}, {"alignment.learning_rate": 1.0}, {"alignment.temperature": 1.0}, others[-1])
    mapped = [apply_point(config, {"alignment.objective": "linear_map", **point}) for point in ({}, *unread)]
    assert len(set(map(alignment_key, mapped))) == 1 and alignment_key(mapped[0]) != mine
    assert mine not in {alignment_key(apply_point(config, point)) for point in unread}
    (tmp_path / "pairs" / "de.txt").write_text("Anderes.\n" * 35, encoding="utf-8")
    assert alignment_key(config) != mine


def test_links_are_found_once_for_all_objectives(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "cache"))
    calls: list[int | None] = []
    found = linking.links_of

    def counted(*given: Any) -> list[Links]:
        calls.append(given[3])
        return found(*given)

    monkeypatch.setattr(linking, "links_of", counted)
    config = trial(encoder, tmp_path / "pairs", objective="word_l2")
    for point in ({}, {"alignment.objective": "word_contrastive"}, {"alignment.steps": 1}, {"alignment.seed": 7}):
        aligned.prepare(apply_point(config, dict(point)))
    assert calls == [None]
    aligned.prepare(apply_point(config, {"alignment.links_layer": 2}))
    aligned.prepare(apply_point(config, {"alignment.control": "shuffled"}))
    assert calls == [None, 2]


def test_words_of_shuffled_pairs_are_no_translations(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They keep the places of the true pair's, of the built-in aligner as of files: what stands there is another's."""
    seen: dict[str, Corpus] = {}

    def look(_: Any, corpora: Any, *__: Any) -> Aligned:
        seen.update(corpora)
        return Aligned({"de": 1}, 0.0, 0.0)

    monkeypatch.setattr(training, "align", look)
    found = {}
    for control in ("none", "shuffled"):
        config = trial(encoder, tmp_path / "pairs", objective="word_l2", control=control, seed=9)
        (tmp_path / control).mkdir()
        aligned._build(config, tmp_path / control)
        found[control] = seen.pop("de")
    true, other = found["none"], found["shuffled"]
    assert true.source.words == other.source.words and sorted(true.target.words) == sorted(other.target.words)
    assert true.target.words != other.target.words
    assert true.links is not None and other.links is not None and any(true.links)
    for mine, its in zip(true.links, other.links, strict=True):
        assert its <= mine


@pytest.mark.parametrize("control", ["shuffled", "source"])
@pytest.mark.parametrize("objective", ["sentence_contrastive", "word_l2", "linear_map"])
def test_controls_take_the_same_steps_on_no_translations(
    encoder: Path, tmp_path: Path, control: str, objective: str
) -> None:
    config = trial(encoder, tmp_path / "pairs", control=control, objective=objective)
    made = aligned.prepare(config)
    assert made is not None and known(config) is not None
    assert supervision(config.alignment) == ("none" if control == "source" else "parallel")


def test_pairs_of_the_test_itself_are_refused(encoder: Path, tmp_path: Path) -> None:
    config = trial(encoder, tmp_path / "pairs")
    (tmp_path / "pairs" / "en.txt").write_text("She reads a book.\nIt rains in the city.\n", encoding="utf-8")
    (tmp_path / "pairs" / "de.txt").write_text("Sie liest.\nEs regnet.\n", encoding="utf-8")
    with pytest.raises(UserError, match="must be other sentences than those that are evaluated; of 2 pairs 2 are"):
        materials_of.prepare(config)


TEXTS = {
    "pairs": ("de", {"Sie liest ein Buch."}, set()),
    "choices": ("et", {"Lamp kustus.", "Tuba oli pime.", "Ta kuulis nalja."}, {"effect"}),
    "names": ("yo", {"Èkó tóbi ."}, {"Èkó", "tóbi"}),
    "questions": ("th", {"แอนนาขายอะไร", "\ufeffแอนนาขายเรือสีแดงในปี 1990"}, {"เรือสีแดง"}),
    "translations": ("sw", {"The book is new.", "Maji ni baridi."}, set()),
    "paragraphs": (
        "de",
        {"Wer bellt?", "Die Katze schläft nachts.", "Der Hund bellt. Die Katze schläft nachts."},
        {"q1"},
    ),
}
"""Task -> a language, some texts that its rows show, and what they have that is none."""


@pytest.mark.parametrize("name", TEXTS)
def test_every_shape_tells_the_texts_that_must_not_be_trained_on(name: str) -> None:
    language, there, none = TEXTS[name]
    task = load_task(TaskConfig(name=str(MINIATURES / f"{name}.yaml")), ("test",))
    texts = {text for row in task.rows["test"][language] for text in task.shape.texts(row)}
    assert there <= texts and not none & texts


def test_sentences_of_what_is_evaluated_are_left_out_wherever_they_stand(encoder: Path, tmp_path: Path) -> None:
    """As a whole test set of translations, whose rows are lists; within a paragraph; but no single word of a text."""
    config = trial(encoder, tmp_path / "pairs")

    def chosen(task: str, language: str, *pairs: tuple[str, str], data: Path = MINIATURES) -> dict[str, int]:
        folder = tmp_path / task
        folder.mkdir()
        text = "".join(f"{source}\t{target}\n" for source, target in pairs)
        (folder / f"{language}.tsv").write_text(text, encoding="utf-8")
        point = {"task.name": str(data / f"{task}.yaml"), "task.target_languages": [language]}
        asked = apply_point(config, {**point, "alignment.pairs": str(folder)})
        return aligned._chosen(asked, Plan.of(asked.task))[1]

    data = tmp_path / "data"
    shutil.copytree(MINIATURES / "translations", data / "translations")
    text = (MINIATURES / "translations.yaml").read_text(encoding="utf-8")
    own = "{validation: [{split: train, languages: source}], test"
    (data / "translations.yaml").write_text(text.replace("{test", own), encoding="utf-8")
    with (data / "translations" / "test.sw.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"query": "\\"It is late!\\" We eat", "candidate": "-"}\n')
    tested = [("x", "I am going home!"), ("The water is cold", "y"), ("Kitabu ni kipya", "z"), ("We eat.", "zz")]
    with pytest.raises(UserError, match="of 4 pairs 4 are among them, sw 4"):
        chosen("translations", "sw", *tested, data=data)
    many = [(f"Number {i}.", f"Nọ́mbà {i}.") for i in range(20)]
    assert chosen("names", "yo", ("big", "tóbi"), *many) == {}
    assert chosen("questions", "th", ("a boat", "แอนนาขายอะไร"), *many) == {"th": 1}


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="pairs must name a folder"):
        TrialConfig.model_validate({"alignment": {"objective": "word_l2"}})
    with pytest.raises(ValueError, match="links are read by objectives on words alone"):
        TrialConfig.model_validate({"alignment": {"objective": "sentence_contrastive", "pairs": "x", "links": "y"}})
    with pytest.raises(ValueError, match="layer must be null for linear_map"):
        TrialConfig.model_validate({"alignment": {"objective": "linear_map", "pairs": "x", "layer": 1}})
