"""From nothing to ready: imports, and the command line on a workspace of three records."""

from collections.abc import Iterator, Sequence

from benchmarks._measure import AtMost, Measurement, Scale, alternate, process
from benchmarks._workspaces import tiny

__all__ = ["command_line", "imports"]

_POLARS = ["-c", "import polars"]
_MAIN = "from sinagot_catalog.cli import main; main()"


def imports(scale: Scale) -> Iterator[Measurement]:
    """Whole processes that only import."""
    for name, statement, floor, limit in (
        ("package", "import sinagot_catalog", "pass", None),
        ("script", "from sinagot_catalog import ScriptTemplate", "pass", None),
        ("workspace", "from sinagot_catalog import Workspace", "import polars", 1.6),
    ):
        ours, floors = alternate(
            lambda statement=statement: _silent(["-c", statement]),  # type: ignore[misc]
            lambda floor=floor: _silent(["-c", floor]),  # type: ignore[misc]
            3 * scale.times,
        )
        goal = None if limit is None else AtMost(limit)
        yield Measurement(f"import/{name}", statement, f"python -c '{floor}'", goal, ours, floors)


def command_line(scale: Scale) -> Iterator[Measurement]:
    """`sinagot-catalog status` on three records, the whole process."""
    folder = tiny(scale)
    command = ["-c", _MAIN, "status", "-C", str(folder)]
    ours, floors = alternate(lambda: _silent(command), lambda: _silent(_POLARS), 3 * scale.times)
    yield Measurement(
        "cli/status",
        "sinagot-catalog status, 3 records",
        "python -c 'import polars'",
        AtMost(1.6),
        ours,
        floors,
    )


def _silent(arguments: Sequence[str]) -> None:
    process(arguments)
