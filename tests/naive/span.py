"""The SPAN requirement of one account in plain Python: loops over the tables of the file, following the rule's text.

Only for maintenance and initial factors of the simplest kind: the file's adjustments are applied by the caller.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

FUTURES = ("FUT", "FWD")
OPTIONS = ("OOP", "OOF", "OOE", "OOC")


class Account:
    """One account: positions by row of the contracts table, + long."""

    def __init__(
        self, file: Any, held: dict[int, float], fx: dict[str, float], attribution: str = "nearest",
        exponent: bool = False,
    ) -> None:  # fmt: skip
        self.file, self.held, self.fx, self.attribution = file, held, fx, attribution
        self.exponent = [int(e) if exponent else 0 for e in file.commodities.risk_exponent]
        self.codes = [str(c) for c in file.commodities.code]
        self.commodity_of_family = {
            int(f): int(c) for c, f in zip(file.links.commodity_idx, file.links.family_idx, strict=True)
        }
        self.results: dict[str, dict[str, float]] = {code: defaultdict(float) for code in self.codes}
        self.losses = {code: [0.0] * 16 for code in self.codes}
        self.deltas: dict[tuple[str, str], float] = defaultdict(float)
        self.period_losses: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0] * 16)

    # what a contract is

    def family(self, contract: int) -> int:
        return int(self.file.periods.family_idx[self.file.contracts.period_idx[contract]])

    def kind(self, contract: int) -> str:
        return str(self.file.families.kind[self.family(contract)])

    def code(self, contract: int) -> str:
        return self.codes[self.commodity_of_family[self.family(contract)]]

    def money(self, code: str) -> float:
        row = self.codes.index(code)
        return self.fx[str(self.file.commodities.currency[row])] * 10.0 ** (self.exponent[row])

    def delta_period(self, contract: int) -> str:
        period = int(self.file.contracts.period_idx[contract])
        future = str(self.file.periods.underlying_period[period])
        return future if self.kind(contract) in OPTIONS and future else str(self.file.periods.period[period])

    def array(self, contract: int) -> int:
        for row in range(len(self.file.arrays)):
            if self.file.arrays.contract_idx[row] == contract and self.file.arrays.rate[row] == 1:
                return row
        raise AssertionError("no array")

    def delta_scale(self, contract: int) -> float:
        own = float(self.file.contracts.delta_scale[contract])
        period = float(self.file.periods.delta_scale[self.file.contracts.period_idx[contract]])
        scale = own if own == own else period if period == period else 1.0
        family = self.family(contract)
        for row in range(len(self.file.links)):
            if self.file.links.family_idx[row] == family:
                scale *= float(self.file.links.delta_scale[row])
        return scale

    def factor(self, contract: int) -> float:
        period = int(self.file.contracts.period_idx[contract])
        for value in (
            float(self.file.contracts.contract_value_factor[contract]),
            float(self.file.periods.contract_value_factor[period]),
            float(self.file.families.contract_value_factor[self.family(contract)]),
        ):
            if value > 0:
                return value
        return 1.0

    # the algorithm

    def computed(self) -> dict[str, dict[str, float]]:
        self.scan()
        self.left = dict(self.deltas)
        self.open_positions()
        self.credits("super", "super_credit")
        self.remaining = dict(self.left)
        self.used: dict[tuple[str, str], float] = defaultdict(float)
        self.intra()
        self.delivery()
        self.credits("inter", "inter_credit")
        self.minimum()
        for result in self.results.values():
            # A credit is of the scanned risk: it pays for no charge.
            result["super_credit"] = min(result["super_credit"], result["scan"])
            result["inter_credit"] = min(result["inter_credit"], result["scan"] - result["super_credit"])
            credit = result["super_credit"] + result["inter_credit"]
            result["risk"] = max(result["scan"] + result["intra"] + result["delivery"] - credit, result["minimum"])
        return self.results

    def scan(self) -> None:
        for contract, quantity in self.held.items():
            code, row = self.code(contract), self.array(contract)
            period = self.delta_period(contract)
            for n in range(16):
                loss = quantity * float(self.file.arrays.loss[row, n]) * self.money(code)
                self.losses[code][n] += loss
                self.period_losses[code, period][n] += loss
            delta = float(self.file.arrays.composite_delta[row]) * self.delta_scale(contract)
            self.deltas[code, period] += quantity * delta
            if self.kind(contract) in OPTIONS and str(self.file.families.valuation[self.family(contract)]) == "EQTY":
                value = quantity * float(self.file.contracts.price[contract]) * self.factor(contract)
                currency = str(self.file.families.currency[self.family(contract)])
                self.results[code]["option_value"] += value * self.fx[currency]
        for code in self.codes:
            # Arrays are printed in millionths, so that sums that are equal are so to the last digit.
            self.losses[code] = [round(loss, 6) for loss in self.losses[code]]
            net = sum(delta for (c, _), delta in self.deltas.items() if c == code)
            parts = self.risk_parts(code, self.losses[code], net)
            self.results[code].update(parts, net_delta=net)
            self.results[code]["scan"] = self.scan_of_tiers(code, parts["scan"])

    def scan_parts(self, code: str) -> dict[int, list[str]]:
        """Periods by the number of the tier for scanning that they are in; {} where the commodity is scanned as one."""
        tiers = self.file.tiers
        rows = [r for r in range(len(tiers)) if tiers.purpose[r] == "scan" and tiers.number[r] > 0
                and tiers.commodity_idx[r] == self.codes.index(code)]  # fmt: skip
        known = self.known_periods(code) if rows else set()
        parts: dict[int, list[str]] = defaultdict(list)
        for period in known:
            inside = [r for r in rows if (not tiers.start[r] or period[: len(tiers.start[r])] >= tiers.start[r])
                      and (not tiers.end[r] or period[: len(tiers.end[r])] <= tiers.end[r])]  # fmt: skip
            parts[int(tiers.number[inside[0]])].append(period)
        return parts if len(parts) > 1 else {}

    def losses_in(self, code: str, periods: list[str]) -> list[float]:
        losses = [self.period_losses[code, p] for p in periods if (code, p) in self.period_losses]
        return [sum(loss[n] for loss in losses) for n in range(16)]

    def scan_of_tiers(self, code: str, together: float) -> float:
        """Tiers for scanning are scanned apart, and the risks add up."""
        parts = self.scan_parts(code)
        return sum(max(*self.losses_in(code, mine), 0.0) for mine in parts.values()) if parts else together

    def pair(self, code: str, scenario: int) -> int:
        points = self.file.scan_points
        own = [r for r in range(len(points)) if points.commodity_idx[r] == self.codes.index(code)]
        rows = own or [r for r in range(len(points)) if points.commodity_idx[r] == -1]
        return int(points.paired[rows[scenario]]) - 1

    def risk_parts(self, code: str, loss: list[float], net: float) -> dict[str, float]:
        worst = max(loss)
        active = loss.index(worst)
        time = (loss[0] + loss[1]) / 2
        if worst < 0:
            scan, volatility = 0.0, (loss[0] - loss[1]) / 2
        else:
            scan, volatility = worst, (worst - loss[self.pair(code, active)]) / 2
        price = scan - time - volatility
        weighted = 0.0
        if net != 0:
            weighted = max(price, 0.0) / abs(net)
            method = str(self.file.commodities.weighted_price_risk_method[self.codes.index(code)])
            if method == "SCANRANGE CAP":
                weighted = min(weighted, self.nearest_scan(code))
            if method == "SCANRANGE":
                weighted = self.nearest_scan(code)
        return {"scan": scan, "active": active, "time": time, "volatility": volatility, "price": price,
                "weighted_price": weighted}  # fmt: skip

    def nearest_scan(self, code: str) -> float:
        best: tuple[str, float] | None = None
        for contract in range(len(self.file.contracts)):
            if self.kind(contract) in FUTURES and self.code(contract) == code:
                period = int(self.file.contracts.period_idx[contract])
                for row in range(len(self.file.scan_rates)):
                    if self.file.scan_rates.period_idx[row] == period and self.file.scan_rates.rate[row] == 1:
                        name = str(self.file.periods.period[period])
                        value = float(self.file.scan_rates.price_scan[row]) / self.delta_scale(contract)
                        if best is None or name < best[0]:
                            best = (name, value * self.money(code))
        return 0.0 if best is None else best[1]

    def periods_of(self, code: str, leg: int, purposes: tuple[str, ...]) -> list[str]:
        """Periods of a leg that the account has deltas in, the nearest first."""
        legs, tiers = self.file.spread_legs, self.file.tiers
        mine = sorted({p for c, p in self.deltas if c == code})
        if legs.kind[leg] == "period":
            wanted = str(legs.period[leg])
            exact = wanted in self.known_periods(code)
            return [p for p in mine if p == wanted or (not exact and p.startswith(wanted))]
        number = int(legs.tier[leg])
        if number == 0:
            return mine
        for purpose in purposes:
            for row in range(len(tiers)):
                same = tiers.commodity_idx[row] == self.codes.index(code) and tiers.number[row] == number
                if same and tiers.purpose[row] == purpose:
                    start, end = str(tiers.start[row]), str(tiers.end[row])
                    return [p for p in mine if (not start or p[: len(start)] >= start) and
                            (not end or p[: len(end)] <= end)]  # fmt: skip
        raise AssertionError("no such tier")

    def known_periods(self, code: str) -> set[str]:
        """Every period of a commodity, held or not."""
        contracts = range(len(self.file.contracts))
        return {self.delta_period(c) for c in contracts if self.code(c) == code}

    def take(self, pool: dict[tuple[str, str], float], code: str, periods: list[str], sign: float, wanted: float
             ) -> dict[str, float]:  # fmt: skip
        """Take deltas of one sign: nearest periods first, or in proportion."""
        available = {p: max(sign * pool[code, p], 0.0) for p in periods}
        total, taken = sum(available.values()), {}
        for period in periods:
            if self.attribution == "nearest":
                amount = min(wanted, available[period])
                wanted -= amount
            else:
                amount = available[period] * min(wanted / total, 1.0) if total > 0 else 0.0
            taken[period] = amount
            pool[code, period] -= sign * amount
        return taken

    def rate(self, spread: int, leg: int = -1) -> float | None:
        table = self.file.spread_rates
        for row in range(len(table)):
            if table.spread_idx[row] == spread and table.leg[row] == leg and table.rate[row] == 1:
                return float(table.value[row])
        return None

    def legs(self, spread: int) -> list[int]:
        return [r for r in range(len(self.file.spread_legs)) if self.file.spread_legs.spread_idx[r] == spread]

    def intra(self) -> None:
        table = self.file.spread_legs
        for spread in range(len(self.file.spreads)):
            if self.file.spreads.scope[spread] != "intra":
                continue
            code = self.codes[int(self.file.spreads.commodity_idx[spread])]
            rate, method = self.rate(spread), str(self.file.spreads.charge_method[spread])
            assert rate is not None
            for direction in (1.0, -1.0):
                wanted: dict[tuple[tuple[str, ...], float], float] = defaultdict(float)
                for leg in self.legs(spread):
                    sign = direction * (1.0 if table.side[leg] == "A" else -1.0)
                    wanted[tuple(self.periods_of(code, leg, ("intra",))), sign] += float(table.ratio[leg])
                counts = []
                for (periods, sign), ratio in wanted.items():
                    counts.append(sum(max(sign * self.remaining[code, p], 0.0) for p in periods) / ratio)
                count = min(counts)
                for (periods, sign), ratio in wanted.items():
                    for period, amount in self.take(self.remaining, code, list(periods), sign, count * ratio).items():
                        self.used[code, period] += amount
                each = rate * (self.results[code]["weighted_price"] if method == "W" else self.money(code))
                self.results[code]["intra"] += count * each

    def delivery(self) -> None:
        table = self.file.spot_rates
        for row in range(len(table)):
            code = self.codes[int(table.commodity_idx[row])]
            for c, period in list(self.deltas):
                wanted = str(table.period[row])
                exact = wanted in self.known_periods(code)
                if c == code and (period == wanted or (not exact and period.startswith(wanted))):
                    left, used = abs(self.remaining[c, period]), self.used[c, period]
                    charge = left * float(table.outright[row]) + used * float(table.spread[row])
                    self.results[code]["delivery"] += charge * self.money(code)

    def credits(self, scope: str, name: str) -> None:
        for spread in range(len(self.file.spreads)):
            if self.file.spreads.scope[spread] == scope:
                if self.file.spreads.kind[spread] == "scan":
                    self.scan_credit(spread, name)
                else:
                    self.delta_credit(spread, name)

    def open_positions(self) -> None:
        """What every commodity has to offset: the risk of its price, and its losses by tier for scanning (0: one)."""
        self.together: set[str] = set()
        self.price_left: dict[str, float] = {}
        self.open_losses: dict[str, dict[int, list[float]]] = {}
        for code in self.codes:
            parts = self.scan_parts(code)
            risk = self.results[code]["weighted_price"] * abs(self.results[code]["net_delta"])
            apart = 0.0
            for periods in parts.values():
                net = sum(self.deltas.get((code, p), 0.0) for p in periods)
                apart += self.risk_parts(code, self.losses_in(code, periods), net)["weighted_price"] * abs(net)
            self.price_left[code] = max(risk, apart)
            by_tier = {number: self.losses_in(code, mine) for number, mine in parts.items()}
            self.open_losses[code] = by_tier or {0: list(self.losses[code])}

    def delta_credit(self, spread: int, name: str) -> None:
        """n spreads take n x ratio deltas of each leg, and of these the risk of price and the losses: what is offset
        here is offset nowhere else."""
        table, flat = self.file.spread_legs, str(self.file.spreads.charge_method[spread]) == "F"
        legs = self.legs(spread)
        if any(str(table.commodity[leg]) in self.together for leg in legs):
            return
        for direction in (1.0, -1.0):
            nets = []
            for leg in legs:
                code = str(table.commodity[leg])
                sign = direction * (1.0 if table.side[leg] == "A" else -1.0)
                net = sum(self.left[code, p] for p in self.periods_of(code, leg, ("inter", "scan")))
                nets.append(max(sign * net, 0.0))
            count = min(net / float(table.ratio[leg]) for net, leg in zip(nets, legs, strict=True))
            for net, leg in zip(nets, legs, strict=True) if count > 0 else ():
                code, taken = str(table.commodity[leg]), count * float(table.ratio[leg])
                sign = direction * (1.0 if table.side[leg] == "A" else -1.0)
                periods = self.periods_of(code, leg, ("inter", "scan"))
                rate = self.rate(spread, leg)
                rate = self.rate(spread) if rate is None else rate
                assert rate is not None
                offset = min(taken * self.leg_price_risk(leg, code, periods), self.price_left[code])
                self.price_left[code] -= offset
                money = count * rate * self.money(code) / len(legs)
                self.results[code][name] += min(money, offset) if flat else offset * rate
                rest = 0.0 if taken >= net * (1.0 - 1e-12) else 1.0 - taken / net
                for number, loss in self.open_losses[code].items():
                    self.open_losses[code][number] = [value * rest for value in loss]
                self.take(self.left, code, periods, sign, taken)

    def leg_price_risk(self, leg: int, code: str, periods: list[str]) -> float:
        table = self.file.spread_legs
        if table.kind[leg] == "tier" and table.tier[leg] == 0:
            return self.results[code]["weighted_price"]
        loss = self.losses_in(code, periods)
        net = sum(self.deltas[code, p] for p in periods)
        return self.risk_parts(code, loss, net)["weighted_price"]

    def scan_credit(self, spread: int, name: str) -> None:
        """Commodities scanned together, tier by tier; all that they have is offset with it."""
        table, spreads = self.file.spread_legs, self.file.spreads
        legs = self.legs(spread)
        target = next((leg for leg in legs if table.is_target[leg] == "1"), legs[0])
        others = [leg for leg in legs if leg != target]

        def held(leg: int) -> bool:
            return any(value != 0 for loss in self.open_losses[str(table.commodity[leg])].values() for value in loss)

        fewest = int(str(spreads.legs_required[spread])) if str(spreads.legs_required[spread]).isdigit() else 1
        missing = [leg for leg in others if table.is_required[leg] == "1" and not held(leg)]
        missing += [target] if spreads.target_required[spread] == "1" and not held(target) else []
        present = sum(held(leg) for leg in others)
        rates = {leg: self.rate(spread, leg) for leg in legs}
        rates = {leg: self.rate(spread) if rate is None else rate for leg, rate in rates.items()}
        if missing or present < max(fewest, 1) or present + held(target) < 2 or not any(rates.values()):
            return
        tiers: dict[int, list[float]] = {}
        untiered = [0.0] * 16
        before = 0.0
        for leg in legs:
            code, rate = str(table.commodity[leg]), rates[leg]
            assert rate is not None
            for number, loss in self.open_losses[code].items():
                risk = max(*loss, 0.0)
                self.results[code][name] += risk
                before += risk
                place = tiers.setdefault(number, [0.0] * 16) if number else untiered
                for n, value in enumerate(loss):
                    place[n] += value if value > 0 else value * rate
            self.open_losses[code] = {0: [0.0] * 16}
            self.together.add(code)
        # What has no tiers joins the one with which all together lose most.
        options = []
        for chosen in sorted(tiers) or [0]:
            joined = {n: [a + b for a, b in zip(loss, untiered, strict=True)] if n == chosen else loss
                      for n, loss in tiers.items()} or {0: untiered}  # fmt: skip
            options.append((sum(max(*loss, 0.0) for loss in joined.values()), joined))
        least = max(total for total, _ in options)
        size = max(abs(value) for value in untiered)
        merged, joined = next(option for option in options if option[0] >= least - 1e-9 * size)
        assert merged <= before + 1e-6
        code = str(table.commodity[target])
        self.results[code][name] -= merged
        self.open_losses[code] = joined

    def minimum(self) -> None:
        tiers, rates = self.file.tiers, self.file.tier_rates
        for tier in range(len(tiers)):
            if tiers.purpose[tier] != "som":
                continue
            code = self.codes[int(tiers.commodity_idx[tier])]
            rate = next((float(rates.value[r]) for r in range(len(rates)) if rates.tier_idx[r] == tier), 0.0)
            start, end = str(tiers.start[tier]), str(tiers.end[tier])
            counts = {"C": 0.0, "P": 0.0}
            for contract, quantity in self.held.items():
                period = str(self.file.periods.period[self.file.contracts.period_idx[contract]])
                inside = (not start or period[: len(start)] >= start) and (not end or period[: len(end)] <= end)
                if self.kind(contract) in OPTIONS and self.code(contract) == code and quantity < 0 and inside:
                    counts[str(self.file.contracts.right[contract])] -= quantity
            larger = str(self.file.commodities.minimum_method[self.codes.index(code)]) == "MAX"
            number = max(counts.values()) if larger else sum(counts.values())
            self.results[code]["minimum"] += rate * number * self.money(code)


def requirement(file: Any, results: dict[str, dict[str, float]], factor: float) -> float:
    """(risk - option value)+ by currency, with the caps on the use of option value."""
    total: dict[str, float] = defaultdict(float)
    for row, code in enumerate(file.commodities.code):
        result = results[str(code)]
        risk, value = result["risk"] * factor, result["option_value"]
        if file.commodities.cap_option_value[row]:
            value = min(value, risk)
        total[str(file.commodities.currency[row])] += risk - value
    return sum(max(amount, 0.0) for amount in total.values())
