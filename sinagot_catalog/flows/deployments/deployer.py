"""The deployer: makes deployments of a filter in Prefect, or serves them from this machine.

The entry point is the flow of the installed package. So a worker's machine needs the package and access to the
workspace, but no copy of any code or file. A new deployment replaces an older one with the same name.
"""

import asyncio
import json
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Self

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy, WorkPool
from prefect.client.schemas.schedules import CronSchedule
from prefect.deployments.runner import DeploymentApplyError, RunnerDeployment
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.runner import Runner
from prefect.schedules import Cron, Interval, Schedule
from prefect.settings import PREFECT_API_URL
from prefect.workers.process import ProcessWorker

from sinagot_catalog.config import place_of
from sinagot_catalog.errors import NotFoundError, SelectionError, ServerError, did_you_mean
from sinagot_catalog.flows.deployments.deployment_spec import FLOW, Deployed, Deployment
from sinagot_catalog.flows.server.api import of_prefect

_ENTRYPOINT = "sinagot_catalog.flows.run_workspace"


def check_schedule(wanted: Deployment) -> Schedule | None:
    """Read the schedule of a deployment.

    Raises:
        SelectionError: The cron text or the time zone cannot be read.
    """
    if wanted.every is not None:
        return Interval(wanted.every)
    if wanted.cron is None:
        return None
    try:
        CronSchedule(cron=wanted.cron, timezone=wanted.timezone)
    except ValueError as error:
        if "timezone" in str(error).partition("\n")[2].partition("\n")[0]:
            what, hint = (
                f"timezone: {wanted.timezone!r} is not a time zone",
                "Write a name such as 'Europe/Paris'.",
            )
        else:
            what = f"cron: {wanted.cron!r} cannot be read"
            hint = "Such as '0 2 * * *', each night at two: minute, hour, day of the month, month, day of the week."
        raise SelectionError(what, hint) from error
    return Cron(wanted.cron, timezone=wanted.timezone)


def check_lasting_api(wanted: Deployment) -> None:
    """Refuse a deployment in a flow on the temporary server of Prefect, which ends with this process.

    Raises:
        ServerError: No API is configured.
    """
    if not PREFECT_API_URL.value():
        raise ServerError(
            f"the deployment {wanted.full_name!r} would be gone with this process: it runs in a flow on the "
            "temporary server of Prefect",
            "Deploy outside of a flow, or set PREFECT_API_URL to a server that stays up.",
        )


def deploy(wanted: Deployment, *, page: str) -> Deployed:
    """Make a deployment, or replace the deployment with the same name.

    Args:
        wanted: The deployment to make.
        page: The URL of Prefect's page.

    Raises:
        NotFoundError: There is no such work pool.
        ServerError: The API refused it.
    """
    built = _built(wanted)
    with _refused(wanted), get_client(sync_client=True) as client:
        pool = _pool(client, wanted)
        if wanted.image and pool.type == "process":
            raise SelectionError(
                f"image: the work pool {pool.name!r} starts processes, which have no image",
                "Leave it out, or take a pool of containers.",
            )
        built.job_variables.update(_variables_for(pool, wanted))
        replaced = _replaced(client, wanted)
        identity = str(built.apply(work_pool_name=wanted.pool, image=wanted.image))
    return _deployed(wanted, identity, page, replaced)


@contextmanager
def _refused(wanted: Deployment) -> Iterator[None]:
    """Convert a refusal of the API into an error with a sentence."""
    try:
        yield
    except (DeploymentApplyError, PrefectHTTPStatusError) as error:
        reason = refusal_of(error) if isinstance(error, PrefectHTTPStatusError) else error
        raise ServerError(f"Prefect did not take the deployment {wanted.full_name!r}: {reason}") from error


def serve(wanted: Deployment, *, page: str, ready: Any) -> None:
    """Make a deployment and run its flow runs, each in a process, until this process gets a signal to end.

    Args:
        wanted: The deployment to serve, with its schedule.
        page: The URL of Prefect's page.
        ready: Callback with the new deployment, once the server runs; may raise to stop the server.
    """
    built = _built(wanted)
    built.paused = False  # the end of an earlier `serve` paused it
    runner = _Runner(name=wanted.name, pause_on_shutdown=True, limit=wanted.concurrency)
    with _refused(wanted):
        with get_client(sync_client=True) as client:
            replaced = _replaced(client, wanted)
        identity = runner.add_deployment(built)
    runner.ready = partial(ready, _deployed(wanted, str(identity), page, replaced))
    with suppress(KeyboardInterrupt):  # before the runner has started
        asyncio.run(runner.start())


class _Runner(Runner):
    """A runner that ends in order: Prefect's SIGTERM handler raises out of the loop and kills the running flows.

    Attributes:
        ready: Called once the runner runs.
    """

    ready: Callable[[], None]

    async def __aenter__(self) -> Self:
        """Start; from now on SIGINT and SIGTERM cancel the active runs, which end by themselves."""
        await super().__aenter__()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._end)
        try:
            self.ready()
        except BaseException:
            await self.__aexit__(*sys.exc_info())
            raise
        return self

    def _end(self) -> None:
        if self.started:
            self._ending = asyncio.ensure_future(self.astop())

    def handle_sigterm(self, *_: Any, **__: Any) -> None:
        """End before the runner has started, as after Ctrl-C."""
        raise KeyboardInterrupt


