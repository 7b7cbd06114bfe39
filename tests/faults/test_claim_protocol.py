"""Claims as a state machine: runs that pause between any two steps, crash, repeat themselves and write late."""

import threading

import polars as pl
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sinagot_catalog.errors import AbsentError
from sinagot_catalog.journal.claims import Claims
from sinagot_catalog.schema import KEYS
from sinagot_catalog.storage.protocol import Stat

LEASE = 60.0
IDS = ("R1", "R2", "R3")


class SharedDisk:
    """A store in memory with a clock of its own, as several hosts see it."""

    is_local = False
    root = "disk://LOG"

    def __init__(self):
        self.files = {}
        self.now = 1e6

    def names(self, folder):
        depth = folder.count("/") + 1 if folder else 0
        return sorted(
            path.rpartition("/")[2]
            for path in self.files
            if path.startswith(f"{folder}/") and path.count("/") == depth
        )

    def stat(self, paths):
        times = [self.files[path][1] if path in self.files else None for path in paths]
        return Stat(
            [None] * len(times),
            [None if one is None else int(one * 1e9) for one in times],
            [None] * len(times),
        )

    def exists(self, path):
        return path in self.files

    def read(self, path):
        if path not in self.files:
            raise AbsentError(path)
        return self.files[path][0]

    def write(self, path, content):
        self.files[path] = (content, self.now)

    def can_create(self, _):
        return True

    def create(self, path, content):
        if path in self.files:
            return False
        self.write(path, content)
        return True

    def delete(self, paths):
        for path in paths:
            self.files.pop(path, None)


class Stepwise:
    """One host's way to the disk: each call waits until the machine lets it go on, and may be lost or repeated."""

    is_local = False
    root = SharedDisk.root

    def __init__(self, disk):
        self.disk = disk
        self.go, self.waits = threading.Semaphore(0), threading.Semaphore(0)
        self.is_dead = False
        self.repeats = False
        self.next_call = ""

    def __getattr__(self, name):
        call = getattr(self.disk, name)

        def step(*args):
            if name == "delete":
                args = (list(args[0]),)
            self.next_call = name
            self.waits.release()
            self.go.acquire()
            if self.is_dead:
                raise SystemExit
            if name in ("write", "create", "delete") and self.repeats:
                call(*args)  # the answer was lost, and the call is made again
                self.repeats = False
            return call(*args)

        return step


class Host:
    """A run on a host of its own: it takes its rows in a thread, step by step."""

    def __init__(self, number, disk, rows):
        self.run_id = f"run-{number}"
        self.store = Stepwise(disk)
        self.claims = Claims(self.store, lease=LEASE)
        self.disk = disk
        self.wanted = set(rows)
        self.claim = None
        self.holds = set()
        self.is_over = False
        self.awake = disk.now
        self.thread = threading.Thread(target=self.take, daemon=True)
        self.thread.start()
        self.store.waits.acquire()

    def take(self):
        try:
            rows = pl.DataFrame(
                {"record_id": sorted(self.wanted), "task": None, "modality": None, "step": "s"}, schema=KEYS
            )
            claim, held = self.claims.take(self.run_id, rows)
            self.claim = claim
            self.holds = self.wanted - set(held["record_id"])
        except SystemExit:
            pass
        finally:
            self.store.waits.release()

    @property
    def is_taking(self):
        return self.claim is None and not self.is_over

    def step(self):
        self.store.go.release()
        self.store.waits.acquire()

    def finish(self):
        while self.is_taking:
            self.step()
        return self

    def hold_up(self):
        """Go on until the very moment before the claim is made."""
        while self.is_taking and self.store.next_call != "create":
            self.step()
        return self

    def crash(self):
        self.is_over = True
        self.holds = set()
        self.store.is_dead = True
        if self.thread.is_alive():
            self.store.go.release()
            self.thread.join(300)

    @property
    def claims_in_one_go(self):
        return Claims(self.disk, lease=LEASE)

    def plainly(self, act, *args):
        """Do something of a claimed run in one go."""
        return act(self.claims_in_one_go, *args)


@pytest.fixture(autouse=True)
def nobody_is_here(monkeypatch):
    """Every run is one of another host: only beats and the store's clock tell who is alive."""
    monkeypatch.setattr("sinagot_catalog.journal.claims.Claim.is_ours", property(lambda _: False))


