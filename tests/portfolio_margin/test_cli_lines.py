"""Words of the command line: what the bar says while a book is read, and numbers of things in lines of text."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from portfolio_margin.cli.book_phase import book_phase
from portfolio_margin.cli.main import group
from portfolio_margin.cli.output import amount_text, count_text, excluded_lines


def test_the_bar_names_the_file_that_is_read_and_its_size(tmp_path: Path) -> None:
    (tmp_path / "book.parquet").write_bytes(bytes(1_250_000))
    assert book_phase(str(tmp_path / "book.parquet")) == "reading positions of book.parquet, 1.2 MB"
    assert book_phase(str(tmp_path / "none.csv")) == "reading positions of none.csv"
    assert book_phase("-") == "reading positions from standard input"
    assert book_phase(None) == "reading the sample's positions"


def test_numbers_of_things_have_separators() -> None:
    assert [count_text(count) for count in (0, 999, 1234567)] == ["none", "999", "1,234,567"]
    assert excluded_lines(["a"] * 1200)[0] == "positions excluded: 1,200"


def test_amounts_have_separators_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert amount_text("1234567.80") == "1234567.80"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert [amount_text(text) for text in ("1234567.80", "-0.10", "")] == ["1,234,567.80", "-0.10", ""]


def test_an_interrupted_command_says_so_and_exits_as_shells_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(**given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("portfolio_margin.cli.optimise.command.callback", interrupted)
    done = CliRunner().invoke(group, ["optimise", "iron-condor-07"])
    assert (done.exit_code, done.output) == (130, "interrupted\n")
