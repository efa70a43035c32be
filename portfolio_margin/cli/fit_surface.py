"""fit-surface: raw SVI slices of an option chain, with diagnostics."""

from __future__ import annotations

from typing import Any

import click
import numpy as np

from portfolio_margin.cli.chain import (
    CHAIN_OPTIONS,
    FIT_OPTIONS,
    ChainOptions,
    FitOptions,
    FittedChain,
    diagnostics,
    fitted_chain,
    told_of,
)
from portfolio_margin.cli.inputs import with_options
from portfolio_margin.cli.output import (
    Column,
    chosen_output,
    deliver,
    number,
    output_options,
    rows_document,
    show_table,
)
from portfolio_margin.cli.tell import tell
from portfolio_margin.io.told import Told
from pricing.errors import ConfigError
from pricing.fit import expiries_of


@click.command("fit-surface")
@click.argument("chain")
@with_options(*CHAIN_OPTIONS, *FIT_OPTIONS)
@click.option("--plots", "plots_folder", metavar="DIR", help="Write pictures of every smile and of each surface.")
@click.option("--market", "market_file", metavar="FILE", help="Write our market .json or .json.gz with the slices.")
@click.option("--keep-marks", is_flag=True, help="Keep the venue's mark vols in the market file.")
@output_options
def command(
    chain: str,
    plots_folder: str | None,
    market_file: str | None,
    keep_marks: bool,
    output_file: str | None,
    **forms_and_chain: Any,
) -> None:
    """Fit raw SVI slices to CHAIN, one moment of a chain of options; --output market.json writes the market."""
    if market_file is None and output_file is not None and _is_json(output_file) and not forms_and_chain["as_json"]:
        market_file, output_file = output_file, None
    if market_file is not None and not _is_json(market_file):
        raise ConfigError(f"{market_file}: a market file ends in .json or .json.gz")
    chain_options, how = ChainOptions.take(forms_and_chain), FitOptions.take(forms_and_chain)
    output = chosen_output(output_file=output_file, **forms_and_chain)
    read = fitted_chain(chain, chain_options, how)
    if plots_folder is not None:
        _draw(plots_folder, read)
    columns, told = diagnostics(read), told_of(read)
    if market_file is not None:
        _write(market_file, read, told, keep_marks)
    identity = {"source": read.source, **told.document()}
    if not deliver(output, columns, identity, rows_document(identity, "expiries", columns)):
        _show(read.source, told, columns)


def _show(source: str, told: Told, columns: dict[str, Any]) -> None:
    def text(name: str) -> list[str]:
        return [str(value) for value in columns[name]]

    shown = [
        Column("expiry", text("expiry"), right=False),
        Column("status", text("status"), right=False),
        Column("used", text("quotes_used")),
        Column("rejected", text("quotes_rejected"), keep=False),
        Column("rmse [vol pt]", number(columns["rmse_vol_points"], 3)),
        Column("by vega [vol pt]", number(columns["rmse_vega_vol_points"], 3)),
        Column("inside [%]", number(100 * columns["inside_share"], 1)),
        Column("min g", number(columns["minimum_g"], 4)),
        Column("at k", number(columns["minimum_g_k"], 2), keep=False),
        Column("crosses", ["yes" if crosses else "no" for crosses in columns["crosses_previous"]]),
        Column("gap in quotes", number(columns["calendar_gap_quoted"], 5), keep=False),
        Column("a", number(columns["a"], 6), keep=False),
        Column("b", number(columns["b"], 5), keep=False),
        Column("rho", number(columns["rho"], 4), keep=False),
        Column("m", number(columns["m"], 4), keep=False),
        Column("sigma", number(columns["sigma"], 4), keep=False),
    ]
    footer = [
        "min g below 0: butterfly arbitrage; crosses: whether w falls below that of the expiry before, at any strike",
        "gap in quotes: smallest w less w of the expiry before, over the strikes that both have quotes for",
        f"market rows left out: {len(told.left_out) or 'none'}",
        *told.remarks(),
    ]
    show_table(f"raw SVI slices of {source}", shown, "\n".join(footer))


def _draw(folder: str, read: FittedChain) -> None:
    """A smile for every expiry with a slice, and for every underlying the fan, g and the residuals."""
    from pathlib import Path

    from portfolio_margin.plots import butterfly, fan, residuals, smile

    target, expiries = Path(folder), expiries_of(read.market)
    quotes, surface = read.quotes, read.surface
    target.mkdir(parents=True, exist_ok=True)
    pictures = {
        f"smile-{name}": smile(quotes, expiries, surface, row, name)
        for row, name in enumerate(read.market.expiry_name)
        if np.isfinite(surface.svi[row]).all()
    }
    fitted = np.isfinite(surface.svi).all(axis=1)
    for row, name in enumerate(read.market.underlying_id.tolist()):
        if not np.any(fitted & (expiries.underlying_idx == row)):
            continue
        pictures[f"fan-{name}"] = fan(expiries, surface, row, f"{name}: total variance")
        pictures[f"butterfly-{name}"] = butterfly(expiries, surface, row, f"{name}: g")
        pictures[f"residuals-{name}"] = residuals(quotes, expiries, surface, row, f"{name}: residuals")
    for name, picture in pictures.items():
        picture.save(target / f"{name}.png")
    tell(f"wrote {len(pictures)} pictures to {folder}")


def _write(path: str, read: FittedChain, told: Told, keep_marks: bool) -> None:
    from dataclasses import replace

    from portfolio_margin.io.market_json import write_market

    vol = read.market.mark_vol if keep_marks else np.full(len(read.instruments), np.nan)
    write_market(path, read.instruments, replace(read.market, mark_vol=vol), f"fitted to {read.source}", told)
    tell(f"wrote {path}")


def _is_json(path: str) -> bool:
    return path.endswith((".json", ".json.gz"))
