"""The config reader: reads `workspace.toml` into one frozen `Config` and reports every fault with its address.

It merges the files, checks the document and resolves every path, and reports all faults at once.
"""

import copy
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import tomli

from sinagot_catalog.config.checks import cross_checks, dotted, own_sections, sentence_of
from sinagot_catalog.config.files import (
    FILE_NAME,
    find,
    folder_of,
    merge,
    origin,
    read,
    resolved,
    short_names,
)
from sinagot_catalog.config.model import (
    Document,
    InfoSection,
    LogSection,
    MetadataTable,
    ModalityConfig,
    PathSection,
    PrefectSection,
    ProcessedConfig,
    RecordsSection,
    RunSection,
    StepsSection,
    TaskConfig,
)
from sinagot_catalog.config.storage_options import Storage
from sinagot_catalog.config.validator import Address, validate
from sinagot_catalog.errors import ConfigError, did_you_mean
from sinagot_catalog.patterns import IdPattern
from sinagot_catalog.secrets import is_secret, masked
from sinagot_catalog.startup import dataclass
from sinagot_catalog.storage import join_url, protocols_of

Table = dict[str, Any]

_MOST_FAULTS = 30
_DEFAULTS: dict[str, Table] = {
    "path": {"dataset": PathSection.dataset, "scripts": PathSection.scripts},
    "run": {"mode": RunSection.mode},
}


@dataclass(frozen=True)
class Config:
    """A workspace's configuration, complete and checked.

    Attributes:
        files: The toml files that it was read from, in their order.
        root: The folder (or URL) of the first file.
        dataset: The folder of the records: an absolute local path or a URL, like all paths here.
        scripts: The folder of the scripts.
        outputs: The folder of the outputs; by default the dataset.
        log: The folder of the journal; by default `<outputs>/LOG`.
        metadata: The tables of `records.metadata`, with their resolved paths.
        exclude: The table of exclusions; None if the config names none.
        ids: `records.id_pattern`, compiled.
        logging: The section `[log]`.
        notices: A sentence for each setting that is accepted, but not as the user wrote it.
    """

    files: tuple[str, ...]
    root: str
    dataset: str
    scripts: str
    outputs: str
    log: str
    metadata: tuple[MetadataTable, ...]
    exclude: str | None
    ids: IdPattern
    path: PathSection
    records: RecordsSection
    steps: StepsSection
    run: RunSection
    prefect: PrefectSection
    logging: LogSection
    tasks: dict[str, TaskConfig]
    modalities: dict[str, ModalityConfig]
    processed: dict[str, ProcessedConfig]
    params: dict[str, Any]
    info: InfoSection
    storage: Storage = field(compare=False)
    notices: list[str]
    _written: Table = field(repr=False, compare=False)
    _again: partial["Config"] = field(repr=False, compare=False)

    def __getitem__(self, section: str) -> Any:
        """A section as the user wrote it, with the defaults of `path` and `run`; also sections of the user.

        Raises:
            KeyError: When the config has no such section. `storage` is always refused: it may hold secrets.
        """
        if section not in self:
            raise KeyError(f"the config has no section {section!r}{did_you_mean(section, self)}")
        return copy.deepcopy(self._written[section])

    def __contains__(self, section: object) -> bool:
        return section != "storage" and section in self._written

    def __iter__(self) -> Iterator[str]:
        return (section for section in self._written if section in self)

    def get(self, section: str, default: Any = None) -> Any:
        """A section as the user wrote it, or a default if there is none."""
        try:
            return self[section]
        except KeyError:
            return default

    @property
    def name(self) -> str:
        """The short name of the workspace: its folder's name."""
        return self.root.rstrip("/").rpartition("/")[2] or self.root

    @property
    def is_unit_mode(self) -> bool:
        """Whether neither tasks nor modalities are declared."""
        return not self.tasks and not self.modalities

    def storage_options(self, protocol: str) -> dict[str, Any]:
        """The fsspec options for a protocol; replaces `${NAME}` from the present environment."""
        return self.storage.options(protocol)

    def options_of(self, url: str) -> dict[str, Any]:
        """The fsspec options that open a URL; for a chain of URLs, the options by the protocol of each."""
        protocols = protocols_of(url)
        if "::" not in url:
            return self.storage_options(protocols[0])
        return {protocol: options for protocol in protocols if (options := self.storage.own(protocol))}

    def locate(self, path: str) -> str:
        """Resolve a path of the config against the folder of the config."""
        return resolved(path, self.root)

    def again(self) -> "Config":
        """Read the same files again.

        Raises:
            ConfigError: With a line for every fault that the files have now.
        """
        return self._again()

    def __repr__(self) -> str:
        shown = [field.name for field in fields(self) if field.repr]
        return masked(f"Config({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})")

    def __reduce__(self) -> tuple[Callable[..., "Config"], tuple[Any, ...]]:
        paths = (self._again.keywords[name] or "" for name in ("data_path", "scripts_path"))
        if any(is_secret(path) for path in (*self.files, *paths)):
            raise ConfigError(
                f"{masked(self.files[0])} is not pickled: an address of the workspace holds a password",
                "Put it into [storage] as ${NAME}, and the variable into the environment.",
            )
        # Unpickling reads the files again, so that no storage option (a secret) is in the pickle.
        return self._again, ()


