"""Checks: the result of one check of a set-up, and how several names are shown in it."""

from __future__ import annotations

from collections.abc import Sequence

from sinagot_catalog.startup import dataclass

_MOST = 5


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        area: Its subject.
        state: `ok`, `warning`, or `fault` if `run` cannot work.
        text: The result, one sentence.
        hint: What to do, or an empty string.
    """

    area: str
    state: str
    text: str
    hint: str = ""


def some(names: Sequence[str]) -> str:
    """Return the first names, and a mark if there are more."""
    return ", ".join(names[:_MOST]) + (" …" if len(names) > _MOST else "")
