"""Tables of the rules of combined commodities: what belongs together, tiers, spreads, charges and minimums.

Amounts are in the currency of the combined commodity.
"""

from __future__ import annotations

from dataclasses import dataclass

from portfolio_margin.span.columns import Columns
from pricing.arrays import BoolArray, FloatArray, IntArray, StrArray


@dataclass(frozen=True, eq=False)
class Commodities(Columns):
    """Combined commodities: what is scanned together.

    code, name, currency
    risk_exponent       as in the file; amounts of positional files are multiplied by ten to it already
    cap_option_value    True where its available net option value is capped at its risk
    procedure           NORMAL, or another procedure of the clearing organisation
    weighted_price_risk_method   NORMAL, SCANRANGE CAP or SCANRANGE
    spot_method         how the delivery month is charged
    minimum_method      short option minimum: GROSS adds calls and puts, MAX takes the larger
    combination_method  SPLIT, DELTASPLIT or NONE
    """

    code: StrArray
    name: StrArray
    currency: StrArray
    risk_exponent: IntArray
    cap_option_value: BoolArray
    procedure: StrArray
    weighted_price_risk_method: StrArray
    spot_method: StrArray
    minimum_method: StrArray
    combination_method: StrArray


@dataclass(frozen=True, eq=False)
class Links(Columns):
    """Which families a combined commodity is made of.

    commodity_idx, family_idx, delta_scale
    combination_method, basis_risk, array_precision, option_delta_method   as in the file
    """

    commodity_idx: IntArray
    family_idx: IntArray
    delta_scale: FloatArray
    combination_method: StrArray
    basis_risk: StrArray
    array_precision: StrArray
    option_delta_method: StrArray


@dataclass(frozen=True, eq=False)
class Adjustments(Columns):
    """Requirement of `rate` is `factor` times the risk computed with the parameters of `base_rate`.

    commodity_idx, rate, base_rate, factor
    """

    commodity_idx: IntArray
    rate: IntArray
    base_rate: IntArray
    factor: FloatArray


@dataclass(frozen=True, eq=False)
class Tiers(Columns):
    """Ranges of contract periods of a combined commodity.

    commodity_idx, purpose, number   purpose is scan, intra, inter, som; number 0 is the whole commodity
    start, end                       first and last period, "" without bound
    """

    commodity_idx: IntArray
    purpose: StrArray
    number: IntArray
    start: StrArray
    end: StrArray


@dataclass(frozen=True, eq=False)
class TierRates(Columns):
    """Rates of tiers: for purpose som, money per short option.

    tier_idx, rate, value
    """

    tier_idx: IntArray
    rate: IntArray
    value: FloatArray


@dataclass(frozen=True, eq=False)
class Spreads(Columns):
    """Spreads inside a commodity (intra), between commodities (inter), and those formed before all others (super).

    scope, commodity_idx   intra, inter or super; the commodity, -1 for the last two
    kind                   "delta", or "scan" for a credit by scanning the legs together
    number                 as in the file; rows of one scope stand in the order in which they are formed
    charge_method          F money per spread, W share of weighted price risk, P percent
    target_required, legs_required   of a scanning spread, as in the file
    """

    scope: StrArray
    commodity_idx: IntArray
    kind: StrArray
    number: StrArray
    charge_method: StrArray
    target_required: StrArray
    legs_required: StrArray


@dataclass(frozen=True, eq=False)
class SpreadRates(Columns):
    """Charge or credit of a spread.

    spread_idx, leg, rate, value   leg is the row of `SpreadLegs` with a rate of its own, -1 for all legs
    """

    spread_idx: IntArray
    leg: IntArray
    rate: IntArray
    value: FloatArray


@dataclass(frozen=True, eq=False)
class SpreadLegs(Columns):
    """Legs of spreads, in the order of the spreads.

    spread_idx, commodity   combined commodity by its code
    kind                    "tier", "period", or "scan" for a leg of a scanning spread
    tier                    number of the tier, 0 the whole commodity
    period                  of a leg between contract periods
    side                    A or B: sides differ in the sign of the delta
    ratio                   deltas per spread
    is_target, is_required  of a scanning spread, as in the file
    """

    spread_idx: IntArray
    commodity: StrArray
    kind: StrArray
    tier: IntArray
    period: StrArray
    side: StrArray
    ratio: FloatArray
    is_target: StrArray
    is_required: StrArray


@dataclass(frozen=True, eq=False)
class SpotRates(Columns):
    """Charges in the delivery month.

    commodity_idx, rate, period
    spread, outright    money per delta used in spreads, and per delta left
    """

    commodity_idx: IntArray
    rate: IntArray
    period: StrArray
    spread: FloatArray
    outright: FloatArray
