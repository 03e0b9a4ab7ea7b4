"""Groups of languages by a number: ``distance_syntactic>0.5``, ``fertility>2``, ``overlap<=0.3``."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass

from trainables.typology import KINDS

MEASURED = ("fertility", "overlap")
"""Numbers that follow from a study's own rows and its encoder's tokenizer: known once a study has begun."""

FACTS = (*(f"distance_{kind}" for kind in KINDS), *MEASURED)
"""Numbers that a group can go by."""

_OPERATORS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_CONDITION = re.compile(rf"({'|'.join(FACTS)})(<=|>=|<|>)([0-9]*\.?[0-9]+)")


@dataclass(frozen=True)
class Condition:
    """A group of languages by one of `FACTS`."""

    fact: str
    sign: str
    limit: float

    @classmethod
    def of(cls, name: str) -> Condition | None:
        """What a group's name says, or None if it goes by no number.

        >>> Condition.of("distance_genetic<=0.5"), Condition.of("low_resource")
        (Condition(fact='distance_genetic', sign='<=', limit=0.5), None)
        """
        match = _CONDITION.fullmatch(name)
        return cls(match[1], match[2], float(match[3])) if match else None

    def holds(self, value: float | None) -> bool:
        """Whether a language of this value is in the group; one whose value is unknown is not."""
        return value is not None and bool(_OPERATORS[self.sign](value, self.limit))


def is_measured(name: str) -> bool:
    """Whether who is in a built-in group follows from a study's own rows and tokenizer."""
    condition = Condition.of(name)
    return condition is not None and condition.fact in MEASURED
