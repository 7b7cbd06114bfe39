"""Lazy packages: import the exported names of a package at first use (PEP 562).

A folder's `__init__` lists what other folders may use, and imports none of it: a worker that needs one small module
of a folder does not import Polars, which another module of that folder needs. The list is the imports of the
`__init__` under `if TYPE_CHECKING:`, which type checkers and editors follow, too.
"""

import re
from collections.abc import Callable, Mapping
from importlib import import_module
from sys import modules
from typing import Any

_IMPORT = re.compile(r"^    from (\S+) import (?:\(([^)]*)\)|(.*))$", re.MULTILINE)
"""An import in an indented block, as the formatter writes it; a parser would cost ten times as long."""


def lazy_exports(package: str, homes: Mapping[str, tuple[str, ...]] | None = None) -> Callable[[str], Any]:
    """Return the module-level `__getattr__` of a package.

    Args:
        package: The package's `__name__`.
        homes: The exported names of each of its modules; by default those that it imports in indented blocks.

    Example:
        >>> get = lazy_exports("json", {"decoder": ("JSONDecoder",)})
        >>> get("JSONDecoder")
        <class 'json.decoder.JSONDecoder'>
    """
    home_of = {name: f"{package}.{module}" for module, names in (homes or {}).items() for name in names}

    def __getattr__(name: str) -> Any:  # noqa: N807 - becomes the package's `__getattr__`
        if not home_of:
            home_of.update(_imported(package))
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(home_of[name]), name)
        setattr(modules[package], name, value)
        return value

    return __getattr__


def _imported(package: str) -> dict[str, str]:
    """Return the names that a package imports in indented blocks, each with its module."""
    loader: Any = modules[package].__spec__.loader  # type: ignore[union-attr]
    found = _IMPORT.findall(loader.get_source(package))
    return {name: module for module, several, one in found for name in re.findall(r"\w+", several or one)}
