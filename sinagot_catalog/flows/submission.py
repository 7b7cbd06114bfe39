"""Submission: submits a planned run to Prefect, or rows to a deployment, and returns a `RunHandle` to follow it.

Prefect is imported only when there is something to do, and after the local server (if needed) has begun to start:
both take seconds, and so they take them at the same time.
"""

import asyncio
import html
import os
import sys
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sinagot_catalog.catalog import Query, Session
from sinagot_catalog.cluster import ClusterAddress, ClusterExecutor
from sinagot_catalog.config import count_of
from sinagot_catalog.errors import NamesNearest, ServerError, renamed
from sinagot_catalog.flows.crashed_runs import mark_crashed
from sinagot_catalog.flows.deployments.deployment import Deployed, Deployment, address_of
from sinagot_catalog.flows.prepare import executor_of
from sinagot_catalog.flows.server import api as _api
from sinagot_catalog.flows.server import local_server
from sinagot_catalog.flows.server.server_state import LocalServer, outside_of_proxies
from sinagot_catalog.flows.surrounding_run import is_inside
from sinagot_catalog.journal import RunReport, keep_selection, new_run_id
from sinagot_catalog.run import ClaimedRun, RunOptions, check_start, claim, part_of, plan

if TYPE_CHECKING:
    from sinagot_catalog.flows.local_run import LocalFlowRun
    from sinagot_catalog.flows.remote_run import RemoteFlowRun

_TICK = 1.0
"""The longest wait of a thread for a coroutine, in seconds."""


class RunHandle(NamesNearest):
    """A handle of a submitted run, to follow it, wait for it or cancel it.

    Attributes:
        run_id: The name of the run in the journal; for a run of another process, known after `wait`.
        flow_run_id: The id of the flow run in Prefect, None if there was nothing to do.
        url: The URL of its page in Prefect, None if there was nothing to do.
    """

    def __init__(self, run_id: str | None, work: "LocalFlowRun | RemoteFlowRun | RunReport") -> None:
        self.run_id = run_id
        self._work = work
        self.flow_run_id = None if isinstance(work, RunReport) else work.flow_run_id
        self.url = None if isinstance(work, RunReport) else work.url

    @property
    def state(self) -> str:
        """The state of the flow run: `Scheduled`, `Running`, `Completed`, `Failed`, `Cancelled`, `Crashed`, ..."""
        return "Completed" if isinstance(self._work, RunReport) else self._work.state

    @property
    def _last_state(self) -> str:
        return "Completed" if isinstance(self._work, RunReport) else self._work.last_state

    def __repr__(self) -> str:
        return f"<RunHandle instance | run_id: {self.run_id}, state: {self._last_state}, url: {self.url}>"

    def _repr_html_(self) -> str:
        if self.url is None:
            return "<p><b>Run</b>: nothing to do</p>"
        url = html.escape(self.url, quote=True)
        link = f'<a href="{url}">its page in Prefect</a>'
        return f"<p><b>Run</b> {html.escape(self.run_id or '')}: {html.escape(self._last_state)} · {link}</p>"

    def wait(self, timeout: float | None = None) -> RunReport:
        """Wait until the run has ended.

        Args:
            timeout: The most seconds to wait; by default, no limit.

        Returns:
            The report, with the outcome of each row.

        Raises:
            TimeoutError: The run has not ended; it goes on, and you can wait for it again.
            ServerError: Prefect could not run it.
        """
        report = self._work if isinstance(self._work, RunReport) else self._work.wait(timeout)
        self.run_id = self.run_id or report.run_id
        return report

    def __await__(self) -> Generator[Any, None, RunReport]:
        """Wait in a coroutine, as `wait` does: `report = await handle`."""
        return self._awaited().__await__()

    async def _awaited(self) -> RunReport:
        while True:
            try:
                return await asyncio.to_thread(self.wait, _TICK)
            except TimeoutError:
                if self._work_has_ended:
                    raise

    @property
    def _work_has_ended(self) -> bool:
        """Whether a TimeoutError is one of the run, and not of a short wait."""
        return self._last_state in {"Completed", "Failed", "Crashed", "Cancelled"}

    def cancel(self) -> None:
        """End the run early: no more rows begin, and running scripts are ended. Returns at once."""
        if not isinstance(self._work, RunReport):
            self._work.cancel()


@renamed(say="on_message")
def submit(
    claimed: ClaimedRun,
    *,
    wait: bool = False,
    cluster: object = None,
    on_message: Callable[[str], None] | None = None,
    timeout: float = 120.0,
) -> RunHandle:
    """Run a planned and claimed run as a Prefect flow, in a thread of this process.

    Args:
        claimed: The run. This function finishes it, also if Prefect does not answer.
        wait: Return only when the run has ended.
        cluster: The address of a cluster, or a client or cluster of Dask; by default, what the config chooses.
        on_message: Receives messages: the URL of the page, how to end the server. By default they go to stderr.
        timeout: Seconds that the local server may take to start.

    Returns:
        The handle. When the program exits, it waits for its runs.

    Raises:
        ServerError: The configured API, or the local server, does not answer.
        KeyboardInterrupt: The user interrupted the wait; the run was cancelled and has ended.
    """
    if not claimed.n_rows:
        return RunHandle(claimed.run_id, claimed.finish())
    say = on_message or to_stderr
    try:
        work = _begin(claimed, say, timeout, cluster)
    except BaseException:
        claimed.finish()  # releases the rows
        raise
    try:
        work.start()
        say(f"{claimed.label}: {work.url or 'begun'}")
        if wait:
            work.settle()
    except KeyboardInterrupt:
        work.cancel()
        work.settle()
        raise
    return RunHandle(claimed.run_id, work)


