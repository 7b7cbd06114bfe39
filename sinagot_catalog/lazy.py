"""Lazy packages: import the exported names of a package at first use (PEP 562).

A folder's `__init__` lists what other folders may use, and imports none of it: a worker that needs one small module
of a folder does not import Polars, which another module of that folder needs.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from sys import modules
from typing import Any

__all__ = ["lazy_exports"]


def lazy_exports(package: str, homes: Mapping[str, tuple[str, ...]]) -> Callable[[str], Any]:
    """Return the module-level `__getattr__` of a package.

    Args:
        package: The package's `__name__`.
        homes: The exported names of each of its modules.

    Example:
        >>> get = lazy_exports("json", {"decoder": ("JSONDecoder",)})
        >>> get("JSONDecoder")
        <class 'json.decoder.JSONDecoder'>
    """
    home_of = {name: module for module, names in homes.items() for name in names}

    def __getattr__(name: str) -> Any:  # noqa: N807 - becomes the package's `__getattr__`
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{home_of[name]}"), name)
        setattr(modules[package], name, value)
        return value

    return __getattr__
