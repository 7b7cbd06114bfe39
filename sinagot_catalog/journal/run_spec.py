"""Run specifications: the plain, picklable data that a plan sends to the processes that run its rows.

Workers send back a `Result` per row. Standard library only.
"""

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, field
from typing import Any, Literal, NamedTuple, TypeAlias

from sinagot_catalog.patterns import Template
from sinagot_catalog.startup import dataclass
from sinagot_catalog.status import FAILURES

Row: TypeAlias = tuple[int, int, str]
"""Number of the row in the plan, index into the unit steps (`RunSpec.cells`), record id."""

Group: TypeAlias = list[Row]
"""Rows that one worker runs in this order: a chain of one record."""

Task: TypeAlias = tuple[Group, Group, dict[int, int]]
"""The remaining rows of a group, its rows that failed already, and the attempts already used, by row."""

Outcome: TypeAlias = Literal[
    "done", "error", "timeout", "blocked", "not_available", "already_done", "claimed", "cancelled"
]

LATEST = 2**63 - 1
"""In `Unrecorded.outputs`, the end of a time without an end."""
NEVER = (LATEST, 0)
"""In `Unrecorded.outputs`, a row that made nothing."""

StorageOptions: TypeAlias = Mapping[str, Mapping[str, Any]]
"""fsspec options by part. They hold secrets, so they are passed beside a `RunSpec`, never in it."""

FAILED = FAILURES | {"not_available"}
"""Outcomes of a row without outputs: later rows of its group that need them are blocked."""


class Resources(NamedTuple):
    """What a row of a step needs of its machine; 0 where the step does not say.

    Attributes:
        cpus: The number of CPUs.
        memory: Bytes.
        gpus: The number of GPUs.
        time: Seconds.
    """

    cpus: int = 0
    memory: int = 0
    gpus: int = 0
    time: float = 0.0


NO_RESOURCES = Resources()
"""Of a step that does not say what it needs."""


@dataclass(frozen=True)
class Port:
    """One path that a step reads or writes.

    Attributes:
        label: Its key if the script declares a dict of paths, None for a single path.
        template: Its pattern, with task and modality already filled in.
        inside: For an input that is a folder of raw data: the paths that steps declare in it, which do not count as
            raw data.
        roots: The roots in which it is searched, in this order.
        others: For an input its further alternatives, which are tried in this order.
        is_optional: For an input whether the step runs without it.
        per: For an input of a group step: `row`, the group has it; `member`, each member has one; `shared`, several
            members share one.
    """

    label: str | None
    template: Template
    inside: tuple[Template, ...] = ()
    roots: tuple[str, ...] = ("outputs", "dataset")
    others: tuple["Port", ...] = ()
    is_optional: bool = False
    per: Literal["row", "member", "shared"] = "row"

    @property
    def is_plain(self) -> bool:
        """Whether it names exactly one path, which has to exist."""
        return not (self.others or self.is_optional or self.template.is_wild or self.per != "row")


@dataclass(frozen=True)
class StepSettings:
    """What a workspace declares of a step of a unit, but for its paths; the same for every record.

    Attributes:
        task: The task of the unit, None in unit mode.
        modality: The modality of the unit, None in unit mode.
        step: The label of the step.
        script: Path of the script's file; for a program its name in the config.
        version: `VERSION` of the script.
        retries: How many more times a failed row is tried.
        timeout: Seconds that one attempt may take.
        command: The command line of a step that is a program; such a step has no script.
        by: The fields of the groups that it runs over; None if it runs over records.
        is_partial: Whether a group also runs without the members that failed.
        params: Its parameters.
        resources: What a row of it needs.
    """

    task: str | None
    modality: str | None
    step: str
    script: str
    _: KW_ONLY
    version: str | None = None
    retries: int = 0
    timeout: float | None = None
    command: str | None = None
    by: tuple[str, ...] | None = None
    is_partial: bool = False
    params: Mapping[str, Any] = field(default_factory=dict, hash=False)
    resources: Resources = NO_RESOURCES

    @property
    def full_name(self) -> str:
        """Its name among the steps of all units, such as `RS-EEG-clean`."""
        return "-".join(part for part in (self.task, self.modality, self.step) if part)


