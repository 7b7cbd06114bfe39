"""Storage: lists, reads and writes files, on a disk or in a bucket. The only package that imports fsspec.

In: a root (a folder or a URL) and its options. Out: listings as Polars columns, contents as bytes. The operating
system serves local folders, fsspec serves everything else; both give the same answers.

Begin with `protocol` (what a store can do), `roots` (opens one) and `listing` (one pass over the files of a
layout). The folders `local` and `remote` are the two stores. `inventory` is a listing that the user provides.
"""

from typing import TYPE_CHECKING

from sinagot_catalog.startup import lazy_exports

if TYPE_CHECKING:
    from sinagot_catalog.storage.id_ranges import IdRange, KeyFilter, divided
    from sinagot_catalog.storage.inventory import count_keys, read_listing, sample_keys
    from sinagot_catalog.storage.listing import (
        STATS,
        Listing,
        from_keys,
        in_folders,
        reach_of,
        scan,
        stat_columns,
    )
    from sinagot_catalog.storage.local.entry import find_entry, walk
    from sinagot_catalog.storage.local.file_events import Changes
    from sinagot_catalog.storage.local.fingerprints import (
        Fingerprint,
        as_number,
        digest_of,
        fingerprint,
        input_files,
    )
    from sinagot_catalog.storage.local.glob_files import find_many
    from sinagot_catalog.storage.local.regular_file import file_stamp, open_regular, read_regular, sync_one
    from sinagot_catalog.storage.parquet_bytes import from_parquet, to_parquet
    from sinagot_catalog.storage.pipe_messages import read_message, write_message
    from sinagot_catalog.storage.protocol import Store
    from sinagot_catalog.storage.remote.filesystem import Info
    from sinagot_catalog.storage.remote.store import RemoteStore
    from sinagot_catalog.storage.roots import TextReader, open_store
    from sinagot_catalog.storage.urls import is_url, join_url, normal_url, protocols_of, split_url
    from sinagot_catalog.storage.user_folder import user_cache

__getattr__ = lazy_exports(__name__)
