"""Cleanup: clears what dead runs left behind (`sweep`) and old entries of the journal (`gc`)."""

import logging
from collections.abc import Collection, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sinagot_catalog.catalog import Session
from sinagot_catalog.errors import StorageError
from sinagot_catalog.journal import Claim, check_links, is_kept_file, is_run_id
from sinagot_catalog.run.options import seconds_of
from sinagot_catalog.startup import dataclass
from sinagot_catalog.worker import clear_staging

_logger = logging.getLogger("sinagot_catalog")


@dataclass(frozen=True)
class GcResult:
    """Counts of what `gc` cleared.

    Attributes:
        events: Number of events removed from the journal.
        selections: Number of deleted stored selections of old runs.
        reports: Number of deleted stored reports of old flow runs.
        runs: Number of dead runs that had left files in staging.
    """

    events: int
    selections: int
    reports: int
    runs: int


def sweep(source: Session, asker: Claim | None = None) -> int:
    """Clear what dead runs left behind: staging folders, hidden files next to their targets, and claims.

    Args:
        source: The session of the workspace.
        asker: The claim of the run that calls this.

    Returns:
        The number of dead runs that had left files in staging.
    """
    if source.log_store.is_local:
        check_links(source.log_store.root)
    # List staging before the claims: a run takes its claim before it makes its staging folder. So a folder listed
    # here without a live claim belongs to a dead run.
    folders = list(_folders(Path(source.log_store.root) / ".staging")) if source.log_store.is_local else []
    with suppress(StorageError):
        source.claims.sweep(source.claims.now(asker))
    alive = source.claims.alive(asker) if folders else frozenset()
    dead = [folder for folder in folders if folder.name not in alive]
    dataset = source.stores["dataset"].root
    outputs = source.stores.get("outputs", source.stores["dataset"]).root
    restored = [path for folder in dead for path in clear_staging(str(folder), outputs, dataset)]
    if restored:
        _logger.warning(
            "%d input files are back in their place, such as %s: a script had moved them when its run was killed. "
            "Run again for their records",
            len(restored),
            min(restored),
        )
        if asker is None:  # the rows of a run refer to its listing
            source.refresh()
    return len(dead)


def has_left(source: Session) -> bool:
    """Whether a run, dead or alive, has a staging folder."""
    folder = Path(source.log_store.root) / ".staging"
    return source.log_store.is_local and any(True for _ in _folders(folder))


def _folders(path: Path) -> Iterator[Path]:
    """The staging folders of runs; the library did not make any other entry there."""
    with suppress(OSError):
        yield from (entry for entry in path.iterdir() if is_run_id(entry.name) and not entry.is_symlink())


def gc(source: Session, older_than: str | timedelta) -> GcResult:
    """Remove old events, selections and reports; keep the events that decide a status, so that no status changes.

    Args:
        source: The session of the workspace.
        older_than: The age up to which everything is kept.
    """
    since = datetime.now(UTC) - timedelta(seconds=seconds_of("older_than", older_than, needs_unit=True))
    runs = sweep(source)
    alive = source.claims.alive()
    before = source.journal.events().height
    source.journal.compact(alive, least=0, since=since)
    events = before - source.journal.events().height
    selections = _delete_old(source, "selections", since, alive)
    reports = _delete_old(source, "reports", since, alive)
    source.refresh()
    return GcResult(events, selections, reports, runs)


def _delete_old(source: Session, folder: str, since: datetime, alive: Collection[str]) -> int:
    """Delete the files of a folder that are older than `since`, except those of live runs."""
    names = [name for name in source.log_store.names(folder) if is_kept_file(name)]
    times = source.log_store.stat([f"{folder}/{name}" for name in names]).modified
    old = [
        name
        for name, at in zip(names, times, strict=True)
        if at is not None and at / 1e9 < since.timestamp() and name.removesuffix(".parquet") not in alive
    ]
    source.log_store.delete(f"{folder}/{name}" for name in old)
    return len(old)
