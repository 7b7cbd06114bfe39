"""Parquet bytes: converts a frame to the content of a Parquet file, with notes in its metadata, and back."""

from __future__ import annotations

import io
from collections.abc import Mapping

import polars as pl


def to_parquet(frame: pl.DataFrame, notes: Mapping[str, str] | None = None) -> bytes:
    """Return a frame as the content of a Parquet file.

    Args:
        frame: The frame.
        notes: Texts by name, which `from_parquet` returns.

    Example:
        >>> from_parquet(to_parquet(pl.DataFrame({"a": [1]}), {"by": "me"}))[1]["by"]
        'me'
    """
    content = io.BytesIO()
    # Read as a whole: statistics help nobody, and the first level of zstd is as small as the third.
    frame.write_parquet(content, metadata=dict(notes or {}), compression_level=1, statistics=False)
    return content.getvalue()


def from_parquet(content: bytes) -> tuple[pl.DataFrame, dict[str, str]]:
    """Return the frame and the notes of a Parquet file.

    Raises:
        PolarsError: When it is no Parquet file; Polars may raise an OSError, too.
    """
    return pl.read_parquet(io.BytesIO(content)), pl.read_parquet_metadata(io.BytesIO(content))
