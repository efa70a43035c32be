"""Published SPAN numbers: teaching examples, brokers' cross-checks, and what a clearing house's files print."""

from __future__ import annotations

import json
import math
from array import array
from typing import Any

import numpy as np
import pandas as pd
import pytest

from portfolio_margin.io.span_pa2 import settlement_price
from portfolio_margin.io.span_records import decode, read_lines
from portfolio_margin.models import span
from portfolio_margin.span.file_arrays import file_arrays
from portfolio_margin.span.recompute import recompute
from portfolio_margin.span.rules import rules_of
from portfolio_margin.span.scan import scan_risk
from pricing import implied_vol
from scenarios.families.span import price_scan_share
from tests.portfolio_margin.span_examples import MOVES, PAIRS, WEIGHTS, Exchange
from tests.portfolio_margin.test_span import book_of, risk_of
from tests.vectors import data_file, worked_examples

reference = pytest.mark.reference
data = pytest.mark.data
PAIRED = np.array(PAIRS) - 1


def expected_values() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(data_file("span/span_expected_values.json").read_text(encoding="utf-8"))
    return content


def credited(legs: list[tuple[float, int, float]]) -> tuple[float, float]:
    """Scan risk before credits and risk after them of futures with these scan ranges, counts and credit rates."""
    exchange = Exchange()
    held, spread = {}, []
    for number, (margin, count, credit) in enumerate(legs):
        family = exchange.family(exchange.commodity(f"C{number}"), "FUT")
        row = exchange.future(family, "202603", 100.0, margin)
        held[row] = float(count if number else -count)
        spread.append((f"C{number}", 0, "B" if number else "A", count, credit))
    exchange.spread("inter", spread, 0.0, "W")
    file = exchange.built()
    made = file_arrays(file)
    risk, _ = risk_of([held], rules_of(file, made.arrays), made)
    return float(risk.scan.sum()), float(risk.risk.sum())


@reference
@pytest.mark.parametrize("system", ["plain", "leg-specific"])
def test_inter_commodity_credits(system: str, report_vectors: Any) -> None:
    examples = (
        worked_examples("SPAN inter-commodity credit")
        if system == "plain"
        else worked_examples("SPAN inter-commodity credit, leg-specific rates")
    )
    errors = []
    for example in examples:
        gross, net = credited([(leg["margin"], leg["n"], leg["credit"]) for leg in example["inputs"]["legs"]])
        errors += [abs(gross - example["expected"]["gross"]), abs(net - example["expected"]["net"])]
        assert max(errors) < example["tolerance"]["abs"]
    report_vectors(len(errors), max(errors), "USD")


@reference
def test_nse_price_scan_range(report_vectors: Any) -> None:
    errors = []
    for example in worked_examples("NSE price scan range"):
        i = example["inputs"]
        ours = price_scan_share(i["sigma"], i["mult"], i["horizon_days"], i["floor"])
        errors.append(abs(ours - example["expected"]["psr_pct"]))
        assert price_scan_share(0.0, i["mult"], i["horizon_days"], i["floor"]) == i["floor"]
        assert errors[-1] < example["tolerance"]["abs"]
    report_vectors(len(errors), max(errors))


def nse_requirement(price: float, scan: float, value: float, spot: float, lot: float, rate: float,
                    option: bool) -> tuple[float, float, float]:  # fmt: skip
    """SPAN requirement less option value, exposure margin and their sum, of one lot."""
    exchange = Exchange()
    nifty = exchange.commodity("NIFTY")
    cash = exchange.family(nifty, "PHY")
    exchange.contract(exchange.period(cash, "00000S", 0.0), np.zeros(16), 1.0, spot)
    if option:
        period = exchange.period(exchange.family(nifty, "OOP"), "20260630", scan, underlying_family_id=1)
        exchange.contract(period, np.full(16, -scan / lot), 0.5, value / lot, "C", 23_700.0)
    else:
        exchange.future(exchange.family(nifty, "FUT"), "20260630", price, scan / lot)
    file = exchange.built()
    made = file_arrays(file)
    held = {1: -lot if option else lot}
    risk, total = risk_of([held], rules_of(file, made.arrays), made)
    model = span.Model(span.Params(exposure_by_commodity={"NIFTY": rate}), file=file)
    required = model.requirement(book_of([held], made), made.arrays)
    exposure = float(required.charges["exposure"][0, 0])
    in_equity = float(required.initial[0]) - float(total.option_value[0, 0])
    assert risk.exposure[0, 0] * rate == pytest.approx(exposure, abs=1e-5)
    return float(total.requirement[0, 1]), exposure, in_equity


