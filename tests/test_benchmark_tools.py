"""Other tools beside ours: what is asked of them, what ends at the cap, what is skipped and why, what is shown."""

import io
import json
import os
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from rich.console import Console

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT))  # the benchmarks are not installed

from benchmarks._book import Book  # noqa: E402
from benchmarks._bounded import bounded  # noqa: E402
from benchmarks._compare import Figures, compared  # noqa: E402
from benchmarks._peers_table import markdown  # noqa: E402
from benchmarks._tools import OURS, PIPELINE, SINGLE, TASKS, TOOLS, Tool  # noqa: E402
from benchmarks.peers import Race  # noqa: E402

pytestmark = pytest.mark.slow
COUNT = """
import sys
from pathlib import Path

raw, out = Path("dataset/raw"), Path("dataset/out")
if sys.argv[1] == "status":
    for one in raw.iterdir():
        print(one.stem, (out / (one.stem + ".txt")).exists())
elif sys.argv[1] == "list":
    print(*(one.stem for one in raw.iterdir()), sep="\\n")
else:
    out.mkdir(exist_ok=True)
    for one in raw.iterdir():
        (out / (one.stem + ".txt")).write_text("3")
"""


@pytest.fixture
def folder_of_tool(tmp_path):
    (tmp_path / "tool").mkdir()
    (tmp_path / "tool" / "count.py").write_text(COUNT)
    return tmp_path / "tool"


@pytest.fixture
def tool(folder_of_tool):
    """A tool that works; `**changes` make another of it."""

    def made(name="counter", **changes):
        does = {
            task: ("python3", "count.py", task if task != "again" else "run") for task in TASKS
        } | changes.pop("does", {})
        return Tool(name=name, does=does, way="", beside="", files=folder_of_tool, **changes)

    return made


def race(tmp_path, tools, sizes, *, cap=300.0, times=1, seconds=900.0, work=SINGLE):
    talk = Console(file=io.StringIO())
    return Race(tmp_path / "cache", cap, times, seconds, talk, work=work).run(tools, sizes)


def found(result):
    return {(one["tool"], one["task"], one["records"]): one for one in result["measurements"]}


def python(code):
    return ("python3", "-c", code)


def is_gone(process, seconds=200.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state in "ZX":
            return True
        time.sleep(0.02)
    return False


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="this machine has no /proc")
def test_at_the_cap_all_that_was_started_is_ended(tmp_path):
    code = (
        "import subprocess, sys, time\n"
        "for new in (False, True):\n"
        "    command = [sys.executable, '-c', 'import time; time.sleep(300)']\n"
        "    one = subprocess.Popen(command, start_new_session=new)\n"
        "    open('pids', 'a').write(f'{one.pid}\\n')\n"
        "time.sleep(300)\n"
    )
    for cap in (1, 8, 64):  # as many seconds as this machine needs to start three programs
        (tmp_path / "pids").write_text("")
        ended = bounded([sys.executable, "-c", code], cap=cap, folder=tmp_path, environment=os.environ)
        assert ended.is_capped
        assert cap <= ended.seconds < 200
        pids = (tmp_path / "pids").read_text().split()
        assert all(is_gone(int(pid)) for pid in pids)
        if len(pids) == 2:
            return
    pytest.fail("two programs never started")


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="this machine has no /proc")
def test_memory_is_that_of_the_whole_tree(tmp_path):
    hold = "import sys, time; held = b'x' * 60_000_000; print(1, flush=True); sys.stdin.read()"
    code = (
        "import subprocess, sys, time\n"
        f"both = [subprocess.Popen([sys.executable, '-c', {hold!r}], stdin=-1, stdout=-1) for _ in range(2)]\n"
        "for one in both: one.stdout.readline()\n"
        "time.sleep(float(sys.argv[1]))\n"
        "for one in both: one.communicate()\n"
    )
    for seconds in ("0.5", "8", "64"):  # as many as this machine needs for a look at what they hold
        command = [sys.executable, "-c", code, seconds]
        ended = bounded(command, cap=300, folder=tmp_path, environment=os.environ)
        assert ended.code == 0
        assert ended.peak < 300
        if ended.peak > 120:
            return
    pytest.fail(f"{ended.peak} MB were seen of 120")


