"""worst_case: the worst loss over the scenarios, with a floor for short options.

scan loss = sum over netting sets of max(0, -min over scenarios of the P&L), collateral included
requirement = factor x max(scan loss, short option minimum)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from itertools import pairwise
from types import MappingProxyType

import numpy as np

from portfolio_margin.aggregate import NETTING, account_pnl, kernel_positions, worst_loss
from portfolio_margin.book import Book
from portfolio_margin.charges import short_option_minimum, short_option_rows
from portfolio_margin.collateral import haircuts, moved_assets
from portfolio_margin.contributions import (
    ScenarioLosses,
    exact_amounts,
    position_line,
    position_ticks,
    underlying_name,
)
from portfolio_margin.convexity import INITIAL, OF_FUNDS, Support
from portfolio_margin.kernel_inputs import netting_segments
from portfolio_margin.order_bounds import turning_rates
from portfolio_margin.order_table import OrderTable, worst_loss_table
from portfolio_margin.requirement import EXACT, Contribution, ParameterSet, Requirement, Traits, everything
from portfolio_margin.worst_case_support import floor_rates, loss_rates
from pricing.arrays import BoolArray, FloatArray, StrArray
from pricing.errors import ConfigError
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import MarketRows, ScenarioSet, check_bounds


@dataclass(frozen=True)
class Params:
    """Parameters, with their bounds.

    netting               "per_underlying": losses of underlyings add, gains of one never offset
                          another; "joint": the whole account shares one worst scenario
    initial_factor        initial margin per unit of worst loss, 1 to 5
    maintenance_factor    maintenance margin per unit of worst loss, 0.01 to initial_factor
    short_option_minimum  share of the notional of each short option, 0 to 1
    haircut               of every asset but the margin currency, 0 to 1
    haircut_by_asset      asset -> haircut, 0 to 1, in place of `haircut`
    """

    netting: str = "per_underlying"
    initial_factor: float = 1.0
    maintenance_factor: float = 0.8
    short_option_minimum: float = 0.003
    haircut: float = 0.05
    haircut_by_asset: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.netting not in NETTING:
            raise ConfigError(f"netting = {self.netting!r}: must be one of {', '.join(NETTING)}")
        check_bounds(
            self,
            {
                "initial_factor": (1.0, 5.0),
                "maintenance_factor": (0.01, 5.0),
                "short_option_minimum": (0.0, 1.0),
                "haircut": (0.0, 1.0),
            },
        )
        if self.maintenance_factor > self.initial_factor:
            raise ConfigError(
                f"maintenance_factor = {self.maintenance_factor!r}: must not exceed "
                f"initial_factor = {self.initial_factor!r}"
            )
        if not isinstance(self.haircut_by_asset, Mapping):
            raise ConfigError(f"haircut_by_asset = {self.haircut_by_asset!r}: must be a mapping from asset to haircut")
        for name, value in self.haircut_by_asset.items():
            if not isinstance(value, (int, float)) or not 0.0 <= value <= 1.0:
                raise ConfigError(f"haircut_by_asset {name} = {value!r}: must be a number from 0 to 1")
        object.__setattr__(self, "haircut_by_asset", MappingProxyType(dict(self.haircut_by_asset)))


@dataclass(frozen=True)
class Model:
    """The worst-case margin model."""

    params: Params = field(default_factory=Params)
    parameter_set: ParameterSet = field(default_factory=ParameterSet)
    model_id: str = field(default="worst_case", init=False)
    traits: Traits = field(default=Traits(proportional=("scan", "short_option_minimum")), init=False)

    def scenario_set(self, market: MarketRows) -> ScenarioSet | None:
        """None: the worst loss is over whatever scenarios the arrays have."""
        return None

    def not_covered(self, arrays: RiskArrays) -> StrArray:
        """(N,) nothing: a worst loss is a rule for every contract."""
        return everything(arrays)

    def debts_covered(self, arrays: RiskArrays) -> BoolArray:
        """(N,) assets that a scenario moves; a fixed rate of exchange loses nowhere."""
        return moved_assets(arrays)

    def haircut(self, arrays: RiskArrays) -> FloatArray:
        """(N,) share of a long balance of collateral that does not count."""
        return haircuts(arrays, self.params.haircut, self.params.haircut_by_asset)

    def requirement(
        self, book: Book, arrays: RiskArrays, *, backend: str = "numba", threads: int | None = None
    ) -> Requirement:
        """Requirement of every account; charges "scan" and "short_option_minimum" (what it adds)."""
        loss, scenario = worst_loss(
            book, arrays, netting=self.params.netting, haircut=self.haircut(arrays), backend=backend, threads=threads
        )
        floor = short_option_minimum(book, arrays, self.params.short_option_minimum, backend=backend, threads=threads)
        factors = np.array([self.params.initial_factor, self.params.maintenance_factor])
        charges = {
            "scan": loss[:, None] * factors,
            "short_option_minimum": np.maximum(floor - loss, 0.0)[:, None] * factors,
        }
        total = sum(charges.values())
        return Requirement(total[:, 0], total[:, 1], scenario, charges)

    def scenario_losses(self, book: Book, arrays: RiskArrays) -> list[ScenarioLosses]:
        """By netting set of the one account of `book`; see `near_scenarios`."""
        joint = self.params.netting == "joint"
        sets = np.zeros(len(arrays), np.int64) if joint else arrays.underlying_idx
        label, held = sets[book.instrument_idx], book.quantity != 0.0
        found = []
        for netting_set in np.unique(label[held]):
            mine = label == netting_set
            name = "account" if joint else underlying_name(arrays, int(book.instrument_idx[np.argmax(mine)]))
            loss = -account_pnl(book.keep(mine), arrays, haircut=self.haircut(arrays))[0]
            found.append(ScenarioLosses(name, arrays.scenario_set.label, loss))
        return found

    def order_table(self, arrays: RiskArrays) -> OrderTable:
        """The same requirement as columns, for kernels that margin one account after one order."""
        short = short_option_rows(arrays, self.params.short_option_minimum)
        return worst_loss_table(arrays, self.params.netting, self.haircut(arrays), short, self._factors)

    def convex(self, arrays: RiskArrays, turning: BoolArray, measure: str) -> bool:
        """Whether the requirement is convex in the quantities, less the margin balance for a measure of funds.

        Where no balance with a haircut turns it is. Where one does, the loss of that asset bends the other way; less
        the balance it is convex as long as factor x the fall of the asset is at most its value, in every scenario.
        """
        bent = turning & (self.haircut(arrays) > 0.0)
        if not np.any(bent):
            return True
        if measure not in OF_FUNDS:
            return False
        factor = self._factors[0] if measure in INITIAL else self._factors[1]
        lowest = arrays.rows[bent].min(axis=1, initial=0.0)
        return bool(np.all(factor * -lowest <= arrays.value_rows[bent]))

    def support(self, arrays: RiskArrays, quantity: FloatArray, long: BoolArray) -> Support:
        """Rates of the scan loss or of the short option minimum, whichever counts for quantity (N,)."""
        rates = loss_rates(arrays, quantity, self.haircut(arrays), long, self.params.netting)
        floor = floor_rates(arrays, quantity, self.params.short_option_minimum)
        active = rates if rates @ quantity >= floor @ quantity else floor
        return Support(self._factors[0] * active, self._factors[1] * active, np.zeros(len(arrays)))

    def excess_rates(self, arrays: RiskArrays) -> FloatArray:
        """(N,) 0 where funds are concave, since they grow in proportion with the book: apart is never cheaper. Of an
        asset whose fall costs more than its value, what the haircut takes off that."""
        return turning_rates(arrays, self.haircut(arrays), self._factors[0])

    def contributions(self, book: Book, arrays: RiskArrays) -> list[Contribution]:
        """Each position's loss in the worst scenario of its netting set; what the floor adds, if it binds."""
        with localcontext(EXACT):
            scan, scan_ticks = self._scan_contributions(book, arrays)
            return scan + self._floor_contributions(book, arrays, scan_ticks)

    @property
    def _factors(self) -> tuple[float, float]:
        return self.params.initial_factor, self.params.maintenance_factor

    def _scan_contributions(self, book: Book, arrays: RiskArrays) -> tuple[list[Contribution], Decimal]:
        positions = kernel_positions(book, arrays, self.params.netting)
        product = position_ticks(book, arrays, haircut=self.haircut(arrays))
        starts, _, _ = netting_segments(positions)
        lines: list[Contribution] = []
        total = Decimal(0)
        for first, last in pairwise(np.append(starts, len(product))):
            sums = product[first:last].sum(axis=0)
            worst = int(np.argmin(sums))
            if sums[worst] >= 0.0:
                continue
            joint = self.params.netting == "joint"
            name = "account" if joint else underlying_name(arrays, book.instrument_idx[first])
            label = str(arrays.scenario_set.label[worst])
            for position in range(first, last):
                ticks = -float(product[position, worst])
                total += Decimal(ticks)
                amounts = exact_amounts(ticks, arrays, self._factors)
                line = position_line(book, arrays, position, "scan", amounts, netting_set=name, scenario=label)
                lines.append(line)
        return lines, total

    def _floor_contributions(self, book: Book, arrays: RiskArrays, scan_ticks: Decimal) -> list[Contribution]:
        rows = short_option_rows(arrays, self.params.short_option_minimum)
        charged = np.maximum(-position_ticks(book, arrays, rows[:, None])[:, 0], 0.0)
        floor_ticks = sum((Decimal(value) for value in charged), Decimal(0))
        if floor_ticks <= scan_ticks:
            return []
        name = "short_option_minimum"
        lines = [
            position_line(book, arrays, int(p), name, exact_amounts(float(charged[p]), arrays, self._factors))
            for p in np.flatnonzero(charged)
        ]
        covered = exact_amounts(-scan_ticks, arrays, self._factors)
        lines.append(Contribution(name, "account", "", "less scan loss", 0.0, "", *covered))
        return lines
