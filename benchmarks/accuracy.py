"""How far off results are, against 60 digits, on the same sampled rows for every contestant."""

from __future__ import annotations

from typing import NamedTuple

import mpmath as mp
import numpy as np

from benchmarks.contestants import LOOP_ROWS, Columns, Peer
from tests.naive import exact
from tests.naive.implied_vol import exact_vol

CHECKED_ROWS = 1_000
DIGITS = 60
SMALLEST_SHARE = 1e-12  # of the forward: smaller prices do not enter the relative error, as in published tables
FIRM = 1e-9  # one rounding of the price moves the vol by less: the price tells its vol
RIGHT = 1e-4  # relative; beyond it an implied vol is a failure
PER_MILLION = 1e6


def sampled_rows(rows: int) -> np.ndarray:
    """Rows that every contestant computes, however few it takes."""
    last = min(rows, LOOP_ROWS)
    return np.linspace(0, last - 1, min(last, CHECKED_ROWS)).astype(int)


class PriceTruth(NamedTuple):
    """Exact prices of the sampled rows, max(F, K), and where the relative error counts: out of the money."""

    rows: np.ndarray
    price: list[mp.mpf]
    size: np.ndarray
    relative: np.ndarray


def exact_prices(columns: Columns) -> PriceTruth:
    """Discounted prices in 60 digits for the doubles given."""
    forward, strike, tau, vol, discount, sign = columns
    rows = sampled_rows(len(forward))
    found = []
    with mp.workdps(DIGITS):
        for row in rows:
            terms = (mp.mpf(float(column[row])) for column in (forward, strike, tau, vol))
            found.append(mp.mpf(float(discount[row])) * exact.black(*terms, int(sign[row])))
    large = np.array([float(value) for value in found]) > SMALLEST_SHARE * forward[rows]
    out_of_the_money = sign[rows] * (forward[rows] - strike[rows]) <= 0
    return PriceTruth(rows, found, np.maximum(forward, strike)[rows], large & out_of_the_money)


def price_errors(truth: PriceTruth, values: np.ndarray) -> dict[str, float]:
    """Largest error over max(F, K), and relative out of the money."""
    with mp.workdps(DIGITS):
        off = np.array(
            [float(abs(mp.mpf(float(values[row])) - p)) for row, p in zip(truth.rows, truth.price, strict=True)]
        )
    relative = off[truth.relative] / np.array([float(p) for p in truth.price])[truth.relative]
    return {"error / max(F, K)": float(np.max(off / truth.size)), "relative out of the money": float(relative.max())}


def black_greeks(
    forward: float, strike: float, tau: float, vol: float, discount: float, sign: float
) -> dict[str, mp.mpf]:
    """Price and Greeks in 60 digits, raw; the two rhos move the forward with the rate, or hold it."""
    with mp.workdps(DIGITS):
        f, k, t, v, d = (mp.mpf(float(number)) for number in (forward, strike, tau, vol, discount))
        root, s = mp.sqrt(t), int(sign)
        d1 = mp.log(f / k) / (v * root) + v * root / 2
        d2 = d1 - v * root
        price, density, rate = d * exact.black(f, k, t, v, s), d * mp.npdf(d1), -mp.log(d) / t
        vega = density * f * root
        return {
            "price": price,
            "delta": d * s * exact.normal_cdf(s * d1),
            "gamma": density / (f * v * root),
            "vega": vega,
            "theta": rate * price - density * f * v / (2 * root),
            "rho": s * t * k * d * exact.normal_cdf(s * d2),
            "rho, forward held": -t * price,
            "vanna": -density * d2 / v,
            "volga": vega * d1 * d2 / v,
        }


def natural_scales(columns: Columns) -> dict[str, np.ndarray]:
    """The size that each Greek has where it is large."""
    forward, strike, tau, vol, _, _ = columns
    root, size = np.sqrt(tau), np.maximum(forward, strike)
    return {
        "price": size,
        "delta": np.ones_like(forward),
        "gamma": 1.0 / (forward * vol * root),
        "vega": forward * root,
        "theta": forward * vol / root + size,
        "rho": tau * size,
        "rho, forward held": tau * size,
        "vanna": 1.0 / vol,
        "volga": forward * root / vol,
    }


class GreekTruth(NamedTuple):
    """Exact Greeks of the sampled rows, and their natural scales."""

    rows: np.ndarray
    greeks: list[dict[str, mp.mpf]]
    scales: dict[str, np.ndarray]


def exact_greeks(columns: Columns) -> GreekTruth:
    """All Greeks in 60 digits for the doubles given."""
    rows = sampled_rows(len(columns[0]))
    greeks = [black_greeks(*(float(column[row]) for column in columns)) for row in rows]
    return GreekTruth(rows, greeks, natural_scales(tuple(column[rows] for column in columns)))


def greek_errors(truth: GreekTruth, peer: Peer, results: tuple[np.ndarray, ...]) -> dict[str, float]:
    """Largest error of each field over its natural scale."""
    errors = {}
    for name, values in zip(peer.fields, results, strict=True):
        unit, exactly = peer.units.get(name, 1.0), [row[name] for row in truth.greeks]
        given = [float(value) * unit for value in np.asarray(values)[truth.rows]]
        with mp.workdps(DIGITS):
            off = [float(abs(mp.mpf(value) - right)) for value, right in zip(given, exactly, strict=True)]
        errors[name] = float(np.max(np.array(off) / truth.scales[name]))
    return errors


class VolTruth(NamedTuple):
    """Which rows tell their vol, the vols they were priced with, and exact roots of the sampled ones."""

    firm: np.ndarray
    vols: np.ndarray
    rows: np.ndarray
    root: list[mp.mpf]
    rounding: np.ndarray


def exact_vols(columns: Columns, vols: np.ndarray) -> VolTruth:
    """Roots in 60 digits, and by how much one rounding of price and vol moves them."""
    value, forward, strike, tau, discount, _ = columns
    d1 = np.log(forward / strike) / (vols * np.sqrt(tau)) + 0.5 * vols * np.sqrt(tau)
    with np.errstate(divide="ignore", over="ignore"):
        movement = np.spacing(value) / (discount * forward * np.exp(-0.5 * d1 * d1) * 0.39894228 * np.sqrt(tau))
    firm = movement < FIRM
    rows = sampled_rows(len(value))
    rows = rows[firm[rows]]
    roots, roundings = [], []
    for row in rows:
        root, slope = exact_vol(*(float(column[row]) for column in columns), start=float(vols[row]))
        roots.append(root)
        roundings.append(float(slope) * np.spacing(value[row]) + np.spacing(vols[row]))
    return VolTruth(firm, vols, rows, roots, np.array(roundings))


def vol_errors(truth: VolTruth, found: np.ndarray) -> dict[str, float]:
    """Failures per million rows that tell their vol, and the largest distance from the root in roundings.

    A row without an answer, or off by more than RIGHT, is a failure; the distance is over rows with an answer.
    """
    count = len(found)
    firm, vols = truth.firm[:count], truth.vols[:count]
    failures = int(np.sum(firm & ~(np.abs(found - vols) <= RIGHT * vols)))
    off = [float(abs(mp.mpf(float(found[row])) - root)) for row, root in zip(truth.rows, truth.root, strict=True)]
    finite = np.isfinite(off)
    return {
        "failures per million": PER_MILLION * failures / int(firm.sum()),
        "roundings": float(np.max(np.array(off)[finite] / truth.rounding[finite], initial=0.0)),
    }


if __name__ == "__main__":
    raise SystemExit("errors are printed beside the times: python -m benchmarks.pricing")
