"""Options: those that several verbs share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sinagot_catalog.cli.parser.command import (
    STALE,
    Argument,
    Option,
    count,
    duration,
    flag,
    n_failures,
    n_processes,
    names,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_WHICH = "which rows"

WORKSPACE = [
    Option(
        "-C", "--workspace", metavar="PLACE",
        help="folder, URL or toml of the workspace; by default the nearest folder above with a workspace.toml",
    ),
    Option(
        "--config", metavar="FILE", multiple=True,
        help="a further toml, merged over the workspace's; may be repeated",
    ),
    Option(
        "--listing", metavar="FILE",
        help="a table of keys (Parquet, CSV, the manifest.json of an S3 Inventory) that replaces the listing",
    ),
    flag("--trust", help="run scripts that others can write, or that come from a bucket"),
]  # fmt: skip
"""How every verb names the workspace."""

PLACE = [
    Argument("place", "WORKSPACE", required=False, about="folder, URL or toml; as -C"),
    *WORKSPACE,
]
"""The same with an argument, in verbs that have no other one."""

SNAPSHOT = Option(
    "--snapshot", metavar="NAME", is_flag=False, flag_value="latest",
    help="show this snapshot (by default the newest) instead of listing the files",
)  # fmt: skip

WORKERS = Option(
    "-j", "--workers", metavar="N", type=n_processes, help="how many processes; by default one per core"
)

STOP_AFTER = Option("--stop-after", metavar="N", type=n_failures, help="end after N failures of one kind")

OUTPUT = [
    flag("--json", group="output", help="JSON on stdout"),
    flag("--csv", group="output", help="CSV on stdout"),
    Option("--parquet", group="output", metavar="FILE", help="the rows as a Parquet file"),
]
"""The form of the rows on stdout."""

ONE_OBJECT = flag("--json", help="one JSON object")


def where(about: str, group: str = "options") -> Option:
    """Declare `--where`; repeated filters narrow further."""
    text = f"{about}; repeated, it narrows further"
    return Option("--where", metavar="SQL", multiple=True, group=group, help=text, callback=_narrowed)


def status_option(about: str, group: str = "options") -> Option:
    """Declare `--status`."""
    return Option("--status", metavar="S", multiple=True, group=group, help=f"{about}; may be repeated")


def record(group: str = "options") -> Option:
    """Declare `--record`."""
    return Option("--record", metavar="ID", multiple=True, group=group, help="this record; may be repeated")


def _narrowed(_ctx: object, _param: object, filters: Sequence[str] | None) -> str | None:
    if filters and len(filters) > 1:
        return " AND ".join(f"({text})" for text in filters)
    return filters[0] if filters else None


def steps(about: str, group: str = "options") -> Option:
    """Declare `--step`."""
    return Option("--step", metavar="L", multiple=True, group=group, help=f"{about}; may be repeated")


def limit(about: str, group: str = "options") -> Option:
    """Declare `--limit`."""
    return Option("--limit", metavar="N", type=count, group=group, help=about)


def time_span(name: str, about: str, parse: Callable[[str], float] = duration, **more: Any) -> Option:
    """Declare an option that takes a duration."""
    return Option(name, metavar="TIME", type=parse, help=about, **more)


def columns(name: str, about: str) -> Option:
    """Declare an option that names columns."""
    return Option(name, metavar="A,B", type=names, help=about)


ROWS = [
    *PLACE,
    where("steps that fit, such as \"status = 'ERROR'\"", _WHICH),
    status_option("steps of this status", _WHICH),
    steps("this step, tried even where an input is missing", _WHICH),
    record(_WHICH),
    Option(
        "--rows", metavar="FILE", group=_WHICH,
        help="a CSV, Parquet, IPC or JSON file with record_id [task modality step]; - for CSV from stdin",
    ),
]  # fmt: skip
"""The workspace, and the options that choose rows of steps."""

EXTENT = [
    flag("--force", group=_WHICH, help="also rows that are done"),
    STALE,
    flag("--downstream", group=_WHICH, help="also rows that this run makes ready"),
    flag("--upstream", group=_WHICH, help="also rows that make missing inputs"),
    flag("--ignore-missing", group=_WHICH, help="also rows that lack an input"),
]
"""Which rows run besides those of the filter that are ready."""

SELECTION = [
    *ROWS,
    limit("run at most N rows", _WHICH),
    Option(
        "--part", metavar="K/N", group=_WHICH,
        help="the K-th of N parts of the records; `last`: the rows that belong to no part",
    ),
    *EXTENT,
]  # fmt: skip
"""`ROWS`, and the options that say which of the rows run."""

RUN = [
    flag("-n", "--dry-run", help="only show what would run and why, as `plan` does"),
    WORKERS,
    STOP_AFTER,
    flag("--strict", help="exit 3 also for rows without data, or left to another run"),
    flag("-y", "--yes", help="with --force, replace outputs without a question"),
    flag("-q", "--quiet", help="no bar, no log lines"),
    *OUTPUT,
]
"""The options of a run."""
