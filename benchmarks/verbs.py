"""Verbs that only look: whole processes on records of which half are done, beside `import polars`.

Those that need size and time of each file also stand beside a program that imports Polars and reads these.
"""

import resource
import shutil
import time
from collections.abc import Iterator, Sequence

from benchmarks._measure import AtMost, Measurement, Scale, process
from benchmarks._workspaces import halfway

__all__ = ["verbs"]

_POLARS = ["-c", "import polars"]
_SIZES = """
import os, polars, sys
for name in ("raw", "count", "mean"):
    with os.scandir(f"{sys.argv[1]}/dataset/{name}") as entries:
        for entry in entries:
            entry.stat()
"""
_MAIN = "from sinagot_catalog.cli import main; main()"
_VERBS = (
    "doctor", "status", "status --json", "status --stale", "ls records --limit 3", "ls files --limit 3",
    "ls steps --limit 3", "plan", "plan --csv", "plan --stale", "explain REC-000002 mean", "logs REC-000002",
    "logs --failed --group", "report -o {page}", "snapshot", "diff",
)  # fmt: skip
_READ_SIZES = {"status --stale", "plan --stale", "report -o {page}", "snapshot", "diff"}
_MOST = 4.0


def verbs(scale: Scale) -> Iterator[Measurement]:
    """Each verb by the time of the processors, and by the clock, for information."""
    folder = halfway(scale, scale.records[-1])
    shutil.rmtree(folder / "dataset/LOG", ignore_errors=True)
    sizes = ["-c", _SIZES, str(folder)]
    yield from _beside("sizes", "import polars, size and time of each file", sizes, scale.times, goal=None)
    for verb in _VERBS:
        words = verb.format(page=scale.cache / "page.html").split()
        call = ["-c", _MAIN, words[0], *words[1:], "-C", str(folder)]
        what, name = f"sinagot-catalog {verb.format(page='FILE')}", verb.split(" -o")[0]
        yield from _beside(name, what, call, scale.times, goal=AtMost(_MOST))
        if verb in _READ_SIZES:
            yield from _beside(f"{name}/sizes", what, call, scale.times, floor=sizes, goal=None)


def _beside(
    name: str, what: str, call: list[str], times: int, *, goal: AtMost | None, floor: list[str] = _POLARS
) -> Iterator[Measurement]:
    """The time of the processors, and by the clock, beside those of a floor."""
    said = "import polars" if floor is _POLARS else "import polars, size and time of each file"
    _spent(call)
    rounds = [(_spent(call), _spent(floor)) for _ in range(times)]
    for place, (suffix, wanted) in enumerate((("", goal), ("/clock", None))):
        ours, floors = (tuple(one[place] for one in column) for column in zip(*rounds, strict=True))
        yield Measurement(f"verbs/{name}{suffix}", what, said, wanted, ours, floors)


def _spent(arguments: Sequence[str]) -> tuple[float, float]:
    """Run Python with some arguments; the seconds that the processors worked for it, and those that passed."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process(arguments)
    passed, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, passed
