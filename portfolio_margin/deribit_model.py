"""The margin models of Deribit's risk matrix, but for how each sees the arrays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from portfolio_margin.balances_owed import CHARGE
from portfolio_margin.book import Book
from portfolio_margin.contributions import ScenarioLosses
from portfolio_margin.deribit_contributions import contributions, groups
from portfolio_margin.deribit_matrix import Params, scenario_set
from portfolio_margin.deribit_vectors import Portfolio, order_excess, requirement
from portfolio_margin.order_bounds import Excess, Reach
from portfolio_margin.requirement import Contribution, ParameterSet, Requirement, Traits, european_on_coins
from pricing.arrays import StrArray
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import MarketRows, ScenarioSet


@dataclass(frozen=True)
class MatrixModel(ABC):
    """What the two models of the risk matrix have in common; a model says how it sees the arrays, and its haircuts."""

    params: Params
    parameter_set: ParameterSet = field(default_factory=ParameterSet)
    traits: Traits = field(default=Traits(proportional=("roll_shock",), ours=(CHARGE,)), init=False)

    @abstractmethod
    def portfolio(self, arrays: RiskArrays) -> Portfolio:
        """The arrays as the model sees them."""

    def scenario_set(self, market: MarketRows) -> ScenarioSet:
        """The cells of the risk matrix; ConfigError where an underlying has no parameters."""
        return scenario_set(self.params, market)

    def not_covered(self, arrays: RiskArrays) -> StrArray:
        """(N,) options with early exercise and contracts on stocks; what lacks parameters is refused."""
        return european_on_coins(arrays, "Deribit")

    def requirement(
        self, book: Book, arrays: RiskArrays, *, backend: str = "numba", threads: int | None = None
    ) -> Requirement:
        """Requirement of every account."""
        return requirement(book, arrays, self.portfolio(arrays), backend=backend, threads=threads)

    def order_excess(self, arrays: RiskArrays, reach: Reach) -> tuple[Excess, ...]:
        """What the dampener takes off the losses of another part, and what the limit of gains leaves of them; ceilings
        of the delta shock and of what debts cost."""
        return order_excess(arrays, self.portfolio(arrays), reach)

    def contributions(self, book: Book, arrays: RiskArrays) -> list[Contribution]:
        """Position by position, underlying by underlying."""
        return contributions(book, arrays, self.portfolio(arrays))

    def scenario_losses(self, book: Book, arrays: RiskArrays) -> list[ScenarioLosses]:
        """By coin, or by group of coins with one worst cell, of the one account of `book`; see `near_scenarios`."""
        portfolio = self.portfolio(arrays)
        return [
            ScenarioLosses(group.name, arrays.scenario_set.label, -group.cells.sum(axis=0) * arrays.tick_size)
            for vectors in portfolio.vectors
            for group in groups(book, arrays, vectors, portfolio)[1]
        ]
