"""Words replaced until an answer is wrong: the search against a plain one, and tokens against texts."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from tests.trainables import tiny
from tests.trainables.team import together
from trainables.augmentation.words import replace_words
from trainables.batch import Batch
from trainables.config import TrialConfig
from trainables.distributed import Group
from trainables.errors import UserError
from trainables.loading import apply_point, load_config
from trainables.materials.fitting import check
from trainables.materials.keys import materials_key
from trainables.materials.materials import load
from trainables.materials.substitutes import Variant
from trainables.model.encoder import Model
from trainables.model.pretrained import load_tokenizer
from trainables.scores import LanguageScores
from trainables.scoring.evaluation import evaluate
from trainables.scoring.robustness import robust_scores
from trainables.scoring.word_attack import Edit, Outcome, attacked, edited

WORDS = {
    "en": {"big": ["large", "huge"], "cat": ["kitten"], "ran": ["fled", "hurried"], "home": ["house"]},
    "de": {"groß": ["riesig"], "katze": ["mieze", "kätzchen"], "lief": ["rannte"]},
}
TEXTS = {
    "en": ["the big cat ran home", "a cat ran", "Big Cat! big home", "it was there", "ran, ran and ran home"],
    "de": ["die Katze lief weit", "groß und KATZE", "die große Katze lief", "nichts", "lief lief groß"],
    "sw": ["paka alikimbia", "nyumbani", "mkubwa", "paka", "alikuwa"],
}


def variant(place: int, token: int) -> Variant:
    """The only token of the word at a place, replaced."""
    return ((0, place, place + 1, (token,)),)


def plain_attack(loss: Any, words: Sequence[Sequence[Variant]], most: int) -> Outcome:
    """The same search, one query after another; an answer is wrong from a loss of 1 on."""
    if loss(()) >= 1:
        return Outcome(False, False, 0)
    asked: dict[Edit, float] = {(): loss(())}
    used = 0
    probes: list[tuple[float, int]] = []
    for k, word in enumerate(words):
        if used == most:
            break
        used, found = used + 1, loss((word[0],))
        asked[(word[0],)] = found
        if found >= 1:
            return Outcome(True, False, used)
        probes.append((-found, k))
    best: Edit = ()
    for _, k in sorted(probes):
        here = best
        for each in words[k]:
            edit = (*here, each)
            if edit not in asked:
                if used == most:
                    continue
                used, asked[edit] = used + 1, loss(edit)
                if asked[edit] >= 1:
                    return Outcome(True, False, used)
            if asked[edit] > asked[best]:
                best = edit
    return Outcome(True, True, used)


@pytest.mark.parametrize("most", [1, 3, 7, 500])
def test_the_search_is_greedy_within_its_queries(most: int) -> None:
    draw = random.Random(most)
    outcomes = []
    for _ in range(60):
        words = [[variant(k, t) for t in range(1, draw.randint(2, 5))] for k in range(draw.randint(1, 6))]
        own = {each: draw.uniform(-0.2, 0.7) for word in words for each in word}

        def loss(edit: Edit, own: dict[Variant, float] = own) -> float:
            return 0.2 + sum(own[each] for each in edit)

        calls: list[Edit] = []

        def ask(edits: Sequence[Edit], calls: list[Edit] = calls, loss: Any = loss) -> list[tuple[bool, float]]:
            calls += edits
            return [(loss(edit) < 1, loss(edit)) for edit in edits]

        found = attacked(ask, words, most)
        assert found == plain_attack(loss, words, most)
        assert found.queries <= most and len(set(calls)) == len(calls) <= most + 1
        outcomes.append(found)
    assert {each.survived for each in outcomes} == ({True, False} if most > 1 else {True})
    assert attacked(lambda edits: [(False, 2.0) for _ in edits], words, most) == Outcome(False, False, 0)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrialConfig:
    """A task in three languages, of two of which replacements are known."""
    folder = tmp_path_factory.mktemp("words")
    (folder / "own.yaml").write_text("shape: classification\nlabels: [few, many]\nfiles: '{split}.{language}.jsonl'\n")
    (folder / "words.json").write_text(json.dumps(WORDS), encoding="utf-8")
    for language, texts in TEXTS.items():
        for split in ("train", "validation", "test"):
            lines = [json.dumps({"text": t, "label": "many" if t.count(" ") > 1 else "few"}) for t in texts]
            (folder / f"{split}.{language}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return TrialConfig.model_validate(
        {
            "task": {"name": str(folder / "own.yaml"), "max_length": 60},
            "encoder": {"name_or_path": str(tiny.write(folder / "encoder", "xlm-roberta"))},
            "training": {"budget": {"steps": 4}},
            "evaluation": {"attack": {"kind": "words", "resource": str(folder / "words.json"), "queries": 12}},
        }
    )


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path_factory.getbasetemp() / "words-cache"))


def texts_of(text: str, known: dict[str, list[str]]) -> list[list[str]]:
    """Of each word that has replacements, the whole text under each."""
    found: list[list[str]] = []
    for place, word in enumerate(seen := [] or list(map(str.lower, _written(text)))):
        others = []
        for other in sorted(known.get(word, ())):
            numbers = itertools.count()
            others.append(
                replace_words(text, lambda w, o=other, p=place, n=numbers: o if next(n) == p else w)  # type: ignore[misc]
            )
        found += [others] if others else []
    assert seen
    return found


def _written(text: str) -> list[str]:
    words: list[str] = []
    replace_words(text, lambda word: words.append(word) or word)  # type: ignore[func-returns-value]
    return words


def test_an_edits_tokens_are_those_of_the_changed_text(config: TrialConfig) -> None:
    materials, tokenizer = load(config), load_tokenizer(config.encoder)
    whole = materials.kept
    assert whole is not None and list(materials.substitutes["validation"]) == ["de", "en"]
    changed = 0
    for language, items in materials.substitutes["validation"].items():
        for item, words in items.items():
            own = materials.evaluation["validation"][language].pick([item], 1)
            text = materials.rows["validation"][language][item]["text"]
            expected = texts_of(text, WORDS[language])
            found = edited(own, [(each,) for word in words for each in word])
            tokens = [whole[found.sequence(i)].tolist() for i in range(len(found))]
            flat = [each for word in expected for each in word]
            assert sorted(tokens) == sorted(tokenizer(flat)["input_ids"] if flat else [])
            assert set(found.rows) <= {item} and (found.labels == own.labels[0]).all()
            changed += len(flat)
            if len(words) > 1:  # two at once
                both = edited(own, [(words[0][0], words[-1][0])])
                first = _with(text, WORDS[language], 0)
                assert whole[both.sequence(0)].tolist() == tokenizer(_with(first, WORDS[language], -1))["input_ids"]
    assert changed > 20


def _with(text: str, known: dict[str, list[str]], which: int) -> str:
    """A text with its first or last known word under its first replacement."""
    return texts_of(text, known)[which][0]


class Remainder(nn.Module):
    """Answers by the sum of an item's tokens, so that some words decide and others move the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = SimpleNamespace(frozen_layers=0)

    def embed(self, batch: Batch) -> Tensor:
        return batch.input_ids * batch.attention_mask

    def logits(self, embeddings: Tensor, batch: Batch) -> Tensor:
        many = (embeddings.sum(1) % 3).float() - 3 / 2
        return torch.stack([torch.zeros_like(many), many], 1)


