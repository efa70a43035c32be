"""Rules of a risk parameter file, put in the order of the rows of risk arrays and in one currency.

`rules_of` looks everything up once; what comes out is numbers that the algorithm indexes and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from portfolio_margin.span.checks import scenario_rows
from portfolio_margin.span.choices import Choices
from portfolio_margin.span.contracts import ContractView, within_tier
from portfolio_margin.span.file_arrays import conversions
from portfolio_margin.span.levels import levels
from portfolio_margin.span.scan import price_method
from portfolio_margin.span.spreads import FLAT, PERCENT, Leg, ScanSpread, SpotCharge, Spread
from portfolio_margin.span.tables import FUTURES_LIKE, INTER, INTRA, MINIMUM, SCAN, SCENARIOS, SUPER, RiskParameterFile
from pricing.arrays import BoolArray, FloatArray, IntArray, StrArray
from pricing.errors import ConfigError
from pricing.instruments import Kind
from scenarios.risk_arrays import RiskArrays

LARGER = "MAX"


@dataclass(frozen=True)
class SpanRules:
    """Numbers of the rules, in margin currency.

    covered          (N,) rows that are contracts of the rules
    commodity        (N,) -> U, -1 for other rows
    delta            (N,) deltas of one long contract, scaled
    period           (N,) -> D, the contract period its delta belongs to
    minimum          (N,) short option minimum of one contract, margin currency
    minimum_tier     (N,) -> M tier of the short option minimum, -1 for what is no option
    is_call          (N,) True for calls
    option_value     (N,) margin currency of one long contract paid by premium, 0 otherwise; physicals not counted
    exposure         (N,) notional of one contract: of a future at its price, of an option at the spot
    code, currency   (U,) of the commodities
    paired           (U,16) scenario with the opposite vol move, from 0
    price_method     (U,) code of the weighted price risk method
    scan_range       (U,) of one delta of the nearest future
    larger_minimum   (M,) True where the larger of calls and puts counts, False where both do
    tier_commodity   (M,) -> U
    cap_option_value (U,) True where option value helps no other commodity
    factors          (U,2) initial and maintenance margin per unit of risk
    period_commodity (D,) -> U, not decreasing
    period_code      (D,) increasing within a commodity
    scan_tier        (K, D) True for the periods of each part of a commodity that is scanned apart from its others
    scan_commodity   (K,) -> U, every period of a commodity that has such parts being in one of them
    scan_number      (K,) number of the tier
    inter_tier       (T, D) True for the periods of each tier that a leg between commodities is on
    intra, spot      spreads and delivery charges inside commodities
    before, between  spreads between commodities, before and after those: `Spread` or `ScanSpread`
    """

    covered: BoolArray
    commodity: IntArray
    delta: FloatArray
    period: IntArray
    minimum: FloatArray
    minimum_tier: IntArray
    is_call: BoolArray
    option_value: FloatArray
    exposure: FloatArray
    code: StrArray
    currency: StrArray
    paired: IntArray
    price_method: IntArray
    scan_range: FloatArray
    larger_minimum: BoolArray
    tier_commodity: IntArray
    cap_option_value: BoolArray
    factors: FloatArray
    period_commodity: IntArray
    period_code: StrArray
    scan_tier: BoolArray
    scan_commodity: IntArray
    scan_number: IntArray
    inter_tier: BoolArray
    intra: tuple[Spread, ...]
    spot: tuple[SpotCharge, ...]
    before: tuple[Spread | ScanSpread, ...]
    between: tuple[Spread | ScanSpread, ...]


def rules_of(
    file: RiskParameterFile, arrays: RiskArrays, choices: Choices | None = None, contract: IntArray | None = None
) -> SpanRules:
    """The rules of a file for the rows of risk arrays, which are joined by the names of contracts.

    contract  (N,) -> contracts of the file, -1 for others, where names do not join them

    ConfigError for what the file says and nobody has decided: a percent charge, an account type it does not have.
    """
    choices = choices or Choices()
    return _Builder(file, arrays, choices, contract).built()


class _Builder:
    """Everything looked up on the way."""

    def __init__(
        self, file: RiskParameterFile, arrays: RiskArrays, choices: Choices, contract: IntArray | None
    ) -> None:
        self.file, self.arrays, self.choices = file, arrays, choices
        self.view = view = ContractView(file)
        self.fx = conversions(file, arrays.currency)
        if contract is None:
            place = {name: row for row, name in enumerate(view.name.tolist())}
            contract = np.array([place.get(name, -1) for name in arrays.instrument_id.tolist()], dtype=np.int64)
        self.contract = contract
        self.known = (self.contract >= 0) & (view.commodity[self.contract] >= 0 if len(view.name) else False)
        self.row = np.where(self.known, self.contract, 0)
        self.factors, self.rate = levels(file, choices)
        money = np.array([self.fx[str(code)] for code in file.commodities.currency])
        self.money = money * 10.0 ** (file.commodities.risk_exponent * (choices.risk_exponent == "apply"))
        self.position = {str(code): row for row, code in enumerate(file.commodities.code)}
        self._periods()
        self.inter_tiers: list[IntArray] = []

    def _periods(self) -> None:
        """Contract periods that deltas belong to, sorted by commodity and code."""
        view, file = self.view, self.file
        code = view.period
        if self.choices.option_delta == "underlying":
            future = file.periods.underlying_period[file.contracts.period_idx]
            code = np.where(view.is_option & (future != ""), future, code)
        used = np.flatnonzero(view.commodity >= 0)
        pairs = sorted({(int(view.commodity[row]), str(code[row])) for row in used})
        index = {pair: number for number, pair in enumerate(pairs)}
        self.period_commodity = np.array([commodity for commodity, _ in pairs], dtype=np.int64)
        self.period_code = np.array([text for _, text in pairs], dtype=np.str_)
        self.period_of = np.array(
            [index.get((int(c), str(p)), -1) for c, p in zip(view.commodity, code, strict=True)], dtype=np.int64
        )

    def built(self) -> SpanRules:
        file, view, row, known = self.file, self.view, self.row, self.known
        count = len(file.commodities)
        rate_of = _first_array(file, self.rate)
        delta = file.arrays.composite_delta[rate_of]
        scale = view.delta_scale if self.choices.delta_scale == "contract" else np.ones(len(view.kind))
        minimum, tier, tier_commodity = self._minimums()
        premium = view.is_option & view.pays_premium
        value = np.where(premium, file.contracts.price * view.factor, 0.0)
        fx_of = np.array([self.fx[str(code)] for code in view.currency])
        larger = file.commodities.minimum_method == LARGER
        before, between = (self._inter_spreads(scope) for scope in (SUPER, INTER))
        scan_tier, scan_commodity, scan_number = self._scan_tiers()
        masks = np.zeros((len(self.inter_tiers), len(self.period_code)), dtype=bool)
        for number, periods in enumerate(self.inter_tiers):
            masks[number, periods] = True
        return SpanRules(
            covered=known,
            commodity=np.where(known, view.commodity[row], -1),
            delta=np.where(known, (delta * scale)[row], 0.0),
            period=np.where(known, self.period_of[row], 0),
            minimum=np.where(known, minimum[row], 0.0),
            minimum_tier=np.where(known, tier[row], -1),
            is_call=known & (file.contracts.right[row] == "C"),
            option_value=np.where(known, (value * fx_of)[row], 0.0),
            exposure=self._exposures(),
            code=file.commodities.code,
            currency=file.commodities.currency,
            paired=_paired(file, count),
            price_method=self._price_methods(),
            scan_range=self._scan_ranges(),
            larger_minimum=larger[tier_commodity] if len(tier_commodity) else np.zeros(0, dtype=bool),
            tier_commodity=tier_commodity,
            cap_option_value=self._caps(),
            factors=self.factors,
            period_commodity=self.period_commodity,
            period_code=self.period_code,
            scan_tier=scan_tier,
            scan_commodity=scan_commodity,
            scan_number=scan_number,
            inter_tier=masks,
            intra=self._intra_spreads(),
            spot=self._spot_charges(),
            before=before,
            between=between,
        )

    def _caps(self) -> BoolArray:
        stated = self.file.commodities.cap_option_value
        always = {"always": True, "never": False}.get(self.choices.option_value_cap)
        return stated if always is None else np.full(len(stated), always)

    def _exposures(self) -> FloatArray:
        terms, arrays = self.arrays.terms, self.arrays
        spot = terms.spot[np.maximum(arrays.underlying_idx, 0)] if len(terms.spot) else np.ones(len(arrays))
        at_spot = terms.multiplier * spot * terms.fx[terms.currency_idx]
        # A contract settled in coin is worth its multiplier in coins.
        at_spot = np.where(terms.is_inverse, arrays.notional, at_spot)
        return np.where(self.known, np.where(arrays.kind == Kind.OPTION, at_spot, arrays.notional), 0.0)

    def _price_methods(self) -> IntArray:
        codes = []
        for name, code in zip(self.file.commodities.weighted_price_risk_method.tolist(), self.position, strict=True):
            method = price_method(name)
            if method is None:
                raise ConfigError(f"weighted price risk method {name!r} of {code} is not known")
            codes.append(method)
        return np.array(codes, dtype=np.int64)

    def _scan_ranges(self) -> FloatArray:
        """(U,) scan range of one delta of the nearest future, margin currency; 0 where there is no future."""
        file, view = self.file, self.view
        result = np.zeros(len(file.commodities))
        scan = np.full(len(file.periods), np.nan)
        mine = np.flatnonzero(file.scan_rates.rate == self.rate)
        scan[file.scan_rates.period_idx[mine]] = file.scan_rates.price_scan[mine]
        futures = np.flatnonzero(np.isin(view.kind, FUTURES_LIKE) & (view.commodity >= 0))
        for row in sorted(futures.tolist(), key=lambda r: str(view.period[r]), reverse=True):
            value = scan[file.contracts.period_idx[row]]
            if np.isfinite(value):
                commodity = int(view.commodity[row])
                scale = view.delta_scale[row] if self.choices.delta_scale == "contract" else 1.0
                result[commodity] = value / scale * self.money[commodity]
        return result

    def _minimums(self) -> tuple[FloatArray, IntArray, IntArray]:
        """Short option minimum of each contract of the file, its tier, and the commodity of each tier."""
        file, view = self.file, self.view
        rates = {(int(t), int(r)): float(v) for t, r, v in
                 zip(file.tier_rates.tier_idx, file.tier_rates.rate, file.tier_rates.value, strict=True)}  # fmt: skip
        amount, tier = np.zeros(len(view.kind)), np.full(len(view.kind), -1, dtype=np.int64)
        owners: list[int] = []
        for row in np.flatnonzero(file.tiers.purpose == MINIMUM).tolist():
            commodity = int(file.tiers.commodity_idx[row])
            inside = view.is_option & (view.commodity == commodity) & within_tier(self.file, row, view.period)
            value = rates.get((row, self.rate), rates.get((row, 1)))
            if value is None:
                code = file.commodities.code[commodity]
                raise ConfigError(f"a short option minimum tier of {code} states no rate number {self.rate} or 1")
            amount[inside], tier[inside] = value * self.money[commodity], len(owners)
            owners.append(commodity)
        # Options without a tier still count, with a minimum of 0.
        bare = view.is_option & (tier < 0) & (view.commodity >= 0)
        if bare.any():
            for commodity in np.unique(view.commodity[bare]).tolist():
                tier[bare & (view.commodity == commodity)] = len(owners)
                owners.append(int(commodity))
        return amount, tier, np.array(owners, dtype=np.int64)

    def _tier_periods(self, commodity: int, purposes: tuple[str, ...], number: int) -> IntArray:
        """Rows of the deltas in a tier of a commodity; number 0 is the whole commodity."""
        mine = self.period_commodity == commodity
        tiers = self.file.tiers
        if number == 0:
            return np.flatnonzero(mine)
        for purpose in purposes:
            rows = np.flatnonzero(
                (tiers.commodity_idx == commodity) & (tiers.purpose == purpose) & (tiers.number == number)
            )
            if len(rows):
                return np.flatnonzero(mine & within_tier(self.file, int(rows[0]), self.period_code))
        raise ConfigError(f"{self.file.commodities.code[commodity]} has no {purposes[0]} tier {number}")

    def _rates(self, spread: int) -> tuple[float, dict[int, float]]:
        """Rate of a spread and the rates of its legs, for the rate number in use or else for number 1."""
        table = self.file.spread_rates
        rows = np.flatnonzero(table.spread_idx == spread)
        for number in (self.rate, 1):
            mine = rows[table.rate[rows] == number]
            if len(mine):
                legs = {int(table.leg[row]): float(table.value[row]) for row in mine}
                return legs.pop(-1, next(iter(legs.values()), 0.0)), legs
        raise ConfigError(f"spread {self.file.spreads.number[spread]} states no rate number {self.rate} or 1")

    def _intra_spreads(self) -> tuple[Spread, ...]:
        spreads, legs = self.file.spreads, self.file.spread_legs
        result = []
        for row in np.flatnonzero(spreads.scope == INTRA).tolist():
            commodity = int(spreads.commodity_idx[row])
            rate, _ = self._rates(row)
            method = str(spreads.charge_method[row])
            merged: dict[tuple[bytes, float], Leg] = {}
            for leg in np.flatnonzero(legs.spread_idx == row).tolist():
                periods = self._leg_periods(leg, commodity, (INTRA,))
                sign, ratio = self._side(leg), float(legs.ratio[leg])
                key = (periods.tobytes(), sign)
                # Legs on the same deltas ask for them together.
                ratio += merged[key].ratio if key in merged else 0.0
                number = -1 if legs.kind[leg] == "period" else int(legs.tier[leg])
                merged[key] = Leg(commodity, periods, sign, ratio, 0.0, number=number)
            amount = rate if method == "W" else rate * self.money[commodity]
            if method == PERCENT:
                amount = self._percent(row, rate, tuple(merged.values()))
            if all(len(leg.periods) for leg in merged.values()):
                result.append(Spread(method, amount, tuple(merged.values())))
        return tuple(result)

    def _percent(self, spread: int, rate: float, legs: tuple[Leg, ...]) -> float:
        if self.choices.percent_of != "far_leg_value":
            raise ConfigError(
                f"spread {self.file.spreads.number[spread]} is charged in percent, and the file does not say of what: "
                "choose percent_of = far_leg_value, or another parameter file"
            )
        far = max(int(leg.periods[-1]) for leg in legs if len(leg.periods))
        rows = np.flatnonzero((self.period_of == far) & ~self.view.is_option)
        if not len(rows):
            raise ConfigError(f"the far leg of spread {self.file.spreads.number[spread]} has no future to be valued by")
        contract = int(rows[0])
        commodity = int(self.view.commodity[contract])
        value = self.file.contracts.price[contract] * self.view.factor[contract] / self.view.delta_scale[contract]
        return float(rate / 100.0 * value * self.fx[str(self.file.commodities.currency[commodity])])

    def _leg_periods(self, leg: int, commodity: int, purposes: tuple[str, ...]) -> IntArray:
        legs = self.file.spread_legs
        if legs.kind[leg] == "period":
            return self._named_periods(commodity, str(legs.period[leg]))
        return self._tier_periods(commodity, purposes, int(legs.tier[leg]))

    def _scan_tiers(self) -> tuple[BoolArray, IntArray, IntArray]:
        """Parts of commodities that are scanned apart, their commodities and numbers. ConfigError for a period that is
        in none of them."""
        tiers, parts, owners = self.file.tiers, [], []
        for commodity in range(len(self.file.commodities)) if self.choices.scan_tiers == "apart" else ():
            mine = self.period_commodity == commodity
            rows = np.flatnonzero((tiers.commodity_idx == commodity) & (tiers.purpose == SCAN) & (tiers.number > 0))
            left, found = mine.copy(), []
            for row in rows.tolist():
                part = left & within_tier(self.file, row, self.period_code)
                left &= ~part
                if part.any():
                    found.append((part, int(tiers.number[row])))
            if len(rows) and left.any():
                raise ConfigError(
                    f"period {self.period_code[left][0]} of {self.file.commodities.code[commodity]} is in none of its "
                    "scan tiers: choose scan_tiers = together, or another parameter file"
                )
            if len(found) > 1:
                parts += found
                owners += [commodity] * len(found)
        inside = np.array([part for part, _ in parts], dtype=bool).reshape(len(parts), len(self.period_code))
        numbers = np.array([number for _, number in parts], dtype=np.int64)
        return inside, np.array(owners, dtype=np.int64), numbers

    def _named_periods(self, commodity: int, code: str) -> IntArray:
        """Rows of the period with this code, or else of those whose codes begin with it."""
        mine = self.period_commodity == commodity
        exact = np.flatnonzero(mine & (self.period_code == code))
        return exact if len(exact) else np.flatnonzero(mine & np.char.startswith(self.period_code, code))

    def _side(self, leg: int) -> float:
        return 1.0 if self.file.spread_legs.side[leg] == "A" else -1.0

    def _inter_spreads(self, scope: str) -> tuple[Spread | ScanSpread, ...]:
        spreads, legs = self.file.spreads, self.file.spread_legs
        result: list[Spread | ScanSpread] = []
        for row in np.flatnonzero(spreads.scope == scope).tolist():
            rows = np.flatnonzero(legs.spread_idx == row).tolist()
            rate, own = self._rates(row)
            if spreads.kind[row] == "scan":
                result.append(self._scan_spread(row, rows, rate, own))
                continue
            method = str(spreads.charge_method[row])
            if method == PERCENT:
                raise ConfigError(f"spread {spreads.number[row]} between commodities is credited in percent of nothing")
            made = []
            for leg in rows:
                commodity = self.position[str(legs.commodity[leg])]
                periods = self._leg_periods(leg, commodity, (INTER, SCAN))
                share = own.get(leg, rate) * (self.money[commodity] if method == FLAT else 1.0)
                tier = self._inter_tier(leg, periods)
                made.append(Leg(commodity, periods, self._side(leg), float(legs.ratio[leg]), share, tier))
            if all(len(leg.periods) for leg in made):
                result.append(Spread(method, rate, tuple(made)))
        return tuple(result)

    def _inter_tier(self, leg: int, periods: IntArray) -> int:
        legs = self.file.spread_legs
        if legs.kind[leg] == "tier" and legs.tier[leg] == 0:
            return -1
        for number, known in enumerate(self.inter_tiers):
            if np.array_equal(known, periods):
                return number
        self.inter_tiers.append(periods)
        return len(self.inter_tiers) - 1

    def _scan_spread(self, spread: int, rows: list[int], rate: float, own: dict[int, float]) -> ScanSpread:
        legs = self.file.spread_legs
        chosen = [leg for leg in rows if legs.is_target[leg] == "1"] or rows[:1]
        others = [leg for leg in rows if leg != chosen[0]]
        needed = self.file.spreads.target_required[spread] == "1"
        fewest = str(self.file.spreads.legs_required[spread])
        return ScanSpread(
            target=self.position[str(legs.commodity[chosen[0]])],
            legs=tuple(self.position[str(legs.commodity[leg])] for leg in others),
            rate=np.array([own.get(leg, rate) for leg in (*others, chosen[0])]),
            required=(*(legs.is_required[leg] == "1" for leg in others), needed),
            fewest=max(int(fewest), 1) if fewest.isdigit() else 1,
        )

    def _spot_charges(self) -> tuple[SpotCharge, ...]:
        table = self.file.spot_rates
        result = []
        stated: dict[tuple[int, str], dict[int, int]] = {}
        keys = zip(table.commodity_idx.tolist(), table.period.tolist(), table.rate.tolist(), strict=True)
        for row, (commodity, month, rate) in enumerate(keys):
            stated.setdefault((commodity, month), {})[rate] = row
        for (commodity, month), rows in stated.items():
            row = rows.get(self.rate, rows.get(1, -1))
            if row < 0:
                code = self.file.commodities.code[commodity]
                raise ConfigError(f"delivery month {month} of {code} states no rate number {self.rate} or 1")
            for period in self._named_periods(commodity, month).tolist():
                money = self.money[commodity]
                result.append(SpotCharge(commodity, period, table.spread[row] * money, table.outright[row] * money))
        return tuple(result)


def _paired(file: RiskParameterFile, count: int) -> IntArray:
    rows = [file.scan_points.paired[scenario_rows(file, commodity)] - 1 for commodity in range(count)]
    return np.array(rows, dtype=np.int64).reshape(count, SCENARIOS)


def _first_array(file: RiskParameterFile, rate: int) -> IntArray:
    """(contracts,) row of the array with this rate, else of the first one."""
    row = np.zeros(len(file.contracts), dtype=np.int64)
    row[file.arrays.contract_idx[::-1]] = np.arange(len(file.arrays))[::-1]
    mine = np.flatnonzero(file.arrays.rate == rate)
    row[file.arrays.contract_idx[mine]] = mine
    return row
