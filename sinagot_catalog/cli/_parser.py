"""The words of the command line. Imports nothing that is heavy: what a verb does is loaded when it is called."""

from __future__ import annotations

import argparse
import re
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from sinagot_catalog import __version__
from sinagot_catalog.errors import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["parse", "verbs"]

TABLES = ("records", "units", "files", "steps", "events", "links")
MODES = ("processes", "main_process", "prefect")

_ABOUT = """A catalog of recordings: what is there, what is done, what failed and why, what can run now;
and the runs of scripts over the rows that you select."""
_FIRST = """examples:
  sinagot-catalog init harbor --example     a working workspace to start from
  sinagot-catalog status harbor             what is done, and what can run next
  sinagot-catalog run harbor                run it

exit codes: 0 fine or nothing to do, 1 our fault, 2 usage or config, 3 some rows failed, 130 interrupted"""


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the words of a command; `verb` of what is returned does it.

    Raises:
        SystemExit: After help, the version, or a word that is wrong (2).
    """
    parser = _Parser(prog="sinagot-catalog", description=_ABOUT, epilog=_FIRST)
    parser.add_argument("--version", action="version", version=f"sinagot-catalog {__version__}")
    _add_place(parser)
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", parser_class=_Parser)
    made = {add.__name__.removeprefix("_add_"): add(verbs) for add in _VERBS}
    args, rest = parser.parse_known_args(argv)
    if rest:
        at = made.get(getattr(args, "name", ""), parser)
        at.error(f"unknown argument {rest[0]!r}{did_you_mean(rest[0].partition('=')[0], at.options)}")
    if "name" not in args:
        parser.exit(2, parser.format_help())
    return args


class _Parser(argparse.ArgumentParser):
    """Keeps the layout of its texts, and names what lies near a wrong word."""

    def __init__(self, **options: object) -> None:
        layout = argparse.RawDescriptionHelpFormatter
        super().__init__(formatter_class=layout, allow_abbrev=False, **options)  # type: ignore[arg-type]

    @property
    def options(self) -> list[str]:
        """Every option that it takes."""
        return [text for action in self._actions for text in action.option_strings]

    @property
    def arguments(self) -> list[argparse.Action]:
        """Everything that it takes."""
        return self._actions

    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line, and end with 2."""
        wrong = re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message)
        if wrong:
            choices = re.findall(r"[\w-]+", wrong[2])
            message = f"{wrong[1]!r} is none of {', '.join(choices)}{did_you_mean(wrong[1], choices)}"
        self.exit(2, f"error: {message}\nTry `{self.prog} --help`.\n")


# --- verbs -------------------------------------------------------------------------------------------------

_Verbs: TypeAlias = "argparse._SubParsersAction[_Parser]"  # noqa: SLF001 - argparse has no public name for it


def _add_init(verbs: _Verbs) -> _Parser:
    parser = _verb(
        verbs,
        "init",
        "_init:init",
        "make a workspace to start from; nothing is ever overwritten",
        """examples:
  sinagot-catalog init                      a small one, here
  sinagot-catalog init harbor --example     a month of a harbour's boats, with three scripts
  sinagot-catalog init --from-files 'raw/{id}-raw.csv'     around files that lie here (or in ./dataset)
  sinagot-catalog init --prefect            with a prefect.yaml; beside a workspace that is there, only that""",
    )
    parser.add_argument("folder", nargs="?", default=".", metavar="DIR", help="where; by default here")
    parser.add_argument("--example", action="store_true", help="the harbour example with its data")
    parser.add_argument(
        "--from-files",
        metavar="PATTERN",
        help="propose an id_pattern from files that are there; {id} stands for the id",
    )
    parser.add_argument(
        "--prefect", action="store_true", help="also a prefect.yaml, for `prefect deploy --all` to deploy"
    )
    return parser


def _add_status(verbs: _Verbs) -> _Parser:
    parser = _verb(
        verbs,
        "status",
        "_status:status",
        "counts per step and status, and what can run next",
        """examples:
  sinagot-catalog status
  sinagot-catalog status example/harbor --where "record_id > 'REC-20200610'"
  sinagot-catalog status --by task,modality --json
  sinagot-catalog status --watch 5

keys of --json: workspace, records, files, seconds (of the look), snapshot (null, or its name), counts (a row per
group: the columns of --by, init, data_ready, processing, done, error, data_not_available, unknown, stale, total),
totals (the same without group), next (command, rows, steps; null where nothing can run)""",
    )
    _add_place(parser, positional=True)
    _add_snapshot_option(parser)
    parser.add_argument(
        "--by", metavar="A,B", help="columns of steps or records to count by, instead of the step"
    )
    parser.add_argument("--where", metavar="SQL", help="only steps that fit, such as \"record_id > 'REC-2'\"")
    parser.add_argument("--step", metavar="L", help="only this step")
    parser.add_argument(
        "--stale", action="store_true", help="count what is stale, too; reads sizes and times"
    )
    parser.add_argument(
        "--watch",
        nargs="?",
        type=_seconds,
        const=2.0,
        metavar="S",
        help="look again every S seconds, until Ctrl-C",
    )
    _add_output(parser)
    return parser


