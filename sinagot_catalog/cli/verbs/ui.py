"""`ui`: serves the live page of a workspace."""

from __future__ import annotations

from typing import Any

from sinagot_catalog.cli.echo import say
from sinagot_catalog.cli.output import put_address
from sinagot_catalog.cli.parser.command import Option, flag, port, verb
from sinagot_catalog.cli.parser.options import PLACE
from sinagot_catalog.cli.workspace_args import open_workspace, say_what_is_missing


@verb(
    "serve the report as a page that follows the files, with every row, its files and its log, until Ctrl-C",
    """
  sinagot-catalog ui
  sinagot-catalog ui example/harbor --port 8123 --read-only

It prints an address with a key, for a browser on this machine. From elsewhere, with a fixed --port:
  ssh -L 8123:127.0.0.1:8123 cluster
The page runs no script. It excludes and includes rows as `exclude` and `include` do, without --read-only.""",
    PLACE,
    Option(
        "--port", type=port, default="0", metavar="PORT",
        help="where it listens, on 127.0.0.1 only; by default a free one",
    ),
    flag("--read-only", help="nothing can be excluded and included"),
)  # fmt: skip
def ui(args: Any) -> int:
    """Serve the page until Ctrl-C."""
    from sinagot_catalog.ui import serve
    from sinagot_catalog.workspace import Workspace

    ws = open_workspace(args)

    def reopen() -> Workspace:
        return Workspace(list(ws.config.files), trust=args.trust or None)

    def ready(address: str) -> None:
        put_address(address)
        say("open it in a browser; Ctrl-C ends it")
        say_what_is_missing(ws)

    try:
        serve(ws, reopen, port=args.port, read_only=args.read_only, ready=ready)
    except KeyboardInterrupt:
        say("ended")
    return 0
