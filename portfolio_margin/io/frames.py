"""Named columns, and CSV that comes without a file, into pandas frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def frame(columns: Mapping[str, Any], attributes: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """A frame with these columns in this order; `attributes` become its attrs (units, hashes, identity)."""
    import pandas as pd

    table = pd.DataFrame(dict(columns))
    table.attrs.update(attributes or {})
    return table


def frame_from_csv(content: bytes, name: str) -> pd.DataFrame:
    """The frame of CSV bytes, every cell as text; `name` is what messages call it.

    Raises DataError for nothing at all, text that is not UTF-8, and lines with more fields than the header.
    """
    from portfolio_margin.io.tables import _read_csv, refuse

    if not content.strip():
        refuse(name, "content", "empty", "it holds nothing; give CSV with a header")
    return _read_csv(name, content).frame
