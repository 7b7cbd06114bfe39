"""The spool of a run on a bucket: a local folder for journal and fetched inputs, and the upload of the journal."""

import logging
import shutil
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from sinagot_catalog.catalog import Session
from sinagot_catalog.errors import StorageError
from sinagot_catalog.journal import (
    JournalUploader,
    Remote,
    RunSpec,
    close_spool,
    dead_spools,
    keep_spool,
    open_spool,
)
from sinagot_catalog.storage import is_url

_UPLOAD_EVERY = 2.0
"""Seconds between two uploads of the journal to a bucket."""

_logger = logging.getLogger("sinagot_catalog")


class Spool:
    """The local folder of a run, and the thread that uploads the journal from it.

    Args:
        source: The session of the workspace.
        run_id: The run.
        workers: Number of processes that may fetch inputs at the same time.
    """

    def __init__(self, source: Session, run_id: str, workers: int) -> None:
        config = source.config
        _send_left_journals(source)
        self._run_id = run_id
        self._folder = open_spool(run_id, config.log)
        limit = config.run.fetch_limit or shutil.disk_usage(self._folder).free // (2 * workers)
        self._remote = Remote(config.log, self._folder, limit)
        self._over = threading.Event()
        self._uploader: JournalUploader | None = None
        if is_url(config.log):
            self._uploader = JournalUploader(source.log_store, self._folder, run_id)

    @staticmethod
    def is_needed(source: Session) -> bool:
        """Whether a part of the workspace that a run uses is in a bucket."""
        config = source.config
        return any(map(is_url, (config.dataset, config.outputs, config.log)))

    def spec(self, spec: RunSpec) -> RunSpec:
        """The spec of the run with this folder."""
        log = self._folder if is_url(self._remote.log) else spec.log
        return replace(spec, log=log, remote=self._remote)

    def start(self) -> None:
        """Start to upload the journal during the run, so that others see the progress, and that the run lives."""
        threading.Thread(target=self._upload, name=f"sinagot-upload-{self._run_id}", daemon=True).start()

    def _upload(self) -> None:
        while not self._over.wait(_UPLOAD_EVERY):
            keep_spool(self._folder)
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
            close_spool(self._folder)


def _send_left_journals(source: Session) -> None:
    """Upload the journals that dead runs on this machine did not upload, and remove their folders."""
    for folder, is_of_this_log in dead_spools(source.config.log):
        if not is_of_this_log:
            continue  # a run of that other workspace does it
        with suppress(StorageError):
            journal = Path(folder, "journal")
            for run in journal.iterdir() if journal.is_dir() else ():
                JournalUploader(source.log_store, folder, run.name).send_all()
            close_spool(folder)
