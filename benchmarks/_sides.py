"""The sides of `accelerator.py`: our step and evaluation, `transformers.Trainer`, and the forward pass alone.

All take the same random token ids, every text of the same number of tokens, and random weights in the same shape. Needs
torch, transformers and what `trainables` needs to train: no Ray, Optuna, MLflow or datasets.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
    XLMRobertaModel,
)

from trainables.batch import Encoded
from trainables.config import Budget, PerturbationConfig, TrainingConfig, TrialConfig
from trainables.distributed import Group
from trainables.materials.materials import Materials
from trainables.model.encoder import Encoder
from trainables.model.pretrained import save_encoder
from trainables.scoring.evaluation import evaluate
from trainables.tasks.classification import Classification
from trainables.training.step import train_step
from trainables.training.trial import start

LABELS = ("entailment", "neutral", "contradiction")
BEGIN, PAD, END, FIRST_WORD = 0, 1, 2, 5
"""XLM-R's special tokens, and the first id behind them."""

ALONE = 4
"""Batches of the training's micro-batch that the forward pass alone takes at once."""


@dataclass(frozen=True)
class Shape:
    """An encoder with random weights."""

    name: str
    layers: int
    hidden: int
    heads: int
    vocabulary: int = 250_002

    def config(self) -> XLMRobertaConfig:
        """The library's description of it."""
        return XLMRobertaConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.hidden,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            intermediate_size=4 * self.hidden,
            max_position_embeddings=514,
            type_vocab_size=1,
            layer_norm_eps=1e-5,
            num_labels=len(LABELS),
        )


@dataclass(frozen=True)
class Setting:
    """What all sides have in common. A step is `accumulated` micro-batches of `texts` texts of `tokens` tokens."""

    device: torch.device
    precision: str
    texts: int
    tokens: int
    accumulated: int
    evaluated: int
    """Texts of an evaluation, in each of two languages."""
    warmup: int
    """Steps that are not timed."""
    rounds: int
    """Times that are taken, of which the median counts."""
    steps: int
    """Steps of a round, without a synchronisation between them, as in training."""

    @property
    def step_texts(self) -> int:
        """Texts of an optimiser step."""
        return self.texts * self.accumulated

    @property
    def step_tokens(self) -> int:
        """Tokens of an optimiser step."""
        return self.step_texts * self.tokens

    def synchronise(self) -> None:
        """Wait until the device has done all that it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


@dataclass(frozen=True)
class Timed:
    """What one side took. `seconds` are of each round's step, or of each pass over `tokens` tokens."""

    seconds: list[float]
    tokens: int
    operations: float = 0.0
    """Floating-point operations of those tokens: 2 for each parameter outside of the embeddings, token and pass."""
    memory: int | None = None
    """Most bytes that tensors took on the device at once."""


class OutOfTimeError(Exception):
    """The time limit came before anything was measured."""


@dataclass
class Stopwatch:
    """Takes the times of rounds until there are enough, or the time limit comes."""

    setting: Setting
    deadline: float
    """On `time.monotonic`."""

    def rounds(self, step: Callable[[], object], steps: int, warmup: int) -> list[float]:
        """Seconds of one call of `step` in each round of `steps` calls. Raises `OutOfTimeError`."""
        for _ in range(warmup):
            step()
            self.setting.synchronise()
            if time.monotonic() > self.deadline:
                raise OutOfTimeError
        found: list[float] = []
        while len(found) < self.setting.rounds and (not found or time.monotonic() < self.deadline):
            began = time.perf_counter()
            for _ in range(steps):
                step()
            self.setting.synchronise()
            found.append((time.perf_counter() - began) / steps)
        return found


