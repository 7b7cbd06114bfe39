"""Staleness: find the causes that make a DONE row stale (inputs, version, parameters, code). Pure expressions.

A cause is true if the recorded value differs from the present value, false if it is equal, null if it is unknown.
The events `done` and `accepted` record these values. A row without such an event is compared by file times alone.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

CAUSES = pl.Struct(
    {
        "input": pl.Boolean(),
        "version": pl.Boolean(),
        "params": pl.Boolean(),
        "code": pl.Boolean(),
        "changes": pl.String(),
    }
)
"""The causes that can make a row stale; `changes` are the changed parameters in words."""

ASKED = ("input", "version", "params")
"""The causes that `--stale` acts on; `--stale=code` also acts on `code`."""

FOLDER = 3
"""How many numbers the journal records per folder; per file it records two."""


def acted_on(stale: bool | str | None, rerun_on: Sequence[str]) -> frozenset[str]:  # noqa: FBT001
    """Return the causes that a run acts on.

    Args:
        stale: The user's choice: True, False, `"code"`; None for the choice of the config.
        rerun_on: `[run] rerun_on`.

    Example:
        >>> sorted(acted_on("code", ())), sorted(acted_on(None, ("input",)))
        (['code', 'input', 'params', 'version'], ['input'])
    """
    if stale is None:
        return frozenset(rerun_on)
    return frozenset(ASKED if stale else ()) | ({"code"} if stale == "code" else set())


def is_stale(causes: pl.Series, among: Iterable[str] = ("input", "version", "params", "code")) -> pl.Series:
    """Whether one of the causes is true; null if none is true and one is unknown.

    Args:
        causes: A struct of `CAUSES`.
        among: The causes that count.
    """
    known = [name for name in among if name in CAUSES.to_schema()]
    if not known:
        return pl.Series([False]).new_from_index(0, len(causes))
    return reduce(or_, [causes.struct.field(name) for name in known])


def in_words(causes: pl.Series, among: Iterable[str]) -> pl.Series:
    """Return the true causes as a clause; empty if none is true."""
    words = {
        "input": pl.lit("an input changed since"),
        "version": pl.lit("a version changed since"),
        "params": pl.col("changes"),
        "code": pl.lit("script changed"),
    }
    holding = [pl.when(pl.col(name)).then(text) for name, text in words.items() if name in set(among)]
    if not holding:
        return pl.Series([""]).new_from_index(0, len(causes))
    return causes.struct.unnest().select(
        pl.concat_str(holding, separator=", ", ignore_nulls=True).alias("causes")
    )["causes"]


def causes_of(
    done: pl.DataFrame,
    inputs: Sequence[pl.DataFrame],
    outputs: Sequence[pl.DataFrame],
    *,
    version: str | None,
    workspace_version: str | None,
    code: str | None,
    changes: pl.Series,
    optional: Sequence[bool] = (),
) -> pl.Series:
    """Return the causes for rows of one step; a struct of `CAUSES`.

    Args:
        done: The recorded values: `_inputs`, `_script`, `_workspace`, `_code`.
        inputs: The present state of each input: `size, mtime_ns, etag, is_folder`.
        outputs: The same of each output.
        version: `VERSION` of the script.
        workspace_version: `[info] version`.
        code: The hash of the code; None if it does not count.
        changes: The parameters that changed, see `parameter_changes`.
        optional: For each input whether the step runs without it; by default for none.
    """
    known = pl.col("_inputs").is_not_null()
    others = pl.col("_script").ne_missing(_text(version)) | pl.col("_workspace").ne_missing(
        _text(workspace_version)
    )
    may_lack = list(optional) or [False] * len(inputs)
    newer = _newer(inputs, outputs, may_lack)
    changed = [
        _changed(position, now, newer, is_optional=may_lack[position]) for position, now in enumerate(inputs)
    ]
    recorded = reduce(or_, changed) if changed else pl.lit(value=False)
    return done.select(
        pl.struct(
            pl.when(known).then(recorded).otherwise(newer).alias("input"),
            (known & others).alias("version"),
            pl.lit(changes).is_not_null().alias("params"),
            (known & (pl.col("_code") != _text(code))).fill_null(value=False).alias("code"),
            pl.lit(changes).alias("changes"),
        ).alias("causes")
    )["causes"]


def _text(value: str | None) -> pl.Expr:
    return pl.lit(value, dtype=pl.String)


def _changed(position: int, now: pl.DataFrame, newer: pl.Expr, *, is_optional: bool) -> pl.Expr:
    """Whether an input differs from its recorded state."""
    then = pl.col("_inputs").list.get(position, null_on_oob=True)
    is_folder, length = pl.lit(now["is_folder"]), then.list.len()
    size, time = (then.list.get(item, null_on_oob=True) for item in (0, 1))
    digest = pl.lit(
        now["etag"].str.to_integer(base=16, dtype=pl.UInt64, strict=False).reinterpret(signed=True)
    )
    return (
        # an absent input cannot be compared, and a new run could not read it
        pl.when(pl.lit(now["size"]).is_null()).then(then.is_not_null() if is_optional else None)
        .when(then.is_null() & is_folder).then(pl.when(newer).then(newer))
        .when(then.is_null()).then(pl.lit(value=True))
        .when(is_folder != (length == FOLDER)).then(pl.lit(value=True))
        .when(is_folder).then(digest != then.list.get(2, null_on_oob=True))
        .otherwise((size != pl.lit(now["size"])) | (time != pl.lit(now["mtime_ns"])))
    )  # fmt: skip


def _newer(
    inputs: Sequence[pl.DataFrame], outputs: Sequence[pl.DataFrame], may_lack: Sequence[bool]
) -> pl.Expr:
    """Whether an input is newer than the oldest output; null if a time is unknown."""
    if not (inputs and outputs):
        return pl.lit(value=False)
    times = [[pl.lit(one["mtime_ns"]) for one in some] for some in (inputs, outputs)]
    needed = [time for time, lacks in zip(times[0], may_lack, strict=True) if not lacks]
    is_known = pl.all_horizontal(time.is_not_null() for time in (*needed, *times[1]))
    newer = pl.max_horizontal(times[0]) > pl.min_horizontal(times[1])
    return pl.when(newer).then(newer).when(is_known).then(newer)
