"""What a training step of each method costs, in clean steps, beside the arithmetic of `docs/methods.md`.

A clean step is forward and backward, nothing frozen, no optimiser. Every round times each method between two clean
steps, in CPU seconds of one thread, and takes its ratio to their mean; the table shows the median over rounds and half
the distance of the quartiles. Weights are random: time does not depend on their values. Other work on the machine moves
ratios by several per cent even so: take enough rounds for the spread that is wanted.

    python benchmarks/ascent.py [--hidden 384] [--layers 12] [--batch 4] [--tokens 128] [--rounds 5] [--write]

takes some five minutes of an idle core; `--write` puts the table into docs/performance.md. `ear` is left out: it
computes attention in the open, beside which a clean step by fused kernels is no unit.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from study.question.pages import put
from trainables.config import PerturbationConfig
from trainables.layout import Layout
from trainables.model import dropout
from trainables.model.encoder import Encoder, Model
from trainables.perturbation import create
from trainables.perturbation.base import Other, Perturbable, Perturbation
from trainables.perturbation.carried import Start

ASCENT = 0.676
"""Measured cost of an ascent step in clean steps (12 layers, 128 tokens); by counting passes it is 2/3."""

MIXING = 0.125
"""Measured cost of drawing and mixing weights in clean steps of 512 tokens (4 ns a weight). It is no pass but memory,
as much for a small batch as for a large one: the share holds at the sizes that are the defaults here."""

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
BEGIN, END = "<!-- made by python benchmarks/ascent.py --write -->", "<!-- end of what it made -->"

VOCABULARY = 10_000
"""About what a trimmed one keeps."""

METHODS: list[tuple[str, dict[str, object], float, float]] = [
    ("random_perturbation", {}, 1.0, 0.03),
    ("random_perturbation", {"distribution": "uniform"}, 1.0, 0.03),
    ("adversarial", {"ascent_steps": 1}, 1 + ASCENT, 0.10),
    ("adversarial", {"ascent_steps": 2}, 1 + 2 * ASCENT, 0.10),
    ("adversarial", {"ascent_steps": 3}, 1 + 3 * ASCENT, 0.10),
    ("adversarial", {"ascent_steps": 1, "scope": "sentence"}, 1 + ASCENT, 0.10),
    ("adversarial", {"ascent_steps": 1, "norm": "linf"}, 1 + ASCENT, 0.10),
    ("freelb", {"ascent_steps": 2}, 2.0, 0.10),
    ("freelb", {"ascent_steps": 3}, 3.0, 0.10),
    ("smart", {"ascent_steps": 1}, 2 + ASCENT, 0.10),
    ("vat", {"ascent_steps": 1}, 2 + ASCENT, 0.10),
    ("r3f", {}, 2.0, 0.10),
    ("rdrop", {}, 2.0, 0.10),
    ("mvr", {}, 2.0, 0.10),
    ("xtune", {}, 2.0, 0.10),
    ("xtune", {"teacher": "."}, 2 + 1 / 3, 0.10),
    ("sam", {}, 2.0, 0.10),
    ("asam", {}, 2.0, 0.10),
    ("mixout", {}, 1 + MIXING, 0.10),
    ("villa", {"ascent_steps": 3}, 3 + 1 / 3, 0.10),
    ("creat", {"ascent_steps": 1}, 2 + ASCENT, 0.10),
    ("freeat", {}, 1.0, 0.10),
    ("tavat", {"ascent_steps": 2}, 2.0, 0.10),
    ("bregman", {}, 1 + 1 / 3, 0.10),
    ("smart+bregman", {"ascent_steps": 1}, 2 + ASCENT + 1 / 3, 0.10),
]
"""Method, settings, expected cost, and the share by which it may be missed."""


def main() -> None:
    """Print the table; exit status 1 if a limit is broken."""
    options = _options()
    torch.set_num_threads(1)
    view, parameters = _batch(options.hidden, options.layers, options.batch, options.tokens)

    weights = {name: parameter.detach() for name, parameter in parameters.items()}
    kept = {name: torch.empty_like(weight) for name, weight in weights.items()}

    def begun(method: str, settings: dict[str, object]) -> Perturbation:
        perturbation = create(PerturbationConfig.model_validate({"method": method, **settings}), 1.0)
        if perturbation.weights is not None:
            perturbation.weights.begin(weights)
        if perturbation.carries is not None:
            perturbation.carries.begin(
                Start(weights, torch.arange(VOCABULARY), options.hidden, options.batch, options.tokens, seed=0)
            )
        return perturbation

    def seconds(perturbation: Perturbation) -> float:
        began = time.thread_time()
        with _moved(perturbation, weights, kept, parameters, view, options.batch):
            if perturbation.carries is not None:
                perturbation.carries.forget()
            perturbation.backward(view(), 1.0, 1.0 / options.batch)
        if perturbation.carries is not None:
            perturbation.carries.update(weights, 1.0)
        took = time.thread_time() - began
        for parameter in parameters.values():
            parameter.grad = None
        return took

    unperturbed = begun("none", {})
    methods = [begun(method, settings) for method, settings, _, _ in METHODS]
    for each in (unperturbed, *methods):  # as in training, where the first step is one of many
        seconds(each)
    ratios: list[list[float]] = [[] for _ in METHODS]
    clean: list[float] = []
    for _ in range(options.rounds):
        clean.append(seconds(unperturbed))
        for measured, perturbation in zip(ratios, methods, strict=True):
            took = seconds(perturbation)
            clean.append(seconds(unperturbed))
            measured.append(took / statistics.mean(clean[-2:]))
    head = (
        f"{options.layers} layers of {options.hidden}, {options.batch} sequences of {options.tokens} tokens, "
        f"{options.rounds} rounds; a clean step takes {statistics.median(clean):.3f} CPU seconds, the noise of one "
        f"batch {1000 * _noise_seconds(view()):.2f} ms."
    )
    rows, broken = table(ratios)
    text = "\n".join([head, "", *rows])
    print(text)
    if options.write:
        put(PAGE, text, BEGIN, END)
    raise SystemExit(int(broken > 0))


@contextmanager
def _moved(
    perturbation: Perturbation,
    weights: dict[str, Tensor],
    kept: dict[str, Tensor],
    parameters: dict[str, nn.Parameter],
    view: Callable[[], Perturbable],
    batch: int,
) -> Iterator[None]:
    """What a trial does before the passes that train and after them, where the weights are moved meanwhile."""
    way = perturbation.weights
    if way is None:
        yield
        return
    if way.looks_first:
        perturbation.backward(view(), 1.0, 1.0 / batch)
    for name, weight in weights.items():
        kept[name].copy_(weight)
    way.move(weights, _gradients(parameters), 1.0, lambda name, weight, p, out: dropout.draw(1, weight, p, out))
    for parameter in parameters.values():
        parameter.grad = None
    yield
    for name, before in kept.items():
        weights[name].copy_(before)
    way.bring_back(_gradients(parameters))


def _gradients(parameters: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    return {name: p.grad for name, p in parameters.items() if p.grad is not None}


def table(
    ratios: list[list[float]], methods: list[tuple[str, dict[str, object], float, float]] = METHODS
) -> tuple[list[str], int]:
    """Lines of the table, cost in clean steps (median over rounds) beside the arithmetic; how many limits broke."""
    broken = 0
    titles = ("method", "settings", "clean steps", "spread", "arithmetic", "off by", "limit")
    lines = [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]
    for measured, (method, settings, expected, limit) in zip(ratios, methods, strict=True):
        low, middle, high = statistics.quantiles(measured, n=4)
        off = middle / expected - 1
        kept = abs(off) <= limit
        broken += not kept
        shown = ", ".join(f"{key} {value}" for key, value in settings.items())
        verdict = f"{100 * limit:.0f} % {'kept' if kept else 'BROKEN'}"
        lines.append(
            f"| {method} | {shown} | {middle:.3f} | ± {(high - low) / 2:.3f} | {expected:.3f} "
            f"| {100 * off:+.1f} % | {verdict} |"
        )
    return lines, broken


def _noise_seconds(view: Perturbable) -> float:
    from trainables.perturbation.noise import normal

    took = []
    for _ in range(20):
        began = time.thread_time()
        normal(view.keys, view.draw, view.mask, view.embeddings.shape[2])
        took.append(time.thread_time() - began)
    return min(took)


def _batch(
    hidden: int, layers: int, batch: int, tokens: int
) -> tuple[Callable[[], Perturbable], dict[str, nn.Parameter]]:
    """A function that makes a fresh view of a batch without padding, and the trained parameters."""
    torch.manual_seed(0)
    sizes = {
        "vocab_size": VOCABULARY,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // 32,
        "intermediate_size": 4 * hidden,
        "attn_implementation": "sdpa",
    }
    encoder = Encoder(BertModel(BertConfig(**sizes), add_pooling_layer=False), uses_segments=False).train()
    model = Model(encoder, nn.Linear(hidden, 30))
    teacher = copy.deepcopy(model).eval()
    ids, others = torch.randint(5, VOCABULARY, (2, batch, tokens))
    attention, labels = torch.ones_like(ids), torch.randint(0, 30, (batch,))

    def encoded(embeddings: Tensor, masks: int = 1) -> tuple[Tensor, Tensor]:
        model.masks.use(masks)
        states = encoder.states(embeddings, Layout.of(attention, torch.zeros_like(attention, dtype=torch.bool)))
        return model.head(states[:, 0]), states[:, 0]

    def forward(embeddings: Tensor, masks: int = 1) -> Tensor:
        return encoded(embeddings, masks)[0]

    @torch.no_grad()
    def averaged(added: Tensor | None) -> Tensor:
        clean = encoder.embed(ids)
        return forward(clean if added is None else clean + added)

    def loss(logits: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits, labels, reduction="none")

    def divergence(p: Tensor, q: Tensor) -> Tensor:
        return nn.functional.kl_div(q.log_softmax(1), p.log_softmax(1), reduction="none", log_target=True).sum(1)

    def taught() -> Tensor:
        with torch.no_grad():
            states = teacher.encoder.states(teacher.encoder.embed(others), Layout.of(attention, attention != 1))
            logits: Tensor = teacher.head(states[:, 0])
        return logits

    def other() -> Other:
        """As many tokens, so that what is counted are passes; a real second segmentation has more."""
        return Other(
            forward=forward,
            embeddings=encoder.embed(others),
            mask=attention.bool(),
            there=torch.ones(batch, dtype=torch.bool),
            loss=loss,
            common=lambda p, q: (p, q),
            divergence=divergence,
            own_divergence=divergence,
            taught=taught,
        )

    def view() -> Perturbable:
        model.masks.begin(1)
        return Perturbable(
            forward=forward,
            embeddings=encoder.embed(ids),
            mask=attention.bool(),
            loss=loss,
            divergence=divergence,
            answers=lambda logits: logits.argmax(1),
            keys=torch.arange(batch),
            draw=0,
            forward_again=partial(forward, masks=2),
            words=ids,
            places=torch.arange(batch),
            encoded=encoded,
            averaged=averaged,
            other=other(),
        )

    return view, dict(model.named_parameters())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    for name, default in (("hidden", 384), ("layers", 12), ("batch", 4), ("tokens", 128), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    return parser.parse_args()


if __name__ == "__main__":
    main()
