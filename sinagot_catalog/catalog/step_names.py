"""Step names: describes the name of a step that does not exist, and what to write instead."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sinagot_catalog.errors import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Collection

    from sinagot_catalog.catalog.session import Session


def no_step(source: Session, name: str, known: Collection[str], where: str = "") -> tuple[str, str]:
    """Return the message and the hint for a step that does not exist.

    The hint tells where to list a script that is in the folder of the scripts, but is no step yet.

    Args:
        source: The session.
        name: The unknown step.
        known: The steps that exist.
        where: A word behind the name, such as " here".
    """
    hint = f"Steps: {', '.join(known) or 'none'}."
    folder = Path(source.scripts)
    scripts = (one for pattern in ("*.py", "*/*.py") for one in folder.glob(pattern))
    script = next((one.relative_to(folder) for one in scripts if one.stem == name), None)
    if script is not None and name not in source.layout().steps:
        section = "[steps]" if len(script.parts) == 1 else f"[modalities.{script.parts[0]}]"
        hint = f"The script {script} exists: add {name!r} to scripts of {section} in workspace.toml. {hint}"
    return f"there is no step {name!r}{where}{did_you_mean(name, known)}", hint
