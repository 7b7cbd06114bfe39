"""sinagot_catalog: a dataframe catalog of recordings, and runs of scripts over them.

A selection is a workspace plus a list of Polars expressions. A run executes the plan made from the frame of its
steps. The library always derives a status from files and journal, and never stores it.

Names are imported at first use: a script's `from sinagot_catalog import ScriptTemplate` imports neither Polars nor
other slow packages.
"""

from typing import TYPE_CHECKING

from sinagot_catalog.startup import lazy_exports

if TYPE_CHECKING:
    from sinagot_catalog.cli import example
    from sinagot_catalog.errors import SinagotError
    from sinagot_catalog.journal import RunReport
    from sinagot_catalog.patterns import any_of, many, optional
    from sinagot_catalog.scripts import ScriptTemplate, step
    from sinagot_catalog.status import StepStatus
    from sinagot_catalog.workspace import Workspace

__version__ = "0.2.0"
__all__ = [
    "RunReport",
    "ScriptTemplate",
    "SinagotError",
    "StepStatus",
    "Workspace",
    "__version__",
    "any_of",
    "example",
    "many",
    "optional",
    "step",
]

__getattr__ = lazy_exports(__name__)


def __dir__() -> list[str]:
    return __all__
