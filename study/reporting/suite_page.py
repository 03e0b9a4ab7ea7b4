"""The report of a suite: a page that links the members' own, sets what each claims side by side, and answers once.

What is said over members is out of `pooling`. A member that is missing is in the table, and said to be missing.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from study.reporting import benchmark, beside, page, pooled_doses, pooling, tables
from study.reporting.findings import Findings
from study.reporting.pooled_doses import Doses
from study.reporting.pooling import Together
from study.suite.found import FoundSuite
from study.views.values import selection_words

EXPLORATORY = "No endpoint over all members was declared: the mean over target languages is shown, and nothing claimed."


def written(
    suite: FoundSuite, found: Mapping[str, Findings], links: Mapping[str, str], answers: Together, doses: Doses | None
) -> str:
    """The whole document; `links`: member -> its own page, relative to this one's; `answers` and `doses`: what is said
    of all members, and of their designs."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    parts = [f"<h1>{html.escape(suite.name)}</h1>"]
    if suite.config.question:
        parts.append(f'<p class="question">{html.escape(suite.config.question)}</p>')
    parts.append(f'<p class="meta">Report of {now}: {len(found)} of {len(suite.members)} members.</p>')
    parts.append(f"<nav>{''.join(_links(links))}</nav>")
    parts.append(page.facts(list(_footing(suite))))
    if answers.words:
        parts.append("<h2>All members together</h2>")
        if suite.label:
            parts.append(f"<p>Unequal footing: {html.escape(suite.label)}.</p>")
        if suite.config.suite.endpoint is None:
            parts.append(f"<p>{EXPLORATORY}</p>")
        parts += [f"<p><strong>{html.escape(topic)}.</strong> {html.escape(text)}</p>" for topic, text in answers.words]
        parts += [page.facts(list(pooling.tables(answers))), pooling.slope_table(answers).html()]
    if doses is not None:
        parts.append("<h2>The design over all members</h2>")
        parts += [f"<p>{html.escape(text)}</p>" for text in pooled_doses.sentences(doses)]
        parts += [table.html() for table in pooled_doses.tables(doses)]
    parts += [table.html() for table in benchmark.tables(found, list(suite.members))]
    if (published := beside.suite_table({name: each.published for name, each in found.items()})) is not None:
        parts += ["<h2>Beside published scores</h2>", published.html()]
    parts.append("<h2>Members</h2>")
    if found:
        parts.append(tables.compared(list(found.values())).html())
    parts.append(page.facts(list(_members(suite, found))))
    return page.document(f"{suite.name} – report", f"<style>{page.STYLE}</style>", "\n".join(parts))


def _links(links: Mapping[str, str]) -> Iterator[str]:
    for name, target in links.items():
        yield f'<a href="{html.escape(target, quote=True)}">{html.escape(name)}</a>'


def _footing(suite: FoundSuite) -> Iterator[tuple[str, str]]:
    endpoint = suite.config.suite.endpoint
    yield (
        "endpoint",
        f"{endpoint}, declared for all members" if endpoint else "each member's own; none over all members",
    )
    yield "footing", suite.label or "all members are selected by the same rules"
    yield "claims", "of each member in its own row; over all members below, where two at least are confirmed"


def _members(suite: FoundSuite, found: Mapping[str, Findings]) -> Iterator[tuple[str, str]]:
    """By what each was selected, and what is missing."""
    for name, member in suite.members.items():
        words = [member.problem or f"{member.state}."]
        if member.config is not None:
            words.append(selection_words(member.config))
        if name not in found:
            words.append("Missing: it has no report.")
        elif found[name].confirmed is None:
            words.append("Missing from the claims: it is not confirmed.")
        yield name, " ".join(words)
