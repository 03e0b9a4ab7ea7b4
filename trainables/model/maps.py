"""A linear map for each language, after an encoder's last layer: how states that a frozen encoder gives are aligned."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from trainables.errors import UserError
from trainables.model.families import Numbers, number_of

FILE = "language_maps.safetensors"
"""File beside an encoder's weights, where it has any."""

AT_ONCE = 64
"""Sequences whose maps are in memory at a time."""


def check_apart(codes: Iterable[str], told: Numbers, source: int | None) -> None:
    """Raise `UserError` for languages to be mapped that an encoder knows by another's number, so that both would be.

    `told`: the numbers by which it is told languages, empty where it is told none; `source`: that of the source.
    """
    named: Numbers = {name: number for name, number in told.items() if name is not None}
    taken = {source: "the source"}
    for code in codes if told else ():
        number = number_of(code, named)
        if number is None or number in taken:
            other = "that of others" if number is None else f"that of {taken[number]}"
            rule = "each language must be one that the encoder is told by a number of its own"
            raise UserError(f"alignment.languages: linear_map: {rule} (got {code}, whose number is {other})")
        taken[number] = code


class LanguageMaps(nn.Module):
    """W (d, d) of each language: a state x becomes W x. They are no parameters: no trial trains them."""

    matrices: Tensor

    def __init__(self, numbers: Numbers, matrices: Tensor) -> None:
        """`matrices` (languages, d, d), at the places that `numbers` says."""
        super().__init__()
        self.numbers = numbers
        """Number of each language; of None, of all that are not named."""
        self.register_buffer("matrices", matrices)

    @classmethod
    def of(cls, maps: Mapping[str, Tensor], told: Numbers) -> LanguageMaps:
        """The maps (d, d) of some languages; all others are left as they are.

        `told`: the numbers by which the encoder is told languages anyway, empty where it is told none. They pass
        `check_apart`.
        """
        numbers = told or {None: 0, **{code: place for place, code in enumerate(sorted(maps), 1)}}
        size = len(next(iter(maps.values())))
        matrices = torch.eye(size).repeat(max(numbers.values()) + 1, 1, 1)
        for code, matrix in maps.items():
            number = number_of(code, numbers)
            assert number is not None, f"an encoder that is told languages was told {code}"
            matrices[number] = matrix
        return cls(numbers, matrices)

    def forward(self, states: Tensor, languages: Tensor) -> Tensor:
        """States (s, t, d) of sequences in the languages (s,) of these numbers."""
        parts = zip(torch.split(states, AT_ONCE), torch.split(languages, AT_ONCE), strict=True)
        return torch.cat([part @ self.matrices[each].mT.to(part.dtype) for part, each in parts]).to(states.dtype)

    def save(self, folder: Path) -> None:
        """Write them beside the encoder's weights."""
        numbers = json.dumps(list(self.numbers.items()))
        save_file({"matrices": self.matrices.cpu().contiguous()}, folder / FILE, metadata={"numbers": numbers})

    @classmethod
    def load(cls, folder: Path) -> LanguageMaps | None:
        """Those of an encoder's folder, if it has any."""
        if not (folder / FILE).exists():
            return None
        with safe_open(folder / FILE, framework="pt") as file:
            return cls(dict(json.loads(file.metadata()["numbers"])), file.get_tensor("matrices"))
