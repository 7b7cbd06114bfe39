"""A workspace of sinagot 0.2.6 as a lab has it: it opens, looks, runs; and none of the old faults comes along.

The numbers in comments are those of the list of sinagot's faults.
"""

import json
import logging
import re
from pathlib import Path

import polars as pl
import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.errors import ConfigError, NotFoundError, SelectionError

TOML = r"""
[path]
dataset = "./dataset"
scripts = "./scripts"
[records]
id_pattern = "[A-Z]+-\\d{3}"
file_match = "{id}.*"
[run]
mode = "dask"
[dask.scheduler]
type = "processes"
[log]
name = "lab"
[tasks.RS]
modalities = ["EEG"]
[tasks.HDC]
modalities = ["EEG", "behavior"]
[modalities.EEG]
scripts = ["preprocess"]
task_scripts.RS = ["alpha"]
file_match = "*.eeg"
[modalities.behavior]
scripts = ["scores"]
models.plugin = "processed"
[modalities.clinical]
models.plugin = "pandas"
models.data_path = ["CLINICAL", "{id}.json"]
[processed.alpha]
task = "RS"
modality = "EEG"
step_label = "alpha"
path_label = "power"
data_type = "float"
[processed.scores]
task = "HDC"
modality = "behavior"
step_label = "scores"
data_getter = "dataframe_from_csv"
columns = ["trial", "score"]
"""

SCRIPTS = {
    "EEG/preprocess": """
from sinagot_catalog import ScriptTemplate
from signals import volume

class Script(ScriptTemplate):
    PATH_IN = ("EEG", "raw", "{task}", "{id}")
    PATH_OUT = {"clean": ("EEG", "clean", "{task}", "{id}.txt"), "notes": ("EEG", "notes", "{task}", "{id}.txt")}

    def run(self):
        self.logger.info("volume of %s", self.id)
        self.path.output["clean"].write_text(str(volume(self.path.input)))
        self.path.output["notes"].write_text(self.task)
""",
    "EEG/alpha": """
from sinagot_catalog import ScriptTemplate

class Script(ScriptTemplate):
    PATH_IN = {"clean": ("EEG", "clean", "{task}", "{id}.txt")}
    PATH_OUT = {"power": ["EEG", "alpha", "{id}.txt"]}
    PATH_CONTROL = ("EEG", "control", "{id}.txt")

    def run(self):
        self.path.control.write_text("seen")
        value = float(self.path.input["clean"].read_text())
        if not value:
            raise ValueError("no signal")
        self.path.output["power"].write_text(str(value / 2))
""",
    "behavior/scores": """
from sinagot_catalog import ScriptTemplate

class Script(ScriptTemplate):
    PATH_IN = ["behavior", "{task}", "{id}.csv"]
    PATH_OUT = ("scores", "{id}.csv")

    def run(self):
        assert self.data_exist.input[self.path.input]
        self.path.output.write_text(self.path.input.read_text())
""",
    "EEG/signals": "def volume(folder): return sum(len(file.read_text()) for file in folder.iterdir())\n",
    "behavior/models/record": """
from sinagot_catalog.models import Record as Base

class Record(Base):
    task = "HDC"
    def best(self): return self.get_processed_data(data_key="scores")["score"].max()
""",
    "behavior/models/record_collection": """
from sinagot_catalog.models import RecordCollection as Base

class RecordCollection(Base):
    def bests(self): return {one.id: one.best() for one in self.all()}
""",
}

FILES = {
    "EEG/raw/RS/REC-001/a.eeg": "12345",
    "EEG/raw/RS/REC-001/b.eeg": "123",
    "EEG/raw/HDC/REC-001/a.eeg": "1",
    "EEG/raw/RS/REC-002/a.eeg": "12",
    "EEG/raw/RS/REC-004/a.eeg": "",
    "EEG/raw/RS/REC-005/a.eeg": "1234",
    "behavior/HDC/REC-001.csv": "trial,score\n1,5\n2,7\n",
    "behavior/HDC/REC-003.csv": "trial,score\n1,3\n",
    "CLINICAL/REC-001.json": '{"age": 31, "hand": "left"}',
    "CLINICAL/REC-009.json": '{"age": 70}',
}


