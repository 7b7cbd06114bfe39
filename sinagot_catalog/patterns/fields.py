"""Fields of an id: how an id is written from its named groups, and which patterns `{field?}` expands to.

Standard library only: workers use it.
"""

import importlib
import re
import unicodedata
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property
from itertools import combinations
from typing import Any

from sinagot_catalog.startup import dataclass

Tokens = tuple[tuple[str, str], ...]
"""`("text", literal)`, `("field", name)` and `("optional", name)` in order."""

_NODES = ("SUBPATTERN", "MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT", "ATOMIC_GROUP", "BRANCH")


# -- optional fields in a pattern ----------------------------------------------------------------------


def variants(tokens: Tokens) -> dict[frozenset[str], Tokens]:
    """The plain patterns that a pattern with optional fields expands to, by the fields that have no value.

    If a field has no value, the text between it and the `/`, `_` or field before it is dropped, and the `_`, too.
    At the start of a segment the `_` after the field is dropped, and an empty segment is dropped with its slash.
    A pattern that also has the field as `{field}` has no variant without it.

    Example:
        >>> tokens = (("text", "sub-"), ("field", "sub"), ("text", "/ses-"), ("optional", "ses"), ("text", "/a"))
        >>> [len(one) for one in variants(tokens).values()]
        [5, 3]
    """
    optional = sorted({name for kind, name in tokens if kind == "optional"})
    needed = {name for kind, name in tokens if kind == "field"}
    patterns = {}
    for count in range(len(optional) + 1):
        for absent in combinations(optional, count):
            plain = _without(tokens, frozenset(absent))
            if plain and needed.isdisjoint(absent):
                patterns[frozenset(absent)] = plain
    return patterns


def _without(tokens: Tokens, absent: Collection[str]) -> Tokens:
    """A pattern without some optional fields; empty if nothing is left of it."""
    done: list[tuple[str, str]] = []
    todo = list(tokens)
    has_cut = False
    while todo:
        kind, value = todo.pop(0)
        if kind != "optional":
            _append(done, kind, value)
        elif value not in absent:
            _append(done, "field", value)
        else:
            has_cut = True
            text = done.pop()[1] if done and done[-1][0] == "text" else ""
            text = text[: max(text.rfind("/") + 1, text.rfind("_"), 0)]
            if text:
                done.append(("text", text))
            is_start = not done or text.endswith("/")
            if is_start and todo and todo[0][0] == "text":
                todo[0] = ("text", todo[0][1].removeprefix("_"))
    return _without_empty_parts(done) if has_cut else tuple(done)


def _without_empty_parts(tokens: Iterable[tuple[str, str]]) -> Tokens:
    """Tokens without the slashes of empty segments."""
    out: list[tuple[str, str]] = []
    for kind, value in tokens:
        text = re.sub("/+", "/", value) if kind == "text" else value
        before_slash = not out or (out[-1][0] == "text" and out[-1][1].endswith("/"))
        _append(out, kind, text.removeprefix("/") if kind == "text" and before_slash else text)
    if out and out[-1][0] == "text":
        out[-1] = ("text", out[-1][1].removesuffix("/"))
    return tuple(token for token in out if token[1])


def _append(tokens: list[tuple[str, str]], kind: str, value: str) -> None:
    """Add a token; two texts never follow each other."""
    if kind == "text" and tokens and tokens[-1][0] == "text":
        tokens[-1] = ("text", tokens[-1][1] + value)
    elif value:
        tokens.append((kind, value))


# -- the fields of an id -------------------------------------------------------------------------------


def parse_regex(text: str) -> Any:
    """Python's own parse tree of a regular expression."""
    parser = importlib.import_module("re._parser")
    with warnings.catch_warnings():
        # Python may make `[a&&b]` a set operation in a later version; today it is three characters.
        warnings.simplefilter("ignore", FutureWarning)
        return parser.parse(text)


@dataclass(frozen=True)
class Piece:
    """A part of an id: a literal text, or the value of a field.

    Attributes:
        kind: `text` or `field`.
        value: The text, or the name of the field.
        within: For each optional group around the piece, the fields in that group. The group is written if one of
            them has a value.
    """

    kind: str
    value: str
    within: tuple[frozenset[str], ...] = ()

    def is_written(self, present: Collection[str]) -> bool:
        """Whether the piece is part of an id in which only these fields have values."""
        return all(not names.isdisjoint(present) for names in self.within)


