"""Snapshot files: stores catalogs as Parquet files, for comparison and for use without a listing.

`keep` writes a snapshot once, and nothing changes it later. `files.parquet` is written last: a snapshot without it
is incomplete.

LOG/snapshots/<name>/files.parquet   every file, and directory that a pattern names, with size, time and etag
LOG/snapshots/<name>/steps.parquet   every step with its status
LOG/snapshots/<name>/last.parquet    the last state of each step in the journal, and which runs were alive
LOG/snapshots/<name>/metadata-0.parquet   the first of the config's tables of records, and so on
LOG/snapshots/<name>/exclusions.parquet   the table of exclusions
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from sinagot_catalog.catalog.stored_tables.exclusions import Exclusions
from sinagot_catalog.catalog.stored_tables.metadata import Table
from sinagot_catalog.config import duration_text
from sinagot_catalog.errors import NotFoundError, StorageError, UsageError, did_you_mean
from sinagot_catalog.journal import LAST
from sinagot_catalog.schema import KEYS, KIND, STATUS, TIME
from sinagot_catalog.secrets import masked
from sinagot_catalog.startup import dataclass
from sinagot_catalog.storage import STATS, Listing, from_parquet, in_folders, to_parquet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sinagot_catalog.catalog.files.file_stats import Stats
    from sinagot_catalog.catalog.tables import Catalog
    from sinagot_catalog.storage import Store

LATEST = "latest"
"""The word for the newest snapshot."""

_SCHEMA = 1
_FOLDER = "snapshots"
_NAME = re.compile(r"\d{8}T\d{6}-\d+")
_ANEW = "Make a new one: ws.snapshot(), or sinagot-catalog snapshot."
_FILES = {
    "root": pl.String(),
    "path": pl.String(),
    "kind": KIND,
    "record_id": pl.String(),
    "size": pl.Int64(),
    "modified": TIME,
    "mtime_ns": pl.Int64(),
    "etag": pl.String(),
}
_STEPS = {**KEYS, "status": STATUS}

Tables = tuple[pl.DataFrame, pl.DataFrame]
"""The tables that a diff compares: files and steps."""


@dataclass(frozen=True)
class Snapshot:
    """A snapshot: its name, and where it is stored.

    Attributes:
        name: Its name, the time in UTC.
        store: The store of the folder that contains it.
        folder: That folder in the store, `""` or ending in `/`.
    """

    name: str
    store: Store
    folder: str = f"{_FOLDER}/"

    @property
    def taken(self) -> datetime:
        """When it was taken."""
        return _moment(self.name)

    @property
    def age(self) -> str:
        """Its age for messages.

        Example:
            >>> Snapshot("20200101T000000-0", None).age.endswith(" d")
            True
        """
        return duration_text(max(0.0, (datetime.now(UTC) - self.taken).total_seconds()))

    def __str__(self) -> str:
        return f"snapshot {self.name}, {self.age} old"

    def read(self, table: str) -> tuple[pl.DataFrame, dict[str, str]]:
        """Read one of its tables, and the metadata of the Parquet file.

        Raises:
            StorageError: When it is absent, is not a Parquet file of this library, or is of a newer version.
        """
        path = f"{self.folder}{self.name}/{table}.parquet"
        try:
            frame, noted = from_parquet(self.store.read(path))
            is_newer = int(noted.get("schema", _SCHEMA)) > _SCHEMA
        except (StorageError, pl.exceptions.PolarsError, OSError, ValueError) as error:
            raise StorageError(
                f"{self.store.root}/{path} cannot be read: the snapshot is damaged, or of an earlier version",
                _ANEW,
            ) from error
        if is_newer:
            raise StorageError(
                f"snapshot {self.name} was made by a newer version of sinagot-catalog",
                "Upgrade with pip install -U sinagot-catalog.",
            )
        return frame, noted

    def files(self) -> tuple[pl.DataFrame, dict[str, str]]:
        """Read the table of files, also of an earlier version, and the metadata of the Parquet file."""
        frame, noted = self.read("files")
        new: dict[str, pl.Expr] = {}
        if "kind" not in frame.columns:  # an earlier version stored no directories
            new["kind"] = pl.lit("file")
        if "mtime_ns" not in frame.columns and "modified" in frame.columns:
            new["mtime_ns"] = pl.col("modified").dt.epoch("us") * 1_000
        return self._as(_FILES, frame.with_columns(**new)), noted

    def steps(self) -> pl.DataFrame:
        """Read the table of steps."""
        return self._as(_STEPS, self.read("steps")[0])

    def _as(self, schema: Mapping[str, Any], frame: pl.DataFrame) -> pl.DataFrame:
        try:
            return frame.select(pl.col(name).cast(dtype) for name, dtype in schema.items())
        except pl.exceptions.PolarsError as error:
            first = str(error).partition("\n")[0]
            raise StorageError(f"snapshot {self.name} cannot be compared: {first}", _ANEW) from error

    def listings(self, is_local: Mapping[str, bool]) -> dict[str, Listing]:
        """Return the stored listings, in the form of present listings.

        Args:
            is_local: The roots, and whether each is on this machine.
        """
        files, noted = self.files()
        unreadable = json.loads(noted.get("unreadable", "{}"))
        out = {}
        for root, local in is_local.items():
            rows = files.filter(pl.col("root") == root).sort("path")
            file_rows = rows.filter(pl.col("kind") == "file")
            folders, listed = in_folders(file_rows["path"])
            out[root] = Listing(
                folders,
                listed,
                rows.filter(pl.col("kind") == "directory")["path"],
                tuple(unreadable.get(root, ())),
                is_local=local,
                stats=file_rows.select(*STATS),
            )
        return out

    def folders(self, root: str) -> pl.DataFrame:
        """Return the columns of `STATS` of the folders of a root; null in a snapshot of an earlier version."""
        files, _ = self.files()
        return files.filter(pl.col("root") == root, pl.col("kind") == "directory").select(*STATS)

    def journal(self) -> tuple[pl.DataFrame, frozenset[str]]:
        """Return the stored last state of each step, see `journal.LAST`, and the runs that were alive."""
        last, noted = self.read("last")
        # earlier versions have fewer columns
        last = pl.concat([pl.DataFrame(schema=LAST), last], how="diagonal_relaxed").with_columns(
            pl.col("_claim").fill_null(0), pl.coalesce("_time", "ended", "started").alias("_time")
        )
        return last.select(*LAST), frozenset(json.loads(noted.get("alive", "[]")))

    def tables(self) -> tuple[Table, ...] | None:
        """Return the stored metadata tables; None in a snapshot of an earlier version."""
        count = self.read("last")[1].get("tables")
        if count is None:
            return None
        read = [self.read(f"metadata-{number}") for number in range(int(count))]
        return tuple(Table.from_text(noted["about"], frame) for frame, noted in read)

    def exclusions(self) -> Exclusions:
        """Return the stored table of exclusions; an empty one in a snapshot of an earlier version."""
        if "exclusions" not in self.read("last")[1]:
            return Exclusions()
        frame, noted = self.read("exclusions")
        return Exclusions.from_text(noted["about"], frame)


def names(log: Store) -> list[str]:
    """Return the names of the snapshots in a `LOG` folder, oldest first."""
    return [name for name in log.folders(_FOLDER) if _is_name(name)]


def _is_name(name: str) -> bool:
    """Whether a folder has the name of a snapshot with a valid time."""
    try:
        return _NAME.fullmatch(name) is not None and bool(_moment(name))
    except ValueError:
        return False


def _moment(name: str) -> datetime:
    return datetime.strptime(name, "%Y%m%dT%H%M%S-%f").replace(tzinfo=UTC)


def find(log: Store, reference: str, open_store: Callable[[str], Store]) -> Snapshot:
    """Return a snapshot by its name, by the word `latest`, or by the path or URL of its folder.

    Raises:
        NotFoundError: When there is no such snapshot; names similar ones.
    """
    if "/" in reference:
        parent, _, name = reference.rstrip("/").rpartition("/")
        if not _is_name(name):
            raise UsageError(
                f"{reference} is not a snapshot: its folder is named like 20261123T054500-123456"
            )
        return Snapshot(name, open_store(parent or "/"), "")
    snapshots = names(log)
    if not snapshots:
        raise NotFoundError(
            f"no snapshot is kept in {log.root}/{_FOLDER}",
            "Make one: ws.snapshot(), or sinagot-catalog snapshot.",
        )
    if reference == LATEST:
        return Snapshot(snapshots[-1], log)
    if reference not in snapshots:
        raise NotFoundError(
            f"there is no snapshot {reference!r}{did_you_mean(reference, [*snapshots, LATEST])}",
            f"Kept: {', '.join(snapshots[-10:])}.",
        )
    return Snapshot(reference, log)


def keep(log: Store, catalog: Catalog, stats: Stats, dataset: str) -> str:
    """Store a catalog as a snapshot; return the name of the snapshot."""
    files, steps = tables_now(catalog, stats)
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%S-%f}"
    unreadable = {root: listing.unreadable for root, listing in catalog.listings.items()}
    metadata = {
        f"metadata-{number}": (table.frame, {"about": table.to_text()})
        for number, table in enumerate(catalog.tables)
    }
    of_last = {"alive": json.dumps(sorted(catalog.alive)), "tables": str(len(metadata)), "exclusions": "1"}
    tables: dict[str, tuple[pl.DataFrame, dict[str, str]]] = {
        **metadata,
        "exclusions": (catalog.exclusions.rows, {"about": catalog.exclusions.to_text()}),
        "steps": (steps, {}),
        "last": (catalog.last, of_last),
        "files": (files, {"unreadable": json.dumps(unreadable)}),
    }
    for table, (frame, notes) in tables.items():
        told = {"schema": str(_SCHEMA), "table": table, "dataset": masked(dataset), **notes}
        log.write(f"{_FOLDER}/{name}/{table}.parquet", to_parquet(frame, told))
    return name


def tables_now(catalog: Catalog, stats: Stats) -> Tables:
    """Return the compared tables of a catalog."""
    return catalog.files_with(catalog.files, stats).select(*_FILES), catalog.steps.select(*_STEPS)
