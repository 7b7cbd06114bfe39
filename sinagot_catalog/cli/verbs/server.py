"""`server`: the local Prefect server."""

from __future__ import annotations

import shlex
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sinagot_catalog.cli.echo import say
from sinagot_catalog.cli.output import put, put_either, put_json
from sinagot_catalog.cli.parser.command import Argument, OneOf, Option, flag, port, verb
from sinagot_catalog.cli.parser.options import ONE_OBJECT
from sinagot_catalog.errors import ServerError
from sinagot_catalog.secrets import masked

if TYPE_CHECKING:
    from sinagot_catalog.flows import ConfiguredApi


@verb(
    "the local Prefect server: start, status (with the login of its page), stop; env for Prefect's programs",
    """
  sinagot-catalog server status
  sinagot-catalog server stop
  eval "$(sinagot-catalog server env)"      now `prefect worker start`, `prefect deployment ls` ... use it""",
    Argument("action", "start|status|stop|env", type=OneOf(["start", "status", "stop", "env"])),
    Option(
        "--port",
        type=port,
        metavar="PORT",
        help="for start: where it listens, by default where it did before",
    ),
    flag("--fresh", help="for start: with an empty database; the old one is put aside"),
    ONE_OBJECT,
)
def server(args: Any) -> int:
    """Start, describe or stop the local server; or print the settings for Prefect's own programs."""
    return {"start": _start, "status": _status, "stop": _stop, "env": _env}[args.action](args)


def _start(args: Any) -> int:
    from sinagot_catalog.flows import start

    start(port=args.port, fresh=args.fresh).wait_healthy()
    return _status(args)


def _status(args: Any) -> int:
    from sinagot_catalog.flows import configured_api, find, mark_crashed, status

    state = status()
    if state.get("healthy") and (local := find()) is not None:
        with suppress(ServerError):
            state["crashed"] = mark_crashed(local)
    configured = configured_api()
    if configured is not None:
        state["configured"] = {"url": masked(configured.url), "source": configured.source}
        state["configured"] |= {"through": list(configured.through), "fault": _fault(configured)}
    if args.json:
        put_json(state)
        return 0
    if configured is not None:
        put(f"`submit` uses {configured.description}")
        put(state["configured"]["fault"] or "it answers")
        put("the local server, which it does not use:")
    if not state["running"]:
        starter = "`sinagot-catalog server start`" + ("" if configured else " or the next `submit`")
        put(f"not running; {starter} starts it")
    else:
        put(f"running at {state['url']}{'' if state['healthy'] else ', but does not answer'}")
        put(f"log in at {state['url']}/login with {state['user']}:{state['password']}")
        put(f"pid {state['pid']}, Prefect {state['prefect']}, since {state['since']}")
        put(f"log {state['log']}")
        if crashed := state.get("crashed"):
            put(f"{crashed} flow run{'s' if crashed > 1 else ''} marked as Crashed: the process is gone")
    return 0


def _fault(api: ConfiguredApi) -> str | None:
    """Why an API does not serve, in a sentence; None if it does."""
    try:
        api.probe()
    except ServerError as error:
        return error.message
    return None


def _stop(args: Any) -> int:
    from sinagot_catalog.flows import stop

    state = stop()
    told = "it was not running"
    if state["stopped"]:
        left = f"; {state['running']} flow runs were under way" if state["running"] else ""
        told = f"stopped {state['url']} (pid {state['pid']}){left}"
    put_either(args, state, told)
    return 0


def _env(args: Any) -> int:
    """Print lines for a shell. They contain the server's password, which its page also needs."""
    from sinagot_catalog.flows import environment

    try:
        variables = environment(on_message=say)
    except BaseException:
        if not args.json:
            put("false")  # makes `eval "$(...)" && ...` stop here
        raise
    if args.json:
        put_json(variables)
        return 0
    for name, value in variables.items():
        put(f"export {name}={shlex.quote(value)}")
    if not variables:
        say("a Prefect API is configured, and Prefect's own programs find it: nothing to set")
    return 0
