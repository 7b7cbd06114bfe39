"""Which patterns may meet in a path: the same path, or one in a folder that is the other; standard library only."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from sinagot_catalog._patterns._template import Template

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sinagot_catalog._patterns._template import IdPattern

__all__ = ["Meeting", "holds", "located", "meetings"]

Segment: TypeAlias = tuple[tuple[str, str], ...]
"""The tokens of one part of a path."""


class Meeting(NamedTuple):
    """Two patterns that may meet in a path.

    Attributes:
        outer: The key of the first, whose path may be, or hold, one of the second.
        inner: The key of the second.
        path: What of the second a path of the first may be: the pattern itself, or one of its folders.
        is_whole: Whether that is the pattern itself.
    """

    outer: int
    inner: int
    path: Template
    is_whole: bool


class _Candidate(NamedTuple):
    """A pattern with its parts."""

    place: int
    template: Template
    segments: list[Segment]


def holds(outer: Template, inner: Template) -> bool:
    """Whether a path of one pattern is, or is a folder around, that of the other for the same record."""
    return inner.text == outer.text or inner.text.startswith(outer.text + "/")


def meetings(
    outer: Mapping[int, Template], inner: Mapping[int, Template], ids: IdPattern
) -> Iterator[Meeting]:
    r"""Each pair of patterns where a path of the first may be, or hold, one of the second.

    Patterns are compared part by part, all of them at once, so that many that have nothing in common cost little.

    Example:
        >>> from sinagot_catalog._patterns._template import IdPattern, parse_template
        >>> made, raw = ({0: parse_template(one, fields={"id"})} for one in ("raw/{id}_x.csv", "raw/{id}.csv"))
        >>> [(one.path.text, one.is_whole) for one in meetings(made, raw, IdPattern(r"\w+"))]
        [('raw/{id}.csv', True)]
        >>> list(meetings(made, {1: parse_template("out/{id}.csv", fields={"id"})}, IdPattern(r"\w+")))
        []
    """
    ours, theirs = (
        [
            _Candidate(place, variant, variant.parts)
            for place, template in some.items()
            for variant in template.variants.values()
        ]
        for some in (outer, inner)
    )
    for one, other in _meet(ours, theirs, 0, ids):
        is_whole = len(one.segments) >= len(other.segments)
        path = other.template if is_whole else list(other.template.folders())[len(one.segments) - 1]
        yield Meeting(one.place, other.place, path, is_whole)


def _meet(
    outer: list[_Candidate], inner: list[_Candidate], depth: int, ids: IdPattern
) -> Iterator[tuple[_Candidate, _Candidate]]:
    """The pairs among patterns that agree in their first parts."""
    ours, theirs = (defaultdict[Segment, list[_Candidate]](list) for _ in range(2))
    for one in outer:
        if len(one.segments) > depth:
            ours[one.segments[depth]].append(one)
        else:
            yield from ((one, other) for other in inner)
    for one in inner:
        if len(one.segments) > depth:
            theirs[one.segments[depth]].append(one)
    open_ones = [part for part in theirs if not _is_literal(part)]
    for part in ours:
        # most parts are literal, and fit only themselves
        for other_part in {part, *open_ones} if _is_literal(part) else theirs:
            if other_part in theirs and (part == other_part or _can_be_one(part, other_part, ids)):
                yield from _meet(ours[part], theirs[other_part], depth + 1, ids)


def _can_be_one(first: Segment, second: Segment, ids: IdPattern) -> bool:
    """Whether two parts of patterns may be the same name; a part that is an id has to fit the id pattern."""
    if _is_literal(first) and _is_literal(second):
        return first == second
    if _is_literal(first):
        first, second = second, first
    begin, end = _edge(first, 0), _edge(first, -1)
    if _is_literal(second):
        text = "".join(value for _, value in second)
        if first == (("field", "id"),):
            return ids.values(text) is not None
        return text.startswith(begin) and text.endswith(end) and len(text) > len(begin) + len(end)
    return _agree(begin, _edge(second, 0), str.startswith) and _agree(end, _edge(second, -1), str.endswith)


def _is_literal(segment: Segment) -> bool:
    return all(kind == "text" for kind, _ in segment)


def _edge(segment: Segment, position: int) -> str:
    kind, value = segment[position]
    return value if kind == "text" else ""


def _agree(one: str, other: str, begins: Callable[[str, str], bool]) -> bool:
    return begins(one, other) or begins(other, one)


def located(template: Template, folder: str) -> Template:
    """A pattern with its literal folder replaced, such as by the folder that a link leads to.

    Empty parts of the folder (a leading slash, the `//` of a URL) are left out: no part of a pattern is empty.

    Args:
        template: The pattern.
        folder: What takes the place of `template.prefix`.

    Example:
        >>> from sinagot_catalog._patterns._template import parse_template
        >>> located(parse_template("view/{id}.csv", fields={"id"}), "/data/raw").text
        'data/raw/{id}.csv'
    """
    tokens = template.tokens
    rest = tokens[0][1][len(template.prefix) :] if tokens[0][0] == "text" else ""
    others = tokens[1:] if tokens[0][0] == "text" else tokens
    whole = "/".join(part for part in folder.split("/") if part)
    return Template((("text", f"{whole}/{rest}"), *others), template.is_directory)
