"""JSON text into plain values: what other readers pass over in silence is refused."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from portfolio_margin.io.tables import refuse


def parsed_json(file: str, content: bytes, *, strict_numbers: bool = False) -> Any:
    """The document in JSON text.

    file            what messages call it
    strict_numbers  refuse NaN and Infinity, which are no JSON

    DataError for text that is no JSON in UTF-8, and for an object with one key twice, of which JSON keeps the last.
    """
    constant = {"parse_constant": _no_constant} if strict_numbers else {}
    try:
        return json.loads(content.decode("utf-8"), object_pairs_hook=_once, **constant)  # type: ignore[arg-type]
    except _Twice as error:
        refuse(file, error.key, error.values, f"{error.key} given twice, and only the last one would count")
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        refuse(file, "content", str(error), "this is not valid JSON text in UTF-8")


class _Twice(Exception):
    """A key that stands twice in one object, and what it is given."""

    def __init__(self, key: str, values: str) -> None:
        self.key, self.values = key, values
        super().__init__(key)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        names = [name for name, _ in pairs]
        key = next(name for name in names if names.count(name) > 1)
        values = " and ".join(_shown(value) for name, value in pairs if name == key)
        raise _Twice(key, values)
    return document


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 30 else f"{text[:30]}..."


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON; write null where there is no number")
