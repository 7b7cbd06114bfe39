"""Measuring two things in turn, and what comes out of it."""

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

__all__ = [
    "REPOSITORY",
    "AtLeast",
    "AtMost",
    "Benchmark",
    "Measurement",
    "Scale",
    "Skipped",
    "alternate",
    "child",
    "environment",
    "process",
]

Thunk = Callable[[], float | None]
"""Does the work once; gives the figure where it knows better than the clock around it."""

REPOSITORY = Path(__file__).parent.parent


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Attributes:
        cache: Folder of the workspaces, which are made once.
        records: Numbers of records to look at.
        rows: Numbers of rows of 0.2 ms to run.
        slow_rows: How many rows of 50 ms to run.
        times: How often each thing is measured.
    """

    cache: Path
    records: tuple[int, ...]
    rows: tuple[int, ...]
    slow_rows: int
    times: int


@dataclass(frozen=True)
class AtMost:
    """Reached when ours is at most so many times the floor, or at most so much where there is no floor."""

    limit: float
    sign = "<="

    def figure(self, ours: float, floor: float | None) -> float:
        """What is compared with the limit."""
        return ours if floor is None else ours / floor

    def is_met(self, figure: float) -> bool:
        """Whether the figure is good enough."""
        return figure <= self.limit


@dataclass(frozen=True)
class AtLeast:
    """Reached when our rate is at least so many times the rate of the floor."""

    limit: float
    sign = ">="

    def figure(self, ours: float, floor: float | None) -> float:
        """What is compared with the limit: of two times the quotient of the rates."""
        return (floor or ours) / ours

    def is_met(self, figure: float) -> bool:
        """Whether the figure is good enough."""
        return figure >= self.limit


@dataclass(frozen=True)
class Measurement:
    """One thing measured several times, mostly beside a floor.

    Attributes:
        name: Unique in a run, such as `status/harbor/100000`.
        what: What ours does, in words.
        floor: What the floor does, or an empty text.
        goal: The ratio to reach, None where the figure is for information.
        ours: Figures in `unit`, in the order in which they were measured.
        floors: The same of the floor.
        unit: `s` or `MB`.
    """

    name: str
    what: str
    floor: str
    goal: AtMost | AtLeast | None
    ours: tuple[float, ...]
    floors: tuple[float, ...] = ()
    unit: str = "s"

    @property
    def figures(self) -> list[float]:
        """What each round gave: a ratio of two neighbours in time, or the figure itself."""
        goal = self.goal or AtMost(1.0)
        floors: Sequence[float | None] = self.floors or [None] * len(self.ours)
        return [goal.figure(one, floor) for one, floor in zip(self.ours, floors, strict=True)]

    @property
    def figure(self) -> float:
        """The median of the rounds."""
        return median(self.figures)

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is reached; None where there is none."""
        return None if self.goal is None else self.goal.is_met(self.figure)

    def as_json(self) -> dict[str, Any]:
        """All of it, plain."""
        return {
            "name": self.name,
            "what": self.what,
            "floor": self.floor,
            "unit": self.unit,
            "ours": self.ours,
            "floors": self.floors,
            "figures": self.figures,
            "figure": self.figure,
            "goal": None if self.goal is None else f"{self.goal.sign} {self.goal.limit}",
            "is_met": self.is_met,
        }


class Skipped(Exception):  # noqa: N818 - it is no error
    """This machine cannot measure it; the text says why."""


Benchmark = Callable[[Scale], Iterator[Measurement]]


def alternate(
    ours: Thunk, floor: Thunk, times: int, *, start_workers: bool = True
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Measure two things in turn, so that what else the machine does falls on both.

    Each is done once before, unmeasured, so that the figures are warm; long work needs no such round.
    """
    if start_workers:
        ours()
        floor()
    figures: tuple[list[float], list[float]] = ([], [])
    for turn in range(times):
        for which in (0, 1) if turn % 2 else (1, 0):
            figures[which].append(_measured((ours, floor)[which]))
    return tuple(figures[0]), tuple(figures[1])


def _measured(thunk: Thunk) -> float:
    """Do it once; its own figure, or the seconds that it took."""
    gc.collect()
    begin = time.perf_counter()
    figure = thunk()
    return time.perf_counter() - begin if figure is None else figure


def environment() -> dict[str, str]:
    """The environment of a process that is measured: byte code is kept, as it is where a package is installed."""
    found = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    found.setdefault("PYTHONPYCACHEPREFIX", f"{tempfile.gettempdir()}/sinagot-catalog-benchmarks-pycache")
    return found


def process(arguments: Sequence[str]) -> str:
    """Run Python with some arguments; what it prints."""
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, check=False, env=environment()
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def child(what: str, *arguments: str) -> dict[str, Any]:
    """Do one thing of `_child` in a process of its own; what it says."""
    said: dict[str, Any] = json.loads(process(["-m", "benchmarks._child", what, *arguments]).splitlines()[-1])
    return said
