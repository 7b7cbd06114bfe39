"""Store protocol: the methods that every store has, local or remote, and the types of their results.

To add a store, write a class with these methods, choose it in `roots.open_store`, and add it to
`tests/storage/test_store.py`, which tries every promise on each store.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple, Protocol

from sinagot_catalog.startup import dataclass

if TYPE_CHECKING:
    from sinagot_catalog.storage.listing import Listing

LOG_FOLDER = "LOG"
SETTLED = 2.0
"""Seconds: folder times advance in steps of milliseconds, on some old file systems of a whole second."""
PATIENCE = 0.1
"""Seconds after which a listing counts as long: about the time to start a process."""


@dataclass(frozen=True)
class Reach:
    """Which folders a listing enters: those to which some pattern leads.

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
        patterns = ((),) if self.everything else self.patterns
        literal = (takewhile(lambda part: part is not None, pattern[:-1]) for pattern in patterns)
        heads = {"".join(f"{part}/" for part in parts) for parts in literal}
        return sorted(
            head for head in heads if not any(head != other and head.startswith(other) for other in heads)
        )


class Level:
    """The patterns that lead into a folder, and their meaning for the folders in it.

    A tree has few levels and many folders: what a level says about a name is computed once.

    Args:
        patterns: What is left of each pattern below the folder.
        everything: Whether other folders are entered, too.

    Attributes:
        names: The names that patterns give literally.
        is_literal: Whether nothing of another name counts.
    """

    def __init__(self, patterns: Iterable[tuple[str | None, ...]], *, everything: bool = False) -> None:
        self._patterns = [pattern for pattern in patterns if pattern]
        self._everything = everything
        self._below: dict[str | None, tuple[bool, Level | None]] = {}
        firsts = {pattern[0] for pattern in self._patterns}
        self.is_literal = not everything and None not in firsts
        self.names = sorted(name for name in firsts if name is not None)

    def below(self, name: str | None) -> "tuple[bool, Level | None]":
        """Whether a pattern ends at a folder of this name, and the level in it if a pattern goes on."""
        key = name if name in self.names else None
        if key not in self._below:
            rests = [pattern[1:] for pattern in self._patterns if pattern[0] in (None, key)]
            goes_on = self._everything or any(rests)
            self._below[key] = () in rests, Level(rests, everything=self._everything) if goes_on else None
        return self._below[key]


class Stat(NamedTuple):
    """Sizes, times (ns since 1970) and etags of paths, None for what is absent."""

    size: Sequence[int | None]
    modified: Sequence[int | None]
    etag: Sequence[str | None]


class Store(Protocol):
    """One root, local or remote; every path is relative to it and uses `/`."""

    root: str
    is_local: bool
    on_page: Callable[[int], None] | None = None
    """Called with the number of keys of each page of a long listing."""

    def find(self, reach: Reach) -> "Listing":
        """List names under the folders that `reach` enters; sizes and times are not read."""

    def stat(self, paths: Sequence[str]) -> Stat:
        """Read size, time and etag of each path."""

    def names(self, folder: str) -> list[str]:
        """Names of the files directly in a folder, sorted; an absent folder has none."""
        return self.entries(folder, is_file=True)

    def folders(self, folder: str) -> list[str]:
        """Names of the folders directly in a folder, sorted; an absent folder has none."""
        return self.entries(folder, is_file=False)

    def entries(self, folder: str, *, is_file: bool) -> list[str]:
        """Names of the files or of the folders directly in a folder, sorted; an absent folder has none."""

    def tree(self, folder: str) -> dict[str, int | None]:
        """Every file below a folder with its size, in the order of their paths; an absent folder has none."""

    def contents(self, folders: Sequence[str]) -> list[dict[str, tuple[int, int]] | None]:
        """For each folder the size and time of every file below it, by its name; None if it cannot be read."""

    def kinds(self, paths: Sequence[str]) -> list[str | None]:
        """For each path `file`, `directory`, or None if nothing is there."""

    def exists(self, path: str) -> bool:
        """Whether there is a file or a folder."""
        return self.kinds([path])[0] is not None

    def resolve(self, folder: str) -> str:
        """The full path of a folder, with its links resolved if the store has links."""

    def read(self, path: str) -> bytes:
        """Read a whole file; raises an AbsentError if there is none."""

    def read_all(self, paths: Sequence[str]) -> Iterable[bytes]:
        """Read whole files: several at a time if that is faster, else each when it is asked for."""
        return map(self.read, paths)

    def cloud_options(self) -> dict[str, str] | None:
        """The options with which Polars' own readers can read here by URL; None if they cannot."""

    def write(self, path: str, content: bytes) -> None:
        """Write a whole file; readers see the old one or the new one."""

    def create(self, path: str, content: bytes) -> bool:
        """Write a whole file only if none exists; of several concurrent writers only one gets True."""

    def can_create(self, folder: str) -> bool:
        """Whether `create` is reliable here."""

    def delete(self, paths: Iterable[str]) -> None:
        """Remove files; absent ones are no error."""

    def prune(self, folder: str) -> None:
        """Remove a folder if it is empty."""

    def check_writable(self) -> None:
        """Raise a StorageError that names the location if nothing can be written."""

    def check(self) -> None:
        """Raise a StorageError if the root cannot be listed."""


def is_text(name: str) -> bool:
    """Whether a name can be in a column: names that are not UTF-8 contain surrogates."""
    if name.isascii():
        return True
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
