"""The local Prefect server: starts, stops and describes it.

Prefect is not imported here: the server is a separate process, and this module queries it over HTTP. The server
keeps running after the program that started it, in its own process session and its own folder (see `server_state`).
"""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from sinagot_catalog.errors import ServerError
from sinagot_catalog.flows.server.api import ANSWER, WITHOUT_PREFECT
from sinagot_catalog.flows.server.server_state import (
    ALIVE,
    FIRST_LINE,
    HOST,
    LocalServer,
    find,
    home,
    lock,
    private_folder,
    read_state,
    write_state,
)
from sinagot_catalog.journal import boot_id, start_time

# Outside the port ranges that Linux and macOS use for outgoing connections, so that the port stays free.
_PORTS = range(21_000, 29_000)
_LOG_BYTES = 5_000_000

_SETTINGS = {
    # By default the recorder writes events one by one, which takes the server 24 ms for each task run.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "500",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "200",
    # Slots of deployments are leased for minutes. In memory only, the leases would be lost when the server ends.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    # Loops of an idle server run less often. Schedules, new deployments and leases keep their default intervals.
    "PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS": "15",
    "PREFECT_SERVER_SERVICES_FOREMAN_LOOP_SECONDS": "30",
    "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_LOOP_SECONDS": "60",
    "PREFECT_SERVER_SERVICES_CLEANUP_RECONCILER_LOOP_SECONDS": "60",
    "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_LOOP_SECONDS": "60",
    "PREFECT_SERVER_EVENTS_PROACTIVE_GRANULARITY": "PT1M",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLI_PROMPT": "false",
    "PREFECT_CLI_COLORS": "false",
    "DO_NOT_TRACK": "1",
}

# A process that ends at once starts the server. So the server is not a child of the caller, and the caller does not
# have to wait for its end. The lock goes with the open file to the server.
_LAUNCH = """
import contextlib, fcntl, subprocess, sys
with open(sys.argv[1], "ab") as log, open(sys.argv[2], "ab") as alive:
    with contextlib.suppress(OSError):
        fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
    none = subprocess.DEVNULL
    server = subprocess.Popen(
        sys.argv[4:], cwd=sys.argv[3], stdin=none, stdout=log, stderr=log, start_new_session=True,
        pass_fds=[alive.fileno()],
    )
print(server.pid, flush=True)
server.returncode = 0
"""


# -- start and stop ------------------------------------------------------------------------------------------


def start(*, port: int | None = None, fresh: bool = False) -> LocalServer:
    """Find the local server, or start it. Does not wait until it answers: see `LocalServer.wait_healthy`.

    Args:
        port: The port to use; by default the port of the last server, or a free port.
        fresh: Put the database of the last server aside, and start with an empty database.

    Returns:
        The server that is running or starting.

    Raises:
        ServerError: The port is taken, its folder cannot be written, or a server of another Prefect version has
            active flow runs.
    """
    with lock():
        last = read_state()
        if fresh:
            _put_aside(last)
        if last is not None and last.is_alive:
            if port not in (None, last.port):
                raise ServerError(
                    f"The local Prefect server already runs at {last.url}, not at port {port}.",
                    "End it first: `sinagot-catalog server stop`.",
                )
            if last.prefect == _prefect_version():
                return last
            _make_way(last)
        server = _launch(
            _choose_port(port, last), last.auth if last else f"admin:{secrets.token_urlsafe(24)}"
        )
        try:
            write_state(server)
        except OSError:  # without a state file no program can find this server
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            raise
        return server


def stop(timeout: float = 10.0) -> dict[str, Any]:
    """End the local server, after it has recorded the events that it received.

    Only ends a process that is certainly this server: first with SIGTERM, then by killing its process session.

    Args:
        timeout: The most seconds to wait for active runs and for the records; then the same time again, but at
            most 10 seconds, for the end of the process.

    Returns:
        `stopped` (bool), `pid`, `url`, and `running`: the number of flow runs that were still active.
    """
    server, running = None, 0
    if read_state() is not None:
        with lock():
            server = find()
            if server is not None:
                running = _drain(server, timeout)
                _end(server, min(timeout, 10.0))
    pid, url = (None, None) if server is None else (server.pid, server.url)
    return {"stopped": server is not None, "pid": pid, "url": url, "running": running}


def status() -> dict[str, Any]:
    """Describe the local server.

    Returns:
        `running`, `healthy`, `url`, `api_url`, `user` and `password` (the login of its page), `pid`,
        `prefect`, `since`, `log` and `home`; if it does not run, the values of the last server.
    """
    server = read_state()
    if server is None:
        return {"running": False, "healthy": False, "home": str(home())}
    user, _, password = server.auth.partition(":")
    alive = server.is_alive
    return {
        "running": alive,
        "healthy": alive and server.is_healthy(ANSWER),
        "url": server.url,
        "api_url": server.api_url,
        "user": user,
        "password": password,
        "pid": server.pid if alive else None,
        "prefect": server.prefect,
        "since": server.since,
        "log": server.log,
        "home": str(home()),
    }


