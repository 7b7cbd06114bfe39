"""Validation of config sections: builds frozen dataclasses, and finds every value that does not fit.

The annotations of a section are its whole schema; `Check` adds what a type alone cannot express.
"""

import types
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

from sinagot_catalog.errors import did_you_mean
from sinagot_catalog.startup import dataclass

T = TypeVar("T")
Address = tuple[str | int, ...]

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


class Fault(NamedTuple):
    """A value that does not fit its section.

    Attributes:
        address: The keys that lead to the value.
        value: The value.
        sentence: The end of a sentence that begins with the value; empty for a key that the section does not have.
        is_section: Whether a section stands in this place, and the value is none.
    """

    address: Address
    value: Any
    sentence: str = ""
    is_section: bool = False


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

    def read(self, hint: Any, value: Any, address: Address, faults: list[Fault]) -> Any:
        """Return a value as the type of a hint, checked; add what is wrong to the faults."""
        n_faults = len(faults)
        try:
            given = value if self.before is None else self.before(value)
            result = _read(hint, given, address, faults)
            if len(faults) > n_faults:
                return None
            if self.at_least is not None and not result >= self.at_least:
                raise fault(f"is less than {self.at_least:g}")
            if self.above is not None and not result > self.above:
                raise fault(f"is not greater than {self.above:g}")
            return result if self.after is None else self.after(result)
        except _FaultError as error:
            faults.append(Fault(address, value, str(error)))
            return None


class _FaultError(ValueError):
    """What a check raises."""


def fault(sentence: str) -> Exception:
    """The error that a check raises; `sentence` is the end of a sentence that begins with the value."""
    return _FaultError(sentence)


def validate(section: type[T], document: dict[str, Any]) -> tuple[T | None, list[Fault]]:
    """Build a section from a document; None instead if there are faults.

    Example:
        >>> from sinagot_catalog.config.model import TaskConfig
        >>> validate(TaskConfig, {"modalities": ["EEG"]})
        (TaskConfig(modalities=('EEG',), params={}), [])
        >>> validate(TaskConfig, {"modalities": ["EEG", 3]})[1]
        [Fault(address=('modalities', 1), value=3, sentence='is not a text', is_section=False)]
    """
    faults: list[Fault] = []
    made = _section(section, document, (), faults)
    return made, faults


def _section(section: Any, value: Any, address: Address, faults: list[Fault]) -> Any:
    if not isinstance(value, dict):
        faults.append(Fault(address, value, "is not a section", is_section=True))
        return None
    n_faults = len(faults)
    hints = {field.name: field.type for field in fields(section)}
    values = {
        name: _read(hint, value[name], (*address, name), faults)
        for name, hint in hints.items()
        if name in value
    }
    faults += [Fault((*address, name), item) for name, item in value.items() if name not in hints]
    return section(**values) if len(faults) == n_faults else None


def _read(hint: Any, value: Any, address: Address, faults: list[Fault]) -> Any:
    """Return a value as the type of a hint; add what does not fit it to the faults."""
    if is_dataclass(hint):
        return _section(hint, value, address, faults)
    origin, inner = get_origin(hint) or hint, get_args(hint)
    if origin is Annotated:
        return inner[1].read(inner[0], value, address, faults)
    if origin in (types.UnionType, Union):
        return _either(inner, value, address, faults)
    is_section = origin is dict
    if sentence := _misfit(origin, inner, value):
        faults.append(Fault(address, value, sentence, is_section))
    elif is_section:
        return {name: _read(inner[1], item, (*address, name), faults) for name, item in value.items()}
    elif origin is tuple:
        return tuple(_read(inner[0], item, (*address, n), faults) for n, item in enumerate(value))
    return float(value) if origin is float and not sentence else value


def _misfit(kind: Any, inner: tuple[Any, ...], value: Any) -> str:
    """Say what a value is not; empty if it is of a kind. A number may be written as a whole one."""
    if kind is Literal:
        near = did_you_mean(value, inner, most=1) if isinstance(value, str) else ""
        return "" if value in inner else f"is not one of {', '.join(map(repr, inner))}{near}"
    known, what = _KINDS[kind]
    is_flag = isinstance(value, bool) and kind not in (bool, object, Any)
    return "" if isinstance(value, known) and not is_flag else f"is {what}"


def _either(hints: tuple[Any, ...], value: Any, address: Address, faults: list[Fault]) -> Any:
    """Return a value as the first type that it fits."""
    hint_faults: list[Fault] = []
    for hint in hints if value is not None else ():
        if hint is not types.NoneType:
            hint_faults = []
            result = _read(hint, value, address, hint_faults)
            if not hint_faults:
                return result
    faults += hint_faults
    return None
