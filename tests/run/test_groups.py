"""Group steps in a run: what a script gets, when a group runs, blocks or is stale, in every mode."""

from pathlib import Path

import polars as pl
import pytest

from sinagot_catalog import Workspace

MODES = ("processes", "main_process")
IDS = r"(?P<sub>s\d)_(?P<run>\d)"

CLEAN = """
from sinagot_catalog import ScriptTemplate
class Script(ScriptTemplate):
    PATH_IN = "raw/{id}.txt"
    PATH_OUT = "clean/{id}.txt"
    def run(self):
        text = self.path.input.read_text()
        if "bad" in text:
            raise ValueError("bad recording")
        self.path.output.write_text(text)
"""

JOIN = """
from sinagot_catalog import ScriptTemplate
class Script(ScriptTemplate):
    PATH_IN = {path_in!r}
    PATH_OUT = {path_out!r}
    BY = {by!r}
    {more}
    def run(self):
        text = ",".join(path.read_text() for path in self.path.input)
        self.path.output.write_text(f"{{self.id}}|{{' '.join(self.records)}}|{{text}}")
"""


def join(path_in, path_out, by, more=""):
    return JOIN.format(path_in=path_in, path_out=path_out, by=by, more=more)


AVG = join("clean/{id}.txt", "avg/{sub}.txt", ("sub",))
GRAND = join("avg/{sub}.txt", "grand.txt", ())
FILES = {f"raw/s{sub}_{run}.txt": f"{sub}{run}" for sub in (1, 2) for run in (1, 2, 3)}


def rows_of(ws, *names):
    frame = ws.steps.select("record_id", "step", *names)
    return {tuple(row[:2]): row[2] if len(names) == 1 else row[2:] for row in frame.iter_rows()}


def read(ws, path):
    return (Path(ws.data_path) / path).read_text()


@pytest.mark.parametrize("mode", MODES)
def test_groups_run_after_their_members_in_the_same_run(make_workspace, mode):
    ws = make_workspace({"clean": CLEAN, "avg": AVG, "grand": GRAND}, FILES, id_pattern=IDS)
    plan = ws.steps.plan().frame
    assert plan.filter(pl.col("step") != "clean").select("record_id", "action", "reason").rows() == [
        ("sub=s1", "run", "after clean"),
        ("sub=s2", "run", "after clean"),
        ("dataset=all", "run", "after avg"),
    ]
    report = ws.steps.run(mode=mode, progress=False)
    assert report.counts() == {"done": 9}
    assert read(ws, "avg/s1.txt") == "sub=s1|s1_1 s1_2 s1_3|11,12,13"
    assert read(ws, "grand.txt").startswith("dataset=all|sub=s1 sub=s2|sub=s1|s1_1")
    assert set(ws.steps.select("status")["status"]) == {"DONE"}
    assert ws.steps.select("stale")["stale"].to_list() == [False] * 9
    again = Workspace(Path(ws.scripts_path).parent)
    assert again.steps.select("stale")["stale"].to_list() == [False] * 9
    assert again.steps.run(mode=mode, progress=False).counts() == {}
    assert not list(Path(ws.data_path).glob("LOG/.staging/*"))


@pytest.mark.parametrize("mode", MODES)
def test_a_member_that_fails_blocks_its_group_only(make_workspace, mode):
    files = {**FILES, "raw/s1_2.txt": "bad"}
    ws = make_workspace({"clean": CLEAN, "avg": AVG}, files, id_pattern=IDS)
    report = ws.steps.run(mode=mode, progress=False)
    assert report.counts() == {"done": 6, "error": 1, "blocked": 1}
    blocked = report.frame.filter(pl.col("outcome") == "blocked").row(0, named=True)
    assert blocked["record_id"] == "sub=s1"
    assert "clean of s1_2" in blocked["message"]
    status, reason = rows_of(ws, "status", "reason")["sub=s1", "avg"]
    assert status == "INIT"
    for text in ("clean of s1_2 failed", "2 of 3 members", "exclude s1_2", "PARTIAL"):
        assert text in reason
    # the next run tries the member again, and blocks the group again
    assert ws.steps.run(mode=mode, progress=False).counts() == {"error": 1, "blocked": 1}
    (Path(ws.data_path) / "raw/s1_2.txt").write_text("12")
    assert ws.steps.run(mode=mode, progress=False).counts() == {"done": 2}
    assert read(ws, "avg/s1.txt").endswith("|11,12,13")


