"""Hash of numbers, texts and arrays: the same content gives the same digest on any machine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np


def hash_parts(parts: list[Any]) -> str:
    """SHA-256 over numbers, texts, arrays, sequences and mappings of them.

    Arrays count with their kind and shape, texts by their characters and not by the width of the column that
    holds them, numbers by their value and not by the library they come from, mappings in the order of their keys.
    """
    hasher = hashlib.sha256()
    for part in parts:
        _feed(hasher, part)
    return hasher.hexdigest()


def _feed(hasher: Any, part: Any) -> None:
    if isinstance(part, np.ndarray) and part.dtype.kind == "U":
        # Lengths tell where one text ends and the next begins.
        hasher.update(f"text{part.shape}".encode() + np.strings.str_len(part).tobytes())
        hasher.update("".join(part.ravel().tolist()).encode("utf-8", "surrogatepass"))
    elif isinstance(part, np.ndarray):
        hasher.update(f"{part.dtype.str}{part.shape}".encode())
        hasher.update(np.ascontiguousarray(part).tobytes())
    elif isinstance(part, Mapping):
        _feed(hasher, sorted(part.items()))
    elif isinstance(part, str):
        hasher.update(f"text{len(part)}".encode() + part.encode("utf-8", "surrogatepass"))
    elif isinstance(part, (list, tuple)):
        hasher.update(f"sequence{len(part)}".encode())
        for item in part:
            _feed(hasher, item)
    else:
        hasher.update(repr(part.item() if isinstance(part, np.generic) else part).encode())
    hasher.update(b"\x00")
