"""A chain given on the command line: tables of quotes of a venue or a stock, or the venue's own JSON, fitted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

import click
import numpy as np

from portfolio_margin.cli.equity import STOCK_OPTIONS, StockTerms, notes_of, read_stock_chain
from portfolio_margin.cli.output import progress
from portfolio_margin.cli.tell import tell
from portfolio_margin.io.chain import EXCLUDE, REFUSE, Snapshot, vol_quotes
from portfolio_margin.io.chain_rows import DECIMAL, PERCENT
from portfolio_margin.io.equity_chain import is_equity_chain
from portfolio_margin.io.market_json import is_market_file
from portfolio_margin.io.tables import JSON, Table, kind_of_name, read_table
from portfolio_margin.io.told import LEFT_OUT, Told
from pricing.arrays import BoolArray
from pricing.errors import ConfigError, Problem
from pricing.fit import BACKENDS, METHODS, WEIGHTINGS, SliceStatus, Surface, expiries_of, fit
from pricing.instruments import Instruments
from pricing.market import Market
from pricing.quotes import Quotes, QuoteUse

EXCLUDED_SHOWN = 10
REJECTED = tuple(use for use in QuoteUse if use not in (QuoteUse.MID, QuoteUse.MARK, QuoteUse.TWIN))


@dataclass(frozen=True)
class ChainOptions:
    """How a chain is read; the defaults are those of the options."""

    snapshot: str | None = None
    on_bad_row: str = REFUSE
    iv_unit: str | None = None
    fx: tuple[str, ...] = ()
    futures: str | None = None
    stock: StockTerms = field(default_factory=StockTerms)

    @classmethod
    def take(cls, values: dict[str, Any]) -> ChainOptions:
        """Take the options of a chain out of the keyword arguments of a command."""
        stock = StockTerms.take(values)
        own = [name for name in cls.__dataclass_fields__ if name != "stock"]
        return cls(stock=stock, **{name: values.pop(name) for name in own})

    def given(self) -> list[str]:
        """The options that were given a value of their own, as they are written."""
        own = [entry for entry in fields(self) if entry.name != "stock"]
        changed = [entry.name for entry in own if getattr(self, entry.name) != entry.default]
        return [f"--{name.replace('_', '-')}" for name in changed] + self.stock.given()


CHAIN_OPTIONS: tuple[Callable[..., Any], ...] = (
    click.option(
        "--snapshot",
        metavar="TIME",
        help="Which moment of a chain that holds several; when a chain of a stock was quoted (ISO or ms UTC).",
    ),
    click.option(
        "--on-bad-row",
        type=click.Choice([REFUSE, EXCLUDE]),
        default=REFUSE,
        show_default=True,
        help="Bad rows of a chain: refuse the file, or leave them out and list them.",
    ),
    click.option("--iv-unit", type=click.Choice([DECIMAL, PERCENT]), help="Unit of a chain's vols, if not the usual."),
    click.option(
        "--fx",
        metavar="CURRENCY=RATE",
        multiple=True,
        help="USD per unit of a currency that is no coin of the chain, such as USDC; repeatable.",
    ),
    click.option("--futures", metavar="FILE", help="Ticker table of futures and perpetuals, for option tickers."),
    *STOCK_OPTIONS,
)


@dataclass(frozen=True)
class FitOptions:
    """How slices are fitted, as `pricing.fit`; the defaults are those of the options."""

    method: str = "svi"
    weighting: str = "spread"
    reject_outliers: bool = False
    oldest_seconds: float = float("inf")
    backend: str = "numba"

    @classmethod
    def take(cls, values: dict[str, Any]) -> FitOptions:
        """Take the options of a fit out of the keyword arguments of a command."""
        return cls(**{field.name: values.pop(field.name) for field in fields(cls)})


FIT_OPTIONS: tuple[Callable[..., Any], ...] = (
    click.option("--method", type=click.Choice(METHODS), default="svi", show_default=True, help="What is fitted."),
    click.option(
        "--weighting",
        type=click.Choice(WEIGHTINGS),
        default="spread",
        show_default=True,
        help="What an error of a vol counts by: 1 / (ask - bid), or its vega.",
    ),
    click.option("--reject-outliers", is_flag=True, help="Fit again without quotes far from the first fit."),
    click.option(
        "--oldest-seconds",
        type=click.FloatRange(min=0.0),
        default=float("inf"),
        metavar="SECONDS",
        help="Leave out quotes made earlier than this before the moment of the chain.",
    ),
    click.option(
        "--backend",
        type=click.Choice(BACKENDS),
        default="numba",
        show_default=True,
        help="Searches in compiled code, or scipy's from a finer grid.",
    ),
)


@dataclass(frozen=True)
class FittedChain:
    """One moment of a chain with our slices in its market, its quotes as vols, the fit, and what is told of it.

    excluded  rows and expiries left out, and why; left_out, the contracts among them
    """

    source: str
    instruments: Instruments
    market: Market
    quotes: Quotes
    surface: Surface
    excluded: tuple[Problem, ...]
    notes: tuple[str, ...]
    left_out: Mapping[str, str]


class _Read(NamedTuple):
    """A chain before it is fitted."""

    source: str
    instruments: Instruments
    market: Market
    quotes: Callable[[], Quotes]
    excluded: tuple[Problem, ...]
    notes: tuple[str, ...]
    left_out: Mapping[str, str]


def fitted_chain(file: str, options: ChainOptions, how: FitOptions | None = None) -> FittedChain:
    """One moment of a chain, fitted by the defaults where `how` is not given."""
    how = FitOptions() if how is None else how
    with progress("reading the chain", 3) as step:
        read = _read(file, options)
        step("quotes to vols")
        quotes = read.quotes()
        step("fitting")
        expiries = expiries_of(read.market)
        surface = fit(quotes, expiries, **vars(how))
        step("done")
    notes = read.notes
    if np.isfinite(how.oldest_seconds) and np.all(quotes.tau == expiries.tau[quotes.expiry_idx]):
        notes = (*notes, "--oldest-seconds left nothing out: the quotes of this chain have no times of their own")
    tell_left_out([str(problem) for problem in read.excluded])
    market = replace(read.market, svi=surface.svi)
    return FittedChain(read.source, read.instruments, market, quotes, surface, read.excluded, notes, read.left_out)


def tell_left_out(texts: Sequence[str]) -> None:
    """Every format of output goes with this: a row that is left out is never lost silently."""
    for text in texts[:EXCLUDED_SHOWN]:
        tell(f"{LEFT_OUT}{text}")
    if len(texts) > EXCLUDED_SHOWN:
        tell(f"{LEFT_OUT}{len(texts) - EXCLUDED_SHOWN} more rows")


def told_of(read: FittedChain) -> Told:
    """What is told of a chain and its slices, with every output and in every file made from them."""
    excluded = tuple(str(problem) for problem in read.excluded)
    warnings = read.surface.diagnostics.warnings(read.market.expiry_name, _dated(read))
    return Told(excluded, read.notes, warnings)


def _dated(read: FittedChain) -> BoolArray:
    return np.asarray(~np.char.endswith(np.array(read.market.expiry_name), "undated"))


def diagnostics(read: FittedChain) -> dict[str, Any]:
    """Slices and diagnostics by expiry as named columns; undated rows are left out."""
    surface, d = read.surface, read.surface.diagnostics
    dated = _dated(read)
    columns = {
        "expiry": np.array(read.market.expiry_name),
        "status": np.array([SliceStatus(code).name for code in d.status]),
        "converged": d.converged,
        "at_bound": np.array(d.bounds_reached),
        "quotes_far": d.far_count,
        "quotes_used": d.used_count,
        "quotes_rejected": d.rejected_count,
        **{f"quotes_{use.name.lower()}": d.quote_count[:, use] for use in REJECTED},
        "k_low": d.k_low,
        "k_high": d.k_high,
        "rmse_vol_points": d.rmse,
        "rmse_mid_vol_points": d.rmse_mid,
        "rmse_vega_vol_points": d.rmse_vega,
        "rmse_unconstrained_vol_points": d.rmse_unconstrained,
        "inside_share": d.inside_share,
        "minimum_g": d.minimum_g,
        "minimum_g_k": d.minimum_g_k,
        "crosses_previous": d.crosses_previous,
        "calendar_gap": d.calendar_gap,
        "calendar_gap_k": d.calendar_gap_k,
        "calendar_gap_quoted": d.calendar_gap_quoted,
        "wing_slope_left": d.wing_slope[:, 0],
        "wing_slope_right": d.wing_slope[:, 1],
        **{name: surface.svi[:, i] for i, name in enumerate(("a", "b", "rho", "m", "sigma"))},
    }
    return {name: values[dated] for name, values in columns.items()}


def _read(file: str, options: ChainOptions) -> _Read:
    fx = _rates(options.fx)
    if kind_of_name(file) == JSON:
        if is_market_file(file):
            text = f"{file} is a market file of ours, which holds slices already: it goes to --market of other commands"
            raise ConfigError(f"{text}, and fit-surface takes an option chain")
        ours = ("--snapshot", "--futures", "--iv-unit")
        useless = [name for name in options.given() if name in ours] + options.stock.given()
        if useless:
            raise ConfigError(f"the venue's JSON holds one moment, vols in percent: leave {' and '.join(useless)} out")
        from portfolio_margin.io.deribit_json import read_payloads

        return _of_snapshot(read_payloads(file, on_bad_row=options.on_bad_row, fx=fx))
    table = read_table(file, "chain")
    if is_equity_chain(table):
        return _of_stock(table, options, fx)
    if options.stock.given():
        raise ConfigError(f"{', '.join(options.stock.given())} is about a chain of a stock, and {file} is none")
    from portfolio_margin.io.deribit import read_chain

    how = {name: getattr(options, name) for name in ("snapshot", "futures", "iv_unit", "on_bad_row")}
    return _of_snapshot(read_chain(table, fx=fx, **how))


def _of_snapshot(read: Snapshot) -> _Read:
    told = (read.excluded, read.notes, read.left_out)
    return _Read(read.source, read.instruments, read.market, lambda: vol_quotes(read), *told)


def _of_stock(table: Table, options: ChainOptions, fx: dict[str, float]) -> _Read:
    useless = [name for name in options.given() if name in ("--on-bad-row", "--iv-unit", "--futures")]
    if useless:
        raise ConfigError(f"{', '.join(useless)} is not for a chain of a stock, and {table.file} is one; leave it out")
    chain, instruments, market = read_stock_chain(table, options.stock, options.snapshot, fx)
    notes = notes_of(chain, instruments, market, options.stock)
    return _Read(chain.source, instruments, market, lambda: chain.quotes, chain.excluded, notes, {})


def _rates(texts: tuple[str, ...]) -> dict[str, float]:
    """CURRENCY=RATE options as numbers above 0."""
    rates: dict[str, float] = {}
    for text in texts:
        name, _, number = text.partition("=")
        if name in rates:
            raise ConfigError(f"--fx {text}: {name} is given twice")
        try:
            rate = float(number if "_" not in number else "")
        except ValueError:
            rate = 0.0
        if not name or not 0.0 < rate < float("inf"):
            raise ConfigError(f"--fx {text}: write CURRENCY=RATE with a rate above 0, for example USDC=1.0")
        rates[name] = rate
    return rates
