"""Worker processes: what they survive, how they end, and that nothing of them is left."""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from sinagot_catalog.errors import SinagotError
from sinagot_catalog.journal.run_spec import Port, RunSpec, UnitStepSpec
from sinagot_catalog.journal.writer import read_lines
from sinagot_catalog.patterns.template import parse_template
from sinagot_catalog.run.executor import RunSetup
from sinagot_catalog.run.workers import worker_process
from sinagot_catalog.run.workers.pool import Pool
from sinagot_catalog.worker import __main__ as _worker

pytestmark = pytest.mark.slow

PATIENCE = 300.0
IDS = ("A", "B", "C", "D")


def wait_for(condition):
    """Look until something is so; fail after a bounded time."""
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.02)
    return found


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z" if Path("/proc/self").exists() else True


def started(spec, workers):
    return Pool(workers, threads_per_worker=spec.threads_per_worker).start(RunSetup(spec))


class Bench:
    """One step `work` over records, in worker processes."""

    def __init__(self, root):
        self.root = root
        self.data = root / "data"
        (self.data / "raw").mkdir(parents=True)
        (root / "scripts").mkdir()
        self.cells = []

    def step(self, body, name="work", reads="raw/{id}", **options):
        path = self.root / "scripts" / f"{name}.py"
        path.write_text(
            "import os, signal, sys, time\n"
            "from pathlib import Path\n"
            "from sinagot_catalog.scripts.script import ScriptTemplate\n"
            "class Script(ScriptTemplate):\n"
            "    def run(self):\n"
            + textwrap.indent(textwrap.dedent(body).strip(), " " * 8)
            + "\n        self.path.output.write_text(self.id)\n"
        )
        self.cells.append(
            UnitStepSpec(
                None,
                None,
                name,
                str(path),
                (Port(None, parse_template(reads, fields={"id"})),),
                (Port(None, parse_template(f"{name}/{{id}}", fields={"id"})),),
                **options,
            )
        )
        return self

    def spec(self, run_id="r1", **options):
        return RunSpec(
            run_id,
            str(self.data),
            str(self.data),
            str(self.data / "LOG"),
            str(self.root / "scripts"),
            ".+",
            tuple(self.cells),
            **options,
        )

    def groups(self, ids, late=()):
        """Each record with all steps; with `late`, these records with the last step, the others with the first."""
        steps = len(self.cells)
        for one in ids:
            (self.data / "raw" / one).touch()
        if late:
            return [[(n, steps - 1 if one in late else 0, one)] for n, one in enumerate(ids)]
        return [[(n * steps + s, s, one) for s in range(steps)] for n, one in enumerate(ids)]

    def run(self, ids=IDS, workers=2, late=(), **options):
        groups = self.groups(ids, late)
        results = []
        with started(self.spec(**options), workers) as runner:
            runner.run(groups, results.extend)
        assert sorted(result.row for result in results) == list(range(sum(map(len, groups))))
        names = {row: (self.cells[cell].step, one) for group in groups for row, cell, one in group}
        return {names[result.row]: result for result in results}

    def events(self, kind=None):
        files = sorted((self.data / "LOG" / "journal").rglob("*.ndjson"))
        return [e for path in files for e in read_lines(str(path)) if kind in (None, e["event"])]

    def done(self, name="work"):
        folder = self.data / name
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


@pytest.fixture(autouse=True)
def nothing_left(tmp_path, children):
    """No process, pipe or file of a pool outlives it."""

    def descriptors():
        return set(Path("/proc/self/fd").iterdir()) if Path("/proc/self").exists() else set()

    before, running = descriptors(), children()
    threads = set(threading.enumerate())
    yield
    assert len(descriptors()) <= len(before)
    assert set(threading.enumerate()) <= threads
    assert children() <= running
    assert not list(tmp_path.glob("data/LOG/.staging/*"))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("os._exit(3)", "ended its process with exit code 3"),
        ("os._exit(0)", "ended its process with exit code 0"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "killed its process (signal 11, segmentation fault)"),
        ("import ctypes; ctypes.string_at(0)", "killed its process (signal 11, segmentation fault)"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "killed its process (signal 9, killed"),
        ("os.abort()", "killed its process (signal 6, aborted)"),
        ("signal.raise_signal(signal.SIGTERM)", "killed its process (signal 15, terminated)"),
    ],
)
def test_a_script_that_ends_its_process_fails_its_own_row_only(bench, body, message):
    bench.step(
        f"if self.id == 'B':\n    self.path.output.write_text('half')\n    print('last words')\n    {body}"
    )
    results = bench.run()
    bad = results["work", "B"]
    assert (bad.outcome, bad.error_type, bad.attempts) == ("error", "WorkerDied", 1)
    assert bad.message.startswith(message)
    assert [results["work", one].outcome for one in "ACD"] == ["done"] * 3
    assert bench.done() == ["A", "C", "D"]
    (event,) = bench.events("error")
    assert (event["record_id"], event["error_type"], event["step_status"]) == ("B", "WorkerDied", 40)
    assert "last words" in event["output"]


