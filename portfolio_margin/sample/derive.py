"""Derive the sample exchange from a snapshot of the real market: `python -m portfolio_margin.sample.derive --data DIR`.

What ships is what our own fit makes of the snapshot: index, forwards, SVI slices and the listed contracts. Quotes and
vols of the source are not stored. The same source gives the same files, byte for byte, on the same kind of processor;
on another kind the slices may differ by what moves no vol by 1e-6, and the two tables stay the same.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from portfolio_margin.io.atomic import write_whole
from portfolio_margin.io.chain import EXCLUDE, Snapshot, vol_quotes, with_surface
from portfolio_margin.io.deribit import read_chain
from portfolio_margin.io.market_json import write_market
from portfolio_margin.sample import COLLATERAL_FILE, MARKET_FILE, POSITIONS_FILE
from portfolio_margin.sample.accounts import files_of, holdings
from pricing.fit import expiries_of, fit
from pricing.instruments import Instruments
from pricing.market import Market

SNAPSHOT_FILE = "deribit_chain/raw_snapshot_20260226T094105Z.csv.gz"
SOURCE = (
    "index, forwards and SVI slices fitted by this project to the Deribit BTC and ETH option chain "
    "of 2026-02-26 09:41:05 UTC; source quotes are not included"
)
# Digits that leave a vol unchanged to 1e-6 even an hour before expiry, and no more.
SLICE_DIGITS = 10


def derive(data: Path, target: Path) -> None:
    """Write the three files of the sample into `target`."""
    snapshot = read_chain(data / SNAPSHOT_FILE, on_bad_row=EXCLUDE)
    instruments, market = fitted_market(snapshot)
    market = replace(market, svi=np.round(market.svi, SLICE_DIGITS))
    positions, collateral = holdings(instruments, market)
    write_market(target / MARKET_FILE, instruments, market, SOURCE)
    for name, content in zip((POSITIONS_FILE, COLLATERAL_FILE), files_of(positions, collateral), strict=True):
        write_whole(target / name, content)


def fitted_market(snapshot: Snapshot) -> tuple[Instruments, Market]:
    """The contracts of a snapshot and its market with fitted slices in place of the venue's vols."""
    surface = fit(vol_quotes(snapshot), expiries_of(snapshot.market), backend="numpy")
    market = with_surface(snapshot, surface.svi).market
    return snapshot.instruments, replace(market, mark_vol=np.full(len(snapshot.instruments), np.nan))


def main() -> None:
    """Parse the folders and derive."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds deribit_chain")
    parser.add_argument("--target", type=Path, default=Path(__file__).parent, help="where the files go")
    arguments = parser.parse_args()
    derive(arguments.data, arguments.target)


if __name__ == "__main__":
    main()
