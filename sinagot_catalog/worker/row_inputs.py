"""The inputs of a row: finds them, and records their state before the script reads them."""

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from sinagot_catalog.errors import PatternError, StorageError
from sinagot_catalog.journal import Port, RunSpec, Stamp
from sinagot_catalog.patterns import RawFolder, Template
from sinagot_catalog.storage import fingerprint
from sinagot_catalog.worker.files.local_files import LocalFiles, PathQuery
from sinagot_catalog.worker.files.moved_inputs import InputFile, relative
from sinagot_catalog.worker.prepared_step import (
    FoundPath,
    RecordValues,
    RowState,
    flat_paths,
    query_of,
    ways_of,
)


class RowInputs:
    """Finds the inputs of rows.

    Args:
        spec: The run.
        files: The files of the run.
        values: What the placeholders of patterns stand for.
    """

    def __init__(self, spec: RunSpec, files: LocalFiles, values: RecordValues) -> None:
        self._ignores_missing = spec.ignore_missing
        self._follow_links = spec.follow_links
        self._outputs = f"{spec.outputs}/"
        self._files = files
        self._values = values

    def find(self, row: RowState) -> None:
        """Find the inputs of a row, and record their sizes and times.

        Raises:
            StorageError: When an input is missing because the dataset folder is gone.
        """
        inputs = row.step.inputs
        if inputs.has_only_plain:
            for path, port, query in zip(row.inputs, inputs.ports, inputs.queries, strict=True):
                found = self._find_one(row, port, path, query)
                row.full_inputs.append(found.full)
                row.stamps.append(found.stamp)
                if found.path is None:
                    row.missing.append(path)
        else:
            self._find_ways(row)
        if row.missing:
            self._check_dataset()

    def appeared_after(self, time_ns: int, row: RowState) -> bool:
        """Whether an input that a step may have made appeared after some time.

        A step may give a new file the size and the `mtime` of the old one, but not its `ctime`.
        """
        for path in flat_paths(row.full_inputs):
            if path.startswith(self._outputs):
                with suppress(OSError):
                    if os.stat(path).st_ctime_ns > time_ns:  # noqa: PTH116
                        return True
        return False

    def _find_one(self, row: RowState, port: Port, path: str, query: PathQuery) -> "_Found":
        """One path of an input; absent, it has only the path at which it would be."""
        full, info = self._files.find_input(path, query)
        if info is None:
            return _Found(None, full)
        stamp = self._stamp(row, port, path, full, info)
        if port.inside and stat.S_ISDIR(info.st_mode) and stamp is not None and not stamp[1]:
            return _Found(None, full)  # a folder of raw data in which steps declare every file
        return _Found(path, full, stamp, [(path, stamp)])

    def _find_ways(self, row: RowState) -> None:
        """Find inputs that may be absent, be one of several alternatives, or be many files."""
        paths: list[FoundPath] = []
        ports = row.step.inputs.ports
        of_members = self._find_members(row, [port for port in ports if port.per != "row"])
        for port, ways in zip(ports, row.input_ways, strict=True):
            if port.per != "row":
                found = next(of_members)
            else:
                found = self._find_way(row, ways)
                if found.path is None and not port.is_optional:
                    row.missing.append(_missing(port, ways))
            row.full_inputs.append(found.full)
            row.stamps.append(found.stamp)
            paths.append(found.path)
        row.input_paths = paths
        row.inputs = list(flat_paths(paths))

    def _find_way(self, row: RowState, ways: Sequence[tuple[Port, Template | str]]) -> "_Found":
        """The first alternative of an input that is there; `_ABSENT` if none is."""
        for way, finder in ways:
            if isinstance(finder, str):
                query = query_of(way, follow_links=self._follow_links)
                found = self._find_one(row, way, finder, query)
                if found.path is not None:
                    return found
            elif many := self._files.find_many(finder, way.roots):
                entries = [
                    (path, self._stamp(row, way, path, full, info)) for path, (full, info) in many.items()
                ]
                return _Found(list(many), [full for full, _ in many.values()], _joint_stamp(entries), entries)
        return _ABSENT

    def _find_members(self, row: RowState, ports: Sequence[Port]) -> "Iterator[_Found]":
        """The inputs of the members of a group: a list for each input; sets the members that the group runs over.

        Members that lack an input are left out if the step may run without them.
        """
        if row.members is None or not ports:
            return iter(())
        spec = row.step.spec
        may_lack = spec.is_partial or self._ignores_missing
        members: list[str] = []
        columns: list[list[_Found]] = [[] for _ in ports]
        for member in row.members:
            input_files, lacking = [], []
            for port in ports:
                ways = self._ways_of(port, member, spec.member_by)
                found = self._find_way(row, ways)
                input_files.append(found)
                if found.path is None and not port.is_optional:
                    lacking.append(_missing(port, ways))
            if lacking and may_lack:
                continue
            row.missing += lacking
            members.append(member)
            for column, item in zip(columns, input_files, strict=True):
                column.append(item)
        row.members = members
        if not members:
            row.missing.append("no member has its inputs")
        return (_of_members(port, column) for port, column in zip(ports, columns, strict=True))

    def _ways_of(
        self, port: Port, member: str, by: tuple[str, ...] | None
    ) -> list[tuple[Port, Template | str]]:
        values = self._values.of(member, by)
        with suppress(PatternError):
            return [] if values is None else ways_of(port, values)
        return []

    def settle(self, row: RowState) -> tuple[list[str], list[str]]:
        """Put back the inputs that the script of a row moved into its staging folder.

        Returns:
            Their paths, and sentences about other inputs that are gone or that changed. Fetched copies of objects
            do not count.
        """
        touched = [file for file in row.input_files if not file.is_unchanged()]
        if not touched:
            return [], []
        moved = self._files.put_back_inputs() if any(file.is_gone() for file in touched) else []
        rest = [file for file in touched if not file.is_unchanged()]
        still_gone = [file.path for file in rest if file.is_gone()]
        changed = [file.path for file in rest if not file.is_gone()]
        sentences = []
        if still_gone:
            sentences.append(f"its input {self._named(still_gone)} is gone since run() began")
        if changed:
            sentences.append(
                f"its input {self._named(changed)} changed while run() ran: a script must not write to its inputs"
            )
        return moved, sentences

    def _named(self, paths: list[str]) -> str:
        """The first of some full paths, relative to its root, and the number of the others."""
        first = relative(paths[0], (self._files.dataset, self._files.outputs)) or paths[0]
        return first if len(paths) == 1 else f"{first} (and {len(paths) - 1} more)"

    def _stamp(self, row: RowState, port: Port, path: str, full: str, info: os.stat_result) -> Stamp | None:
        """The state of a file or folder; adds it to the input files of the row."""
        if not stat.S_ISREG(info.st_mode):
            return self._folder_stamp(row, port, path, full)
        if not self._files.is_fetched(path):
            row.input_files.append(InputFile(full, info.st_size, info.st_mtime_ns))
        return info.st_size, info.st_mtime_ns

    def _check_dataset(self) -> None:
        """Raise an error if the dataset folder is gone, such as an unmounted disk: that is no missing input."""
        dataset = self._files.dataset
        if "://" not in dataset and not os.path.isdir(dataset):  # noqa: PTH112
            raise StorageError(f"the dataset folder {dataset} is gone")

    def _folder_stamp(self, row: RowState, port: Port, path: str, full: str) -> Stamp | None:
        """Bytes, number and fingerprint of the files of a folder; None if they cannot be listed."""
        try:
            files = self._files.input_files(path, full)
        except OSError:
            return None  # the script reports what it cannot read
        ids = self._values.ids
        values = ids.values(row.record_id) if port.inside and row.members is None else None
        raw = None if values is None else RawFolder(port.template, port.inside, ids, values)
        own = {name: raw is None or raw.is_own(f"{path}/{name}") for name in files}
        if any(own.values()) and not self._files.is_fetched(path):
            row.input_files += (
                InputFile(f"{full}/{name}", *stamp, is_output=not own[name]) for name, stamp in files.items()
            )
        return fingerprint((name, *stamp) for name, stamp in files.items() if own[name]).stamp


