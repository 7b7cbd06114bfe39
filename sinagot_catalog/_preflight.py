"""What a run needs, said before anything is written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sinagot_catalog._store import is_url
from sinagot_catalog.errors import RunError, StorageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sinagot_catalog._source import Source

__all__ = ["check_places", "check_scripts", "make_roots"]


def check_scripts(source: Source, steps: Sequence[str]) -> None:
    """Say so where no record can be found because the scripts that would name their files cannot be read."""
    broken = [
        cell.error for cell in source.layout().cells if cell.error and (not steps or cell.step in steps)
    ]
    if broken and source.catalog().ids.is_empty():
        raise RunError(broken[0], "No record can be found without its patterns: nothing was run.")


def check_places(source: Source, mode: str) -> None:
    """Say before anything is written what a run needs."""
    config = source.config
    if not source.trusted and (is_url(config.scripts) or is_url(config.root)):
        raise UsageError(
            f"the scripts of {config.scripts} are not run: they come from a bucket, and nobody said that they may",
            "If you trust who can write there: Workspace(…, trust=True), or --trust.",
        )
    if mode != "main_process" and any(
        one.startswith("memory://") for one in (config.dataset, config.outputs, config.log)
    ):
        raise UsageError("memory:// is seen by this process alone", "Run with mode='main_process'.")
    outputs = source.stores.get("outputs", source.stores["dataset"])
    for store in (outputs, source.log_store):
        store.check_writable()


def make_roots(source: Source) -> None:
    """Make the folders that outputs and journal go to; from here on, one that is gone is gone."""
    outputs = source.stores.get("outputs", source.stores["dataset"])
    folders = [Path(outputs.root)] if outputs.is_local else []
    folders += [Path(source.log_store.root).parent] if source.log_store.is_local else []
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"the run cannot make {folder}: {error.strerror}") from error
