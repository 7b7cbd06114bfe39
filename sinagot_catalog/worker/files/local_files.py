"""The files of a row on local disks: finds its inputs and outputs, and knows how they are staged and published.

`buckets.remote_files` does the same for buckets. Standard library only.
"""

import os
import stat
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sinagot_catalog.journal import RunSpec
from sinagot_catalog.patterns import Template
from sinagot_catalog.storage import find_entry, find_many, input_files, is_url, join_url
from sinagot_catalog.worker.files.local_publisher import LocalPublisher
from sinagot_catalog.worker.files.moved_inputs import InputFile, InputNotes, put_back_inputs
from sinagot_catalog.worker.files.publication import Publisher
from sinagot_catalog.worker.files.staging import StagingFolder


class PathQuery(NamedTuple):
    """How to search for a path.

    Attributes:
        is_directory: Whether only a folder counts.
        roots: The roots to search, in order: `outputs`, `dataset`.
        varies: See `find_entry`.
    """

    is_directory: bool = False
    roots: tuple[str, ...] = ("outputs", "dataset")
    varies: tuple[bool, ...] = ()


ANY = PathQuery()
"""Searches for a file or a folder."""


class RowPaths(NamedTuple):
    """The paths of a row, relative.

    Attributes:
        inputs: What it reads.
        outputs: What it writes.
        queries: How to search for each input.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    queries: tuple[PathQuery, ...]


class LocalFiles:
    """Dataset and outputs on local disks.

    Args:
        spec: The run.
        staging: The staging folder of this process.
        publisher: Publishes the outputs; by default to the local outputs folder.

    Attributes:
        staging: The staging folder.
        publisher: Publishes the outputs.
        data_path: The dataset folder as scripts see it.
    """

    def __init__(self, spec: RunSpec, staging: StagingFolder, publisher: Publisher | None = None) -> None:
        self.dataset = spec.dataset
        self.data_path = spec.dataset
        self.outputs = spec.outputs
        self.staging = staging
        self.publisher = publisher or LocalPublisher(spec, staging)
        self._follow_links = spec.follow_links
        self._is_apart = spec.dataset != spec.outputs
        self._root_of: dict[str, str] = {}
        self._input_notes = InputNotes(staging.path)

    def prepare(self, row: RowPaths) -> None:  # noqa: ARG002 - `RemoteFiles` uses it
        """Get ready for the paths of the next row: forget those of the last row."""
        self._root_of.clear()

    def prefetch(self, rows: Iterable[RowPaths]) -> None:
        """Prefetch the inputs of a row and of those that follow it: a local disk needs nothing."""

    def close(self) -> None:
        """End background work, and close the note of inputs."""
        self._input_notes.close()

    def fetch(self) -> None:
        """Make the inputs that were found readable for scripts: on a local disk they are."""

    def url_of(self, path: str, *, is_input: bool) -> str:
        """The URL of a path."""
        root = self._root_of.get(path, self.dataset) if is_input else self.outputs
        return join_url(root, path) if is_url(root) else f"file://{root}/{path}"

    def find_input(self, path: str, query: PathQuery) -> tuple[str, os.stat_result | None]:
        """The full path of an input and its `stat`; None when it is absent. An empty folder is absent."""
        root = self.dataset
        for root in self.roots_of(query):
            info = self._find(root, path, query)
            if info is not None:
                return self._take(root, path), info
        return self._place(root, path), None

    def find_many(self, template: Template, roots: Sequence[str]) -> dict[str, tuple[str, os.stat_result]]:
        """The files of a pattern with wildcards: by relative path the full path and the `stat`, sorted.

        Args:
            template: The pattern, filled for a record.
            roots: See `PathQuery`.
        """
        files: dict[str, tuple[str, os.stat_result]] = {}
        for root in self.roots_of(PathQuery(roots=tuple(roots))):
            for path, info in self._list_many(root, template).items():
                if path not in files:
                    files[path] = self._take(root, path), info
        return dict(sorted(files.items()))

    def _find(self, root: str, path: str, query: PathQuery) -> os.stat_result | None:
        """The `stat` of a path below one root; None when it is absent."""
        return find_entry(root, path, is_directory=query.is_directory, varies=query.varies)

    def _list_many(self, root: str, template: Template) -> dict[str, os.stat_result]:
        """The paths that a pattern with wildcards has below one root."""
        return find_many(root, template, follow_links=self._follow_links)

    def _place(self, root: str, path: str) -> str:
        """The full path by which a script reads a path below a root."""
        return f"{root}/{path}"

    def _take(self, root: str, path: str) -> str:
        """Note the root of a path that the row reads; returns the full path."""
        if self._is_apart:
            self._root_of[path] = root
        return self._place(root, path)

    def is_fetched(self, path: str) -> bool:  # noqa: ARG002 - for buckets
        """Whether an input of the running row is a fetched copy."""
        return False

    def note_inputs(self, files: Sequence[InputFile]) -> None:
        """Note the input files of the row that is about to run, for `put_back_inputs`."""
        self._input_notes.write(files)

    def put_back_inputs(self) -> list[str]:
        """Put back the inputs that a script moved into the staging folder; returns their relative paths."""
        return put_back_inputs(self.staging.path, (self.dataset, self.outputs))

    def roots_of(self, query: PathQuery) -> list[str]:
        """The roots in which to search for an input, in order."""
        if not self._is_apart:
            return [self.dataset]
        return [self.outputs if name == "outputs" else self.dataset for name in query.roots]

    def input_files(self, path: str, full: str) -> dict[str, tuple[int, int]]:  # noqa: ARG002 - for buckets
        """Size and time of each file of a folder that is an input, by its name.

        Args:
            path: The folder, relative.
            full: Its full path.
        """
        return input_files(full)

    def has_output(self, path: str, query: PathQuery = ANY) -> bool:
        """Whether an output exists at its final path."""
        return self._find(self.outputs, path, query) is not None

    def has_file(self, path: str) -> bool:
        """Whether a regular file is at the final path of an output; a link is none."""
        try:
            return stat.S_ISREG(os.lstat(f"{self.outputs}/{path}").st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False

    def find_output(self, path: str, query: PathQuery) -> str | None:
        """The full path of an output that exists, or of its fetched copy; None if it does not."""
        if not self.has_output(path, query):
            return None
        full = self._take(self.outputs, path)
        self.fetch()
        return full


def is_related(path: str, other: str) -> bool:
    """Whether two paths are the same, or one contains the other."""
    return path == other or path.startswith(f"{other}/") or other.startswith(f"{path}/")
