"""The inputs of a row: finds them, and records their state before the script reads them."""

import os
import stat
from collections.abc import Iterable, Mapping

from sinagot_catalog.errors import StorageError
from sinagot_catalog.journal import Port, RunSpec, Stamp
from sinagot_catalog.patterns import IdPattern, RawFolder, Template
from sinagot_catalog.storage import as_number, fingerprint
from sinagot_catalog.worker.local_files import LocalFiles, PathQuery
from sinagot_catalog.worker.prepared_step import FoundPath, RowState

__all__ = ["RowInputs"]


class RowInputs:
    """Finds the inputs of rows.

    Args:
        spec: The run.
        files: The files of the run.
        ids: The pattern of record ids.
    """

    def __init__(self, spec: RunSpec, files: LocalFiles, ids: IdPattern) -> None:
        self._dataset = spec.dataset
        self._follow_links = spec.follow_links
        self._files = files
        self._ids = ids

    def find(self, row: RowState) -> None:
        """Find the inputs of a row, and record their sizes and times.

        Raises:
            StorageError: When an input is missing because the dataset folder is gone.
        """
        inputs = row.step.inputs
        if inputs.has_only_plain:
            for path, port, query in zip(row.inputs, inputs.ports, inputs.queries, strict=True):
                full, stamp, is_there = self._find_one(row, port, path, query)
                row.full_inputs.append(full)
                row.stamps.append(stamp)
                if not is_there:
                    row.missing.append(path)
        else:
            self._find_ways(row)
        if row.missing:
            self._check_dataset()

    def _find_one(
        self, row: RowState, port: Port, path: str, query: PathQuery
    ) -> tuple[str, Stamp | None, bool]:
        """The full path of an input, its state, and whether it is there."""
        full, info = self._files.find_input(path, query)
        if port.inside and info is not None and not self._has_own(row, port, path, full, info):
            info = None
        if info is None:
            return full, None, False
        if stat.S_ISREG(info.st_mode):
            return full, (info.st_size, info.st_mtime_ns), True
        return full, self._folder_stamp(row, port, path, full), True

    def _find_ways(self, row: RowState) -> None:
        """Find inputs that may be absent, be one of several alternatives, or be many files."""
        for port, ways in zip(row.step.inputs.ports, row.input_ways, strict=True):
            found = self._first_way(row, ways)
            if found is None and not port.is_optional:
                row.missing.append(" or ".join(_text(one) for _, one in ways) or port.template.text)
            path, full, stamp = (None, None, None) if found is None else found
            row.input_paths.append(path)
            row.full_inputs.append(full)
            row.stamps.append(stamp)
        paths = [one if isinstance(one, list) else [one] for one in row.input_paths if one is not None]
        row.inputs = [path for some in paths for path in some]

    def _first_way(
        self, row: RowState, ways: Iterable[tuple[Port, Template | str]]
    ) -> tuple[FoundPath, FoundPath, Stamp | None] | None:
        """The first alternative that is there: its relative and its full path, and its state."""
        for way, one in ways:
            if isinstance(one, str):
                query = PathQuery(way.template.is_directory, way.roots, self._varies(way))
                full, stamp, is_there = self._find_one(row, way, one, query)
                if is_there:
                    return one, full, stamp
            elif many := self._files.find_many(one, way.roots):
                return list(many), [path for path, _ in many.values()], _stamp_of_many(many)
        return None

    def _varies(self, port: Port) -> tuple[bool, ...]:
        return () if self._follow_links else port.template.varies

    def _check_dataset(self) -> None:
        """Raise an error if the dataset folder is gone, such as an unmounted disk: that is no missing input."""
        if "://" not in self._dataset and not os.path.isdir(self._dataset):  # noqa: PTH112
            raise StorageError(f"the dataset folder {self._dataset} is gone")

    def _has_own(self, row: RowState, port: Port, path: str, full: str, info: os.stat_result) -> bool:
        """Whether a folder holds files that no step declares."""
        raw = self._raw_folder(row, port)
        return raw is None or not stat.S_ISDIR(info.st_mode) or self._files.has_own(path, full, raw)

    def _raw_folder(self, row: RowState, port: Port) -> RawFolder | None:
        """The matcher for files of a folder that steps declare; None if all its files count."""
        values = self._ids.values(row.record_id) if port.inside else None
        return None if values is None else RawFolder(port.template, port.inside, self._ids, values)

    def _folder_stamp(self, row: RowState, port: Port, path: str, full: str) -> Stamp | None:
        """Bytes, number and fingerprint of the files of a folder; None if they cannot be listed."""
        try:
            files = self._files.input_files(path, full)
        except OSError:
            return None  # the script reports what it cannot read
        raw = self._raw_folder(row, port)
        counted = (
            (name, *stamp) for name, stamp in files.items() if raw is None or raw.is_own(f"{path}/{name}")
        )
        result = fingerprint(counted)
        return result.size, result.n_files, as_number(result.digest)


def _stamp_of_many(many: Mapping[str, tuple[str, os.stat_result]]) -> Stamp:
    """Bytes, number and fingerprint of several files, by their relative paths."""
    entries = ((path, info.st_size, info.st_mtime_ns) for path, (_, info) in many.items())
    result = fingerprint(entries)
    return result.size, result.n_files, as_number(result.digest)


def _text(way: Template | str) -> str:
    return way if isinstance(way, str) else way.text
