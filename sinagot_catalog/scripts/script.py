"""`ScriptTemplate`, the base class of users' scripts; standard library only, so that workers import it quickly."""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, NoReturn

from sinagot_catalog.errors import PatternError, did_you_mean
from sinagot_catalog.patterns import InputPort, Template, fault_of, parse_inputs, parse_labelled
from sinagot_catalog.scripts.parameters import Parameters, to_json
from sinagot_catalog.status import StepStatus
from sinagot_catalog.storage import find_many


class ScriptPath(NamedTuple):
    """The paths of one row: a `Path`, a dict of them if the script declares a dict, None if it declares nothing.

    Attributes:
        input: The paths to read.
        output: The paths to write. In a run they are in a staging folder, and the library moves them into place.
        control: The paths for files that are kept also when the script fails.
        previous: The outputs of an earlier run, under `force`; None (also in a dict) if there is none.
    """

    input: Path | Any
    output: Path | Any
    control: Path | Any = None
    previous: Path | Any = None

    def __getattr__(self, name: str) -> NoReturn:
        near = did_you_mean(name, self._fields) or f"; it has {', '.join(self._fields)}"
        raise AttributeError(f"self.path has no attribute {name!r}{near}", name=name, obj=self)


class DataExist(NamedTuple):
    """Which files of a row exist.

    Attributes:
        input: Whether each input exists.
        output: Whether each output exists.
    """

    input: dict[Path, bool]
    output: dict[Path, bool]


