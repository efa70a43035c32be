"""Risk parameter files made up for tests, in the same tables as real ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from portfolio_margin.io.span_rows import new_rows
from portfolio_margin.span.tables import Arrays, Header, RiskParameterFile

MOVES = np.array([0, 0, 1, 1, -1, -1, 2, 2, -2, -2, 3, 3, -3, -3, 6, -6]) / 3.0
VOLS = np.array([1, -1] * 7 + [0, 0], dtype=float)
WEIGHTS = np.array([1.0] * 14 + [0.35] * 2)
PAIRS = [*(n + 2 if n % 2 == 0 else n for n in range(14)), 15, 16]
DELTA_MOVES = np.array([-3, -2, -1, 0, 1, 2, 3]) / 3.0
DELTA_WEIGHTS = (0.037, 0.111, 0.217, 0.270, 0.217, 0.111, 0.037)


def header(**changes: Any) -> Header:
    values: dict[str, Any] = {
        "file_format": "4.00", "created": "202601021830", "date": "20260102", "is_settlement": True,
        "qualifier": "final", "time": "", "run": "", "clearing_org": "TEST", "name": "A clearing house",
        "is_contract_scale": False, "is_net_margin": True, "finalize_method": "", "option_delta_method": "PERIOD",
        "cap_option_value": False, "look_ahead_years": 0.004,
    }  # fmt: skip
    return Header(**{**values, **changes})


def future_losses(price_scan: float) -> np.ndarray:
    """What one long future loses: minus the move, times the weight."""
    return -MOVES * price_scan * WEIGHTS


def option_losses(price_scan: float, delta: float, vol_risk: float) -> np.ndarray:
    """What one long option loses that bends at the present price, by as much as its slope allows to either side."""
    bend = 0.9 * min(abs(delta), 1.0 - abs(delta))
    return -(MOVES * delta + np.abs(MOVES) * bend) * price_scan * WEIGHTS - VOLS * vol_risk


class Exchange:
    """A risk parameter file under construction."""

    def __init__(self) -> None:
        self.rows = new_rows()
        self.losses: list[np.ndarray] = []
        self.deltas: list[float] = []
        self.owners: list[int] = []
        self.add("exchanges", code="EX", name="Exchange")
        self.add("currencies", code="USD", symbol="$", name="US dollar", decimals=2)
        self.add("account_types", is_customer=True, code="H", name="Hedge", is_net_margin=True, priority="1")
        self.level(1, maintenance=True)
        for point, (move, vol, weight, paired) in enumerate(zip(MOVES, VOLS, WEIGHTS, PAIRS, strict=True), 1):
            self.add(
                "scan_points", point_set=1, point=point, price=round(float(move), 6), price_numerator=move * 3,
                price_denominator=3.0, vol=float(vol), vol_numerator=float(vol), vol_denominator=1.0,
                weight=float(weight), paired=paired,
            )  # fmt: skip
        for point, (move, weight) in enumerate(zip(DELTA_MOVES, DELTA_WEIGHTS, strict=True), 1):
            self.add(
                "delta_points", point_set=1, point=point, price=round(float(move), 6), price_numerator=move * 3,
                price_denominator=3.0, vol=0.0, vol_numerator=0.0, vol_denominator=1.0, weight=weight,
            )  # fmt: skip

    def add(self, table: str, **values: Any) -> int:
        return self.rows[table].add(None, values)

    def level(self, rate: int, maintenance: bool, account_type: str = "H") -> None:
        self.add(
            "levels", rate=rate, is_customer=True, account_type=account_type, is_maintenance=maintenance,
            bond_class="CORE",
        )  # fmt: skip

    def commodity(self, code: str, currency: str = "USD", tiers: dict[int, tuple[str, str]] | None = None,
                  minimum: float = 0.0, **values: Any) -> int:  # fmt: skip
        defaults = {
            "name": code, "currency": currency, "risk_exponent": 0, "cap_option_value": False, "procedure": "NORMAL",
            "weighted_price_risk_method": "NORMAL", "spot_method": "NORMAL", "minimum_method": "GROSS",
            "combination_method": "NONE",
        }  # fmt: skip
        row = self.add("commodities", code=code, **{**defaults, **values})
        for purpose in ("intra", "inter"):
            for number, (start, end) in (tiers or {0: ("", "")}).items():
                self.add("tiers", commodity_idx=row, purpose=purpose, number=number, start=start, end=end)
        tier = self.add("tiers", commodity_idx=row, purpose="som", number=0)
        self.add("tier_rates", tier_idx=tier, rate=1, value=minimum)
        return row

    def family(
        self, commodity: int, kind: str, factor: float = 1.0, valuation: str | None = None, **values: Any
    ) -> int:
        code = str(self.rows["commodities"].columns["code"][commodity])
        row = len(self.rows["families"])
        self.add(
            "families", exchange_idx=0, family_id=row + 1, code=code, name=code, kind=kind, currency="USD",
            contract_value_factor=factor, valuation=valuation or ("FUT" if kind == "FUT" else "EQTY"),
            price_method="STD", settlement="CASH", exercise="EURO" if kind[0] == "O" else "",
            price_model="BS" if kind[0] == "O" else "", cabinet=0.01 if kind[0] == "O" else np.nan,
            underlying_exchange="EX", underlying_family_id=1, underlying_code=code, underlying_kind="PHY",
            underlying_side="B", underlying_ratio=1.0, **values,
        )  # fmt: skip
        self.add("links", commodity_idx=commodity, family_idx=row, delta_scale=1.0)
        return row

    def period(self, family: int, period: str, price_scan: float, years: float = 0.1, **values: Any) -> int:
        defaults = {
            "contract_value_factor": self.rows["families"].columns["contract_value_factor"][family],
            "settlement_date": f"{period[:6]}15" if period[:6].isdigit() else "", "years": years, "delta_scale": 1.0,
            "underlying_exchange": "EX",
            "underlying_family_id": 99, "underlying_contract_id": 1, "underlying_side": "B", "underlying_ratio": 1.0,
        }  # fmt: skip
        row = self.add("periods", family_idx=family, period=period, **{**defaults, **values})
        self.add("scan_rates", period_idx=row, rate=1, price_scan=price_scan, vol_scan=0.0)
        return row

    def contract(self, period: int, losses: np.ndarray, delta: float, price: float, right: str = "",
                 strike: float = np.nan, **values: Any) -> int:  # fmt: skip
        number = len(self.rows["contracts"]) + 1
        row = self.add(
            "contracts", period_idx=period, contract_id=number, right=right, strike=strike, price=price, delta=delta,
            **values,
        )  # fmt: skip
        self.losses.append(np.asarray(losses, dtype=float))
        self.deltas.append(delta)
        self.owners.append(row)
        return row

    def future(self, family: int, period: str, price: float, price_scan: float) -> int:
        return self.contract(self.period(family, period, price_scan), future_losses(price_scan), 1.0, price)

    def spread(self, scope: str, legs: list[tuple[Any, ...]], rate: float, method: str = "F", commodity: int = -1,
               kind: str = "delta") -> int:  # fmt: skip
        """Legs are (code, tier or period, side, ratio[, rate of its own])."""
        known = self.rows["spreads"].columns
        lists = zip(known["scope"], known["commodity_idx"], strict=True)
        number = str(sum(place == (scope, commodity) for place in lists) + 1)
        row = self.add(
            "spreads", scope=scope, commodity_idx=commodity, kind=kind, number=number,
            charge_method=method if kind == "delta" else "",
        )  # fmt: skip
        self.add("spread_rates", spread_idx=row, leg=-1, rate=1, value=rate)
        for code, place, side, ratio, *own in legs:
            where = {"tier": place, "kind": "tier"} if isinstance(place, int) else {"period": place, "kind": "period"}
            if kind == "scan":
                where = {"kind": "scan", "is_target": str(place)}
            leg = self.add("spread_legs", spread_idx=row, commodity=code, side=side, ratio=float(ratio), **where)
            if own:
                self.add("spread_rates", spread_idx=row, leg=leg, rate=1, value=own[0])
        return row

    def built(self, **head: Any) -> RiskParameterFile:
        tables: dict[str, Any] = {name: rows.frozen() for name, rows in self.rows.items()}
        arrays = Arrays(
            contract_idx=np.asarray(self.owners, dtype=np.int64),
            rate=np.ones(len(self.owners), dtype=np.int64),
            loss=np.asarray(self.losses, dtype=float).reshape(-1, 16),
            composite_delta=np.asarray(self.deltas, dtype=float),
        )
        return RiskParameterFile(header=header(**head), arrays=arrays, **tables)


def large_exchange(commodities: int, futures: int, series: int, strikes: int, seed: int = 5) -> RiskParameterFile:
    """An exchange of made-up numbers in the size asked for: options = commodities x series x strikes x 2."""
    random = np.random.default_rng(seed)
    exchange = Exchange()
    for index in range(commodities):
        code = f"U{index:04d}"
        commodity = exchange.commodity(code, minimum=5.0)
        price = float(np.round(random.uniform(50, 5_000), 2))
        scan = round(price * 0.12, 2)
        family = exchange.family(commodity, "FUT")
        periods = [f"2026{month:02d}" for month in range(1, futures + 1)]
        for period in periods:
            exchange.future(family, period, price, scan)
        exchange.spread("intra", [(code, 0, "A", 1), (code, 0, "B", 1)], round(price * 0.0175, 2), commodity=commodity)
        options = exchange.family(commodity, "OOP")
        for number in range(series):
            period = exchange.period(options, f"2026{number + 1:02d}", scan, vol=0.2)
            deltas = np.round(random.uniform(0, 1, strikes), 4)
            vol_risks = np.round(random.uniform(0, scan / 4, strikes), 2)
            prices = np.round(random.uniform(0, scan, (strikes, 2)), 2)
            for strike in range(strikes):
                for side, right in enumerate("CP"):
                    delta = float(deltas[strike]) - side
                    losses = np.round(option_losses(scan, delta, float(vol_risks[strike])), 2)
                    exchange.contract(
                        period, losses, delta, float(prices[strike, side]), right, 50.0 * (strike + 1),
                        vol=0.2,
                    )  # fmt: skip
    return exchange.built()


MONTHS = ("202603", "202606", "202609", "202612")


def exchange_with_every_rule(
    seed: int = 2,
    strikes: tuple[float, ...] = (90.0, 100.0, 110.0),
    series: tuple[str, ...] = ("202605", "202609"),
    **head: Any,
) -> RiskParameterFile:
    """Four commodities in two currencies and two scales, and every kind of spread, charge, credit and minimum."""
    random = np.random.default_rng(seed)
    exchange = Exchange()
    exchange.add("conversions", from_currency="EUR", to_currency="USD", factor=1.25)
    tiers = {1: ("202603", "202606"), 2: ("202609", "202609"), 3: ("202612", "")}
    terms: dict[str, dict[str, Any]] = {
        "AA": {"tiers": tiers, "weighted_price_risk_method": "NORMAL"},
        "BB": {"tiers": tiers, "weighted_price_risk_method": "SCANRANGE CAP", "risk_exponent": 1,
               "cap_option_value": True, "minimum_method": "MAX"},
        "CC": {"weighted_price_risk_method": "SCANRANGE", "currency": "EUR"},
        "DD": {},
    }  # fmt: skip
    rows = {}
    for code, values in terms.items():
        rows[code] = row = exchange.commodity(code, minimum=20.0, **values)
        scan = float(random.integers(50, 150))
        futures = exchange.family(row, "FUT", 10.0)
        exchange.rows["families"].columns["currency"][futures] = values.get("currency", "USD")
        for place, month in enumerate(MONTHS):
            exchange.future(futures, month, 100.0 + place, scan + 5 * place)
        kind = "OOF" if code in ("AA", "BB") else "OOP"
        options = exchange.family(row, kind, 10.0, valuation="FUT" if code == "DD" else "EQTY")
        exchange.rows["families"].columns["currency"][options] = values.get("currency", "USD")
        for month in series:
            future = "202606" if month == "202605" else "202609"
            under = {"underlying_period": future} if kind == "OOF" else {}
            period = exchange.period(options, month, scan, vol=0.2, **under)
            if code == "AA":
                exchange.rows["periods"].columns["delta_scale"][period] = 0.5
            for strike in strikes:
                for right, sign in (("C", 1.0), ("P", -1.0)):
                    delta = float(np.round(random.uniform(0.1, 0.9) * sign, 4))
                    losses = np.round(option_losses(scan, delta, scan / 9), 3)
                    exchange.contract(period, losses, delta, float(random.integers(1, 9)), right, strike, vol=0.2)
    aa, bb = rows["AA"], rows["BB"]
    exchange.spread("intra", [("AA", "202603", "A", 1), ("AA", "202606", "B", 1)], 11.0, commodity=aa)
    exchange.spread("intra", [("AA", 1, "A", 1), ("AA", 2, "B", 2), ("AA", 3, "A", 1)], 7.0, commodity=aa)
    exchange.spread("intra", [("AA", 1, "A", 1), ("AA", 1, "B", 1)], 5.0, commodity=aa)
    exchange.spread("intra", [("AA", 0, "A", 1), ("AA", 0, "B", 1)], 0.3, "W", commodity=aa)
    exchange.spread("intra", [("BB", 1, "A", 2), ("BB", 3, "B", 3)], 3.0, commodity=bb)
    exchange.spread("intra", [("CC", 0, "A", 1), ("CC", 0, "B", 1)], 13.0, commodity=rows["CC"])
    exchange.add("spot_rates", commodity_idx=aa, rate=1, period="202603", spread=2.0, outright=9.0)
    exchange.add("spot_rates", commodity_idx=bb, rate=1, period="202606", spread=0.5, outright=0.25)
    exchange.spread("super", [("AA", 0, "A", 3), ("CC", 0, "B", 2)], 0.4, "W")
    exchange.spread("inter", [("AA", 1, "A", 1, 0.45), ("BB", 2, "B", 2, 0.55)], 0.5, "W")
    exchange.spread("inter", [("AA", 0, "A", 1), ("BB", 0, "B", 1.5), ("CC", 0, "B", 0.5)], 0.6, "W")
    exchange.spread("inter", [("CC", 0, "A", 1), ("DD", 0, "B", 1)], -4.0, "F")
    exchange.spread("inter", [("BB", 0, "A", 1), ("DD", 0, "A", 1)], 1.5, "F")
    exchange.spread("inter", [("DD", 1, "", 1), ("BB", 0, "", 1), ("CC", 0, "", 1)], 0.7, kind="scan")
    exchange.add("tiers", commodity_idx=aa, purpose="scan", number=1, start="202603", end="202606")
    exchange.add("tiers", commodity_idx=aa, purpose="scan", number=2, start="202609", end="202609")
    exchange.add("tiers", commodity_idx=aa, purpose="scan", number=3, start="202612", end="202612")
    tier = exchange.rows["tiers"].columns
    for row in [r for r, p in enumerate(tier["purpose"]) if p == "som" and tier["commodity_idx"][r] == bb]:
        tier["start"][row], tier["end"][row], tier["number"][row] = "202601", "202606", 1
    second = exchange.add("tiers", commodity_idx=bb, purpose="som", number=2, start="202607")
    exchange.add("tier_rates", tier_idx=second, rate=1, value=35.0)
    return exchange.built(**head)
