"""A positional SPAN file made up for tests, written field by field from the layout."""

from __future__ import annotations

from typing import Any

from portfolio_margin.io.span_layout import RECORDS
from tests.portfolio_margin.span_examples import future_losses

KEY = {"exchange": "EXC", "underlying_product": "ZC"}


def line(record: str, /, **values: Any) -> str:
    """One record: texts as they are, numbers with their implied decimals, signs from the number before them."""
    layout = RECORDS[record]
    characters = [" "] * max(field.last for field in layout.values())
    characters[:2] = f"{record:<2}"
    for name, value in values.items():
        field = layout[name]
        width = field.last - field.first + 1
        if field.kind == "N":
            text = f"{round(abs(value) * 10**field.decimals):0{width}d}"
            sign = layout.get(f"{name}_sign")
            if sign is not None:
                characters[sign.first - 1] = "-" if value < 0 else "+"
        else:
            text = f"{value:<{width}}"
        assert len(text) == width, (record, name, value)
        characters[field.first - 1 : field.last] = text
    return "".join(characters).rstrip()


def contract(kind: str, losses: Any, delta: float, settlement: float, wide: bool = False, **key: Any) -> list[str]:
    """The two records of one contract."""
    first, second = ("83", "84") if wide else ("81", "82")
    values = [float(value) for value in losses]
    key = {**KEY, "product": "ZC", "kind": kind, **key}
    front = {f"value_{n}": values[n - 1] for n in range(1, 10)}
    back = {f"value_{n}": values[n - 1] for n in range(10, 17)}
    tail = {"composite_delta": delta, "current_delta": delta, "implied_vol": 0.25, "settlement": settlement}
    return [line(first, **key, **front), line(second, **key, **back, **tail)]


def lines(wide: bool = False) -> list[str]:
    """Two futures and a call and a put on the nearer one, with every record that the reader takes; a commodity
    without contracts that a scanning spread has as its target."""
    scan = 800.0
    futures = [contract("FUT", future_losses(scan).round(), 1.0, 3757.0 + n, wide, future_month=month)
               for n, month in enumerate(("202603", "202605"))]  # fmt: skip
    option = {"future_month": "202603", "option_month": "202602", "strike": 380.0}
    call = contract("OOF", (future_losses(scan) * 0.4 - 13).round(), 0.4, 12.0, wide, right="C", **option)
    put = contract("OOF", (future_losses(scan) * -0.6 - 13).round(), -0.6, 17.0, wide, right="P", **option)
    product = {"exchange": "EXC", "product": "ZC", "currency": "USD", "strike_decimals": 0, "quote_method": "STD"}
    parameters = {"exchange": "EXC", "product": "ZC", "extreme_multiplier": 2.0, "extreme_cover": 0.35,
                  "look_ahead": 0.004, "underlying_product": "ZC", "price_scan": scan, "vol_scan": 25.0,
                  "vol_scan_quote": "P", "delta_scale": 1.0}  # fmt: skip
    return [
        line("0", complex="CME", date="20260102", settle_flag="S", file_id="F", created="202601021814", format="U2",
             limit_option_value="Y", gross_net="N"),
        line("T", from_currency="EUR", to_currency="USD", rate=1.25),
        line("1", exchange="EXC", code="01"),
        line("P", **product, kind="FUT", name="CORN", settle_decimals=3, settle_alignment="0", value_factor=50.0,
             value_factor_exponent=2, valuation="FUT", settlement="DELIV"),
        line("P", **product, kind="OOF", name="CORN OPTIONS", settle_decimals=2, value_factor=50.0,
             value_factor_exponent=0, exercise="AMER", valuation="EQTY", settlement="DELIV"),
        line("2", exchange="EXC", cc="C", risk_exponent=1, currency="USD", option_style="P", limit_option_value="N",
             product_1="ZC", kind_1="FUT", decimals_1=1, product_2="ZC", kind_2="OOF", decimals_2=1),
        line("3", cc="C", method="10", ratio_member=1.0, ratio_hedger=1.1, ratio_speculator=1.35, number_1=1,
             start_1="202603", end_1="202603", number_2=2, start_2="202605", end_2="202612"),
        line("S", cc="C", method="20", count=1, weighted_price_risk="2", number_1=1, start_1="202603",
             end_1="202612"),
        line("4", cc="C", method="10", month_1="202603", spread_1=15, outright_1=20, som_rate=7,
             adjustment_member=1.0, adjustment_hedger=0.9, adjustment_speculator=1.0, som_method="2"),
        line("C", cc="C", method="10", priority=2, legs=2, charge=100, tier_1=1, ratio_1=1, side_1="A", tier_2=2,
             ratio_2=1, side_2="B"),
        line("E", cc="C", priority=1, charge=250, month_1="2603", ratio_1=1.0, side_1="A", month_2="2605",
             ratio_2=1.0, side_2="B"),
        line("B", **parameters, kind="FUT", future_month="202603", base_vol=0.0, years=0.2, expiry="20260313"),
        line("B", **parameters, kind="FUT", future_month="202605", base_vol=0.0, years=0.36, expiry="20260514"),
        line("B", **parameters, kind="OOF", future_month="202603", option_month="202602", base_vol=0.25, years=0.12,
             rate=0.03, expiry="20260213", model="B2"),
        line("5", group="ALL", cc_1="C"),
        line("6", group="ALL", priority=1, credit=55.0, exchange_1="EXC", required_1=" ", cc_1="C", ratio_1=1.0,
             side_1="A", exchange_2="EXC", cc_2="C", ratio_2=2.0, side_2="B", method="01"),
        line("6", group="ALL", priority=2, credit=98.0, exchange_1="EXC", required_1="N", cc_1="C", ratio_1=1.0,
             side_1="A", method="04", target_exchange="EXC", target_required="N", target_cc="D", target_ratio=1.0,
             legs_required=1),
        "V EXCGA        202606",
        line("2", exchange="EXC", cc="D", risk_exponent=0, currency="USD", option_style="P", limit_option_value="N"),
        line("3", cc="D", method="00"),
        line("4", cc="D", method="00"),
        *(row for pair in (*futures, call, put) for row in pair),
    ]  # fmt: skip
