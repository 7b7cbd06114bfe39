"""The session of an open workspace: caches one listing and the journal's events until the workspace is refreshed.

All handles of a workspace share one session. The first question lists the files, reads the journal and builds the
catalog. Later questions read this catalog:

- `refresh` forgets it, and the next question lists again;
- `catalog(max_age=...)` lists again if it is older; a plan asks for this;
- `published` adds the files that a run of this process wrote; the next question merges them and the new events
  of the journal, without a listing;
- a changed script is read again, and the catalog is built from the new layout.

A session that was opened with a snapshot reads the snapshot instead, until the first refresh.
"""

import math
import os
import shlex
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import polars as pl

from sinagot_catalog.catalog.files.file_stats import Stats
from sinagot_catalog.catalog.files.listings import list_root, owned_paths
from sinagot_catalog.catalog.queries.ranges import Ranges
from sinagot_catalog.catalog.rules.notices import JoinedNotices, Notice
from sinagot_catalog.catalog.snapshots import snapshot_files
from sinagot_catalog.catalog.snapshots.snapshot_files import Snapshot
from sinagot_catalog.catalog.stored_tables.exclusions import ExclusionReader, exclusion_notices
from sinagot_catalog.catalog.stored_tables.file_columns import check_names
from sinagot_catalog.catalog.stored_tables.metadata import (
    expected_records,
    notices_of,
    read_tables,
    with_column_faults,
)
from sinagot_catalog.catalog.stored_tables.row_files import RowFiles
from sinagot_catalog.catalog.structure.layout import Layout, UnitStep
from sinagot_catalog.catalog.structure.layout_builder import build_layout
from sinagot_catalog.catalog.structure.own_paths import own_paths
from sinagot_catalog.catalog.structure.path_conflicts import refused
from sinagot_catalog.catalog.tables import Catalog
from sinagot_catalog.config import Config, foreign, foreign_code
from sinagot_catalog.errors import NotFoundError, UsageError, did_you_mean
from sinagot_catalog.journal import Claims, Journal, last_states, with_states
from sinagot_catalog.patterns import located
from sinagot_catalog.scripts import CodeHashes, Mirror, ScriptSource, read_script
from sinagot_catalog.storage import (
    IdRange,
    Store,
    file_stamp,
    is_url,
    open_store,
)


