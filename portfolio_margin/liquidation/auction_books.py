"""An auction in the ledger: the fee at its start and what each bid moves, in whole ticks, nothing lost or made.

A bidder who takes a share of an account takes its value; what he pays for it flows the other way. What is paid to him
comes from the insurance fund and from everybody, as the auction says.
"""

from __future__ import annotations

from portfolio_margin.liquidation.auction import Auction, Bid, BidStatus, Standing
from portfolio_margin.liquidation.ledger import Entry, Ledger, Reason, Role, check_roles, post, to_ticks
from portfolio_margin.liquidation.waterfall import Others, Params, socialise
from pricing.errors import DataError, Problem


def post_fee(ledger: Ledger, account: str, fee: float) -> Ledger:
    """The ledger after the fee at the start of an auction, account to insurance fund.

    account  trader in the auction
    fee      margin currency, 0 or more; rounded up to a tick

    DataError where the account is no trader.
    """
    check_roles(ledger, [account], Role.TRADER)
    return post(ledger, [Entry(account, Role.INSURANCE_FUND, int(to_ticks(fee, ledger.tick, up=True)), Reason.PENALTY)])


def post_bid(
    ledger: Ledger,
    account: str,
    bidder: str,
    before: tuple[Auction, Standing],
    bid: Bid,
    params: Params,
    others: Others,
) -> tuple[Ledger, int]:
    """The ledger after a bid, and the ticks of what the bidder was promised that nobody could bear.

    account  trader in the auction
    bidder   liquidator who bid

    before is the auction and the standing that the bid was made on. A solvent bidder gets the value of his share less
    the cash he pays; an insolvent one takes its value, below 0 mostly, and is paid by the fund as far as the auction
    says and the fund holds it, the rest by a socialised loss. Payments are rounded in favour of the account and the
    house. DataError for a bid that was refused, and for accounts that are not of the roles above.
    """
    if bid.status is not BidStatus.ACCEPTED:
        raise DataError([Problem("bid", None, "status", bid.status.value, "was refused: there is nothing to book")])
    check_roles(ledger, [account], Role.TRADER)
    check_roles(ledger, [bidder], Role.LIQUIDATOR)
    auction, standing = before
    value = (standing.mark_to_market - auction.reserved_cash) * bid.share
    ticks = int(to_ticks(value - bid.cash_from_bidder, ledger.tick, up=False))
    moved = Entry(account, bidder, ticks, Reason.TAKE_OVER)
    if ticks < 0:
        moved = Entry(bidder, account, -ticks, Reason.TAKE_OVER)
    promised = int(to_ticks(bid.cash_to_bidder, ledger.tick, up=False))
    available = max(ledger.balance_of(Role.INSURANCE_FUND) - params.fund_floor, 0)
    funded = min(int(to_ticks(bid.from_module, ledger.tick, up=False)), promised, available)
    ledger = post(ledger, [moved, Entry(Role.INSURANCE_FUND, bidder, funded, Reason.INSURANCE)])
    ledger, socialised = socialise(ledger, bidder, promised - funded, params, others)
    return ledger, promised - funded - socialised
