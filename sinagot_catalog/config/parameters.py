"""Parameters of a workspace: which values a step has in a task, from the tables of `workspace.toml`.

`[params]` holds for every step. `[tasks.T.params]` has precedence over it, and `[steps.NAME.params]` over both.
Tables in them are merged key by key.
"""

from __future__ import annotations

import math
from functools import reduce
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sinagot_catalog.config.model import Document
    from sinagot_catalog.config.reader import Config

RESERVED = "record"


def params_of(config: Config | Document, step: str, task: str | None) -> dict[str, Any]:
    """The parameters of a step in a task."""
    tables: list[Mapping[str, Any]] = [config.params]
    if task is not None and task in config.tasks:
        tables.append(config.tasks[task].params)
    tables.append(config.steps.table(step).params or {})
    return reduce(_merged, tables, {})


def _merged(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Two tables as one; a value of the upper table has precedence."""
    merged = dict(lower)
    for name, value in upper.items():
        below = merged.get(name)
        merged[name] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def parameter_faults(model: Document) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Faults of parameters: the key that is reserved, numbers that no journal can hold."""
    tables: dict[tuple[str, ...], Mapping[str, Any]] = {("params",): model.params}
    tables |= {("tasks", name, "params"): task.params for name, task in model.tasks.items()}
    tables |= {("steps", name, "params"): table.params or {} for name, table in model.steps.tables.items()}
    for address, table in tables.items():
        if RESERVED in table:
            yield (
                (*address, RESERVED),
                "is a reserved name: self.record has the values of the record; rename it",
            )
        yield from _not_finite(address, table)


def _not_finite(address: tuple[str | int, ...], value: object) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _not_finite((*address, name), inner)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _not_finite((*address, number), inner)
    elif isinstance(value, float) and not math.isfinite(value):
        yield address, f"{value} is not a finite number"
