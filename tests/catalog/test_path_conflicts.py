"""Layouts that put data at risk: which steps are refused, what they are told, and what goes on without them."""

import re
from pathlib import Path

import polars as pl
import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.errors import SelectionError

SUBJECTS = r"(?P<sub>s\d)_(?P<run>\d)"


def statuses(ws):
    """Each step's status; every record has the same."""
    rows = ws.steps.collect().select("step", "status").unique().sort("step").rows()
    assert len(dict(rows)) == len(rows)
    return dict(rows)


def reason(ws, step):
    return ws.steps.filter(step=step).collect()["reason"][0]


def contents(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and "LOG" not in path.parts]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def command(text):
    return f"[steps]\nscripts = ['c']\n[steps.c]\n{text}\n"


# --- an output that is or holds an input which no other step makes -------------------------------------------


@pytest.mark.parametrize(
    ("read", "written"),
    [
        ("{id}/eeg/raw.csv", {"dir": "{id}/eeg/", "flag": "{id}/done.txt"}),
        ("{id}/eeg/raw.csv", "{id}/eeg"),
        ("{id}/eeg/raw.csv", "{id}/"),
        ("raw/{id}.csv", "raw/"),
        ({"meta": "meta/{id}.json", "raw": "{id}/eeg/raw.csv"}, "{id}/eeg/"),
        ("{id}/eeg/raw.csv", "{id}/eeg/raw.csv"),
        ("{id}/eeg/", "{id}/eeg/"),
        ("{id}/eeg", "{id}/eeg/"),
    ],
)
def test_output_around_its_own_raw_input_is_refused_and_removes_nothing(make_workspace, read, written):
    files = {"R1/eeg/raw.csv": "raw", "raw/R1.csv": "raw", "meta/R1.json": "{}"}
    ws = make_workspace({"c": (read, written), "ok": ("meta/{id}.json", "ok/{id}")}, files)
    before = contents(Path(ws.data_path))
    report = ws.steps.run(progress=False, mode="main_process", force=True)
    assert report.frame.select("step", "outcome").rows() == [("c", "error"), ("ok", "done")]
    after = contents(Path(ws.data_path))
    assert after.pop("ok/R1")
    assert after == before
    assert statuses(ws) == {"c": "ERROR", "ok": "DONE"}
    assert "which no other step makes" in reason(ws, "c")


@pytest.mark.parametrize("written", ["'{id}/eeg/'", "'{id}/eeg'", "['{id}', 'eeg', 'raw.csv']"])
def test_command_that_writes_over_its_raw_input_is_refused(make_workspace, written):
    toml = command(f"command = 'cp {{input}} {{output}}'\ninputs = '{{id}}/eeg/raw.csv'\noutputs = {written}")
    ws = make_workspace(toml=toml, files=["R1/eeg/raw.csv"])
    assert statuses(ws) == {"c": "ERROR"}
    assert "is its input" in reason(ws, "c") or "holds its input" in reason(ws, "c")


def test_step_function_that_writes_over_its_raw_input_is_refused(make_workspace):
    source = """
from sinagot_catalog import step

@step(inputs="raw/{id}.csv", outputs="raw/{id}.csv")
def clean(input, output):
    output.write_text("")
"""
    ws = make_workspace({"clean": source}, ["raw/R1.csv"])
    assert "self.path.previous" in reason(ws, "clean")


def test_control_file_that_is_the_raw_input_is_refused(make_workspace, script_source):
    source = script_source("raw/{id}", "out/{id}", PATH_CONTROL="raw/{id}")
    assert statuses(make_workspace({"c": source}, ["raw/R1"])) == {"c": "ERROR"}


BROKEN = """
[records]
id_pattern = '(?P<s>R)(?P<n>\\d)'
[steps]
scripts = ['c', 'd']
[steps.c]
command = "true"
inputs = "raw/{id}.csv"
outputs = "fixed/{id}.csv"
columns = true
by = MORE
[steps.d]
command = "cp {input} {output}"
inputs = "fixed/{id}.csv"
outputs = OUT
"""


def test_input_that_only_a_step_with_a_fault_makes_is_raw_data(make_workspace):
    toml = BROKEN.replace("MORE", "[]").replace("OUT", '"fixed/{id}.csv"')
    ws = make_workspace({}, ["raw/R1.csv", "fixed/R1.csv"], toml=toml)
    assert "COLUMNS" in reason(ws, "c")
    assert "which no other step makes: a run would replace raw data" in reason(ws, "d")


