"""Resources of steps: reads what a row needs, from `RESOURCES` of a script or `resources` of `[steps.NAME]`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sinagot_catalog.config.quantities import parse_duration, parse_size
from sinagot_catalog.errors import did_you_mean
from sinagot_catalog.journal import Resources

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sinagot_catalog.config.model import Document


def parse_resources(table: Mapping[str, Any]) -> Resources:
    """Read the resources of a step.

    Raises:
        ValueError: A name is not a resource, or a value is not a quantity of it.

    Example:
        >>> parse_resources({"cpus": 4, "memory": "8GB", "time": "2h"})
        Resources(cpus=4, memory=8000000000, gpus=0, time=7200.0)
        >>> parse_resources({"cpu": 4})
        Traceback (most recent call last):
        ValueError: 'cpu' is not a resource; did you mean 'cpus'?
    """
    for name, sentence in _faults(table):
        raise ValueError(sentence if name not in Resources._fields else f"{name}: {sentence}")
    return Resources(**{name: _amount(name, value) for name, value in table.items()})


def resource_faults(model: Document) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Faults of the resources in `[steps.NAME]`, with their addresses."""
    for step, table in model.steps.tables.items():
        for name, sentence in _faults(table.resources or {}):
            yield ("steps", step, "resources", name), sentence


def _faults(table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The wrong entries of a table, each with a sentence."""
    for name, value in table.items():
        if name not in Resources._fields:
            known = f"; the resources are {', '.join(Resources._fields)}"
            yield name, f"{name!r} is not a resource{did_you_mean(name, Resources._fields, most=1) or known}"
            continue
        try:
            _amount(name, value)
        except ValueError as error:
            yield name, str(error)


def _amount(name: str, value: object) -> Any:
    """The amount of one resource: a number, bytes or seconds."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if name in ("cpus", "gpus"):
        least = 1 if name == "cpus" else 0
        if not (isinstance(value, int) and is_number and value >= least):
            raise ValueError(f"{value!r} is not a whole number from {least}")
        return value
    parse, example = (parse_size, "8GB") if name == "memory" else (parse_duration, "2h")
    amount = value if is_number else parse(value) if isinstance(value, str) else 0
    if not (isinstance(amount, (int, float)) and 0 < amount < float("inf")):
        raise ValueError(f"{value!r} is not an amount such as {example}")
    return int(amount) if name == "memory" else float(amount)
