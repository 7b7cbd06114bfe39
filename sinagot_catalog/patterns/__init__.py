"""Path patterns: convert between patterns, paths and record ids, for one row or for whole Polars columns.

In: a pattern such as `raw/{id}.csv` and the regular expression of an id. Out: paths for ids, ids for paths.

Begin with `template` (one pattern, standard library only, used by workers), then `match_paths` (whole columns).
"""

from typing import TYPE_CHECKING

from sinagot_catalog.startup import lazy_exports

if TYPE_CHECKING:
    from sinagot_catalog.patterns.cut_fields import refused_ids
    from sinagot_catalog.patterns.fields import Tokens, fault_of
    from sinagot_catalog.patterns.group_ids import ALL_RECORDS, ESCAPES
    from sinagot_catalog.patterns.id_pattern import IdPattern
    from sinagot_catalog.patterns.id_regex import field_regex, fitting
    from sinagot_catalog.patterns.match_listing import (
        FOLDERS,
        match_names,
        repeated,
        rows_in,
        whole_paths,
        with_directories,
    )
    from sinagot_catalog.patterns.match_paths import (
        id_columns,
        id_values,
        match_columns,
        near_misses,
        paths_of,
        wild_paths,
    )
    from sinagot_catalog.patterns.overlap import Meeting, expanded, holds, located, may_meet, meetings
    from sinagot_catalog.patterns.ports import (
        InputPattern,
        InputPort,
        WithColumns,
        any_of,
        as_input,
        many,
        optional,
        parse_inputs,
    )
    from sinagot_catalog.patterns.raw_folder import RawFolder
    from sinagot_catalog.patterns.recordings import Recordings
    from sinagot_catalog.patterns.template import (
        WILD,
        Template,
        by_label,
        is_table,
        parse_labelled,
        parse_template,
        tokens_regex,
    )
    from sinagot_catalog.patterns.wildcards import MOST_FOLDERS, NAME, name_regex, reductions

__getattr__ = lazy_exports(__name__)
