"""UI: serves the page of the report to browsers of this machine, and refreshes it as files change.

In: an open workspace. Out: a server until Ctrl-C (`serve`). It shows and decides (excludes, includes); it runs no
script. FastAPI and uvicorn are imported here only. `access` decides who is answered.
"""

from typing import TYPE_CHECKING

from sinagot_catalog.startup import lazy_exports

if TYPE_CHECKING:
    from sinagot_catalog.ui.server import serve

__getattr__ = lazy_exports(__name__)