def line(record, step, status, message, minute, *, task="RS", modality="EEG"):
    """A line of sinagot's log."""
    keys = (
        "log_from",
        "record_id",
        "scope",
        "task",
        "modality",
        "step_label",
        "step_status",
        "message",
        "time",
    )
    values = (
        "script",
        record,
        "record",
        task,
        modality,
        step,
        status,
        message,
        f"2020-06-01T10:{minute:02}:00.000000",
    )
    return json.dumps(dict(zip(keys, values, strict=True))) + "\n"


def logs():
    """REC-001 was killed in preprocess of HDC, REC-002 failed (told in a rotated file), REC-005 was done once."""
    torn = line("REC-001", "preprocess", 30, "Run finished", 9)[:40]
    return {
        "LOG/REC-001.log": line("REC-001", "preprocess", 20, "Processing run", 5, task="HDC") + torn,
        "LOG/REC-002.log.1": line("REC-002", "preprocess", 20, "Processing run", 1)
        + torn
        + "\n"
        + line("REC-002", "preprocess", 40, "no boats", 2),
        "LOG/REC-002.log": line("REC-002", "alpha", 41, "Input data [] not available", 3),
        "LOG/REC-005.log": line("REC-005", "preprocess", 20, "Processing run", 1)
        + line("REC-005", "preprocess", 30, "Run finished", 2),
    }


@pytest.fixture
def seed_folder(write_workspace):
    """Write the lab's workspace."""

    def write(name="lab"):
        return write_workspace(SCRIPTS, FILES | logs(), toml=TOML, name=name)

    return write


@pytest.fixture
def seed(seed_folder):
    return Workspace(seed_folder())


def codes(ws):
    """The seed's numbers by record, task, modality and step."""
    frame = ws.steps.status()
    keys = ("record_id", "task", "modality", "step_label")
    return {tuple(row[key] for key in keys): row["step_status"] for row in frame.to_dicts()}


# -- looking ----------------------------------------------------------------------------------------------


def test_a_workspace_of_sinagot_opens_as_it_is(seed):
    (notice,) = seed.config.notices
    assert notice.startswith("run.mode = 'dask' and [dask]: steps run in worker processes of this machine")
    assert seed.config.run.mode == "processes"
    assert not seed.is_unit_mode
    assert seed.logger.name == "lab"


def test_ids_counts_and_scopes_are_those_of_the_files(seed):
    assert seed.records.ids() == ["REC-001", "REC-002", "REC-003", "REC-004", "REC-005", "REC-009"]
    assert seed.RS.ids() == ["REC-001", "REC-002", "REC-004", "REC-005"]
    assert seed.HDC.behavior.ids() == ["REC-001", "REC-003"]
    assert seed.clinical.ids() == ["REC-001", "REC-009"]
    assert seed.RS.EEG.ids() == seed.EEG.RS.ids() == seed.RS.ids()
    assert repr(seed.RS) == "<RecordCollection instance | task: RS, modality: None>"
    counts = {(task, modality): count for task, modality, count in seed.records.count_detail().rows()}
    assert counts == {("RS", "EEG"): 4, ("HDC", "EEG"): 1, ("HDC", "behavior"): 2, (None, "clinical"): 2}
    assert seed.RS.steps.scripts_names() == {"EEG": ["preprocess", "alpha"]}
    assert seed.HDC.EEG.steps.scripts_names() == ["preprocess"]
    with pytest.raises(AttributeError, match=r"'RS' is not valid for <RecordCollection instance \| task: RS"):
        seed.RS.RS  # noqa: B018


