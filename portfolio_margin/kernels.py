"""Every compiled kernel of the engine and the smallest call that compiles it."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

import pricing.models
from portfolio_margin.aggregate import account_sums, kernel_positions, kernel_table, worst_loss
from portfolio_margin.book import Book
from portfolio_margin.charges import short_option_minimum
from portfolio_margin.dynamic.underlying import Underlying
from portfolio_margin.engine import MarginEngine
from portfolio_margin.events import Fill, PositionsChanged
from portfolio_margin.io.parameter_sets import load_parameters
from portfolio_margin.kernel_inputs import POSITIONS_PER_ROW
from portfolio_margin.models import derive_pmrm2, dynamic_worst_case, worst_case
from pricing.implied_vol import implied_vol
from pricing.instruments import Instruments, Kind, Payoff
from pricing.market import UNDATED, Market
from pricing.price import greeks, load_backend, price
from pricing.resolve import load_model
from pricing.slice_fit import SliceData, fit_slices
from pricing.variables import CHANGED_VARIABLES
from scenarios.calibrate.volatility import fit_garch
from scenarios.portfolio import portfolio_pnl
from scenarios.revalue import revalue
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import ScenarioSet, make

DAY_MS = 86_400_000
# The widths of `portfolio_margin.backends.lanes`; more columns are cut into these.
ACCOUNT_COLUMNS = (16, 32, 48, 64)
# Of so many and more a kernel of doubles and a screen cut into other widths each, the same ones for all.
MANY_COLUMNS = 97
DERIVE_DAY = 1_772_098_865_000  # any day that has a parameter set


Jobs = list[tuple[str, Callable[[], Any]]]

# forward, strike, tau, vol, sign, discount. An American option on these terms may be worth exercising early; the
# second option expires now, which kernels for usual terms leave to others.
TERMS = (100.0, 100.0, [1.0, 0.0], 0.2, 1.0, 0.95)


def compile_jobs(backends: Sequence[str]) -> Jobs:
    """(name, call) of every kernel on every backend; a call compiles its kernel and computes next to nothing."""
    instruments, market = _two_contracts()
    moves = _one_move()
    arrays = revalue(instruments, market, moves, backend="numpy")
    book = _one_book(instruments)
    return [
        job
        for backend in backends
        for job in (
            *pricing_jobs(backend),
            *changed_variables_jobs(backend),
            *scenario_jobs(backend),
            *_account_jobs(book, arrays, backend),
            *order_jobs(backend),
        )
    ]


def pricing_jobs(backend: str) -> Jobs:
    """The kernels of `compile_jobs` that price: contracts, and a slice of quotes."""
    jobs: Jobs = []
    for model in sorted(module.name for module in pkgutil.iter_modules(pricing.models.__path__)):
        jobs.append((f"{backend}: price {model}", partial(price, *TERMS, model=model, backend=backend)))
        jobs.append((f"{backend}: greeks {model}", partial(greeks, *TERMS, model=model, backend=backend)))
        if hasattr(load_model(model), "greeks_to_third_order"):
            third = partial(greeks, *TERMS, model=model, order=3, backend=backend)
            jobs.append((f"{backend}: greeks to third order {model}", third))
    for model in ("black76", "bachelier"):
        invert = partial(implied_vol, 8.0, 100.0, 100.0, 1.0, 1, model=model, backend=backend)
        jobs.append((f"{backend}: implied_vol {model}", invert))
    if backend == "numba":
        jobs.append(("numba: fit of slices", partial(fit_slices, [_five_quotes()])))
    return jobs


def scenario_jobs(backend: str) -> Jobs:
    """The kernels that revalue contracts in scenarios."""
    instruments, market = _two_contracts()
    jobs: Jobs = [(f"{backend}: unit_pnl", partial(revalue, instruments, market, _one_move(), backend=backend))]
    if backend == "numba":
        jobs.append(("numba: garch", partial(fit_garch, np.tile([0.01, -0.02], 60))))
        jobs.append(("numba: portfolio_pnl", partial(portfolio_pnl, *TERMS[:-1], 1.0, (0.0, 0.0, 0.0))))
    return jobs


def changed_variables_jobs(backend: str) -> Jobs:
    """Loops of the models that are Black-76 in other variables, which nothing else in the engine asks for."""
    return [
        (f"{backend}: {function.__name__} {model}", partial(function, *TERMS[:-1], model=model, backend=backend))
        for model in CHANGED_VARIABLES
        for function in (price, greeks)
    ]


def _account_jobs(book: Book, arrays: RiskArrays, backend: str) -> Jobs:
    """Sums of as many columns as there are compiled widths of registers."""
    alone = [
        ("numba: derive_pmrm2", partial(_derive_requirement, book)),
        ("numba: derive_pmrm2 by a screen", partial(_derive_requirement, _many_books(grouped=True))),
        ("numba: dynamic_worst_case", partial(_dynamic_requirement, book)),
        ("numba: options sold", partial(short_option_minimum, book, arrays, 0.01)),
    ]
    alone += [
        (f"numba: worst_loss by a screen of {columns}", partial(_screened, arrays, columns))
        for columns in ACCOUNT_COLUMNS
    ]
    return [
        *(alone if backend == "numba" else []),
        (f"{backend}: worst_loss", partial(worst_loss, book, arrays, netting="per_underlying", backend=backend)),
        *(
            (f"{backend}: account_sums of {columns}", partial(account_sums, book, arrays, rows, backend=backend))
            for columns in ACCOUNT_COLUMNS
            for rows in [np.zeros((len(arrays), columns))]
        ),
    ]


def _screened(arrays: RiskArrays, columns: int) -> Any:
    """Worst losses of so many accounts that the table is screened."""
    book = _many_books()
    table = kernel_table(arrays, np.zeros((len(arrays), columns)), None)
    return load_backend("portfolio_margin", "numba").worst_loss(kernel_positions(book, arrays, "joint"), table)


def _many_books(grouped: bool = False) -> Book:
    """So many accounts that a table of two contracts is screened."""
    instruments, _ = _two_contracts()
    accounts, count = np.arange(POSITIONS_PER_ROW).astype(np.str_), len(instruments.instrument_id)
    owner, instrument = np.repeat(np.arange(len(accounts)), count), np.tile(np.arange(count), len(accounts))
    group = instruments.expiry_idx if grouped else np.zeros(count, np.int64)
    quantity = np.ones(len(owner))
    quantity[0] = 2.0**20  # what has many steps is read by itself
    return Book.from_codes(accounts, owner, instrument, quantity, group)


def _derive_requirement(book: Book) -> Any:
    """The requirement that has a kernel of its own."""
    instruments, market = _two_contracts()
    model = derive_pmrm2.Model(*load_parameters("derive_pmrm2", at=DERIVE_DAY))
    arrays = revalue(instruments, market, model.scenario_set(market), backend="numpy")
    return model.requirement(book, arrays, backend="numba")


def _dynamic_requirement(book: Book) -> Any:
    """Another one; today's moves are those of the ten years."""
    instruments, market = _two_contracts()
    moves = {"price_range": 0.1, "price_floor": 0.1, "vol_up": 0.1, "vol_up_floor": 0.1}
    fall = {"vol_down": 0.1, "vol_down_floor": 0.1, "day_move": 0.01, "day_vol_change": 0.01}
    volumes = {"daily_volume": 1e6, "daily_vega_volume": 1e6, "open_interest": 1e6, "half_spread": 0.001}
    model = dynamic_worst_case.Model(dynamic_worst_case.Params({"U": Underlying(**moves, **fall, **volumes)}))
    arrays = revalue(instruments, market, model.scenario_set(market), backend="numpy")
    return model.requirement(book, arrays, backend="numba")


