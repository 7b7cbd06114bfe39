"""Claims: which run may touch which row. The protocol stands in `_journal`.

Polars is imported where rows are claimed: processes of a cluster only follow a claim, and start quicker without it.
"""

from __future__ import annotations

import io
import json
import os
import re
import socket
import time
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal
from uuid import uuid4

from sinagot_catalog.errors import StorageError
from sinagot_catalog.journal.log_names import is_claim_file, is_leftover
from sinagot_catalog.journal.process_identity import boot_id, start_time

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from sinagot_catalog.storage import Store

__all__ = ["Claim", "ClaimMonitor", "Claims"]

SCHEMA = 1
_TRIES = 1000
_HOUR = 3_600.0
_OVER: set[tuple[str, str]] = set()
"""Runs of this process that have ended, by name and time: it knows so even where that could not be written down."""


@dataclass(frozen=True)
class Claim:
    """One run's hold on its rows."""

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
        """Where the claim lies below the `LOG` folder."""
        return _path(self.number)

    @property
    def is_ours(self) -> bool:
        """Whether the run is, or was, a process of this machine since it booted."""
        return self.host == socket.gethostname() and self.boot_id == boot_id()


class Claims:
    """Takes and gives back rows for runs.

    Args:
        store: The `LOG` folder.
        lease: For how many seconds a run of another host counts as alive after its last beat.
    """

    def __init__(self, store: Store, lease: float = 60.0) -> None:
        self.store = store
        self.lease = lease

    def all(self) -> list[Claim]:
        """Every claim that lies there, in order of number."""
        return [claim for number in self._numbers() if (claim := self._claim(number)) is not None]

    def _numbers(self) -> list[int]:
        names = self.store.names("claims")
        return sorted(int(name.removesuffix(".json")) for name in names if re.fullmatch(r"\d+\.json", name))

    def _claim(self, number: int) -> Claim | None:
        """One claim; None where it was deleted since it was listed, or is none."""
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
            asker: The claim of the run that asks: its beat tells the store's time, else this machine does.
        """
        now = self.now(asker)
        return frozenset(claim.run_id for claim in self.all() if self.is_alive(claim, now))

    def holders(self, key: Mapping[str, str | None]) -> list[str]:
        """The live runs that have claimed a row, given the values of `KEYS`."""
        import polars as pl

        from sinagot_catalog.schema import KEYS

        fits = [pl.col(name).eq_missing(pl.lit(key[name], pl.String)) for name in KEYS]
        live = (claim for claim in self.all() if self.is_alive(claim))
        return [claim.run_id for claim in live if self._rows(claim).filter(*fits).height]

    def now(self, asker: Claim | None = None) -> float:
        """The store's time in seconds, by the beat of a run; without one this machine's."""
        if asker is not None:
            self._touch(asker.run_id)
            heartbeat = self.beat_of(asker.run_id)
            if heartbeat is not None:
                return heartbeat
        return datetime.now(UTC).timestamp()

    def store_time(self) -> float:
        """The store's time in seconds, for who has no claim; this machine's where nothing can be written."""
        probe = f"clock-{uuid4().hex}"
        try:
            self._touch(probe)
            told = self.beat_of(probe)
            self.store.delete([f"claims/{probe}.beat"])
        except OSError:
            told = None
        return datetime.now(UTC).timestamp() if told is None else told

    def _touch(self, run_id: str) -> None:
        self.store.write(f"claims/{run_id}.beat", b"")

    def beat_of(self, run_id: str) -> float | None:
        """When a run last said that it is alive, in the store's time."""
        heartbeat = self.store.stat([f"claims/{run_id}.beat"]).modified[0]
        return None if heartbeat is None else heartbeat / 1e9

    def is_alive(self, claim: Claim, now: float | None = None) -> bool:
        """Whether a claim's run still goes on."""
        if claim.state not in ("live", "stopping") or (claim.run_id, claim.time) in _OVER:
            return False
        if claim.is_ours:
            return start_time(claim.pid) == claim.pid_start
        heartbeat = self.beat_of(claim.run_id)
        now = datetime.now(UTC).timestamp() if now is None else now
        return heartbeat is not None and now - heartbeat < claim.lease

    def take(self, run_id: str, rows: pl.DataFrame, *, above: int = 0) -> tuple[Claim, pl.DataFrame]:
        """Claim rows for a run.

        Args:
            run_id: The run.
            rows: The columns of `KEYS`.
            above: The highest number in the journal: claims may have been deleted by hand.

        Returns:
            The claim, and the rows that live runs with lower claims hold.
        """
        from sinagot_catalog.schema import KEYS

        rows = rows.select(*KEYS)
        for _ in range(_TRIES):
            claim, held = self._take(run_id, rows, above)
            if self.heartbeat(claim):
                return claim, held
            # it slept through its lease in the midst of this, and was taken for dead
        raise StorageError(f"no claim could be kept in {self.store.root}/claims: the lease is too short")

    def _take(self, run_id: str, rows: pl.DataFrame, above: int) -> tuple[Claim, pl.DataFrame]:
        import polars as pl

        from sinagot_catalog.schema import KEYS

        self.store.write(f"claims/{run_id}.parquet", _parquet(rows))
        self._touch(run_id)
        claim = self._create(run_id, above)
        now = self.now(claim)
        lower = [one for one in self.all() if one.number < claim.number]
        live = [one for one in lower if self.is_alive(one, now)]
        held = pl.concat([pl.DataFrame(schema=KEYS), *map(self._rows, live)])
        kept = rows.join(held, on=list(KEYS), how="anti", nulls_equal=True)
        if kept.height < rows.height:
            # what it leaves out is not its own: a third run may take it when the first one ends
            self.store.write(f"claims/{run_id}.parquet", _parquet(kept))
        self.store.delete(path for one in lower if one not in live for path in _files(one))
        return claim, held

    def _rows(self, claim: Claim) -> pl.DataFrame:
        """The rows that a claim holds; none where it was given back meanwhile."""
        import polars as pl

        from sinagot_catalog.schema import KEYS

        try:
            return pl.read_parquet(self.store.read(f"claims/{claim.run_id}.parquet"))
        except StorageError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return pl.DataFrame(schema=KEYS)
            raise

    def _create(self, run_id: str, above: int) -> Claim:
        """Take the number after the highest of claims and journal; see the protocol for when it holds."""
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
                continue  # another run was quicker
            if self._is_seen_by_higher(claim):
                return claim
            self.store.delete([claim.path])
        raise StorageError(
            f"no claim could be made in {self.store.root}/claims: other runs were always quicker"
        )

    def _is_there(self, claim: Claim) -> bool:
        """Whether a claim lies there under its number."""
        found = self._claim(claim.number)
        return found is not None and found.run_id == claim.run_id

    def _is_seen_by_higher(self, claim: Claim) -> bool:
        """Whether every run of a higher number came after this claim."""
        higher = [number for number in self._numbers() if number > claim.number]
        if not higher:
            return True
        following = self._claim(higher[0])
        return following is not None and following.previous == claim.run_id

    def heartbeat(self, claim: Claim) -> bool:
        """Say that the run is alive.

        Returns:
            False where its claim is gone: it was taken for dead.
        """
        # The beat first: who looks at the claim after it finds a run that is alive.
        self._touch(claim.run_id)
        try:
            is_held = _parse(self.store.read(claim.path)).run_id == claim.run_id
        except StorageError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            is_held = False
        except (ValueError, TypeError):
            is_held = False
        if not is_held:
            self.store.delete(_files(claim)[1:])
        return is_held

    def request_stop(self, claim: Claim) -> None:
        """Say to the processes that work for the run elsewhere that it ends early."""
        found = self._claim(claim.number)
        if found is not None and found.run_id == claim.run_id and found.state == "live":
            self.store.write(claim.path, json.dumps({**asdict(claim), "state": "stopping"}).encode())

    def release(self, claim: Claim) -> None:
        """Give the rows back; the number stays taken."""
        _OVER.add((claim.run_id, claim.time))
        # The rows first: a full disk lets files be deleted, not written.
        self.store.delete(_files(claim)[1:2])
        if self._is_there(claim):
            self.store.write(claim.path, json.dumps({**asdict(claim), "state": "released"}).encode())
        self.store.delete(_files(claim)[2:])

    def sweep(self, now: float) -> None:
        """Delete what runs left that died between two writes: rows and beats without a claim, hidden files."""
        there = self.store.names("claims")
        known = {claim.run_id for claim in self.all()}
        highest = max(self._numbers(), default=0)
        left = [
            f"claims/{name}"
            for name in there
            if is_leftover(name)
            or (is_claim_file(name) and name.rpartition(".")[0] not in known and not _is_number(name))
        ]
        left += [
            _path(number) for number in self._numbers() if number < highest and self._claim(number) is None
        ]
        left += [f"journal/{name}" for name in self.store.names("journal") if is_leftover(name)]
        times = self.store.stat(left).modified
        self.store.delete(path for path, at in zip(left, times, strict=True) if at and at / 1e9 < now - _HOUR)


