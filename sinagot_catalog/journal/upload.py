"""Journal upload: manages the local folder of a run whose journal is in a bucket, and sends its lines there.

    <temporary folder>/sinagot-catalog-<uid>/<run_id>/
    ├── owner                         which process made it, for which bucket; its time shows that the run lives
    ├── journal/<run_id>/<name>.ndjson  as on a disk: one writer per file, lines only appended
    └── .staging/<run_id>/<name>/       what a worker fetched and what it writes

An object store has no append. So the lines are uploaded in pieces, each a separate object that is never written
again: `journal/<run_id>/<name>-<from>-<to>.ndjson` holds these bytes of the process' file. The parent sends new
lines every few seconds; a worker sends its own file before it publishes several outputs. Pieces may overlap. All of
them are cut from one file, so a reader skips the bytes that it has read already.
"""

import json
import os
import re
import shutil
import socket
import stat
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from sinagot_catalog.errors import StorageError
from sinagot_catalog.journal.process_identity import boot_id, is_same_process, start_time
from sinagot_catalog.journal.tail import whole_lines
from sinagot_catalog.secrets import masked
from sinagot_catalog.storage import Store

_PIECE = re.compile(r"(?P<name>.+)-(?P<start>\d{12})-(?P<end>\d{12})\.ndjson")
_ABANDONED = 3_600.0
"""Seconds after its last sign of life when the run of another host, or of an earlier boot, counts as dead."""


def is_piece(path: str) -> bool:
    """Whether a file is a piece of the journal of a process."""
    return _PIECE.fullmatch(path) is not None


def unread_part(path: str, content: bytes, ends: dict[str, int]) -> bytes:
    """What no earlier piece held of a piece, or of a whole file; notes in `ends` how far its process is read."""
    piece = _PIECE.fullmatch(path)
    name, start, end = (path, 0, len(content)) if piece is None else (piece[1], int(piece[2]), int(piece[3]))
    read = ends.get(name, 0)
    ends[name] = max(read, end)
    return content[max(0, read - start) :]


def _home() -> Path:
    home = Path(tempfile.gettempdir()) / f"sinagot-catalog-{os.getuid()}"
    home.mkdir(mode=0o700, exist_ok=True)
    found = home.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise StorageError(f"{home} belongs to somebody else", "Set TMPDIR to a folder of your own.")
    return home


def open_spool(run_id: str, log: str) -> str:
    """Make the local folder of a run.

    Args:
        run_id: The run.
        log: Where its journal is stored; recorded so that a later run can identify the folder after a crash.
    """
    folder = _home() / run_id
    folder.mkdir(mode=0o700)
    pid, host = os.getpid(), socket.gethostname()
    owner = {"host": host, "pid": pid, "start": start_time(pid), "boot": boot_id(), "log": masked(log)}
    (folder / "owner").write_text(json.dumps(owner))
    return str(folder)


def keep_spool(folder: str) -> None:
    """Show hosts that share the temporary folder that the run of this folder lives."""
    with suppress(OSError):  # a cleaner of old files may have removed it; the run needs it no more
        os.utime(Path(folder, "owner"))


def close_spool(folder: str) -> None:
    """Remove the local folder of a run."""
    shutil.rmtree(folder, ignore_errors=True)


def dead_spools(log: str) -> list[tuple[str, bool]]:
    """Folders of runs whose process has ended, each with whether its journal belongs to this log."""
    spools = []
    for folder in _home().iterdir():
        try:
            owner = json.loads((folder / "owner").read_text())
            # Containers and cluster nodes may share the temporary folder, and cannot see each other's processes.
            if owner.get("host") == socket.gethostname() and owner["boot"] == boot_id():
                is_dead = not is_same_process(owner["pid"], owner["start"] or "", owner["boot"])
            else:
                is_dead = time.time() - (folder / "owner").stat().st_mtime > _ABANDONED
            if is_dead:
                spools.append((str(folder), owner["log"] == masked(log)))
        except (OSError, ValueError, KeyError):
            continue
    return spools


class JournalUploader:
    """Uploads the journal lines of a run to its bucket.

    Args:
        store: The `LOG` folder in the bucket.
        folder: The local folder of the run.
        run_id: The run.
    """

    def __init__(self, store: Store, folder: str, run_id: str) -> None:
        self._store = store
        self._folder = Path(folder, "journal", run_id)
        self._run_id = run_id
        self._sent: dict[str, int] = {}
        self._lock = threading.Lock()

    def send(self, name: str) -> None:
        """Send what a process has written since the last call, whole lines only.

        Raises:
            StorageError: When the bucket cannot be written; the next call sends the lines again.
        """
        with self._lock, suppress(FileNotFoundError):
            while content := whole_lines(self._folder / f"{name}.ndjson", start := self._sent.get(name, 0)):
                end = start + len(content)
                self._store.write(f"journal/{self._run_id}/{name}-{start:012d}-{end:012d}.ndjson", content)
                self._sent[name] = end

    def send_all(self) -> None:
        """Send what every process of the run has written."""
        with suppress(FileNotFoundError):
            for file in sorted(self._folder.iterdir()):
                self.send(file.name.removesuffix(".ndjson"))
