"""A table: one description, three renderings (Markdown, LaTeX with booktabs, HTML)."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Cells as text. `name` is a file stem and an anchor; the first column is set left, the others right."""

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: tuple[int, ...] = (0,)
    """Columns of words."""

    def markdown(self) -> str:
        """A pipe table under its caption."""
        rule = [":--" if i in self.left else "--:" for i in range(len(self.columns))]
        lines = [self.columns, rule, *self.rows]
        body = "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in lines)
        return f"**{self.caption}**\n\n{body}\n"

    def latex(self) -> str:
        """A floating table; needs the package booktabs, and utf8 input."""
        spec = "".join("l" if i in self.left else "r" for i in range(len(self.columns)))
        lines = [" & ".join(map(escape_latex, line)) + r" \\" for line in (self.columns, *self.rows)]
        return "\n".join(
            [
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{escape_latex(self.caption)}}}",
                rf"\label{{tab:{self.name}}}",
                rf"\begin{{tabular}}{{{spec}}}",
                r"\toprule",
                lines[0],
                r"\midrule",
                *lines[1:],
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{table}",
                "",
            ]
        )

    def html(self) -> str:
        """A table element with its caption."""

        def line(cells: Sequence[str], tag: str) -> str:
            kinds = ("" if i in self.left else ' class="n"' for i in range(len(cells)))
            return (
                "<tr>"
                + "".join(f"<{tag}{k}>{html.escape(c)}</{tag}>" for c, k in zip(cells, kinds, strict=True))
                + "</tr>"
            )

        body = "\n".join(line(row, "td") for row in self.rows)
        return (
            f'<div class="table"><table id="table-{self.name}"><caption>{html.escape(self.caption)}</caption>'
            f"<thead>{line(self.columns, 'th')}</thead>\n<tbody>{body}</tbody></table></div>"
        )


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "[": "{[}",  # after a row's end it would begin an argument
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "−": r"$-$", "–": "--", "≤": r"$\le$", "≥": r"$\ge$",
    "×": r"$\times$", "Δ": r"$\Delta$", "<": r"$<$", ">": r"$>$", "±": r"$\pm$", "ρ": r"$\rho$",
}  # fmt: skip


def escape_latex(text: str) -> str:
    """Plain text as LaTeX source."""
    return "".join(_LATEX.get(character, character) for character in text)
