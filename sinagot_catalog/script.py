"""The base class of scripts: the public import path of `ScriptTemplate`."""

from sinagot_catalog.scripts import ScriptPath, ScriptTemplate

__all__ = ["ScriptPath", "ScriptTemplate"]