def test_step_with_a_fault_and_unknown_fields_leaves_the_others_readable(make_workspace):
    toml = BROKEN.replace("MORE", '["zz"]').replace("OUT", '"all.csv"') + "by = []\n"
    ws = make_workspace({}, ["raw/R1.csv", "fixed/R1.csv"], toml=toml)
    assert statuses(ws) == {"c": "ERROR", "d": "DATA_READY"}


def test_folder_that_another_step_unpacks_is_no_raw_input(make_workspace):
    scripts = {"unpack": ("zip/{id}", "dir/{id}/"), "read": ("dir/{id}/a.txt", "out/{id}")}
    assert statuses(make_workspace(scripts, ["zip/R1"])) == {"unpack": "DATA_READY", "read": "INIT"}


# --- outputs among each other --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("deriv/{id}/", "deriv/{id}/b.txt"),
        ("deriv/{id}/b.txt", "deriv/{id}"),
        ("deriv/", "deriv/{id}.txt"),
        ("deriv/{id}.txt", "deriv/{id}.txt"),
        ({"x": "x/{id}", "y": "deriv/{id}/"}, {"z": "deriv/{id}/deep/z.txt"}),
    ],
)
def test_outputs_of_two_steps_that_overlap_are_refused_for_both(make_workspace, first, second):
    scripts = {"a": ("raw/{id}", first), "b": ("raw/{id}", second), "ok": ("raw/{id}", "ok/{id}")}
    ws = make_workspace(scripts, ["raw/R1", "deriv/R1/notes.txt"])
    assert statuses(ws) == {"a": "ERROR", "b": "ERROR", "ok": "DATA_READY"}
    assert reason(ws, "a") == reason(ws, "b")
    assert re.search(r"steps? a\b.*(step|and) b\b|step b\b.*step a\b", reason(ws, "a"))


@pytest.mark.parametrize(
    ("written", "control"),
    [
        ("out/{id}/", "out/{id}/qc.txt"),
        ({"dir": "out/{id}/", "flag": "out/{id}/done.txt"}, ()),
        ({"a": "out/{id}", "b": "out/{id}"}, ()),
        ("out/{id}.png", "out/{id}.png"),
        ("out/{id}.png", {"qc": "out/{id}.png/qc"}),
    ],
)
def test_outputs_and_control_files_of_one_step_that_overlap_are_refused(
    make_workspace, script_source, written, control
):
    ws = make_workspace({"c": script_source("raw/{id}", written, PATH_CONTROL=control)}, ["raw/R1"])
    assert statuses(ws) == {"c": "ERROR"}
    assert ws.steps.run(progress=False, mode="main_process").counts() == {"error": 1}


def test_outputs_that_meet_for_some_record_only_are_refused(make_workspace):
    scripts = {"a": ("raw/{id}", "out/{id}.csv"), "b": ("raw/{id}", "out/{id}_q.csv")}
    assert statuses(make_workspace(scripts, ["raw/A", "raw/B"], id_pattern=r"\w+", name="apart")) == {
        "a": "DATA_READY",
        "b": "DATA_READY",
    }
    ws = make_workspace(scripts, ["raw/A", "raw/A_q"], id_pattern=r"\w+", name="meeting")
    assert statuses(ws) == {"a": "ERROR", "b": "ERROR"}
    assert "'out/A_q.csv' for record A_q" in reason(ws, "a")


SCOPED = """
[records]
id_pattern = 'R\\d+'
[tasks.X]
modalities = ["EEG"]
[tasks.Y]
modalities = ["EEG"]
[modalities.EEG]
scripts = ["c"]
"""


def test_step_in_several_tasks_may_share_its_output(make_workspace):
    ws = make_workspace({"EEG/c": ("raw/{id}", "out/{id}")}, ["raw/R1"], toml=SCOPED)
    assert ws.steps.plan().frame["action"].to_list() == ["run", "skip"]


@pytest.mark.parametrize(
    ("read", "written"),
    [
        ("raw/{id}_{task}", "out/{id}"),
        ("raw/{id}_{task}", {"a": "out/{id}_{task}", "b": "all/{id}"}),
        ("raw/{id}", {"a": "out/{id}_{task}", "b": "all/{id}"}),
    ],
)
def test_step_in_several_tasks_with_inputs_or_outputs_per_task_may_not(make_workspace, read, written):
    ws = make_workspace({"EEG/c": (read, written)}, ["raw/R1", "raw/R1_X", "raw/R1_Y"], toml=SCOPED)
    assert statuses(ws) == {"c": "ERROR"}
    assert "by = " not in reason(ws, "c")  # a group is of records, and not of tasks


