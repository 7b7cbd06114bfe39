"""The page: what a report and the live page show of some rows, computed once from the catalog's frames."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property, reduce
from operator import or_
from typing import TYPE_CHECKING, Any

import polars as pl

from sinagot_catalog import __version__
from sinagot_catalog.catalog import no_records
from sinagot_catalog.frozen import dataclass
from sinagot_catalog.reporting.completeness import Grouping, group_columns, groupings, headline
from sinagot_catalog.reporting.failure_commands import failures_of
from sinagot_catalog.reporting.report_frames import QUANTILES, durations, last_runs, shares
from sinagot_catalog.reporting.report_rows import CODES, ReportRows, step_name
from sinagot_catalog.reporting.results import Results
from sinagot_catalog.reporting.snapshot_changes import SnapshotChanges, changes_of
from sinagot_catalog.reporting.step_graph import graph_of
from sinagot_catalog.schema import KEYS, STATUS
from sinagot_catalog.secrets import masked

if TYPE_CHECKING:
    from sinagot_catalog.catalog import Catalog, Notice, Session

_BINS, _RUNS, _KINDS, _LACKS, _NODES = 240, 30, 50, 20, 80
_TABLES, _LIVE_TABLES = 20_000, 500
"""Number of tables of one output that a page reads."""


@dataclass(frozen=True)
class _Band:
    """A part of one row of the matrix: its first and last bin, and its share of one status, from top to bottom."""

    x: int
    width: int
    y: float
    height: float
    code: int


class Page:
    """The values that the page shows."""

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
    def headline(self) -> str:
        """The state of the rows in one line."""
        return headline(self.rows)

    @staticmethod
    def status_name(code: int) -> str | None:
        """The status of a code; None for unknown."""
        return STATUS.categories[code] if code < len(STATUS.categories) else None

    @property
    def n_records(self) -> int:
        """The number of records."""
        return len(self.rows.record_ids)

    @property
    def n_files(self) -> int:
        """The number of listed files."""
        return self.catalog.n_files

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
        """The outputs to show; a live page, which is drawn again and again, reads fewer tables."""
        steps, names = group_columns(self.catalog, self.rows, self._by)
        values = steps.select(*KEYS, *(name for name in names if name not in KEYS))
        return Results(
            self.source,
            self.rows,
            values,
            most_files=_LIVE_TABLES if self._is_live else _TABLES,
            embed=not self._is_live,
        )

    @property
    def names(self) -> list[str]:
        """The names of the steps, with task and modality."""
        return [step_name(cell) for cell in self.rows.cells]

    # --- matrix ------------------------------------------------------------------------------------------

    @property
    def n_bins(self) -> int:
        """The number of bins for the records."""
        return min(len(self.rows.ids), _BINS)

    @cached_property
    def bands(self) -> list[list[_Band]]:
        """For each step its bands: neighbouring bins of one status form one band."""
        bins = max(self.n_bins, 1)
        placed = self.rows.steps.select(
            "_cell",
            "_code",
            (pl.col("_rec").cast(pl.UInt64) * bins // max(len(self.rows.ids), 1)).alias("_bin"),
        )
        top = pl.col("share").cum_sum().over("_cell", "_bin") - pl.col("share")
        stacked = shares(placed, "_cell", "_bin").with_columns(top.alias("top"))
        whole = pl.col("share") == 1
        run = (
            whole
            & (pl.col("_code") == pl.col("_code").shift(1))
            & whole.shift(1)
            & (pl.col("_cell") == pl.col("_cell").shift(1))
        )
        merged = (
            stacked.with_columns((~run.fill_null(value=False)).cum_sum().alias("_run"))
            .group_by("_run", maintain_order=True)
            .agg(pl.col("_cell", "_bin", "_code", "top", "share").first(), pl.len().alias("width"))
        )
        out: list[list[_Band]] = [[] for _ in self.rows.cells]
        for _, cell, at, code, top, share, width in merged.iter_rows():
            out[cell].append(_Band(at, width, round(top, 4), round(share, 4), code))
        return out

    @property
    def errors(self) -> list[list[tuple[int, int]]]:
        """For each step the bins that have a failed row, as first bin and width: marks that no share hides."""
        return [[(band.x, band.width) for band in bands if band.code == self.error] for bands in self.bands]

    # --- runs, durations, failures -----------------------------------------------------------------------

    @cached_property
    def runs(self) -> list[dict[str, Any]]:
        """The last runs, newest first, each with its position on a common time axis."""
        runs = last_runs(self.source.events(), _RUNS)
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
        rows = durations(self.rows.steps)
        if rows.is_empty():
            return []
        low = max(float(rows["low"].min()), 1e-4)  # type: ignore[arg-type]
        high = max(float(rows["high"].max()), low * 10)  # type: ignore[arg-type]
        axis = pl.lit(high / low).log()
        placed = [
            (100 * (pl.col(name).clip(low, high) / low).log() / axis).alias(f"at_{name}")
            for name in QUANTILES
        ]
        frame = rows.with_columns(placed)
        return [{**row, "name": self.names[row["_cell"]]} for row in frame.iter_rows(named=True)]

    @cached_property
    def _failures(self) -> tuple[list[dict[str, Any]], int]:
        return failures_of(self.source, self.rows.failed, _KINDS)

    @property
    def failures(self) -> list[dict[str, Any]]:
        """The kinds of failure, each with the traceback of one example and the command that runs its rows again."""
        return self._failures[0]

    @property
    def n_kinds(self) -> int:
        """The number of kinds of failure."""
        return self._failures[1]

    # --- missing inputs ----------------------------------------------------------------------------------

    @cached_property
    def lacks(self) -> list[dict[str, Any]]:
        """The combinations of absent raw inputs: how many records lack exactly these."""
        needs = self._needs
        if not needs or not self.n_records:
            return []
        records = self.rows.records.filter(self.rows.records < len(self.catalog.ids))
        names = [str(number) for number in range(len(needs))]
        kinds = (
            pl.DataFrame(
                {
                    name: reduce(or_, (self.catalog.presence[place].gather(records) for place in need))
                    for name, need in zip(names, needs, strict=True)
                }
            )
            .with_columns(self.catalog.ids.gather(records))
            .group_by(names)
            .agg(pl.len().alias("n"), pl.col("record_id").sort().head(5).alias("examples"))
            .sort("n", descending=True)
        )
        out = []
        for row in kinds.iter_rows(named=True):
            absent = [need for name, need in zip(names, needs, strict=True) if not row[name]]
            if absent:
                out.append(
                    {
                        "n": row["n"],
                        "examples": row["examples"],
                        "absent": [" or ".join(map(self._lacking, need)) for need in absent],
                    }
                )
        return sorted(out, key=lambda one: (-one["n"], len(one["absent"]), one["examples"]))[:_LACKS]

    @property
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
        names = ["/".join(part for part in (unit.task, unit.modality) if part) for unit in units]
        text = layout.places[place].template.text
        some = ", ".join(name for name in names if name)
        return f"{some} ({text})" if some else text

    @property
    def graph(self) -> str:
        """The step graph as SVG; empty if it is too large to read."""
        if len(self.catalog.layout.cells) > _NODES:
            return ""
        done = {
            cell.index: (counts[CODES["DONE"]], sum(counts))
            for cell, counts in zip(self.rows.cells, self.rows.counts, strict=True)
        }
        return graph_of(self.catalog.layout).svg(done)

    @property
    def mermaid(self) -> str:
        """The step graph as text."""
        return graph_of(self.catalog.layout).mermaid()
