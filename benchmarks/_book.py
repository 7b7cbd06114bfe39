"""What is known of each tool so far, and what it is not asked any more."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Literal

from benchmarks._tools import Task, Tool

__all__ = ["Book", "Figure", "Outcome"]

Outcome = Literal["done", "capped", "failed", "foretold", "skipped"]

_HOPELESS = 2.0
"""What is foretold to take so many times the cap is not tried."""


@dataclass
class Figure:
    """One task of one tool at one size.

    Attributes:
        tool: Its name.
        task: What was asked.
        records: How many.
        outcome: `done`, `capped` (ended at the cap), `failed`, or not asked: `foretold` (to take far too long) or
            `skipped`.
        reason: Why there is no figure; empty where there is one.
        seconds: Of each round, whole process.
        cpu: Seconds of processor time of each round, of all processes together.
        peaks: MB that the tree of processes held at most, of each round; empty where the machine does not tell.
        foretold: Seconds that it would take by its growth so far, where it is not tried for that.
    """

    tool: str
    task: Task
    records: int
    outcome: Outcome = "done"
    reason: str = ""
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)
    foretold: float | None = None

    @property
    def middle(self) -> float | None:
        """The median of the rounds, None where it was not done."""
        return median(self.seconds) if self.outcome == "done" and self.seconds else None

    @property
    def processor(self) -> float | None:
        """The median of the processor time, None where it was not done."""
        return median(self.cpu) if self.outcome == "done" and self.cpu else None

    @property
    def peak(self) -> float | None:
        """The highest peak; None where it was not done or the machine does not tell."""
        return max(self.peaks) if self.outcome == "done" and self.peaks else None

    def as_json(self) -> dict[str, Any]:
        """All of it, plain."""
        return {
            **asdict(self),
            "seconds": [round(one, 4) for one in self.seconds],
            "cpu": [round(one, 4) for one in self.cpu],
            "peaks": [round(one, 1) for one in self.peaks],
        }


class Book:
    """The figures of a run, and the rules of what is asked."""

    def __init__(self, cap: float) -> None:
        self.cap = cap
        self._figures: dict[tuple[str, Task, int], Figure] = {}

    def __iter__(self) -> Iterator[Figure]:
        return iter(self._figures.values())

    def get(self, tool: Tool, task: Task, records: int) -> Figure | None:
        """What is known of it."""
        return self._figures.get((tool.name, task, records))

    def at(self, tool: Tool, task: Task, records: int) -> Figure:
        """Where to write it down."""
        return self._figures.setdefault((tool.name, task, records), Figure(tool.name, task, records))

    def not_asked(self, tool: Tool, task: Task, records: int) -> str:
        """Why a tool is not asked; empty where it is."""
        if task in tool.lacks:
            return tool.lacks[task]
        known = self.get(tool, task, records)
        if known and known.outcome != "done":
            return known.reason
        needs_run = task == "again" or (task == "status" and tool.remembers)
        run = self.get(tool, "run", records)
        if needs_run and not (run and run.outcome == "done"):
            return "its first run did not finish"
        smaller = [one for one in self if (one.tool, one.task) == (tool.name, task) and one.records < records]
        for one in smaller:
            if one.outcome == "capped":
                return f"took more than {self.cap:g} s with {one.records:,} records"
            if one.outcome == "failed":
                return f"failed with {one.records:,} records"
        return ""

    def foretold(self, tool: Tool, task: Task, records: int) -> float | None:
        """The seconds that it would take by its growth so far, where they are so many that it is not tried."""
        points = sorted(
            (one.records, one.middle)
            for one in self
            if (one.tool, one.task) == (tool.name, task) and one.records < records and one.middle is not None
        )
        if not points:
            return None
        before, (last, seconds) = points[-2] if len(points) > 1 else (0, 0.0), points[-1]
        slope = max(0.0, (seconds - before[1]) / (last - before[0]))
        foretold = seconds + slope * (records - last)
        return foretold if foretold > _HOPELESS * self.cap else None
