"""Names offered in place of unknown ones."""

from __future__ import annotations

import pytest

from portfolio_margin.nearest import COMPARED, did_you_mean, did_you_mean_or_known, nearest

KNOWN = ["iron-condor-01", "iron-condor-07", "short-strangle-01", "box-01", "Market-Maker-01"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("iron-condor-77", ["iron-condor-07", "iron-condor-01"]),
        ("IRON-CONDOR-07", ["iron-condor-07", "iron-condor-01"]),
        ("market-maker-01", ["Market-Maker-01"]),
        ("strangle", ["short-strangle-01"]),
        ("iron", ["iron-condor-01", "iron-condor-07"]),
        ("zz", []),
        ("", []),
        (" ", []),
    ],
)
def test_nearest(name: str, found: list[str]) -> None:
    assert nearest(name, KNOWN) == found


def test_longest_agreement_from_the_left_comes_first() -> None:
    names = ["BTC-27MAR26-90000-C", "BTC-27MAR26-90000-P", "ETH-27MAR26-90000-C"]
    assert nearest("BTC-27MAR26-90001-C", names, 1) == ["BTC-27MAR26-90000-C"]


def test_sentences() -> None:
    assert did_you_mean("bx-01", KNOWN) == "; did you mean box-01?"
    assert did_you_mean("zz", KNOWN) == ""
    assert did_you_mean_or_known("zz", KNOWN[:2]) == "; known: iron-condor-01, iron-condor-07"
    assert did_you_mean_or_known("zz", []) == "; known: none"
    assert did_you_mean_or_known("zz", [f"account-{n}" for n in range(20)]).endswith("account-11 and 8 more")


def test_many_names_are_searched_by_their_beginning() -> None:
    many = [f"account-{n:06d}" for n in range(COMPARED + 1)] + ["other-1"]
    assert nearest("account-000007x", many, 1) == ["account-000007"]
    assert nearest("othr-1", many) == ["other-1"]
