"""A run over many rows: from a selection to a plan, a claim, worker processes and a report.

In: selected rows of `steps` and the options of a run. Out: a `Plan`, or a `RunReport`.

Begin with `execution`, which describes the stages of a run, then `options`. The folders are its stages: `planning`
decides which rows run, `claimed_runs` holds them and reports what became of them, `workers` runs them in processes.
`executor` is the protocol of what runs rows, `main_process` does it without processes; `machine` and `resources`
tell how many at once. `progress` shows a run, `watcher` repeats it as rows become ready.
"""

from typing import TYPE_CHECKING

from sinagot_catalog.startup import lazy_exports

if TYPE_CHECKING:
    from sinagot_catalog.run.acceptance import accept
    from sinagot_catalog.run.claimed_runs.claimed_run import ClaimedRun, claim
    from sinagot_catalog.run.claimed_runs.phases import Phase
    from sinagot_catalog.run.claimed_runs.spool import Spool
    from sinagot_catalog.run.cleanup import GcResult, gc
    from sinagot_catalog.run.execution import local_executor, run
    from sinagot_catalog.run.executor import Executor, OnResults, RunSetup
    from sinagot_catalog.run.interactive import load_script, script_of
    from sinagot_catalog.run.machine import cpus, gpus, this_machine
    from sinagot_catalog.run.options import (
        PlanArguments,
        RunArguments,
        RunOptions,
        SubmitArguments,
        WatchArguments,
        check_count,
        listed,
        seconds_of,
    )
    from sinagot_catalog.run.parts import LAST, part_numbers, part_of
    from sinagot_catalog.run.planning.planner import Plan, make_plan
    from sinagot_catalog.run.planning.preflight import check_start
    from sinagot_catalog.run.planning.replaced_outputs import replaced
    from sinagot_catalog.run.planning.request import check_rows, plan, rows_query
    from sinagot_catalog.run.planning.step_order import order_fault
    from sinagot_catalog.run.resources import check_fits, declared, largest, limits, needs_text
    from sinagot_catalog.run.run_context import RunContext, cancelled
    from sinagot_catalog.run.shell_command import shell_join
    from sinagot_catalog.run.watcher import watch, without_repeats
    from sinagot_catalog.run.workers.pool import Pool

__getattr__ = lazy_exports(__name__)
