"""Encoders that the field uses, by id: what is published of each (``catalogue.yaml``). What is not there is unknown.

An encoder need not be in it to be trained; only what is said of it (licence, languages of its pretraining) is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from types import MappingProxyType

import yaml

NON_COMMERCIAL = "-nc-"
"""What the names of licences have in them that forbid commercial use."""

FILES = ("*.json", "*.safetensors", "*.txt", "*.model")
"""Those of an encoder of the hub that are read: no weights in other formats."""


@dataclass(frozen=True)
class Entry:
    """One encoder; what is not known is None."""

    id: str
    family: str
    """`model_type` of its configuration."""
    also: tuple[str, ...] = ()
    """Other ids of the same weights."""
    size: int | None = None
    """Million parameters above the embeddings."""
    languages: int | None = None
    """How many it was pretrained on."""
    licence: str | None = None
    """As the hub names licences."""
    revision: str | None = None
    """One that is known to have safetensors, where the hub's main is not."""
    pretraining: str | None = None
    """Name of the published list of its pretraining languages (`trainables.pretraining`)."""
    aligned: bool | None = None
    """Whether parallel text was used to bring its languages together."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Field -> where its value is from."""


@cache
def entries() -> Mapping[str, Entry]:
    """All encoders of the catalogue by id."""
    text = resources.files(__package__).joinpath("catalogue.yaml").read_text(encoding="utf-8")
    known = {name: Entry(id=name, **facts) for name, facts in yaml.safe_load(text).items()}
    return MappingProxyType(known)


def find(name_or_path: str) -> Entry | None:
    """What is known of an encoder by any of its ids; None of one that is not in the catalogue, as of a local folder.

    >>> find("xlm-roberta-base").id, find("./my-encoder")
    ('FacebookAI/xlm-roberta-base', None)
    """
    named = entries().get(name_or_path)
    return named or next((e for e in entries().values() if name_or_path in e.also), None)


def pretraining_of(name_or_path: str) -> str | None:
    """Name of the list of an encoder's pretraining languages, where there is a published one."""
    entry = find(name_or_path)
    return None if entry is None else entry.pretraining


def licence_warning(name_or_path: str) -> str | None:
    """What an encoder's licence forbids, in words; None where it forbids nothing here, or is not known."""
    entry = find(name_or_path)
    if entry is None or entry.licence is None or NON_COMMERCIAL not in entry.licence:
        return None
    return f"licence {entry.licence}: not for commercial use"


def fetching(name: str, revision: str | None = None) -> str:
    """The command that fetches an encoder of the hub into the cache, where a machine without a network finds it."""
    wanted = revision or (entry.revision if (entry := find(name)) is not None else None)
    of_revision = f" --revision {wanted}" if wanted else ""
    return f"hf download {name}{of_revision} " + " ".join(f"--include '{pattern}'" for pattern in FILES)
