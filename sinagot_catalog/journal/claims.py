"""Claims: record which run may run which row, and whether that run is alive.

The protocol of claims:

    state      who writes it         what it means
    (none)                           the number is free; only the highest of claims and journal + 1 is tried
    live       the run, create-only  the run holds its rows as long as it is alive
    stopping   the run               as live; its processes on other hosts end their scripts
    live, gone                       the run is dead: its rows are free, the next run deletes the claim
    released   the run, at its end   its rows are free
    (deleted)  a later run           only released or dead claims, and never the highest number

    A run takes a row only when no live claim of a lower number holds it. So of two live runs the run with the
    higher number must have seen the lower claim. A run takes the number after the highest that it saw. If it is
    delayed before it writes the claim, other runs may already have higher numbers. So each claim names its
    predecessor. A claim is valid only when no higher number exists, or when the next higher claim names it; else
    the run deletes its claim and tries the next number. If the answer to a create is lost, the run recognizes its
    claim by the run id in it.

    A run is alive while its process is alive, if that can be checked: the host and its namespace of process ids
    must be the same, and boot id, pid and start time must agree. Else it is alive while its heartbeat is younger
    than its lease. The age is measured by the store's clock: the run that checks compares with the time of its own
    heartbeat. (A catalog writes nothing and uses this machine's clock; a wrong clock can only show a wrong
    PROCESSING.) A run that finds its claim gone was suspended for longer than its lease: it ends its scripts and
    gives up the remaining rows. It finds out within a quarter of the lease after it wakes up. Until then a row may
    run twice; its outputs are whole in any case. Each job checks its outputs again before it starts.

    Batches of a run may run on other hosts, on a cluster. They hold no claim themselves. Each of their processes
    reads the run's claim every few seconds, and ends its scripts when the claim is gone, released, dead (no
    heartbeat for a lease) or stopping. A process that starts such a batch makes `.staging/<run_id>/<batch>.begun`.
    If the file exists already, the process replaces a lost one, and reads from the journal which rows ended.

Polars is imported inside the functions that claim rows: processes of a
cluster only monitor a claim, and start faster without it.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
from contextlib import suppress
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal
from uuid import uuid4

from sinagot_catalog.errors import AbsentError, StorageError
from sinagot_catalog.journal.log_names import is_claim_file, is_leftover
from sinagot_catalog.journal.process_identity import boot_id, start_time
from sinagot_catalog.startup import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from sinagot_catalog.storage import Store

SCHEMA = 1
_TRIES = 1000
_HOUR = 3_600.0
_LIVE = ("live", "stopping")
"""The states in which a run holds its rows."""
_OVER: set[tuple[str, str]] = set()
"""Runs of this process that have ended, by name and time: remembered in memory in case writing fails."""


@dataclass(frozen=True)
class Claim:
    """The claim of one run on its rows."""

    number: int
    run_id: str
    host: str
    boot_id: str
    pid: int
    pid_start: str
    lease: float
    time: str
    state: str = "live"
    schema: int = SCHEMA
    previous: str = ""

    @property
    def path(self) -> str:
        """The path of the claim below the `LOG` folder."""
        return _path(self.number)

    @property
    def is_ours(self) -> bool:
        """Whether the run's process belongs, or belonged, to this machine since its last boot."""
        return self.host == socket.gethostname() and self.boot_id == boot_id()