class ScriptTemplate:
    """One step: declares what it reads and writes, and does the work for one record in `run`.

    Paths are relative to the dataset. The library fills in `{id}`, `{task}`, `{modality}` and the named groups of
    the workspace's `id_pattern`. `{ses?}` is a group that some ids lack: then the text before it is omitted, too.

    Attributes:
        PATH_IN: What the step reads: a tuple of path parts, a string, or a dict of these by label; also
            `many`, `optional` and `any_of` of these.
        PATH_OUT: What the step writes.
        PATH_CONTROL: What the step may write for a quality check; kept also when `run` raises.
        VERSION: Raise it when the script's results change; earlier results are then `stale`.
        RETRIES: How many more times to try a record that failed (else `[run] retries`).
        TIMEOUT: Seconds after which an attempt is ended (else `[run] timeout`).
        BY: Run once per group of records: the fields of the id that tell the groups; `()` for all records together.
        PARTIAL: Run a group also without the members that failed.
        COLUMNS: Whether an output is a table with one row (JSON, CSV, Parquet), whose values are a column of
            `records`, or of `units` where there are tasks or modalities. The column has the name of the step.
        REPORT: Whether the report shows what the step writes: pictures, and the values of tables by group.
        RESOURCES: What a row needs: `{"cpus": 4, "memory": "8GB", "gpus": 1, "time": "2h"}`. A run starts no more
            rows than fit.

    A script may also define `check`, which is called before the outputs are published.

    A script can be tried by hand:

    Example:
        >>> from sinagot_catalog import ScriptTemplate
        >>> class Script(ScriptTemplate):
        ...     PATH_IN = ("raw", "{id}.csv")
        ...     PATH_OUT = {"mean": "mean/{id}.txt", "plot": "plot/{id}.png"}
        >>> script = Script("REC-1", data_path="/data")
        >>> script.path.input.as_posix()
        '/data/raw/REC-1.csv'
        >>> script.path.output["plot"].as_posix()
        '/data/plot/REC-1.png'
        >>> Script("/data", "REC-1").path == script.path  # as sinagot has it
        True
    """

    PATH_IN: ClassVar[Any] = ()
    PATH_OUT: ClassVar[Any] = ()
    PATH_CONTROL: ClassVar[Any] = ()
    VERSION: ClassVar[str | int | None] = None
    RETRIES: ClassVar[int | None] = None
    TIMEOUT: ClassVar[float | None] = None
    BY: ClassVar[Sequence[str] | None] = None
    PARTIAL: ClassVar[bool] = False
    COLUMNS: ClassVar[bool] = False
    REPORT: ClassVar[bool] = False
    RESOURCES: ClassVar[Mapping[str, Any] | None] = None

    records: Sequence[str] = ()
    """The ids of the members of a group; a step with `BY` has them, in the order of its lists of inputs."""
    _read_params: dict[str, Any] | None = None
    _read_record: dict[str, Any] | None = None

    def __init__(
        self,
        id: str | Path | None = None,  # noqa: A002 the name that scripts use: self.id
        record_id: str | None = None,
        task: str | None = None,
        opts: Mapping[str, str] | None = None,
        *,
        data_path: str | Path = ".",
        modality: str | None = None,
        label: str | None = None,
        path: ScriptPath | None = None,
        status: StepStatus = StepStatus.INIT,
        logger: logging.Logger | None = None,
        debug: bool = False,
        values: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        record: Mapping[str, Any] | None = None,
    ) -> None:
        if record_id is not None:  # sinagot's order: data_path, record_id
            data_path = data_path if id is None else id
            id = record_id  # noqa: A001 - see above
        if not isinstance(id, str):
            raise TypeError(f"{type(self).__name__} needs the id of a record: Script(id, data_path=…)")
        self.id = id
        self.task = task
        self.modality = modality
        self.label = label if label is not None else type(self).__module__.rpartition(".")[2]
        self.data_path = data_path if isinstance(data_path, Path) else Path(data_path)
        self.path = path if path is not None else self._own_paths({**(opts or {}), **(values or {})})
        self.status = status
        self.logger = logger if logger is not None else logging.getLogger("sinagot_catalog.script")
        self.debug = debug
        self.opts: dict[str, Any] = dict(opts or {})
        self._urls: Callable[[], ScriptPath] | None = None
        self._params: Mapping[str, Any] = {} if params is None else params
        self._record = record
        self._record_of: Callable[[str], Mapping[str, Any]] | None = None

    @cached_property
    def params(self) -> Parameters:
        """The parameters of the step, from `[params]`, `[tasks.T.params]` and `[steps.NAME.params]`.

        Example:
            >>> from sinagot_catalog import ScriptTemplate
            >>> ScriptTemplate("REC-1", params={"cutoff": 30}).params.cutoff
            30
        """
        self._read_params = {}
        return Parameters(self._params, self._read_params)

    @cached_property
    def record(self) -> Parameters:
        """The fields of the record's id, and its row of the metadata tables.

        Example:
            >>> from sinagot_catalog import ScriptTemplate
            >>> ScriptTemplate("REC-1", record={"age": 12}).record["age"]
            12
        """
        self._read_record = {}
        values = self._record
        if values is None:
            values = {"record_id": self.id} if self._record_of is None else self._record_of(self.id)
        return Parameters(values, self._read_record, noun="field or metadata column")

    @property
    def url(self) -> ScriptPath:
        """The URLs of `input` and `output`, for scripts that read or write a bucket themselves.

        Example:
            >>> from pathlib import Path
            >>> from sinagot_catalog import ScriptTemplate
            >>> from sinagot_catalog.script import ScriptPath
            >>> ScriptTemplate("REC-1", path=ScriptPath(Path("/data/a.csv"), None)).url.input
            'file:///data/a.csv'
        """
        return (
            ScriptPath(
                mapped("file://{}".format, self.path.input), mapped("file://{}".format, self.path.output)
            )
            if self._urls is None
            else self._urls()
        )

    def run(self) -> None:
        """Do the work for one record; scripts override this method."""
        self.logger.info("Running %s", self.label)

    def check(self) -> None:
        """Check what `run` wrote, before it is published; scripts may override this method.

        The outputs are at `self.path.output`. If it raises an exception, that is the error of the record, and
        nothing is published.
        """

    @property
    def data_exist(self) -> DataExist:
        """Which inputs and outputs of this record exist."""
        return DataExist(
            {path: path.exists() for path in flat(self.path.input)},
            {path: path.exists() for path in flat(self.path.output)},
        )

    def _own_paths(self, values: dict[str, str]) -> ScriptPath:
        """The paths of a script that the user creates by hand: in its dataset, without staging."""
        known = {"id": self.id, "task": self.task, "modality": self.modality, **values}
        filled = {name: value for name, value in known.items() if value is not None}

        def paths(patterns: object) -> Any:
            ports = parse_labelled(patterns, fields=set(filled))
            return port_paths((label, self._full(template, filled)) for label, template in ports)

        ports = parse_inputs(self.PATH_IN, fields=set(filled))
        inputs = port_paths((port.label, self._found(port, filled)) for port in ports)
        return ScriptPath(inputs, paths(self.PATH_OUT), paths(self.PATH_CONTROL))

    def _found(self, port: InputPort, values: dict[str, str]) -> str | list[str] | None:
        """The path of an input that exists; of an input that has to exist otherwise its first path."""
        for way in port.ways:
            if way.is_wild:
                found = find_many(str(self.data_path), way.filled(values))
                if found or not (port.is_optional or len(port.ways) > 1):
                    return [f"{self.data_path}/{path}" for path in found]
            else:
                full = self._full(way, values)
                if (len(port.ways) == 1 and not port.is_optional) or Path(full).exists():
                    return full
        return None

    def _full(self, template: Template, values: dict[str, str]) -> str:
        for name in template.fields:
            if values[name] and (fault := fault_of(values[name])) is not None:
                raise PatternError(f"{name} {fault}: {template.text!r} names no file of a dataset")
        return str(self.data_path / template.format(values))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} instance | id: {self.id}, step: {self.label}>"


