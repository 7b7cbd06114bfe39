"""Progress of a run: a bar on a terminal and in a notebook, log lines elsewhere.

No other module of `run` writes to the terminal.
"""

from __future__ import annotations

import html
import logging
import sys
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from sinagot_catalog.config import duration_text
from sinagot_catalog.journal import outcomes_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sinagot_catalog.config import Config
    from sinagot_catalog.journal import Result
    from sinagot_catalog.run.claimed_runs.claimed_run import ClaimedRun

_SAID = {"done": "Run finished", "already_done": "Run already processed", "cancelled": "Run cancelled"}
_REDRAW = 0.2
_NARROWEST, _WIDEST, _TEXT = 5, 30, 66
"""Characters: the narrowest and the widest bar, and the room for the text beside it."""
_LEVELS = {"error": logging.ERROR, "timeout": logging.ERROR, "blocked": logging.WARNING}


class Progress:
    """Receives results during a run and shows the progress; this class shows nothing.

    Attributes:
        console: Receives what scripts log, if they run in this process.
    """

    console: logging.Logger | None = None

    def note(self, results: list[Result]) -> None:
        """Show results."""


@contextmanager
def open_progress(claimed: ClaimedRun, config: Config, *, progress: bool | None) -> Iterator[Progress]:
    """Open the progress display of a run.

    Args:
        claimed: The run.
        config: Gives the format of log lines.
        progress: True for a bar, False for nothing, None for a bar on a terminal or in a notebook, and log lines
            elsewhere.
    """
    if progress is False:
        yield Progress()
    elif _is_notebook():
        with _Notebook(claimed) as live:
            yield live
    elif progress or sys.stderr.isatty():
        with _Bar(claimed) as bar:
            yield bar
    else:
        yield _Lines(claimed, config)


class _Tally:
    """The rows that have ended so far: their outcomes, the rate, the time left, and the last step."""

    def __init__(self, claimed: ClaimedRun) -> None:
        plan = claimed.plan.frame
        # rows whose script cannot be used fail at once
        self._unusable = self.done = int((plan["action"] == "blocked").sum())
        self.total = claimed.n_rows + self._unusable
        self._steps = plan["step"]
        self._step = ""
        self._outcomes = Counter(error=self._unusable)
        self._begin = time.monotonic()

    def add(self, results: list[Result]) -> None:
        """Count results."""
        self.done += len(results)
        self._outcomes.update(result.outcome for result in results)
        if results:
            self._step = self._steps[results[-1].row]

    @property
    def problems(self) -> str:
        """The rows that are not done, in the words of the summary."""
        return outcomes_text({name: count for name, count in self._outcomes.items() if name != "done"})

    def pace(self) -> list[str]:
        """The time left, the rate and the step; empty before the first result and after the last."""
        if not self._step or self.done >= self.total:
            return []
        rate = (self.done - self._unusable) / max(time.monotonic() - self._begin, 1e-9)
        left = duration_text((self.total - self.done) / rate)
        return [f"about {left} left", f"{rate:,.1f} rows/s", self._step]

    def __str__(self) -> str:
        return ", ".join(part for part in (f"{self.done:,} of {self.total:,} rows", self.problems) if part)


class _Bar(Progress):
    """A bar with the rows done, the failures, the time left, the rate and the step; it fits the terminal."""

    def __init__(self, claimed: ClaimedRun) -> None:
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress
        from rich.table import Column

        console = Console(stderr=True)
        self._tally = _Tally(claimed)
        self._escape = escape
        self._console = console
        self._size = size = max(_NARROWEST, min(_WIDEST, console.width - _TEXT))
        self._bar = RichProgress(
            BarColumn(bar_width=size, table_column=Column(min_width=size)),
            TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis")),
            console=console,
        )
        self._task = self._bar.add_task(str(self._tally), total=self._tally.total)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def note(self, results: list[Result]) -> None:
        """Move the bar."""
        tally = self._tally
        tally.add(results)
        problems = [f"[red]{tally.problems}[/red]"] if tally.problems else []
        counts = f"{tally.done:,} of {tally.total:,}"
        room = self._console.width - self._size - 1 - len(", ".join(filter(None, [counts, tally.problems])))
        parts = [counts, *problems, *map(self._escape, _fitting(tally.pace(), room))]
        self._bar.update(self._task, completed=tally.done, description=", ".join(parts))


def _fitting(pace: list[str], room: int) -> list[str]:
    """Leave out the rate, then the step, then the time left, as far as they do not fit.

    Example:
        >>> _fitting(["about 3 s left", "9.0 rows/s", "clean"], 30)
        ['about 3 s left', 'clean']
    """
    ways = ([0, 1, 2], [0, 2], [0])
    fits = ([pace[index] for index in way] for way in ways if pace)
    return next((parts for parts in fits if sum(len(part) + 2 for part in parts) <= room), [])


def _is_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


class _Notebook(Progress):
    """A bar in the output of a notebook's cell; the notebook stores only its last state, a single line."""

    def __init__(self, claimed: ClaimedRun) -> None:
        self._tally = _Tally(claimed)
        self._drawn = time.monotonic()

    def __enter__(self) -> Self:
        from IPython.display import display

        self._handle: Any = display(self._bar(), raw=True, display_id=True)  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *_: object) -> None:
        line = str(self._tally)
        self._handle.update({"text/plain": line, "text/html": f"<div>{line}</div>"}, raw=True)

    def note(self, results: list[Result]) -> None:
        """Update the bar, at most a few times a second."""
        self._tally.add(results)
        now = time.monotonic()
        if now - self._drawn >= _REDRAW:
            self._drawn = now
            self._handle.update(self._bar(), raw=True)

    def _bar(self) -> dict[str, str]:
        tally = self._tally
        line = ", ".join([str(tally), *tally.pace()])
        bar = f'<progress value="{tally.done}" max="{tally.total}" style="width: 20em"></progress>'
        return {"text/plain": line, "text/html": f"<div>{bar} {html.escape(line)}</div>"}


class _Lines(Progress):
    """A line per row in sinagot's format, `<id> | <time> | <step> : <message>`."""

    console: logging.Logger

    def __init__(self, claimed: ClaimedRun, config: Config) -> None:
        self.rows = claimed.plan.frame.select("record_id", "task", "modality", "step")
        # A logger of this run only: `getLogger` would share it with other workspaces.
        self.console = logging.Logger(config.logging.name, config.logging.level)  # noqa: LOG001
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_Seed(config.logging.format))
        self.console.addHandler(handler)

    def note(self, results: list[Result]) -> None:
        """Write a line per row."""
        for result in results:
            level = _LEVELS.get(result.outcome, logging.INFO)
            if self.console.isEnabledFor(level):
                keys = self.rows.row(result.row, named=True)
                self.console.log(level, "%s", _message(result), extra={"row": keys})


def _message(result: Result) -> str:
    kind = f"{result.error_type}: " if result.error_type else ""
    return _SAID.get(result.outcome) or kind + (result.message or result.outcome).partition("\n")[0]


class _Seed(logging.Formatter):
    """Puts the record before a line and the step into its message, as sinagot does."""

    def format(self, record: logging.LogRecord) -> str:
        row: Mapping[str, Any] | None = getattr(record, "row", None)
        if row is None:
            return super().format(record)
        step = "-".join(part for part in (row["task"], row["modality"], row["step"]) if part)
        head, sep, tail = super().format(record).partition(" : ")
        return (
            f"{row['record_id']} | {head} | {step} : {tail}"
            if sep
            else f"{row['record_id']} | {step} : {head}"
        )
