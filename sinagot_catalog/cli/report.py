"""`report`: writes one self-contained HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sinagot_catalog.cli.output import put, put_json
from sinagot_catalog.cli.workspace_args import open_workspace, say_what_is_missing

__all__ = ["report"]


def report(args: Any) -> int:
    """Write the page and print its path."""
    ws = open_workspace(args)
    path = ws.report(args.output)
    if args.json:
        put_json({"path": str(path.resolve()), "bytes": path.stat().st_size})
    else:
        put(str(Path(args.output)))
    say_what_is_missing(ws)
    return 0
