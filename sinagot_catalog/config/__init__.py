"""Configuration of a workspace: reads `workspace.toml` into one frozen `Config` and reports every fault in it.

In: the toml files of a workspace. Out: a `Config` with resolved paths, or one error that lists all faults of the
files with their addresses.

Begin with `reader` (from text to `Config`). `model` declares the sections, `validator` and `checks` find the
faults, `permissions` decides which workspaces a worker may run.
"""

from typing import TYPE_CHECKING

from sinagot_catalog.startup import lazy_exports

if TYPE_CHECKING:
    from sinagot_catalog.config.file_owners import foreign, foreign_code
    from sinagot_catalog.config.files import nearest
    from sinagot_catalog.config.model import CommandConfig
    from sinagot_catalog.config.parameters import params_of
    from sinagot_catalog.config.permissions import check_allowed, place_of
    from sinagot_catalog.config.quantities import (
        count_of,
        duration_text,
        parse_duration,
        size_text,
    )
    from sinagot_catalog.config.reader import Config, read_config
    from sinagot_catalog.config.record_keys import Match, find_matches
    from sinagot_catalog.config.resources import parse_resources

__getattr__ = lazy_exports(__name__)
