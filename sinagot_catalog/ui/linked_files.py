"""Linked files: the files that a row of `steps` reads and writes, found by the row's key in the table `links`.

A reader names a row and a position; paths come from the catalog only.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sinagot_catalog.catalog import Query
from sinagot_catalog.errors import NotFoundError, SinagotError
from sinagot_catalog.reporting import Table, is_inside, picture_type, read_bounded, table_of, text_of
from sinagot_catalog.schema import of_key
from sinagot_catalog.startup import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sinagot_catalog.catalog import Session
    from sinagot_catalog.storage import Store

_PREVIEW_BYTES = 4 << 20
_IN_FOLDER = 200


@dataclass(frozen=True)
class LinkedFile:
    """A file that a row reads or writes, or a file in such a folder.

    Attributes:
        position: The position of the link among those of the row.
        inside: The position in the folder of the link; None for the link itself.
        root: The root of its path: `dataset` or `outputs`.
    """

    role: str
    label: str | None
    root: str
    path: str
    exists: bool
    position: int
    inside: int | None = None

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rstrip("/").rpartition("/")[2]


@dataclass(frozen=True)
class Preview:
    """What is shown of a file: a picture by its address, a table, a text, or a sentence why not."""

    is_picture: bool = False
    table: Table | None = None
    text: str | None = None
    fault: str | None = None


class LinkedFiles:
    """The files of one row.

    Args:
        source: The session of the workspace.
        key: The key of the row.

    Raises:
        NotFoundError: When there is no such row.
    """

    def __init__(self, source: Session, key: Mapping[str, str | None]) -> None:
        self._source = source
        catalog = Query("steps", record=key["record_id"]).widened(source.catalog())
        rows = catalog.steps.filter(of_key(key))
        fits = source.config.ids.values(key["record_id"] or "") is not None or rows["by"].is_not_null().any()
        if rows.height != 1 or not fits:
            raise NotFoundError(f"there is no row {' '.join(value for value in key.values() if value)}")
        self._links = catalog.links(rows)

    def __iter__(self) -> Iterator[LinkedFile]:
        """Yield the links of the row, in the order of `explain`."""
        links = self._links.select("role", "label", "root", "path", "exists")
        for position, link in enumerate(links.iter_rows(named=True)):
            yield LinkedFile(**link, position=position)

    def store(self, file: LinkedFile) -> Store:
        """The store that contains a file."""
        return self._source.stores[file.root]

    def inside(self, folder: LinkedFile) -> list[LinkedFile]:
        """The first files in a folder that the row reads or writes."""
        store, top = self.store(folder), folder.path.rstrip("/")
        if not folder.exists or store.kinds([top])[0] != "directory" or not is_inside(store, top):
            return []
        names = store.names(top)[:_IN_FOLDER]
        return [replace(folder, path=f"{top}/{name}", inside=n) for n, name in enumerate(names)]

    def find(self, position: int, inside: int | None = None) -> LinkedFile:
        """Return the file at a position.

        Raises:
            NotFoundError: When there is none.
        """
        files = list(self)[position : position + 1] if position >= 0 else []
        if files and inside is not None:
            files = self.inside(files[0])[inside : inside + 1] if inside >= 0 else []
        if not files:
            raise NotFoundError("the row has no such file", "Load the page of the row again.")
        return files[0]

    def content(self, file: LinkedFile) -> bytes:
        """Read a file of bounded size.

        Raises:
            NotFoundError: When it is absent.
            StorageError: When it is too large, or cannot be read.
        """
        return read_bounded(self.store(file), file.path)

    def preview(self, file: LinkedFile) -> Preview:
        """Return what can be shown of a file."""
        try:
            content = read_bounded(self.store(file), file.path, _PREVIEW_BYTES)
        except SinagotError as error:
            return Preview(fault=error.message)
        if picture_type(content) is not None:
            return Preview(is_picture=True)
        if (table := table_of(content, file.path)) is not None:
            return Preview(table=table)
        text = text_of(content)
        return Preview(text=text) if text is not None else Preview(fault="a binary file")
