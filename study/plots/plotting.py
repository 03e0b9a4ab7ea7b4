"""A chart as a file: SVG, PNG, PDF or a page, with its numbers beside it."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

from matplotlib import rc_context

from study.plots import chart, quantities, scatter
from study.plots.chart import Chart, Request
from study.plots.quantities import SECTIONS, Quantity, Seen
from study.reporting.files import replace_bytes, replace_text
from study.reporting.page import document
from study.views import layout
from study.views.found import find
from trainables.errors import UserError

ENDINGS = (".svg", ".png", ".pdf", ".html")
"""What a figure may be written as."""

DOTS_PER_INCH = 200
"""Of PNG."""

SVG = "http://www.w3.org/2000/svg"


def plot(root: Path, name: str, request: Request, out: Path | None = None) -> None:
    """Draw a figure of the study `name`, write it and its numbers, and print where it is.

    `out` by its ending; None: an SVG file in the study's report folder, named after what it shows. Raises `UserError`.
    """
    study = find(root, name)
    target = out or study.place.report / f"{_stem(request)}.svg"
    drawn = chart.chart(study, request)
    write(drawn, target)
    print(target)


def write(drawn: Chart, target: Path) -> None:
    """The figure, by the ending of its name, and a CSV file beside it. Raises `UserError` where that can't be."""
    if target.suffix not in ENDINGS:
        raise UserError(f"--out: must end with {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]} (got {target.name})")
    table = target.with_suffix(".csv")
    if table.exists() and not any(target.with_suffix(ending).exists() for ending in ENDINGS):
        raise UserError(f"--out: {table} is there and belongs to no figure; choose another name (got {target.name})")
    content = rendered(drawn, target.suffix)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_text(table, drawn.points.to_csv(index=False))
        replace_bytes(target, content)
    except OSError as error:
        raise UserError(f"{target}: cannot be written, {error.strerror}") from error


def rendered(drawn: Chart, ending: str) -> bytes:
    """The bytes of a figure: the same chart gives the same ones."""
    made = scatter.draw(drawn)
    if ending == ".html":
        return _page(drawn, _with_titles(_saved(made, ".svg"), made.hovers)).encode()
    return _saved(made, ending)


def _saved(made: scatter.Drawn, ending: str) -> bytes:
    buffer = io.BytesIO()
    dates = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    with rc_context(scatter.STYLE):  # type: ignore[arg-type]
        made.figure.savefig(buffer, format=ending[1:], dpi=DOTS_PER_INCH, metadata=dates.get(ending))
    return buffer.getvalue()


def _with_titles(svg: bytes, hovers: dict[str, list[str]]) -> str:
    """An SVG element whose points say what they are under the mouse."""
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    tree = ElementTree.fromstring(svg)
    for group in tree.iter(f"{{{SVG}}}g"):
        texts = hovers.get(group.get("id", ""), [])
        for mark, text in zip(_marks(group), texts, strict=bool(texts)) if texts else ():
            ElementTree.SubElement(mark, f"{{{SVG}}}title").text = text
    return ElementTree.tostring(tree, encoding="unicode")


def _marks(group: ElementTree.Element) -> Iterator[ElementTree.Element]:
    """The elements that are points of a group, in their order: shapes, or uses of a shape that is defined there."""
    for child in group:
        if child.tag in (f"{{{SVG}}}use", f"{{{SVG}}}path"):
            yield child
        elif child.tag == f"{{{SVG}}}g":
            yield from _marks(child)


STYLE = """
body { margin: 1rem auto; max-width: 1200px; padding: 0 1rem; color: #222; font: 14px Helvetica, Arial, sans-serif; }
svg { width: 100%; height: auto; }
table { border-collapse: collapse; font-size: .8rem; }
th, td { text-align: left; padding: .15rem .6rem; border-bottom: 1px solid #eee; }
"""
"""Of a page with one figure."""


def _page(drawn: Chart, svg: str) -> str:
    """A page of its own that loads nothing."""
    head = "".join(f"<th>{html.escape(str(c))}</th>" for c in drawn.points.columns)
    rows = "\n".join(
        "<tr>" + "".join(f"<td>{html.escape('' if v != v or v is None else str(v))}</td>" for v in row) + "</tr>"
        for row in drawn.points.itertuples(index=False)
    )
    table = f"""<details><summary>The numbers (scores as fractions)</summary>
<table><thead><tr>{head}</tr></thead>
<tbody>{rows}</tbody></table></details>"""
    return document(drawn.title, f"<style>{STYLE}</style>", f"{svg}\n{table}")


def _stem(request: Request) -> str:
    """``language-sw_by_perturbation.epsilon``: safe as a file's name."""
    parts = [f"{'+'.join(request.ys)}_by_{request.x}", *([f"by_{request.colour}"] if request.colour else [])]
    parts += [request.phase] if request.phase != "run" else []
    parts += [request.split] if request.split else []
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", "_".join(parts))[:150]


def listing(root: Path, name: str, request: Request) -> str:
    """Every quantity of a study that can be drawn: its name, the values it takes, and what it is."""
    study = find(root, name)
    seen = quantities.observations(study, request.phase, request.scored_on)
    there = quantities.known(study, seen).values()
    if not there:
        raise UserError(f"{name}: no trial of phase {request.phase} has a score on the {request.scored_on} split yet")
    parts = [f"{name}: what {len(seen)} complete trials of phase {request.phase} have, {request.scored_on} split"]
    for kind, title in SECTIONS.items():
        rows = [["  " + q.name, _values(q, seen), q.label] for q in there if q.kind == kind]
        if rows:
            parts.append(f"{title}\n{layout.listed(rows, layout.width())}")
    parts.append("Scores are fractions here, points in figures. Others by rule: cvar:0.1, worst_k_mean:3.")
    return "\n\n".join(parts)


def _values(quantity: Quantity, seen: Sequence[Seen]) -> str:
    """The range of a quantity, or its categories."""
    values = [v for s in seen if (v := quantity.value(s)) is not None]
    if any(isinstance(v, str) for v in values):
        names = list(dict.fromkeys(map(str, values)))
        return ", ".join(names[:3]) + (f", … ({len(names)})" if len(names) > 3 else "")
    low, high = (f"{float(str(f(values, key=lambda v: float(str(v))))):.4g}" for f in (min, max))
    return low if low == high else f"{low} … {high}"
