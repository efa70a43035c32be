"""Every group of published vectors is run by a test, or stands in the list below until one does.

A group is a `kind` of the literature vectors, a `system` of the worked examples, a section of a derive file. It
counts as answered when a test file names it. The list only shrinks: a name on it that a test answers fails here.
"""

from __future__ import annotations

import ast
import os
import warnings
from pathlib import Path

from tests.vectors import LITERATURE, REFERENCE_VARIABLE, ROOT, WORKED, reference_files, reference_json

# Left on the list, each for a reason:
# canonical_number   numbers as RFC 8785 writes them. Digests are of the bytes of arrays (pricing/digest.py), which no
#                    layout of digits can change; no text is hashed, so that nothing would use the rule.
# merkle_*           commitments to the accounts of a venue (RFC 6962): no feature asks for them yet.
# student SPAN model an exercise of its own making, by its own name not the method of CME, which `span` follows.
UNANSWERED: dict[str, tuple[str, ...]] = {
    "literature-vectors.json": (
        "canonical_number",
        "merkle_inclusion",
        "merkle_root",
    ),
    "worked-examples.json": (
        "student SPAN model (NOT CME SPAN)",
        "student SPAN model, option legs (NOT CME SPAN)",
    ),
}

ASKING = ("literature_vectors", "worked_examples", "parametrize")
GROUP_FIELDS = {LITERATURE: ("vectors", "kind"), WORKED: ("examples", "system")}


def groups(name: str) -> set[str]:
    """The groups of a vector file."""
    content = reference_json(name)
    if name in GROUP_FIELDS:
        table, field = GROUP_FIELDS[name]
        return {vector[field] for vector in content[table]}
    return {section for section, vectors in content.items() if isinstance(vectors, list) and vectors}


def texts(node: ast.AST) -> frozenset[str]:
    """Every string constant below a node."""
    return frozenset(n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str))


def called(call: ast.Call) -> str:
    """The last name of what is called; "" where it has none."""
    function = call.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def asked_for(module: ast.Module) -> frozenset[str]:
    """The groups that a test file asks for by name, itself or through the parameters of a test."""
    calls = [node for node in ast.walk(module) if isinstance(node, ast.Call)]
    return frozenset(text for call in calls if called(call) in ASKING for text in texts(call))


def answered(name: str, asked: set[str], said: list[frozenset[str]]) -> set[str]:
    """The groups of a vector file that some test file asks for; a derive file by its own name and its section.

    asked  what test files ask for
    said   every text of each of them
    """
    if name in GROUP_FIELDS:
        return groups(name) & asked
    return groups(name) & set().union(*(own for own in said if name in own))


def test_every_group_of_vectors_is_answered_or_listed() -> None:
    here = Path(__file__).name
    files = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if path.name != here]
    modules = [ast.parse(path.read_text(encoding="utf-8")) for path in files]
    found = {(name, group) for name in reference_files() for group in groups(name)}
    asked, said = set().union(*map(asked_for, modules)), list(map(texts, modules))
    run = {(name, group) for name in reference_files() for group in answered(name, asked, said)}
    listed = {(name, group) for name, names in UNANSWERED.items() for group in names}
    assert found, f"no vector file found; set {REFERENCE_VARIABLE}"
    unknown = sorted(found - run - listed)
    if os.environ.get(REFERENCE_VARIABLE):  # somebody else's folder may hold kinds that ours does not
        if unknown:
            warnings.warn(f"no test runs {unknown}", stacklevel=1)
    else:
        assert not unknown, f"neither run by a test nor listed as unanswered: {unknown}"
    answered_now = sorted(run & listed)
    assert not answered_now, f"run by a test now, take off the list: {answered_now}"
