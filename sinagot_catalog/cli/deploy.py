"""`deploy` and `serve`: make deployments, which run a filter by a schedule or on request."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sinagot_catalog.cli.echo import say
from sinagot_catalog.cli.output import put, put_json
from sinagot_catalog.cli.workspace_args import open_workspace, source_of, steps_of
from sinagot_catalog.errors import SelectionError
from sinagot_catalog.flows import Deployment, describe, of_prefect

if TYPE_CHECKING:
    from sinagot_catalog.flows import Deployed
    from sinagot_catalog.workspace import Workspace

__all__ = ["deploy", "serve"]


def deploy(args: Any) -> int:
    """Make a deployment; print how to trigger it and which workers run it."""
    from sinagot_catalog.flows import deploy

    ws = open_workspace(args)
    how = {
        "pool": args.pool,
        "create_pool": args.create_pool,
        "work_queue": args.work_queue,
        "image": args.image,
        "env": dict(_pair(text, "--env") for text in args.env),
        "job_variables": dict(map(_job_variable, args.job_variable)),
        "paused": True if args.paused else None,
    }
    made = deploy(_described(ws, args, **how), say=say)
    if args.json:
        put_json(asdict(made))
        return 0
    put(f"deployed {made.name}: {made.url}")
    _say_how(ws, made)
    worker = of_prefect(f"prefect worker start --pool {shlex.quote(args.pool)}")
    say(f"a worker runs it, where it is started:  {worker}")
    return 0


def serve(args: Any) -> int:
    """Make a deployment and run it in this process."""
    from sinagot_catalog.flows import serve

    ws = open_workspace(args)

    def ready(made: Deployed) -> None:
        if args.json:
            put(json.dumps(asdict(made)))
        else:
            put(f"serving {made.name}: {made.url}")
        _say_how(ws, made)
        say("Ctrl-C ends it")

    serve(_described(ws, args), ready=ready, say=say)
    say("ended; its schedule is paused until it is served again")
    return 0


def _described(ws: Workspace, args: Any, **how: Any) -> Deployment:
    return describe(
        source_of(ws),
        args.deployment,
        where=args.where,
        step=steps_of(args),
        workers=args.workers or None,
        limit=args.limit or None,
        downstream=not args.no_downstream,
        tags=args.tag,
        cron=args.cron,
        every=args.every,
        timezone=args.timezone,
        concurrency=args.concurrency,
        overlap=args.overlap,
        replace=args.replace,
        **how,
    )


def _say_how(ws: Workspace, made: Deployed) -> None:
    place = shlex.quote(ws.config.root)
    say(
        f"note: the deployment of {made.replaced} had that name, and is replaced" if made.replaced else "",
        f"{made.n_rows} rows would run now",
        f"to trigger it:  {of_prefect(f'prefect deployment run {shlex.quote(made.name)}')}",
        f"or with rows:   sinagot-catalog submit {place} --deployment {shlex.quote(made.name)}",
    )


def _pair(text: str, option: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise SelectionError(f"{option}: {text!r} is no variable with a value", "Write it as NAME=VALUE.")
    return name, value


def _job_variable(text: str) -> tuple[str, Any]:
    """A variable with its value: a number, a list or an object in JSON, or a plain text."""
    name, value = _pair(text, "--job-variable")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