def test_processor_time_is_that_of_the_children_too(tmp_path):
    burn = "import time; end = time.process_time() + 0.5\nwhile time.process_time() < end: pass"
    code = f"import subprocess, sys\nfor _ in range(2): subprocess.run([sys.executable, '-c', {burn!r}])"
    ended = bounded([sys.executable, "-c", code], cap=300, folder=tmp_path, environment=os.environ)
    assert 1 <= ended.cpu < 5


def test_each_task_is_measured_on_files_of_its_own(tmp_path, tool):
    result = race(tmp_path, [tool()], [6, 12], times=2)
    figures = found(result)
    assert set(figures) == {("counter", task, records) for task in TASKS for records in (6, 12)}
    for one in figures.values():
        assert one["outcome"] == "done"
        assert len(one["seconds"]) == 2
        assert min(one["seconds"]) > 0
    assert result["disk cache"] == "start_workers"
    assert not (tmp_path / "cache" / "work" / "counter").exists()


def test_the_status_is_asked_when_half_is_done(tmp_path, tool):
    code = (
        "import os, sys\n"
        "there = len(os.listdir('dataset/out'))\n"
        "print('\\n' * len(os.listdir('dataset/raw')))\n"
        "sys.exit(0 if there * 2 == len(os.listdir('dataset/raw')) else f'{there} are there')\n"
    )
    for run in ({}, {"run": python("raise SystemExit('no')")}):
        figures = found(race(tmp_path, [tool(does={"status": python(code), **run})], [8]))
        assert figures["counter", "status", 8]["reason"] == ""
        assert figures["counter", "status", 8]["outcome"] == "done"


STEPS = """
import sys
from pathlib import Path

names = sorted(one.stem for one in Path("dataset/raw").iterdir())
folders = {f"s{number:02}": names for number in range(1, 11)} | {"total": sorted({one[:8] for one in names})}
paths = [Path("dataset", folder, f"{name}.txt") for folder in folders for name in folders[folder]]
if sys.argv[1] == "status":
    done = [one for one in paths if one.exists()]
    assert len(done) == 10 * len(names[::2]), len(done)
    print("\\n" * len(names))
for one in paths if sys.argv[1] == "run" else []:
    one.parent.mkdir(exist_ok=True)
    one.write_text("3")
"""


def test_a_pipeline_has_ten_outputs_of_each_record_and_one_of_each_group(tmp_path, tool):
    does = {"run": python(STEPS), "again": python(STEPS), "status": python(STEPS)}
    words = {task: (*command, "run" if task == "again" else task) for task, command in does.items()}
    chain, single = tool("chain", does=words), tool("single")
    result = race(tmp_path, [chain, single], [120], work=PIPELINE)
    figures = found(result)
    assert result["work"] == "ten steps of each record, then one step of each group of 100 records"
    assert {figures["chain", task, 120]["reason"] for task in TASKS} == {""}
    assert figures["single", "run", 120]["reason"] == "made 0 of 1,202 outputs"


def test_one_that_keeps_what_it_did_elsewhere_is_told_to_forget_half(tmp_path, tool):
    forget = python("open('forgotten', 'w')")
    does = {"status": python("open('forgotten'); print('\\n' * 8)")}
    figures = found(race(tmp_path, [tool(does=does, halve=forget), tool("other", does=does)], [8]))
    assert figures["counter", "status", 8]["outcome"] == "done"
    assert figures["other", "status", 8]["outcome"] == "failed"


def test_a_tool_that_needs_a_database_is_skipped_where_there_is_none(tmp_path, tool, monkeypatch):
    (tmp_path / "programs").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "programs"))
    result = race(tmp_path, [tool(needs_database=True)], [4])
    assert result["tools"][0]["skipped"].startswith("there is no mariadbd on this machine")
    assert result["measurements"] == []


