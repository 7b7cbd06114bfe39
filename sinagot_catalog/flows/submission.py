"""Submission: submits a planned run to Prefect, or rows to a deployment, and returns a `RunHandle` to follow it.

Prefect is imported only when there is something to do, and after the local server (if needed) has begun to start:
both take seconds, and so they take them at the same time.
"""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from sinagot_catalog.catalog import Query, Session
from sinagot_catalog.cluster import ClusterExecutor
from sinagot_catalog.errors import SelectionError, ServerError, SinagotError, renamed
from sinagot_catalog.flows.crashed_runs import mark_crashed
from sinagot_catalog.flows.deployments.deployment_spec import Deployed, Deployment, address_of
from sinagot_catalog.flows.prepare import executor_of
from sinagot_catalog.flows.run_handle import EndedRun, RunHandle
from sinagot_catalog.flows.server import api as _api
from sinagot_catalog.flows.server import local_server
from sinagot_catalog.flows.server.server_state import LocalServer, outside_of_proxies
from sinagot_catalog.flows.surrounding_run import is_inside
from sinagot_catalog.run import ClaimedRun, RunOptions, check_start, claim, plan
from sinagot_catalog.worker import interrupts_deferred

if TYPE_CHECKING:
    from sinagot_catalog.flows.local_run import LocalFlowRun


@renamed(say="on_message")
def submit(
    claimed: ClaimedRun,
    *,
    wait: bool = False,
    cluster: object = None,
    on_message: Callable[[str], None] | None = None,
) -> RunHandle:
    """Run a planned and claimed run as a Prefect flow, in a thread of this process.

    Args:
        claimed: The run. This function finishes it, also if Prefect does not answer.
        wait: Return only when the run has ended.
        cluster: The address of a cluster, or a client or cluster of Dask; by default, what the config chooses.
        on_message: Receives messages: the URL of the page, how to end the server. By default they go to stderr.

    Returns:
        The handle. When the program exits, it waits for its runs.

    Raises:
        ServerError: The configured API, or the local server, does not answer.
        KeyboardInterrupt: The user interrupted the wait; the run was cancelled and has ended.
    """
    if not claimed.n_rows:
        return EndedRun(claimed)
    say = on_message or to_stderr
    try:
        handle = _begin(claimed, say, cluster)
    except BaseException:
        claimed.finish()  # releases the rows
        raise
    try:
        handle.start()
        say(f"{claimed.label}: {handle.url or 'begun'}")
        if wait:
            handle.settle()
    except KeyboardInterrupt:
        handle.cancel()
        handle.settle()
        raise
    return handle


def _begin(claimed: ClaimedRun, say: Callable[[str], None], cluster: object) -> "LocalFlowRun":
    executor = executor_of(claimed, cluster)
    if isinstance(executor, ClusterExecutor):
        executor.where.check()  # before a server is started for nothing
    local = _reach(say)
    from sinagot_catalog.flows.local_run import LocalFlowRun

    if isinstance(executor, ClusterExecutor):
        executor.wait_started()  # a cluster that still connects while the flow runs would slow this process
        if executor.dashboard:
            say(f"The dashboard of the {executor.where.kind.title()} cluster: {executor.dashboard}")
    return LocalFlowRun(claimed, executor, api=local)


def _reach(say: Callable[[str], None]) -> LocalServer | None:
    """Make sure that an API answers; start the local server unless the user configured an API.

    Prefect is imported while the server starts. Inside a flow or a task, the API of that run serves.

    Returns:
        The local server, or None for the API that the user configured, or that the surrounding run uses.
    """
    if is_inside():
        return None
    local = _start_unless_configured(say)
    _api.load("sinagot_catalog.flows.flow")
    if local is not None:
        os.environ.update(outside_of_proxies())
        local.wait_healthy()
        say(
            f"Prefect's page stays up; log in at {local.url}/login with what `sinagot-catalog server status` "
            "prints, end it with `sinagot-catalog server stop`."
        )
    with suppress(ServerError):  # an error in this cleanup must not prevent the run
        if (api := local or _api.configured_api()) is not None:
            mark_crashed(api)
    return local


def _start_unless_configured(say: Callable[[str], None]) -> LocalServer | None:
    """Start the local server, or check that the API which the user configured answers."""
    configured = _api.configured_api()
    if configured is not None:
        configured.probe()
        return None
    local = local_server.start()
    if not local.is_listening:
        say("A local Prefect server is starting; the first start of all takes some ten seconds.")
    return local


