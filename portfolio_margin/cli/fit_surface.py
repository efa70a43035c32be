"""fit-surface: raw SVI slices of an option chain, with diagnostics."""

from __future__ import annotations

import os
from typing import Any

import click
import numpy as np

from portfolio_margin.cli.chain import (
    CHAIN_OPTIONS,
    FIT_OPTIONS,
    REJECTED,
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
from pricing.fit import SliceStatus, expiries_of

LEGEND = (
    "FITTED: least squares as they ended; REPAIRED: refitted free of arbitrage (before repair: its rmse with it); "
    "FLAT: fewer than five strikes; FALLBACK: free only from extended SSVI; ARBITRAGE: not free; NO_QUOTES: no slice",
    "used: one quote a strike, mids or the venue's marks, which rmse and by vega cover; of mids: those fitted to a mid",
    "rejected: one sided have one side and no mark, outliers lie far from a first fit (--reject-outliers)",
    "inside: of used quotes with both sides, those whose fitted vol lies from bid to ask",
    "at limit: what the quotes would have beyond the box of the search (a sigma: a bend wider than they span)",
)


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
    if plots_folder is not None:
        _made(plots_folder)
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
        Column("rejected", _rejected(columns), keep=False),
        Column("rmse [vol pt]", number(columns["rmse_vol_points"], 3)),
        Column("of mids", number(columns["rmse_mid_vol_points"], 3)),
        Column("by vega [vol pt]", number(columns["rmse_vega_vol_points"], 3)),
        Column("before repair", _before(columns), keep=False),
        Column("inside [%]", number(100 * columns["inside_share"], 1)),
        Column("min g", number(columns["minimum_g"], 4)),
        Column("at k", number(columns["minimum_g_k"], 2), keep=False),
        Column("crosses", ["yes" if crosses else "no" for crosses in columns["crosses_previous"]]),
        Column("gap in quotes", number(columns["calendar_gap_quoted"], 5), keep=False),
        Column("at limit", text("at_bound"), right=False, keep=False),
        Column("a", number(columns["a"], 6), keep=False),
        Column("b", number(columns["b"], 5), keep=False),
        Column("rho", number(columns["rho"], 4), keep=False),
        Column("m", number(columns["m"], 4), keep=False),
        Column("sigma", number(columns["sigma"], 4), keep=False),
    ]
    footer = [
        *LEGEND,
        "min g below 0: butterfly arbitrage; crosses: whether w falls below that of the expiry before, at any strike",
        "gap in quotes: smallest w less w of the expiry before, over the strikes that both have quotes for",
        f"market rows left out: {len(told.left_out) or 'none'}",
        *told.remarks(),
    ]
    show_table(f"raw SVI slices of {source}", shown, "\n".join(footer))


def _rejected(columns: dict[str, Any]) -> list[str]:
    """How many quotes of each expiry were not used, and why."""
    kinds = {use: f"quotes_{use.name.lower()}" for use in REJECTED}
    found = []
    for row, count in enumerate(columns["quotes_rejected"]):
        why = [f"{columns[name][row]} {use.name.lower().replace('_', ' ')}" for use, name in kinds.items()]
        found.append(", ".join(part for part in why if not part.startswith("0 ")) if count else "0")
    return found


def _before(columns: dict[str, Any]) -> list[str]:
    """The error of each slice that was refitted as it had been before, with its arbitrage."""
    before = number(columns["rmse_unconstrained_vol_points"], 3)
    refitted = np.isin(columns["status"], (SliceStatus.REPAIRED.name, SliceStatus.FALLBACK.name))
    return [text if changed else "" for text, changed in zip(before, refitted, strict=True)]


def _draw(folder: str, read: FittedChain) -> None:
    """A smile for every expiry with a slice, and for every underlying the fan, g and the residuals."""
    from pathlib import Path

    from portfolio_margin.plots import butterfly, fan, residuals, smile

    target, expiries = Path(folder), expiries_of(read.market)
    quotes, surface = read.quotes, read.surface
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


def _made(folder: str) -> None:
    """Make the folder of the pictures before anything is computed for them."""
    from pathlib import Path

    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--plots {folder}: cannot be a folder: {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"--plots {folder}: nothing can be written there")


def _write(path: str, read: FittedChain, told: Told, keep_marks: bool) -> None:
    from dataclasses import replace

    from portfolio_margin.io.market_json import write_market

    vol = read.market.mark_vol if keep_marks else np.full(len(read.instruments), np.nan)
    write_market(path, read.instruments, replace(read.market, mark_vol=vol), f"fitted to {read.source}", told)
    tell(f"wrote {path}")


def _is_json(path: str) -> bool:
    return path.endswith((".json", ".json.gz"))
