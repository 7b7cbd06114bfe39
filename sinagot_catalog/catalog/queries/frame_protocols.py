"""Frame protocols: how other libraries read a selection, and what to write where they cannot."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import polars as pl

from sinagot_catalog.errors import did_you_mean, nearest, public_names

if TYPE_CHECKING:
    import pyarrow as pa


class FrameProtocols(ABC):
    """How Arrow, narwhals, and libraries that use them, such as DuckDB and Altair, read a selection."""

    @abstractmethod
    def collect(self) -> pl.DataFrame:
        """Return the rows as a Polars frame."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of rows."""

    def is_empty(self) -> bool:
        """Whether there is no row."""
        return len(self) == 0

    def __bool__(self) -> bool:
        raise TypeError(
            f"the truth value of {self!r} is ambiguous: write .is_empty(), or len(…) > 0, for whether it has rows"
        )

    def to_arrow(self) -> pa.Table:
        """Return the rows as an Arrow table."""
        return self.collect().to_arrow()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.collect().__arrow_c_stream__(requested_schema)

    def __narwhals_dataframe__(self) -> Any:
        """Return the rows for narwhals, through which Altair, Plotly and others read data.

        Example:
            >>> import narwhals as nw
            >>> from sinagot_catalog import example
            >>> nw.from_native(example().steps).shape
            (9, 22)
        """
        import narwhals as nw

        return nw.from_native(self.collect(), eager_only=True)._compliant_frame  # noqa: SLF001 - its protocol

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError(
            "a selection is not an array: write .collect().to_pandas() for pandas, .collect().to_numpy() for NumPy"
        )

    def __iter__(self) -> Iterator[Any]:
        raise TypeError(
            f"{type(self).__name__!r} object is not iterable: write .collect().iter_rows(named=True)"
        )

    def __getitem__(self, key: Any) -> Any:
        instead = ".collect()[…]"
        if isinstance(key, slice):
            instead = f".head({key.stop if isinstance(key.stop, int) else 5})"
        elif isinstance(key, str):
            of_step = f".get({key!r}) for a step, " if hasattr(type(self), "get") else ""
            instead = f"{of_step}.select({key!r}) for a column"
        raise TypeError(f"{type(self).__name__!r} object has no items: write {instead}")


_WORDS = {
    "dag": "plot.mermaid()",
    "dataset": "data_path",
    "graph": "plot.mermaid()",
    "modalities": "config.modalities",
    "tasks": "config.tasks",
}
"""What a workspace has for names of other libraries."""

_FRAME_WORDS = {
    "df": "collect()",
    "groupby": "lazy().group_by(…)",
    "iloc": "head(n)",
    "loc": "filter(…)",
    "query": "sql_filter(…)",
    "sort_values": "sort(…)",
    "to_csv": "collect().write_csv(…)",
    "to_df": "collect()",
    "to_parquet": "collect().write_parquet(…)",
    "to_polars": "collect()",
    "values": "collect().rows()",
}
"""What a selection has for names of other libraries."""


def no_attribute(
    handle: object,
    name: str,
    kinds: Any,
    table: str = "",
    *,
    columns: Collection[str] = (),
    also: Iterable[str] = (),
) -> str:
    """Return what to write for a name that a handle does not have, as the end of a sentence.

    Args:
        handle: A workspace or a selection.
        name: The name.
        kinds: The classes of the workspace's handles: `records`, `steps`, and its `workspace`.
        table: The table of a selection.
        columns: The columns of a selection.
        also: Valid names besides those of its class.
    """
    views = {view: getattr(kinds, view) for view in ("records", "steps") if view != table}
    if name in columns:
        return f"; a column is .select({name!r})"
    if elsewhere := next((view for view, kind in views.items() if hasattr(kind, name)), None):
        return f"; did you mean {elsewhere}.{name}?"
    is_frame = isinstance(handle, FrameProtocols)
    word = (_FRAME_WORDS.get(name) if is_frame else None) or _WORDS.get(name)
    if word is not None:
        of_workspace = " of the workspace" if is_frame and name in _WORDS else ""
        return f"; did you mean {word}{of_workspace}?"
    if is_frame and hasattr(type(kinds.workspace), name):
        return f"; the workspace has {name}"
    return _of_frames(name, "" if is_frame else "records") or _similar(handle, name, views, also)


def _of_frames(name: str, owner: str) -> str:
    """Return how a verb or a property of Polars' frames is written; empty if they do not have it."""
    is_lazy, is_eager = hasattr(pl.LazyFrame, name), hasattr(pl.DataFrame, name)
    if not is_eager:
        return f"; lazy frames have it: {owner}.lazy().{name}(…)" if is_lazy else ""
    if not callable(getattr(pl.DataFrame, name)):
        return f"; frames have it: {owner}.collect().{name}"
    lazy = f"{owner}.lazy().{name}(…) or " if is_lazy else ""
    return f"; frames have it: {lazy}{owner}.collect().{name}(…)"


def _similar(handle: object, name: str, views: Mapping[str, type], also: Iterable[str]) -> str:
    """Return the similar names of a handle, or else one of what it can be seen as."""
    if near := did_you_mean(name, [*also, *public_names(type(handle))]):
        return near
    for view, kind in views.items():
        for other in nearest(name, public_names(kind), most=1):
            return f"; did you mean {view}.{other}?"
    return ""
