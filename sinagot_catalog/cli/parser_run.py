"""Argument parsers of the verbs that run rows, now or later, here or on other machines."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from sinagot_catalog.cli.parser_common import (
    add_output,
    add_place,
    add_rows,
    add_running,
    add_selection,
    add_stale,
    add_steps,
    add_where,
    count,
    duration,
    seconds,
    verb,
)

if TYPE_CHECKING:
    from sinagot_catalog.cli.parser_common import Parser, Verbs

__all__ = [
    "add_accept",
    "add_deploy",
    "add_plan",
    "add_run",
    "add_serve",
    "add_server",
    "add_submit",
    "add_watch",
]

MODES = ("processes", "main_process", "prefect")


def add_plan(verbs: Verbs) -> Parser:
    """Declare the verb `plan`."""
    parser = verb(
        verbs,
        "plan",
        "run:plan",
        "what `run` would do and why; runs and writes nothing",
        """examples:
  sinagot-catalog plan
  sinagot-catalog plan --status ERROR --json

--json, --csv and --parquet have every selected row in order: record_id, task, modality, step, action (run, skip,
blocked), reason, status. The table leaves out what is done.""",
    )
    add_selection(parser)
    add_output(parser)
    return parser


def add_run(verbs: Verbs) -> Parser:
    """Declare the verb `run`."""
    parser = verb(
        verbs,
        "run",
        "run:run",
        "run what is not done, here and now",
        """examples:
  sinagot-catalog run example/harbor
  sinagot-catalog run --where "record_id > 'REC-20200610'" --step count --force
  sinagot-catalog ls steps --where "age > 40" --csv | sinagot-catalog run --rows -

--json, --csv and --parquet have a row per job: record_id, task, modality, step, outcome (done, error, timeout,
blocked, not_available, claimed, already_done, cancelled), seconds, attempts, error_type, message.""",
    )
    add_selection(parser)
    parser.add_argument("--mode", choices=MODES, help="by default as [run] mode says")
    add_running(parser)
    return parser


def add_submit(verbs: Verbs) -> Parser:
    """Declare the verb `submit`."""
    parser = verb(
        verbs,
        "submit",
        "run:submit",
        "run what is not done as a Prefect flow",
        """examples:
  sinagot-catalog submit example/harbor
  sinagot-catalog submit --where "status = 'DATA_READY'" --no-wait
  sinagot-catalog submit --status ERROR --deployment run-workspace/nightly      on the workers of a deployment
  sinagot-catalog submit --follow 0198c5f2-...      wait for a flow run that was begun elsewhere

Without a configured Prefect API a local server is started, which stays up (`sinagot-catalog server`).
--json, --csv and --parquet as of run; with --no-wait an object with run_id, flow_run_id, url, pid (null where it
runs elsewhere).""",
    )
    add_selection(parser)
    parser.add_argument(
        "--deployment", metavar="NAME", help="have the workers of this deployment run them, not this machine"
    )
    parser.add_argument(
        "--follow", metavar="ID", help="wait for this flow run of the workspace; nothing is submitted"
    )
    parser.add_argument(
        "--no-wait", action="store_true", help="return when the flow has begun; it goes on by itself"
    )
    parser.add_argument("--handle-fd", type=int, help=argparse.SUPPRESS)
    add_running(parser)
    return parser


def add_watch(verbs: Verbs) -> Parser:
    """Declare the verb `watch`."""
    parser = verb(
        verbs,
        "watch",
        "watch:watch",
        "run what becomes ready as new files come in, each row once, until Ctrl-C",
        """examples:
  sinagot-catalog watch --run                         run it here, without Prefect
  sinagot-catalog watch --where "age > 12"            submit it as Prefect flows
  sinagot-catalog watch s3://lab/sonetaa --every 5m   a bucket is listed every 5 minutes
  sinagot-catalog watch --run --once                  what is ready now, then end: for cron

A row that failed is not tried again until one of its inputs changes, or until you run it:
`sinagot-catalog run --status ERROR`. New files are noticed at once where the system tells of them, and looked for
every --every where it does not (buckets, network disks). --json prints an object per row that ran, with run_id.

exit codes: 0 when it is ended while it waits, 130 when a run was under way; with --once as of run""",
    )
    add_place(parser, positional=True)
    add_where(parser, "steps that fit; columns of records may be named, too")
    add_steps(parser, "only this step, and nothing downstream of it")
    parser.add_argument("--record", metavar="ID", action="append", help="this record; may be repeated")
    parser.add_argument(
        "--every", metavar="TIME", type=duration, default=60.0,
        help="look again after so long, whatever was noticed: 30s, 5m, 1h; by default 60s",
    )  # fmt: skip
    parser.add_argument(
        "--settle", metavar="TIME", type=duration, default=2.0,
        help="how long size and time of a new file stand still before it is read; by default 2s",
    )  # fmt: skip
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--submit", action="store_true", help="as Prefect flows; the default")
    how.add_argument("--run", action="store_true", help="here, without Prefect")
    how.add_argument("--deployment", metavar="NAME", help="on the workers of this deployment")
    parser.add_argument("--once", action="store_true", help="end when nothing is left that is ready")
    add_stale(parser)
    parser.add_argument(
        "--workers", metavar="N", type=count, help="how many processes; by default one per core"
    )
    parser.add_argument("--json", action="store_true", help="a line of JSON for each row that ran")
    parser.set_defaults(rows=None, status=None)
    return parser


def add_accept(verbs: Verbs) -> Parser:
    """Declare the verb `accept`."""
    parser = verb(
        verbs,
        "accept",
        "accept:accept",
        "take the present outputs of rows as they are, after a copy, say: the rows count as done",
        """examples:
  sinagot-catalog accept --step clean
  sinagot-catalog accept --where "record_id < 'REC-20200610'"
  sinagot-catalog accept --all

