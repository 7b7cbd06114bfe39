"""Validation of config sections: builds frozen dataclasses with pydantic's core.

The core alone takes a third of pydantic's import time and is enough here: a command that only reads must start
quickly. The annotations of a section are its whole schema; `Check` adds what a type alone cannot express.
"""

import types
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic_core import PydanticCustomError, SchemaValidator

from sinagot_catalog.frozen import dataclass

T = TypeVar("T")
Schema = dict[str, Any]

_PLAIN: dict[Any, Schema] = {
    str: {"type": "str", "strict": True},
    int: {"type": "int", "strict": True},
    float: {"type": "float", "strict": True},
    bool: {"type": "bool", "strict": True},
    object: {"type": "any"},
    Any: {"type": "any"},
}


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

    def on(self, schema: Schema) -> Schema:
        """Add this check to a schema."""
        bounds = {"ge": self.at_least, "gt": self.above}
        schema = {**schema, **{key: bound for key, bound in bounds.items() if bound is not None}}
        for kind, function in (("function-before", self.before), ("function-after", self.after)):
            if function is not None:
                schema = {
                    "type": kind,
                    "function": {"type": "no-info", "function": function},
                    "schema": schema,
                }
        return schema


def fault(sentence: str) -> PydanticCustomError:
    """The error that a check raises; `sentence` is the end of a sentence that begins with the value."""
    return PydanticCustomError("sinagot", "{sentence}", {"sentence": sentence})


def validate(section: type[T], document: dict[str, Any]) -> T:
    """Validate a document and build an instance of its section.

    Raises:
        ValidationError: An error of pydantic's core, with every fault.
    """
    key: Any = section
    made: T = _validator(key).validate_python(document)
    return made


@cache
def _validator(section: Any) -> SchemaValidator:
    schema: Any = _schema(section)
    return SchemaValidator(schema)


def _schema(hint: Any) -> Schema:  # noqa: PLR0911  # a return for each kind of hint
    if hint in _PLAIN:
        return _PLAIN[hint]
    if is_dataclass(hint):
        return _section_schema(hint)
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        schema = _schema(inner[0])
        for check in inner[1:]:
            schema = check.on(schema)
        return schema
    if origin is Literal:
        return {"type": "literal", "expected": list(inner)}
    if origin is tuple:
        return {"type": "tuple", "items_schema": [_schema(inner[0])], "variadic_item_index": 0}
    if origin is dict:
        return {"type": "dict", "keys_schema": _schema(inner[0]), "values_schema": _schema(inner[1])}
    if origin in (types.UnionType, Union):
        options = [_schema(one) for one in inner if one is not type(None)]
        schema = options[0] if len(options) == 1 else {"type": "union", "choices": options}
        return {"type": "nullable", "schema": schema}
    raise TypeError(f"no schema for {hint!r}")


def _section_schema(section: Any) -> Schema:
    parts = []
    for one in fields(section):
        schema: Schema = {"type": "default", "schema": _schema(one.type)}
        if one.default is not MISSING:
            schema["default"] = one.default
        if one.default_factory is not MISSING:
            schema["default_factory"] = one.default_factory
        parts.append({"type": "dataclass-field", "name": one.name, "schema": schema})
    return {
        "type": "dataclass",
        "cls": section,
        "fields": [part["name"] for part in parts],
        "schema": {
            "type": "dataclass-args",
            "dataclass_name": section.__name__,
            "fields": parts,
            "extra_behavior": "forbid",
        },
    }