def _line_of(error: Exception, text: str) -> str:
    """The line that is not valid TOML, as the end of a sentence."""
    number = getattr(error, "lineno", 0)
    line = text.splitlines()[number - 1].strip() if 0 < number <= len(text.splitlines()) else ""
    return f": {line[:100]}" if line else ""


def read_config(
    paths: Sequence[str | Path] | str | Path,
    *,
    read_text: Callable[[str], str] | None = None,
    data_path: str | Path | None = None,
    scripts_path: str | Path | None = None,
    reserved: Collection[str] = (),
) -> Config:
    """Read a `workspace.toml`, or several merged deeply, later over earlier.

    Args:
        paths: A folder that holds `workspace.toml`, a toml file, or several of those.
        read_text: Reads the text of a URL; raises FileNotFoundError if there is no such file.
        data_path: Replaces `path.dataset`; relative to the current folder.
        scripts_path: Replaces `path.scripts`; relative to the current folder.
        reserved: Attribute names of the workspace; a task or modality with such a name gets a notice.

    Raises:
        ConfigError: With a line for every fault of the files.
    """
    several = _paths_of(paths)
    files = [find(path) for path in several]
    names = short_names(files)
    document: Table = {}
    origins: dict[Address, str] = {}
    faults: list[str] = []
    for file in files:
        text = read(file, read_text)
        try:
            merge(document, tomli.loads(text), file, origins)
        except (tomli.TOMLDecodeError, RecursionError) as error:
            faults.append(f"{names[file]}: {str(error)[:200]}{_line_of(error, text)}")
    if faults:
        raise ConfigError("\n".join(faults))

    written = _with_defaults(document)
    for section in own_sections(document):
        del document[section]
    notices = _replace_dask(document)
    model, misfits = validate(Document, document)
    model_faults = [(misfit.address, sentence_of(misfit)) for misfit in misfits]
    model_faults += [
        (address, sentence)
        for address, sentence in cross_checks(model)
        if not any(
            address[: len(place)] == place or place[: len(address)] == address for place, *_ in misfits
        )
    ]
    if model_faults:
        lines = [
            f"{names[origin(address, origins, files[0])]}: {dotted(address)}: {sentence}"
            for address, sentence in model_faults[:_MOST_FAULTS]
        ]
        if len(model_faults) > _MOST_FAULTS:
            lines.append(f"and {len(model_faults) - _MOST_FAULTS:,} more")
        raise ConfigError("\n".join(lines))
    notices += _notices(model, reserved)
    replaced = {"dataset": data_path, "scripts": scripts_path}
    given = {
        name: resolved(os.fspath(path), os.curdir) for name, path in replaced.items() if path is not None
    }
    places = _places(model, origins, files) | given
    outputs = places.get("outputs", places["dataset"])
    _check_log(places, outputs, names[origin(("path", "log"), origins, files[0])])
    return Config(
        files=tuple(files),
        root=folder_of(files[0]),
        dataset=places["dataset"],
        scripts=places["scripts"],
        outputs=outputs,
        log=places.get("log", join_url(outputs, "LOG") if "://" in outputs else f"{outputs.rstrip('/')}/LOG"),
        metadata=_metadata(model, origins, files),
        exclude=places.get("exclude"),
        ids=IdPattern(model.records.id_pattern),
        logging=model.log,
        storage=Storage(model.storage),
        notices=notices,
        **{name: value for name, value in vars(model).items() if name not in ("log", "storage", "dask")},
        _written=written,
        _again=partial(
            read_config,
            tuple(files),
            read_text=read_text,
            data_path=given.get("dataset"),
            scripts_path=given.get("scripts"),
            reserved=tuple(reserved),
        ),
    )


