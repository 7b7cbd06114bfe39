"""What travels from a plan to the process that runs its rows: plain, picklable, standard library only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from sinagot_catalog.patterns import Template

__all__ = [
    "FAILED",
    "Group",
    "Outcome",
    "Port",
    "Remote",
    "Result",
    "Row",
    "RunSpec",
    "StorageOptions",
    "Task",
    "UnitStepSpec",
    "tasks_of",
]

Row: TypeAlias = tuple[int, int, str]
"""Number of the row in the plan, index into the cells, record id."""

Group: TypeAlias = list[Row]
"""Rows that one worker runs in this order: a chain of one record."""

Task: TypeAlias = tuple[Group, Group, dict[int, int]]
"""What is left of a group, its rows that failed already, and the attempts already used, by row."""

Outcome: TypeAlias = Literal[
    "done", "error", "timeout", "blocked", "not_available", "already_done", "claimed", "cancelled"
]

StorageOptions: TypeAlias = Mapping[str, Mapping[str, Any]]
"""fsspec options by part: they hold secrets, and are handed on beside a `RunSpec`, never in it."""

FAILED: frozenset[str] = frozenset({"error", "timeout", "blocked", "not_available"})
"""Outcomes of a row whose outputs later rows of its group wait for in vain."""


@dataclass(frozen=True)
class Port:
    """One path that a step reads or writes.

    Attributes:
        label: Its key where the script gives a dict of paths, None for a single path.
        template: Its pattern, task and modality already filled in.
        inside: Of an input that is a folder of raw data: what steps declare in it, which does not count.
        roots: Where it is looked for, in this order.
    """

    label: str | None
    template: Template
    inside: tuple[Template, ...] = ()
    roots: tuple[str, ...] = ("outputs", "dataset")


@dataclass(frozen=True)
class UnitStepSpec:
    """One step of one unit, the same for every record.

    Attributes:
        task: The task of the unit, None in unit mode.
        modality: The modality of the unit, None in unit mode.
        step: The label of the step.
        script: Local path of the script's file.
        inputs: What it reads.
        outputs: What it writes.
        controls: What it may write, also when it fails.
        version: `VERSION` of the script.
        retries: How many times more a failed row is tried.
        timeout: Seconds that one attempt may take.
        command: The text of a step that is a program; it has no script.
        code: The hash of its code; see `_code_hash`.
    """

    task: str | None
    modality: str | None
    step: str
    script: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    controls: tuple[Port, ...] = ()
    version: str | None = None
    retries: int = 0
    timeout: float | None = None
    command: str | None = None
    code: str | None = None


@dataclass(frozen=True)
class Remote:
    """What a run needs to know of which at least one part lies in a bucket.

    Attributes:
        log: The URL of the `LOG` folder, or its local folder.
        spool: A local folder of this run: staging, and the journal on its way to the bucket.
        fetch_limit: How many bytes of fetched inputs a worker may keep.
    """

    log: str
    spool: str
    fetch_limit: int


@dataclass(frozen=True)
class RunSpec:
    """What every row of a run shares.

    Attributes:
        run_id: The name of the run.
        dataset: Local folder, or URL, of the dataset.
        outputs: Where outputs are published to; often the dataset's.
        log: The `LOG` folder: journal and staging; where that lies in a bucket, the local folder for it.
        scripts: The folder of the scripts.
        id_pattern: The regular expression of record ids.
        cells: The steps that rows refer to by index.
        workspace_version: `[info] version`.
        force: Run rows whose outputs are there already.
        ignore_missing: Run rows whose inputs are absent.
        debug: Log at DEBUG; in the main process raise what a script raises.
        durable: Outlive a loss of power, not only the death of processes.
        log_level: The least level of `self.logger` that is kept.
        threads_per_worker: The cap that numeric libraries are given.
        memory_limit: Bytes that a worker process may use.
        redo: Rows, by number, that run although their outputs are there: some are new and some old.
        empty_outputs: `keep`, or `error`: what an output without a byte is.
        links: The literal folders of outputs that were links when the run began, and where each leads; None: they
            are looked up when the place is opened.
        claim: The number of the run's claim.
        follow_links: Whether links to folders count also where their names vary.
        remote: Set where the dataset, the outputs or the journal lie in a bucket. What opens it is not in here.
    """

    run_id: str
    dataset: str
    outputs: str
    log: str
    scripts: str
    id_pattern: str
    cells: tuple[UnitStepSpec, ...]
    workspace_version: str | None = None
    force: bool = False
    ignore_missing: bool = False
    debug: bool = False
    durable: bool = False
    log_level: str = "INFO"
    threads_per_worker: int = 1
    memory_limit: int | None = None
    redo: frozenset[int] = frozenset()
    empty_outputs: str = "keep"
    links: Mapping[str, str] | None = None
    claim: int = 0
    follow_links: bool = False
    remote: Remote | None = None


class Result(NamedTuple):
    """How one row ended.

    Attributes:
        row: Its number in the plan.
        outcome: The word for it.
        seconds: How long its attempts took together.
        attempts: How many there were.
        error_type: The class of the exception, `Timeout` or `WorkerDied`.
        message: One sentence for people.
        extras: Published paths, relative to the outputs folder, that no output declares.
    """

    row: int
    outcome: Outcome
    seconds: float = 0.0
    attempts: int = 0
    error_type: str | None = None
    message: str | None = None
    extras: tuple[str, ...] = ()


def tasks_of(groups: Sequence[Group]) -> list[Task]:
    """Wrap groups that nobody has begun."""
    return [(group, [], {}) for group in groups]
