"""Table schemas: names and dtypes of every table that this library returns.

Paths are relative to the dataset root and use `/`. Times are UTC. A table has its schema even without rows. In a
workspace without tasks and modalities the columns `task` and `modality` are null.
"""

from collections.abc import Iterable, Mapping

import polars as pl

from sinagot_catalog.status import CODES, FAILURES, StepStatus

STATUS = pl.Enum([status.name for status in StepStatus])
"""The dtype of `status`: the names of `StepStatus`, in the order of their numbers."""

STATUS_NUMBER = (
    pl.col("status").cast(pl.String).replace_strict(CODES, default=None, return_dtype=pl.Int64)
).alias("step_status")
"""The number of `status`, under sinagot's name of it."""

TIME = pl.Datetime("us", "UTC")
KIND = pl.Enum(["file", "directory"])
ROLE = pl.Enum(["output", "input", "control", "data"])
OUTCOMES = (
    "done",
    "error",
    "timeout",
    "blocked",
    "not_available",
    "claimed",
    "already_done",
    "cancelled",
)
"""The possible outcomes of a job, in the order of reports."""
OUTCOME = pl.Enum(OUTCOMES)
FAILED_OUTCOMES = tuple(outcome for outcome in OUTCOMES if outcome in FAILURES)
"""The outcomes of a job that count as failures."""
ATTEMPT = pl.Enum(["done", "error", "timeout", "lost", "cancelled", "not_available"])
"""The possible outcomes of the last attempt at a step."""
FAILED_ATTEMPTS = tuple(outcome for outcome in ATTEMPT.categories if outcome in FAILURES)
"""The outcomes of an attempt that count as failures."""
ACTION = pl.Enum(["run", "skip", "blocked"])

KEYS = {"record_id": pl.String(), "task": pl.String(), "modality": pl.String(), "step": pl.String()}
"""The key of a row of `steps`; the first three are the key of a row of `units`."""

STATUS_COUNTS: dict[str, pl.DataType] = {
    f"n_{name.lower()}": pl.UInt32() for name in (*STATUS.categories, "UNKNOWN")
}
"""The number of steps of a record or unit in each status; `n_unknown` counts the null ones."""

RECORDS: dict[str, pl.DataType] = {
    "record_id": pl.String(),
    # the named groups of `id_pattern` and the columns of the metadata tables are inserted here
    "n_units": pl.UInt32(),
    "n_steps": pl.UInt32(),
    **STATUS_COUNTS,
    "n_files": pl.UInt32(),
    "size": pl.Int64(),
    "first_modified": TIME,
    "last_modified": TIME,
}
"""One row per record. The groups of `id_pattern` and the metadata columns follow `record_id`."""

UNITS: dict[str, pl.DataType] = {
    "record_id": pl.String(),
    "task": pl.String(),
    "modality": pl.String(),
    "has_data": pl.Boolean(),
    "n_steps": pl.UInt32(),
    **STATUS_COUNTS,
    "next_step": pl.String(),
}
"""One row per record, task and modality that the config declares, with or without files."""

FILES: dict[str, pl.DataType] = {
    "path": pl.String(),
    "size": pl.Int64(),
    "modified": TIME,
    "etag": pl.String(),
    "kind": KIND,
    **KEYS,
    "role": ROLE,
}
"""One row per file, or directory that a pattern names. `step` makes the file, or is its only reader."""

STEPS: dict[str, pl.DataType] = {
    "record_id": pl.String(),
    "task": pl.String(),
    "modality": pl.String(),
    "step_index": pl.UInt16(),
    "step": pl.String(),
    "status": STATUS,
    "reason": pl.String(),
    "missing": pl.String(),
    "stale": pl.Boolean(),
    "outcome": ATTEMPT,
    "by": pl.String(),
    "n_inputs": pl.UInt16(),
    "n_inputs_found": pl.UInt16(),
    "n_outputs": pl.UInt16(),
    "n_outputs_found": pl.UInt16(),
    "run_id": pl.String(),
    "started": TIME,
    "ended": TIME,
    "seconds": pl.Float64(),
    "attempts": pl.UInt16(),
    "error_type": pl.String(),
    "message": pl.String(),
    "host": pl.String(),
}
"""One row per unit and step; `outcome`, and all columns from `run_id` on, describe the last attempt."""

LINKS: dict[str, pl.DataType] = {
    **KEYS,
    "role": ROLE,
    "label": pl.String(),
    "path": pl.String(),
    "root": pl.String(),
    "exists": pl.Boolean(),
}
"""One row per step and path that it reads or writes, whether the path exists or not."""

EVENTS: dict[str, pl.DataType] = {
    "time": TIME,
    "event": pl.String(),
    "run_id": pl.String(),
    "claim": pl.Int64(),
    **KEYS,
    "status": STATUS,
    "message": pl.String(),
    "error_type": pl.String(),
    "traceback": pl.String(),
    "output": pl.String(),
    "seconds": pl.Float64(),
    "attempts": pl.UInt16(),
    "host": pl.String(),
    "pid": pl.Int64(),
    "workspace_version": pl.String(),
    "script_version": pl.String(),
    "code": pl.String(),
    "params": pl.String(),
}
"""One row per line of the journal.

`claim` is the number of the run's claim, 0 for a line without one. `output` is the beginning and the end of the
text that a script printed, successful or not. `code` is the hash of the step's code, in events `done`,
`accepted` and `error`; so is `params`, the parameters that the row read, as JSON.
"""

PLAN: dict[str, pl.DataType] = {**KEYS, "action": ACTION, "reason": pl.String(), "status": STATUS}
"""One row per selected row of `steps`, in run order."""

REPORT: dict[str, pl.DataType] = {
    **KEYS,
    "outcome": OUTCOME,
    "seconds": pl.Float64(),
    "attempts": pl.UInt16(),
    "error_type": pl.String(),
    "message": pl.String(),
}
"""One row per job of a run."""

EXCLUSIONS: dict[str, pl.DataType] = {
    "line": pl.UInt32(),
    **KEYS,
    "reason": pl.String(),
    "who": pl.String(),
    "when": pl.String(),
}
"""One row per row of the table of exclusions; a null `task`, `modality` or `step` stands for all."""

TABLES: dict[str, dict[str, pl.DataType]] = {
    "records": RECORDS,
    "units": UNITS,
    "files": FILES,
    "steps": STEPS,
    "links": LINKS,
    "events": EVENTS,
}
"""The tables that `Workspace.sql` accepts, by name."""

TIMED = {
    "records": frozenset({"size", "first_modified", "last_modified"}),
    "steps": frozenset({"stale"}),
}
"""Columns that need sizes or times of files: a frame contains them only if the user names them."""


def of_key(key: Mapping[str, str | None], names: Iterable[str] = KEYS) -> pl.Expr:
    """Return the condition of the row with a key.

    Example:
        >>> rows = pl.DataFrame({"record_id": ["A", "B"], "task": None, "modality": "EEG", "step": "clean"})
        >>> rows.filter(of_key({"record_id": "B", "task": None, "modality": "EEG", "step": "clean"})).rows()
        [('B', None, 'EEG', 'clean')]
    """
    return pl.all_horizontal(pl.col(name).eq_missing(pl.lit(key[name], pl.String)) for name in names)
