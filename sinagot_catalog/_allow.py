"""Which workspaces a worker runs.

A run of a deployment is told by its parameters which workspace to open, and a workspace brings scripts: whoever
chooses it chooses what runs as the worker's user. So a worker runs

- the workspaces that `SINAGOT_CATALOG_ALLOW` of its environment names, and no other, where that is set;
- else the workspace that its deployment was made for, with the config files of that deployment, and no other.

`SINAGOT_CATALOG_ALLOW` is a list, parted by commas, of folders, URLs or tomls; one that ends in `/` stands for
all that lies below it. It is exact otherwise, so that a toml among the recordings of a workspace is not one.

Who can forge what: whoever may only start runs (a custom run in the page) chooses parameters, and is held by this.
Whoever may edit deployments changes the workspace that one was made for, and is held by the worker's own list
only. Whoever may set job variables, or make deployments, can have a worker of Prefect run any command as its user,
this library or not: against them the API is what is to be guarded.
"""

import os
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sinagot_catalog._store import is_url
from sinagot_catalog.errors import UsageError

__all__ = ["ALLOW", "check_allowed", "is_secret", "place_of", "without_secret"]

ALLOW = "SINAGOT_CATALOG_ALLOW"


def place_of(workspace: str) -> str:
    """One name for a workspace, however its address is written.

    Example:
        >>> place_of("s3://lab/sonetaa/workspace.toml"), place_of("s3://lab/x/../sonetaa/")
        ('s3://lab/sonetaa', 's3://lab/sonetaa')
    """
    text = workspace.strip().removeprefix("file://").removeprefix("local://")
    if is_url(text):
        protocol, _, rest = text.partition("://")
        text = f"{protocol}://{posixpath.normpath(rest)}"
    else:
        text = os.path.realpath(os.path.expanduser(text))  # noqa: PTH111 - a text that may be no path
    return text.removesuffix("/workspace.toml")


def check_allowed(workspace: str, config: Sequence[str], deployed: Mapping[str, Any] | None) -> bool | None:
    """Refuse a workspace that this worker does not run.

    Args:
        workspace: What the run is asked to open.
        config: Further config files that it is asked to lay over it.
        deployed: The parameters that the deployment was made with; None where the flow was called by hand.

    Returns:
        True where it is allowed, so that its scripts may be trusted; None where nobody asked.

    Raises:
        UsageError: It is not.
    """
    own = os.environ.get(ALLOW, "").strip()
    if not own and deployed is None:
        return None
    if own:
        entries = [entry.strip() for entry in own.split(",") if entry.strip()]
        strange = [one for one in (workspace, *config) if not _is_named(one, entries)]
        how = f"{ALLOW} of the worker's environment names {', '.join(entries)}"
    else:
        made_for = deployed or {}
        known = [str(made_for.get("workspace", "")), *(made_for.get("config") or [])]
        given = [workspace, *config]
        places = {place_of(one) for one in known if one}
        strange = [one for one in given if place_of(one) not in places]
        if not strange and [*map(place_of, given)] != [*map(place_of, known)]:
            strange = given
        how = f"its deployment was made for {', '.join(one for one in known if one) or 'none'}"
    if strange:
        raise UsageError(
            f"this worker does not run {', '.join(strange)}: {how}",
            f"Deploy that workspace, or name it in {ALLOW} where the worker is started.",
        )
    return True


def _is_named(place: str, entries: Iterable[str]) -> bool:
    name = place_of(place)
    return any(
        name.startswith(f"{place_of(entry)}/") if entry.endswith("/") else name == place_of(entry)
        for entry in entries
    )


def is_secret(url: str) -> bool:
    """Whether an address carries a password, which must stay out of what is shown.

    Example:
        >>> is_secret("ftp://ann:pw@host/lab"), is_secret("s3://lab/ws")
        (True, False)
    """
    return is_url(url) and re.match(r"[^/]+://[^/@]*:[^/@]*@", url) is not None


def without_secret(url: str) -> str:
    """An address as it may be shown.

    Example:
        >>> without_secret("ftp://ann:pw@host/lab"), without_secret("s3://lab/ws")
        ('ftp://ann:…@host/lab', 's3://lab/ws')
    """
    return re.sub(r"^([^/]+://[^/@:]*):[^/@]*@", r"\1:…@", url) if is_secret(url) else url
