"""The doctor: checks whether a set-up can run. Each check yields one line: it is in order, or what to do.

The doctor runs and writes nothing. Only problems that stop `run` completely are faults.
"""

from __future__ import annotations

import ast
import os
import platform
import re
import shlex
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog import __version__
from sinagot_catalog.catalog import is_missed
from sinagot_catalog.config import count_of
from sinagot_catalog.errors import SEED_IMPORT, ServerError, SinagotError
from sinagot_catalog.flows import configured_api, status
from sinagot_catalog.run import check_places
from sinagot_catalog.storage import read_regular

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sinagot_catalog.catalog import BoundPattern, Session, UnitStep

_LITTLE = 1 << 30
_SCARCE = 0.02
_MOST = 5
_SOURCE = 4_000_000


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        area: Its subject.
        state: `ok`, `warning`, or `fault` if `run` cannot work.
        text: The result, one sentence.
        hint: What to do, or an empty string.
    """

    area: str
    state: str
    text: str
    hint: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return its fields."""
        return asdict(self)


def examine(open_session: Callable[[], Session]) -> Iterator[Check]:
    """Check everything that a run needs, one after the other.

    Args:
        open_session: Opens the workspace and returns its session; a config with faults is a check that fails.

    Example:
        >>> from sinagot_catalog import example
        >>> ws = example()
        >>> [check.text for check in examine(lambda: ws._source) if check.area == "records"]
        ['3 records in 3 files']
    """
    yield from _versions()
    try:
        source = open_session()
    except SinagotError as error:
        yield _fault("config", error)
        yield from _prefect(is_needed=False)
        return
    places = ", ".join(source.config.files)
    yield Check("config", "ok", f"{places} can be read")
    for notice in source.config.notices:
        yield Check("config", "warning", notice)
    try:
        source.layout()
        yield from _scripts(source)
        source.catalog()
        yield from _refused(source)
    except SinagotError as error:
        yield _fault("dataset", error)
    else:
        for part in (_records, _patterns, _notices, _metadata, _order, _journal):
            yield from part(source)
    yield from _writing(source)
    yield from _space(source)
    yield from _prefect(is_needed=source.config.run.mode == "prefect")


def _fault(area: str, error: SinagotError) -> Check:
    return Check(area, "fault", error.message, error.hint)


# --- versions ------------------------------------------------------------------------------------------------


def _versions() -> Iterator[Check]:
    """Check this library and its dependencies, and pairs of versions that do not work together."""
    python = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    yield Check("versions", "ok", f"sinagot-catalog {__version__}, {python}")
    found = {name: _version(name) for name in ("polars", "pyarrow", "fsspec", "pydantic", "rich", "prefect")}
    there = ", ".join(f"{name} {version}" for name, version in found.items() if version)
    yield Check("versions", "ok", there)
    for name in [name for name, version in found.items() if version is None]:
        state = "warning" if name == "prefect" else "fault"
        yield Check("versions", state, f"{name} is not installed", f"pip install {name}")
    prefect, fastapi = found["prefect"], _version("fastapi")
    if prefect and fastapi and _numbers(prefect) < (3, 9) and _numbers(fastapi) >= (0, 151):
        yield Check(
            "versions",
            "warning",
            f"Prefect {prefect} does not work with FastAPI {fastapi}: its first flow dies",
            "pip install 'fastapi<0.151'; `run` works without.",
        )
    if prefect and os.environ.get("PYTHONWARNINGS", "").startswith("error"):
        yield Check(
            "versions", "warning", "PYTHONWARNINGS=error makes Prefect fail at its own warnings", "Unset it."
        )


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


# --- scripts -------------------------------------------------------------------------------------------------


def _scripts(source: Session) -> Iterator[Check]:
    """Check that the scripts can be read, and that their imports or their programs are installed."""
    cells = {cell.script: cell for cell in source.layout().cells}
    if not cells:
        yield Check(
            "scripts", "fault", "no step is declared", "Name scripts under [steps], or under [modalities.M]."
        )
        return
    if (reason := source.distrust()) is not None:
        yield Check(
            "scripts", "warning", f"the scripts are not run: {reason}",
            "If you trust who can write there: Workspace(…, trust=True), or --trust.",
        )  # fmt: skip
    broken = {script: cell.error for script, cell in cells.items() if cell.error and not cell.is_refused}
    fine = len(cells) - len(broken)
    if fine:
        yield Check(
            "scripts",
            "ok",
            f"{count_of(fine, 'script')} can be read: {_some([_short(one) for one in cells if one not in broken])}",
        )
    for error in broken.values():
        # the other scripts can still run
        yield Check(
            "scripts", "warning" if fine else "fault", str(error), "Mend it; the next look reads it again."
        )
    for script, cell in cells.items():
        if script not in broken:
            yield from _needs(source, cell)
    yield from _shadows(source)


