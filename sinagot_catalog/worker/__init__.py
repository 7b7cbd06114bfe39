"""One row in a worker process: find its inputs, run its script in a staging folder, publish its outputs.

In: batches of rows over a pipe (`__main__`), or a call (`job`). Out: files at their final paths, journal lines, one
result per row. Standard library only, so that a worker is ready in 0.15 s; only `buckets` loads the storage
libraries.

Begin with `job`, which defines the order of events within a row. The folders: `files` (how inputs are found, and
outputs staged and published), `buckets` (the same for a run on a bucket), `process` (what is undone after each row,
and interrupts).
"""

from typing import TYPE_CHECKING

from sinagot_catalog.startup import lazy_exports

if TYPE_CHECKING:
    from sinagot_catalog.worker.__main__ import BOARD_SIZE, CLOSED, SharedStatus
    from sinagot_catalog.worker.files.moved_inputs import describe_moved_inputs
    from sinagot_catalog.worker.files.staging import clear_staging, staging_path
    from sinagot_catalog.worker.files.target_folders import links_among, parents
    from sinagot_catalog.worker.group_members import members_path
    from sinagot_catalog.worker.job import JobRunner
    from sinagot_catalog.worker.process.interrupts import InterruptGuard, interrupts_deferred
    from sinagot_catalog.worker.process.row_interrupts import MainInterrupts

__getattr__ = lazy_exports(__name__)
