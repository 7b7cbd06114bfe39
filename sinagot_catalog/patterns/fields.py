"""Fields of an id: how an id is written from its named groups, and which patterns `{field?}` expands to.

Standard library only: workers use it.
"""

import importlib
import unicodedata
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property
from itertools import combinations
from typing import Any

from sinagot_catalog.startup import dataclass

Tokens = tuple[tuple[str, str], ...]
"""`("text", literal)`, `("field", name)` and `("optional", name)` in order."""

# -- tokens --------------------------------------------------------------------------------------------


def joined(tokens: Iterable[tuple[str, str]]) -> Tokens:
    """Tokens without empty texts, and with texts that follow each other joined."""
    out: list[tuple[str, str]] = []
    for kind, value in tokens:
        if kind == "text" and out and out[-1][0] == "text":
            out[-1] = ("text", out[-1][1] + value)
        elif value:
            out.append((kind, value))
    return tuple(out)


def parts_of(tokens: Tokens) -> list[Tokens]:
    """The tokens of each part of a path."""
    parts: list[list[tuple[str, str]]] = [[]]
    for kind, value in tokens:
        first, *others = value.split("/") if kind == "text" else [value]
        parts[-1].append((kind, first))
        parts.extend([(kind, other)] for other in others)
    return [joined(part) for part in parts]


def path_of(parts: Iterable[Tokens]) -> Tokens:
    """The tokens of a path with these parts."""
    return joined([token for part in parts for token in (("text", "/"), *part)][1:])


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
            parts = [_without(part, absent) for part in parts_of(tokens)]
            plain = path_of(part for part in parts if part or not absent)
            if plain and needed.isdisjoint(absent):
                patterns[frozenset(absent)] = plain
    return patterns


def _without(part: Tokens, absent: Collection[str]) -> Tokens:
    """A part of a path without some optional fields; empty if nothing is left of it."""
    out: Tokens = ()
    has_cut = False
    for kind, value in part:
        if kind == "optional" and value in absent:
            has_cut = True
            if out and out[-1][0] == "text":
                out = joined([*out[:-1], ("text", out[-1][1].rpartition("_")[0])])
        elif kind == "text":
            out = joined([*out, (kind, value if out or not has_cut else value.removeprefix("_"))])
        else:
            out = (*out, ("field" if kind == "optional" else kind, value))
    return out


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
    try:
        pieces = list(_pieces(parsed, _names_of(parsed), (), []))
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


def _names_in(nodes: Any, names: Mapping[int, str]) -> list[str]:
    """The named groups of a parse tree."""
    return [names[number] for number, _ in _groups(nodes) if number in names]


def _where(nodes: Any, place: int, names: Mapping[int, str], before: list[str]) -> str:
    """Which text of an id varies, described by the fields beside it."""
    inside = _names_in([nodes[place]], names)
    if inside:
        return f"the part with {{{inside[0]}}} is repeated or has alternatives"
    after = _names_in(list(nodes)[place + 1 :], names)
    if before and after:
        return f"the text between {{{before[-1]}}} and {{{after[0]}}} varies"
    if before or after:
        return f"the text {f'behind {{{before[-1]}}}' if before else f'before {{{after[0]}}}'} varies"
    return "it has no named groups that make up the id"


def trees_of(text: str) -> dict[str, Any]:
    """Python's parse trees of a regular expression: of the whole as `id`, and of its named groups by name."""
    parsed = parse_regex(text)
    names = _names_of(parsed)
    return {"id": parsed, **{names[number]: nodes for number, nodes in _groups(parsed) if number in names}}


def _names_of(parsed: Any) -> dict[int, str]:
    """The names of the named groups, by number."""
    return {number: name for name, number in parsed.state.groupdict.items()}


def inside(value: Any) -> Iterator[Any]:
    """The parse trees directly inside a node: what a group holds, what is repeated, each alternative."""
    if hasattr(value, "getwidth"):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from inside(item)


def _groups(nodes: Iterable[Any]) -> Iterator[tuple[int, Any]]:
    """The groups of a parse tree, each with its content."""
    for kind, value in nodes:
        if str(kind) == "SUBPATTERN":
            yield value[0], value[3]
        for inner in inside(value):
            yield from _groups(inner)


_CHARACTERS = ("LITERAL", "NOT_LITERAL", "IN", "ANY")
"""The nodes that match one character."""


def may_hold(nodes: Any, char: str) -> bool:
    """Whether the text of a parse tree may contain a character; True if that is unknown.

    Example:
        >>> mouse = trees_of(r"(?P<mouse>m[0-9]+)_x")["mouse"]
        >>> may_hold(mouse, "_"), may_hold(mouse, "m")
        (False, True)
    """
    for kind, value in nodes:
        name = str(kind)
        if name in ("AT", "ASSERT", "ASSERT_NOT"):
            continue
        parts = list(inside(value))
        if name in _CHARACTERS:
            one = type(nodes)(nodes.state, [(kind, value)])
            holds = importlib.import_module("re._compiler").compile(one).fullmatch(char) is not None
        elif name == "SUBPATTERN" and value[1]:
            holds = True  # flags may change what a letter means
        else:
            holds = not parts or any(may_hold(part, char) for part in parts)
        if holds:
            return True
    return False


def can_hold_slash(nodes: Any) -> bool:
    """Whether a parse tree names a `/`. Nodes that match any character, such as `.` or `[^_]`, do not count."""
    for kind, value in nodes:
        items = value if str(kind) == "IN" else [(kind, value)]
        is_negated = str(items[0][0]) == "NEGATE"
        if not is_negated and any(str(item) == "LITERAL" and what == ord("/") for item, what in items):
            return True
        if "ASSERT" not in str(kind) and any(can_hold_slash(inner) for inner in inside(value)):
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