def test_statuses_of_old_logs_are_honoured(seed):
    told = codes(seed)
    assert told["REC-001", "HDC", "EEG", "preprocess"] == 20
    assert told["REC-002", "RS", "EEG", "preprocess"] == 40
    assert told["REC-002", "RS", "EEG", "alpha"] == 41
    assert told["REC-005", "RS", "EEG", "preprocess"] == 10
    assert told["REC-001", "RS", "EEG", "preprocess"] == 10
    assert told["REC-001", "RS", "EEG", "alpha"] == 0
    assert told["REC-003", "HDC", "behavior", "scores"] == 10
    assert told["REC-003", "HDC", "EEG", "preprocess"] == 0
    assert seed.RS.get("REC-002").EEG.steps.get("preprocess").status() == 40


def test_old_logs_are_read_newest_first_with_sinagots_names(seed):
    frame = seed.records.get("REC-002").logs()
    assert frame.select("step_label", "step_status", "message").rows() == [
        ("alpha", 41, "Input data [] not available"),
        ("preprocess", 40, "no boats"),
        ("preprocess", 20, "Processing run"),
    ]
    assert len(seed.records.logs()) == 6
    assert seed.records.get("REC-003").logs_json() == []
    assert seed.records.get("REC-001").HDC.logs()["step_status"].to_list() == [20]


def test_status_dict_and_json_are_sinagots(seed):
    told = seed.records.get("REC-002").status_dict()
    assert told["RS"]["EEG"] == [
        {"step_index": 1, "step_label": "preprocess", "step_status": 40},
        {"step_index": 2, "step_label": "alpha", "step_status": 41},
    ]
    assert json.loads(seed.records.get("REC-002").status_json()) == told


def test_both_plugins_give_their_data(seed):
    assert seed.records.get("REC-001").clinical.data == {"age": 31, "hand": "left"}
    assert seed.clinical.data["age"].to_list() == [31, 70]
    seed.records.get("REC-002").clinical.data = {"age": 40}
    assert seed.clinical.data.select("record_id", "age").rows() == [
        ("REC-001", 31),
        ("REC-002", 40),
        ("REC-009", 70),
    ]
    assert seed.records.get_processed_data("alpha").is_empty()


# -- running ----------------------------------------------------------------------------------------------


def outcomes(ws):
    frame = ws.steps.status().filter(pl.col("step_status") != 0)
    return sorted(frame.select("record_id", "task", "step_label", "step_status").rows())


@pytest.mark.parametrize(
    "mode", ["processes", "main_process", None, pytest.param("prefect", marks=pytest.mark.server)]
)
def test_every_mode_gives_the_same_result(seed, mode, request):
    if mode == "prefect":
        request.getfixturevalue("prefect_server")
    report = seed.steps.run(mode=mode, downstream=True, progress=False)
    assert not report.ok
    assert report.failures()["message"].to_list() == ["no signal"]
    assert outcomes(seed) == [
        ("REC-001", "HDC", "preprocess", 30),
        ("REC-001", "HDC", "scores", 30),
        ("REC-001", "RS", "alpha", 30),
        ("REC-001", "RS", "preprocess", 30),
        ("REC-002", "RS", "alpha", 30),
        ("REC-002", "RS", "preprocess", 30),
        ("REC-003", "HDC", "scores", 30),
        ("REC-004", "RS", "alpha", 40),
        ("REC-004", "RS", "preprocess", 30),
        ("REC-005", "RS", "alpha", 30),
        ("REC-005", "RS", "preprocess", 30),
    ]
    assert Path(seed.data_path, "EEG/control/REC-004.txt").read_text() == "seen"
    assert seed.records.get_processed_data("alpha").rows() == [
        ("REC-001", 4.0),
        ("REC-002", 1.0),
        ("REC-005", 2.0),
    ]
    assert seed.HDC.behavior.bests() == {"REC-001": 7, "REC-003": 3}
    assert seed.behavior.get("REC-003").best() == 3
    again = Workspace(seed.config.root)
    assert codes(again) == codes(seed)
    assert "volume of REC-005" in again.records.get("REC-005").logs()["message"].to_list()


