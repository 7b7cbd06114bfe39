"""Script checks: whether the scripts of a workspace can be read, are steps, and find what they import or call."""

from __future__ import annotations

import ast
import shlex
import shutil
import sys
from collections.abc import Iterator
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING

from sinagot_catalog.catalog import how_to_list, unlisted_scripts
from sinagot_catalog.config import count_of
from sinagot_catalog.diagnostics.check import Check, some
from sinagot_catalog.errors import SEED_IMPORT
from sinagot_catalog.scripts import SOURCE_BOUND, FaultError, parse
from sinagot_catalog.storage import read_regular

if TYPE_CHECKING:
    from sinagot_catalog.catalog import Session, UnitStep


def check_scripts(source: Session) -> Iterator[Check]:
    """Check that the scripts can be read, and that their imports or their programs are installed."""
    cells = {cell.script: cell for cell in source.layout().cells}
    if not cells:
        hint = "Name scripts under [steps], or under [modalities.M]."
        yield Check("scripts", "fault", "no step is declared", hint)
        return
    if (reason := source.distrust()) is not None:
        hint = "If you trust who can write there: Workspace(…, trust=True), or --trust."
        yield Check("scripts", "warning", f"the scripts are not run: {reason}", hint)
    broken = {script: cell.error for script, cell in cells.items() if cell.error and not cell.is_refused}
    fine = len(cells) - len(broken)
    if fine:
        names = some([_short(script) for script in cells if script not in broken])
        yield Check("scripts", "ok", f"{count_of(fine, 'script')} can be read: {names}")
    state = "warning" if fine else "fault"  # the other scripts can still run
    for error in broken.values():
        yield Check("scripts", state, str(error), "Mend it; the next look reads it again.")
    for script, cell in cells.items():
        if script not in broken:
            yield from _needs(source, cell)
    for unlisted in unlisted_scripts(source):
        text = f"no list names the script {unlisted}: it is no step"
        yield Check("scripts", "warning", text, f"If it should be one, {how_to_list(unlisted)}.")
    yield from _shadows(source)


def _shadows(source: Session) -> Iterator[Check]:
    """Check for files next to the scripts with the name of a module of the standard library."""
    scripts = {str(Path(cell.script)) for cell in source.layout().cells if cell.command is None}
    for folder in sorted({str(Path(script).parent) for script in scripts} | {source.scripts}):
        for path in sorted(Path(folder).iterdir()) if Path(folder).is_dir() else ():
            name = path.name.partition(".")[0]
            is_module = path.suffix == ".py" or (path / "__init__.py").is_file()
            if not is_module or name not in sys.stdlib_module_names:
                continue
            if str(path) in scripts:
                text = f"the step {name} is named like the standard library's module {name}"
                hint = f"`import {name}` gives the standard library's; {path.name} run by itself hides it."
            else:
                text = f"{path} is named like the standard library's module {name}"
                hint = f"`import {name}` in a script gives the standard library's: rename {path.name}."
            yield Check("scripts", "warning", text, hint)


def _needs(source: Session, cell: UnitStep) -> Iterator[Check]:
    if cell.command is not None:
        program = shlex.split(cell.command)[0]
        if shutil.which(program) is None and shutil.which(program, path=source.config.root) is None:
            text = f"step {cell.step} calls {program}, which is not on the PATH"
            yield Check("scripts", "warning", text, f"Install {program}, or write its whole path.")
        return
    try:
        names = _imports(Path(cell.script))
    except (OSError, FaultError):
        return  # already reported above, or reported by the next listing
    folder = Path(cell.script).parent
    absent = [name for name in names if not _is_there(name, folder)]
    if absent:
        is_seed = any(name.partition(".")[0] == "sinagot" for name in absent)
        text = f"{_short(cell.script)} imports {', '.join(absent)}, which this Python does not find"
        hint = f"Write {SEED_IMPORT}." if is_seed else f"Install it for {sys.executable}."
        yield Check("scripts", "warning", text, hint)


def _imports(script: Path) -> list[str]:
    """Return the top-level names of a script's top imports."""
    names: list[str] = []
    for node in parse(read_regular(script, SOURCE_BOUND)).body:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.append(node.module)
    return sorted({name.partition(".")[0] for name in names})


def _is_there(name: str, folder: Path) -> bool:
    """Whether a module can be found, without importing it."""
    if name in sys.stdlib_module_names or any((folder / entry).exists() for entry in (f"{name}.py", name)):
        return True
    try:
        return util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _short(script: str) -> str:
    return script.rpartition("/")[2]
