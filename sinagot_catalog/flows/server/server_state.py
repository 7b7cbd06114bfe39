"""The state of the local Prefect server: its record, its files, and whether it runs and answers.

The files lie in a folder of their own:

    $SINAGOT_CATALOG_HOME (or the state folder of the platform), readable by the owner only
    ├── server.json     the server started last: process, port, password, version
    ├── server.lock     held during start and stop, so that two submits start a single server
    ├── server.alive    held by the server for as long as it lives
    ├── server.log
    ├── prefect/        PREFECT_HOME of the server, with its database
    └── hosts/<host>/   the same for a host that finds a server of another host here

A process counts as this server only if its id, its start time and the boot of the machine all match. Hosts may
share the folder: the nodes of a cluster have one home. A server answers on its own host only, and no two may write
one database, so a second host has a server of its own while the first one's lives.
"""

import contextlib
import fcntl
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any
from urllib.request import getproxies, proxy_bypass

from sinagot_catalog.errors import ServerError
from sinagot_catalog.flows.server.api import ANSWER, WITHOUT_PREFECT
from sinagot_catalog.journal import is_same_process
from sinagot_catalog.startup import dataclass

HOST = "127.0.0.1"
ALIVE = "server.alive"
"""The file on which a server holds a lock as long as it lives; the system frees it when the server is killed."""
FIRST_LINE = "--- starting Prefect"
"""The beginning of the line that `start` writes into the log."""
_LEAST_BYTES = 5_000_000


@dataclass(frozen=True)
class LocalServer:
    """A Prefect server that this library started on this machine.

    Attributes:
        pid: The process id.
        started: The start time of the process, as the operating system counts it.
        boot: The id of the machine's boot in which it started.
        port: The port, on the loopback address only.
        auth: The login, as `user:password`.
        prefect: The version of Prefect that runs it.
        since: The time of its start (ISO, UTC).
        log: The log file.
    """

    pid: int
    started: str
    boot: str
    port: int
    auth: str
    prefect: str
    since: str
    log: str

    @property
    def url(self) -> str:
        """The URL of its page."""
        return f"http://{HOST}:{self.port}"

    @property
    def api_url(self) -> str:
        """The URL of its API, as in `PREFECT_API_URL`."""
        return f"{self.url}/api"

    @property
    def home(self) -> Path:
        """The folder with its state."""
        return Path(self.log).parent

    @property
    def is_alive(self) -> bool:
        """Whether its process is running, and not another process with the same id."""
        return is_same_process(self.pid, self.started, self.boot)

    def __repr__(self) -> str:
        return f"<LocalServer {self.url} | pid: {self.pid}, prefect: {self.prefect}>"

    @property
    def is_listening(self) -> bool:
        """Whether it accepts connections: it does once it has started, also while it is too busy to answer."""
        with contextlib.suppress(OSError):
            socket.create_connection((HOST, self.port), timeout=1.0).close()
            return True
        return False

    def is_healthy(self, timeout: float = 1.0) -> bool:
        """Check that it answers and accepts its own password.

        Args:
            timeout: Seconds to wait for the answer.

        Returns:
            Whether it does; also False while it is still starting.
        """
        with contextlib.suppress(ServerError):
            return self.ask("/admin/version", timeout=timeout) is not None
        return False

    def ask(self, path: str, body: object = None, *, timeout: float = ANSWER) -> Any:
        """Get JSON from its API, or post JSON to it; see `api_client.ask`."""
        from sinagot_catalog.flows.server.api_client import ask

        return ask(f"{self.api_url}{path}", auth=self.auth, timeout=timeout, body=body)

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that point Prefect at it, past a proxy that the environment names."""
        found = {"PREFECT_API_URL": self.api_url, "PREFECT_API_AUTH_STRING": self.auth}
        return found | outside_of_proxies()

    def wait_healthy(self, timeout: float = 120.0) -> None:
        """Wait until it answers.

        Args:
            timeout: Seconds to wait at most.

        Raises:
            ServerError: The server ended, or did not answer in time; the message has the last line of its log.
        """
        deadline = time.monotonic() + timeout
        while not self.is_healthy():
            if not self.is_alive:
                raise _ended_early(self)
            if time.monotonic() > deadline:
                raise ServerError(
                    f"The local Prefect server at {self.url} (pid {self.pid}) kept silent for {timeout:g} s.",
                    f"Its log is {self.log}; `sinagot-catalog server stop` ends it. {WITHOUT_PREFECT}",
                )
            time.sleep(0.1)


def outside_of_proxies() -> dict[str, str]:
    """The environment variable that keeps requests to the local server from the proxy that the environment names.

    Prefect's client sends requests to the loopback address to a proxy, too.

    Returns:
        The variable with its new value; empty if there is no proxy, or such requests bypass it already.
    """
    named = getproxies()
    if not {"http", "all"} & set(named) or proxy_bypass(HOST):
        return {}
    name = "no_proxy" if os.environ.get("no_proxy") else "NO_PROXY"  # Python prefers the former
    return {name: ",".join(filter(None, [os.environ.get(name), HOST]))}


def home() -> Path:
    """The folder with the state of the local server.

    Returns:
        `$SINAGOT_CATALOG_HOME`, or `sinagot-catalog` in the state folder of the platform; the folder of this host
        in there while a server of another host uses it.
    """
    shared = _shared_home()
    own = shared / "hosts" / socket.gethostname()
    return own if find(own) or (not find(shared) and _is_in_use(shared)) else shared


def _shared_home() -> Path:
    if own := os.environ.get("SINAGOT_CATALOG_HOME"):
        return Path(own).expanduser().absolute()
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser().absolute() / "sinagot-catalog"


def _is_in_use(folder: Path) -> bool:
    """Whether a server lives there, perhaps on another host."""
    try:
        with (folder / ALIVE).open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no server ever ran here, or the file system has no locks
        return False
    return False


def find(folder: Path | None = None) -> LocalServer | None:
    """Find the running local server; it may still be starting.

    Args:
        folder: The folder with its state; by default the one of this host.

    Returns:
        The server, or None if its process is not running, even if a state file exists.
    """
    server = read_state(folder)
    return server if server is not None and server.is_alive else None


def private_folder(path: Path) -> Path:
    """Make a folder that only its owner can read."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)
    return path


