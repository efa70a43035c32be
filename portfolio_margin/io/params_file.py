"""A parameter file for --params: a header with its dates, and one table for every model and scenario family in it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from portfolio_margin.io.atomic import write_whole
from portfolio_margin.io.parameter_archive import plain_values, toml_table
from portfolio_margin.io.parameters import Layer, build
from pricing.errors import ConfigError


def write_params_file(
    path: str | Path, valid_from: str, said: Mapping[str, str], params: Mapping[str, Any], remarks: Mapping[str, str]
) -> None:
    """Write parameters so that `--params` has them again, number for number.

    path        of the file
    valid_from  first day they are for, YYYY-MM-DD
    said        source and note of the header
    params      name of the model or family -> its Params
    remarks     what is said behind single values, by their names with that of the table first

    ConfigError where the file would not give the parameters back; then nothing is written.
    """
    lines = [*toml_table("header", said), f"valid_from = {valid_from}"]
    for name, value in params.items():
        lines += ["", *toml_table(name, plain_values(value), remarks)]
    text = "\n".join(lines) + "\n"
    read = tomllib.loads(text)
    for name, value in params.items():
        if build(type(value), Layer(f"[{name}]", read[name])) != value:
            raise ConfigError(f"{path}: the parameters of {name} would not come back the same")
    write_whole(path, text.encode())