@pytest.mark.parametrize("mode", MODES)
def test_a_partial_group_goes_on_without_the_members_that_failed(make_workspace, mode):
    files = {**FILES, "raw/s1_2.txt": "bad"}
    avg = join("clean/{id}.txt", "avg/{sub}.txt", ("sub",), "PARTIAL = True")
    ws = make_workspace({"clean": CLEAN, "avg": avg}, files, id_pattern=IDS)
    assert ws.steps.run(mode=mode, progress=False).counts() == {"done": 7, "error": 1}
    assert read(ws, "avg/s1.txt") == "sub=s1|s1_1 s1_3|11,13"
    assert rows_of(ws, "stale")["sub=s1", "avg"] is False


@pytest.mark.parametrize("mode", MODES)
def test_a_partial_group_that_lost_all_members_holds_back_what_reads_it(make_workspace, mode):
    avg = join("clean/{id}.txt", "avg/{sub}.txt", ("sub",), "PARTIAL = True")
    files = FILES | dict.fromkeys([f"raw/s1_{run}.txt" for run in (1, 2, 3)], "bad")
    ws = make_workspace({"clean": CLEAN, "avg": avg, "grand": GRAND}, files, id_pattern=IDS)
    counts = {"done": 4, "error": 3, "not_available": 1, "blocked": 1}
    assert ws.steps.run(mode=mode, progress=False).counts() == counts
    status, reason = rows_of(ws, "status", "reason")["dataset=all", "grand"]
    assert (status, reason.partition(";")[0]) == (
        "INIT",
        "avg of sub=s1 cannot run, as an earlier step failed",
    )
    assert ws.steps.run(mode=mode, progress=False).counts()["blocked"] == 1


@pytest.mark.parametrize("mode", MODES)
def test_members_without_raw_data_are_left_out_of_a_group_also_where_steps_are_named(make_workspace, mode):
    both = '{"raw": "raw/{id}.txt", "note": "note/{id}.txt"}'
    clean = CLEAN.replace('"raw/{id}.txt"', both).replace("path.input", 'path.input["raw"]')
    notes = {f"note/s1_{run}.txt": "" for run in (1, 2, 3, 4)}
    ws = make_workspace({"clean": clean, "avg": AVG}, FILES | notes, id_pattern=IDS)
    rows = ws.steps.filter(pl.col("record_id").str.contains("s1"))
    counts = rows.run(["clean", "avg"], mode=mode, progress=False).counts()
    assert counts == {"done": 4, "not_available": 1}
    assert read(ws, "avg/s1.txt") == "sub=s1|s1_1 s1_2 s1_3|11,12,13"


@pytest.mark.parametrize("mode", MODES)
def test_a_member_without_one_of_its_raw_files_holds_nothing_back_while_the_other_is_still_to_come(
    make_workspace, mode
):
    note = CLEAN.replace("raw/{id}.txt", "note/{id}.txt").replace("clean/{id}.txt", "noted/{id}.txt")
    both = join({"note": "noted/{id}.txt", "clean": "clean/{id}.txt"}, "avg/{sub}.txt", ("sub",))
    avg = both.replace("self.path.input", "self.path.input['clean']")
    notes = {f"note/s1_{run}.txt": "" for run in (1, 2, 3)}
    scripts = {"clean": CLEAN, "noted": note, "avg": avg, "grand": GRAND}
    ws = make_workspace(scripts, FILES | notes, id_pattern=IDS)
    assert ws.steps.run(mode=mode, progress=False).counts() == {"done": 11}
    assert rows_of(ws, "status", "reason")["sub=s2", "avg"] == (
        "INIT",
        "missing noted/s2_1.txt and 2 more; 0 of 3 members are there",
    )
    assert rows_of(ws, "status")["dataset=all", "grand"] == "DONE"


