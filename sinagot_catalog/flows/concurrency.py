"""Concurrency limit: checks and uses the global concurrency limit of Prefect that `[prefect] concurrency` names."""

import logging
import shlex
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from prefect import get_client
from prefect.concurrency.services import ConcurrencySlotAcquisitionWithLeaseService
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound

from sinagot_catalog.errors import UsageError
from sinagot_catalog.flows.active_run import ActiveRun
from sinagot_catalog.flows.server.api import of_prefect
from sinagot_catalog.run import ClaimedRun

_ASK_EVERY = 5.0


def check_limit(claimed: ClaimedRun) -> None:
    """Check that the limit of a run exists: Prefect does not limit anything under an unknown name.

    If the check fails, the rows are released.

    Raises:
        UsageError: It does not exist; the hint is the command that makes it.
    """
    name = claimed.source.config.prefect.concurrency
    if name is None:
        return
    try:
        with get_client(sync_client=True) as client:
            client.read_global_concurrency_limit_by_name(name)
    except BaseException as error:
        claimed.finish()
        if not isinstance(error, ObjectNotFound):
            raise
        raise UsageError(
            f"[prefect] concurrency = {name!r}: {client.api_url} knows no such global concurrency limit",
            f"Make it: {of_prefect(f'prefect gcl create {shlex.quote(name)} --limit 4')}",
        ) from None


def open_limit(claimed: ClaimedRun) -> None:
    """Start Prefect's service that acquires slots early: it cannot start while the program exits."""
    if name := claimed.source.config.prefect.concurrency:
        ConcurrencySlotAcquisitionWithLeaseService.instance(frozenset({name}))


@contextmanager
def slot(active: ActiveRun) -> Iterator[None]:
    """Hold a slot of the limit, if the config names one; a stopped run does not wait for a slot."""
    name = active.claimed.source.config.prefect.concurrency
    logging.getLogger("prefect._internal.concurrency").addFilter(_is_no_wait)  # a repeated call adds nothing
    with ExitStack() as held:
        if name is not None:
            with active.waiting_for("slot"):
                while not active.stop.is_set():
                    with suppress(TimeoutError):
                        held.enter_context(concurrency(name, strict=True, timeout_seconds=_ASK_EVERY))
                        break
        yield


def _is_no_wait(record: logging.LogRecord) -> bool:
    """Drop what Prefect logs as an error when a batch has waited for a slot for `_ASK_EVERY` seconds."""
    return not (isinstance(sys.exception(), TimeoutError) and "process item" in str(record.msg))
