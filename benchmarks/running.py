"""Running: many short rows, few longer ones, nothing to do, and how much memory it takes."""

from collections.abc import Iterator
from pathlib import Path

from benchmarks._aside import forget_runs
from benchmarks._measure import AtLeast, AtMost, Measurement, Scale, alternate, child
from benchmarks._workspaces import burning
from sinagot_catalog import Workspace

__all__ = ["held_later", "memory", "nothing_to_do", "outputs", "run", "slow"]

_WORKERS = "2"
_POOL = "a bare ProcessPoolExecutor, the same function"


def run(scale: Scale) -> Iterator[Measurement]:
    """Rows of 0.2 ms by two workers, start-up counted."""
    for rows in scale.rows:
        goal = AtLeast(0.7) if rows >= 100_000 else AtLeast(0.6) if rows >= 10_000 else None
        yield _run(f"run/{rows}x0.2ms", "run", burning(scale, rows, 0.2), goal, scale.times)


def slow(scale: Scale) -> Iterator[Measurement]:
    """Rows of 50 ms by two workers: what we add must drown."""
    rows = scale.slow_rows
    goal = AtLeast(0.98) if rows >= 10_000 else None
    times = 1 if rows >= 10_000 else scale.times
    yield _run(f"slow/{rows}x50ms", "run", burning(scale, rows, 50), goal, times)


def outputs(scale: Scale) -> Iterator[Measurement]:
    """Rows of 0.2 ms that write several files of 100 bytes: five outputs, or fifty files in a folder."""
    for count in (5, 50):
        yield _run(f"outputs/1000x{count}", "run", burning(scale, 1_000, 0.2, count), None, scale.times)


def _run(name: str, verb: str, folder: Path, goal: AtLeast | None, times: int) -> Measurement:
    """Measure one verb beside the bare pool; each begins with nothing done."""

    def done(what: str) -> float:
        forget_runs(folder)
        said = child(what, str(folder), _WORKERS)
        expected = _count(folder / "dataset/raw")
        if said["rows"] != expected or _count(folder / "dataset/out") not in (expected, 5 * expected):
            raise RuntimeError(f"{what} did {said['rows']} of {expected} rows")
        return float(said["seconds"])

    ours, floors = alternate(lambda: done(verb), lambda: done("pool"), times, start_workers=False)
    what = f"ws.steps.{verb}() of 2 workers, start-up counted"
    return Measurement(name, what, _POOL, goal, ours, floors)


def nothing_to_do(scale: Scale) -> Iterator[Measurement]:
    """A run where every row is done, beside a look; both read the journal of the run that did them."""
    for rows in scale.rows:
        folder = _all_done(scale, rows)

        def ours(folder: Path = folder) -> None:
            report = Workspace(folder).steps.run(workers=2, progress=False)
            assert len(report.frame) == 0  # noqa: S101

        def floor(folder: Path = folder) -> None:
            assert Workspace(folder).steps.collect().height  # noqa: S101

        yield Measurement(
            f"nothing-to-do/{rows}",
            "ws.steps.run() from nothing, all rows done",
            "ws.steps.collect() from nothing",
            AtMost(1.2),
            *alternate(ours, floor, scale.times),
        )


def memory(scale: Scale) -> Iterator[Measurement]:
    """What a run holds, its workers included: at most, and later beside a tenth of its time."""
    for rows in scale.rows:
        folder = burning(scale, rows, 0.2)
        forget_runs(folder)
        said = child("run-watched", str(folder), _WORKERS)
        goal = AtMost(1000) if rows >= 100_000 else None
        name, what = f"memory/run/{rows}", "peak of ws.steps.run(), workers included"
        yield Measurement(name, what, "", goal, (said["peak"],), (), "MB")
        if rows >= 100_000:
            yield from held_later(name, said)


def held_later(name: str, said: dict[str, float]) -> Iterator[Measurement]:
    """What a run holds in its middle and at its end beside what it held early: it should be the same."""
    for part in (50, 99):
        flat, early = f"held at {part} % of the run", "held at 10 % of it"
        later, before = (said[f"at{part}"],), (said["at10"],)
        yield Measurement(f"{name}/{part}%", flat, early, AtMost(1.25), later, before, "MB")


def _all_done(scale: Scale, rows: int) -> Path:
    folder = burning(scale, rows, 0.2)
    out = folder / "dataset/out"
    if not out.exists() or _count(out) < rows or not (folder / "dataset/LOG/journal").exists():
        forget_runs(folder)
        child("run", str(folder), _WORKERS)
    return folder


def _count(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir())
