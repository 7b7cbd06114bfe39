"""`gc`: forget old events, clear what dead runs left."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sinagot_catalog.cli._open import open_workspace
from sinagot_catalog.cli._out import put, put_json

__all__ = ["gc"]


def gc(args: Any) -> int:
    """Clear what is old."""
    swept = open_workspace(args).gc(args.keep)
    if args.json:
        put_json(asdict(swept))
    else:
        put(
            f"{swept.events} old events, {swept.selections} selections, {swept.reports} reports, "
            f"and what {swept.runs} dead runs left, cleared"
        )
    return 0
