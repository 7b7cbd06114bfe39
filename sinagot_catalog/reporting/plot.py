"""Plot: draws the charts of a workspace or a selection with Altair, as Polars does (extra `plot`)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import polars as pl

from sinagot_catalog.errors import UsageError
from sinagot_catalog.reporting.report_frames import durations, last_runs, shares, status_name, step_name
from sinagot_catalog.reporting.report_rows import CODES, ReportRows
from sinagot_catalog.reporting.step_graph import graph_of
from sinagot_catalog.schema import KEYS
from sinagot_catalog.startup import LazyModule

if TYPE_CHECKING:
    import altair as alt

    from sinagot_catalog.catalog import Session
    from sinagot_catalog.selection import Selection
    from sinagot_catalog.steps import StepCollection
else:
    alt = LazyModule("altair")

_MOST = 4500
_WIDTH, _LINE, _GROUPS = 600, 24, 40
_BESIDE, _LABEL = 18, 80
"""Pixels between the bars and the legend: without and with labels of failures between them."""
_COLOURS = ("#c3c9d1", "#4a90d9", "#e3a008", "#3fa564", "#9b1c1c", "#4f2a7a", "#6e6966", "#191b1e")
_DONE, _FAILED = _COLOURS[CODES["DONE"]], _COLOURS[CODES["ERROR"]]


class Plot:
    """The charts of a workspace: `ws.plot`. Each takes a selection; without one it shows all rows.

    Example:
        >>> from sinagot_catalog import example
        >>> ws = example()
        >>> print(ws.plot.mermaid().splitlines()[0])
        flowchart LR
    """

    def __init__(self, source: Session, steps: StepCollection) -> None:
        self._source = source
        self._steps = steps

    def matrix(self, rows: Selection | None = None) -> alt.Chart:
        """Draw records by steps, coloured by status; a bin of many records shows the share of each status."""
        report = self._rows(rows)
        steps, names = _named(report), report.names
        if steps.height <= _MOST:
            whole: alt.Chart = (
                alt.Chart(steps.select("record_id", "name", "status", "reason"))
                .mark_rect()
                .encode(
                    x=alt.X("record_id:O").title("record").axis(labels=len(report.ids) <= 60),  # noqa: PLR2004 - fits
                    y=alt.Y("name:N").sort(names).title(None),
                    color=_colour(report),
                    tooltip=["record_id", "name", "status", "reason"],
                )
                .properties(width=_WIDTH, height=alt.Step(_LINE))
            )
            return whole
        bins = max(10, _MOST // (3 * len(names)))
        placed = steps.with_columns(
            (pl.col("_rec").cast(pl.UInt64) * bins // len(report.ids)).alias("bin")
        ).with_columns(
            pl.col("record_id").min().over("bin").alias("first"),
            pl.col("record_id").max().over("bin").alias("last"),
        )
        chart: alt.Chart = (
            alt.Chart(shares(placed, "name", "bin", "first", "last").head(_MOST))
            .mark_bar()
            .encode(
                x=alt.X("bin:O").title("records, in the order of their ids").axis(labels=False, ticks=False),
                y=alt.Y("share:Q").stack("zero").scale(domain=[0, 1]).title(None).axis(None),
                color=_colour(report),
                row=alt.Row("name:N").sort(names).title(None).header(labelAngle=0, labelAlign="left"),
                order="_code:O",
                tooltip=["name", "first", "last", "status", "n", alt.Tooltip("share:Q").format(".0%")],
            )
            .properties(height=28, width=_WIDTH)
        )
        return chart

    def completeness(self, rows: Selection | None = None, *, by: str = "step") -> alt.LayerChart:
        """Draw the share of each status by step or by another column, with the number of errors.

        Args:
            rows: The rows to show; by default all.
            by: A column of `steps` or `records`. Of many values the chart shows the first 40.
        """
        report = self._rows(rows, () if by == "step" else (by,))
        steps, names = _named(report), report.names
        if by != "step":
            group = pl.col(by).cast(pl.String).fill_null("(none)")
            steps = steps.with_columns(group.alias("name"))
            names = steps["name"].unique().sort().to_list()
        shown = steps.filter(pl.col("name").is_in(names[:_GROUPS]))
        frame = shares(shown, "name")
        errors = frame.filter(pl.col("_code") == CODES["ERROR"])
        axis = alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1])
        base = alt.Chart(frame).encode(y=alt.Y("name:N").sort(names).title(None if by == "step" else by))
        bars = base.mark_bar().encode(
            x=alt.X("share:Q").stack("zero").scale(domain=[0, 1]).axis(axis).title("rows"),
            color=_colour(report).legend(offset=_LABEL if errors.height else _BESIDE),
            order="_code:O",
            tooltip=["name", "status", "n", "total", alt.Tooltip("share:Q").format(".1%")],
        )
        labels = errors.with_columns((pl.col("n").cast(pl.String) + " failed").alias("label"))
        text = (
            alt.Chart(labels)
            .mark_text(align="left", dx=4, color=_FAILED)
            .encode(y=alt.Y("name:N").sort(names), x=alt.datum(1), text="label:N")
        )
        return alt.LayerChart(layer=[bars, text]).properties(width=_WIDTH, height=alt.Step(_LINE))

    def timeline(self, rows: Selection | None = None, *, last: int = 30) -> alt.Chart:
        """Draw the last runs: start, end, and the share of their rows that failed."""
        _need_altair()
        events = self._source.events()
        if rows is not None:
            keys = _steps_of(rows).select(*KEYS)
            events = events.join(keys, on=list(KEYS), how="semi", nulls_equal=True)
        done, failed = pl.col("done"), pl.col("failed")
        share = (failed / (done + failed)).fill_nan(0).alias("share")
        colour = alt.Color("share:Q").scale(domain=[0, 1], range=[_DONE, _FAILED])
        chart: alt.Chart = (
            alt.Chart(last_runs(events, last).with_columns(share))
            .mark_bar(minBandSize=3)
            .encode(
                x=alt.X("begin:T").title("time (UTC)"),
                x2="end:T",
                y=alt.Y("run_id:N").sort(None).title("run"),
                color=colour.legend(format="%").title("failed"),
                tooltip=[
                    "run_id",
                    "begin",
                    "end",
                    "done",
                    "failed",
                    alt.Tooltip("share:Q").format(".1%"),
                    "host",
                ],
            )
            .properties(width=_WIDTH)
        )
        return chart

    def durations(self, rows: Selection | None = None) -> alt.LayerChart:
        """Draw the duration of each step's last attempts: shortest, longest, middle half, median."""
        report = self._rows(rows)
        frame = durations(report.steps.filter(pl.col("seconds") > 0), report.names)
        axis = alt.Scale(type="log")
        base = alt.Chart(frame).encode(
            y=alt.Y("name:N").sort(None).title(None), tooltip=["name", "n", "low", "median", "high", "sum"]
        )
        line = base.mark_rule().encode(x=alt.X("low:Q").scale(axis).title("seconds"), x2="high:Q")
        box = base.mark_bar(color=_COLOURS[1]).encode(x=alt.X("quarter:Q").scale(axis), x2="three:Q")
        middle = base.mark_tick(color="black").encode(x=alt.X("median:Q").scale(axis))
        return alt.LayerChart(layer=[line, box, middle]).properties(width=_WIDTH, height=alt.Step(_LINE))

    def graph(self, rows: Selection | None = None) -> alt.LayerChart:
        """Draw the steps and their dependencies, each with its share of done rows."""
        graph = graph_of(self._source.layout())
        report = self._rows(rows)
        share = {index: done / (total or 1) for index, (done, total) in report.done.items()}
        nodes = pl.DataFrame(
            [(node.name, node.depth, node.line, share.get(node.index), node.reads) for node in graph.nodes],
            schema={"name": pl.String, "x": pl.Int64, "y": pl.Int64, "done": pl.Float64, "reads": pl.String},
            orient="row",
        )
        ends = [(graph.nodes[first], graph.nodes[second]) for first, second in graph.edges]
        edges = pl.DataFrame(
            [(first.depth, first.line, second.depth, second.line) for first, second in ends],
            schema=dict.fromkeys(("x", "y", "x2", "y2"), pl.Int64),
            orient="row",
        )
        x = alt.X("x:Q").axis(None).scale(padding=60)
        y = alt.Y("y:Q").axis(None).scale(reverse=True, padding=30)
        lines = alt.Chart(edges).mark_rule(color="grey").encode(x=x, y=y, x2="x2:Q", y2="y2:Q")
        base = alt.Chart(nodes).encode(
            x=x, y=y, tooltip=["name", alt.Tooltip("done:Q").format(".0%"), "reads"]
        )
        colour = alt.Color("done:Q").scale(domain=[0, 1], range=[_COLOURS[0], _DONE]).legend(format="%")
        circles = base.mark_circle(size=300, opacity=1).encode(color=colour)
        layers = [lines, circles, base.mark_text(dy=-18).encode(text="name:N")]
        return alt.LayerChart(layer=layers).properties(width=_WIDTH)

    def mermaid(self) -> str:
        """Return the step graph as text for Mermaid; needs no extra."""
        return graph_of(self._source.layout()).mermaid()

    def _rows(self, rows: Selection | None, by: tuple[str, ...] = ()) -> ReportRows:
        """Return the rows of a selection as the report has them."""
        _need_altair()
        if rows is None and not by:
            return ReportRows(self._source.catalog())
        chosen = _steps_of(self._steps if rows is None else rows).select(*dict.fromkeys([*KEYS, *by]))
        return ReportRows(self._source.catalog(), chosen)

    def __repr__(self) -> str:
        return "<Plot | matrix, completeness, timeline, durations, graph, mermaid>"


def _steps_of(rows: Selection) -> Selection:
    """Return the steps of a selection.

    Raises:
        UsageError: If this is not a selection but, for example, a collected frame.
    """
    if not hasattr(rows, "steps"):
        text = "a chart takes a selection, such as ws.steps.filter(status='ERROR')"
        raise UsageError(f"{text}, not a {type(rows).__name__}")
    return rows.steps


def _named(report: ReportRows) -> pl.DataFrame:
    """Return the rows with the name of their step and the short name of their status."""
    return report.steps.with_columns(step_name(report.names).alias("name"), status_name().alias("status"))


def _colour(report: ReportRows) -> Any:
    """Return the colours of the statuses that occur."""
    found = report.statuses
    return alt.Color("status:N").scale(
        domain=[word for _, word, _ in found], range=[_COLOURS[code] for code, _, _ in found]
    )


def _need_altair() -> None:
    """Raise an error that names the extra to install if Altair is absent."""
    try:
        import_module("altair")
    except ImportError as error:
        raise UsageError(
            f"charts need altair: {error}",
            "pip install 'sinagot-catalog[plot]'; plot.mermaid() needs nothing.",
        ) from error