def test_every_row_may_kill_its_worker(bench):
    bench.step("os._exit(1)")
    assert {result.error_type for result in bench.run().values()} == {"WorkerDied"}


def test_rows_after_a_crash_in_the_same_group_are_blocked_or_run(bench):
    bench.step("if self.id == 'A': os._exit(1)", "first")
    bench.step("pass", "second", reads="first/{id}")
    bench.step("pass", "other")
    results = bench.run(("A", "B"), workers=1)
    assert [results[step, "A"].outcome for step in ("first", "second", "other")] == [
        "error",
        "blocked",
        "done",
    ]
    assert results["second", "A"].message == "waits for first, which failed"
    assert all(results[step, "B"].outcome == "done" for step in ("first", "second", "other"))


def test_a_crash_is_tried_again_as_often_as_the_step_says(bench):
    bench.step(
        """
        count = self.data_path / "count"
        with count.open("a") as file:
            file.write("x")
        if len(count.read_text()) < 3:
            os._exit(1)
        """,
        retries=2,
    )
    result = bench.run("A")["work", "A"]
    assert (result.outcome, result.attempts) == ("done", 3)


def test_what_a_dead_worker_had_finished_is_known_from_its_journal(bench):
    ids = [f"R{n}" for n in range(60)]
    bench.step("if self.id in ('R5', 'R20', 'R45'): os._exit(1)")
    results = bench.run(ids)
    assert [one for one in ids if results["work", one].outcome != "done"] == ["R5", "R20", "R45"]
    started = [event["record_id"] for event in bench.events("start")]
    assert sorted(started) == sorted(ids), "a finished row was run twice"


def test_a_row_past_its_time_is_ended_and_the_rest_goes_on(bench):
    bench.step("pass", timeout=PATIENCE).step("time.sleep(600)", "late", timeout=0.5)
    begin = time.monotonic()
    results = bench.run(late="B")
    assert time.monotonic() - begin < 200
    late = results["late", "B"]
    assert (late.outcome, late.error_type) == ("timeout", "Timeout")
    assert late.message == "ran past its TIMEOUT of 0.5 s"
    assert [results["work", one].outcome for one in "ACD"] == ["done"] * 3
    (event,) = bench.events("error")
    assert (event["error_type"], event["record_id"]) == ("Timeout", "B")


def test_a_script_that_will_not_end_is_made_to(bench):
    bench.step(
        """
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(1)
        """,
        timeout=0.3,
    )
    begin = time.monotonic()
    assert bench.run("A")["work", "A"].outcome == "timeout"
    assert time.monotonic() - begin < 200


def test_a_time_out_is_tried_again_as_often_as_the_step_says(bench):
    bench.step("time.sleep(600)", "late", timeout=0.3, retries=1)
    bench.step(
        """
        with (self.data_path / "count").open("a") as count:
            count.write("x")
        if len((self.data_path / "count").read_text()) == 1:
            time.sleep(600)
        """,
        timeout=0.5,
        retries=50,  # on a busy machine a row that sleeps no more may be late as well
    )
    results = bench.run("A")
    assert (results["late", "A"].outcome, results["late", "A"].attempts) == ("timeout", 2)
    assert results["work", "A"].outcome == "done"
    assert results["work", "A"].attempts >= 2


def test_what_a_failed_script_printed_is_in_its_event_and_nothing_of_the_row_before(bench):
    bench.step(
        """
        print("from", self.id)
        print("error of", self.id, file=sys.stderr)
        os.system("echo child of " + self.id)
        if self.id == "B":
            raise ValueError
        """
    )
    bench.run(("A", "B"), workers=1)
    (event,) = bench.events("error")
    assert sorted(event["output"].splitlines()) == ["child of B", "error of B", "from B"]


def test_a_pipe_in_place_of_the_standard_error_does_not_fail_the_rows_after(bench):
    bench.step(
        """
        if self.id == "A":
            reader, writer = os.pipe()
            os.dup2(writer, 2)
        """
    )
    assert {one.outcome for one in bench.run(("A", "B", "C"), workers=1).values()} == {"done"}


