"""Output of commands: tables that fit a terminal, and JSON, CSV or Parquet for programs.

Tables are formatted column by column in Polars: 100,000 rows take milliseconds, and a command on three records
needs no further library.
"""

from __future__ import annotations

import json
import os
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sinagot_catalog.cli.echo import broken, clean, say, width
from sinagot_catalog.config import count_of
from sinagot_catalog.errors import not_written
from sinagot_catalog.reporting import TABLE_METADATA
from sinagot_catalog.secrets import masked
from sinagot_catalog.startup import polars as pl
from sinagot_catalog.status import SHORT_NAMES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

COLOURS = {
    "DONE": "32", "done": "32", "ERROR": "31", "error": "31", "timeout": "31", "blocked": "31", "READY": "36",
    "run": "36", "RUNNING": "33", "skip": "2", "INIT": "2", "NO_DATA": "35", "EXCLUDED": "2",
}  # fmt: skip
"""The colours of words in tables, as numbers of terminal escape sequences."""

_COLOURED = ("status", "action", "outcome", "event")
_KEYS = ("time", "record_id", "task", "modality", "step", "path", "status")
_LEAST = ("n_units", "n_files", "n_steps")
_MOST = (*_KEYS, "n_data_ready", "n_done", "n_error", "outcome", "exists")
"""The columns that a narrow terminal leaves out first, and those that it leaves out last."""
_NARROWEST = {"path": 24} | dict.fromkeys(("record_id", "task", "modality", "step"), 12)
"""The least number of characters of a text column in a narrow terminal; 8 for others."""


_MARK = f"\x1e{os.urandom(8).hex()}\x1e"
"""Marks the library's own escape sequences until a text is printed: no name can contain it."""


def put(text: str, end: str = "\n") -> None:
    """Print a part of the result for people: only `paint` can send control characters."""
    _write("\x1b[".join(clean(piece) for piece in masked(text).split(_MARK)) + end)


def put_whole(text: str, end: str = "\n") -> None:
    """Print a part of the result for programs, unchanged; on a terminal like `put`."""
    _write((clean(masked(text)) if sys.stdout.isatty() else masked(text)) + end)


def put_address(text: str) -> None:
    """Print an address of this program with its key, which the user needs: nothing in it is masked."""
    _write(f"{text}\n")


def clear_screen() -> None:
    """Clear the terminal and continue at its top."""
    _write("\x1b[H\x1b[2J")


def _write(text: str) -> None:
    """Write to stdout; a closed pipe, as in `| head`, is no error."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@cache
def colours() -> bool:
    """Whether stdout shows colours: it is a terminal, and the user did not switch colours off."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, code: str) -> str:
    """Colour a text if stdout shows colours."""
    return f"{_MARK}{code}m{text}{_MARK}0m" if colours() else text


