"""A suite as one JSON document.

`as_json` gives (``study show SUITE --json``):

=================== ==================================================================================================
schema              1; raised when a field changes its meaning, not when one is added
suite, question     its name, and what it asks
state               ``running``, ``finished`` or ``unfinished``
endpoint            the reduction that is claimed over all members, or null
footing             empty where all members are selected by the same rules, else what differs
members             {member: {study, state, priority, problem, document}}: `document` is that of ``study show --json``
                    of the study, or null where it has not begun
=================== ==================================================================================================
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from study.suite.found import FoundSuite, find
from study.views import document as studies

SCHEMA = 1


def document(root: Path, name: str) -> str:
    """The JSON document of a suite."""
    return json.dumps(as_json(find(root, name)), ensure_ascii=False, allow_nan=False, indent=1)


def as_json(suite: FoundSuite) -> dict[str, Any]:
    """The documented form (see the module)."""
    return {
        "schema": SCHEMA,
        "suite": suite.name,
        "question": suite.config.question,
        "state": suite.condition,
        "endpoint": suite.config.suite.endpoint,
        "footing": suite.label,
        "members": {
            name: {
                "study": member.place.name,
                "state": member.state,
                "priority": member.how.priority,
                "problem": member.problem or None,
                "document": None if member.study is None else studies.as_json(member.study),
            }
            for name, member in suite.members.items()
        },
    }
