"""Risk array files: what a venue publishes and anybody reads."""

from __future__ import annotations

from pathlib import Path

from portfolio_margin.io.atomic import write_whole
from portfolio_margin.io.tables import refuse
from pricing.market_limits import USUAL, MarketLimits
from scenarios.risk_arrays import RiskArrays

ENDING = ".npz"


def write_arrays(path: str | Path, arrays: RiskArrays) -> None:
    """Write risk arrays as .npz, whole or not at all."""
    check_arrays_name(path)
    write_whole(path, arrays.to_bytes())


def read_arrays(path: str | Path, limits: MarketLimits = USUAL) -> RiskArrays:
    """Read risk arrays. DataError where the file is missing, of another format, cut short or altered.

    limits  those that the market of the arrays was declared with
    """
    check_arrays_name(path)
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        refuse(str(path), "file", Path(path).name, "no such file")
    except OSError as error:
        refuse(str(path), "file", Path(path).name, f"cannot be read: {error.strerror or error}")
    return RiskArrays.from_bytes(content, str(path), limits)


def check_arrays_name(path: str | Path) -> None:
    """DataError unless the name is one of a risk array file."""
    if not str(path).endswith(ENDING):
        refuse(str(path), "file type", Path(path).suffix, f"a risk array file ends in {ENDING}")
