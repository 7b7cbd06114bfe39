"""The page: what a report and the live page show of some rows, computed once from the catalog's frames."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property, reduce
from operator import or_
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from sinagot_catalog import __version__
from sinagot_catalog.catalog import no_records
from sinagot_catalog.config import count_of
from sinagot_catalog.reporting.completeness import Grouping, group_columns, groupings, headline
from sinagot_catalog.reporting.failure_commands import Failures, failures_of
from sinagot_catalog.reporting.report_frames import QUANTILES, durations, last_runs, shares
from sinagot_catalog.reporting.report_rows import CODES, ReportRows
from sinagot_catalog.reporting.results import Results
from sinagot_catalog.reporting.snapshot_changes import SnapshotChanges, changes_of
from sinagot_catalog.reporting.step_graph import graph_of
from sinagot_catalog.schema import KEYS, STATUS
from sinagot_catalog.secrets import masked

if TYPE_CHECKING:
    from sinagot_catalog.catalog import Catalog, Notice, Session

_BINS, _RUNS, _KINDS, _LACKS, _NODES = 240, 30, 50, 20, 80


class _Band(NamedTuple):
    """A part of one row of the matrix: its first and last bin, and its share of one status, from top to bottom."""

    x: int
    width: int
    y: float
    height: float
    code: int


class Page:
    """The values that the page shows.

    Attributes:
        title: The short name of the workspace.
        root: Its address.
        made: When the page was made.
        n_bins: The number of bins for the records.
    """

    version = __version__
    error = CODES["ERROR"]

    def __init__(
        self,
        source: Session,
        rows: ReportRows,
        where: str | None = None,
        by: tuple[str, ...] = (),
        *,
        is_live: bool = False,
    ) -> None:
        self.source = source
        self.catalog: Catalog = source.catalog()
        self.rows = rows
        self.where = where
        self._by = by
        self._is_live = is_live
        self.made = datetime.now(UTC)
        self.title = masked(source.config.name)
        self.root = masked(source.config.root)
        self.n_bins = min(len(rows.ids), _BINS)

    # --- head --------------------------------------------------------------------------------------------

    @property
    def headline(self) -> str:
        """The state of the rows in one line."""
        n = int(self._absences["n"].sum())
        lacking = f"; {count_of(n, 'record')} {'lacks' if n == 1 else 'lack'} data" if n else ""
        return headline(self.rows) + lacking

    @staticmethod
    def status_name(code: int) -> str | None:
        """The status of a code; None for unknown."""
        return STATUS.categories[code] if code < len(STATUS.categories) else None

    @property
    def n_records(self) -> int:
        """The number of records."""
        return len(self.rows.record_ids)

    @property
    def notes(self) -> list[str]:
        """Notes for the reader: what the page shows, and which steps cannot run."""
        out = [] if self.source.kept is None else [f"shown as it was: {self.source.kept}"]
        faults, cells = self.catalog.faults, self.catalog.layout.cells
        out += [f"step {cells[index].step} cannot run: {fault}" for index, fault in sorted(faults.items())]
        note = no_records(self.catalog, masked(self.source.config.dataset))
        return list(dict.fromkeys([*out, *([note] if note else [])]))

    @cached_property
    def notices(self) -> list[Notice]:
        """What the listing left out or could not use."""
        return self.source.notices()

    @cached_property
    def groupings(self) -> list[Grouping]:
        """The rows by task, modality, field of the id, and columns that the user names."""
        return groupings(self.catalog, self.rows, self._by)

    @cached_property
    def changes(self) -> SnapshotChanges | None:
        """What changed since the last snapshot."""
        return changes_of(self.source, self.rows)

    @cached_property
    def results(self) -> Results:
        """The outputs to show."""
        steps, names = group_columns(self.catalog, self.rows, self._by)
        values = steps.select(*KEYS, *(name for name in names if name not in KEYS))
        return Results(self.source, self.rows, values, is_live=self._is_live)

    # --- matrix ------------------------------------------------------------------------------------------

    @cached_property
    def bands(self) -> list[list[_Band]]:
        """For each step its bands: neighbouring bins of one status form one band."""
        at = pl.col("_rec").cast(pl.UInt64) * self.n_bins // max(len(self.rows.ids), 1)
        placed = self.rows.steps.select("_cell", "_code", at.alias("_bin"))
        number = pl.int_range(pl.len())
        top = pl.col("share").cum_sum().over("_cell", "_bin") - pl.col("share")
        # neighbours have the same difference of bin and number; a bin of several statuses has a band of its own
        band = pl.struct(
            "_cell",
            "_code",
            (pl.col("_bin").cast(pl.Int64) - number).alias("start"),
            pl.when(pl.col("share") < 1).then(number).alias("part"),
        )
        bands = (
            shares(placed, "_cell", "_bin")
            .with_columns(top.round(4).alias("top"), band.rle_id().alias("_band"))
            .group_by("_band", maintain_order=True)
            .agg(
                pl.col("_cell", "_bin").first(),
                pl.len(),
                pl.col("top").first(),
                pl.col("share").first().round(4),
                pl.col("_code").first(),
            )
        )
        out: list[list[_Band]] = [[] for _ in self.rows.cells]
        for _, cell, *values in bands.iter_rows():
            out[cell].append(_Band(*values))
        return out

    # --- runs, durations, failures -----------------------------------------------------------------------

    @cached_property
    def runs(self) -> list[dict[str, Any]]:
        """The last runs, newest first, each with its position on a common time axis."""
        begin, end = pl.col("begin"), pl.col("end")
        whole = pl.max_horizontal(_seconds(end.max() - begin.min()), 1e-6)
        runs = last_runs(self.source.events(), _RUNS).with_columns(
            _seconds(end - begin).alias("seconds"),
            (100 * _seconds(begin - begin.min()) / whole).alias("at"),
            (100 * _seconds(end - begin) / whole).alias("wide"),
            pl.col("run_id").is_in(list(self.catalog.alive)).alias("alive"),
        )
        return runs.to_dicts()

    @cached_property
    def durations(self) -> list[dict[str, Any]]:
        """The duration of each step: quantiles of its last attempts, on a common logarithmic axis."""
        low = pl.max_horizontal(pl.col("low").min(), 1e-4)
        high = pl.max_horizontal(pl.col("high").max(), low * 10)
        axis = (high / low).log()
        return (
            durations(self.rows.steps, self.rows.names)
            .with_columns(
                (100 * (pl.col(name).clip(low, high) / low).log() / axis).alias(f"at_{name}")
                for name in QUANTILES
            )
            .to_dicts()
        )

    @cached_property
    def failures(self) -> Failures:
        """The kinds of failure, each with the traceback of one example and the command that runs its rows again."""
        return failures_of(self.source, self.rows.failed, _KINDS)

    # --- missing inputs ----------------------------------------------------------------------------------

    @cached_property
    def lacks(self) -> list[dict[str, Any]]:
        """The combinations of absent raw inputs: how many records lack exactly these."""
        lacks = [
            {
                "n": n,
                "examples": examples,
                "absent": [
                    " or ".join(map(self._lacking, need))
                    for need, there in zip(self._needs, flags, strict=True)
                    if not there
                ],
            }
            for *flags, n, examples in self._absences.iter_rows()
        ]
        return sorted(lacks, key=lambda kind: (-kind["n"], len(kind["absent"]), kind["examples"]))[:_LACKS]

    @cached_property
    def _absences(self) -> pl.DataFrame:
        """The combinations of absent raw inputs: for each of `_needs` whether it is there, `n`, `examples`."""
        records = self.rows.records.filter(self.rows.records < len(self.catalog.ids))
        there = {
            str(number): reduce(or_, (self.catalog.presence[place].gather(records) for place in need))
            for number, need in enumerate(self._needs)
        }
        if not there:
            return pl.DataFrame(schema={"n": pl.UInt32, "examples": pl.List(pl.String)})
        return (
            pl.DataFrame(there)
            .with_columns(self.catalog.ids.gather(records))
            .group_by(*there)
            .agg(pl.len().alias("n"), pl.col("record_id").sort().head(5).alias("examples"))
            .filter(~pl.all_horizontal(*there))
        )

    @cached_property
    def _needs(self) -> list[tuple[int, ...]]:
        """The raw inputs that a record needs, each with its alternatives, at least one of its own."""
        layout = self.catalog.layout
        needs = [tuple(link.place for link in port) for cell in layout.cells for port in cell.required]
        needs += [(place,) for unit in layout.units for place in unit.data]
        raw, telling = set(layout.raw), layout.telling
        return sorted({need for need in needs if raw.issuperset(need) and not telling.isdisjoint(need)})

    def _lacking(self, place: int) -> str:
        """Return the name of a raw input: its owner, and its pattern."""
        layout = self.catalog.layout
        units = [
            unit
            for unit in layout.units
            if place in unit.data or any(place in layout.cells[cell].places("input") for cell in unit.cells)
        ]
        names = ["/".join(filter(None, (unit.task, unit.modality))) for unit in units]
        text = layout.places[place].template.text
        owners = ", ".join(filter(None, names))
        return f"{owners} ({text})" if owners else text

    @property
    def graph(self) -> str:
        """The step graph as SVG; empty if it is too large to read."""
        if len(self.catalog.layout.cells) > _NODES:
            return ""
        return graph_of(self.catalog.layout).svg(self.rows.done)

    @property
    def mermaid(self) -> str:
        """The step graph as text."""
        return graph_of(self.catalog.layout).mermaid()


def _seconds(span: pl.Expr) -> pl.Expr:
    return span.dt.total_microseconds() / 1e6
