"""Output ownership: decides whether the row that publishes an output also made what is at its final path.

So no row replaces raw data or a person's file; `catalog.structure.path_conflicts` refuses steps that would do so.

The last `publishing` or `done` event of a row records what the row made: for a folder its fingerprint and up to
`MOST_NAMES` names; for files that no output declares, their paths. The parent sends these records (`Provenance`)
to the worker together with the rows. Standard library only.

    at the final path                              the row may replace it when
    a file that an output declares                 the run is forced, or an event reports that the row made it, and
                                                   if the step had other outputs then, the file is of the time of
                                                   that attempt (`provenance.unrecorded`)
    a file that no output declares                 `done` records its path, or `publishing` its size and time, as
                                                   the row may have been killed before it published the file
    a folder                                       its fingerprint is recorded, or each name in it is recorded or
                                                   is written again; an `accepted` event records them, too
    a folder that an older version or sinagot      nothing in it changed after that event
    recorded, without names
    a link instead of a folder                     an `accepted` event came after the record
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal, NamedTuple, Self

from sinagot_catalog.errors import SinagotError
from sinagot_catalog.storage import Fingerprint, fingerprint

MOST_NAMES = 1_000
"""The most names of a folder that are recorded; of a larger folder only the fingerprint is recorded."""

_MOST_RECORDS = 4
"""The most states of one folder that are recorded while a row is half published."""

_SLACK_NS = 2_000_000_000


def patterns_digest(patterns: Iterable[str]) -> str:
    """The digest of the patterns of a step's outputs: `done` records it.

    Example:
        >>> patterns_digest(["a/{id}", "b/{id}"]) == patterns_digest(["b/{id}", "a/{id}"])
        True
    """
    text = "\0".join(sorted(set(patterns)))
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()


class ForeignFileError(SinagotError):
    """Publishing would replace or remove a file that the row did not make."""

    error_type = "ForeignFile"


class ExistingFile(NamedTuple):
    """A file at a final path.

    Attributes:
        size: Bytes.
        mtime_ns: When its content was last written.
        changed_ns: When its content, name or owner last changed, as far as the store knows.
    """

    size: int
    mtime_ns: int
    changed_ns: int

    def is_of(self, since_ns: int, until_ns: int) -> bool:
        """Whether it was written, or put in place, in a period of time."""
        return since_ns <= self.mtime_ns <= until_ns or since_ns <= self.changed_ns <= until_ns


class ExistingPath(NamedTuple):
    """What is at a final path.

    Attributes:
        kind: Its type; `link` is a symbolic link, whatever its target.
        files: The files of a folder by their names below it; for any other type the file itself under `""`.
    """

    kind: Literal["file", "folder", "link", "other"]
    files: Mapping[str, ExistingFile]


class Made(NamedTuple):
    """What a `publishing` or `done` event records of one path: a folder, or a file that no output declares.

    Attributes:
        path: Relative to the outputs folder.
        fingerprint: The digest of a folder; None for a file.
        n_files: How many files the folder holds.
        size: Their total size.
        names: Their names; None if there are more than `MOST_NAMES`.
    """

    path: str
    fingerprint: str | None = None
    n_files: int | None = None
    size: int | None = None
    names: tuple[str, ...] | None = None

    def as_member(self) -> dict[str, Any]:
        """The record as an object of a journal line."""
        if self.fingerprint is None:
            return {"path": self.path}
        return dict(zip(_MEMBERS, self, strict=True))

    @classmethod
    def of_member(cls, member: Mapping[str, Any]) -> Self:
        """Read the record from an object of a journal line."""
        path, digest, n_files, size, names = map(member.get, _MEMBERS)
        return cls(str(path), digest, n_files, size, None if names is None else tuple(names))


_MEMBERS = ("path", "fingerprint", "count", "bytes", "names")
"""The names of the fields of `Made` in a journal line."""


def made_of(path: str, files: Mapping[str, tuple[int, int]]) -> Made:
    """The record of a folder.

    Args:
        path: Its path, relative.
        files: Size and time of each file by its name.

    Example:
        >>> made_of("out/A", {"x": (3, 10)})
        Made(path='out/A', fingerprint='1cdf05bf7f7b12df', n_files=1, size=3, names=('x',))
    """
    found = fingerprint((name, size, time) for name, (size, time) in files.items())
    names = tuple(sorted(map(spelled, files))) if found.n_files <= MOST_NAMES else None
    return Made(path, found.digest, found.n_files, found.size, names)


def spelled(name: str) -> str:
    """A name as the journal writes it: bytes that are not UTF-8 are escaped."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return name.encode("utf-8", "backslashreplace").decode()
    return name


def made_file(path: str, stamp: tuple[int, int]) -> Made:
    """The record of a file that no output declares, while the row publishes it.

    Args:
        path: Its path, relative.
        stamp: Its size and time.
    """
    found = fingerprint([("", *stamp)])
    return Made(path, found.digest, found.n_files, found.size, ())


