"""Argument parsers of the verbs that inspect, create or clean a workspace."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from sinagot_catalog.cli.parser_common import (
    add_output,
    add_place,
    add_snapshot_option,
    add_steps,
    add_where,
    count,
    seconds,
    verb,
)

if TYPE_CHECKING:
    from sinagot_catalog.cli.parser_common import Parser, Verbs

__all__ = [
    "add_completion",
    "add_diff",
    "add_doctor",
    "add_explain",
    "add_gc",
    "add_init",
    "add_logs",
    "add_ls",
    "add_report",
    "add_snapshot",
    "add_status",
]

TABLES = ("records", "units", "files", "steps", "events", "links")


def add_init(verbs: Verbs) -> Parser:
    """Declare the verb `init`."""
    parser = verb(
        verbs,
        "init",
        "init:init",
        "make a workspace to start from; nothing is ever overwritten",
        """examples:
  sinagot-catalog init                      a small one, here
  sinagot-catalog init harbor --example     a month of a harbour's boats, with three scripts
  sinagot-catalog init --from-files 'raw/{id}-raw.csv'     around files that lie here (or in ./dataset)
  sinagot-catalog init --from-files 'images/{date}/{shot}.png'    the same with fields of an id
  sinagot-catalog init --prefect            with a prefect.yaml; beside a workspace that is there, only that""",
    )
    parser.add_argument("folder", nargs="?", default=".", metavar="DIR", help="where; by default here")
    parser.add_argument("--example", action="store_true", help="the harbour example with its data")
    parser.add_argument(
        "--from-files",
        metavar="PATTERN",
        help="propose an id_pattern from files that are there; {id} stands for the id, or names such as {day} and "
        "{ses?} for its fields; {task} and {modality} too",
    )
    parser.add_argument(
        "--prefect", action="store_true", help="also a prefect.yaml, for `prefect deploy --all` to deploy"
    )
    return parser


def add_status(verbs: Verbs) -> Parser:
    """Declare the verb `status`."""
    parser = verb(
        verbs,
        "status",
        "status:status",
        "counts per step and status, and what can run next",
        """examples:
  sinagot-catalog status
  sinagot-catalog status example/harbor --where "record_id > 'REC-20200610'"
  sinagot-catalog status --by task,modality --json
  sinagot-catalog status --watch 5

keys of --json: workspace, records, files, seconds (of the look), snapshot (null, or its name), counts (a row per
group: the columns of --by, init, data_ready, processing, done, error, data_not_available, unknown, failed (the
last attempt, also where older outputs make a row done), stale, total),
totals (the same without group), next (command, rows, steps; null where nothing can run)""",
    )
    add_place(parser, positional=True)
    add_snapshot_option(parser)
    parser.add_argument(
        "--by", metavar="A,B", help="columns of steps or records to count by, instead of the step"
    )
    add_where(parser, "only steps that fit, such as \"record_id > 'REC-2'\"")
    add_steps(parser, "only this step")
    parser.add_argument(
        "--stale", action="store_true", help="count what is stale, too; reads sizes and times"
    )
    parser.add_argument(
        "--watch",
        nargs="?",
        type=seconds,
        const=2.0,
        metavar="S",
        help="look again every S seconds, until Ctrl-C",
    )
    add_output(parser)
    return parser


def add_ls(verbs: Verbs) -> Parser:
    """Declare the verb `ls`."""
    parser = verb(
        verbs,
        "ls",
        "ls:ls",
        "rows of a table: records (the default), units, files, steps, events, links",
        """examples:
  sinagot-catalog ls
  sinagot-catalog ls steps --where "status = 'ERROR'" --columns record_id,step,message
  sinagot-catalog ls files --where "size = 0" --csv

--json, --csv and --parquet have the table's columns, as the README lists them. Columns that need sizes or times of
files (stale; size and times of records) are there where --columns or --where names them.""",
    )
    parser.add_argument("table", nargs="?", default="records", choices=TABLES, metavar="TABLE")
    add_place(parser)
    add_snapshot_option(parser)
    add_where(parser, "only rows that fit; columns of records may be named, too")
    parser.add_argument("--columns", metavar="A,B", help="these columns, in this order")
    parser.add_argument(
        "--limit", metavar="N", type=count, help="at most so many rows (on a terminal 100; 0 for all)"
    )
    add_output(parser)
    return parser


def add_logs(verbs: Verbs) -> Parser:
    """Declare the verb `logs`."""
    parser = verb(
        verbs,
        "logs",
        "logs:logs",
        "what scripts said, and the tracebacks of failures; oldest first",
        """examples:
  sinagot-catalog logs REC-20200603 --step count
  sinagot-catalog logs --failed
  sinagot-catalog logs --failed --group     each kind of failure once, with the command to run its rows again

