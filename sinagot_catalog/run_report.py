"""The report of a run, under the name that users import it by."""

from sinagot_catalog.journal import RunReport

__all__ = ["RunReport"]