def test_a_named_step_that_does_not_wait_for_an_optional_file_makes_the_inputs_of_later_steps(make_workspace):
    ports = '{"raw": "raw/{id}.txt", "note": optional("note/{id}.txt")}'
    clean = "from sinagot_catalog import optional" + CLEAN.replace('"raw/{id}.txt"', ports)
    clean = clean.replace("path.input", 'path.input["raw"]')
    note = CLEAN.replace("raw/", "draft/").replace("clean/", "note/")
    files = {f"{folder}/s1_{number}.txt": "1" for folder in ("raw", "draft") for number in (1, 2)}
    steps = {"note": note, "clean": clean, "avg": AVG, "grand": GRAND}
    ws = make_workspace(steps, files, id_pattern=IDS)
    assert rows_of(ws, "status")["s1_1", "clean"] == "INIT"
    assert ws.steps.plan(["clean"], downstream=True).n_run == 4
    report = ws.steps.run(["clean", "avg"], mode="main_process", progress=False)
    assert report.counts() == {"done": 3}


WAITING = """
import time
from pathlib import Path
from sinagot_catalog import ScriptTemplate
class Script(ScriptTemplate):
    PATH_IN = "raw/{id}.txt"
    PATH_OUT = "clean/{id}.txt"
    def run(self):
        sign = Path(self.data_path, "avg/s1.txt")
        end = time.monotonic() + 300
        while self.id == "s2_1" and not sign.exists():
            if time.monotonic() > end:
                raise TimeoutError("the first group did not run")
            time.sleep(0.02)
        self.path.output.write_text(self.path.input.read_text())
"""
"""A step whose row s2_1 ends only when the group of s1 has its output."""


def test_a_group_starts_when_its_own_members_are_through(make_workspace):
    ws = make_workspace({"clean": WAITING, "avg": AVG, "grand": GRAND}, FILES, id_pattern=IDS)
    report = ws.steps.run(workers=2, progress=False)
    assert report.counts() == {"done": 9}, report.frame["message"].to_list()
    plan = ws.steps.plan(force=True).frame
    assert plan["step"].to_list() == [*["clean"] * 6, *["avg"] * 2, "grand"]


def test_the_steps_of_a_record_run_in_turn_also_around_a_group_that_they_do_not_read(make_workspace):
    later = CLEAN.replace('PATH_IN = "raw', 'PATH_IN = "clean').replace('OUT = "clean', 'OUT = "later')
    ws = make_workspace({"clean": CLEAN, "avg": AVG, "later": later}, FILES, id_pattern=IDS)
    plan = ws.steps.plan().frame
    assert plan["step"].to_list() == [*["clean", "later"] * 6, *["avg"] * 2]
    assert ws.steps.run(mode="main_process", progress=False).counts() == {"done": 14}


@pytest.mark.parametrize("mode", MODES)
def test_a_record_waits_for_its_own_group_and_blocking_goes_on_through_groups(make_workspace, mode):
    files = {**FILES, "raw/s1_2.txt": "bad"}
    centre = {"clean": "clean/{id}.txt", "avg": "avg/{sub}.txt"}, "centred/{id}.txt"
    scripts = {"clean": CLEAN, "avg": AVG, "centre": centre, "grand": GRAND}
    ws = make_workspace(scripts, files, id_pattern=IDS)
    report = ws.steps.run(mode=mode, progress=False)
    assert report.counts() == {"done": 9, "error": 1, "blocked": 5}
    blocked = report.frame.filter(outcome="blocked").select("record_id", "step", "message")
    assert sorted(blocked.rows()) == [
        ("dataset=all", "grand", "waits for avg of sub=s1, which failed"),
        ("s1_1", "centre", "waits for avg, which failed"),
        ("s1_2", "centre", "waits for clean, which failed"),
        ("s1_3", "centre", "waits for avg, which failed"),
        ("sub=s1", "avg", "waits for clean of s1_2, which failed"),
    ]


