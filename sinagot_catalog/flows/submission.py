"""Hand a planned run to Prefect, and hold on to it.

Prefect is imported only when there is something to do, and after the local server, where one is needed, was
told to start: both take seconds, and take them at the same time.
"""

import html
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from importlib import import_module
from typing import TYPE_CHECKING, Any

from sinagot_catalog.catalog import Query, Session
from sinagot_catalog.cluster import check_cluster
from sinagot_catalog.errors import ServerError
from sinagot_catalog.flows import api as _api
from sinagot_catalog.flows import local_server
from sinagot_catalog.flows.crashed_runs import mark_crashed
from sinagot_catalog.flows.deployment import Deployed, Deployment, address_of
from sinagot_catalog.flows.local_server import LocalServer
from sinagot_catalog.journal import RunReport, keep_selection, new_run_id
from sinagot_catalog.run import Execution, RunOptions, check_start, in_words, plan

if TYPE_CHECKING:
    from sinagot_catalog.flows.local_run import Submitted
    from sinagot_catalog.flows.remote_run import RemoteFlowRun

__all__ = ["RunHandle", "deploy", "environment", "follow", "send", "serve", "submit", "to_stderr"]


class RunHandle:
    """A run that was submitted: to follow, to wait for, to cancel.

    Attributes:
        run_id: The name of the run in the journal; of a run elsewhere it is known when it was waited for.
        flow_run_id: Its id in Prefect, None where there was nothing to do.
        url: Its page in Prefect, None where there was nothing to do.
    """

    def __init__(self, run_id: str | None, work: "Submitted | RemoteFlowRun | RunReport") -> None:
        self.run_id = run_id
        self._work = work
        self.flow_run_id = None if isinstance(work, RunReport) else work.flow_run_id
        self.url = None if isinstance(work, RunReport) else work.url

    @property
    def state(self) -> str:
        """The flow run's state: such as `Scheduled`, `Running`, `Completed`, `Failed`, `Cancelled`, `Crashed`."""
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
            timeout: Seconds to wait at most; without it, as long as it takes.

        Returns:
            What became of each row.

        Raises:
            TimeoutError: It is still under way; it goes on, and can be waited for again.
            ServerError: Prefect could not run it.
        """
        report = self._work if isinstance(self._work, RunReport) else self._work.wait(timeout)
        self.run_id = self.run_id or report.run_id
        return report

    def cancel(self) -> None:
        """End the run early: no more rows are begun, scripts under way are ended. Returns at once."""
        if not isinstance(self._work, RunReport):
            self._work.cancel()


def submit(
    execution: Execution,
    *,
    wait: bool = False,
    say: Callable[[str], None] | None = None,
    timeout: float = 120.0,
) -> RunHandle:
    """Run what was planned and claimed as a Prefect flow, in a thread of this process.

    Args:
        execution: The run. It is finished here, also where Prefect cannot be reached.
        wait: Return only when the run has ended.
        say: Takes lines for people: where the page is, how to end the server. By default they go to stderr.
        timeout: Seconds that the local server may take to start.

    Returns:
        The handle. A program that ends waits for its runs.

    Raises:
        ServerError: The configured API, or the local server, does not answer.
        KeyboardInterrupt: While waiting; the run was cancelled, and has ended.
    """
    if not execution.n_rows:
        return RunHandle(execution.run_id, execution.finish())
    try:
        work = _begin(execution, say or to_stderr, timeout)
    except BaseException:
        execution.finish()  # gives the rows back
        raise
    try:
        work.start()
        if wait:
            work.settle()
    except KeyboardInterrupt:
        work.cancel()
        work.settle()
        raise
    return RunHandle(execution.run_id, work)


def _begin(execution: Execution, say: Callable[[str], None], timeout: float) -> "Submitted":
    prefect = execution.source.config.prefect
    check_cluster(prefect.task_runner, prefect.address)
    execution.start_workers()
    local = _reach(say, timeout)
    from sinagot_catalog.flows.local_run import Submitted

    execution.wait_warm()  # from here on its workers start beside the flow, which would only slow this process down
    work = Submitted(execution, api=local)
    say(f"{execution.label}: {work.url}")
    return work


def _reach(say: Callable[[str], None], timeout: float) -> LocalServer | None:
    """Make sure of an API: None for the one that the user configured, else the local server, which is started.

    Prefect is imported while the server starts.
    """
    configured = _api.configured_api()
    local = None if configured else local_server.start()
    if configured:
        configured.probe()
    if local is not None and not local.is_healthy():
        say("A local Prefect server is starting; the first start of all takes some ten seconds.")
    import_module("sinagot_catalog.flows.flow")

    if local is not None:
        local.wait_healthy(timeout)
        say(
            f"Prefect's page stays up; log in at {local.url}/login with what `sinagot-catalog server status` "
            "prints, end it with `sinagot-catalog server stop`."
        )
    with suppress(ServerError):  # what others left there is no reason to run nothing
        if configured:
            mark_crashed(configured.url, auth=configured.auth, key=configured.key)
        elif local is not None:
            mark_crashed(local.api_url, auth=local.auth)
    return local


def to_stderr(line: str) -> None:
    """Say a line to people, beside the result."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - talk, not result