class Provenance:
    """What the row made before, according to the journal.

    Args:
        text: What the parent wrote (`provenance.provenance_of`); None for nothing.

    Attributes:
        files: Paths that it published.
        folders: The recorded states of each folder.
        made: All records.
        since_ns, until_ns: The period in which the row made files that an older version did not record; None if
            there is no such event.
        is_accepted: Whether the user accepted the present state since then.
        inputs: The state of its inputs at its last attempt, if it runs only when one of them has changed.
        inputs_at_ns: When that attempt ended.

    Example:
        >>> Provenance('{"paths": ["a.txt"]}').files
        frozenset({'a.txt'})
    """

    def __init__(self, text: str | None) -> None:
        members: dict[str, Any] = json.loads(text) if text else {}
        lists = (members.get(name) or () for name in ("done", "publishing", "taken"))
        self.made = tuple(dict.fromkeys(Made.of_member(member) for listed in lists for member in listed))
        self.folders: dict[str, list[Made]] = {}
        for output in self.made:
            if output.fingerprint is not None:
                self.folders.setdefault(output.path, []).append(output)
        paths = (
            set(map(spelled, members.get("paths") or ())) - self.folders.keys()
        )  # a path alone is no proof
        self.files = frozenset(paths | {output.path for output in self.made if output.fingerprint is None})
        self.since_ns: int | None = members.get("since_ns")
        self.until_ns: int | None = members.get("until_ns")
        self.is_accepted = bool(members.get("accepted"))
        self.inputs: list[list[int] | None] | None = members.get("inputs")
        self.inputs_at_ns: int = members.get("inputs_at_ns", 0)

    def earlier(self, path: str) -> list[Made]:
        """The recorded states of a path, the newest last. They are kept while the row publishes a new state."""
        return self.folders.get(path, [])[-_MOST_RECORDS:]

    def earlier_files(self) -> list[str]:
        """The files that the row made before and that no output declares."""
        return sorted(output.path for output in self.made if output.fingerprint is None)[:MOST_NAMES]


def check_file(path: str, existing: ExistingPath, row: Provenance) -> None:
    """Refuse to replace a file that no output declares and that the row did not make.

    Raises:
        ForeignFileError: When the row did not make it.
    """
    is_made = spelled(path) in row.files or _is_recorded(path, existing, row) or _was_made_then(existing, row)
    if existing.kind != "folder" and is_made:
        return
    what = "a folder" if existing.kind == "folder" else "a file that this row did not make"
    raise ForeignFileError(
        f"wrote {path}, which no output declares, and {what} is there already: nothing was published. "
        "Declare it as an output, or write it under another name. For one file of several records: write one per "
        "record and join them, in a step with BY or with scan_outputs"
    )


def _is_recorded(path: str, existing: ExistingPath, row: Provenance) -> bool:
    """Whether a file is unchanged since the row was about to publish it."""
    digests = {record.fingerprint for record in row.folders.get(spelled(path), ())}
    if not digests or existing.kind != "file":
        return False
    found = existing.files[""]
    return fingerprint([("", found.size, found.mtime_ns)]).digest in digests


def _was_made_then(existing: ExistingPath, row: Provenance) -> bool:
    """Whether a file was written during the row's last attempt, if that attempt recorded no names."""
    if row.since_ns is None or row.until_ns is None:
        return False
    found = existing.files[""]
    return row.since_ns - _SLACK_NS <= found.mtime_ns and found.changed_ns <= row.until_ns


def check_folder(path: str, existing: ExistingPath, row: Provenance, new: Collection[str]) -> None:
    """Refuse to replace a folder that holds files that the row did not make.

    Args:
        path: Its path, relative.
        existing: What is at the path.
        row: What the row made.
        new: The names of the files that replace it.

    Raises:
        ForeignFileError: When the row did not make a file in it.
    """
    if existing.kind != "folder":
        foreign: str | None = path
    elif not existing.files:
        foreign = None
    else:
        name = _foreign_name(path, existing, row, new)
        foreign = None if name is None else f"{path}/{name}"
    if foreign is None or row.is_accepted:
        return
    what = "a link" if existing.kind == "link" else "a file"
    raise ForeignFileError(
        f"{foreign} is {what} that this row did not make, and replacing {path} would remove it: "
        "nothing was published. Move it away, or have the present state accepted: sinagot-catalog accept"
    )


def _foreign_name(path: str, existing: ExistingPath, row: Provenance, new: Collection[str]) -> str | None:
    """The first file of a folder that the row did not make."""
    records = row.folders.get(path, ())
    now: Fingerprint | None = None
    if records:
        now = fingerprint((name, item.size, item.mtime_ns) for name, item in existing.files.items())
        if any(record.fingerprint == now.digest for record in records):
            return None
    known = set(map(spelled, new)).union(*(record.names or () for record in records))
    foreign = sorted(name for name in existing.files if spelled(name) not in known)
    if foreign and not records and row.until_ns is not None:
        foreign = [name for name in foreign if existing.files[name].changed_ns > row.until_ns]
    return foreign[0] if foreign else None
