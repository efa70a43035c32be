"""What every table made from a statement says of it: model, parameters, market, and what is not in the numbers."""

from __future__ import annotations

from collections.abc import Sequence

from portfolio_margin.cli.output import count_text, excluded_lines, moment_text
from portfolio_margin.io.told import Told
from portfolio_margin.statement import MarginStatement


def market_text(statement: MarginStatement, source: str) -> str:
    """Model, market and its time, for a title."""
    return f"{statement.model.model_id} margin of {source} at {moment_text(statement.as_of_ms)}"


def statement_lines(statement: MarginStatement, excluded: Sequence[str], told: Told) -> list[str]:
    """The lines below a table: hashes, parameters, positions excluded from what it shows, and what is told."""
    return [
        f"inputs {statement.input_hash}, parameters {statement.parameters_hash}, engine {statement.engine_version}",
        f"{statement.model.model_id}: {statement.parameter_set.text()}",
        *excluded_lines(excluded),
        f"market rows left out: {count_text(len(told.left_out))}",
        *told.remarks(),
    ]
