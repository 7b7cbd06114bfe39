"""Parameters as a script sees them, and what a row read of them; standard library only, like `script`.

A row records the keys that it read, each with its value, as one JSON object: `{"cutoff": 30, "filter.low": 0.5}`. A
key that the row looked for in vain has the value null. A row that reads a whole table (in a loop, say) records the
table under its key; the key of the table of all parameters is empty.
"""

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from sinagot_catalog.errors import did_you_mean

_WIDTH = 40


class ParameterError(AttributeError, KeyError):
    """A script asked for a parameter, or a value of its record, that does not exist."""

    __str__ = AttributeError.__str__


class Parameters(Mapping[str, Any]):
    """A table of parameters: a mapping whose keys are attributes, too.

    Args:
        values: The parameters.
        reads: Gets every key that is read, with its value.
        path: The keys of the tables around this one, each with a dot behind it.
        noun: What a value is called in messages.

    Example:
        >>> params = Parameters({"cutoff": 30, "filter": {"low": 0.5}})
        >>> params.cutoff, params["filter"].low
        (30, 0.5)
        >>> params.cutof
        Traceback (most recent call last):
        sinagot_catalog.scripts.parameters.ParameterError: there is no parameter 'cutof'; did you mean 'cutoff'?
    """

    __slots__ = ("_noun", "_path", "_reads", "_values")

    def __init__(
        self,
        values: Mapping[str, Any],
        reads: dict[str, Any] | None = None,
        path: str = "",
        noun: str = "parameter",
    ) -> None:
        self._values = values
        self._reads = {} if reads is None else reads
        self._path = path
        self._noun = noun

    def __getitem__(self, name: str) -> Any:
        path = f"{self._path}{name}"
        if name not in self._values:
            self._reads[path] = None
            known = ", ".join(map(repr, self._values))
            near = did_you_mean(name, self._values, most=1) or f"; known here: {known or 'none'}"
            raise ParameterError(f"there is no {self._noun} {path!r}{near}")
        value = self._values[name]
        if isinstance(value, dict):
            return Parameters(value, self._reads, f"{path}.", self._noun)
        self._reads[path] = value
        return deepcopy(value) if isinstance(value, list) else value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]

    def __contains__(self, name: object) -> bool:
        self._reads[f"{self._path}{name}"] = self._values.get(name)  # type: ignore[call-overload]
        return name in self._values

    def _whole(self) -> Mapping[str, Any]:
        """All values; records that the whole table was read."""
        self._reads[self._path[:-1]] = self._values
        return self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._whole())

    def __len__(self) -> int:
        return len(self._whole())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._whole()!r})"

    def to_dict(self) -> dict[str, Any]:
        """A copy of the whole table, with plain dicts in it.

        Example:
            >>> Parameters({"filter": {"low": 0.5}}).to_dict()
            {'filter': {'low': 0.5}}
        """
        return deepcopy(dict(self._whole()))


def to_json(value: object) -> str:
    """The text of a recorded value; dates and times become texts.

    Example:
        >>> to_json({"low": 0.5, "cutoff": 30})
        '{"cutoff": 30, "low": 0.5}'
    """
    return json.dumps(value, default=str, ensure_ascii=False, sort_keys=True)


def value_at(values: Mapping[str, Any], path: str) -> Any:
    """The value of a recorded key; None if there is none.

    Example:
        >>> value_at({"filter": {"low": 0.5}}, "filter.low")
        0.5
    """
    if not path or path in values:
        return values.get(path, values)
    parts = path.split(".")
    for end in range(1, len(parts)):
        inner = values.get(".".join(parts[:end]))
        if isinstance(inner, Mapping):
            return value_at(inner, ".".join(parts[end:]))
    return None


def leaves(values: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """The values of a nested table, by their whole keys.

    Example:
        >>> leaves({"cutoff": 30, "filter": {"low": 0.5}})
        {'cutoff': 30, 'filter.low': 0.5}
    """
    items: dict[str, Any] = {}
    for name, value in values.items():
        items |= leaves(value, f"{path}{name}.") if isinstance(value, Mapping) else {f"{path}{name}": value}
    return items


def changes(recorded: str, values: Mapping[str, Any]) -> list[str]:
    """Which recorded parameters have another value now, each as a clause.

    Example:
        >>> changes('{"cutoff": 30, "filter.low": 0.5}', {"cutoff": 40, "filter": {"low": 0.5}})
        ['cutoff was 30, is 40']
    """
    clauses: dict[str, str] = {}
    for path, before in json.loads(recorded).items():
        present = value_at(values, path)
        if isinstance(before, dict) and isinstance(present, Mapping):
            prefix = f"{path}." if path else ""
            old, new = leaves(before, prefix), leaves(present, prefix)
            pairs = {name: (old.get(name), new.get(name)) for name in (*old, *new)}
        else:
            pairs = {path: (before, present)}
        for name, (then, now) in pairs.items():
            if to_json(then) != to_json(now):
                clauses[name] = f"{name} was {_shown(then)}, is {_shown(now)}"
    return list(clauses.values())


def _shown(value: object) -> str:
    """A value in a sentence."""
    if value is None:
        return "not set"
    text = to_json(value)
    return text if len(text) <= _WIDTH else f"{text[:_WIDTH]}..."
