"""The documentation site builds without a warning, and has a page for everything it promises one for."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import portfolio_margin
import pricing
import scenarios
from tests.vectors import ROOT

DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text(encoding="utf-8")
MODELS = sorted(path.stem for path in (ROOT / "portfolio_margin" / "models").glob("[a-z]*.py"))
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)")
PAPERS = [ROOT / package / "README.md" for package in ("pricing", "scenarios", "portfolio_margin")]
WITH_LINKS = [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *PAPERS]


@pytest.mark.parametrize("model", MODELS)
def test_every_margin_model_has_a_page(model: str) -> None:
    listed = (DOCS / "models" / "index.md").read_text(encoding="utf-8")
    links = re.findall(rf"\[{model}\]\((.+?)\)", listed)
    assert links == [f"{model}.md"]
    page = (DOCS / "models" / links[0]).read_text(encoding="utf-8")
    assert page.startswith("# ") and re.search(rf"\b{model}\b", page) and len(page) > 1_000
    # The table of the README leads to the page, not to the source or elsewhere.
    rows = [line for line in README.splitlines() if line.startswith("| ") and f"`{model}`" in line.split("|")[1]]
    assert len(rows) == 1 and f"docs/models/{model}.md" in rows[0]


def test_links_between_documents_lead_somewhere() -> None:
    links = [(path, link) for path in WITH_LINKS for link in LINK.findall(path.read_text(encoding="utf-8"))]
    assert len(links) > 50
    assert not [f"{path.relative_to(ROOT)}: {link}" for path, link in links if not (path.parent / link).exists()]


def test_the_site(tmp_path: Path) -> None:
    """Warnings are errors: a name that does not import, a page nobody lists, a link into nothing."""
    for module in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(module, reason=f"{module} is not installed: portfolio-margin[docs]")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", str(DOCS), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    for package in (pricing, scenarios, portfolio_margin):
        page = (tmp_path / "api" / f"{package.__name__}.html").read_text(encoding="utf-8")
        named = {name for name in package.__all__ if callable(getattr(package, name))}
        assert not [name for name in sorted(named) if f'id="{package.__name__}.{name}"' not in page]
    terms = re.findall(r'<dt id="term-', (tmp_path / "glossary.html").read_text(encoding="utf-8"))
    assert len(terms) > 60
    assert "Kupiec 1995" in (tmp_path / "methods" / "scenarios.html").read_text(encoding="utf-8")