class ClaimMonitor:
    """Follows a run from a process that works for it, perhaps on another host.

    Its age is told by this process' own clock: for how long its beat has not changed.

    Args:
        claims: The claims of the workspace.
        claim: The claim of the run.
    """

    def __init__(self, claims: Claims, claim: Claim) -> None:
        self._claims = claims
        self._claim = claim
        self._beat: float | None = None
        self._heard = time.monotonic()

    def look(self) -> Literal["live", "stopping", "over"]:
        """Whether the run goes on, is to be ended, or is over: given back, or its process lost."""
        try:
            found = _parse(self._claims.store.read(self._claim.path))
            heartbeat = None if found.is_ours else self._claims.beat_of(found.run_id)
        except (StorageError, ValueError, TypeError) as error:
            # Gone, or it cannot be asked: as long as a lease lasts, the run may well go on.
            is_gone = isinstance(error.__cause__, FileNotFoundError)
            return "over" if is_gone or self._silence() >= self._claim.lease else "live"
        if found.run_id != self._claim.run_id or found.state not in ("live", "stopping"):
            return "over"
        if found.is_ours:
            is_alive = start_time(found.pid) == found.pid_start
        else:
            is_alive = heartbeat != self._beat or self._silence() < found.lease
        if found.is_ours or heartbeat != self._beat:
            self._beat, self._heard = heartbeat, time.monotonic()
        if not is_alive:
            return "over"
        return "stopping" if found.state == "stopping" else "live"

    def _silence(self) -> float:
        return time.monotonic() - self._heard


def _parse(content: bytes) -> Claim:
    """A claim from its JSON; members that are not known are of a later version.

    Raises:
        ValueError: When it is no claim.
        TypeError: When it lacks a member.
    """
    document = json.loads(content)
    if not isinstance(document, dict):
        raise TypeError("no object")
    names = {one.name for one in fields(Claim)}
    return Claim(**{name: value for name, value in document.items() if name in names})


def _path(number: int) -> str:
    return f"claims/{number:08d}.json"


def _is_number(name: str) -> bool:
    return name.removesuffix(".json").isdecimal()


def _files(claim: Claim) -> list[str]:
    return [claim.path, f"claims/{claim.run_id}.parquet", f"claims/{claim.run_id}.beat"]


def _parquet(frame: pl.DataFrame) -> bytes:
    content = io.BytesIO()
    frame.write_parquet(content)
    return content.getvalue()
