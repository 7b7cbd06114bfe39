"""The doctor: checks whether a set-up can run. Each check yields one line: it is in order, or what to do.

The doctor runs and writes nothing. Only problems that stop `run` completely are faults.
"""

from __future__ import annotations

import platform
import re
import shutil
import tempfile
from functools import reduce
from importlib import metadata
from operator import and_
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog import __version__
from sinagot_catalog.catalog import is_missed
from sinagot_catalog.config import count_of, size_text
from sinagot_catalog.diagnostics.check import Check, some
from sinagot_catalog.diagnostics.script_checks import check_scripts
from sinagot_catalog.errors import ServerError, SinagotError, did_you_mean
from sinagot_catalog.flows import configured_api, status
from sinagot_catalog.run import RunOptions, check_fits, limits, make_plan, this_machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sinagot_catalog.catalog import Catalog, Session
    from sinagot_catalog.storage import Store

_LITTLE = 1 << 30
_SCARCE = 0.02


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
        yield from check_scripts(source)
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
    versions = {
        name: _version(name) for name in ("polars", "pyarrow", "fsspec", "pydantic", "rich", "prefect")
    }
    there = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    yield Check("versions", "ok", there)
    prefect, fastapi = versions["prefect"], _version("fastapi")
    if prefect and fastapi and _numbers(prefect) < (3, 9) and _numbers(fastapi) >= (0, 151):
        text = f"Prefect {prefect} does not work with FastAPI {fastapi}: its first flow dies"
        yield Check("versions", "warning", text, "pip install 'fastapi<0.151'; `run` works without.")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


# --- patterns against real files -----------------------------------------------------------------------------


def _records(source: Session) -> Iterator[Check]:
    catalog = source.catalog()
    files = catalog.n_files
    if len(catalog.ids):
        yield Check("records", "ok", f"{count_of(len(catalog.ids), 'record')} in {count_of(files, 'file')}")
        return
    tried = some(sorted({place.template.text for place in catalog.layout.places}))
    yield Check(
        "records",
        "warning",
        f"no file is one of a record, of {count_of(files, 'file')} in {source.config.dataset}; looked for {tried}",
        f"Compare names and patterns; id_pattern is {source.config.ids.text}",
    )


def _refused(source: Session) -> Iterator[Check]:
    """Report steps whose paths put data at risk: they do not run."""
    catalog = source.catalog()
    for fault in dict.fromkeys(text for cell, text in catalog.faults.items() if catalog.is_refused(cell)):
        yield Check("steps", "fault", fault, "Until then the step does not run; the others do.")


def _patterns(source: Session) -> Iterator[Check]:
    """Report how many files each pattern of raw inputs finds."""
    catalog = source.catalog()
    layout = catalog.layout
    records = len(catalog.ids)  # the groups of records come after them
    counts = {index: int(catalog.presence[index].head(records).sum()) for index in layout.raw}
    for index, count in counts.items():
        place = layout.places[index]
        text = place.template.text
        if not is_missed(catalog, index):
            unread = _n_unread(catalog, index)
            behind = f"; {unread:,} not read, as another alternative comes first" if unread else ""
            yield Check("patterns", "ok", f"{text}: {count:,} of {count_of(records, 'record')}{behind}")
            continue
        near = _near_folder(source.stores.get(place.root, source.stores["dataset"]), text)
        text = f"{text}: no file matches, and no step makes it{near}"
        yield Check("patterns", "warning", text, "Steps that read it never run.")


def _n_unread(catalog: Catalog, place: int) -> int:
    """Return for how many records a pattern has a file that no step reads, as inputs have other alternatives."""
    reading = [port for cell in catalog.layout.cells for port in cell.input_ports]
    ports = [port for port in reading if any(link.place == place for link in port)]
    if not ports or min(map(len, ports)) == 1:
        return 0
    others = [catalog.chosen_way(port) != [link.place for link in port].index(place) for port in ports]
    return int(reduce(and_, others, catalog.presence[place]).head(len(catalog.ids)).sum())