@reference
def test_nse_future_with_exposure_margin(report_vectors: Any) -> None:
    (example,) = worked_examples("NSE SPAN + exposure")
    i, expected = example["inputs"], example["expected"]
    price = expected["implied_future_price"]
    required, exposure, total = nse_requirement(price, i["span"], 0.0, price, i["lot"], i["elm_rate"], False)
    errors = [abs(required - i["span"]), abs(exposure - expected["exposure"]), abs(total - expected["total"])]
    report_vectors(3, max(errors), "INR")
    assert max(errors) < example["tolerance"]["abs"]


@reference
def test_nse_short_call_with_net_option_value(report_vectors: Any) -> None:
    (example,) = worked_examples("NSE SPAN with net option value")
    i, expected = example["inputs"], example["expected"]
    required, exposure, total = nse_requirement(
        0.0, i["scan_risk"], -i["net_option_value"], i["spot"], i["lot"], i["elm_rate"], True
    )
    errors = [abs(required - expected["span"]), abs(exposure - expected["exposure"]), abs(total - expected["total"])]
    report_vectors(3, max(errors), "INR")
    assert max(errors) < example["tolerance"]["abs"]


@data
def test_broker_cross_check_of_nse(report_vectors: Any) -> None:
    check = expected_values()["nse_broker_crosscheck_20260529"]
    future, call = check["future_1lot_65_units_long"], check["short_23700_call_20260630_1lot"]
    spot, errors = check["spot_settlement_file"], []
    price = future["exposure_2pct"] / 0.02 / 65
    required, exposure, total = nse_requirement(price, future["span_from_broker"], 0.0, spot, 65, 0.02, False)
    errors += [abs(exposure - future["exposure_2pct"]), abs(total - future["total_broker"])]
    scan = call["span_from_settlement_file"] - call["premium"]
    required, exposure, _ = nse_requirement(0.0, scan, call["premium"], spot, 65, 0.02, True)
    errors += [abs(required - call["span_from_settlement_file"]), abs(exposure - call["exposure_file"])]
    report_vectors(len(errors), max(errors), "INR")
    assert max(errors) < 1.0


@data
def test_nse_future_array(report_vectors: Any) -> None:
    """The shock is on the spot and carried to the future, which rolls down over the look-ahead.

    Checked here: the array is moves and weights of the 16 scenarios, and its scan risk is the largest loss.
    """
    case = expected_values()["nse_nifty_future_20260630_file_20260625_i1"]
    array = np.array(case["risk_array_inr_per_unit_long_loss_positive"])
    roll, scan = array[0], (array[12] - array[10]) / 2
    ours = WEIGHTS * (roll - MOVES * scan)
    report_vectors(16, float(np.abs(ours - array).max()), "INR")
    assert np.abs(ours - array).max() < 0.011
    assert scan / case["price_scan"] == pytest.approx(1.000727, abs=1e-5)
    found = scan_risk(array[None], PAIRED)
    assert found.risk[0] == 2244.36 and found.time[0] == 8.72 and found.volatility[0] == 0.0