class Protocol(RuleBasedStateMachine):
    """At no time do two runs that are within their lease hold one row."""

    @initialize()
    def begin(self):
        self.disk = SharedDisk()
        self.hosts = []

    @rule(rows=st.sets(st.sampled_from(IDS), min_size=1))
    def arrive(self, rows):
        if len(self.hosts) < 12:
            self.hosts.append(Host(len(self.hosts), self.disk, rows))

    @rule(rows=st.sets(st.sampled_from(IDS), min_size=1))
    def arrive_and_finish(self, rows):
        if len(self.hosts) < 12:
            self.hosts.append(Host(len(self.hosts), self.disk, rows).finish())

    @rule(data=st.data())
    def hold_up(self, data):
        host = self.some(data, lambda one: one.is_taking)
        if host is not None:
            host.hold_up()

    def some(self, data, is_so):
        found = [host for host in self.hosts if not host.is_over and is_so(host)]
        return data.draw(st.sampled_from(found)) if found else None

    @rule(data=st.data(), steps=st.integers(1, 12))
    def go_on(self, data, steps):
        host = self.some(data, lambda one: one.is_taking)
        for _ in range(steps):
            if host is not None and host.is_taking:
                host.step()

    @rule(data=st.data())
    def repeat(self, data):
        host = self.some(data, lambda one: one.is_taking)
        if host is not None:
            host.store.repeats = True
            host.step()

    @rule(data=st.data())
    def crash(self, data):
        host = self.some(data, lambda _: True)
        if host is not None:
            host.crash()

    @rule(data=st.data())
    def release(self, data):
        host = self.some(data, lambda one: one.claim is not None)
        if host is not None:
            host.plainly(Claims.release, host.claim)
            host.is_over, host.holds = True, set()

    @rule(seconds=st.sampled_from([1.0, 14.0]))
    def time_passes(self, seconds):
        """Those that hold rows beat; who is still taking may be held up, but for less than its lease."""
        if any(host.is_taking and self.disk.now + seconds - host.awake > LEASE for host in self.hosts):
            self.let_all_finish()
        self.disk.now += seconds
        for host in self.hosts:
            if host.claim is not None and not host.is_over:
                assert host.plainly(Claims.heartbeat, host.claim)  # who beats in time is never taken for dead

    @precondition(lambda self: any(one.claim is not None and not one.is_over for one in self.hosts))
    @rule(data=st.data())
    def sleep_through_the_lease(self, data):
        """A laptop sleeps, the others beat; others may take its rows; it wakes, finds out and gives up."""
        sleeper = self.some(data, lambda one: one.claim is not None)
        self.let_all_finish()
        for _ in range(5):
            self.disk.now += 14.0
            for host in self.hosts:
                if host is not sleeper and host.claim is not None and not host.is_over:
                    assert host.plainly(Claims.heartbeat, host.claim)
        visitor = Host(100 + len(self.hosts), self.disk, IDS).finish()
        assert sleeper.holds <= visitor.holds
        assert not sleeper.plainly(Claims.heartbeat, sleeper.claim)
        sleeper.plainly(Claims.release, sleeper.claim)  # written late: it must bring nothing back
        assert sleeper.run_id not in {
            one.run_id for one in Claims(self.disk, lease=LEASE).all() if one.state == "live"
        }
        sleeper.is_over, sleeper.holds = True, set()
        visitor.plainly(Claims.release, visitor.claim)
        visitor.is_over, visitor.holds = True, set()

    def let_all_finish(self):
        for host in self.hosts:
            host.finish()

    @invariant()
    def no_row_is_held_twice(self):
        held = [row for host in getattr(self, "hosts", []) if not host.is_over for row in host.holds]
        assert len(held) == len(set(held)), {
            host.run_id: host.holds for host in self.hosts if not host.is_over
        }

    @invariant()
    def numbers_only_grow(self):
        if getattr(self, "hosts", None):
            numbers = [int(name[:8]) for name in self.disk.names("claims") if name.endswith(".json")]
            highest = max(numbers, default=0)
            assert highest >= getattr(self, "highest", 0)
            self.highest = highest

    def teardown(self):
        for host in getattr(self, "hosts", []):
            if host.is_taking:
                host.crash()


def release(host):
    Claims.release(host.claims_in_one_go, host.claim)
    host.is_over, host.holds = True, set()


def test_run_held_up_before_its_claim_does_not_get_a_number_that_others_left_behind():
    disk = SharedDisk()
    late = Host(0, disk, IDS).hold_up()
    for number in (1, 2):
        early = Host(number, disk, IDS).finish()
        assert early.holds == set(IDS)
        release(early)
    alive = Host(3, disk, IDS).finish()
    assert alive.holds == set(IDS)
    assert disk.names("claims").count("00000001.json") == 0
    late.finish()
    assert late.claim.number > alive.claim.number
    assert late.holds == set()


def test_run_whose_claim_was_made_but_not_answered_knows_it():
    disk = SharedDisk()
    host = Host(0, disk, IDS).hold_up()
    host.store.repeats = True
    assert host.finish().holds == set(IDS)
    assert host.claim.number == 1


Protocol.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestProtocol = Protocol.TestCase
