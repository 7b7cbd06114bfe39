"""The task runner of a flow run: only threads of this process can serve the flow."""

from prefect.context import FlowRunContext
from prefect.task_runners import ThreadPoolTaskRunner

from sinagot_catalog.errors import UsageError


def check_task_runner() -> None:
    """Check that the task runner of this flow run can serve it.

    Raises:
        UsageError: It sends task runs to other processes, which do not have the claimed rows.
    """
    context = FlowRunContext.get()
    runner = context.task_runner if context is not None else None
    if runner is not None and not isinstance(runner, ThreadPoolTaskRunner):
        raise UsageError(
            f"task_runner: {type(runner).__name__} cannot run the batches of run_workspace, which need threads of "
            "its process",
            "Leave it out; for a cluster, set [prefect] task_runner in workspace.toml.",
        )
