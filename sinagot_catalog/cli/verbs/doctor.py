"""`doctor`: checks a set-up, and prints how to repair it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sinagot_catalog.cli.echo import broken, clean
from sinagot_catalog.cli.output import paint, put, put_json
from sinagot_catalog.cli.parser.command import verb
from sinagot_catalog.cli.parser.options import ONE_OBJECT, PLACE
from sinagot_catalog.cli.workspace_args import existing_place, source_of

_MARKS = {"ok": ("ok  ", "32"), "warning": ("warn", "33"), "fault": ("FAIL", "31")}


@verb(
    "what is wrong with the set-up, and what to do about it; exit 2 only if a run cannot work",
    """
  sinagot-catalog doctor
  sinagot-catalog doctor example/harbor --json

keys of --json: checks (area, state: ok, warning or fault, text, hint), counts""",
    PLACE,
    ONE_OBJECT,
)
def doctor(args: Any) -> int:
    """Print a line for each check; exit with 2 if a run cannot work."""
    from sinagot_catalog.diagnostics import examine
    from sinagot_catalog.workspace import Workspace

    checks = []
    files, trust = [existing_place(args), *args.config], args.trust or None
    for check in examine(lambda: source_of(Workspace(files, trust=trust))):
        checks.append(check)
        if not args.json:
            mark, colour = _MARKS[check.state]
            put(f"{paint(mark, colour)}  {check.area:8}  {broken(clean(check.text), 16)}")
            if check.hint:
                put(f"{'':16}{paint(broken(clean(check.hint), 16), '2')}")
    counts = {state: sum(check.state == state for check in checks) for state in _MARKS}
    if args.json:
        put_json({"checks": [asdict(check) for check in checks], "counts": counts})
    elif counts["fault"]:
        put(f"{counts['fault']} to correct before a run can work, {counts['warning']} to look at")
    elif counts["warning"]:
        put(f"a run can work; {counts['warning']} to look at")
    else:
        put("everything is in order")
    return 2 if counts["fault"] else 0
