"""The sections of a `workspace.toml` as pydantic models: names, types and defaults."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, Strict
from pydantic_core import PydanticCustomError

from sinagot_catalog.errors import did_you_mean

__all__ = [
    "Document",
    "InfoSection",
    "LogSection",
    "ModalityConfig",
    "ModelsSection",
    "PathSection",
    "PrefectSection",
    "ProcessedConfig",
    "RecordsSection",
    "RunSection",
    "StepsSection",
    "TaskConfig",
]


def _fault(sentence: str) -> PydanticCustomError:
    return PydanticCustomError("sinagot", "{sentence}", {"sentence": sentence})


_UNITS = {"": 1, "B": 1}
_UNITS |= {f"{letter}{end}": 1000 ** (n + 1) for n, letter in enumerate("KMGT") for end in ("", "B")}
_UNITS |= {f"{letter}IB": 1024 ** (n + 1) for n, letter in enumerate("KMGT")}


def _bytes(value: object) -> object:
    """Read `"2 GB"`, `"512MiB"` or a number of bytes."""
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", value)
    if found is None or found[2].upper() not in _UNITS:
        raise _fault("is not a size: write a number of bytes, or such as '2 GB' or '512 MiB'")
    return int(float(found[1]) * _UNITS[found[2].upper()])


def _pattern(value: object) -> object:
    """A path pattern: a text or a list of texts (kept as a tuple)."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        return tuple(value)
    raise _fault("is not a path pattern: write a text or a list of texts")


def _level(value: str) -> str:
    levels = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
    if value.upper() not in levels:
        raise _fault(f"is not one of {', '.join(map(repr, levels))}{did_you_mean(value, levels)}")
    return value.upper()


def _format(value: str) -> str:
    import logging

    try:
        logging.Formatter(value)
    except ValueError:
        raise _fault("is not a format of Python's logging such as '%(asctime)s : %(message)s'") from None
    return value


Names = Annotated[tuple[str, ...], Strict(strict=False)]
Pattern = Annotated[str | tuple[str, ...] | None, BeforeValidator(_pattern)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)


class PathSection(_Section):
    """`[path]` as it is written; `Config` has the resolved paths."""

    dataset: str = "dataset"
    scripts: str = "scripts"
    outputs: str | None = None
    log: str | None = None
    follow_links: bool = False


class RecordsSection(_Section):
    """`[records]`."""

    id_pattern: str = ""
    metadata: str | None = None
    expected: bool = False
    file_match: object = Field(default=None, repr=False)


class StepsSection(_Section):
    """`[steps]`: the scripts of unit mode, in their order."""

    scripts: Names = ()


class RunSection(_Section):
    """`[run]`."""

    mode: Literal["processes", "main_process", "prefect"] = "processes"
    workers: int | None = Field(default=None, ge=1)
    retries: int = Field(default=0, ge=0)
    timeout: float | None = Field(default=None, gt=0)
    lease: float = Field(default=60.0, gt=0)
    durable: bool = False
    threads_per_worker: int = Field(default=1, ge=1)
    rerun_on: Annotated[tuple[Literal["input", "version"], ...], Strict(strict=False)] = ()
    memory_limit: Annotated[Annotated[int, Field(gt=0)] | None, BeforeValidator(_bytes)] = None


class PrefectSection(_Section):
    """`[prefect]`."""

    task_runner: Literal["threads", "dask", "ray"] = "threads"
    address: str | None = None
    retries: int = Field(default=0, ge=0)
    retry_delay: float = Field(default=10.0, ge=0)
    concurrency: str | None = None
    tags: Names = ()
    batch: int | None = Field(default=None, ge=1)


class LogSection(_Section):
    """`[log]`: the logger of the workspace. The folder of the logs is `Config.log`."""

    name: str = "sinagot"
    format: Annotated[str, AfterValidator(_format)] = "%(asctime)s : %(message)s"
    level: Annotated[str, AfterValidator(_level)] = "INFO"


class TaskConfig(_Section):
    """`[tasks.T]`."""

    modalities: Names = ()


class ModelsSection(_Section):
    """`[modalities.M.models]`."""

    plugin: Literal["pandas", "table", "processed"] | None = None
    data_path: Pattern = None
    dataframe_path: Pattern = None
    record: str | None = None
    record_collection: str | None = None


class ModalityConfig(_Section):
    """`[modalities.M]`: its scripts, in their order, then those of single tasks."""

    scripts: Names = ()
    task_scripts: dict[str, Names] = Field(default_factory=dict)
    models: ModelsSection = Field(default_factory=ModelsSection)
    file_match: object = Field(default=None, repr=False)

    def steps(self, task: str | None) -> tuple[str, ...]:
        """The step labels of this modality for one task; without a task those of all tasks."""
        if task is not None:
            return self.scripts + self.task_scripts.get(task, ())
        every = [*self.scripts, *(name for names in self.task_scripts.values() for name in names)]
        return tuple(dict.fromkeys(every))


class ProcessedConfig(_Section):
    """`[processed.K]`: a result that is read back by key."""

    task: str | None = None
    modality: str | None = None
    step_label: str | None = None
    path_label: str | None = None
    data_type: Literal["str", "float", "int"] = "str"
    data_getter: Literal["single_data", "dataframe_from_csv", "series_from_csv"] = "single_data"
    columns: Names = ()


class InfoSection(_Section):
    """`[info]`."""

    version: str | None = None


class Document(_Section):
    """A whole `workspace.toml`."""

    path: PathSection = Field(default_factory=PathSection)
    records: RecordsSection = Field(default_factory=RecordsSection)
    steps: StepsSection = Field(default_factory=StepsSection)
    run: RunSection = Field(default_factory=RunSection)
    prefect: PrefectSection = Field(default_factory=PrefectSection)
    log: LogSection = Field(default_factory=LogSection)
    tasks: dict[str, TaskConfig] = Field(default_factory=dict)
    modalities: dict[str, ModalityConfig] = Field(default_factory=dict)
    processed: dict[str, ProcessedConfig] = Field(default_factory=dict)
    info: InfoSection = Field(default_factory=InfoSection)
    storage: dict[str, Any] = Field(default_factory=dict, repr=False)
    dask: dict[str, Any] = Field(default_factory=dict, repr=False)
