"""`deploy` and `serve`: make deployments, which run a filter by a schedule or on request."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sinagot_catalog.cli.echo import say
from sinagot_catalog.cli.output import put, put_json
from sinagot_catalog.cli.parser.command import Argument, OneOf, Option, count, flag, verb
from sinagot_catalog.cli.parser.options import (
    ONE_OBJECT,
    PLACE,
    WORKERS,
    WORKSPACE,
    limit,
    steps,
    time_span,
    where,
)
from sinagot_catalog.cli.workspace_args import open_workspace, source_of
from sinagot_catalog.config import count_of
from sinagot_catalog.errors import SelectionError

if TYPE_CHECKING:
    from sinagot_catalog.flows import Deployed, Deployment
    from sinagot_catalog.workspace import Workspace

_SAME = ("where", "cron", "every", "timezone", "concurrency", "overlap", "replace")
_ROWS, _WHEN = "which rows, each time", "when and how"
_DEPLOYED = [
    where("steps that fit, such as \"status = 'DATA_READY'\"", _ROWS),
    steps("only this step", _ROWS),
    limit("at most N rows per run", _ROWS),
    flag("--no-downstream", group=_ROWS, help="leave what becomes ready by a run to the next run"),
    Option(
        "--cron", metavar="TEXT", group=_WHEN,
        help="when to run, as in a crontab, such as '0 2 * * *'; by default on request only",
    ),
    time_span("--every", "such as 10m, in place of --cron", group=_WHEN),
    Option("--timezone", metavar="TZ", group=_WHEN, help="of --cron, such as Europe/Paris; by default UTC"),
    WORKERS,
    Option(
        "--concurrency", metavar="N", type=count, default="1", group=_WHEN, help="runs at a time; by default 1"
    ),
    Option(
        "--overlap", metavar="WHAT", type=OneOf(["cancel", "wait"]), group=_WHEN,
        help="what a run beyond --concurrency does: cancel or wait; by default one of a schedule is cancelled",
    ),
    flag("--replace", group=_WHEN, help="replace the deployment of another workspace with this name"),
    Option("--tag", metavar="TAG", multiple=True, group=_WHEN, help="of its runs; may be repeated"),
    ONE_OBJECT,
]  # fmt: skip
"""The options of `deploy` and `serve`."""


@verb(
    "run the rows that fit a filter on Prefect workers, on a schedule or on request; each run looks for them again",
    """
  sinagot-catalog deploy nightly --where "status = 'DATA_READY'" --cron "0 2 * * *" --pool local --create-pool
  sinagot-catalog deploy rerun -C s3://lab/sonetaa --where "status = 'ERROR'" --pool docker --image lab/sinagot:3
  eval "$(sinagot-catalog server env)" && prefect worker start --pool local      a worker of the local server

A deployment of this workspace with that name is replaced. A worker needs this package, access to the workspace at
the same address and its credentials in the environment. It runs the workspace that the deployment was made for, or
what SINAGOT_CATALOG_ALLOW of its environment names.
keys of --json: name, id, url, pool, parameters, n_rows (that it would run now)""",
    Argument("deployment", "NAME", about="its name; Prefect calls it run-workspace/NAME"),
    WORKSPACE,
    _DEPLOYED,
    Option("--pool", metavar="POOL", required=True, help="the work pool whose workers run it"),
    flag("--create-pool", help="make that pool, of processes, if it is new"),
    Option("--work-queue", metavar="QUEUE", help="the queue of that pool"),
    Option("--image", metavar="IMAGE", help="the image, where the pool starts containers"),
    Option(
        "--env",
        metavar="K=V",
        multiple=True,
        help="a variable of its runs; may be repeated. All who see the deployment see it: no secrets",
    ),
    Option(
        "--job-variable",
        metavar="K=V",
        multiple=True,
        help="a setting of the jobs of the pool, such as namespace=lab; may be repeated. Lists are JSON",
    ),
    flag("--paused", help="with a paused schedule"),
)
def deploy(args: Any) -> int:
    """Make a deployment; print how to trigger it and which workers run it."""
    from sinagot_catalog.flows import deploy, of_prefect

    ws = open_workspace(args)
    wanted = _described(
        ws,
        args,
        env=dict(_pair(text, "--env") for text in args.env or ()),
        job_variables=dict(_pair(text, "--job-variable") for text in args.job_variable or ()),
        paused=args.paused or None,
        **{name: getattr(args, name) for name in ("pool", "create_pool", "work_queue", "image")},
    )
    deployment = deploy(wanted, on_message=say)
    if args.json:
        put_json(asdict(deployment))
        return 0
    put(f"deployed {deployment.name}: {deployment.url}")
    lead = of_prefect("")
    _say_how(ws, deployment, lead)
    say(f"a worker runs it, where it is started:  {lead}prefect worker start --pool {shlex.quote(args.pool)}")
    return 0


@verb(
    "run the rows that fit a filter on this machine, on a schedule or on request, until Ctrl-C; needs no work pool",
    """
  sinagot-catalog serve --name nightly --where "status = 'DATA_READY'" --cron "0 2 * * *"
  sinagot-catalog serve example/harbor --name harbour --every 10m

Each run is a process of its own. The schedule is paused when it ends.
With --json the first line of stdout is an object with name, id, url, pool, parameters, n_rows.""",
    PLACE,
    Option(
        "--name",
        "deployment",
        metavar="NAME",
        required=True,
        help="its name; Prefect calls it run-workspace/NAME",
    ),
    _DEPLOYED,
)
def serve(args: Any) -> int:
    """Make a deployment and run it in this process."""
    from sinagot_catalog.flows import of_prefect, serve

    ws = open_workspace(args)

    lead = of_prefect("")  # before serving sets the address of the API in this process

    def ready(deployment: Deployed) -> None:
        if args.json:
            put(json.dumps(asdict(deployment)))
        else:
            put(f"serving {deployment.name}: {deployment.url}")
        _say_how(ws, deployment, lead)
        say("Ctrl-C ends it")

    serve(_described(ws, args), ready=ready, on_message=say)
    say("ended; its schedule is paused until it is served again")
    return 0


def _described(ws: Workspace, args: Any, **how: Any) -> Deployment:
    from sinagot_catalog.flows import describe

    return describe(
        source_of(ws),
        args.deployment,
        step=args.step[0] if args.step and len(args.step) == 1 else args.step,
        workers=args.workers or None,
        limit=args.limit or None,
        downstream=not args.no_downstream,
        tags=args.tag or (),
        **{name: getattr(args, name) for name in _SAME},
        **how,
    )


def _say_how(ws: Workspace, deployment: Deployed, lead: str) -> None:
    """Print how the deployment is triggered; `lead` makes Prefect's programs find the API."""
    place = shlex.quote(ws.config.root)
    say(
        f"note: the deployment of {deployment.replaced} had that name, and is replaced"
        if deployment.replaced
        else "",
        f"{count_of(deployment.n_rows, 'row')} would run now",
        f"to trigger it:  {lead}prefect deployment run {shlex.quote(deployment.name)}",
        f"or with rows:   sinagot-catalog submit {place} --deployment {shlex.quote(deployment.name)}",
    )


def _pair(text: str, option: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise SelectionError(f"{option}: {text!r} is not a variable with a value", "Write it as NAME=VALUE.")
    return name, value
