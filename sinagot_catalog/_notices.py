"""A notice: one kind of thing that a look left out or could not use, with a count and an example."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["NOTICES", "Notice", "notices_frame"]

NOTICES: dict[str, pl.DataType] = {
    "kind": pl.String(),
    "count": pl.UInt32(),
    "example": pl.String(),
    "text": pl.String(),
}
"""One row per notice of `Workspace.notices`."""


@dataclass(frozen=True)
class Notice:
    """One kind of thing that a look left out or could not use.

    Attributes:
        kind: What it is, in a few words that stay the same: `row without record`.
        count: How many there are.
        example: One of them.
        text: A sentence that says it all.
    """

    kind: str
    count: int
    example: str | None
    text: str


def notices_frame(notices: Iterable[Notice]) -> pl.DataFrame:
    """Notices as a table.

    Example:
        >>> notices_frame([Notice("key twice", 2, "R1", "2 keys come twice, such as R1")]).rows()
        [('key twice', 2, 'R1', '2 keys come twice, such as R1')]
    """
    return pl.DataFrame([astuple(one) for one in notices], schema=NOTICES, orient="row")
