"""Pattern overlap: finds patterns whose paths may be the same, or inside one another. Standard library only."""

from __future__ import annotations

from collections import defaultdict
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from sinagot_catalog.patterns.fields import Tokens, path_of
from sinagot_catalog.patterns.id_pattern import IdPattern
from sinagot_catalog.patterns.template import WILD, Template
from sinagot_catalog.patterns.wildcards import reductions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Meeting(NamedTuple):
    """Two patterns whose paths may overlap.

    Attributes:
        outer: The key of the first pattern, whose path may be, or contain, a path of the second.
        inner: The key of the second pattern.
        path: The part of the second pattern that may equal the first: the whole pattern, or one of its folders.
        is_whole: Whether it is the whole pattern.
    """

    outer: int
    inner: int
    path: Template
    is_whole: bool


_Candidate: TypeAlias = tuple[int, Template]
"""The key of a pattern, and one of the patterns that it expands to."""


def holds(outer: Template, inner: Template) -> bool:
    """Whether a path of the first pattern is, or is a folder around, a path of the second for the same record."""
    if inner.text == outer.text or inner.text.startswith(outer.text + "/"):
        return True
    if inner.is_wild:  # one of its files
        return _matches(inner, outer)
    return outer.is_wild and any(_matches(outer, template) for template in (*inner.folders(), inner))


def _matches(wild: Template, other: Template) -> bool:
    """Whether a pattern with wildcards matches the paths of another one for the same record."""
    named = {name: f"{{{name}}}" for name in wild.fields}  # a placeholder stands for itself
    return any(
        way.fits(theirs.text)
        for ours in wild.variants.values()
        for way in reductions(ours.bind(named), IdPattern("")).values()
        for theirs in other.variants.values()
        if not theirs.is_wild
    )


def meetings(
    outer: Mapping[int, Template], inner: Mapping[int, Template], ids: IdPattern
) -> Iterator[Meeting]:
    r"""Each pair of patterns in which a path of the first may be, or contain, a path of the second.

    All patterns are compared at once, part by part, so that many patterns with nothing in common cost little.

    Example:
        >>> from sinagot_catalog.patterns.id_pattern import IdPattern
        >>> from sinagot_catalog.patterns.template import parse_template
        >>> made, raw = ({0: parse_template(one, fields={"id"})} for one in ("raw/{id}_x.csv", "raw/{id}.csv"))
        >>> [(one.path.text, one.is_whole) for one in meetings(made, raw, IdPattern(r"\w+"))]
        [('raw/{id}.csv', True)]
        >>> list(meetings(made, {1: parse_template("out/{id}.csv", fields={"id"})}, IdPattern(r"\w+")))
        []
    """
    most = max((variant.depth for some in (outer, inner) for variant in some.values()), default=0)
    ours, theirs = (
        [(place, variant) for place, template in some.items() for variant in expanded(template, most)]
        for some in (outer, inner)
    )
    for (place, own), (other_place, other) in _meet(ours, theirs, 0, ids):
        is_whole = own.depth >= other.depth
        path = other if is_whole else list(other.folders())[own.depth - 1]
        yield Meeting(place, other_place, path, is_whole)


def _meet(
    outer: list[_Candidate], inner: list[_Candidate], depth: int, ids: IdPattern
) -> Iterator[tuple[_Candidate, _Candidate]]:
    """The pairs among patterns that agree in their first parts."""
    ours, theirs = (defaultdict[Tokens, list[_Candidate]](list) for _ in range(2))
    for variant in outer:
        if variant[1].depth > depth:
            ours[variant[1].parts[depth]].append(variant)
        else:
            yield from ((variant, other) for other in inner)
    for variant in inner:
        if variant[1].depth > depth:
            theirs[variant[1].parts[depth]].append(variant)
    open_ones = [part for part in theirs if not _is_literal(part)]
    for part in ours:
        # most parts are literal, and match only themselves
        for other_part in {part, *open_ones} if _is_literal(part) else theirs:
            if other_part in theirs and (part == other_part or _can_be_one(part, other_part, ids)):
                yield from _meet(ours[part], theirs[other_part], depth + 1, ids)


