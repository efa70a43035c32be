"""Events that change what an engine holds, and the effects it answers with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np

from portfolio_margin.requirement import MarginModel
from portfolio_margin.statement import AccountStatus
from portfolio_margin.working_orders import WorkingOrder
from pricing.arrays import IntArray
from pricing.errors import ConfigError, DataError, Problem
from pricing.instruments import Instruments
from pricing.market import Market
from scenarios.risk_arrays import RiskArrays


def names_of(given: Sequence[str], what: str) -> Sequence[str]:
    """Names as they were given. ConfigError for what is no list of names: a text alone would be taken letter by letter.

    what  they are names of
    """
    names: object = given
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise ConfigError(f"{what}s = {given!r}: must be a list of names")
    return given


def _check_kind(name: str, value: object, kind: type) -> None:
    """ConfigError for what an event does not carry."""
    if not isinstance(value, kind):
        raise ConfigError(f"{name} = {value!r}: must be {kind.__name__}")


def _check_truth(name: str, value: object) -> None:
    """ConfigError for what is neither true nor false: any text would be true."""
    if not isinstance(value, (bool, np.bool_)):
        raise ConfigError(f"{name} = {value!r}: must be True or False")


class Fill(NamedTuple):
    """A trade of one account.

    account, instrument   names
    quantity   contracts, + bought
    paid       what the account pays for it all in all, in the settlement currency of the contract: price, fees, and of
               futures what the price is away from the mark; below 0 where it receives. None: the value at the mark
    """

    account: str
    instrument: str
    quantity: float
    paid: float | None = None


@dataclass(frozen=True)
class MarketUpdated:
    """Another snapshot of the same rows: prices, vols or the time have moved.

    backwards  True where an older one than the engine's is meant; without it that is refused, as snapshots that come
               out of order would be taken for news
    """

    market: Market
    backwards: bool = False

    def __post_init__(self) -> None:
        _check_kind("market", self.market, Market)
        _check_truth("backwards", self.backwards)


@dataclass(frozen=True)
class ArraysPublished:
    """Other risk arrays of the same contracts, as a venue publishes them; for an engine without a market.

    backwards  as of `MarketUpdated`
    """

    arrays: RiskArrays
    backwards: bool = False

    def __post_init__(self) -> None:
        _check_kind("arrays", self.arrays, RiskArrays)
        _check_truth("backwards", self.backwards)


@dataclass(frozen=True)
class PositionsChanged:
    """Fills, all or none."""

    fills: tuple[Fill, ...]

    def __post_init__(self) -> None:
        given: object = self.fills
        if isinstance(given, Fill):  # which is a tuple itself
            raise ConfigError(f"fills = {given!r}: must be a tuple of Fill; of one write PositionsChanged((fill,))")
        if not isinstance(self.fills, (tuple, list)):
            raise ConfigError(f"fills = {self.fills!r}: must be a tuple of Fill")
        for number, fill in enumerate(self.fills, start=1):
            if not isinstance(fill, Fill):
                raise DataError([Problem("fills", number, "fill", fill, "must be a Fill(account, instrument, ...)")])


@dataclass(frozen=True)
class CollateralChanged:
    """A deposit, or below 0 a withdrawal, of an asset, in units of it."""

    account: str
    asset: str
    amount: float


@dataclass(frozen=True)
class OrdersChanged:
    """The open orders of an account from now on, all of them; none to have none open.

    A fill is told by `PositionsChanged`, and takes no order away: what is left open is told here.
    """

    account: str
    orders: tuple[WorkingOrder, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.orders, (tuple, list)):
            raise ConfigError(f"orders = {self.orders!r}: must be a tuple of WorkingOrder")
        object.__setattr__(self, "orders", tuple(self.orders))


@dataclass(frozen=True)
class AccountsOpened:
    """New accounts that hold nothing yet."""

    accounts: tuple[str, ...]

    def __post_init__(self) -> None:
        names_of(self.accounts, "account")


@dataclass(frozen=True)
class PolicyChanged:
    """Another margin model, or the same with other parameters."""

    model: MarginModel


@dataclass(frozen=True)
class InstrumentsChanged:
    """Contracts listed or delisted, with the market that has rows for them; nobody may hold what is gone.

    backwards  as of `MarketUpdated`
    """

    instruments: Instruments
    market: Market
    backwards: bool = False

    def __post_init__(self) -> None:
        _check_kind("instruments", self.instruments, Instruments)
        _check_kind("market", self.market, Market)
        _check_truth("backwards", self.backwards)


Event: TypeAlias = (
    MarketUpdated
    | ArraysPublished
    | PositionsChanged
    | CollateralChanged
    | OrdersChanged
    | AccountsOpened
    | PolicyChanged
    | InstrumentsChanged
)


@dataclass(frozen=True)
class StatementChanged:
    """Accounts whose figures are other than before, by their rows in the engine (R,); names by `account_names`."""

    rows: IntArray


@dataclass(frozen=True)
class OrdersRestricted:
    """What an account may order has changed: NORMAL, MARGIN_CALL or REDUCE_ONLY."""

    account: str
    status: AccountStatus


@dataclass(frozen=True)
class LiquidationStarted:
    """An account no longer covers its maintenance margin."""

    account: str


@dataclass(frozen=True)
class LiquidationEnded:
    """An account covers its maintenance margin again."""

    account: str


@dataclass(frozen=True)
class DeficitRecorded:
    """An account is worth less than nothing: by how much, margin currency, above 0."""

    account: str
    amount: float


Effect: TypeAlias = StatementChanged | OrdersRestricted | LiquidationStarted | LiquidationEnded | DeficitRecorded
