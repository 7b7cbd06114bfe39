"""What a walk saw, as columns: a folder that looks the same at the next one is not listed again."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.patterns import FOLDERS, rows_in
from sinagot_catalog.storage.folder_stamps import LOOK, FolderBatch, PackedBatch, decodable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["FolderSnapshot", "columns", "joined"]

_LOOK = dict(zip(LOOK, (pl.UInt32(), pl.UInt64(), pl.UInt64()), strict=True))
_ROW = {**FOLDERS, **_LOOK}


@dataclass(frozen=True)
class FolderSnapshot:
    """What a walk found, and what each folder looked like before it was listed.

    Attributes:
        folders: A row per folder entered, in the order of the walk: the columns of `FOLDERS` and of a look.
        names: The names of the files, folder by folder.
    """

    folders: pl.DataFrame
    names: pl.Series

    @property
    def is_of_use(self) -> bool:
        """Whether any folder can be known again."""
        return (self.folders["ino"] > 0).any()

    def is_most(self, positions: Sequence[int]) -> bool:
        """Whether some folders, with the files in them, are more than half of all."""
        files = self.folders["n"].gather(pl.Series(positions, dtype=pl.UInt32)).sum()
        return 2 * (len(positions) + files) > self.folders.height + len(self.names)

    def changed(self, root: str) -> list[int]:
        """The positions of the folders that have to be listed again."""
        try:
            top = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return [*range(self.folders.height)]
        try:
            return list(self._changed(top))
        finally:
            os.close(top)

    def _changed(self, top: int) -> Iterator[int]:
        """The loop runs once for every folder of a dataset."""
        look = os.stat
        rows = zip(*(self.folders[name].to_list() for name in ("folder", *_LOOK)), strict=True)
        for position, (folder, dev, ino, changed) in enumerate(rows):
            if ino:
                try:
                    now = look(folder or ".", dir_fd=top)
                except OSError:
                    pass
                else:
                    if now.st_ino == ino and now.st_ctime_ns == changed and now.st_dev == dev:
                        continue
            yield position


def columns(parts: Sequence[FolderBatch | PackedBatch]) -> tuple[FolderSnapshot, int]:
    """The parts of a tree as one, and how many names in them are no text and were left out."""
    frames, names, undecodable = [pl.DataFrame(schema=_ROW)], [pl.Series("name", [], dtype=pl.String)], 0
    for one in parts:
        part = one
        try:
            names.append(_texts("name", part.names, sum(part.counts)))
        except UnicodeEncodeError:
            assert isinstance(part, FolderBatch)  # noqa: S101 - what travels is text already
            part = decodable(part)
            names.append(_texts("name", part.names, sum(part.counts)))
        looks = {name: part.looks[place::3] for place, name in enumerate(_LOOK)}
        folders = _texts("folder", part.folders, len(part.counts))
        frames.append(pl.DataFrame({"folder": folders, "n": part.counts, **looks}, schema=_ROW))
        undecodable += part.undecodable
    return FolderSnapshot(pl.concat(frames), pl.concat(names)), undecodable


def _texts(name: str, texts: Sequence[str], count: int) -> pl.Series:
    """A column of texts: of a list, or of one text in which zeros part them."""
    if isinstance(texts, str) and count:
        return pl.Series(name, [texts]).str.split("\0").explode(keep_nulls=False, empty_as_null=False)
    return pl.Series(name, texts if count else [], dtype=pl.String)


def joined(seen: FolderSnapshot, order: Sequence[int], found: FolderSnapshot) -> FolderSnapshot:
    """What was seen before and what was found since, as one.

    Args:
        seen: What was seen before.
        order: The folders that there are now: positions in what was seen, and behind those in what was found.
        found: What was found since.
    """
    every = pl.concat([seen.folders, found.folders])
    at = pl.Series(order, dtype=pl.UInt32)
    rows, _ = rows_in(every, at)
    return FolderSnapshot(
        every.select(pl.all().gather(at)), pl.concat([seen.names, found.names]).gather(rows)
    )
