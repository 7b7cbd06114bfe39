"""`submit --parts`: a flow run of a deployment for each part, then one for what belongs to no part."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sinagot_catalog.cli.echo import say
from sinagot_catalog.errors import ServerError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sinagot_catalog.flows import RunHandle
    from sinagot_catalog.journal import RunReport
    from sinagot_catalog.steps import StepCollection


def check_parts(args: Any) -> None:
    """Check the options of a submission in parts.

    Raises:
        UsageError: When there is no deployment, or `--part` is also given.
    """
    if args.parts and args.part:
        raise UsageError("--part: not allowed with argument --parts")
    if args.parts and not args.deployment:
        raise UsageError(
            "--parts: the parts run on the workers of a deployment, and --deployment is missing",
            "On this machine one run uses all cores. On Slurm:  sinagot-catalog sbatch --parts N",
        )


def submit_parts(steps: StepCollection, parts: int, options: dict[str, Any]) -> list[RunHandle]:
    """Submit a flow run for each part that has rows to run."""
    handles = [steps.submit(**options | {"part": (number, parts)}) for number in range(1, parts + 1)]
    return [handle for handle in handles if handle.flow_run_id is not None]


def wait_for_parts(handles: Sequence[RunHandle], steps: StepCollection, options: dict[str, Any]) -> RunReport:
    """Wait for the flow runs of the parts, then run what belongs to no part.

    Returns:
        One report with the rows of all flow runs.
    """
    from sinagot_catalog.journal import RunReport
    from sinagot_catalog.run import LAST

    start = time.monotonic()
    waiting = list(handles)
    reports = []
    try:
        reports = [handle.wait() for handle in handles]
        if any(report.counts().get("cancelled") for report in reports):
            say(f"a part was cancelled: what belongs to no part was not submitted (--part {LAST})")
        else:
            waiting = [steps.submit(**options | {"part": LAST})]
            reports.append(waiting[0].wait())
    except KeyboardInterrupt:
        for handle in waiting:
            with suppress(ServerError):  # a flow run that never began leaves no report
                handle.cancel()
        raise
    return RunReport.joined(reports, seconds=time.monotonic() - start)
