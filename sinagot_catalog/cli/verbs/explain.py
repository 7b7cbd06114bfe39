"""`explain`: prints why a row has its status, or what made a file."""

from __future__ import annotations

from typing import Any

from sinagot_catalog.cli.echo import broken, clean
from sinagot_catalog.cli.output import paint, put, put_either, put_json
from sinagot_catalog.cli.parser.command import Argument, Option, verb
from sinagot_catalog.cli.parser.options import ONE_OBJECT, SNAPSHOT, WORKSPACE
from sinagot_catalog.cli.workspace_args import beside_run, command, open_workspace, run_command, source_of
from sinagot_catalog.errors import NotFoundError

_COLOURS = {"head": "1", "decided": "32", "rule": "2", "absent": "31", "failure": "31"}


@verb(
    "why a step of a record has its status, and what would change it; or what made a file",
    """
  sinagot-catalog explain REC-20200603 summary
  sinagot-catalog explain LY-001 alpha --task RS --modality EEG --json
  sinagot-catalog explain report/REC-20200603.txt      which step, run, code, parameters and inputs made it

keys of --json: record_id, task, modality, step, status, reason, rules (number, name, says, status, holds,
evidence), decided_by (the number of the rule), rule (its name), files (role, label, path, exists, size, modified,
made_by, near, is_dangling, count), attempt (null, or event, run_id, alive, host, started, ended, seconds, attempts,
error_type, message, traceback, output), stale, upstream (record_id, step, status, reason, makes), held_by, changes
(text, run), needs (cpus, memory in bytes, gpus, time in seconds: those that the step declares)

keys for a file: path, role, record_id, task, modality, step, readers, event, run_id, host, time, seconds,
script_version, workspace_version, code, params, record, inputs (as files above), stale""",
    Argument("record", "ID", about="the record; or, without a step, the path of a file"),
    Argument("label", "STEP", about="the step; the only one of a workspace needs no name", required=False),
    WORKSPACE,
    SNAPSHOT,
    Option("--task", metavar="T", help="its task, where several units have that step"),
    Option("--modality", metavar="M", help="its modality, where several units have that step"),
    ONE_OBJECT,
)
def explain(args: Any) -> int:
    """Print the rules of one row with their evidence, or what made a file."""
    ws = open_workspace(args)
    steps = source_of(ws).layout().steps
    if args.label is None and ws.records.has(args.record):
        if len(steps) != 1:
            raise NotFoundError(
                f"{args.record!r} is a record, and STEP is missing",
                f"Steps: {', '.join(steps)}. With the path of a file alone it shows what made the file.",
            )
        args.label = steps[0]
    if args.label is None:
        origin = ws.explain_path(args.record)
        put_either(args, origin.to_dict(), "\n".join(broken(clean(line), 6) for line in origin.lines()))
        return 0
    if args.record in steps and args.label not in steps:
        raise NotFoundError(
            f"{args.record!r} is a step, not a record",
            f"The record comes first: {command(args, 'explain', args.label, args.record)}",
        )
    explanation = ws.explain(args.record, args.label, args.task, args.modality)
    if args.json:
        put_json(explanation.to_dict())
        return 0

    def follow(options: dict[str, bool | str]) -> str:
        return run_command(ws, args, *explanation.run_words(options)) + beside_run(ws, args)

    for kind, text in explanation.lines(follow):
        shown = clean(text) if text.startswith("    ") else broken(clean(text), 6)  # not a traceback
        put(paint(shown, _COLOURS[kind]) if kind in _COLOURS else shown)
    return 0
