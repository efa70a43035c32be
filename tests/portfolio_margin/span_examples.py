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
            "settlement_date": f"{period[:6]}15", "years": years, "delta_scale": 1.0, "underlying_exchange": "EX",
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
        number = str(sum(s == scope for s in self.rows["spreads"].columns["scope"]) + 1)
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
            losses = np.round(random.normal(0.0, scan, (strikes, 2, 16)), 2)
            deltas = np.round(random.uniform(0, 1, strikes), 4)
            prices = np.round(random.uniform(0, scan, (strikes, 2)), 2)
            for strike in range(strikes):
                for side, right in enumerate("CP"):
                    delta = float(deltas[strike]) - side
                    exchange.contract(
                        period, losses[strike, side], delta, float(prices[strike, side]), right, 50.0 * (strike + 1),
                        vol=0.2,
                    )  # fmt: skip
    return exchange.built()
