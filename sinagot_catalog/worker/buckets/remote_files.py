"""The files of a row in buckets: finds its inputs and outputs, and fetches the inputs before the script runs.

`fetched_files` keeps the fetched inputs, `prefetcher` fetches those of the next rows, `remote_publisher` uploads
the outputs, `outages` repeats calls while a store is unreachable.
"""

from __future__ import annotations

import os
import stat
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from sinagot_catalog.journal import JournalUploader
from sinagot_catalog.patterns import IdPattern, reductions
from sinagot_catalog.storage import Info, RemoteStore, is_url
from sinagot_catalog.worker.buckets.fetched_files import Answers, FetchedFiles
from sinagot_catalog.worker.buckets.outages import OutageRetry
from sinagot_catalog.worker.buckets.prefetcher import Prefetcher, TimedAnswers
from sinagot_catalog.worker.buckets.remote_publisher import RemotePublisher
from sinagot_catalog.worker.files.local_files import LocalFiles
from sinagot_catalog.worker.files.target_folders import parents

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from sinagot_catalog.journal import RunSpec
    from sinagot_catalog.patterns import Template
    from sinagot_catalog.worker.files.local_files import PathQuery, RowPaths
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
        publisher: Publisher | None = None
        if (store := self._stores.get(spec.outputs)) is not None:
            query = partial(self._query, spec.outputs)
            publisher = RemotePublisher(store, self._retry, query=query, forget=self._forget)
        super().__init__(spec, staging, publisher)
        limit = spec.remote.fetch_limit if spec.remote is not None else 0
        self._fetched = FetchedFiles(fetched, limit, self._stores, self._retry)
        self._force = spec.force
        self._prefetcher = Prefetcher(self._prefetch_row)
        self.data_path = fetched if is_url(spec.dataset) else spec.dataset

    def prepare(self, row: RowPaths) -> None:
        """Query the paths of the next row, several at once, unless prefetching has already done so."""
        super().prepare(row)
        self._answers.clear()
        self._fetched.wanted.clear()
        prefetched = self._prefetcher.take(row)
        if prefetched is not None:
            at, answers = prefetched
            # A fetched input keeps its version, which the row records; other paths may have changed since.
            is_fresh = time.monotonic() - at < _FRESH
            self._answers.update(
                (key, info)
                for key, info in answers.items()
                if is_fresh or (key[1] not in row.outputs and self._fetched.holds(*key, info))
            )
        self._answers |= self._retry(lambda: self._ask(row, self._answers))

    def prefetch(self, rows: Iterable[RowPaths]) -> None:
        """Query the next rows and fetch their inputs; see `Prefetcher.prefetch`."""
        self._prefetcher.prefetch(rows)

    def close(self) -> None:
        """End prefetching."""
        super().close()
        self._fetched.close()
        self._prefetcher.close()

    # -- queries ------------------------------------------------------------------------------------------

    def _ask(self, row: RowPaths, known: Collection[tuple[str, str]] = ()) -> Answers:
        """The answers for the paths of a row that are not known, several at once."""
        answers: Answers = {}
        for root, store in self._stores.items():
            inputs = zip(row.inputs, row.queries, strict=True)
            paths = {path for path, query in inputs if root in self.roots_of(query)}
            paths.update(row.outputs if root == self.outputs else ())
            unknown = [path for path in paths if (root, path) not in known]
            answers |= zip(((root, path) for path in unknown), store.each(store.info, unknown), strict=True)
        return answers

    def _prefetch_row(self, row: RowPaths) -> TimedAnswers:
        """Query the paths of a row, and fetch its inputs unless its outputs exist."""
        answers = self._ask(row)
        now = time.monotonic()
        is_done = row.outputs and all(answers.get((self.outputs, path)) is not None for path in row.outputs)
        if self._force or not is_done:
            for path, query in zip(row.inputs, row.queries, strict=True):
                places = ((root, answers.get((root, path))) for root in self.roots_of(query))
                root, info = next((place for place in places if place[1] is not None), ("", None))
                if info is not None and not info.is_directory:
                    self._fetched.prefetch(path, root, info)
        return now, answers

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

    def _find(self, root: str, path: str, query: PathQuery) -> os.stat_result | None:
        """The `stat` of a path below one root; None when it is absent."""
        if root not in self._stores:
            return super()._find(root, path, query)
        info = self._query(root, path)
        return None if info is None or (query.is_directory and not info.is_directory) else _as_stat(info)

    def _place(self, root: str, path: str) -> str:
        """The full path by which a script reads a path: that to which `fetch` brings it, in a bucket."""
        return super()._place(self._fetched.folder if root in self._stores else root, path)

    def _take(self, root: str, path: str) -> str:
        """Note that the row reads a path below a root; `fetch` brings it."""
        info = self._query(root, path) if root in self._stores else None
        if info is not None:
            self._fetched.wanted[path] = root, info
        return super()._take(root, path)

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
            cuts = [path] if not template.is_directory else parents(path)[:-1]
            for cut in cuts:
                if cut not in files and way.fits(cut):
                    if cut == path:
                        self._answers[root, path] = info
                    entry = self._query(root, cut)
                    if entry is not None:
                        files[cut] = _as_stat(entry)
        return files

    def is_fetched(self, path: str) -> bool:
        """Whether an input of the running row is a fetched copy."""
        return path in self._fetched.wanted

    def input_files(self, path: str, full: str) -> dict[str, tuple[int, int]]:
        """Size and time of each file of a folder that is an input, by its name."""
        if path not in self._fetched.wanted:
            return super().input_files(path, full)
        store = self._stores[self._fetched.wanted[path][0]]
        return self._retry(lambda: store.files_below(path))

    def has_file(self, path: str) -> bool:
        """Whether an object is at the final path of an output."""
        if self.outputs not in self._stores:
            return super().has_file(path)
        info = self._query(self.outputs, path)
        return info is not None and not info.is_directory


_ANY_ID = IdPattern(".+")
"""A filled pattern has no placeholder: no id matters."""


def _as_stat(info: Info) -> os.stat_result:
    mode = stat.S_IFDIR if info.is_directory else stat.S_IFREG
    return os.stat_result(
        (mode, 0, 0, 0, 0, 0, info.size or 0, 0, (info.mtime_ns or 0) // 1_000_000_000, 0),
        {"st_mtime_ns": info.mtime_ns or 0},
    )
