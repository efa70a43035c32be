"""What is said of a margin in parts when it is done: the same of one machine and of a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from portfolio_margin.cli.inputs import Session
from portfolio_margin.cli.output import amount_text, count_text, emit, moment_text
from portfolio_margin.cli.tell import tell
from portfolio_margin.io.part_files import MANIFEST
from portfolio_margin.io.results import money_text
from portfolio_margin.io.told import Told
from portfolio_margin.requirement import parameters_text


def tell_parts(manifest: Mapping[str, Any], session: Session, output: str, kept: int) -> bool:
    """Print counts by status, totals, parameters and what is told, and say what was written.

    manifest  as `margin_parts.write_manifest` returns it
    output    the folder
    kept      parts in it that were there before

    True where an account is below maintenance margin or bears risk that the model has no rule for, which is told.
    """
    emit("\n".join(_lines(manifest, session)) + "\n")
    before = f", {kept} of them from before" if kept else ""
    files = len(manifest["parts"])
    tell(f"wrote {output}: {manifest['accounts']:,} accounts in {files} files{before}, and {MANIFEST}")
    below, blind = manifest["below_maintenance"], manifest["unmargined"]
    if below:
        tell(f"below maintenance margin: {below:,} accounts")
    if blind:
        tell(f"margin of a part only, as the model has no rule for positions that bear risk: {blind:,} accounts")
    return bool(below or blind)


def _lines(manifest: Mapping[str, Any], session: Session) -> list[str]:
    by_status = ", ".join(f"{count:,} {name}" for name, count in manifest["status"].items() if count)
    totals = {name: amount_text(money_text(amount) or "") for name, amount in manifest["totals"].items()}
    remarks = Told(notes=tuple(manifest["notes"]), warnings=tuple(manifest["warnings"])).remarks()
    return [
        f"{manifest['model_id']} margin of {session.source} at {moment_text(manifest['as_of_ms'])}",
        f"{manifest['accounts']:,} accounts: {by_status or 'none'}",
        f"totals: equity {totals['equity']}, initial {totals['initial_margin']}, "
        f"maintenance {totals['maintenance_margin']} {manifest['currency']}",
        f"book {manifest['book_hash']}, parameters {manifest['parameters_hash']}, engine {manifest['engine_version']}",
        f"{manifest['model_id']}: {parameters_text(manifest)}",
        f"{manifest['positions']:,} positions and {manifest['balances']:,} balances, "
        f"excluded: {count_text(manifest['positions_excluded'])}",
        f"market rows left out: {count_text(len(session.told.left_out))}",
        *remarks,
    ]
