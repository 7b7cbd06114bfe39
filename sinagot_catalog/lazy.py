"""Lazy imports: import a module, or the exported names of a package (PEP 562), at first use.

A folder's `__init__` imports what other folders may use below `if TYPE_CHECKING`, and so imports none of it when it
runs: a worker that needs one small module of a folder does not import Polars, which another module of that folder
needs.
"""

import re
from collections.abc import Callable
from importlib import import_module
from sys import modules
from typing import Any

_BLOCK = re.compile(r"^if TYPE_CHECKING:\n((?:    .*\n|\n)+)", re.MULTILINE)
_IMPORT = re.compile(r"from (\S+) import (\([^)]*\)|.+)")
_NAME = re.compile(r"\w+")


class LazyModule:
    """A module that is imported when a name of it is first used.

    Example:
        >>> LazyModule("math").floor(1.5)
        1
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._name), name)


def lazy_exports(package: str) -> Callable[[str], Any]:
    """Return the module-level `__getattr__` of a package: it finds the names that the package imports for types.

    Args:
        package: The package's `__name__`.

    Example:
        >>> get = lazy_exports("sinagot_catalog.cluster")
        >>> get("requests")
        <function requests at ...>
    """
    homes: dict[str, str] = {}

    def __getattr__(name: str) -> Any:  # noqa: N807 - becomes the package's `__getattr__`
        if not homes:
            homes.update(_imports_for_types(package))
        if name == "__all__":
            return sorted(homes)
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(homes[name]), name)
        setattr(modules[package], name, value)
        return value

    return __getattr__


def _imports_for_types(package: str) -> dict[str, str]:
    """Return the names that a package imports below `if TYPE_CHECKING`, each with its module."""
    spec = import_module(package).__spec__
    source = spec.loader.get_source(package)  # type: ignore[union-attr]
    block = _BLOCK.search(source)  # a tenth of the time of parsing it
    imports = _IMPORT.findall(block[1]) if block else []
    return {name: home for home, names in imports for name in _NAME.findall(names)}