def _joint_stamp(entries: Iterable[tuple[str, Stamp | None]]) -> Stamp:
    """Bytes, number and fingerprint of several files or folders, by their relative paths."""
    return fingerprint((path, stamp[0], stamp[-1]) for path, stamp in entries if stamp is not None).stamp


def _missing(port: Port, ways: Sequence[tuple[Port, Template | str]]) -> str:
    """The text of an input that is absent."""
    return (
        " or ".join(finder if isinstance(finder, str) else finder.text for _, finder in ways)
        or port.template.text
    )


class _Found(NamedTuple):
    """What was found of an input.

    Attributes:
        path: Its path, relative; a list of many, None if it is absent.
        full: The same, as scripts see it.
        stamp: Its state.
        entries: Each of its paths, with its state.
    """

    path: FoundPath
    full: FoundPath
    stamp: Stamp | None = None
    entries: Sequence[tuple[str, Stamp | None]] = ()


_ABSENT = _Found(None, None)


def _of_members(port: Port, column: Sequence[_Found]) -> _Found:
    """One input of all members of a group: an item per member, or each path once if members share it."""
    states = {path: stamp for item in column for path, stamp in item.entries}
    if port.per == "shared":
        column = list({tuple(flat_paths([item.path])): item for item in column if item.path}.values())
    return _Found(
        [item.path for item in column],
        [item.full for item in column],
        _joint_stamp(states.items()) if states else None,
        [],
    )