class Sides:
    """One shape's sides, which share data and a folder of weights."""

    def __init__(self, shape: Shape, setting: Setting, folder: Path, deadline: float) -> None:
        self.shape, self.setting, self.folder = shape, setting, folder
        self.watch = Stopwatch(setting, deadline)
        with setting.device:
            encoder = Encoder(XLMRobertaModel(shape.config(), add_pooling_layer=False), uses_segments=False)
        embeddings = sum(p.numel() for p in encoder.model.embeddings.parameters())
        self.parameters = sum(p.numel() for p in encoder.parameters()) - embeddings
        """Parameters outside of the embeddings, which multiply nothing."""
        save_encoder(encoder, folder / "encoder")
        self.materials = random_materials(shape, setting, folder / "encoder", float(encoder.table.norm(dim=-1).mean()))

    def step(self, method: str, ascent_steps: int) -> Timed:
        """Our optimiser step with a method of training."""
        setting = self.setting
        trial = start(
            self._config(method, ascent_steps), self.materials, Group(device=setting.device), self.folder / "trial"
        )
        seconds = self.watch.rounds(lambda: train_step(trial), setting.steps, setting.warmup)
        operations = 2.0 * self.parameters * trial.perturbation.forward_equivalents * setting.step_tokens
        return Timed(seconds, setting.step_tokens, operations)

    def evaluation(self) -> Timed:
        """Our evaluation of two languages, scores included."""
        setting, group = self.setting, Group(device=self.setting.device)
        config = self._config("none", 0)
        trial = start(config, self.materials, group, self.folder / "trial")

        def run() -> None:
            with torch.autocast(setting.device.type, dtype=half(setting.precision)):
                evaluate(trial.model, self.materials, "validation", None, config.evaluation, group)

        tokens = 2 * setting.evaluated * setting.tokens
        return Timed(self.watch.rounds(run, 1, 1), tokens, 2.0 * self.parameters * tokens)

    def forward(self) -> Timed:
        """The library's encoder in half precision, over tokens that lie on the device already."""
        setting = self.setting
        with setting.device:
            model = XLMRobertaModel(self.shape.config(), add_pooling_layer=False).to(half(setting.precision)).eval()
        texts = np.concatenate([e.ids for e in self.materials.evaluation["validation"].values()])
        ids = torch.from_numpy(texts.astype(np.int64)).to(setting.device).view(-1, setting.tokens)

        @torch.inference_mode()
        def run() -> None:
            for batch in ids.split(ALONE * setting.texts):
                model(input_ids=batch)  # no mask, since there is no padding

        return Timed(self.watch.rounds(run, 1, 1), ids.numel(), 2.0 * self.parameters * ids.numel())

    def trainer(self, half_precision: bool) -> Timed:
        """`transformers.Trainer` with its defaults but for what is trained on; where asked for, in half precision."""
        setting = self.setting
        with setting.device:
            model = XLMRobertaForSequenceClassification(self.shape.config())
        clock = _Clock(self.watch)
        arguments = TrainingArguments(
            output_dir=str(self.folder / "trainer"),
            per_device_train_batch_size=setting.texts,
            gradient_accumulation_steps=setting.accumulated,
            max_steps=setting.warmup + setting.rounds * setting.steps,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=setting.device.type == "cpu",
            **({setting.precision: True} if half_precision else {}),
        )
        trainer = Trainer(model=model, args=arguments, train_dataset=_examples(self.materials.train), callbacks=[clock])
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        if not clock.seconds:
            raise OutOfTimeError
        return Timed(clock.seconds, setting.step_tokens, 6.0 * self.parameters * setting.step_tokens)

    def _config(self, method: str, ascent_steps: int) -> TrialConfig:
        """A trial as studies have it, but for the vocabulary, which stays whole as on the other sides."""
        setting = self.setting
        return TrialConfig(
            training=TrainingConfig(
                batch_size=setting.step_texts,
                micro_batch_size=setting.texts,
                budget=Budget(steps=setting.warmup + setting.rounds * setting.steps),
                precision=setting.precision,  # type: ignore[arg-type]
            ),
            perturbation=PerturbationConfig(method=method, ascent_steps=ascent_steps),
        )


class _Clock(TrainerCallback):
    """Times the Trainer's steps in rounds, as `Stopwatch` does ours."""

    def __init__(self, watch: Stopwatch) -> None:
        self.watch, self.seconds, self.began = watch, list[float](), 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **options: Any) -> None:
        """After each optimiser step."""
        setting = self.watch.setting
        timed = state.global_step - setting.warmup
        if timed >= 0 and timed % setting.steps == 0:
            setting.synchronise()
            if timed:
                self.seconds.append((time.perf_counter() - self.began) / setting.steps)
            self.began = time.perf_counter()
        if time.monotonic() > self.watch.deadline:
            control.should_training_stop = True


def measured(side: Callable[[], Timed], device: torch.device) -> Timed:
    """What a side took, with the memory that it alone took at most."""
    release(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    found = side()
    memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    return Timed(found.seconds, found.tokens, found.operations, memory)


def release(device: torch.device) -> None:
    """Give back what a side has left on the device."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def half(precision: str) -> torch.dtype:
    """The type behind ``bf16`` and ``fp16``."""
    return {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def random_materials(shape: Shape, setting: Setting, encoder: Path, norm: float) -> Materials:
    """Random texts, all of the same number of tokens, as a task of three classes in two languages."""
    texts = setting.step_texts * 4
    evaluation = {
        code: random_texts(shape, setting.evaluated, setting.tokens, seed) for seed, code in enumerate(("de", "en"), 1)
    }
    return Materials(
        shape=Classification(LABELS, pair=True),
        source_language="en",
        target_languages=("de",),
        train=random_texts(shape, texts, setting.tokens, 0),
        evaluation={"validation": evaluation},
        rows={"validation": {k: [{"label": int(n)} for n in e.labels] for k, e in evaluation.items()}},
        reference_norm=norm,
        pad_id=PAD,
        uses_segments=False,
        encoder_folder=encoder,
        fingerprint="random",
    )


def random_texts(shape: Shape, texts: int, tokens: int, seed: int) -> Encoded:
    """Texts of random words between the special tokens, with random labels."""
    random = np.random.default_rng(seed)
    ids = random.integers(FIRST_WORD, shape.vocabulary, (texts, tokens), dtype=np.int32)
    ids[:, 0], ids[:, -1] = BEGIN, END
    return Encoded(
        ids=ids.reshape(-1),
        special=(ids < FIRST_WORD).reshape(-1),
        offsets=np.arange(texts + 1, dtype=np.int64) * tokens,
        labels=random.integers(0, len(LABELS), texts),
        label_offsets=np.arange(texts + 1, dtype=np.int64),
        rows=np.arange(texts, dtype=np.int64),
    )


def _examples(encoded: Encoded) -> list[dict[str, Any]]:
    """As the Trainer's own collator takes them."""
    return list(_each_example(encoded))


def _each_example(encoded: Encoded) -> Iterator[dict[str, Any]]:
    for item in range(len(encoded)):
        ids = encoded.sequence(item).tolist()
        yield {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": int(encoded.item_labels(item)[0])}
