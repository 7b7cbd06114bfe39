"""From nothing to ready: imports, and the command line on a workspace of three records."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec

from benchmarks._measure import AtMost, Measurement, Scale, Skipped, alternate
from benchmarks._workspaces import tiny

__all__ = ["command_line", "imports"]

_POLARS = [sys.executable, "-c", "import polars"]


def imports(scale: Scale) -> Iterator[Measurement]:
    """Whole processes that only import."""
    for name, statement, floor, limit in (
        ("package", "import sinagot_catalog", "pass", 1.5),
        ("script", "from sinagot_catalog import ScriptTemplate", "pass", None),
        ("workspace", "from sinagot_catalog import Workspace", "import polars", 1.6),
    ):
        ours, floors = alternate(
            lambda statement=statement: _process([sys.executable, "-c", statement]),  # type: ignore[misc]
            lambda floor=floor: _process([sys.executable, "-c", floor]),  # type: ignore[misc]
            3 * scale.times,
        )
        goal = None if limit is None else AtMost(limit)
        yield Measurement(f"import/{name}", statement, f"python -c '{floor}'", goal, ours, floors)


def command_line(scale: Scale) -> Iterator[Measurement]:
    """`sinagot-catalog status` on three records, the whole process."""
    if find_spec("sinagot_catalog.cli") is None:
        raise Skipped("there is no sinagot_catalog.cli")
    folder = tiny(scale)
    command = [sys.executable, "-m", "sinagot_catalog.cli", "status", "-C", str(folder)]
    ours, floors = alternate(lambda: _process(command), lambda: _process(_POLARS), 3 * scale.times)
    yield Measurement(
        "cli/status", "sinagot-catalog status, 3 records", "python -c 'import polars'", AtMost(1.6), ours, floors
    )


def _process(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended {done.returncode}:\n{done.stderr[-2000:]}")
