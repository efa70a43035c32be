"""Surfaces: many slices at once against scipy in the same run, and how well surfaces fit real snapshots.

`python -m benchmarks.surfaces --data DIR` fits every daily snapshot of DIR/deribit_chain and the chains of
DIR/equity_chain by each method and prints one row a method; `--output DIR` keeps the rows of every snapshot.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from benchmarks.timing import best_seconds, report
from pricing.butterfly import butterfly_free
from pricing.calendar_spread import calendar_free
from pricing.fit import METHODS, Expiries, Quotes, QuoteUse, expiries_of, fit
from pricing.joint_fit import wings_from_raw
from pricing.slice_fit import SliceData, fit_slice, fit_slices, raw_from_wings, slice_bounds
from pricing.surfaces import svi

DAILY = "deribit_chain/daily_20251230_20260415.parquet"
EQUITY = {
    "SPY 2025-09-25": ("equity_chain/spy_chain_cboe_20250925.csv.gz", datetime(2025, 9, 25, 20, 0, tzinfo=UTC)),
    "SPY 2026-08-21": ("equity_chain/spy_otm_surface_20260821.csv.gz", datetime(2026, 8, 21, 17, 36, tzinfo=UTC)),
}
EQUITY_RATE = 0.042
PEER_SHARE = 10


def noisy_slices(count: int, quotes: int = 30, seed: int = 0) -> list[SliceData]:
    """Slices with vol noise of 0.4 % times 1 + |z| at z standard deviations."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        tau = random.uniform(0.02, 1.0)
        deviation = random.uniform(0.3, 1.0) * np.sqrt(tau)
        left, right = np.sqrt(deviation * random.uniform(0.1, 0.8, 2))
        shape = [deviation**2 * random.uniform(0.4, 1.0), left, right]
        shape += [deviation * random.uniform(-0.7, 0.7), deviation * random.uniform(0.3, 1.5)]
        z = np.sort(random.uniform(-3.0, 3.0, quotes))
        vol = np.sqrt(svi.total_variance(np, deviation * z, *raw_from_wings(np.array(shape))) / tau)
        vol = np.maximum(vol + 0.004 * (1.0 + np.abs(z)) * random.standard_normal(quotes), 0.02)
        found.append(SliceData(deviation * z, vol * vol * tau, 1.0 / (2.0 * vol * tau)))
    return found


def scipy_fit(data: SliceData) -> np.ndarray:
    """Raw parameters by scipy's Levenberg-Marquardt in a b rho m sigma, exact Jacobian, one usual start, no bounds."""

    def residuals(raw: np.ndarray) -> np.ndarray:
        return np.asarray(data.weight * (svi.total_variance(np, data.k, *raw) - data.w))

    def jacobian(raw: np.ndarray) -> np.ndarray:
        _, b, rho, m, sigma = raw
        x = data.k - m
        root = np.sqrt(x * x + sigma * sigma)
        columns = (np.ones_like(x), rho * x + root, b * x, -b * (rho + x / root), b * sigma / root)
        return np.asarray(data.weight[:, None] * np.stack(columns, axis=1))

    lowest = int(np.argmin(data.w))
    slope = max(float(np.ptp(data.w) / np.ptp(data.k)), 1e-3)
    start = [0.5 * data.w[lowest], slope, 0.0, data.k[lowest], 0.3 * float(np.ptp(data.k))]
    return np.asarray(least_squares(residuals, start, jacobian, method="lm").x)


def in_the_box(data: SliceData, raw: np.ndarray) -> bool:
    """Whether a slice is one that our fit may choose: w > 0, wing slopes in [0, 2], m and sigma of the quotes' size."""
    low, high = slice_bounds(data)
    with np.errstate(invalid="ignore"):
        wings = wings_from_raw(raw[None, :])[0]
    return bool(np.all((wings >= low) & (wings <= high)))


def vol_rmse(data: SliceData, raw: np.ndarray) -> float:
    """Root mean square of the vol errors, to first order; the weights are 1 / (2 vol tau)."""
    return float(np.sqrt(np.mean((data.weight * (svi.total_variance(np, data.k, *raw) - data.w)) ** 2)))


def run(slices: int, rounds: int, threads: int = 2) -> None:
    """Time the compiled kernel beside scipy on the same slices, and compare their errors slice by slice."""
    data = noisy_slices(slices)
    some = data[:: max(1, PEER_SHARE)]
    contestants = {
        "fit_slices, numba, 1 thread": lambda: fit_slices(data),
        f"fit_slices, numba, {threads} threads": lambda: fit_slices(data, threads),
        "fit_slice, numpy and scipy (1/10)": lambda: [fit_slice(one) for one in some],
        "scipy lm, exact Jacobian (1/10)": lambda: [scipy_fit(one) for one in some],
    }
    seconds = best_seconds(contestants, rounds)
    for name in [name for name in seconds if name.endswith("(1/10)")]:
        seconds[name.replace("(1/10)", "(times 10)")] = seconds.pop(name) * len(data) / len(some)
    report(f"SVI: {slices:,} slices of 30 noisy quotes", seconds, "fit_slices, numba, 1 thread")
    ours = np.array([vol_rmse(one, found.raw) for one, found in zip(data, fit_slices(data), strict=True)])
    free = [scipy_fit(one) for one in data]
    peer = np.array([vol_rmse(one, raw) for one, raw in zip(data, free, strict=True)])
    above = np.flatnonzero(ours > peer * (1 + 1e-6))
    admissible = sum(in_the_box(data[row], free[row]) for row in above)
    searched = np.array([fit_slice(one).cost for one in some])
    again = np.array([found.cost for found in fit_slices(some)])
    print(f"  rmse in vol, median and largest: ours {np.median(ours):.5f} {ours.max():.5f}", end="")
    print(f", scipy lm {np.median(peer):.5f} {peer.max():.5f}")
    below, stuck = np.sum(ours < peer * (1 - 1e-6)), np.sum(again > searched * (1 + 1e-6))
    print(f"  slices above scipy lm's rmse: {len(above)}, of which scipy's is admissible {admissible}", end="")
    print(f"; below it: {below}; stuck: {stuck}")


