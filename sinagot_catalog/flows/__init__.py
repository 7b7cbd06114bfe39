"""Prefect integration: the flow over the rows of a workspace, its deployments, and the local server.

In: selected rows and the options of a run. Out: a flow run, its pages in Prefect, a report. Files and the journal
are the truth; Prefect schedules the work, shows it and carries it to other machines. The flow takes JSON parameters
only, opens the workspace itself and feeds batches of rows, as task runs, to the same worker pool that `run` uses.

Begin with `submission` (the command line and Python call its `submit`; it plans before Prefect is imported) and
`flow`, which describes the course of a flow run. The folders: `server` (which API is used; the local server) and
`deployments`. Prefect takes seconds to import, so these names are imported at first use.
"""

from typing import TYPE_CHECKING

from sinagot_catalog.startup import lazy_exports

if TYPE_CHECKING:
    from sinagot_catalog.flows.crashed_runs import mark_crashed
    from sinagot_catalog.flows.deployments.deployment_spec import Deployed, Deployment, address_of, describe
    from sinagot_catalog.flows.flow import run_workspace
    from sinagot_catalog.flows.run_handle import RunHandle
    from sinagot_catalog.flows.server.api import ConfiguredApi, configured_api, of_prefect
    from sinagot_catalog.flows.server.local_server import start, status, stop
    from sinagot_catalog.flows.server.server_state import find
    from sinagot_catalog.flows.submission import deploy, environment, follow, send, serve, submit, to_stderr
    from sinagot_catalog.flows.surrounding_run import observer

__getattr__ = lazy_exports(__name__)
