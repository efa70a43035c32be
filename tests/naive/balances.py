"""What balances cost a model that does not move them, in plain Python: one rate for a rise, one for a fall."""

from __future__ import annotations

from collections.abc import Mapping


def balance_charge(
    balances: Mapping[str, float],
    price: Mapping[str, float],
    move: Mapping[str, float],
    haircut: float,
    asked: Mapping[str, float] | None = None,
    charged: float = 0.0,
) -> float:
    """The charge for the balances of one account.

    balances  units by name; what has no price is money
    price     margin currency per unit of each asset
    move      share of its value that each asset may rise or fall by
    haircut   share of a balance held that does not count, and that a fall has to get beyond
    asked     currency that contracts pay in -> what they are asked for; what is no asset is money
    charged   what is asked for money owed through contracts already
    """
    asked = asked or {}
    worth = {name: amount * price.get(name, 1.0) for name, amount in balances.items()}
    owed = {name: -value for name, value in worth.items() if name in price and value < 0.0}
    held = {name: value for name, value in worth.items() if name in price and value > 0.0}
    money = sum(value for name, value in worth.items() if name not in price)
    debts = sum(value * (1.0 + move[name]) for name, value in owed.items()) - money
    need = sum(max(amount - held.get(currency, 0.0), 0.0) for currency, amount in asked.items())
    free = {name: max(value - asked.get(name, 0.0), 0.0) for name, value in held.items()}
    left = sum(value * max(1.0 - max(haircut, move[name]), 0.0) for name, value in free.items())
    backing = sum(value * max(move[name] - haircut, 0.0) for name, value in free.items())
    used, alone = (min(1.0, max(sum_owed, 0.0) / left) if left > 0.0 else 0.0 for sum_owed in (debts + need, debts))
    rise = sum(value * move[name] for name, value in owed.items())
    return rise + max(used * backing - charged, alone * backing)
