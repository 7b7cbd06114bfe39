"""`sbatch`: submits a run in parts to Slurm."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sinagot_catalog.cli.echo import say
from sinagot_catalog.cli.output import put, put_json, put_whole
from sinagot_catalog.cli.parser.command import PASSED_ON, Option, flag, numbered, verb
from sinagot_catalog.cli.parser.options import EXTENT, ONE_OBJECT, ROWS, WORKERS
from sinagot_catalog.cli.workspace_args import (
    open_workspace,
    say_what_is_missing,
    selected,
    source_of,
    words_of,
)
from sinagot_catalog.config import count_of
from sinagot_catalog.errors import SelectionError
from sinagot_catalog.schema import KEYS

if TYPE_CHECKING:
    import polars as pl

    from sinagot_catalog.workspace import Workspace

_OPTIONS = ("force", "ignore_missing", "downstream", "upstream", "stale")
_PLACES = ("-o", "--output", "-D", "--chdir")
"""Options of sbatch that say where the jobs write."""


@verb(
    "run what is not done as jobs of Slurm: an array of parts, then what reads other records",
    """
  sinagot-catalog sbatch example/harbor --parts 100 --array-limit 20
  sinagot-catalog sbatch --parts 50 --where "status = 'DATA_READY'" -- --mem=8G --time=2:00:00 -c 4
  sinagot-catalog sbatch --parts 100 --print -- --mem=8G > parts.sh      the script, for `sbatch parts.sh`

Options of sbatch come after --. Each job looks for its rows when it starts, runs as many at once as it has CPUs
(-c), and ends 3 if rows failed. The last job starts when the array has ended, whether its rows failed or not.
--json: array and last, the ids of the jobs; null for a job that is not needed.""",
    ROWS,
    EXTENT,
    Option("--parts", metavar="N", type=numbered, required=True, help="how many jobs share the records"),
    Option("--array-limit", metavar="N", type=numbered, help="how many of them run at the same time"),
    flag("--print", "prints", help="write the script to stdout; submit nothing"),
    WORKERS,
    ONE_OBJECT,
    PASSED_ON,
)
def sbatch(args: Any) -> int:
    """Submit the selected rows to Slurm, or print the script."""
    from sinagot_catalog.cluster import SlurmRun, requests
    from sinagot_catalog.flows import address_of

    if args.rows == "-":
        raise SelectionError("--rows: the jobs cannot read stdin", "Name a file that they can read.")
    ws = open_workspace(args)
    first, further = address_of(source_of(ws))
    config = [word for file in further or () for word in ("--config", file)]
    words = ["-C", first, *config, *_words(args)]
    steps, options = selected(ws, args), {name: getattr(args, name) for name in _OPTIONS}
    plan = steps.plan(args.step, **options)
    last = steps.plan(args.step, part="last", **options)
    in_parts = plan.frame.join(last.frame, on=list(KEYS), how="anti", nulls_equal=True)
    resource_options = requests(
        plan.needs, _counts(in_parts, last.frame, args.parts), args.passed_on or (), args.workers
    )
    run = SlurmRun(
        ws.config.name, words, args.parts, args.array_limit, args.passed_on or (), resource_options
    )
    if args.prints:
        put_whole(run.printed(), end="")
        return 0
    n_rows = in_parts.filter(action="run").height
    jobs = run.submit(array=bool(n_rows), last=not last.frame.is_empty() and bool(plan.n_run))
    _tell(ws, args, jobs, n_rows)
    return 0


def _counts(in_parts: pl.DataFrame, last: pl.DataFrame, parts: int) -> list[dict[str, int]]:
    """Return how many rows of each step the parts run, and the last job."""
    from sinagot_catalog.run import part_numbers

    found = in_parts.filter(action="run")
    found = found.with_columns(part_numbers(found["record_id"], parts).alias("part"))
    frames = [*found.partition_by("part"), last.filter(action="run")]
    return [dict(frame.group_by("step").len().iter_rows()) for frame in frames]


def _words(args: Any) -> list[str]:
    """Return the options that choose rows, as words for `run`."""
    words = words_of(args, "trust", "where", "status", "step", "record")
    words += ["--rows", str(Path(args.rows).resolve())] if args.rows else []
    words += [] if args.stale is None else ["--stale=code" if args.stale == "code" else "--stale"]
    return words + words_of(args, "force", "downstream", "upstream", "ignore_missing", "workers")


def _tell(ws: Workspace, args: Any, jobs: dict[str, str | None], rows: int) -> None:
    """Print the ids of the jobs."""
    if args.json:
        put_json(jobs)
        return
    if not any(jobs.values()):
        put("nothing to do: no row can run")
        say_what_is_missing(ws)
    if jobs["array"]:
        put(f"job {jobs['array']}: {count_of(rows, 'row')} in {count_of(args.parts, 'part')}")
    if jobs["last"]:
        after = f", after {jobs['array']}" if jobs["array"] else ""
        put(f"job {jobs['last']}: what belongs to no part{after}")
    if any(jobs.values()):
        is_elsewhere = any(word.startswith(_PLACES) for word in args.passed_on or ())
        where = "" if is_elsewhere else "; what they write goes to slurm-JOB.out in this folder"
        say(f"squeue shows them{where}")
