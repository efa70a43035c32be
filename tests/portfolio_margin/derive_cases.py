"""Markets and accounts of Derive's vectors as the engine takes them: one underlying or several, one account."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from portfolio_margin import Book
from portfolio_margin.derive_feeds import Feeds
from pricing import UNDATED, Instruments, Kind, Market, MarketLimits
from scenarios import RiskArrays, revalue
from scenarios.shocks import make

NOW_MS = 1_772_000_000_000
ACCOUNT = "account"
# The contracts know no such limits, and the venue's own cases have a perpetual at half its spot, a vol of 300,000 %.
NO_LIMITS = MarketLimits(
    undated_slack=math.inf,
    carry_slack=math.inf,
    max_rate=math.inf,
    min_vol=0.0,
    max_vol=math.inf,
    max_discount=math.inf,
)
CONFIDENCES = ("forward_confidence", "rate_confidence", "vol_confidence")


@dataclass
class Case:
    """Tables of one account under way; `finish` makes them what the engine takes.

    Underlyings are added with `underlying`, expiries with `expiry` right after theirs, holdings with the others.
    """

    stable_price: float = 1.0
    underlyings: list[tuple[str, float]] = field(default_factory=list)
    expiries: list[dict[str, Any]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    currencies: list[tuple[str, float, int, float]] = field(default_factory=lambda: [("USDC", 1.0, -1, 0.0)])
    feeds: dict[str, Any] = field(default_factory=dict)
    quantities: list[float] = field(default_factory=list)
    vols: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.feeds = {name: {} for name in (*CONFIDENCES, "spot_confidence", "perp_confidence")}
        self.feeds |= {"collateral_confidence": {}, "unsettled": {ACCOUNT: {}}, "stable_price": self.stable_price}

    def cash(self, amount: float) -> None:
        """Cash of the account."""
        self._hold("USDC", Kind.CASH, -1, -1, 0, amount)

    def underlying(self, name: str, market: dict[str, Any], perpetual: float, unsettled: float) -> None:
        """An underlying, its perpetual and what is unsettled of it."""
        self.underlyings.append((name, market["spot"]))
        self.feeds["spot_confidence"][name] = market["spot_confidence"]
        self.feeds["perp_confidence"][name] = market["perp_confidence"]
        self.feeds["unsettled"][ACCOUNT][name] = unsettled
        price = market["perp_price"] or market["spot"]
        row = self._row(name, UNDATED, price, 0.0, 0.0)
        self._hold(f"{name}-PERP", Kind.PERPETUAL, len(self.underlyings) - 1, row, 0, perpetual)

    def expiry(
        self, seconds: int, fixed: float, variable: float, rate: float = 0.0, confidence: dict[str, float] | None = None
    ) -> int:
        """An expiry row of the underlying added last; confidence by the names of Feeds."""
        forward = fixed + variable
        row = self._row(self.underlyings[-1][0], NOW_MS + 1000 * seconds, forward, fixed / forward, rate)
        self.expiries[row]["confidence"] = confidence or {}
        return row

    def option(self, row: int, strike: float, is_call: bool, amount: float, vol: float) -> None:
        """An option of the account on the underlying added last."""
        u, known = len(self.underlyings) - 1, len(self.rows)
        self._hold(f"O{known}-{strike:g}", Kind.OPTION, u, row, 0, amount, strike=strike, call=is_call, vol=vol)

    def coin(self, name: str, amount: float, price: float, moved: bool, confidence: float | None = None) -> None:
        """A coin or another asset with a price of its own, in dollars; `moved` by the underlying added last."""
        u = len(self.underlyings) - 1 if moved else -1
        undated = next((x for x, e in enumerate(self.expiries) if e["time"] == UNDATED and e["owner"] == u), -1)
        self.currencies.append((name, price, u, math.inf))
        if confidence is not None:
            self.feeds["collateral_confidence"][name] = confidence
        self._hold(name, Kind.CASH, u, undated, len(self.currencies) - 1, amount)

    def _row(self, name: str, time: int, forward: float, fixed: float, rate: float) -> int:
        years = 0.0 if time == UNDATED else (time - NOW_MS) / 31_536_000_000
        row = {"owner": len(self.underlyings) - 1, "time": time, "forward": forward, "fixed": fixed}
        self.expiries.append({**row, "discount": float(np.exp(-rate * years)), "confidence": {}})
        return len(self.expiries) - 1

    def _hold(self, name: str, kind: Kind, u: int, x: int, currency: int, amount: float, **option: Any) -> None:
        self.rows.append({"name": name, "kind": kind, "u": u, "x": x, "currency": currency, **option})
        self.quantities.append(amount)

    def finish(self) -> tuple[Instruments, Market, Book, Feeds]:
        """The tables. Expiries of one underlying stand together because they are added so."""
        column = lambda name, fill: np.array([row.get(name, fill) for row in self.rows])  # noqa: E731
        count = len(self.rows)
        instruments = Instruments(
            instrument_id=column("name", ""),
            kind=column("kind", 0),
            payoff=np.zeros(count),
            underlying_idx=column("u", -1),
            expiry_idx=column("x", -1),
            strike=column("strike", np.nan),
            sign=np.where(column("call", True), 1.0, -1.0),
            exercise=np.zeros(count),
            multiplier=np.ones(count),
            quantity_step=np.full(count, 1e-12),
            currency_idx=column("currency", 0),
        )
        of = lambda name: np.array([expiry[name] for expiry in self.expiries])  # noqa: E731
        market = Market(
            valuation_time=NOW_MS,
            underlying_id=np.array([name for name, _ in self.underlyings]),
            spot=np.array([spot for _, spot in self.underlyings]),
            expiry_underlying=of("owner"),
            expiry_time=of("time"),
            forward=of("forward"),
            discount=of("discount"),
            svi=np.full((len(self.expiries), 5), np.nan),
            mark_vol=column("vol", np.nan).astype(float),
            currency_id=np.array([currency[0] for currency in self.currencies]),
            fx=np.array([currency[1] for currency in self.currencies]),
            currency_underlying=np.array([currency[2] for currency in self.currencies]),
            fixed_share=of("fixed"),
            fx_basis_limit=np.array([currency[3] for currency in self.currencies]),
            limits=NO_LIMITS,
        )
        moments = market.expiry_time.astype("datetime64[ms]").astype("datetime64[s]").astype(str)
        for moment, expiry in zip(moments, self.expiries, strict=True):
            for kind, value in expiry["confidence"].items():
                self.feeds[kind][f"{market.underlying_id[expiry['owner']]}-{moment}"] = value
        held = np.arange(count)
        book = Book.from_arrays([ACCOUNT] * count, held, self.quantities, instruments.expiry_idx)
        return instruments, market, book, Feeds(**self.feeds)


def unrounded(instruments: Instruments, market: Market, model: Any) -> RiskArrays:
    """Risk arrays under the model's scenarios, or a single one where it looks at none, not rounded."""
    moves = model.scenario_set(market) or make(["as it is"], np.zeros(1))
    return revalue(instruments, market, moves, backend="numpy", tick=None)
