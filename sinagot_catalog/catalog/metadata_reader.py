"""The metadata reader: reads the tables of records that a config names, and the records that they expect."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from sinagot_catalog.catalog.metadata import Table, expected_ids, read_rows, unread_table
from sinagot_catalog.catalog.read_files import read_table
from sinagot_catalog.config import Config, find_matches
from sinagot_catalog.errors import ConfigError, StorageError
from sinagot_catalog.patterns import IdPattern, fitting
from sinagot_catalog.storage import IdRange, Store, split_url


def read_tables(
    config: Config, stores: Mapping[str, Store], open_: Callable[[str], Store]
) -> tuple[Table, ...]:
    """Read the config's tables of records; an unreadable table carries its error.

    Args:
        config: The config.
        stores: The store of each root.
        open_: Opens the store of another folder.
    """
    fields = config.ids.groups
    return tuple(_read(fields, named) for named in _named_tables(config, stores, open_))


def _read(fields: Sequence[str], named: tuple[Store, str, str, str, Sequence[str]]) -> Table:
    store, path, address, owner, key = named
    try:
        raw = read_table(store, path, address, lambda names: bool(find_matches(names, fields, key)))
    except StorageError as error:
        return unread_table(path, address, owner, error.message)
    return read_rows(raw, path, address, owner, fields=fields, key=key)


def _named_tables(
    config: Config, stores: Mapping[str, Store], open_: Callable[[str], Store]
) -> Iterator[tuple[Store, str, str, str, tuple[str, ...]]]:
    """Yield the tables that the config names: store, path, key in the config, owner, key columns."""
    for n, table in enumerate(config.metadata):
        folder, name = split_url(table.path)
        several = len(config.metadata) > 1
        address = f"records.metadata[{n}]" if several else "records.metadata"
        owner = name.partition(".")[0] if n else "records"
        yield open_(folder or "/"), name, address, owner, table.key
    for modality, declared in config.modalities.items():
        path = declared.models.dataframe_path
        text = "/".join(path) if isinstance(path, tuple) else path
        if text is not None and "{" not in text:
            address = f"modalities.{modality}.models.dataframe_path"
            yield stores["dataset"], text, address, modality, ()


def expected_records(table: Table, pattern: IdPattern, span: IdRange | None) -> tuple[str, ...]:
    """Return the ids of a table, which count as records without a file.

    Args:
        table: The table.
        pattern: The pattern of ids.
        span: The only ids that count, None for all.

    Raises:
        StorageError: The table cannot be read.
        ConfigError: A row has an id that does not fit.
    """
    if table.unread is not None:
        raise StorageError(table.unread, "With records.expected = true it tells which records there are.")
    ids = expected_ids(table)
    fits = fitting(ids, pattern)
    if table.matches[0].prefix:  # `sub-01` and `01` are the same participant
        prefix = table.matches[0].prefix
        other = ids.str.strip_prefix(prefix).zip_with(ids.str.starts_with(prefix), prefix + ids)
        fits_other = fitting(other, pattern)
        ids, fits = ids.zip_with(fits | ~fits_other, other), fits | fits_other
    wrong = next(iter(ids.filter(~fits)), None)
    if wrong is not None and (span is None or wrong in span):
        raise ConfigError(
            f"{table.name} ({table.address}): {wrong!r} {pattern.refusal(wrong)}",
            "With records.expected = true every row of the table is a record.",
        )
    return tuple(record_id for record_id in ids if span is None or record_id in span)