# --- fields ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written", ["glm/{sub}.txt", "out/result.csv", "out/", {"a": "a/{id}", "b": "b/{run}"}]
)
def test_output_that_lacks_a_field_of_an_input_is_refused(make_workspace, written):
    ws = make_workspace({"c": ("raw/{id}", written)}, ["raw/s1_1", "raw/s1_2"], id_pattern=SUBJECTS)
    assert statuses(ws) == {"c": "ERROR"}
    assert "lacks {id}" in reason(ws, "c")


def test_output_lacks_only_the_field_that_the_input_has(make_workspace):
    scripts = {"c": ("in/{sub}/{run}.txt", "out/{sub}.txt"), "d": ("raw/{id}", "d/{sub}/{run}")}
    ws = make_workspace(scripts, ["raw/s1_1", "in/s1/1.txt"], id_pattern=SUBJECTS)
    assert statuses(ws) == {"c": "ERROR", "d": "DATA_READY"}
    assert "lacks {run}" in reason(ws, "c")


def test_control_file_that_records_would_share_is_refused(make_workspace, script_source):
    source = script_source("raw/{id}", "out/{id}", PATH_CONTROL="qc/plot.png")
    assert "'qc/plot.png'" in reason(make_workspace({"c": source}, ["raw/R1"]), "c")


def test_inputs_with_no_more_fields_than_the_output_are_one_job(make_workspace):
    scripts = {"c": ("zip/{sub}", "out/{sub}"), "none": ((), "index.txt"), "r": ("raw/{id}", "r/{id}")}
    ws = make_workspace(scripts, ["zip/s1", "raw/s1_1", "raw/s1_2"], id_pattern=SUBJECTS)
    frame = ws.steps.filter(pl.col("step") != "r").plan().frame.sort("step", "record_id")
    assert frame["action"].to_list() == ["run", "skip", "run", "skip"]


def test_step_with_outputs_for_records_and_for_all_is_refused(make_workspace):
    ws = make_workspace({"c": ((), {"a": "a/{id}", "b": "all"}), "d": ("raw/{id}", "d/{id}")}, ["raw/R1"])
    assert statuses(ws) == {"c": "ERROR", "d": "DATA_READY"}


# --- groups ----------------------------------------------------------------------------------------------------


def test_by_that_names_no_field_names_the_near_one(make_workspace, script_source):
    source = script_source("raw/{id}", "glm/{sub}.txt", BY=["subj"])
    ws = make_workspace({"c": source}, ["raw/s1_1"], id_pattern=SUBJECTS)
    assert "by = 'subj', which is not a field of id_pattern; did you mean 'sub'?" in reason(ws, "c")


def test_by_that_is_a_text_is_a_fault_with_its_line(make_workspace, script_source):
    ws = make_workspace(
        {"c": script_source("raw/{id}", "x/{id}", BY="sub"), "d": ("raw/{id}", "d/{id}")}, ["raw/R1"]
    )
    assert reason(ws, "c").startswith("scripts/c.py:6: BY is not a list")


# --- outputs that would be taken for raw data ---------------------------------------------------------------------


def test_output_that_matches_a_raw_pattern_is_refused_and_makes_no_generations(make_workspace):
    scripts = {"c": ("raw/{id}.csv", "raw/{id}_clean.csv"), "ok": ("raw/{id}.csv", "ok/{id}")}
    ws = make_workspace(scripts, ["raw/A.csv", "raw/B.csv"], id_pattern=r"\w+")
    assert statuses(ws) == {"c": "ERROR", "ok": "DATA_READY"}
    assert "'raw/A_clean.csv' for record A" in reason(ws, "c")
    rounds = ws.steps.watch(once=True, submit=False, stable_for=0)
    done = [report.frame.filter(outcome="done").select("step", "record_id").rows() for report in rounds]
    assert [sorted(one) for one in done] == [[("ok", "A"), ("ok", "B")]]
    assert ws.records.count() == 2


def test_output_beside_raw_data_whose_ids_cannot_match_runs(make_workspace):
    scripts = {"c": ("raw/{id}.csv", "raw/{id}_clean.csv"), "d": ("raw/{id}.csv", "raw/{id}.txt")}
    ws = make_workspace(scripts, ["raw/R1.csv"])
    assert ws.steps.run(progress=False, mode="main_process").counts()["done"] == 2
    assert ws.records.count() == 1