@pytest.mark.parametrize("number", [0, 1])
def test_a_script_that_closes_one_pipe_to_its_parent_fails_alone(bench, number):
    bench.step(
        f"""
        if self.id == "A":
            pipes = [n for n in range(3, 20) if os.path.exists(f"/proc/self/fd/{{n}}")
                     and os.readlink(f"/proc/self/fd/{{n}}").startswith("pipe:")]
            os.close(pipes[{number}])
        """
    )
    results = bench.run(("A", "B"), workers=1)
    assert results["work", "A"].message == "closed files of its process that it did not open"
    assert results["work", "B"].outcome == "done"


def test_the_board_tells_what_was_shown_last(tmp_path):
    with (tmp_path / "board").open("w+b") as file:
        file.truncate(_worker.BOARD_SIZE)
        board, other = _worker.SharedStatus(file.fileno()), _worker.SharedStatus(file.fileno())
    before = time.monotonic()
    board.show(7, 2, 1 << 40)
    since, *what = other.read()
    assert before <= since <= time.monotonic()
    assert what == [7, 2, 1 << 40]
    board.show(-1, 0, 0)
    assert other.read()[1:] == (-1, 0, 0)
    board.close()
    other.close()


def test_endless_output_is_bounded_on_disk_and_in_the_event(bench):
    bench.step(
        """
        end = time.monotonic() + 1
        while time.monotonic() < end:
            os.write(1, b"x" * 65536)
        for _ in range(300):  # the run looks now and then
            time.sleep(0.2)
            size = os.fstat(1).st_size
            if size <= 1 << 20:
                break
        raise ValueError(str(size <= 1 << 20))
        """
    )
    assert bench.run("A")["work", "A"].message == "True"
    (event,) = bench.events("error")
    assert len(event["output"] or "") <= 16 * 1024


def test_a_script_is_imported_once_per_worker(bench):
    bench.step("pass")
    script = bench.root / "scripts" / "work.py"
    script.write_text(f"open({str(bench.root / 'loads')!r}, 'a').write('x')\n" + script.read_text())
    bench.run([f"R{n}" for n in range(50)], workers=2)
    assert len((bench.root / "loads").read_text()) <= 2


def test_a_worker_loads_no_heavy_library(bench):
    bench.step("self.data_path.joinpath('modules').write_text(' '.join(sys.modules))")
    bench.run("A")
    loaded = {name.partition(".")[0] for name in (bench.data / "modules").read_text().split()}
    assert not loaded & {"polars", "pyarrow", "fsspec", "pydantic", "prefect", "rich", "asyncio", "socket"}


def test_scripts_import_what_the_caller_can_and_see_its_environment(bench, monkeypatch):
    (bench.root / "library").mkdir()
    (bench.root / "library" / "of_the_caller.py").write_text("NAME = 'here'\n")
    monkeypatch.syspath_prepend(bench.root / "library")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("POLARS_MAX_THREADS", raising=False)
    bench.step(
        """
        from of_the_caller import NAME
        names = ("PYTHONPATH", "OMP_NUM_THREADS", "POLARS_MAX_THREADS")
        self.data_path.joinpath("seen").write_text(" ".join([NAME, *(os.environ[name] for name in names)]))
        """
    )
    assert bench.run("A")["work", "A"].outcome == "done"
    assert (bench.data / "seen").read_text() == "here /somewhere 7 1"


def test_children_that_a_script_leaves_are_ended_with_its_worker(bench):
    bench.step(
        """
        import subprocess
        child = subprocess.Popen(["sleep", "600"])
        self.data_path.joinpath("child").write_text(str(child.pid))
        """
    )
    assert bench.run("A")["work", "A"].outcome == "done"
    wait_for(lambda: not is_alive(int((bench.data / "child").read_text())))


def test_a_thread_that_a_script_leaves_does_not_keep_its_worker(bench):
    bench.step("import threading; threading.Thread(target=time.sleep, args=(600,)).start()")
    begin = time.monotonic()
    assert bench.run("A")["work", "A"].outcome == "done"
    assert time.monotonic() - begin < 200


def test_a_forked_child_that_holds_the_pipes_does_not_hide_that_its_worker_is_gone(bench):
    bench.step("if os.fork():\n    os._exit(3)\nelse:\n    time.sleep(600)")
    begin = time.monotonic()
    assert bench.run("A")["work", "A"].message == "ended its process with exit code 3"
    assert time.monotonic() - begin < 200


