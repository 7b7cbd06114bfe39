"""The figures of `peers` as tables: for a terminal all of them, for a page those of one size."""

from collections.abc import Iterator
from typing import Any, Literal

from rich.markup import escape
from rich.table import Table

from benchmarks._book import Figure
from benchmarks._tools import OURS, TASKS, Task

__all__ = ["figures", "markdown", "tables"]

_TITLES: dict[Task, str] = {
    "list": "list the ids",
    "status": "status of every record, half done",
    "run": "run all",
    "again": "run again, nothing to do",
}


def figures(result: dict[str, Any]) -> dict[tuple[str, Task, int], Figure]:
    """The figures of a JSON."""
    return {(one["tool"], one["task"], one["records"]): Figure(**one) for one in result["measurements"]}


def tables(result: dict[str, Any]) -> Iterator[Table]:
    """A table for each task, tools by sizes, then what each tool is and why something is missing."""
    found = figures(result)
    sizes = sorted({records for _, _, records in found})
    for task in TASKS:
        table = Table(
            title=f"{_TITLES[task]}: seconds (times ours), processor time, MB held", title_justify="left"
        )
        table.add_column("")
        for records in sizes:
            table.add_column(f"{records:,}", justify="right")
        for tool in _there(result):
            cells = (_cell(found, tool["name"], task, records) for records in sizes)
            table.add_row(f"{tool['name']} {tool['version']}", *cells)
        yield table
    about = Table(title=f"{result['machine']}, {result['time'][:10]}, disk cache warm", title_justify="left")
    about.add_column("")
    about.add_column("one record", overflow="fold")
    about.add_column("beside that", overflow="fold")
    about.add_column("left out", overflow="fold")
    for tool in result["tools"]:
        left_out = [f"skipped: {tool['skipped']}"] if "skipped" in tool else _left_out(found, tool["name"])
        about.add_row(tool["name"], tool["way"], tool["beside"], escape("\n".join(left_out)))
    yield about


def markdown(result: dict[str, Any], records: int) -> str:
    """The tools at one size: processor seconds, how many times ours, and the clock and memory of the run."""
    found = figures(result)
    heads = [f"{records:,} records", *_TITLES.values(), "the run on the clock", "memory of the run"]
    lines = [
        f"| {' | '.join(heads)} |",
        f"|{' --- |' * len(heads)}",
    ]
    for tool in _there(result):
        cells = [_short(found, tool["name"], task, records, result["cap"]) for task in TASKS]
        run = found.get((tool["name"], "run", records))
        held = f"{run.peak:.0f} MB" if run and run.peak else ""
        clock = f"{_seconds(run.middle)}{_times(found, run)}" if run and run.middle else ""
        cells += [clock, held]
        lines.append(f"| {tool['name']} {tool['version']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _there(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [tool for tool in result["tools"] if "skipped" not in tool]


def _left_out(found: dict[tuple[str, Task, int], Figure], tool: str) -> list[str]:
    """Each reason once, with what it is the reason for."""
    reasons: dict[str, list[str]] = {}
    for figure in found.values():
        if figure.tool == tool and figure.outcome != "done":
            reasons.setdefault(figure.reason, []).append(f"{figure.task} {figure.records:,}")
    return [f"{', '.join(what)}: {reason}" for reason, what in reasons.items()]


def _cell(found: dict[tuple[str, Task, int], Figure], tool: str, task: Task, records: int) -> str:
    figure = found.get((tool, task, records))
    if figure is None or figure.outcome == "skipped":
        return ""
    if figure.foretold is not None:
        return f"[dim]~ {figure.foretold:,.0f} s[/]"
    if figure.middle is None:
        return escape(figure.reason) if figure.outcome == "capped" else "[red]failed[/]"
    held = "" if figure.peak is None else f" {figure.peak:.0f} MB"
    used = "" if figure.processor is None else f" {_seconds(figure.processor)}"
    return f"{_seconds(figure.middle)}{_times(found, figure)}[dim]{used}{held}[/]"


def _short(
    found: dict[tuple[str, Task, int], Figure], tool: str, task: Task, records: int, cap: float
) -> str:
    figure = found.get((tool, task, records))
    if figure is None:
        return ""
    if figure.processor is not None:
        return f"{_seconds(figure.processor)}{_times(found, figure, 'processor')}"
    if figure.foretold is not None:
        return f"~ {figure.foretold:,.0f} s on the clock"
    if figure.reason == "the time was over":
        return "not measured"
    return (
        f"> {cap:g} s on the clock"
        if figure.outcome == "capped"
        else "failed"
        if figure.outcome == "failed"
        else "-"
    )


def _times(
    found: dict[tuple[str, Task, int], Figure],
    figure: Figure,
    what: Literal["middle", "processor"] = "middle",
) -> str:
    ours = found.get((OURS.name, figure.task, figure.records))
    there, here = getattr(figure, what), getattr(ours, what, None)
    if not there or not here or figure.tool == OURS.name:
        return ""
    ratio = there / here
    return f" ({ratio:.0f}x)" if ratio >= 9.5 else f" ({ratio:.1f}x)" if ratio >= 0.95 else f" ({ratio:.2f}x)"


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 99.5 else f"{seconds:.3g} s"
