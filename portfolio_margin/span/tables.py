"""RiskParameterFile: what an exchange publishes for SPAN, whichever kind of file it came in.

One long contract's array is its 16 losses, positive = loss; amounts are in the currency of the combined commodity.
Index columns end in _idx and count from 0.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from portfolio_margin.span.columns import Columns
from portfolio_margin.span.rule_tables import (
    Adjustments,
    Commodities,
    Links,
    SpotRates,
    SpreadLegs,
    SpreadRates,
    Spreads,
    TierRates,
    Tiers,
)
from pricing.arrays import BoolArray, FloatArray, IntArray, StrArray

SCENARIOS = 16
# Purposes of a tier and scopes of a spread.
SCAN, INTRA, INTER, MINIMUM = "scan", "intra", "inter", "som"
SUPER = "super"
# Period code of what never expires, in files that we write.
PERPETUAL = "PERP"
FUTURES_LIKE = ("FUT", "FWD")
OPTION_TYPES = ("OOP", "OOF", "OOE", "OOC")


@dataclass(frozen=True)
class Header:
    """What the file says of itself, one value each; "" where it says nothing.

    file_format     4.00 of an XML file, U2 of a positional one
    created         time of writing, as in the file
    date            business date, YYYYMMDD
    is_settlement   True for a settlement file, False for an intraday one
    qualifier, time, run   early, complete or final; time of day; number of the run
    clearing_org, name     its code and its name
    is_contract_scale, is_net_margin   flags of the clearing organisation
    finalize_method, option_delta_method  how requirements are rounded; where deltas of options on physicals go
    cap_option_value       True where available net option value is capped by the risk of its commodity
    look_ahead_years       time that passes in a scenario, NaN where not stated
    """

    file_format: str
    created: str
    date: str
    is_settlement: bool
    qualifier: str
    time: str
    run: str
    clearing_org: str
    name: str
    is_contract_scale: bool
    is_net_margin: bool
    finalize_method: str
    option_delta_method: str
    cap_option_value: bool
    look_ahead_years: float

    def __eq__(self, other: object) -> bool:
        # Compared as texts, so that an absent number equals an absent number.
        return isinstance(other, Header) and {k: str(v) for k, v in vars(self).items()} == {
            k: str(v) for k, v in vars(other).items()
        }

    def __hash__(self) -> int:
        return hash((self.clearing_org, self.date, self.created))


@dataclass(frozen=True, eq=False)
class Currencies(Columns):
    """Currencies the file names.

    code, symbol, name  of the currency
    decimals            places of an amount; negative for thousands
    """

    code: StrArray
    symbol: StrArray
    name: StrArray
    decimals: IntArray


@dataclass(frozen=True, eq=False)
class AccountTypes(Columns):
    """Kinds of account.

    is_customer, is_net_margin  flags
    code, name                  H hedger, M member, S speculator ...
    priority                    order, as in the file
    """

    is_customer: BoolArray
    code: StrArray
    name: StrArray
    is_net_margin: BoolArray
    priority: StrArray


@dataclass(frozen=True, eq=False)
class Conversions(Columns):
    """Currency conversions.

    from_currency, to_currency  codes
    factor                      amount in to_currency of 1 of from_currency
    """

    from_currency: StrArray
    to_currency: StrArray
    factor: FloatArray


@dataclass(frozen=True, eq=False)
class RequirementLevels(Columns):
    """Performance bond requirements that are computed, each by a rate number.

    rate            number that scan rates, arrays, charges and adjustments refer to
    is_customer, account_type  whom it is for
    is_maintenance  True for maintenance, False for initial
    bond_class      CORE, RESERVE
    """

    rate: IntArray
    is_customer: BoolArray
    account_type: StrArray
    is_maintenance: BoolArray
    bond_class: StrArray


@dataclass(frozen=True, eq=False)
class ScanPoints(Columns):
    """The scenarios, in scan ranges.

    commodity_idx   the combined commodity they are of, -1 for the whole clearing organisation
    point_set       number of the definition
    point           1 to 16
    price, price_numerator, price_denominator   price move in scan ranges, as a decimal and as a fraction
    vol, vol_numerator, vol_denominator         vol move in vol scan ranges
    weight          share of the loss that counts
    paired          the point with the opposite vol move
    """

    commodity_idx: IntArray
    point_set: IntArray
    point: IntArray
    price: FloatArray
    price_numerator: FloatArray
    price_denominator: FloatArray
    vol: FloatArray
    vol_numerator: FloatArray
    vol_denominator: FloatArray
    weight: FloatArray
    paired: IntArray


@dataclass(frozen=True, eq=False)
class DeltaPoints(Columns):
    """The moves over which a composite delta is averaged.

    commodity_idx, point_set, point   as in `ScanPoints`
    price, price_numerator, price_denominator, vol, vol_numerator, vol_denominator   as there
    weight          of the delta at this move
    """

    commodity_idx: IntArray
    point_set: IntArray
    point: IntArray
    price: FloatArray
    price_numerator: FloatArray
    price_denominator: FloatArray
    vol: FloatArray
    vol_numerator: FloatArray
    vol_denominator: FloatArray
    weight: FloatArray


@dataclass(frozen=True, eq=False)
class Exchanges(Columns):
    """Exchanges.

    code, name  of the exchange
    """

    code: StrArray
    name: StrArray


@dataclass(frozen=True, eq=False)
class Families(Columns):
    """Product families: one kind of contract on one underlying.

    exchange_idx, family_id, code, name, kind   kind is PHY, FUT, OOP (option on a physical), OOF (on a future) ...
    currency                of the price
    contract_value_factor   money per price point; the contract's own factor comes first where there is one
    price_decimals, price_format, strike_decimals, strike_format   how prices are printed
    valuation, price_method, settlement   FUT (paid daily) or EQTY (premium); STD or IDX; CASH or DELIV
    exercise, price_model, cabinet        EURO or AMER; code of the pricing model; cabinet price
    underlying_exchange, underlying_family_id, underlying_code, underlying_kind, underlying_side, underlying_ratio
    """

    exchange_idx: IntArray
    family_id: IntArray
    code: StrArray
    name: StrArray
    kind: StrArray
    currency: StrArray
    contract_value_factor: FloatArray
    price_decimals: StrArray
    price_format: StrArray
    strike_decimals: StrArray
    strike_format: StrArray
    valuation: StrArray
    price_method: StrArray
    settlement: StrArray
    exercise: StrArray
    price_model: StrArray
    cabinet: FloatArray
    underlying_exchange: StrArray
    underlying_family_id: IntArray
    underlying_code: StrArray
    underlying_kind: StrArray
    underlying_side: StrArray
    underlying_ratio: FloatArray


@dataclass(frozen=True, eq=False)
class Periods(Columns):
    """Contract periods of a family: one future, or one series of options.

    family_idx, period, settlement_date   the period code as in the file, such as 201606S0; YYYYMMDD
    years                   time to expiry as stated in the file
    vol                     of the series
    contract_value_factor, strike_value_factor, delta_scale   of the series, NaN where it has none
    underlying_exchange, underlying_family_id, underlying_contract_id, underlying_side, underlying_ratio
    underlying_period       period of the underlying future of an option, "" where it is no future
    rate, rate_kind, rate_compounding, rate_expiry, dividend_yield   interest per year, and how the file states it
    volatility_source       as in the file
    """

    family_idx: IntArray
    period: StrArray
    settlement_date: StrArray
    years: FloatArray
    vol: FloatArray
    contract_value_factor: FloatArray
    strike_value_factor: FloatArray
    delta_scale: FloatArray
    underlying_exchange: StrArray
    underlying_family_id: IntArray
    underlying_contract_id: IntArray
    underlying_side: StrArray
    underlying_ratio: FloatArray
    underlying_period: StrArray
    rate: FloatArray
    rate_kind: FloatArray
    rate_compounding: FloatArray
    rate_expiry: FloatArray
    dividend_yield: FloatArray
    volatility_source: StrArray


@dataclass(frozen=True, eq=False)
class ScanRates(Columns):
    """Scan ranges of a period; the *_down columns where falls are scanned over another range.

    period_idx, rate
    price_scan, price_scan_percent, price_scan_down, price_scan_down_percent   money per contract, or in percent
    vol_scan, vol_scan_relative, vol_scan_down, vol_scan_down_relative         vol points, or a share of the vol
    """

    period_idx: IntArray
    rate: IntArray
    price_scan: FloatArray
    price_scan_percent: FloatArray
    price_scan_down: FloatArray
    price_scan_down_percent: FloatArray
    vol_scan: FloatArray
    vol_scan_relative: FloatArray
    vol_scan_down: FloatArray
    vol_scan_down_relative: FloatArray


@dataclass(frozen=True, eq=False)
class Contracts(Columns):
    """Contracts, in the order of the file.

    period_idx, contract_id   the period, and the file's own number within its family
    right, strike             C or P with a strike; "" and NaN where it is no option
    price, price_quality      settlement price in points, and how it was found
    delta, vol                today's, as in the file; spreads use the composite delta of the array
    value                     money per contract as in the file, NaN where it states none
    contract_value_factor, strike_value_factor, delta_scale   the contract's own, NaN where it has none
    own_name      name in the market that the file was written from, "" where it states none
    quantity_step smallest trade there, contracts; NaN where it states none, and contracts come in whole numbers
    """

    period_idx: IntArray
    contract_id: IntArray
    right: StrArray
    strike: FloatArray
    price: FloatArray
    price_quality: StrArray
    delta: FloatArray
    vol: FloatArray
    value: FloatArray
    contract_value_factor: FloatArray
    strike_value_factor: FloatArray
    delta_scale: FloatArray
    own_name: StrArray
    quantity_step: FloatArray


@dataclass(frozen=True, eq=False)
class Arrays(Columns):
    """Risk arrays, sorted by contract.

    contract_idx, rate   whose, and for which requirement
    loss                 (K,16) of one long contract, loss positive, as in the file
    composite_delta      as in the file
    """

    contract_idx: IntArray
    rate: IntArray
    loss: FloatArray
    composite_delta: FloatArray


@dataclass(frozen=True)
class RiskParameterFile:
    """Everything of a SPAN risk parameter file that margin depends on; the fields are the tables above.

    header, currencies, account_types, conversions, levels, scan_points, delta_points
    exchanges, families, periods, scan_rates, contracts, arrays
    commodities, links, adjustments, tiers, tier_rates, spreads, spread_rates, spread_legs, spot_rates
    """

    header: Header
    currencies: Currencies
    account_types: AccountTypes
    conversions: Conversions
    levels: RequirementLevels
    scan_points: ScanPoints
    delta_points: DeltaPoints
    exchanges: Exchanges
    families: Families
    periods: Periods
    scan_rates: ScanRates
    contracts: Contracts
    arrays: Arrays
    commodities: Commodities
    links: Links
    adjustments: Adjustments
    tiers: Tiers
    tier_rates: TierRates
    spreads: Spreads
    spread_rates: SpreadRates
    spread_legs: SpreadLegs
    spot_rates: SpotRates

    def differences(self, other: RiskParameterFile) -> list[str]:
        """Names of tables and columns in which two files differ."""
        found = [] if self.header == other.header else ["header"]
        for f in fields(self):
            mine, theirs = getattr(self, f.name), getattr(other, f.name)
            if isinstance(mine, Columns):
                found += [f"{f.name}.{column}" for column in mine.differences(theirs)]
        return found
