"""The catalog kept as it was, and what has changed since.

LOG/snapshots/<name>/files.parquet   every file with size, time and etag
LOG/snapshots/<name>/steps.parquet   every step with its status
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.errors import NotFoundError, did_you_mean
from sinagot_catalog.schema import KEYS, STATUS, TIME

if TYPE_CHECKING:
    from sinagot_catalog._source import Source

__all__ = ["NOW", "Diff", "diff", "names", "snapshot"]

NOW = "now"
_SCHEMA = "1"
_FILES = {
    "root": pl.String(),
    "path": pl.String(),
    "record_id": pl.String(),
    "size": pl.Int64(),
    "modified": TIME,
    "etag": pl.String(),
}
_STEPS = {**KEYS, "status": STATUS}
_CHANGES = {
    "what": pl.Enum(["record", "file", "step"]),
    "change": pl.Enum(["new", "gone", "changed"]),
    **KEYS,
    "path": pl.String(),
    "before": pl.String(),
    "after": pl.String(),
}


@dataclass(frozen=True)
class Diff:
    """What changed between two looks at a workspace.

    Attributes:
        before: The name of the earlier snapshot.
        after: The name of the later one, or `now`.
        frame: A row per change: `what` (`record`, `file`, `step`), `change` (`new`, `gone`, `changed`), the keys
            `record_id, task, modality, step`, `path` of a file, `before` and `after` (a file's size, a step's
            status).
    """

    before: str
    after: str
    frame: pl.DataFrame

    def _of(self, what: str, *columns: str) -> pl.DataFrame:
        return self.frame.filter(pl.col("what") == what).select("change", *columns)

    @property
    def records(self) -> pl.DataFrame:
        """Records that are new, gone, or changed: a file of theirs is not what it was, or a status moved."""
        return self._of("record", "record_id")

    @property
    def files(self) -> pl.DataFrame:
        """Files that are new, gone, or changed, with their sizes."""
        return self._of("file", "path", "record_id", "before", "after")

    @property
    def steps(self) -> pl.DataFrame:
        """Steps whose status moved."""
        return self._of("step", *KEYS, "before", "after")

    def __len__(self) -> int:
        return self.frame.height

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        counts = {what: self._of(what).height for what in ("record", "file", "step")}
        told = ", ".join(f"{count} {what}s" for what, count in counts.items())
        return f"<Diff instance | {self.before} .. {self.after}: {told}>"


def snapshot(source: Source) -> str:
    """Keep the catalog as a fresh look finds it; says its name."""
    source.refresh()
    files, steps = _now(source)
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%S-%f}"
    for table, frame in (("steps", steps), ("files", files)):
        content = io.BytesIO()
        metadata = {"schema": _SCHEMA, "table": table, "dataset": source.config.dataset}
        frame.write_parquet(content, metadata=metadata)
        source.log_store.write(f"snapshots/{name}/{table}.parquet", content.getvalue())
    return name


def names(source: Source) -> list[str]:
    """The snapshots that are kept, oldest first."""
    return [name for name in source.log_store.folders("snapshots") if re.fullmatch(r"\d{8}T\d{6}-\w+", name)]


def diff(source: Source, a: str | None = None, b: str | None = None) -> Diff:
    """What changed between two snapshots, or since one.

    Args:
        source: The workspace.
        a: The earlier one; by default the newest that is kept.
        b: The later one; by default a fresh look.

    Raises:
        NotFoundError: When there is no such snapshot.
    """
    known = names(source)
    if a is None and not known:
        raise NotFoundError(
            f"no snapshot is kept in {source.log_store.root}/snapshots",
            "Make one: ws.snapshot(), or sinagot-catalog snapshot.",
        )
    a = known[-1] if a is None else a
    for name in (a, b):
        if name not in (None, NOW) and name not in known:
            near = did_you_mean(str(name), known)
            raise NotFoundError(
                f"there is no snapshot {name!r}{near}", f"Kept: {', '.join(known[-10:]) or 'none'}."
            )
    if b in (None, NOW):
        source.refresh()
    old, new = _load(source, a), _load(source, b)
    return Diff(a, b or NOW, _changes(old, new))


def _load(source: Source, name: str | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    if name in (None, NOW):
        return _now(source)
    paths = [f"snapshots/{name}/{table}.parquet" for table in ("files", "steps")]
    files, steps = (pl.read_parquet(io.BytesIO(content)) for content in source.log_store.read_all(paths))
    return files.select(*_FILES), steps.select(*_STEPS)


def _now(source: Source) -> tuple[pl.DataFrame, pl.DataFrame]:
    catalog = source.catalog()
    files = catalog.files_with(catalog.files.filter(pl.col("kind") == "file"), source.stats)
    return files.select(*_FILES), catalog.steps.select(*_STEPS)


def _changes(old: tuple[pl.DataFrame, pl.DataFrame], new: tuple[pl.DataFrame, pl.DataFrame]) -> pl.DataFrame:
    files = _joined(old[0], new[0], ["root", "path"])
    other_etag = pl.col("etag") != pl.col("etag_after")
    other_time = pl.col("modified").ne_missing(pl.col("modified_after"))
    other = pl.col("size").ne_missing(pl.col("size_after")) | pl.coalesce(other_etag, other_time)
    files = files.with_columns(_change(other)).filter(pl.col("change").is_not_null())
    steps = _joined(old[1], new[1], list(KEYS))
    both = pl.col("there") & pl.col("there_after")
    steps = steps.filter(both, pl.col("status").ne_missing(pl.col("status_after")))
    before, after = (one[1].select("record_id").unique() for one in (old, new))
    records = _joined(before, after, ["record_id"])
    touched = pl.concat([files["record_id"], steps["record_id"]]).drop_nulls().unique()
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
    ]
    empty = pl.DataFrame(schema=_CHANGES)
    wanted = [
        one.select(pl.col(name).cast(dtype) for name, dtype in _CHANGES.items() if name in one.columns)
        for one in parts
    ]
    return pl.concat([empty, *wanted], how="diagonal")


def _joined(old: pl.DataFrame, new: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Both as one: columns of the later one end in `_after`, `there` and `there_after` say who has a row."""
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
    """In what way a row is not what it was; null where it is."""
    return (
        pl.when(~pl.col("there")).then(pl.lit("new"))
        .when(~pl.col("there_after")).then(pl.lit("gone"))
        .when(is_other.fill_null(value=False)).then(pl.lit("changed"))
        .alias("change")
    )  # fmt: skip