def test_a_run_of_a_scope_and_a_step_stays_in_it(seed):
    report = seed.RS.EEG.steps.run("preprocess", mode="main_process", progress=False)
    assert set(report.frame["step"]) == {"preprocess"}
    assert set(report.frame["task"]) == {"RS"}
    report = seed.records.get("REC-001").RS.EEG.steps.get("alpha").run(mode="main_process")
    assert report.counts()["done"] == 1


# -- the faults of sinagot ---------------------------------------------------------------------------------


def test_a_record_without_its_file_counts_0(seed):  # 1
    counts = seed.records.get("REC-009").count_detail().filter(pl.col("modality") == "EEG")
    assert counts["count"].to_list() == [0, 0]


def test_head_yields_as_many_as_asked(seed):  # 2
    assert [len(list(seed.records.head(n))) for n in (0, 1, 2, 99)] == [0, 1, 2, 6]


def test_a_first_step_with_a_dict_of_inputs_lists_its_records(make_workspace):  # 3
    ws = make_workspace(
        {"sum": ({"a": ("a", "{id}"), "b": ("b", "{id}")}, "out/{id}")}, ["a/R1", "b/R1", "a/R2"]
    )
    assert ws.records.ids() == ["R1", "R2"]
    assert ws.steps.collect()["status"].to_list() == ["DATA_READY", "INIT"]


ODD = "a+b (1)/x[1] {y}"
ODD_IDS = ["a b", "é", "a+b", "x[1]", "{y}", "it's", 'say "so"', "100%", "$HOME", "(a|b)*", "日本"]


@pytest.fixture
def odd(write_workspace, tmp_path):
    folder = write_workspace(
        {"clean": ("raw v1.0+/{id}-raw.csv", "out/{id}.csv")},
        {f"{ODD}/raw v1.0+/{one}-raw.csv": "raw;" for one in ODD_IDS},
        toml=f'[records]\nid_pattern = ".+"\n[steps]\nscripts = ["clean"]\n[path]\ndataset = "dataset/{ODD}"\n',
    )
    assert tmp_path in folder.parents
    return Workspace(folder)


@pytest.mark.parametrize("mode", ["processes", "main_process"])
def test_folders_and_ids_may_hold_any_character(odd, mode):  # 4
    assert odd.records.ids() == sorted(ODD_IDS)
    assert set(odd.steps.collect()["status"]) == {"DATA_READY"}
    assert odd.steps.run(mode=mode, progress=False).ok
    for one in ODD_IDS:
        assert Path(odd.data_path, f"out/{one}.csv").read_text() == "raw;clean;"
        assert odd.records.get(one).steps.get("clean").status() == 30
        assert odd.records.get(one).logs().height == 2
    assert odd.steps.filter(record_id="it's").collect().height == 1
    assert odd.sql("select record_id from steps where record_id = 'it''s'").collect().height == 1
    assert odd.steps.scan_outputs("clean", format="csv", has_header=False).collect().height == len(ODD_IDS)
    assert odd.steps.run(mode=mode, progress=False).frame.is_empty()


def test_patterns_are_anchored_and_their_dots_are_dots(make_workspace):  # 4
    files = ["raw/R1.csv", "raw/R2xcsv", "raw/R3.csv.bak", "raw/xR4.csv", "x/raw/R5.csv"]
    assert make_workspace({"clean": ("raw/{id}.csv", "out/{id}")}, files).records.ids() == ["R1"]


def test_an_id_that_stands_twice_is_the_same_id(make_workspace):  # 5
    ws = make_workspace(
        {"clean": ("raw/{id}/{id}-raw.csv", "out/{id}")}, ["raw/R1/R1-raw.csv", "raw/R1/R2-raw.csv"]
    )
    assert ws.records.ids() == ["R1"]


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("raw/{task}/{id}", r"scripts/clean\.py:\d+: PATH_IN: unknown placeholder \{task\}"),
        ("raw/{session}/{id}", r"scripts/clean\.py:\d+: PATH_IN: unknown placeholder \{session\}"),
    ],
)
def test_a_placeholder_that_is_not_known_is_named_with_script_and_line(make_workspace, pattern, told):  # 6
    ws = make_workspace({"clean": (pattern, "out/{id}"), "other": ("raw/{id}", "other/{id}")}, ["raw/R1"])
    rows = ws.steps.collect().sort("step_index")
    assert rows["status"].to_list() == ["ERROR", "DATA_READY"]
    assert re.match(told, rows["reason"][0])


