"""Verbs that only look: whole processes on records of which half are done, beside `import polars`."""

import resource
import shutil
import time
from collections.abc import Iterator, Sequence

from benchmarks._measure import AtMost, Measurement, Scale, process
from benchmarks._workspaces import halfway

__all__ = ["verbs"]

_POLARS = ["-c", "import polars"]
_MAIN = "from sinagot_catalog.cli import main; main()"
_VERBS = (
    "doctor", "status", "status --json", "status --stale", "ls records --limit 3", "ls files --limit 3",
    "ls steps --limit 3", "plan", "plan --csv", "plan --stale", "explain REC-000002 mean", "logs REC-000002",
    "logs --failed --group", "report -o {page}", "snapshot", "diff",
)  # fmt: skip
_MOST = 4.0


def verbs(scale: Scale) -> Iterator[Measurement]:
    """Each verb by the time of the processors, and by the clock, for information."""
    folder = halfway(scale, scale.records[-1])
    shutil.rmtree(folder / "dataset/LOG", ignore_errors=True)
    for verb in _VERBS:
        words = verb.format(page=scale.cache / "page.html").split()
        call = ["-c", _MAIN, words[0], *words[1:], "-C", str(folder)]
        _spent(call)
        rounds = [(_spent(call), _spent(_POLARS)) for _ in range(scale.times)]
        for place, (suffix, goal) in enumerate((("", AtMost(_MOST)), ("/clock", None))):
            ours, floors = (tuple(one[place] for one in column) for column in zip(*rounds, strict=True))
            what = f"sinagot-catalog {verb.format(page='FILE')}"
            yield Measurement(
                f"verbs/{verb.split(' -o')[0]}{suffix}", what, "import polars", goal, ours, floors
            )


def _spent(arguments: Sequence[str]) -> tuple[float, float]:
    """Run Python with some arguments; the seconds that the processors worked for it, and those that passed."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process(arguments)
    passed, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, passed
