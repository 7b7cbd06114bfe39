"""One path pattern: parsed, filled, bound. Standard library only: workers use it."""

import re
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from sinagot_catalog.errors import PatternError, did_you_mean

__all__ = ["IdPattern", "Template", "parse_labelled", "parse_template"]

_FIELD = re.compile(r"\{([^{}/]*)\}")
_NOWHERE = frozenset({"", ".", ".."})
"""Parts of a path that name no child of a folder."""


@dataclass(frozen=True)
class Template:
    """A path below the dataset with places for the id and its parts.

    Attributes:
        tokens: `("text", literal)` and `("field", name)` in order; two texts never follow each other.
        is_directory: A final slash in the pattern demands a directory.
    """

    tokens: tuple[tuple[str, str], ...]
    is_directory: bool = False

    @cached_property
    def text(self) -> str:
        """The pattern as one `/`-joined string, without the final slash."""
        return "".join(value if kind == "text" else f"{{{value}}}" for kind, value in self.tokens)

    @cached_property
    def fields(self) -> frozenset[str]:
        """The names of its placeholders."""
        return frozenset(value for kind, value in self.tokens if kind == "field")

    @cached_property
    def prefix(self) -> str:
        """The longest literal folder that every path of it lies in, `""` or ending in `/`."""
        head = self.tokens[0][1] if self.tokens[0][0] == "text" else ""
        return head[: head.rfind("/") + 1]

    @cached_property
    def depth(self) -> int:
        """How many parts its paths have."""
        return self.text.count("/") + 1

    @cached_property
    def parted(self) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
        """The tokens of the folder that its paths lie in, without the last slash, and those of their names.

        Example:
            >>> parse_template("raw/{id}.csv", fields={"id"}).parted
            ((('text', 'raw'),), (('field', 'id'), ('text', '.csv')))
        """
        for place in reversed(range(len(self.tokens))):
            kind, value = self.tokens[place]
            if kind == "text" and "/" in value:
                left, _, right = value.rpartition("/")
                folder = (*self.tokens[:place], *((("text", left),) if left else ()))
                return folder, (*((("text", right),) if right else ()), *self.tokens[place + 1 :])
        return (), self.tokens

    @property
    def text_end(self) -> str:
        """The literal text that its paths end in."""
        kind, value = self.tokens[-1]
        return value if kind == "text" else ""

    @cached_property
    def varies(self) -> tuple[bool, ...]:
        """For each part of its paths whether it holds a placeholder.

        Example:
            >>> parse_template("raw/{id}/a.csv", fields={"id"}).varies
            (False, True, False)
        """
        text = "".join(value if kind == "text" else "\0" for kind, value in self.tokens)
        return tuple("\0" in part for part in text.split("/"))

    def folders(self) -> Iterator["Template"]:
        """The patterns of the folders that its paths lie in, the outermost first.

        Example:
            >>> [one.text for one in parse_template("raw/{id}/eeg/{id}.csv", fields={"id"}).folders()]
            ['raw', 'raw/{id}', 'raw/{id}/eeg']
        """
        for place, (kind, value) in enumerate(self.tokens):
            for cut, letter in enumerate(value):
                if kind == "text" and letter == "/":
                    yield Template(self.tokens[:place] + ((("text", value[:cut]),) if cut else ()))

    def format(self, values: Mapping[str, str]) -> str:
        """Fill the pattern for one record.

        Example:
            >>> parse_template("raw/{id}.csv", fields={"id"}).format({"id": "A"})
            'raw/A.csv'
        """
        return "".join(value if kind == "text" else values[value] for kind, value in self.tokens)

    def bind(self, values: Mapping[str, str | None]) -> "Template":
        """Replace some placeholders by literal text, such as the task and the modality of a unit.

        Example:
            >>> parse_template("{task}/{id}", fields={"id", "task"}).bind({"task": "RS"}).text
            'RS/{id}'
        """
        tokens: list[tuple[str, str]] = []
        for kind, value in self.tokens:
            bound = values.get(value) if kind == "field" else value
            token = ("text", bound) if bound is not None else (kind, value)
            if tokens and tokens[-1][0] == token[0] == "text":
                tokens[-1] = ("text", tokens[-1][1] + token[1])
            else:
                tokens.append(token)
        return Template(tuple(tokens), self.is_directory)


