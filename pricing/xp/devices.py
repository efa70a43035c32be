"""Where jax computes: rows shared out among devices, in blocks that fit their memory.

jax puts what it computes on an accelerator where it sees one, and on the processor otherwise. Nothing here changes a
number: rows are computed by themselves, or added up in whole ticks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from pricing.errors import ConfigError

AXIS = "rows"
# How a table lies on the devices: a part of its rows on each, or all of it on every one.
SHARED, EVERYWHERE = PartitionSpec(AXIS), PartitionSpec()
# Of the memory of an accelerator that is free, what one block may take; on a processor, about what its caches hold.
MEMORY_SHARE = 0.25
HOST_BYTES = 32 * 2**20
LEAST_ROWS = 256
# A shape takes a second to compile. So many rows are computed in the time of a few calls; beyond the second number
# sizes lie closer together.
FEW_ROWS, MANY_ROWS = 256, 4096


def mesh_of(devices: int | None) -> Mesh:
    """The first so many devices of the platform that jax prefers, in a row; None for the one it uses by default.

    ConfigError where jax sees fewer.
    """
    chosen: Any = getattr(jax.config, "jax_default_device", None)
    if devices is None and chosen is not None:
        return Mesh(np.array([jax.devices(chosen)[0] if isinstance(chosen, str) else chosen]), (AXIS,))
    found = jax.devices()
    if devices is not None and devices > len(found):
        seen = f"{len(found)} device{'s' if len(found) > 1 else ''} ({found[0].platform})"
        raise ConfigError(f"backend = 'jax:{devices}': jax sees {seen}")
    return Mesh(np.array(found[: devices or 1]), (AXIS,))


def shared_out(function: Callable[..., Any], mesh: Mesh, given: Any, results: Any) -> Any:
    """The function compiled, each device of the mesh calling it with its own rows.

    given, results   SHARED or EVERYWHERE for every array that goes in and comes out, nested as they are
    """
    share: Any = getattr(jax, "shard_map", None)
    if share is None:
        from jax.experimental.shard_map import shard_map

        share = shard_map
    return jax.jit(share(function, mesh=mesh, in_specs=given, out_specs=results))


def rows_at_once(rows: int, bytes_each: int, mesh: Mesh) -> int:
    """Rows that one device computes at a time: a power of two, so that few shapes are compiled.

    rows        there are in all
    bytes_each  that one of them takes while it is computed
    """
    fits = max(int(_free_bytes(mesh) // max(bytes_each, 1)), LEAST_ROWS)
    needed = max(-(-rows // mesh.size), 1)
    return min(2 ** (fits.bit_length() - 1), power_of_two(needed))


def power_of_two(count: int) -> int:
    """The least power of two that is not below a count of 1 or more."""
    return 1 << (count - 1).bit_length()


def room_for(rows: int) -> int:
    """Rows with those they are filled up with: few sizes, of which the large ones have an eighth more at most."""
    if rows <= MANY_ROWS:
        return power_of_two(max(rows, FEW_ROWS))
    step = power_of_two(rows) // 16
    return step * -(-rows // step)


def filled_up(columns: tuple[Any, ...], room: int) -> tuple[Any, ...]:
    """Columns of one length or more, of so many rows: the last one again and again."""
    rows = len(columns[0])
    return tuple(np.concatenate([column, np.repeat(column[-1:], room - rows, axis=0)]) for column in columns)


def _free_bytes(mesh: Mesh) -> float:
    """What a block may take on every device of a mesh."""
    stats = [device.memory_stats() or {} for device in mesh.devices.flat if device.platform != "cpu"]
    free = [known["bytes_limit"] - known.get("bytes_in_use", 0) for known in stats if "bytes_limit" in known]
    return MEMORY_SHARE * min(free) if free and len(free) == mesh.size else HOST_BYTES


def device_kinds() -> tuple[str, ...]:
    """Platform and kind of every device of the platform that jax prefers, once where they have one word, as "cpu"."""
    return tuple(" ".join(dict.fromkeys((device.platform, device.device_kind))) for device in jax.devices())
