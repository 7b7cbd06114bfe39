"""The HTML report: writes one self-contained page on a workspace, to store, send and print. Needs no network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sinagot_catalog.errors import not_written
from sinagot_catalog.reporting.export_target import check_target
from sinagot_catalog.reporting.failure_commands import workspace_words
from sinagot_catalog.reporting.page import Page
from sinagot_catalog.reporting.page_template import render, template_file
from sinagot_catalog.reporting.report_rows import ReportRows
from sinagot_catalog.run import shell_join

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from sinagot_catalog.catalog import Session


def write_report(
    source: Session,
    path: str | Path,
    chosen: pl.DataFrame | None = None,
    *,
    where: str | None = None,
    by: Sequence[str] = (),
) -> Path:
    """Write the page.

    Args:
        source: The session of the workspace.
        path: The output file.
        chosen: The keys of the rows to show, with the columns of `by`; None for every row.
        where: The filter of these rows, to show.
        by: Columns to group by.

    Returns:
        The file's path.

    Raises:
        UsageError: When another file is there.
        StorageError: When the page cannot be written.
    """
    target = Path(path)
    check_target(target)
    page = Page(source, ReportRows(source.catalog(), chosen), where, tuple(by))
    place, *further = workspace_words(source)
    explain = shell_join(["sinagot-catalog", "explain", "-C", place, *further])
    text = render(
        "report.html",
        page=page,
        css=template_file("page.css"),
        js=template_file("report.js"),
        data={**page.rows.data(page.n_bins), "explain": explain},
    )
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise not_written(target, error) from error
    return target