def test_what_reached_the_cap_is_not_asked_at_larger_sizes(tmp_path, tool):
    slow = tool(does={"list": python("import time; time.sleep(600)")})
    for cap in (2, 16, 128):  # as many seconds as this machine needs for the other tasks
        figures = found(race(tmp_path, [slow], [5, 10], cap=cap))
        assert figures["counter", "list", 5]["outcome"] == "capped"
        assert figures["counter", "list", 5]["reason"] == f"more than {cap} s"
        assert figures["counter", "list", 10]["outcome"] == "skipped"
        assert figures["counter", "list", 10]["reason"] == f"took more than {cap} s with 5 records"
        if figures["counter", "run", 10]["outcome"] == "done":
            return
    pytest.fail("the other tasks were not measured")


def test_what_fails_is_no_good_figure(tmp_path, tool):
    tools = [
        tool("raises", does={"run": python("raise ValueError('no boats')")}),
        tool("idle", does={"run": python("pass"), "list": python("print('one')")}),
        tool("absent", does={"list": ("there-is-no-such-program",)}),
    ]
    figures = found(race(tmp_path, tools, [6, 12]))
    assert figures["raises", "run", 6]["reason"] == "ended 1: ValueError: no boats"
    assert figures["raises", "again", 6]["reason"] == "its first run did not finish"
    assert figures["raises", "run", 12]["reason"] == "failed with 6 records"
    assert figures["idle", "run", 6]["reason"] == "made 0 of 6 outputs"
    assert figures["idle", "list", 6]["reason"] == "printed 1 lines for 6 records"
    assert "there-is-no-such-program" in figures["absent", "list", 6]["reason"]
    assert not any(figures["raises", task, 6]["seconds"] for task in ("run", "again"))


def test_what_a_tool_lacks_is_left_out_with_the_reason(tmp_path, tool):
    lister = tool(lacks=dict.fromkeys(("status", "run", "again"), "it only lists"))
    figures = found(race(tmp_path, [lister], [4]))
    assert figures["counter", "list", 4]["outcome"] == "done"
    assert {figures["counter", task, 4]["reason"] for task in ("status", "run", "again")} == {"it only lists"}


def test_one_that_cannot_be_installed_does_not_keep_the_others_from_being_measured(
    tmp_path, tool, monkeypatch
):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    tools = [
        tool("unknown", requires=("there-is-no-such-tool-anywhere",)),
        tool("ancient", pythons=("2.1",)),
        tool("strange", program="there-is-no-such-program"),
        tool(),
    ]
    result = race(tmp_path, tools, [4])
    said = {one["name"]: one.get("skipped", "") for one in result["tools"]}
    assert said["unknown"].startswith("there-is-no-such-tool-anywhere could not be installed: ")
    assert "Python 2.1" in said["ancient"]
    assert "--old-python" in said["ancient"]
    assert said["strange"] == "there is no there-is-no-such-program on this machine"
    assert said["counter"] == ""
    assert {one["tool"] for one in result["measurements"]} == {"counter"}


def test_what_came_out_is_kept_after_each_size(tmp_path, tool):
    kept = []
    talk = Console(file=io.StringIO())
    Race(tmp_path / "cache", 300.0, 1, 900.0, talk, kept.append).run([tool()], [3, 6])
    assert [sorted({one["records"] for one in result["measurements"]}) for result in kept] == [[3], [3, 6]]


def test_nothing_is_begun_after_the_given_time(tmp_path, tool):
    figures = found(race(tmp_path, [tool()], [4], seconds=0.0))
    assert {one["reason"] for one in figures.values() if one["task"] != "again"} == {"the time was over"}
    assert not (tmp_path / "cache" / "work" / "counter").exists()


def test_what_is_foretold_to_pass_the_cap_by_far_is_not_tried(tool):
    book, counter = Book(180), tool()
    book.at(counter, "run", 100).seconds = [2.0]
    book.at(counter, "run", 1_000).seconds = [20.0]
    assert book.foretold(counter, "run", 10_000) is None
    assert book.foretold(counter, "run", 100_000) == pytest.approx(2_000)
    assert book.foretold(counter, "list", 100_000) is None