def deployment_named(client: SyncPrefectClient, name: str) -> Any:
    """Find a deployment by its name.

    Args:
        client: The API.
        name: `run-workspace/nightly`, or `nightly`.

    Raises:
        NotFoundError: There is no such deployment; the message suggests similar names.
    """
    full = name if "/" in name else f"{FLOW}/{name}"
    with suppress(ObjectNotFound):
        return client.read_deployment_by_name(full)
    found = client.read_deployments(flow_filter=FlowFilter(name=FlowFilterName(any_=[FLOW])), limit=200)
    names = [f"{FLOW}/{deployment.name}" for deployment in found]
    raise NotFoundError(
        f"there is no deployment {full!r}{did_you_mean(full, names)}",
        f"Deployments: {', '.join(sorted(names)[:10])}."
        if names
        else "Make one: sinagot-catalog deploy NAME --pool POOL, or sinagot-catalog serve --name NAME.",
    )


def _built(wanted: Deployment) -> RunnerDeployment:
    schedule = check_schedule(wanted)
    variables: dict[str, Any] = dict(wanted.job_variables)
    if wanted.env:
        variables["env"] = dict(wanted.env)
    strategy = "CANCEL_NEW" if wanted.cancels_overlap else "ENQUEUE"
    built = RunnerDeployment.from_entrypoint(
        _ENTRYPOINT,
        name=wanted.name,
        schedules=[schedule] if schedule is not None else [],
        concurrency_limit=ConcurrencyLimitConfig(
            limit=wanted.concurrency, collision_strategy=ConcurrencyLimitStrategy(strategy)
        ),
        version=wanted.version,
        paused=wanted.paused,
        parameters=wanted.parameters,
        description=_description(wanted.parameters),
        tags=list(wanted.tags),
        work_pool_name=wanted.pool,
        work_queue_name=wanted.work_queue,
        job_variables=variables,
    )
    built._path = None  # noqa: SLF001 - a worker cannot use the folder of the deploying machine
    return built


def _description(parameters: Mapping[str, Any]) -> str:
    what = parameters.get("where") or "all rows that can run"
    step = parameters.get("step") or []
    names = " and ".join(f"`{name}`" for name in ([step] if isinstance(step, str) else step))
    of_steps = f", of {names}" if names else ""
    return f"Runs the rows of `{parameters['workspace']}` that fit, as they are then{of_steps}:\n\n`{what}`"


def _pool(client: SyncPrefectClient, wanted: Deployment) -> WorkPool:
    name = wanted.pool or ""
    with suppress(ObjectNotFound):
        return client.read_work_pool(name)
    if wanted.create_pool:
        template = ProcessWorker.get_default_base_job_template()
        return client.create_work_pool(WorkPoolCreate(name=name, type="process", base_job_template=template))
    known = [pool.name for pool in client.read_work_pools()]
    raise NotFoundError(
        f"there is no work pool {name!r}{did_you_mean(name, known)}",
        "Have one of processes made with --create-pool (create_pool=True), or make it: "
        f"{of_prefect(f'prefect work-pool create {shlex.quote(name)} --type process')}",
    )


def _variables_for(pool: WorkPool, wanted: Deployment) -> dict[str, Any]:
    """Return the job variables, each of the type that the pool has for it; Prefect ignores names that it lacks.

    Raises:
        SelectionError: The pool does not know one of them; the message suggests similar names.
    """
    schemas = (pool.base_job_template or {}).get("variables", {}).get("properties", {})
    for name in wanted.job_variables:
        if schemas and name not in schemas:
            raise SelectionError(
                f"job_variables: the work pool {pool.name!r} has no variable {name!r}{did_you_mean(name, schemas)}",
                f"Its variables: {', '.join(sorted(schemas))}.",
            )
    return {name: _typed(value, schemas.get(name, {})) for name, value in wanted.job_variables.items()}


def _typed(value: Any, schema: Mapping[str, Any]) -> Any:
    """Read a text as JSON, unless its schema takes texts: `4` may be a number of seconds, or of CPUs as a text."""
    takes_text = any("string" in str(kind.get("type")) for kind in (schema, *schema.get("anyOf", ())))
    if isinstance(value, str) and not takes_text:
        with suppress(ValueError):
            return json.loads(value)
    return value


def _replaced(client: SyncPrefectClient, wanted: Deployment) -> str | None:
    """The other workspace whose deployment has that name, if any: all workspaces of a server share the names.

    Raises:
        SelectionError: There is one, and it is not to be replaced.
    """
    place = None
    with suppress(ObjectNotFound):
        place = client.read_deployment_by_name(wanted.full_name).parameters.get("workspace")
    if place is None or place_of(place) == place_of(wanted.parameters["workspace"]):
        return None
    if not wanted.replace:
        raise SelectionError(
            f"the name {wanted.full_name!r} belongs to the deployment of {place}",
            "Take another name, or replace that deployment with --replace (replace=True).",
        )
    return str(place)


def _deployed(wanted: Deployment, identity: str, page: str, replaced: str | None) -> Deployed:
    url = f"{page}/deployments/deployment/{identity}"
    return Deployed(
        wanted.full_name, identity, url, wanted.pool, wanted.parameters, wanted.n_rows, replaced=replaced
    )


def refusal_of(error: PrefectHTTPStatusError) -> str:
    """The reason that the API gives for a refusal."""
    with suppress(ValueError):
        return str(error.response.json().get("detail") or error.response.text)
    return f"HTTP {error.response.status_code}"
