"""Run reports: the outcome of each row of a run, as a frame with a row per job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field

import polars as pl

from sinagot_catalog.errors import NamesNearest, RunError, row_label
from sinagot_catalog.schema import FAILED_OUTCOMES, KEYS, OUTCOMES, REPORT
from sinagot_catalog.startup import dataclass

_WORDS = {
    "done": "done",
    "error": "failed",
    "timeout": "timed out",
    "blocked": "blocked",
    "not_available": "without data",
    "claimed": "left to another run",
    "already_done": "done already",
    "cancelled": "cancelled",
}
_SHOWN = 10


def outcomes_text(counts: Mapping[str, int]) -> str:
    """Return numbers of rows by outcome in words.

    Example:
        >>> outcomes_text({"done": 3, "error": 1, "blocked": 2})
        '3 done, 1 failed, 2 blocked'
    """
    return ", ".join(f"{counts[outcome]} {_WORDS[outcome]}" for outcome in OUTCOMES if counts.get(outcome))


class JobFrame(NamesNearest):
    """A frame with a row per job, which other libraries read as Arrow."""

    frame: pl.DataFrame

    def __len__(self) -> int:
        return self.frame.height

    def __bool__(self) -> bool:
        return True

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.frame.__arrow_c_stream__(requested_schema)

    def _html(self, title: str, words: str, rows: pl.DataFrame, noun: str) -> str:
        cut = f", the first {_SHOWN} {noun}shown" if rows.height > _SHOWN else ""
        return f"<p><b>{title}</b>: {words}{cut}</p>{rows.head(_SHOWN)._repr_html_()}"


@dataclass(frozen=True)
class RunReport(JobFrame):
    """The outcome of a run.

    Attributes:
        frame: A row per job: `record_id, task, modality, step, outcome, seconds, attempts, error_type, message`.
        run_id: The run's name in the journal; None if there was nothing to do.
        flow_run_id: Prefect's id of the run, if it was submitted as a flow.
        seconds: How long the run took.
        n_excluded: How many selected rows it left out because they are excluded.

    Example:
        >>> import polars as pl
        >>> from sinagot_catalog import RunReport
        >>> from sinagot_catalog.schema import REPORT
        >>> report = RunReport(pl.DataFrame(schema=REPORT))
        >>> report.ok, report.summary()
        (True, 'nothing to do')
    """

    _rows_in = "frame", pl.DataFrame, REPORT

    frame: pl.DataFrame
    run_id: str | None = None
    flow_run_id: str | None = None
    seconds: float = field(default=0.0, compare=False)
    n_excluded: int = 0

    @classmethod
    def joined(cls, reports: Sequence[RunReport], seconds: float | None = None) -> RunReport:
        """One report of several runs.

        Args:
            reports: The reports, at least one.
            seconds: How long all of it took; by default the sum.
        """
        return cls(
            pl.concat([report.frame for report in reports]),
            next((report.run_id for report in reports if report.run_id is not None), None),
            seconds=sum(report.seconds for report in reports) if seconds is None else seconds,
            n_excluded=sum(report.n_excluded for report in reports),
        )

    @property
    def ok(self) -> bool:
        """Whether no row failed and none was blocked."""
        return not any(self.counts().get(outcome) for outcome in FAILED_OUTCOMES)

    def counts(self) -> dict[str, int]:
        """How many rows have each outcome; outcomes without a row are left out."""
        found = dict(self.frame.group_by("outcome").len().iter_rows())
        return {outcome: found[outcome] for outcome in OUTCOMES if outcome in found}

    def failures(self) -> pl.DataFrame:
        """The rows that failed, timed out or were blocked."""
        return self.frame.filter(pl.col("outcome").is_in(FAILED_OUTCOMES))

    def raise_for_failures(self) -> RunReport:
        """Raise an error if a row failed, else return the report.

        Raises:
            RunError: With the number of failed rows, and the first of them.
        """
        if self.ok:
            return self
        failed = self.failures()
        first = failed.row(0, named=True)
        name = row_label(*(first[key] for key in KEYS))
        raise RunError(
            f"{failed.height} of {self.frame.height} rows failed; the first: {name}: {first['message']}",
            "report.failures() has them all, ws.records.logs() their tracebacks.",
            report=self,
        )

    def summary(self) -> str:
        """One line with the number of rows of each outcome, and of the rows that are excluded."""
        excluded = [f"{self.n_excluded} excluded"] if self.n_excluded else []
        return ", ".join([outcomes_text(self.counts()) or "nothing to do", *excluded])

    def __repr__(self) -> str:
        return f"<RunReport | {self.summary()}>"

    def _repr_html_(self) -> str:
        failed = self.failures()
        words = f"{self.summary()} in {self.seconds:.1f} s"
        return self._html("Run", words, *((failed, "of those ") if failed.height else (self.frame, "")))
