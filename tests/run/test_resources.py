"""Resources of steps: what starts side by side, what a row's process sees, and what can never fit."""

import json
import os
import signal
from collections import Counter
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from threading import Event, Thread

import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.errors import UsageError

CPUS = min(2, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
MACHINE = {"SLURM_CPUS_PER_TASK": str(CPUS), "SLURM_MEM_PER_NODE": "1000", "CUDA_VISIBLE_DEVICES": "3,5"}
MIB = 2**20
LIMIT = 2.0  # seconds of the steps that are late

SCRIPT = """
import json, os, signal, time
from sinagot_catalog import ScriptTemplate

class Script(ScriptTemplate):
    PATH_IN = {reads!r}
    PATH_OUT = "{name}/{{id}}.txt"
    {declared}
    TIMEOUT = {limit}

    def note(self, what):
        line = json.dumps([time.monotonic(), what, self.label, self.id, os.getpid(),
            os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("OMP_NUM_THREADS"),
            os.environ.get("POLARS_MAX_THREADS")])
        fd = os.open({notes!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, (line + "\\n").encode())
        os.close(fd)

    def name_process(self, name):
        if os.path.exists("/proc/self/comm"):
            with open("/proc/self/comm", "w") as file:
                file.write(name)

    def run(self):
        self.note("start")
        text = self.path.input.read_text().split()
        end = text[0]
        size, tag = (int(text[2]), text[3]) if len(text) > 2 else (0, "idle")
        self.name_process(f"{{tag}}:{{self.label}}:{{self.id}}" if size else tag)
        held = b"x" * size
        if end == "late":
            signal.signal(signal.SIGTERM, lambda *_: (self.note("end"), os._exit(1)))
            time.sleep(600)
        elif end == "after":  # so many starts of rows
            while sum('"start"' in line for line in open({notes!r})) < int(text[1]):
                time.sleep(0.01)
        else:
            time.sleep(float(text[1]))
        del held
        self.name_process(tag)
        self.note("end")
        if end == "raise":
            raise ValueError("no good")
        if end == "exit":
            os._exit(7)
        if end == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        self.path.output.write_text("done 0.01")
"""


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """Make a workspace from steps with resources, on a machine of a known size."""
    for name, value in MACHINE.items():
        monkeypatch.setenv(name, value)
    for name in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS"):
        monkeypatch.delenv(name, raising=False)

    def make(steps, raw, toml="", late=()):
        root = tmp_path / "lab"
        (root / "scripts").mkdir(parents=True)
        names = [name.partition("/")[0] for name in steps]
        (root / "workspace.toml").write_text(
            f"[records]\nid_pattern = 'R\\d+'\n[steps]\nscripts = {json.dumps(names)}\n[run]\nworkers = 4\n{toml}"
        )
        for name, resources in steps.items():
            step, _, reads = name.partition("/")
            declared = f"RESOURCES = {resources!r}" if resources is not None else ""
            text = SCRIPT.format(
                name=step,
                reads=f"{reads or 'raw-' + step}/{{id}}.txt",
                declared=declared,
                notes=str(root / "notes"),
                limit=LIMIT if step in late else 300.0,
            )
            (root / "scripts" / f"{step}.py").write_text(text)
        for path, text in raw.items():
            (root / "dataset" / path).parent.mkdir(parents=True, exist_ok=True)
            (root / "dataset" / path).write_text(text)
        return Workspace(root)

    return make


def noted(ws):
    return Path(ws.config.root, "notes")


def notes(ws):
    """What the scripts noted, in the order of time: time, start or end, step, record, pid, GPUs, threads."""
    return sorted(json.loads(line) for line in noted(ws).read_text().splitlines())


def spans(ws):
    """Each attempt: step, record, its begin and its end, its GPUs."""
    found, begun = [], {}
    for time, what, step, record, pid, gpus, *_ in notes(ws):
        if what == "start":
            begun[step, record, pid] = time, gpus
        else:
            found.append((step, record, *begun.pop((step, record, pid)), time))
    # Without an end, the script was killed at its time-out: when that was is not known here.
    found += [(step, record, time, gpus, time) for (step, record, _), (time, gpus) in begun.items()]
    return [(step, record, start, end, gpus) for step, record, start, gpus, end in found]


def most_at_a_time(spans, amount):
    """The largest sum of an amount over the attempts that ran at the same moment."""
    changes = sorted(
        (moment, sign * amount(step))
        for step, _, start, end, _ in spans
        for moment, sign in ((start, 1), (end, -1))
    )
    total = most = 0
    for _, change in changes:
        total += change
        most = max(most, total)
    return most


def started(ws, step=None):
    return [
        (one, record) for _, what, one, record, *_ in notes(ws) if what == "start" and step in (None, one)
    ]


class Observer:
    """Sees from outside which rows run side by side: the scripts name their processes `TAG:STEP:RECORD`.

    Attributes:
        tag: The tag of this test.
        moments: For each moment, the rows that ran, each with the bytes that its process had in memory.
    """

    def __init__(self):
        self.tag = f"t{os.getpid() % 1000:03}"
        self.moments = []

    @contextmanager
    def looking(self):
        over = Event()

        def look():
            processes = []
            while not over.wait(0.02):
                # Some looks find the processes with the tag, the others look at these alone.
                is_tenth = len(self.moments) % 10 == 0
                processes = list(Path("/proc").glob("[0-9]*")) if is_tenth else processes
                first = self._rows(processes)
                processes = [folder for folder, _ in first] if is_tenth else processes
                # A process that has the same name in a second look ran its row all the time between the two.
                second = self._rows(processes)
                self.moments.append(
                    {row: size for (folder, row), size in first.items() if row and (folder, row) in second}
                )

        thread = Thread(target=look)
        thread.start()
        yield
        over.set()
        thread.join()

    def _rows(self, processes):
        found = {}
        for folder in processes:
            try:
                name, *row = (folder / "comm").read_text().strip().split(":")
                pages = int((folder / "statm").read_text().split()[1])
            except OSError:
                continue  # it has ended
            if name == self.tag and pages:
                found[folder, tuple(row)] = pages * os.sysconf("SC_PAGE_SIZE")
        return found


@pytest.mark.slow
def test_rows_of_mixed_sizes_never_use_more_than_the_machine_has_whatever_ends_them(lab, monkeypatch):
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "400")
    steps = {
        "small": {"cpus": 1, "memory": "50MiB"},
        "wide": {"cpus": CPUS, "memory": "120MiB"},
        "heavy": {"cpus": 1, "memory": "280MiB"},
        "card": {"gpus": 1, "memory": "60MiB"},
        "plain": None,
    }
    # Steps that need the same, and whose rows pass their time-out. The names of steps are short: those of processes
    # have 15 characters.
    late = {step: f"late{step[0]}" for step in steps}
    every = steps | {late[step]: table for step, table in steps.items()}
    asked = {step: table or {} for step, table in every.items()}
    memory = {step: int(table.get("memory", "0MiB").removesuffix("MiB")) for step, table in asked.items()}
    ends = ["ok 0.1"] * 12 + [
        "raise 0.02",
        "ok 0.2",
        "exit 0.02",
        "ok 0.05",
        "kill 0.02",
        "raise 0",
        "ok 0",
        "ok 0",
    ]
    observer = Observer()
    # A row takes what it asked for, less what an idle Python has.
    taken = {step: max(size - 40, 0) * MIB for step, size in memory.items()}
    raw = {
        f"raw-{step}/R{n:03}.txt": f"{ends[(n * 7 + 3 * k) % 20]} {taken[step]} {observer.tag}"
        for k, step in enumerate(steps)
        for n in range(20)
    }
    raw |= {f"raw-{one}/R010.txt": f"late 0 {taken[one]} {observer.tag}" for one in late.values()}
    ws = lab(every, raw, late=late.values())
    with observer.looking():
        report = ws.steps.run(progress=False)
    ended = Counter(text.split()[0] for text in raw.values())
    assert report.counts() == {
        "done": ended["ok"], "error": ended["raise"] + ended["exit"] + ended["kill"], "timeout": ended["late"]
    }  # fmt: skip
    attempts = spans(ws)
    assert len([one for one in attempts if one[0] in steps]) == 100
    assert 1 <= most_at_a_time(attempts, lambda step: asked[step].get("cpus", 1)) <= CPUS
    assert 280 <= most_at_a_time(attempts, memory.__getitem__) <= 400
    for gpu in ("3", "5"):
        assert most_at_a_time([one for one in attempts if one[4] == gpu], lambda _: 1) <= 1
    seen = {step: {gpus for one, _, _, _, gpus in attempts if one == step} for step in steps}
    assert seen.pop("card") <= {"3", "5"}
    assert set(map(frozenset, seen.values())) == {frozenset({""})}
    if Path("/proc/self/comm").exists():
        check_moments(observer.moments, asked, {row[:2]: row[4] for row in attempts})


