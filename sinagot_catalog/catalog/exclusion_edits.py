"""Exclusion edits: add rows to the table of exclusions, and remove them.

Several people may edit at once. An edit holds a lock: a file beside the table that only one of them can create. It
reads the table, changes it, and replaces it in one step. A lock that does not change for a while was left behind by
a process that died, and is removed.
"""

from __future__ import annotations

import getpass
import secrets
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.catalog.queries.resolver import Resolver
from sinagot_catalog.catalog.stored_tables.exclusions import covered, read_file
from sinagot_catalog.catalog.structure.step_names import no_step
from sinagot_catalog.errors import NotFoundError, SelectionError, StorageError, UsageError, did_you_mean
from sinagot_catalog.schema import EXCLUSIONS, KEYS
from sinagot_catalog.storage import is_url, join_url, split_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sinagot_catalog.catalog.queries.query import Query
    from sinagot_catalog.catalog.session import Session
    from sinagot_catalog.catalog.stored_tables.exclusion_file import ExclusionFile
    from sinagot_catalog.catalog.tables import Catalog
    from sinagot_catalog.storage import Store

_FILE = "exclude.csv"
_STALE_LOCK = 15.0
"""Seconds after which a lock that does not change is left behind."""
_PAUSE = 0.05


def missing_line(source: Session) -> str | None:
    """Return what to add to the config so that the table of exclusions counts; None if the config names one."""
    if source.config.exclude is not None:
        return None
    line = f'exclude = "{_FILE}"'
    return f"{_FILE} has no effect yet: add {line} to [records] in {source.config.files[0]}"


def exclude(
    source: Session, query: Query, reason: str, *, step: str | Sequence[str] | None = None
) -> pl.DataFrame:
    """Exclude the rows of a selection.

    Args:
        source: The session of the workspace.
        query: The selection: its table says how far each exclusion reaches.
        reason: Why.
        step: Only this step, or these.

    Returns:
        A row per exclusion: its keys, `excluded`, and `reason` if the table already has it, or if it does not count
        because the config names no table.

    Raises:
        UsageError: The reason is empty, or the selection has no filter.
        SelectionError: There is no such step.
    """
    text = " ".join(reason.split())
    if not text:
        raise UsageError(
            "no reason is given", "Say why, so that others can follow it: a few words are enough."
        )
    source.refresh()
    rows = _exclusions_of(source, _checked(query, "exclude"), step)
    noted = {"reason": text, "who": _user(), "when": f"{datetime.now(UTC):%Y-%m-%dT%H:%MZ}"}
    unused = ("line", "task", "modality") if source.config.is_unit_mode else ("line",)
    with _table(source) as (file, write):
        known = file.frame().select(*KEYS, pl.col("reason").fill_null("no reason given").alias("_why"))
        known = known.unique(list(KEYS), keep="first")
        out = rows.join(known, on=list(KEYS), how="left", nulls_equal=True, maintain_order="left")
        new = out.filter(pl.col("_why").is_null()).select(*KEYS)
        if new.height:
            columns = [name for name in EXCLUSIONS if name not in unused]
            write(file.with_rows([row | noted for row in new.to_dicts()], columns))
    counts = source.config.exclude is not None
    why = pl.format("excluded already: {}" if counts else f"in {_FILE} already: {{}}", "_why")
    return out.select(
        *KEYS,
        (pl.col("_why").is_null() & counts).alias("excluded"),
        pl.coalesce(why, pl.lit(None if counts else f"written to {_FILE}", pl.String)).alias("reason"),
    )


def include(source: Session, query: Query, step: str | Sequence[str] | None = None) -> pl.DataFrame:
    """Remove the exclusions of a selection.

    An exclusion that also reaches rows outside of the selection stays.

    Args:
        source: The session of the workspace.
        query: The selection.
        step: Only this step, or these steps, of its records.

    Returns:
        A row per exclusion that reaches a row of the selection: its keys, `included`, and `reason` if it stays.

    Raises:
        UsageError: The selection has no filter.
        NotFoundError: Neither a record nor an exclusion has an id that the selection names.
    """
    source.refresh()
    query = _checked(query, "include")
    record_ids, named = source.catalog().row_ids, query.ids()
    catalog = query.widened(source.catalog())
    selected = _selected(catalog, source, query, step)
    others = catalog.steps.join(selected, on=["_rec", "_cell"], how="anti")["record_id"]
    ids = catalog.row_ids.gather(selected["_rec"].unique())
    whole = ids.filter(~ids.is_in(others.unique().implode()))
    # a record and a step that groups it are no row of `steps`
    real = pl.concat([catalog.steps.select("_rec", "_cell"), selected])
    with _table(source) as (file, write):
        rows = file.frame()
        _check_ids(named, [*record_ids, *rows["record_id"]] if named else [])
        reach = covered(catalog, rows).join(real, on=["_rec", "_cell"], how="semi")
        inside = reach.join(selected, on=["_rec", "_cell"], how="semi")["line"].unique()
        outside = reach.join(selected, on=["_rec", "_cell"], how="anti")["line"].unique()
        fits = pl.col("line").is_in(inside.implode())
        if step is None:  # a row that reaches no step goes with its record
            idle = ~pl.col("line").is_in(reach["line"].unique().implode())
            fits |= idle & pl.col("record_id").is_in(whole.implode())
        matches = rows.filter(fits)
        stays = pl.col("line").is_in(outside.implode())
        out = matches.select(
            *KEYS,
            ~stays.alias("included"),
            pl.when(stays).then(pl.format("line {} excludes further rows, too", "line")).alias("reason"),
        )
        write(file.without(matches.filter(~stays)["line"].to_list()))
    return out


