"""Workspace runs: run, submit and deploy rows of a workspace, and clean up after runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from sinagot_catalog.errors import renamed, warn_renamed
from sinagot_catalog.selection import Selection
from sinagot_catalog.steps import StepCollection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import timedelta

    from sinagot_catalog.catalog import Session
    from sinagot_catalog.flows import Deployed, RunHandle
    from sinagot_catalog.journal import RunReport
    from sinagot_catalog.models import ViewTypes
    from sinagot_catalog.run import GcResult


class WorkspaceRuns:
    """The part of `Workspace` that runs rows."""

    _source: Session
    _kinds: ViewTypes

    def run(self, rows: Any, **options: Any) -> RunReport:
        """Run the rows of ids, or of any frame with a column `record_id` (and `task`, `modality`, `step`).

        Args:
            rows: An id, a list of ids, a Polars, pandas or Arrow frame, a DuckDB result, a selection. An absent
                column narrows nothing, null equals null, duplicate rows count once.
            options: Those of `StepCollection.run`.

        Raises:
            SelectionError: When an id does not fit `id_pattern`, or a task, modality or step does not exist.
        """
        return self._of(rows).run(**options)

    def submit(self, rows: Any, **options: Any) -> RunHandle:
        """Submit the rows of any frame with a column `record_id` as a Prefect flow; see `run`."""
        return self._of(rows).submit(**options)

    @renamed(say="on_message")
    def get_flow_run(self, flow_run_id: str, *, on_message: Callable[[str], None] | None = None) -> RunHandle:
        """Attach to a flow run of this workspace that was started elsewhere: by a schedule, by another process.

        Args:
            flow_run_id: Its id in Prefect, the last part of its page's address.
            on_message: Receives messages on the server in use; by default they go to stderr.

        Raises:
            NotFoundError: There is no such flow run.
        """
        from sinagot_catalog.flows import follow

        return follow(self._source, flow_run_id, on_message=on_message)

    def handle(self, flow_run_id: str, **options: Any) -> RunHandle:
        """Deprecated name of `get_flow_run`."""
        warn_renamed("handle(id)", "get_flow_run(id)")
        return self.get_flow_run(flow_run_id, **options)

    @renamed(say="on_message")
    def deploy(
        self,
        name: str,
        *,
        pool: str,
        where: str | None = None,
        cron: str | None = None,
        every: float | None = None,
        timezone: str | None = None,
        work_queue: str | None = None,
        image: str | None = None,
        env: Mapping[str, str] | None = None,
        step: str | Sequence[str] | None = None,
        workers: int | None = None,
        limit: int | None = None,
        tags: Sequence[str] = (),
        downstream: bool = True,
        concurrency: int = 1,
        overlap: Literal["cancel", "wait"] | None = None,
        create_pool: bool = False,
        job_variables: Mapping[str, Any] | None = None,
        paused: bool | None = None,
        replace: bool = False,
        on_message: Callable[[str], None] | None = None,
    ) -> Deployed:
        """Deploy a filter: each run lists anew, selects the fitting rows, and runs them on a worker of a pool.

        An existing deployment of this workspace with that name is replaced. Its version is `info.version`. The
        worker needs this package, access to the workspace at the same address, and its credentials in the
        environment: no secret is deployed. Options given to this `Workspace` in code are not part of it.

        Args:
            name: Its name; Prefect calls it `run-workspace/NAME`.
            pool: The work pool whose workers run it.
            where: A filter over `steps`, in SQL; by default all rows that can run.
            cron: Its schedule in crontab syntax; without `cron` and `every` it runs only on request.
            every: Seconds from one run to the next.
            timezone: The time zone of the cron text, such as `"Europe/Paris"`; by default UTC.
            work_queue: The queue of the pool.
            image: The container image, if the pool starts containers.
            env: Environment variables of its runs; all users who can see the deployment can see them.
            step: Only the rows of this step, or of these.
            workers: The number of processes that run scripts.
            limit: The maximal number of rows per run.
            tags: Tags of its runs.
            downstream: Also run rows that become ready by the run, so that one run completes a chain of steps.
            concurrency: How many of its runs may be active at the same time.
            overlap: `"cancel"` a run beyond that number, or let it `"wait"`. By default, runs of a schedule are
                cancelled and other runs wait.
            create_pool: Make the pool, one of processes, if there is none of that name.
            on_message: Receives messages on the server in use; by default they go to stderr.
            job_variables: Settings of the jobs of the pool, such as `{"namespace": "lab"}`.
            paused: Start with a paused schedule.
            replace: Replace the deployment of another workspace that has this name.

        Returns:
            Its name, id, page and parameters.

        Raises:
            SelectionError: The filter, the schedule or a number is invalid, or the name belongs to another
                workspace; nothing is deployed.
            NotFoundError: There is no such pool.
        """
        options = {key: value for key, value in locals().items() if key not in ("self", "name", "on_message")}
        options |= {"env": dict(env or {}), "job_variables": dict(job_variables or {})}
        from sinagot_catalog.flows import deploy, describe

        wanted = describe(self._source, name, **options)
        return deploy(wanted, on_message=on_message)

    def _of(self, rows: Any) -> StepCollection:
        if isinstance(rows, Selection):
            return rows.steps
        from sinagot_catalog.run import check_rows, rows_query

        query = rows_query(rows)
        if query.rows is not None:
            check_rows(self._source, query.rows)
        return StepCollection(self._source, self._kinds, query)

    @renamed(keep="older_than")
    def gc(self, older_than: str | timedelta = "90d") -> GcResult:
        """Delete old events that no status needs, and clean up after dead runs.

        No status changes, and the dataset is not touched.

        Args:
            older_than: The age up to which everything is kept: `"90d"`, `"12w"`, `"36h"`, or a time delta.

        Raises:
            SelectionError: When it is not a duration.

        Example:
            >>> from sinagot_catalog import example
            >>> ws = example()
            >>> ws.gc(older_than="90d")
            GcResult(events=0, selections=0, reports=0, runs=0)
        """
        from sinagot_catalog.run import gc

        return gc(self._source, older_than)
