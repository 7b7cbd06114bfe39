"""The HTML report: writes one self-contained page on a workspace, to store, send and print. Needs no network."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from sinagot_catalog import __version__
from sinagot_catalog.catalog import plain_reason
from sinagot_catalog.errors import StorageError, row_label
from sinagot_catalog.journal import ORDER
from sinagot_catalog.quantities import duration_text
from sinagot_catalog.reporting.export_target import check_target
from sinagot_catalog.reporting.step_graph import graph_of
from sinagot_catalog.schema import KEYS, STATUS
from sinagot_catalog.secrets import masked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sinagot_catalog.catalog import Catalog, Notice, Session, UnitStep

__all__ = ["render", "write_report"]

_BINS, _RUNS, _KINDS, _LACKS, _NODES = 240, 30, 50, 20, 80
_UNKNOWN = len(STATUS.categories)
_NO_ROW = "/"
"""The character of a step that has no row for a record or a group; the page reads it as -1."""
_NAMES = [*STATUS.categories, "UNKNOWN"]
_WORDS = ["INIT", "READY", "RUNNING", "DONE", "ERROR", "NO_DATA", "EXCLUDED", "UNKNOWN"]
_ID = "\x01"


def write_report(source: Session, failures: pl.DataFrame, path: str | Path) -> Path:
    """Write the page.

    Args:
        source: The session of the workspace.
        failures: Its failures, clustered.
        path: The output file.

    Returns:
        The file's path.

    Raises:
        UsageError: When another file is there.
        StorageError: When the page cannot be written.
    """
    target = Path(path)
    check_target(target)
    try:
        target.write_text(render(source, failures), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{target} cannot be written: {error.strerror or error}") from error
    return target


def render(source: Session, failures: pl.DataFrame) -> str:
    """Return the page as text."""
    from jinja2 import Environment, FileSystemLoader

    folder = Path(__file__).parent / "templates"
    environment = Environment(
        loader=FileSystemLoader(folder), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["many"] = lambda count: f"{count:,}"
    environment.filters["span"] = lambda one: "" if one is None else duration_text(one, has_ms=True)
    page = _Page(source, failures)
    return environment.get_template("report.html").render(
        page=page,
        css=(folder / "report.css").read_text(encoding="utf-8"),
        js=(folder / "report.js").read_text(encoding="utf-8"),
        data=_embedded(page.data),
    )


def _embedded(value: object) -> str:
    """Return JSON that is safe inside a script element."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    for char, code in (
        ("<", "\\u003c"),
        (">", "\\u003e"),
        ("&", "\\u0026"),
        ("\u2028", "\\u2028"),
        ("\u2029", "\\u2029"),
    ):
        text = text.replace(char, code)
    return text


@dataclass(frozen=True)
class _Band:
    """A part of one row of the matrix: its first and last bin, and its share of one status, from top to bottom."""

    x: int
    width: int
    y: float
    height: float
    code: int


