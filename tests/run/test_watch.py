"""`sinagot-catalog watch`: real processes, real files that come in."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sinagot_catalog import Workspace

pytestmark = pytest.mark.slow

COUNTED = """
    with open(self.data_path / "tried.txt", "a") as log:
        log.write(f"{self.label} {self.id}\\n")
    text = self.path.input.read_text()
    if "bad" in text:
        raise ValueError(f"no boats on {self.id}")
    self.path.output.write_text(text + self.label + ";")
"""


class Watcher:
    """A `watch` that runs, with what it said so far."""

    def __init__(self, folder: Path, words: tuple, environment: dict[str, str]) -> None:
        self._files = [folder / "out.txt", folder / "err.txt"]
        with self._files[0].open("w") as out, self._files[1].open("w") as err:
            self.process = subprocess.Popen(
                [Path(sys.executable).with_name("sinagot-catalog"), "watch", *map(str, words)],
                stdout=out, stderr=err, stdin=subprocess.DEVNULL, env={**os.environ, **environment},
            )  # fmt: skip

    @property
    def out(self) -> str:
        return self._files[0].read_text()

    @property
    def err(self) -> str:
        return self._files[1].read_text()

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(300)


@pytest.fixture
def watcher(tmp_path) -> Iterator[Callable[..., Watcher]]:
    """Start `sinagot-catalog watch WORDS`; keywords are its environment. It ends with the test."""
    started: list[Watcher] = []

    def start(*words, **environment) -> Watcher:
        folder = tmp_path / f"watcher-{len(started)}"
        folder.mkdir()
        started.append(Watcher(folder, words, environment))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait(300)


@pytest.fixture
def chain(write_workspace) -> Path:
    """Two steps, one after the other, that note each attempt; one record is there."""
    scripts = {"a": ("raw/{id}.txt", "a/{id}.txt", COUNTED), "b": ("a/{id}.txt", "b/{id}.txt", COUNTED)}
    return write_workspace(scripts, {"raw/R1.txt": "1;"})


def tried(folder: Path) -> list[str]:
    """The attempts that the scripts noted."""
    log = folder / "dataset" / "tried.txt"
    return log.read_text().splitlines() if log.exists() else []


def come_in(folder: Path, name: str, text: str) -> None:
    """A file of the dataset appears whole."""
    replace(folder / "dataset" / name, text)


def replace(path: Path, text: str) -> None:
    """A file appears whole, as a copy by rename does."""
    hidden = path.with_name(f".{path.name}.part")
    hidden.write_text(text)
    hidden.replace(path)


def grow(path: Path) -> float:
    """A file grows piece by piece: its longest pause, in seconds."""
    last = time.monotonic()
    longest = 0.0
    with path.open("w") as growing:
        for piece in range(20):
            growing.write(f"{piece};")
            growing.flush()
            longest = max(longest, time.monotonic() - last)
            last = time.monotonic()
            time.sleep(0.01)
    return max(longest, time.monotonic() - last)


def test_new_files_run_with_what_follows_and_a_signal_ends_the_watch(chain, watcher, wait_until):
    # an hour: what is seen at all is seen because the system told
    watch = watcher(chain, "--run", "--interval", "1h", "--stable-for", "0.2s")
    wait_until((chain / "dataset/b/R1.txt").exists)
    come_in(chain, "raw/R2.txt", "2;")
    wait_until((chain / "dataset/b/R2.txt").exists)
    assert (chain / "dataset/b/R2.txt").read_text() == "2;a;b;"
    wait_until(lambda: watch.out.count("2 done in ") == 2)
    assert watch.end() == 0
    assert len(watch.out.splitlines()) == 2
    assert "watching workspace, and looking every 3600 s; Ctrl-C ends it\n" in watch.err
    assert "Traceback" not in watch.err
    assert tried(chain) == ["a R1", "b R1", "a R2", "b R2"]


def test_a_row_that_failed_waits_for_other_inputs_also_in_a_later_watch(chain, watcher, wait_until):
    come_in(chain, "raw/R1.txt", "bad;")
    words = (chain, "--run", "--interval", "0.3s", "--stable-for", "0s")
    first = watcher(*words)
    wait_until(lambda: "1 failed, 1 blocked in " in first.out)
    assert "  R1 a: ValueError: no boats on R1\n" in first.err
    come_in(chain, "raw/R2.txt", "2;")
    wait_until(lambda: "2 done in " in first.out)
    assert first.end() == 0
    second = watcher(*words)
    come_in(chain, "raw/R3.txt", "3;")
    wait_until(lambda: "2 done in " in second.out)
    assert "failed" not in second.out
    come_in(chain, "raw/R1.txt", "1;")
    wait_until(lambda: second.out.count("2 done in ") == 2)
    assert second.end(signal.SIGINT) == 0
    assert tried(chain) == ["a R1", "a R2", "b R2", "a R3", "b R3", "a R1", "b R1"]


def test_a_failure_downstream_is_tried_once(write_workspace, watcher, wait_until):
    good = COUNTED.replace('"bad"', '"never"')
    bad = COUNTED.replace('"bad"', '"a;"')
    folder = write_workspace(
        {"a": ("raw/{id}.txt", "a/{id}.txt", good), "b": ("a/{id}.txt", "b/{id}.txt", bad)},
        {"raw/R1.txt": "1;"},
    )
    watch = watcher(folder, "--run", "--interval", "0.2s", "--stable-for", "0s")
    wait_until(lambda: "1 done, 1 failed in " in watch.out)
    come_in(folder, "raw/R2.txt", "2;")
    wait_until(lambda: watch.out.count("1 done, 1 failed in ") == 2)
    assert watch.end() == 0
    assert tried(folder) == ["a R1", "b R1", "a R2", "b R2"]


def test_a_file_is_read_when_it_stands_still(chain, watcher, wait_until):
    watch = watcher(chain, "--run", "--interval", "0.1s", "--stable-for", "1.5s")
    wait_until((chain / "dataset/b/R1.txt").exists)
    # Until this process was never held up for so long that a file rightly seemed to stand still.
    record = next(one for one in ("R2", "R3", "R4", "R5") if grow(chain / f"dataset/raw/{one}.txt") < 1.4)
    wait_until((chain / f"dataset/b/{record}.txt").exists)
    assert watch.end() in (0, 130)  # the round may be at its end
    assert (chain / f"dataset/b/{record}.txt").read_text() == "".join(f"{n};" for n in range(20)) + "a;b;"
    assert [one for one in tried(chain) if one.endswith(record)] == [f"a {record}", f"b {record}"]


def test_a_growing_directory_is_one_input(write_workspace):
    folder = write_workspace({"a": ("raw/{id}/", "a/{id}.txt", "self.path.output.write_text('x')")})
    (folder / "dataset/raw/R1").mkdir(parents=True)
    (folder / "dataset/raw/R1/one").write_text("1")
    said: list[str] = []
    rounds = Workspace(folder).steps.watch(submit=False, once=True, stable_for=0.3, on_message=said.append)
    assert [report.counts() for report in rounds] == [{"done": 1}]
    assert said == []


def test_a_fault_of_the_workspace_is_said_and_the_watch_goes_on(chain, watcher, wait_until):
    watch = watcher(chain, "--run", "--interval", "0.2s", "--stable-for", "0s")
    wait_until((chain / "dataset/b/R1.txt").exists)
    toml = chain / "workspace.toml"
    text = toml.read_text()
    replace(toml, text.replace("[steps]", "[step]"))
    wait_until(lambda: "[steps]" in watch.err or "steps" in watch.err.partition("error: ")[2])
    come_in(chain, "raw/R2.txt", "2;")
    replace(toml, text)
    wait_until(lambda: watch.out.count("2 done in ") == 2)
    assert watch.end() == 0
    assert watch.err.count("error: ") == 1
    assert "the watch goes on" in watch.err


def test_a_fault_at_the_start_ends_it(cli, chain):
    done = cli("watch", chain, "--run", "--where", "statu = 'DONE'")
    assert done.returncode == 2
    assert "statu" in done.stderr
    unknown = cli("watch", chain, "--run", "--step", "aa")
    assert (unknown.returncode, "there is no step 'aa'; did you mean 'a'?" in unknown.stderr) == (2, True)


def test_once_runs_what_is_ready_and_ends(cli, chain):
    done = cli("watch", chain, "--run", "--once", "--json", "--where", "record_id = 'R1'")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["step"], row["outcome"]) for row in rows] == [("a", "done"), ("b", "done")]
    assert rows[0]["run_id"]
    come_in(chain, "raw/R2.txt", "bad;")
    assert cli("watch", chain, "--run", "--once").returncode == 3
    again = cli("watch", chain, "--run", "--once")
    assert (again.returncode, again.stdout) == (0, "")


def test_a_step_that_is_named_runs_alone(chain):
    ws = Workspace(chain)
    assert [report.counts() for report in ws.steps.watch("a", submit=False, once=True, stable_for=0)] == [
        {"done": 1}
    ]
    narrowed = ws.steps.sql_filter("step = 'a'")
    come_in(chain, "raw/R2.txt", "2;")
    assert [len(report) for report in narrowed.watch(submit=False, once=True, stable_for=0)] == [2]
    assert tried(chain) == ["a R1", "a R2", "b R2"]


def test_a_step_that_eats_its_input_ends_no_circle(write_workspace):
    body = "self.path.output.write_text('x'); self.path.input.unlink()"
    folder = write_workspace(
        {"a": ("raw/{id}", "a/{id}", "self.path.output.write_text('x')"), "b": ("a/{id}", "b/{id}", body)},
        ["raw/R1"],
    )
    rounds = Workspace(folder).steps.watch(submit=False, once=True, stable_for=0)
    assert [report.counts() for report in rounds] == [{"done": 2}]


def test_ctrl_c_in_a_run_ends_130_and_gives_the_rows_back(cli, write_workspace, watcher, wait_until):
    body = "import time; (self.data_path / 'begun').touch(); time.sleep(600)"
    folder = write_workspace({"a": ("raw/{id}", "a/{id}", body)}, ["raw/R1"])
    watch = watcher(folder, "--run", "--stable-for", "0s")
    wait_until((folder / "dataset/begun").exists)
    assert watch.end(signal.SIGINT) == 130
    assert "interrupted; what is done is kept" in watch.err
    assert "1 can run now" in cli("status", folder).stdout


def test_a_bucket_is_listed_from_time_to_time(moto, write_workspace, watcher, wait_until):
    folder = write_workspace(
        {"a": ("raw/{id}", "a/{id}", COUNTED.replace('self.data_path / "tried.txt"', "'/dev/null'"))},
        toml=f'[path]\ndataset = "{moto.url}"\nlog = "./LOG"\n',
    )
    moto.put({"raw/R1": "1;"})
    watch = watcher(folder, "--run", "--interval", "0.5s", **moto.environment)
    wait_until(lambda: moto.keys("a") == ["a/R1"])
    moto.put({"raw/R2": "2;"})
    wait_until(lambda: moto.keys("a") == ["a/R1", "a/R2"])
    wait_until(lambda: watch.out.count("1 done in ") == 2)
    assert watch.end() == 0
    assert moto.read("a/R2") == b"2;a;"


def test_options_given_in_code_outlive_an_edited_config(moto, write_workspace):
    toml = f'[path]\ndataset = "{moto.url}"\nlog = "./LOG"\n'
    folder = write_workspace({"a": ("raw/{id}", "a/{id}")}, toml=toml)
    ws = Workspace(folder, storage_options=moto.options)
    said: list[str] = []
    rounds = ws.steps.watch(submit=False, interval=0.2, stable_for=0, on_message=said.append)
    try:
        for number in (1, 2):
            moto.put({f"raw/R{number}": "1;"})
            assert set(next(rounds).frame["record_id"]) == {f"R{number}"}, said
            config = folder / "workspace.toml"
            config.write_text(config.read_text() + "\n# edited")
    finally:
        rounds.close()
    assert not [line for line in said if "cannot" in line]


@pytest.mark.usefixtures("prefect_server")
def test_without_a_word_it_submits_flows(chain, watcher, wait_until):
    watch = watcher(chain, "--stable-for", "0s")
    wait_until(lambda: watch.out.count("2 done in ") == 1)
    come_in(chain, "raw/R2.txt", "2;")
    wait_until(lambda: watch.out.count("2 done in ") == 2)
    assert watch.end() == 0
    assert watch.err.count("/runs/flow-run/") == 2
    assert watch.err.count("Prefect's page stays up") == 1
    assert tried(chain) == ["a R1", "b R1", "a R2", "b R2"]


def test_where_the_system_cannot_watch_it_looks_from_time_to_time(tmp_path):
    code = f"""
import os, resource, watchfiles
from sinagot_catalog.storage.local.file_events import Changes
said = []
changes = Changes(said.append)
most = max(map(int, os.listdir("/proc/self/fd" if os.path.isdir("/proc") else "/dev/fd"))) + 1
resource.setrlimit(resource.RLIMIT_NOFILE, (most - 1, most - 1))
for _ in range(3):
    changes.wait(0.01, [{str(tmp_path)!r}])
print(said)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True
    )
    assert done.stdout.count("cannot be watched") == 1, done.stdout + done.stderr
