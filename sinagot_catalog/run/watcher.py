"""The watcher: runs rows as they become ready, in rounds. Each round lists the workspace and runs what is new.

The watcher tries a row once for each state of its inputs. It remembers its tries in memory; the journal tells which
rows failed before the watch began. A file that is still being written holds back the rows of its record.
"""

from __future__ import annotations

import os
import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.catalog import Query, Session, stat_paths
from sinagot_catalog.errors import SinagotError
from sinagot_catalog.run.planning import request
from sinagot_catalog.schema import KEYS, TIME
from sinagot_catalog.storage import STATS, Changes, file_stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sinagot_catalog.catalog import Catalog
    from sinagot_catalog.journal import RunReport
    from sinagot_catalog.run.options import RunOptions

    Act = Callable[[Session, Query, RunOptions], RunReport]

_OLD = 60.0
"""Seconds since the last change after which a file counts as complete at once, even with skewed clocks."""
_SHARE = 4
"""Pause between rounds, in multiples of a round's own time: listing takes at most 1/(1 + _SHARE) of the time."""

_FILE = ["root", *STATS]
_TRIED = {**KEYS, "mark": pl.UInt64(), "made": pl.UInt64(), "outcome": pl.String()}


def watch(
    source: Session,
    query: Query,
    options: RunOptions,
    act: Act,
    say: Callable[[str], None],
    *,
    interval: float,
    stable_for: float,
    once: bool,
) -> Iterator[RunReport]:
    """Run the rows of some steps that become ready, round after round.

    Args:
        source: The session of the workspace.
        query: The steps to watch.
        options: Options of the runs; `step` narrows the watched steps.
        act: Runs rows and waits for them.
        say: Receives a line about what went wrong in a round; a repeated line is not sent again.
        interval: Seconds until the next round, if no change is noticed earlier.
        stable_for: Seconds for which size and time of a new file must not change.
        once: End when no row is ready any more.

    Yields:
        The report of each round that ran something.

    Raises:
        SinagotError: In the first round, or with `once`. Later errors go to `say`, and the watch goes on.
    """
    state = WatchState(source, query, options, stable_for)
    tell, is_first, has_settled = without_repeats(say), True, False
    try:
        with closing(Changes(say)) as changes:
            while True:
                begin = time.monotonic()
                try:
                    report = state.round(act)
                    tell, is_first = without_repeats(say), False
                except (SinagotError, OSError) as error:
                    if is_first or once:
                        raise
                    report = None
                    text = error.message if isinstance(error, SinagotError) else str(error)
                    tell(f"error: {text} (the watch goes on, and looks again within {interval:g} s)")
                if report is not None:
                    yield report
                    continue  # the run may have made other rows ready
                if once and (has_settled or not state.is_restless):
                    if state.is_restless:
                        say("rows are left that wait for files which still change")
                    return
                has_settled = once
                took = time.monotonic() - begin
                pause = min(interval, stable_for) if state.is_restless else interval
                changes.wait(pause, () if once else state.folders)
                time.sleep(max(0.0, begin + took * (1 + _SHARE) - time.monotonic()))
    except KeyboardInterrupt:
        if state.is_running:
            raise


def without_repeats(say: Callable[[str], None]) -> Callable[[str], None]:
    """Wrap `say` so that it gets each line only the first time; else every round would repeat it."""
    lines: set[str] = set()

    def talk(line: str) -> None:
        if line not in lines:
            lines.add(line)
            say(line)

    return talk


