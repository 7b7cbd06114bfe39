"""Logs of sinagot itself: reads the lines that sinagot wrote to `LOG` before this library did."""

import re
from datetime import MAXYEAR, MINYEAR, datetime, timedelta

import polars as pl

from sinagot_catalog.journal.event_lines import read_json_lines, to_events

_EVENTS = {0: "init", 20: "start", 30: "done", 40: "error", 41: "not_available"}
"""The events of its statuses."""
_NAME = re.compile(r"(?s).+\.log(?:\.\d+)?")


def is_seed_log(name: str) -> bool:
    """Whether a name directly in the `LOG` folder is the name of a log of sinagot itself."""
    return "/" not in name and _NAME.fullmatch(name) is not None


def from_seed(content: bytes) -> pl.DataFrame:
    """Parse log lines of sinagot itself: they have local times without a zone, and no run."""
    frame = read_json_lines(content).filter(pl.col("step_label").is_not_null() & pl.col("event").is_null())
    local = frame.select(pl.col("time").str.slice(0, 26).str.to_datetime(time_unit="us", strict=False))
    time = local["time"] - _offsets(local["time"])
    event = pl.col("step_status").replace_strict(_EVENTS, default="log", return_dtype=pl.String)
    return to_events(
        frame.with_columns(
            time.dt.replace_time_zone("UTC"), event.alias("event"), pl.lit(None, pl.String).alias("run_id")
        )
    )


def _offsets(local: pl.Series) -> pl.Series:
    """How far this machine's clock was ahead of UTC at its own local times; null if that is unknown.

    The offset is computed once for each hour. Nearly every zone changes at full hours. St. John's changed a minute
    past midnight until 2011; in such a zone, times between the full hour and the change are off by the change.
    """
    hours = local.dt.truncate("1h")
    known = hours.filter(hours.dt.year().is_between(MINYEAR, MAXYEAR)).unique()
    ahead = pl.Series([_offset(hour) for hour in known], dtype=pl.Duration("us"))
    return hours.replace_strict(known, ahead, default=None, return_dtype=pl.Duration("us"))


def _offset(hour: datetime) -> timedelta | None:
    """How far this machine's clock was ahead of UTC at that hour; None outside the range of its calendar."""
    try:
        return hour.astimezone().utcoffset()
    except (ValueError, OverflowError, OSError):
        return None
