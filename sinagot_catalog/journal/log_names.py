"""Reserved names in `LOG`: recognizes the library's own files, so that only these are deleted.

Standard library only.
"""

import os
import re
from pathlib import Path

from sinagot_catalog.errors import StorageError

_RUN = r"\d{8}T\d{6}-[0-9a-f]{6}"
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_PIECE = r"(?:-\d{12}-\d{12})?"
_RUN_ID = re.compile(_RUN)
_JOURNAL_FILE = re.compile(rf"ended|(?:.*-)?(?:main|w\d{{2,}}){_PIECE}\.ndjson")
_KEPT_FILE = re.compile(rf"(?:{_RUN}|{_UUID})\.parquet")
_CLAIM_FILE = re.compile(rf"\d{{8,}}\.json|{_RUN}\.(?:parquet|beat)|clock-[0-9a-f]{{32}}\.beat")
_HIDDEN = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.tmp")
_COMPACT = re.compile(r"compact-\d+\.parquet")
_FOLDERS = (".staging", "claims", "journal", "reports", "selections", "snapshots")


def check_links(log: str) -> None:
    """Refuse a local `LOG` folder in which a folder of the library is a link. `LOG` itself may be a link.

    Raises:
        StorageError: When one of these folders is a link.
    """
    for name in _FOLDERS:
        path = Path(log, name)
        if path.is_symlink():
            raise StorageError(
                f"{path} is a link to {os.readlink(path)}: links inside LOG are not followed",  # noqa: PTH115
                "Remove it. [path] log in workspace.toml names another folder, and LOG itself may be a link.",
            )


def is_run_id(name: str) -> bool:
    """Whether a name is the name of a run.

    Example:
        >>> is_run_id("20261128T195347-0a1b2c"), is_run_id("2026-11-28")
        (True, False)
    """
    return _RUN_ID.fullmatch(name) is not None


def is_journal_file(name: str) -> bool:
    """Whether a name in the folder of a run is the name of a journal file.

    Example:
        >>> [is_journal_file(name) for name in ("w01.ndjson", "host-7-ab-main.ndjson", "ended", "notes.ndjson")]
        [True, True, True, False]
    """
    return _JOURNAL_FILE.fullmatch(name) is not None


def is_kept_file(name: str) -> bool:
    """Whether a name is the name of the selection or the report of a run or a flow run."""
    return _KEPT_FILE.fullmatch(name) is not None


def is_claim_file(name: str) -> bool:
    """Whether a name is the name of a claim, of its rows or of its heartbeat."""
    return _CLAIM_FILE.fullmatch(name) is not None


def is_leftover(name: str) -> bool:
    """Whether a name is the name of a hidden temporary file for a claim or a compaction.

    Example:
        >>> is_leftover(".00000001.json.0a1b2c3d.tmp"), is_leftover(".notes.txt.0a1b2c3d.tmp")
        (True, False)
    """
    hidden = _HIDDEN.fullmatch(name)
    return hidden is not None and (
        is_claim_file(hidden["name"]) or _COMPACT.fullmatch(hidden["name"]) is not None
    )