def moments(data: Path, step: int) -> Iterator[tuple[str, Quotes, Expiries]]:
    """Every step-th daily snapshot of both coins, then the equity chains: name, quotes, expiries."""
    import pandas as pd

    from portfolio_margin.io.chain import EXCLUDE, vol_quotes
    from portfolio_margin.io.deribit import read_chain
    from portfolio_margin.io.equity_chain import read_equity_chain

    frame = pd.read_parquet(data / DAILY)
    for moment in frame["snapshot_utc"].drop_duplicates().sort_values().iloc[::step]:
        read = read_chain(frame[frame["snapshot_utc"] == moment], on_bad_row=EXCLUDE)
        yield str(moment)[:16], vol_quotes(read), expiries_of(read.market)
    for name, (file, moment) in EQUITY.items():
        chain = read_equity_chain(data / file, valuation_time=moment, rate=EQUITY_RATE)
        yield name, chain.quotes, chain.expiries


def score(name: str, method: str, quotes: Quotes, expiries: Expiries) -> dict[str, Any]:
    """One row: how near, how free of arbitrage by the exact decisions, and how long."""
    start = time.process_time()  # one thread: processor time, which a busy machine does not change
    surface = fit(quotes, expiries, method=method, backend="numba")
    seconds = time.process_time() - start
    done, used = surface.diagnostics, np.isfinite(surface.diagnostics.target_vol)
    error = 100.0 * (done.fitted_vol - done.target_vol)
    mid = done.quote_use == QuoteUse.MID
    fitted = np.flatnonzero(np.isfinite(surface.svi).all(axis=1))
    order = fitted[np.lexsort((expiries.tau[fitted], expiries.underlying_idx[fitted]))]
    same = np.diff(expiries.underlying_idx[order]) == 0
    counts = done.used_count[fitted]
    return {
        "moment": name,
        "method": method,
        "slices": len(fitted),
        "quotes": int(used.sum()),
        "inside_share": float(np.nansum(done.inside_share * done.inside_count) / done.inside_count.sum()),
        "rmse": float(np.sqrt(np.mean(error[used] ** 2))),
        "rmse_mid": float(np.sqrt(np.mean(error[mid] ** 2))),
        "rmse_vega": float(np.sqrt(np.average(done.rmse_vega[fitted] ** 2, weights=counts))),
        "worst_slice_rmse_vega": float(done.rmse_vega[fitted].max()),
        "butterfly_violations": int(np.sum(~butterfly_free(surface.svi[fitted]))),
        "calendar_violations": int(np.sum(~calendar_free(surface.svi[order[:-1][same]], surface.svi[order[1:][same]]))),
        "seconds": seconds,
    }


ERRORS = ("inside_share", "rmse", "rmse_mid", "rmse_vega")


def summary(rows: list[dict[str, Any]]) -> str:
    """Markdown: one row a market and method; means over moments, violations as sums."""
    lines = [
        "| market | method | moments | slices | inside bid/ask | rmse of mids [vol pt] | of all | by vega "
        "| worst slice by vega | butterfly violations | calendar violations | CPU s a moment |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    markets = [("Deribit BTC, ETH", lambda row: row["moment"][:2] == "20"), *((e, e.__eq__) for e in EQUITY)]
    for market, of in markets:
        for method in METHODS:
            here = [r for r in rows if r["method"] == method and of(r if market[0] == "D" else r["moment"])]
            if here:
                mean = {name: float(np.mean([r[name] for r in here])) for name in ERRORS}
                total = {n: sum(r[n] for r in here) for n in ("slices", "butterfly_violations", "calendar_violations")}
                lines.append(
                    f"| {market} | {method} | {len(here)} | {total['slices']:,} | {mean['inside_share']:.1%} "
                    f"| {mean['rmse_mid']:.2f} | {mean['rmse']:.2f} | {mean['rmse_vega']:.2f} "
                    f"| {max(r['worst_slice_rmse_vega'] for r in here):.2f} | {total['butterfly_violations']} "
                    f"| {total['calendar_violations']} | {np.median([r['seconds'] for r in here]):.2f} |"
                )
    return "\n".join(lines)


def main() -> None:
    """Parse the folders, fit everything and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.surfaces", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder that holds deribit_chain and equity_chain")
    parser.add_argument("--step", type=int, default=1, help="every step-th daily snapshot")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--output", type=Path, help="JSON of the rows, added to what it holds of other methods")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    if chosen.data is None:
        run(1_000, chosen.rounds)
        return
    import json

    methods = chosen.methods.split(",")
    rows = json.loads(chosen.output.read_text()) if chosen.output and chosen.output.exists() else []
    rows = [row for row in rows if row["method"] not in methods]
    fit_slices(noisy_slices(1))
    for name, quotes, expiries in moments(chosen.data, chosen.step):
        rows += [score(name, method, quotes, expiries) for method in methods]
    if chosen.output:
        chosen.output.write_text(json.dumps(rows, indent=0))
    print(summary(rows))


if __name__ == "__main__":
    main()
