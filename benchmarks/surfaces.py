"""Surfaces: how well each method fits real snapshots; without them the race of slices, benchmarks/slices.py.

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

from benchmarks import slices
from pricing.butterfly import butterfly_free
from pricing.calendar_spread import calendar_free
from pricing.fit import METHODS, Expiries, Quotes, QuoteUse, expiries_of, fit
from pricing.slice_fit import fit_slices

DAILY = "deribit_chain/daily_20251230_20260415.parquet"
EQUITY = {
    "SPY 2025-09-25": ("equity_chain/spy_chain_cboe_20250925.csv.gz", datetime(2025, 9, 25, 20, 0, tzinfo=UTC)),
    "SPY 2026-08-21": ("equity_chain/spy_otm_surface_20260821.csv.gz", datetime(2026, 8, 21, 17, 36, tzinfo=UTC)),
}
EQUITY_RATE = 0.042


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
        slices.run(1_000, chosen.rounds)
        return
    import json

    methods = chosen.methods.split(",")
    unknown = [method for method in methods if method not in METHODS]
    missing = [str(chosen.data / file) for file in (DAILY, *(file for file, _ in EQUITY.values()))]
    missing = [file for file in missing if not Path(file).exists()]
    if unknown:
        parser.error(f"--methods {', '.join(unknown)}: must be of {', '.join(METHODS)}")
    if missing:
        parser.error(f"--data {chosen.data}: lacks {', '.join(missing)}")
    rows = json.loads(chosen.output.read_text()) if chosen.output and chosen.output.exists() else []
    rows = [row for row in rows if row["method"] not in methods]
    fit_slices(slices.noisy_slices(1))
    for name, quotes, expiries in moments(chosen.data, chosen.step):
        rows += [score(name, method, quotes, expiries) for method in methods]
        print(f"{name}: {len(methods)} methods fitted", flush=True)
    if chosen.output:
        chosen.output.write_text(json.dumps(rows, indent=0))
    print(summary(rows))


if __name__ == "__main__":
    main()
