"""`explain`: prints why a row has its status, or what made a file."""

from __future__ import annotations

from typing import Any

from sinagot_catalog.cli.echo import clean
from sinagot_catalog.cli.output import paint, put, put_json
from sinagot_catalog.cli.workspace_args import command, open_workspace

__all__ = ["explain"]

_COLOURS = {"head": "1", "decided": "32", "rule": "2", "absent": "31", "failure": "31"}


def explain(args: Any) -> int:
    """Print the rules of one row with their evidence, or what made a file."""
    ws = open_workspace(args)
    if args.label is None:
        origin = ws.explain_path(args.record)
        put_json(origin.to_dict()) if args.json else put("\n".join(map(clean, origin.lines())))
        return 0
    told = ws.explain(args.record, args.label, args.task, args.modality)
    if args.json:
        put_json(told.to_dict())
        return 0

    def follow(options: dict[str, bool | str]) -> str:
        if options.get("whole_record"):
            return command(args, "run", "--record", told.record_id)
        where = [
            f"{name} = '{value}'"
            for name, value in (("task", told.task), ("modality", told.modality))
            if value
        ]
        flags = [
            f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}")
            for name, value in options.items()
            if value
        ]
        narrow = ["--where", " AND ".join(where)] if where else []
        return command(args, "run", "--record", told.record_id, "--step", told.step, *narrow, *flags)

    for kind, text in told.lines(follow):
        put(paint(clean(text), _COLOURS[kind]) if kind in _COLOURS else clean(text))
    return 0
