"""`gc`: deletes old events, and cleans up after dead runs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sinagot_catalog.cli.output import put, put_json
from sinagot_catalog.cli.workspace_args import open_workspace

__all__ = ["gc"]


def gc(args: Any) -> int:
    """Delete old events and the files of dead runs."""
    swept = open_workspace(args).gc(args.keep)
    if args.json:
        put_json(asdict(swept))
    else:
        put(
            f"{swept.events} old events, {swept.selections} selections, {swept.reports} reports, "
            f"and what {swept.runs} dead runs left, cleared"
        )
    return 0