@pytest.mark.parametrize(
    ("written", "raw"),
    [
        ("raw/{sub}_9", "raw/{id}"),
        ("{sub}_{run}/clean.csv", "{id}/{sub}.csv"),
        ("out/{sub}_{run}/", "out/{id}/raw.csv"),
    ],
)
def test_outputs_are_compared_as_filled_with_each_record(make_workspace, written, raw):
    scripts = {
        "a": (raw, "a/{id}"),
        "c": ("zip/{sub}", written) if "run" not in written else ("zip/{id}", written),
    }
    ws = make_workspace(
        scripts, ["raw/s1_9", "s1_1/s1.csv", "zip/s1", "zip/s1_1", "out/s1_1/raw.csv"], id_pattern=SUBJECTS
    )
    expected = "DATA_READY" if written.endswith("clean.csv") else "ERROR"  # no record has a file of that name
    assert set(ws.steps.filter(step="c").collect()["status"]) == {expected}


def test_data_file_of_a_modality_is_raw_data(make_workspace):
    toml = SCOPED + "models.plugin = 'table'\nmodels.data_path = 'raw/{id}.json'\n"
    scripts = {"EEG/c": ("raw/{id}.json", "raw/{id}_x.json")}
    ws = make_workspace(scripts, ["raw/A.json"], toml=toml.replace("R\\d+", r"\w+"))
    assert statuses(ws) == {"c": "ERROR"}


# --- links -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", ["view/{id}.csv", "deep/view/{id}.csv", "view/"])
def test_output_that_reaches_raw_data_through_a_link_is_refused(make_workspace, written):
    ws = make_workspace({"c": ("raw/{id}.csv", written)}, ["raw/R1.csv", "deep/x.txt"])
    dataset = Path(ws.data_path)
    (dataset / "view").symlink_to("raw")
    (dataset / "deep" / "view").symlink_to(dataset / "raw")
    report = ws.steps.run(progress=False, force=True, mode="main_process")
    assert report.counts() == {"error": 1}
    assert (dataset / "raw" / "R1.csv").read_text() == "raw;"


def test_raw_data_and_outputs_behind_two_links_to_one_folder_are_seen(make_workspace, tmp_path):
    (tmp_path / "nas").mkdir()
    (tmp_path / "nas" / "R1.csv").write_text("raw;")
    scripts = {"a": ("raw/{id}.csv", "a/{id}"), "c": ("meta/{id}", "out/{id}.csv")}
    ws = make_workspace(scripts, ["meta/R1"])
    for name in ("raw", "out"):
        (Path(ws.data_path) / name).symlink_to(tmp_path / "nas")
    assert statuses(ws) == {"a": "DATA_READY", "c": "ERROR"}
    assert "through a link" in reason(ws, "c")


def test_link_that_appears_while_a_workspace_is_open_is_seen_at_the_next_look(make_workspace):
    ws = make_workspace({"c": ("raw/{id}.csv", "view/{id}.csv")}, ["raw/R1.csv"])
    assert statuses(ws) == {"c": "DATA_READY"}
    (Path(ws.data_path) / "view").symlink_to("raw")
    assert statuses(ws.refresh()) == {"c": "ERROR"}


def test_outputs_root_that_lies_in_the_raw_folder_is_seen(make_workspace):
    toml = "[path]\noutputs = 'dataset/raw'\n"
    ws = make_workspace({"c": ("raw/{id}.csv", "{id}.csv")}, ["raw/R1.csv"], toml=toml)
    assert statuses(ws) == {"c": "ERROR"}


def test_mirrored_layout_under_two_roots_is_not_refused(make_workspace):
    ws = make_workspace({"c": ("x/{id}.csv", "x/{id}.csv")}, ["x/R1.csv"], toml="[path]\noutputs = 'made'\n")
    assert "ERROR" not in statuses(ws).values()


# --- lists -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written", [["a/{id}.csv", "a/{id}.txt"], ["a/x.csv", "b/{id}/"], ("{id}.csv", "{id}.txt")]
)
def test_list_that_is_likely_two_paths_is_refused_with_a_dict_to_write(make_workspace, written):
    ws = make_workspace({"c": ("raw/{id}", written), "d": ("raw/{id}", "d/{id}")}, ["raw/R1"])
    assert statuses(ws) == {"c": "ERROR", "d": "DATA_READY"}
    assert "write a dict of them by label" in reason(ws, "c")
    assert reason(ws, "c").startswith("scripts/c.py:5: PATH_OUT: ")