def _add_ls(verbs: _Verbs) -> _Parser:
    parser = _verb(
        verbs,
        "ls",
        "_ls:ls",
        "rows of a table: records (the default), units, files, steps, events, links",
        """examples:
  sinagot-catalog ls
  sinagot-catalog ls steps --where "status = 'ERROR'" --columns record_id,step,message
  sinagot-catalog ls files --where "size = 0" --csv

--json, --csv and --parquet have the table's columns, as the README lists them. Columns that need sizes or times of
files (stale; size and times of records) are read where --columns or --where names them, else they are null.""",
    )
    parser.add_argument("table", nargs="?", default="records", choices=TABLES, metavar="TABLE")
    _add_place(parser)
    _add_snapshot_option(parser)
    parser.add_argument(
        "--where", metavar="SQL", help="only rows that fit; columns of records may be named, too"
    )
    parser.add_argument("--columns", metavar="A,B", help="these columns, in this order")
    parser.add_argument(
        "--limit", metavar="N", type=_count, help="at most so many rows (on a terminal 100; 0 for all)"
    )
    _add_output(parser)
    return parser


def _add_plan(verbs: _Verbs) -> _Parser:
    parser = _verb(
        verbs,
        "plan",
        "_run:plan",
        "what `run` would do and why; runs and writes nothing",
        """examples:
  sinagot-catalog plan
  sinagot-catalog plan --status ERROR --json

--json, --csv and --parquet have every selected row in order: record_id, task, modality, step, action (run, skip,
blocked), reason, status. The table leaves out what is done.""",
    )
    _add_selection(parser)
    _add_output(parser)
    return parser


def _add_run(verbs: _Verbs) -> _Parser:
    parser = _verb(
        verbs,
        "run",
        "_run:run",
        "run what is not done, here and now",
        """examples:
  sinagot-catalog run example/harbor
  sinagot-catalog run --where "record_id > 'REC-20200610'" --step count --force
  sinagot-catalog ls steps --where "age > 40" --csv | sinagot-catalog run --rows -

--json, --csv and --parquet have a row per job: record_id, task, modality, step, outcome (done, error, timeout,
blocked, not_available, claimed, already_done, cancelled), seconds, attempts, error_type, message.""",
    )
    _add_selection(parser)
    parser.add_argument("--mode", choices=MODES, help="by default as [run] mode says")
    _add_running(parser)
    return parser


