"""The surrounding run: finds whether the caller is inside a flow or a task of Prefect.

Prefect is not imported here: if Prefect is not imported, the caller cannot be inside one of its runs.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from sinagot_catalog.run import ClaimedRun, Executor


def is_inside() -> bool:
    """Whether the caller is inside a flow run or a task run."""
    context = sys.modules.get("prefect.context")
    return context is not None and (
        context.FlowRunContext.get() is not None or context.TaskRunContext.get() is not None
    )


def observer() -> Callable[[ClaimedRun, Executor], AbstractContextManager[None]] | None:
    """What observes rows that run inside a flow or a task: see `monitor.observed`; None outside of both."""
    if not is_inside():
        return None
    from sinagot_catalog.flows.monitor import observed

    return observed
