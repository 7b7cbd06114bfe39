"""Flow runs whose process is gone: a client that was killed leaves its flow run Running for ever.

Prefect finds such runs by heartbeats and an automation, which a local server does not have. So each flow run of
ours says in its context which process drives it, and whoever comes next on the same machine says that it crashed.
"""

import os
import socket
from collections.abc import Mapping
from typing import Any

from sinagot_catalog.flows.api import ask
from sinagot_catalog.journal import boot_id, is_same_process, start_time

__all__ = ["TAG", "driver", "mark_crashed"]

TAG = "sinagot-catalog"
_DRIVER = "sinagot_catalog_driver"
_MOST = 50


def driver(run_id: str) -> dict[str, Any]:
    """What a flow run's context says of the process that drives it: this one.

    Args:
        run_id: The name of the run in the journal.
    """
    pid = os.getpid()
    who = {"host": socket.gethostname(), "boot": boot_id(), "pid": pid, "started": start_time(pid)}
    return {_DRIVER: {**who, "run_id": run_id}}


def mark_crashed(api_url: str, *, auth: str | None = None, key: str | None = None) -> int:
    """Mark flow runs of ours as Crashed whose process on this machine has ended.

    Args:
        api_url: The API.
        auth: Its `user:password`, where it has one.
        key: The key of Prefect Cloud.

    Returns:
        How many.

    Raises:
        ServerError: The API does not answer as it should.
    """
    base = api_url.rstrip("/")
    under_way = {"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}, "tags": {"all_": [TAG]}}
    body = {"flow_runs": under_way, "limit": _MOST, "sort": "START_TIME_ASC"}
    found = ask(f"{base}/flow_runs/filter", auth=auth, key=key, body=body)
    dead = [run for run in found if _is_dead((run.get("context") or {}).get(_DRIVER))]
    for run in dead:
        who = run["context"][_DRIVER]
        message = (
            f"Its process (pid {who['pid']} on {who['host']}) is gone. What it did is kept, in run "
            f"{who['run_id']} of the journal; the same command goes on with the rest."
        )
        state = {"type": "CRASHED", "name": "Crashed", "message": message}
        body = {"state": state, "force": True}
        ask(f"{base}/flow_runs/{run['id']}/set_state", auth=auth, key=key, body=body)
    return len(dead)


def _is_dead(who: Mapping[str, Any] | None) -> bool:
    """Whether a process of this machine, since it booted, has ended; of others nobody can tell here."""
    if not who or who.get("host") != socket.gethostname() or who.get("boot") != boot_id():
        return False
    return not is_same_process(who["pid"], who["started"] or "", who["boot"])
