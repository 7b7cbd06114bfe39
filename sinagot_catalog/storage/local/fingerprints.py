"""Folder fingerprints: one number for the names, sizes and times of a folder's files. Standard library only.

Two folders with the same fingerprint hold files of the same names, sizes and times. Workers and the catalog
compute it in the same way, so each can compare what the other recorded.
"""

import stat
from collections.abc import Iterable
from contextlib import suppress
from hashlib import blake2b
from typing import NamedTuple

from sinagot_catalog.storage.local.entry import walk

_BYTES = 8


class Fingerprint(NamedTuple):
    r"""The state of a folder at one moment.

    Attributes:
        digest: 16 hexadecimal digits: blake2b-64 over the sorted lines `name\0size\0mtime_ns`.
        n_files: How many files there are.
        size: Their total size in bytes.
    """

    digest: str
    n_files: int
    size: int

    @property
    def stamp(self) -> tuple[int, int, int]:
        """The numbers that the journal records: bytes, number of files, the digest as a number."""
        return self.size, self.n_files, as_number(self.digest)


def fingerprint(entries: Iterable[tuple[str, int, int]]) -> Fingerprint:
    """The fingerprint of the files of a folder, in any order.

    Args:
        entries: Name, size and time of each file.

    Example:
        >>> fingerprint([("b.txt", 3, 20), ("a.txt", 1, 10)])
        Fingerprint(digest='ec37a72409ae9b59', n_files=2, size=4)
        >>> fingerprint([("a.txt", 1, 10), ("b.txt", 3, 20)]) == fingerprint([("b.txt", 3, 20), ("a.txt", 1, 10)])
        True
        >>> fingerprint([("a.txt", 1, 10)]) == fingerprint([("a.txt", 1, 11)])
        False
    """
    lines = []
    total = 0
    for name, size, mtime_ns in entries:
        lines.append(b"%s\0%d\0%d" % (name.encode("utf-8", "surrogateescape"), size, mtime_ns))
        total += size
    return Fingerprint(_digest(b"\n".join(sorted(lines))), len(lines), total)


def digest_of(lines: str) -> str:
    r"""The digest of a fingerprint, from its sorted lines.

    Example:
        >>> digest_of("a.txt\0001\00010") == fingerprint([("a.txt", 1, 10)]).digest
        True
    """
    return _digest(lines.encode("utf-8", "surrogateescape"))


def _digest(lines: bytes) -> str:
    return blake2b(lines, digest_size=_BYTES).hexdigest()


def input_files(folder: str) -> dict[str, tuple[int, int]]:
    """Size and time of each file below a local folder, by its name; a link to a file counts as that file.

    Hidden temporary files of a killed run are left out.

    Raises:
        OSError: When a folder cannot be read.
    """
    files = {}
    for prefix, entry in walk(folder):
        if any(part.startswith(".") and part.endswith(".tmp") for part in (*prefix.split("/"), entry.name)):
            continue
        info = entry.stat(follow_symlinks=False)
        if stat.S_ISLNK(info.st_mode):
            with suppress(OSError):
                target = entry.stat()
                info = target if stat.S_ISREG(target.st_mode) else info
        files[prefix + entry.name] = info.st_size, info.st_mtime_ns
    return files


def as_number(digest: str) -> int:
    """A digest as the whole number that the journal records for an input.

    Example:
        >>> as_number("0000000000000010"), as_number("ffffffffffffffff")
        (16, -1)
    """
    return int.from_bytes(bytes.fromhex(digest), "big", signed=True)
