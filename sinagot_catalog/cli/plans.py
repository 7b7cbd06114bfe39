"""Plans: the plan of the selected rows, range by range of records, and what all of it sums up to."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from sinagot_catalog.config import duration_text, size_text
from sinagot_catalog.errors import UsageError
from sinagot_catalog.startup import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sinagot_catalog.catalog import Session
    from sinagot_catalog.journal import Resources
    from sinagot_catalog.run import Plan
    from sinagot_catalog.steps import StepCollection


class Plans:
    """The plans of a selection, one for each range of records. Iterate over it once; then it has the sums.

    Args:
        steps: The selection.
        args: The arguments of the command.
        options: Options of planning that replace those of the command.

    Attributes:
        counts: The number of rows of each action.
        n_rows: The number of rows.
        n_open: The number of rows to show: all but those that are done, and those beyond the limit.
        n_waiting: The number of rows that are neither done nor excluded.
        waiting: The first of them.
        n_excluded: The number of excluded rows.
        excluded: The first of them.
        needs: What a row of each step needs, for the steps with rows to run that declare resources.
    """

    def __init__(self, steps: StepCollection, args: Any, **options: Any) -> None:
        self._steps = steps
        self._options = plan_options(args) | options
        self._costs: list[pl.DataFrame] = []
        self._is_measured = False
        self.counts = {"run": 0, "skip": 0, "blocked": 0}
        self.n_rows = self.n_open = self.n_waiting = self.n_excluded = 0
        self.waiting: dict[str, Any] = {}
        self.excluded: dict[str, Any] = {}
        self.needs: dict[str, Resources] = {}

    def __iter__(self) -> Iterator[Plan]:
        for _, plan in self.of_sessions():
            yield plan

    def of_sessions(self) -> Iterator[tuple[Session, Plan]]:
        """Yield the session of each range and its plan."""
        options = self._options
        for part in self._steps.ranges():
            plan = part.plan(**options)
            self._add(plan)
            yield part._source, plan  # noqa: SLF001 - a selection of a range has the session of the range
            if options["limit"] is not None:
                options = options | {"limit": max(0, options["limit"] - plan.n_run)}

    def summed(self) -> Plans:
        """Make all plans, for their sums."""
        for _ in self:
            pass
        return self

    def shown(self, most: int | None) -> pl.DataFrame:
        """Make all plans, and return the first rows to show; measures what they read, for `costs`."""
        self._is_measured = True
        frames: list[pl.DataFrame] = []
        for plan in self:
            rows = plan.frame.filter(_is_open())
            left = rows.height if most is None else most - sum(frame.height for frame in frames)
            frames.append(rows.head(left))
        return pl.concat(frames)

    def _add(self, plan: Plan) -> None:
        from sinagot_catalog.run import largest

        for action, count in plan.counts().items():
            self.counts[action] += count
        self.n_rows += len(plan)
        self.n_open += plan.frame.select(_is_open().sum()).item()
        is_ended = pl.col("status").is_in(["DONE", "EXCLUDED"]).fill_null(value=False)
        n_excluded, excluded = _count_and_first(plan.frame, pl.col("status").eq_missing(pl.lit("EXCLUDED")))
        n_waiting, waiting = _count_and_first(plan.frame, ~is_ended)
        self.excluded = self.excluded or excluded
        self.waiting = self.waiting or waiting
        self.n_excluded += n_excluded
        self.n_waiting += n_waiting
        costs = plan.costs
        if self._is_measured:
            costs = costs.join(plan.volume(), on="step", how="left", maintain_order="left")
        self._costs.append(costs)
        for step, need in plan.needs.items():
            self.needs[step] = largest([need, self.needs.get(step, need)])

    def summary(self) -> str:
        """The number of rows by action, and their expected duration."""
        words = [f"{self.counts['run']:,} to run"]
        words += [f"{self.counts['blocked']:,} blocked"] if self.counts["blocked"] else []
        words += [f"{self.counts['skip']:,} skipped"] if self.counts["skip"] else []
        seconds = sum(float(costs["seconds"].sum()) for costs in self._costs)
        time = f", about {duration_text(seconds)} of script time" if seconds >= 1 else ""
        return ", ".join(words) + time

    def notes(self) -> Iterator[str]:
        """Yield what this machine has for steps with resources, and which step a run here would refuse."""
        from sinagot_catalog.run import check_fits, largest, limits, needs_text, this_machine

        if self.needs:
            needed, there = largest(self.needs.values()), limits(this_machine())
            own = {name: int(most) for name, most in there.items() if getattr(needed, name) and most < inf}
            yield f"this machine has {needs_text(needed._replace(**own, time=0.0))}"
            try:
                check_fits(self.needs, there, "this machine")
            except UsageError as error:
                yield f"a run here would be refused: {error.message}"

    def costs(self) -> pl.DataFrame:
        """The cost per step: rows, time by the median of earlier runs, bytes to read, what a row needs."""
        from sinagot_catalog.run import needs_text

        every = pl.concat(self._costs).group_by("step", maintain_order=True)
        costs = every.agg(
            pl.col("rows").sum(), pl.col("seconds_each").first(), pl.col("seconds", "bytes").sum()
        )
        needs = {step: needs_text(need) for step, need in self.needs.items()}
        return pl.DataFrame(
            {
                "step": row["step"],
                "rows": row["rows"],
                "each": _duration(row["seconds_each"]),
                "together": "?" if row["seconds_each"] is None else _duration(row["seconds"]),
                "to read": size_text(row["bytes"]) if row["bytes"] else "-",
                **({"needs": needs.get(row["step"], "")} if needs else {}),
            }
            for row in costs.iter_rows(named=True)
        )


def plan_options(args: Any) -> dict[str, Any]:
    """Return the options of a command that planning takes."""
    from sinagot_catalog.run import PlanArguments

    named = ["force", "ignore_missing", *PlanArguments.__annotations__]
    return {name: getattr(args, name) for name in named} | {
        "step_label": args.step,
        "limit": args.limit or None,
    }


def run_options(args: Any) -> dict[str, Any]:
    """Return the options of a command that planning and running take."""
    return plan_options(args) | {"workers": args.workers or None, "stop_after": args.stop_after}


def _is_open() -> pl.Expr:
    """Whether a row is neither done nor beyond the limit."""
    is_done = (pl.col("status") == "DONE").fill_null(value=False)
    is_quiet = (is_done | pl.col("reason").str.starts_with("beyond the limit")).fill_null(value=False)
    return (pl.col("action") != "skip") | ~is_quiet


def _count_and_first(rows: pl.DataFrame, is_one: pl.Expr) -> tuple[int, dict[str, Any]]:
    """How many rows fit, and the first of them; empty if there is none."""
    fits = rows.select(is_one).to_series().arg_true()
    return len(fits), rows.row(fits[0], named=True) if len(fits) else {}


def _duration(seconds: float | None) -> str:
    """Format a duration; a question mark for a step that never ran."""
    return "?" if seconds is None else duration_text(seconds, has_ms=True)
