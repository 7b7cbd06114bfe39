"""Preflight checks of a run: report what prevents it before anything is written, and make the root folders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sinagot_catalog.errors import RunError, SelectionError, StorageError, UsageError
from sinagot_catalog.journal import check_links

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sinagot_catalog.catalog import Query, Session
    from sinagot_catalog.run.planning.planner import Plan


def check_start(source: Session, query: Query, plan: Plan, steps: Sequence[str]) -> None:
    """Check whether a run can start.

    Args:
        source: The session of the workspace.
        query: The selection.
        plan: The plan of the run.
        steps: The steps that the user named.

    Raises:
        StorageError: A folder in `LOG` is a link.
        SelectionError: The user named a step whose paths are refused. A run without step names skips such a step.
        RunError: No record can be found, because the scripts that declare the files cannot be read.
    """
    if source.log_store.is_local:
        check_links(source.log_store.root)
    _check_refused(source, query, steps)
    if not len(plan):
        _check_scripts(source, steps)


def _check_scripts(source: Session, steps: Sequence[str]) -> None:
    broken = [
        cell.error for cell in source.layout().cells if cell.error and (not steps or cell.step in steps)
    ]
    if broken and source.catalog().ids.is_empty():
        raise RunError(broken[0], "No record can be found without its patterns: nothing was run.")


def _check_refused(source: Session, query: Query, steps: Sequence[str]) -> None:
    catalog = query.widened(source.catalog())
    names = query.named_steps(source.layout().steps) | set(steps)
    for index, fault in sorted(catalog.faults.items()):
        cell = catalog.layout.cells[index]
        in_scope = query.task in (None, cell.task) and query.modality in (None, cell.modality)
        if cell.step in names and in_scope and catalog.is_refused(index):
            raise SelectionError(f"step {cell.step} cannot run: {fault}", "Nothing was run.")


def check_places(source: Session, mode: str) -> None:
    """Check that the workspace is trusted, its URLs fit the mode, and outputs and `LOG` are writable."""
    config = source.config
    source.check_trusted()
    if mode != "main_process" and any(
        root.startswith("memory://") for root in (config.dataset, config.outputs, config.log)
    ):
        raise UsageError("memory:// is seen by this process alone", "Run with mode='main_process'.")
    outputs = source.stores.get("outputs", source.stores["dataset"])
    for store in (outputs, source.log_store):
        store.check_writable()


def make_roots(source: Session) -> None:
    """Make the root folders of outputs and journal. No later code makes them again, so a lost mount is an error."""
    outputs = source.stores.get("outputs", source.stores["dataset"])
    folders = [Path(outputs.root)] if outputs.is_local else []
    folders += [Path(source.log_store.root).parent] if source.log_store.is_local else []
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"the run cannot make {folder}: {error.strerror}") from error