def parse_template(value: object, *, fields: Collection[str]) -> Template:
    """Read one pattern.

    Args:
        value: A `/`-joined string, or a tuple or list of its parts.
        fields: The placeholder names that are allowed: `id`, the groups of the id pattern, in scoped mode
            `task` and `modality`.

    Raises:
        PatternError: When a placeholder is unknown, a brace is alone, or the path leaves the dataset.
    """
    if isinstance(value, (tuple, list)) and all(isinstance(part, str) for part in value):
        text = "/".join(value)
    elif isinstance(value, str):
        text = value
    else:
        raise PatternError(
            f"a path pattern is a string or a tuple of strings, not {type(value).__name__} ({value!r:.60})"
        )
    is_directory = text.endswith("/")
    text = text.rstrip("/") if is_directory else text
    parts = text.split("/")
    if text == "":
        raise PatternError("a path pattern is empty")
    if text.startswith("/") or ".." in parts:
        raise PatternError(f"{text!r} leaves the dataset: patterns are relative to it and hold no '..'")
    if "\0" in text:
        raise PatternError(f"{text!r} holds a zero byte, which no path can")
    text = "/".join(part for part in parts if part not in ("", "."))
    return Template(tuple(_tokens(text, fields)), is_directory)


def _tokens(text: str, fields: Collection[str]) -> Iterator[tuple[str, str]]:
    """Split a pattern; a name in braces that is no placeholder is an error, other braces are literal."""
    end = 0
    for found in _FIELD.finditer(text):
        name = found[1]
        if name not in fields:
            if not name.isidentifier():
                continue
            raise PatternError(
                f"unknown placeholder {{{name}}} in {text!r}{did_you_mean(name, fields)}",
                "Known here: " + ", ".join(f"{{{field}}}" for field in sorted(fields)) + ".",
            )
        if found.start() > end:
            yield "text", text[end : found.start()]
        yield "field", name
        end = found.end()
    if end < len(text):
        yield "text", text[end:]


def parse_labelled(value: object, *, fields: Collection[str]) -> tuple[tuple[str | None, Template], ...]:
    """Read `PATH_IN`, `PATH_OUT` or `PATH_CONTROL`: one pattern (label None) or a dict of them by label.

    Example:
        >>> [(label, one.text) for label, one in parse_labelled({"a": "x/{id}"}, fields={"id"})]
        [('a', 'x/{id}')]
    """
    if value is None or (isinstance(value, (tuple, list, Mapping)) and not value):
        return ()
    if isinstance(value, Mapping):
        return tuple((str(label), parse_template(one, fields=fields)) for label, one in value.items())
    return ((None, parse_template(value, fields=fields)),)


class IdPattern:
    r"""The regular expression of record ids, with Python's meaning.

    An id holds a `/` only where the expression's text does (`spans`): `.+` stays within one part of a path.

    Args:
        text: A pattern for `re.fullmatch`; its named groups are placeholders and columns.

    Raises:
        PatternError: When `re` cannot compile it.

    Example:
        >>> IdPattern(r"(?P<site>[A-Z]+)-\d+").values("REC-7")
        {'id': 'REC-7', 'site': 'REC'}
    """

    def __init__(self, text: str) -> None:
        try:
            with warnings.catch_warnings():
                # `[a&&b]` may once be a set operation in Python; today it is three characters.
                warnings.simplefilter("ignore", FutureWarning)
                self.regex = re.compile(text)
        except re.error as error:
            where = f" at character {error.pos}" if error.pos is not None else ""
            raise PatternError(f"{text!r} is not a regular expression: {error.msg}{where}") from error
        self.text = text
        self.spans = "/" in text
        self.groups: tuple[str, ...] = tuple(self.regex.groupindex)
        reserved = {"id", "record_id", "task", "modality"} & set(self.groups)
        if reserved:
            raise PatternError(f"{text!r} names a group {min(reserved)!r}, which is a name of ours")

    def values(self, record_id: str) -> dict[str, str] | None:
        """What the placeholders stand for in this id, or None when the id does not fit."""
        found = self.regex.fullmatch(record_id)
        if found is None or not is_safe_id(record_id) or ("/" in record_id and not self.spans):
            return None
        if not self.groups:
            return {"id": record_id}
        return {"id": record_id, **{name: text or "" for name, text in found.groupdict().items()}}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IdPattern) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __reduce__(self) -> tuple[type["IdPattern"], tuple[str]]:
        return IdPattern, (self.text,)

    def __repr__(self) -> str:
        return f"IdPattern({self.text!r})"


def is_safe_id(record_id: str) -> bool:
    """Whether an id can stand in a path without leaving its folder.

    Example:
        >>> is_safe_id("REC-1"), is_safe_id("../../x"), is_safe_id("")
        (True, False, False)
    """
    return "\0" not in record_id and _NOWHERE.isdisjoint(record_id.split("/"))