def _selected(
    catalog: Catalog, source: Session, query: Query, step: str | Sequence[str] | None
) -> pl.DataFrame:
    """The rows of a selection: `_rec, _cell`; of steps that group records also each record with the step."""
    resolver = Resolver(catalog, source.stats)
    rows = resolver.rows(query.seen_as("steps")).select("_rec", "_cell", "step")
    if step is None:
        return rows.drop("step")
    names = _known_steps(source, step)
    groups = [cell.index for cell in catalog.layout.cells if cell.by is not None and cell.step in names]
    members = resolver.rows(query.seen_as("records")).select(pl.col("_rec").cast(rows.schema["_rec"]))
    pairs = members.join(pl.DataFrame({"_cell": groups}, schema={"_cell": rows.schema["_cell"]}), how="cross")
    return pl.concat([rows.filter(pl.col("step").is_in(names)).drop("step"), pairs])


# --- rows ----------------------------------------------------------------------------------------------------


def _checked(query: Query, verb: str) -> Query:
    """Refuse a selection that no filter narrows, and files."""
    if query.is_whole:
        raise UsageError(
            f"{verb} changes rows for good, and no filter says which rows",
            "Name records, or narrow the selection.",
        )
    if query.table == "files":
        raise SelectionError(f"{verb} takes no files", f"Write .records.{verb}(…) or .steps.{verb}(…).")
    return query


def _check_ids(named: Sequence[pl.Series], valid_ids: Sequence[str]) -> None:
    """Refuse an id that neither a record nor an exclusion has."""
    absent = next((record_id for ids in named for record_id in ids if record_id not in valid_ids), None)
    if absent is not None:
        raise NotFoundError(
            f"no record and no exclusion has the id {absent!r}{did_you_mean(absent, valid_ids)}"
        )


def _exclusions_of(source: Session, query: Query, step: str | Sequence[str] | None) -> pl.DataFrame:
    """Return the keys of the exclusions that a selection asks for: null stands for all."""
    steps = None if step is None else _known_steps(source, step)
    catalog = query.widened(source.catalog())
    rows = Resolver(catalog, source.stats).rows(query)
    if query.table == "records":
        named = {"task": query.task, "modality": query.modality}
        rows = rows.with_columns(pl.lit(text, dtype=pl.String).alias(name) for name, text in named.items())
    if query.table == "steps":
        rows = rows if steps is None else rows.filter(pl.col("step").is_in(steps))
    else:
        wanted = pl.DataFrame({"step": [*steps] if steps else [None]}, schema={"step": pl.String})
        rows = rows.select("record_id", "task", "modality").join(wanted, how="cross")
    return rows.select(*KEYS).unique(maintain_order=True)


def _known_steps(source: Session, step: str | Sequence[str]) -> list[str]:
    """Steps as a list.

    Raises:
        SelectionError: There is no such step.
    """
    names = [step] if isinstance(step, str) else list(step)
    steps = source.layout().steps
    for name in names:
        if name not in steps:
            raise SelectionError(*no_step(source, name, steps))
    return names


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container may run as a user without a name
        return ""


# --- the file ------------------------------------------------------------------------------------------------


@contextmanager
def _table(source: Session) -> Iterator[tuple[ExclusionFile, Callable[[ExclusionFile], None]]]:
    """Hold the lock of the table of exclusions, and yield it with what writes a changed one.

    Raises:
        StorageError: When it cannot be read or written.
    """
    root = source.config.root
    path = source.config.exclude or (join_url(root, _FILE) if is_url(root) else f"{root}/{_FILE}")
    folder, name = split_url(path)
    store = source.open_store(folder or "/")
    with _locked(store, name):
        file, before = read_file(store, name)

        def write(changed: ExclusionFile) -> None:
            if (content := changed.encode()) != before:
                store.write(name, content)

        yield file, write
    source.refresh()


@contextmanager
def _locked(store: Store, name: str) -> Iterator[None]:
    """Hold the lock of a file; on a disk where none can be created exclusively, go on without."""
    lock, mine = f".{name}.lock", secrets.token_hex(8).encode()
    seen, since = b"", time.monotonic()
    while not _created(store, lock, mine):
        held = b""
        with suppress(StorageError):  # it may be gone by now
            held = store.read(lock)
        if held != seen:
            seen, since = held, time.monotonic()
        elif held and time.monotonic() - since > _STALE_LOCK:
            store.delete([lock])
        time.sleep(_PAUSE if store.is_local else 10 * _PAUSE)
    try:
        yield
    finally:
        store.delete([lock])


def _created(store: Store, lock: str, mine: bytes) -> bool:
    try:
        return store.create(lock, mine)
    except StorageError:
        return True  # the write of the table reports what cannot be written
