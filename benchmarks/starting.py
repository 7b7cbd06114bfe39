"""From nothing to ready: imports, and the command line on a workspace of three records."""

import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmarks._measure import REPOSITORY, AtMost, Measurement, Scale, alternate, environment, process
from benchmarks._workspaces import harbor, tiny

__all__ = ["command_line", "first_page", "imports"]

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
        AtMost(1.4),
        ours,
        floors,
    )


def first_page(scale: Scale) -> Iterator[Measurement]:
    """The first page of `sinagot-catalog ui`, from the start of its process, beside `status` of the same."""
    for records in scale.records:
        folder = harbor(scale, records)
        status = ["-c", _MAIN, "status", "-C", str(folder)]
        ours, floors = alternate(partial(_page, folder), partial(_silent, status), min(scale.times, 3))
        yield Measurement(
            f"ui/{records}",
            f"first page of sinagot-catalog ui, {records} records, whole process",
            "sinagot-catalog status of the same",
            AtMost(2.0) if records >= 100_000 else None,
            ours,
            floors,
        )


def _page(folder: Path) -> None:
    """Start the server, take its first page, and end it."""
    command = [sys.executable, "-c", _MAIN, "ui", "-C", str(folder)]
    with subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as server:
        try:
            printed = ""
            while not (found := re.search(r"http://127\.0\.0\.1:\S+", printed)):
                line = server.stdout.readline() if server.stdout else ""
                if not line:
                    raise RuntimeError(f"sinagot-catalog ui ended: {printed}")
                printed += line
            browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
            with browser.open(found[0], timeout=120) as answer:
                assert b"REC-" in answer.read()  # noqa: S101
        finally:
            server.terminate()


def _silent(arguments: Sequence[str]) -> None:
    process(arguments)