--json, --csv and --parquet have the columns of the table events; with --group task, modality, step, error_type,
message, n, first, last, examples, command.""",
    )
    parser.add_argument("record", nargs="?", metavar="ID", help="only this record")
    add_place(parser)
    add_steps(parser, "only this step")
    parser.add_argument(
        "--record", dest="records", metavar="ID", action="append", help="this record, too; may be repeated"
    )
    parser.add_argument(
        "--failed", action="store_true", help="only the failure of each row whose last attempt failed"
    )
    parser.add_argument(
        "--limit", metavar="N", type=count, help="the last so many (on a terminal 200; 0 for all)"
    )
    parser.add_argument(
        "--group", action="store_true", help="the failures by step, type and kind of message, each kind once"
    )
    parser.add_argument(
        "--run", metavar="RUN", help="only what this run wrote, by the name that it was given"
    )
    parser.add_argument("--follow", action="store_true", help="go on with what runs say, until Ctrl-C")
    add_output(parser)
    return parser


def add_snapshot(verbs: Verbs) -> Parser:
    """Declare the verb `snapshot`."""
    parser = verb(
        verbs,
        "snapshot",
        "diff:snapshot",
        "keep the catalog as it is, for a later diff; prints its name",
        """examples:
  sinagot-catalog snapshot
  sinagot-catalog snapshot s3://lab/sonetaa""",
    )
    add_place(parser, positional=True)
    return parser


def add_diff(verbs: Verbs) -> Parser:
    """Declare the verb `diff`."""
    parser = verb(
        verbs,
        "diff",
        "diff:diff",
        "what changed between two snapshots, or since one",
        """examples:
  sinagot-catalog diff                      since the newest snapshot
  sinagot-catalog diff 20260101T120000-123456
  sinagot-catalog diff 20260101T120000-123456 20260201T120000-654321 --json

--json, --csv and --parquet have a row per change: what (record, file, step, metadata), change (new, gone, changed),
record_id, task, modality, step, path, column (of the metadata), before and after (a file's size, a step's status,
a record's value).""",
    )
    parser.add_argument("before", nargs="?", metavar="A", help="the earlier snapshot; by default the newest")
    parser.add_argument("after", nargs="?", metavar="B", help="the later one; by default a fresh look")
    add_place(parser)
    add_output(parser)
    return parser


def add_gc(verbs: Verbs) -> Parser:
    """Declare the verb `gc`."""
    parser = verb(
        verbs,
        "gc",
        "gc:gc",
        "forget old events and clear what dead runs left; no status changes",
        """examples:
  sinagot-catalog gc example/harbor --keep 90d""",
    )
    add_place(parser, positional=True)
    parser.add_argument(
        "--keep", metavar="TIME", default="90d", help="how far back all is kept: 36h, 90d (default), 12w"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    return parser


def add_explain(verbs: Verbs) -> Parser:
    """Declare the verb `explain`."""
    parser = verb(
        verbs,
        "explain",
        "explain:explain",
        "why a step of a record has its status, and what would change it; or what made a file",
        """examples:
  sinagot-catalog explain REC-20200603 summary
  sinagot-catalog explain LY-001 alpha --task RS --modality EEG --json
  sinagot-catalog explain report/REC-20200603.txt      which step, run, code, parameters and inputs made it

keys of --json: record_id, task, modality, step, status, reason, rules (number, name, says, status, holds,
evidence), decided_by (the number of the rule), rule (its name), files (role, label, path, exists, size, modified,
made_by, near), attempt
(null, or event, run_id, alive, host, started, ended, seconds, attempts, error_type, message, traceback, output),
stale, upstream (step, status, reason, makes), held_by, changes (text, run)

keys for a file: path, role, record_id, task, modality, step, readers, event, run_id, host, time, seconds,
script_version, workspace_version, code, params, record, inputs (as files above), stale""",
    )
    parser.add_argument("record", metavar="ID", help="the record; or, without a step, the path of a file")
    parser.add_argument("label", metavar="STEP", nargs="?", help="the step")
    add_place(parser)
    add_snapshot_option(parser)
    parser.add_argument("--task", metavar="T", help="its task, where several units have that step")
    parser.add_argument("--modality", metavar="M", help="its modality, where several units have that step")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    return parser


def add_report(verbs: Verbs) -> Parser:
    """Declare the verb `report`."""
    parser = verb(
        verbs,
        "report",
        "report:report",
        "one self-contained HTML page: completeness, failures, runs, what is missing",
        """examples:
  sinagot-catalog report
  sinagot-catalog report example/harbor -o harbor.html

keys of --json: path, bytes""",
    )
    add_place(parser, positional=True)
    add_snapshot_option(parser)
    parser.add_argument(
        "-o", "--output", metavar="FILE", default="report.html", help="by default report.html; it is replaced"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    return parser


def add_doctor(verbs: Verbs) -> Parser:
    """Declare the verb `doctor`."""
    parser = verb(
        verbs,
        "doctor",
        "doctor:doctor",
        "what is wrong with the set-up, and what to do about it; exit 2 only where a run could not work",
        """examples:
  sinagot-catalog doctor
  sinagot-catalog doctor example/harbor --json

keys of --json: checks (area, state: ok, warning or fault, text, hint), counts""",
    )
    add_place(parser, positional=True)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    return parser


def add_completion(verbs: Verbs) -> Parser:
    """Declare the verb `completion`."""
    parser = verb(
        verbs,
        "completion",
        "completion:completion",
        "what makes a shell complete verbs, options, ids and steps",
        """examples:
  sinagot-catalog completion bash >> ~/.bashrc
  sinagot-catalog completion zsh > ~/.zfunc/_sinagot-catalog
  sinagot-catalog completion fish > ~/.config/fish/completions/sinagot-catalog.fish""",
    )
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), metavar="bash|zsh|fish")
    parser.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser
