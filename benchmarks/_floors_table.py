"""The figures beside their floors as tables, from the JSON that was written of them."""

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

from rich.table import Table

__all__ = ["markdown", "table"]


def table(results: Sequence[dict[str, Any]]) -> Table:
    """A row for each measurement, for a terminal."""
    titles = dict.fromkeys(_title(result) for result in results)
    shown = Table(title="\n".join(titles))
    for column in ("measured", "ours", "floor", "ratio", "spread", "to reach", ""):
        justify: Any = "left" if column == "measured" else "right"
        shown.add_column(column, justify=justify, no_wrap=column != "measured")
    verdicts = {True: "yes", False: "[bold red]missed[/]", None: ""}
    for one in _measurements(results):
        shown.add_row(
            f"{one['name']}\n[dim]{_said(one)}[/]",
            _amount(one["ours"], one["unit"]),
            _amount(one["floors"], one["unit"]),
            *_ratio(one),
            _goal(one),
            verdicts[one["is_met"]],
        )
    return shown


def markdown(results: Sequence[dict[str, Any]], *, goals: bool = False) -> str:
    """The same as a Markdown table, with the machines and days of the figures before it.

    Args:
        results: The JSONs.
        goals: Leave out what has no number to reach.
    """
    heads = ("measured", "beside", "ours", "floor", "ratio", "spread", "to reach", "met", "day, load")
    lines = [
        *dict.fromkeys(_title(result) for result in results),
        "",
        _line(heads),
        "|" + " --- |" * len(heads),
    ]
    verdicts = {True: "yes", False: "**no**", None: ""}
    for one in _measurements(results):
        if goals and one["goal"] is None:
            continue
        cells = (
            f"`{one['name']}`: {one['what']}",
            one["floor"],
            _amount(one["ours"], one["unit"]),
            _amount(one["floors"], one["unit"]),
            *_ratio(one),
            _goal(one),
            verdicts[one["is_met"]],
            ", ".join([one.get("day", ""), *([f"{one['load']:.0f}"] if "load" in one else ())]),
        )
        lines.append(_line(cells))
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _measurements(results: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Of a measurement that several results have, the latest."""
    latest = {}
    for result in sorted(results, key=lambda one: str(one["time"])):
        latest.update({one["name"]: one for one in result["measurements"]})
    yield from latest.values()


def _title(result: dict[str, Any]) -> str:
    versions = result["versions"]
    return f"{result['machine']}, {result['time'][:10]}, Python {versions['python']}, polars {versions['polars']}"


def _said(one: dict[str, Any]) -> str:
    return f"{one['what']} / {one['floor']}" if one["floor"] else str(one["what"])


def _goal(one: dict[str, Any]) -> str:
    if one["goal"] is None:
        return ""
    sign, limit = one["goal"].split()
    return f"{sign} {float(limit):g}{'' if one['floors'] else ' ' + one['unit']}"


def _ratio(one: dict[str, Any]) -> tuple[str, str]:
    """The middle ratio, and the lowest and highest of the rounds."""
    if not one["floors"]:
        return "", ""
    return f"{one['figure']:.2f}", f"{min(one['figures']):.2f} - {max(one['figures']):.2f}"


def _amount(figures: Sequence[float], unit: str) -> str:
    if not figures:
        return ""
    middle = median(figures)
    if unit != "s":
        return f"{middle:.0f} {unit}".rstrip()
    return f"{middle:.2f} s" if middle >= 1 else f"{middle * 1000:.3g} ms"