def check_moments(moments, asked, gpus):
    """Check what was seen from outside: cpus, memory in use, GPUs."""
    assert {step for rows in moments for step, _ in rows} >= {"small", "wide", "heavy", "card"}
    for rows in moments:
        assert sum(asked[step].get("cpus", 1) for step, _ in rows) <= CPUS
        assert sum(rows.values()) <= 400 * MIB
        cards = [gpus[row] for row in rows if asked[row[0]].get("gpus")]
        assert len(cards) == len(set(cards))
    assert max(sum(rows.values()) for rows in moments) >= 240 * MIB
    assert CPUS == 1 or any(len(rows) > 1 for rows in moments)


def test_cpus_raise_the_thread_limits_of_the_rows_that_ask_for_them(lab):
    ws = lab({"one": None, "two/one": {"cpus": CPUS}}, {"raw-one/R1.txt": "ok 0", "raw-one/R2.txt": "ok 0"})
    assert ws.steps.run(downstream=True, progress=False).counts() == {"done": 4}
    caps = {(line[2], line[6], line[7]) for line in notes(ws)}
    assert caps == {("one", "1", "1"), ("two", str(CPUS), str(CPUS))}
    assert {line[5] for line in notes(ws)} == {
        "3,5"
    }  # no step asks for a GPU: all see what this process sees


