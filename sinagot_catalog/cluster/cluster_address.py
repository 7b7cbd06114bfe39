"""The address of a cluster: which cluster a run uses, as the config, the environment or the caller names it."""

import json
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from sinagot_catalog.config import Config
from sinagot_catalog.errors import ServerError, UsageError
from sinagot_catalog.startup import dataclass

Kind = Literal["dask", "ray"]

_PACKAGES = {"dask": "distributed", "ray": "ray"}


@dataclass(frozen=True)
class ClusterAddress:
    """Which cluster a run uses. Without any of its values, one is started on this machine.

    Attributes:
        kind: Dask or Ray.
        address: The address of the scheduler, or of the head of Ray.
        scheduler_file: A scheduler file of Dask, which has the address.
        cluster_class: The class of a Dask cluster, with its module; an object of it is made for the run.
        cluster_kwargs: The arguments of the class.
        adapt_kwargs: The arguments of its method `adapt`; empty for a cluster that does not adapt.
        given: A client or cluster of Dask that the caller made; the run does not close it.
        source: The place of the setting, for messages.
    """

    kind: Kind
    address: str | None = None
    scheduler_file: Path | None = None
    cluster_class: str | None = None
    cluster_kwargs: Mapping[str, Any] = field(default_factory=dict)
    adapt_kwargs: Mapping[str, Any] = field(default_factory=dict)
    given: Any = None
    source: str = "[prefect] address"

    @classmethod
    def of(cls, config: Config, given: Any = None) -> "ClusterAddress | None":
        """The cluster that the batches of a submitted run go to; None for processes of this machine.

        Args:
            config: The config of the workspace.
            given: The argument `cluster` of the caller: an address, or a client or cluster of Dask.

        Raises:
            UsageError: The argument is of another kind.
        """
        kind: Kind = "ray" if config.prefect.task_runner == "ray" else "dask"
        if given is None:
            return None if config.prefect.task_runner == "threads" else cls._configured(kind, config)
        if isinstance(given, str):
            return cls._named(kind, given, Path(), "cluster")
        _check_given(kind, given)
        return cls(kind, given=given)

    @classmethod
    def _configured(cls, kind: Kind, config: Config) -> "ClusterAddress":
        section = config.prefect
        if section.address:
            return cls._named(kind, section.address, Path(config.root), "[prefect] address")
        if section.cluster_class:
            return cls(
                kind,
                cluster_class=section.cluster_class,
                cluster_kwargs=section.cluster_kwargs,
                adapt_kwargs=section.adapt_kwargs,
            )
        if kind == "dask":
            for name in ("DASK_SCHEDULER_ADDRESS", "DASK_SCHEDULER_FILE"):
                if value := os.environ.get(name):
                    return cls._named(kind, value, Path(), name)
        return cls(kind)

    @classmethod
    def _named(cls, kind: Kind, text: str, folder: Path, source: str) -> "ClusterAddress":
        """The cluster at an address, or of a scheduler file; its path may be relative to a folder."""
        if kind == "dask" and "://" not in text and (text.endswith(".json") or "/" in text):
            return cls(kind, scheduler_file=folder / Path(text).expanduser(), source=source)
        return cls(kind, address=text, source=source)

    def check(self, timeout: float = 3.0) -> None:
        """Check that the cluster can be used, without importing its package.

        Args:
            timeout: Seconds to wait for a connection.

        Raises:
            UsageError: The package is not installed.
            ServerError: No server listens at the address, or the scheduler file cannot be read.
        """
        package = _PACKAGES[self.kind]
        if find_spec(package) is None:
            raise UsageError(
                f"[prefect] task_runner = {self.kind!r} needs the package {package}, which is not installed",
                f"pip install 'sinagot-catalog[{self.kind}]'",
            )
        address = self.address or (self._read() if self.scheduler_file else "")
        match = re.fullmatch(r"(?:\w+://)?\[?([^/\[\]]+?)\]?:(\d+)/?", address)
        if match is None:
            return  # a name that only the package itself can resolve
        try:
            socket.create_connection((match[1], int(match[2])), timeout=timeout).close()
        except OSError as error:
            reason = str(error.strerror or error).lower()
            where = f"{str(self.scheduler_file)!r} ({address})" if self.scheduler_file else repr(address)
            raise ServerError(
                f"Nobody answers at {self.source} = {where}: {reason}",
                "Start the cluster, correct the address, or leave both out: threads of this machine then run "
                "the rows.",
            ) from None

    def _read(self) -> str:
        """The address in the scheduler file."""
        try:
            return str(json.loads(Path(self.scheduler_file or "").read_bytes())["address"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = (
                str(error.strerror).lower() if isinstance(error, OSError) else "it is not a scheduler file"
            )
            raise ServerError(
                f"{self.source} = {str(self.scheduler_file)!r} cannot be read: {reason}",
                "A running scheduler of Dask writes the file: dask scheduler --scheduler-file FILE",
            ) from None


def _check_given(kind: Kind, given: Any) -> None:
    is_client = hasattr(given, "submit") and hasattr(given, "scheduler_info")
    if kind == "ray" or not (is_client or isinstance(getattr(given, "scheduler_address", None), str)):
        wanted = "an address" if kind == "ray" else "an address, or a client or cluster of Dask"
        raise UsageError(f"cluster: {type(given).__name__} is not {wanted}")
    if getattr(given, "asynchronous", False):
        raise UsageError(
            f"cluster: this {type(given).__name__} is asynchronous", "Make it without asynchronous=True."
        )
