"""The spool of a run on a bucket: a local folder for journal and fetched inputs, and the upload of the journal.

<temporary folder>/sinagot-catalog-<uid>/<run_id>/
├── owner                         which process made it, for which bucket; its time shows that the run lives
├── journal/<run_id>/<name>.ndjson  as on a disk: one writer per file, lines only appended
└── .staging/<run_id>/<name>/       what a worker fetched and what it writes
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import stat
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sinagot_catalog.errors import StorageError
from sinagot_catalog.journal import JournalUploader, Remote, boot_id, is_same_process, start_time
from sinagot_catalog.secrets import masked
from sinagot_catalog.storage import is_url

if TYPE_CHECKING:
    from sinagot_catalog.catalog import Session
    from sinagot_catalog.journal import RunSpec
    from sinagot_catalog.storage import Store

_UPLOAD_EVERY = 2.0
"""Seconds between two uploads of the journal to a bucket."""
_ABANDONED = 3_600.0
"""Seconds after its last sign of life when the run of another host, or of an earlier boot, counts as dead."""

_logger = logging.getLogger("sinagot_catalog")


class Spool:
    """The local folder of a run, and the upload of the journal from it; a process of a cluster has its own.

    Args:
        log: Where the journal belongs, a folder or a URL.
        store: The store of `log`.
        run_id: The run.
        workers: Number of processes that may fetch inputs at the same time.
        limit: The most bytes of fetched inputs that each of them keeps; None: what the disk has room for.
        suffix: Tells the folder from those of other processes of the run.
    """

    def __init__(
        self, log: str, store: Store, run_id: str, *, workers: int, limit: int | None = None, suffix: str = ""
    ) -> None:
        self._run_id = run_id
        self._folder = open_spool(f"{run_id}{suffix}", log)
        self._remote = Remote(
            log, self._folder, limit or shutil.disk_usage(self._folder).free // (2 * workers)
        )
        self._over = threading.Event()
        self._uploader = JournalUploader(store, self._folder, run_id) if is_url(log) else None

    @classmethod
    def of(cls, source: Session, run_id: str, workers: int) -> Spool | None:
        """The spool of a run, after the journals of dead runs; None if no part that a run uses is in a bucket."""
        config = source.config
        if not any(map(is_url, (config.dataset, config.outputs, config.log))):
            return None
        _send_left_journals(source)
        return cls(config.log, source.log_store, run_id, workers=workers, limit=config.run.fetch_limit)

    def spec(self, spec: RunSpec) -> RunSpec:
        """The spec of the run with this folder; a lower limit that it has already stays."""
        remote = self._remote
        if spec.remote is not None:
            remote = replace(remote, fetch_limit=min(spec.remote.fetch_limit, remote.fetch_limit))
        return replace(spec, log=remote.log if self._uploader is None else self._folder, remote=remote)

    def start(self) -> None:
        """Start to upload the journal during the run, so that others see the progress, and that the run lives."""
        threading.Thread(target=self._upload, name=f"sinagot-upload-{self._run_id}", daemon=True).start()

    def _upload(self) -> None:
        while not self._over.wait(_UPLOAD_EVERY):
            self.send()

    def send(self) -> None:
        """Upload what is new in the journal, and show hosts that share the folder that the run lives."""
        with suppress(OSError):  # a cleaner of old files may have removed it; the run needs it no more
            os.utime(Path(self._folder, "owner"))
        if self._uploader is not None:
            with suppress(StorageError):  # the next upload includes what this one missed
                self._uploader.send_all()

    def stop(self) -> None:
        """Upload no more from the thread."""
        self._over.set()

    def close(self) -> None:
        """Upload the rest of the journal and remove the folder; if that fails, a later run does it."""
        try:
            if self._uploader is not None:
                self._uploader.send_all()
        except StorageError as error:
            _logger.warning("%s; the next run from this machine sends the rest of the journal", error.message)
        else:
            shutil.rmtree(self._folder, ignore_errors=True)


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


def _send_left_journals(source: Session) -> None:
    """Upload the journals that dead runs on this machine did not upload, and remove their folders."""
    for folder, is_of_this_log in dead_spools(source.config.log):
        if not is_of_this_log:
            continue  # a run of that other workspace does it
        with suppress(StorageError):
            journal = Path(folder, "journal")
            for run in journal.iterdir() if journal.is_dir() else ():
                JournalUploader(source.log_store, folder, run.name).send_all()
            shutil.rmtree(folder, ignore_errors=True)
