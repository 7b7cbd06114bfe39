"""What a row costs beside its script, by what it is for: the parts of a worker's loop, timed in place."""

import functools
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import quantiles
from typing import Any

from benchmarks._aside import forget_runs
from benchmarks._measure import Measurement, Scale, child
from benchmarks._workspaces import burning

__all__ = ["markdown", "of_rows", "timed"]

_ROWS = 5_000
_FIRST = 200
_PARTS = {
    "An output that exists is not made again": (
        "looks for it",
        "to trust the plan, though others may have made it since",
        "RowOutputs.exist",
    ),
    "A stale result is known": (
        "reads size and time of the input",
        "to trust the listing, which may be older than the input",
        "RowInputs.find",
    ),
    "A row that is killed is known": (
        "writes a line `start` and the shared status",
        "one write for several rows: fewer of them would be known",
        "UnitStepLines.write start",
        "SharedStatus.show",
    ),
    "A result is known, with its inputs": (
        "writes a line `done`",
        "the same, and several outputs would be made again",
        "UnitStepLines.write done",
    ),
    "A script changes nothing for the next one": (
        "reads the state of the process and compares it",
        "scripts that promise to change none",
        "ProcessStateGuard.__enter__",
        "ProcessStateGuard.__exit__",
    ),
    "Each script has its own modules": (
        "puts them in place",
        "one folder of scripts a worker",
        "Folder.__enter__",
        "Folder.__exit__",
    ),
    "An input that a script moves is put back": (
        "notes it, and looks for it afterwards",
        "inputs that scripts cannot write",
        "LocalFiles.note_inputs",
        "RowInputs.settle",
    ),
    "What a script prints is kept": (
        "asks twice where its output ends",
        "no record of it",
        "OutputFile.mark",
        "OutputFile.since",
    ),
    "No worker outlives its run": (
        "looks for its parent and its pipes",
        "a check by the clock: a row of a dead run could still publish",
        "_Worker._check_self",
    ),
    "What a script writes beside its output is found": (
        "lists two folders of its staging",
        "steps that promise to write their outputs alone",
        "RowOutputs.to_publish",
    ),
    "Outputs appear whole, and replace nothing foreign": (
        "looks at the final path and its folder, renames",
        "writing in place",
        "RowOutputs.publish",
    ),
    "Scripts get paths and parameters": (
        "makes the script's object",
        "functions of text paths",
        "RowScripts.make",
    ),
    "(The script itself)": ("reads and writes its file", "", "Script.run"),
}
"""By what it is for: what a row does for it, what would take it away, and the calls that do it, of one event."""
_REST = "(All other steps)"


def of_rows(scale: Scale) -> Iterator[Measurement]:
    """Microseconds of a row of one small file, by what they are for."""
    folder = burning(scale, _ROWS, 0)
    forget_runs(folder)
    for name, microseconds in child("guarantees", str(folder)).items():
        yield Measurement(f"guarantee/{name}", name, "", None, (microseconds,), (), "us")


def markdown(result: dict[str, Any]) -> str:
    """The table of the guide."""
    lines = ["| for this | a row does this | takes | what would take it away |", "| --- | --- | --- | --- |"]
    for one in sorted(result["measurements"], key=lambda one: -one["ours"][0]):
        does, instead, *_ = _PARTS.get(one["what"], ("fills patterns, hands results on", "another language"))
        lines.append(f"| {one['what']} | {does} | {one['ours'][0]:.1f} us | {instead} |")
    return "\n".join(lines) + "\n"


def timed(workspace: str) -> dict[str, Any]:
    """Run all rows here as a worker does; of each part a low percentile, which other load changes least."""
    from sinagot_catalog import Workspace
    from sinagot_catalog.journal import tasks_of
    from sinagot_catalog.run.workers.pool import Pool

    found: dict[str, Any] = {}

    def run(pool: Any, groups: Any, _: object) -> None:
        found.update(_time(pool._state.context.spec, [*tasks_of([*groups])]))  # noqa: SLF001
        print(json.dumps(found), flush=True)
        os._exit(0)

    Pool.run = run  # type: ignore[method-assign,assignment]
    Pool.start_workers = lambda pool, _: pool  # type: ignore[method-assign,assignment]
    Workspace(workspace).steps.run(workers=2, progress=False)
    return found


def _time(spec: Any, tasks: Sequence[Any]) -> dict[str, float]:
    from sinagot_catalog.journal import writer
    from sinagot_catalog.scripts import OutputFile, importer
    from sinagot_catalog.worker import __main__ as worker
    from sinagot_catalog.worker import job, row_inputs, row_outputs, row_script
    from sinagot_catalog.worker.files import local_files
    from sinagot_catalog.worker.process import process_state
    from sinagot_catalog.worker.process.row_interrupts import WorkerInterrupts

    modules = (writer, importer, worker, job, local_files, process_state, row_inputs, row_outputs, row_script)
    with tempfile.TemporaryFile() as board, tempfile.TemporaryFile("a") as output:
        os.ftruncate(board.fileno(), worker.BOARD_SIZE)
        os.dup2(output.fileno(), 2)
        shown = worker.SharedStatus(board.fileno())
        process = worker._Worker(*os.pipe(), shown, os.getppid())  # noqa: SLF001
        kinds = {name: kind for one in modules for name, kind in vars(one).items() if isinstance(kind, type)}
        kinds["OutputFile"] = OutputFile
        times: dict[str, list[float]] = {}
        _clock(kinds, times)
        jobs = job.JobRunner(
            spec,
            "w01",
            announce=shown.show,
            output=OutputFile(2),
            after_run=process._check_self,  # noqa: SLF001
            interrupts=WorkerInterrupts(),
        )
        _go(jobs, tasks[:_FIRST])
        _clock({"Script": jobs._steps[0].script}, times)  # noqa: SLF001
        rows = _go(jobs, tasks[_FIRST:])
    per_row = {
        what: sum(_low(times[call]) * round(len(times[call]) / len(rows)) * 1e6 for call in calls)
        for what, (_, _, *calls) in _PARTS.items()
    }
    return {**per_row, _REST: _low(rows) * 1e6 - sum(per_row.values())}


def _clock(kinds: Mapping[str, Any], times: dict[str, list[float]]) -> None:
    """Note how long each of the calls takes, for all objects of their classes."""
    for call in [call for _, _, *calls in _PARTS.values() for call in calls]:
        kind, _, method = call.partition(".")
        method, _, event = method.partition(" ")
        if kind in kinds and call not in times:
            timed = _clocked(vars(kinds[kind])[method], times.setdefault(call, []), event)
            setattr(kinds[kind], method, timed)


def _go(jobs: Any, tasks: Sequence[Any]) -> list[float]:
    """Run tasks; the seconds of each."""
    spent = []
    for task in tasks:
        begin = time.perf_counter()
        (result,) = jobs.run(task)
        spent.append(time.perf_counter() - begin)
        if result.outcome != "done":
            raise RuntimeError(str(result))
    return spent


def _clocked(call: Callable[..., Any], spent: list[float], event: str) -> Callable[..., Any]:
    @functools.wraps(call)
    def clocked(*args: Any, **options: Any) -> Any:
        if event and event not in args:
            return call(*args, **options)
        begin = time.perf_counter()
        try:
            return call(*args, **options)
        finally:
            spent.append(time.perf_counter() - begin)

    return clocked


def _low(times: Sequence[float]) -> float:
    return quantiles(times, n=50)[0]
