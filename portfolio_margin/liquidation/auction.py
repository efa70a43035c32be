"""Dutch auction of an account, after Derive's rules: who bids takes a share of everything the account holds.

A solvent auction asks the bidder for a falling share of the mark to market; an insolvent one pays him, at first what
the account is short of 0 and in the end what it is short of its margin. Margins here are net, as the venue states them:
equity less the requirement, below 0 where the account is short.

derivexyz/v2-core, DutchAuction (2026), formulas only. Amounts in margin currency, times in whole seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import numpy as np

from portfolio_margin.liquidation.curves import LONGEST_SECONDS, two_phase_share
from portfolio_margin.statement import MarginStatement
from pricing.errors import ConfigError, DataError, Problem
from scenarios.shocks import check_bounds


@dataclass(frozen=True)
class Params:
    """The rules of an auction, with their bounds.

    starting_share   of the mark to market that a bid pays at the start, 0 to 1
    cutoff_share     where the fast phase ends, 0 to starting_share
    fast_s, slow_s   seconds of the two phases, 0 to 1e9 and 1 to 1e9
    insolvent_s      seconds until an insolvent auction pays all it can, 1 to 1e9
    fee_rate         of what the first bidder could take, to the security module, 0 to 1
    buffer           above the margin that a liquidation restores, as a share of the requirement, 0 to 10
    small_account    mark to market below which one bid may take everything, 0 to 1e9
    """

    starting_share: float = 0.95
    cutoff_share: float = 0.7
    fast_s: int = 900
    slow_s: int = 43_200
    insolvent_s: int = 3_600
    fee_rate: float = 0.1
    buffer: float = 0.15
    small_account: float = 0.0

    def __post_init__(self) -> None:
        share, seconds = (0.0, 1.0), (1, LONGEST_SECONDS)
        bounds = {"starting_share": share, "cutoff_share": share, "fast_s": (0, seconds[1]), "slow_s": seconds}
        bounds |= {"insolvent_s": seconds, "fee_rate": share, "buffer": (0.0, 10.0), "small_account": (0.0, 1e9)}
        check_bounds(self, bounds)
        for name in ("fast_s", "slow_s", "insolvent_s"):
            if getattr(self, name) != int(getattr(self, name)):
                raise ConfigError(f"{name} = {getattr(self, name)!r}: must be whole seconds")
        if self.cutoff_share > self.starting_share:
            text = f"must not exceed starting_share = {self.starting_share!r}"
            raise ConfigError(f"cutoff_share = {self.cutoff_share!r}: {text}")


class Standing(NamedTuple):
    """An account as an auction sees it: net maintenance margin and mark to market, what bidders paid included."""

    maintenance: float
    mark_to_market: float


def standing_of(statement: MarginStatement, account: str) -> Standing:
    """The standing of an account by its statement, under any margin model: margin balance less the requirement, and
    equity. DataError where the statement does not hold the account."""
    found = np.flatnonzero(statement.account == account)
    if not len(found):
        raise DataError([Problem("statement", None, "account", account, "no such account")])
    row = int(found[0])
    net = statement.margin_balance[row] - statement.maintenance_margin[row]
    return Standing(float(net), float(statement.equity[row]))


class Auction(NamedTuple):
    """A running or ended auction.

    started_s      seconds on the caller's clock
    insolvent_s    start of the insolvent auction, None while it is solvent
    reserved_cash  what bidders have paid in; it stays with the account and is not shared out
    ongoing        False once a bid has restored the buffer or taken everything
    """

    started_s: int
    insolvent_s: int | None = None
    reserved_cash: float = 0.0
    ongoing: bool = True

    @property
    def insolvent(self) -> bool:
        """Whether bidders are paid rather than pay."""
        return self.insolvent_s is not None


class BidStatus(Enum):
    """What became of a bid; all but the first leave account and auction as they were."""

    ACCEPTED = "accepted"
    NOT_ONGOING = "the auction is over"
    NOTHING_TO_TAKE = "the account has its buffer or nothing is left: the auction should be ended"
    RUN_OUT = "the solvent auction has run out: it should go on as an insolvent one"


class Bid(NamedTuple):
    """What a bid did.

    status            whether it was accepted
    share             of the account that changes hands, as it was before the bid
    cash_from_bidder  paid into the account
    cash_to_bidder    paid to the bidder, from the security module and then by a socialised loss
    from_module       of it from the security module
    socialised        of it from everybody
    bidder_margin     cash that the bidder must hold for the share he takes
    auction, standing afterwards
    """

    status: BidStatus
    share: float
    cash_from_bidder: float
    cash_to_bidder: float
    from_module: float
    socialised: float
    bidder_margin: float
    auction: Auction
    standing: Standing


def buffer_margin(standing: Standing, buffer: float) -> float:
    """Maintenance margin with a buffer on the requirement: MM + buffer (MM - MtM); a liquidation brings it to 0."""
    return standing.maintenance + buffer * (standing.maintenance - standing.mark_to_market)


def bid_price(standing: Standing, reserved_cash: float, share_paid: float) -> float:
    """Price of the whole account without the cash that bidders have paid in: (MtM - R) d.

    reserved_cash  R, margin currency
    share_paid     d, from the curve
    """
    return (standing.mark_to_market - reserved_cash) * share_paid


def largest_fraction(standing: Standing, reserved_cash: float, share_paid: float, params: Params) -> float:
    """Largest share of the account that a solvent bid may take: the one that brings the buffer margin to 0.

    reserved_cash  R, margin currency
    share_paid     d, from the curve

    A share f scales all but R by 1 - f and adds f d (MtM - R), so f = BM / (BM - d MtM - (1 - d) R). 1 where the
    account is small, has nothing to restore, or no share restores it.
    """
    missing = buffer_margin(standing, params.buffer)
    if standing.mark_to_market < params.small_account or missing >= 0.0:
        return 1.0
    left = missing - standing.mark_to_market * share_paid - reserved_cash * (1.0 - share_paid)
    return min(missing / left, 1.0) if left < 0.0 else 1.0


def start(standing: Standing, params: Params, at_s: int) -> tuple[Auction, Standing, float]:
    """An auction, the account after the fee, and the fee to the security module.

    at_s  whole seconds on the caller's clock

    DataError where the account is not short of maintenance margin or a number is not finite. Solvent where the mark to
    market is above 0; only then there is a fee: fee_rate x MtM x the largest share that could be taken at par.
    """
    _check_moment(Auction(at_s), standing, at_s)
    if not standing.maintenance < 0.0:
        remedy = "an auction is of an account short of maintenance margin: below 0"
        raise DataError([Problem("auction", None, "maintenance", standing.maintenance, remedy)])
    if not standing.mark_to_market > 0.0:
        return Auction(at_s, insolvent_s=at_s), standing, 0.0
    fee = largest_fraction(standing, 0.0, 1.0, params) * standing.mark_to_market * params.fee_rate
    return Auction(at_s), Standing(standing.maintenance - fee, standing.mark_to_market - fee), fee


def share_paid(auction: Auction, params: Params, at_s: int) -> float:
    """The share of the mark to market that a bid pays now.

    at_s  seconds on the caller's clock
    """
    elapsed = at_s - auction.started_s
    curve = (params.starting_share, params.cutoff_share, params.fast_s, params.slow_s)
    return float(two_phase_share(elapsed, *curve))


def quote(auction: Auction, standing: Standing, params: Params, at_s: int) -> float:
    """Price of the whole account now: what a bidder pays, or below 0 what he is paid.

    at_s  seconds on the caller's clock

    Insolvent: from min(MtM, 0) at the start in a straight line to MM. DataError for a moment that is not whole seconds,
    before the auction or more than 1e9 seconds after its start, and for amounts that are not finite.
    """
    _check_moment(auction, standing, at_s)
    if auction.insolvent_s is None:
        return bid_price(standing, auction.reserved_cash, share_paid(auction, params, at_s))
    lowest = min(standing.mark_to_market, 0.0)
    run = min((at_s - auction.insolvent_s) / params.insolvent_s, 1.0)
    return lowest + (min(standing.maintenance, lowest) - lowest) * run


def should_end(auction: Auction, standing: Standing, params: Params, at_s: int) -> bool:
    """Whether there is nothing left to auction.

    at_s  seconds on the caller's clock

    Solvent: the buffer is there, or the account has lost its value, or has none but the cash paid in, or the auction
    has run out and the account is not short. Insolvent: it is not short of maintenance margin any more. DataError as
    for `quote`.
    """
    _check_moment(auction, standing, at_s)
    if not auction.ongoing:
        return True
    if auction.insolvent:
        return standing.maintenance >= 0.0
    restored = buffer_margin(standing, params.buffer) >= 0.0
    worthless = standing.mark_to_market < 0.0 or auction.reserved_cash >= standing.mark_to_market
    return restored or worthless or (_has_run_out(auction, params, at_s) and standing.maintenance >= 0.0)


def convert_to_insolvent(auction: Auction, standing: Standing, params: Params, at_s: int) -> Auction:
    """The insolvent auction that follows a solvent one without bidders.

    at_s  seconds on the caller's clock

    DataError before the solvent one has run out, or where the account is not short any more, and as for `quote`.
    """
    _check_moment(auction, standing, at_s)
    if auction.insolvent or not auction.ongoing or not _has_run_out(auction, params, at_s):
        remedy = "only a solvent auction that has run out becomes insolvent"
        raise DataError([Problem("auction", None, "at_s", at_s, remedy)])
    if standing.maintenance >= 0.0:
        remedy = "the account is not short of margin: end the auction"
        raise DataError([Problem("auction", None, "maintenance", standing.maintenance, remedy)])
    return auction._replace(insolvent_s=at_s)


def bid(auction: Auction, standing: Standing, params: Params, at_s: int, share: float, module_funds: float) -> Bid:
    """What a bid for a share of the account does.

    at_s          seconds on the caller's clock
    share         of the account wanted, above 0 to 1; cut to the largest that may be taken
    module_funds  cash of the security module, 0 or more

    DataError for a share or funds out of these bounds, and as for `quote`.
    """
    _check_bid(share, module_funds)
    _check_moment(auction, standing, at_s)
    refused = _refusal(auction, standing, params, at_s)
    if refused:
        return Bid(refused, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, auction, standing)
    if auction.insolvent:
        return _insolvent_bid(auction, standing, params, at_s, share, module_funds)
    paid = share_paid(auction, params, at_s)
    largest = largest_fraction(standing, auction.reserved_cash, paid, params)
    taken = min(share, largest)
    cash = bid_price(standing, auction.reserved_cash, paid) * taken
    needed = cash + abs(buffer_margin(standing, params.buffer) - auction.reserved_cash) * taken
    after = _scaled(standing, auction.reserved_cash, taken, cash)
    going_on = auction._replace(reserved_cash=auction.reserved_cash + cash, ongoing=share < largest)
    return Bid(BidStatus.ACCEPTED, taken, cash, 0.0, 0.0, 0.0, needed, going_on, after)


def _insolvent_bid(
    auction: Auction, standing: Standing, params: Params, at_s: int, share: float, module_funds: float
) -> Bid:
    payout = -quote(auction, standing, params, at_s) * share
    funded = min(payout, module_funds)
    needed = max(abs(standing.maintenance) * share - payout, 0.0)
    after = _scaled(standing, auction.reserved_cash, share, 0.0)
    going_on = auction._replace(ongoing=share < 1.0)
    return Bid(BidStatus.ACCEPTED, share, 0.0, payout, funded, payout - funded, needed, going_on, after)


def _scaled(standing: Standing, reserved: float, share: float, cash: float) -> Standing:
    """A share of everything but the reserved cash leaves, the cash of the bidder comes in; margins are homogeneous."""
    left = [(value - reserved) * (1.0 - share) + reserved + cash for value in standing]
    return Standing(*left)


def _has_run_out(auction: Auction, params: Params, at_s: int) -> bool:
    return at_s - auction.started_s >= params.fast_s + params.slow_s


def _refusal(auction: Auction, standing: Standing, params: Params, at_s: int) -> BidStatus | None:
    if not auction.ongoing:
        return BidStatus.NOT_ONGOING
    if should_end(auction, standing, params, at_s):
        return BidStatus.NOTHING_TO_TAKE
    if not auction.insolvent and _has_run_out(auction, params, at_s):
        return BidStatus.RUN_OUT
    return None


def _check_bid(share: float, module_funds: float) -> None:
    if not 0.0 < share <= 1.0:
        raise DataError([Problem("bid", None, "share", share, "must be above 0 and at most 1")])
    if not 0.0 <= module_funds < float("inf"):
        raise DataError([Problem("bid", None, "module_funds", module_funds, "must be a finite amount, 0 or more")])


def _check_moment(auction: Auction, standing: Standing, at_s: int) -> None:
    """The moment and the amounts that every step of an auction rests on; a NaN would pass all comparisons after it."""
    problems = []
    amounts = {**standing._asdict(), "reserved_cash": auction.reserved_cash}
    for name, amount in amounts.items():
        if not np.isfinite(amount):
            problems.append(Problem("auction", None, name, amount, "must be a finite amount"))
    since = auction.started_s if auction.insolvent_s is None else auction.insolvent_s
    elapsed = at_s - since
    if not (np.isfinite(at_s) and at_s == np.floor(at_s) and elapsed == np.floor(elapsed)):
        problems.append(Problem("auction", None, "at_s", at_s, "must be whole seconds, as the start of the auction"))
    elif not 0 <= elapsed <= LONGEST_SECONDS:
        remedy = f"must be from 0 to {LONGEST_SECONDS} seconds after the start at {since}"
        problems.append(Problem("auction", None, "at_s", at_s, remedy))
    if problems:
        raise DataError(problems)