def test_other_braces_in_a_pattern_are_literal(make_workspace):  # 7
    ws = make_workspace({"clean": ("raw/{a,b}/{id}", "out/{}/{id}")}, ["raw/{a,b}/R1"])
    assert ws.records.ids() == ["R1"]
    assert ws.steps.run(mode="main_process", progress=False).ok
    assert Path(ws.data_path, "out/{}/R1").exists()


def test_a_pattern_may_be_a_list(make_workspace):  # 8
    ws = make_workspace({"clean": (["raw", "{id}"], {"x": ["out", "{id}"]})}, ["raw/R1"])
    assert ws.steps.run(mode="main_process", progress=False).ok
    assert ws.steps.collect()["status"].to_list() == ["DONE"]


def test_paths_that_a_config_leaves_out_have_their_defaults(write_workspace):  # 9
    folder = write_workspace(
        {"clean": ("raw/{id}", "out/{id}")}, ["raw/R1"], toml="[path]\nscripts = './scripts'\n"
    )
    assert Workspace(folder).records.ids() == ["R1"]


def test_opening_writes_nothing_and_looking_says_that_the_dataset_is_absent(write_workspace):  # 9
    folder = write_workspace({"clean": ("raw/{id}", "out/{id}")}, toml="[path]\ndataset = 'not/there'\n")
    ws = Workspace(folder)
    assert ws.steps.scripts_names() == ["clean"]
    with pytest.raises(NotFoundError, match=r"the dataset folder .*/not/there does not exist"):
        ws.records.ids()
    assert not (folder / "not").exists()


def test_two_workspaces_with_other_tasks_never_touch_each_other(seed, make_workspace):  # 10, 11, 12
    other = make_workspace(
        {"MRI/clean": ("{task}/{id}", "out/{task}/{id}")},
        ["MMN/R1"],
        toml="[tasks.MMN]\nmodalities = ['MRI']\n[modalities.MRI]\nscripts = ['clean']\n[log]\nname = 'lab'\n",
        name="other",
    )
    handler = logging.NullHandler()
    seed.logger.addHandler(handler)
    assert other.MMN.ids() == ["R1"]
    assert seed.RS.count() == 4
    for ws, name in ((other, "RS"), (seed, "MMN"), (other.records, "EEG"), (seed.records, "MRI")):
        assert not hasattr(ws, name)
    assert seed.records.count_detail().height == 4
    other.close()
    assert handler in seed.logger.handlers
    assert other.config.run.mode == seed.config.run.mode == "processes"
    with pytest.raises(AttributeError):
        seed.config.run.mode = "x"
    seed.close()


@pytest.mark.parametrize("mode", ["processes", "main_process"])
def test_a_script_is_imported_by_a_run_alone_and_once(make_workspace, script_source, tmp_path, mode):  # 13
    trace = tmp_path / "trace"
    source = script_source(
        "raw/{id}", "out/{id}", head=f"with open({str(trace)!r}, 'a') as file: file.write('x')"
    )
    ws = make_workspace({"clean": source}, [f"raw/R{n}" for n in range(9)])
    assert len(ws.steps.status()) == 9
    assert not trace.exists()
    assert ws.steps.run(mode=mode, workers=1, progress=False).ok
    assert trace.read_text() == "x"


def test_what_lies_beside_a_script_can_be_imported(seed):  # 14
    assert seed.RS.get("REC-001").EEG.steps.get("preprocess").run(mode="main_process").ok


