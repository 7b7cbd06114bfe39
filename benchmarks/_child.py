"""What needs a process of its own: `python -m benchmarks._child WHAT ARGUMENT...` prints one JSON object."""

import json
import resource
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any, Self

__all__ = ["main"]

_SAMPLE_SECONDS = 0.05


def run(workspace: str, workers: str) -> dict[str, Any]:
    """Run all rows; the seconds from opening the workspace to the report, the imports of this process left out."""
    from sinagot_catalog import Workspace

    begin = time.perf_counter()
    report = Workspace(workspace).steps.run(workers=int(workers), progress=False)
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "rows": report.counts().get("done", 0)}


def run_watched(workspace: str, workers: str) -> dict[str, Any]:
    """The same, and what memory it took."""
    with _Memory() as memory:
        told = run(workspace, workers)
    return {**told, **memory.said()}


def submit(workspace: str, workers: str, *config: str) -> dict[str, Any]:
    """Send all rows as a flow to the server that is there, and wait for it; imports are left out."""
    from sinagot_catalog import Workspace
    from sinagot_catalog.flows import flow, local_run  # noqa: F401 - Prefect, which a package alone leaves for later

    begin, used = time.perf_counter(), _processor_seconds()
    report = Workspace([workspace, *config]).steps.submit(workers=int(workers)).wait()
    seconds, cpu = time.perf_counter() - begin, _processor_seconds() - used
    rows = report.counts().get("done", 0)
    return {"seconds": seconds, "rows": rows, "flow_run_id": report.flow_run_id, "cpu": cpu}


def submit_watched(workspace: str, workers: str) -> dict[str, Any]:
    """The same, and what memory it took."""
    with _Memory() as memory:
        told = submit(workspace, workers)
    return {**told, **memory.said()}


def pool(workspace: str, workers: str) -> dict[str, Any]:
    """The same rows by a bare ProcessPoolExecutor: the paths are written out by hand, nothing is kept of a row."""
    sys.path.insert(0, f"{workspace}/scripts")
    from burning import burn  # type: ignore[import-not-found]

    begin, used = time.perf_counter(), _processor_seconds()
    dataset = Path(workspace) / "dataset"
    names = sorted(path.name for path in (dataset / "raw").iterdir())
    (dataset / "out").mkdir()
    sources = [f"{dataset}/raw/{name}" for name in names]
    targets = [f"{dataset}/out/{name}" for name in names]
    with ProcessPoolExecutor(int(workers)) as executor:
        for _ in executor.map(burn, sources, targets, chunksize=max(1, min(100, len(names) // 50))):
            pass
    seconds, cpu = time.perf_counter() - begin, _processor_seconds() - used
    return {"seconds": seconds, "rows": len(names), "cpu": cpu}


def guarantees(workspace: str) -> dict[str, Any]:
    """Microseconds of a row, by what they are for."""
    from benchmarks.guarantees import timed

    return timed(workspace)


def status(workspace: str) -> dict[str, Any]:
    """Collect all step rows; the peak of this process."""
    from sinagot_catalog import Workspace

    with _Memory() as memory:
        begin = time.perf_counter()
        rows = Workspace(workspace).steps.collect().height
        seconds = time.perf_counter() - begin
    return {"seconds": seconds, "rows": rows, **memory.said()}


def _processor_seconds() -> float:
    """What this process, and those of its children that ended, took of the processors."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


class _Memory:
    """Watches what this process and those that it started hold, in MB, until it is left."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._sums: list[float] = []
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self._sums.append(_resident("self"))
            if self._over.wait(_SAMPLE_SECONDS):
                return

    def said(self) -> dict[str, float]:
        """The peak, and what was held when a tenth, a half and nearly all of the time was over."""
        return {
            "peak": max(*self._sums, _status_value("self", "VmHWM")),
            **{f"at{part}": self._around(part / 100) for part in (10, 50, 99)},
        }

    def _around(self, part: float) -> float:
        """The middle of what was held around a moment."""
        at, width = int(part * len(self._sums)), max(1, len(self._sums) // 50)
        return median(self._sums[max(0, at - width) : at + width + 1])


def _resident(process: str) -> float:
    """What a process holds in memory, its children included."""
    try:
        tasks = Path(f"/proc/{process}/task")
        children = [one for task in tasks.iterdir() for one in (task / "children").read_text().split()]
    except OSError:
        children = []
    return _status_value(process, "VmRSS") + sum(_resident(one) for one in children)


def _status_value(process: str, name: str) -> float:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(name + ":")), 0.0)


_DOES: dict[str, Callable[..., dict[str, Any]]] = {
    "guarantees": guarantees,
    "run": run,
    "run-watched": run_watched,
    "pool": pool,
    "status": status,
    "submit": submit,
    "submit-watched": submit_watched,
}


def main(what: str, *arguments: str) -> None:
    """Do one thing and say what came out."""
    print(json.dumps(_DOES[what](*arguments)))


if __name__ == "__main__":
    main(*sys.argv[1:])