def can_show(text: str) -> bool:
    """Whether stdout's encoding has all characters of a text."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def say_note(text: str) -> None:
    """Print what people should know besides the result; on a terminal it is broken between words."""
    say(broken(f"note: {text}", 6, sys.stderr))


# --- for programs --------------------------------------------------------------------------------------------


def is_machine(args: Any) -> bool:
    """Whether the user chose JSON, CSV or Parquet."""
    return bool(args.json or args.csv or args.parquet)


def put_rows(args: Any, parts: Iterable[pl.DataFrame]) -> None:
    """Print rows in the chosen form, as they come: a JSON array with a row per line, CSV, or a Parquet file.

    Args:
        args: The arguments of the command.
        parts: The rows, in at least one frame.
    """
    if args.parquet:
        _write_parquet(args.parquet, iter(parts))
        return
    before = "["
    for number, part in enumerate(parts):
        frame = part.with_columns(
            pl.col(pl.Datetime).dt.to_string("iso:strict"), pl.col(pl.Enum).cast(pl.String)
        )
        if args.csv and (number == 0 or frame.height):
            put_whole(_flat(frame).write_csv(include_header=number == 0).removesuffix("\n"))
        elif frame.height:
            put_whole(before + frame.write_ndjson().removesuffix("\n").replace("\n", ",\n "), end="")
            before = ",\n "
    if not args.csv:
        put_whole("[]" if before == "[" else "]")


def _write_parquet(path: str, parts: Iterator[pl.DataFrame]) -> None:
    """Write a Parquet file part by part."""
    from itertools import chain

    from polars.io.plugins import register_io_source

    first = next(parts)
    count = 0

    def counted(*_: Any) -> Iterator[pl.DataFrame]:
        nonlocal count
        for frame in chain([first], parts):
            count += frame.height
            yield frame

    try:
        register_io_source(counted, schema=first.schema).sink_parquet(path, metadata=TABLE_METADATA)
    except OSError as error:
        raise not_written(path, error) from error
    say(f"{count_of(count, 'row')} written to {Path(path)}")


def _flat(frame: pl.DataFrame) -> pl.DataFrame:
    """Turn the values that CSV cannot represent into texts."""
    from sinagot_catalog.catalog import text_of

    return frame.with_columns(
        text_of(name, dtype)
        for name, dtype in frame.schema.items()
        if dtype.is_nested() or isinstance(dtype, (pl.Duration, pl.Binary))
    )


def put_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object."""
    put_whole(json.dumps(value, indent=1, ensure_ascii=False, default=str))


def put_either(args: Any, value: Mapping[str, Any], text: str) -> None:
    """Print one JSON object with `--json`, else a text for people."""
    if args.json:
        put_json(value)
    else:
        put(text)


# --- for people ----------------------------------------------------------------------------------------------


def put_table(
    frame: pl.DataFrame,
    *,
    counts: Collection[str] = (),
    bold_last: bool = False,
    beside: Sequence[Sequence[tuple[str, str]]] | None = None,
    spare: Sequence[str] = (),
) -> None:
    """Print rows as aligned columns, cut to the width of the terminal.

    Args:
        frame: The rows.
        counts: Columns of numbers that are written with thousands separators.
        bold_last: Whether the last row is a total.
        beside: Text to the right of each row: pieces with their colours; all have the same width.
        spare: Columns that are left out, without a note, before others are cut.
    """
    right = {name for name, dtype in frame.schema.items() if dtype.is_numeric()}
    text = frame.select(_text(name, dtype) for name, dtype in frame.schema.items())
    text = text.with_columns(map(_separated, counts))
    most = text.select(pl.all().str.len_chars().max()).row(0) if text.height else (0,) * text.width
    longest = {name: size or 0 for name, size in zip(text.columns, most, strict=True)}
    sizes = {name: max(size, len(name)) for name, size in longest.items()}
    taken = 2 + sum(len(piece) for piece, _ in beside[0]) if beside else 0
    whole = right | {name for name, dtype in frame.schema.items() if dtype.is_temporal()}
    room = (room := width()) and room - taken
    if _over(sizes, room) > 0:
        sizes = {name: size for name, size in sizes.items() if name not in spare}
    left_out = _fit(sizes, {name: len(name) for name in text.columns if name not in whole}, room)
    body = _lines(text, sizes, right, {name for name, size in sizes.items() if longest[name] > size})
    head = "  ".join(name.rjust(size) if name in right else name.ljust(size) for name, size in sizes.items())
    if bold_last and body:
        body[-1] = paint(body[-1], "1")
    if beside:
        drawn = ["".join(paint(piece, code) for piece, code in pieces) for pieces in beside]
        body = [f"{line}  {bar}" for line, bar in zip(body, drawn, strict=True)]
    put("\n".join(line.rstrip() for line in [paint(head.rstrip(), "2"), *body]))
    if left_out:
        say(f"(no room for {', '.join(left_out)})")