def test_rows_see_no_gpu_where_only_a_step_that_does_not_run_asks_for_one(lab):
    ws = lab({"plain": None, "card": {"gpus": 1}}, {"raw-plain/R1.txt": "ok 0", "raw-card/R1.txt": "ok 0"})
    assert ws.steps.filter(step="plain").run(progress=False).counts() == {"done": 1}
    assert {line[5] for line in notes(ws)} == {""}


def test_a_row_whose_maker_failed_is_blocked_also_where_they_need_different_resources(lab):
    steps = {"first": {"cpus": 1}, "second/first": {"cpus": CPUS, "memory": "1MiB"}, "third/second": None}
    ws = lab(steps, {"raw-first/R1.txt": "raise 0", "raw-first/R2.txt": "exit 0", "raw-first/R3.txt": "ok 0"})
    report = ws.steps.run(downstream=True, progress=False)
    assert report.counts() == {"done": 3, "error": 2, "blocked": 4}
    assert started(ws)[-3:] == [("first", "R3"), ("second", "R3"), ("third", "R3")]


@pytest.mark.skipif(CPUS < 2, reason="nothing runs side by side on one CPU")
def test_small_rows_do_not_keep_a_large_row_waiting(lab):
    raw = {f"raw-small/R{n:03}.txt": "ok 0.05" for n in range(60)} | {"raw-large/R004.txt": "ok 0.01"}
    ws = lab({"small": {"memory": "400MiB"}, "large": {"memory": "1000MiB"}}, raw)
    assert ws.steps.run(progress=False).counts() == {"done": 61}
    assert started(ws).index(("large", "R004")) < 15


@pytest.mark.skipif(CPUS < 2, reason="nothing runs side by side on one CPU")
def test_rows_that_wait_for_a_gpu_let_others_pass(lab, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    # The first of these rows ends when five rows have begun, itself among them.
    raw = {f"raw-card/R{n:03}.txt": "after 5" for n in range(2)} | {
        f"raw-plain/R{n:03}.txt": "ok 0.01" for n in range(9)
    }
    ws = lab({"card": {"gpus": 1}, "plain": {"cpus": 1}}, raw)
    assert ws.steps.run(progress=False).counts() == {"done": 11}
    steps = [step for step, _ in started(ws)]
    assert "card" in steps[4:]
    assert {line[5] for line in notes(ws) if line[2] == "card"} == {"7"}
    cards = [one for one in spans(ws) if one[0] == "card"]
    assert all(before[3] <= after[2] for before, after in pairwise(sorted(cards, key=lambda one: one[2])))


def test_the_config_adapts_what_a_script_asks_for(lab):
    toml = '[steps.fit]\nresources = {memory = "500MiB"}\n'
    ws = lab({"fit": {"cpus": CPUS, "memory": "5GB"}}, {"raw-fit/R1.txt": "ok 0"}, toml)
    assert ws.steps.run(progress=False).counts() == {"done": 1}
    assert notes(ws)[0][6] == str(CPUS)


def test_commands_and_functions_have_resources_too(lab, cli):
    toml = (
        "[steps.show]\ncommand = 'cp {input} {output}'\ninputs = 'f/{id}.txt'\noutputs = 'g/{id}.txt'\n"
        f"resources.cpus = {CPUS}\n"
    )
    ws = lab({"f": None, "show": None}, {"raw-f/R1.txt": "x"}, toml)
    root = Path(ws.config.root)
    (root / "scripts" / "show.py").unlink()
    (root / "scripts" / "f.py").write_text(
        "import os\nfrom sinagot_catalog import step\n"
        f"@step(inputs='raw-f/{{id}}.txt', outputs='f/{{id}}.txt', resources={{'cpus': {CPUS}, 'gpus': 2}})\n"
        "def f(output):\n"
        "    output.write_text(os.environ['CUDA_VISIBLE_DEVICES'] + ' ' + os.environ['OMP_NUM_THREADS'])\n"
    )
    assert cli("run", root, "--downstream").stdout.startswith("2 done")
    assert (root / "dataset" / "g" / "R1.txt").read_text() == f"3,5 {CPUS}"


@pytest.mark.parametrize("mode", ["processes", "main_process"])
@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"cpus": 640}, f"step fit needs 640 cpus, and this machine has {CPUS}"),
        ({"memory": "2GB"}, "step fit needs 2.0 GB of memory, and this machine has 1.0 GB"),
        ({"gpus": 3}, "step fit needs 3 gpus, and this machine has 2"),
    ],
)
def test_what_can_never_fit_is_refused_before_anything_starts(lab, cli, mode, asked, said):
    ws = lab({"fit": asked, "other": None}, {"raw-fit/R1.txt": "ok 0", "raw-other/R1.txt": "ok 0"})
    done = cli("run", ws.config.root, "--mode", mode)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {said}\n")
    assert not noted(ws).exists()
    with pytest.raises(UsageError, match="step fit needs"):
        ws.steps.run(mode=mode, progress=False)
    assert cli("run", ws.config.root, "--step", "other", "--mode", mode).returncode == 0


