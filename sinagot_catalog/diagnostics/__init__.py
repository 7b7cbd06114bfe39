"""Diagnostics: explain a status, test a pattern, check a set-up, and propose an id pattern for files.

In: an open workspace. Out: reports for readers, as text, HTML or JSON. Begin with `explain` (one row),
`explain_path` (one file), `try_pattern` (one pattern) or `doctor` (the whole set-up).
"""

from typing import TYPE_CHECKING

from sinagot_catalog.startup import lazy_exports

if TYPE_CHECKING:
    from sinagot_catalog.diagnostics.doctor import examine
    from sinagot_catalog.diagnostics.explainer import explain
    from sinagot_catalog.diagnostics.explanation import Explanation
    from sinagot_catalog.diagnostics.file_origin import FileOrigin, explain_path
    from sinagot_catalog.diagnostics.id_proposal import (
        find_records,
        id_forms,
        list_files,
        no_records,
        workspace_files,
    )
    from sinagot_catalog.diagnostics.pattern_report import PatternReport, try_pattern

__getattr__ = lazy_exports(__name__)