def reads_of(script: ScriptTemplate, fields: Collection[str]) -> tuple[str | None, dict[str, str | None]]:
    """What a script read: its parameters as JSON, and each metadata column with its value as text.

    Args:
        script: The script.
        fields: The fields of the id, which are the same as long as the id is the same.
    """
    params = script._read_params  # noqa: SLF001
    record = script._read_record  # noqa: SLF001
    columns: dict[str, Any] = {}
    for name, value in (record or {}).items():
        columns |= value if name == "" else {name: value}
    read = {
        name: value if value is None or isinstance(value, str) else to_json(value)
        for name, value in columns.items()
        if name not in fields
    }
    return (to_json(params) if params else None), read


def own_check(script: ScriptTemplate) -> Callable[[], object] | None:
    """The `check` that a script defines; None if it has none, or if its `check` takes arguments (a helper method).

    Example:
        >>> class Script(ScriptTemplate):
        ...     def check(self):
        ...         raise ValueError("no rows")
        >>> own_check(Script("A")) is None, own_check(ScriptTemplate("A")) is None
        (False, True)
    """
    found = getattr(type(script), "check", None)
    if found is ScriptTemplate.check or not callable(found):
        return None
    check: Callable[[], object] = script.check
    try:
        signature(check).bind()
    except (TypeError, ValueError):
        return None
    return check


def port_paths(ports: Iterable[tuple[str | None, Any]]) -> Any:
    """The value that a script sees for its paths: one `Path`, a list of them, a dict by label, or None."""
    labelled: dict[str, Any] = {}
    for label, path in ports:
        item = mapped(port_path, path)
        if label is None:
            return item
        labelled[label] = item
    return labelled or None


def mapped(function: Callable[[Any], Any], paths: Any) -> Any:
    """The result of a function for each path of a list or a dict, however deep; None stays None."""
    if isinstance(paths, (str, Path)):  # nearly every call
        return function(paths)
    if isinstance(paths, dict):
        return {label: mapped(function, path) for label, path in paths.items()}
    return None if paths is None else [mapped(function, path) for path in paths]


def port_path(text: str) -> Path:
    """A `Path`; the `Path` of its folder is cached, which halves the cost that every row pays."""
    folder, _, name = text.rpartition("/")
    return _folder(folder) / name if folder else Path(text)


@lru_cache(maxsize=256)
def _folder(text: str) -> Path:
    return Path(text)


def flat(paths: Any) -> list[Any]:
    """Every path of a list or a dict, however deep; none for None."""
    if isinstance(paths, dict):
        paths = list(paths.values())
    if isinstance(paths, list):
        return [path for inner in paths for path in flat(inner)]
    return [] if paths is None else [paths]
