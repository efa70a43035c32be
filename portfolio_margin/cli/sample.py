"""sample: the accounts of the shipped sample on any BTC and ETH market, or accounts on a stock and its options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from portfolio_margin.cli.chain import ChainOptions
from portfolio_margin.cli.inputs import MARKET_OPTIONS, read_market_option, with_options
from portfolio_margin.cli.tell import tell
from portfolio_margin.io.atomic import write_whole
from portfolio_margin.sample import COLLATERAL_FILE, POSITIONS_FILE
from pricing.errors import ConfigError


@click.command("sample")
@with_options(*MARKET_OPTIONS)
@click.option("--output", "folder", metavar="FOLDER", required=True, help="Where the two files go.")
@click.option("--force", is_flag=True, help="Write over files that are there already.")
def command(market: str | None, folder: str, force: bool, **chain_options: Any) -> None:
    """Write positions.csv and collateral.csv: the generated accounts of the sample, on the contracts of a market.

    The accounts are chosen by delta, moneyness and days to expiry, so they make sense on any day of the BTC and ETH
    option market. A market of a listed stock gets accounts of its own: shares, hedged and not, spreads, straddles.
    """
    from portfolio_margin.sample.accounts import files_of, holdings, idle_accounts

    if Path(folder).is_file():
        raise ConfigError(f"--output {folder} is a file: name a folder for {POSITIONS_FILE} and {COLLATERAL_FILE}")
    targets = [Path(folder) / name for name in (POSITIONS_FILE, COLLATERAL_FILE)]
    there = [str(target) for target in targets if target.exists()]
    if there and not force:
        raise ConfigError(f"{' and '.join(there)} exist already; choose another folder, or give --force")
    given = read_market_option(market, ChainOptions.take(chain_options))
    positions, collateral = holdings(given.instruments, given.market)
    contents = files_of(positions, collateral)
    Path(folder).mkdir(parents=True, exist_ok=True)
    for target, content in zip(targets, contents, strict=True):
        write_whole(target, content)
    for note in given.told.remarks():
        tell(note)
    accounts = len({row.account for row in [*positions, *collateral]})
    idle = idle_accounts(given.instruments, given.market)
    if idle:
        tell(f"too few strikes are listed for {', '.join(idle)}: cash and no contract")
    click.echo(f"wrote {targets[0]} and {targets[1]}: {accounts} accounts on {given.source}")
