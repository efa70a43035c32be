"""One HTML file that stands alone: tables and pictures inside it, nothing fetched from anywhere."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from portfolio_margin.plots.picture import Picture

# Letters of a text in a table; a longer one is wrapped.
LONGEST_LINE = 70
# What the page may load: nothing but the pictures inside it.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1a1a1a; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
p.note { color: #555; font-size: .9rem; }
table { border-collapse: collapse; margin: .6rem 0; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .15rem .7rem .15rem 0; text-align: right; white-space: pre; border-bottom: 1px solid #e4e4e4; }
th { font-weight: 600; white-space: normal; vertical-align: bottom; } td.text, th.text { text-align: left; }
img { max-width: 100%; height: auto; display: block; margin: .8rem 0; }
div.wide { overflow-x: auto; }
td.long { white-space: pre-wrap; overflow-wrap: anywhere; max-width: 34rem; }
summary { cursor: pointer; color: #1f5fa8; margin: .8rem 0; }
@page { size: A4 landscape; margin: 12mm; }
@media print {
  html { font-size: 11px; } body { font-size: 1rem; max-width: none; margin: 0; padding: 0; } h2 { break-after: avoid; }
  div.wide { overflow-x: visible; } th, td { padding-right: .45rem; } tr, img { break-inside: avoid; }
  img { max-height: 165mm; width: auto; }
  details > * { display: block; } details::details-content { content-visibility: visible; height: auto; }
}
""".strip()


@dataclass(frozen=True)
class Column:
    """A column of a table: its header and texts; text is set to the left, a number to the right."""

    header: str
    cells: Sequence[str]
    is_text: bool = False


@dataclass(frozen=True)
class Section:
    """A part of the page under a heading.

    notes     sentences before tables and pictures
    tables    each a row of columns of equal length
    pictures  with what they show in words, for those who do not see them
    folded    what long tables are, in a word or two: they then stand behind the pictures, and open on a click
    """

    heading: str
    notes: Sequence[str] = ()
    tables: Sequence[Sequence[Column]] = ()
    pictures: Sequence[tuple[str, Picture]] = ()
    folded: str = ""


def html_page(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """The page. Every text is taken as it is: nothing in it is read as markup."""
    parts = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>",
        f"<style>\n{STYLE}\n</style>",
        "</head>",
        "<body>",
        f"<h1>{escape(title)}</h1>",
        f'<p class="note">{escape(subtitle)}</p>',
        *(line for section in sections for line in _section(section)),
        "</body>",
        "</html>",
    ]
    return "\n".join(parts) + "\n"


def _section(section: Section) -> list[str]:
    lines = [f"<h2>{escape(section.heading)}</h2>"]
    lines += [f'<p class="note">{escape(note)}</p>' for note in section.notes]
    tables: list[str] = []
    for table in section.tables:
        tables += ['<div class="wide"><table>', *_table(table), "</table></div>"]
    pictures = [f'<img alt="{escape(said)}" src="{data_address(picture)}">' for said, picture in section.pictures]
    if not section.folded:
        return [*lines, *tables, *pictures]
    return [*lines, *pictures, "<details>", f"<summary>{escape(section.folded)}</summary>", *tables, "</details>"]


def _table(columns: Sequence[Column]) -> list[str]:
    marks = [' class="text"' if column.is_text else "" for column in columns]
    head = "".join(f"<th{mark}>{escape(column.header)}</th>" for mark, column in zip(marks, columns, strict=True))
    rows = zip(*(column.cells for column in columns), strict=True)
    return [
        f"<tr>{head}</tr>",
        *("<tr>" + "".join(_cell(m, c) for m, c in zip(marks, row, strict=True)) + "</tr>" for row in rows),
    ]


def _cell(mark: str, text: str) -> str:
    wraps = mark and len(text) > LONGEST_LINE
    marked = ' class="text long"' if wraps else mark
    return f"<td{marked}>{escape(text)}</td>"


def data_address(picture: Picture) -> str:
    """A picture as an address that holds it, a PNG in base64."""
    content = io.BytesIO()
    picture.figure.savefig(content, format="png", metadata={"Software": None})
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode('ascii')}"
