"""Trials that would do nothing of what they are to do: a second dropout mask of nothing, no weights to mix or to train.

Told by an encoder's files before anything is prepared, as far as they are here; and by its model when a trial starts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainables.config import EncoderConfig, TrialConfig
from trainables.errors import UserError
from trainables.materials import weights
from trainables.model.families import family_of
from trainables.perturbation import create
from trainables.perturbation.base import Perturbation

if TYPE_CHECKING:
    from trainables.model.encoder import Model

READ = ("encoder.adapter.", "encoder.dropout", "encoder.freeze_")
"""How the paths of the settings begin by which this is told: where a space varies one, each trial is looked at."""

HEADS = ("classifier", "pooler", "qa", "seq_classif", "summary")
"""How an encoder's configuration calls what only heads of the library drop out."""


def check(config: TrialConfig) -> None:
    """Raise `UserError` for a trial that would be idle, as far as can be told from here. And for no method."""
    from trainables.tasks.task import task_shape

    trains = has_trained(config)
    learns = trains or any(True for _ in task_shape(config.task).head(1, config.encoder.pooling, 0.0).parameters())
    _refuse(config, create(config.perturbation), drops_out(config.encoder), trains, learns)


def check_model(config: TrialConfig, method: Perturbation, model: Model) -> None:
    """As `check`, of a trial's model."""
    trains, learns = (any(p.requires_grad for p in part.parameters()) for part in (model.encoder, model))
    _refuse(config, method, model.drops_out, trains, learns)


def _refuse(config: TrialConfig, method: Perturbation, drops_out: bool, trains: bool, learns: bool) -> None:
    """`drops_out`: whether anything has dropout; `trains`: whether anything of the encoder is trained; `learns`:
    whether anything is."""
    encoder, problems = config.encoder, []
    # A probability that is set is refused by the method itself, where it is 0.
    if method.two_masks and encoder.dropout is None and not drops_out:
        rule = f"two dropout masks need more than 0, and {encoder.name_or_path} has none of its own"
        problems.append(f"encoder.dropout: {rule} (got null)")
    needs = None
    if not learns:
        needs = f"task {config.task.name!r}, whose head has no weights, leaves nothing to train"
    elif not trains and method.weights is not None and method.weights.of_encoder and method.weights.reach > 0.0:
        needs = f"{method.weights.name} has no trained weights of the encoder to work on"
    if needs is not None:
        rule = "with frozen embeddings must leave a layer to be trained, or"
        problems.append(f"encoder.freeze_lower_layers: {rule} {needs} (got {encoder.freeze_lower_layers})")
    if problems:
        raise UserError(*problems)


def drops_out(encoder: EncoderConfig) -> bool:
    """Whether an encoder has dropout where a trial sets none; true where that is not known from here."""
    if encoder.adapter.dropout > 0.0:
        return True
    known = weights.architecture(encoder)
    try:
        own = known[family_of(str(known["model_type"])).dropout]
    except (KeyError, UserError):
        return True
    others = (value for key, value in known.items() if "drop" in key and not key.startswith(HEADS))
    return any(map(_is_positive, (own, *others)))


def has_trained(config: TrialConfig) -> bool:
    """Whether a trial trains anything but its head; true where that is not known from here."""
    if not config.encoder.freeze_embeddings or config.encoder.adapter.method != "none":
        return True  # an adapter that has nothing to train is refused as such
    return weights.trained(config) != 0


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and value > 0