def _shadows(source: Session) -> Iterator[Check]:
    """Check for files next to the scripts with the name of a module of the standard library."""
    scripts = {str(Path(cell.script)) for cell in source.layout().cells if cell.command is None}
    for folder in sorted({str(Path(script).parent) for script in scripts} | {source.scripts}):
        for path in sorted(Path(folder).iterdir()) if Path(folder).is_dir() else ():
            name = path.name.partition(".")[0]
            is_module = path.suffix == ".py" or (path / "__init__.py").is_file()
            if not is_module or name not in sys.stdlib_module_names:
                continue
            if str(path) in scripts:
                text = f"the step {name} is named like the standard library's module {name}"
                hint = f"`import {name}` gives the standard library's; {path.name} run by itself hides it."
            else:
                text = f"{path} is named like the standard library's module {name}"
                hint = f"`import {name}` in a script gives the standard library's: rename {path.name}."
            yield Check("scripts", "warning", text, hint)


def _refused(source: Session) -> Iterator[Check]:
    """Report steps whose paths put data at risk: they do not run."""
    catalog = source.catalog()
    for fault in dict.fromkeys(text for cell, text in catalog.faults.items() if catalog.is_refused(cell)):
        yield Check("steps", "fault", fault, "Until then the step does not run; the others do.")


def _needs(source: Session, cell: UnitStep) -> Iterator[Check]:
    if cell.command is not None:
        program = shlex.split(cell.command)[0]
        if shutil.which(program) is None and shutil.which(program, path=source.config.root) is None:
            yield Check(
                "scripts", "warning", f"step {cell.step} calls {program}, which is not on the PATH",
                f"Install {program}, or write its whole path.",
            )  # fmt: skip
        return
    try:
        names = _imports(Path(cell.script))
    except (OSError, SyntaxError, ValueError):
        return  # already reported above, or reported by the next listing
    folder = Path(cell.script).parent
    absent = [name for name in names if not _is_there(name, folder)]
    if absent:
        is_seed = any(name.partition(".")[0] == "sinagot" for name in absent)
        yield Check(
            "scripts",
            "warning",
            f"{_short(cell.script)} imports {', '.join(absent)}, which this Python does not find",
            f"Write {SEED_IMPORT}." if is_seed else f"Install it for {sys.executable}.",
        )


def _imports(script: Path) -> list[str]:
    """Return the top-level names of a script's top imports."""
    names: list[str] = []
    for node in ast.parse(read_regular(script, _SOURCE)).body:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.append(node.module)
    return sorted({name.partition(".")[0] for name in names})


def _is_there(name: str, folder: Path) -> bool:
    """Whether a module can be found, without importing it."""
    if name in sys.stdlib_module_names or any((folder / one).exists() for one in (f"{name}.py", name)):
        return True
    try:
        return util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


# --- patterns against real files -----------------------------------------------------------------------------


def _records(source: Session) -> Iterator[Check]:
    catalog = source.catalog()
    files = catalog.n_files
    if len(catalog.ids):
        yield Check("records", "ok", f"{count_of(len(catalog.ids), 'record')} in {count_of(files, 'file')}")
        return
    looked = _some(sorted({place.template.text for place in catalog.layout.places}))
    yield Check(
        "records",
        "warning",
        f"no file is one of a record, of {count_of(files, 'file')} in {source.config.dataset}; looked for {looked}",
        f"Compare names and patterns; id_pattern is {source.config.ids.text}",
    )


def _patterns(source: Session) -> Iterator[Check]:
    """Report how many files each pattern of raw inputs finds."""
    catalog = source.catalog()
    layout = catalog.layout
    records = len(catalog.ids)  # the groups of records come after them
    counts = {index: int(catalog.presence[index].head(records).sum()) for index in layout.raw}
    for index, count in counts.items():
        yield _pattern(layout.places[index], count, records, is_absent=is_missed(catalog, index))


def _pattern(place: BoundPattern, count: int, records: int, *, is_absent: bool) -> Check:
    text = place.template.text
    if not is_absent:
        return Check("patterns", "ok", f"{text}: {count:,} of {count_of(records, 'record')}")
    return Check(
        "patterns",
        "warning",
        f"{text}: no file matches, and no step makes it",
        "Steps that read it never run.",
    )


def _notices(source: Session) -> Iterator[Check]:
    """Report what a listing left out, a line for each of the first few; `_patterns` reports empty patterns."""
    if all(store.is_local for store in source.stores.values()):  # in a bucket this could take minutes
        source.catalog().file_columns.read_all(source.stats)
    for notice in source.notices():
        if notice.kind == "pattern without file":
            continue
        if notice.kind == "exclusions not read":
            yield Check(notice.area, "fault", notice.text, notice.hint)
            continue
        for text in notice.details or (notice.text,):
            yield Check(notice.area, "warning", text, notice.hint)
        further = notice.count - len(notice.details)
        if notice.details and further:
            yield Check(notice.area, "warning", f"and {further:,} more: {notice.kind}")