@pytest.mark.parametrize("mode", MODES)
def test_a_run_that_stops_early_cancels_the_groups_that_wait(make_workspace, mode):
    files = {**FILES, "raw/s1_1.txt": "bad"}
    ws = make_workspace({"clean": CLEAN, "avg": AVG, "grand": GRAND}, files, id_pattern=IDS)
    report = ws.steps.run(mode=mode, workers=1, stop_after=1, progress=False)
    counts = report.counts()
    assert counts["error"] == 1
    assert sum(counts.values()) == 9
    assert set(counts) <= {"error", "done", "blocked", "cancelled"}
    assert ws.steps.run(mode=mode, stop_after=9, progress=False).counts()["blocked"] == 2


def test_members_that_share_a_file_are_all_waited_for(make_workspace):
    files = {**FILES, **{f"site/{run}.txt": f"run {run}" for run in (1, 2, 3)}}
    avg = join("day/{run}.txt", "avg/{sub}.txt", ("sub",))
    scripts = {"clean": CLEAN, "day": ("site/{run}.txt", "day/{run}.txt"), "avg": avg}
    ws = make_workspace(scripts, files, id_pattern=IDS)
    report = ws.steps.run(workers=2, progress=False)
    assert report.counts() == {"done": 11}, report.frame["message"].to_list()


def test_a_member_that_is_new_gone_or_changed_makes_a_group_stale(make_workspace):
    ws = make_workspace({"clean": CLEAN, "avg": AVG}, FILES, id_pattern=IDS)
    assert ws.steps.run(mode="main_process", progress=False).ok
    data = Path(ws.data_path)
    (data / "raw/s2_4.txt").write_text("24")
    ws.refresh()
    assert ws.steps.run(mode="main_process", progress=False).counts() == {"done": 1}
    ws.refresh()
    assert rows_of(ws, "stale")["sub=s2", "avg"] is True
    assert rows_of(ws, "stale")["sub=s1", "avg"] is False
    report = ws.steps.run(mode="main_process", progress=False, stale=True)
    assert report.frame.select("record_id", "step", "outcome").rows() == [("sub=s2", "avg", "done")]
    assert read(ws, "avg/s2.txt") == "sub=s2|s2_1 s2_2 s2_3 s2_4|21,22,23,24"
    for name in ("raw/s1_1.txt", "clean/s1_1.txt"):
        (data / name).unlink()
    ws.refresh()
    assert rows_of(ws, "stale")["sub=s1", "avg"] is True
    assert rows_of(ws, "stale")["sub=s2", "avg"] is False
    (data / "clean/s2_1.txt").write_text("changed")
    ws.refresh()
    assert rows_of(ws, "stale")["sub=s2", "avg"] is True


def test_a_changed_member_is_made_again_and_then_its_group(make_workspace):
    ws = make_workspace({"clean": CLEAN, "avg": AVG}, FILES, id_pattern=IDS)
    assert ws.steps.run(mode="main_process", progress=False).ok
    (Path(ws.data_path) / "raw/s1_1.txt").write_text("longer")
    ws.refresh()
    report = ws.steps.run(mode="main_process", progress=False, stale=True)
    assert report.frame.select("record_id", "step").rows() == [("s1_1", "clean"), ("sub=s1", "avg")]
    assert read(ws, "avg/s1.txt").endswith("|longer,12,13")


