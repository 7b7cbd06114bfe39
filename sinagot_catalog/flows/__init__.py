"""The Prefect flow over the rows of a workspace. The only package that imports Prefect, which takes seconds.

Files and journal are the truth; Prefect schedules, shows and carries. The flow takes JSON parameters only,
opens the workspace itself and feeds batches of rows, as task runs, to the pool of workers that `run` uses.
Caching, persisted results and retries of rows are left out on purpose: whether a row is done is read from its
files.
"""

from sinagot_catalog.flows._batches import MOST_TASK_RUNS, Cutter
from sinagot_catalog.flows._deploy import check_schedule, deploy, serve
from sinagot_catalog.flows._flow import run_workspace
from sinagot_catalog.flows._remote import Remote, send
from sinagot_catalog.flows._submitted import Submitted, page_of, pointed_at

__all__ = [
    "MOST_TASK_RUNS",
    "Cutter",
    "Remote",
    "Submitted",
    "check_schedule",
    "deploy",
    "page_of",
    "pointed_at",
    "run_workspace",
    "send",
    "serve",
]
