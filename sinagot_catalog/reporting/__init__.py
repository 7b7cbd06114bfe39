"""Reporting: pages and charts of a workspace, drawn from the catalog's frames.

In: the frames of a selection. Out: one HTML file (`html_report`), Altair charts (`plot`), the graph of the steps
(`step_graph`), and the parts of the page that `ui` shows, too. Nothing here computes a status.
"""

from typing import TYPE_CHECKING

from sinagot_catalog.startup import lazy_exports

if TYPE_CHECKING:
    from sinagot_catalog.reporting.completeness import equals
    from sinagot_catalog.reporting.export_target import TABLE_METADATA, check_target
    from sinagot_catalog.reporting.failure_commands import rerun_words, workspace_words
    from sinagot_catalog.reporting.html_report import write_report
    from sinagot_catalog.reporting.notebook import (
        selection_page,
        shown_columns,
        status_matrix,
        without_empty,
    )
    from sinagot_catalog.reporting.page import Page
    from sinagot_catalog.reporting.page_template import render, template_file
    from sinagot_catalog.reporting.plot import Plot
    from sinagot_catalog.reporting.previews import (
        Table,
        is_inside,
        picture_type,
        read_bounded,
        table_of,
        text_of,
    )
    from sinagot_catalog.reporting.report_rows import CODES, WORDS, ReportRows
    from sinagot_catalog.reporting.workspace_summary import summary_of

__getattr__ = lazy_exports(__name__)
