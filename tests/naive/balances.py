"""What balances cost a model that does not move them, in plain Python: one rate for a rise, one for a fall."""

from __future__ import annotations


def balance_charge(
    balances: dict[str, float],
    price: dict[str, float],
    move: dict[str, float],
    haircut: float,
    contracts: float = 0.0,
    charged: float = 0.0,
) -> float:
    """The charge for the balances of one account.

    balances  units by name; what has no price is money
    price     margin currency per unit of each asset
    move      share of its value that each asset may rise or fall by
    haircut   share of a balance held that does not count, and that a fall has to get beyond
    contracts  net value of the contracts of the account: below 0, it is money owed
    charged   what is asked for money owed through contracts already, in the charge before any factor
    """
    money = sum(amount for name, amount in balances.items() if name not in price) + min(contracts, 0.0)
    held = {name: amount * price[name] for name, amount in balances.items() if name in price and amount > 0.0}
    owed = sum(
        -amount * price[name] * move[name] for name, amount in balances.items() if name in price and amount < 0.0
    )
    counted = sum(value * (1.0 - haircut) for value in held.values())
    backing = sum(value * max(move[name] - haircut, 0.0) for name, value in held.items())
    used, alone = (
        min(1.0, max(-sum_owed, 0.0) / counted) if counted > 0.0 else 0.0
        for sum_owed in (money, money - min(contracts, 0.0))
    )
    return owed + max(used * backing - charged, alone * backing)
