"""The lease of a run: the claim on its rows, renewed by a thread until the run gives the rows back.

`journal.claims` describes the protocol of claims. If the lease runs out, for example because the machine slept,
another run may take the rows. Then this run stops its executor, and `check` raises an error when its rows have
ended.
"""

import threading
from collections.abc import Callable
from contextlib import suppress

from sinagot_catalog.catalog import Session
from sinagot_catalog.errors import StorageError
from sinagot_catalog.journal import Claim


class Lease:
    """The claim of a run, and the thread that renews it.

    Args:
        source: The session of the workspace.
        claim: The claim of the run.

    Attributes:
        claim: The claim of the run.
        is_lost: Whether another run took the rows.
    """

    def __init__(self, source: Session, claim: Claim) -> None:
        self.claim = claim
        self.is_lost = False
        self._source = source
        self._seconds = source.config.run.lease
        self._over = threading.Event()
        self._on_loss: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Start to renew the lease, so that other hosts know that the run is alive."""
        name = f"sinagot-lease-{self.claim.run_id}"
        threading.Thread(target=self._renew, name=name, daemon=True).start()

    def _renew(self) -> None:
        while not self._over.wait(self._seconds / 4):
            try:
                is_held = self._source.claims.heartbeat(self.claim)
            except OSError:
                continue  # the next heartbeat may succeed; if none does, the lease should run out
            if not is_held and not self._over.is_set():
                self.is_lost = True
                self._on_loss()
                return

    def on_loss(self, callback: Callable[[], None]) -> None:
        """Set what to call when another run took the rows; calls it at once if that has happened."""
        self._on_loss = callback
        if self.is_lost:
            callback()

    def check(self) -> None:
        """Raise an error if another run took the rows."""
        if self.is_lost:
            raise StorageError(
                f"run {self.claim.run_id} was taken for dead, for its lease of {self._seconds:g} s ran out, and "
                "ended itself",
                "Did this machine sleep? What is done is kept, and the same command goes on with the rest.",
            )

    def stop(self) -> None:
        """Renew the lease no more; the rows stay claimed until `release`."""
        self._over.set()

    def release(self) -> None:
        """Give the rows back and compact the journal; a full disk must not lose the report."""
        source, run_id = self._source, self.claim.run_id
        with suppress(OSError):
            source.journal.end(run_id)
        alive: frozenset[str] | None = None
        with suppress(OSError):
            alive = source.claims.alive(self.claim) - {run_id}
        with suppress(OSError):
            source.claims.release(self.claim)
        with suppress(OSError):
            if alive is not None:
                source.journal.compact(alive)