def _can_be_one(first: Tokens, second: Tokens, ids: IdPattern) -> bool:
    """Whether two parts of patterns may be the same name; a part that is an id has to fit the id pattern."""
    for pattern, name in ((first, second), (second, first)):
        if pattern == (("field", "id"),) and _is_literal(name):
            return ids.values("".join(value for _, value in name)) is not None
    return _share(first, second)


def _is_literal(segment: Tokens) -> bool:
    return all(kind == "text" for kind, _ in segment)


class _Gap(Enum):
    """What stands for text of any kind in a part of a pattern."""

    CHAR = 1
    REST = 2


def _pieces(segment: Tokens) -> Iterator[str | _Gap]:
    """The characters of a part: a field is any text of at least one character, and a `*` may have none."""
    for kind, value in segment:
        if kind == "text":
            yield from value
        else:
            yield from (_Gap.REST,) if kind in WILD else (_Gap.CHAR, _Gap.REST)


def _share(first: Tokens, second: Tokens) -> bool:
    """Whether two parts of patterns have a name in common; fields have any text."""
    left, right = [*_pieces(first), None], [*_pieces(second), None]

    @cache
    def meet(here: int, there: int) -> bool:
        """Whether the rests have a text in common."""
        own, other = left[here], right[there]
        if own is _Gap.REST:
            return meet(here + 1, there) or (other is not None and meet(here, there + 1))
        if other is _Gap.REST:
            return meet(here, there + 1) or (own is not None and meet(here + 1, there))
        if own is None or other is None:
            return own is other
        return (own == other or _Gap.CHAR in (own, other)) and meet(here + 1, there + 1)

    return meet(0, 0)


def may_meet(first: Template, second: Template) -> bool:
    """Whether some values make the paths of two patterns the same, or one a folder around the other.

    Fields may have any text here; only the ids of a catalog decide whether the paths do overlap.

    Example:
        >>> from sinagot_catalog.patterns.template import parse_template
        >>> def meet(*texts):
        ...     return may_meet(*(parse_template(text, fields={"id", "sub"}) for text in texts))
        >>> meet("one/{sub}_pre.csv", "one/{id}.csv"), meet("raw/{id}.csv", "raw/{id}.txt")
        (True, False)
    """
    most = max(first.depth, second.depth)
    return any(
        all(_share(left, right) for left, right in zip(ours.parts, theirs.parts, strict=False))
        for ours in expanded(first, most)
        for theirs in expanded(second, most)
    )


def expanded(template: Template, most: int) -> Iterator[Template]:
    """The patterns without optional fields and `**` that it expands to; a `**` spans up to `most` folders."""
    for variant in template.variants.values():
        parts = variant.parts
        if _DEEP not in parts:
            yield variant
            continue
        at = parts.index(_DEEP)
        for count in range(most + 1):
            if tokens := path_of([*parts[:at], *[(("any", "*"),)] * count, *parts[at + 1 :]]):
                yield Template(tokens, variant.is_directory)


_DEEP = (("deep", "**"),)


def located(template: Template, folder: str) -> Template:
    """A pattern with another literal folder, such as the target of a link.

    Empty parts of the folder (a leading slash, the `//` of a URL) are left out: no part of a pattern is empty.

    Args:
        template: The pattern.
        folder: The folder that replaces `template.prefix`.

    Example:
        >>> from sinagot_catalog.patterns.template import parse_template
        >>> located(parse_template("view/{id}.csv", fields={"id"}), "/data/raw").text
        'data/raw/{id}.csv'
    """
    whole = "/".join(part for part in folder.split("/") if part)
    rest = template.parts[template.prefix.count("/") :]
    return Template(path_of([(("text", whole),), *rest]), template.is_directory)
