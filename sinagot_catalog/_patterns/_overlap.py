"""Which patterns may meet in a path: the same path, or one in a folder that is the other; standard library only."""

from __future__ import annotations

from collections import defaultdict
from itertools import product
from typing import TYPE_CHECKING, TypeAlias

from sinagot_catalog._patterns._template import Template

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sinagot_catalog._patterns._template import IdPattern

__all__ = ["holds", "located", "meetings", "met"]

Segment: TypeAlias = tuple[tuple[str, str], ...]
"""The tokens of one part of a path."""

Parts: TypeAlias = tuple[int, list[Segment]]
"""A place and the parts of its pattern."""


def holds(outer: Template, inner: Template) -> bool:
    """Whether a path of one pattern is, or is a folder around, that of the other for the same record."""
    return inner.text == outer.text or inner.text.startswith(outer.text + "/")


def met(outer: Template, inner: Template) -> Template:
    """What of a pattern lies as deep as another one: the pattern itself, or one of its folders."""
    return inner if outer.depth >= inner.depth else list(inner.folders())[outer.depth - 1]


def meetings(
    outer: Mapping[int, Template], inner: Mapping[int, Template], ids: IdPattern
) -> Iterator[tuple[int, int]]:
    """Each pair of patterns where a path of the first may be, or hold, one of the second.

    Patterns are compared part by part, all of them at once, so that many that have nothing in common cost little.
    """
    if ids.spans:  # an id may be any number of parts
        yield from product(outer, inner)
        return
    yield from _meet(
        [(place, _segments(template)) for place, template in outer.items()],
        [(place, _segments(template)) for place, template in inner.items()],
        0,
        ids,
    )


def _meet(outer: list[Parts], inner: list[Parts], depth: int, ids: IdPattern) -> Iterator[tuple[int, int]]:
    """The pairs among patterns that agree in their first parts."""
    ours, theirs = (defaultdict[Segment, list[Parts]](list) for _ in range(2))
    for place, parts in outer:
        if len(parts) > depth:
            ours[parts[depth]].append((place, parts))
        else:
            yield from ((place, other) for other, _ in inner)
    for place, parts in inner:
        if len(parts) > depth:
            theirs[parts[depth]].append((place, parts))
    open_ones = [part for part in theirs if not _is_literal(part)]
    for one in ours:
        # most parts are literal, and fit only themselves
        for other in {one, *open_ones} if _is_literal(one) else theirs:
            if other in theirs and (one == other or _can_be_one(one, other, ids)):
                yield from _meet(ours[one], theirs[other], depth + 1, ids)


def _segments(template: Template) -> list[Segment]:
    """The parts of a pattern between its slashes."""
    segments: list[list[tuple[str, str]]] = [[]]
    for kind, value in template.tokens:
        if kind == "field":
            segments[-1].append((kind, value))
            continue
        first, *others = value.split("/")
        segments[-1] += [("text", first)] if first else []
        segments += [[("text", part)] if part else [] for part in others]
    return [tuple(segment) for segment in segments]


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

    Args:
        template: The pattern.
        folder: What takes the place of `template.prefix`.

    Example:
        >>> from sinagot_catalog._patterns._template import parse_template
        >>> located(parse_template("view/{id}.csv", fields={"id"}), "/data/raw").text
        '/data/raw/{id}.csv'
    """
    tokens = template.tokens
    rest = tokens[0][1][len(template.prefix) :] if tokens[0][0] == "text" else ""
    others = tokens[1:] if tokens[0][0] == "text" else tokens
    return Template((("text", f"{folder.rstrip('/')}/{rest}"), *others), template.is_directory)