def test_memory_and_time_end_nothing(lab):
    ws = lab({"fit": {"memory": 1, "time": 0.01}}, {"raw-fit/R1.txt": "ok 0.2"})
    assert ws.steps.run(progress=False).counts() == {"done": 1}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"cpu": 2}, "RESOURCES: 'cpu' is not a resource; did you mean 'cpus'?"),
        ({"disk": "1GB"}, "RESOURCES: 'disk' is not a resource; the resources are cpus, memory, gpus, time"),
        ({"cpus": 0}, "RESOURCES: cpus: 0 is not a whole number from 1"),
        ({"cpus": True}, "RESOURCES: cpus: True is not a whole number from 1"),
        ({"memory": "8 parsecs"}, "RESOURCES: memory: '8 parsecs' is not a size such as 2 GB or 512 MiB"),
        ({"time": []}, "RESOURCES: time: [] is not an amount such as 2h"),
        ("4", "RESOURCES is not a dict such as {'cpus': 4, 'memory': '8GB'}"),
    ],
)
def test_what_is_no_resource_is_a_fault_of_its_step(lab, asked, said):
    ws = lab({"fit": asked, "other": None}, {"raw-fit/R1.txt": "ok 0", "raw-other/R1.txt": "ok 0"})
    rows = ws.steps.collect().sort("step")
    assert rows["status"].to_list() == ["ERROR", "DATA_READY"]
    assert rows["reason"][0].endswith(said)
    assert rows["reason"][0].startswith("scripts/fit.py:8: ")


def test_what_is_no_resource_is_a_fault_of_the_config(lab):
    toml = "[steps.fit]\nresources = {gpu = 1, cpus = 'all', time = '2 lightyears'}\n"
    with pytest.raises(UsageError) as error:
        lab({"fit": None}, {}, toml)
    assert error.value.message.splitlines() == [
        "workspace.toml: steps.fit.resources.gpu: 'gpu' is not a resource; did you mean 'gpus'?",
        "workspace.toml: steps.fit.resources.cpus: 'all' is not a whole number from 1",
        "workspace.toml: steps.fit.resources.time: '2 lightyears' is not a duration such as 90s, 10m, 2h, 7d or 1w",
    ]


def test_an_interrupt_cancels_the_rows_that_wait_for_resources(lab, wait_until):
    raw = {f"raw-fit/R{n:03}.txt": "ok 600" for n in range(30)}
    ws = lab({"fit": {"memory": "900MiB"}, "more/fit": {"cpus": CPUS}}, raw)

    def interrupt():
        wait_until(noted(ws).exists)
        os.kill(os.getpid(), signal.SIGINT)

    thread = Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        ws.steps.run(downstream=True, progress=False)
    thread.join()
    assert len(started(ws)) == 1
    assert ws.refresh().steps.filter(status="PROCESSING").is_empty()
    assert ws.steps.plan(downstream=True).n_run == 60
