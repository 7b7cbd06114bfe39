"""Results: the outputs that the page shows, pictures as a gallery and the numbers of tables by group.

Shown are the outputs of steps with `REPORT`, and pictures that steps write for a quality check (`PATH_CONTROL`).
Everything is bounded, and what is not shown is counted.
"""

from __future__ import annotations

import base64
from dataclasses import field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import polars as pl
import polars.selectors as cs

from sinagot_catalog.catalog import FORMATS, scan_files
from sinagot_catalog.config import count_of, size_text
from sinagot_catalog.errors import SinagotError, row_label
from sinagot_catalog.reporting.previews import (
    PICTURES,
    Table,
    paths_outside,
    picture_type,
    read_bounded,
    table_of_frame,
)
from sinagot_catalog.schema import KEYS
from sinagot_catalog.startup import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sinagot_catalog.catalog import Session
    from sinagot_catalog.reporting.report_rows import ReportRows

_PICTURES = 12
"""Number of pictures of one output that are shown."""
_PICTURE_BYTES, _PAGE_BYTES = 1 << 20, 12 << 20
"""The size of the largest picture inside of a page, and of all of them together."""
_TABLES, _LIVE_TABLES, _TABLE_BYTES = 20_000, 500, 64 << 20
"""The number of tables of one output that are read for a file and for a live page, and their size."""
_COLUMNS, _VALUES = 6, 12
_ROWS_EACH = 3
"""The number of rows that a group has at least on average."""


@dataclass(frozen=True)
class Picture:
    """A picture that a row wrote.

    Attributes:
        key: The key of the row.
        name: The record, and the file if there are several of one record.
        position: The position of the file among those of the row, as `ui` counts them.
        data: The picture as a `data:` address; None if it is shown from its own address.
    """

    key: dict[str, Any]
    name: str
    path: str
    position: int
    data: str | None = None


@dataclass(frozen=True)
class Gallery:
    """The pictures of one output.

    Attributes:
        n: The number of all its pictures.
        faults: Why some of them are not shown.
    """

    name: str
    pictures: list[Picture]
    n: int
    faults: list[str]


@dataclass(frozen=True)
class Summary:
    """The numbers in the tables of one output, by group.

    Attributes:
        columns: The columns with numbers.
        n_columns: The number of all of these.
        groups: For each group its column, its value, its number of rows, and for each column mean, least and most.
        table: The first rows; all of them if they are few.
        fault: Why there are no numbers.
    """

    name: str
    n_files: int
    n_rows: int = 0
    columns: list[str] = field(default_factory=list)
    n_columns: int = 0
    groups: list[tuple[str, str, int, list[tuple[str, str, str]]]] = field(default_factory=list)
    table: Table | None = None
    fault: str | None = None


