"""The pages of `ui`: the rows that fit a filter, and everything about one row, as values for the templates."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import polars as pl

from sinagot_catalog.catalog import no_records
from sinagot_catalog.config import count_of
from sinagot_catalog.errors import row_label
from sinagot_catalog.journal import ORDER
from sinagot_catalog.reporting import CODES, WORDS, equals, workspace_words
from sinagot_catalog.run import shell_join
from sinagot_catalog.schema import KEYS, of_key
from sinagot_catalog.secrets import masked
from sinagot_catalog.startup import dataclass
from sinagot_catalog.ui.linked_files import LinkedFile, LinkedFiles

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sinagot_catalog.diagnostics import Explanation
    from sinagot_catalog.ui.live_workspace import Look

_PAGE, _EVENTS, _PREVIEWS = 100, 40, 24
SORTABLE = ("record_id", "task", "modality", "step", "status", "seconds", "ended")


def rows_url(where: str = "", **more: object) -> str:
    """Return the address of the rows that fit a filter."""
    return _address("/rows", {"where": where or None, **more})


def row_url(key: Mapping[str, Any], page: str = "/row", **more: object) -> str:
    """Return the address of the page of one row."""
    return _address(page, {**{name: key[name] for name in KEYS}, **more})


def _address(page: str, values: Mapping[str, object]) -> str:
    return f"{page}?" + urlencode({name: value for name, value in values.items() if value is not None})


def both(where: str, condition: str) -> str:
    """Return a filter narrowed by a condition."""
    return f"({where}) AND {condition}" if where else condition


@dataclass(frozen=True)
class Choice:
    """A link that narrows the rows further: a status or a step."""

    name: str
    url: str
    n: int
    code: int | None = None


class RowsPage:
    """The rows of `steps` that fit a filter, some at a time.

    Args:
        look: The workspace.
        where: The filter in SQL.
        sort: The column to sort by; empty for the order of the table.
        is_down: Whether the largest come first.
        number: The number of the page, from 1.
    """

    def __init__(
        self, look: Look, where: str, sort: str = "", number: int = 1, *, is_down: bool = False
    ) -> None:
        self._look = look
        self.where = where
        self.sort = sort if sort in SORTABLE else ""
        self.is_down = is_down
        self.frame = look.rows(where)
        self.total = self.frame.height
        self.n_pages = max(1, -(-self.total // _PAGE))
        self.number = min(max(number, 1), self.n_pages)

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of this page."""
        frame = self.frame
        if self.sort:
            frame = frame.sort(self.sort, descending=self.is_down, nulls_last=True, maintain_order=True)
        part = frame.slice((self.number - 1) * _PAGE, _PAGE)
        return [_shown(row) for row in part.iter_rows(named=True)]

    @property
    def why_empty(self) -> str:
        """Why the page has no row."""
        source = self._look.source
        note = no_records(source.catalog(), masked(source.config.dataset))
        return note or (
            "No row fits." if self.where else "There is no row; the overview lists what was left out."
        )

    @property
    def columns(self) -> list[str]:
        """The columns of the table: task and modality only where some row has them."""
        empty = {name for name in ("task", "modality") if self.frame[name].null_count() == self.total}
        return [name for name in (*SORTABLE, "reason") if name not in empty]

    @property
    def statuses(self) -> list[Choice]:
        """The statuses that occur."""
        counts = dict(self.frame.group_by(pl.col("status").cast(pl.String)).len().iter_rows())
        statuses = [(code, None if name == "UNKNOWN" else name) for name, code in CODES.items()]
        return [
            self._choice(WORDS[code], equals("status", status), counts[status], code)
            for code, status in statuses
            if status in counts
        ]

    @property
    def steps(self) -> list[Choice]:
        """The steps that occur, with task and modality."""
        names = ["task", "modality", "step"]
        counts = self.frame.group_by(names, maintain_order=True).len()
        several = [name for name in names if self.frame[name].n_unique() > 1] or ["step"]
        return [
            self._choice(
                row_label(*(row[name] for name in names)),
                " AND ".join(equals(name, row[name]) for name in several),
                row["len"],
            )
            for row in counts.iter_rows(named=True)
        ]

    def _choice(self, name: str, condition: str, n: int, code: int | None = None) -> Choice:
        """A choice of rows; one that the filter has made already does not make it longer."""
        is_made = n == self.total and condition in self.where
        return Choice(name, rows_url(self.where if is_made else both(self.where, condition)), n, code)

    def url(self, **changes: object) -> str:
        """Return the address of this page with changes."""
        order = {"sort": self.sort or None, "down": "1" if self.is_down else None}
        return rows_url(self.where, **{**order, **changes})

    def sort_url(self, column: str) -> str:
        """Return the address that sorts by a column, the other way round if it is sorted by it."""
        return self.url(sort=column, down="1" if self.sort == column and not self.is_down else None)

    @property
    def command(self) -> str:
        """The command that runs what is seen."""
        where = ["--where", self.where] if self.where else []
        return shell_join(["sinagot-catalog", "run", *workspace_words(self._look.source), *where])


