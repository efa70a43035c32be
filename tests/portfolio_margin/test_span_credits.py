"""Credits between commodities: what is offset once is offset nowhere else, and tiers for scanning stay apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_margin.span.assumed import assumptions
from portfolio_margin.span.file_arrays import file_arrays
from portfolio_margin.span.rules import rules_of
from portfolio_margin.span.tables import RiskParameterFile
from tests.portfolio_margin.span_examples import Exchange
from tests.portfolio_margin.test_span import Held, check_twin, risk_of

Legs = list[tuple[Any, ...]]


class Market:
    """Futures of commodities, two months each, and spreads between them."""

    def __init__(self, scans: dict[str, float], tiered: tuple[str, ...] = (), inter: tuple[str, ...] = ()) -> None:
        self.exchange = Exchange()
        for code, scan in scans.items():
            row = self.exchange.commodity(code, tiers={1: ("202603", "202603"), 2: ("202606", "")} if code in inter
                                          else None)  # fmt: skip
            family = self.exchange.family(row, "FUT")
            for month in ("202603", "202606"):
                self.exchange.future(family, month, 1000.0, scan)
            for number, month in ((1, "202603"), (2, "202606")) if code in tiered else ():
                self.exchange.add("tiers", commodity_idx=row, purpose="scan", number=number, start=month, end=month)
        self.place = {code: 2 * n for n, code in enumerate(scans)}

    def deltas(self, first: str, second: str, rate: float, method: str = "W", tier: int = 0, scope: str = "inter"
               ) -> None:  # fmt: skip
        self.exchange.spread(scope, [(first, tier, "A", 1), (second, 0, "B", 1)], rate, method)

    def scanned(self, target: str, *legs: str, rate: float, scope: str = "inter") -> None:
        rows: Legs = [(target, 1, "", 1), *((leg, 0, "", 1) for leg in legs)]
        self.exchange.spread(scope, rows, rate, kind="scan")

    def risks(self, **months: tuple[float, float]) -> tuple[list[float], list[float]]:
        """Risk of every commodity with credits, and its scan risk, of quantities of the two months."""
        file = self.exchange.built()
        made = file_arrays(file)
        held = {self.place[code] + n: q for code, pair in months.items() for n, q in enumerate(pair) if q}
        risk, _ = risk_of([held], rules_of(file, made.arrays), made)
        return risk.risk[:, 0].tolist(), risk.scan[:, 0].tolist()


@pytest.mark.parametrize("rate", [0.0, 0.5, 0.98])
@pytest.mark.parametrize(("target", "leg"), [("C", "D"), ("D", "C")])
def test_months_that_are_scanned_apart_stay_apart(rate: float, target: str, leg: str) -> None:
    """11 near against 10 far are 21 scan ranges; one future of another commodity sets none of them off."""
    market = Market({"C": 800.0, "D": 10.0}, tiered=("C",))
    market.scanned(target, leg, rate=rate)
    risk, scan = market.risks(C=(11, -10), D=(1, 0))
    assert sum(scan) == 21 * 800.0 + 10.0
    assert sum(risk) == pytest.approx(sum(scan))


def test_a_commodity_without_tiers_joins_the_tier_that_it_helps_least() -> None:
    """Short 4 of D gain where the near month loses and lose where the far one does: that is where they count."""
    market = Market({"C": 800.0, "D": 100.0}, tiered=("C",))
    market.scanned("C", "D", rate=0.9)
    risk, _ = market.risks(C=(11, -10), D=(-4, 0))
    assert sum(risk) == pytest.approx(21 * 800.0 + 400.0)
    risk, _ = market.risks(C=(11, 10), D=(-4, 0))
    assert sum(risk) == pytest.approx(21 * 800.0 - 0.9 * 400.0)


def test_tiers_of_one_number_are_scanned_together() -> None:
    market = Market({"C": 800.0, "D": 500.0}, tiered=("C", "D"))
    market.scanned("C", "D", rate=0.9)
    risk, _ = market.risks(C=(10, -10), D=(-10, 10))
    assert risk == pytest.approx([2 * (8_000.0 - 0.9 * 5_000.0), 0.0])
    risk, scan = market.risks(C=(10, 0), D=(0, -10))
    assert risk == pytest.approx([13_000.0, 0.0]) and scan == [8_000.0, 5_000.0]


def test_a_credit_of_nothing_is_none() -> None:
    """Also where the two lose in opposite scenarios, of which a joint scan would count one."""
    market = Market({"C": 800.0, "D": 500.0})
    market.scanned("C", "D", rate=0.0)
    assert market.risks(C=(10, 0), D=(-10, 0))[0] == [8_000.0, 5_000.0]


def told(*spreads: tuple[str, str, float]) -> list[str]:
    market = Market({"C": 800.0, "D": 10.0, "E": 700.0})
    for first, second, rate in spreads:
        market.deltas(first, second, rate)
    return [note for note in assumptions(market.exchange.built()) if "credits between" in note]


def test_credits_of_more_than_the_scenarios_set_off_are_told() -> None:
    """C and D one to one lose 790 where both fall by their range: margined with 405 at 50 %, with 794 at 2 %."""
    assert told(("C", "E", 0.9), ("C", "D", 0.02)) == []
    (note,) = told(("C", "E", 0.9), ("C", "D", 0.5))
    assert note.endswith("as the file states them: inter 2 (C and D)")
    # 100 of 1,500 are lost together.
    assert len(told(("C", "E", 0.94))) == 1 and told(("C", "E", 0.93)) == []


SCANNED, PAIRED = 8_000.0 - 0.98 * 5_000.0, 0.5 * 13_000.0


@pytest.mark.parametrize("scope", ["inter", "super"])
def test_one_position_is_credited_once(scope: str) -> None:
    """Scanned together first, nothing is left to pair; paired first, nothing is left to scan."""
    for first, expected in (("scan", SCANNED), ("deltas", PAIRED)):
        market = Market({"C": 800.0, "D": 500.0})
        for kind in (first, "deltas" if first == "scan" else "scan"):
            where = scope if kind == first else "inter"
            if kind == "scan":
                market.scanned("C", "D", rate=0.98, scope=where)
            else:
                market.deltas("C", "D", 0.5, scope=where)
        assert sum(market.risks(C=(10, 0), D=(-10, 0))[0]) == pytest.approx(expected)


def test_what_deltas_leave_is_scanned() -> None:
    """4 of 10 are paired with E at 50 %; of the losses of the other 6 the gains of D count."""
    market = Market({"C": 800.0, "D": 500.0, "E": 200.0})
    market.deltas("C", "E", 0.5)
    market.scanned("C", "D", rate=0.98)
    risk, _ = market.risks(C=(10, 0), D=(-10, 0), E=(-4, 0))
    paired = 0.5 * 4 * 800.0
    # All of D may be set against the rest of C.
    rest = max(6 * 800.0 - 0.98 * 5_000.0, 5_000.0 - 0.98 * 6 * 800.0)
    assert risk == pytest.approx([paired + rest, 0.0, 0.5 * 4 * 200.0])


def test_tier_credits_are_of_the_risk_that_is_scanned() -> None:
    """10 near against 9 far lose 800 in a scan: deltas of the near month alone would be credited 3,200."""
    market = Market({"C": 800.0, "D": 10.0}, inter=("C",))
    market.deltas("C", "D", 0.5, tier=1)
    risk, scan = market.risks(C=(10, -9), D=(-8, 0))
    assert scan == [800.0, 80.0]
    assert risk == pytest.approx([400.0, 40.0])


def test_credits_pay_for_no_charge() -> None:
    """The price risk of deltas may be more than the scan risk, where that is the scan range by the method."""
    market = Market({"C": 800.0, "D": 10.0}, inter=("C",))
    market.exchange.rows["commodities"].columns["weighted_price_risk_method"][0] = "SCANRANGE"
    market.exchange.spread("intra", [("C", 0, "A", 1), ("C", 0, "B", 1)], 30.0, commodity=0)
    market.deltas("C", "D", 1.0)
    assert market.risks(C=(10, -9), D=(-1, 0))[0] == pytest.approx([9 * 30.0, 0.0])


@pytest.mark.parametrize(("rate", "expected"), [(100.0, 13_000 - 1_000.0), (1e6, 0.0), (-100.0, 13_000 + 1_000.0)])
def test_money_between_commodities_is_a_credit_up_to_the_risk(rate: float, expected: float) -> None:
    """Ten spreads, half of the money to each; a charge where it is below 0."""
    market = Market({"C": 800.0, "D": 500.0})
    market.deltas("C", "D", rate, "F")
    assert sum(market.risks(C=(10, 0), D=(-10, 0))[0]) == pytest.approx(expected)


def mixed() -> RiskParameterFile:
    """Spreads of every kind on the same commodities, before and behind each other."""
    market = Market({"C": 800.0, "D": 500.0, "E": 300.0, "G": 70.0}, tiered=("C", "E"), inter=("C", "D", "E"))
    market.deltas("D", "G", 0.3, scope="super")
    market.deltas("C", "D", 0.45, tier=1)
    market.scanned("E", "G", rate=0.7)
    market.deltas("C", "E", 0.6)
    market.scanned("C", "E", "D", rate=0.9)
    market.deltas("D", "C", 0.5, tier=2)
    market.deltas("D", "G", 40.0, "F")
    market.scanned("G", "D", rate=0.8)
    return market.exchange.built()


MIXED = mixed()
positions = st.dictionaries(st.integers(0, 7), st.integers(-40, 40), max_size=8)


@settings(max_examples=150, deadline=None)
@given(positions, st.sampled_from(["nearest", "proportional"]))
def test_spreads_on_the_same_commodities_are_their_naive_twin(held: Held, attribution: str) -> None:
    check_twin(MIXED, held, attribution, exponent=False)


@settings(max_examples=100, deadline=None)
@given(positions, st.integers(2, 9))
def test_credits_are_shares_of_the_scan_risk(held: Held, factor: int) -> None:
    made = file_arrays(MIXED)
    rules = rules_of(MIXED, made.arrays)
    risk, _ = risk_of([held, {c: factor * q for c, q in held.items()}], rules, made)
    credit = risk.super_credit + risk.inter_credit
    assert np.all(credit <= risk.scan + 1e-9)
    assert np.all(credit.sum(axis=0) >= -1e-9)
    np.testing.assert_allclose(risk.risk[:, 1], factor * risk.risk[:, 0], rtol=1e-9, atol=1e-6)
