"""`python -m benchmarks chart JSON... -o growth.svg`: how time and memory grow with the records, tool by tool."""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks._compare import earlier
from benchmarks._peers_table import figures
from benchmarks._tools import OURS

__all__ = ["main"]

_PANELS = (
    ("list", "seconds", "List the ids, seconds"),
    ("status", "seconds", "Status of every record, half done, seconds"),
    ("run", "seconds", "Run all, seconds"),
    ("run", "MB", "Memory held by the run, MB"),
)
_THEMES = {
    "light": {"text": "#1f2328", "grid": "#d1d9e0", "ours": "#cf222e", "peer": "light"},
    "dark": {"text": "#e6edf3", "grid": "#3d444d", "ours": "#ff7b72", "peer": "dark"},
}
# Told apart in light and dark, also by those who see colours otherwise; the shapes say it once more.
_COLOURS = {
    "light": ("#0550ae", "#1a7f37", "#8250df", "#9a6700", "#57606a", "#0f8b8d", "#bf3989"),
    "dark": ("#79c0ff", "#56d364", "#d2a8ff", "#e3b341", "#9198a1", "#5ee0e2", "#f778ba"),
}
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "stroke")


def main(arguments: list[str]) -> int:
    """Draw the chart twice: as named for light pages, and `-dark` beside it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks chart", description=__doc__)
    parser.add_argument(
        "results", nargs="+", type=partial(earlier, "peers"), metavar="JSON", help="what `peers --json` wrote"
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


def _drawn(results: list[dict[str, Any]], theme: str) -> Any:
    import altair as alt
    import polars as pl

    rows = _rows(results)
    colours = _THEMES[theme]
    tools = list(dict.fromkeys(tool["name"] for result in results for tool in result["tools"]))
    tools = [one for one in tools if any(row["tool"] == one for row in rows)]
    peers = iter(_COLOURS[theme])
    scale = [colours["ours"] if one == OURS.name else next(peers) for one in tools]
    tool = alt.Color("tool:N").scale(domain=tools, range=scale).sort(tools).title(None)
    shape = alt.Shape("tool:N").scale(domain=tools, range=list(_SHAPES[: len(tools)])).sort(tools).title(None)
    sizes = sorted({row["records"] for row in rows})
    panels = []
    for number, (_, unit, title) in enumerate(_PANELS):
        mine = [row for row in rows if row["panel"] == number]
        base = alt.Chart(pl.DataFrame(mine), title=title, width=330, height=220).encode(
            x=alt.X("records:Q").scale(type="log").axis(values=sizes, format="~s").title("records"),
            y=alt.Y("value:Q")
            .scale(type="log")
            .axis(format="~g" if unit == "seconds" else "~s", tickCount=5)
            .title(None),
            color=tool,
        )
        ours = alt.condition(alt.datum.tool == OURS.name, alt.value(3.5), alt.value(1.5))
        lines = base.mark_line().encode(strokeWidth=ours, detail="tool:N")
        points = (
            base.transform_filter("!datum.capped")
            .mark_point(filled=True, size=45, opacity=1)
            .encode(shape=shape)
        )
        capped = base.transform_filter("datum.capped").mark_text(text="✕", fontSize=13, fontWeight="bold")
        panels.append(lines + points + capped)
    chart = alt.concat(*panels, columns=2, spacing=28)
    return (
        chart.configure(background="transparent", font="sans-serif")
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=colours["text"],
            titleColor=colours["text"],
            gridColor=colours["grid"],
            domainColor=colours["grid"],
            tickColor=colours["grid"],
            labelFontSize=11,
            titleFontWeight="normal",
        )
        .configure_title(color=colours["text"], anchor="start", fontSize=13)
        .configure_legend(
            labelColor=colours["text"], orient="bottom", columns=4, labelFontSize=12, symbolStrokeWidth=2
        )
    )
