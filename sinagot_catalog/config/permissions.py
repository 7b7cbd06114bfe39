"""Permissions: decide which workspaces a worker runs.

The parameters of a deployment's run name the workspace to open. A workspace brings scripts, so a person who
chooses the workspace chooses the code that runs as the worker's user. Therefore a worker runs

- only the workspaces in `SINAGOT_CATALOG_ALLOW`, if its environment sets that variable;
- else only the workspace that its deployment was made for, with the config files of that deployment.

`SINAGOT_CATALOG_ALLOW` is a comma-separated list of folders, URLs or tomls. An entry that ends in `/` allows
everything below it. Any other entry is exact, so that it does not allow a toml among the recordings of a
workspace. Scheme, authority and path are compared separately, part by part. An address that a store may read in
another way than this module does (`..`, an empty or a percent-encoded part, a blank at an end) is refused.

Threat model, by what a person may do in Prefect:

- Start runs only (a custom run in the page): the person chooses parameters. Both rules above limit them.
- Edit deployments: the person can change the workspace that a deployment was made for. Only the worker's own list
  limits them.
- Set job variables, or make deployments: the person can have a Prefect worker run any command as its user, with or
  without this library. Only access control of the API protects against them.
"""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sinagot_catalog.errors import UsageError
from sinagot_catalog.secrets import masked
from sinagot_catalog.storage import is_url

ALLOW = "SINAGOT_CATALOG_ALLOW"

_TOML = "workspace.toml"
_LOCAL = ("file", "local")


class _Address(NamedTuple):
    """The address of a workspace, split into the parts that are compared."""

    scheme: str
    authority: str
    path: tuple[str, ...]

    def is_below(self, other: "_Address") -> bool:
        """Whether this address is inside a folder, and is not the folder itself."""
        same_host = (self.scheme, self.authority) == (other.scheme, other.authority)
        depth = len(other.path)
        return same_host and len(self.path) > depth and self.path[:depth] == other.path


def place_of(workspace: str) -> str:
    """Normalize the address of a workspace; two results are equal only for the same workspace.

    Example:
        >>> place_of("s3://lab/sonetaa/workspace.toml"), place_of("S3://lab/sonetaa/")
        ('s3://lab/sonetaa', 's3://lab/sonetaa')
    """
    scheme, authority, path = _parse(workspace)
    return "/".join([f"{scheme}://{authority}" if scheme else "", *path]) or "/"


def _parse(workspace: str) -> _Address:
    scheme, separator, rest = workspace.partition("://")
    scheme = scheme.lower()
    if not separator or scheme in _LOCAL:
        local = rest if separator else workspace
        full = os.path.realpath(os.path.expanduser(local))  # noqa: PTH111 - a text that may be no path
        return _Address("", "", _without_toml([part for part in full.split("/") if part]))
    authority, _, path = rest.removesuffix("/").partition("/")
    return _Address(scheme, authority, _without_toml(path.split("/") if path else []))


def _without_toml(parts: Sequence[str]) -> tuple[str, ...]:
    return tuple(parts[:-1] if parts and parts[-1] == _TOML else parts)


def _oddity(workspace: str) -> str | None:
    """Why an address is refused in every case: stores do not agree on what it means."""
    is_remote = is_url(workspace) and workspace.partition("://")[0].lower() not in _LOCAL
    _, authority, path = _parse(workspace) if is_remote else _Address("", "", ())
    parts = (authority, *path)
    checks = {
        "it begins or ends with a blank": workspace != workspace.strip(),
        "it holds a control character": not workspace.isprintable(),
        "it holds a backslash": is_remote and "\\" in workspace,
        "a part of it is empty, '.' or '..'": not {".", ".."}.isdisjoint(parts) or "" in path,
        "a part of it is percent-encoded": any(re.search("%[0-9A-Fa-f]{2}", part) for part in parts),
        "it holds '::' behind its host, which joins addresses": any("::" in part for part in parts),
    }
    return next((reason for reason, is_odd in checks.items() if is_odd), None)


def check_allowed(workspace: str, config: Sequence[str], deployed: Mapping[str, Any] | None) -> bool | None:
    """Refuse a workspace that this worker does not run.

    Args:
        workspace: The workspace that the run should open.
        config: Further config files that the run should merge over it.
        deployed: The parameters that the deployment was made with; None if the user called the flow directly.

    Returns:
        True if the workspace is allowed, so that its scripts may be trusted. None if no rule applies: the
        environment has no list, and there is no deployment.

    Raises:
        UsageError: The worker does not run this workspace.
    """
    own = os.environ.get(ALLOW, "").strip()
    if not own and deployed is None:
        return None
    given = [workspace, *config]
    for address in given:
        if oddity := _oddity(address):
            raise UsageError(
                f"this worker does not run {masked(address)!r}: {oddity}",
                f"Write the address plainly, as {ALLOW} or the deployment does.",
            )
    if own:
        entries = [entry.strip() for entry in own.split(",") if entry.strip()]
        strange = [address for address in given if not any(_names(entry, address) for entry in entries)]
        how = f"{ALLOW} of the worker's environment names {', '.join(entries)}"
    else:
        made_for = deployed or {}
        addresses = [str(made_for.get("workspace", "")), *(made_for.get("config") or [])]
        places = {place_of(address) for address in addresses if address}
        strange = [address for address in given if place_of(address) not in places]
        if not strange and [*map(place_of, given)] != [*map(place_of, addresses)]:
            strange = given
        how = (
            f"its deployment was made for {', '.join(address for address in addresses if address) or 'none'}"
        )
    if strange:
        raise UsageError(
            f"this worker does not run {', '.join(strange)}: {how}",
            f"Deploy that workspace, or name it in {ALLOW} where the worker is started.",
        )
    return True


def _names(entry: str, address: str) -> bool:
    """Whether an entry of the list allows an address: exactly, or as a folder above it."""
    if _oddity(entry):
        return False
    if entry.endswith("/"):
        return _parse(address).is_below(_parse(entry))
    return _parse(address) == _parse(entry)
