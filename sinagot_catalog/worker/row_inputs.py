"""The inputs of a row: finds them, and records their state before the script reads them."""

import os
import stat

from sinagot_catalog.errors import StorageError
from sinagot_catalog.journal import Port, RunSpec, Stamp
from sinagot_catalog.patterns import IdPattern, RawFolder
from sinagot_catalog.storage import as_number, fingerprint
from sinagot_catalog.worker.local_files import LocalFiles
from sinagot_catalog.worker.prepared_step import RowState

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
        self._files = files
        self._ids = ids

    def find(self, row: RowState) -> None:
        """Find the inputs of a row, and record their sizes and times.

        Raises:
            StorageError: When an input is missing because the dataset folder is gone.
        """
        inputs = row.step.inputs
        for path, port, query in zip(row.inputs, inputs.ports, inputs.queries, strict=True):
            full, info = self._files.find_input(path, query)
            if port.inside and info is not None and not self._has_own(row, port, path, full, info):
                info = None
            row.full_inputs.append(full)
            if info is None:
                row.missing.append(path)
                row.stamps.append(None)
            elif stat.S_ISREG(info.st_mode):
                row.stamps.append((info.st_size, info.st_mtime_ns))
            else:
                row.stamps.append(self._folder_stamp(row, port, path, full))
        if row.missing:
            self._check_dataset()

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
