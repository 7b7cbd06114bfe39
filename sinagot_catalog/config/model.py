"""The model of `workspace.toml`: a dataclass for each section, with names, types and defaults."""

import re
from dataclasses import field
from typing import Annotated, Any, Literal

from sinagot_catalog.config.quantities import parse_duration, parse_size
from sinagot_catalog.config.validator import Check, fault
from sinagot_catalog.errors import did_you_mean
from sinagot_catalog.patterns import is_table
from sinagot_catalog.secrets import masked
from sinagot_catalog.startup import dataclass


def _bytes(value: object) -> object:
    """Read `"2 GB"`, `"512MiB"` or a number of bytes."""
    try:
        return parse_size(value) if isinstance(value, str) else value
    except ValueError:
        raise fault("is not a size: write a number of bytes, or such as '2 GB' or '512 MiB'") from None


def _duration(value: object) -> object:
    """Read `"10m"`, `"2h"` or a number of seconds."""
    try:
        return parse_duration(value) if isinstance(value, str) else value
    except ValueError:
        raise fault("is not a duration: write a number of seconds, or such as '90s', '10m' or '2h'") from None


def _class_path(value: str) -> str:
    """A class with its module, as `dask_jobqueue.SLURMCluster`."""
    if all(part.isidentifier() for part in ["", *value.split(".")][-2:]):
        return value
    raise fault("is not a class with its module, such as 'dask_jobqueue.SLURMCluster'")