Rows that lack an output are left out. Recorded are the present inputs, outputs and code: from here on, a change of
them makes a row stale. --json, --csv and --parquet have a row per selected row: record_id, task, modality, step,
accepted, reason.""",
    )
    which = add_rows(parser)
    which.add_argument("--all", action="store_true", help="all rows of the workspace")
    add_output(parser)
    return parser


def add_server(verbs: Verbs) -> Parser:
    """Declare the verb `server`."""
    parser = verb(
        verbs,
        "server",
        "server:server",
        "the local Prefect server: start, status (with the login of its page), stop; env for Prefect's programs",
        """examples:
  sinagot-catalog server status
  sinagot-catalog server stop
  eval "$(sinagot-catalog server env)"      now `prefect worker start`, `prefect deployment ls` ... talk to it""",
    )
    parser.add_argument("action", choices=("start", "status", "stop", "env"), metavar="start|status|stop|env")
    parser.add_argument(
        "--port", type=int, help="for start: where it listens, by default where it did before"
    )
    parser.add_argument(
        "--fresh", action="store_true", help="for start: with an empty database; the old one is put aside"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    return parser


def add_deploy(verbs: Verbs) -> Parser:
    """Declare the verb `deploy`."""
    parser = verb(
        verbs,
        "deploy",
        "deploy:deploy",
        "have a filter run on Prefect workers, by a schedule or when asked; what fits is looked up at each run",
        """examples:
  sinagot-catalog deploy nightly --where "status = 'DATA_READY'" --cron "0 2 * * *" --pool local --create-pool
  sinagot-catalog deploy rerun -C s3://lab/sonetaa --where "status = 'ERROR'" --pool docker --image lab/sinagot:3
  eval "$(sinagot-catalog server env)" && prefect worker start --pool local      a worker of the local server

A deployment of this workspace with that name is replaced. A worker needs this package, access to the workspace at
the same address and its credentials in the environment. It runs the workspace that the deployment was made for, or
what SINAGOT_CATALOG_ALLOW of its environment names.
keys of --json: name, id, url, pool, parameters, n_rows (that it would run now)""",
    )
    parser.add_argument("deployment", metavar="NAME", help="its name; Prefect calls it run-workspace/NAME")
    add_place(parser)
    add_deployed(parser)
    parser.add_argument("--pool", metavar="POOL", required=True, help="the work pool whose workers run it")
    parser.add_argument(
        "--create-pool", action="store_true", help="make that pool, of processes, if it is new"
    )
    parser.add_argument("--work-queue", metavar="QUEUE", help="the queue of that pool")
    parser.add_argument("--image", metavar="IMAGE", help="the image, where the pool starts containers")
    parser.add_argument(
        "--env", metavar="K=V", action="append", default=[],
        help="a variable of its runs; may be repeated. All who see the deployment see it: no secrets",
    )  # fmt: skip
    parser.add_argument(
        "--job-variable", metavar="K=V", action="append", default=[],
        help="a setting of the jobs of the pool, such as namespace=lab; may be repeated",
    )  # fmt: skip
    parser.add_argument("--paused", action="store_true", help="with a paused schedule")
    return parser


def add_serve(verbs: Verbs) -> Parser:
    """Declare the verb `serve`."""
    parser = verb(
        verbs,
        "serve",
        "deploy:serve",
        "have a filter run on this machine, by a schedule or when asked, until Ctrl-C; needs no work pool",
        """examples:
  sinagot-catalog serve --name nightly --where "status = 'DATA_READY'" --cron "0 2 * * *"
  sinagot-catalog serve example/harbor --name harbour --every 600

Each run is a process of its own. The schedule is paused when it ends.
With --json the first line of stdout is an object with name, id, url, pool, parameters, n_rows.""",
    )
    add_place(parser, positional=True)
    parser.add_argument(
        "--name", dest="deployment", metavar="NAME", required=True,
        help="its name; Prefect calls it run-workspace/NAME",
    )  # fmt: skip
    add_deployed(parser)
    return parser


def add_deployed(parser: Parser) -> None:
    """Declare the options of `deploy` and `serve`."""
    which = parser.add_argument_group("which rows, each time")
    add_where(which, "steps that fit, such as \"status = 'DATA_READY'\"")
    add_steps(which, "only this step")
    which.add_argument("--limit", metavar="N", type=count, help="at most so many rows a run")
    which.add_argument(
        "--no-downstream", action="store_true", help="leave what becomes ready by a run to the next run"
    )
    when = parser.add_argument_group("when and how")
    when.add_argument("--cron", metavar="TEXT", help="as in a crontab, such as '0 2 * * *'; else when asked")
    when.add_argument("--every", metavar="S", type=seconds, help="every S seconds, in place of --cron")
    when.add_argument("--timezone", metavar="TZ", help="of --cron, such as Europe/Paris; by default UTC")
    when.add_argument(
        "--workers", metavar="N", type=count, help="how many processes run scripts; by default one per core"
    )
    when.add_argument(
        "--concurrency", metavar="N", type=count, default=1, help="runs at a time; by default 1"
    )
    when.add_argument(
        "--overlap", choices=("cancel", "wait"),
        help="what a run beyond --concurrency does; by default one of a schedule is cancelled, others wait",
    )  # fmt: skip
    when.add_argument(
        "--replace", action="store_true", help="replace the deployment of another workspace with this name"
    )
    when.add_argument(
        "--tag", metavar="TAG", action="append", default=[], help="of its runs; may be repeated"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