def _metadata(source: Session) -> Iterator[Check]:
    """Check whether the metadata tables and the records match."""
    for table in source.catalog().tables:
        if table.matches:
            by = ", ".join(one.column for one in table.matches)
            text = f"{table.name}: {count_of(table.frame.height, 'row')}, found by {by}"
            yield Check("metadata", "ok", text)


def _order(source: Session) -> Iterator[Check]:
    """Check whether the steps can be ordered."""
    from sinagot_catalog.run import RunOptions, make_plan

    catalog = source.catalog()
    try:
        plan = make_plan(catalog, catalog.steps, RunOptions(downstream=True), source.stats)
    except SinagotError as error:
        yield _fault("steps", error)
        return
    counts = plan.counts()
    yield Check(
        "steps", "ok", f"{count_of(counts['run'], 'row')} to run, with those that become ready on the way"
    )


def _journal(source: Session) -> Iterator[Check]:
    """Check the journal, and whether a run is live or died."""
    events = source.events()
    runs = events["run_id"].drop_nulls().n_unique()
    alive = source.claims.alive()
    yield Check(
        "journal",
        "ok",
        f"{count_of(events.height, 'event')} of {count_of(runs, 'run')} in {source.config.log}",
    )
    if alive:
        yield Check("journal", "ok", f"a run goes on: {', '.join(sorted(alive))}")
    lost = source.catalog().steps.filter(
        pl.col("status") == "ERROR", pl.col("_event").is_in(["start", "publishing"])
    )
    if lost.height:
        yield Check(
            "journal",
            "warning",
            f"{count_of(lost.height, 'row')} lost by a run that died",
            "The next run does them.",
        )


# --- writing -------------------------------------------------------------------------------------------------


def _writing(source: Session) -> Iterator[Check]:
    """Check whether a run can write its outputs and its journal."""
    for what, root in {"outputs": source.config.outputs, "log": source.config.log}.items():
        store = source.log_store if what == "log" else source.stores.get("outputs", source.stores["dataset"])
        if not store.is_local:
            try:
                check_places(source, source.config.run.mode)  # the same check as at the start of a run
            except SinagotError as error:
                yield _fault("writing", error)
            else:
                yield Check("writing", "ok", f"{what}: {root} may be written to")
            continue
        folder = _nearest(Path(store.root))
        if os.access(folder, os.W_OK | os.X_OK):
            yield Check("writing", "ok", f"{what}: {folder} may be written to")
        else:
            yield Check(
                "writing", "fault", f"{what}: {folder} may not be written to",
                f"chmod it, or set [path] {what} in workspace.toml to another folder.",
            )  # fmt: skip


def _space(source: Session) -> Iterator[Check]:
    """Check the free space for outputs, for the journal, and for downloads."""
    folders = {
        _nearest(Path(store.root)): None
        for store in (source.stores.get("outputs", source.stores["dataset"]), source.log_store)
        if store.is_local
    }
    seen = set[int]()
    for folder in [*folders, Path(tempfile.gettempdir())]:
        if (device := folder.stat().st_dev) in seen:
            continue
        seen.add(device)
        usage = shutil.disk_usage(folder)
        free = f"{usage.free / 1e9:,.1f} GB free of {usage.total / 1e9:,.0f} GB at {folder}"
        if usage.free == 0:
            yield Check(
                "space",
                "fault",
                f"no space is left at {folder}",
                "Make room, or set [path] outputs elsewhere.",
            )
        elif usage.free < _LITTLE or usage.free < usage.total * _SCARCE:
            yield Check("space", "warning", free, "Make room before a long run.")
        else:
            yield Check("space", "ok", free)


def _nearest(folder: Path) -> Path:
    """Return a folder, or its nearest existing parent."""
    return next((one for one in (folder, *folder.parents) if one.is_dir()), Path("/"))


# --- Prefect -------------------------------------------------------------------------------------------------


def _prefect(*, is_needed: bool) -> Iterator[Check]:
    """Check whether `submit` reaches a Prefect API; `run` needs one only with [run] mode = "prefect"."""
    api = configured_api()
    if api is not None:
        try:
            api.probe()
        except ServerError as error:
            state = "fault" if is_needed else "warning"
            yield Check("prefect", state, error.message, error.hint)
        else:
            yield Check("prefect", "ok", f"{api.description} answers")
        return
    local = status()
    if not local["running"]:
        yield Check("prefect", "ok", "no API is configured: `submit` starts a local server")
    elif local["healthy"]:
        yield Check("prefect", "ok", f"the local server answers at {local['url']}")
    else:
        yield Check(
            "prefect", "warning", f"the local server at {local['url']} does not answer; its log is {local['log']}",
            "sinagot-catalog server stop",
        )  # fmt: skip


# --- formatting ----------------------------------------------------------------------------------------------


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST]) + (" …" if len(names) > _MOST else "")


def _short(script: str) -> str:
    return script.rpartition("/")[2]
