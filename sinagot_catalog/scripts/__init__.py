"""The user's scripts: reads the patterns of a script from its source, and imports its class.

In: the path of a script, or the text of a command. Out: its declared patterns and options (`declaration`, which
does not run the script), or its class (`importer`, in workers). Begin with `script`, the base class of scripts.
"""

from typing import TYPE_CHECKING

from sinagot_catalog.startup import lazy_exports

if TYPE_CHECKING:
    from sinagot_catalog.scripts.code_hash import CodeHashes
    from sinagot_catalog.scripts.command_step import command_script, parse_command, path_names
    from sinagot_catalog.scripts.declaration import ScriptSource, read_script
    from sinagot_catalog.scripts.importer import SOURCE_BOUND, ScriptHost, is_step
    from sinagot_catalog.scripts.module_names import NO_MAIN, USER_SCRIPTS
    from sinagot_catalog.scripts.parameters import Parameters, changes, leaves, to_json, value_at
    from sinagot_catalog.scripts.remote_cache import Mirror
    from sinagot_catalog.scripts.row_output import (
        DONE_BOUND,
        ERROR_BOUND,
        MainOutput,
        Output,
        OutputFile,
        cut_file,
        read_ends,
    )
    from sinagot_catalog.scripts.script import (
        ScriptPath,
        ScriptTemplate,
        mapped,
        own_check,
        port_paths,
        reads_of,
    )
    from sinagot_catalog.scripts.static_reader import FaultError, parse
    from sinagot_catalog.scripts.step_function import step

__getattr__ = lazy_exports(__name__)
