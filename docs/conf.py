"""The documentation site: pages of Markdown, and a reference made of the docstrings. `make docs` builds it."""

import ast
import re
import sys
from enum import Enum
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from portfolio_margin.version import VERSION  # noqa: E402

project = "portfolio-margin"
author = "the portfolio-margin developers"
copyright = "the portfolio-margin developers, Apache-2.0"
version = release = VERSION

extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown"}
html_theme = "furo"
html_title = f"portfolio-margin {VERSION}"
html_show_sphinx = False
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
# Quotes and primes are meant as they are typed; what is not marked as code of a language is text.
smartquotes = False
highlight_language = "text"

# Headings of three levels can be linked to. Nothing is mathematics: a dollar is a currency.
myst_heading_anchors = 3

# Docstrings say shapes and units of every argument; types stand beside them by the short names of the sources.
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True, "undoc-members": True}
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100


def array_aliases() -> dict[str, str]:
    """The names that sources give to types, `FloatArray` and the like: shown instead of what they stand for."""
    body = ast.parse((ROOT / "pricing" / "arrays.py").read_text(encoding="utf-8")).body
    named = [node for node in body if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript)]
    return {ast.unparse(node.targets[0]): ast.unparse(node.targets[0]) for node in named} | {"ArrayLike": "ArrayLike"}


autodoc_type_aliases = array_aliases()

COLUMNS = re.compile(r"^\s*\S+(?:, \S+)*\s{2,}\S|^\s{2,}\S")
MARKUP = re.compile(r"([\\*|_])")
CODE = re.compile(r"(`[^`]+`)")
ALIAS = re.compile(r"TypeAliasForwardRef\('(\w+)'\)")


def escaped(line: str) -> str:
    """A line of text as reStructuredText: names between backticks are code, nothing else is markup."""
    parts = CODE.split(line)
    return "".join(f"`{part}`" if CODE.fullmatch(part) else MARKUP.sub(r"\\\1", part) for part in parts)


def as_text(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Docstrings here are plain text: a paragraph with columns is shown as it stands, any other flows."""
    shown: list[str] = []
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines).strip("\n")):
        rows = paragraph.split("\n")
        if any(COLUMNS.match(row) for row in rows):
            shown += ["::", "", *(f"    {row}" for row in rows), ""]
        else:
            shown += [*(escaped(row.strip()) for row in rows), ""]
    lines[:] = shown


def without_wrapping(app: Any, what: str, name: str, thing: Any, options: Any, signature: str, returns: str) -> Any:
    """Aliases of types are shown by their names alone."""
    bare = [ALIAS.sub(r"\1", part) if part else part for part in (signature, returns)]
    return tuple(bare)


def is_field(app: Any, what: str, name: str, thing: Any, skip: bool, options: Any) -> bool | None:
    """Fields of tables and tuples are left out of the list of members: the docstring of the class describes them."""
    if what in ("class", "exception") and not callable(thing) and not isinstance(thing, Enum | property):
        return True
    return None


def setup(app: Any) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", as_text)
    app.connect("autodoc-process-signature", without_wrapping)
    app.connect("autodoc-skip-member", is_field)
    return {"parallel_read_safe": True}
