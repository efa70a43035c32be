"""Market: one immutable snapshot of everything prices depend on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from dataclasses import field as column
from functools import cached_property

import numpy as np

from pricing.arrays import (
    MAX_EXPIRIES,
    MILLISECONDS_PER_YEAR,
    FloatArray,
    IntArray,
    StrArray,
    freeze,
    freeze_fields,
    row_problems,
)
from pricing.digest import hash_parts
from pricing.errors import DataError, Problem
from pricing.market_limits import FX_TOLERANCE, LEE_SLOPE, MAX_YEARS, USUAL, MarketLimits

UNDATED = np.iinfo(np.int64).max
# Stands for "no forward is fixed in part", until the number of expiries is known.
NOTHING_FIXED = freeze(np.zeros(0), np.float64)
# The same for "no currency declares a limit of its own".
USUAL_FX = freeze(np.zeros(0), np.float64)
# The same for "no dividends are known".
NONE_KNOWN = freeze(np.zeros(0), np.float64)
DIVIDENDS = ("dividend_underlying", "dividend_time", "dividend")
# What decides whether a market is refused, and no number that is computed of it.
DECLARED = ("fx_basis_limit", "limits")


@dataclass(frozen=True)
class Market:
    """A market snapshot.

    valuation_time     int, ms UTC
    underlying_id      (U,) names
    spot               (U,) quote currency per unit
    expiry_underlying  (X,) -> U, not decreasing: rows of one underlying stand together
    expiry_time        (X,) ms UTC; UNDATED for the row that spot, cash and perpetuals point to
    forward            (X,) quote currency per unit
    discount           (X,) discount factor of the settlement currency, 1 at zero rates, at most 2
                       (forward and discount: a rate of at most 200 % a year, see MAX_RATE)
    svi                (X,5) a b rho m sigma of raw total variance; NaN where no slice exists; its vol at
                       the money within the bounds of mark_vol
    mark_vol           (N,) per sqrt(year), NaN = use the slice; 0, or 0.01 to 10
    currency_id        (C,) names; currency 0 is the margin currency
    fx                 (C,) margin currency per unit of currency; fx[0] = 1
    currency_underlying (C,) -> U whose price moves the currency, -1 for none, as of the margin currency itself; the
                       fx of such a coin is its spot, within fx_basis_limit
    fixed_share        (X,) share of the forward that an average for settlement has already fixed, in [0, 1]; it takes
                       no part in any move. Left out: 0; always 0 for undated rows
    fx_basis_limit     (C,) largest |fx / spot - 1| of a currency that an underlying moves, 0 or more, inf for any.
                       Left out: 0.01, it is the coin itself. Declared: an asset with a price of its own that moves in
                       step with the underlying, such as a staked coin, a depegged token, a feed beside the index
    dividend_underlying, dividend_time   (D,) -> U; (D,) ms UTC when the share first trades without the dividend,
                       after the valuation time, each moment of an underlying once
    dividend           (D,) known dividends in cash, quote currency a share, above 0. Left out: none. They say when
                       early exercise pays, see `pricing.cash_dividends`; no European price depends on them
    limits             declared where the usual bounds of forwards, discounts and vols do not hold

    Raises DataError naming every bad row. mark_vol may hold NaN, nothing else may but svi.
    """

    valuation_time: int
    underlying_id: StrArray
    spot: FloatArray
    expiry_underlying: IntArray
    expiry_time: IntArray
    forward: FloatArray
    discount: FloatArray
    svi: FloatArray
    mark_vol: FloatArray
    currency_id: StrArray
    fx: FloatArray
    currency_underlying: IntArray
    fixed_share: FloatArray = column(default_factory=lambda: NOTHING_FIXED)
    fx_basis_limit: FloatArray = column(default_factory=lambda: USUAL_FX)
    dividend_underlying: IntArray = column(default_factory=lambda: NONE_KNOWN)
    dividend_time: IntArray = column(default_factory=lambda: NONE_KNOWN)
    dividend: FloatArray = column(default_factory=lambda: NONE_KNOWN)
    limits: MarketLimits = USUAL

    def __post_init__(self) -> None:
        strings = dict.fromkeys(("underlying_id", "currency_id"), np.str_)
        integers = dict.fromkeys(("expiry_underlying", "expiry_time", "currency_underlying", *DIVIDENDS[:2]), np.int64)
        if self.fixed_share is NOTHING_FIXED or not np.any(self.fixed_share):
            # Also where forwards of another number replace those of a market that has nothing fixed.
            object.__setattr__(self, "fixed_share", np.zeros(len(self.forward)))
        if self.fx_basis_limit is USUAL_FX or np.all(np.asarray(self.fx_basis_limit) == FX_TOLERANCE):
            object.__setattr__(self, "fx_basis_limit", np.full(np.shape(self.currency_id), FX_TOLERANCE))
        names = ("spot", "forward", "discount", "svi", "mark_vol", "fx", "fixed_share", "fx_basis_limit", DIVIDENDS[2])
        floats = dict.fromkeys(names, np.float64)
        freeze_fields(self, {**strings, **integers, **floats})
        object.__setattr__(self, "valuation_time", _moment(self.valuation_time))
        problems = self._shape_problems() or self._value_problems()
        if problems:
            raise DataError(problems)

    @cached_property
    def digest(self) -> str:
        """Hash of the whole snapshot: two markets with the same digest give the same prices."""
        left_out = DECLARED if len(self.dividend) else (*DECLARED, *DIVIDENDS)
        return hash_parts([getattr(self, f.name) for f in fields(self) if f.name not in left_out])

    @property
    def expiry_name(self) -> list[str]:
        """(X,) underlying and date of each expiry row, for people: BTC-2026-03-27 or BTC-undated."""
        dates = self.expiry_time.astype("datetime64[ms]").astype("datetime64[D]").astype(str)
        return [
            f"{self.underlying_id[u]}-{'undated' if time == UNDATED else date}"
            for u, time, date in zip(self.expiry_underlying, self.expiry_time, dates, strict=True)
        ]

    def _shape_problems(self) -> list[Problem]:
        limits: object = self.limits
        if not isinstance(limits, MarketLimits):
            return [Problem("market", None, "limits", self.limits, "must be MarketLimits(...)")]
        lengths = {
            "spot": self.underlying_id.shape,
            "expiry_underlying": self.forward.shape,
            "expiry_time": self.forward.shape,
            "discount": self.forward.shape,
            "fixed_share": self.forward.shape,
            "svi": (*self.forward.shape, 5),
            "fx": self.currency_id.shape,
            "fx_basis_limit": self.currency_id.shape,
            "currency_underlying": self.currency_id.shape,
            **dict.fromkeys(DIVIDENDS, (self.dividend.size,)),
        }
        problems = [
            Problem("market", None, name, getattr(self, name).shape, f"needs the shape {shape}")
            for name, shape in lengths.items()
            if getattr(self, name).shape != shape
        ]
        if len(self.forward) > MAX_EXPIRIES:
            problems.append(Problem("market", None, "expiries", len(self.forward), f"at most {MAX_EXPIRIES}"))
        return problems

    def _value_problems(self) -> list[Problem]:
        def positive(values: FloatArray) -> np.ndarray:
            return (values > 0) & np.isfinite(values)

        last_u = len(self.underlying_id) - 1
        slice_state = np.isfinite(self.svi).sum(axis=1)
        vol = self.mark_vol
        expiry = self._safe_expiry_names
        problems = row_problems(
            "market", "spot", ~positive(self.spot), self.spot, "must be above 0", self.underlying_id
        )
        problems += row_problems("market", "fx", ~positive(self.fx), self.fx, "must be above 0", self.currency_id)
        mover = self.currency_underlying
        remedy = "must be an underlying, or -1 for none"
        problems += row_problems(
            "market", "currency_underlying", (mover < -1) | (mover > last_u), mover, remedy, self.currency_id
        )
        problems += self._contradicting_fx()
        for field, bad, remedy in (
            ("forward", ~positive(self.forward), "must be above 0"),
            (
                "discount",
                ~positive(self.discount) | (self.discount > self.limits.max_discount),
                f"must be above 0 and at most {self.limits.max_discount:g}",
            ),
            (
                "fixed_share",
                ~((self.fixed_share >= 0) & (self.fixed_share <= 1))
                | ((self.expiry_time == UNDATED) & (self.fixed_share != 0)),
                "must be in [0, 1], and 0 where nothing expires",
            ),
            ("svi", ~np.isin(slice_state, (0, 5)), "give all five SVI numbers or none"),
            (
                "expiry_underlying",
                (self.expiry_underlying < 0) | (self.expiry_underlying > last_u),
                "no such underlying",
            ),
        ):
            problems += row_problems("market", field, bad, getattr(self, field), remedy, expiry)
        if np.any(np.diff(self.expiry_underlying) < 0):
            problems.append(Problem("market", None, "expiry_underlying", "unsorted", "sort expiry rows by underlying"))
        problems += row_problems("market", "mark_vol", (vol < 0) | np.isinf(vol), vol, "must be 0 or more, decimal")
        most = self.limits.max_vol
        remedy = f"above {most:g} ({most:,.0%}): looks like percent; vols are decimals".replace("%)", " %)")
        problems += row_problems("market", "mark_vol", (vol > most) & np.isfinite(vol), vol, remedy)
        least = self.limits.min_vol
        remedy = f"below {least:g} ({least:.0%}): vols are decimals, 0.55 for 55 %".replace("%)", " %)")
        problems += row_problems("market", "mark_vol", (vol > 0) & (vol < least), vol, remedy)
        if len(self.fx) and self.fx[0] != 1.0:
            problems.append(Problem("market", 0, "fx", self.fx[0], "currency 0 is the margin currency: its fx is 1"))
        if len(mover) and mover[0] >= 0:
            remedy = "currency 0 is the margin currency, in which everything is counted: nothing moves it, so -1"
            problems.append(Problem("market", str(self.currency_id[0]), "currency_underlying", int(mover[0]), remedy))
        problems += self._dividend_problems()
        return problems or self._name_problems() or self._impossible_expiries(expiry)

    def _dividend_problems(self) -> list[Problem]:
        """Dividends of no underlying or amount, that have been paid, or that stand twice."""
        owner, time = self.dividend_underlying, self.dividend_time
        unknown = (owner < 0) | (owner >= len(self.underlying_id))
        problems = row_problems("market", DIVIDENDS[0], unknown, owner, "no such underlying")
        amount = self.dividend
        problems += row_problems("market", DIVIDENDS[2], ~((amount > 0) & np.isfinite(amount)), amount, "above 0")
        remedy = "must be ms UTC after the valuation time: a share that trades without the dividend has it no more"
        past = (time <= self.valuation_time) | (time == UNDATED)
        problems += row_problems("market", DIVIDENDS[1], past, time, remedy)
        _, first = np.unique(np.stack([owner, time]), axis=1, return_index=True)
        repeated = ~np.isin(np.arange(len(time)), first)
        remedy = "a second dividend of this underlying and time: give their sum"
        return problems + row_problems("market", DIVIDENDS[1], repeated, time, remedy)

    def _name_problems(self) -> list[Problem]:
        """Names and expiries that stand twice or are empty; other currencies beside a coin that margins itself."""
        problems: list[Problem] = []
        for field in ("underlying_id", "currency_id"):
            names = getattr(self, field)
            _, first = np.unique(names, return_index=True)
            bad = ~np.isin(np.arange(len(names)), first) | (names == "")
            problems += row_problems("market", field, bad, names, "names must differ and not be empty")
        rows = np.stack([self.expiry_underlying, self.expiry_time])
        _, first = np.unique(rows, axis=1, return_index=True)
        repeated = ~np.isin(np.arange(len(self.expiry_time)), first)
        remedy = "a second expiry row of this underlying and time"
        problems += row_problems("market", "expiry_time", repeated, self.expiry_time, remedy)
        if len(self.currency_id) > 1 and self.currency_id[0] in self.underlying_id:
            remedy = "a coin as margin currency must be the only currency: others would have to move against it"
            problems.append(Problem("market", 0, "currency_id", str(self.currency_id[0]), remedy))
        return problems

    def _contradicting_fx(self) -> list[Problem]:
        """A currency that an underlying moves is that coin, so its fx is the coin's spot, unless it is declared not."""
        known = (self.currency_underlying >= 0) & (self.currency_underlying < len(self.spot))
        spot = self.spot[np.where(known, self.currency_underlying, 0)] if len(self.spot) else np.ones(len(self.fx))
        limit = self.fx_basis_limit
        remedy = "must be 0 or more, inf for any"
        problems = row_problems("market", "fx_basis_limit", ~(limit >= 0), limit, remedy, self.currency_id)
        with np.errstate(invalid="ignore", divide="ignore"):
            apart = known & (limit >= 0) & (np.abs(self.fx - spot) > limit * spot)
        for row in np.flatnonzero(apart):
            owner = self.underlying_id[self.currency_underlying[row]]
            remedy = (
                f"must be within {limit[row]:.0%} of the spot of the underlying that moves it, {owner}; "
                "fx_basis_limit declares an asset with a price of its own"
            )
            problems.append(Problem("market", str(self.currency_id[row]), "fx", float(self.fx[row]), remedy))
        return problems

    def _impossible_expiries(self, names: Callable[[], list[str]]) -> list[Problem]:
        """Expiry rows whose time, carry, discount or slice no market has."""
        dated = self.expiry_time != UNDATED
        # In floats: an absurd time must not overflow on its way to being refused.
        left = np.where(dated, self.expiry_time.astype(np.float64) - float(self.valuation_time), 0.0)
        years = left / MILLISECONDS_PER_YEAR
        limits = self.limits
        explained = limits.explained(years)
        allowed = np.where(dated, limits.carry_slack, limits.undated_slack) + explained
        spot = self.spot[self.expiry_underlying]
        a, b, rho, m, sigma = self.svi.T
        given = np.isfinite(self.svi).all(axis=1)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            carry = np.abs(np.log(self.forward / spot))
            rate = np.abs(np.log(self.discount))
            improper = given & ((b < 0) | (np.abs(rho) > 1) | (sigma < 0) | (b * (1.0 + np.abs(rho)) > LEE_SLOPE))
            variance = a + b * (np.sqrt(m * m + sigma * sigma) - rho * m)
            vol = np.sqrt(variance / years)
            far = given & ~improper & (years > 0) & ~((vol >= limits.min_vol) & (vol <= limits.max_vol))
        remedy = "years to expiry: are times in ms mixed with seconds?"
        problems = row_problems("market", "expiry_time", years > MAX_YEARS, years, remedy, names)
        remedy = (
            f"further from the spot than {limits.carry_slack:.0%} and a carry of {limits.max_rate:.0%} a year explain"
        )
        problems += row_problems("market", "forward", carry > allowed, self.forward, remedy, names)
        remedy = f"more than a rate of {limits.max_rate:.0%} a year explains"
        wrong = rate > limits.carry_slack + explained
        problems += row_problems("market", "discount", wrong, self.discount, remedy, names)
        remedy = "no slice: b and sigma must be 0 or more, rho within [-1, 1], wing slopes b (1 + |rho|) at most 2"
        problems += row_problems("market", "svi", improper, b, remedy, names)
        bounds = f"{limits.min_vol:g} to {limits.max_vol:g}"
        remedy = f"vol at the money, must be {bounds}: are a and b total variance, and decimals?"
        return problems + row_problems("market", "svi", far, vol, remedy, names)

    def _safe_expiry_names(self) -> list[str]:
        known = np.all((self.expiry_underlying >= 0) & (self.expiry_underlying < len(self.underlying_id)))
        return self.expiry_name if known else [str(row) for row in range(len(self.forward))]


def _moment(value: object) -> int:
    """ms UTC as a whole number. DataError for anything else."""
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool) and abs(int(value)) < UNDATED:
        return int(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < UNDATED:
        return int(value)
    raise DataError([Problem("market", None, "valuation_time", value, "must be a whole number, ms UTC")])