def test_list_of_inputs_with_slashes_is_refused_in_a_command(cli, make_workspace):
    text = "command = 'touch {output}'\ninputs = {a = ['a/{id}', 'b/{id}']}\noutputs = 'o/{id}'"
    ws = make_workspace(
        toml=command(text) + "[steps.d]\ncommand = 'x'\ninputs = 'raw/{id}'\n", files=["raw/R1"]
    )
    assert "read as the parts of one path" in cli("doctor", ws.config.root, "--json").stdout


def test_list_of_the_parts_of_one_path_stays_one_path(make_workspace):
    scripts = {
        "a": (("raw", "{id}.csv"), ["a/b", "{id}.csv"]),
        "b": (("raw/", "{id}.csv"), ("b.v1", "{id}.csv")),
        "c": (("raw", "{id}.csv"), ("c", "{id}/")),
        "d": ({"x": ["{id}.csv", "{id}.txt"], "y": "raw/{id}.csv"}, "d/{id}"),
    }
    ws = make_workspace(scripts, ["raw/R1.csv"])
    assert "ERROR" not in statuses(ws).values()


# --- how a run ends, and who says it ------------------------------------------------------------------------------

OVERLAP = {
    "a": ("raw/{id}", "deriv/{id}/"),
    "b": ("raw/{id}", "deriv/{id}/b.txt"),
    "ok": ("raw/{id}", "ok/{id}"),
}


def test_run_that_names_a_refused_step_ends_with_an_error(make_workspace):
    ws = make_workspace(OVERLAP, ["raw/R1"])
    named = [
        lambda: ws.steps.run("a", progress=False),
        lambda: ws.steps.filter(step="b").run(progress=False),
        lambda: ws.steps.filter(pl.col("step").is_in(["a", "ok"])).run(progress=False),
        lambda: ws.steps.sql_filter("step = 'a'").run(progress=False),
        lambda: ws.records.get("R1").steps.get("a").run(progress=False),
    ]
    for run in named:
        with pytest.raises(
            SelectionError, match=r"step [ab] cannot run: the output 'deriv/\{id\}/' of step a"
        ):
            run()
    assert not (Path(ws.data_path) / "ok").exists()


def test_run_that_names_no_refused_step_runs_the_others(make_workspace):
    ws = make_workspace(OVERLAP, ["raw/R1"])
    report = ws.steps.filter(pl.col("step") != "b").run(progress=False, mode="main_process")
    assert report.frame.select("step", "outcome").rows() == [("a", "error"), ("ok", "done")]
    assert report.ok is False
    assert ws.steps.run("ok", progress=False, mode="main_process").ok


def test_deployment_of_a_refused_step_is_refused(make_workspace):
    ws = make_workspace(OVERLAP, ["raw/R1"])
    with pytest.raises(SelectionError, match="step a cannot run"):
        ws.deploy("nightly", where="step = 'a'", pool="none")


def test_command_line_tells_a_refusal_and_its_exit_codes(write_workspace, cli):
    folder = write_workspace(OVERLAP, ["raw/R1"])
    sentence = "the output 'deriv/{id}/' of step a holds the output 'deriv/{id}/b.txt' of step b"
    assert cli("run", folder, "--step", "a").returncode == 2
    assert cli("run", folder, "--where", "step = 'b'").returncode == 2
    ended = cli("run", folder)
    assert ended.returncode == 3
    assert sentence in " ".join((ended.stdout + ended.stderr).split())
    for words in (["status", folder], ["plan", folder], ["explain", "R1", "a", "-C", folder]):
        told = cli(*words, COLUMNS="400")
        assert told.returncode == 0, words
        assert sentence in " ".join((told.stdout + told.stderr).split()), words
    ended = cli("doctor", folder)
    assert ended.returncode == 2
    assert sentence in " ".join(ended.stdout.split())


def test_doctor_ends_2_for_what_only_the_records_decide_and_for_lists(write_workspace, cli):
    folder = write_workspace({"c": ("raw/{id}.csv", "raw/{id}_x.csv")}, ["raw/A.csv"], id_pattern=r"\w+")
    assert cli("doctor", folder).returncode == 2
    folder = write_workspace(
        {"c": ("raw/{id}", ["{id}.csv", "{id}.txt"]), "d": ("raw/{id}", "d/{id}")}, ["raw/R1"], name="lists"
    )
    assert cli("doctor", folder).returncode == 2
    assert cli("run", folder, "--step", "c").returncode == 2


