"""All of Prefect: the flow over the rows of a workspace, its deployments, and the local server.

In: selected rows and the options of a run. Out: a flow run, its pages in Prefect, a report. Files and the journal
are the truth; Prefect schedules, shows and carries the work to other machines. The flow takes JSON parameters only,
opens the workspace itself and feeds batches of rows, as task runs, to the same worker pool that `run` uses.

Begin with `submit` (what the command line and Python call; it plans before Prefect is imported) and `flow`. Prefect
takes seconds to import, so the names below are imported when they are first used.
"""

from typing import TYPE_CHECKING

from sinagot_catalog.lazy import lazy_exports

if TYPE_CHECKING:
    from sinagot_catalog.flows.batches import MOST_TASK_RUNS, BatchSizer
    from sinagot_catalog.flows.deployer import check_schedule, deploy, serve
    from sinagot_catalog.flows.flow import run_workspace
    from sinagot_catalog.flows.local_run import Submitted, page_of, pointed_at
    from sinagot_catalog.flows.remote_run import RemoteFlowRun, send

__all__ = [
    "MOST_TASK_RUNS",
    "BatchSizer",
    "RemoteFlowRun",
    "Submitted",
    "check_schedule",
    "deploy",
    "page_of",
    "pointed_at",
    "run_workspace",
    "send",
    "serve",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "batches": ("MOST_TASK_RUNS", "BatchSizer"),
        "deployer": ("check_schedule", "deploy", "serve"),
        "flow": ("run_workspace",),
        "local_run": ("Submitted", "page_of", "pointed_at"),
        "remote_run": ("RemoteFlowRun", "send"),
    },
)
