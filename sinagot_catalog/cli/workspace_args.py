"""Workspace arguments: open the workspace that a command names, and select its rows."""

from __future__ import annotations

import io
import shlex
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sinagot_catalog.cli.echo import clean, say
from sinagot_catalog.cli.output import say_note
from sinagot_catalog.errors import (
    ConfigError,
    NotFoundError,
    SelectionError,
    StorageError,
    did_you_mean,
    row_label,
)
from sinagot_catalog.startup import polars as pl
from sinagot_catalog.status import LONG_NAMES, OTHER_WORDS, StepStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sinagot_catalog.catalog import Notice, Session
    from sinagot_catalog.selection import Selection
    from sinagot_catalog.steps import StepCollection
    from sinagot_catalog.workspace import Workspace

Rows = TypeVar("Rows", bound="Selection")

_COUNT_EVERY = 2.0
_KEYS = ("record_id", "task", "modality", "step")


def open_workspace(args: Any) -> Workspace:
    """Open the workspace of a command: its argument, `-C`, or the nearest folder above with a config."""
    from sinagot_catalog.workspace import Workspace

    place = existing_place(args)
    _check_argument(args)
    handler = signal.getsignal(signal.SIGINT)
    if callable(handler):
        # Polars installs a signal handler before Python's. Then Ctrl-C does not wake a wait without a time limit.
        # This restores Python's handler.
        signal.signal(signal.SIGINT, handler)
    ws = Workspace(
        [place, *args.config],
        trust=args.trust or None,
        snapshot=getattr(args, "snapshot", None),
        listing=args.listing,
    )
    if getattr(args, "parquet", None):
        from sinagot_catalog.reporting import check_target

        check_target(args.parquet)
    if snapshot := source_of(ws).kept:
        say(f"as it was: {snapshot}; without --snapshot the files are listed")
    if sys.stderr.isatty():
        for store in source_of(ws).stores.values():
            store.on_page = None if store.is_local else _Counter(store.root)
    return ws


def _check_argument(args: Any) -> None:
    """Raise an error if there is a workspace here, and the argument names no other: an id, or a file of results."""
    from sinagot_catalog.config import nearest

    word = getattr(args, "place", None) or ""
    path = Path(word)
    is_id = hasattr(args, "record") and not set(word) & {"/", "."} and not path.exists()
    is_file = path.suffix not in ("", ".toml") and ":" not in word and not path.is_dir()
    if not (is_id or is_file) or nearest() is None:
        return
    if is_id:
        raise ConfigError(
            f"there is no file or folder {word}",
            f"A record is named with --record {word}, a step with --step {word}.",
        )
    name = shlex.quote(word)
    what = (
        f"To write the page to this file: -o {name}"
        if hasattr(args, "output")
        else "A file is made by its record and step: --record ID --step STEP --upstream. Which they are:\n"
        f"  sinagot-catalog explain {name}"
    )
    raise ConfigError(f"{word} is no workspace", what)