@dataclass(frozen=True)
class IdForm:
    r"""How an id is written from its fields.

    Example:
        >>> form = id_form(r"sub-(?P<sub>\d+)(?:_ses-(?P<ses>\d+))?")
        >>> form.write({"sub": "01", "ses": "2"}), form.write({"sub": "01", "ses": ""})
        ('sub-01_ses-2', 'sub-01')
    """

    pieces: tuple[Piece, ...]

    @cached_property
    def fields(self) -> frozenset[str]:
        """The fields that an id is written from."""
        return frozenset(piece.value for piece in self.pieces if piece.kind == "field")

    @cached_property
    def text(self) -> str:
        """The form as a pattern, such as `sub-{sub}_ses-{ses?}`."""
        return "".join(
            piece.value if piece.kind == "text" else f"{{{piece.value}{'?' if piece.within else ''}}}"
            for piece in self.pieces
        )

    def write(self, values: Mapping[str, str]) -> str:
        """The id of some values; `""` means no value."""
        present = {name for name, value in values.items() if value}
        return "".join(
            piece.value if piece.kind == "text" else values.get(piece.value, "")
            for piece in self.pieces
            if piece.is_written(present)
        )


class _VariesError(Exception):
    """The text of an id does not follow from its fields."""


def id_form(text: str) -> IdForm | str:
    r"""How ids of a regular expression are written from its named groups, or the reason why they cannot be.

    Example:
        >>> id_form(r"(?P<mouse>m\d+)_(?P<day>\d+)").text
        '{mouse}_{day}'
        >>> id_form(r"(?P<mouse>m\d+)[-_](?P<day>\d+)")
        'the text between {mouse} and {day} varies'
    """
    parsed = parse_regex(text)
    names = {number: name for name, number in parsed.state.groupdict.items()}
    try:
        pieces = list(_pieces(parsed, names, (), []))
    except _VariesError as error:
        return str(error)
    return IdForm(tuple(pieces))


def _pieces(
    nodes: Any, names: Mapping[int, str], within: tuple[frozenset[str], ...], before: list[str]
) -> Iterator[Piece]:
    """The pieces of a parse tree; `before` collects the fields that were passed."""
    for place, (kind, value) in enumerate(nodes):
        char = _only_char(str(kind), value)
        if char is not None:
            yield from [Piece("text", char, within)] * bool(char)
        elif str(kind) == "SUBPATTERN" and value[0] in names:
            before.append(names[value[0]])
            yield Piece("field", names[value[0]], within)
        elif str(kind) == "SUBPATTERN" and not value[1] and not value[2]:
            yield from _pieces(value[3], names, within, before)
        elif str(kind) in ("MAX_REPEAT", "MIN_REPEAT") and value[0] == value[1]:
            for _ in range(int(value[0])):
                yield from _pieces(value[2], names, within, before)
        elif str(kind) in ("MAX_REPEAT", "MIN_REPEAT") and (value[0], value[1]) == (0, 1):
            fields = frozenset(_names_in(value[2], names))
            if not fields:
                raise _VariesError(_where(nodes, place, names, before))
            yield from _pieces(value[2], names, (*within, fields), before)
        else:
            raise _VariesError(_where(nodes, place, names, before))


def _only_char(kind: str, value: Any) -> str | None:
    """The text that a node matches if it is always the same: one character, or nothing."""
    if kind == "AT":
        return ""
    if kind == "LITERAL":
        return chr(value)
    if kind == "IN" and len(value) == 1 and str(value[0][0]) == "LITERAL":
        return chr(value[0][1])
    return None


def _names_in(nodes: Any, names: Mapping[int, str]) -> Iterator[str]:
    """The named groups of a parse tree."""
    if isinstance(nodes, tuple) and len(nodes) == 4 and nodes[0] in names:  # noqa: PLR2004 - the node of a group
        yield names[nodes[0]]
    if isinstance(nodes, (tuple, list)) or hasattr(nodes, "data"):
        for node in getattr(nodes, "data", nodes):
            yield from _names_in(node, names)


def _where(nodes: Any, place: int, names: Mapping[int, str], before: list[str]) -> str:
    """Which text of an id varies, described by the fields beside it."""
    inside = list(_names_in(nodes[place], names))
    if inside:
        return f"the part with {{{inside[0]}}} is repeated or has alternatives"
    after = list(_names_in(list(nodes)[place + 1 :], names))
    if before and after:
        return f"the text between {{{before[-1]}}} and {{{after[0]}}} varies"
    if before or after:
        return f"the text {f'behind {{{before[-1]}}}' if before else f'before {{{after[0]}}}'} varies"
    return "it has no named groups that make up the id"


