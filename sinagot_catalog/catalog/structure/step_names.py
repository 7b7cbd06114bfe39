"""Step names: describes the name of a step that does not exist, and what to write instead."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sinagot_catalog.errors import did_you_mean
from sinagot_catalog.scripts import SOURCE_BOUND, is_step
from sinagot_catalog.storage import read_regular

if TYPE_CHECKING:
    from collections.abc import Collection

    from sinagot_catalog.catalog.session import Session


def no_step(source: Session, name: str, steps: Collection[str], where: str = "") -> tuple[str, str]:
    """Return the message and the hint for a step that does not exist.

    The hint tells where to list a script that is in the folder of the scripts, but is no step yet.

    Args:
        source: The session.
        name: The unknown step.
        steps: The steps that exist.
        where: A word behind the name, such as " here".
    """
    hint = f"Steps: {', '.join(steps) or 'none'}."
    script = next((file for file in _files(source) if file.stem == name), None)
    if script is not None and name not in source.layout().steps:
        hint = f"The script {script} exists: {how_to_list(script)}. {hint}"
    return f"there is no step {name!r}{where}{did_you_mean(name, steps)}", hint


def how_to_list(script: Path) -> str:
    """Return what to write so that a script becomes a step; its path is relative to the folder of the scripts."""
    section = "[steps]" if len(script.parts) == 1 else f"[modalities.{script.parts[0]}]"
    return f"add {script.stem!r} to scripts of {section} in workspace.toml"


def unlisted_scripts(source: Session) -> list[Path]:
    """Return the scripts that no list names, relative to their folder; modules without a step are no scripts."""
    folder = Path(source.scripts)
    listed = {Path(cell.script) for cell in source.layout().cells}
    return [file for file in _files(source) if folder / file not in listed and _has_step(folder / file)]


def _files(source: Session) -> list[Path]:
    """Return the files of Python where scripts are looked for, relative to the folder of the scripts."""
    folder = Path(source.scripts)
    found = (path for pattern in ("*.py", "*/*.py") for path in sorted(folder.glob(pattern)))
    return [script.relative_to(folder) for script in found]


def _has_step(script: Path) -> bool:
    try:
        return is_step(read_regular(script, SOURCE_BOUND))
    except OSError:
        return False