@pytest.mark.parametrize("head", ["def broken(:", "import a_library_that_is_not_installed"])
def test_a_broken_script_fails_alone(make_workspace, script_source, head):  # 15
    broken = script_source("raw/{id}", "b/{id}", head=head)
    ws = make_workspace({"a": ("raw/{id}", "a/{id}"), "b": broken, "c": ("raw/{id}", "c/{id}")}, ["raw/R1"])
    assert ws.records.ids() == ["R1"]
    report = ws.steps.run(progress=False)
    outcomes = dict(report.frame.select("step", "outcome").rows())
    assert outcomes == {"a": "done", "b": "error", "c": "done"}
    assert ws.steps.status()["step_status"].to_list() == [30, 40, 30]


def test_an_output_written_before_an_exception_is_no_output(make_workspace, script_source):  # 16, 19
    body = "self.path.output.write_text('half')\nraise ValueError('no boats')"
    ws = make_workspace({"clean": script_source("raw/{id}", "out/{id}", body)}, ["raw/R1"])
    assert ws.steps.run(mode="main_process", progress=False).failures()["message"].to_list() == ["no boats"]
    assert ws.steps.status()["step_status"].to_list() == [40]
    assert not Path(ws.data_path, "out/R1").exists()
    (error,) = ws.records.logs().filter(pl.col("step_status") == 40).to_dicts()
    assert (error["error_type"], error["message"]) == ("ValueError", "no boats")
    assert "clean.py" in error["traceback"]
    assert ws.steps.run(mode="main_process", progress=False).frame.height == 1


def test_a_row_that_an_old_log_left_processing_can_be_run(seed):  # 17
    rows = seed.HDC.EEG.steps.filter(record_id="REC-001")
    assert rows.collect()["reason"].to_list() == ["begun, says a log of sinagot"]
    plan = rows.plan().frame
    assert plan.select("action", "reason").rows() == [("run", "again: begun, says a log of sinagot")]
    assert rows.run(mode="main_process", progress=False).ok
    assert rows.collect()["status"].to_list() == ["DONE"]


def test_a_killed_run_leaves_no_row_processing(make_workspace, journal_of):  # 17
    ws = make_workspace({"clean": ("raw/{id}", "out/{id}")}, ["raw/R1"])
    journal_of(ws, "clean").write("start", "R1")
    (row,) = ws.refresh().steps.collect().to_dicts()
    assert (row["status"], row["reason"][:5]) == ("ERROR", "lost:")
    assert ws.steps.run(progress=False).ok


def test_a_newer_input_makes_stale(make_workspace):  # 18
    ws = make_workspace({"clean": ("raw/{id}", "out/{id}")}, ["raw/R1", "raw/R2"])
    assert ws.steps.run(mode="main_process", progress=False).ok
    Path(ws.data_path, "raw/R1").write_text("newer")
    stale = ws.refresh().steps.filter(pl.col("stale")).collect()
    assert stale.select("record_id", "status").rows() == [("R1", "DONE")]
    assert ws.steps.run(stale=True, mode="main_process", progress=False).frame["record_id"].to_list() == [
        "R1"
    ]


def test_history_is_kept_whatever_comes_after(make_workspace):  # 20
    ws = make_workspace({"clean": ("raw/{id}", "out/{id}")}, ["raw/R1"])
    for _ in range(4):
        assert ws.steps.run(mode="main_process", force=True, progress=False).ok
    assert Workspace(ws.config.root).records.get("R1").logs()["step_status"].to_list() == [30, 20] * 4


def test_a_torn_line_costs_no_other_line(seed):  # 21
    assert seed.records.get("REC-001").logs()["step_status"].to_list() == [20]
    assert codes(seed)["REC-001", "HDC", "EEG", "preprocess"] == 20


