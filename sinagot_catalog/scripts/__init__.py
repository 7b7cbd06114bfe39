"""The door to the user's code: a script's source read for its patterns, its file turned into its class.

Reading never runs anything: `read_script` parses. Importing is for workers and for `main_process`:
`ScriptHost`. Standard library only, because workers use it; each half is loaded when it is asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sinagot_catalog.scripts.declaration import ScriptSource, read_script
    from sinagot_catalog.scripts.importer import ScriptHost

__all__ = ["ScriptHost", "ScriptSource", "read_script"]


def __getattr__(name: str) -> Any:
    if name == "ScriptHost":
        from sinagot_catalog.scripts.importer import ScriptHost

        return ScriptHost
    if name in __all__:
        from sinagot_catalog.scripts import declaration

        return getattr(declaration, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
