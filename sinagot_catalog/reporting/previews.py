"""Previews: the first bytes of a file as a picture, a table or a text; bounded, and never more than data."""

from __future__ import annotations

import csv
import io
import json
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import polars as pl

from sinagot_catalog.catalog import FORMATS
from sinagot_catalog.config import size_text
from sinagot_catalog.errors import NotFoundError, StorageError
from sinagot_catalog.startup import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sinagot_catalog.storage import Store

MOST_BYTES = 32 << 20
"""The size of the largest file that is read."""
_ROWS, _COLUMNS, _CELL, _TEXT = 12, 12, 200, 8_000
_SEPARATORS = {"csv": ",", "tsv": "\t"}
PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".webp")
"""The suffixes of pictures; whether a file is one is decided by its first bytes."""
_PICTURE_TYPES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}


@dataclass(frozen=True)
class Table:
    """The first rows and columns of a table, as texts.

    Attributes:
        columns: The names of the columns.
        rows: The rows.
        n_columns: The number of all columns.
        has_more: Whether there are further rows.
    """

    columns: list[str]
    rows: list[list[str]]
    n_columns: int
    has_more: bool


def picture_type(content: bytes) -> str | None:
    r"""Return the media type of a picture by its first bytes; None if it is not a PNG, JPEG, GIF or WebP.

    Example:
        >>> picture_type(b"\x89PNG\r\n\x1a\n"), picture_type(b"<svg onload='alert(1)'>")
        ('image/png', None)
    """
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for start, kind in _PICTURE_TYPES.items() if content.startswith(start)), None)


def read_bounded(store: Store, path: str, most: int = MOST_BYTES) -> bytes:
    """Return the content of a file.

    Raises:
        NotFoundError: When it is absent.
        StorageError: When it is not a file, is larger than `most`, links to a file elsewhere, or cannot be read.
    """
    if not is_inside(store, path):
        raise StorageError(
            f"{path} is a link that leads out of the dataset, and is not followed", "Open it where it is."
        )
    if store.kinds([path])[0] == "directory":
        raise StorageError(f"{path} is a folder")
    size = store.stat([path]).size[0]
    if size is None:
        raise NotFoundError(f"{path} is not there")
    if size > most:
        raise StorageError(
            f"{path} has {size_text(size)}, and files of at most {size_text(most)} are shown",
            "Open it where it is.",
        )
    return store.read(path)


def is_inside(store: Store, path: str) -> bool:
    """Whether a path stays in the dataset: what is shown is what the dataset contains, whatever a link names."""
    return next(paths_outside(store, [path]), None) is None


def paths_outside(store: Store, paths: Iterable[str]) -> Iterator[str]:
    """Yield the paths that lead out of the dataset through a link."""
    top = store.resolve("").rstrip("/") + "/"
    return (path for path in paths if not store.resolve(path).startswith(top))


def table_of(content: bytes, path: str) -> Table | None:
    """Return the first rows of a table in CSV, TSV, Parquet, Arrow IPC, JSON or NDJSON; None for other files."""
    form = FORMATS.get(PurePosixPath(path).suffix.lower(), "value")
    if form == "value":
        return None
    try:
        if form in _SEPARATORS:
            return _of_csv(content, _SEPARATORS[form])
        frame = _frame(content, form)
    except (ValueError, RecursionError, csv.Error, pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return None
    return None if frame is None or not frame.width else table_of_frame(frame)


def table_of_frame(frame: pl.DataFrame) -> Table:
    """Return the first rows and columns of a frame."""
    shown = frame.head(_ROWS).select(frame.columns[:_COLUMNS])
    rows = [[_cell(value) for value in row] for row in shown.iter_rows()]
    return Table([_cell(name) for name in shown.columns], rows, frame.width, frame.height > _ROWS)


def text_of(content: bytes) -> str | None:
    """Return the beginning of a text; None for a binary file."""
    head = content[:_TEXT]
    if b"\0" in head:
        return None
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        is_cut = len(content) > _TEXT and error.start > _TEXT - 4
        if not is_cut:
            return None
        text = head[: error.start].decode()
    return text + ("\n…" if len(content) > _TEXT else "")


def _of_csv(content: bytes, separator: str) -> Table | None:
    """Return the first rows as they are written: a preview converts no value."""
    text = text_of(content[: _TEXT * 8])
    if text is None:
        return None
    reader = csv.reader(io.StringIO(content[: _TEXT * 32].decode(errors="replace")), delimiter=separator)
    lines = [row for row, _ in zip(reader, range(_ROWS + 2), strict=False)]
    if not lines:
        return None
    head, *rows = lines
    cells = [[_cell(value) for value in row[:_COLUMNS]] for row in rows[:_ROWS]]
    return Table([_cell(name) for name in head[:_COLUMNS]], cells, len(head), len(rows) > _ROWS)


def _frame(content: bytes, form: str) -> pl.DataFrame | None:
    if form == "parquet":
        return pl.read_parquet(io.BytesIO(content), n_rows=_ROWS + 1)
    if form == "ipc":
        return pl.read_ipc(io.BytesIO(content), n_rows=_ROWS + 1)
    if form == "json":
        found = json.loads(content)
        rows = [found] if isinstance(found, dict) else found
    else:
        rows = [json.loads(line) for line in content.splitlines()[: _ROWS + 1] if line.strip()]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return None
    names = dict.fromkeys(name for row in rows[: _ROWS + 1] for name in row)
    texts = [{name: _json_text(row.get(name)) for name in names} for row in rows[: _ROWS + 1]]
    return pl.DataFrame(texts, schema=dict.fromkeys(names, pl.String))


def _json_text(value: Any) -> str | None:
    return value if isinstance(value, str) or value is None else json.dumps(value)


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= _CELL else text[:_CELL] + "…"
