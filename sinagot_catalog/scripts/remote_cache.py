"""The remote scripts cache: local copies of scripts folders in buckets, named by content and never changed.

$SINAGOT_CATALOG_HOME/scripts (or the cache folder of the platform), readable only by its owner
└── <hash of names and contents>/    a whole scripts folder; different content gets a different folder
"""

import hashlib
import secrets
import shutil
from pathlib import Path, PurePosixPath

from sinagot_catalog.errors import StorageError
from sinagot_catalog.storage import Store, user_cache

_MOST_FILES = 2_000
_MOST_BYTES = 64 * 1024 * 1024


class Mirror:
    """A local copy of a scripts folder in a bucket.

    Args:
        store: The scripts folder.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._folder: str | None = None

    def folder(self) -> str:
        """The local copy of the scripts folder; fetched on the first call, and again after `forget`."""
        if self._folder is None:
            self._folder = self._fetch()
        return self._folder

    def forget(self) -> None:
        """Make the next `folder` list the bucket again."""
        self._folder = None

    def _fetch(self) -> str:
        sizes = {path: size for path, size in self._store.tree("").items() if _is_wanted(path)}
        if len(sizes) > _MOST_FILES or sum(size or 0 for size in sizes.values()) > _MOST_BYTES:
            raise StorageError(
                f"{self._store.root} holds {len(sizes)} files: too much for a folder of scripts",
                "Set [path] scripts to a folder that holds the scripts alone.",
            )
        contents = dict(zip(sizes, self._store.read_all(list(sizes)), strict=True))
        digest = hashlib.sha256()
        for path, content in sorted(contents.items()):
            digest.update(f"{path}\0{len(content)}\0".encode())
            digest.update(content)
        home = user_cache("scripts")
        target = home / digest.hexdigest()[:32]
        if not target.is_dir():
            self._keep(target, contents)
        return str(target)

    def _keep(self, target: Path, contents: dict[str, bytes]) -> None:
        beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        try:
            for path, content in contents.items():
                file = beside / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
            beside.mkdir(exist_ok=True)
            try:
                beside.rename(target)
            except OSError:
                if not target.is_dir():  # another process may have made the folder first
                    raise
        except OSError as error:
            raise StorageError(
                f"the scripts of {self._store.root} cannot be kept in {target}: {error.strerror}"
            ) from error
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def _is_wanted(path: str) -> bool:
    """Whether to copy a key: not if its path leads out of the folder, and no compiled files."""
    parts = path.split("/")
    return not {"", ".", "..", "__pycache__"} & set(parts) and PurePosixPath(path).suffix != ".pyc"
