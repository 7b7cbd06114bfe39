"""`snapshot` and `diff`: store the catalog, and print the changes since a snapshot."""

from __future__ import annotations

from typing import Any

from sinagot_catalog.cli.echo import say
from sinagot_catalog.cli.output import is_machine, put, put_rows, put_table
from sinagot_catalog.cli.workspace_args import open_workspace

__all__ = ["diff", "snapshot"]


def snapshot(args: Any) -> int:
    """Store the present catalog as a snapshot, and print its name."""
    put(open_workspace(args).snapshot())
    return 0


def diff(args: Any) -> int:
    """Print the changes between two snapshots, or between a snapshot and now."""
    found = open_workspace(args).diff(args.before, args.after)
    if is_machine(args):
        put_rows(args, found.frame)
    for name in ("records", "files", "steps", "metadata"):
        frame = getattr(found, name)
        if frame.is_empty() or is_machine(args):
            continue
        put(f"{name}: {frame.height}")
        put_table(frame.select(one for one in frame.columns if frame[one].null_count() < frame.height))
        put("")
    say(
        f"{len(found)} changes between {found.before} and {found.after}"
        if len(found)
        else f"nothing changed since {found.before}"
    )
    return 0
