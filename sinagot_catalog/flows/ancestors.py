"""Ancestors: the flow runs and task runs around some rows; the rows must not outlive them.

Prefect ends a flow whose time is over, or that somebody cancels, only where its code waits in the right thread. So
this library looks itself: at the time-outs of the runs in this process, and at the states of all flow runs around.
"""

from collections.abc import Iterator
from contextvars import Context, ContextVar, copy_context
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import State
from prefect.context import AsyncClientContext, FlowRunContext, SyncClientContext, TaskRunContext

_DEEPEST = 20
"""The most levels of flow runs to look at."""


class Ancestors:
    """The runs around the caller: the flow run that it is in, the flow run around that, and so on.

    Make it in the context of the caller; then any thread may use it.
    """

    def __init__(self) -> None:
        self._deadlines = list(_deadlines())
        context = FlowRunContext.get()
        self._first = context.flow_run if context is not None else None
        self._ids: list[UUID] | None = None

    def end(self) -> str | None:
        """Why the rows must end: `was cancelled`, `timed out` or `crashed`, or None.

        Raises:
            Exception: The API does not answer; no time-out is over.
        """
        if any(datetime.now(UTC) >= deadline for deadline in self._deadlines):
            return "timed out"
        if self._first is None:
            return None
        with get_client(sync_client=True) as client:
            if self._ids is None:
                self._ids = self._chain(client)
            ends = (_end(client.read_flow_run(flow_run_id).state) for flow_run_id in self._ids)
            return next((end for end in ends if end is not None), None)

    def _chain(self, client: SyncPrefectClient) -> list[UUID]:
        """The ids of the flow runs, from the inner to the outer."""
        if self._first is None:
            return []
        ids, run = [self._first.id], self._first
        while run.parent_task_run_id is not None and len(ids) < _DEEPEST:
            outer = client.read_task_run(run.parent_task_run_id).flow_run_id
            if outer is None:
                break
            run = client.read_flow_run(outer)
            ids.append(run.id)
        return ids


def _end(state: State[Any] | None) -> str | None:
    if state is None:
        return None
    if state.is_cancelling() or state.is_cancelled():
        return "was cancelled"
    if state.is_crashed():
        return "crashed"
    return "timed out" if state.name == "TimedOut" else None


def _deadlines() -> Iterator[datetime]:
    """When the time of each run in this process is over, of those with a time-out."""
    for kind, name in ((FlowRunContext, "flow"), (TaskRunContext, "task")):
        context: Any = kind.get()
        while isinstance(context, kind):
            # Prefect uses the same attribute for flows and tasks.
            if seconds := getattr(getattr(context, name), "timeout_seconds", None):
                begun = datetime.fromtimestamp(context.start_time.timestamp(), UTC)
                yield begun + timedelta(seconds=float(seconds))
            # The token of a context variable keeps the value that it replaced: the context of the outer run.
            context = getattr(getattr(context, "_token", None), "old_value", None)


def child_context() -> Context:
    """A copy of the context of the caller, for a thread with a subflow that may outlive the caller's clients.

    The subflow finds its parent in it, but neither the clients of the parent, which close when the parent ends, nor
    the task run of the caller, which would take its log lines.
    """
    context = copy_context()
    kinds: tuple[Any, ...] = (SyncClientContext, AsyncClientContext, TaskRunContext)
    for kind in kinds:
        variable: ContextVar[Any] = kind.__var__
        context.run(variable.set, None)
    return context
