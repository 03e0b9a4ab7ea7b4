"""What names the content of an encoder without reading it, for the keys of caches."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from trainables.config import EncoderConfig


def key_of(config: EncoderConfig) -> str:
    """Names an encoder's content: for a local folder its files' sizes and times, else its name and revision."""
    folder = Path(config.name_or_path)
    if not folder.is_dir():
        return f"{config.name_or_path}@{config.revision}"
    files = sorted(p for p in folder.iterdir() if p.suffix in {".json", ".safetensors", ".model", ".txt"})
    return json.dumps([str(folder.resolve()), *stamps(files)])


def stamps(files: Iterable[Path]) -> list[Any]:
    """What tells files that were written anew, unread."""
    return [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]
