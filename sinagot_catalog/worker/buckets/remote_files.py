"""The files of a row in buckets: finds its inputs and outputs, and fetches the inputs before the script runs.

`fetched_files` keeps the fetched inputs, `prefetcher` fetches those of the next rows, `remote_publisher` uploads
the outputs, `outages` repeats calls while a store is unreachable.
"""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING, Any

from sinagot_catalog.journal import JournalUploader
from sinagot_catalog.patterns import IdPattern, reductions
from sinagot_catalog.storage import Info, RemoteStore, find_entry, is_url, join_url
from sinagot_catalog.worker.buckets.fetched_files import Answers, FetchedFiles
from sinagot_catalog.worker.buckets.outages import OutageRetry
from sinagot_catalog.worker.buckets.prefetcher import Prefetcher
from sinagot_catalog.worker.buckets.remote_publisher import RemotePublisher
from sinagot_catalog.worker.files.local_files import ANY, LocalFiles, PathQuery

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sinagot_catalog.journal import RunSpec
    from sinagot_catalog.patterns import RawFolder, Template
    from sinagot_catalog.worker.files.local_files import NextRow
    from sinagot_catalog.worker.files.publication import Publisher
    from sinagot_catalog.worker.files.staging import StagingFolder

_FRESH = 2.0
"""Seconds for which prefetched information about an output stays valid."""


def open_uploader(spec: RunSpec, options: Mapping[str, Mapping[str, Any]]) -> JournalUploader | None:
    """The uploader for the journal of a worker; None if `LOG` is on a local disk."""
    if spec.remote is None or not is_url(spec.remote.log):
        return None
    return JournalUploader(RemoteStore(spec.remote.log, options.get("log")), spec.log, spec.run_id)


