"""Run options: which rows a run takes, and how it runs them; checked when they are made."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from sinagot_catalog.catalog import acted_on
from sinagot_catalog.config import parse_duration
from sinagot_catalog.errors import SelectionError, did_you_mean
from sinagot_catalog.run.machine import cpus
from sinagot_catalog.run.parts import part_of
from sinagot_catalog.startup import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sinagot_catalog.config import Config

_MODES = ("processes", "main_process", "prefect")


class PlanArguments(TypedDict, total=False):
    """The keywords of `StepCollection.plan`; `RunOptions` has their meanings."""

    downstream: bool
    upstream: bool
    stale: bool | Literal["code"] | None
    limit: int | None
    part: str | Sequence[int] | None


class SubmitArguments(PlanArguments, total=False):
    """The keywords of `StepCollection.submit`."""

    workers: int | None
    stop_after: int | None


class RunArguments(SubmitArguments, total=False):
    """The keywords of `StepCollection.run`."""

    mode: Literal["processes", "main_process", "prefect"] | None


class WatchArguments(TypedDict, total=False):
    """The keywords of `StepCollection.watch`."""

    workers: int | None
    stale: bool | Literal["code"] | None


@dataclass(frozen=True)
class RunOptions:
    """Options of a run.

    Attributes:
        step: Only this step, or these; their rows are tried even if an input is missing.
        force: Also run rows that are done.
        ignore_missing: Also try rows that lack an input.
        debug: Run in this process, log at DEBUG, and re-raise the errors of a script.
        mode: `processes`, `main_process` or `prefect`; by default as set in `[run] mode`.
        workers: The number of processes; by default the CPUs that this process may use.
        downstream: Add the rows that become ready by this run.
        upstream: Add the rows that make missing inputs of these rows.
        stale: Run rows that are stale by an input or a version, with `"code"` also by a changed script; by default
            as set in `[run] rerun_on`.
        limit: Run at most this many rows, in run order.
        stop_after: End the run after this many failures of one kind; see `claimed_runs.failure_limit`.
        part: Only the rows of this part, such as `(3, 8)`; `"last"` has the rows that belong to no part.
    """

    step: str | Sequence[str] | None = None
    force: bool = False
    ignore_missing: bool = False
    debug: bool = False
    mode: str | None = None
    workers: int | None = None
    downstream: bool = False
    upstream: bool = False
    stale: bool | str | None = None
    limit: int | None = None
    stop_after: int | None = None
    part: str | Sequence[int] | None = None

    @classmethod
    def of(
        cls,
        keywords: Any,
        keyword_type: type,
        step: str | Sequence[str] | None = None,
        **given: Any,
    ) -> RunOptions:
        """Make the options of a call.

        Args:
            keywords: The further keywords of the call.
            keyword_type: The typed dictionary that has all keywords of the function.
            step: The steps that the user named.
            given: The options that the function declares itself.

        Raises:
            TypeError: The function has no such keyword; names similar ones.
        """
        names = keyword_type.__annotations__
        for name in keywords:
            if name not in names:
                raise TypeError(f"there is no option {name!r}{did_you_mean(name, [*names, *given])}")
        return cls(step=step, **given, **keywords)

    def __post_init__(self) -> None:
        if not (self.stale is None or isinstance(self.stale, bool) or self.stale == "code"):
            raise SelectionError(
                f"stale: {self.stale!r} is not one of True, False, 'code'{did_you_mean(str(self.stale), ['code'])}"
            )
        for name in ("force", "ignore_missing", "debug", "downstream", "upstream"):
            if not isinstance(getattr(self, name), bool):
                raise SelectionError(f"{name}: {getattr(self, name)!r} is neither True nor False")
        part_of(self.part)
        for name, least in (("workers", 1), ("limit", 0), ("stop_after", 1)):
            check_count(name, getattr(self, name), least)

    @property
    def steps(self) -> list[str]:
        """The steps that the user named."""
        return listed(self.step)

    def after(self, count: int) -> RunOptions:
        """Return the options for the rest of a run, when some of its rows count against the limit."""
        return self if self.limit is None else replace(self, limit=max(0, self.limit - count))

    def causes(self, config: Config) -> frozenset[str]:
        """The causes of staleness that make a row that is done run again."""
        return acted_on(self.stale, config.run.rerun_on)

    def resolved_mode(self, config: Config) -> str:
        """The mode of the run; with `debug`, always this process."""
        if self.mode is not None and self.mode not in _MODES:
            raise SelectionError(
                f"mode: {self.mode!r} is not one of {', '.join(map(repr, _MODES))}{did_you_mean(self.mode, _MODES)}"
            )
        if self.debug:
            return "main_process"
        return self.mode or config.run.mode

    def local_mode(self, config: Config) -> Literal["processes", "main_process"]:
        """Whether rows that run on this machine run in worker processes or in this process."""
        return "main_process" if self.resolved_mode(config) == "main_process" else "processes"

    def most_workers(self, config: Config) -> int:
        """The most processes that a run uses."""
        return self.workers or config.run.workers or cpus()


def listed(value: Any) -> list[Any]:
    """Return the values of an argument that takes one or several; none for None."""
    if value is None:
        return []
    return list(value) if isinstance(value, Iterable) and not isinstance(value, (str, bytes)) else [value]


def check_count(name: str, value: Any, least: int = 1) -> None:
    """Check an argument that is a number of things, or None.

    Raises:
        SelectionError: It is something else; the message has the name of the argument.
    """
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
        raise SelectionError(f"{name}: {value!r} is not a whole number from {least} up")


def seconds_of(name: str, duration: float | str | timedelta, *, needs_unit: bool = False) -> float:
    """Return the seconds of a duration: a number of seconds, a text such as `5m`, or a time delta.

    Args:
        name: The argument.
        duration: Its value.
        needs_unit: Refuse a bare number.

    Raises:
        SelectionError: It is not a duration; the message has the name of the argument.
    """
    if isinstance(duration, timedelta):
        return duration.total_seconds()
    try:
        return parse_duration(duration, needs_unit=needs_unit)
    except ValueError as error:
        raise SelectionError(f"{name}: {error}") from None