def order_jobs(backend: str) -> Jobs:
    """What an engine compiles for as many scenarios as there are widths of registers: one what-if, then the rest."""
    if backend != "numba":
        return []
    jobs: Jobs = [
        (f"numba: {name} of {columns}", partial(job, columns))
        for columns in ACCOUNT_COLUMNS
        for name, job in (("what-if", _one_order), ("orders and fills", _other_orders))
    ]
    return [*jobs, (f"numba: orders by a screen of {MANY_COLUMNS}", partial(_many_orders, MANY_COLUMNS))]


def _engine(scenarios: int) -> MarginEngine:
    instruments, market = _two_contracts()
    moves = make(["none"] * scenarios, np.zeros((scenarios, 1)))
    arrays = revalue(instruments, market, moves, backend="numpy")
    return MarginEngine.from_arrays(_one_book(instruments), worst_case.Model(), arrays)


def _one_order(scenarios: int) -> None:
    """An engine and one order, as all here in futures, for which nothing is paid."""
    _engine(scenarios).what_if("a", [("perpetual", 1.0)])


def _other_orders(scenarios: int) -> None:
    """What else an engine is asked."""
    engine = _engine(scenarios)
    engine.what_if("a", [("perpetual", 1.0), ("perpetual", 2.0)])
    engine.check([0], [1], [1.0])
    _many_orders(scenarios)
    engine.apply(PositionsChanged((Fill("a", "perpetual", 1.0),)))
    engine.state.policy.figures(engine.state.ledger, engine.state.ledger.all_rows())