def _near_folder(store: Store, text: str) -> str:
    """Return the folder of the dataset that the first folder of a pattern may mean."""
    first, slash, _ = text.partition("/")
    names = store.folders("") if slash and "{" not in first else [first]
    return "" if first in names else did_you_mean(first, names, most=1)


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
            by = ", ".join(match.column for match in table.matches)
            rows = count_of(table.frame.height, "row")
            yield Check("metadata", "ok", f"{table.name}: {rows}, found by {by}")


def _order(source: Session) -> Iterator[Check]:
    """Check whether the steps can be ordered, and whether their rows fit this machine."""
    catalog = source.catalog()
    try:
        plan = make_plan(catalog, catalog.steps, RunOptions(downstream=True), source.stats)
    except SinagotError as error:
        yield _fault("steps", error)
        return
    rows = count_of(plan.counts()["run"], "row")
    yield Check("steps", "ok", f"{rows} to run, with those that become ready on the way")
    if plan.needs:
        try:
            check_fits(plan.needs, limits(this_machine()), "this machine")
        except SinagotError as error:
            yield Check("steps", "warning", f"a run here would be refused: {error.message}", error.hint)


def _journal(source: Session) -> Iterator[Check]:
    """Check the journal, and whether a run is live or died."""
    events = source.events()
    runs = count_of(events["run_id"].drop_nulls().n_unique(), "run")
    yield Check("journal", "ok", f"{count_of(events.height, 'event')} of {runs} in {source.config.log}")
    if alive := source.claims.alive():
        yield Check("journal", "ok", f"a run is active: {', '.join(sorted(alive))}")
    lost = source.catalog().steps.filter(
        pl.col("status") == "ERROR", pl.col("_event").is_in(["start", "publishing"])
    )
    if lost.height:
        rows = count_of(lost.height, "row")
        yield Check("journal", "warning", f"{rows} lost by a run that died", "The next run repeats them.")


# --- writing -------------------------------------------------------------------------------------------------


def _writing(source: Session) -> Iterator[Check]:
    """Check whether a run can write its outputs and its journal."""
    outputs = source.stores.get("outputs", source.stores["dataset"])
    for what, store in {"outputs": outputs, "log": source.log_store}.items():
        try:
            store.check_writable()
        except SinagotError as error:
            text = f"{what}: {store.root} may not be written to: {error.message}"
            yield Check("writing", "fault", text, error.hint)
        else:
            yield Check("writing", "ok", f"{what}: {store.root} may be written to")


def _space(source: Session) -> Iterator[Check]:
    """Check the free space for outputs, for the journal, and for downloads."""
    stores = (source.stores.get("outputs", source.stores["dataset"]), source.log_store)
    folders = [_nearest(Path(store.root)) for store in stores if store.is_local]
    disks: dict[int, Path] = {}
    for folder in [*folders, Path(tempfile.gettempdir())]:
        disks.setdefault(folder.stat().st_dev, folder)
    for folder in disks.values():
        usage = shutil.disk_usage(folder)
        free = f"{size_text(usage.free)} free of {size_text(usage.total)} at {folder}"
        if usage.free == 0:
            hint = "Make room, or set [path] outputs elsewhere."
            yield Check("space", "fault", f"no space is left at {folder}", hint)
        elif usage.free < _LITTLE or usage.free < usage.total * _SCARCE:
            yield Check("space", "warning", free, "Make room before a long run.")
        else:
            yield Check("space", "ok", free)


def _nearest(folder: Path) -> Path:
    """Return a folder, or its nearest existing parent."""
    return next((parent for parent in (folder, *folder.parents) if parent.is_dir()), Path("/"))


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
        text = f"the local server at {local['url']} does not answer; its log is {local['log']}"
        yield Check("prefect", "warning", text, "sinagot-catalog server stop")
