"""Start-up: keeps commands and workers quick to start, by lazy imports and quickly made frozen dataclasses.

Lazy imports load a module, or the exported names of a package (PEP 562), at first use. A folder's `__init__`
imports what other folders may use below `if TYPE_CHECKING`, and so imports none of it when it runs: a worker that
needs one small module of a folder does not import Polars, which another module of that folder needs.

For each frozen dataclass the standard library compiles six methods. A command makes some seventy of them at its
start, in a quarter of the time of `import polars`. Here only `__init__` is compiled; `fields`, `replace` and
`asdict` of the standard library work as usual.
"""

import dataclasses
import re
from collections.abc import Callable
from importlib import import_module
from operator import attrgetter
from reprlib import recursive_repr
from sys import modules
from typing import TYPE_CHECKING, Any

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


if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass  # noqa: PLC0414 - type checkers know it by this name

    import polars as polars  # noqa: ICN001, PLC0414 - exported
else:
    polars = LazyModule("polars")
    """Polars, for modules that most calls import without using it."""

    def dataclass(
        cls: type | None = None, *, frozen: bool = False, kw_only: bool = False
    ) -> type | Callable[[type], type]:
        """Decorate a class as Python's `dataclass` does; one that is not frozen is Python's own.

        Example:
            >>> @dataclass(frozen=True)
            ... class Point:
            ...     x: int
            ...     y: int = 0
            >>> Point(1), Point(1) == Point(1, 0), dataclasses.replace(Point(1), y=2)
            (Point(x=1, y=0), True, Point(x=1, y=2))
        """
        if not frozen:
            return dataclasses.dataclass(cls, kw_only=kw_only)

        def decorate(cls: type) -> type:
            new_class = dataclasses.dataclass(cls, init=False, repr=False, eq=False, kw_only=kw_only)
            for name, method in _methods(new_class, dataclasses.fields(new_class)).items():
                if vars(new_class).get(name) is None:  # a class with its own `__eq__` has None as its hash
                    setattr(new_class, name, method)
            return new_class

        return decorate


def _methods(cls: type, fields: tuple[dataclasses.Field[Any], ...]) -> dict[str, Callable[..., Any]]:
    names = frozenset(field.name for field in fields)
    shown = [field.name for field in fields if field.repr]
    compared = _values([field.name for field in fields if field.compare])
    hashed = _values(
        [field.name for field in fields if (field.compare if field.hash is None else field.hash)]
    )

    @recursive_repr()
    def to_text(self: object) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
        return f"{type(self).__qualname__}({values})"

    def is_equal(self: object, other: object) -> bool:
        return compared(self) == compared(other) if other.__class__ is self.__class__ else NotImplemented

    def set_field(self: object, name: str, value: object) -> None:
        if type(self) is cls or name in names:
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        object.__setattr__(self, name, value)

    def delete_field(self: object, name: str) -> None:
        if type(self) is cls or name in names:
            raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
        object.__delattr__(self, name)

    return {
        "__init__": _init(cls, fields),
        "__repr__": to_text,
        "__eq__": is_equal,
        "__hash__": lambda self: hash(hashed(self)),
        "__setattr__": set_field,
        "__delattr__": delete_field,
    }


def _values(names: list[str]) -> Callable[[object], Any]:
    """Return a function that gives the values of some attributes, comparable as one."""
    return attrgetter(*names) if names else lambda _: ()


def _init(cls: type, fields: tuple[dataclasses.Field[Any], ...]) -> Callable[..., None]:
    """Compile the `__init__` of a class."""
    space: dict[str, Any] = {"_set": object.__setattr__, "_absent": dataclasses.MISSING}
    arguments: dict[bool, list[str]] = {False: [], True: []}  # by whether they are for keywords only
    lines = []
    for field in fields:
        argument, value = field.name, field.name
        if field.default_factory is not dataclasses.MISSING:
            space[f"_make_{field.name}"] = field.default_factory
            value = f"_make_{field.name}()" + f" if {field.name} is _absent else {field.name}" * field.init
            argument += "=_absent"
        elif not field.init:
            continue
        elif field.default is not dataclasses.MISSING:
            space[f"_default_{field.name}"] = field.default
            argument += f"=_default_{field.name}"
        if field.init:
            arguments[bool(field.kw_only)].append(argument)
        lines.append(f" _set(self, {field.name!r}, {value})")
    lines += [" self.__post_init__()"] * hasattr(cls, "__post_init__")
    named = ["*", *arguments[True]] if arguments[True] else []
    text = f"def __init__({', '.join(['self', *arguments[False], *named])}):\n" + "\n".join(
        lines or [" pass"]
    )
    exec(text, space)  # noqa: S102 - as Python's own does
    init: Callable[..., None] = space["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    init.__annotations__ = {field.name: field.type for field in fields if field.init} | {"return": None}
    return init
