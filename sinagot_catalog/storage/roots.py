"""Roots: opens a store for a folder or a URL. Only this package imports fsspec and obstore.

The operating system serves local folders, fsspec serves everything else; both give the same answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sinagot_catalog.storage.local.store import LocalStore
from sinagot_catalog.storage.urls import is_file_url, is_url, split_url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sinagot_catalog.storage.protocol import Store


def open_store(root: str, options: Mapping[str, Any] | None = None) -> Store:
    """Open a root: a folder, or any URL that fsspec supports."""
    if is_url(root):
        from sinagot_catalog.storage.remote.store import RemoteStore

        return RemoteStore(root, options)
    return LocalStore(root.partition("://")[2] if is_file_url(root) else root)


class TextReader:
    """Reads the text behind a URL; when it is pickled, its options are left out.

    Args:
        options: fsspec options.
    """

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        self._options = dict(options or {})

    def __call__(self, url: str) -> str:
        """The text of a file.

        Raises:
            FileNotFoundError: When there is none.
            StorageError: When it cannot be read.
        """
        folder, name = split_url(url)
        store = open_store(folder, self._options)
        if not store.exists(name):
            raise FileNotFoundError(url)
        return store.read(name).decode()

    def __reduce__(self) -> tuple[Any, ...]:
        return TextReader, ()