def _begin(
    claimed: ClaimedRun, say: Callable[[str], None], timeout: float, cluster: object
) -> "LocalFlowRun":
    where = ClusterAddress.of(claimed.source.config, cluster)
    if where is not None:
        where.check()
    executor = executor_of(claimed, cluster)
    local = _reach(say, timeout)
    from sinagot_catalog.flows.local_run import LocalFlowRun

    executor.wait_started()  # a cluster that still connects while the flow runs would slow this process
    if where is not None and isinstance(executor, ClusterExecutor) and executor.dashboard:
        say(f"The dashboard of the {where.kind.title()} cluster: {executor.dashboard}")
    return LocalFlowRun(claimed, executor, api=local)


def _reach(say: Callable[[str], None], timeout: float) -> LocalServer | None:
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
        local.wait_healthy(timeout)
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
    on_message: Callable[[str], None] | None = None,
    timeout: float = 120.0,
) -> RunHandle:
    """Run the selected rows on the workers of a deployment.

    The rows are planned here; if there is nothing to do, no flow run starts. The keys of the rows are stored in
    `LOG`; the flow run plans and claims the rows again itself.

    Args:
        source: The session of the workspace.
        query: The selection.
        options: The options of the run.
        deployment: The name of the deployment.
        on_message: Receives messages; by default they go to stderr.
        timeout: Seconds that the local server may take to start.

    Raises:
        NotFoundError: There is no such deployment.
        UsageError: The deployment would cancel some of the parts.
        ServerError: The API does not answer.
    """
    draft = plan(source, query, options)
    check_start(source, query, draft, options.steps)
    if not draft.n_run:
        claimed = claim(source, query, draft, options)
        return RunHandle(claimed.run_id, claimed.finish())
    workspace, config = address_of(source)
    say = on_message or to_stderr
    local = _reach(say, timeout)
    from sinagot_catalog.flows import remote_run

    part = part_of(options.part)

    def parameters() -> dict[str, Any]:
        """All parameters of the selection: an omitted one would get the value of the deployment's own filter."""
        arguments = asdict(options) | {"part": None if part is None else str(part)}
        # workers of an older version do not know `upstream` and `part`
        unset = [name for name in ("workers", "upstream", "part") if not arguments[name]]
        for name in ("debug", "mode", *unset):
            del arguments[name]
        is_whole = query.is_whole and source.span is None
        rows = None if is_whole else keep_selection(source.log_store, draft.frame, new_run_id())
        return {"workspace": workspace, "config": config, "where": None, "rows": rows, **arguments}

    which = f" · part {part}" if part else ""
    name = f"{workspace.removesuffix('/workspace.toml').rpartition('/')[2]} · {count_of(draft.n_run, 'row')}{which}"
    remote = remote_run.send(
        source, deployment, parameters, name=name, api=local, say=say, parts=part.count if part else 1
    )
    return RunHandle(None, remote)


@renamed(say="on_message")
def follow(
    source: Session,
    flow_run_id: str,
    *,
    on_message: Callable[[str], None] | None = None,
    timeout: float = 120.0,
) -> RunHandle:
    """Attach to a flow run of a workspace that was started elsewhere.

    Raises:
        NotFoundError: There is no such flow run.
    """
    local = _reach(on_message or to_stderr, timeout)
    from sinagot_catalog.flows.remote_run import RemoteFlowRun

    return RunHandle(None, RemoteFlowRun.find(source, flow_run_id, api=local))


@renamed(say="on_message")
def deploy(
    wanted: Deployment, *, on_message: Callable[[str], None] | None = None, timeout: float = 120.0
) -> Deployed:
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
    local = _reach(on_message or to_stderr, timeout)
    with pointed_at(local):
        return deployer.deploy(wanted, page=page_of(local))


@renamed(say="on_message")
def serve(
    wanted: Deployment,
    *,
    ready: Callable[[Deployed], None],
    on_message: Callable[[str], None] | None = None,
    timeout: float = 120.0,
) -> None:
    """Make a deployment and run its flow runs in this process's children, until the process gets a signal to end.

    The environment of this process points at the API, because the processes of its runs inherit the environment.
    """
    os.environ.update(environment(on_message=on_message, timeout=timeout))
    from sinagot_catalog.flows.deployments import deployer
    from sinagot_catalog.flows.local_run import page_of

    deployer.check_schedule(wanted)
    deployer.serve(wanted, page=page_of(None), ready=ready)


@renamed(say="on_message")
def environment(*, on_message: Callable[[str], None] | None = None, timeout: float = 120.0) -> dict[str, str]:
    """Environment variables that point Prefect's own programs at the API; starts the local server if needed.

    Returns:
        The variables; empty if the user configured an API, because then the programs find it themselves.
    """
    local = _start_unless_configured(on_message or to_stderr)
    if local is None:
        return {}
    local.wait_healthy(timeout)
    return local.environment