@data
def test_nse_calendar_spread_charge(report_vectors: Any) -> None:
    """A flat charge per unit of spread between two expiries, on top of what is left to scan."""
    charges = expected_values()["nse_nifty_calendar_spread_charge_20260625"]
    errors = []
    for name in ("NIFTY", "BANKNIFTY"):
        exchange = Exchange()
        row = exchange.commodity(name)
        family = exchange.family(row, "FUT")
        near, far = (exchange.future(family, month, 24_000.0, 2_234.01) for month in ("20260630", "20260728"))
        charge = charges[f"{name}_inr_per_unit_spread"]
        exchange.spread("intra", [(name, "20260630", "A", 1), (name, "20260728", "B", 1)], charge,
                        charges["charge_method"][0], commodity=row)  # fmt: skip
        file = exchange.built()
        made = file_arrays(file)
        for sign in (1, -1):
            risk, _ = risk_of([{near: 65.0 * sign, far: -65.0 * sign}], rules_of(file, made.arrays), made)
            errors.append(abs(float(risk.risk[0, 0]) - 65 * charge))
            assert risk.minimum[0, 0] == charges["som_rate"]
    report_vectors(len(errors), max(errors), "INR")
    assert max(errors) < 1e-6


def takasbank_option(case: dict[str, Any], right: str) -> np.ndarray:
    """Sixteen gains of a short option by our recomputation, without passing of time."""
    exchange = Exchange()
    points = exchange.rows["scan_points"].columns
    points["price"][:] = array("d", [*MOVES[:14], 3.0, -3.0])
    points["weight"][14:] = array("d", [0.32, 0.32])
    stock = exchange.commodity("THYAO")
    cash = exchange.family(stock, "PHY")
    exchange.contract(exchange.period(cash, "00000S", 0.0), np.zeros(16), 1.0, case["spot"])
    scan = case["spot"] * case["price_scan_fraction"] * case["contract_size"]
    options = exchange.family(stock, "OOP", case["contract_size"])
    period = exchange.period(options, "202609", scan, case["t_years"], rate=case["rate"], underlying_family_id=1)
    rates = exchange.rows["scan_rates"].columns
    rates["vol_scan_relative"][-1], rates["vol_scan"][-1] = case["vol_scan_relative"], math.nan
    exchange.contract(period, np.zeros(16), 0.5, 20.0, right, case["strike"], vol=case["vol"])
    found = recompute(exchange.built(), look_ahead=0.0)
    return case["position"] * -found.loss[-1]


@data
def test_takasbank_option_scenarios(report_vectors: Any) -> None:
    case = expected_values()["takasbank_thyao_option_16_scenarios"]
    errors = [
        float(np.abs(takasbank_option(case, right) - case[name]).max())
        for right, name in (("C", "pnl_short_call"), ("P", "pnl_short_put"))
    ]
    report_vectors(32, max(errors), "TRY")
    assert max(errors) < 1e-4


@data
def test_takasbank_future_and_requirement(report_vectors: Any) -> None:
    """Scan risk of a future is its scan range; a requirement is the risk less the option value, which is owed."""
    values = expected_values()
    future = values["takasbank_aefes_future_20260831"]
    scan = future["price"] * future["price_scan_fraction"] * future["contract_size"]
    moves = np.append(MOVES[:14], [future["extreme_multiplier"], -future["extreme_multiplier"]])
    weights = np.append(np.ones(14), np.full(2, future["extreme_cover"]))
    found = scan_risk((-moves * weights * scan)[None], PAIRED)
    errors = [abs(float(found.risk[0]) - future["scan_risk"])]
    result = values["takasbank_thyao_pcspan_result"]
    exchange = Exchange()
    stock = exchange.commodity("THYAO")
    period = exchange.period(exchange.family(stock, "OOP", 100.0), "20260930", 4_040.0)
    price = -result["available_net_option_value"] / 100.0
    exchange.contract(period, np.full(16, -float(result["span_risk"])), 0.5, price, "C", 300.0)
    file = exchange.built()
    made = file_arrays(file)
    risk, total = risk_of([{0: -1.0}], rules_of(file, made.arrays), made)
    errors += [abs(float(risk.risk[0, 0]) - result["span_risk"]),
               abs(float(total.requirement[0, 1]) - result["total_requirement"])]  # fmt: skip
    report_vectors(3, max(errors), "TRY")
    assert max(errors) < 1e-9


