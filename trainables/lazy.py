"""Libraries that are imported when something of theirs is first used.

Listing the methods or describing a study asks the same classes that train, and must not pay a second for torch.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any


class Lazy(ModuleType):
    """A module that stands for another of the same name, which is imported at the first look at an attribute."""

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self.__name__), name)


if TYPE_CHECKING:
    import langcodes as langcodes
    import torch as torch
    from torch.nn import functional as functional
else:
    langcodes, torch, functional = Lazy("langcodes"), Lazy("torch"), Lazy("torch.nn.functional")