class Session:
    """A workspace's config, its stores, and its latest catalog.

    Args:
        config: The config.
        storage_options: fsspec options for every remote root; they override those of the config.
        trust: Whether the library may run scripts; by default if they and the config are local and the user's own.
        everything: List the whole dataset, not only the folders that the patterns name.
        listing: A listing of the dataset that replaces the library's own; see `storage.read_listing`.
        records: The only records of this session; see `storage.IdRange.of`.
        snapshot: A snapshot that replaces the listing until the first refresh.
    """

    def __init__(
        self,
        config: Config,
        *,
        storage_options: Mapping[str, Any] | None = None,
        trust: bool | None = None,
        everything: bool = False,
        listing: Any = None,
        records: Any = None,
        snapshot: str | None = None,
    ) -> None:
        if listing is not None and snapshot is not None:
            raise UsageError("listing and snapshot are given: a look comes from one of them")
        if records is not None and snapshot is not None:
            raise UsageError(
                "records and snapshot are given: a snapshot is looked at whole",
                "Narrow it by ws.records.filter(...).",
            )
        self.config = config
        self.given = listing
        self._records = records
        self.span = IdRange.of(records)
        """The ids that this workspace is limited to."""
        self.everything = everything
        self.storage_options = dict(storage_options or {})
        self.trust = trust
        self.stores: dict[str, Store] = {"dataset": self.open_store(config.dataset)}
        if config.outputs != config.dataset:
            self.stores["outputs"] = self.open_store(config.outputs)
        self.log_store = self.open_store(config.log)
        self._mirror = Mirror(self.open_store(config.scripts)) if is_url(config.scripts) else None
        self.journal = Journal(self.log_store)
        self.claims = Claims(self.log_store, lease=config.run.lease)
        self._lock = threading.RLock()
        self._scripts: dict[str, tuple[tuple[int, int] | None, ScriptSource]] = {}
        self._computed: dict[str, Any] = {}
        self.exclusions = ExclusionReader(config.exclude, self.open_store)
        self._declared: Layout | None = None
        self._folders: dict[tuple[str, str], str] = {}
        self._layout: Layout | None = None
        self._catalog: Catalog | None = None
        self._events: pl.DataFrame | None = None
        self._written: list[pl.DataFrame] = []
        self._wrote: set[str | None] = set()
        self.stats = Stats(self.stores)
        self._code = CodeHashes()
        self._listed_at = 0.0
        self._last: pl.DataFrame | None = None
        self.ranges = Ranges(self, are_whole=self.span is None)
        """The ranges of records that a question goes through, if the listing is too large to hold."""
        self.kept = None if snapshot is None else self.find_snapshot(snapshot)
        """The snapshot in use; None if files are listed."""
        self.seconds = 0.0
        """Duration of the last listing."""

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the arguments that open the workspace again: no option values, no listing."""
        how = {"trust": self.trust, "everything": self.everything, "listing": self.given}
        kept = None if self.kept is None else f"{self.kept.store.root}/{self.kept.folder}{self.kept.name}"
        return {"config": self.config, **how, "records": self._records, "snapshot": kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def options(self, root: str) -> dict[str, Any]:
        """The fsspec options of a root: those of the config, then those given in code; none for a local folder."""
        if not is_url(root):
            return {}
        return {**self.config.options_of(root), **self.storage_options}

    def open_store(self, root: str) -> Store:
        """Open the store of a folder or URL."""
        return open_store(root, self.options(root))

    def find_snapshot(self, asked: str) -> Snapshot:
        """Return a snapshot by its name, by the word `latest`, or by the path or URL of its folder."""
        return snapshot_files.find(self.log_store, asked, self.open_store)

    def check_span(self, record_id: str) -> None:
        """Refuse a record outside of the ids that the workspace was opened for.

        Raises:
            NotFoundError: The record is not among these ids.
        """
        if self.span is not None and record_id not in self.span:
            raise NotFoundError(
                f"{record_id!r} lies outside of the records that this workspace was opened for",
                "Open it without records=, or with a range that holds it.",
            )

    def is_group(self, row_id: str) -> bool:
        """Whether an id names a group of records, and not a record.

        Raises:
            NotFoundError: It can only name a group, and there is none of that name; names similar ones.
        """
        if "=" not in row_id or not self.layout().bys:
            return False
        groups = self.catalog().groups.values["record_id"]
        if row_id in groups:
            return True
        if self.config.ids.values(row_id) is not None:
            return False
        raise NotFoundError(f"there is no group {row_id!r}{did_you_mean(row_id, groups.to_list())}")

    @property
    def scripts(self) -> str:
        """The local folder of the scripts; scripts of a bucket are downloaded by content."""
        return self.config.scripts if self._mirror is None else self._mirror.folder()

    # --- trust -------------------------------------------------------------------------------------------

    def distrust(self) -> str | None:
        """Why the library does not run the scripts: other users may have written them or the config; else None."""
        config = self.config
        if self.trust is not None:
            return None if self.trust else "the workspace was opened with trust=False"
        if is_url(config.scripts) or is_url(config.root):
            return "they come from a bucket, and no one allowed it"
        data = (config.dataset, config.outputs, config.log)
        fault = foreign_code(config.scripts, leave_out=data)
        words = (word for command in config.steps.commands.values() for word in shlex.split(command.command))
        programs = (os.path.join(config.scripts, word) for word in words)  # noqa: PTH118 - a word may be absolute
        files = [*config.files, *(program for program in programs if os.path.exists(program))]  # noqa: PTH110
        return fault or next((fault for file in files if (fault := foreign(file))), None)

    def check_trusted(self) -> None:
        """Refuse to run scripts that other users may have written.

        Raises:
            UsageError: Names the file, and who can write it.
        """
        if fault := self.distrust():
            raise UsageError(
                f"the scripts of {self.config.scripts} are not run: {fault}",
                "If you trust who can write there: Workspace(…, trust=True), or --trust.",
            )

    # --- layout and catalog ------------------------------------------------------------------------------

    def layout(self) -> Layout:
        """Return the present declarations of config and scripts; a changed script is read again."""
        with self._lock:
            changed = [script for script, (noted, _) in self._scripts.items() if file_stamp(script) != noted]
            if self._layout is None or changed:
                self._layout = None
                self._declared = build_layout(self.config, self._read_script, scripts=self.scripts)
                self._layout = self._judged(self._declared)
                self._catalog = None if changed else self._catalog
            return self._layout

    def _judged(self, layout: Layout) -> Layout:
        """Mark the steps whose paths are refused; return the same layout if no link has changed."""
        prefixes = {place.template.prefix for place in layout.places}
        folders = {
            (root, prefix): store.resolve(prefix.rstrip("/"))
            for root, store in self.stores.items()
            for prefix in prefixes
        }
        if self._layout is not None and self._folders == folders:
            return self._layout
        self._folders = folders
        own = own_paths(self.config, layout)
        return refused(
            layout, lambda place: located(place.template, folders[place.root, place.template.prefix]), own
        )

    def _read_script(self, script: str) -> ScriptSource:
        now = file_stamp(script)
        entry = self._scripts.get(script)
        if entry is None or entry[0] != now:
            source = read_script(
                script,
                scripts=self.scripts,
                name=self._called(script),
                distrust=self.distrust,
                cache=self._computed,
            )
            entry = self._scripts[script] = (now, source)
        return entry[1]

    def _called(self, script: str) -> str:
        """Return the name of a script in messages."""
        if self._mirror is not None:
            return f"{self.config.scripts}/{os.path.relpath(script, self._mirror.folder())}"
        root = self.config.root
        return os.path.relpath(script, root) if script.startswith(f"{root}/") else script

    def catalog(self, *, max_age: float | None = None) -> Catalog:
        """Return the cached catalog; list again if there is none, or if it is older than `max_age` seconds."""
        with self._lock:
            layout = self.layout()
            if max_age is not None and time.monotonic() - self._listed_at > max_age:
                self.refresh()
            if self._catalog is None:
                self.ranges.check_held()
                self._catalog = self._look(layout)
            elif self._written:
                self._catalog = self._with_written(self._catalog)
            if self.kept is None and self.exclusions.is_changed:
                self._catalog = replace(self._catalog, exclusions=self.exclusions.read())
            self._written.clear()
            self._wrote.clear()
            return self._catalog

    def _look(self, layout: Layout) -> Catalog:
        begin = time.monotonic()
        if self._declared is not None:  # links and tables may have changed since the last listing
            self._layout = None if layout.columns else layout
            self._layout = layout = self._judged(self._declared)
        if self.kept is None:
            last = self.last_states()
            listings = {root: list_root(self, root, layout) for root in self.stores}
            alive = self._alive(last)
            self._listed_at = time.monotonic()
        else:
            last, alive = self.kept.journal()
            listings = self.kept.listings({root: store.is_local for root, store in self.stores.items()})
            self._listed_at = -math.inf  # too old for every plan and run
        for root, listing in listings.items():
            if listing.stats is not None:
                self.stats.take(root, listing.stats)
            if self.kept is not None:
                self.stats.take_folders(root, self.kept.folders(root))
        self.seconds = time.monotonic() - begin
        tables = None if self.kept is None else self.kept.tables()
        tables = read_tables(self.config, self.stores, self.open_store) if tables is None else tables
        if layout.columns:
            self._layout = layout = with_column_faults(layout, tables)
        names_records = self.config.records.expected and tables
        catalog = Catalog(
            layout,
            listings,
            last=last,
            alive=alive,
            expected=expected_records(tables[0], self.config.ids, self.span) if names_records else (),
            tables=tables,
            workspace_version=self.config.info.version,
            code_of=self.code_of,
            exclusions=self.exclusions.read() if self.kept is None else self.kept.exclusions(),
            span=self.span,
            owned=owned_paths(self, layout),
            row_files=RowFiles(self.stores, is_past=self.kept is not None),
        )
        if any(cell.columns for cell in layout.cells):
            check_names(layout, catalog.described.columns, "a column of a metadata table")
        return catalog

    def last_states(self) -> pl.DataFrame:
        """Return the last state of each step; the ranges of a look share it."""
        if self._last is None:
            self._events = self.journal.events()
            return last_states(self._events)
        return self._last

    def within(self, span: IdRange, part: int, last: pl.DataFrame | None = None) -> "Session":
        """Return a session of the same workspace with the records of a range only.

        Args:
            span: The range.
            part: Which range it is, from 0.
            last: The last state of each step in the journal; by default the journal is read again.
        """
        session = object.__new__(Session)
        vars(session).update(vars(self), span=span, _records=(span.first, span.end), stats=Stats(self.stores))
        vars(session).update(_lock=threading.RLock(), _catalog=None, _written=[], _wrote=set(), _last=last)
        session._listed_at = 0.0 if last is None else time.monotonic()
        session.ranges = Ranges(session, part, are_whole=self.ranges.are_whole)
        return session

    def _alive(self, last: pl.DataFrame) -> frozenset[str]:
        """Return the live runs; claims are read only if the journal leaves a row unfinished."""
        if last.filter(pl.col("event").is_in(["start", "publishing"])).is_empty():
            return frozenset()
        return self.claims.alive()

    def notices(self) -> list[Notice]:
        """Return what the last listing left out or could not use."""
        if self.ranges:
            joined = JoinedNotices(len(self.ranges))
            for session in self.ranges.sessions():
                joined.add(session.notices())
            return joined.all()
        catalog = self.catalog()
        is_whole = self.ranges.are_whole
        of_tables = notices_of(catalog.record_values, catalog.tables, is_whole=is_whole)
        return [
            *catalog.notices,
            *(replace(table, area="metadata") for table in of_tables),
            *catalog.file_columns.notices,
            *exclusion_notices(catalog, is_whole=is_whole),
        ]

    @property
    def unread_values(self) -> list[Notice]:
        """What could not be read of the columns from files that were asked for so far; it lists nothing."""
        if self.ranges.held is not None:
            return self.ranges.held.unread_values
        return [] if self._catalog is None else self._catalog.file_columns.notices

    @property
    def is_cheap(self) -> bool:
        """Whether a catalog costs little: it is cached, it comes from a snapshot, or all files are local."""
        return (
            self._catalog is not None
            or self.kept is not None
            or (all(store.is_local for store in self.stores.values()) and not self.ranges)
        )

    def events(self) -> pl.DataFrame:
        """Return every event of the journal at the time of the last listing."""
        with self._lock:
            if self._events is None:
                events = self.journal.events()
                self._events = (
                    events if self.kept is None else events.filter(pl.col("time") <= self.kept.taken)
                )
            return self._events

    def code_of(self, cell: UnitStep) -> str | None:
        """Return the present hash of a step's code; None if its script cannot be read."""
        with self._lock:
            if cell.command is not None:
                return self._code.of_command(cell.command, self.scripts)
            return self._code.of_script(cell.script, self.scripts)

    def refresh(self) -> None:
        """Forget the catalog: the next question lists again."""
        with self._lock:
            self._catalog = None
            self._events = self._last = None
            self.ranges = Ranges(self, self.ranges.part, are_whole=self.ranges.are_whole)
            if self._mirror is not None:
                self._mirror.forget()
                self._layout = None
            self.kept = None
            self.stats.forget()
            self._written.clear()
            self._wrote.clear()
            self._computed = {key: value for key, value in self._computed.items() if "error" not in value}

    # --- after a run -------------------------------------------------------------------------------------

    def published(self, paths: pl.DataFrame, run_id: str | None = None) -> None:
        """Add files that a run wrote: the next catalog contains them without a new listing.

        Args:
            paths: Columns `root, path, kind` of what was published.
            run_id: The run that wrote them.
        """
        with self._lock:
            self._written.append(paths)
            self._wrote.add(run_id)
            self._events = None
            self.stats.written(paths)

    def _with_written(self, catalog: Catalog) -> Catalog:
        """Add to a catalog what runs of this process wrote since, and the new events of these runs."""
        wrote = [run_id for run_id in self._wrote if run_id is not None]
        events = self.journal.of_runs(wrote) if len(wrote) == len(self._wrote) else None
        last = (
            last_states(self.events()) if events is None else with_states(catalog.last, last_states(events))
        )
        paths = pl.concat(self._written)
        listings = {
            root: listing.with_paths(paths.filter(pl.col("root") == root))
            for root, listing in catalog.listings.items()
        }
        return replace(catalog, listings=listings, last=last, alive=self._alive(last))
