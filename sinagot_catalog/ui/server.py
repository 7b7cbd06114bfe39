"""Server: serves the live page of a workspace on the loopback of this machine."""

from __future__ import annotations

import os
import socket
import threading
import time
from typing import TYPE_CHECKING

import uvicorn

from sinagot_catalog.errors import ServerError
from sinagot_catalog.ui.access import Access
from sinagot_catalog.ui.live_workspace import LiveWorkspace
from sinagot_catalog.ui.routes import Routes

if TYPE_CHECKING:
    from collections.abc import Callable

    from sinagot_catalog.workspace import Workspace

_PATIENCE = 5.0
"""Seconds for open requests at the end."""


def serve(
    workspace: Workspace,
    reopen: Callable[[], Workspace],
    *,
    port: int = 0,
    read_only: bool = False,
    ready: Callable[[str], None],
) -> None:
    """Serve the page until KeyboardInterrupt.

    Args:
        workspace: The open workspace.
        reopen: Opens the workspace again, after a change of its config.
        port: The port on the loopback; 0 for a free one.
        read_only: Whether nothing can be excluded and included.
        ready: Called with the address once the page is there.

    Raises:
        ServerError: When the port cannot be used.
    """
    with _listening(port) as listener:
        port = listener.getsockname()[1]
        live = LiveWorkspace(workspace, reopen)
        access = Access(Routes(live, read_only=read_only).app, port=port, read_only=read_only)
        config = uvicorn.Config(
            access, lifespan="off", access_log=False, log_level="error", server_header=False, ws="none",
            timeout_graceful_shutdown=int(_PATIENCE), limit_concurrency=200, proxy_headers=False,
        )  # fmt: skip
        server = uvicorn.Server(config)  # in a thread it leaves signals to the program
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.01)
            ready(f"http://127.0.0.1:{port}/?token={access.token}")
            while thread.is_alive():
                thread.join(1)
        finally:
            server.should_exit = True
            thread.join(2 * _PATIENCE)


def _listening(port: int) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", port))
    except (OSError, OverflowError) as error:
        text = os.strerror(error.errno or 0) if isinstance(error, OSError) else str(error)
        raise ServerError(
            f"port {port} cannot be used: {text}", "Name another one with --port, or none for a free one."
        ) from error