class Claims:
    """Takes rows for runs and releases them.

    Args:
        store: The `LOG` folder.
        lease: How many seconds after its last heartbeat a run of another host counts as alive.
    """

    def __init__(self, store: Store, lease: float = 60.0) -> None:
        self.store = store
        self.lease = lease

    def all(self) -> list[Claim]:
        """Every claim in the store, in order of number."""
        return [claim for number in self._numbers() if (claim := self._claim(number)) is not None]

    def _numbers(self) -> list[int]:
        names = self.store.names("claims")
        return sorted(int(name.removesuffix(".json")) for name in names if re.fullmatch(r"\d+\.json", name))

    def _claim(self, number: int) -> Claim | None:
        """One claim; None if it was deleted since it was listed, or if the file is not a claim."""
        try:
            claim = _parse(self.store.read(_path(number)))
        except (StorageError, ValueError, TypeError):
            return None
        if claim.schema > SCHEMA:
            raise StorageError(
                f"run {claim.run_id} of a newer version of sinagot-catalog works on this workspace",
                "Upgrade with pip install -U sinagot-catalog.",
            )
        return claim

    def alive(self, asker: Claim | None = None) -> frozenset[str]:
        """The runs that are alive now.

        Args:
            asker: The claim of the run that asks. Its heartbeat gives the store's time; without it this machine's
                clock is used.
        """
        now = self.now(asker)
        return frozenset(claim.run_id for claim in self.all() if self.is_alive(claim, now))

    def holders(self, key: Mapping[str, str | None]) -> list[str]:
        """The live runs that have claimed a row, given the values of `KEYS`."""
        from sinagot_catalog.schema import of_key

        live = (claim for claim in self.all() if self.is_alive(claim))
        return [claim.run_id for claim in live if self._rows(claim).filter(of_key(key)).height]

    def now(self, asker: Claim | None = None) -> float:
        """The store's time in seconds, from the heartbeat of a run; without a run, this machine's time."""
        return time.time() if asker is None else self._beat(asker.run_id)

    def store_time(self) -> float:
        """The store's time in seconds, without a claim; this machine's time if the store cannot be written."""
        probe = f"clock-{uuid4().hex}"
        with suppress(OSError):
            now = self._beat(probe)
            self.store.delete([f"claims/{probe}.beat"])
            return now
        return time.time()

    def _beat(self, name: str) -> float:
        """Write a heartbeat; return its time by the store's clock."""
        self._touch(name)
        beat = self.heartbeat_of(name)
        return time.time() if beat is None else beat

    def _touch(self, run_id: str) -> None:
        self.store.write(f"claims/{run_id}.beat", b"")

    def heartbeat_of(self, run_id: str) -> float | None:
        """The time of a run's last heartbeat, by the store's clock."""
        heartbeat = self.store.stat([f"claims/{run_id}.beat"]).modified[0]
        return None if heartbeat is None else heartbeat / 1e9

    def is_alive(self, claim: Claim, now: float | None = None) -> bool:
        """Whether the run of a claim is still alive."""
        if claim.state not in _LIVE or (claim.run_id, claim.time) in _OVER:
            return False
        if claim.is_ours:
            return start_time(claim.pid) == claim.pid_start
        heartbeat = self.heartbeat_of(claim.run_id)
        return heartbeat is not None and (time.time() if now is None else now) - heartbeat < claim.lease

    def take(self, run_id: str, rows: pl.DataFrame, *, above: int = 0) -> tuple[Claim, pl.DataFrame]:
        """Claim rows for a run.

        Without create-only puts two runs cannot claim rows safely. The library does not emulate them: it refuses to
        start a run while another run is alive.

        Args:
            run_id: The run.
            rows: The columns of `KEYS`.
            above: The highest number in the journal: the user may have deleted claims by hand.

        Returns:
            The claim, and the rows that live runs with lower claims hold.

        Raises:
            StorageError: No claim can be made.
        """
        from sinagot_catalog.schema import KEYS

        if not self.store.can_create("claims") and (others := self.alive()):
            raise StorageError(
                f"run {min(others)} is at work in {self.store.root}, and this store cannot keep two runs apart",
                "Wait for its end, or set [path] log to a store with create-only puts.",
            )
        rows = rows.select(*KEYS)
        for _ in range(_TRIES):
            claim, held = self._take(run_id, rows, above)
            if self.heartbeat(claim):
                return claim, held
            # The lease ran out meanwhile, and another run deleted the claim as dead.
        raise StorageError(f"no claim could be kept in {self.store.root}/claims: the lease is too short")

    def _take(self, run_id: str, rows: pl.DataFrame, above: int) -> tuple[Claim, pl.DataFrame]:
        import polars as pl

        from sinagot_catalog.schema import KEYS
        from sinagot_catalog.storage import to_parquet

        self.store.write(f"claims/{run_id}.parquet", to_parquet(rows))
        self._touch(run_id)
        claim = self._create(run_id, above)
        now = self.now(claim)
        lower = [other for other in self.all() if other.number < claim.number]
        live = [other for other in lower if self.is_alive(other, now)]
        held = pl.concat([pl.DataFrame(schema=KEYS), *map(self._rows, live)])
        free = rows.join(held, on=list(KEYS), how="anti", nulls_equal=True)
        if free.height < rows.height:
            # Claim only the remaining rows: a third run may take the held ones when their run ends.
            self.store.write(f"claims/{run_id}.parquet", to_parquet(free))
        self.store.delete(path for other in lower if other not in live for path in _files(other))
        return claim, held

    def _rows(self, claim: Claim) -> pl.DataFrame:
        """The rows of a claim; none if it was released meanwhile."""
        import polars as pl

        from sinagot_catalog.schema import KEYS

        try:
            return pl.read_parquet(self.store.read(f"claims/{claim.run_id}.parquet"))
        except AbsentError:
            return pl.DataFrame(schema=KEYS)

    def _create(self, run_id: str, above: int) -> Claim:
        """Take the number after the highest of claims and journal; the protocol defines when it is valid."""
        for _ in range(_TRIES):
            highest = max(self._numbers(), default=0)
            before = self._claim(highest)
            claim = Claim(
                number=max(highest, above) + 1,
                run_id=run_id,
                host=socket.gethostname(),
                boot_id=boot_id(),
                pid=os.getpid(),
                pid_start=start_time(os.getpid()) or "",
                lease=self.lease,
                time=datetime.now(UTC).isoformat(),
                previous="" if before is None else before.run_id,
            )
            is_made = self.store.create(claim.path, json.dumps(asdict(claim)).encode())
            if not is_made and not self._is_there(claim):
                continue  # another run took this number first
            if self._is_seen_by_higher(claim):
                return claim
            self.store.delete([claim.path])
        raise StorageError(
            f"no claim could be made in {self.store.root}/claims: other runs were always quicker"
        )

    def _is_there(self, claim: Claim) -> bool:
        """Whether the store holds this claim under its number."""
        found = self._claim(claim.number)
        return found is not None and found.run_id == claim.run_id

    def _is_seen_by_higher(self, claim: Claim) -> bool:
        """Whether every run of a higher number was created after this claim."""
        higher = [number for number in self._numbers() if number > claim.number]
        if not higher:
            return True
        following = self._claim(higher[0])
        return following is not None and following.previous == claim.run_id

    def heartbeat(self, claim: Claim) -> bool:
        """Record that the run is alive.

        Returns:
            False if its claim is gone, because another run took it for dead.
        """
        # Write the heartbeat first: a process that reads the claim after it sees a live run.
        self._touch(claim.run_id)
        try:
            is_held = _parse(self.store.read(claim.path)).run_id == claim.run_id
        except (AbsentError, ValueError, TypeError):
            is_held = False
        if not is_held:
            self.store.delete(_files(claim)[1:])
        return is_held

    def request_stop(self, claim: Claim) -> None:
        """Ask the run's processes on other hosts to stop."""
        found = self._claim(claim.number)
        if found is not None and found.run_id == claim.run_id and found.state == "live":
            self.store.write(claim.path, json.dumps({**asdict(claim), "state": "stopping"}).encode())

    def release(self, claim: Claim) -> None:
        """Release the rows; the number stays in use."""
        _OVER.add((claim.run_id, claim.time))
        # Delete the rows first: a full disk permits deletion but no writing.
        self.store.delete(_files(claim)[1:2])
        if self._is_there(claim):
            self.store.write(claim.path, json.dumps({**asdict(claim), "state": "released"}).encode())
        self.store.delete(_files(claim)[2:])

    def sweep(self, now: float) -> None:
        """Delete files of runs that died between two writes: rows and heartbeats without a claim, hidden files."""
        there, numbers = self.store.names("claims"), self._numbers()
        known = {claim.run_id for claim in self.all()} | {f"{number:08d}" for number in numbers}
        left = [
            f"claims/{name}"
            for name in there
            if is_leftover(name) or (is_claim_file(name) and name.rpartition(".")[0] not in known)
        ]
        left += [_path(number) for number in numbers[:-1] if self._claim(number) is None]
        left += [f"journal/{name}" for name in self.store.names("journal") if is_leftover(name)]
        times = self.store.stat(left).modified
        self.store.delete(path for path, at in zip(left, times, strict=True) if at and at / 1e9 < now - _HOUR)


