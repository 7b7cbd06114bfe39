"""The user's cache folder: data of this library that can be made again, readable and writable only by its owner."""

import os
import stat
import sys
from pathlib import Path

from sinagot_catalog.errors import StorageError


def user_cache(name: str) -> Path:
    """Return a folder in the user's cache folder; it is made if it does not exist.

    It is in `$SINAGOT_CATALOG_HOME`, or in `sinagot-catalog` in the cache folder of the platform.

    Raises:
        StorageError: Other users own the folder or can write in it: then nothing there can be trusted.
        OSError: It cannot be made.
    """
    if own := os.environ.get("SINAGOT_CATALOG_HOME"):
        home = Path(own)
    elif sys.platform == "darwin":
        home = Path.home() / "Library" / "Caches" / "sinagot-catalog"
    else:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sinagot-catalog"
    folder = home / name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = folder.stat()
    if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o022:
        raise StorageError(
            f"{folder} can be written by others: the library does not use it", f"chmod 700 {folder}"
        )
    return folder
