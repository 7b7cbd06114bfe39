"""Frame protocols: how other libraries read a selection, and what to write where they cannot."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NoReturn

import polars as pl

from sinagot_catalog.errors import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa


class FrameProtocols(ABC):
    """How Arrow, narwhals, and libraries that use them, such as DuckDB and Altair, read a selection."""

    @abstractmethod
    def collect(self) -> pl.DataFrame:
        """Return the rows as a Polars frame."""

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
            instead = f".get({key!r}) for a step, .select({key!r}) for a column"
        raise TypeError(f"{type(self).__name__!r} object has no items: write {instead}")


def no_attribute(selection: FrameProtocols, name: str) -> str:
    """Return the message for a name that a selection does not have."""
    text = f"{type(selection).__name__!r} object has no attribute {name!r}"
    if not name.startswith("_") and hasattr(pl.DataFrame, name):
        if not callable(getattr(pl.DataFrame, name)):
            return f"{text}; frames have it: .collect().{name}"
        lazy = f".lazy().{name}(…) or " if hasattr(pl.LazyFrame, name) else ""
        return f"{text}; frames have it: {lazy}.collect().{name}(…)"
    if not name.startswith("_") and hasattr(pl.LazyFrame, name):
        return f"{text}; lazy frames have it: .lazy().{name}(…)"
    valid = [one for one in dir(type(selection)) if not one.startswith("_")]
    return f"{text}{did_you_mean(name, valid)}"
