"""The report of a run: the public import path of `RunReport`."""

from sinagot_catalog.journal import RunReport

__all__ = ["RunReport"]
