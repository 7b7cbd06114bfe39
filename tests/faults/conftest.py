"""A workspace under fire: real runs in processes of their own, killed at a moment or at a named point."""

import json
import math
import os
import random
import re
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from sinagot_catalog import Workspace

SHIM = str(Path(__file__).parent / "shim")
INJECTED = pytest.StashKey[Counter]()

COMMON = """
import os
from sinagot_catalog import ScriptTemplate

def put(script, path, name):
    generation = (script.data_path.parent / "generation").read_text()
    line = f"{script.label} {script.id} {name} {generation}\\n".encode() * 20
    with open(path, "wb", buffering=0) as file:
        os.write(file.fileno(), b"HALF\\n" + line)
        os.write(file.fileno(), b"WHOLE\\n")

def ran(script):
    fd = os.open(script.data_path.parent / "ran", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, f"{script.id} {script.label}\\n".encode())
    os.close(fd)
"""
SCRIPTS = {
    "clean": """
class Script(ScriptTemplate):
    PATH_IN = "raw/{id}.txt"
    PATH_OUT = "clean/{id}.txt"
    def run(self):
        ran(self)
        put(self, self.path.output, "clean")
""",
    "split": """
class Script(ScriptTemplate):
    PATH_IN = "clean/{id}.txt"
    PATH_OUT = {"a": "split/{id}-a.txt", "b": "split/{id}-b.txt"}
    def run(self):
        ran(self)
        put(self, self.path.output["a"], "a")
        put(self, self.path.output["b"], "b")
""",
    "pack": """
class Script(ScriptTemplate):
    PATH_IN = "split/{id}-b.txt"
    PATH_OUT = "pack/{id}/"
    def run(self):
        ran(self)
        self.path.output.mkdir(exist_ok=True)
        put(self, self.path.output / "one.txt", "one")
        put(self, self.path.output / "two.txt", "two")
""",
}
MADE = {
    "clean": {"clean": "clean/{}.txt"},
    "split": {"a": "split/{}-a.txt", "b": "split/{}-b.txt"},
    "pack": {"one": "pack/{}/one.txt", "two": "pack/{}/two.txt"},
}
RECORDS = [f"R{number:03d}" for number in range(70)]


@dataclass(frozen=True)
class Fault:
    """What is done to a run: a signal at a moment, or a kill at the count-th time of a named point."""

    name: str
    signals: tuple[int, ...] = ()
    aim: str = "run"
    point: str = ""
    most: int = 1
    whom: str = "self"
    role: str = "worker"
    exits: tuple[int, ...] = ()


def pytest_addoption(parser):
    parser.addoption("--faults", type=int, default=None, help="how many faults to inject in all")
    parser.addoption("--seed", type=int, default=1, help="what they are drawn with")


def pytest_configure(config):
    config.stash[INJECTED] = Counter()


def pytest_terminal_summary(terminalreporter, exitstatus, config):
    counts = config.stash[INJECTED]
    if counts:
        terminalreporter.section("faults")
        struck = sum(count for (_, _, hit), count in counts.items() if hit)
        end = "nothing was lost" if exitstatus == 0 else "and then a test failed: see above"
        terminalreporter.write_line(f"{counts.total()} faults injected, {struck} struck; {end}")
        for (mode, name, hit), count in sorted(counts.items()):
            terminalreporter.write_line(
                f"  {mode:13} {name:34} {count:4}{'' if hit else '  (came too late)'}"
            )