def test_rows_behind_a_slow_one_are_taken_over_by_an_idle_worker(bench):
    # The slow row comes early in a batch of quick ones and ends only when all the others are done.
    ids = [f"R{n:02}" for n in range(16)]
    bench.step(
        f"""
        if self.id == "R00":
            end = time.monotonic() + {PATIENCE}
            while len(list(self.data_path.joinpath("work").glob("*"))) < {len(ids) - 1}:
                assert time.monotonic() < end
                time.sleep(0.02)
        """
    )
    assert {result.outcome for result in bench.run(ids).values()} == {"done"}


def test_results_come_while_a_slow_row_of_the_same_batch_runs(bench):
    bench.step(
        "if self.id == 'B':\n    while not self.data_path.joinpath('go').exists(): time.sleep(0.02)",
        timeout=PATIENCE,
    )
    seen = []

    def on_results(results):
        seen.extend(result.row for result in results)
        if 0 in seen:
            (bench.data / "go").touch()

    with started(bench.spec(), 1) as runner:
        runner.run_batch([])
        runner.run(bench.groups("AB"), on_results)
    assert seen == [0, 1]


def test_groups_may_come_from_a_generator_and_in_any_number(bench):
    bench.step("pass")
    ids = [f"R{n}" for n in range(300)]
    results = []
    with started(bench.spec(), 2) as runner:
        runner.run(iter([]), results.extend)
        runner.run((group for group in bench.groups(ids)), results.extend)
        runner.run([], results.extend)
    assert {result.outcome for result in results} == {"done"}
    assert len(results) == len(ids) == len(bench.done())


def test_many_threads_run_batches_on_the_same_workers(bench):
    bench.step("if self.id == 'R07': os._exit(1)", timeout=PATIENCE).step(
        "time.sleep(600)", "late", timeout=0.5
    )
    groups = bench.groups([f"R{n:02}" for n in range(40)], late={"R13"})
    results = []
    with started(bench.spec(), 2) as runner:
        threads = [
            threading.Thread(target=lambda part: results.extend(runner.run_batch(part)), args=(groups[n::8],))
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    outcomes = {result.row: result.outcome for result in results}
    assert len(outcomes) == 40
    assert {row: outcome for row, outcome in outcomes.items() if outcome != "done"} == {
        7: "error",
        13: "timeout",
    }


def test_stop_from_another_thread_ends_what_runs_and_cancels_the_rest(bench):
    bench.step("self.data_path.joinpath('begun-' + self.id).touch()\ntime.sleep(600)")
    results = []
    with started(bench.spec(), 2) as runner:
        stopper = threading.Thread(
            target=lambda: (wait_for(lambda: len(list(bench.data.glob("begun-*"))) == 2), runner.stop())
        )
        stopper.start()
        begin = time.monotonic()
        runner.run(bench.groups(IDS), results.extend)
        stopper.join()
        assert time.monotonic() - begin < 200
        assert runner.run_batch([[(9, 0, "Z")]])[0].outcome == "cancelled"
    assert sorted((result.row, result.outcome) for result in results) == [(n, "cancelled") for n in range(4)]
    begun = {path.name[-1] for path in bench.data.glob("begun-*")}
    assert {event["record_id"] for event in bench.events("cancelled")} == begun
    assert {event["step_status"] for event in bench.events("cancelled")} == {0}


def test_a_callback_that_fails_ends_the_run_and_is_raised(bench):
    bench.step("time.sleep(0.01)")

    def fail(results):
        raise LookupError(results[0].outcome)

    with started(bench.spec(), 2) as runner, pytest.raises(LookupError):
        runner.run(bench.groups(IDS), fail)


def test_a_worker_that_cannot_start_is_a_sentence_and_not_an_endless_loop(bench, monkeypatch):
    bench.step("pass")
    environment = worker_process._environment
    monkeypatch.setattr(
        worker_process,
        "_environment",
        lambda threads: {**environment(threads), "PYTHONPATH": "", "PYTHONHOME": "/no"},
    )
    with (
        started(bench.spec(), 2) as runner,
        pytest.raises(SinagotError, match="cannot start"),
    ):
        runner.run(bench.groups(IDS), lambda _: None)


def test_a_worker_that_dies_while_it_waits_is_replaced(bench):
    bench.step("self.data_path.joinpath('pid').write_text(str(os.getpid()))")
    with started(bench.spec(), 1) as runner:
        assert runner.run_batch(bench.groups("A"))[0].outcome == "done"
        pid = int((bench.data / "pid").read_text())
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not is_alive(pid))
        assert runner.run_batch([[(1, 0, "B")]])[0].outcome == "not_available"


def test_workers_may_start_before_the_run_is_known(bench):
    bench.step("pass")
    with Pool(2).start_workers(2) as pool:
        results = []
        pool.start(RunSetup(bench.spec())).run(bench.groups(IDS), results.extend)
    assert {result.outcome for result in results} == {"done"}


