"""Crashed flow runs of clients: marks flow runs as Crashed if the process on this machine that drove them has died.

A client that is killed leaves its flow run in the state Running for ever. Prefect finds such runs by heartbeats and
an automation, which a local server does not have. So each flow run of this library names in its context the process
that drives it, and the next submission on the same machine marks the flow runs of dead processes as Crashed.
`lost_runs` does the same for flow runs on workers.
"""

import os
import socket
from collections.abc import Mapping
from typing import Any

from sinagot_catalog.flows.server.api import ConfiguredApi
from sinagot_catalog.flows.server.server_state import LocalServer
from sinagot_catalog.journal import boot_id, is_same_process, start_time

TAG = "sinagot-catalog"
_DRIVER = "sinagot_catalog_driver"
_MOST = 50


def driver(run_id: str) -> dict[str, Any]:
    """The context of a flow run that this process drives: identifies the process.

    Args:
        run_id: The name of the run in the journal.
    """
    pid = os.getpid()
    who = {"host": socket.gethostname(), "boot": boot_id(), "pid": pid, "started": start_time(pid)}
    return {_DRIVER: {**who, "run_id": run_id}}


def mark_crashed(api: ConfiguredApi | LocalServer) -> int:
    """Mark flow runs of this library as Crashed if their process on this machine has ended.

    Args:
        api: The API that the user configured, or the local server.

    Returns:
        The number of marked flow runs.

    Raises:
        ServerError: The API does not answer as it should.
    """
    under_way = {"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}, "tags": {"all_": [TAG]}}
    body = {"flow_runs": under_way, "limit": _MOST, "sort": "START_TIME_ASC"}
    found = api.ask("/flow_runs/filter", body)
    dead = [run for run in found if _is_dead((run.get("context") or {}).get(_DRIVER))]
    for run in dead:
        who = run["context"][_DRIVER]
        message = (
            f"Its process (pid {who['pid']} on {who['host']}) is gone. What it did is kept, in run "
            f"{who['run_id']} of the journal; the same command goes on with the rest."
        )
        state = {"type": "CRASHED", "name": "Crashed", "message": message}
        api.ask(f"/flow_runs/{run['id']}/set_state", {"state": state, "force": True})
    return len(dead)


def _is_dead(who: Mapping[str, Any] | None) -> bool:
    """Whether a process has ended; False for processes of other machines or boots, which cannot be checked."""
    if not who or who.get("host") != socket.gethostname() or who.get("boot") != boot_id():
        return False
    return not is_same_process(who["pid"], who["started"] or "", who["boot"])
