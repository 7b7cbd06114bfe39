"""Deployment spec: describes the deployment of a filter over a workspace, and checks it before anything is sent.

Prefect is not imported here; `deployer` sends the description to Prefect.
"""

from __future__ import annotations

import re
from dataclasses import field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from sinagot_catalog.catalog import Query, sql_predicate
from sinagot_catalog.config import read_config
from sinagot_catalog.errors import ConfigError, SelectionError, did_you_mean
from sinagot_catalog.run import RunOptions, check_count, check_start, plan
from sinagot_catalog.secrets import is_secret
from sinagot_catalog.startup import dataclass
from sinagot_catalog.storage import TextReader

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sinagot_catalog.catalog import Session

Overlap: TypeAlias = Literal["cancel", "wait"]
OVERLAPS: tuple[Overlap, ...] = ("cancel", "wait")

FLOW = "run-workspace"
"""The name of the flow; the first part of the full name of a deployment."""


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """The description of a deployment: a filter, and how its runs start.

    Attributes:
        name: The name of the deployment, without the name of the flow.
        parameters: The parameters of each run: small JSON without secrets.
        tags: Tags of its runs.
        cron: The schedule, in crontab syntax.
        every: Seconds from one run to the next, instead of `cron`.
        timezone: The time zone of `cron`.
        pool: The work pool whose workers run it; None if it is served.
        work_queue: The queue of that pool.
        image: The container image, if the pool starts containers.
        env: Environment variables of its runs. Everybody who sees the deployment sees them.
        create_pool: Make the work pool, of type process, if no pool has that name.
        concurrency: The most runs of it that may be running at once.
        overlap: What happens to a run that would be one too many: `cancel` or `wait`. By default, runs of a
            schedule are cancelled and other runs wait.
        version: The version of the workspace.
        job_variables: Settings of the jobs of the pool, such as a namespace of Kubernetes. A text is read as JSON
            where the pool wants another type.
        paused: Whether its schedule starts paused; None leaves a deployment as it is.
        replace: Replace the deployment of another workspace that has this name.
        n_rows: Number of rows that it would run now.
    """

    name: str
    parameters: dict[str, Any]
    tags: tuple[str, ...] = ()
    cron: str | None = None
    every: float | None = None
    timezone: str | None = None
    pool: str | None = None
    work_queue: str | None = None
    image: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    create_pool: bool = False
    concurrency: int = 1
    overlap: Overlap | None = None
    version: str | None = None
    job_variables: Mapping[str, Any] = field(default_factory=dict)
    paused: bool | None = None
    replace: bool = False
    n_rows: int = 0

    def __post_init__(self) -> None:
        """Check what can be checked without Prefect."""
        overlap = self.overlap
        if self.cron is not None and self.every is not None:
            raise SelectionError(
                "cron and every are both given", "A deployment has one schedule: leave one out."
            )
        if self.timezone is not None and self.cron is None:
            raise SelectionError(f"timezone: {self.timezone!r} has no effect without a cron text")
        if self.every is not None and self.every <= 0:
            raise SelectionError(f"every: {self.every!r} is not a number of seconds")
        check_count("concurrency", self.concurrency)
        if overlap is not None and overlap not in OVERLAPS:
            near = did_you_mean(overlap, OVERLAPS)
            raise SelectionError(f"overlap: {overlap!r} is not one of {', '.join(map(repr, OVERLAPS))}{near}")
        if "env" in self.job_variables:
            raise SelectionError("job_variables: 'env' is set by env", "Write --env NAME=VALUE (env={...}).")
        for key in self.env:
            if not re.fullmatch(r"[A-Za-z_]\w*", key):
                raise SelectionError(f"env: {key!r} is not a name of a variable")

    @property
    def cancels_overlap(self) -> bool:
        """Whether a run that would be one too many is cancelled; otherwise it waits."""
        is_scheduled = self.cron is not None or self.every is not None
        return is_scheduled if self.overlap is None else self.overlap == "cancel"

    @property
    def full_name(self) -> str:
        """The name in Prefect: flow and deployment."""
        return f"{FLOW}/{self.name}"