class ClaimMonitor:
    """Monitors the claim of a run from a process that works for it, perhaps on another host.

    The age of the heartbeat is measured by this process' own clock: the time since it last changed.

    Args:
        claims: The claims of the workspace.
        claim: The claim of the run.
    """

    def __init__(self, claims: Claims, claim: Claim) -> None:
        self._claims = claims
        self._claim = claim
        self._heartbeat: float | None = None
        self._changed_at = time.monotonic()

    def state(self) -> Literal["live", "stopping", "over"]:
        """The state of the run: alive, stopping, or over (its claim is released or gone, or its process died)."""
        try:
            claim = _parse(self._claims.store.read(self._claim.path))
            heartbeat = None if claim.is_ours else self._claims.heartbeat_of(claim.run_id)
        except (StorageError, ValueError, TypeError) as error:
            # If the store cannot be read, the run may still be alive until a lease has passed.
            return "over" if isinstance(error, AbsentError) or self._age() >= self._claim.lease else "live"
        if claim.is_ours or heartbeat != self._heartbeat:
            self._heartbeat, self._changed_at = heartbeat, time.monotonic()
        is_alive = self._claims.is_alive(claim) if claim.is_ours else self._age() < claim.lease
        if claim.run_id != self._claim.run_id or claim.state not in _LIVE or not is_alive:
            return "over"
        return "stopping" if claim.state == "stopping" else "live"

    def _age(self) -> float:
        """Seconds since the heartbeat last changed, as far as this process knows."""
        return time.monotonic() - self._changed_at


def _parse(content: bytes) -> Claim:
    """Read a claim from its JSON. Unknown members come from a later version and are ignored.

    Raises:
        ValueError: When it is not JSON.
        TypeError: When it is no object, or lacks a member.
    """
    document = json.loads(content)
    if not isinstance(document, dict):
        raise TypeError("no object")
    names = {member.name for member in fields(Claim)}
    return Claim(**{name: value for name, value in document.items() if name in names})


def _path(number: int) -> str:
    return f"claims/{number:08d}.json"


def _files(claim: Claim) -> list[str]:
    return [claim.path, f"claims/{claim.run_id}.parquet", f"claims/{claim.run_id}.beat"]
