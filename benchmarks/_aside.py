"""What is not wanted any more is put aside, and deleted when all was measured.

On ext4 without a journal, who makes a file passes over each inode that was deleted in the last minutes, which can
take longer than a row: deletions just before a measurement are measured with it.
"""

import shutil
import time
from pathlib import Path

__all__ = ["delete_all", "forget_runs", "put_aside"]

_ASIDE = ".aside"


def put_aside(cache: Path, *unwanted: Path) -> None:
    """Move files or folders out of the way, on their own file system."""
    (cache / _ASIDE).mkdir(parents=True, exist_ok=True)
    for one in unwanted:
        if one.exists():
            one.rename(cache / _ASIDE / f"{one.name}-{time.time_ns()}")


def forget_runs(folder: Path) -> None:
    """Put aside what the runs of a kept workspace made and wrote down."""
    put_aside(folder.parent, folder / "dataset/out", folder / "dataset/LOG")


def delete_all(cache: Path) -> None:
    """Delete what was put aside."""
    shutil.rmtree(cache / _ASIDE, ignore_errors=True)
