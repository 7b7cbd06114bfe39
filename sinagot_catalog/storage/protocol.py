"""What every store answers, local or remote."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = ["LOG_FOLDER", "PATIENCE", "SETTLED", "Reach", "ScanResult", "Stat", "Store", "is_text"]

LOG_FOLDER = "LOG"
SETTLED = 2.0
"""Seconds: times of folders step by milliseconds, on some old file systems by a whole second."""
PATIENCE = 0.1
"""Seconds after which a look is a long one: about what it takes to start a process."""


@dataclass(frozen=True)
class Reach:
    """Which folders a listing enters: those that some pattern goes through.

    Attributes:
        patterns: The parts of each pattern, a literal name or None for a part that varies.
        everything: Enter every folder.
        may_be_bare: Whether a pattern may fit a file whose name has no suffix.
        follow_links: Enter links to folders also where their names vary.
    """

    patterns: tuple[tuple[str | None, ...], ...]
    everything: bool = False
    follow_links: bool = False
    may_be_bare: bool = True

    @property
    def prefixes(self) -> list[str]:
        """The literal folders that hold every pattern, none inside another."""
        heads = {"" if self.everything else _literal_head(one) for one in self.patterns}
        return sorted(
            one for one in heads if not any(one != other and one.startswith(other) for other in heads)
        )


def _literal_head(pattern: tuple[str | None, ...]) -> str:
    head = ""
    for part in pattern[:-1]:
        if part is None:
            break
        head += part + "/"
    return head


@dataclass
class ScanResult:
    """What a listing found, as columns: the names of each folder's files, and directories of their own.

    Attributes:
        folders: A frame with a row per folder, `folder` (`""` or ending in `/`) and how many files it holds, `n`.
        names: The names of the files as a column, folder by folder.
        directories: Directories that are not empty and stand where a pattern ends.
        empty: Directories that hold no file and stand where a pattern ends.
        unreadable: Folders that could not be listed.
        links: How many links to folders were left out.
        dangling: Links that lead nowhere.
        undecodable: How many names are not UTF-8 and were left out.
        keys: In place of all that, what a bucket lists of itself: a frame of `path, size, mtime_ns, etag`.
    """

    folders: Any = None
    names: Any = None
    directories: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    links: int = 0
    dangling: list[str] = field(default_factory=list)
    undecodable: int = 0
    keys: Any = None


@dataclass
class Stat:
    """Sizes, times (ns since 1970) and etags of paths, None for what is absent."""

    size: list[int | None]
    modified: list[int | None]
    etag: list[str | None]


class Store(Protocol):
    """One root, local or remote; every path is relative to it and uses `/`."""

    root: str
    is_local: bool
    on_page: Callable[[int], None] | None
    """Hears how many keys each page of a long listing had."""

    def find(self, reach: Reach) -> ScanResult:
        """List names under the folders that `reach` enters; sizes and times are not read."""

    def stat(self, paths: Sequence[str]) -> Stat:
        """Read size, time and etag of each path."""

    def names(self, folder: str) -> list[str]:
        """Names of the files right in a folder, sorted; an absent folder has none."""

    def folders(self, folder: str) -> list[str]:
        """Names of the folders right in a folder, sorted; an absent folder has none."""

    def tree(self, folder: str) -> dict[str, int | None]:
        """Every file below a folder with its size, in the order of their paths; an absent folder has none."""

    def contents(self, folders: Sequence[str]) -> list[dict[str, tuple[int, int]] | None]:
        """For each folder size and time of every file below it, by its name; None where it cannot be read."""

    def kinds(self, paths: Sequence[str]) -> list[str | None]:
        """For each path `file`, `directory`, or None where nothing is there."""

    def exists(self, path: str) -> bool:
        """Whether a file or a folder is there."""

    def resolve(self, folder: str) -> str:
        """The full path of a folder, with its links resolved where the store has links."""

    def read(self, path: str) -> bytes:
        """Read a whole file."""

    def read_all(self, paths: Sequence[str]) -> list[bytes]:
        """Read whole files, several at a time where that is quicker."""

    def cloud_options(self) -> dict[str, str] | None:
        """What Polars' own readers need to read here by URL; None where they cannot."""

    def write(self, path: str, content: bytes) -> None:
        """Write a whole file; readers see the old one or the new one."""

    def create(self, path: str, content: bytes) -> bool:
        """Write a whole file only if none is there; of several writers one gets True."""

    def can_create(self, folder: str) -> bool:
        """Whether `create` keeps its word here."""

    def delete(self, paths: Iterable[str]) -> None:
        """Remove files; absent ones are no error."""

    def prune(self, folder: str) -> None:
        """Remove a folder that is empty."""

    def check_writable(self) -> None:
        """Raise a StorageError that names the place where nothing can be written."""

    def check(self) -> None:
        """Raise a StorageError where the root cannot be listed."""


def is_text(name: str) -> bool:
    """Whether a name can stand in a column: names that are not UTF-8 hold surrogates."""
    if name.isascii():
        return True
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
