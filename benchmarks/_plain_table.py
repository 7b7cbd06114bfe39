"""How long the common questions take, by number of records: the answer before any detail."""

import re
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

from rich.table import Table

__all__ = ["markdown", "table"]

_QUESTIONS = {
    r"status/harbor/(\d+)": "status of every step: files in flat folders",
    r"status/eeg/(\d+)": "status of every step: a folder per record",
    r"files/eeg/(\d+)": "every file with size and time: a folder per record",
    r"groups/(\d+)": "status of members and of groups of 100 (listing given)",
    r"ui/(\d+)": "first page of `sinagot-catalog ui`",
    r"run/(\d+)x0.2ms": "run a step of 0.2 ms by 2 workers",
    r"nothing-to-do/(\d+)": "run again, nothing to do",
    r"network/status/eeg/(\d+)": "status, 1 ms for each question to the disk",
    r"memory/status/eeg/(\d+)": "memory of the status: a folder per record",
    r"memory/run/(\d+)": "memory of the run, workers included",
}


def table(result: dict[str, Any]) -> Table | None:
    """The table for a terminal; None where none of the questions was measured."""
    heads, *rows = _lines(result)
    if not rows:
        return None
    shown = Table(
        title="How long does it take? In brackets: times the floor, which does the same by other means"
    )
    for number, head in enumerate(heads):
        shown.add_column(head, justify="right" if number else "left")
    for row in rows:
        shown.add_row(*row)
    return shown


def markdown(result: dict[str, Any]) -> str:
    """The same for a page."""
    heads, *rows = _lines(result)
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads, ["---"] * len(heads), *rows)) + "\n"


def _lines(result: dict[str, Any]) -> Iterator[Sequence[str]]:
    found: dict[tuple[str, int], str] = {}
    floors: dict[str, str] = {}
    for one in result["measurements"]:
        for pattern, question in _QUESTIONS.items():
            if matched := re.fullmatch(pattern, one["name"]):
                found[question, int(matched[1])] = _cell(one)
                floors[question] = one["floor"]
    sizes = sorted({size for _, size in found})
    yield ["", *(f"{size:,} records" for size in sizes), "floor"]
    for question in _QUESTIONS.values():
        if question in floors:
            yield [question, *(found.get((question, size), "") for size in sizes), floors[question]]


def _cell(one: dict[str, Any]) -> str:
    ours = median(one["ours"])
    if one["unit"] != "s":
        return f"{ours:,.0f} {one['unit']}"
    ratio = f" ({ours / median(one['floors']):.2f}x)" if one["floors"] else ""
    return f"{ours:,.3g} s{ratio}"
