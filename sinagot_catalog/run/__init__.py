"""A run over many rows: from a selection to a plan, a claim, worker processes and a report.

In: selected rows of `steps` and the options of a run. Out: a `Plan`, or a `RunReport`.

Begin with `execution`, which tells the stages of a run. `planner` decides which rows run; `pool`, `worker_slot` and
`worker_process` run the worker processes; `watcher` repeats runs as rows become ready.
"""

from typing import TYPE_CHECKING

from sinagot_catalog.lazy import lazy_exports

if TYPE_CHECKING:
    from sinagot_catalog.run.acceptance import accept
    from sinagot_catalog.run.cleanup import GcResult, gc
    from sinagot_catalog.run.execution import Execution, in_words, prepare, prepare_query, run
    from sinagot_catalog.run.interactive import load_script, script_of
    from sinagot_catalog.run.phases import Phase
    from sinagot_catalog.run.planner import Plan, make_plan
    from sinagot_catalog.run.pool import OnResults, Pool, Runner
    from sinagot_catalog.run.preflight import check_places, check_start
    from sinagot_catalog.run.request import (
        PlanArguments,
        RunArguments,
        RunOptions,
        SubmitArguments,
        WatchArguments,
        check_rows,
        plan,
        replaced,
        rows_query,
        seconds_of,
    )
    from sinagot_catalog.run.shell_command import shell_join
    from sinagot_catalog.run.watcher import said_once, watch
    from sinagot_catalog.run.worker_slot import RunContext, cancelled

__all__ = [
    "Execution",
    "GcResult",
    "OnResults",
    "Phase",
    "Plan",
    "PlanArguments",
    "Pool",
    "RunArguments",
    "RunContext",
    "RunOptions",
    "Runner",
    "SubmitArguments",
    "WatchArguments",
    "accept",
    "cancelled",
    "check_places",
    "check_rows",
    "check_start",
    "gc",
    "in_words",
    "load_script",
    "make_plan",
    "plan",
    "prepare",
    "prepare_query",
    "replaced",
    "rows_query",
    "run",
    "said_once",
    "script_of",
    "seconds_of",
    "shell_join",
    "watch",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "acceptance": ("accept",),
        "cleanup": ("GcResult", "gc"),
        "execution": ("Execution", "in_words", "prepare", "prepare_query", "run"),
        "interactive": ("load_script", "script_of"),
        "phases": ("Phase",),
        "planner": ("Plan", "make_plan"),
        "pool": ("OnResults", "Pool", "Runner"),
        "preflight": ("check_places", "check_start"),
        "request": (
            "PlanArguments",
            "RunArguments",
            "RunOptions",
            "SubmitArguments",
            "WatchArguments",
            "check_rows",
            "plan",
            "replaced",
            "rows_query",
            "seconds_of",
        ),
        "shell_command": ("shell_join",),
        "watcher": ("said_once", "watch"),
        "worker_slot": ("RunContext", "cancelled"),
    },
)
