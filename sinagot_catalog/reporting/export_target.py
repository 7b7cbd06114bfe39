"""Export targets: the files that a user names for a page or a table, never files that the workspace reads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from sinagot_catalog.errors import UsageError
from sinagot_catalog.storage import is_url

if TYPE_CHECKING:
    from sinagot_catalog.config import Config

__all__ = ["TABLE_METADATA", "check_target"]

TABLE_METADATA = {"created_by": "sinagot_catalog"}
"""The metadata of the Parquet tables that this program writes: it replaces only these."""

_HEAD = 4096


def check_target(config: Config, path: str | Path) -> None:
    """Refuse a target that would replace data, results, scripts or the config of a workspace.

    Args:
        config: The config of the workspace.
        path: The target. An earlier page or table of this program may be replaced.

    Raises:
        UsageError: When the target is a file of the workspace.
    """
    real = os.path.realpath(path)
    if Path(real).is_file() and _is_of_workspace(config, real) and not _is_export(real):
        raise UsageError(
            f"{path} is a file of the workspace, and not an earlier page or table of sinagot-catalog",
            "Write to another name. Nothing was written.",
        )


def _is_of_workspace(config: Config, real: str) -> bool:
    folders = [config.dataset, config.outputs, config.scripts, config.log]
    files = [*config.files, *(table.path for table in config.metadata)]
    inside = (os.path.realpath(one) for one in folders if not is_url(one))
    return any(real.startswith(f"{one}/") for one in inside) or real in {
        os.path.realpath(one) for one in files if not is_url(one)
    }


def _is_export(path: str) -> bool:
    """Whether this program wrote a file: a page by its title, a table by its metadata."""
    with Path(path).open("rb") as file:
        head = file.read(_HEAD)
    if head.startswith(b"PAR1"):
        import polars as pl

        try:
            found = pl.read_parquet_metadata(path)
        except (OSError, pl.exceptions.PolarsError):
            return False
        return TABLE_METADATA.items() <= found.items()
    return head.startswith(b"<!doctype html>") and "· sinagot_catalog</title>".encode() in head
