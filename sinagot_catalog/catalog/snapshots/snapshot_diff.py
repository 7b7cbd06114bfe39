"""Snapshot diffs: finds the changes between two snapshots, or between a snapshot and now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.catalog.snapshots import snapshot_files
from sinagot_catalog.catalog.stored_tables.metadata import joined
from sinagot_catalog.catalog.stored_tables.metadata_values import text_of
from sinagot_catalog.config import count_of
from sinagot_catalog.patterns import id_columns
from sinagot_catalog.schema import KEYS
from sinagot_catalog.startup import dataclass

if TYPE_CHECKING:
    from collections.abc import Collection

    from sinagot_catalog.catalog.session import Session

NOW = "now"
_CHANGES = {
    "what": pl.Enum(["record", "file", "step", "metadata"]),
    "change": pl.Enum(["new", "gone", "changed"]),
    **KEYS,
    "path": pl.String(),
    "column": pl.String(),
    "before": pl.String(),
    "after": pl.String(),
}


@dataclass(frozen=True)
class Diff:
    """The changes between two states of a workspace.

    Attributes:
        before: The name of the earlier snapshot.
        after: The name of the later one, or `now`.
        frame: A row per change: `what` (`record`, `file`, `step`, `metadata`), `change` (`new`, `gone`,
            `changed`), the keys `record_id, task, modality, step`, `path` of a file, `column` of the metadata,
            `before` and `after` (a file's size, a step's status, a record's value).
    """

    before: str
    after: str
    frame: pl.DataFrame

    def _of(self, what: str, *columns: str) -> pl.DataFrame:
        return self.frame.filter(pl.col("what") == what).select("change", *columns)

    @property
    def records(self) -> pl.DataFrame:
        """Records that are new, gone, or changed: a file, a value of a table or a status differs."""
        return self._of("record", "record_id")

    @property
    def files(self) -> pl.DataFrame:
        """Files, and folders that a pattern names, that are new, gone, or changed, with their sizes."""
        return self._of("file", "path", "record_id", "before", "after")

    @property
    def steps(self) -> pl.DataFrame:
        """Steps whose status changed."""
        return self._of("step", *KEYS, "before", "after")

    @property
    def metadata(self) -> pl.DataFrame:
        """Values of metadata tables that are new, gone, or changed; a row per record and column."""
        return self._of("metadata", "record_id", "column", "before", "after")

    def __len__(self) -> int:
        return self.frame.height

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        counts = {what: self._of(what).height for what in ("record", "file", "step")}
        counts |= {"value": values} if (values := self.metadata.height) else {}
        told = ", ".join(count_of(count, what) for what, count in counts.items())
        return f"<Diff instance | {self.before} .. {self.after}: {told}>"


def snapshot(source: Session) -> str:
    """Store the catalog of a fresh listing as a snapshot; return its name."""
    source.refresh()
    return snapshot_files.keep(source.log_store, source.catalog(), source.stats, source.config.dataset)


def diff(source: Session, a: str | None = None, b: str | None = None, *, fresh: bool = True) -> Diff:
    """Return the changes between two snapshots, or between a snapshot and now.

    Args:
        source: The session of the workspace.
        a: The earlier snapshot; by default the newest.
        b: The later snapshot; by default a listing.
        fresh: Whether the workspace is listed again for it.

    Raises:
        NotFoundError: When there is no such snapshot.
    """
    before, after = (None if name == NOW else name for name in (a or snapshot_files.LATEST, b or NOW))
    looks = [None if name is None else source.find_snapshot(name) for name in (before, after)]
    if fresh and None in looks:
        source.refresh()
    old, new = (
        snapshot_files.tables_now(source.catalog(), source.stats)
        if look is None
        else (look.files()[0], look.steps())
        for look in looks
    )
    labels = [NOW if look is None else look.name for look in looks]
    has_tables = any(source.catalog().tables if look is None else look.tables() for look in looks)
    pairs = zip(looks, (old, new), strict=True)
    values = [_values(source, pair, tables) if has_tables else None for pair, tables in pairs]
    group_steps = {cell.step for cell in source.layout().cells if cell.by is not None}
    return Diff(labels[0], labels[1], _changes(old, new, _value_changes(*values), group_steps))


def _values(
    source: Session, past_snapshot: snapshot_files.Snapshot | None, look: snapshot_files.Tables
) -> pl.DataFrame | None:
    """Return the values of the metadata tables per record; None if the snapshot does not store them."""
    if past_snapshot is None:
        return source.catalog().described.drop(source.config.ids.groups)
    tables = past_snapshot.tables()
    if tables is None:
        return None
    ids = pl.concat([table["record_id"] for table in look]).drop_nulls().unique().sort()
    return joined(id_columns(ids, source.config.ids), tables).drop(source.config.ids.groups)


def _value_changes(old: pl.DataFrame | None, new: pl.DataFrame | None) -> pl.DataFrame:
    """Return rows of `_CHANGES` for values of records that are in both states."""
    if old is None or new is None:
        return pl.DataFrame(schema=_CHANGES)
    texts = [
        _texts(look, other).unpivot(index="record_id", variable_name="column", value_name=name)
        for look, other, name in ((old, new, "before"), (new, old, "after"))
    ]
    pairs = texts[1].join(
        texts[0], on=["record_id", "column"], how="full", coalesce=True, maintain_order="left_right"
    )
    changed = pairs.filter(pl.col("before").ne_missing(pl.col("after"))).with_columns(
        pl.lit("metadata", _CHANGES["what"]).alias("what"),
        there=pl.col("before").is_not_null(),
        there_after=pl.col("after").is_not_null(),
    )
    return changed.with_columns(_change(pl.lit(value=True))).sort("record_id", maintain_order=True)


def _texts(look: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    """Return values as texts, for records that are in another look, too."""
    # a whole number is unchanged if the value of another record turned the column into fractions
    fractions = {
        name: pl.Float64()
        for name, dtype in look.schema.items()
        if dtype.is_numeric() and other.schema.get(name, dtype) != dtype and other.schema[name].is_numeric()
    }
    rows = look.join(other, on="record_id", how="semi", maintain_order="left").cast(fractions)  # type: ignore[arg-type]
    return rows.select("record_id", *(text_of(name, rows.schema[name]) for name in rows.columns[1:]))


def _changes(
    old: snapshot_files.Tables, new: snapshot_files.Tables, values: pl.DataFrame, group_steps: Collection[str]
) -> pl.DataFrame:
    # snapshots of earlier versions have no folders, or folders without a fingerprint
    has_folders = all((look[0]["kind"] == "directory").any() for look in (old, new))
    known = pl.col("kind") == "file" if not has_folders else pl.lit(value=True)
    files = _joined(old[0].filter(known), new[0].filter(known), ["root", "path"])
    is_folder = (pl.col("kind") == "directory") & (pl.col("kind_after") == "directory")
    other_etag = pl.col("etag") != pl.col("etag_after")
    other_time = pl.col("modified").ne_missing(pl.col("modified_after"))
    other = pl.col("size").ne_missing(pl.col("size_after")) | pl.coalesce(other_etag, other_time)
    other = pl.when(is_folder).then(other_etag).otherwise(other)
    files = files.with_columns(_change(other)).filter(pl.col("change").is_not_null())
    steps = _joined(old[1], new[1], list(KEYS))
    both = pl.col("there") & pl.col("there_after")
    moved = steps.filter(~both)["record_id"]  # a record that is new or gone has such a step
    steps = steps.filter(both, pl.col("status").ne_missing(pl.col("status_after")))
    touched = pl.concat([table["record_id"] for table in (files, steps, values)]).drop_nulls().unique()
    ids = pl.concat([touched, moved]).unique()
    is_record = pl.col("record_id").is_in(ids.implode()) & ~pl.col("step").is_in(list(group_steps))
    seen = [look[1].filter(is_record)["record_id"] for look in (old, new)]
    in_old, in_new = (ids.is_in(ids_seen.implode()) for ids_seen in seen)
    records = pl.DataFrame({"record_id": ids, "there": in_old, "there_after": in_new}).filter(in_old | in_new)
    records = records.with_columns(_change(pl.col("record_id").is_in(touched.implode())))
    parts = [
        records.filter(pl.col("change").is_not_null()).with_columns(what=pl.lit("record")).sort("record_id"),
        files.with_columns(
            what=pl.lit("file"),
            before=pl.col("size").cast(pl.String),
            after=pl.col("size_after").cast(pl.String),
        ).sort("path"),
        steps.with_columns(
            what=pl.lit("step"),
            change=pl.lit("changed"),
            before=pl.col("status").cast(pl.String),
            after=pl.col("status_after").cast(pl.String),
        ),
        values,
    ]
    empty = pl.DataFrame(schema=_CHANGES)
    wanted = [
        part.select(pl.col(name).cast(dtype) for name, dtype in _CHANGES.items() if name in part.columns)
        for part in parts
    ]
    return pl.concat([empty, *wanted], how="diagonal")


def _joined(old: pl.DataFrame, new: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Join both frames: later columns end in `_after`; `there` and `there_after` tell which frame has the row.

    Rows that are the same in both are left out.
    """
    if old.height == new.height:  # most rows are where they were, which is quicker to see than to join
        pairs = zip(old, new, strict=True)
        moved = pl.select(
            pl.any_horizontal(pl.lit(one).ne_missing(pl.lit(two)) for one, two in pairs)
        ).to_series()
        old, new = old.filter(moved), new.filter(moved)
    old, new = (
        look.join(other, on=look.columns, how="anti", nulls_equal=True, maintain_order="left")
        for look, other in ((old, new), (new, old))
    )
    there = pl.lit(value=True).alias("there")
    both = old.with_columns(there).join(
        new.with_columns(there),
        on=keys,
        how="full",
        suffix="_after",
        coalesce=True,
        nulls_equal=True,
        maintain_order="right_left",
    )
    both = both.with_columns(pl.col("there", "there_after").fill_null(value=False))
    if "record_id" not in keys:
        both = both.with_columns(pl.coalesce("record_id_after", "record_id").alias("record_id"))
    return both


def _change(is_other: pl.Expr) -> pl.Expr:
    """Return how a row changed; null if it did not."""
    return (
        pl.when(~pl.col("there")).then(pl.lit("new"))
        .when(~pl.col("there_after")).then(pl.lit("gone"))
        .when(is_other.fill_null(value=False)).then(pl.lit("changed"))
        .alias("change")
    )  # fmt: skip