@dataclass(frozen=True)
class Field:
    """The known properties of the values of one field.

    Attributes:
        nodes: Python's parse tree of its group; None if letters match in either case.
        width: The number of characters of each value if it is fixed, else None.
    """

    nodes: Any
    width: int | None

    def may_hold(self, char: str) -> bool:
        """Whether a value may contain a character; True if that is unknown.

        Example:
            >>> mouse = fields_of(r"(?P<mouse>m[0-9]+)_x")["mouse"]
            >>> mouse.may_hold("_"), mouse.may_hold("m"), mouse.width
            (False, True, None)
        """
        return self.nodes is None or _may_hold(self.nodes, char)


def fields_of(text: str) -> dict[str, Field]:
    """The fields of a regular expression, by name."""
    parsed = parse_regex(text)
    fields = {}
    for number, nodes in _groups(parsed):
        name = next((item for item, at in parsed.state.groupdict.items() if at == number), None)
        if name is not None:
            least, most = nodes.getwidth()
            ignores_case = parsed.state.flags & re.IGNORECASE
            fields[name] = Field(None if ignores_case else nodes, int(least) if least == most else None)
    return fields


def _groups(nodes: Any) -> Iterator[tuple[int, Any]]:
    """The groups of a parse tree, each with its content."""
    if isinstance(nodes, tuple) and len(nodes) == 4 and hasattr(nodes[3], "getwidth"):  # noqa: PLR2004
        yield nodes[0], nodes[3]
    if isinstance(nodes, (tuple, list)) or hasattr(nodes, "data"):
        for node in getattr(nodes, "data", nodes):
            yield from _groups(node)


def _may_hold(nodes: Any, char: str) -> bool:
    for kind, value in nodes:
        name = str(kind)
        if name in ("AT", "ASSERT", "ASSERT_NOT"):
            continue
        if name in ("LITERAL", "NOT_LITERAL"):
            holds = (chr(value) == char) == (name == "LITERAL")
        elif name == "IN":
            holds = _in_class(value, char)
        elif name == "ANY":
            holds = char != "\n"
        elif name == "BRANCH":
            holds = any(_may_hold(branch, char) for branch in value[1])
        elif name == "SUBPATTERN":
            holds = bool(value[1]) or _may_hold(value[3], char)  # flags may change what a letter means
        elif name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            holds = _may_hold(value[2], char)
        else:
            holds = True
        if holds:
            return True
    return False


def _in_class(items: Any, char: str) -> bool:
    """Whether a character class matches a character."""
    is_negated, is_member = False, False
    for kind, value in items:
        if str(kind) == "NEGATE":
            is_negated = True
        elif str(kind) == "LITERAL":
            is_member |= chr(value) == char
        elif str(kind) == "RANGE":
            is_member |= value[0] <= ord(char) <= value[1]
        elif str(kind) == "CATEGORY" and str(value) in _CATEGORIES:
            is_member |= re.fullmatch(_CATEGORIES[str(value)], char) is not None
        else:
            return True
    return is_member != is_negated


_CATEGORIES = {
    "CATEGORY_DIGIT": r"\d",
    "CATEGORY_WORD": r"\w",
    "CATEGORY_SPACE": r"\s",
    "CATEGORY_NOT_DIGIT": r"\D",
    "CATEGORY_NOT_WORD": r"\W",
    "CATEGORY_NOT_SPACE": r"\S",
}


def can_hold_slash(nodes: Any) -> bool:
    """Whether a parse tree names a `/`. Nodes that match any character, such as `.` or `[^_]`, do not count."""
    for kind, value in nodes:
        name = str(kind)
        if name == "LITERAL" and value == ord("/"):
            return True
        if (
            name == "IN"
            and ("NEGATE" not in str(value[0][0]))
            and any(str(item) == "LITERAL" and what == ord("/") for item, what in value)
        ):
            return True
        inner: Iterable[Any] = ()
        if name == "BRANCH":
            inner = value[1]
        elif name in _NODES:
            inner = [value[-1]] if isinstance(value, tuple) else [value]
        elif name == "GROUPREF_EXISTS":
            inner = [part for part in value[1:] if part]
        if any(can_hold_slash(part) for part in inner):
            return True
    return False


# -- values --------------------------------------------------------------------------------------------


def fault_of(text: str) -> str | None:
    """Why a text cannot be a part of a path, or None.

    Example:
        >>> fault_of("m1"), fault_of(".."), fault_of("a/b")
        (None, "is '..'", "holds a '/'")
    """
    if text in ("", ".", ".."):
        return f"is {text!r}" if text else "is empty"
    if "/" in text:
        return "holds a '/'"
    if not text.isprintable() and any(unicodedata.category(char) == "Cc" for char in text):
        return "holds a control character"
    return None
