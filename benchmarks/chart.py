"""`python -m benchmarks chart JSON... -o growth.svg`: how time and memory grow, tool by tool."""

import argparse
import math
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks import _keys_table
from benchmarks._compare import earlier_of_any_kind
from benchmarks._peers_table import figures
from benchmarks._tools import OURS

__all__ = ["main"]

_PANELS = (
    ("list", "seconds", "List the ids, seconds"),
    ("status", "seconds", "Status of every record, half done, seconds"),
    ("run", "seconds", "Run all, seconds"),
    ("run", "MB", "Memory held by the run, MB"),
)
_OF_KEYS = {"s": "Processor seconds", "MB": "Memory held, MB"}
_PLAIN = "plain Polars: status"
_THEMES = {
    "light": {"text": "#1f2328", "grid": "#d1d9e0", "ours": "#cf222e"},
    "dark": {"text": "#e6edf3", "grid": "#3d444d", "ours": "#ff7b72"},
}
# Told apart in light and dark, also by those who see colours otherwise; the shapes say it once more.
_COLOURS = {
    "light": ("#0550ae", "#1a7f37", "#8250df", "#9a6700", "#57606a", "#0f8b8d", "#bf3989", "#7d4e24"),
    "dark": ("#79c0ff", "#56d364", "#d2a8ff", "#e3b341", "#9198a1", "#5ee0e2", "#f778ba", "#d9a066"),
}
_SHAPES = (
    "circle",
    "square",
    "triangle-up",
    "diamond",
    "cross",
    "triangle-down",
    "triangle-right",
    "triangle-left",
    "wedge",
)


def main(arguments: list[str]) -> int:
    """Draw the chart twice: as named for light pages, and `-dark` beside it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks chart", description=__doc__)
    parser.add_argument(
        "results",
        nargs="+",
        type=_of_peers_or_keys,
        metavar="JSON",
        help="what `peers --json` wrote; or one of `keys --json`",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.svg")
    asked = parser.parse_args(arguments)
    try:
        import vl_convert  # noqa: F401 - what altair writes SVG with
    except ImportError:
        print("The chart needs altair and vl-convert: pip install 'sinagot-catalog[bench]'", file=sys.stderr)
        return 2
    output: Path = asked.output
    for theme in _THEMES:
        path = output if theme == "light" else output.with_stem(f"{output.stem}-{theme}")
        _drawn(asked.results, theme).save(str(path), format="svg")
    return 0


def _of_peers_or_keys(text: str) -> dict[str, Any]:
    """Read a JSON of `peers` or `keys`.

    Raises:
        argparse.ArgumentTypeError: There is none, or it is of another kind.
    """
    result = earlier_of_any_kind(text)
    kind = result.get("kind", "floors")
    if kind != "peers" and not _keys_table.points(result):
        raise argparse.ArgumentTypeError(f"{text} has figures of another kind ({kind}, not peers or keys)")
    return result


def _rows(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each point of each panel; a measurement that was ended at the cap is a point at the cap."""
    rows: list[dict[str, Any]] = []
    for result in results:
        for figure in figures(result).values():
            for panel, (task, unit, _) in enumerate(_PANELS):
                value = figure.middle if unit == "seconds" else figure.peak
                capped = figure.outcome == "capped" and unit == "seconds"
                if task == figure.task and (value or capped):
                    at = {"panel": panel, "tool": figure.tool, "records": figure.records}
                    rows.append({**at, "value": value or result["cap"], "capped": capped})
    return rows


