"""Exclusion files: parse the text of a table of exclusions, and add and remove rows of it. Pure.

Everything else keeps its text: comments (lines that begin with `#`), the order of the rows, further columns, the
separator and the line ends.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import field, replace

import polars as pl

from sinagot_catalog.catalog.stored_tables.read_files import (
    TextRow,
    check_width,
    no_column,
    separator_of,
    text_rows,
)
from sinagot_catalog.errors import StorageError, did_you_mean
from sinagot_catalog.schema import EXCLUSIONS
from sinagot_catalog.startup import dataclass

_COLUMNS = tuple(name for name in EXCLUSIONS if name != "line")
_OPTIONAL = ("who", "when")
"""Columns that a file without them does not get."""


@dataclass(frozen=True)
class ExclusionFile:
    """The text of a table of exclusions.

    Attributes:
        name: Its name in messages.
        lines: Its lines with their ends.
        columns: The names of its columns; none if it has no header.
        header: The position of the header's line.
        rows: Its rows.
        separator: What separates the values.
        encoding: The encoding of the file.
        unknown: Columns that may be misspelt, each with a suggestion.
    """

    name: str
    lines: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    header: int = 0
    rows: tuple[TextRow, ...] = ()
    separator: str = ","
    encoding: str = "utf-8"
    unknown: tuple[str, ...] = field(default=())

    @property
    def newline(self) -> str:
        """The end of its lines."""
        return next(
            (end for end in ("\r\n", "\n", "\r") for line in self.lines[:1] if line.endswith(end)), "\n"
        )

    def frame(self) -> pl.DataFrame:
        """Return the rows as a table with the columns of `EXCLUSIONS`; empty values are null."""
        values: dict[str, list[str | None]] = {name: [] for name in _COLUMNS}
        for row in self.rows:
            cells = dict(zip(self.columns, row.values, strict=False))
            for name, column in values.items():
                text = cells.get(name, "")
                column.append((text if name == "record_id" else text.strip()) or None)
        return pl.DataFrame({"line": [row.begin + 1 for row in self.rows], **values}, schema=EXCLUSIONS)

    def encode(self) -> bytes:
        """Return the content of the file."""
        return "".join(self.lines).encode(self.encoding)

    def without(self, lines: Collection[int]) -> ExclusionFile:
        """Return the file without the rows that begin at these lines (from 1)."""
        gone = {at for row in self.rows if row.begin + 1 in lines for at in range(row.begin, row.end)}
        kept = tuple(line for at, line in enumerate(self.lines) if at not in gone)
        return parse(replace(self, lines=kept).encode(), self.name)

    def with_rows(self, rows: Sequence[Mapping[str, str | None]], columns: Iterable[str]) -> ExclusionFile:
        """Return the file with further rows at its end.

        Args:
            rows: The values of each row by column.
            columns: The columns of a file that has no header yet.
        """
        lines = list(self.lines)
        if lines and not lines[-1].endswith(("\n", "\r")):
            lines[-1] += self.newline
        header = self.columns
        if not header:
            header = tuple(columns)
            lines.append(self._line(header))
        needed = [name for name in _COLUMNS if name not in _OPTIONAL and any(row.get(name) for row in rows)]
        new = [name for name in needed if name not in header]
        if new:
            lines[self.header] = _extended(lines[self.header], self.separator, new)
            for row in self.rows:
                missing = len(header) - len(row.values) + len(new)
                lines[row.end - 1] = _extended(lines[row.end - 1], self.separator, [""] * missing)
            header = (*header, *new)
        lines += [self._line([row.get(name) or "" for name in header]) for row in rows]
        return parse(replace(self, lines=tuple(lines)).encode(), self.name)

    def _line(self, values: Sequence[str]) -> str:
        out = io.StringIO()
        is_comment_like = values[0].startswith("#")
        writer = csv.writer(
            out,
            delimiter=self.separator,
            lineterminator=self.newline,
            quoting=csv.QUOTE_ALL if is_comment_like else csv.QUOTE_MINIMAL,
        )
        writer.writerow(values)
        return out.getvalue()


def parse(content: bytes, name: str) -> ExclusionFile:
    r"""Parse the content of a file.

    Raises:
        StorageError: When it cannot be read: names the line, and the column if possible.

    Example:
        >>> file = parse(b"# bad days\nrecord_id,reason\nR1,fog\n", "exclude.csv")
        >>> file.frame().select("line", "reason").rows()
        [(3, 'fog')]
    """
    text, encoding = _decoded(content, name)
    lines = tuple(io.StringIO(text, newline=""))
    first = next((at for at, line in enumerate(lines) if not _is_comment(line)), None)
    file = ExclusionFile(name, lines, encoding=encoding, separator="\t" if name.endswith(".tsv") else ",")
    if first is None:
        return file
    file = replace(file, separator=separator_of(lines[first], file.separator, _is_header))
    table = list(text_rows(lines, file.separator, f"{name} cannot be read", _is_comment))
    columns = tuple(value.strip() for value in table[0].values)
    _check_header(name, first + 1, columns)
    rows = tuple(row for row in table[1:] if any(value.strip() for value in row.values))
    _check_rows(name, columns, rows)
    near = ((column, did_you_mean(column, _COLUMNS, most=1)) for column in columns if column not in _COLUMNS)
    unknown = tuple(f"the column {column!r} is not used{hint}" for column, hint in near if hint)
    return replace(file, columns=columns, header=first, rows=rows, unknown=unknown)


def _decoded(content: bytes, name: str) -> tuple[str, str]:
    encoding = "utf-8-sig" if content.startswith(codecs.BOM_UTF8) else "utf-8"
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # Excel's "Unicode text"
        encoding = "utf-16"
    try:
        return content.decode(encoding), encoding
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise StorageError(f"{name} cannot be read: line {line} is not UTF-8", "Save it as UTF-8.") from error


def _is_comment(line: str) -> bool:
    return line.startswith("#") or not line.strip()


def _is_header(names: Sequence[str]) -> bool:
    return "record_id" in (name.strip() for name in names)


def _check_header(name: str, line: int, columns: Sequence[str]) -> None:
    if "record_id" not in columns:
        raise StorageError(
            f"{name} cannot be read: line {line} {no_column('record_id', columns)}",
            f"Its first line names its columns: {', '.join(_COLUMNS)}; record_id is needed.",
        )
    twice = next((column for column in columns if column and columns.count(column) > 1), None)
    if twice is not None:
        raise StorageError(f"{name} cannot be read: line {line} names the column {twice!r} twice")


def _check_rows(name: str, columns: Sequence[str], rows: Iterable[TextRow]) -> None:
    at = columns.index("record_id")
    for row in rows:
        check_width(row, len(columns), f"{name} cannot be read")
        if len(row.values) <= at or not row.values[at].strip():
            raise StorageError(
                f"{name} cannot be read: line {row.begin + 1} has no value in the column 'record_id'",
                "Name the record, or remove it.",
            )


def _extended(line: str, separator: str, values: Sequence[str]) -> str:
    """Return a line with further values at its end."""
    text = line.rstrip("\r\n")
    return text + "".join(separator + value for value in values) + line[len(text) :]