def _many_orders(scenarios: int) -> None:
    """So many that they are screened, and one of them answered."""
    state, given = _engine(scenarios).state, np.array([[0.0, 1.0, 1.0, 0.0]])
    kept: dict[Any, Any] = {}
    names = ("checks_numba", "checks_prepared", "checks_screened")
    checks, prepared, screened = (import_module(f"portfolio_margin.backends.{name}") for name in names)
    table = state.policy.table
    prepared.pays(table, state.buffers, given)
    found = prepared.prepared(table, kept, prepared.PREPARED_FROM)
    screened.runner(table, state.buffers, given, kept, found, checks.TAG)(slice(0, 1))


def _one_book(instruments: Instruments) -> Book:
    return Book.from_arrays(["a", "a"], [0, 1], [1.0, 1.0], group_of_instrument=instruments.expiry_idx)


def _five_quotes() -> SliceData:
    k = np.linspace(-0.2, 0.2, 5)
    return SliceData(k, 0.04 + 0.1 * k * k, np.ones(5))


def _one_move() -> ScenarioSet:
    return make(["none"], np.zeros((1, 1)))


def _two_contracts() -> tuple[Instruments, Market]:
    """An option and a perpetual: one row for each pricing model that revaluation uses."""
    instruments = Instruments(
        instrument_id=np.array(["option", "perpetual"]),
        kind=np.array([Kind.OPTION, Kind.PERPETUAL]),
        payoff=np.full(2, Payoff.LINEAR),
        underlying_idx=np.zeros(2, np.int64),
        expiry_idx=np.arange(2),
        strike=np.array([100.0, np.nan]),
        sign=np.ones(2),
        exercise=np.zeros(2, np.int64),
        multiplier=np.ones(2),
        quantity_step=np.ones(2),
        currency_idx=np.zeros(2, np.int64),
    )
    market = Market(
        valuation_time=0,
        underlying_id=np.array(["U"]),
        spot=np.array([100.0]),
        expiry_underlying=np.zeros(2, np.int64),
        expiry_time=np.array([365 * DAY_MS, UNDATED]),
        forward=np.full(2, 100.0),
        discount=np.ones(2),
        svi=np.full((2, 5), np.nan),
        mark_vol=np.array([0.2, np.nan]),
        currency_id=np.array(["USD"]),
        fx=np.ones(1),
        currency_underlying=np.array([-1]),
    )
    return instruments, market
