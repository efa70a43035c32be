"""The command group, and how errors end: one clear text on standard error and exit code 2."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

from portfolio_margin.cli.tell import tell
from portfolio_margin.nearest import did_you_mean_or_known
from portfolio_margin.version import VERSION
from pricing.errors import EngineError

BAD_INPUT = 2
# 128 and the number of the signal, as shells have it.
INTERRUPTED = 130
STANDARD_OUTPUT = 1
PACKAGES = ("pricing", "scenarios", "portfolio_margin")
COMMANDS = {
    "margin": "Margin statements of every account.",
    "explain": "Why one account must hold what it must.",
    "report": "One account as a page with pictures, one HTML file.",
    "compare": "Every account under every margin model.",
    "what-if": "Margin of an account before and after orders.",
    "edge": "How far an account is from liquidation, in price, vol and time.",
    "isolate": "Open or close an isolated position, and what moves with it.",
    "liquidate": "What would be closed of accounts below maintenance.",
    "stress": "A crash over all accounts, with the liquidation in the loop.",
    "crowding": "On which side the accounts of a venue stand.",
    "hedge": "The cheapest trades that bring an account's margin to a target.",
    "optimise": "The trades after which an account's margin is smallest, its Greeks kept.",
    "greeks": "Greeks of contracts, positions and accounts.",
    "fit-surface": "Fit SVI slices to an option chain.",
    "calibrate": "Parameters of a margin model from price and vol histories.",
    "backtest": "Margins against what happened: coverage, shortfall, procyclicality, sets side by side.",
    "arrays": "Write the risk array file.",
    "sample": "The sample's accounts on any BTC and ETH market, as files.",
    "warmup": "Compile every kernel once.",
    "doctor": "Versions, cores, state of the compilation cache.",
}


class CommandGroup(click.Group):
    """Commands are files of this folder, imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"portfolio_margin.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; a reader of its output who has gone away is no error of ours (click would exit with 1)."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            hint = _hint(error)
            if not hint:
                raise
            raise click.UsageError(f"{error.message}: {hint}", error.ctx) from None
        except KeyboardInterrupt:
            # click would say "Aborted!" and exit with 1, which means something else here.
            tell("interrupted")
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS:
            ctx.fail(f"No such command {args[0]!r}{did_you_mean_or_known(args[0], list(COMMANDS))}")
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None:
            _refuse_second_file(ctx, command, rest)
        return name, command, rest


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(VERSION, prog_name="portfolio-margin")
def group() -> None:
    """Open portfolio margin for options. Without file arguments every command uses the shipped sample.

    Exit codes: 0 fine, 1 an account is below maintenance margin, or holds risk that the model has no rule for (with
    --check), 2 bad input, 130 interrupted.
    """


def _refuse_second_file(ctx: click.Context, command: click.Command, args: list[str]) -> None:
    """A file that is named after another of the same option would take its place without a word."""
    inner = click.Context(command, info_name=command.name, parent=ctx)
    try:
        order = command.make_parser(inner).parse_args(list(args))[2]
    except click.UsageError:
        return  # said when the command is called
    for option in order:
        single = isinstance(option, click.Option) and option.metavar == "FILE" and not option.multiple
        if single and order.count(option) > 1:
            raise click.UsageError(f"{option.opts[0]} is given {order.count(option)} times: it takes one file", inner)


def _hint(error: click.UsageError) -> str:
    """Where a file goes that was given without its option."""
    if "unexpected extra argument" not in error.message or error.ctx is None:
        return ""
    known = {option for parameter in error.ctx.command.params for option in parameter.opts}
    hints = {"--positions": "positions go after --positions", "--output": "a file for the result after --output"}
    return ", ".join(hint for option, hint in hints.items() if option in known)


def main() -> None:
    """Entry point of the console script."""
    keep_jax_compilations()
    open_streams()
    keep_results_apart()
    try:
        group(prog_name="portfolio-margin", standalone_mode=True)
    except EngineError as error:
        stop(str(error))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in PACKAGES:
            raise
        stop(f"{error.name} is not installed: install portfolio-margin again, or portfolio-margin[io] for pyarrow")
    except OSError as error:
        stop(f"{error.filename or 'input or output'}: {error.strerror or error}")


def open_streams() -> None:
    """Streams that were closed by the caller lead nowhere, instead of ending the command."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - open until the process ends


def keep_results_apart() -> None:
    """Only results go to standard output: what compiled libraries write to file descriptor 1 goes to standard error.

    HiGHS, which solves the programs of `liquidate`, `hedge` and `optimise`, prints there past its own options, in the
    middle of JSON. Until the process ends, since such text may stay in a buffer of the library; only here, where the
    process is ours, and only where `sys.stdout` is that descriptor.
    """
    old = sys.stdout
    try:
        descriptor, errors = old.fileno(), sys.stderr.fileno()
    except (OSError, ValueError):  # a stream of whoever called us, which no library can write to
        return
    if descriptor != STANDARD_OUTPUT:
        return
    old.flush()
    buffering = 1 if old.line_buffering else -1
    sys.stdout = open(os.dup(descriptor), "w", buffering, old.encoding, old.errors)  # noqa: SIM115 - as above
    # Asked for the width of the terminal.
    sys.__stdout__ = sys.stdout  # type: ignore[misc]
    os.dup2(errors, descriptor)


def keep_jax_compilations() -> None:
    """Have jax keep what it compiles on disk, unless the user chose a folder. Only here: a library has no say in it."""
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    if os.path.isabs(caches):  # a process without a home has no place to keep anything
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.path.join(caches, "portfolio-margin", "jax"))
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


def stop(message: str) -> None:
    """Say what is wrong and end with the exit code of bad input."""
    tell(f"error: {message}" if "\n" not in message else f"errors:\n{message}")
    sys.exit(BAD_INPUT)
