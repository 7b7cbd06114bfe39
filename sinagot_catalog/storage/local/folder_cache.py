"""Folder cache: keeps the result of a walk as columns, so that the next walk lists only changed folders again."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import polars as pl

from sinagot_catalog.patterns import FOLDERS, rows_in
from sinagot_catalog.startup import dataclass
from sinagot_catalog.storage.local.folder_stamps import LOOK, FolderBatch, decodable

_LOOK = dict(zip(LOOK, (pl.UInt32(), pl.UInt64(), pl.UInt64()), strict=True))
_ROW = {**FOLDERS, **_LOOK}


@dataclass(frozen=True)
class FolderSnapshot:
    """The result of a walk, with the stamp of each folder from before it was listed.

    Attributes:
        folders: A row per folder entered, in the order of the walk: the columns of `FOLDERS` and of `LOOK`.
        names: The names of the files, folder by folder.
    """

    folders: pl.DataFrame
    names: pl.Series

    @property
    def is_of_use(self) -> bool:
        """Whether any folder has a stamp."""
        return (self.folders["ino"] > 0).any()

    def is_most(self, positions: Sequence[int]) -> bool:
        """Whether some folders, with their files, are more than half of all."""
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
        """The same, one by one; the loop runs once for every folder of a dataset."""
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


def columns(parts: Sequence[FolderBatch]) -> tuple[FolderSnapshot, int]:
    """Join the batches of a tree, and count the names in them that are not UTF-8 and were left out."""
    frames, names, undecodable = [pl.DataFrame(schema=_ROW)], [pl.Series("name", [], dtype=pl.String)], 0
    for listed in parts:
        part = listed
        try:
            names.append(pl.Series("name", part.names, dtype=pl.String))
        except UnicodeEncodeError:
            part = decodable(part)
            names.append(pl.Series("name", part.names, dtype=pl.String))
        looks = {name: part.looks[place::3] for place, name in enumerate(_LOOK)}
        frames.append(pl.DataFrame({"folder": part.folders, "n": part.counts, **looks}, schema=_ROW))
        undecodable += part.undecodable
    return FolderSnapshot(pl.concat(frames), pl.concat(names)), undecodable


def joined(seen: FolderSnapshot, order: Sequence[int], additions: FolderSnapshot) -> FolderSnapshot:
    """Join a snapshot with newly listed folders.

    Args:
        seen: The earlier snapshot.
        order: The present folders in their order: positions in `seen`, then, counted on, positions in `additions`.
        additions: The folders listed since.
    """
    every = pl.concat([seen.folders, additions.folders])
    at = pl.Series(order, dtype=pl.UInt32)
    rows, _ = rows_in(every, at)
    return FolderSnapshot(
        every.select(pl.all().gather(at)), pl.concat([seen.names, additions.names]).gather(rows)
    )