@pytest.mark.parametrize("mode", MODES)
def test_inputs_are_lists_parallel_to_the_members_or_each_file_once(make_workspace, mode):
    source = """
from sinagot_catalog import ScriptTemplate, any_of, many, optional
class Script(ScriptTemplate):
    PATH_IN = {
        "raw": "raw/{id}.txt",
        "note": optional("note/{id}.txt"),
        "mark": optional("mark/{id}.txt"),
        "map": optional("map/{sub}_{day}.txt"),
        "plan": optional("plan/{sub}.txt"),
        "png": many("png/{id}_*.png"),
        "site": "site/{sub}_{day}.txt",
        "info": "info/{sub}.txt",
        "side": any_of("side/{id}.json", "side.json"),
    }
    PATH_OUT = "out/{sub}.json"
    BY = ("sub",)
    def run(self):
        import json
        def name(one):
            return [name(path) for path in one] if isinstance(one, list) else one and one.name
        found = {"records": self.records, **{key: name(one) for key, one in self.path.input.items()}}
        self.path.output.write_text(json.dumps(found))
"""
    files = [
        *("raw/s1_d1_1.txt", "raw/s1_d1_2.txt", "note/s1_d1_2.txt"),
        *("png/s1_d1_1_b.png", "png/s1_d1_1_a.png", "png/s1_d1_2_a.png"),
        *("site/s1_d1.txt", "info/s1.txt", "side.json", "side/s1_d1_2.json"),
    ]
    ws = make_workspace({"work": source}, files, id_pattern=r"(?P<sub>s\d)_(?P<day>d\d)_(?P<run>\d)")
    row = ws.steps.collect().row(0, named=True)
    assert (row["record_id"], row["status"], row["by"]) == ("sub=s1", "DATA_READY", "sub")
    assert (row["n_inputs"], row["n_inputs_found"]) == (5, 5)
    report = ws.steps.run(mode=mode, progress=False)
    assert report.counts() == {"done": 1}, report.frame["message"].to_list()
    import json

    assert json.loads(read(ws, "out/s1.json")) == {
        "records": ["s1_d1_1", "s1_d1_2"],
        "raw": ["s1_d1_1.txt", "s1_d1_2.txt"],
        "note": [None, "s1_d1_2.txt"],
        "mark": [None, None],
        "map": [],
        "plan": None,
        "png": [["s1_d1_1_a.png", "s1_d1_1_b.png"], ["s1_d1_2_a.png"]],
        "site": ["s1_d1.txt"],
        "info": "s1.txt",
        "side": ["side.json", "s1_d1_2.json"],
    }
    ws.refresh()
    assert ws.steps.select("stale")["stale"].to_list() == [False]


@pytest.mark.parametrize("mode", MODES)
def test_a_command_and_a_function_run_per_group(make_workspace, mode):
    toml = f"""
    [records]
    id_pattern = '{IDS}'
    [steps]
    scripts = ["cat", "all"]
    [steps.cat]
    command = "sh -c 'cat \\"$@\\" > {{output}}' {{sub}} {{input}}"
    inputs = "raw/{{id}}.txt"
    outputs = "cat/{{sub}}.txt"
    by = ["sub"]
    """
    source = """
from sinagot_catalog import step

@step(inputs="cat/{sub}.txt", outputs="all.txt", by=[])
def all(input, output, records):
    output.write_text(" ".join(records) + "".join(path.read_text() for path in input))
"""
    ws = make_workspace({"all": source}, FILES, toml=toml)
    report = ws.steps.run(mode=mode, progress=False)
    assert report.counts() == {"done": 3}, report.frame["message"].to_list()
    assert read(ws, "all.txt") == "sub=s1 sub=s2111213212223"


def test_a_bucket_has_groups_too(make_workspace):
    import fsspec

    ws = make_workspace({"clean": CLEAN, "avg": AVG, "grand": GRAND}, FILES, id_pattern=IDS)
    fs = fsspec.filesystem("memory")
    for path in Path(ws.data_path).rglob("*.txt"):
        fs.pipe_file(f"/group-steps/{path.relative_to(ws.data_path)}", path.read_bytes())
    remote = Workspace(Path(ws.scripts_path).parent, "memory://group-steps")
    report = remote.steps.run(mode="main_process", progress=False)
    assert report.counts() == {"done": 9}, report.frame["message"].to_list()
    assert fs.cat_file("/group-steps/avg/s2.txt") == b"sub=s2|s2_1 s2_2 s2_3|21,22,23"
    assert not [path for path in fs.find("/group-steps") if "members" in path]
    remote.refresh()
    assert remote.steps.select("stale")["stale"].to_list() == [False] * 9


@pytest.mark.parametrize("mode", MODES)
def test_in_a_bucket_a_member_that_fails_blocks_its_group_only(make_workspace, moto, mode):
    files = {**FILES, "raw/s1_2.txt": "bad"}
    ws = make_workspace({"clean": CLEAN, "avg": AVG}, files, id_pattern=IDS)
    url = moto.upload(Path(ws.scripts_path).parent, "lab")
    remote = Workspace(url, storage_options=moto.options, trust=True)
    report = remote.steps.run(mode=mode, workers=2, progress=False)
    assert report.counts() == {"done": 6, "error": 1, "blocked": 1}, report.frame["message"].to_list()
    assert moto.read("lab/dataset/avg/s2.txt") == b"sub=s2|s2_1 s2_2 s2_3|21,22,23"
    assert not [key for key in moto.keys("lab") if ".staging" in key]
    moto.put({"dataset/raw/s1_2.txt": "12"}, "lab")
    remote.refresh()
    assert remote.steps.run(mode=mode, workers=2, progress=False).counts() == {"done": 2}
    moto.put({"dataset/clean/s1_3.txt": "longer"}, "lab")
    remote.refresh()
    assert rows_of(remote, "stale")["sub=s1", "avg"] is True
    assert rows_of(remote, "stale")["sub=s2", "avg"] is False