class _Counter:
    """Shows the progress of a long listing on the terminal; a short listing shows nothing."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._begun = self._said = time.monotonic()
        self._keys = 0
        self._lock = threading.Lock()

    def __call__(self, keys: int) -> None:
        """Count the keys of a page."""
        with self._lock:
            self._keys += keys
            now = time.monotonic()
            if now - self._said < _COUNT_EVERY:
                return
            self._said = now
            rate = self._keys / (now - self._begun)
            say(f"listing {self._root}: {self._keys:,} keys, {rate:,.0f} a second")


def place_of(args: Any, what: str = "workspace") -> str | None:
    """Return the workspace as the command names it; `what` says what a place is in an error."""
    argument, option = getattr(args, "place", None), args.workspace
    if argument and option and argument != option:
        raise ConfigError(f"two {what}s are named: {argument} and {option}")
    place: str | None = argument or option
    return place


def existing_place(args: Any) -> str:
    """Return the workspace that the user named, or else the nearest one; raise an error if there is none."""
    from sinagot_catalog.config import nearest

    place = place_of(args) or nearest()
    if place is None:
        raise ConfigError(
            f"there is no workspace.toml in {Path.cwd()} or a folder above it",
            "Name a workspace with -C, or make one: sinagot-catalog init",
        )
    return place


def source_of(ws: Workspace | Selection) -> Session:
    """Return the session of a workspace, or of a selection."""
    return ws._source  # noqa: SLF001 - no table contains the number of listed files


def say_absent_value(rows: Selection) -> None:
    """Print which text a filter wants that no record has, if a similar one exists."""
    from sinagot_catalog.catalog import absent_value

    if text := absent_value(rows._source, rows._query):  # noqa: SLF001 - no table contains the filters
        say_note(text)


def command(args: Any, verb: str, *more: str, whole: bool = False) -> str:
    """Return a further command about the same workspace, and the same rows unless `whole`; ready to paste."""
    from sinagot_catalog.run import shell_join

    place = place_of(args)
    names = ["config", "listing", "trust"]
    if not whole:
        names += ["step"] if verb == "logs" else ["where", "step"]
        names += (
            ["record"] if isinstance(getattr(args, "record", None), list) else []
        )  # else it is an argument
    place_words = [] if not place else ["-C", place] if verb in ("explain", "logs") else [place]
    return shell_join(["sinagot-catalog", verb, *place_words, *words_of(args, *names), *more])


def run_command(ws: Workspace, args: Any, *more: str, whole: bool = False) -> str:
    """Return the command that runs rows, with `--trust` if the workspace does not run without it."""
    more = more if args.trust or not source_of(ws).distrust() else (*more, "--trust")
    return command(args, "run", *more, whole=whole)


def beside_run(ws: Workspace, args: Any, *notes: str) -> str:
    """Return notes on the command that runs rows, and why it has a `--trust` that the user did not give."""
    reason = None if args.trust else source_of(ws).distrust()
    every = [*notes, *([f"--trust only if you trust the scripts: {reason}"] if reason else [])]
    return f"   ({'; '.join(every)})" if every else ""


def words_of(args: Any, *names: str) -> list[str]:
    """Return options that a command has, as words of another command."""
    words = []
    for name in names:
        option, value = f"--{name.replace('_', '-')}", getattr(args, name, None)
        if value is True:
            words.append(option)
        elif value:
            values = value if isinstance(value, list) else [str(value)]
            words += [word for text in values for word in (option, text)]
    return words


def is_narrowed(args: Any) -> bool:
    """Whether the user chose some of the rows."""
    return any(getattr(args, name, None) for name in ("where", "status", "step", "record", "rows", "part"))


# --- rows ----------------------------------------------------------------------------------------------------


def check_ids(ws: Workspace, ids: Iterable[str]) -> None:
    """Raise an error that names similar ids if an id can name neither a record nor a group."""
    for row_id in ids:
        if not source_of(ws).is_group(row_id):
            ws.records.get(row_id)


def selected(ws: Workspace, args: Any) -> StepCollection:
    """Return the steps that `--rows`, `--record`, `--status` and `--where` select together."""
    return of_where(named_steps(ws, args), args)


def of_where(rows: Rows, args: Any) -> Rows:
    """Return the rows that fit `--where`."""
    return rows.sql_filter(args.where) if args.where else rows


def of_steps(rows: StepCollection, args: Any) -> StepCollection:
    """Return the rows of the steps that `--step` names."""
    return rows.filter(pl.col("step").is_in(args.step)) if args.step else rows


def named_steps(ws: Workspace, args: Any) -> StepCollection:
    """Return the steps that `--rows`, `--record` and `--status` select together."""
    steps = ws.steps
    rows, status = getattr(args, "rows", None), getattr(args, "status", None)
    if rows:
        steps = ws._of(_read_rows(rows))  # noqa: SLF001 - like Workspace.run, but the result can be narrowed
    if args.record:
        check_ids(ws, args.record)
        if rows:
            steps = steps.filter(pl.col("record_id").is_in(args.record))
        elif len(args.record) == 1 and not source_of(ws).is_group(args.record[0]):
            steps = ws.records.get(args.record[0]).steps
        else:
            steps = ws._of(pl.DataFrame({"record_id": args.record}))  # noqa: SLF001 - also those without a file
    if status:
        steps = steps.filter(pl.col("status").is_in([_status(text) for text in status]))
    return steps


def _status(text: str) -> str:
    """Parse a status: its name or its word, in any case."""
    names = {name: name for name in StepStatus.__members__} | LONG_NAMES
    key = text.strip().upper().replace(" ", "_").replace("-", "_")
    if key not in names:
        raise SelectionError(
            f"--status: {text!r} is not a status{did_you_mean(OTHER_WORDS.get(key, key), names)}",
            f"It is one of {', '.join(names)}.",
        )
    return names[key]


def _read_rows(file: str) -> pl.DataFrame:
    """Read the rows that a file names."""
    from sinagot_catalog.catalog import FORMATS, read_text_table

    kind = "csv" if file == "-" else FORMATS.get(Path(file).suffix.lower(), "value")
    if kind == "value":
        known = ", ".join(suffix for suffix, kind in FORMATS.items() if kind != "value")
        raise SelectionError(f"--rows: {file} is not a table of a known kind ({known})")
    separator = {"csv": ",", "tsv": "\t"}.get(kind)
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        if separator:
            return read_text_table(content, separator, f"--rows: {file} cannot be read", _has_ids)[0]
        frame: pl.DataFrame = getattr(pl, f"read_{kind}")(io.BytesIO(content))
    except FileNotFoundError:
        raise NotFoundError(f"--rows: there is no file {file}") from None
    except StorageError as error:
        raise SelectionError(error.message, error.hint) from error
    except (OSError, pl.exceptions.PolarsError) as error:
        raise SelectionError(f"--rows: {file} cannot be read: {str(error).partition(chr(10))[0]}") from error
    return frame


def _has_ids(names: Sequence[str]) -> bool:
    return "record_id" in names


def first_of(rows: pl.DataFrame) -> str:
    """Return the name of the first row and its reason."""
    first = rows.row(0, named=True)
    return clean(f"{row_label(*(first[key] for key in _KEYS))}: {first['reason']}")


# --- notices -------------------------------------------------------------------------------------------------


def say_unread_values(ws: Workspace) -> None:
    """Print which files of columns from files have no values, of the columns that the command named."""
    for notice in source_of(ws).unread_values:
        say_note(notice.text)


def say_what_is_missing(ws: Workspace, notices: Iterable[Notice] | None = None) -> None:
    """Print which steps cannot run, what the listing left out, and why there is no record."""
    from sinagot_catalog.catalog import no_records

    source = source_of(ws)
    catalog = source.ranges.any.catalog()
    steps: dict[str, dict[str, None]] = {}
    for index, fault in sorted(catalog.faults.items()):
        steps.setdefault(fault, {})[catalog.layout.cells[index].step] = None
    for fault, names in steps.items():
        say_note(f"step{'s' if len(names) > 1 else ''} {', '.join(names)} cannot run: {fault}")
    for notice in source.notices() if notices is None else notices:
        say_note(notice.text)
    if not source.ranges and (note := no_records(catalog, str(ws.data_path))):
        say_note(note)
