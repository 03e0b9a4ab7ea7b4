"""The page: one self-contained HTML file that loads nothing, on screen and on paper."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count

import plotly.io
from plotly.offline import get_plotlyjs

from study.reporting import figures, tables
from study.reporting.confirmation_figures import studies
from study.reporting.dose_figures import compared
from study.reporting.findings import Findings
from study.reporting.style import Figure

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:"
)
"""Content security policy: a browser refuses every request off the page."""

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.5rem 4rem; max-width: 980px; background: #fff; color: #222;
  font: 16px/1.55 Georgia, 'Liberation Serif', 'Times New Roman', serif; }
h1, h2, h3, table, figcaption, nav, .meta { font-family: Helvetica, Arial, 'Liberation Sans', sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .3rem; }
h2 { font-size: 1.3rem; margin: 3rem 0 .6rem; padding-top: .8rem; border-top: 2px solid #222; }
h3 { font-size: 1.05rem; margin: 2.2rem 0 .4rem; }
.meta { color: #666; font-size: .85rem; margin: 0 0 1.2rem; }
.question { font-size: 1.12rem; font-style: italic; margin: .2rem 0 1rem; }
nav { font-size: .9rem; margin: 1rem 0; }
nav a { margin-right: 1.1rem; }
.conclusions { background: #f5f7f9; border-left: 4px solid #1f4e79; padding: .7rem 1.2rem; margin: 1.2rem 0; }
.conclusions h3 { margin: .2rem 0 .3rem; }
.conclusions ul { margin: .3rem 0; padding-left: 1.2rem; }
.conclusions li { margin: .35rem 0; }
figure { margin: 1.4rem 0 2rem; break-inside: avoid; }
figure.tall { break-inside: auto; }
.drawing { overflow-x: auto; }
a { color: #1f4e79; }
figcaption, caption { font-size: .84rem; line-height: 1.4; color: #444; text-align: left; }
figcaption { margin-top: .2rem; }
caption { caption-side: top; padding-bottom: .5rem; }
figcaption b { color: #222; }
.table { overflow-x: auto; margin: 1.2rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .8rem; }
thead { border-top: 1.5px solid #222; border-bottom: 1px solid #222; }
tbody { border-bottom: 1.5px solid #222; }
th { font-weight: 600; vertical-align: bottom; }
th, td { text-align: left; padding: .22rem .5rem; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tbody tr:nth-child(even) { background: #fafafa; }
table.facts th { width: 13rem; vertical-align: top; font-weight: 600; }
table.facts td { overflow-wrap: anywhere; }
pre { background: #f5f5f5; padding: .8rem; font: .76rem/1.45 'DejaVu Sans Mono', Menlo, Consolas, monospace;
  overflow-x: auto; white-space: pre-wrap; }
@media screen and (max-width: 700px) {
  body { padding: 1rem .8rem 3rem; }
  .drawing > div { min-width: 640px; }
  caption { position: sticky; left: 0; max-width: calc(100vw - 1.6rem); }
  table.facts th { width: 7rem; }
  .conclusions { padding: .6rem .8rem; }
}
@page { size: A4; margin: 14mm 12mm; }
@media print {
  body { padding: 0; max-width: none; font-size: 12pt; }
  nav, .modebar-container { display: none !important; }
  .table, .drawing { overflow: visible; }
  table { font-size: 8.5pt; }
  thead { display: table-header-group; }
  tr, .conclusions, h2, h3 { break-inside: avoid; }
  h2, h3, caption { break-after: avoid; }
}
"""

