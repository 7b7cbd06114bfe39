"""Compaction: merges the journal files of ended runs into one file, so that a look reads few files.

The protocol of compaction: the files of a run are merged when it has written `ended`, or has not written for a day
(a run of another host that was only suspended may go on writing). The new file is made create-only and names what
it replaces before anything is deleted. It holds everything that the previous compacted file held: readers use the
highest number and skip the folders that it names. `gc` is a compaction that leaves out old events, except those
that decide the status of a row.
"""

from __future__ import annotations

import json
import math
import re
import time
from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.errors import StorageError
from sinagot_catalog.journal.event_lines import LINE_EVENTS, ORDER, SCHEMA, from_lines
from sinagot_catalog.journal.log_names import is_journal_file
from sinagot_catalog.schema import KEYS
from sinagot_catalog.storage import from_parquet, to_parquet

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from sinagot_catalog.journal.reader import Journal
    from sinagot_catalog.storage import Store

COMPACT_FROM = 100
"""The number of files from which merging is worthwhile."""
ENDED = "ended"
"""The file in which a run records that none of its processes writes any more."""

_DAY = 86_400.0
_NAME = re.compile(r"compact-\d+\.parquet")
_DECIDING = ("start", "publishing", "done", "accepted")
"""The last event of each of these kinds is left of every row: when it began, and what it made."""


def compact_names(names: Iterable[str]) -> list[str]:
    """The compacted files among the names in `journal`, the newest last."""
    return sorted(filter(_NAME.fullmatch, names))


def read_compact(store: Store, name: str) -> tuple[set[str], pl.DataFrame]:
    """The folders that a compacted file replaces, and their events.

    Raises:
        StorageError: When it cannot be read.
    """
    content = store.read(f"journal/{name}")
    try:
        events, notes = from_parquet(content)
        return set(json.loads(notes.get("merged", "[]"))), _completed(events)
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise StorageError(
            f"{store.root}/journal/{name} cannot be read: it is not a Parquet file",
            "It holds the events of runs that ended; without it, rows stand as their files say.",
        ) from error


def merge_ended(
    journal: Journal,
    alive: frozenset[str],
    *,
    least: int = COMPACT_FROM,
    since: datetime | None = None,
) -> bool:
    """Merge the files of ended runs into one, if there are many.

    Args:
        journal: The journal.
        alive: The runs that are alive.
        least: The number of files from which merging is worthwhile.
        since: Leave out older events, except those that decide the status of a row.

    Returns:
        Whether files were merged.
    """
    store = journal.store
    old = compact_names(store.names("journal"))
    folders = store.folders("journal")
    merged, frames = journal.compacted()
    ended = _ended(journal, [name for name in folders if name not in merged | alive])
    lines = [path for path in ended if path.endswith(".ndjson")]
    if len(lines) < least:
        return False
    frames += journal.read_files(lines, from_lines)
    events = pl.concat([pl.DataFrame(schema=LINE_EVENTS), *frames]).sort("time", maintain_order=True)
    if since is not None:
        events = _thinned(events, since)
    names = sorted({path.split("/")[1] for path in ended} | merged.intersection(folders))
    content = to_parquet(events, {"merged": json.dumps(names), "schema": str(SCHEMA)})
    number = 1 + int(re.sub(r"\D", "", old[-1])) if old else 1
    if not store.create(f"journal/compact-{number:08d}.parquet", content):
        return False  # another run merges them
    # Files that an earlier compaction merged but died before it deleted them.
    left = [path for path in journal.files_of(merged.intersection(folders)) if _is_own(path)]
    store.delete([*ended, *left, *(f"journal/{name}" for name in old)])
    for name in names:
        store.prune(f"journal/{name}")
    return True


def _ended(journal: Journal, runs: list[str]) -> list[str]:
    """The files of those runs in which no process writes any more."""
    ended: list[str] = []
    for run in runs:
        files = [path for path in journal.files_of([run]) if _is_own(path)]
        if f"journal/{run}/{ENDED}" in files or _latest(journal.store, files) < time.time() - _DAY:
            ended += files
    return ended


def _is_own(path: str) -> bool:
    """Whether a file has a name of the library; no other file is deleted."""
    return is_journal_file(path.rpartition("/")[2])


def _completed(events: pl.DataFrame) -> pl.DataFrame:
    """Events of an earlier version, with the columns that were added since."""
    events = pl.concat([pl.DataFrame(schema=LINE_EVENTS), events], how="diagonal")
    return events.with_columns(pl.col("claim").fill_null(0)).select(*LINE_EVENTS)


def _latest(store: Store, paths: Sequence[str]) -> float:
    """When the newest of some files was written, in seconds; a file that is gone counts as just written."""
    times = store.stat(paths).modified
    return max((math.inf if time is None else time / 1e9 for time in times), default=math.inf)


def _thinned(events: pl.DataFrame, since: datetime) -> pl.DataFrame:
    """Events since a time, and of the older events those that decide the status of their row."""
    rows = events.sort(*ORDER, maintain_order=True).with_row_index("_at")
    states = rows.filter(pl.col("event") != "log")
    kinds = [states, *(states.filter(pl.col("event") == kind) for kind in _DECIDING)]
    last = [frame.unique(subset=list(KEYS), keep="last").select("_at") for frame in kinds]
    stands = pl.col("_at").is_in(pl.concat(last).to_series().implode())
    return rows.filter(stands | (pl.col("time") >= since)).drop("_at").sort("time", maintain_order=True)