def test_scores_are_the_same_for_any_workers_and_batches(config: TrialConfig) -> None:
    materials = load(config)
    model = cast(Model, Remainder())
    clean, _, _ = evaluate(model, materials, "validation", None, config.evaluation, Group())
    scores = robust_scores(model, materials, "validation", config.evaluation, Group())
    assert list(scores) == ["attacked_accuracy_words", "attacked_success_words", "attacked_queries_words"]
    for language in ("de", "en"):
        right = clean["accuracy"][language] * 5
        survived = scores["attacked_accuracy_words"][language] * 5
        assert survived <= right and scores["attacked_accuracy_words"].counts[language] == 5
        assert scores["attacked_success_words"][language] == pytest.approx(1 - survived / right)
        assert scores["attacked_success_words"].counts[language] == right
        assert 0 < scores["attacked_queries_words"][language] <= 12
    assert any(scores["attacked_success_words"].values.values()), "something is at stake"

    def work(group: Group) -> dict[str, LanguageScores]:
        given = config.evaluation.model_copy(update={"token_budget": 64 * group.world})
        return robust_scores(model, materials, "validation", given, group)

    for world in (1, 2):
        assert all(found == scores for found in together(world, work))


def test_what_cannot_be_attacked_is_refused(config: TrialConfig, tmp_path: Path, caplog: Any) -> None:
    tagging = TrialConfig.model_validate({"task": {"name": "udpos"}, "evaluation": {"attack": {"kind": "words"}}})
    with pytest.raises(UserError, match=r"^evaluation\.attack: only for tasks with one answer an example"):
        check(tagging)
    graded = {"task": {"name": "wpr"}, "evaluation": {"attack": {"kind": "words"}, "agreement": True}}
    with pytest.raises(UserError) as caught:
        check(TrialConfig.model_validate(graded))
    assert [line.partition(":")[0] for line in caught.value.lines] == ["evaluation.attack.kind", "evaluation.agreement"]
    other = tmp_path / "other.tsv"
    other.write_text("fr\tchat\tminou\n", encoding="utf-8")
    with pytest.raises(
        UserError, match=r"^evaluation\.attack\.resource: knows no word of the validation rows of de, en"
    ):
        load(apply_point(config, {"evaluation.attack.resource": str(other)}))
    other.write_text("en\tcat\tkitten\n", encoding="utf-8")
    fewer = apply_point(config, {"evaluation.attack.resource": str(other)})
    assert list(load(fewer).substitutes["validation"]) == ["en"]
    assert "no words are known to replace those of de, sw" in caplog.text
    asked = (config, fewer, apply_point(fewer, {"evaluation.attack.queries": 3}))
    assert len({materials_key(each, ("validation",)) for each in asked}) == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{kind: words, epsilon: [0.3]}", "evaluation.attack: kind words reads no epsilon (got (0.3,))"),
        ("{queries: 3}", "evaluation.attack: kind embeddings reads no queries (got 3)"),
        ("{kind: letters}", "evaluation.attack.kind: must be 'embeddings' or 'words'"),
    ],
)
def test_mistakes_in_the_configuration_are_one_line(given: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_config(TrialConfig, None, [f"evaluation.attack={given}"])
    (line,) = caught.value.lines
    assert line.startswith(message), line
