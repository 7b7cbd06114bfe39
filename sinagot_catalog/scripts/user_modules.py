"""Where users' modules are in Python's table of modules; what makes and finds them is `_loader._names`.

Importing this module, as any process does that is sent a function of a script, makes them importable.
"""

from sinagot_catalog.scripts.module_names import make_importable

__path__: list[str] = []
"""A package whose modules no folder holds."""

make_importable()