def _text(name: str, dtype: pl.DataType) -> pl.Expr:
    """Format a column as short text on one line, without control characters."""
    from sinagot_catalog.catalog import text_of

    column = pl.col(name)
    if isinstance(dtype, pl.Datetime):
        text = column.dt.to_string("%Y-%m-%d %H:%M:%S")
    elif dtype.is_float():
        text = column.round(3).cast(pl.String)
    else:
        text = text_of(name, dtype)
        if isinstance(dtype, pl.Enum) and set(SHORT_NAMES) <= set(dtype.categories):
            text = text.replace(SHORT_NAMES)
    return text.fill_null("").str.replace_all(r"\s*[\x00-\x1f\x7f-\x9f\u2028\u2029]+\s*", " ")


def _separated(name: str) -> pl.Expr:
    """Put a comma before every three digits of a number, from its end."""
    backwards = pl.col(name).str.reverse().str.replace_all(r"(\d{3})", "$1,")
    return backwards.str.reverse().str.strip_chars_start(",")


def _over(sizes: Mapping[str, int], most: int | None) -> int:
    """How many characters the columns are too wide."""
    return 0 if most is None else sum(sizes.values()) + 2 * (len(sizes) - 1) - most


def _fit(sizes: dict[str, int], soft: Mapping[str, int], most: int | None) -> list[str]:
    """Narrow the widest text columns until all fit; if that is not enough, leave out the less important ones.

    Args:
        sizes: The widths of the columns, which change.
        soft: The columns that may be cut, with the lengths of their heads.
        most: The width of the terminal.

    Example:
        >>> sizes = {"path": 40, "size": 6, "role": 8, "modified": 19}
        >>> _fit(sizes, {"path": 4, "role": 4}, 60), sizes
        (['modified'], {'path': 40, 'size': 6, 'role': 8})
    """
    least = {name: max(_NARROWEST.get(name, 8), soft.get(name, 0)) for name in sizes}
    cut = {name: min(size, least[name]) if name in soft else size for name, size in sizes.items()}
    left_out: list[str] = []
    narrow: dict[str, int] = {}
    while len(cut) > 1 and _over(cut, most) > 0:
        left_out += [min(reversed(list(cut)), key=lambda name: (name not in _LEAST) + (name in _MOST))]
        narrow[left_out[-1]] = cut.pop(left_out[-1])
    for name, size in reversed(narrow.items()):  # a narrow one may fit after a wide one was left out
        if name not in _LEAST and _over({**cut, name: size}, most) <= 0:
            cut[name] = size
            left_out.remove(name)
    for name in left_out:
        del sizes[name]
    while (over := _over(sizes, most)) > 0:
        wide = [name for name in sizes if name in soft and sizes[name] > least[name]]
        wide = [name for name in wide if name not in _KEYS] or wide  # keys are cut last
        if not wide:
            break
        widest = max(wide, key=sizes.__getitem__)
        second = max((sizes[name] for name in wide if name != widest), default=0)
        down_to = second if second < sizes[widest] else sizes[widest] - 1
        sizes[widest] = max(down_to, sizes[widest] - over, least[widest])
    return left_out


def _lines(text: pl.DataFrame, sizes: Mapping[str, int], right: set[str], narrowed: set[str]) -> list[str]:
    """Put the columns side by side, padded; cut the texts of columns that are narrowed."""
    cells = []
    for name, size in sizes.items():
        column = pl.col(name)
        if name in narrowed:
            tail = (size - 1) // 2 if name == "path" else 0  # the ends of a path matter more than its middle
            pieces = [column.str.slice(0, size - 1 - tail), pl.lit("…")]
            pieces += [column.str.tail(tail)] if tail else []
            cut = pl.when(column.str.len_chars() > size).then(pl.concat_str(pieces))
            column = cut.otherwise(column)
        padded = column.str.pad_start(size) if name in right else column.str.pad_end(size)
        if colours() and name in _COLOURED:
            painted = pl.col(name).replace_strict(COLOURS, default=None, return_dtype=pl.String)
            escaped = pl.concat_str(pl.lit(_MARK), painted, pl.lit("m"), padded, pl.lit(f"{_MARK}0m"))
            padded = pl.when(painted.is_null()).then(padded).otherwise(escaped)
        cells.append(padded.alias(name))
    return text.select(pl.concat_str(cells, separator="  ").alias("line"))["line"].to_list()
