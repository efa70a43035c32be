"""The closed form of the auction against the margin of the account that a bid leaves, recomputed by the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from portfolio_margin import margin
from portfolio_margin.liquidation import auction
from portfolio_margin.models import derive_pmrm, derive_pmrm2, worst_case
from pricing import DataError
from tests.portfolio_margin.books import ARRAYS, MARKET, book_of
from tests.portfolio_margin.derive_cases import unrounded
from tests.portfolio_margin.test_derive_vectors import params_of, plain, portfolio_case, set_of
from tests.vectors import reference_json

RULES = auction.Params()


def net(model: Any, book: Any, arrays: Any) -> auction.Standing:
    found = model.net_margin(book, arrays)
    return auction.Standing(float(found.maintenance[0]), float(found.mark_to_market[0]))


@pytest.mark.reference
@pytest.mark.parametrize(("name", "module"), [("v1", derive_pmrm), ("v2", derive_pmrm2)])
def test_the_largest_bid_restores_the_buffer_of_derives_own_margin(
    name: str, module: Any, report_vectors: Callable[..., None]
) -> None:
    """Portfolios of the venue's vectors that are short: after the largest bid the buffer margin, by the manager itself,
    is 0. The closed form takes margins to be homogeneous, and they are."""
    content = reference_json(f"derive-pmrm-{name}.json")
    (section,) = (vectors for vectors in content.values() if isinstance(vectors, list))
    largest, count = 0.0, 0
    for vector in section:
        expected = vector["expected"]
        # A gain that is not settled is an amount of the account in the feeds, which no bid scales.
        settled = vector["portfolio"]["perp_unsettled_value"] == 0
        if not settled or not expected["maintenance_margin"] < 0 < expected["mark_to_market"]:
            continue
        case, collateral, _ = portfolio_case(vector)
        instruments, tables, book, feeds = case.finish()
        values = plain(set_of(content, vector["params"]))
        model = module.Model(params_of(module, values | ({"collateral": collateral} if collateral else {}), feeds))
        arrays = unrounded(instruments, tables, model)
        opened = net(model, book, arrays)
        running = auction.Auction(0)
        for at_s, wanted in ((400, 0.1), (9_000, 1.0)):
            paid = auction.share_paid(running, RULES, at_s)
            done = auction.bid(running, opened, RULES, at_s, wanted, 0.0)
            cash = int(np.flatnonzero(arrays.instrument_id == arrays.currency)[0])
            # Everything but the cash paid in shrinks, and that cash is added; contracts come in steps of 1e-12.
            quantity = np.round(book.quantity * (1.0 - done.share), 12)
            held = np.flatnonzero(book.instrument_idx == cash)
            quantity[held] += done.auction.reserved_cash - running.reserved_cash * (1.0 - done.share)
            assert len(held) == 1 and paid < 1.0
            book = replace(book, quantity=quantity)
            found, size = net(model, book, arrays), sum(abs(value) for value in opened)
            gap = max(abs(a - b) for a, b in zip(found, done.standing, strict=True)) / size
            assert gap < 1e-9, vector["id"]
            largest, running, opened = max(largest, gap), done.auction, found
        assert abs(auction.buffer_margin(opened, RULES.buffer)) <= 1e-9 * size and not running.ongoing
        count += 1
    report_vectors(
        count, largest, "of the margins", f"auction and margin of derive_pm{'rm' if name == 'v1' else 'rm2'}"
    )


def test_an_account_of_any_model_has_a_standing() -> None:
    book = book_of({"x": {"BTC-60D-68000-C": -3.0, "USD": 20_000.0}})
    statement = margin(book, ARRAYS, MARKET, worst_case.Model(), backend="numpy")
    standing = auction.standing_of(statement, "x")
    assert standing.mark_to_market == statement.equity[0]
    assert standing.maintenance == statement.margin_balance[0] - statement.maintenance_margin[0]
    with pytest.raises(DataError, match="nobody"):
        auction.standing_of(statement, "nobody")