class RemoteFiles(LocalFiles):
    """Dataset, outputs or both in buckets.

    Args:
        spec: The run.
        options: fsspec options by part: `dataset`, `outputs`.
        staging: The staging folder of this process.
        fetched: The folder to which inputs are fetched.
    """

    def __init__(
        self,
        spec: RunSpec,
        options: Mapping[str, Mapping[str, Any]],
        *,
        staging: StagingFolder,
        fetched: str,
    ) -> None:
        self._stores: dict[str, RemoteStore] = {}
        for part, root in (("dataset", spec.dataset), ("outputs", spec.outputs)):
            if is_url(root) and root not in self._stores:
                self._stores[root] = RemoteStore(root, options.get(part), has_few_retries=True)
        self._retry = OutageRetry()  # the stores make few retries themselves
        self._answers: Answers = {}
        super().__init__(spec, staging, self._open_publisher(spec))
        limit = spec.remote.fetch_limit if spec.remote is not None else 0
        self._fetched = FetchedFiles(fetched, limit, self._stores, self._retry)
        self._prefetcher = Prefetcher(
            self._fetched,
            query=self._query_row,
            roots_of=self.roots_of,
            outputs=spec.outputs,
            force=spec.force,
        )
        self.data_path = fetched if is_url(spec.dataset) else spec.dataset

    def _open_publisher(self, spec: RunSpec) -> Publisher | None:
        """The publisher for outputs in a bucket; None for local outputs."""
        store = self._stores.get(spec.outputs)
        if store is None:
            return None
        return RemotePublisher(
            store, self._retry, query=lambda path: self._query(spec.outputs, path), forget=self._forget
        )

    def prepare(
        self, inputs: Sequence[str], outputs: Sequence[str], queries: Sequence[PathQuery] = ()
    ) -> None:
        """Query the paths of the next row, several at once, unless prefetching has already done so."""
        super().prepare(inputs, outputs, queries)
        self._answers.clear()
        self._fetched.wanted.clear()
        prefetched = self._prefetcher.take(inputs, outputs)
        if prefetched is not None:
            at, answers = prefetched
            # A fetched input keeps its version, which the row records; other paths may have changed since.
            is_fresh = time.monotonic() - at < _FRESH
            self._answers.update(
                (key, info)
                for key, info in answers.items()
                if is_fresh or (key[1] not in outputs and self._fetched.holds(*key, info))
            )
        for root in self._stores:
            paths = self._paths(root, inputs, outputs, queries)
            unknown = [path for path in paths if (root, path) not in self._answers]
            self._answers.update(self._retry(lambda root=root, unknown=unknown: self._ask(root, unknown)))  # type: ignore[misc]

    def prefetch(self, rows: Iterable[NextRow]) -> None:
        """Query the next rows and fetch their inputs; see `Prefetcher.prefetch`."""
        self._prefetcher.prefetch(rows)

    def close(self) -> None:
        """End prefetching."""
        super().close()
        self._prefetcher.close()

    # -- queries ------------------------------------------------------------------------------------------

    def _paths(
        self, root: str, inputs: Sequence[str], outputs: Iterable[str], queries: Sequence[PathQuery]
    ) -> set[str]:
        """The paths of a row to query in one root."""
        pairs = zip(inputs, queries or [ANY] * len(inputs), strict=True)
        paths = {path for path, query in pairs if root in self.roots_of(query)}
        return paths | (set(outputs) if root == self.outputs else set())

    def _ask(self, root: str, paths: Sequence[str]) -> Answers:
        """The answers of one store, several at once."""
        store = self._stores[root]
        return dict(zip(((root, path) for path in paths), store.each(store.info, paths), strict=True))

    def _query_row(
        self, inputs: Sequence[str], outputs: Sequence[str], queries: Sequence[PathQuery]
    ) -> Answers:
        """The answers for all paths of a row."""
        answers: Answers = {}
        for root in self._stores:
            answers |= self._ask(root, list(self._paths(root, inputs, outputs, queries)))
        return answers

    def _query(self, root: str, path: str) -> Info | None:
        """The answer for one path of the running row."""
        if (root, path) not in self._answers:
            self._answers[root, path] = self._retry(lambda: self._stores[root].info(path))
        return self._answers[root, path]

    def _forget(self, paths: Sequence[str]) -> None:
        """Discard the answers about paths that have just been written."""
        for path in paths:
            self._answers.pop((self.outputs, path), None)
        self._prefetcher.forget(paths)

    # -- finding ------------------------------------------------------------------------------------------

    def fetch(self) -> None:
        """Fetch the inputs that were found and are not fetched yet; see `FetchedFiles.fetch`."""
        self._fetched.fetch(self._prefetcher.wait)

    def find_input(self, path: str, query: PathQuery = ANY) -> tuple[str, os.stat_result | None]:
        """The path to which `fetch` brings an input, and its `stat`; None when it is absent."""
        fetched = f"{self._fetched.folder}/{path}"
        full, status = fetched, None
        for root in self.roots_of(query):
            if root not in self._stores:
                full = f"{root}/{path}"
                status = find_entry(root, path, is_directory=query.is_directory, varies=query.varies)
            elif (info := self._query(root, path)) is not None and (
                info.is_directory or not query.is_directory
            ):
                self._fetched.wanted[path] = root, info
                full, status = fetched, _as_stat(info)
            if status is not None:
                self._root_of[path] = root
                break
        return full, status

    def find_many(self, template: Template, roots: Sequence[str]) -> dict[str, tuple[str, os.stat_result]]:
        """The same as for local files; `fetch` brings the files of a bucket."""
        files = super().find_many(template, roots)
        for path, (full, info) in files.items():
            if path in self._fetched.wanted:
                files[path] = f"{self._fetched.folder}/{path}", info
            else:
                self._root_of[path] = full.removesuffix(f"/{path}")
        return files

    def _list_many(self, root: str, template: Template) -> dict[str, os.stat_result]:
        """The paths that a pattern with wildcards has in a bucket, or below a local root."""
        if root not in self._stores:
            return super()._list_many(root, template)
        (way,) = reductions(template, _ANY_ID).values()
        infos = self._retry(lambda: self._stores[root].infos(template.prefix.removesuffix("/")))
        files = {}
        for path, info in infos.items():
            if path.startswith("LOG/"):
                continue
            cuts = [path] if not template.is_directory else _folders_of(path)
            for cut in cuts:
                if cut not in files and way.fits(cut):
                    entry = info if cut == path else self._query(root, cut)
                    if entry is not None:
                        self._fetched.wanted.setdefault(cut, (root, entry))  # another input may name it, too
                        files[cut] = _as_stat(entry)
        return files

    def is_fetched(self, path: str) -> bool:
        """Whether an input of the running row is a fetched copy."""
        return path in self._fetched.wanted

    def has_own(self, path: str, full: str, raw: RawFolder) -> bool:
        """Whether a folder of raw data holds a file that no step declares."""
        if path not in self._fetched.wanted:
            return super().has_own(path, full, raw)
        return raw.has_own(self._fetched.list_folder(self._fetched.wanted[path][0], path))

    def input_files(self, path: str, full: str) -> dict[str, tuple[int, int]]:
        """Size and time of each file of a folder that is an input, by its name."""
        if path not in self._fetched.wanted:
            return super().input_files(path, full)
        store = self._stores[self._fetched.wanted[path][0]]
        return self._retry(lambda: store.files_below(path))

    def has_output(self, path: str, query: PathQuery = ANY) -> bool:
        """Whether an output exists at its final path."""
        if self.outputs not in self._stores:
            return super().has_output(path, query)
        info = self._query(self.outputs, path)
        return info is not None and (info.is_directory or not query.is_directory)

    def has_file(self, path: str) -> bool:
        """Whether an object is at the final path of an output."""
        if self.outputs not in self._stores:
            return super().has_file(path)
        info = self._query(self.outputs, path)
        return info is not None and not info.is_directory

    def find_output(self, path: str, query: PathQuery = ANY) -> str | None:
        """The path of a local copy of an output that exists; None if it does not."""
        if self.outputs not in self._stores:
            return super().find_output(path, query)
        info = self._query(self.outputs, path)
        if info is None or (query.is_directory and not info.is_directory):
            return None
        self._fetched.wanted[path] = self.outputs, info
        self.fetch()
        return f"{self._fetched.folder}/{path}"

    def url_of(self, path: str, *, is_input: bool) -> str:
        """The URL of a path, for scripts that read or write it themselves."""
        wanted = self._fetched.wanted.get(path)
        known = self._root_of.get(path) if wanted is None else wanted[0]
        root = known if is_input and known is not None else self.outputs
        return join_url(root, path) if is_url(root) else f"{root}/{path}"


_ANY_ID = IdPattern(".+")
"""A filled pattern has no placeholder: no id matters."""


def _folders_of(path: str) -> list[str]:
    """The folders around a path, the outermost first."""
    parts = path.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]


def _as_stat(info: Info) -> os.stat_result:
    mode = stat.S_IFDIR if info.is_directory else stat.S_IFREG
    return os.stat_result(
        (mode, 0, 0, 0, 0, 0, info.size or 0, 0, (info.mtime_ns or 0) // 1_000_000_000, 0),
        {"st_mtime_ns": info.mtime_ns or 0},
    )