class _Page:
    """The values that the page shows."""

    version = __version__

    def __init__(self, source: Session, failures: pl.DataFrame) -> None:
        self.source = source
        self.catalog: Catalog = source.catalog()
        self._failures = failures
        self.made = datetime.now(UTC)

    # --- head --------------------------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """The short name of the workspace."""
        root = self.source.config.root
        return masked(root.rstrip("/").rpartition("/")[2] or root)

    @property
    def root(self) -> str:
        """The address of the workspace."""
        return masked(self.source.config.root)

    @property
    def n_records(self) -> int:
        """The number of records."""
        return len(self.catalog.ids)

    @property
    def n_files(self) -> int:
        """The number of listed files."""
        return sum(one.n_files for one in self.catalog.listings.values())

    @property
    def cells(self) -> tuple[UnitStep, ...]:
        """The steps of the units."""
        return self.catalog.layout.cells

    @cached_property
    def steps(self) -> pl.DataFrame:
        """Every row with a code for its status, ordered by record."""
        code = pl.col("status").to_physical().fill_null(_UNKNOWN).cast(pl.UInt8).alias("_code")
        return self.catalog.whole_steps.with_columns(code)

    @cached_property
    def counts(self) -> list[list[int]]:
        """For each step the number of rows per status."""
        found = {(cell, code): n for cell, code, n in self.steps.group_by("_cell", "_code").len().iter_rows()}
        return [[found.get((cell.index, code), 0) for code in range(len(_NAMES))] for cell in self.cells]

    @property
    def statuses(self) -> list[tuple[int, str, int]]:
        """The statuses that occur: code, name, number of rows."""
        totals = [sum(column) for column in zip(*self.counts, strict=True)] if self.counts else []
        return [(code, _WORDS[code], total) for code, total in enumerate(totals) if total]

    @property
    def notes(self) -> list[str]:
        """Notes for the reader: what the page shows, and which steps cannot run."""
        out = [] if self.source.kept is None else [f"shown as it was: {self.source.kept}"]
        faults = self.catalog.faults
        out += [
            f"step {self.cells[index].step} cannot run: {fault}" for index, fault in sorted(faults.items())
        ]
        return list(dict.fromkeys(out))

    @cached_property
    def notices(self) -> list[Notice]:
        """What the listing left out or could not use."""
        return self.source.notices()

    def name(self, cell: UnitStep) -> str:
        """Return the name of a step, with its task and modality."""
        return row_label(cell.task, cell.modality, cell.step)

    # --- matrix ------------------------------------------------------------------------------------------

    @property
    def n_bins(self) -> int:
        """The number of bins for the records."""
        return min(self.catalog.n_rows, _BINS)

    @cached_property
    def bands(self) -> list[list[_Band]]:
        """For each step its bands: neighbouring bins of one status form one band."""
        bins = max(self.n_bins, 1)
        placed = self.steps.select(
            "_cell",
            "_code",
            (pl.col("_rec").cast(pl.UInt64) * bins // max(self.catalog.n_rows, 1)).alias("_bin"),
        )
        shares = (
            placed.group_by("_cell", "_bin", "_code")
            .len("n")
            .sort("_cell", "_bin", "_code")
            .with_columns((pl.col("n") / pl.col("n").sum().over("_cell", "_bin")).alias("share"))
            .with_columns((pl.col("share").cum_sum().over("_cell", "_bin") - pl.col("share")).alias("top"))
        )
        whole = pl.col("share") == 1
        run = (
            whole
            & (pl.col("_code") == pl.col("_code").shift(1))
            & whole.shift(1)
            & (pl.col("_cell") == pl.col("_cell").shift(1))
        )
        merged = (
            shares.with_columns((~run.fill_null(value=False)).cum_sum().alias("_run"))
            .group_by("_run", maintain_order=True)
            .agg(pl.col("_cell", "_bin", "_code", "top", "share").first(), pl.len().alias("width"))
        )
        out: list[list[_Band]] = [[] for _ in self.cells]
        for _, cell, at, code, top, share, width in merged.iter_rows():
            out[cell].append(_Band(at, width, round(top, 4), round(share, 4), code))
        return out

    # --- runs, durations, failures -----------------------------------------------------------------------

    @cached_property
    def runs(self) -> list[dict[str, Any]]:
        """The last runs, newest first, each with its position on a common time axis."""
        events = self.source.events().filter(pl.col("run_id").is_not_null())
        runs = (
            events.group_by("run_id")
            .agg(
                pl.col("time").min().alias("begin"),
                pl.col("time").max().alias("end"),
                (pl.col("event") == "done").sum().alias("done"),
                (pl.col("event") == "error").sum().alias("failed"),
                pl.col("host").first(),
            )
            .sort("begin", descending=True)
            .head(_RUNS)
        )
        if runs.is_empty():
            return []
        first, last = runs["begin"].min(), runs["end"].max()
        whole = max((last - first).total_seconds(), 1e-6)  # type: ignore[operator,union-attr]
        return [
            {
                **row,
                "seconds": (row["end"] - row["begin"]).total_seconds(),
                "at": 100 * (row["begin"] - first).total_seconds() / whole,
                "wide": 100 * (row["end"] - row["begin"]).total_seconds() / whole,
                "alive": row["run_id"] in self.catalog.alive,
            }
            for row in runs.iter_rows(named=True)
        ]

    @cached_property
    def durations(self) -> list[dict[str, Any]]:
        """The duration of each step: quantiles of its last attempts, on a common logarithmic axis."""
        seconds = pl.col("seconds")
        taken = self.steps.filter(seconds.is_not_null(), seconds >= 0)
        rows = taken.group_by("_cell").agg(
            pl.len().alias("n"),
            *(seconds.quantile(part).alias(name) for name, part in _QUANTILES.items()),
            seconds.sum().alias("sum"),
        )
        if rows.is_empty():
            return []
        low = max(float(rows["low"].min()), 1e-4)  # type: ignore[arg-type]
        high = max(float(rows["high"].max()), low * 10)  # type: ignore[arg-type]
        axis = pl.lit(high / low).log()
        placed = [
            (100 * (pl.col(name).clip(low, high) / low).log() / axis).alias(f"at_{name}")
            for name in _QUANTILES
        ]
        frame = rows.with_columns(placed).sort("_cell")
        return [{**row, "name": self.name(self.cells[row["_cell"]])} for row in frame.iter_rows(named=True)]

    @cached_property
    def failures(self) -> list[dict[str, Any]]:
        """The kinds of failure, each with the traceback of one example."""
        told = (
            self.source.events()
            .filter(pl.col("event") == "error")
            .sort(*ORDER, maintain_order=True)
            .unique(list(KEYS), keep="last", maintain_order=True)
        )
        out = []
        for one in self._failures.head(_KINDS).iter_rows(named=True):
            key = {
                "record_id": one["examples"].partition("; ")[0],
                **{name: one[name] for name in ("task", "modality", "step")},
            }
            found = told.filter(
                pl.col(name).eq_missing(pl.lit(value, pl.String)) for name, value in key.items()
            )
            event = found.row(0, named=True) if found.height else {}
            where = row_label(one["task"], one["modality"], one["step"])
            out.append(
                {**one, "where": where, "traceback": event.get("traceback"), "output": event.get("output")}
            )
        return out

    @property
    def n_kinds(self) -> int:
        """The number of kinds of failure."""
        return self._failures.height

    # --- missing inputs ----------------------------------------------------------------------------------

    @cached_property
    def lacks(self) -> list[dict[str, Any]]:
        """The combinations of absent raw inputs: how many records lack exactly these."""
        layout = self.catalog.layout
        places = [place for place in layout.raw if place in layout.telling]
        if not places or not self.n_records:
            return []
        n = len(self.catalog.ids)
        frame = pl.DataFrame({str(place): self.catalog.presence[place].head(n) for place in places})
        kinds = (
            frame.with_columns(self.catalog.ids)
            .group_by([str(place) for place in places])
            .agg(pl.len().alias("n"), pl.col("record_id").sort().head(5).alias("examples"))
            .sort("n", descending=True)
        )
        out = []
        for row in kinds.iter_rows(named=True):
            absent = [place for place in places if not row[str(place)]]
            if absent:
                out.append(
                    {
                        "n": row["n"],
                        "examples": row["examples"],
                        "absent": [self._lacking(place) for place in absent],
                    }
                )
        return sorted(out, key=lambda one: (-one["n"], len(one["absent"]), one["examples"]))[:_LACKS]

    def _lacking(self, place: int) -> str:
        """Return the name of a raw input: its owner, and its pattern."""
        layout = self.catalog.layout
        units = [
            unit
            for unit in layout.units
            if place in unit.data or any(place in layout.cells[cell].places("input") for cell in unit.cells)
        ]
        names = ["/".join(part for part in (unit.task, unit.modality) if part) for unit in units]
        text = layout.places[place].template.text
        some = ", ".join(name for name in names if name)
        return f"{some} ({text})" if some else text

    @property
    def graph(self) -> str:
        """The step graph as SVG; empty if it is too large to read."""
        if len(self.cells) > _NODES:
            return ""
        done = {
            cell.index: (counts[_NAMES.index("DONE")], sum(counts))
            for cell, counts in zip(self.cells, self.counts, strict=True)
        }
        return graph_of(self.catalog.layout).svg(done)

    @property
    def mermaid(self) -> str:
        """The step graph as text."""
        return graph_of(self.catalog.layout).mermaid()

    # --- rows --------------------------------------------------------------------------------------------

    @cached_property
    def data(self) -> dict[str, Any]:
        """The rows by columns, by unit step: one character per status, each sentence stored once."""
        steps = self.steps.sort("_cell", "_rec")
        told = plain_reason().is_null()
        # most sentences differ only in the record's id
        sentence = pl.when(told).then(pl.col("reason").str.split(pl.col("record_id")).list.join(_ID))
        steps = steps.with_columns(sentence.fill_null("").alias("_said"))
        said = steps["_said"].unique(maintain_order=True)
        index = pl.DataFrame({"_said": said}).with_row_index("_at")
        steps = steps.join(index, on="_said", how="left", maintain_order="left")
        base = steps["ended"].min()
        zero = base.timestamp() if isinstance(base, datetime) else 0.0
        ended = ((pl.col("ended").dt.epoch("ms") - int(zero * 1000)) // 1000).alias("_ended")
        steps = steps.with_columns(pl.col("seconds").round(3), ended)
        ids = self.catalog.row_ids
        rows = pl.DataFrame({"_rec": pl.int_range(len(ids), dtype=pl.UInt32, eager=True)})
        columns: dict[str, Sequence[Any]] = {"status": [], "said": [], "seconds": [], "ended": []}
        for cell in self.cells:
            part = steps.filter(pl.col("_cell") == cell.index)
            if self.catalog.layout.bys:  # records and groups have rows of different steps
                part = rows.join(part, on="_rec", how="left", maintain_order="left")
                part = part.with_columns(pl.col("_at").fill_null(0))
            codes = part["_code"].cast(pl.String).fill_null(_NO_ROW)
            columns["status"].append("".join(codes))  # type: ignore[attr-defined]
            for name, column in (("said", "_at"), ("seconds", "seconds"), ("ended", "_ended")):
                values = part[column]
                empty = values.null_count() == len(values) or (
                    name == "said" and said[0] == "" and values.max() == 0
                )
                columns[name].append(None if empty else values.to_list())  # type: ignore[attr-defined]
        return {
            "ids": ids.to_list(),
            "cells": [[cell.task, cell.modality, cell.step] for cell in self.cells],
            "names": _WORDS,
            "sentences": said.to_list(),
            "zero": zero,
            "bins": self.n_bins,
            **columns,
        }


_QUANTILES = {"low": 0.0, "quarter": 0.25, "median": 0.5, "three": 0.75, "high": 1.0}