def test_what_is_not_tried_is_said_with_what_was_foretold(tmp_path, tool):
    code = "import os, time; there = len(os.listdir('dataset/raw')); time.sleep(0.4 * there); print('x\\n' * there)"
    slow = tool(does={"list": python(code)})
    figures = found(race(tmp_path, [slow], [5, 100], cap=16))
    assert figures["counter", "list", 5]["outcome"] == "done"
    assert figures["counter", "list", 100]["outcome"] == "foretold"
    [seconds] = figures["counter", "list", 5]["seconds"]
    assert figures["counter", "list", 100]["foretold"] == pytest.approx(
        20 * seconds, abs=0.6
    )  # whole seconds
    assert figures["counter", "list", 100]["reason"].startswith("would take about ")


def test_one_that_remembers_is_not_asked_for_its_status_without_a_run(tool):
    book = Book(180)
    assert book.not_asked(tool(remembers=True), "status", 10) == "its first run did not finish"
    assert book.not_asked(tool(), "status", 10) == ""


def test_each_tool_says_how_it_does_every_task_or_why_not():
    for one in TOOLS:
        assert {*one.does, *one.lacks} == set(TASKS)
        assert not set(one.does) & set(one.lacks)
        assert one.way
        assert one.beside
        assert one.folders(SINGLE)
        assert one.folders(PIPELINE)


RESULT = {
    "schema": 1,
    "kind": "peers",
    "time": "2026-11-01T10:00:00+00:00",
    "machine": "Linux, 2 cores, 24 GiB",
    "cap": 180,
    "tools": [
        {"name": OURS.name, "version": "1", "way": "w", "beside": "b"},
        {"name": "make", "version": "4", "way": "w", "beside": "b"},
        {"name": "doit", "skipped": "no net", "way": "w", "beside": "b"},
    ],
    "measurements": [
        {
            "tool": tool,
            "task": task,
            "records": records,
            "outcome": "done" if (slow * records, task) != (200_000, "run") else "capped",
            "reason": "" if (slow * records, task) != (200_000, "run") else "more than 180 s",
            "seconds": [slow * records / 1_000] if (slow * records, task) != (200_000, "run") else [],
            "cpu": [slow * 2.0] if (slow * records, task) != (200_000, "run") else [],
            "peaks": [50.0 * slow] if (slow * records, task) != (200_000, "run") else [],
        }
        for tool, slow in ((OURS.name, 1), ("make", 20))
        for task in TASKS
        for records in (100, 1_000, 10_000)
    ],
}


def run_benchmarks(*arguments):
    environment = {**os.environ, "NO_COLOR": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "benchmarks", *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=850, check=False
    )


def test_the_table_for_a_page_has_seconds_and_ratios():
    lines = markdown(RESULT, 10_000).splitlines()
    assert lines[0].startswith("| 10,000 records | list the ids | ")
    assert lines[2] == f"| {OURS.name} 1 | 2 s | 2 s | 2 s | 2 s | 10 s | 50 MB |"
    assert lines[3] == "| make 4 | 40 s (20x) | 40 s (20x) | > 180 s on the clock | 40 s (20x) |  |  |"
    assert len(lines) == 4
    assert markdown(RESULT, 100).splitlines()[3].endswith("| 2 s (20x) | 1000 MB |")


def test_the_chart_is_drawn_from_a_json_for_light_and_dark_pages(tmp_path):
    (tmp_path / "peers.json").write_text(json.dumps(RESULT))
    done = run_benchmarks("chart", tmp_path / "peers.json", "-o", tmp_path / "growth.svg")
    assert done.returncode == 0, done.stderr
    texts = {}
    for name in ("growth.svg", "growth-dark.svg"):
        text = (tmp_path / name).read_text()
        assert len(text) < 100_000
        texts[name] = "".join(ET.fromstring(text).itertext())  # noqa: S314 - our own
        for said in (
            OURS.name,
            "make",
            "Run all, seconds",
            "Memory held by the run, MB",
            "ended after 180 s",
        ):
            assert said in texts[name]
        assert "doit" not in texts[name]
    assert (tmp_path / "growth.svg").read_text() != (tmp_path / "growth-dark.svg").read_text()