@contextlib.contextmanager
def lock() -> Iterator[None]:
    """Hold the lock of start and stop.

    Raises:
        ServerError: The folder of the server cannot be used.
    """
    try:
        path = private_folder(_shared_home()) / "server.lock"
        with path.open("w", encoding="ascii") as file:
            path.chmod(0o600)
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise ServerError(
            f"The folder of the local Prefect server, {_shared_home()}, cannot be used: {error.strerror or error}.",
            f"SINAGOT_CATALOG_HOME names another one. {WITHOUT_PREFECT}",
        ) from error


def read_state(folder: Path | None = None) -> LocalServer | None:
    """The server started last; None without a readable state file."""
    try:
        values = json.loads(((folder or home()) / "server.json").read_text(encoding="utf-8"))
        return LocalServer(**{field.name: values[field.name] for field in fields(LocalServer)})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_state(server: LocalServer) -> None:
    """Write the state file, readable by its owner only."""
    path = server.home / "server.json"
    fresh = path.with_suffix(".json.new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600)
    fresh.write_text(json.dumps(asdict(server), indent=1), encoding="utf-8")
    fresh.replace(path)


def _ended_early(server: LocalServer) -> ServerError:
    """The error for a server that ended before it answered, with the reason from its log."""
    lines = _log_lines(server)
    where = f"Its log is {server.log}. {WITHOUT_PREFECT}"
    if any("Can't locate revision" in line for line in lines):
        return ServerError(
            f"The local Prefect server's database in {server.home / 'prefect'} was written by a newer Prefect than "
            f"{server.prefect}, which cannot read it.",
            f"Install that Prefect again, or put the database aside and start with an empty one: "
            f"`sinagot-catalog server start --fresh`. {WITHOUT_PREFECT}",
        )
    if shutil.disk_usage(server.home).free < _LEAST_BYTES:
        return ServerError(
            f"The local Prefect server ended while it started: the disk of {server.home} is full.", where
        )
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing.")
    return ServerError(f"The local Prefect server ended while it started: {last}", where)


def _log_lines(server: LocalServer) -> list[str]:
    """The log lines of a server since its start."""
    try:
        text = Path(server.log).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.rpartition(FIRST_LINE)[2].splitlines()[1:]
