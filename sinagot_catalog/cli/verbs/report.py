"""`report`: writes one self-contained HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sinagot_catalog.cli.output import put_either
from sinagot_catalog.cli.parser.command import Option, verb
from sinagot_catalog.cli.parser.options import ONE_OBJECT, PLACE, SNAPSHOT, columns, where
from sinagot_catalog.cli.workspace_args import open_workspace, say_what_is_missing


@verb(
    "one self-contained HTML page: completeness, failures, runs, what is missing",
    """
  sinagot-catalog report
  sinagot-catalog report example/harbor -o harbor.html
  sinagot-catalog report --where "step = 'count'" --by age

keys of --json: path, bytes""",
    PLACE,
    SNAPSHOT,
    Option(
        "-o", "--output", metavar="FILE", default="report.html", help="by default report.html; it is replaced"
    ),
    columns("--by", "also show completeness by these columns of steps or records"),
    where("only steps that fit, such as \"record_id > 'REC-2'\""),
    ONE_OBJECT,
)
def report(args: Any) -> int:
    """Write the page and print its path."""
    ws = open_workspace(args)
    path = ws.report(args.output, where=args.where, by=args.by or ())
    put_either(args, {"path": str(path.resolve()), "bytes": path.stat().st_size}, str(Path(args.output)))
    say_what_is_missing(ws)
    return 0