@pytest.mark.parametrize("arguments", [("chart", "-o", "x.svg"), ("peers", "--compare"), ("--compare",)])
def test_a_json_that_is_none_is_refused_before_anything_is_measured(tmp_path, arguments):
    kind = "peers" if arguments == ("--compare",) else "floors"
    other = json.dumps({"kind": kind, "time": "May", "measurements": []})
    for text, said in (("[]", "no JSON of an earlier run"), (other, "another kind")):
        (tmp_path / "wrong.json").write_text(text)
        done = run_benchmarks(*arguments, tmp_path / "wrong.json")
        assert done.returncode == 2
        assert said in " ".join(done.stderr.split())
        assert "Traceback" not in done.stderr


def test_figures_of_two_kinds_are_no_one_table(tmp_path):
    (tmp_path / "peers.json").write_text(json.dumps(RESULT))
    (tmp_path / "floors.json").write_text(json.dumps({"time": "May", "measurements": []}))
    (tmp_path / "none.json").write_text("[]")
    for names, said in (
        (["peers.json", "floors.json"], "several kinds"),
        (["none.json"], "no JSON of an earlier run"),
        (["peers.json", "--markdown"], "--records goes with --markdown"),
        (["peers.json", "--goals"], "--goals goes with --markdown"),
    ):
        words = [name if name.startswith("--") else tmp_path / name for name in names]
        done = run_benchmarks("table", *words)
        assert done.returncode == 2
        assert said in " ".join(done.stderr.split())


def test_comparing_turns_rates_round_and_says_more_of_memory():
    def result(rate, ratio, memory):
        return {
            "measurements": [
                {"name": "run", "goal": ">= 0.55", "figure": rate, "floors": [1], "unit": "s"},
                {"name": "status", "goal": "<= 0.7", "figure": ratio, "floors": [1], "unit": "s"},
                {"name": "memory", "goal": None, "figure": memory, "floors": [], "unit": "MB"},
            ]
        }

    before = Figures.of(result(0.8, 0.5, 100))
    same = list(compared("May", before, Figures.of(result(0.75, 0.54, 109))))
    assert same == ["Compared with May: 0 of 3 got slower by more than 10 %."]
    better = list(compared("May", before, Figures.of(result(1.6, 0.2, 10))))
    assert len(better) == 1
    assert list(compared("May", before, Figures.of(result(0.4, 0.75, 150)))) == [
        "Compared with May: 3 of 3 got slower by more than 10 %.",
        "run: 100 % slower (0.8x -> 0.4x)",
        "status: 50 % slower (0.5x -> 0.75x)",
        "memory: 50 % more (100 MB -> 150 MB)",
    ]


@pytest.mark.skipif(shutil.which("make") is None, reason="this machine has no make")
def test_ours_and_make_do_the_same_work_in_the_same_run(tmp_path):
    earlier = {**RESULT, "measurements": [{**one, "records": 12} for one in RESULT["measurements"]]}
    for one in earlier["measurements"]:
        one.update(outcome="done", seconds=[0.0001])
    (tmp_path / "earlier.json").write_text(json.dumps(earlier))
    done = run_benchmarks(
        *("peers", "--tools", "make", "--most", "12", "--times", "1", "--cache", tmp_path / "cache"),
        *("--json", tmp_path / "now.json", "--compare", tmp_path / "earlier.json"),
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "now.json").read_text())
    assert {one["outcome"] for one in result["measurements"]} == {"done"}
    assert {(one["tool"], one["task"]) for one in result["measurements"]} == {
        (name, task) for name in (OURS.name, "make") for task in TASKS
    }
    assert all(one["version"] for one in result["tools"])
    assert "8 of 8 got slower by more than 10 %" in " ".join(done.stdout.split())
    again = run_benchmarks("table", tmp_path / "now.json")
    assert again.returncode == 0, again.stderr
    assert "run again, nothing to do" in again.stdout


def test_the_page_shows_what_was_measured():
    results = ROOT / "benchmarks" / "results"
    result = json.loads((results / "peers.json").read_text())
    page = (ROOT / "example" / "guide" / "benchmarks.md").read_text()
    assert markdown(result, 10_000) in page
    for name in ("growth.svg", "growth-dark.svg"):
        assert f"benchmarks/results/{name}" in page
        text = (results / name).read_text()
        assert len(text) < 100_000
        assert result["time"][:10] in "".join(ET.fromstring(text).itertext())  # noqa: S314 - our own