class RowPage:
    """One row of `steps`.

    Args:
        look: The workspace.
        key: The key of the row.

    Attributes:
        why: The explanation of its status.
        code: The code of its status.
        word: The short name of its status.
    """

    def __init__(self, look: Look, key: Mapping[str, str | None]) -> None:
        self._look = look
        record_id, step = key["record_id"] or "", key["step"] or ""
        self.why: Explanation = look.workspace.explain(record_id, step, key["task"], key["modality"])
        self.key = {name: getattr(self.why, name) for name in KEYS}
        self.name = self.why.name
        self.code = CODES[self.why.status or "UNKNOWN"]
        self.word = WORDS[self.code]
        self._left = _PREVIEWS

    @cached_property
    def record(self) -> dict[str, Any]:
        """The fields and the metadata of its record; empty for a group."""
        values = self._look.source.catalog().described.filter(pl.col("record_id") == self.key["record_id"])
        row = values.row(0, named=True) if values.height else {}
        return {name: value for name, value in row.items() if name != "record_id" and value is not None}

    @cached_property
    def steps(self) -> list[dict[str, Any]]:
        """All steps of its record."""
        rows = self._look.rows(equals("record_id", self.key["record_id"]))
        return [
            {**_shown(row), "is_this": all(row[name] == self.key[name] for name in KEYS)}
            for row in rows.iter_rows(named=True)
        ]

    @cached_property
    def files(self) -> list[dict[str, Any]]:
        """Its inputs and outputs with previews, and with the files in its folders."""
        files = LinkedFiles(self._look.source, self.key)
        return [
            {
                "inside": [self._shown(files, path) for path in files.inside(linked)],
                **self._shown(files, linked, is_folder=file.count is not None),
                "size": file.size,
                "note": file.absence if file.count is None else count_of(file.count, "file"),
            }
            for linked, file in zip(files, self.why.files, strict=True)
        ]

    def _shown(self, files: LinkedFiles, file: LinkedFile, *, is_folder: bool = False) -> dict[str, Any]:
        """A file with its address and a preview."""
        preview = None
        if file.exists and not is_folder and self._left > 0:
            self._left -= 1
            preview = files.preview(file)
        url = row_url(self.key, "/file", n=file.position, inside=file.inside)
        return {"file": file, "url": url, "preview": preview}

    @cached_property
    def events(self) -> list[dict[str, Any]]:
        """The last lines of the journal about it, newest first."""
        events = self._look.source.events().filter(of_key(self.key)).sort(*ORDER, maintain_order=True)
        return list(reversed(events.tail(_EVENTS).rows(named=True)))

    @property
    def changes(self) -> list[tuple[str, str | None]]:
        """What would change its status, each with the command that does it, if a run does."""
        words = ["sinagot-catalog", "run", *workspace_words(self._look.source)]
        return [
            (
                change.text,
                None if change.run is None else shell_join([*words, *self.why.run_words(change.run)]),
            )
            for change in self.why.changes
        ]


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with its name, its address, and the code and the name of its status."""
    code = CODES[row["status"] or "UNKNOWN"]
    name = row_label(row["task"], row["modality"], row["step"])
    return {**row, "name": name, "code": code, "word": WORDS[code], "url": row_url(row)}