def _launch(port: int, auth: str) -> LocalServer:
    state = home()
    folder = private_folder(state / "prefect")
    log = state / "server.log"
    if log.exists() and log.stat().st_size > _LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
    log.touch(mode=0o600)
    with log.open("a", encoding="utf-8") as file:
        file.write(
            f"{FIRST_LINE}, {_prefect_version()}, port {port}, {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n"
        )
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)]
    (state / ALIVE).touch(mode=0o600)
    paths = [str(log), str(state / ALIVE), str(folder)]
    launcher = [sys.executable, "-I", "-S", "-c", _LAUNCH, *paths, *command]
    done = subprocess.run(  # noqa: S603
        launcher,
        env=_environment(folder, port, auth),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if done.returncode:
        raise ServerError(
            f"The local Prefect server could not be started: {done.stderr.strip()}", WITHOUT_PREFECT
        )
    pid = int(done.stdout)
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return LocalServer(pid, start_time(pid) or "", boot_id(), port, auth, _prefect_version(), since, str(log))


def _environment(folder: Path, port: int, auth: str) -> dict[str, str]:
    """The environment of the server: no Prefect settings of the user, a password, access for its own page only."""
    origin = f"http://{HOST}:{port}"
    others = {key: value for key, value in os.environ.items() if not key.upper().startswith("PREFECT_")}
    own = {
        "PREFECT_HOME": str(folder),
        "PREFECT_PROFILES_PATH": str(folder / "profiles.toml"),
        "PREFECT_SERVER_API_AUTH_STRING": auth,
        "PREFECT_SERVER_UI_API_URL": f"{origin}/api",
        "PREFECT_UI_URL": origin,  # for links in what automations send
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": origin,
    }
    return others | _SETTINGS | own


def _put_aside(last: LocalServer | None) -> None:
    """Rename the folder of the server, so that its history is kept."""
    if last is not None and last.is_alive:
        raise ServerError(
            f"The local Prefect server runs at {last.url}: its database cannot be put aside.",
            "End it first: `sinagot-catalog server stop`.",
        )
    folder = home() / "prefect"
    if folder.exists():
        folder.rename(folder.parent / f"prefect-{datetime.now(UTC):%Y%m%dT%H%M%S}")


def _make_way(server: LocalServer) -> None:
    """End a server of another Prefect version; raise if it has active flow runs."""
    if running := _drain(server, 2.0):
        raise ServerError(
            f"The local Prefect server at {server.url} is of Prefect {server.prefect}, this is "
            f"{_prefect_version()}, and {running} of its flow runs are under way.",
            "Wait for them, or end it: `sinagot-catalog server stop`.",
        )
    _end(server, 10.0)


def _drain(server: LocalServer, timeout: float) -> int:
    """Wait until no flow run is active and the records do not change; return the number of active runs."""
    deadline = time.monotonic() + timeout
    under_way = {"flow_runs": {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}}}
    # The recorder writes once a second: three equal counts, half a second apart, are a second without writes.
    counts = deque([-3, -2, -1], maxlen=3)
    running = 0
    with contextlib.suppress(ServerError, ValueError):  # it does not answer: waiting is of no use
        while True:
            running = int(server.ask("/flow_runs/count", under_way))
            counts.append(int(server.ask("/task_runs/count", {})))
            if (not running and len(set(counts)) == 1) or time.monotonic() > deadline:
                break
            time.sleep(0.5)
    return running


def _end(server: LocalServer, timeout: float) -> None:
    if not _is_gone(server, 0):
        with contextlib.suppress(ProcessLookupError):
            os.kill(server.pid, signal.SIGTERM)
    if not _is_gone(server, timeout):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)  # it leads its session: this ends its children, too
    if not _is_gone(server, 60.0):  # on a busy machine its threads need a while to end
        raise ServerError(f"The local Prefect server (pid {server.pid}) could not be ended.")
    write_state(replace(server, pid=0, started=""))


def _is_gone(server: LocalServer, timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while server.is_alive:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


# -- ports and versions --------------------------------------------------------------------------------------


def _choose_port(wanted: int | None, last: LocalServer | None) -> int:
    if wanted is not None:
        if not _is_free(wanted):
            raise ServerError(
                f"Port {wanted} of {HOST} is taken by another program.",
                "Leave the port out, and a free one is taken.",
            )
        return wanted
    if last is not None and _is_free(last.port):
        return last.port
    for _ in range(200):
        port = secrets.choice(_PORTS)
        if _is_free(port):
            return port
    raise ServerError(f"No free port was found between {_PORTS.start} and {_PORTS.stop}.", WITHOUT_PREFECT)


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probing:
        probing.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probing.bind((HOST, port))
        except OSError:
            return False
        return True


@cache
def _prefect_version() -> str:
    return metadata.version("prefect")