def test_debug_raises_and_leaves_nothing_behind(make_workspace, script_source):  # 22
    body = "self.logger.info('once')\nif self.debug: raise ValueError('no boats')\nself.path.output.touch()"
    ws = make_workspace({"clean": script_source("raw/{id}", "out/{id}", body)}, ["raw/R1"])
    with pytest.raises(ValueError, match="no boats"):
        ws.steps.run(debug=True, progress=False)
    before = ws.refresh().records.logs().height
    assert ws.steps.run(mode="main_process", progress=False).ok
    assert ws.records.logs()["message"].to_list()[:-before] == ["Run finished", "once", "Processing run"]


@pytest.mark.parametrize("mode", ["processes", "main_process"])
def test_steps_that_no_path_links_all_run_in_the_configs_order(make_workspace, mode):  # 23
    ws = make_workspace({"count": ("raw/{id}", "count/{id}"), "mean": ("raw/{id}", "mean/{id}")}, ["raw/R1"])
    assert ws.steps.run(mode=mode, progress=False).frame["step"].to_list() == ["count", "mean"]
    assert ws.steps.status()["step_status"].to_list() == [30, 30]


def test_a_task_named_like_a_method_is_told_and_reached_by_its_name(make_workspace):  # 26
    toml = "[tasks.first]\nmodalities = ['EEG']\n[modalities.EEG]\nscripts = ['clean']\n"
    ws = make_workspace({"EEG/clean": ("{task}/{id}", "out/{id}")}, ["first/R1"], toml=toml)
    assert ws.records.first().id == "R1"
    assert ws["first"].ids() == ws.get_subscope(task="first").ids() == ["R1"]
    assert "tasks.first" in ws.config.notices[0]


def test_names_that_exist_nowhere_are_errors_that_name_the_near_one(seed, write_workspace):  # 27
    with pytest.raises(SelectionError, match="did you mean 'alpha'"):
        seed.steps.run("alpa")
    toml = (
        "[run]\nmode = 'main_proces'\n[tasks.RS]\nmodalities = ['EGG']\n[modalities.EEG]\nscripts = ['a']\n"
    )
    with pytest.raises(ConfigError) as caught:
        Workspace(write_workspace({}, toml=toml, name="typos"))
    first, second = sorted(caught.value.message.splitlines())
    assert "run.mode: 'main_proces' is not one of" in first
    assert "did you mean 'main_process'?" in first
    assert "tasks.RS.modalities[0]: 'EGG' is not a modality of this config; did you mean 'EEG'?" in second


def test_data_of_records_come_and_nothing_is_printed(seed, capsys):  # 28
    assert seed.clinical.data.height == 2
    seed.clinical.get("REC-002").data = {"age": 1}
    assert capsys.readouterr() == ("", "")


def test_a_run_reports(seed):  # 29
    report = seed.behavior.steps.run(mode="main_process", progress=False)
    assert report.ok
    assert report.counts()["done"] == 2
    assert report.frame.select("record_id", "outcome").rows() == [("REC-001", "done"), ("REC-003", "done")]


# -- and what was never there -----------------------------------------------------------------------------


def test_an_id_pattern_shorter_than_the_ids_says_how_many_files_fit_nothing(make_workspace, cli):
    ws = make_workspace(
        {"clean": ("raw/{id}.csv", "out/{id}")}, [f"raw/R{n}-b.csv" for n in range(3)], id_pattern=r"R\d"
    )
    count, ((path, pattern), *_) = ws._source.catalog().unused.unmatched()
    assert (count, path, pattern) == (3, "raw/R0-b.csv", "raw/{id}.csv")
    told = cli("status", ws.config.root).stderr
    assert (
        "3 files do not match, such as raw/R0-b.csv: the pattern is raw/{id}.csv, with id_pattern R\\d"
        in told
    )


@pytest.mark.parametrize("wrong", ["../../x", "..", "/etc/passwd", "a/../../x", ".", "", "a\0b"])
def test_an_id_that_points_elsewhere_is_refused(odd, wrong):
    with pytest.raises(NotFoundError, match="does not fit id_pattern"):
        odd.records.get(wrong)
    assert not odd.records.has(wrong)
    with pytest.raises(SelectionError):
        odd.run(pl.DataFrame({"record_id": [wrong]}))
