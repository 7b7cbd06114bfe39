"""The figures of `keys` as a table: a row for each question, a column for each size of the listing."""

from collections.abc import Iterator
from statistics import median
from typing import Any

from rich.table import Table

from benchmarks.keys import QUESTIONS

__all__ = ["is_of_keys", "markdown", "points", "table"]

_ORDER = list(QUESTIONS)


def is_of_keys(measurement: dict[str, Any]) -> bool:
    """Whether a measurement is one of `keys`."""
    return str(measurement["name"]).startswith("keys/")


def points(result: dict[str, Any]) -> dict[tuple[str, int, str], tuple[float, float]]:
    """For each question, size and unit the figure of ours and that of plain Polars."""
    found = {}
    for one in filter(is_of_keys, result["measurements"]):
        _, size, question, *_ = one["name"].split("/")
        found[question, int(size), one["unit"]] = median(one["ours"]), median(one["floors"])
    return found


def table(result: dict[str, Any]) -> Table:
    """The table for a terminal."""
    heads, *rows = _lines(result)
    shown = Table(title="Processor seconds and memory held, in brackets times those of plain Polars")
    for number, head in enumerate(heads):
        shown.add_column(head, justify="right" if number else "left")
    for row in rows:
        shown.add_row(*(cell.replace("<br>", "\n") for cell in row))
    return shown


def markdown(result: dict[str, Any]) -> str:
    """The same for a page."""
    heads, *rows = _lines(result)
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads, ["---"] * len(heads), *rows)) + "\n"


def _lines(result: dict[str, Any]) -> Iterator[list[str]]:
    found = points(result)
    sizes = sorted({size for _, size, _ in found})
    yield ["", *(f"{size:,} keys" for size in sizes)]
    for question in sorted({one for one, _, _ in found}, key=_ORDER.index):
        cells = [_cell(found, question, size) for size in sizes]
        yield [f"`{QUESTIONS[question]}`", *cells]


def _cell(found: dict[tuple[str, int, str], tuple[float, float]], question: str, size: int) -> str:
    if (question, size, "s") not in found:
        return ""
    (ours, plain), (held, held_plain) = found[question, size, "s"], found[question, size, "MB"]
    return f"{ours:.3g} s ({ours / plain:.1f}x)<br>{held:,.0f} MB ({held / held_plain:.1f}x)"