CONFIGURATION = {
    "displaylogo": False,
    "responsive": True,
    "modeBarButtons": [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
    "toImageButtonOptions": {"format": "svg"},
}
"""Of every figure: what the tool bar offers."""

TALL = 1250
"""Pixels beyond which a figure may be cut by a page break: it would not fit on one."""


def page(found: Sequence[Findings]) -> str:
    """The whole document for one study or several."""
    title = found[0].source.name if len(found) == 1 else f"{len(found)} studies"
    parts = (_study(f, name, several=len(found) > 1) for f, name in zip(found, anchors(found), strict=True))
    body = "\n".join([_head(found), *parts])
    return document(f"{title} – report", f"<style>{STYLE}</style>\n<script>{get_plotlyjs()}</script>", body)


def document(title: str, head: str, body: str) -> str:
    """A page that loads nothing, with what else is to stand in its head."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<link rel="icon" href="data:,">
<title>{html.escape(title)}</title>
{head}
</head>
<body>
{body}
</body>
</html>
"""


def anchors(found: Sequence[Findings]) -> list[str]:
    """A name of each study that is safe in a path and an address, and no other's in this report."""
    names: list[str] = []
    for each in found:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", each.source.name).strip(".-") or "study"
        numbered = (plain if i == 1 else f"{plain}-{i}" for i in count(1))
        names.append(next(name for name in numbered if name not in names))
    return names


def _head(found: Sequence[Findings]) -> str:
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    if len(found) == 1:
        source = found[0].source
        question = f'<p class="question">{html.escape(source.question)}</p>' if source.question else ""
        return f'<h1>{html.escape(source.name)}</h1>\n{question}\n<p class="meta">Report of {now}.</p>'
    named = zip(found, anchors(found), strict=True)
    links = "".join(f'<a href="#study-{name}">{html.escape(f.source.name)}</a>' for f, name in named)
    parts = [f"<h1>{len(found)} studies compared</h1>", f'<p class="meta">Report of {now}.</p>', f"<nav>{links}</nav>"]
    parts.append(tables.compared(found).html())
    drawn = [studies(found)] if any(f.confirmed is not None for f in found) else []
    if (responses := compared(found)) is not None:
        drawn.append(responses)
    parts += [_figure(figure, "all", number, "") for number, figure in enumerate(drawn, start=1)]
    return "\n".join(parts)


SECTIONS = (
    ("Confirmation on the test split", ("controls",), ("headline", "scores")),
    ("Languages", ("forest",), ()),
    ("Beside published scores", (), ("reference",)),
    ("Groups of languages", ("resources",), ("groups",)),
    ("Calibration and further scores", ("reliability",), ("further",)),
    ("Dose and response (validation)", ("doses", "map"), ("trend",)),
    ("What was tried (validation)", ("parallel", "importance"), ()),
    ("Cost (validation)", ("cost",), ("cost",)),
    ("Tables", (), ("languages", "doses", "trials")),
)
"""Headings, and the names of the figures and tables below them."""


def _study(found: Findings, name: str, several: bool) -> str:
    source = found.source
    prefix = f"study-{name}"
    folder = f"{name}/" if several else ""
    drawn = {f.name: f for f in figures.all_figures(found)}
    listed = {t.name: t for t in tables.all_tables(found)}
    parts: list[str] = []
    if several:
        question = f'<p class="question">{html.escape(source.question)}</p>' if source.question else ""
        parts += [f'<h2 id="{prefix}">{html.escape(source.name)}</h2>', question]
    parts += [_conclusions(found), f"<h3>Protocol</h3>\n{facts(source.protocol)}"]
    numbers = count(1)
    for heading, figure_names, table_names in SECTIONS:
        pieces = [_figure(drawn[n], prefix, next(numbers), folder) for n in figure_names if n in drawn]
        pieces += [listed[n].html() for n in table_names if n in listed]
        if pieces:
            parts += [f"<h3>{heading}</h3>", *pieces]
    parts.append(f"<h3>Reproducing it</h3>\n{facts(source.reproduction)}")
    if source.resolved:
        parts.append(f"<h3>Resolved configuration</h3>\n<pre>{html.escape(source.resolved)}</pre>")
    return "\n".join(parts)


def _conclusions(found: Findings) -> str:
    items = "\n".join(f"<li><b>{topic}.</b> {html.escape(text)}</li>" for topic, text in found.conclusions)
    return f'<div class="conclusions"><h3>What the data allow to say</h3>\n<ul>\n{items}\n</ul></div>'


def facts(rows: Sequence[tuple[str, str]]) -> str:
    """A table of names and what is said of each."""
    body = "\n".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in rows)
    return f'<table class="facts"><tbody>{body}</tbody></table>'


def _figure(figure: Figure, prefix: str, number: int, folder: str) -> str:
    drawing = plotly.io.to_html(
        figure.drawing,
        config=CONFIGURATION,
        include_plotlyjs=False,
        full_html=False,
        div_id=f"{prefix}-{figure.name}",
        default_width="100%",
        default_height=f"{figure.drawing.layout.height}px",
    )
    tall = ' class="tall"' if figure.drawing.layout.height > TALL else ""
    file = f"{folder}{figure.data}.csv"
    text = f'<b>Figure {number}.</b> {html.escape(figure.caption)} Numbers: <a href="{file}">{file}</a>.'
    return f'<figure{tall}><div class="drawing">{drawing}</div>\n<figcaption>{text}</figcaption></figure>'


def markdown(found: Findings) -> str:
    """The report as Markdown: conclusions, protocol, tables, reproduction."""
    source = found.source
    parts = [f"# {source.name}", source.question, "## What the data allow to say"]
    parts.append("\n".join(f"- **{topic}.** {text}" for topic, text in found.conclusions))
    parts += ["## Protocol", _markdown_facts(source.protocol), "## Tables"]
    parts += [t.markdown() for t in tables.all_tables(found)]
    parts += ["## Reproducing it", _markdown_facts(source.reproduction)]
    return "\n\n".join(p for p in parts if p) + "\n"


def _markdown_facts(rows: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"- **{k}**: {v}" for k, v in rows)


def latex(found: Findings) -> str:
    """All tables of a study, with the packages they need named."""
    head = f"% Tables of {found.source.name}; needs \\usepackage{{booktabs}}, \\usepackage[utf8]{{inputenc}}\n"
    return head + "\n".join(t.latex() for t in tables.all_tables(found))