class WatchState:
    """The state of a watch between rounds: which rows were tried, and in which state of their inputs.

    Attributes:
        source: The session of the workspace; a new one after an edit of the config.
        folders: The local folders in which new inputs appear.
        is_restless: Whether rows wait for a file that is still being written.
        is_running: Whether rows are running and their results are not known yet.
    """

    def __init__(self, source: Session, query: Query, options: RunOptions, stable_for: float) -> None:
        self.source = source
        self.folders: list[str] = []
        self.is_restless = False
        self.is_running = False
        self._options = options
        self._stable_for = stable_for
        self._config = [*map(file_stamp, source.config.files)]
        self._tried = pl.DataFrame(schema=_TRIED)
        self._report: pl.DataFrame | None = None
        self._marks = pl.DataFrame(schema=_TRIED)
        self._seen = pl.DataFrame(schema={"root": pl.String, **STATS, "since": pl.Float64})
        self._query = request.of_steps(source, query.seen_as("steps"), options)

    def round(self, act: Act) -> RunReport | None:
        """List the workspace, run new rows, and remember them.

        Returns:
            The report; None if there was nothing to do, or another run holds the rows.
        """
        self.is_running = False
        rows = self._look()
        if rows is None:
            return None
        self.is_running = True
        try:
            report = act(self.source, rows, replace(self._options, step=None, downstream=False))
        except Exception:
            self.is_running = False  # the watch reports the error and goes on; a Ctrl-C leaves this True
            raise
        self.is_running = False
        tried = report.frame.filter(pl.col("outcome") != "claimed")
        self._report = tried.select(*KEYS, pl.col("outcome").cast(pl.String))
        return report if tried.height else None

    def _look(self) -> Query | None:
        """List the workspace again; return the rows to run, or None."""
        self._open_again()
        self.source.refresh()
        # A run tries a step that the user named even without its inputs. A watch does not: here the name only
        # narrows the query, so the plan gets no step.
        plan = request.plan(self.source, self._query, replace(self._options, step=None))
        rows = plan.running
        catalog = self._query.widened(self.source.catalog())
        inputs = self._inputs(catalog, rows)
        rows = self._untried(catalog, rows, inputs)
        inputs = inputs.join(rows, on=list(KEYS), how="semi", nulls_equal=True)
        restless = self._restless(inputs)
        held = inputs.join(restless, on=["root", "path"], how="semi")["record_id"].unique()
        keys = rows.filter(~pl.col("record_id").is_in(held.implode())).select(*KEYS)
        self.is_restless = not restless.is_empty()
        self.folders = self._folders()
        return Query("steps", rows=keys) if len(keys) else None

    def _folders(self) -> list[str]:
        """The folders of inputs that no step makes: the part of their patterns before the first field."""
        layout = self.source.layout()
        folders = set()
        for cell in layout.cells:
            for number in cell.places("input"):
                place = layout.places[number]
                for store in (self.source.stores[root] for root in place.telling):
                    if store.is_local and number not in layout.makers:
                        folders.add(_nearest(store.root, place.template.tokens[0]))
        return sorted(path for path in folders if not any(path.startswith(f"{other}/") for other in folders))

    def _open_again(self) -> None:
        """Read the config again if one of its local files was edited."""
        stamps = [*map(file_stamp, self.source.config.files)]
        if stamps != self._config:
            state = self.source.__getstate__()
            anew = {"config": self.source.config.again(), "storage_options": self.source.storage_options}
            self.source, self._config = Session(**{**state, **anew}), stamps

    # --- what changed ------------------------------------------------------------------------------------

    def _inputs(self, catalog: Catalog, rows: pl.DataFrame) -> pl.DataFrame:
        """The existing inputs, a line per row and path.

        With their state, whether a step makes them, and whether they count as complete at once.
        """
        links = catalog.links(rows).filter(pl.col("role") == "input", pl.col("exists"))
        made = pl.col("_place").is_in(list(catalog.makers))
        links = links.select(*KEYS, "root", "path", made.alias("is_made"))
        parts = [links.clear().join(self._state(catalog, "dataset", links.clear()), on="path", how="left")]
        for (root,), part in links.partition_by("root", as_dict=True).items():
            parts.append(part.join(self._state(catalog, str(root), part), on="path", how="left"))
        now = time.time_ns()
        is_old = pl.col("mtime_ns") < now - int(_OLD * 1e9)
        is_object = pl.lit(value=False)
        for root, store in self.source.stores.items():
            is_object = is_object | (pl.lit(not store.is_local) & (pl.col("root") == root))
        whole = pl.col("is_made") | ((is_old | is_object) & ~pl.col("is_folder")).fill_null(value=False)
        return pl.concat(parts).with_columns(whole.alias("is_whole"))

    def _state(self, catalog: Catalog, root: str, inputs: pl.DataFrame) -> pl.DataFrame:
        """Size, time and etag of paths; for a folder the bytes, newest time and fingerprint of its files."""
        paths = inputs.select(pl.col("path").unique())
        state = stat_paths(catalog, root, paths, self.source.stats)
        # The time of the folder itself is needed to notice that a file was added or removed. Files that steps write
        # into the folder change it, too.
        touched = self.source.stats(root, state["path"])["mtime_ns"]
        return state.select(*STATS, "is_folder", pl.max_horizontal("mtime_ns", touched).alias("touched_ns"))

    def _untried(self, catalog: Catalog, rows: pl.DataFrame, inputs: pl.DataFrame) -> pl.DataFrame:
        """The rows that were not tried yet in the present state of their inputs."""
        keys = list(KEYS)
        state = pl.struct(_FILE).hash()
        marks = inputs.group_by(keys).agg(
            state.filter(~pl.col("is_made")).sum().alias("mark"),
            state.filter("is_made").sum().alias("made"),
            pl.col("touched_ns").max().cast(pl.Datetime("ns", "UTC")).cast(TIME).alias("newest"),
        )
        attempts = catalog.last.select(*keys, "started")
        rows = rows.join(attempts, on=keys, how="left", nulls_equal=True)
        rows = rows.join(marks, on=keys, how="left", nulls_equal=True)
        rows = rows.with_columns(pl.col("mark", "made").fill_null(0))
        self._remember(rows)
        # Rows that failed before the watch began count as tried if no input is newer than the attempt.
        failed = pl.col("_event").is_in(["error", "half", "not_available"])
        before = rows.filter(failed & (pl.col("newest") <= pl.col("started")).fill_null(value=True))
        before = before.with_columns(pl.lit("error").alias("outcome")).select(*_TRIED)
        self._tried = pl.concat([self._tried, before]).unique(keys, keep="first")
        known = self._tried.rename({"mark": "_mark", "made": "_made"})
        rows = rows.join(known, on=keys, how="left", nulls_equal=True)
        same = (pl.col("mark") == pl.col("_mark")) & (pl.col("made") == pl.coalesce("_made", "made"))
        # The plan runs a row that is done only if it is stale: the journal has the inputs that it was made from.
        again = (pl.col("status") == "DONE") & (pl.col("outcome") == "done")
        rows = rows.filter(~same.fill_null(value=False) | again.fill_null(value=False))
        self._marks = rows.select(*keys, "mark")
        return rows

    def _remember(self, rows: pl.DataFrame) -> None:
        """Add the last report to the tries, with the state of inputs before it and of files that steps made."""
        if self._report is None:
            return
        keys = list(KEYS)
        tried = self._report.join(self._marks, on=keys, how="left", nulls_equal=True)
        tried = tried.join(rows.select(*keys, "made"), on=keys, how="left", nulls_equal=True)
        tried = tried.with_columns(pl.col("mark").fill_null(0)).select(*_TRIED)
        self._tried = pl.concat([tried, self._tried]).unique(keys, keep="first", maintain_order=True)
        self._report = None

    def _restless(self, inputs: pl.DataFrame) -> pl.DataFrame:
        """The files that changed less than `stable_for` seconds ago."""
        now = time.monotonic()
        young = inputs.filter(~pl.col("is_whole")).select(_FILE).unique()
        young = young.join(self._seen, on=_FILE, how="left", nulls_equal=True)
        self._seen = young.with_columns(pl.col("since").fill_null(now))
        return self._seen.filter(now - pl.col("since") < self._stable_for)


def _nearest(root: str, token: tuple[str, str]) -> str:
    """The folder at the start of a pattern; if it does not exist yet, the nearest existing folder above it."""
    kind, text = token
    folder = f"{root}/{text.rpartition('/')[0]}".rstrip("/") if kind == "text" else root
    while folder != root and not os.path.isdir(folder):  # noqa: PTH112
        folder = folder.rpartition("/")[0]
    return folder
