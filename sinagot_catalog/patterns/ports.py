"""Input ports: what a step may declare for one input (a pattern, many files, an optional file, alternatives).

Standard library only: scripts import `many`, `optional` and `any_of`, and workers read the parsed ports.
"""

from collections.abc import Collection
from typing import Any

from sinagot_catalog.errors import PatternError
from sinagot_catalog.patterns.template import RESERVED, Template, by_label, is_table, parse_template
from sinagot_catalog.startup import dataclass


@dataclass(frozen=True)
class InputPattern:
    """An input that is more than one pattern; made by `many`, `optional` and `any_of`.

    Attributes:
        patterns: The alternatives; the first that exists is used.
        is_optional: Whether the step also runs without it.
    """

    patterns: tuple[Any, ...]
    is_optional: bool = False


def many(pattern: Any) -> InputPattern:
    """Several files: every file that a pattern with `*` or `**` matches. The script gets a sorted list of paths.

    Any pattern with a `*` is such an input; `many` only tells the reader.

    Args:
        pattern: A pattern with `*` (any text in one name) or `**` (any number of folders).

    Raises:
        PatternError: When the pattern has no `*`.

    Example:
        >>> from sinagot_catalog import many
        >>> many("raw/{id}/*.png").patterns
        ('raw/{id}/*.png',)
    """
    text = "/".join(map(str, pattern)) if isinstance(pattern, (tuple, list)) else str(pattern)
    if "*" not in text.replace(r"\*", ""):
        raise PatternError(
            f"many({text!r}) has no *", f"Write {text.rstrip('/')}/* for the files of a folder."
        )
    return InputPattern((pattern,))


def optional(pattern: Any) -> InputPattern:
    """An input that some records lack. The script gets None for it, and the step does not wait for it.

    Args:
        pattern: A pattern, `many(...)` or `any_of(...)`.

    Example:
        >>> from sinagot_catalog import optional
        >>> optional("notes/{id}.txt").is_optional
        True
    """
    return InputPattern(as_input(pattern).patterns, is_optional=True)


def any_of(*patterns: Any) -> InputPattern:
    """Alternatives: the first of these inputs that exists, such as a sidecar file that several folders may hold.

    Args:
        patterns: Patterns, in the order in which they are tried.

    Raises:
        PatternError: When there is no pattern.

    Example:
        >>> from sinagot_catalog import any_of
        >>> any_of("{id}/eeg.json", "eeg.json").patterns
        ('{id}/eeg.json', 'eeg.json')
    """
    if not patterns:
        raise PatternError("any_of() names no pattern", "Give it at least one.")
    inputs = [as_input(pattern) for pattern in patterns]
    alternatives = tuple(pattern for item in inputs for pattern in item.patterns)
    return InputPattern(alternatives, is_optional=any(item.is_optional for item in inputs))


def as_input(value: Any) -> InputPattern:
    """An input as it is declared: a pattern, several, or a table of the config.

    Raises:
        PatternError: When a table does not declare an input.
    """
    if not is_table(value):
        return value if isinstance(value, InputPattern) else InputPattern((value,))
    strange = sorted(value.keys() - {"path", "any_of", "optional"})
    if strange or ("path" in value) == ("any_of" in value):
        what = f"has the key {strange[0]!r}" if strange else "needs either 'path' or 'any_of'"
        raise PatternError(
            f"an input {what}", "Write {path = '…', optional = true} or {any_of = ['…', '…']}."
        )
    patterns = value["any_of"] if "any_of" in value else [value["path"]]
    return InputPattern(any_of(*patterns).patterns, is_optional=bool(value.get("optional", False)))


class WithColumns(frozenset[str]):
    """The placeholders of an input: a name that is not a field may be a column of a table, which is read later."""

    def __contains__(self, name: object) -> bool:
        is_column = isinstance(name, str) and name.isidentifier() and name not in RESERVED
        return super().__contains__(name) or is_column


@dataclass(frozen=True)
class InputPort:
    """One input of a step, parsed.

    Attributes:
        label: Its key if the step declares a dict of inputs, else None.
        ways: Its alternatives in the order in which they are tried.
        is_optional: Whether the step also runs without it.
    """

    label: str | None
    ways: tuple[Template, ...]
    is_optional: bool = False


def parse_inputs(value: Any, *, fields: Collection[str]) -> tuple[InputPort, ...]:
    """Parse `PATH_IN`: one input (label None) or a dict of inputs by label.

    Args:
        value: A pattern, an `InputPattern`, a table of the config (`{any_of = [...], optional = true}`), or a dict
            of those by label.
        fields: The placeholder names that are allowed.

    Raises:
        PatternError: As `parse_template`.

    Example:
        >>> from sinagot_catalog import optional
        >>> [(port.label, port.is_optional) for port in parse_inputs({"a": optional("x/{id}")}, fields={"id"})]
        [('a', True)]
    """
    ports = []
    for label, item in by_label(value):
        port = as_input(item)
        ways = tuple(parse_template(pattern, fields=fields, wildcards=True) for pattern in port.patterns)
        ports.append(InputPort(label, ways, port.is_optional))
    return tuple(ports)