def _paths_of(given: Any) -> list[str | Path]:
    """Return the paths of the config files.

    Raises:
        ConfigError: If there is none, or one of them is no path.
    """
    several: list[Any] = (
        list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    )
    other = [type(path).__name__ for path in several if not isinstance(path, (str, os.PathLike))]
    if other:
        raise ConfigError(
            f"a workspace is opened by the path of its folder or {FILE_NAME}, not by a {other[0]}"
        )
    if not several:
        raise ConfigError("no config file is given")
    return several


def _check_log(places: Mapping[str, str], outputs: str, file: str) -> None:
    """Refuse a `LOG` folder that holds the dataset or the outputs.

    Raises:
        ConfigError: When `path.log` is such a folder.
    """
    log = places.get("log")
    if log is None:
        return
    for name, folder in (("dataset", places["dataset"]), ("outputs", outputs)):
        if f"{folder.rstrip('/')}/".startswith(f"{log.rstrip('/')}/"):
            raise ConfigError(
                f"{file}: path.log: {masked(log)} holds the {name} folder, and nothing in the log folder counts as "
                "data; name a folder of its own, such as 'LOG'"
            )


def _with_defaults(document: Table) -> Table:
    """A copy of a document, with the defaults of `path` and `run` filled in."""
    written = copy.deepcopy(document)
    for section, defaults in _DEFAULTS.items():
        if isinstance(written.setdefault(section, {}), dict):
            written[section] = {**defaults, **written[section]}
    return written


def _places(model: Document, origins: Mapping[Address, str], files: Sequence[str]) -> dict[str, str]:
    """The paths of the config, each resolved against the folder of the file that sets it."""
    names = ("dataset", "scripts", "outputs", "log")
    written: dict[Address, str | None] = {("path", name): getattr(model.path, name) for name in names}
    written["records", "exclude"] = model.records.exclude
    return {
        str(address[-1]): resolved(path, folder_of(origins.get(address, files[0])))
        for address, path in written.items()
        if path is not None
    }


def _metadata(
    model: Document, origins: Mapping[Address, str], files: Sequence[str]
) -> tuple[MetadataTable, ...]:
    """The metadata tables, with paths resolved against the folder of the file that names them."""
    base = folder_of(origins.get(("records", "metadata"), files[0]))
    return tuple(replace(table, path=resolved(table.path, base)) for table in model.records.metadata)


def _replace_dask(document: Table) -> list[str]:
    """Replace sinagot's Dask settings by settings of this library, with one notice for all of them."""
    run = document.get("run")
    is_mode = isinstance(run, dict) and run.get("mode") == "dask"
    if is_mode:
        document["run"] = {**document["run"], "mode": "processes"}
    settings = (["run.mode = 'dask'"] if is_mode else []) + (["[dask]"] if "dask" in document else [])
    notice = (
        f"{' and '.join(settings)}: steps run in worker processes of this machine (run.mode = 'processes', "
        "run.workers = N); an existing Dask cluster is reached by [prefect] task_runner = 'dask' and address = 'tcp://…'"
    )
    return [notice] if settings else []


def _notices(model: Document, reserved: Collection[str]) -> list[str]:
    notices = [
        f"{section}.{name}: {name!r} is a name of ours: reach it by ws[{name!r}] or get_subscope"
        for section, names in (("tasks", model.tasks), ("modalities", model.modalities))
        for name in names
        if name in reserved
    ]
    if (model.tasks or model.modalities) and model.steps.scripts:
        notices.append("steps.scripts has no effect where tasks or modalities are declared")
    lists = [modality.steps(None) for modality in model.modalities.values()] or [model.steps.scripts]
    listed = {name for names in lists for name in names}
    notices += [
        f"steps.{name} is not run: no list of scripts names it{did_you_mean(name, listed, most=1)}"
        for name in model.steps.tables
        if name not in listed
    ]
    return notices
