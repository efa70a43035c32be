"""SPAN risk parameter files of either kind, told by their name."""

from __future__ import annotations

from pathlib import Path

from portfolio_margin.io.span_layout import Layout
from portfolio_margin.io.span_pa2 import read_pa2
from portfolio_margin.io.span_source import is_positional_name, is_span_name, refuse_record
from portfolio_margin.io.span_xml import read_spn
from portfolio_margin.span.tables import RiskParameterFile


def read_span_file(path: str | Path, layout: Layout | None = None) -> tuple[RiskParameterFile, tuple[str, ...]]:
    """The tables of a .spn or .pa2 file, plain, gzip or zip, and what of it is not computed, one text a line.

    layout  places of fields in a positional file of a format other than U2, as of `span_formats.read_layout`
    """
    if not is_span_name(path):
        refuse_record(str(path), None, "file type", Path(path).suffix, "a SPAN file ends in .spn or .pa2 (.gz, .zip)")
    return read_pa2(path, layout) if is_positional_name(path) else read_spn(path)
