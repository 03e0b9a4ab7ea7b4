"""`study cache`: what the cache folder holds, and the removal of what nobody has used for so many days."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence

from study.planning.needs import size
from study.removal import KEPT, REMOVED, agreed
from study.views import layout
from trainables.storage import entries
from trainables.storage.cache import cache_root
from trainables.storage.entries import DAY, Entry


def show() -> int:
    """Print a row for every kind of entry: how many there are, their size, and when one of them was used last."""
    root = cache_root()
    found = entries.entries(root)
    if not found:
        print(f"{root}: empty")
        return 0
    print("\n".join([str(root), _table(found)]))
    return 0


def clear(days: float, yes: bool = False) -> int:
    """Say what has not been used for so many days, ask, and remove it; `yes` answers the question.

    What a process holds stays, such as what the trials of a running study read. Returns 0 once it is removed, 1 if it
    is not to be. Raises `UserError` where nobody can be asked.
    """
    root = cache_root()
    found = entries.unused(root, days)
    if not found:
        print(f"{root}: nothing is unused for {days:g} days")
        return REMOVED
    print("\n".join([str(root), _table(found)]))
    if not (yes or agreed(f"Remove what has not been used for {days:g} days? It can be built again. [y/N] ", "cache")):
        print("nothing was removed")
        return KEPT
    count, total = entries.remove(root, days)
    print(f"removed {count} {'entry' if count == 1 else 'entries'}, {size(total)}")
    return REMOVED


def _table(found: Sequence[Entry]) -> str:
    kinds: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in found:
        kinds[entry.kind].append(entry)
    sizes = {kind: sum(entry.size for entry in members) for kind, members in kinds.items()}
    rows = [["kind", "entries", "size", "last use", "longest unused"]]
    for kind in sorted(kinds, key=lambda kind: -sizes[kind]):
        used = [entry.used for entry in kinds[kind]]
        rows.append([kind, str(len(used)), size(sizes[kind]), _ago(max(used)), _ago(min(used))])
    everything = [entry.used for entry in found]
    total = size(sum(sizes.values()))
    rows.append(["all", str(len(found)), total, _ago(max(everything)), _ago(min(everything))])
    return layout.columns(rows)


def _ago(used: float) -> str:
    """``today``, ``1 day ago``, ``30 days ago``."""
    days = int(max(time.time() - used, 0.0) / DAY)
    return "today" if days == 0 else f"{days} {'day' if days == 1 else 'days'} ago"
