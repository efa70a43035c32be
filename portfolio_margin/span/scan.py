"""Scan risk and what it is made of: time, volatility and price risk, and the price risk of one delta.

Losses are positive. Rows are combined commodities of accounts. Source: CME SPAN, as described on the public pages of
CME Clearing and read in open implementations; the weighted price risk methods are those of CME advisory 10-409.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pricing.arrays import FloatArray, IntArray

NORMAL, CAPPED, SCAN_RANGE = 0, 1, 2
METHODS = {"": NORMAL, "NORMAL": NORMAL, "SCANRANGE CAP": CAPPED, "SCANRANGE": SCAN_RANGE}


def price_method(name: str) -> int | None:
    """Code of a weighted price risk method by its name in a file, the first where it states none; None if unknown."""
    return METHODS.get(name.upper().replace("_", " ").strip())


class ScanRisk(NamedTuple):
    """Scan risk of rows of losses, (R,) each.

    risk        largest loss, 0 where no scenario loses
    active      scenario of the largest loss, the first of several, from 0
    time        risk of the passing of time: mean of the two scenarios without price move
    volatility  half of what the active scenario loses beyond its pair with the opposite vol move
    price       what is left: risk of the price of the future
    """

    risk: FloatArray
    active: IntArray
    time: FloatArray
    volatility: FloatArray
    price: FloatArray


def scan_risk(loss: FloatArray, paired: IntArray) -> ScanRisk:
    """Scan risk of losses.

    loss    (R,16) in the order of the scenarios
    paired  (16,) or (R,16) scenario with the opposite vol move, from 0; the scenario itself where there is none

    Where every scenario gains, the risk is 0 and the volatility risk half the difference of the first two scenarios.
    """
    rows = np.arange(len(loss))
    active = np.argmax(loss, axis=1) if len(loss) else np.zeros(0, dtype=np.int64)
    worst = loss[rows, active]
    pair = np.broadcast_to(paired, loss.shape)[rows, active]
    time = (loss[:, 0] + loss[:, 1]) / 2.0
    gains = worst < 0.0
    volatility = np.where(gains, (loss[:, 0] - loss[:, 1]) / 2.0, (worst - loss[rows, pair]) / 2.0)
    risk = np.where(gains, 0.0, worst)
    return ScanRisk(risk, active, time, volatility, risk - time - volatility)


def weighted_price_risk(
    price: FloatArray, net_delta: FloatArray, method: IntArray, scan_range: FloatArray
) -> FloatArray:
    """Price risk of one delta, never below 0.

    price       risk of the price of the future
    net_delta   deltas of the commodity; without any the price risk of one is 0
    method      NORMAL, CAPPED at the scan range, or SCAN_RANGE itself
    scan_range  of one delta of the nearest future
    """
    size = np.abs(net_delta)
    normal = np.maximum(price, 0.0) / np.where(size > 0.0, size, 1.0)
    chosen = np.where(method == CAPPED, np.minimum(normal, scan_range), normal)
    chosen = np.where(method == SCAN_RANGE, scan_range, chosen)
    return np.where(size > 0.0, chosen, 0.0)