class Results:
    """The outputs that a page shows.

    Args:
        source: The session of the workspace.
        rows: The rows of the page.
        values: The keys of the rows, and the columns to group by.
        is_live: Whether the page is redrawn often: it reads fewer tables, and embeds no pictures.
    """

    def __init__(self, source: Session, rows: ReportRows, values: pl.DataFrame, *, is_live: bool) -> None:
        self._source = source
        self._rows = rows
        self._values = values
        self._is_live = is_live
        self._left = _PAGE_BYTES

    @cached_property
    def _outputs(self) -> list[tuple[str, pl.DataFrame]]:
        """The files of each output that is shown, with its name."""
        cells = self._source.layout().cells
        marked = [cell.index for cell in cells if cell.report]
        checked = [cell.index for cell in cells if any(link.role == "control" for link in cell.links)]
        rows = self._rows.selected.filter(pl.col("_cell").is_in([*marked, *checked]))
        if rows.is_empty():
            return []
        links = self._source.catalog().links(rows)
        files = links.with_columns(
            pl.int_range(pl.len()).over("_rec", "_cell").alias("position"),
            _ends_in(PICTURES).alias("is_picture"),
        ).filter(
            "exists",
            (pl.col("role") == "control") & pl.col("is_picture")
            | pl.col("_cell").is_in(marked) & (pl.col("role") != "input"),
        )
        names = ["task", "modality", "step", "label"]
        parts = files.partition_by(names, as_dict=True, maintain_order=True)
        outputs = []
        for (*step, port), part in parts.items():
            name = row_label(*(value and str(value) for value in step))
            files = part.unique(["root", "path"], keep="first", maintain_order=True)
            outputs.append((f"{name}: {port}" if port else name, files))
        return outputs

    # --- pictures ----------------------------------------------------------------------------------------

    @cached_property
    def galleries(self) -> list[Gallery]:
        """The pictures of each output."""
        found = [(name, files.filter("is_picture")) for name, files in self._outputs]
        return [self._gallery(name, pictures) for name, pictures in found if pictures.height]

    def _gallery(self, name: str, files: pl.DataFrame) -> Gallery:
        pictures: list[Picture] = []
        faults: list[str] = []
        counted = files.with_columns(pl.len().over("_rec", "_cell").alias("n_of_row"))
        for row in counted.head(_PICTURES).iter_rows(named=True):
            file = row["path"].rpartition("/")[2]
            title = row["record_id"] if row["n_of_row"] == 1 else f"{row['record_id']} {file}"
            try:
                data = self._data(row["root"], row["path"]) if not self._is_live else None
            except SinagotError as error:
                faults.append(error.message)
                continue
            key = {name: row[name] for name in KEYS}
            pictures.append(Picture(key, title, row["path"], row["position"], data))
        return Gallery(name, pictures, files.height, faults)

    def _data(self, root: str, path: str) -> str:
        """Return a picture as a `data:` address.

        Raises:
            SinagotError: When it is not a picture, or is too large.
        """
        content = read_bounded(self._source.stores[root], path, _PICTURE_BYTES)
        kind = picture_type(content)
        if kind is None:
            raise SinagotError(f"{path} is no PNG, JPEG, GIF or WebP")
        if len(content) > self._left:
            raise SinagotError(
                f"{path} is left out: the pictures of a page have {size_text(_PAGE_BYTES)} at most"
            )
        self._left -= len(content)
        return f"data:{kind};base64,{base64.b64encode(content).decode()}"

    # --- tables ------------------------------------------------------------------------------------------

    @cached_property
    def summaries(self) -> list[Summary]:
        """The numbers of each output that consists of tables."""
        found = [(name, files.filter(_ends_in(tuple(FORMATS)))) for name, files in self._outputs]
        return [self._summary(name, tables) for name, tables in found if tables.height]

    def _summary(self, name: str, files: pl.DataFrame) -> Summary:
        try:
            self._check_tables(files)
            keyed = files.select(*(pl.col(name).alias(f"_key_{name}") for name in KEYS), "root", "path")
            ids = ("record_id", *self._source.config.ids.groups)
            frame = scan_files(self._source.stores, keyed, None, {}, ids=ids).collect()
        except SinagotError as error:
            return Summary(name, files.height, fault=error.message)
        columns = [column for column in frame.columns if not column.startswith("_key_")]
        numbers = frame.select(columns).select(cs.numeric() | cs.boolean()).columns
        shown = frame.select(pl.col("_key_record_id").alias("record"), *columns[: _VALUES - 1])
        return Summary(
            name,
            files.height,
            frame.height,
            numbers[:_COLUMNS],
            len(numbers),
            self._groups(frame, numbers[:_COLUMNS]),
            table_of_frame(shown),
        )

    def _check_tables(self, files: pl.DataFrame) -> None:
        """Refuse too many or too large tables, and links that lead out of the dataset.

        Raises:
            SinagotError: For each of them.
        """
        tables, most = count_of(files.height, "table"), _LIVE_TABLES if self._is_live else _TABLES
        if files.height > most:
            raise SinagotError(f"{tables}: at most {most:,} are read here. Read them with scan_outputs")
        total = 0
        for (root,), part in files.partition_by("root", as_dict=True).items():
            store = self._source.stores[str(root)]
            total += sum(filter(None, store.stat(part["path"].to_list()).size))
            if (path := next(paths_outside(store, part["path"]), None)) is not None:
                raise SinagotError(f"{path} is a link that leads out of the dataset, and is not followed")
        if total > _TABLE_BYTES:
            raise SinagotError(
                f"{tables} with {size_text(total)}: at most {size_text(_TABLE_BYTES)} are read here. "
                "Read them with scan_outputs"
            )

    def _groups(
        self, frame: pl.DataFrame, numbers: Sequence[str]
    ) -> list[tuple[str, str, int, list[tuple[str, str, str]]]]:
        if not numbers:
            return []
        keys = [f"_key_{name}" for name in KEYS]
        names = [name for name in self._values.columns if name not in KEYS]
        hidden = {name: f"_by_{number}" for number, name in enumerate(names)}
        by = self._values.rename(hidden)
        joined = frame.join(by, left_on=keys, right_on=list(KEYS), how="left", nulls_equal=True)
        value = pl.col(numbers).cast(pl.Float64)
        values = [
            value.mean().name.prefix("mean "), value.min().name.prefix("least "), value.max().name.prefix("most "),
        ]  # fmt: skip
        out = [_row("", "all", row) for row in joined.select(pl.len(), *values).iter_rows()]
        for name, to in {**hidden, "task": "_key_task", "modality": "_key_modality"}.items():
            if joined[to].n_unique() < 2:  # noqa: PLR2004 - nothing to compare
                continue
            counts = (
                joined.group_by(pl.col(to).cast(pl.String)).agg(pl.len(), *values).sort(to, nulls_last=True)
            )
            if counts.height <= min(_VALUES, frame.height // _ROWS_EACH):
                out += [_row(name, value or "(none)", row) for value, *row in counts.iter_rows()]
        return out


def _row(column: str, value: str, row: Sequence[Any]) -> tuple[str, str, int, list[tuple[str, str, str]]]:
    n, *numbers = row
    texts = ["" if number is None else f"{number:.4g}" for number in numbers]
    size = len(texts) // 3
    return column, value, n, list(zip(texts[:size], texts[size : 2 * size], texts[2 * size :], strict=True))


def _ends_in(suffixes: Sequence[str]) -> pl.Expr:
    """Return whether a path has one of these ends."""
    path = pl.col("path").str.to_lowercase()
    return pl.any_horizontal(path.str.ends_with(suffix) for suffix in suffixes)
