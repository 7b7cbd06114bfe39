"""Validation of config sections: builds frozen dataclasses, and finds unknown keys and values that do not fit.

The annotations of a section are its whole schema; `Check` adds what a type alone cannot express. A faulty value is
left out of its section, which then has its default, so that the rest can be checked.
"""

import types
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

from sinagot_catalog.errors import did_you_mean
from sinagot_catalog.startup import dataclass

T = TypeVar("T")
Address = tuple[str | int, ...]

_OTHERS = "tables"
"""The field of a section that has the tables that no other field has, by their names."""
_FAULTY = object()
_KINDS: dict[Any, tuple[Any, str]] = {
    Any: (object, ""),
    object: (object, ""),
    bool: (bool, "neither true nor false"),
    str: (str, "not a text"),
    int: (int, "not a whole number"),
    float: ((int, float), "not a number"),
    tuple: ((list, tuple), "not a list"),
    dict: (dict, "not a section"),
}


class Misfit(NamedTuple):
    """A value that does not fit its section.

    Attributes:
        address: The keys that lead to the value.
        value: The value.
        sentence: The end of a sentence that begins with the value; empty for a key that the section does not have.
        known: The keys that the section has, if it does not have this one.
    """

    address: Address
    value: Any
    sentence: str = ""
    known: tuple[str, ...] = ()


@dataclass(frozen=True)
class Check:
    """A constraint of an annotation beyond its type.

    Attributes:
        at_least: The least valid number.
        above: The exclusive lower bound of valid numbers.
        before: Converts the written value to the type, or raises a `fault`.
        after: Converts a value of the type to the final value, or raises a `fault`.
    """

    at_least: float | None = None
    above: float | None = None
    before: Callable[[Any], Any] | None = None
    after: Callable[[Any], Any] | None = None

    def read(self, hint: Any, value: Any, address: Address, misfits: list[Misfit]) -> Any:
        """Return a value as the type of a hint, checked; add what is wrong to the misfits."""
        try:
            given = value if self.before is None else self.before(value)
            result = _read(hint, given, address, misfits)
            if result is _FAULTY:
                return result
            if self.at_least is not None and not result >= self.at_least:
                raise fault(f"is less than {self.at_least:g}")
            if self.above is not None and not result > self.above:
                raise fault(f"is not greater than {self.above:g}")
            return result if self.after is None else self.after(result)
        except _FaultError as error:
            misfits.append(Misfit(address, value, str(error)))
            return _FAULTY


class _FaultError(ValueError):
    """What a check raises."""


def fault(sentence: str) -> Exception:
    """The error that a check raises; `sentence` is the end of a sentence that begins with the value."""
    return _FaultError(sentence)


def validate(section: type[T], document: dict[str, Any]) -> tuple[T, list[Misfit]]:
    """Build a section from a document without its misfits, which are returned, too.

    Example:
        >>> from sinagot_catalog.config.model import TaskConfig
        >>> validate(TaskConfig, {"modalities": ["EEG"]})
        (TaskConfig(modalities=('EEG',), params={}), [])
        >>> validate(TaskConfig, {"modalities": ["EEG", 3]})[1]
        [Misfit(address=('modalities', 1), value=3, sentence='is not a text', known=())]
    """
    misfits: list[Misfit] = []
    made: T = _section(section, document, (), misfits)
    return made, misfits


def _section(section: Any, value: Any, address: Address, misfits: list[Misfit]) -> Any:
    if not isinstance(value, dict):
        misfits.append(Misfit(address, value, "is not a section"))
        return section()
    hints = {field.name: field.type for field in fields(section)}
    table = get_args(hints.pop(_OTHERS, None))[1:]
    names = tuple(name for name, hint in hints.items() if hint is not object)
    values: dict[str, Any] = {_OTHERS: {}} if table else {}
    for name, item in value.items():
        here = (*address, name)
        if name in hints:
            values[name] = _read(hints[name], item, here, misfits)
        elif table and isinstance(item, dict):
            values[_OTHERS][name] = _section(table[0], item, here, misfits)
        else:
            misfits.append(Misfit(here, item, known=names))
    return section(**{name: item for name, item in values.items() if item is not _FAULTY})


def _read(hint: Any, value: Any, address: Address, misfits: list[Misfit]) -> Any:
    """Return a value as the type of a hint; if it does not fit, `_FAULTY` with a misfit."""
    if is_dataclass(hint):
        return _section(hint, value, address, misfits)
    origin, inner = get_origin(hint) or hint, get_args(hint)
    if origin is Annotated:
        return inner[1].read(inner[0], value, address, misfits)
    if origin in (types.UnionType, Union):
        return _either(inner, value, address, misfits)
    if sentence := _sentence(origin, inner, value):
        misfits.append(Misfit(address, value, sentence))
        return {} if origin is dict else _FAULTY
    if origin is dict:
        items = {name: _read(inner[1], item, (*address, name), misfits) for name, item in value.items()}
        value = {name: item for name, item in items.items() if item is not _FAULTY}
    elif origin is tuple:
        several = tuple(_read(inner[0], item, (*address, n), misfits) for n, item in enumerate(value))
        value = _FAULTY if _FAULTY in several else several
    return float(value) if origin is float else value


def _sentence(kind: Any, inner: tuple[Any, ...], value: Any) -> str:
    """Say what a value is not; empty if it is of a kind. A number may be written as a whole one."""
    if kind is Literal:
        near = did_you_mean(value, inner, most=1) if isinstance(value, str) else ""
        return "" if value in inner else f"is not one of {', '.join(map(repr, inner))}{near}"
    known, what = _KINDS[kind]
    is_flag = isinstance(value, bool) and kind not in (bool, object, Any)
    return "" if isinstance(value, known) and not is_flag else f"is {what}"


def _either(hints: tuple[Any, ...], value: Any, address: Address, misfits: list[Misfit]) -> Any:
    """Return a value as the first type that it fits."""
    found: list[Misfit] = []
    result: Any = _FAULTY
    for hint in hints:
        if hint is not types.NoneType:  # TOML has no null
            found = []
            result = _read(hint, value, address, found)
            if not found:
                return result
    misfits += found
    return result
