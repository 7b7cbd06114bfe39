"""The package of users' modules in `sys.modules`; `scripts.module_names` makes and finds these modules.

A process that unpickles a function of a script imports this package, which makes users' modules importable.
"""

from sinagot_catalog.scripts.module_names import make_importable

__path__: list[str] = []
"""Makes this module a package; its modules are in no folder, `scripts.module_names` finds them."""

make_importable()