def test_a_pool_that_never_worked_ends_its_warm_workers():
    with Pool(2).start_workers(2):
        pass


PARENT = """
import sys
sys.path[:0] = {path!r}
from sinagot_catalog.run import Pool, RunSetup
import pickle
spec, groups, out = pickle.load(open(sys.argv[1], "rb"))
results = []
try:
    with Pool(2).start(RunSetup(spec)) as runner:
        runner.run(groups, results.extend)
except KeyboardInterrupt:
    open(out, "w").write(" ".join(sorted(f"{{r.row}}:{{r.outcome}}" for r in results)))
    sys.exit(130)
"""


@contextlib.contextmanager
def parent_process(bench, ids):
    """A process of its own that runs rows, as a user's terminal starts it."""
    import pickle

    plan = bench.root / "plan"
    plan.write_bytes(pickle.dumps((bench.spec(), bench.groups(ids), str(bench.root / "out"))))
    command = [sys.executable, "-c", PARENT.format(path=sys.path), str(plan)]
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE) as parent:
        try:
            yield parent
        finally:
            parent.kill()


SLEEPS = "self.data_path.joinpath('begun-' + self.id).write_text(str(os.getpid()))\ntime.sleep(600)"


def begun(bench, count):
    def look():
        pids = [path.read_text() for path in bench.data.glob("begun-*")]
        return [int(pid) for pid in pids] if len(pids) == count and all(pids) else None

    return wait_for(look)


def test_workers_end_when_their_parent_is_killed(bench):
    bench.step(SLEEPS)
    with parent_process(bench, IDS) as parent:
        pids = begun(bench, 2)
        parent.kill()
        for pid in pids:
            wait_for(lambda pid=pid: not is_alive(pid))
    assert bench.done() == []
    # What the killed run left is for the next run to clear.
    for path in bench.data.glob("LOG/.staging/*"):
        subprocess.run(["rm", "-r", path], check=True)


@pytest.mark.parametrize("to_group", [False, True])
def test_an_interrupt_ends_what_runs_within_seconds_and_cancels_the_rest(bench, to_group):
    bench.step("if self.id == 'A': self.path.output.touch()\nelse:\n" + textwrap.indent(SLEEPS, "    "))
    with parent_process(bench, IDS) as parent:
        pids = begun(bench, 2)
        begin = time.monotonic()
        (os.killpg if to_group else os.kill)(parent.pid, signal.SIGINT)
        assert parent.wait(PATIENCE) == 130
        assert time.monotonic() - begin < 200
        assert parent.stderr.read() == b""
    assert not any(is_alive(pid) for pid in pids)
    assert (bench.root / "out").read_text() == "0:done 1:cancelled 2:cancelled 3:cancelled"
    assert bench.done() == ["A"]
    assert len(bench.events("cancelled")) == 2


def test_a_worker_that_dies_after_its_last_rename_leaves_a_row_that_is_done(bench):
    # The thread kills the process as soon as the output is in place; whichever comes first, nothing contradicts.
    # It is the last row: on a busy machine the thread may come late, and kill the process in the row after it.
    bench.step(
        """
        import threading
        final = self.data_path / "work" / self.id
        def kill():
            while not final.exists():
                pass
            os.kill(os.getpid(), signal.SIGKILL)
        if self.id == "D":
            threading.Thread(target=kill, daemon=True).start()
        """
    )
    assert {result.outcome for result in bench.run().values()} == {"done"}
    assert bench.done() == list(IDS)
    assert {event["record_id"] for event in bench.events("done")} == set(IDS)


def test_killing_workers_at_any_moment_loses_no_row_and_no_output(bench):
    ids = [f"R{n}" for n in range(400)]
    bench.step("time.sleep(0.002)")
    groups = bench.groups(ids)
    results = []
    over = threading.Event()
    with started(bench.spec(), 3) as runner:

        def kill():
            most = 20  # each costs a row at most
            for slot in itertools.cycle(runner._slots):
                if over.wait(0.12) or not most:
                    return
                process = slot._process
                if process is not None and process.is_ready:
                    process._signal(signal.SIGKILL)
                    most -= 1

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            runner.run(groups, results.extend)
        finally:
            over.set()
            killer.join()
    assert sorted(result.row for result in results) == list(range(len(ids)))
    assert {result.outcome for result in results} <= {"done", "error"}
    done = [ids[result.row] for result in results if result.outcome == "done"]
    assert sorted(done) == bench.done()
    assert all((bench.data / "work" / one).read_text() == one for one in done)
    assert len(done) >= len(ids) - 20
