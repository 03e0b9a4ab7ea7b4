"""The same trials as users of Hugging Face and Ray write them: one side of `peers.py`, in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import mlflow
import numpy as np
import torch
import transformers
from datasets import Dataset, load_from_disk
from torch import Tensor, nn
from transformers import AutoModel, Trainer, TrainingArguments

SIDES = ("transformers, ray", "transformers, optuna", "ray tune, train")


@dataclass(frozen=True)
class Peer:
    """What a side is given: written as JSON by `peers.py`. Data are tokenised beforehand, as on our side."""

    folder: str
    encoder: str
    norm: float
    pad_id: int
    labels: int
    steps: int
    radii: tuple[float, ...]
    frozen_layers: int
    cheap: bool
    """Take every saving that our side takes: no weight gradients in the ascent, batches of like length."""

    @property
    def tracking(self) -> str:
        """Address of the MLflow store."""
        return f"sqlite:///{self.folder}/mlflow.db"


@dataclass
class Arguments(TrainingArguments):
    """Hyperparameter search sets attributes of the arguments, so the radius is one."""

    epsilon: float = field(default=0.0)


class Classifier(nn.Module):
    """Encoder, mean pooling, linear layer."""

    def __init__(self, peer: Peer) -> None:
        super().__init__()
        self.encoder = AutoModel.from_pretrained(peer.encoder, add_pooling_layer=False)
        self.dropout = nn.Dropout(self.encoder.config.hidden_dropout_prob)
        self.classifier = nn.Linear(self.encoder.config.hidden_size, peer.labels)
        if peer.frozen_layers:
            self.encoder.embeddings.requires_grad_(False)
            self.encoder.encoder.layer[: peer.frozen_layers].requires_grad_(False)

    def forward(
        self,
        attention_mask: Tensor,
        input_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> dict[str, Tensor]:
        states = self.encoder(input_ids, attention_mask, inputs_embeds=inputs_embeds).last_hidden_state
        weights = attention_mask[..., None].to(states.dtype)
        logits = self.classifier(self.dropout((states * weights).sum(1) / weights.sum(1)))
        if labels is None:
            return {"logits": logits}
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


class AdversarialTrainer(Trainer):
    """One step of projected gradient on the word embeddings in every training step; scores go to MLflow."""

    def __init__(self, peer: Peer, **options: Any) -> None:
        self.peer = peer
        super().__init__(**options)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        groups = [
            {"params": [p for p in self.model.encoder.parameters() if p.requires_grad], "lr": 2e-4},
            {"params": list(self.model.classifier.parameters()), "lr": 1e-2},
        ]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=0.01, fused=True)
        return self.optimizer

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        if not self.args.epsilon:
            return super().training_step(model, inputs, num_items_in_batch)
        model.train()
        inputs = self._prepare_inputs(inputs)
        ids, mask, labels = inputs["input_ids"], inputs["attention_mask"], inputs["labels"]
        bare = getattr(model, "module", model)  # in a process group the library wraps the model
        embedded = bare.encoder.get_input_embeddings()(ids)
        delta = self._perturbation(bare, embedded, mask, labels)
        loss = model(mask, inputs_embeds=embedded + delta, labels=labels)["loss"]
        self.accelerator.backward(loss)
        return loss.detach()

    def _perturbation(self, model: Any, embedded: Tensor, mask: Tensor, labels: Tensor) -> Tensor:
        radius = self.args.epsilon * self.peer.norm
        tokens = mask[..., None].to(embedded.dtype)
        direction = torch.randn_like(embedded)
        lengths = torch.rand(*embedded.shape[:2], 1) ** (1 / embedded.shape[2])
        delta = radius * lengths * direction / direction.norm(dim=-1, keepdim=True) * tokens
        delta.requires_grad_()
        loss = model(mask, inputs_embeds=embedded.detach() + delta, labels=labels)["loss"]
        if self.peer.cheap:
            (gradient,) = torch.autograd.grad(loss, delta)
        else:
            loss.backward()
            gradient = delta.grad
            model.zero_grad()
        with torch.no_grad():
            delta = delta + radius * gradient / gradient.norm(dim=-1, keepdim=True).clamp_min(1e-12)
            delta = delta * (radius / delta.norm(dim=-1, keepdim=True).clamp_min(radius)) * tokens
        return delta.detach()

    def evaluate(self, *arguments: Any, **options: Any) -> dict[str, float]:
        """Score every language, once each: a dictionary of data sets makes the library call this again for each."""
        metrics = super().evaluate(*arguments, **options)
        if not arguments and "eval_dataset" not in options:
            with mlflow.start_run():
                mlflow.log_param("epsilon", self.args.epsilon)
                mlflow.log_metrics({k: v for k, v in metrics.items() if k.endswith("accuracy")})
        return metrics


def accuracy(result: Any) -> dict[str, float]:
    """Of one language."""
    return {"accuracy": float(np.mean(result.predictions.argmax(-1) == result.label_ids))}


def mean_accuracy(metrics: Mapping[str, float]) -> float:
    """Over all languages, as the objective."""
    return float(np.mean([value for name, value in metrics.items() if name.endswith("_accuracy")]))


class Padding:
    """Dynamic padding: to the longest text of the batch."""

    def __init__(self, pad_id: int) -> None:
        self.pad_id = pad_id

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        ids = [torch.tensor(row["input_ids"]) for row in rows]
        padded = nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=self.pad_id)
        lengths = torch.tensor([len(each) for each in ids])
        mask = (torch.arange(padded.shape[1])[None] < lengths[:, None]).long()
        return {"input_ids": padded, "attention_mask": mask, "labels": torch.tensor([row["labels"] for row in rows])}


def trainer(peer: Peer, epsilon: float = 0.0) -> AdversarialTrainer:
    """Everything that a trial needs; searches run it with other radii."""
    transformers.utils.logging.set_verbosity_error()
    mlflow.set_tracking_uri(peer.tracking)
    data = Path(peer.folder) / "data"
    languages = sorted(p.name for p in (data / "validation").iterdir())
    arguments = Arguments(
        output_dir=f"{peer.folder}/out",
        per_device_train_batch_size=32,
        per_device_eval_batch_size=64,
        max_steps=peer.steps,
        lr_scheduler_type="linear",
        warmup_steps=round(0.1 * peer.steps),
        max_grad_norm=1.0,
        train_sampling_strategy="group_by_length" if peer.cheap else "random",
        save_strategy="no",
        eval_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        remove_unused_columns=False,
        epsilon=epsilon,
    )
    return AdversarialTrainer(
        peer,
        model_init=lambda: Classifier(peer),
        args=arguments,
        data_collator=Padding(peer.pad_id),
        train_dataset=load_from_disk(str(data / "train")),
        eval_dataset={code: load_from_disk(str(data / "validation" / code)) for code in languages},
        compute_metrics=accuracy,
    )


def by_transformers_and_ray(peer: Peer) -> None:
    """`Trainer.hyperparameter_search(backend="ray")`: a process a trial."""
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    trainer(peer).hyperparameter_search(
        backend="ray",
        hp_space=lambda _: {"epsilon": ray.tune.grid_search(list(peer.radii))},
        n_trials=1,
        direction="maximize",
        compute_objective=mean_accuracy,
        resources_per_trial={"cpu": 1},
        storage_path=f"{peer.folder}/ray",
        verbose=0,
    )


def by_transformers_and_optuna(peer: Peer) -> None:
    """`Trainer.hyperparameter_search(backend="optuna")` in two processes, each of which has half of the trials."""
    import multiprocessing

    context = multiprocessing.get_context("spawn")
    halves = [context.Process(target=_search, args=(peer, peer.radii[i::2])) for i in range(2)]
    for each in halves:
        each.start()
    for each in halves:
        each.join()
        assert each.exitcode == 0, "a search failed"


def _search(peer: Peer, radii: tuple[float, ...]) -> None:
    from optuna.samplers import GridSampler

    trainer(peer).hyperparameter_search(
        backend="optuna",
        hp_space=lambda trial: {"epsilon": trial.suggest_categorical("epsilon", radii)},
        n_trials=len(radii),
        direction="maximize",
        compute_objective=mean_accuracy,
        sampler=GridSampler({"epsilon": list(radii)}),
    )


def by_ray_tune_and_train(peer: Peer) -> None:
    """Ray Tune over a function that makes a TorchTrainer of one worker for its trial."""
    import ray
    from ray import tune
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    def train(config: dict[str, Any]) -> None:
        one = trainer(peer, config["epsilon"])
        one.train()
        ray.train.report({"objective": mean_accuracy(one.evaluate())})

    def drive(config: dict[str, Any]) -> None:
        TorchTrainer(
            train,
            train_loop_config=config,
            scaling_config=ScalingConfig(num_workers=1),
            run_config=RunConfig(
                name=f"epsilon-{config['epsilon']:.4f}",
                storage_path=f"{peer.folder}/train",
                callbacks=[TuneReportCallback()],
            ),
        ).fit()

    ray.init(num_cpus=2, resources={"trial_driver": 1000}, include_dashboard=False, log_to_driver=False)
    tune.Tuner(
        tune.with_resources(drive, {"cpu": 0, "trial_driver": 1}),
        param_space={"epsilon": tune.grid_search(list(peer.radii))},
        tune_config=tune.TuneConfig(max_concurrent_trials=2),
        run_config=tune.RunConfig(name="tune", storage_path=f"{peer.folder}/tune", verbose=0),
    ).fit()


def save_data(folder: Path, train: Any, evaluation: Mapping[str, Any]) -> None:
    """Write tokenised text (pairs of ids and labels) where `trainer` finds it."""

    datasets.disable_progress_bars()

    def write(path: Path, rows: tuple[list[list[int]], list[int]]) -> None:
        Dataset.from_dict({"input_ids": rows[0], "labels": rows[1]}).save_to_disk(str(path))

    write(folder / "train", train)
    for code, rows in evaluation.items():
        write(folder / "validation" / code, rows)


def main() -> None:
    """Run one side: its name and the file that describes it are the arguments.

    To be called from an imported module: what Ray and torch pickle must be found in other processes.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    peer = Peer(**json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")))
    run = dict(zip(SIDES, (by_transformers_and_ray, by_transformers_and_optuna, by_ray_tune_and_train), strict=True))
    with contextlib.suppress(SystemExit):
        run[sys.argv[1]](peer)
