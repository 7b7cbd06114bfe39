"""Export targets: the files that a user names for a page or a table; other files are never replaced."""

from pathlib import Path

from sinagot_catalog.errors import UsageError

TABLE_METADATA = {"created_by": "sinagot_catalog"}
"""The metadata of the Parquet tables that this program writes: it replaces only these."""

_HEAD = 4096


def check_target(path: str | Path) -> None:
    """Refuse a target that would replace a file which this program did not write, such as a recording.

    Args:
        path: The target. An earlier page or table of this program, or an empty file, may be replaced.

    Raises:
        UsageError: When another file is there.
    """
    target = Path(path)
    if target.is_file() and target.stat().st_size and not _is_export(target):
        raise UsageError(
            f"{path} exists, and is not an earlier page or table of sinagot-catalog",
            "Name another file. Nothing was written.",
        )


def _is_export(path: Path) -> bool:
    """Whether this program wrote a file: a page by its title, a table by its metadata."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head.startswith(b"PAR1"):
        import polars as pl

        try:
            metadata = pl.read_parquet_metadata(path)
        except (OSError, pl.exceptions.PolarsError):
            return False
        return TABLE_METADATA.items() <= metadata.items()
    return head.startswith(b"<!doctype html>") and "· sinagot_catalog</title>".encode() in head
