"""Open orders: printed examples of Paradex, and what the rule implies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portfolio_margin.open_orders import open_sizes, orders_kept
from tests.vectors import worked_examples

SIGN = {"buy": 1.0, "sell": -1.0}


@pytest.mark.reference
def test_printed_order_margin(report_vectors: Any) -> None:
    errors = []
    for example in worked_examples("Paradex cross margin"):
        i, want = example["inputs"], example["expected"]
        sizes = open_sizes(i["position"], i["buy_orders"], i["sell_orders"])
        margin = float(sizes.largest) * i["imf"] * i["mark"]
        pairs = [(sizes.buy, want["buy_open"]), (sizes.sell, want["sell_open"]), (margin, want["net_imr"])]
        errors += [abs(float(a) - b) for a, b in pairs]
        assert max(errors) <= example["tolerance"]["abs"]
    report_vectors(len(errors), max(errors), f"{example['tolerance']['abs']:g} allowed", "Paradex cross margin")


@pytest.mark.reference
def test_printed_order_check_as_far_as_it_is_consistent(report_vectors: Any) -> None:
    """Margin, account value and the first decision. The printed second step (an open size of 13 for sells of 13 against
    10 held) contradicts the formula of the venue's own page, which gives 10."""
    errors = []
    for example in worked_examples("Paradex order risk check"):
        i, want = example["inputs"], example["expected"]
        first = i["orders"][0]
        assert first["side"] == "sell"
        before, after = (open_sizes(i["position"], 0.0, sold).largest for sold in (0.0, first["size"]))
        needed = float(before) * i["imf"] * i["mark"]
        value = i["collateral"] + i["position"] * (i["mark"] - i["entry"])
        errors += [abs(needed - want["imr"]), abs(value - want["account_value"])]
        assert max(errors) <= example["tolerance"]["abs"]
        # An order that asks for no more margin passes, though the account is short of it.
        assert needed > value
        assert want["decisions"][0] == ("accept" if after <= before else "reject")
        both = sum(order["size"] for order in i["orders"])
        assert open_sizes(i["position"], 0.0, both).largest != want["open_size_after_second"]
    report_vectors(
        len(errors), max(errors), f"USD, {example['tolerance']['abs']:g} allowed", "Paradex order risk check"
    )


@pytest.mark.reference
def test_printed_deleveraging(report_vectors: Any) -> None:
    compared = 0
    for example in worked_examples("Paradex order deleveraging"):
        i, want = example["inputs"], example["expected"]
        size = np.array([SIGN[side] * amount for side, amount, _ in i["orders"]])
        kept = orders_kept(i["position"], size, np.array([price for *_, price in i["orders"]]))
        remaining = [order for order, stays in zip(i["orders"], kept, strict=True) if stays]
        cancelled = [order for order, stays in zip(i["orders"], kept, strict=True) if not stays]
        assert sorted(remaining) == sorted(want["remaining"])
        assert sorted(cancelled) == sorted(want["cancelled"])
        compared += len(kept)
    report_vectors(compared, 0.0, "orders, 0 allowed", "Paradex order deleveraging")


def test_a_short_position_keeps_the_highest_bids() -> None:
    size, price = np.array([-1.0, 2.0, 2.0, 1.0]), np.array([90.0, 100.0, 99.0, 98.0])
    assert orders_kept(-4.0, size, price).tolist() == [False, True, True, False]
    assert orders_kept(0.0, size, price).tolist() == [False] * 4
    assert orders_kept(1.0, np.zeros(0), np.zeros(0)).tolist() == []


@given(
    st.integers(-50, 50),
    st.lists(st.tuples(st.integers(-20, 20).filter(bool), st.integers(1, 9)), max_size=8),
)
def test_what_stays_can_only_reduce(position: int, orders: list[tuple[int, int]]) -> None:
    size, price = np.array([o[0] for o in orders], float), np.array([o[1] for o in orders], float)
    kept = orders_kept(position, size, price)
    left = position + size[kept].sum()
    assert abs(left) <= abs(position)
    assert left * position >= 0
    buys, sells = size[size > 0].sum(), -size[size < 0].sum()
    naive = [max(position + buys, 0), max(sells - position, 0)]
    assert list(open_sizes(position, buys, sells)) == naive