def _rows_of_keys(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The same of a JSON of `keys`: questions are in the place of tools."""
    rows = []
    for (question, size, unit), (ours, plain) in _keys_table.points(result).items():
        at = {"panel": list(_OF_KEYS).index(unit), "records": size, "capped": False}
        rows.append({**at, "tool": question, "value": ours})
        if question == "status":
            rows.append({**at, "tool": _PLAIN, "value": plain})
    return rows


def _drawn(results: list[dict[str, Any]], theme: str) -> Any:
    import altair as alt

    if "tools" in results[0]:
        rows, titles, x = _rows(results), [title for *_, title in _PANELS], "records"
    else:
        rows, titles, x = _rows_of_keys(results[0]), list(_OF_KEYS.values()), "keys"
    rows.sort(key=lambda row: row["tool"] == OURS.name)  # ours is drawn over the others
    tools = [one for one in _tools(results, rows) if any(row["tool"] == one for row in rows)]
    peers = iter(_COLOURS[theme])
    colours = [_THEMES[theme]["ours"] if one == OURS.name else next(peers) for one in tools]
    by_tool = {
        "color": alt.Color("tool:N").scale(domain=tools, range=colours).sort(tools).title(None),
        "shape": alt.Shape("tool:N")
        .scale(domain=tools, range=list(_SHAPES[: len(tools)]))
        .sort(tools)
        .title(None),
    }
    panels = [
        _panel([row for row in rows if row["panel"] == number], title, by_tool, x)
        for number, title in enumerate(titles)
    ]
    caps = sorted({f"{result['cap']:g} s" for result in results if "cap" in result})
    any_capped = any(row["capped"] for row in rows)
    said = list(dict.fromkeys(f"{result['machine']}, {result['time'][:10]}" for result in results))
    said += [f"✕ ended after {' or '.join(caps)}"] if any_capped else []
    title = alt.Title(" · ".join(said), fontWeight="normal", fontSize=12, offset=12)
    return _styled(alt.concat(*panels, columns=2, spacing=24, title=title), theme)


def _tools(results: list[dict[str, Any]], rows: list[dict[str, Any]]) -> list[str]:
    of_peers = [tool["name"] for result in results for tool in result.get("tools", ())]
    return list(dict.fromkeys(of_peers or [row["tool"] for row in rows]))


def _panel(rows: list[dict[str, Any]], title: str, by_tool: dict[str, Any], x: str) -> Any:
    import altair as alt
    import polars as pl

    if not rows:
        return alt.Chart(title=f"{title}: nothing was measured", width=330, height=200).mark_point()
    decades = [10.0**n for n in range(_decade(min, rows, "value"), _decade(max, rows, "value") + 2)]
    counts = [10**n for n in range(_decade(min, rows, "records"), _decade(max, rows, "records") + 1)]
    base = alt.Chart(pl.DataFrame(rows), title=title, width=330, height=200).encode(
        x=alt.X("records:Q", title=x)
        .scale(type="log", nice=False, padding=12)
        .axis(values=counts, format="~s"),
        y=alt.Y("value:Q")
        .scale(type="log", domain=[decades[0], decades[-1]])
        .axis(values=decades, format="~r")
        .title(None),
        color=by_tool["color"],
    )
    width = alt.condition(alt.datum.tool == OURS.name, alt.value(3.5), alt.value(1.5))
    lines = base.mark_line().encode(strokeWidth=width, detail="tool:N")
    points = base.transform_filter("!datum.capped").mark_point(filled=True, size=45, opacity=1)
    capped = base.transform_filter("datum.capped").mark_text(text="✕", fontSize=13, fontWeight="bold")
    return lines + points.encode(shape=by_tool["shape"]) + capped


def _decade(which: Callable[[Iterable[float]], float], rows: list[dict[str, Any]], column: str) -> int:
    return math.floor(math.log10(which(row[column] for row in rows)))


def _styled(chart: Any, theme: str) -> Any:
    text, grid = _THEMES[theme]["text"], _THEMES[theme]["grid"]
    return (
        chart.configure(background="transparent", font="sans-serif", aria=False)
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=text,
            titleColor=text,
            gridColor=grid,
            domainColor=grid,
            tickColor=grid,
            labelFontSize=11,
            titleFontWeight="normal",
        )
        .configure_title(color=text, subtitleColor=text, anchor="start", fontSize=13)
        .configure_legend(labelColor=text, orient="bottom", columns=8, labelFontSize=12, columnPadding=14)
    )