@dataclass(frozen=True)
class UnitStepSpec(StepSettings):
    """One step of one unit, as a worker runs it.

    Attributes:
        inputs: What it reads.
        outputs: What it writes.
        controls: What it may write, also when it fails.
        code: The hash of its code; see `scripts.code_hash`.
        member_by: The fields of the groups that are the members of its groups; None if records are.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    controls: tuple[Port, ...] = ()
    code: str | None = None
    member_by: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Remote:
    """What a run needs to know if at least one part of it is in a bucket.

    Attributes:
        log: The URL of the `LOG` folder, or its local folder.
        spool: A local folder of this run: staging, and the journal before its upload to the bucket.
        fetch_limit: How many bytes of fetched inputs a worker may keep.
    """

    log: str
    spool: str
    fetch_limit: int


class Unrecorded(NamedTuple):
    """The rows, by number, that may find declared paths in place which no run of them made.

    Attributes:
        outputs: By row the time of its last attempt, from and to, in nanoseconds: an output of another time is not
            of the row. `NEVER` for a row that made no output.
        controls: The rows that never started, and have a control file in place.
    """

    outputs: Mapping[int, tuple[int, int]]
    controls: frozenset[int] = frozenset()


@dataclass(frozen=True)
class RunSpec:
    """What all rows of a run share.

    Attributes:
        run_id: The name of the run.
        dataset: Local folder, or URL, of the dataset.
        outputs: Where outputs are published; often the dataset itself.
        log: The `LOG` folder, with journal and staging; if `LOG` is in a bucket, the local folder for it.
        scripts: The folder of the scripts.
        id_pattern: The regular expression of record ids.
        cells: The unit steps that rows refer to by index.
        workspace_version: `[info] version`.
        force: Run rows whose outputs exist already.
        ignore_missing: Run rows whose inputs are absent.
        debug: Log at DEBUG; in the main process raise what a script raises.
        durable: Survive a loss of power, not only the death of processes.
        log_level: The lowest level of `self.logger` that is recorded.
        threads_per_worker: The limit for the threads of numeric libraries.
        memory_limit: Bytes that a worker process may use.
        redo: Rows, by number, that run although their outputs exist: some outputs are new and some old.
        unrecorded: The rows that may find outputs or controls in place which no run made; the run does not replace
            these. None: the run is forced, and replaces whatever a step declares as a file.
        empty_outputs: `keep` or `error`: how to treat an output without a byte.
        links: The literal folders of outputs that were links when the run began, and the target of each. None: the
            worker looks them up when it opens the files of a row.
        claim: The number of the run's claim.
        follow_links: Whether links to folders count also where their names vary.
        recordings: The patterns of raw data that make records, if outputs are published in the dataset: no row
            makes files of another record there.
        metadata: What the metadata tables tell of the records of the run, see `pack_metadata`.
        path_values: The metadata columns that paths of inputs name, in the same form.
        remote: Set if the dataset, the outputs or the journal are in a bucket. Storage options are not part of it.
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
    unrecorded: Unrecorded | None = None
    empty_outputs: str = "keep"
    links: Mapping[str, str] | None = None
    claim: int = 0
    follow_links: bool = False
    recordings: tuple[Template, ...] = ()
    metadata: bytes | None = None
    path_values: bytes | None = None
    remote: Remote | None = None


def pack_metadata(columns: Mapping[str, Sequence[Any]]) -> bytes:
    """Metadata of records as a member of a spec: `record_id` and the columns of the tables.

    Example:
        >>> unpack_metadata(pack_metadata({"record_id": ["A"], "age": [12]}))
        {'A': {'age': 12}}
    """
    return zlib.compress(json.dumps(columns, default=str).encode(), 1)


def unpack_metadata(packed: bytes) -> dict[str, dict[str, Any]]:
    """The metadata of each record."""
    columns: dict[str, list[Any]] = json.loads(zlib.decompress(packed))
    ids = columns.pop("record_id")
    return {
        record: dict(zip(columns, values, strict=True))
        for record, *values in zip(ids, *columns.values(), strict=True)
    }


class Result(NamedTuple):
    """How one row ended.

    Attributes:
        row: Its number in the plan.
        outcome: The outcome of the row.
        seconds: The total time of its attempts.
        attempts: How many attempts there were.
        error_type: The class of the exception, `Timeout` or `WorkerDied`.
        message: One sentence for the user.
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
    """Wrap groups that have not been started."""
    return [(group, [], {}) for group in groups]