@data
def test_genuine_cme_records(report_vectors: Any) -> None:
    """Arrays of futures follow from the scan ranges of the same files; settlements decode to the printed prices."""
    case = expected_values()["cme_20190102"]
    path = data_file("span/pa2_real_records.txt")
    lines = read_lines(path)
    name = str(path)
    first, second = decode(name, lines, "81"), decode(name, lines, "82")
    ranges = {"ES": case["ES_price_scan"], "21": case["ZN_price_scan"], "C": case["ZC_price_scan"], "06": 1700.0}
    moves = np.append(MOVES[:14], [3.0, -3.0])
    weights = np.append(np.ones(14), [0.33, 0.33])
    errors, count = [], 0
    for records, numbers in ((first, range(1, 10)), (second, range(10, 17))):
        for row, product in enumerate(records.columns["product"]):
            losses = -moves * weights * ranges[str(product)]
            printed = np.array([records.columns[f"value_{n}"][row] for n in numbers])
            # Whole dollars, halves away from 0.
            ours = np.sign(losses) * np.floor(np.abs(losses) + 0.5)
            errors.append(np.abs(ours[numbers[0] - 1 : numbers[-1]] - printed).max())
            count += len(numbers)
    families = decode(name, lines, "P").rows()
    terms = {row["product"]: row for row in families if row["kind"] == "FUT"}
    for product, future, scale in (("ES", "ESH19", 1.0), ("21", "ZNH19", 1.0), ("C", "ZCH19", 100.0)):
        row = second.columns["product"].tolist().index(product)
        price = settlement_price(
            second.columns["settlement"][row : row + 1],
            np.array([terms[product]["settle_decimals"]]),
            np.array([terms[product]["settle_alignment"]]),
        )[0]
        errors.append(abs(price * scale - case["settlements"][future]))
        count += 1
    report_vectors(count, float(max(errors)), "USD")
    assert max(errors) < 1e-9


@data
def test_nse_banknifty_extract(report_vectors: Any) -> None:
    """Largest losses of short options, from vols implied in the same file and one scan range for all.

    The file's own vols and scan range are not in the extract, so this is no exact test.
    """
    table = pd.read_csv(data_file("span/nse_banknifty_20250808_span_extract.csv.gz"))
    table = table[(table.file == "span_01") & (table.expiry == "2025-08-28") & (table.cp != "F")]
    by_strike = {right: rows.set_index("strike").price for right, rows in table.groupby("cp")}
    both = by_strike["C"].index.intersection(by_strike["P"].index).to_numpy()
    near = both[np.argsort(np.abs(both - table.spot.iloc[0]))[:5]]
    forward = float(np.median(near + by_strike["C"][near] - by_strike["P"][near]))
    sign = np.where(table.cp == "C", 1.0, -1.0)
    years, scan = 20 / 365, 6_264.0
    vol, _ = implied_vol(table.price.to_numpy(), forward, table.strike.to_numpy(), years, sign)
    table = table.assign(vol=vol)[np.isfinite(vol)]
    exchange = Exchange()
    index = exchange.commodity("BANKNIFTY")
    cash = exchange.family(index, "PHY")
    exchange.contract(exchange.period(cash, "00000S", 0.0), np.zeros(16), 1.0, forward)
    options = exchange.family(index, "OOP")
    period = exchange.period(options, "20250828", scan, years, rate=0.0, underlying_family_id=1)
    exchange.rows["scan_rates"].columns["vol_scan"][-1] = 0.04
    for row in table.itertuples():
        exchange.contract(period, np.zeros(16), 0.5, row.price, row.cp, row.strike, vol=row.vol)
    found = recompute(exchange.built(), look_ahead=2 / 365)
    ours = -found.loss[1:].min(axis=1)
    printed = table.worst_short_loss_per_unit.to_numpy()
    far = np.abs(table.delta.to_numpy()) > 0.99
    deep = np.abs(ours[far] / printed[far] - 1)
    others = np.abs(ours[~far & (printed > 50)] / printed[~far & (printed > 50)] - 1)
    report_vectors(len(deep), float(deep.max()), "of the loss", "NSE options that are all delta")
    report_vectors(len(others), float(np.median(others)), "of the loss, median", "NSE other options")
    # A scan range or a cover fraction of another venue would be off by tens of percent.
    assert deep.max() < 0.03
    assert np.median(others) < 0.02