def to_stderr(line: str) -> None:
    """Print a message for the user to stderr, apart from the result."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - a message, not a result


# --- on the workers of a deployment ---------------------------------------------------------------------------


@renamed(say="on_message")
def send(
    source: Session,
    query: Query,
    options: RunOptions,
    deployment: str,
    *,
    wait: bool = False,
    on_message: Callable[[str], None] | None = None,
) -> RunHandle:
    """Run the selected rows on the workers of a deployment.

    The rows are planned here; if there is nothing to do, no flow run starts. The keys of the rows are stored in
    `LOG`; the flow run plans and claims the rows again itself.

    Args:
        source: The session of the workspace.
        query: The selection.
        options: The options of the run.
        deployment: The name of the deployment.
        wait: Return only when the run has ended. If the user interrupts the wait, a run that has not begun is
            cancelled.
        on_message: Receives messages; by default they go to stderr.

    Raises:
        NotFoundError: There is no such deployment.
        UsageError: The deployment would cancel some of the parts.
        ServerError: The API does not answer.
    """
    if not isinstance(deployment, str):
        raise SelectionError(f"deployment: {deployment!r} is not a name such as 'nightly'")
    draft = plan(source, query, options)
    check_start(source, query, draft, options.steps)
    if not draft.n_run:
        return EndedRun(claim(source, query, draft, options))
    address_of(source)  # refuses an address that another process cannot use
    say = on_message or to_stderr
    local = _reach(say)
    from sinagot_catalog.flows import remote_run

    start = partial(remote_run.send, source, query, options, draft, deployment, api=local, say=say)
    if not wait:
        return start()
    handle = None
    try:
        with interrupts_deferred():  # the API may have the flow run before this process knows its id
            handle = start()
        handle.settle()
    except KeyboardInterrupt:
        with suppress(SinagotError):  # an API that does not answer must not prevent the end
            if handle is not None and not handle.has_begun:
                handle.cancel()
        raise
    return handle


@renamed(say="on_message")
def follow(
    source: Session,
    flow_run_id: str,
    *,
    on_message: Callable[[str], None] | None = None,
) -> RunHandle:
    """Attach to a flow run of a workspace that was started elsewhere.

    Raises:
        NotFoundError: There is no such flow run.
    """
    local = _reach(on_message or to_stderr)
    from sinagot_catalog.flows import remote_run

    return remote_run.find(source, flow_run_id, api=local)


@renamed(say="on_message")
def deploy(wanted: Deployment, *, on_message: Callable[[str], None] | None = None) -> Deployed:
    """Make a deployment, or replace the deployment with the same name.

    Raises:
        UsageError: The schedule cannot be read, or there is no such work pool; nothing is deployed.
        ServerError: The API does not answer, or refuses it.
    """
    from sinagot_catalog.flows.deployments import deployer
    from sinagot_catalog.flows.local_run import page_of, pointed_at

    deployer.check_schedule(wanted)
    if is_inside():
        deployer.check_lasting_api(wanted)
    local = _reach(on_message or to_stderr)
    with pointed_at(local):
        return deployer.deploy(wanted, page=page_of(local))


@renamed(say="on_message")
def serve(
    wanted: Deployment,
    *,
    ready: Callable[[Deployed], None],
    on_message: Callable[[str], None] | None = None,
) -> None:
    """Make a deployment and run its flow runs in this process's children, until the process gets a signal to end.

    The environment of this process points at the API, because the processes of its runs inherit the environment.
    """
    os.environ.update(environment(on_message=on_message))
    from sinagot_catalog.flows.deployments import deployer
    from sinagot_catalog.flows.local_run import page_of

    deployer.check_schedule(wanted)
    deployer.serve(wanted, page=page_of(None), ready=ready)


@renamed(say="on_message")
def environment(*, on_message: Callable[[str], None] | None = None) -> dict[str, str]:
    """Environment variables that point Prefect's own programs at the API; starts the local server if needed.

    Returns:
        The variables; empty if the user configured an API, because then the programs find it themselves.
    """
    local = _start_unless_configured(on_message or to_stderr)
    if local is None:
        return {}
    local.wait_healthy()
    return local.environment