def test_outputs_may_have_their_own_root(make_workspace):
    ws = make_workspace(
        {"clean": CLEAN, "avg": AVG, "grand": GRAND},
        FILES,
        toml=f"[path]\noutputs = 'made'\n[records]\nid_pattern = '{IDS}'\n",
    )
    assert ws.steps.run(mode="main_process", progress=False).counts() == {"done": 9}
    assert set(ws.steps.select("status", "stale").rows()) == {("DONE", False)}


def test_a_step_per_record_may_read_the_result_of_its_group(make_workspace):
    centre = ({"raw": "raw/{id}.txt", "avg": "avg/{sub}.txt"}, "centred/{id}.txt")
    ws = make_workspace({"clean": CLEAN, "avg": AVG, "centre": centre}, FILES, id_pattern=IDS)
    assert ws.steps.run(mode="main_process", progress=False).counts() == {"done": 14}
    ws.steps.filter(pl.col("record_id").is_in(["s1_1"]), step="clean").run(
        force=True, mode="main_process", progress=False
    )
    report = ws.steps.run(mode="main_process", progress=False, stale=True)
    assert report.counts() == {"done": 4}


def test_a_run_of_one_member_adds_only_groups_that_it_makes_ready(make_workspace):
    ws = make_workspace({"clean": CLEAN, "avg": AVG}, FILES, id_pattern=IDS)
    first = ws.steps.filter(pl.col("record_id").is_in(["s1_1", "s1_2"]), step="clean")
    assert first.run(mode="main_process", progress=False, downstream=True).counts() == {"done": 2}
    last = ws.steps.filter(record_id="s1_3", step="clean")
    report = last.run(mode="main_process", progress=False, downstream=True)
    assert report.frame["record_id"].to_list() == ["s1_3", "sub=s1"]


def test_a_forced_group_runs_again_and_rows_can_be_named(make_workspace):
    ws = make_workspace({"clean": CLEAN, "avg": AVG}, FILES, id_pattern=IDS)
    ws.steps.run(mode="main_process", progress=False)
    rows = pl.DataFrame({"record_id": ["sub=s2"], "step": ["avg"]})
    report = ws.run(rows, force=True, mode="main_process", progress=False)
    assert report.frame.select("record_id", "outcome").rows() == [("sub=s2", "done")]


def test_a_group_is_not_tried_while_its_members_are_to_come(make_workspace):
    ws = make_workspace({"clean": CLEAN, "avg": AVG}, FILES, id_pattern=IDS)
    assert ws.steps.run("avg", mode="main_process", progress=False).counts() == {}
    report = ws.steps.filter(record_id="s1_1", step="clean").run(mode="main_process", progress=False)
    assert report.ok
    report = ws.steps.filter(record_id="sub=s1").run(ignore_missing=True, mode="main_process", progress=False)
    assert report.counts() == {"done": 1}
    assert read(ws, "avg/s1.txt") == "sub=s1|s1_1|11"


def test_verbs_take_the_id_of_a_group(write_workspace, cli):
    folder = write_workspace({"clean": CLEAN, "avg": AVG}, FILES, id_pattern=IDS)

    def verb(name, *words):
        return cli(name, "-C", folder, *words)

    done = verb("run", "--record", "sub=s2", "--step", "avg", "--upstream", "-q")
    assert done.returncode == 0, done.stderr
    assert "4 done" in done.stdout + done.stderr
    assert (folder / "dataset/avg/s2.txt").exists()
    assert not (folder / "dataset/avg/s1.txt").exists()
    assert "Run finished" in verb("logs", "sub=s2").stdout
    assert "all outputs are there" in verb("explain", "sub=s2", "avg").stdout
    near = verb("plan", "--record", "sub=s3")
    assert near.returncode == 2
    assert "there is no group 'sub=s3'; did you mean 'sub=s" in near.stderr


