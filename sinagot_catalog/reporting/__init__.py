"""Reporting: pages and charts of a workspace, drawn from the catalog's frames.

In: the frames of a selection. Out: one HTML file (`html_report`), Altair charts (`charts`) and the graph of the steps (`step_graph`). Nothing here computes a status.
"""

from typing import TYPE_CHECKING

from sinagot_catalog.lazy import lazy_exports

if TYPE_CHECKING:
    from sinagot_catalog.reporting.charts import Plot
    from sinagot_catalog.reporting.export_target import TABLE_METADATA, check_target
    from sinagot_catalog.reporting.html_report import write_report
    from sinagot_catalog.reporting.notebook import (
        selection_page,
        shown_columns,
        status_matrix,
        without_empty,
    )
    from sinagot_catalog.reporting.workspace_summary import summary_of

__all__ = [
    "TABLE_METADATA",
    "Plot",
    "check_target",
    "selection_page",
    "shown_columns",
    "status_matrix",
    "summary_of",
    "without_empty",
    "write_report",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "charts": ("Plot",),
        "export_target": ("TABLE_METADATA", "check_target"),
        "html_report": ("write_report",),
        "notebook": ("selection_page", "shown_columns", "status_matrix", "without_empty"),
        "workspace_summary": ("summary_of",),
    },
)
