"""`snapshot` and `diff`: store the catalog, and print the changes since a snapshot."""

from __future__ import annotations

from typing import Any

from sinagot_catalog.cli.echo import say
from sinagot_catalog.cli.output import is_machine, put, put_rows, put_table
from sinagot_catalog.cli.parser.command import Argument, verb
from sinagot_catalog.cli.parser.options import OUTPUT, PLACE, WORKSPACE
from sinagot_catalog.cli.workspace_args import open_workspace


@verb(
    "store the present catalog for a later diff; prints its name",
    """
  sinagot-catalog snapshot
  sinagot-catalog snapshot s3://lab/sonetaa""",
    PLACE,
)
def snapshot(args: Any) -> int:
    """Store the present catalog as a snapshot, and print its name."""
    put(open_workspace(args).snapshot())
    return 0


@verb(
    "what changed between two snapshots, or since one",
    """
  sinagot-catalog diff                      since the newest snapshot
  sinagot-catalog diff 20260101T120000-123456
  sinagot-catalog diff 20260101T120000-123456 20260201T120000-654321 --json

--json, --csv and --parquet have a row per change: what (record, file, step, metadata), change (new, gone, changed),
record_id, task, modality, step, path, column (of the metadata), before and after (a file's size, a step's status,
a record's value).""",
    Argument("before", "A", required=False, about="the earlier snapshot; by default the newest"),
    Argument("after", "B", required=False, about="the later one; by default a fresh look"),
    WORKSPACE,
    OUTPUT,
)
def diff(args: Any) -> int:
    """Print the changes between two snapshots, or between a snapshot and now."""
    changes = open_workspace(args).diff(args.before, args.after)
    if is_machine(args):
        put_rows(args, [changes.frame])
    else:
        for name in ("records", "files", "steps", "metadata"):
            frame = getattr(changes, name)
            if frame.height:
                put(f"{name}: {frame.height}")
                put_table(frame.select(column for column in frame if column.null_count() < frame.height))
                put("")
    count = f"{len(changes)} changes between {changes.before} and {changes.after}"
    say(count if len(changes) else f"nothing changed since {changes.before}")
    return 0