def test_report_page_shows_the_refusal(make_workspace, tmp_path):
    page = tmp_path / "report.html"
    make_workspace(OVERLAP, ["raw/R1"]).report(page)
    assert "of step a holds the output" in page.read_text()


def test_steps_that_wait_for_each_other_through_a_refused_one_stop_no_other(make_workspace):
    scripts = {
        "a": ("deriv/{id}/x.txt", "deriv/{id}/"),
        "b": ("deriv/{id}/", "deriv/{id}/x.txt"),
        "ok": ("raw/{id}", "ok/{id}"),
    }
    ws = make_workspace(scripts, ["raw/R1"])
    assert ws.steps.run(progress=False, mode="main_process").counts()["done"] == 1


# --- outputs inside a folder of raw data ------------------------------------------------------------------------

CAMERA = {
    "thumb": ("raw/{id}/", "raw/{id}/thumb.png"),
    "qc": ("raw/{id}", "raw/{id}/qc/{id}.txt"),
    "count": ("raw/{id}/", "count/{id}.txt"),
}
SHOTS = [
    "raw/R1/a.jpg",
    "raw/R2/deep/er/b.jpg",
    "raw/R3/qc/R3.txt",
    "raw/R3/thumb.png",
    "raw/R4/qc/other.txt",
]
COUNTED = {"R1": "DATA_READY", "R2": "DATA_READY", "R3": "INIT", "R4": "DATA_READY"}
COUNT_SCRIPT = "self.path.output.write_text(str(sum(one.is_file() for one in self.path.input.rglob('*'))))"


def test_folder_of_raw_data_is_there_where_it_holds_more_than_steps_declare(cli, make_workspace):
    ws = make_workspace(CAMERA, SHOTS)
    counted = ws.steps.filter(step="count").collect()
    assert dict(counted.select("record_id", "status").iter_rows()) == COUNTED
    assert counted.filter(record_id="R3")["reason"].to_list() == ["missing raw/R3"]
    assert "match" not in cli("status", ws.config.root).stderr


@pytest.mark.parametrize("mode", ["processes", "main_process"])
def test_worker_looks_into_a_folder_of_raw_data_as_the_catalog_does(make_workspace, mode):
    ws = make_workspace(CAMERA, SHOTS)
    report = ws.steps.run("count", progress=False, mode=mode)
    outcomes = dict(report.frame.select("record_id", "outcome").iter_rows())
    assert outcomes == {"R1": "done", "R2": "done", "R3": "not_available", "R4": "done"}


def test_raw_files_stay_when_steps_write_beside_them(make_workspace):
    ws = make_workspace(CAMERA, SHOTS)
    before = contents(Path(ws.data_path))
    assert ws.steps.run(progress=False, mode="main_process").ok
    assert ws.steps.run(progress=False, mode="main_process", force=True).ok
    after = contents(Path(ws.data_path))
    made = {"raw/R3/qc/R3.txt", "raw/R3/thumb.png"}
    assert {name: after[name] for name in before if name not in made} == {
        name: text for name, text in before.items() if name not in made
    }


def test_folder_that_steps_fill_and_another_reads_is_made_by_them(make_workspace):
    scripts = {
        "a": ("raw/{id}", "dir/{id}/a"),
        "b": ("raw/{id}", "dir/{id}/b"),
        "all": ("dir/{id}/", "all/{id}"),
    }
    ws = make_workspace(scripts, ["raw/R1"])
    assert ws.steps.run(progress=False, downstream=True, mode="main_process").counts()["done"] == 3


def test_folder_with_a_raw_input_in_it_is_raw_too(make_workspace):
    scripts = {"a": ("{id}/anat/t1.nii", "{id}/derived/a.txt"), "all": ("{id}/", "all/{id}")}
    ws = make_workspace(scripts, ["R1/anat/t1.nii", "R2/derived/a.txt"])
    rows = ws.steps.filter(step="all").collect().select("record_id", "status").rows()
    assert rows == [("R1", "DATA_READY"), ("R2", "INIT")]


def test_outputs_of_records_in_a_folder_of_their_subject_do_not_count(make_workspace):
    scripts = {"a": ("{sub}/", "{sub}/runs/{id}.txt")}
    ws = make_workspace(
        {**scripts, "b": ("raw/{id}", "b/{id}")}, ["raw/s1_1", "raw/s2_1", "s1/t1.nii"], id_pattern=SUBJECTS
    )
    (Path(ws.data_path) / "s2" / "runs").mkdir(parents=True)
    (Path(ws.data_path) / "s2" / "runs" / "s2_9.txt").write_text("")
    rows = ws.steps.filter(step="a").collect().select("record_id", "status").rows()
    assert rows[0] == ("s1_1", "DATA_READY")
    assert dict(rows)["s2_1"] == "INIT"


