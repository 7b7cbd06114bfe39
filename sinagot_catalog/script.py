"""The base class of scripts, under the name that users import it by."""

from sinagot_catalog.scripts import ScriptPath, ScriptTemplate

__all__ = ["ScriptPath", "ScriptTemplate"]
