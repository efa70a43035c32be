"""reg_t: strategy-based margin of securities accounts: Regulation T, FINRA 4210(f)(2), Cboe rule 10.3.

Options and stock of an account on one underlying are cut into the strategies of a table (strategy_table.py): covered
and naked options, straddles, spreads of up to four legs by their largest loss, stock hedged by options. Of all ways to
cut them the one that asks for least counts, found by an integer program (pairing.py), for initial and for maintenance
margin each.

Equity counts options at their value, so a requirement is the amount of the Cboe margin manual less the value of what
is sold plus that of what is bought: what the manual calls the margin deposit. A naked option asks for
max(20 % of the underlying's value - out-of-the-money amount, 10 % of that value, for puts of the strike); a long option
for its value; a spread for its largest loss plus its value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from portfolio_margin.aggregate import account_sums
from portfolio_margin.book import Book
from portfolio_margin.collateral import haircuts
from portfolio_margin.order_bounds import Excess, Reach
from portfolio_margin.pairing import MICRO, Holding, columns_of
from portfolio_margin.pairing_program import Chosen, choose, relaxation
from portfolio_margin.product_classes import check_product_classes, classes_of, is_stock, without_class
from portfolio_margin.requirement import Contribution, ParameterSet, Requirement, Traits
from portfolio_margin.strategy_lines import Solved, StrategyUsed, amounts_by_charge, strategies_used, strategy_lines
from portfolio_margin.strategy_table import CHARGES, Legs, Rates, stock_amounts
from pricing.arrays import BoolArray, FloatArray, IntArray, StrArray
from pricing.errors import ConfigError, NumericalError
from pricing.instruments import Kind
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import MarketRows, ScenarioSet, check_bounds

OPTION_RATES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "equity": (0.20, 0.10),
        "narrow_index": (0.20, 0.10),
        "broad_index": (0.15, 0.10),
        "broad_index_high_cap": (0.15, 0.10),
    }
)
NONE: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True)
class Params:
    """Parameters, with their bounds.

    option_rates         class -> share of the underlying's value a naked option asks for, and its minimum share: 0 to 1
    product_class        underlying -> class
    default_class        class of underlyings not named; "" for none: their contracts are left out and named
    leverage             underlying -> factor on its rates, for leveraged funds, 1 to 5; a rate never passes 1,
                         but that of short stock, which may lose more than it is worth
    stock_initial        share of the value of stock, long or short, 0 to 1 (Regulation T)
    stock_long           share for maintenance of long stock, 0 to 1
    stock_short          share for maintenance of short stock, 0 to 2
    short_share          least maintenance of a short share, quote currency, 0 to 1,000
    low_short_share      the same of a share below low_price, or its whole value where that is more, 0 to 1,000
    low_price            quote currency, 0 to 1,000
    hedged               share of the strike for stock hedged by a long option, 0 to 1
    collar               share of the call's strike at most for a collar, 0 to 1
    long_dated           share of the value that a long-dated option asks for, 0 to 1
    long_dated_days      a long option with more days to expiry is long-dated, 1 to 10,000
    spread_legs          "any": a spread may have any number of legs, the rule since 2012; "four": two or four of them
    haircut              of every asset but the margin currency and stock, 0 to 1
    """

    option_rates: Mapping[str, tuple[float, float]] = field(default_factory=lambda: OPTION_RATES)
    product_class: Mapping[str, str] = field(default_factory=dict)
    default_class: str = ""
    leverage: Mapping[str, float] = field(default_factory=lambda: NONE)
    stock_initial: float = 0.5
    stock_long: float = 0.25
    stock_short: float = 0.30
    short_share: float = 5.0
    low_short_share: float = 2.5
    low_price: float = 5.0
    hedged: float = 0.10
    collar: float = 0.25
    long_dated: float = 0.75
    long_dated_days: float = 275.0
    spread_legs: str = "any"
    haircut: float = 1.0

    def __post_init__(self) -> None:
        shares = ("stock_initial", "stock_long", "hedged", "collar", "long_dated", "haircut")
        money = ("short_share", "low_short_share", "low_price")
        bounds = {**dict.fromkeys(shares, (0.0, 1.0)), **dict.fromkeys(money, (0.0, 1000.0))}
        check_bounds(self, {**bounds, "stock_short": (0.0, 2.0), "long_dated_days": (1.0, 10_000.0)})
        if self.spread_legs not in ("any", "four"):
            raise ConfigError(f"spread_legs = {self.spread_legs!r}: must be any or four")
        if not isinstance(self.option_rates, Mapping):
            raise ConfigError(f"option_rates = {self.option_rates!r}: must be a mapping from class to two shares")
        for name, pair in self.option_rates.items():
            if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not all(_share(value) for value in pair):
                raise ConfigError(f"option_rates {name} = {pair!r}: must be two numbers from 0 to 1")
        check_product_classes(self.product_class, self.default_class, self.option_rates)
        if not isinstance(self.leverage, Mapping):
            raise ConfigError(f"leverage = {self.leverage!r}: must be a mapping from underlying to factor")
        for name, factor in self.leverage.items():
            if not isinstance(factor, (int, float)) or isinstance(factor, bool) or not 1.0 <= factor <= 5.0:
                raise ConfigError(f"leverage {name} = {factor!r}: must be a number from 1 to 5")
        for name in ("option_rates", "product_class", "leverage"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))


@dataclass(frozen=True)
class Pairing:
    """How the positions of one account were cut into strategies, and what proves it.

    strategies   of all underlyings
    required     what they ask for together, margin currency
    bound        lower bound that branch and bound has proved
    relaxation   lower bound of the linear relaxation, in which positions may be cut into fractions
    """

    strategies: tuple[StrategyUsed, ...]
    required: float
    bound: float
    relaxation: float


@dataclass(frozen=True)
class Model:
    """Strategy-based margin."""

    params: Params = field(default_factory=Params)
    parameter_set: ParameterSet = field(default_factory=ParameterSet)
    model_id: str = field(default="reg_t", init=False)
    traits: Traits = field(default=Traits(of_equity=CHARGES[1:], of_equity_with_risk=True), init=False)

    def scenario_set(self, market: MarketRows) -> ScenarioSet | None:
        """None: strategies look at strikes and values, not at scenarios; any risk arrays will do."""
        return None

    def not_covered(self, arrays: RiskArrays) -> StrArray:
        """(N,) names futures, and contracts whose underlying has no product class."""
        reason = without_class(arrays, self._classes(arrays), self.params.option_rates)
        future = (arrays.kind == Kind.FUTURE) | (arrays.kind == Kind.PERPETUAL)
        return np.where((reason == "") & future, "strategy rules cover stock and options, not futures", reason)

    def debts_covered(self, arrays: RiskArrays) -> BoolArray:
        """(N,) stock, which is margined as a position."""
        return is_stock(arrays, self._classes(arrays))

    def haircut(self, arrays: RiskArrays) -> FloatArray:
        """(N,) share of foreign currencies and of coins without a class that does not count; stock is margined."""
        stock = is_stock(arrays, self._classes(arrays))
        return np.where(stock, 0.0, haircuts(arrays, self.params.haircut, {}))

    def requirement(
        self, book: Book, arrays: RiskArrays, *, backend: str = "numba", threads: int | None = None
    ) -> Requirement:
        """Requirement of every account, one integer program per account and underlying where anything can be paired.

        Charges by kind of strategy: "stock", "long_options", "naked", "spreads", "straddles", "covered".
        """
        # The checks of the kernels: quantities on their steps, values that are finite.
        account_sums(book, arrays, arrays.value_rows[:, None], backend=backend, threads=threads)
        micro = {name: np.zeros((len(book), 2)) for name in CHARGES}
        for solved in self._solve(book, arrays):
            for side in (0, 1):
                for name, amount in amounts_by_charge(solved.chosen[side], solved.held, side).items():
                    micro[name][solved.account, side] += amount
        charges = {name: amounts / MICRO for name, amounts in micro.items()}
        # Kinds of strategies may trade places between the two pairings; their sums are ordered.
        total = sum(charges.values(), np.zeros((len(book), 2)))
        return Requirement(total[:, 0], total[:, 1], np.full(len(book), -1), charges)

    def order_excess(self, arrays: RiskArrays, reach: Reach) -> tuple[Excess, ...]:
        """The pairings of two parts are one of both together, so that these never ask for more, as long as no position
        is long in one and short in the other; and the ceiling of every position alone, which is a pairing as well."""
        stock = is_stock(arrays, self._classes(arrays))
        own = (stock | (arrays.kind == Kind.OPTION)) & (self.not_covered(arrays) == "") & (reach.size > 0.0)
        rows = np.flatnonzero(own)
        sides = np.concatenate([reach.low[rows], reach.high[rows]])
        names = np.char.zfill(np.arange(len(sides)).astype(np.str_), 8)
        single = Book.from_arrays(names, np.concatenate([rows, rows]), sides, accounts=names)
        alone = self.requirement(single, arrays).initial.reshape(2, -1).max(axis=0) if len(rows) else np.zeros(0)
        ceilings = dict.fromkeys(CHARGES, 0.0) | {"naked": float(alone.sum())}
        apart = Excess(np.zeros(len(arrays)), ceilings)
        turning = np.any(reach.turns[rows])
        shares = np.bincount(arrays.underlying_idx[np.flatnonzero(own & stock)], minlength=1)
        return (apart,) if turning or shares.max() > 1 else (Excess(np.zeros(len(arrays))), apart)

    def contributions(self, book: Book, arrays: RiskArrays) -> list[Contribution]:
        """Every strategy used, with what it takes of each position: value of what it buys and sells, the rest with its
        stock, else with the first of what it sells. Where the two margins are of two pairings these stand apart."""
        return [line for solved in self._solve(book, arrays) for line in strategy_lines(book, arrays, solved)]

    def pairing(self, book: Book, arrays: RiskArrays, account: str, *, maintenance: bool = False) -> Pairing:
        """How the positions of one account are cut into strategies, with the bounds that prove it the cheapest way."""
        side, used = int(maintenance), []
        bound = relaxed = required = 0.0
        for solved in self._solve(book.select(account), arrays):
            chosen = solved.chosen[side]
            amounts = amounts_by_charge(chosen, solved.held, side)
            required += sum(amounts.values()) / MICRO
            bound += chosen.bound
            relaxed += relaxation(solved.held, solved.columns, side, self._any_legs)
            used += strategies_used(book.select(account), arrays, solved, side)
        return Pairing(tuple(used), required, bound, relaxed)

    @property
    def _any_legs(self) -> bool:
        return self.params.spread_legs == "any"

    def _classes(self, arrays: RiskArrays) -> StrArray:
        return classes_of(arrays.underlying_id, self.params.product_class, self.params.default_class)

    def rates(self, underlying: str, product_class: str) -> Rates:
        """What is asked of one underlying, leverage included."""
        p, factor = self.params, self.params.leverage.get(underlying, 1.0)
        option, least = (min(1.0, factor * rate) for rate in p.option_rates[product_class])
        stock = (min(1.0, factor * p.stock_initial), min(1.0, factor * p.stock_long), p.stock_short * factor)
        return Rates(
            option, least, *stock, p.short_share, p.low_short_share, p.low_price, p.hedged, p.collar, p.long_dated
        )

    def _solve(self, book: Book, arrays: RiskArrays) -> Iterator[Solved]:
        """Account after account, underlying after underlying."""
        classes = self._classes(arrays)
        stock, owner = is_stock(arrays, classes), arrays.underlying_idx
        takes_part = (stock | (arrays.kind == Kind.OPTION)) & (self.not_covered(arrays) == "")
        account = np.repeat(np.arange(len(book)), np.diff(book.position_ptr))
        rows = np.flatnonzero(takes_part[book.instrument_idx] & (book.quantity != 0))
        key = account[rows] * max(len(arrays.underlying_id), 1) + owner[book.instrument_idx[rows]]
        rows = rows[np.argsort(key, kind="stable")]
        key = np.sort(key)
        whole = np.split(rows, np.flatnonzero(np.diff(key)) + 1) if len(rows) else []
        for part in (one for each in whole for one in _by_money(book, arrays, each, stock)):
            name = str(arrays.underlying_id[owner[book.instrument_idx[part[0]]]])
            rates = self.rates(name, str(classes[owner[book.instrument_idx[part[0]]]]))
            held, options, at = _holding(book, arrays, part, stock, rates, self.params.long_dated_days)
            try:
                columns = columns_of(held, spreads=not self._any_legs)
                initial = choose(held, columns, 0, self._any_legs)
                kept = choose(held, columns, 1, self._any_legs) if held.stock else initial
                maintenance = _no_dearer(kept, initial, held) if held.stock else initial
            except NumericalError as error:
                raise NumericalError(f"account {book.account_id[account[part[0]]]}, {name}: {error}") from None
            yield Solved(int(account[part[0]]), options, at, held, columns, (initial, maintenance))


def _no_dearer(maintenance: Chosen, initial: Chosen, held: Holding) -> Chosen:
    """The pairing for maintenance margin; where rounding makes it ask for more than the initial one, that one, whose
    strategies never ask for more to maintain than to open."""
    sums = [sum(amounts_by_charge(chosen, held, side).values()) for side, chosen in enumerate((initial, maintenance))]
    if sums[1] <= sums[0]:
        return maintenance
    cost = np.array([amount[1] for amount in initial.columns.cost])
    alone = held.stock_size * stock_amounts(held.spot, held.rates)[0 if held.stock > 0 else 1][1]
    return initial._replace(cost=cost, stock_cost=alone)


def _share(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0.0 <= value <= 1.0


def _holding(
    book: Book, arrays: RiskArrays, part: IntArray, stock: BoolArray, rates: Rates, long_dated_days: float
) -> tuple[Holding, IntArray, int]:
    """The problem of one account on one underlying, rows of its options and of its stock in the book."""
    row, terms = book.instrument_idx[part], arrays.terms
    options, units = part[~stock[row]], part[stock[row]]
    row, quantity = book.instrument_idx[options], book.quantity[options]
    underlying = arrays.underlying_idx[book.instrument_idx[part[0]]]
    spot, currency = float(terms.spot[underlying]), terms.currency_idx[row]
    # One unit of quote currency: of a coin-settled contract, in coins at the spot.
    money = terms.fx[currency] / np.where(terms.is_inverse[row], spot, 1.0)
    step = arrays.quantity_step[row]
    expiry = terms.expiry_time[arrays.expiry_idx[row]]
    days = (expiry - arrays.valuation_time) / (86_400_000.0)
    legs = Legs(
        call=terms.sign[row] > 0,
        long=quantity > 0,
        strike=terms.strike[row],
        expiry=expiry.astype(np.float64),
        style=terms.exercise[row] + 10.0 * terms.payoff[row] + 100.0 * currency,
        steps=np.rint(np.abs(quantity) / step),
        size=terms.multiplier[row] * step * money,
        value=arrays.value_rows[row] * arrays.tick_size,
        shares=terms.multiplier[row] * step,
        long_dated=days > long_dated_days,
    )
    held_units = terms.multiplier[book.instrument_idx[units]] * book.quantity[units]
    size = float(_stock_money(book, arrays, units)[0]) if len(units) else 1.0
    holding = Holding(legs, float(held_units.sum()), spot, rates, size)
    return holding, options, int(units[0]) if len(units) else -1


def _stock_money(book: Book, arrays: RiskArrays, units: IntArray) -> FloatArray:
    """Margin currency per unit of quote currency of positions in stock: of a coin, its rate over its spot."""
    row, terms = book.instrument_idx[units], arrays.terms
    underlying, money = arrays.underlying_idx[row], terms.fx[terms.currency_idx[row]]
    coin = terms.currency_underlying[terms.currency_idx[row]] == underlying
    return np.where(coin, money / terms.spot[underlying], money)


def _by_money(book: Book, arrays: RiskArrays, part: IntArray, stock: BoolArray) -> list[IntArray]:
    """The positions of one account on one underlying, cut where its stock is in currencies of different worth.

    Stock in one of them is another asset than stock in the other: it is not netted against it. Options are paired with
    the stock that is worth most, and the rest stands alone.
    """
    units = part[stock[book.instrument_idx[part]]]
    money = _stock_money(book, arrays, units)
    known = np.unique(money)
    if len(known) < 2:
        return [part]
    held = arrays.terms.multiplier[book.instrument_idx[units]] * book.quantity[units] * money
    worth = [abs(float(held[money == value].sum())) for value in known]
    main = int(np.argmax(worth))
    alone = [units[money == value] for k, value in enumerate(known) if k != main]
    return [part[~np.isin(part, np.concatenate(alone))], *alone]