def test_final_slash_makes_no_difference_to_a_folder_of_raw_data(make_workspace):
    scripts = {"thumb": ("raw/{id}/", "raw/{id}/thumb.png"), "count": ("raw/{id}", "count/{id}")}
    ws = make_workspace(scripts, ["raw/R1/a.jpg", "raw/R2/thumb.png"])
    rows = ws.steps.filter(step="count").collect().select("record_id", "status").rows()
    assert rows == [("R1", "DATA_READY"), ("R2", "INIT")]


def test_folder_that_steps_fill_is_no_raw_data_where_two_steps_read_it(make_workspace):
    scripts = {"a": ("raw/{id}", "dir/{id}/a"), "b": ("dir/{id}/", "b/{id}"), "c": ("dir/{id}", "c/{id}")}
    assert statuses(make_workspace(scripts, ["raw/R1"])) == {"a": "DATA_READY", "b": "INIT", "c": "INIT"}


def test_workspace_travels_with_its_refusals(make_workspace):
    import pickle

    ws = make_workspace(OVERLAP, ["raw/R1"])
    assert statuses(pickle.loads(pickle.dumps(ws))) == {"a": "ERROR", "b": "ERROR", "ok": "DATA_READY"}  # noqa: S301


def test_mended_script_runs_at_the_next_look(make_workspace, script_source):
    ws = make_workspace(OVERLAP, ["raw/R1"])
    assert statuses(ws)["a"] == "ERROR"
    scripts = Path(ws.scripts_path)
    (scripts / "b.py").write_text(script_source("raw/{id}", "other/{id}/b.txt"))
    assert statuses(ws) == {"a": "DATA_READY", "b": "DATA_READY", "ok": "DATA_READY"}


def test_path_of_a_subject_that_another_step_makes_for_one_of_its_records_is_no_raw_data(make_workspace):
    scripts = {
        "one": ("raw/{id}", "one/{id}"),
        "two": ({"a": "one/{id}", "first": "one/{sub}_1"}, "two/{id}"),
    }
    ws = make_workspace(scripts, ["raw/s1_1", "raw/s1_2"], id_pattern=SUBJECTS)
    assert "ERROR" not in statuses(ws).values()


def test_file_that_all_records_share_is_no_output_of_a_record_of_its_name(make_workspace):
    scripts = {"a": ({"p": "params.csv", "r": "raw/{id}.csv"}, "o/{id}"), "b": ("raw/{id}.csv", "{id}.csv")}
    ws = make_workspace(scripts, ["params.csv", "raw/params.csv", "raw/R1.csv"], id_pattern=r"\w+")
    assert statuses(ws) == {"a": "DATA_READY", "b": "ERROR"}


def test_own_output_for_another_record_is_no_input_of_a_step(make_workspace):
    scripts = {"one": ({"a": "raw/{id}", "first": "one/{sub}_1"}, "one/{id}")}
    ws = make_workspace(scripts, ["raw/s1_1", "raw/s1_2"], id_pattern=SUBJECTS)
    assert statuses(ws) == {"one": "ERROR"}


# --- in a bucket -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["processes", "main_process"])
def test_folder_of_raw_data_in_a_bucket_is_looked_at_the_same_way(moto, write_workspace, mode):
    body = "self.path.output.write_text(str(len(list(self.path.input.rglob('*.jpg')))))"
    scripts = {**CAMERA, "count": ("raw/{id}/", "count/{id}.txt", body)}
    folder = write_workspace(scripts, SHOTS)
    ws = Workspace(moto.upload(folder, "shots"), storage_options=moto.options, trust=True)
    counted = ws.steps.filter(step="count").collect()
    assert dict(counted.select("record_id", "status").iter_rows()) == COUNTED
    outcomes = dict(
        ws.steps.run("count", progress=False, mode=mode).frame.select("record_id", "outcome").rows()
    )
    assert outcomes == {"R1": "done", "R2": "done", "R3": "not_available", "R4": "done"}
    assert moto.read("shots/dataset/count/R2.txt") == b"1"


