"""Examples: writes the harbour example, and opens a small copy of it to try things on."""

from __future__ import annotations

import atexit
import runpy
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from sinagot_catalog.errors import NotFoundError

if TYPE_CHECKING:
    from sinagot_catalog.workspace import Workspace

__all__ = ["example", "harbor_files", "write_harbor"]

_SCRIPTS = ("count", "mean", "summary")


def example(days: int = 3) -> Workspace:
    """Open an example in a temporary folder: some days of a harbour's boats, and three steps for each day.

    The folder is deleted when this process ends.

    Args:
        days: The number of days; each of them is a record.

    Example:
        >>> from sinagot_catalog import example
        >>> ws = example()
        >>> ws.records.ids()
        ['REC-20200601', 'REC-20200602', 'REC-20200603']
    """
    from sinagot_catalog.workspace import Workspace

    folder = Path(tempfile.mkdtemp(prefix="sinagot-catalog-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    write_harbor(folder / "harbor", days)
    return Workspace(folder / "harbor")


def harbor_files() -> list[str]:
    """Return the files of the example that are copied, relative to its folder."""
    return ["workspace.toml", "make_dataset.py", *(f"scripts/{name}.py" for name in _SCRIPTS)]


def write_harbor(folder: Path, days: int = 30) -> None:
    """Copy the config and scripts of the harbour into a folder, and generate its data.

    Raises:
        NotFoundError: When the example is not part of this installation.
    """
    source = _source()
    for name in harbor_files():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, folder / name)
    runpy.run_path(str(folder / "make_dataset.py"))["make"](folder / "dataset" / "raw", days)


def _source() -> Path:
    """Return the folder of the harbour example: in the wheel, or in the repository of an editable install."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "_example" / "harbor", package.parent / "example" / "harbor"):
        if (folder / "workspace.toml").is_file():
            return folder
    raise NotFoundError("the harbour example is not part of this installation")
