"""Elements of a SPAN XML file: which become which columns, and which are known and not needed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from portfolio_margin.span.tables import SCENARIOS

TEXT, NUMBER, WHOLE, FLAG = "text", "number", "whole number", "0 or 1"


class Leaf(NamedTuple):
    """A column, and how its text reads."""

    column: str
    kind: str


@dataclass(frozen=True, eq=False)
class Record:
    """What an element may hold.

    leaves   child tag -> column; a tag with a slash is a grandchild
    nested   children that are records themselves, or are read by hand
    needed   columns without which the record means nothing
    inline   children whose own children are columns of this record
    """

    leaves: dict[str, Leaf]
    nested: frozenset[str] = frozenset()
    needed: tuple[str, ...] = ()
    inline: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "inline", frozenset(tag.partition("/")[0] for tag in self.leaves if "/" in tag))


def leaves(kind: str, **columns: str) -> dict[str, Leaf]:
    """Leaves of one kind, tag=column; two underscores in a tag stand for the slash of a grandchild."""
    return {tag.replace("__", "/"): Leaf(column, kind) for tag, column in columns.items()}


def tags(text: str) -> frozenset[str]:
    """Tags from a text with blanks between them."""
    return frozenset(text.split())


FAMILY_KINDS = {
    "phyPf": "PHY",
    "debtPf": "DEBT",
    "equityPf": "EQTY",
    "futPf": "FUT",
    "fwdPf": "FWD",
    "eDebtPf": "EDEBT",
    "cmbPf": "CMB",
    "oopPf": "OOP",
    "oofPf": "OOF",
    "ooePf": "OOE",
    "oocPf": "OOC",
}
KIND_TAGS = {kind: tag for tag, kind in FAMILY_KINDS.items()}
# What a family that is no option holds; an option family holds series.
CONTRACT_TAGS = {"PHY": "phy", "DEBT": "debt", "EQTY": "equity", "FUT": "fut", "FWD": "fwd", "EDEBT": "eDebt",
                 "CMB": "cmb"}  # fmt: skip
TIER_TAGS = {"scanTiers": "scan", "intraTiers": "intra", "interTiers": "inter", "somTiers": "som", "rateTiers": "rate"}
SPREAD_SCOPES = {"superSpreads": "super", "interSpreads": "inter"}

# Aliases of a contract that we write: names and steps of the market that a file was made from. Any reader passes over
# them, as over those of others.
ALIAS_TYPES = {
    "portfolio-margin name": Leaf("own_name", TEXT),
    "portfolio-margin quantity step": Leaf("quantity_step", NUMBER),
}

# Known, and without effect on anything read here.
PASSED_OVER = tags(
    "spanVersion group alias specs domain contractSize uomQty uom eqPosFactor notionAmt useOTCRounding "
    "positionsAllowed isVariableTick tick venue fdot ldot fDeliv lDeliv priceType volType dvas acctSubTypeDef "
    "venueDef tickTypeDef feeTypeDef groupTypeDef calDef groupDef country cusip isin desc type subType "
    "haircut haircutRsv seriesSetlMeth refPriceFlag refPrice discFactor zeroCurve vmClass vmRate "
    "minIntExDeltaPct lookAheadDays daysPerYear binaryArrays limitArraysTo16Points hfactor "
    "cpnRate cpnFreq cpnNextDate cpnLastDate accruedIntr duration lbe futEqFactor limitSubAccountOffset "
    "custUseLov useLovPct marginMeth hvarSetId fxHvarSetId isCDSScanRisk rateTiers quoteInOptTerms legPriceFlag "
    "legPrice tbn btn brk tne btNum etNum tm"
)
# Known, with an effect that this engine does not compute; counted and told.
NOT_COMPUTED = tags(
    "portfolio IRSwapPf CDSwapPf hvarMarginParams cdsMarginParams concScaleUp concAdjRate liqRate basisRates cdsRate "
    "superInterClearSpreads interClearSpreads capRiskArray sPointDef applyFxRisk apportionRisk sprCharge "
    "spreadType volRate pmpsRate rpLeg div dSpread"
)
REFUSED = frozenset({"businessFunction"})

# Elements with columns of their owner that the format lets stand more than once; the first counts, and none of them
# has a part in a margin.
SEVERAL = tags("intrRate undC undPf")

# Leaves stand in the order of the format, in which they are written.
UNDERLYING = {
    **leaves(TEXT, undPf__exch="underlying_exchange"),
    **leaves(WHOLE, undPf__pfId="underlying_family_id"),
    **leaves(TEXT, undPf__pfCode="underlying_code", undPf__pfType="underlying_kind", undPf__s="underlying_side"),
    **leaves(NUMBER, undPf__i="underlying_ratio"),
}
UNDERLYING_CONTRACT = {
    **leaves(TEXT, undC__exch="underlying_exchange"),
    **leaves(WHOLE, undC__pfId="underlying_family_id", undC__cId="underlying_contract_id"),
    **leaves(TEXT, undC__s="underlying_side"),
    **leaves(NUMBER, undC__i="underlying_ratio"),
}
PERIOD = {
    **leaves(TEXT, pe="period", setlDate="settlement_date", volSrc="volatility_source"),
    **leaves(NUMBER, t="years", cvf="contract_value_factor", svf="strike_value_factor", sc="delta_scale"),
    **leaves(NUMBER, intrRate__val="rate", intrRate__rl="rate_kind", intrRate__cpm="rate_compounding"),
    **leaves(NUMBER, intrRate__exm="rate_expiry", divRate__val="dividend_yield"),
    **UNDERLYING_CONTRACT,
}
FAMILY = Record(
    {
        **leaves(WHOLE, pfId="family_id"),
        **leaves(TEXT, pfCode="code", name="name", currency="currency", priceDl="price_decimals"),
        **leaves(TEXT, priceFmt="price_format", strikeDl="strike_decimals", strikeFmt="strike_format"),
        **leaves(TEXT, valueMeth="valuation", priceMeth="price_method", setlMeth="settlement"),
        **leaves(TEXT, exercise="exercise", priceModel="price_model"),
        **leaves(NUMBER, cvf="contract_value_factor", cab="cabinet"),
        **UNDERLYING,
    },
    frozenset({*CONTRACT_TAGS.values(), "series"}),
    ("family_id", "code"),
)
SERIES = Record({**PERIOD, **leaves(NUMBER, v="vol")}, frozenset({"scanRate", "opt"}),
                ("period", "delta_scale"))  # fmt: skip
# A contract that is no option is a period with one contract; `p`, `d` and so on are columns of the contract.
CONTRACT = Record(
    {
        **leaves(WHOLE, cId="contract_id"),
        **leaves(NUMBER, p="price", d="delta", v="vol", val="value"),
        **PERIOD,
    },
    frozenset({"scanRate", "ra"}),
    ("contract_id",),
)
OPTION = Record(
    {
        **leaves(WHOLE, cId="contract_id"),
        **leaves(TEXT, o="right", pq="price_quality"),
        **leaves(NUMBER, k="strike", p="price", d="delta", v="vol", val="value"),
        **leaves(NUMBER, cvf="contract_value_factor", svf="strike_value_factor", sc="delta_scale"),
    },
    frozenset({"ra"}),
    ("contract_id", "right", "strike", "price"),
)
ARRAY_TAGS = ("r", *["a"] * SCENARIOS, "d")
ARRAY = Record(leaves(WHOLE, r="rate"), frozenset({"a", "d"}), ("rate",))
SCAN_RATE = Record(
    {
        **leaves(WHOLE, r="rate"),
        **leaves(NUMBER, priceScan="price_scan", priceScanPct="price_scan_percent"),
        **leaves(NUMBER, volScan="vol_scan", volScanPct="vol_scan_relative"),
        **leaves(NUMBER, priceScanDown="price_scan_down", priceScanDownPct="price_scan_down_percent"),
        **leaves(NUMBER, volScanDown="vol_scan_down", volScanDownPct="vol_scan_down_relative"),
    },
    needed=("rate",),
)
POINT = {
    **leaves(WHOLE, point="point", pairedPoint="paired"),
    **leaves(NUMBER, weight="weight", priceScanDef__mult="price", volScanDef__mult="vol"),
    **leaves(NUMBER, priceScanDef__numerator="price_numerator", priceScanDef__denominator="price_denominator"),
    **leaves(NUMBER, volScanDef__numerator="vol_numerator", volScanDef__denominator="vol_denominator"),
}
SCAN_POINT = Record(POINT, frozenset({"priceScanDef/defType"}), ("point", "price", "vol", "weight", "paired"))
DELTA_POINT = Record(POINT, frozenset({"priceScanDef/defType"}), ("point", "price", "weight"))
COMMODITY = Record(
    {
        **leaves(TEXT, cc="code", name="name", currency="currency", procMeth="procedure"),
        **leaves(TEXT, wfprMeth="weighted_price_risk_method", spotMeth="spot_method", somMeth="minimum_method"),
        **leaves(TEXT, cmbMeth="combination_method"),
        **leaves(WHOLE, riskExponent="risk_exponent"),
        **leaves(FLAG, capAnov="cap_option_value"),
    },
    frozenset({"pointDef", "pfLink", "adjRate", "dSpread", "spotRate", "intrRate", *TIER_TAGS}),
    ("code", "currency"),
)
# What the format lets a commodity leave unsaid, and what is taken then: told with every result.
TAKEN_FOR = {
    "capAnov": ("cap_option_value", "0"),
    "procMeth": ("procedure", "NORMAL"),
    "wfprMeth": ("weighted_price_risk_method", "NORMAL"),
    "spotMeth": ("spot_method", "NORMAL"),
    "somMeth": ("minimum_method", "GROSS"),
    "cmbMeth": ("combination_method", "NONE"),
    "riskExponent": ("risk_exponent", "0"),
}
LINK = Record(
    {
        **leaves(TEXT, exch="exchange"),
        **leaves(WHOLE, pfId="family_id"),
        **leaves(TEXT, pfCode="code", pfType="kind"),
        **leaves(NUMBER, sc="delta_scale"),
        **leaves(TEXT, cmbMeth="combination_method", applyBasisRisk="basis_risk", arrayPrecision="array_precision"),
        **leaves(TEXT, oopDeltaMeth="option_delta_method"),
    },
    needed=("exchange", "family_id", "delta_scale"),
)
ADJUSTMENT = Record(
    {**leaves(WHOLE, r="rate", baseR="base_rate"), **leaves(NUMBER, val="factor")},
    needed=("rate", "base_rate", "factor"),
)
TIER = Record(
    {**leaves(WHOLE, tn="number"), **leaves(TEXT, sPe="start", ePe="end")},
    frozenset({"rate", "scanRate"}),
    ("number",),
)
RATE = Record({**leaves(WHOLE, r="rate"), **leaves(NUMBER, val="value")}, needed=("rate", "value"))
DELTA_SPREAD = Record(
    leaves(TEXT, spread="number", chargeMeth="charge_method"),
    frozenset({"rate", "tLeg", "pLeg"}),
    ("number", "charge_method"),
)
SCAN_SPREAD = Record(
    leaves(TEXT, spread="number", isTargetReq="target_required", numLegsReq="legs_required"),
    frozenset({"rate", "sLeg"}),
    ("number",),
)
TIER_LEG = Record(
    {**leaves(TEXT, cc="commodity", rs="side"), **leaves(WHOLE, tn="tier"), **leaves(NUMBER, i="ratio")},
    frozenset({"rate"}),
    ("commodity", "tier", "side", "ratio"),
)
PERIOD_LEG = Record(
    {**leaves(TEXT, cc="commodity", pe="period", rs="side"), **leaves(NUMBER, i="ratio")},
    frozenset({"rate"}),
    ("commodity", "period", "side", "ratio"),
)
SCAN_LEG = Record(
    {
        **leaves(TEXT, cc="commodity", isTarget="is_target", isRequired="is_required"),
        **leaves(NUMBER, i="ratio"),
    },
    frozenset({"rate"}),
    ("commodity",),
)
SPOT_RATE = Record(
    {
        **leaves(WHOLE, r="rate"),
        **leaves(TEXT, pe="period"),
        **leaves(NUMBER, sprd="spread", outr="outright"),
    },
    needed=("rate", "period", "spread", "outright"),
)
EXCHANGE = Record(leaves(TEXT, exch="code", name="name"), frozenset(FAMILY_KINDS), ("code",))
POINT_DEF = Record(leaves(WHOLE, r="point_set"), frozenset({"scanPointDef", "deltaPointDef"}), ("point_set",))
CURRENCY = Record(
    {**leaves(TEXT, currency="code", symbol="symbol", name="name"), **leaves(WHOLE, decimalPos="decimals")},
    needed=("code",),
)
ACCOUNT_TYPE = Record(
    {
        **leaves(FLAG, isCust="is_customer", isNetMargin="is_net_margin"),
        **leaves(TEXT, acctType="code", name="name", priority="priority"),
    },
    needed=("code",),
)
CONVERSION = Record(
    {**leaves(TEXT, fromCur="from_currency", toCur="to_currency"), **leaves(NUMBER, factor="factor")},
    needed=("from_currency", "to_currency", "factor"),
)
LEVEL = Record(
    {
        **leaves(WHOLE, r="rate"),
        **leaves(FLAG, isCust="is_customer", isM="is_maintenance"),
        **leaves(TEXT, acctType="account_type", pbc="bond_class"),
    },
    needed=("rate", "is_customer", "account_type", "is_maintenance"),
)
CLEARING_ORG = Record(
    {
        **leaves(TEXT, ec="clearing_org", name="name", finalizeMeth="finalize_method"),
        **leaves(TEXT, oopDeltaMeth="option_delta_method"),
        **leaves(FLAG, isContractScale="is_contract_scale", isNetMargin="is_net_margin"),
        **leaves(FLAG, capAnov="cap_option_value"),
        **leaves(NUMBER, lookAheadYears="look_ahead_years"),
    },
    frozenset({"curConv", "pbRateDef", "pointDef", "exchange", "ccDef", "superSpreads", "interSpreads"}),
    ("clearing_org",),
)
POINT_IN_TIME = Record(
    {
        **leaves(TEXT, date="date", setlQualifier="qualifier", time="time", run="run"),
        **leaves(FLAG, isSetl="is_settlement"),
    },
    frozenset({"clearingOrg"}),
    ("date", "is_settlement"),
)
SPAN_FILE = Record(leaves(TEXT, fileFormat="file_format", created="created"), frozenset({"definitions", "pointInTime"}))