@dataclass(frozen=True)
class Deployed:
    """A deployment that exists in the API now.

    Attributes:
        name: `run-workspace/NAME`, as `submit(deployment=...)` and `prefect deployment run` take it.
        id: The id of the deployment.
        url: The URL of its page.
        pool: The work pool whose workers run it; None if it is served.
        parameters: The parameters of each run.
        n_rows: Number of rows that it would run now.
        replaced: Another workspace whose deployment had the same name and was replaced.
    """

    name: str
    id: str
    url: str
    pool: str | None
    parameters: dict[str, Any]
    n_rows: int
    replaced: str | None = None

    def __repr__(self) -> str:
        return f"<Deployed {self.name} | {self.url}>"


def describe(
    source: Session,
    name: str,
    *,
    where: str | None = None,
    step: str | Sequence[str] | None = None,
    workers: int | None = None,
    limit: int | None = None,
    downstream: bool = True,
    tags: Sequence[str] = (),
    **how: Any,
) -> Deployment:
    """Check a deployment against the present workspace, and build its description.

    Args:
        source: The session of the workspace.
        name: The name of the deployment.
        where: The filter over `steps`, in SQL; without it, all rows that can run.
        step: Only the rows of this step, or of these steps.
        workers: Number of processes that run scripts.
        limit: The most rows of a run.
        downstream: Whether a run also has the rows that become ready by it.
        tags: Tags of its runs, in addition to those of the config.
        how: The other attributes of `Deployment`.

    Raises:
        UsageError: A name, a column, a status, a step or a number is not valid.
    """
    if not name.strip() or re.search(r"[/%&<>]", name):
        raise SelectionError(
            f"{name!r} is not a name of a deployment", "Take letters, digits and dashes, such as 'nightly'."
        )
    if where is not None and not isinstance(where, str):
        raise SelectionError(
            f"where: a {type(where).__name__} cannot be deployed",
            "Write the filter as a text in SQL, such as \"status = 'DATA_READY'\".",
        )
    if source.span is not None:
        raise SelectionError(
            "the workspace was opened with records=…, which a deployment does not know",
            "Say it in where, such as \"record_id >= 'REC-0010'\".",
        )
    workspace, config = address_of(source)
    options = RunOptions(step=step, workers=workers, limit=limit, downstream=downstream)
    query = Query("steps")
    query = query.where(sql_predicate(where)) if where else query
    draft = plan(source, query, options)
    check_start(source, query, draft, options.steps)
    asked = {"where": where, "step": step, "workers": workers, "limit": limit, "config": config}
    parameters = {key: value for key, value in asked.items() if value is not None}
    return Deployment(
        name=name,
        parameters={"workspace": workspace, **parameters, "downstream": downstream},
        tags=tuple(dict.fromkeys(["sinagot-catalog", *source.config.prefect.tags, *tags])),
        version=source.config.info.version,
        n_rows=draft.n_run,
        **how,
    )


def address_of(source: Session) -> tuple[str, list[str] | None]:
    """The address with which another process opens the same workspace: its config file, and those merged over it.

    Raises:
        ConfigError: Another process cannot open it: the address holds a password, or paths were given in code.
    """
    config = source.config
    shown = [*config.files, config.dataset, config.scripts, config.outputs, config.log]
    if secret := next((address for address in shown if is_secret(address)), None):
        raise ConfigError(
            f"the address of {secret.partition('://')[0]}://… holds a password, which a deployment would show",
            "Put it into [storage] as ${NAME}, and the variable into the environment of the worker.",
        )
    again = read_config(list(config.files), read_text=TextReader(source.storage_options))
    for part in ("dataset", "scripts"):
        if getattr(again, part) != getattr(config, part):
            raise ConfigError(
                f"the workspace was opened with another {part} than its config names: {getattr(config, part)}",
                f"A worker opens it by its config: set path.{part} there, or in a further toml.",
            )
    first, *further = config.files
    return first, further or None
