"""A move of the basis: what it moves in each venue's rule.

`ScenarioSet.basis_move` moves everything that is dated, futures too. No shipped model uses it: Derive's basis
contingency counts options only, at forwards moved like prices, and the venue lists no dated futures; OKX's MR4 is a
charge on delta.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.portfolio_margin.books import MARKET, ROW, book_of
from tests.portfolio_margin.test_contracts import SHIPPED
from tests.portfolio_margin.test_contracts import model_of as shipped
from tests.portfolio_margin.test_derive_models import arrays_of, model_of

OPTION = next(name for name in ROW if name.startswith("BTC-60D-"))


@pytest.mark.parametrize("name", SHIPPED)
def test_no_shipped_model_moves_the_basis_of_futures(name: str) -> None:
    moves = shipped(name).scenario_set(MARKET)
    assert moves is None or not np.any(moves.basis_move)


@pytest.mark.parametrize("name", ["derive_pmrm", "derive_pmrm2"])
def test_the_basis_contingency_is_of_options_alone(name: str) -> None:
    model = model_of(name)
    arrays = arrays_of(model)
    found = []
    for beside in ({}, {"BTC-PERPETUAL": -500.0}, {"BTC": 2.0, "USD": 1e5}, {"BTC-60D": 900.0}):
        (part,) = model.portfolios(book_of({"a": {OPTION: -1.0, **beside}}), arrays)
        found.append(part.basis.sum())
    assert found[0] < 0.0
    assert found == pytest.approx([found[0]] * 4, rel=1e-12)
    assert "dated futures" in model.not_covered(arrays)[ROW["BTC-60D"]]
