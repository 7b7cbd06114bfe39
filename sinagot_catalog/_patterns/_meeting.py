"""Whether two patterns may name the same path, for two records. Standard library only."""

from collections.abc import Sequence
from functools import cache

from sinagot_catalog._patterns._template import Template

__all__ = ["may_meet"]


def may_meet(one: Template, other: Template, *, spans: bool = False) -> bool:
    """Whether some values make the paths of two patterns the same, or one a folder around the other.

    Fields are taken for any text without a slash; only the ids of a dataset tell whether the paths do meet.

    Args:
        one: A pattern.
        other: Another one.
        spans: Whether an id may hold a slash.

    Example:
        >>> from sinagot_catalog._patterns._template import parse_template
        >>> def meet(*texts):
        ...     return may_meet(*(parse_template(text, fields={"id", "sub"}) for text in texts))
        >>> meet("one/{sub}_pre.csv", "one/{id}.csv"), meet("raw/{id}.csv", "raw/{id}.txt")
        (True, False)
    """
    if spans:
        return _parts_meet(_pieces(one.tokens), _pieces(other.tokens))
    return all(_parts_meet(left, right) for left, right in zip(_by_part(one), _by_part(other), strict=False))


def _pieces(tokens: Sequence[tuple[str, str]]) -> tuple[str | None, ...]:
    """The characters of a pattern, None for a field."""
    return tuple(char for kind, value in tokens for char in (value if kind == "text" else (None,)))


def _by_part(template: Template) -> list[tuple[str | None, ...]]:
    parts: list[list[str | None]] = [[]]
    for piece in _pieces(template.tokens):
        if piece == "/":
            parts.append([])
        else:
            parts[-1].append(piece)
    return [tuple(part) for part in parts]


def _parts_meet(left: tuple[str | None, ...], right: tuple[str | None, ...]) -> bool:
    """Whether two rows of characters and gaps, which stand for at least one character, have a text in common."""

    @cache
    def meet(here: int, there: int) -> bool:
        """Whether the rests have a text in common, where neither gap at hand has to take a character."""
        if here == len(left) or there == len(right):
            return here == len(left) and there == len(right)
        one, other = left[here], right[there]
        if one is None and other is None:
            return meet(here + 1, there + 1) or meet(here + 1, there) or meet(here, there + 1)
        if one is None:
            return meet(here, there + 1) or meet(here + 1, there + 1)
        if other is None:
            return meet(here + 1, there) or meet(here + 1, there + 1)
        return one == other and meet(here + 1, there + 1)

    return meet(0, 0)