def test_refusals_in_a_bucket_leave_raw_objects_alone(moto, write_workspace):
    scripts = {
        "over": ("{id}/eeg/raw.csv", {"dir": "{id}/eeg/", "flag": "{id}/done.txt"}),
        "same": ("raw/{id}.csv", "raw/{id}.csv"),
        "next": ("raw/{id}.csv", "raw/{id}_x.csv"),
        "ok": ("raw/{id}.csv", "ok/{id}.csv"),
    }
    folder = write_workspace(scripts, ["A/eeg/raw.csv", "raw/A.csv"], id_pattern=r"\w+")
    ws = Workspace(moto.upload(folder, "one"), storage_options=moto.options, trust=True)
    report = ws.steps.run(progress=False, mode="main_process", force=True)
    assert dict(report.frame.select("step", "outcome").rows())["ok"] == "done"
    assert report.counts() == {"error": 3, "done": 1}
    assert moto.read("one/dataset/A/eeg/raw.csv") == moto.read("one/dataset/raw/A.csv") == b"raw;"


@pytest.mark.parametrize("log", ["dataset/derivatives", "view"])
def test_outputs_in_the_log_folder_are_refused_before_a_script_runs(write_workspace, log, cli):
    scripts = {"a": ("raw/{id}", "derivatives/a/{id}"), "b": ("raw/{id}", "b/{id}")}
    folder = write_workspace(scripts, ["raw/R1"], toml=f'[path]\nlog = "{log}"\n')
    (folder / "dataset/derivatives").mkdir()
    (folder / "view").symlink_to("dataset/derivatives")
    ws = Workspace(folder)
    reasons = dict(
        ws.steps.collect().filter(pl.col("status") == "ERROR").select("step", "reason").iter_rows()
    )
    assert set(reasons) == {"a"}
    assert reasons["a"].startswith("the output 'derivatives/a/{id}' of step a lies in the LOG folder")
    assert cli("doctor", folder).returncode == 2
    assert ws.steps.run(mode="main_process", progress=False).counts().get("done") == 1


# --- files of the workspace itself ------------------------------------------------------------------------------

OWN = """
[path]
dataset = '.'
scripts = 'code'
[records]
id_pattern = '[A-Za-z]+\\d?'
exclude = 'out.csv'
metadata = 'people.csv'
[steps]
scripts = ['c']
[steps.c]
command = 'sh -c "echo new > $0" {output}'
inputs = 'raw/{id}'
outputs = '%s'
%s
"""


@pytest.mark.parametrize(
    ("output", "what"),
    [
        ("workspace.toml", "the config of the workspace"),
        ("out.csv", "the table of excluded records"),
        ("people.csv", "a table of records.metadata"),
        ("code/{id}.py", "the scripts folder"),
        ("code/more/c.txt", "the scripts folder"),
        ("code/", "the scripts folder"),
        ("code", "the scripts folder"),
        ("{id}.toml", "the config of the workspace"),
        ("{id}.csv", "a table of records.metadata"),
    ],
)
def test_no_output_replaces_a_file_of_the_workspace_itself(write_workspace, output, what):
    folder = write_workspace(toml=OWN % (output, "" if "{" in output else "by = []"))
    own = {
        "raw/workspace": "raw", "raw/people": "raw", "raw/R1": "raw", "people.csv": "record_id,age\nR1,3\n",
        "out.csv": "record_id,reason\nR9,fog\n", "code/c.py": "", "code/R1.py": "mine",
    }  # fmt: skip
    for name, text in own.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    before = contents(folder)
    ws = Workspace(folder)
    for force in (False, True):
        report = ws.steps.run(progress=False, mode="main_process", force=force)
        assert set(report.frame["outcome"]) == {"error"}
    assert what in reason(ws, "c")
    assert contents(folder) == before


def test_scripts_and_outputs_may_share_a_folder_around_them(make_workspace):
    toml = """
    [path]
    scripts = '.'
    [records]
    id_pattern = 'R1'
    [steps]
    scripts = ['c']
    [steps.c]
    command = 'cp {input} {output}'
    inputs = 'raw/{id}'
    outputs = 'c/{id}'
    """
    ws = make_workspace(toml=toml, files=["raw/R1"])
    assert ws.steps.run(progress=False, mode="main_process").ok


def test_a_group_step_is_told_an_output_that_it_may_have(make_workspace):
    toml = command(
        "command = 'cp {input} {output}'\ninputs = 'raw/{sub}_{run}'\noutputs = 'raw/{sub}_9'\nby = ['sub']"
    )
    ws = make_workspace(toml=toml, files=["raw/s1_1", "raw/s1_9"], id_pattern=SUBJECTS)
    assert "such as 'c/raw/{sub}_9'" in reason(ws, "c")
