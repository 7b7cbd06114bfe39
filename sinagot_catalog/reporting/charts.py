"""Charts: draws the charts of a workspace with Altair, as Polars does (extra `plot`)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.errors import UsageError
from sinagot_catalog.reporting.step_graph import graph_of
from sinagot_catalog.schema import STATUS

if TYPE_CHECKING:
    import altair as alt

    from sinagot_catalog.catalog import Session

__all__ = ["Plot"]

_MOST = 4500
_COLOURS = ("#c3c9d1", "#4a90d9", "#e3a008", "#3fa564", "#9b1c1c", "#9a6fc4", "#8a7f6d", "#3d4450")
_NAMES = [*STATUS.categories, "UNKNOWN"]


class Plot:
    """The charts of a workspace: `ws.plot`.

    Example:
        >>> from sinagot_catalog import example
        >>> ws = example()
        >>> print(ws.plot.mermaid().splitlines()[0])
        flowchart LR
    """

    def __init__(self, source: Session) -> None:
        self._source = source

    def matrix(self) -> alt.Chart:
        """Draw records by steps, coloured by status; a bin of many records shows the share of each status."""
        _need_altair()
        import altair as alt

        steps = self._steps()
        names = steps["name"].unique(maintain_order=True).to_list()
        ids = self._source.catalog().row_ids
        colour = alt.Color("status:N").scale(domain=_NAMES, range=list(_COLOURS))
        if steps.height <= _MOST:
            whole: alt.Chart = (
                alt.Chart(steps.select("record_id", "name", "status", "reason"))
                .mark_rect()
                .encode(
                    x=alt.X("record_id:O").title("record").axis(labels=len(ids) <= 60),  # noqa: PLR2004 - fits
                    y=alt.Y("name:N").sort(names).title(None),
                    color=colour,
                    tooltip=["record_id", "name", "status", "reason"],
                )
            )
            return whole
        bins = max(10, _MOST // (3 * len(names)))
        share = (
            steps.with_columns((pl.col("_rec").cast(pl.UInt64) * bins // len(ids)).alias("bin"))
            .group_by("name", "bin", "status", maintain_order=True)
            .agg(
                pl.len().alias("records"),
                pl.col("record_id").min().alias("first"),
                pl.col("record_id").max().alias("last"),
            )
        )
        chart: alt.Chart = (
            alt.Chart(share.head(_MOST))
            .mark_bar()
            .encode(
                x=alt.X("bin:O").title("records, in the order of their ids").axis(labels=False, ticks=False),
                y=alt.Y("records:Q").stack("normalize").title(None).axis(None),
                color=colour,
                row=alt.Row("name:N").sort(names).title(None).header(labelAngle=0, labelAlign="left"),
                tooltip=["name", "first", "last", "status", "records"],
            )
            .properties(height=28, width=600)
        )
        return chart

    def timeline(self, last: int = 30) -> alt.Chart:
        """Draw the last runs: start, end, and the share of failed rows."""
        _need_altair()
        import altair as alt

        events = self._source.events().filter(pl.col("run_id").is_not_null())
        done, failed = (pl.col("event") == "done").sum(), (pl.col("event") == "error").sum()
        runs = (
            events.group_by("run_id")
            .agg(
                pl.col("time").min().alias("begin"),
                pl.col("time").max().alias("end"),
                done.alias("done"),
                failed.alias("failed"),
                pl.col("host").first(),
            )
            .sort("begin", descending=True)
            .head(last)
        )
        chart: alt.Chart = (
            alt.Chart(runs)
            .mark_bar(minBandSize=3)
            .encode(
                x=alt.X("begin:T").title("time (UTC)"),
                x2="end:T",
                y=alt.Y("run_id:N").sort(None).title("run"),
                color=alt.condition("datum.failed > 0", alt.value(_COLOURS[4]), alt.value(_COLOURS[3])),
                tooltip=["run_id", "begin", "end", "done", "failed", "host"],
            )
        )
        return chart

    def durations(self) -> alt.LayerChart:
        """Draw the duration of each step's last attempts: shortest, longest, middle half, median."""
        _need_altair()
        import altair as alt

        seconds = pl.col("seconds")
        taken = self._steps().filter(seconds > 0)
        frame = taken.group_by("name", maintain_order=True).agg(
            pl.len().alias("rows"),
            *(
                seconds.quantile(part).alias(name)
                for name, part in (
                    ("low", 0.0),
                    ("quarter", 0.25),
                    ("median", 0.5),
                    ("three", 0.75),
                    ("high", 1.0),
                )
            ),
        )
        axis = alt.Scale(type="log")
        base = alt.Chart(frame).encode(
            y=alt.Y("name:N").sort(None).title(None), tooltip=["name", "rows", "low", "median", "high"]
        )
        line = base.mark_rule().encode(x=alt.X("low:Q").scale(axis).title("seconds"), x2="high:Q")
        box = base.mark_bar(color=_COLOURS[1]).encode(x=alt.X("quarter:Q").scale(axis), x2="three:Q")
        middle = base.mark_tick(color="black").encode(x=alt.X("median:Q").scale(axis))
        return alt.LayerChart(layer=[line, box, middle])

    def graph(self) -> alt.LayerChart:
        """Draw the steps and their dependencies, each with its share of done rows."""
        _need_altair()
        import altair as alt

        graph = graph_of(self._source.layout())
        done = dict(
            self._steps().group_by("_cell").agg((pl.col("status") == "DONE").mean().alias("done")).iter_rows()
        )
        rows: dict[int, int] = {}
        spots: dict[int, tuple[int, int]] = {}
        for unit in dict.fromkeys(node.unit for node in graph.nodes):
            start = max(rows.values(), default=0)
            rows = {}
            for node in (one for one in graph.nodes if one.unit == unit):
                spots[node.index] = (node.depth, rows.get(node.depth, start))
                rows[node.depth] = rows.get(node.depth, start) + 1
        nodes = pl.DataFrame(
            {
                "name": [f"{node.unit} {node.step}".strip() for node in graph.nodes],
                "x": [spots[node.index][0] for node in graph.nodes],
                "y": [spots[node.index][1] for node in graph.nodes],
                "done": [float(done.get(node.index, 0.0) or 0.0) for node in graph.nodes],
                "reads": [", ".join(node.reads) for node in graph.nodes],
            },
            schema={"name": pl.String, "x": pl.Int64, "y": pl.Int64, "done": pl.Float64, "reads": pl.String},
        )
        edges = pl.DataFrame(
            [(*spots[first], *spots[second]) for first, second in graph.edges],
            schema=dict.fromkeys(("x", "y", "x2", "y2"), pl.Int64),
            orient="row",
        )
        x, y = (
            alt.X("x:Q").axis(None).scale(padding=60),
            alt.Y("y:Q").axis(None).scale(reverse=True, padding=30),
        )
        lines = alt.Chart(edges).mark_rule(color="grey").encode(x=x, y=y, x2="x2:Q", y2="y2:Q")
        base = alt.Chart(nodes).encode(
            x=x, y=y, tooltip=["name", alt.Tooltip("done:Q").format(".0%"), "reads"]
        )
        colour = alt.Color("done:Q").scale(domain=[0, 1], range=[_COLOURS[0], _COLOURS[3]])
        circles = base.mark_circle(size=300, opacity=1).encode(color=colour)
        return alt.LayerChart(layer=[lines, circles, base.mark_text(dy=-18).encode(text="name:N")])

    def mermaid(self) -> str:
        """Return the step graph as text for Mermaid; needs no extra."""
        return graph_of(self._source.layout()).mermaid()

    def _steps(self) -> pl.DataFrame:
        unit = [pl.col(name).fill_null("") for name in ("task", "modality", "step")]
        name = pl.concat_str(unit, separator=" ").str.strip_chars().str.replace_all("  +", " ").alias("name")
        status = pl.col("status").cast(pl.String).fill_null("UNKNOWN")
        return self._source.catalog().whole_steps.with_columns(name, status)

    def __repr__(self) -> str:
        return "<Plot | matrix, timeline, durations, graph, mermaid>"


def _need_altair() -> None:
    """Raise an error that names the extra to install if Altair is absent."""
    try:
        import_module("altair")
    except ImportError as error:
        raise UsageError(
            f"charts need altair: {error}",
            "pip install 'sinagot-catalog[plot]'; plot.mermaid() needs nothing.",
        ) from error
