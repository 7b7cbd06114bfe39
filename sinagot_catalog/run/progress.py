"""Progress of a run: a bar on a terminal and in a notebook, log lines elsewhere.

No other module of `run` writes to the terminal.
"""

from __future__ import annotations

import logging
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, Self

from sinagot_catalog.status import FAILURES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rich.progress import Progress as RichProgress

    from sinagot_catalog.config import Config
    from sinagot_catalog.journal import Result
    from sinagot_catalog.run.claimed_run import ClaimedRun

__all__ = ["Progress", "open_progress"]

_SAID = {"done": "Run finished", "already_done": "Run already processed", "cancelled": "Run cancelled"}
_REDRAW = 0.2
_LEVELS = {"error": logging.ERROR, "timeout": logging.ERROR, "blocked": logging.WARNING}


class Progress(Protocol):
    """Receives results during a run and shows the progress."""

    console: logging.Logger | None
    """Receives what scripts log, if they run in this process."""

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
        yield _Silent()
    elif _is_notebook():
        with _Notebook(claimed.n_rows) as live:
            yield live
    elif progress or sys.stderr.isatty():
        with _Bar(claimed.n_rows) as bar:
            yield bar
    else:
        yield _Lines(claimed, config)


class _Silent:
    """Shows nothing."""

    console: logging.Logger | None = None

    def note(self, results: list[Result]) -> None:
        """Do nothing."""


class _Bar:
    """A bar with the rows done, the failures, the rate and the time left."""

    console: logging.Logger | None = None

    def __init__(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.failed = 0
        self.done = 0
        self.begin = time.monotonic()
        self.bar: RichProgress = Progress(
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[failed]}"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
        )
        self.task = self.bar.add_task("rows", total=total, failed="", rate="")

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def note(self, results: list[Result]) -> None:
        """Move the bar."""
        self.done += len(results)
        self.failed += sum(one.outcome in FAILURES for one in results)
        rate = self.done / max(time.monotonic() - self.begin, 1e-9)
        failed = f"[red]{self.failed} failed[/red]" if self.failed else ""
        self.bar.update(self.task, completed=self.done, failed=failed, rate=f"{rate:,.1f} rows/s")


def _is_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


class _Notebook:
    """A bar in the output of a notebook's cell; the notebook stores only its last state, a single line."""

    console: logging.Logger | None = None

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self.failed = 0
        self.begin = self.drawn = time.monotonic()

    def __enter__(self) -> Self:
        from IPython.display import display

        self.handle: Any = display(self._bar(), raw=True, display_id=True)  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *_: object) -> None:
        line = self._line()
        self.handle.update({"text/plain": line, "text/html": f"<div>{line}</div>"}, raw=True)

    def note(self, results: list[Result]) -> None:
        """Update the bar, at most a few times a second."""
        self.done += len(results)
        self.failed += sum(one.outcome in FAILURES for one in results)
        now = time.monotonic()
        if now - self.drawn >= _REDRAW:
            self.drawn = now
            self.handle.update(self._bar(), raw=True)

    def _line(self) -> str:
        failed = f", {self.failed:,} failed" if self.failed else ""
        return f"{self.done:,} of {self.total:,} rows{failed}"

    def _bar(self) -> dict[str, str]:
        seconds = max(self.drawn - self.begin, 1e-9)
        left = (self.total - self.done) * seconds / self.done if self.done else 0.0
        line = (
            f"{self._line()}, {self.done / seconds:,.1f} rows/s, {left:,.0f} s left" if left else self._line()
        )
        bar = f'<progress value="{self.done}" max="{self.total}" style="width: 20em"></progress>'
        return {"text/plain": line, "text/html": f"<div>{bar} {line}</div>"}


class _Lines:
    """A line per row in sinagot's format, `<id> | <time> | <step> : <message>`."""

    def __init__(self, claimed: ClaimedRun, config: Config) -> None:
        self.rows = claimed.plan.frame.select("record_id", "task", "modality", "step")
        # A logger of this run only: `getLogger` would share it with other workspaces.
        self.console: logging.Logger | None = logging.Logger(config.logging.name, config.logging.level)  # noqa: LOG001
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_Seed(config.logging.format))
        self.console.addHandler(handler)

    def note(self, results: list[Result]) -> None:
        """Write a line per row."""
        if self.console is None:
            return
        for one in results:
            level = _LEVELS.get(one.outcome, logging.INFO)
            if self.console.isEnabledFor(level):
                keys = self.rows.row(one.row, named=True)
                self.console.log(level, "%s", _message(one), extra={"row": keys})


def _message(result: Result) -> str:
    return _SAID.get(result.outcome) or (result.message or result.outcome).partition("\n")[0]


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
