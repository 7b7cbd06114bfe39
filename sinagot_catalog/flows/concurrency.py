"""The named global concurrency limit of `[prefect] concurrency`."""

import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.concurrency.services import ConcurrencySlotAcquisitionWithLeaseService
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound

from sinagot_catalog.errors import UsageError
from sinagot_catalog.flows.active_run import ActiveRun
from sinagot_catalog.flows.api import of_prefect
from sinagot_catalog.run import Execution

__all__ = ["ask_limit", "check_limit", "open_limit", "slot"]

_ASK_EVERY = 5.0


def check_limit(client: SyncPrefectClient, name: str | None) -> None:
    """Make sure that the limit exists: Prefect lets everything pass where it does not.

    Raises:
        UsageError: It does not; the hint is the command that makes it.
    """
    if name is None:
        return
    try:
        client.read_global_concurrency_limit_by_name(name)
    except ObjectNotFound:
        raise UsageError(
            f"[prefect] concurrency = {name!r}: {client.api_url} knows no such global concurrency limit",
            f"Make it: {of_prefect(f'prefect gcl create {shlex.quote(name)} --limit 4')}",
        ) from None


def ask_limit(execution: Execution) -> None:
    """Check the limit of a run that was planned in its flow; gives its rows back where there is none."""
    if name := execution.source.config.prefect.concurrency:
        try:
            with get_client(sync_client=True) as client:
                check_limit(client, name)
        except BaseException:
            execution.finish()
            raise


def open_limit(execution: Execution) -> None:
    """Start what asks for slots: a service of Prefect, which cannot be begun while the program ends."""
    if name := execution.source.config.prefect.concurrency:
        ConcurrencySlotAcquisitionWithLeaseService.instance(frozenset({name}))


@contextmanager
def slot(live: ActiveRun) -> Iterator[None]:
    """Hold a slot of the limit, if there is one; a run that is stopped waits for none."""
    name = live.execution.source.config.prefect.concurrency
    with ExitStack() as held:
        while name is not None and not live.stop.is_set():
            try:
                held.enter_context(concurrency(name, strict=True, timeout_seconds=_ASK_EVERY))
            except TimeoutError:
                continue
            break
        yield
