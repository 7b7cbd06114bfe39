"""Deprecated names: accepts the old names of arguments for one release, with a warning that names the new one."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar
from warnings import warn

__all__ = ["renamed", "warn_renamed"]

P = ParamSpec("P")
R = TypeVar("R")


def renamed(**names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Accept old names of keyword arguments.

    Args:
        names: The new name of each old one.

    Example:
        >>> import warnings
        >>> @renamed(keep="older_than")
        ... def clear(older_than="90d"):
        ...     return older_than
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     clear(keep="1w")
        '1w'
        >>> print(caught[0].message)
        clear(keep=...) is now clear(older_than=...); the old name goes with the next release
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def call(*args: P.args, **options: P.kwargs) -> R:
            for old, new in names.items():
                if old in options:
                    name = function.__name__
                    if new in options:
                        raise TypeError(f"{name}() got both {old}= and {new}=, which is its new name")
                    warn_renamed(f"{name}({old}=...)", f"{name}({new}=...)")
                    options[new] = options.pop(old)
            return function(*args, **options)

        return call

    return decorate


def warn_renamed(old: str, new: str) -> None:
    """Warn the caller of the calling function that a name has changed."""
    warn(f"{old} is now {new}; the old name goes with the next release", DeprecationWarning, stacklevel=3)
