"""A Ray cluster: connects to it, or starts one on this machine, and calls `run_batch` there."""

import logging
import os
import secrets
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray import exceptions

from sinagot_catalog.cluster.cluster_address import ClusterAddress
from sinagot_catalog.cluster.cluster_protocol import LostError
from sinagot_catalog.cluster.remote_batch import run_batch
from sinagot_catalog.errors import ServerError
from sinagot_catalog.journal import Resources

_LOST = (
    exceptions.WorkerCrashedError,
    exceptions.NodeDiedError,
    exceptions.OutOfMemoryError,
    exceptions.ObjectLostError,
)


class RayCluster:
    """A Ray cluster; without an address, one on this machine.

    Args:
        where: The cluster.
        workers: The number of CPUs of a cluster on this machine.

    Raises:
        ServerError: The cluster does not answer.
    """

    def __init__(self, where: ClusterAddress, workers: int) -> None:
        address = where.address
        self.dashboard: str | None = None
        self._is_ours = not ray.is_initialized()
        if self._is_ours:
            if address is None:
                _keep_token_private()
            own: dict[str, Any] = {} if address else {"num_cpus": workers, "include_dashboard": False}
            try:
                context = ray.init(
                    address or "local",
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    configure_logging=False,
                    **own,
                )
            except Exception as error:  # Ray raises a plain Exception for a start that takes too long
                raise ServerError(
                    f"The Ray cluster at {address or 'this machine'} does not answer: {error}",
                    "A head that asks for a token wants RAY_AUTH_MODE=token here, and the token in "
                    "RAY_AUTH_TOKEN or ~/.ray/auth_token.",
                ) from error
            if context.dashboard_url:  # empty for a head without a dashboard
                self.dashboard = f"http://{context.dashboard_url}"
        # Ray would retry silently: instead, `run_batch` sends a lost batch again and knows which rows ended.
        self._call = ray.remote(num_cpus=1, max_retries=0)(run_batch)

    def width(self) -> int:
        """The number of CPUs."""
        return int(ray.cluster_resources().get("CPU", 0))

    def offers(self) -> list[Mapping[str, float]]:
        """The resources of each node."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        names = {"cpus": "CPU", "memory": "memory", "gpus": "GPU"}
        return [{name: node.get(own, 0) for name, own in names.items()} for node in nodes]

    def send(self, name: str, need: Resources, *arguments: Any) -> Any:
        """Call `run_batch` on the cluster."""
        options = {"num_cpus": need.cpus or 1, "num_gpus": need.gpus, "memory": need.memory or None}
        return self._call.options(name=f"rows {name}", **options).remote(*arguments)

    def result(self, sent: Any, seconds: float) -> bytes | None:
        """Wait for the result of a call; None if it has not arrived yet."""
        try:
            return bytes(ray.get(sent, timeout=seconds))
        except exceptions.GetTimeoutError:
            return None
        except exceptions.RayTaskError as error:
            raise (error.cause or error) from None
        except _LOST as error:
            raise LostError from error

    def forget(self, sent: Any) -> None:
        """Cancel a call."""
        ray.cancel(sent, force=True)

    def close(self) -> None:
        """Disconnect; a cluster of this machine ends."""
        if self._is_ours:
            ray.shutdown()


def _keep_token_private() -> None:
    """Make the token of a local Ray cluster readable only by its owner: Ray itself writes it with the umask's mode.

    Any user who can read the token can run code on the cluster. Does nothing if Ray is configured to use another
    token.
    """
    makes_one = hasattr(sys.modules.get("ray._private.worker"), "enable_token_auth_by_default")
    mode = os.environ.get("RAY_AUTH_MODE", "token" if makes_one else "disabled")
    if mode.lower() != "token" or {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ):
        return
    token = Path.home() / ".ray" / "auth_token"
    with suppress(OSError):  # Ray itself reports a home folder that is not writable
        token.parent.mkdir(mode=0o700, exist_ok=True)
        if not token.exists():
            descriptor = os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w") as file:  # noqa: PTH123 - no other way to make it with this mode
                file.write(secrets.token_hex(32))
        elif token.stat().st_uid == os.getuid():
            token.chmod(0o600)