# --- on the workers of a deployment ---------------------------------------------------------------------------


def send(
    source: Session,
    query: Query,
    options: RunOptions,
    deployment: str,
    *,
    say: Callable[[str], None] | None = None,
    timeout: float = 120.0,
) -> RunHandle:
    """Have the selected rows run by the workers of a deployment.

    What is to do is planned here, and where that is nothing no run is asked for. The keys of the rows are kept
    beside the journal; the run plans and claims them itself.

    Args:
        source: The workspace.
        query: The selection.
        options: What the run is asked to do.
        deployment: Its name.
        say: Takes lines for people; by default they go to stderr.
        timeout: Seconds that the local server may take to start.

    Raises:
        NotFoundError: There is no such deployment.
        ServerError: The API does not answer.
    """
    say = say or to_stderr
    made = plan(source, query, options)
    check_start(source, query, made, options.steps)
    if not made.n_run:
        execution = Execution(source, query, options, made=made)
        return RunHandle(execution.run_id, execution.finish())
    workspace, config = address_of(source)
    local = _reach(say, timeout)
    from sinagot_catalog.flows import remote_run

    def parameters() -> dict[str, Any]:
        """All of a selection's, for what is not given is that of the deployment's own filter."""
        left_out = ("debug", "mode") if options.workers is not None else ("debug", "mode", "workers")
        asked = {key: value for key, value in asdict(options).items() if key not in left_out}
        is_whole = query.is_whole and source.span is None
        kept = None if is_whole else keep_selection(source.log_store, made.frame, new_run_id())
        return {"workspace": workspace, "config": config, "where": None, "rows": kept, **asked}

    name = f"{workspace.removesuffix('/workspace.toml').rpartition('/')[2]} · {in_words(made.n_run)}"
    return RunHandle(None, remote_run.send(source, deployment, parameters, name=name, api=local, say=say))


def follow(
    source: Session, flow_run_id: str, *, say: Callable[[str], None] | None = None, timeout: float = 120.0
) -> RunHandle:
    """Take hold of a flow run of a workspace that was begun elsewhere.

    Raises:
        NotFoundError: There is no such flow run.
    """
    local = _reach(say or to_stderr, timeout)
    from sinagot_catalog.flows.remote_run import RemoteFlowRun

    return RunHandle(None, RemoteFlowRun.find(source, flow_run_id, api=local))


def deploy(
    wanted: Deployment, *, say: Callable[[str], None] | None = None, timeout: float = 120.0
) -> Deployed:
    """Make a deployment, or replace what has its name.

    Raises:
        UsageError: The schedule cannot be read, or there is no such work pool; nothing is deployed.
        ServerError: The API does not answer, or refuses it.
    """
    from sinagot_catalog.flows import deployer
    from sinagot_catalog.flows.local_run import page_of, pointed_at

    deployer.check_schedule(wanted)
    local = _reach(say or to_stderr, timeout)
    with pointed_at(local):
        return deployer.deploy(wanted, page=page_of(local))


def serve(
    wanted: Deployment,
    *,
    ready: Callable[[Deployed], None],
    say: Callable[[str], None] | None = None,
    timeout: float = 120.0,
) -> None:
    """Make a deployment and run what it is asked for here, until the process is told to end.

    The process is pointed at the API by its environment, for that is what the processes of its runs get.
    """
    os.environ.update(environment(say=say, timeout=timeout))
    from sinagot_catalog.flows import deployer
    from sinagot_catalog.flows.local_run import page_of

    deployer.check_schedule(wanted)
    deployer.serve(wanted, page=page_of(None), ready=ready)


def environment(*, say: Callable[[str], None] | None = None, timeout: float = 120.0) -> dict[str, str]:
    """What points Prefect's own programs at the API that is used here; it is started where it has to be.

    Returns:
        Nothing where the user configured an API: then they find it themselves.
    """
    configured = _api.configured_api()
    if configured is not None:
        configured.probe()
        return {}
    local = local_server.start()
    if not local.is_healthy():
        (say or to_stderr)(
            "A local Prefect server is starting; the first start of all takes some ten seconds."
        )
        local.wait_healthy(timeout)
    return {"PREFECT_API_URL": local.api_url, "PREFECT_API_AUTH_STRING": local.auth}