def _pattern(value: object) -> object:
    """A path pattern: a string, or a list of strings (stored as a tuple)."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        return tuple(value)
    raise fault("is not a path pattern: write a text or a list of texts")


def _patterns(value: object) -> object:
    """A single path pattern, a table of patterns by port, or an input that is optional or has alternatives."""
    if isinstance(value, dict) and not is_table(value):
        return {label: item if is_table(item) else _pattern(item) for label, item in value.items()}
    return value if is_table(value) else _pattern(value)


def _inputs(value: object) -> object:
    """The patterns of inputs, with what to write for a table that is no input."""
    for label, item in value.items() if isinstance(value, dict) and not is_table(value) else ():
        if isinstance(item, dict) and not is_table(item):
            raise fault(
                f"has a table {label!r} that is no input: write {{path = '…', optional = true}} or "
                "{any_of = ['…', '…']}"
            )
    return _patterns(value)


def _tables(value: object) -> object:
    """A single metadata table or several: paths, or tables with `path` and `key`."""
    several = value if isinstance(value, list) else [value]
    if not all(isinstance(table, (str, dict)) for table in several):
        raise fault(
            "is not a table file: write a path, a list of paths, or {path = 'ages.csv', key = ['sub']}"
        )
    return [{"path": table} if isinstance(table, str) else table for table in several]


def _text(value: object) -> object:
    """A version as text; the user may write it as a number."""
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _level(value: str) -> str:
    levels = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
    if value.upper() not in levels:
        raise fault(f"is not one of {', '.join(map(repr, levels))}{did_you_mean(value, levels)}")
    return value.upper()


def _web_address(value: str) -> str:
    if not re.match(r"https?://\S+$", value):
        raise fault("is not a web address: write one that begins with https:// or http://")
    return value


def _csv_path(value: str) -> str:
    if not value.lower().endswith((".csv", ".tsv")):
        raise fault("is not a CSV file: write a path such as 'exclude.csv'")
    return value


def _format(value: str) -> str:
    import logging

    try:
        logging.Formatter(value)
    except ValueError:
        raise fault("is not a format of Python's logging such as '%(asctime)s : %(message)s'") from None
    return value


Names = tuple[str, ...]
Params = dict[str, Any]
Count = Annotated[int, Check(at_least=0)]
Positive = Annotated[int, Check(at_least=1)]
Seconds = Annotated[float, Check(above=0, before=_duration)]
Pattern = Annotated[str | tuple[str, ...] | None, Check(before=_pattern)]
Patterns = Annotated[Any, Check(before=_patterns)]
Inputs = Annotated[Any, Check(before=_inputs)]


@dataclass(frozen=True)
class PathSection:
    """`[path]` as it is written; `Config` has the resolved paths."""

    dataset: str = "dataset"
    scripts: str = "scripts"
    outputs: str | None = None
    log: str | None = None
    follow_links: bool = False

    def __repr__(self) -> str:
        return masked(f"PathSection({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})")


@dataclass(frozen=True)
class MetadataTable:
    """A metadata table of records, and its key columns; by default the column names tell which columns are keys."""

    path: str = ""
    key: Names = ()


@dataclass(frozen=True)
class RecordsSection:
    """`[records]`."""

    id_pattern: str = ""
    metadata: Annotated[tuple[MetadataTable, ...], Check(before=_tables)] = ()
    expected: bool = False
    exclude: Annotated[str | None, Check(after=_csv_path)] = None
    file_match: object = field(default=None, repr=False)


@dataclass(frozen=True)
class CommandConfig:
    """`[steps.X]`: a command step, where X is a program; or only the parameters and resources of a script."""

    command: str = ""
    inputs: Inputs = None
    outputs: Patterns = None
    control: Patterns = None
    version: Annotated[str | None, Check(before=_text)] = None
    retries: Count | None = None
    timeout: Seconds | None = None
    by: Names | None = None
    partial: bool = False
    columns: bool = False
    report: bool = False
    params: Params | None = None
    resources: dict[str, Any] | None = None

    @property
    def is_command(self) -> bool:
        """Whether it declares more than the parameters and resources of a script; an empty table is a mistake."""
        of_script = CommandConfig(params=self.params, resources=self.resources)
        return self == CommandConfig() or self != of_script

    @property
    def patterns(self) -> dict[str, Any]:
        """Its path patterns by role."""
        return {"input": self.inputs, "output": self.outputs, "control": self.control}


@dataclass(frozen=True)
class StepsSection:
    """`[steps]`: the scripts of unit mode, in their order, and the tables `[steps.X]` of either mode."""

    scripts: Names = ()
    tables: dict[str, CommandConfig] = field(default_factory=dict)

    @property
    def commands(self) -> dict[str, CommandConfig]:
        """The command steps."""
        return {step: table for step, table in self.tables.items() if table.is_command}

    def table(self, step: str) -> CommandConfig:
        """`[steps.X]` of a step; an empty one if it has none."""
        return self.tables.get(step, CommandConfig())


@dataclass(frozen=True)
class RunSection:
    """`[run]`."""

    mode: Literal["processes", "main_process", "prefect"] = "processes"
    workers: Positive | None = None
    retries: Count = 0
    timeout: Seconds | None = None
    lease: Seconds = 60.0
    durable: bool = False
    threads_per_worker: Positive = 1
    retry: Literal["always", "changed"] = "always"
    rerun_on: tuple[Literal["input", "version", "params", "code"], ...] = ()
    empty_outputs: Literal["keep", "error"] = "keep"
    fetch_limit: Annotated[Positive | None, Check(before=_bytes)] = None
    memory_limit: Annotated[Positive | None, Check(before=_bytes)] = None


@dataclass(frozen=True)
class PrefectSection:
    """`[prefect]`."""

    task_runner: Literal["threads", "dask", "ray"] = "threads"
    address: str | None = None
    cluster_class: Annotated[str | None, Check(after=_class_path)] = None
    cluster_kwargs: dict[str, Any] = field(default_factory=dict)
    adapt_kwargs: dict[str, Any] = field(default_factory=dict)
    retries: Count = 0
    retry_delay: Annotated[float, Check(at_least=0)] = 10.0
    concurrency: str | None = None
    tags: Names = ()
    batch: Positive | None = None
    report_url: Annotated[str | None, Check(after=_web_address)] = None


@dataclass(frozen=True)
class LogSection:
    """`[log]`: the logger of the workspace. `Config.log` is the folder of the logs."""

    name: str = "sinagot"
    format: Annotated[str, Check(after=_format)] = "%(asctime)s : %(message)s"
    level: Annotated[str, Check(after=_level)] = "INFO"


@dataclass(frozen=True)
class TaskConfig:
    """`[tasks.T]`."""

    modalities: Names = ()
    params: Params = field(default_factory=dict)


@dataclass(frozen=True)
class ModelsSection:
    """`[modalities.M.models]`."""

    plugin: Literal["pandas", "table", "processed"] | None = None
    data_path: Pattern = None
    dataframe_path: Pattern = None
    record: str | None = None
    record_collection: str | None = None

    @property
    def table_path(self) -> str | None:
        """`dataframe_path` as a text, if it names one table and not the data of each record."""
        path = self.dataframe_path
        text = "/".join(path) if isinstance(path, tuple) else path
        return None if text is None or "{" in text else text


@dataclass(frozen=True)
class ModalityConfig:
    """`[modalities.M]`: the scripts of a modality, in their order, then the scripts for single tasks."""

    scripts: Names = ()
    task_scripts: dict[str, Names] = field(default_factory=dict)
    models: ModelsSection = field(default_factory=ModelsSection)
    record_collection: object = field(default=None, repr=False)
    file_match: object = field(default=None, repr=False)

    def steps(self, task: str | None) -> tuple[str, ...]:
        """The steps of this modality for a task; without a task, the steps of all tasks."""
        if task is not None:
            return self.scripts + self.task_scripts.get(task, ())
        every = [*self.scripts, *(name for names in self.task_scripts.values() for name in names)]
        return tuple(dict.fromkeys(every))


@dataclass(frozen=True)
class ProcessedConfig:
    """`[processed.K]`: a result that the user reads back by key."""

    task: str | None = None
    modality: str | None = None
    step_label: str | None = None
    path_label: str | None = None
    data_type: Literal["str", "float", "int"] = "str"
    data_getter: Literal["single_data", "dataframe_from_csv", "series_from_csv"] = "single_data"
    columns: Names = ()


@dataclass(frozen=True)
class InfoSection:
    """`[info]`."""

    version: str | None = None


@dataclass(frozen=True)
class Document:
    """A whole `workspace.toml`."""

    path: PathSection = field(default_factory=PathSection)
    records: RecordsSection = field(default_factory=RecordsSection)
    steps: StepsSection = field(default_factory=StepsSection)
    run: RunSection = field(default_factory=RunSection)
    prefect: PrefectSection = field(default_factory=PrefectSection)
    log: LogSection = field(default_factory=LogSection)
    tasks: dict[str, TaskConfig] = field(default_factory=dict)
    modalities: dict[str, ModalityConfig] = field(default_factory=dict)
    processed: dict[str, ProcessedConfig] = field(default_factory=dict)
    params: Params = field(default_factory=dict)
    info: InfoSection = field(default_factory=InfoSection)
    storage: dict[str, Any] = field(default_factory=dict, repr=False)
    dask: object = field(default=None, repr=False)
