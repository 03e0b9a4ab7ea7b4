"""What one trial is: a complete, validated, immutable `TrialConfig`.

Every field carries its own documentation, unit and range; the configuration reference is generated from them.
Paths such as ``perturbation.epsilon`` are the same in YAML files, on the command line and in search spaces.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from trainables.languages import Own, facts_problem, own_languages

OFFLINE = "offline:"
"""How the names of encoders begin that come out of installed packages."""

ENCODERS = f"must be {OFFLINE}e5-small, a local folder with safetensors weights, or a hub id and a network to fetch it"
"""What `EncoderConfig.name_or_path` may be, for who refuses it."""

TASK_ROWS = "task"
"""`NoiseConfig.clean` where the clean rows are the task's own."""

PositiveInt = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0.0, le=1.0)]


class Config(BaseModel):
    """Base of every configuration model: immutable, no unknown keys, documented fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)


class LanguageFacts(Config):
    """What one's own task says of a language; none: what the table of languages has, if anything."""

    name: str | None = None
    """Its name."""
    family: str | None = None
    """Its family, as in `group:family:NAME`."""
    script: Annotated[str, Field(pattern=r"^[A-Z][a-z]{3}$")] | None = None
    """Its script (ISO 15924), as in `group:script:CODE`."""
    resource_class: Annotated[int, Field(ge=0, le=5)] | None = None
    """Its resource class, as in `group:class:N`; 0 to 2 are `low_resource`."""
    variant_of: str | None = None
    """The language that it is a variant of, with which it counts once in means."""
    groups: tuple[Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")], ...] = ()
    """Groups of one's own that it is in, as in `group:NAME`."""


def _whole(facts: dict[str, LanguageFacts]) -> dict[str, LanguageFacts]:
    if problem := facts_problem({code: given.model_dump() for code, given in facts.items()}):
        raise ValueError(problem)
    return facts


Facts = Annotated[dict[str, LanguageFacts], AfterValidator(_whole)]
"""What is said of languages, by code, if it adds up."""


class TaskConfig(Config):
    """Which labelled data is trained on and scored."""

    name: str = "intents"
    """Task of the catalogue, or the path of a YAML file that describes one's own task."""
    source_language: str = "en"
    """Language trained on."""
    target_languages: Literal["all"] | tuple[str, ...] = "all"
    """Languages only evaluated: `all` others of the task, or a list of codes."""
    data_dir: Path | None = None
    """Folder of local files that stand in for the hub's."""
    max_length: Annotated[int, Field(ge=8, le=8192)] = 128
    """Longest input, in tokens; longer ones are cut."""
    words: Literal["fused", "syntactic"] | None = None
    """What a word of a CoNLL-U file is: a token as it is written, as in XTREME, or one of its syntactic words; left
    out: as the task says, none: syntactic."""
    candidates: Literal["evaluated"] | None = None
    """Of Mewsli-X, whose million candidates are described in 50 languages: only those of the languages that are
    evaluated, and what is meant; the task says so itself."""
    facts: Facts = Field(default_factory=dict)
    """Languages by code of which one's own task says more, or otherwise, than the table; beside those of its file."""

    @property
    def own(self) -> Own:
        """`facts` over what the table of languages has, as `languages.language` and the others take them."""
        return own_languages({code: given.model_dump() for code, given in self.facts.items()})

    @property
    def title(self) -> str:
        """Its name, what its words are where that is a choice, and whether its candidates are cut."""
        said = [f"{self.words} words"] if self.words else []
        said += ["candidates of the evaluated languages only"] if self.candidates else []
        return f"{self.name} ({', '.join(said)})" if said else self.name


class AdapterConfig(Config):
    """The few parameters that are trained of an encoder in place of all of its own."""

    method: Literal["none", "lora", "ia3", "bitfit"] = "none"
    """`none` trains the encoder's own; `lora` adds products of two narrow matrices to linear layers (arXiv 2106.09685),
    `ia3` scales what leaves or enters them (arXiv 2205.05638), `bitfit` trains biases alone (arXiv 2106.10199)."""
    rank: PositiveInt = 8
    """`lora`: width of the two matrices (r)."""
    alpha: NonNegative = 16.0
    """`lora`: what their product counts by, over the rank; at 0 the encoder stays as it is."""
    targets: Literal["auto"] | tuple[str, ...] = "auto"
    """`lora`, `ia3`: the linear layers, by the ends of their names; `auto` are attention's queries and values for
    `lora`, its keys and values and the feed-forward's last layer for `ia3`."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """`lora`: dropout probability of what enters the two matrices."""

    @model_validator(mode="after")
    def _reads_what_is_given(self) -> AdapterConfig:
        read = {"lora": ("rank", "alpha", "targets", "dropout"), "ia3": ("targets",)}.get(self.method, ())
        for name, field in type(self).model_fields.items():
            if name not in ("method", *read) and getattr(self, name) != field.default:
                got = f"got {getattr(self, name)}"
                raise ValueError(f"{self.method} reads no {name}; in a space let it depend on the method ({got})")
        if self.targets == ():
            raise ValueError("targets must have at least one entry (got none)")
        return self


class EncoderConfig(Config):
    """Which pretrained multilingual encoder is fine-tuned, and how much of it."""

    name_or_path: str = "offline:e5-small"
    """`offline:e5-small`, a local folder, or a hub id such as `xlm-roberta-base`."""
    revision: str | None = None
    """Hub revision (commit, tag or branch); none for local encoders."""
    pooling: Literal["mean", "first"] = "mean"
    """How token states become one sentence vector: mean over tokens, or the first token."""
    freeze_embeddings: bool = False
    """Keep the whole embedding layer (word, position, type, layer norm) as pretrained."""
    freeze_lower_layers: Annotated[int, Field(ge=0)] = 0
    """Keep this many of the lowest transformer layers as pretrained."""
    trim_vocabulary: bool = True
    """Drop the embedding rows that no text of the phase uses; exact, and much cheaper."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None
    """Dropout probability everywhere in the encoder; none keeps the encoder's own."""
    adapter: AdapterConfig = AdapterConfig()
    """Few parameters in place of the encoder's own; none in layers that are frozen."""

    @property
    def trains_words(self) -> bool:
        """Whether word embeddings are trained."""
        return not self.freeze_embeddings and self.adapter.method == "none"

    @property
    def trains_embedding_layer(self) -> bool:
        """Whether anything of the embedding layer is: `bitfit` has a bias there."""
        return not self.freeze_embeddings and self.adapter.method in ("none", "bitfit")


class Budget(Config):
    """How long a trial trains: exactly one of the three."""

    steps: PositiveInt | None = None
    """Optimiser steps."""
    epochs: Positive | None = None
    """Passes over the training examples."""
    forward_equivalents: Positive | None = None
    """Passes over one batch: forward 1, backward to the inputs 1, weight gradients 1 (a clean step costs 3; 2 with an
    adapter, whose own are next to nothing)."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Budget:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"give exactly one of steps, epochs, forward_equivalents (got {', '.join(given) or 'none'})"
            )
        return self


class TrainingConfig(Config):
    """Optimisation of one trial (AdamW, linear warm-up, then linear decay to zero)."""

    batch_size: PositiveInt = 32
    """Examples per optimiser step, over all workers together."""
    micro_batch_size: PositiveInt | None = None
    """Most examples in one forward pass of one worker; larger batches accumulate gradients. None: no limit."""
    micro_batch_tokens: PositiveInt | None = None
    """Most tokens, padding included, in one forward pass of one worker, one example always; larger batches accumulate
    gradients. None: no limit."""
    length_pool: PositiveInt = 1
    """Batches that are drawn together and sorted by length: less padding, but they teach worse. 1: random batches."""
    budget: Budget = Budget(steps=60)
    """How long to train."""
    learning_rate: Positive = 2e-5
    """Peak learning rate of the encoder."""
    head_learning_rate: Positive | None = None
    """Peak learning rate of the task head, and of what syntax adds; none: as the encoder's."""
    weight_decay: NonNegative = 0.01
    """Decoupled weight decay (AdamW)."""
    warmup_fraction: Fraction = 0.1
    """Share of the steps in which the learning rate rises linearly from zero."""
    schedule: Literal["linear", "constant"] = "linear"
    """What the learning rate does after the warm-up."""
    max_grad_norm: Positive | None = 1.0
    """Gradient clipping by global norm; none: no clipping."""
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the forward and backward passes: fp32, its products in TF32 where the device has that, or half
    precision by autocast; weights stay fp32."""
    gradient_checkpointing: bool = False
    """Keep what enters each layer, and compute the layer again in the backward pass: the same results, less memory, a
    forward pass more for each backward pass."""
    compile: bool = False
    """Compile each layer (torch.compile), where the installed torch and its compiler can: the first steps take long."""
    checkpoint_minutes: Positive | None = None
    """Most minutes of work that a trial loses when it is killed; none: all since its last evaluation."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Root of the separate random streams: data order, head initialisation, dropout, perturbation."""


class ViewConfig(Config):
    """The second view of an example, for methods that compare two (`mvr`, `xtune`)."""

    kind: Literal["segments", "copies", "noise"] = "segments"
    """`xtune`: what it is. The text segmented anew, its copy in other words by `augmentation.method`, or its embeddings
    under noise (`distribution`, `sigma`, `epsilon`). That of `mvr` is always `segments`."""
    probability: Fraction = 1.0
    """Chance that a word is segmented by a draw of its own; at 0 there is no second view, and training is clean."""
    alpha: NonNegative = 0.2
    """Unigram tokenizers (XLM-R's): segmentations are drawn by their probability to this power. 0 draws all alike, a
    large one the tokenizer's own."""
    dropout: Fraction = 0.2
    """BPE and WordPiece tokenizers: chance that a merge, or a longest match, is passed over; 0: the tokenizer's own."""
    weight: NonNegative = 0.6
    """`mvr`: weight of the divergence between the two (lambda)."""
    temperature: Positive = 1.0
    """`mvr`: what the first view's logits are divided by in it (T)."""
    masks: Literal["one", "two"] = "one"
    """Dropout masks of the two: `one`, as all passes of a step share, so that they differ by the text alone; or `two`,
    as in the authors' code, which adds `rdrop` to it."""


class PerturbationConfig(Config):
    """What is added to the word embeddings during training. Each method reads the fields it needs."""

    method: str = "none"
    """`none`, or a registered method: see `study methods`. Several are joined by a plus, as `adversarial+sam`."""
    norm: Literal["l2", "linf"] = "l2"
    """Norm of the ball."""
    scope: Literal["token", "sentence"] = "token"
    """Whether each token, or each sentence as a whole, has its own ball."""
    epsilon: NonNegative = 0.1
    """Radius of the ball that holds the perturbation."""
    relative: bool = True
    """Whether epsilon and sigma are in units of the encoder's mean word-embedding norm m (per sentence: m times the
    root of the number of perturbed tokens; linf: m over the root of the dimension), or absolute."""
    ascent_steps: Annotated[int, Field(ge=0, le=100)] = 1
    """Projected-gradient steps of the inner maximisation (K)."""
    step_size: Positive = 1.0
    """Length of an ascent step, in units of epsilon."""
    start: Literal["zero", "uniform", "gaussian"] = "uniform"
    """Where the ascent begins: the clean point, a uniform draw from the ball, or a Gaussian draw projected onto it."""
    distribution: Literal["gaussian", "uniform"] = "gaussian"
    """`random_perturbation` and `r3f`: Gaussian noise of scale sigma, or a uniform draw from the ball of epsilon."""
    sigma: NonNegative = 0.1
    """Standard deviation of smoothing noise and of a Gaussian start, per coordinate; relative: times m over the root of
    the dimension."""
    weight: NonNegative = 1.0
    """Weight of the divergence term (lambda; `rdrop`: alpha) in methods that have one."""
    rho: NonNegative = 0.05
    """`sam`, `asam`: length of the step by which the weights are moved (`asam`: in units of each weight's size)."""
    replays: Annotated[int, Field(ge=1, le=100)] = 4
    """`freeat`: optimiser steps in a row that take the same batch (m); the batches of a budget are as many fewer."""
    proximal_weight: NonNegative = 1.0
    """`bregman`: weight of the divergence from the output of the weights' moving average (mu)."""
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.999
    """`bregman`: share of itself that this average keeps at a step, at most 0.99 in the first tenth of them (beta)."""
    probability: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.7
    """`mixout`: chance of each weight to be, for a step, what it was before training (p)."""
    example_weight: NonNegative = 5.0
    """`xtune`: weight of the divergence between both views (lambda 1), over the number of classes."""
    model_weight: NonNegative = 5.0
    """`xtune` with a teacher: weight of the divergence from it (lambda 2), over the number of classes."""
    teacher: Path | None = None
    """`xtune`: folder of the frozen model of its first stage, as `study model` writes it; none: this is the first."""
    push_weight: NonNegative = 0.1
    """`ear`: weight of the distance between the pooled embeddings of an example and its copy, which is to grow."""
    pull_weight: NonNegative = 1.0
    """`ear`: weight of the distance between their attention in one layer, which is to shrink."""
    attention_layer: Annotated[int, Field(ge=0)] = 5
    """`ear`: that layer, counted from 0."""
    view: ViewConfig = ViewConfig()
    """What is compared with an example."""
    perturb_special_tokens: bool = False
    """Whether start, end and separator tokens are perturbed too; padding never is."""
    warmup_fraction: Fraction = 0.0
    """Share of the steps in which the magnitude rises linearly from zero."""
    decay_fraction: Fraction = 0.0
    """Share of the steps, at the end, in which the magnitude falls linearly to zero."""


class AugmentationConfig(Config):
    """What is added to the training examples themselves."""

    method: str = "none"
    """`none`, or a registered augmentation: see `study methods`."""
    copies: PositiveInt = 3
    """Augmented copies of each training example."""
    probability: Fraction = 1.0
    """Chance that a word is considered for replacement; `character_noise`: that it changes (0.1 to 0.15 is usual)."""
    alphabet: str = "source"
    """`character_noise`: whose letters are inserted. `source`, or those of the task's languages in a group, such as
    `script:Cyrl` or `low_resource`, or one that its `facts` declare."""
    resource: Path | None = None
    """Word resource (JSON or TSV); none: an installed one."""


class AlignmentConfig(Config):
    """A phase before fine-tuning in which the encoder learns from translations that they say the same."""

    objective: Literal[
        "none", "sentence_contrastive", "word_l2", "word_contrastive", "word_strong_contrastive", "linear_map"
    ] = "none"
    """What is minimised: `sentence_contrastive` lets each sentence find its translation among those of the batch, the
    others do so word by word, or draw the words' states together (`word_l2`). `linear_map` trains nothing: a rotation
    turns each language's last states onto the source's (of the keys below it reads those of pairs and links)."""
    pairs: Literal["home-assistant-frontend", "django"] | Path | None = None
    """Sentence pairs: an installed package with translated texts, or a folder or file of one's own."""
    languages: Literal["targets"] | tuple[str, ...] = "targets"
    """Whose pairs: of the task's target languages, as far as there are some, or of these languages."""
    pairs_per_language: PositiveInt | None = None
    """Most pairs of each language, the first of its file; none: all."""
    links: Path | None = None
    """Folder of word links, `L.txt` for each language, as fast_align or awesome-align write them (`0-0 1-2`), a line
    for each of its pairs; none: found by the encoder's own similarities."""
    control: Literal["none", "shuffled", "source"] = "none"
    """The same steps on pairs that are none: translations of other sentences, or the source sentences twice."""
    anchor: Literal["parameters", "source_states", "none"] = "parameters"
    """What keeps the encoder where it was: the distance of its parameters, or of the source sentences' states, from the
    pretrained ones."""
    anchor_weight: NonNegative = 1.0
    """Weight of that distance."""
    layer: Annotated[int, Field(ge=1)] | None = None
    """Layer whose states are aligned, counted from 1; none: the last."""
    links_layer: Annotated[int, Field(ge=1)] | None = None
    """Layer in which words are compared to find links; none: two thirds of the way up."""
    pooling: Literal["mean", "first"] = "mean"
    """How states become a sentence: the mean over its tokens but the special ones, or the first token."""
    temperature: Positive = 0.1
    """Of the softmax over cosines, in contrastive objectives."""
    steps: PositiveInt = 2000
    """Optimiser steps."""
    batch_size: Annotated[int, Field(ge=2)] = 32
    """Sentence pairs of a step."""
    learning_rate: Positive = 5e-5
    """Peak learning rate (AdamW; 4 % linear warm-up, then linear decay)."""
    max_length: Annotated[int, Field(ge=8, le=8192)] = 96
    """Longest sentence, in tokens; longer ones are cut."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Of the projection and the order of pairs: one aligned encoder serves all trials, whatever their own seed."""

    @model_validator(mode="after")
    def _has_pairs(self) -> AlignmentConfig:
        if self.objective != "none" and self.pairs is None:
            raise ValueError(f"pairs must name a folder, a file or a package of sentence pairs for {self.objective}")
        if self.links is not None and not self.links_words:
            raise ValueError(f"links are read by objectives on words alone (got objective {self.objective!r})")
        if self.objective == "linear_map" and self.layer is not None:
            raise ValueError(f"layer must be null for linear_map, whose maps stand after the last (got {self.layer})")
        return self

    @property
    def links_words(self) -> bool:
        """Whether its objective is about words that translate one another."""
        return self.objective not in ("none", "sentence_contrastive")


class SyntaxConfig(Config):
    """Dependency trees of the texts, as their files have them: layers that look along them."""

    kind: Literal["none", "augmented", "gate"] = "none"
    """`augmented`: graph attention over near words is added to the keys and values of one head of each layer
    (Syntax-augmented BERT, Ahmad et al., ACL 2021); `gate`: attention that sees near words alone, the more the nearer,
    between encoder and head (GATE, arXiv 2010.03009)."""
    delta: PositiveInt = 4
    """`augmented`: longest path between two words that see each other."""
    graph_layers: PositiveInt = 4
    """`augmented`: layers of graph attention."""
    graph_heads: PositiveInt = 4
    """`augmented`: heads of each, as wide as the encoder's."""
    probe_weight: NonNegative = 1.0
    """`augmented`: weight of the auxiliary losses, by which distances and depths are to be read from the graph's
    output."""
    deltas: Annotated[tuple[PositiveInt | None, ...], Field(min_length=1)] = (2, 2, 4, 4, None, None, None, None)
    """`gate`: of each head the longest path that it sees along; none: it sees all words, and divides by no distance."""


class AttackConfig(Config):
    """Accuracy under attack, per language: an upper bound of what a stronger attack would leave."""

    kind: Literal["embeddings", "words"] = "embeddings"
    """`embeddings`: projected gradients on the word embeddings; `words`: words replaced by others of a resource, which
    are taken to keep the label."""
    queries: PositiveInt = 50
    """`words`: most texts that the model is asked about an example, beside the example itself."""
    candidates: PositiveInt = 8
    """`words`: most replacements that are tried for a word."""
    resource: Path | None = None
    """`words`: replacements by language (JSON or TSV, as translations are); none: the synonyms that are installed."""
    epsilon: tuple[Positive, ...] = (0.1,)
    """Radii, each scored."""
    ascent_steps: PositiveInt = 5
    """Projected-gradient steps."""
    restarts: PositiveInt = 1
    """Random starts; an example counts as right only if every restart leaves it right."""
    norm: Literal["l2", "linf"] = "l2"
    """Norm of the ball."""
    scope: Literal["token", "sentence"] = "token"
    """Whether each token, or each sentence as a whole, has its own ball."""
    relative: bool = True
    """As in the perturbation."""
    examples_per_language: PositiveInt = 20
    """Size of the subset that is attacked."""

    @model_validator(mode="after")
    def _reads_what_is_given(self) -> AttackConfig:
        of_words = ("queries", "candidates", "resource")
        for name, info in type(self).model_fields.items():
            is_read = name in ("kind", "examples_per_language") or (name in of_words) == (self.kind == "words")
            if not is_read and getattr(self, name) != info.default:
                raise ValueError(f"kind {self.kind} reads no {name} (got {getattr(self, name)})")
        return self


class CertifyConfig(Config):
    """Certified accuracy of the smoothed classifier (Cohen et al. 2019, arXiv 1902.02918), per language."""

    sigma: Positive = 0.1
    """Standard deviation of the smoothing noise, per coordinate; relative to the encoder's embedding norm."""
    selection_draws: PositiveInt = 20
    """Noise draws that choose the smoothed answer (n0)."""
    draws: PositiveInt = 100
    """Noise draws that estimate its probability (n)."""
    alpha: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.001
    """Failure probability of each certificate."""
    examples_per_language: PositiveInt = 10
    """Size of the subset that is certified."""


class CalibrationConfig(Config):
    """How far the model's confidence in its answers can be trusted, per language."""

    bins: PositiveInt = 15
    """Bins of equal width in which confidences are compared with the share of right answers."""


class NoiseConfig(Config):
    """Scores on noised texts, per language: of one kind of noise, at several rates and without."""

    kind: Literal["character", "word_drop", "casing_accents", "files"]
    """`character`: a letter inserted, deleted or replaced, new ones out of the language's own texts; `word_drop`: words
    left out; `casing_accents`: words in lower case without accents; `files`: noisy rows that files have."""
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")] | None = None
    """What its scores are called; none: as the kind."""
    rate: Annotated[tuple[Rate, ...], Field(min_length=1)] | None = None
    """Shares of words that are noised, each scored; none: 0.05, 0.1 and 0.2, of `casing_accents` and `files` 1. Of
    `files`: what takes the place of `{rate}` in their names."""
    letters: Literal["alphabet", "keyboard"] = "alphabet"
    """`character`: new letters are any of the language's own, or those around the one that is hit, on the keyboard that
    it is typed on; where no layout is known, any of its own."""
    examples_per_language: PositiveInt = 100
    """Size of the subset that is noised."""
    files: str | None = None
    """`files`: pattern of the noisy files, with `{split}` and `{language}`, as the task's own, and `{rate}` where there
    are several: under the task's folder, or an absolute one. A split or language without them is not scored so."""
    clean: str | None = TASK_ROWS
    """`files`: the same rows without noise. `task`: the task's own of that split; or a pattern of files; none: there
    are none, and nothing is compared."""

    @property
    def label(self) -> str:
        """What its scores are called."""
        return self.name or self.kind

    @property
    def rates(self) -> tuple[float, ...]:
        """Rates that are scored, rising, from 0, which is the text as it is, if there is such a text."""
        usual = (1.0,) if self.kind in ("casing_accents", "files") else (0.05, 0.1, 0.2)
        clean = () if self.clean is None else (0.0,)
        return (*clean, *sorted(set(self.rate or usual)))

    @model_validator(mode="after")
    def _reads_what_is_given(self) -> NoiseConfig:
        if self.kind != "character" and self.letters != "alphabet":
            raise ValueError(f"{self.kind} reads no letters, kind character does (got {self.letters})")
        if self.kind != "files":
            for name, given in (("files", self.files is not None), ("clean", self.clean != TASK_ROWS)):
                if given:
                    raise ValueError(f"{self.kind} reads no {name}, kind files does (got {getattr(self, name)})")
            return self
        for name, pattern in (("files", self.files or "none"), ("clean", self.clean)):
            if pattern not in (TASK_ROWS, None) and _placeholders(pattern) - {"rate"} != {"split", "language"}:
                raise ValueError(f"{name} must be a path with {{split}} and {{language}} in it (got {pattern})")
        if "rate" in _placeholders(self.clean or ""):
            raise ValueError(f"clean must have no {{rate}}, the rows of all rates are the same (got {self.clean})")
        of_rates = "rate" in _placeholders(self.files or "")
        if (of_rates and self.rate is None) or (not of_rates and len(self.rate or ()) > 1):
            raise ValueError(
                f"rate must say what stands for {{rate}} in files, and is one where they have none (got {self.files})"
            )
        return self


def _placeholders(pattern: str) -> set[str]:
    return set(re.findall(r"\{([^}]*)\}", pattern))


class EvaluationConfig(Config):
    """When and on how much a trial is scored."""

    every: PositiveInt | None = None
    """Optimiser steps between evaluations, each of which is also a checkpoint; none: only at the end."""
    examples_per_language: PositiveInt | None = None
    """Examples of each language in the last evaluation; none: the whole split."""
    intermediate_examples_per_language: PositiveInt | None = None
    """Examples of each language in earlier evaluations; none: as in the last."""
    token_budget: Annotated[int, Field(ge=64)] = 1024
    """Most tokens, padding included, in one evaluation batch on a CPU."""
    accelerator_token_budget: Annotated[int, Field(ge=64)] = 16384
    """As token_budget, on an accelerator."""
    checkpoint: Literal["last", "best_source_validation", "average"] = "last"
    """Which weights are the trial's result: the last, those best on the source language, or the mean of those at its
    evaluations."""
    average_last: PositiveInt | None = None
    """`average`: of how many of the last evaluations; none: of all."""
    attack: AttackConfig | None = None
    """Score under attack too."""
    certify: CertifyConfig | None = None
    """Certify the smoothed classifier too."""
    noise: tuple[NoiseConfig, ...] = ()
    """Score on noised texts too, once for each kind."""
    calibration: CalibrationConfig | None = None
    """Score the calibration of the answers too, at every evaluation: `calibration_error`, `brier` and
    `confidence_weighted_accuracy`."""
    agreement: bool = False
    """Score too, at every evaluation, how often an answer is the model's own to the same example in the source language
    (`agreement`), where the evaluated rows are parallel."""

    @field_validator("noise")
    @classmethod
    def _each_kind_once(cls, noise: tuple[NoiseConfig, ...]) -> tuple[NoiseConfig, ...]:
        labels = [each.label for each in noise]
        if len(set(labels)) < len(labels):
            raise ValueError(
                f"must have each kind once, further ones under a name of their own (got {', '.join(labels)})"
            )
        return noise

    def tokens_on(self, device: str) -> int:
        """Most tokens in one batch, on a kind of device."""
        return self.token_budget if device == "cpu" else self.accelerator_token_budget


class TrialConfig(Config):
    """One point, trained and evaluated once."""

    task: TaskConfig = TaskConfig()
    """Data."""
    encoder: EncoderConfig = EncoderConfig()
    """Pretrained encoder."""
    training: TrainingConfig = TrainingConfig()
    """Optimisation."""
    perturbation: PerturbationConfig = PerturbationConfig()
    """Robust training in the embedding space."""
    augmentation: AugmentationConfig = AugmentationConfig()
    """Robust training by more data."""
    alignment: AlignmentConfig = AlignmentConfig()
    """Alignment of the encoder with sentence pairs, before it is fine-tuned."""
    syntax: SyntaxConfig = SyntaxConfig()
    """Syntax of the texts as a help."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Scoring."""
