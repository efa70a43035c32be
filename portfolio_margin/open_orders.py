"""Open orders of one contract: what an account may come to hold, what that needs, which orders may stay.

Paradex's cross margin and order deleveraging; sizes in contracts, a position long above 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pricing.arrays import BoolArray, FloatArray


class OpenSizes(NamedTuple):
    """Largest long and largest short position that open orders can lead to, 0 or more; buy, sell."""

    buy: FloatArray
    sell: FloatArray

    @property
    def largest(self) -> FloatArray:
        """The larger of the two: what initial margin is asked for."""
        return np.maximum(self.buy, self.sell)


def open_sizes(position: FloatArray, buys: FloatArray, sells: FloatArray) -> OpenSizes:
    """Positions after all buy orders, and after all sell orders, are filled.

    position  (...) contracts held
    buys      (...) size of all buy orders, 0 or more
    sells     (...) size of all sell orders, 0 or more
    """
    held, bought, sold = (np.asarray(values, dtype=np.float64) for values in (position, buys, sells))
    return OpenSizes(np.maximum(held + bought, 0.0), np.maximum(sold - held, 0.0))


def orders_kept(position: float, size: FloatArray, price: FloatArray) -> BoolArray:
    """(O,) which orders stay when an account may only reduce its position.

    position  contracts held
    size      (O,) of each order, bought above 0, sold below
    price     (O,) limit of each order

    Orders that add to the position go. Of those that reduce it, those nearest to the market stay, as long as all that
    stay together do not exceed the position; an order is kept whole or not at all.
    """
    sizes, prices = np.asarray(size, dtype=np.float64), np.asarray(price, dtype=np.float64)
    reduces = sizes * position < 0.0
    # A sell is the nearer to the market the lower its limit, a buy the higher.
    order = np.argsort(np.where(sizes < 0.0, prices, -prices), kind="stable")
    order = order[reduces[order]]
    kept = np.zeros(len(sizes), dtype=np.bool_)
    kept[order[np.cumsum(np.abs(sizes[order])) <= abs(position)]] = True
    return kept
