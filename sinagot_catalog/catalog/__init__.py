"""The catalog: every table of a workspace, derived from its layout, one listing and the journal.

In: a `Config`, what its scripts declare, a listing of the files, the last events of the journal. Out: the tables
`records`, `units`, `files`, `steps`, `links` as Polars frames, and the rows of a query over them.

Begin with `session`, which holds one listing of an open workspace, then `tables` and `steps_table` (the joins).
The folders: `structure` (what config and scripts declare), `files` (which files are there), `rules` (statuses and
their sentences), `stored_tables` (tables of users and of steps), `queries` (filters) and `snapshots`.
"""

from typing import TYPE_CHECKING

from sinagot_catalog.startup import lazy_exports

if TYPE_CHECKING:
    from sinagot_catalog.catalog.exclusion_edits import exclude, include, missing_line
    from sinagot_catalog.catalog.files.file_stats import Stats, stat_paths
    from sinagot_catalog.catalog.files.listings import paths_near
    from sinagot_catalog.catalog.queries.absent_values import absent_value
    from sinagot_catalog.catalog.queries.frame_protocols import FrameProtocols, no_attribute
    from sinagot_catalog.catalog.queries.lazy_frames import rows_frame
    from sinagot_catalog.catalog.queries.literals import as_expression, check_literals, equality, flattened
    from sinagot_catalog.catalog.queries.query import Query, fitting
    from sinagot_catalog.catalog.queries.resolver import Resolver
    from sinagot_catalog.catalog.queries.sql import (
        as_text,
        check_query,
        names_in,
        not_read,
        sql_predicate,
        with_long_names,
    )
    from sinagot_catalog.catalog.rules.failures import (
        failure_filter,
        failure_kind,
        failure_kind_of,
        failure_kinds,
        sql_text,
    )
    from sinagot_catalog.catalog.rules.notices import (
        JoinedNotices,
        Notice,
        is_missed,
        no_records,
        notices_frame,
    )
    from sinagot_catalog.catalog.rules.reasons import with_causes
    from sinagot_catalog.catalog.rules.staleness import (
        FOLDER,
        acted_on,
        in_words,
        is_stale,
        present_params,
        present_record,
    )
    from sinagot_catalog.catalog.rules.status_rules import (
        RULES,
        failed,
        fixed_action,
        plain_reason,
        rule_texts,
    )
    from sinagot_catalog.catalog.session import Session
    from sinagot_catalog.catalog.snapshots.snapshot_diff import Diff, diff, snapshot
    from sinagot_catalog.catalog.snapshots.snapshot_files import names
    from sinagot_catalog.catalog.stored_tables.metadata_values import text_of
    from sinagot_catalog.catalog.stored_tables.read_files import FORMATS, read_text_table, scan_files
    from sinagot_catalog.catalog.stored_tables.table_file import parse_json
    from sinagot_catalog.catalog.structure.layout import BoundPattern, Layout, Link, UnitStep
    from sinagot_catalog.catalog.structure.layout_builder import build_layout
    from sinagot_catalog.catalog.structure.step_names import how_to_list, no_step, unlisted_scripts
    from sinagot_catalog.catalog.tables import Catalog

__getattr__ = lazy_exports(__name__)
