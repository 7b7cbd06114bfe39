"""Journal upload: sends the lines of a journal from the local folder of a run to a bucket.

An object store has no append. So the lines are uploaded in pieces, each a separate object that is never written
again: `journal/<run_id>/<name>-<from>-<to>.ndjson` holds these bytes of the process' file. The parent sends new
lines every few seconds; a worker sends its own file before it publishes several outputs. Pieces may overlap. All of
them are cut from one file, so a reader skips the bytes that it has read already.
"""

import re
import threading
from contextlib import suppress
from pathlib import Path

from sinagot_catalog.journal.tail import whole_lines
from sinagot_catalog.storage import Store

_PIECE = re.compile(r"(?P<name>.+)-(?P<start>\d{12})-(?P<end>\d{12})\.ndjson")


def process_of(path: str) -> str:
    """What the pieces of the journal of one process have in common; the path itself of a whole file."""
    piece = _PIECE.fullmatch(path)
    return path if piece is None else piece["name"]


def unread_part(path: str, content: bytes, ends: dict[str, int]) -> bytes:
    """What no earlier piece held of a piece, or of a whole file; notes in `ends` how far its process is read."""
    piece = _PIECE.fullmatch(path)
    name, start, end = (path, 0, len(content)) if piece is None else (piece[1], int(piece[2]), int(piece[3]))
    read = ends.get(name, 0)
    ends[name] = max(read, end)
    return content[max(0, read - start) :]


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