class Ground:
    """One workspace on which run after run is killed, and what must be true of it afterwards."""

    def __init__(self, folder, rng, *, mode):
        self.folder, self.rng, self.mode = folder, rng, mode
        self.data = folder / "dataset"
        self.log = self.data / "LOG"
        self.token = uuid.uuid4().hex
        self.generation = 0
        self.planted = 0
        self.span = 0.25
        (folder / "scripts").mkdir(parents=True)
        (self.data / "raw").mkdir(parents=True)
        for record in RECORDS:
            (self.data / "raw" / f"{record}.txt").write_text("raw")
        for name, text in SCRIPTS.items():
            (folder / "scripts" / f"{name}.py").write_text(COMMON + text)
        (folder / "workspace.toml").write_text(
            f"[records]\nid_pattern = 'R\\d+'\n[steps]\nscripts = {list(SCRIPTS)}\n"
        )
        (folder / "ran").touch()
        self.renew()

    def renew(self):
        self.generation += 1
        (self.folder / "generation").write_text(str(self.generation))

    # -- before -------------------------------------------------------------------------------------------

    def make_work(self):
        """Take some outputs away, or say that all are to be made again; says whether by force."""
        if self.generation > 1 and self.rng.random() < 0.5:
            self.renew()
            return True
        self.renew()
        for record in self.rng.sample(RECORDS, 45):
            for step in self.rng.sample(list(MADE), self.rng.choice((1, 3))):
                for path in MADE[step].values():
                    (self.data / path.format(record)).unlink(missing_ok=True)
                if step == "pack" and (self.data / f"pack/{record}").is_dir():
                    (self.data / f"pack/{record}").rmdir()
        return False

    def plant(self, count=110):
        """The journals of many ended runs, for a compaction to merge; staging of a dead run, to be swept."""
        for _ in range(count):
            folder = self.log / "journal" / f"20200101T000000-{self.planted:06d}"
            folder.mkdir(parents=True)
            line = {
                "schema": 1,
                "event": "log",
                "record_id": "R000",
                "step_label": "clean",
                "step_status": 20,
            }
            line |= {"message": f"planted {self.planted}", "time": "2020-01-01T00:00:00.000000Z"}
            (folder / "main.ndjson").write_text(json.dumps(line) + "\n")
            (folder / "ended").touch()
            self.planted += 1
        dead = self.log / ".staging" / "20200101T000000-00dead" / "w01" / "c0"
        for number in range(8):
            (dead / f"clean{number}").mkdir(parents=True, exist_ok=True)
            (dead / f"clean{number}" / "R000.txt").write_text("HALF")

    # -- the run ------------------------------------------------------------------------------------------

    def run(self, fault, *, force):
        """One run with a fault; says whether it struck, and the exit code."""
        words = ["submit"] if self.mode == "flow" else ["run", "--mode", self.mode]
        struck = self.folder / f"struck-{uuid.uuid4().hex}"
        environment = {**os.environ, "FAULT_TOKEN": self.token, "FAULT_DONE": str(struck)}
        if fault.point:
            count = self.rng.randint(1, fault.most)
            role = "run" if self.mode == "main_process" else fault.role
            environment |= {
                "PYTHONPATH": SHIM,
                "FAULT": f"{fault.point}:{count}:{fault.whom}",
                "FAULT_ROLE": role,
            }
        command = [sys.executable, "-m", "sinagot_catalog", *words, str(self.folder), "--workers", "2", "-q"]
        with (self.folder / "said").open("wb") as said:
            process = subprocess.Popen(
                [*command, *(["--force"] if force else [])], env=environment, stdout=said, stderr=said
            )
        if fault.signals:
            hit = self.strike(process, fault)
        code = process.wait(300)
        if fault.point:
            hit = struck.exists()
            struck.unlink(missing_ok=True)
        self.no_process_left()
        return hit, code

    def strike(self, process, fault):
        """Wait for the first line of the journal, a little more, and send the signals."""
        runs = set(self.journals())
        end = time.monotonic() + 300
        while process.poll() is None and not set(self.journals()) - runs:
            assert time.monotonic() < end, (self.folder / "said").read_text()
            time.sleep(0.002)
        time.sleep(self.rng.random() * self.span)
        hit = False
        for number in fault.signals:
            pids = [process.pid] if fault.aim == "run" else self.processes()
            if fault.aim == "worker":
                pids = [pid for pid in pids if b"\0sinagot_catalog.worker\0" in command_of(pid)][:1]
            for pid in pids:
                if pid != process.pid or process.poll() is None:
                    try:
                        os.kill(pid, number)
                        hit = True
                    except ProcessLookupError:
                        pass
            time.sleep(0.1 if len(fault.signals) > 1 else 0)
        return hit

    def journals(self):
        return [str(path) for path in self.log.glob("journal/*/*.ndjson")] if self.log.exists() else []

    def processes(self):
        """Every process that descends from a run on this ground."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    is_ours = self.token.encode() in (entry / "environ").read_bytes()
                    is_over = (entry / "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
                except OSError:
                    continue
                if is_ours and not is_over:
                    found.append(int(entry.name))
        return found

    def no_process_left(self):
        end = time.monotonic() + 120
        while left := self.processes():
            assert time.monotonic() < end, f"still running: {[command_of(pid) for pid in left]}"
            time.sleep(0.01)

    # -- after --------------------------------------------------------------------------------------------

    def files(self):
        return {
            path: self.data / path
            for step in MADE
            for record in RECORDS
            for pattern in MADE[step].values()
            if (self.data / (path := pattern.format(record))).exists()
        }

    def check(self, before):
        """What holds after any fault: whole files, nothing gone, a journal that parses, nothing PROCESSING."""
        files = self.files()
        assert set(before) <= set(files), f"gone: {sorted(set(before) - set(files))[:5]}"
        generations = {path: self.whole(path) for path in files}
        half = self.half()
        for record in RECORDS:
            for step, paths in MADE.items():
                found = {
                    generations[path.format(record)]
                    for path in paths.values()
                    if path.format(record) in files
                }
                assert len(found) <= 1 or (step == "split" and (record, step) in half), (record, step, found)
        statuses = Workspace(self.folder).steps.collect()
        assert statuses.filter(status="PROCESSING").is_empty(), statuses.filter(status="PROCESSING")
        told = {tuple(row) for row in statuses.filter(status="ERROR").select("record_id", "step").iter_rows()}
        assert half <= told, half - told

    def whole(self, path):
        """Check a file byte for byte; says of which generation it is."""
        content = (self.data / path).read_bytes()
        step, record = path.partition("/")[0], path.partition("/")[2][:4]
        name = next(name for name, pattern in MADE[step].items() if pattern.format(record) == path)
        generation = int(content.split(b"\n")[1].rpartition(b" ")[2])
        line = f"{step} {record} {name} {generation}\n"
        assert content == f"HALF\n{line * 20}WHOLE\n".encode(), f"{path} is not whole"
        assert 1 <= generation <= self.generation
        return generation

    def half(self):
        """The rows of which the journal says last that several paths were on their way: read with json alone."""
        events = []
        for path in self.journals():
            lines = Path(path).read_bytes().split(b"\n")
            for number, line in enumerate(lines):
                if line:
                    try:
                        events.append(json.loads(line))
                    except ValueError:
                        assert number == len(lines) - 1, f"{path}:{number} is torn, and not at its end"
        for path in self.log.glob("journal/compact-*.parquet"):
            events += self.merged(path)
        last = {}
        for event in sorted(events, key=lambda one: one["time"]):
            if event["event"] != "log":
                last[event["record_id"], event["step_label"]] = event
        return {
            key
            for key, event in last.items()
            if event["event"] == "publishing" or (event["event"] == "error" and event.get("paths"))
        }

    def merged(self, path):
        import polars as pl

        frame = pl.read_parquet(path).filter(pl.col("event") != "log")
        return [
            {
                "time": f"{row['time']:%Y-%m-%dT%H:%M:%S.%fZ}",
                "event": row["event"],
                "record_id": row["record_id"],
                "step_label": row["step"],
                "paths": row["_paths"],
            }
            for row in frame.iter_rows(named=True)
        ]

    def complete(self):
        """The next run makes every missing output once, and nothing else; it leaves nothing hidden behind."""
        files, half = self.files(), self.half()
        missing = {
            (record, step)
            for record in RECORDS
            for step, paths in MADE.items()
            if any(path.format(record) not in files for path in paths.values()) or (record, step) in half
        }
        (self.folder / "ran").write_text("")
        report = Workspace(self.folder).steps.run(workers=2, progress=False)
        assert report.ok, report.failures()
        ran = [tuple(line.split()) for line in (self.folder / "ran").read_text().splitlines()]
        assert Counter(ran) == dict.fromkeys(missing, 1)
        files = self.files()
        assert len(files) == len(RECORDS) * 5
        generations = {path: self.whole(path) for path in files}
        for record in RECORDS:
            for paths in MADE.values():
                assert len({generations[path.format(record)] for path in paths.values()}) == 1
        assert not self.half()
        assert not (missing and list(self.log.glob(".staging/*")))  # a run with nothing to do writes nothing
        assert not [path for path in self.data.rglob(".*.tmp") if self.log not in path.parents]
        events = Workspace(self.folder).events()
        planted = events.filter(events["message"].str.starts_with("planted "))["message"]
        assert (len(planted), planted.n_unique()) == (self.planted, self.planted)


def command_of(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.fixture
def attack(tmp_path, request):
    """Inject faults into runs of one mode, and check after each: `attack(mode, faults, count)`."""
    injected = request.config.stash[INJECTED]

    def under_fire(mode, faults, count):
        rng = random.Random(f"{request.config.getoption('seed', 1)}-{mode}")  # noqa: S311
        ground = Ground(tmp_path / mode, rng, mode=mode)
        deck = []
        for number in range(count):
            if not deck:
                deck = list(faults)
                rng.shuffle(deck)
            fault = deck.pop()
            force = ground.make_work()
            if fault.name.startswith(("compaction", "sweeping")):
                ground.plant()
            before = ground.files()
            hit, code = ground.run(fault, force=force)
            told = f"fault {number}: {fault.name}, force={force}, exit {code}"
            said = (ground.folder / "said").read_text()[-2000:]
            if fault.signals and re.search(r"^\d+ done in ", said, re.MULTILINE):
                hit = False  # the run was over, and its process at its end
            try:
                assert not fault.exits or code in fault.exits or not hit
                assert "Traceback" not in said
                ground.check(before)
                ground.complete()
            except AssertionError as error:
                raise AssertionError(f"{told}: {error}\n{said}") from error
            injected[mode, fault.name, hit] += 1

    return under_fire


@pytest.fixture
def share(request):
    """How many faults or layouts a test tries: a part of `--faults`, all with `--slow`, otherwise a third."""
    asked = request.config.getoption("faults", None)
    is_slow = request.config.getoption("slow")

    def count(all_of_them, part):
        if asked is not None:
            return max(1, round(asked * part))
        return all_of_them if is_slow else math.ceil(all_of_them / 3)

    return count


@pytest.fixture(scope="session")
def fault_kinds():
    """Every kind of fault, by name."""
    kill, stop, interrupt = signal.SIGKILL, signal.SIGTERM, signal.SIGINT
    row = 25
    faults = [
        Fault("SIGKILL of the run", (kill,)),
        Fault("SIGKILL of a worker", (kill,), aim="worker"),
        Fault("SIGKILL of the whole group", (kill,), aim="all"),
        Fault("SIGTERM", (stop,), exits=(130, 0)),
        Fault("Ctrl-C", (interrupt,), exits=(130, 0)),
        Fault("Ctrl-C twice", (interrupt, interrupt)),
        Fault("before staging", point="staging", most=3),
        Fault("half a file written", point="half-written", most=row),
        Fault("after writing", point="before-publishing", most=row),
        Fault("after writing, the run", point="before-publishing", most=row, whom="parent"),
        Fault("after the publishing line", point="after-publishing-line", most=row),
        Fault("between two publishes", point="between-publishes", most=row),
        Fault("between two publishes, all", point="between-publishes", most=row, whom="all"),
        Fault("before the event", point="after-rename", most=row),
        Fault("before the event, all", point="before-done", most=row, whom="all"),
        Fault("half a line written", point="torn-line", most=row),
        Fault("half a line written, all", point="torn-line", most=row, whom="all"),
        Fault("after start, all", point="after-start", most=row, whom="all"),
        Fault("before the claim", point="claim", role="run"),
        Fault("after the claim", point="claimed", role="run"),
        Fault("compaction, before its file", point="compact", role="run"),
        Fault("compaction, after its file", point="compacted", role="run"),
        Fault("compaction, while deleting", point="compacting", most=90, role="run"),
        Fault("compaction, while pruning", point="pruning", most=90, role="run"),
        Fault("sweeping", point="sweeping", most=8, role="run"),
    ]
    return {fault.name: fault for fault in faults}