def _add_submit(verbs: _Verbs) -> _Parser:
    parser = _verb(
        verbs,
        "submit",
        "_run:submit",
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
    _add_selection(parser)
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
    _add_running(parser)
    return parser


def _add_watch(verbs: _Verbs) -> _Parser:
    parser = _verb(
        verbs,
        "watch",
        "_watch:watch",
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
    _add_place(parser, positional=True)
    parser.add_argument("--where", metavar="SQL", help="steps that fit; columns of records may be named, too")
    parser.add_argument("--step", metavar="L", help="only this step, and nothing downstream of it")
    parser.add_argument("--record", metavar="ID", action="append", help="this record; may be repeated")
    parser.add_argument(
        "--every", metavar="TIME", type=_duration, default=60.0,
        help="look again after so long, whatever was noticed: 30s, 5m, 1h; by default 60s",
    )  # fmt: skip
    parser.add_argument(
        "--settle", metavar="TIME", type=_duration, default=2.0,
        help="how long size and time of a new file stand still before it is read; by default 2s",
    )  # fmt: skip
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--submit", action="store_true", help="as Prefect flows; the default")
    how.add_argument("--run", action="store_true", help="here, without Prefect")
    how.add_argument("--deployment", metavar="NAME", help="on the workers of this deployment")
    parser.add_argument("--once", action="store_true", help="end when nothing is left that is ready")
    parser.add_argument("--stale", action="store_true", help="what is stale, too")
    parser.add_argument(
        "--workers", metavar="N", type=_count, help="how many processes; by default one per core"
    )
    parser.add_argument("--json", action="store_true", help="a line of JSON for each row that ran")
    parser.set_defaults(rows=None, status=None)
    return parser


def _add_logs(verbs: _Verbs) -> _Parser:
    parser = _verb(
        verbs,
        "logs",
        "_logs:logs",
        "what scripts said, and the tracebacks of failures; oldest first",
        """examples:
  sinagot-catalog logs REC-20200603 --step count
  sinagot-catalog logs --failed
  sinagot-catalog logs --failed --group     each kind of failure once, with the command to run its rows again

--json, --csv and --parquet have the columns of the table events; with --group task, modality, step, error_type,
message, n, first, last, examples, command.""",
    )
    parser.add_argument("record", nargs="?", metavar="ID", help="only this record")
    _add_place(parser)
    parser.add_argument("--step", metavar="L", help="only this step")
    parser.add_argument(
        "--failed", action="store_true", help="only the last failure of each row that is ERROR now"
    )
    parser.add_argument(
        "--limit", metavar="N", type=_count, help="the last so many (on a terminal 200; 0 for all)"
    )
    parser.add_argument(
        "--group", action="store_true", help="the failures by step, type and kind of message, each kind once"
    )
    parser.add_argument(
        "--run", metavar="RUN", help="only what this run wrote, by the name that it was given"
    )
    parser.add_argument("--follow", action="store_true", help="go on with what runs say, until Ctrl-C")
    _add_output(parser)
    return parser


def _add_snapshot(verbs: _Verbs) -> _Parser:
    parser = _verb(
        verbs,
        "snapshot",
        "_diff:snapshot",
        "keep the catalog as it is, for a later diff; prints its name",
        """examples:
  sinagot-catalog snapshot
  sinagot-catalog snapshot s3://lab/sonetaa""",
    )
    _add_place(parser, positional=True)
    return parser


def _add_diff(verbs: _Verbs) -> _Parser:
    parser = _verb(
        verbs,
        "diff",
        "_diff:diff",
        "what changed between two snapshots, or since one",
        """examples:
  sinagot-catalog diff                      since the newest snapshot
  sinagot-catalog diff 20260101T120000-123456
  sinagot-catalog diff 20260101T120000-123456 20260201T120000-654321 --json

--json, --csv and --parquet have a row per change: what (record, file, step), change (new, gone, changed),
record_id, task, modality, step, path, before and after (a file's size, a step's status).""",
    )
    parser.add_argument("before", nargs="?", metavar="A", help="the earlier snapshot; by default the newest")
    parser.add_argument("after", nargs="?", metavar="B", help="the later one; by default a fresh look")
    _add_place(parser)
    _add_output(parser)
    return parser


def _add_gc(verbs: _Verbs) -> _Parser:
    parser = _verb(
        verbs,
        "gc",
        "_gc:gc",
        "forget old events and clear what dead runs left; no status changes",
        """examples:
  sinagot-catalog gc example/harbor --keep 90d""",
    )
    _add_place(parser, positional=True)
    parser.add_argument(
        "--keep", metavar="TIME", default="90d", help="how far back all is kept: 36h, 90d (default), 12w"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    return parser


def _add_explain(verbs: _Verbs) -> _Parser:
    parser = _verb(
        verbs,
        "explain",
        "_explain:explain",
        "why a step of a record has its status, and what would change it",
        """examples:
  sinagot-catalog explain REC-20200603 summary
  sinagot-catalog explain LY-001 alpha --task RS --modality EEG --json

keys of --json: record_id, task, modality, step, status, reason, rules (number, says, status, holds, evidence),
decided_by (the number of the rule), files (role, label, path, exists, size, modified, made_by, near), attempt
(null, or event, run_id, alive, host, started, ended, seconds, attempts, error_type, message, traceback, output),
stale, upstream (step, status, reason, makes), held_by, changes (text, run)""",
    )
    parser.add_argument("record", metavar="ID", help="the record")
    parser.add_argument("label", metavar="STEP", help="the step")
    _add_place(parser)
    _add_snapshot_option(parser)
    parser.add_argument("--task", metavar="T", help="its task, where several units have that step")
    parser.add_argument("--modality", metavar="M", help="its modality, where several units have that step")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    return parser


def _add_report(verbs: _Verbs) -> _Parser:
    parser = _verb(
        verbs,
        "report",
        "_report:report",
        "one self-contained HTML page: completeness, failures, runs, what is missing",
        """examples:
  sinagot-catalog report
  sinagot-catalog report example/harbor -o harbor.html

keys of --json: path, bytes""",
    )
    _add_place(parser, positional=True)
    _add_snapshot_option(parser)
    parser.add_argument(
        "-o", "--output", metavar="FILE", default="report.html", help="by default report.html; it is replaced"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    return parser


def _add_doctor(verbs: _Verbs) -> _Parser:
    parser = _verb(
        verbs,
        "doctor",
        "_doctor:doctor",
        "what is wrong with the set-up, and what to do about it; exit 2 only where a run could not work",
        """examples:
  sinagot-catalog doctor
  sinagot-catalog doctor example/harbor --json

keys of --json: checks (area, state: ok, warning or fault, text, hint), counts""",
    )
    _add_place(parser, positional=True)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    return parser


def _add_server(verbs: _Verbs) -> _Parser:
    parser = _verb(
        verbs,
        "server",
        "_server:server",
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


def _add_deploy(verbs: _Verbs) -> _Parser:
    parser = _verb(
        verbs,
        "deploy",
        "_deploy:deploy",
        "have a filter run on Prefect workers, by a schedule or when asked; what fits is looked up at each run",
        """examples:
  sinagot-catalog deploy nightly --where "status = 'DATA_READY'" --cron "0 2 * * *" --pool local --create-pool
  sinagot-catalog deploy rerun -C s3://lab/sonetaa --where "status = 'ERROR'" --pool docker --image lab/sinagot:3
  eval "$(sinagot-catalog server env)" && prefect worker start --pool local      a worker of the local server

A deployment of that name is replaced. A worker needs this package, access to the workspace at the same address and
its credentials in the environment. It runs the workspace that the deployment was made for, or what
SINAGOT_CATALOG_ALLOW of its environment names.
keys of --json: name, id, url, pool, parameters, n_rows (that it would run now)""",
    )
    parser.add_argument("deployment", metavar="NAME", help="its name; Prefect calls it run-workspace/NAME")
    _add_place(parser)
    _add_deployed(parser)
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
    return parser


def _add_serve(verbs: _Verbs) -> _Parser:
    parser = _verb(
        verbs,
        "serve",
        "_deploy:serve",
        "have a filter run on this machine, by a schedule or when asked, until Ctrl-C; needs no work pool",
        """examples:
  sinagot-catalog serve --name nightly --where "status = 'DATA_READY'" --cron "0 2 * * *"
  sinagot-catalog serve example/harbor --name harbour --every 600

Each run is a process of its own. The schedule is paused when it ends.
With --json the first line of stdout is an object with name, id, url, pool, parameters, n_rows.""",
    )
    _add_place(parser, positional=True)
    parser.add_argument(
        "--name", dest="deployment", metavar="NAME", required=True,
        help="its name; Prefect calls it run-workspace/NAME",
    )  # fmt: skip
    _add_deployed(parser)
    return parser


def _add_deployed(parser: _Parser) -> None:
    which = parser.add_argument_group("which rows, each time")
    which.add_argument("--where", metavar="SQL", help="steps that fit, such as \"status = 'DATA_READY'\"")
    which.add_argument("--step", metavar="L", help="only this step")
    which.add_argument("--limit", metavar="N", type=_count, help="at most so many rows a run")
    which.add_argument(
        "--no-downstream", action="store_true", help="leave what becomes ready by a run to the next run"
    )
    when = parser.add_argument_group("when and how")
    when.add_argument("--cron", metavar="TEXT", help="as in a crontab, such as '0 2 * * *'; else when asked")
    when.add_argument("--every", metavar="S", type=_seconds, help="every S seconds, in place of --cron")
    when.add_argument("--timezone", metavar="TZ", help="of --cron, such as Europe/Paris; by default UTC")
    when.add_argument(
        "--workers", metavar="N", type=_count, help="how many processes run scripts; by default one per core"
    )
    when.add_argument(
        "--concurrency", metavar="N", type=_count, default=1, help="runs at a time; by default 1"
    )
    when.add_argument(
        "--tag", metavar="TAG", action="append", default=[], help="of its runs; may be repeated"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")


def _add_completion(verbs: _Verbs) -> _Parser:
    parser = _verb(
        verbs,
        "completion",
        "_completion:completion",
        "what makes a shell complete verbs, options, ids and steps",
        """examples:
  sinagot-catalog completion bash >> ~/.bashrc
  sinagot-catalog completion zsh > ~/.zfunc/_sinagot-catalog
  sinagot-catalog completion fish > ~/.config/fish/completions/sinagot-catalog.fish""",
    )
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), metavar="bash|zsh|fish")
    parser.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def verbs() -> dict[str, _Parser]:
    """Every verb with its parser."""
    under = _Parser(prog="sinagot-catalog").add_subparsers(parser_class=_Parser)
    return {add.__name__.removeprefix("_add_"): add(under) for add in _VERBS}


_VERBS = (
    _add_init,
    _add_status,
    _add_ls,
    _add_plan,
    _add_run,
    _add_submit,
    _add_watch,
    _add_logs,
    _add_snapshot,
    _add_diff,
    _add_explain,
    _add_report,
    _add_doctor,
    _add_gc,
    _add_server,
    _add_deploy,
    _add_serve,
    _add_completion,
)


# --- what several verbs take -------------------------------------------------------------------------------


def _verb(verbs: _Verbs, name: str, does: str, about: str, examples: str) -> _Parser:
    parser: _Parser = verbs.add_parser(name, help=about, description=about, epilog=examples)
    parser.set_defaults(verb=_late(does), name=name)
    parser.add_argument(
        "--debug", action="store_true", help=_DEBUG.get(name, "show the traceback of an error")
    )
    return parser


_DEBUG = {"run": "run in this process, log everything, and raise what a script raises"}


def _late(does: str) -> Callable[[argparse.Namespace], int]:
    """The function that does a verb, imported when it is called."""

    def call(args: argparse.Namespace) -> int:
        module, _, name = does.partition(":")
        code: int = getattr(import_module(f"sinagot_catalog.cli.{module}"), name)(args)
        return code

    return call


def _add_place(parser: _Parser, *, positional: bool = False) -> None:
    if positional:
        parser.add_argument("place", nargs="?", metavar="WORKSPACE", help="folder, URL or toml; as -C")
    parser.add_argument(
        "-C", "--workspace", metavar="PLACE", default=argparse.SUPPRESS,
        help="folder, URL or toml of the workspace; by default the nearest folder above with a workspace.toml",
    )  # fmt: skip
    parser.add_argument(
        "--config", metavar="FILE", action="append", default=argparse.SUPPRESS,
        help="a further toml, merged over the workspace's; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--trust", action="store_true", default=argparse.SUPPRESS,
        help="evaluate computed patterns of scripts that are not your own",
    )  # fmt: skip


def _add_snapshot_option(parser: _Parser) -> None:
    parser.add_argument(
        "--snapshot", metavar="NAME", nargs="?", const="latest",
        help="as it was when that snapshot (by default the newest) was kept: nothing is listed",
    )  # fmt: skip


def _add_selection(parser: _Parser) -> None:
    _add_place(parser, positional=True)
    which = parser.add_argument_group("which rows")
    which.add_argument("--where", metavar="SQL", help="steps that fit, such as \"status = 'ERROR'\"")
    which.add_argument("--status", metavar="S", action="append", help="steps of this status; may be repeated")
    which.add_argument("--step", metavar="L", help="this step; it is tried even where an input is missing")
    which.add_argument("--record", metavar="ID", action="append", help="this record; may be repeated")
    which.add_argument(
        "--rows",
        metavar="FILE",
        help="a CSV, Parquet, IPC or JSON file with record_id [task modality step]; - for CSV from stdin",
    )
    which.add_argument("--limit", metavar="N", type=_count, help="run at most so many rows")
    which.add_argument("--force", action="store_true", help="what is done, too")
    which.add_argument("--stale", action="store_true", help="what is stale, too")
    which.add_argument("--downstream", action="store_true", help="what becomes ready by this run, too")
    which.add_argument("--ignore-missing", action="store_true", help="try rows that lack an input, too")


def _add_running(parser: _Parser) -> None:
    parser.add_argument(
        "--workers", metavar="N", type=_count, help="how many processes; by default one per core"
    )
    parser.add_argument(
        "--strict", action="store_true", help="exit 3 also for rows without data, or left to another run"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no bar, no log lines")
    _add_output(parser)


def _add_output(parser: _Parser) -> None:
    group = parser.add_argument_group("output").add_mutually_exclusive_group()
    group.add_argument("--json", action="store_true", help="JSON on stdout")
    group.add_argument("--csv", action="store_true", help="CSV on stdout")
    group.add_argument("--parquet", metavar="FILE", help="the rows as a Parquet file")


def _seconds(text: str) -> float:
    """A pause."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return seconds


def _duration(text: str) -> float:
    """A time with its unit; seconds without one."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d|)", text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 30s, 5m or 1h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}[match[2]]


def _count(text: str) -> int:
    """A number of things: not negative."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rows")
    return int(text)