@pytest.mark.usefixtures("prefect_server")
def test_a_flow_runs_groups(make_workspace):
    files = {**FILES, "raw/s1_2.txt": "bad"}
    ws = make_workspace({"clean": CLEAN, "avg": AVG, "grand": GRAND}, files, id_pattern=IDS)
    report = ws.steps.submit().wait()
    assert report.counts() == {"done": 6, "error": 1, "blocked": 2}
    assert read(ws, "avg/s2.txt") == "sub=s2|s2_1 s2_2 s2_3|21,22,23"


@pytest.mark.usefixtures("prefect_server")
def test_a_group_of_a_flow_starts_when_its_own_members_are_through(make_workspace):
    toml = f"[records]\nid_pattern = '{IDS}'\n[prefect]\nbatch = 1\n[run]\nworkers = 2\n"
    ws = make_workspace({"clean": WAITING, "avg": AVG, "grand": GRAND}, FILES, toml=toml)
    report = ws.steps.submit().wait()
    assert report.counts() == {"done": 9}, report.frame["message"].to_list()


def test_a_group_has_parameters_and_the_values_that_its_members_share(make_workspace):
    toml = f"[records]\nid_pattern = '{IDS}'\nmetadata = 'table.csv'\n[params]\ncut = 3\n"
    body = """
from sinagot_catalog import ScriptTemplate
class Script(ScriptTemplate):
    PATH_IN = {"raw": "raw/{id}.txt", "kind": "kind/{kind}.txt"}
    PATH_OUT = "out/{sub}.txt"
    BY = ("sub",)
    def run(self):
        kinds = [path.name for path in self.path.input["kind"]]
        known = [self.record[name] for name in ("sub", "site", "kind")]
        self.path.output.write_text(f"{known} {self.params.cut} {kinds}")
"""
    files = {**FILES, "kind/x.txt": "x", "kind/y.txt": "y"}
    ws = make_workspace({"work": body}, files, toml=toml)
    table = Path(ws.scripts_path).parent / "table.csv"
    rows = [
        f"s{sub}_{run},{site},{kind}"
        for sub, site in ((1, "A"), (2, "B"))
        for run, kind in enumerate("xyx", 1)
    ]
    table.write_text("\n".join(["record_id,site,kind", *rows, ""]))
    ws = Workspace(table.parent)
    report = ws.steps.run(mode="main_process", progress=False)
    assert report.counts() == {"done": 2}, report.frame["message"].to_list()
    assert read(ws, "out/s2.txt") == "['s2', 'B', None] 3 ['x.txt', 'y.txt']"
    assert ws.steps.select("stale")["stale"].to_list() == [False, False]
    table.write_text(table.read_text().replace("s1_1,A", "s1_1,C"))
    ws = Workspace(table.parent)
    assert rows_of(ws, "stale") == {("sub=s1", "work"): True, ("sub=s2", "work"): False}


def test_groups_with_a_fault_that_make_each_others_inputs_are_named(make_workspace):
    toml = """
    [steps]
    scripts = ["a", "b"]
    [steps.a]
    command = "true"
    inputs = {raw = "raw/{id}", more = {any_of = ["b/{id}", "raw/{id}.x"]}}
    outputs = "a/{id}"
    by = ["sub"]
    [steps.b]
    command = "true"
    inputs = {any_of = ["a/{id}", "raw/{id}.y"]}
    outputs = "b/{id}"
    by = ["sub"]
    """
    ws = make_workspace(files=["raw/s1_a"], toml=toml, id_pattern=r"(?P<sub>s\d)_(?P<ses>[ab])")
    rows = ws.steps.select("record_id", "step", "status", "reason").rows()
    assert [row[:3] for row in rows] == [("sub=s1", "a", "ERROR"), ("sub=s1", "b", "ERROR")]
    assert all("a group has no value for it" in reason for *_, reason in rows)
