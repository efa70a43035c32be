"""Waterfall: where the value goes when an account is closed, and who bears what it cannot pay.

In order: what the closing costs against the mark; a penalty, never more than what is left; then, where the account
owes, the insurance fund down to its floor, auto-deleveraging of profits, a socialised loss. What even that does not
cover stays a debit balance of the bankrupt account and is reported as uncovered: it is not made to vanish.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from portfolio_margin.liquidation.ledger import Entry, Ledger, Reason, Role, check_roles, post
from portfolio_margin.liquidation.loss_sharing import apportion, capped_shares, pro_rata_haircut, queue_haircut
from pricing.arrays import FloatArray, IntArray, StrArray
from pricing.errors import ConfigError, DataError, Problem
from scenarios.shocks import check_bounds

DELEVERAGING = ("pro_rata", "queue", "none")
SOCIALISING = ("equity", "profit", "open_interest", "none")


@dataclass(frozen=True)
class Params:
    """Who bears what, with bounds.

    to_liquidator, to_fund, to_venue   whole parts of the penalty that go to each, 0 to 1,000,000, not all 0
    fund_floor      ticks that the insurance fund keeps whatever happens, 0 to 1e15
    deleveraging    "pro_rata": every profit is cut alike; "queue": whole profits in the order of their rank, profit x
                    leverage; "none"
    profit_share    of an unrealised profit that deleveraging may take, 0 to 1
    socialising     weight of the others in a socialised loss: "equity", "profit", "open_interest"; "none"
    """

    to_liquidator: int = 1
    to_fund: int = 1
    to_venue: int = 0
    fund_floor: int = 0
    deleveraging: str = "pro_rata"
    profit_share: float = 1.0
    socialising: str = "equity"

    def __post_init__(self) -> None:
        part = (0, 1_000_000)
        bounds = {"to_liquidator": part, "to_fund": part, "to_venue": part, "fund_floor": (0, 1e15)}
        check_bounds(self, {**bounds, "profit_share": (0.0, 1.0)})
        for name in bounds:
            if getattr(self, name) != int(getattr(self, name)):
                raise ConfigError(f"{name} = {getattr(self, name)!r}: must be a whole number")
        if self.to_liquidator + self.to_fund + self.to_venue == 0:
            raise ConfigError("to_liquidator, to_fund and to_venue = 0: somebody must get the penalty")
        for name, choices in (("deleveraging", DELEVERAGING), ("socialising", SOCIALISING)):
            if getattr(self, name) not in choices:
                raise ConfigError(f"{name} = {getattr(self, name)!r}: must be one of {', '.join(choices)}")


@dataclass(frozen=True)
class Others:
    """The accounts that can be made to bear a loss: traders of the ledger, each once.

    account        (K,) names
    profit         (K,) ticks of unrealised profit in what the bankrupt account holds the other side of
    score          (K,) rank of `deleverage.scores`; the highest first
    open_interest  (K,) size held, in whole units of whatever the venue counts by
    """

    account: StrArray
    profit: IntArray
    score: FloatArray = field(default_factory=lambda: np.zeros(0))
    open_interest: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        size = len(self.account)
        for name in ("profit", "score", "open_interest"):
            given = np.asarray(getattr(self, name))
            if name != "profit" and not len(given):
                given = np.zeros(size, dtype=np.float64 if name == "score" else np.int64)
            if given.shape != (size,) or (name != "score" and given.dtype.kind not in "iu"):
                remedy = f"needs {size} rows, of whole numbers but for the score"
                raise DataError([Problem("others", None, name, given.shape, remedy)])
            object.__setattr__(self, name, given)
        if np.any(np.isnan(self.score)):
            raise DataError([Problem("others", None, "score", "NaN", "must be numbers, or infinite")])
        if len(set(self.account)) != size:
            raise DataError([Problem("others", None, "account", size, "must be different accounts")])


class Settled(NamedTuple):
    """What became of a liquidated account.

    ledger        afterwards
    cost          ticks that closing cost against the mark
    penalty       ticks charged
    deficit       ticks that the account owed then
    from_fund, deleveraged, socialised   ticks of it that each bore
    uncovered     ticks of it that nobody could bear: the account stays below 0 by them
    """

    ledger: Ledger
    cost: int
    penalty: int
    deficit: int
    from_fund: int
    deleveraged: int
    socialised: int
    uncovered: int


def penalty_parts(penalty: int, params: Params) -> tuple[int, int, int]:
    """Ticks of a penalty to the liquidator, the insurance fund and the venue; they add up to it."""
    parts = apportion(penalty, [params.to_liquidator, params.to_fund, params.to_venue])
    return int(parts[0]), int(parts[1]), int(parts[2])


def settle(
    ledger: Ledger,
    account: str,
    liquidator: str,
    params: Params,
    others: Others,
    *,
    cost: int = 0,
    penalty: int = 0,
) -> Settled:
    """The books after an account has been closed, in part or whole, by a liquidator.

    account     trader that was closed
    liquidator  who closed it, or whom the market makers that traded with it are counted as: the cost is his gain
    cost        ticks against the mark, 0 or more
    penalty     ticks; no more is taken than what the account has left after the cost

    The value of all accounts together is the same as before, to the tick. DataError where the account or one of the
    others is no trader, or the liquidator no liquidator.
    """
    _check(ledger, account, liquidator, others, cost, penalty)
    ledger = post(ledger, [Entry(account, liquidator, cost, Reason.CLOSING)])
    charged = min(penalty, max(ledger.balance_of(account), 0))
    targets = (liquidator, Role.INSURANCE_FUND, Role.FEE_INCOME)
    parts = zip(targets, penalty_parts(charged, params), strict=True)
    ledger = post(ledger, [Entry(account, target, ticks, Reason.PENALTY) for target, ticks in parts])
    deficit = max(-ledger.balance_of(account), 0)
    from_fund = min(deficit, max(ledger.balance_of(Role.INSURANCE_FUND) - params.fund_floor, 0))
    ledger = post(ledger, [Entry(Role.INSURANCE_FUND, account, from_fund, Reason.INSURANCE)])
    ledger, deleveraged = _deleverage(ledger, account, deficit - from_fund, params, others)
    ledger, socialised = socialise(ledger, account, deficit - from_fund - deleveraged, params, others)
    uncovered = deficit - from_fund - deleveraged - socialised
    return Settled(ledger, cost, charged, deficit, from_fund, deleveraged, socialised, uncovered)


def take_over(ledger: Ledger, account: str, backstop: str, *, fund_floor: int = 0) -> Ledger:
    """The whole account goes to a backstop liquidator, or to the fund, with what it is worth, be it above or below 0.

    account     trader whose positions and balance are taken over
    backstop    liquidator, or "insurance_fund", who has the gain or the loss from here on
    fund_floor  whole ticks that the insurance fund keeps whatever happens, 0 or more

    DataError for accounts of other roles, and where the fund would have to bear more than it has above its floor: such
    an account is for `settle`, which says who bears the rest.
    """
    check_roles(ledger, [account], Role.TRADER)
    check_roles(ledger, [backstop], Role.LIQUIDATOR, Role.INSURANCE_FUND)
    if not isinstance(fund_floor, (int, np.integer)) or fund_floor < 0:
        raise DataError([Problem("take over", None, "fund_floor", fund_floor, "must be whole ticks, 0 or more")])
    ticks = ledger.balance_of(account)
    spare = max(ledger.balance_of(Role.INSURANCE_FUND) - fund_floor, 0)
    if backstop == Role.INSURANCE_FUND and -ticks > spare:
        remedy = f"owes more than the {spare} ticks that the insurance fund has above its floor"
        raise DataError([Problem("take over", account, "balance", ticks, remedy)])
    entry = Entry(account, backstop, ticks, Reason.TAKE_OVER)
    return post(ledger, [entry if ticks >= 0 else Entry(backstop, account, -ticks, Reason.TAKE_OVER)])


def _deleverage(ledger: Ledger, account: str, deficit: int, params: Params, others: Others) -> tuple[Ledger, int]:
    if not deficit or params.deleveraging == "none":
        return ledger, 0
    # Nobody is brought below 0 by the profit of another contract that he has lost already.
    able = np.minimum(np.floor(others.profit * params.profit_share).astype(np.int64), _equity(ledger, others))
    if params.deleveraging == "pro_rata":
        taken, left = pro_rata_haircut(deficit, able)
    else:
        taken, left = queue_haircut(deficit, able, np.argsort(-others.score, kind="stable"))
    names = zip(others.account.tolist(), taken.tolist(), strict=True)
    return post(ledger, [Entry(name, account, ticks, Reason.DELEVERAGING) for name, ticks in names]), deficit - left


def socialise(ledger: Ledger, account: str, deficit: int, params: Params, others: Others) -> tuple[Ledger, int]:
    """A loss spread over the others, and the ticks of it that they bore; nobody bears more than he has.

    account  who is paid
    deficit  ticks, 0 or more

    DataError where one of the others is no trader, or is who is paid.
    """
    check_roles(ledger, others.account.tolist(), Role.TRADER)
    if account in others.account:
        raise DataError([Problem("others", None, "account", account, "must be other accounts than who is paid")])
    if not deficit or params.socialising == "none":
        return ledger, 0
    able = _equity(ledger, others)
    weights = {"equity": able, "profit": others.profit, "open_interest": others.open_interest}[params.socialising]
    shares, left = capped_shares(deficit, np.maximum(weights, 0), able)
    names = zip(others.account.tolist(), shares.tolist(), strict=True)
    paid_in = [Entry(name, Role.SOCIALISED_LOSS, ticks, Reason.SOCIALISED) for name, ticks in names]
    cover = Entry(Role.SOCIALISED_LOSS, account, deficit - left, Reason.COVER)
    return post(ledger, [*paid_in, cover]), deficit - left


def _equity(ledger: Ledger, others: Others) -> IntArray:
    """(K,) ticks that each of the others has, 0 or more."""
    return np.maximum(ledger.balance[ledger.rows(others.account.tolist())], 0).astype(np.int64)


def _check(ledger: Ledger, account: str, liquidator: str, others: Others, cost: int, penalty: int) -> None:
    check_roles(ledger, [account, *others.account.tolist()], Role.TRADER)
    check_roles(ledger, [liquidator], Role.LIQUIDATOR)
    problems = [
        Problem("liquidation", account, name, value, "must be whole ticks, 0 or more")
        for name, value in (("cost", cost), ("penalty", penalty))
        if not isinstance(value, (int, np.integer)) or value < 0
    ]
    if account in others.account:
        remedy = "must be another account than those that share the loss"
        problems.append(Problem("liquidation", account, "account", account, remedy))
    if problems:
        raise DataError(problems)
