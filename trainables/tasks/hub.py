"""Rows out of the Hugging Face hub: plain data files through `datasets`, never a loading script."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from trainables.errors import UserError
from trainables.tasks.definition import Hub
from trainables.tasks.formats.reading import Located


def read_hub(hub: Hub, code: str, external: str, split: str) -> Iterator[Located]:
    """The rows of one language and split. Raises `UserError` where the hub, or the data on it, cannot be had.

    `external` is what the hub calls the language `code`.
    """
    config = hub.config.format(language=external) if hub.config else None
    name = f"{hub.id}/{config or 'default'}/{split}"
    _require_network(hub, name)
    import datasets

    try:
        rows = datasets.load_dataset(hub.id, config, split=split, revision=hub.revision)
    except (
        Exception
    ) as error:  # the library, its HTTP client and Arrow raise what they like; the cause is data or network
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"task.name: cannot read {name} from the Hugging Face hub{_ADVICE} (got {reason})") from error
    prefix = (hub.language_prefixes or {}).get(code)
    for number, row in enumerate(rows):
        if prefix is None or str(row.get("id", "")).startswith(prefix):
            yield f"{name} row {number}", dict(row)


_ADVICE = "; task.data_dir can name a folder of local files instead"


def _require_network(hub: Hub, name: str) -> None:
    """Fail at once where the hub's host has no address: its client would retry for half a minute.

    Offline mode reads the client's own cache.
    """
    if os.environ.get("HF_HUB_OFFLINE") or os.environ.get("HF_DATASETS_OFFLINE") or Path(hub.id).is_dir():
        return
    if why := unreachable():
        raise UserError(
            f"task.name: needs {name} of the Hugging Face hub, which cannot be reached{_ADVICE}, "
            f"and HF_HUB_OFFLINE=1 uses what was fetched before (got {why})"
        )


def unreachable() -> str | None:
    """Why the hub cannot be reached from here, as far as can be told without asking it; behind a proxy nothing can."""
    if os.environ.get("HF_HUB_OFFLINE"):
        return "HF_HUB_OFFLINE is set"
    if any(os.environ.get(k) for k in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY")):
        return None
    host = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co").hostname or ""
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        return f"no address for {host}"
    return None
