"""Named columns into pandas frames."""

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
