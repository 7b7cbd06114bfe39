"""Parameters and records in runs: what rows read, what makes them stale, what a failed row waits for."""

import json
from pathlib import Path

import polars as pl
import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.cli import call
from sinagot_catalog.errors import NotFoundError, SelectionError

MODES = ("processes", "main_process")
HERE = {"mode": "main_process", "progress": False}
TOML = """
[params]
cutoff = 30
other = 1
[params.filter]
low = 0.5
"""
WRITE = "self.path.output.write_text(f'{self.params.cutoff} {self.params.filter.low}')"
WORK = {"work": ("raw/{id}.txt", "work/{id}.txt", WRITE)}
RAW = ["raw/R1.txt", "raw/R2.txt"]


def edit(ws, old, new):
    """Change a file beside the toml, and open the workspace again."""
    file = Path(ws.config.files[0])
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    return Workspace(file.parent)


def changes(ws, **options):
    plan = ws.steps.plan(**options)
    return plan.frame.filter(pl.col("action") == "run")["reason"].to_list()


def texts(ws, step="work"):
    return {path.stem: path.read_text() for path in sorted(Path(ws.data_path, step).iterdir())}


@pytest.mark.parametrize("mode", MODES)
def test_rows_record_what_they_read_and_a_change_makes_them_stale(make_workspace, mode):
    ws = make_workspace(WORK, RAW, toml=TOML)
    assert ws.steps.run(mode=mode, progress=False).ok
    assert texts(ws) == {"R1": "30 0.5", "R2": "30 0.5"}
    events = ws.sql("SELECT params FROM events WHERE event = 'done'").collect()
    assert [json.loads(one) for one in events["params"]] == [{"cutoff": 30, "filter.low": 0.5}] * 2

    ws = edit(ws, "other = 1", "other = 2")  # no row reads it
    assert ws.steps.select("stale")["stale"].to_list() == [False, False]
    ws = edit(ws, "cutoff = 30", "cutoff = 40")
    assert ws.steps.filter(stale=True).collect().height == 2
    assert ws.explain("R1", "work").stale == ("cutoff was 30, is 40",)
    assert changes(ws) == []
    assert changes(ws, stale=True) == ["stale: cutoff was 30, is 40"] * 2
    ws = edit(ws, "low = 0.5", "")
    assert changes(ws, stale=True) == ["stale: cutoff was 30, is 40; filter.low was 0.5, is not set"] * 2
    ws = edit(ws, "[params.filter]", "[params.filter]\nlow = 1")
    assert ws.steps.run(mode=mode, progress=False, stale=True).counts() == {"done": 2}
    assert texts(ws)["R1"] == "40 1"
    assert not ws.steps.filter(stale=True).collect().height


def test_rerun_on_params_runs_them_without_being_asked(make_workspace):
    ws = make_workspace(WORK, RAW, toml=TOML + "[run]\nrerun_on = ['params']")
    assert ws.steps.run(**HERE).ok
    ws = edit(ws, "cutoff = 30", "cutoff = 40")
    Path(ws.data_path, "raw/R2.txt").write_text("a changed input is no parameter")
    assert changes(ws) == ["stale: cutoff was 30, is 40"] * 2


def test_a_script_without_parameters_records_none(make_workspace):
    ws = make_workspace({"work": ("raw/{id}.txt", "work/{id}.txt")}, RAW, toml=TOML)
    assert ws.steps.run(**HERE).ok
    assert ws.sql("SELECT params FROM events WHERE params IS NOT NULL").collect().is_empty()
    assert not edit(ws, "cutoff = 30", "cutoff = 40").steps.filter(stale=True).collect().height


def test_a_function_has_parameters_too(make_workspace):
    source = """
from sinagot_catalog import step
@step(inputs="raw/{id}.txt", outputs="work/{id}.txt")
def work(output, params, record):
    output.write_text(f"{params.cutoff} {record.record_id}")
"""
    ws = make_workspace({"work": source}, RAW, toml=TOML)
    assert ws.steps.run(**HERE).ok
    assert texts(ws) == {"R1": "30 R1", "R2": "30 R2"}
    assert changes(edit(ws, "= 30", "= 31"), stale=True) == ["stale: cutoff was 30, is 31"] * 2


COMMAND = r"""
[steps]
scripts = ["tell"]
[steps.tell]
command = '''sh -c 'for one;do echo "$one"; done >"$0"' {output} {params.text} {params.levels} --age={record.age}'''
inputs = "raw/{id}.txt"
outputs = "tell/{id}.txt"
[steps.tell.params]
text = "a 'b' $HOME"
levels = [1, 2.5]
unused = true
[records]
id_pattern = 'R\d+'
metadata = "ages.csv"
"""


@pytest.mark.parametrize("mode", MODES)
def test_a_command_has_parameters_and_values_of_the_record(write_workspace, mode):
    folder = write_workspace({}, RAW, toml=COMMAND)
    (folder / "ages.csv").write_text("record_id,age\nR1,12\nR2,\n")
    ws = Workspace(folder)
    report = ws.steps.run(mode=mode, progress=False)
    assert report.ok, report.frame
    assert texts(ws, "tell")["R1"].splitlines() == ["a 'b' $HOME", "1", "2.5", "--age=12"]
    assert texts(ws, "tell")["R2"].splitlines()[-1] == "--age="
    assert not edit(ws, "unused = true", "unused = false").steps.filter(stale=True).collect().height
    ws = edit(ws, "2.5]", "3.5]")
    assert changes(ws, stale=True) == ["stale: levels was [1, 2.5], is [1, 3.5]"] * 2


def test_a_sweep_is_tasks_with_parameters_of_their_own(make_workspace):
    toml = "".join(
        f"[tasks.low{n}]\nmodalities = ['EEG']\n[tasks.low{n}.params]\ncutoff = {n}\n" for n in (10, 20, 30)
    )
    body = "self.path.output.write_text(str(self.params.cutoff))"
    script = ("raw/{id}.txt", "work/{task}/{id}.txt", body)
    ws = make_workspace({"EEG/work": script}, RAW, toml=toml + "[modalities.EEG]\nscripts = ['work']")
    assert ws.steps.run(progress=False).counts() == {"done": 6}
    assert Path(ws.data_path, "work/low20/R1.txt").read_text() == "20"
    ws = edit(ws, "cutoff = 20", "cutoff = 25")
    assert ws.steps.filter(stale=True).select("task")["task"].unique().to_list() == ["low20"]


# --- the record ----------------------------------------------------------------------------------------------

AGES = r"""
[records]
id_pattern = 'R(?P<number>\d+)'
metadata = "ages.csv"
"""
READ = (
    "self.path.output.write_text("
    "f'{self.record.number} {self.record.age} {self.record[\"site\"]} {self.record.weight} {self.record.fit}')"
)
TABLE = "record_id,age,site,weight,fit,unread\nR1,12,Lyon,1e-7,true,a\nR2,,Nice,2.50,false,b\n"


@pytest.mark.parametrize("mode", MODES)
def test_a_row_reads_its_record_and_a_change_of_the_table_makes_it_stale(write_workspace, mode):
    script = ("raw/{id}.txt", "work/{id}.txt", READ)
    folder = write_workspace({"work": script}, RAW, toml=AGES + "[steps]\nscripts = ['work']")
    table = folder / "ages.csv"
    table.write_text(TABLE)
    ws = Workspace(folder)
    assert ws.steps.run(mode=mode, progress=False).ok
    assert texts(ws) == {"R1": "1 12 Lyon 1e-07 True", "R2": "2 None Nice 2.5 False"}
    assert Workspace(folder).steps.select("stale")["stale"].to_list() == [False, False]
    table.write_text(TABLE.replace(",a\n", ",c\n").replace("2.50", "2.5"))
    assert changes(Workspace(folder), stale=True) == []
    table.write_text(TABLE.replace("12,Lyon", "13,Paris"))
    assert changes(Workspace(folder), stale=True) == ["stale: age was 12, is 13; site was Lyon, is Paris"]
    table.write_text(TABLE.replace("R2,,", "R2,5,"))
    assert changes(Workspace(folder), stale=True) == ["stale: age was unknown, is 5"]
    table.write_text(
        TABLE.replace("R2,,", "R2,x,")
    )  # the type of the whole column changes, R1 stays as it is
    assert changes(Workspace(folder), stale=True) == ["stale: age was unknown, is x"]


def test_a_missing_column_is_an_error_of_the_row_with_the_nearest_name(write_workspace):
    body = "self.path.output.write_text(str(self.record.aeg))"
    script = ("raw/{id}.txt", "work/{id}.txt", body)
    folder = write_workspace({"work": script}, RAW, toml=AGES + "[steps]\nscripts = ['work']")
    (folder / "ages.csv").write_text(TABLE)
    report = Workspace(folder).steps.run(**HERE)
    assert report.frame["message"][0] == "there is no field or metadata column 'aeg'; did you mean 'age'?"
    assert report.frame["error_type"].unique().to_list() == ["ParameterError"]


def test_accept_takes_the_present_parameters(make_workspace):
    ws = make_workspace(WORK, RAW, toml=TOML)
    assert ws.steps.run(**HERE).ok
    ws = edit(ws, "cutoff = 30", "cutoff = 40")
    assert ws.records.get("R1").steps.accept()["accepted"].to_list() == [True]
    assert ws.steps.select("stale")["stale"].to_list() == [False, True]
    ws = edit(ws, "cutoff = 40", "cutoff = 50")
    assert ws.explain("R1", "work").stale == ("cutoff was 40, is 50",)


def test_parameters_are_kept_in_the_merged_journal(make_workspace):
    ws = make_workspace(WORK, RAW, toml=TOML)
    assert ws.steps.run(**HERE).ok
    assert ws._source.journal.compact(frozenset(), least=0)
    ws = edit(ws, "cutoff = 30", "cutoff = 40")
    assert ws.steps.select("stale")["stale"].to_list() == [True, True]
    assert ws.explain_path("work/R1.txt").params == {"cutoff": 30, "filter.low": 0.5}


# --- a bucket ------------------------------------------------------------------------------------------------


def test_parameters_and_records_reach_rows_of_a_bucket(moto, write_workspace, monkeypatch):
    for name, value in moto.environment.items():
        monkeypatch.setenv(name, value)
    body = "self.path.output.write_text(f'{self.params.cutoff} {self.record.age}')"
    toml = f"[path]\ndataset = '{moto.url}'\n{AGES}[steps]\nscripts = ['cut']\n[params]\ncutoff = 3"
    folder = write_workspace({"cut": ("raw/{id}.txt", "cut/{id}.txt", body)}, toml=toml)
    (folder / "ages.csv").write_text(TABLE)
    moto.put({"raw/R1.txt": "a", "raw/R2.txt": "b"})
    ws = Workspace(folder)
    report = ws.steps.run(progress=False, workers=1)
    assert report.ok, report.frame
    assert moto.read("cut/R1.txt") == b"3 12"
    assert changes(edit(ws, "cutoff = 3", "cutoff = 4"), stale=True) == ["stale: cutoff was 3, is 4"] * 2
    assert ws.explain_path(f"{moto.url}/cut/R1.txt").params == {"cutoff": 3}


# --- retry and stop ------------------------------------------------------------------------------------------

FAIL = """
if self.params.get("cutoff", 0) < 40:
    raise ValueError(f"row {self.id} is too low")
self.path.output.write_text("x")
"""
FAILING = {"work": ("raw/{id}.txt", "work/{id}.txt", FAIL)}
CHANGED = TOML + "[run]\nretry = 'changed'"


@pytest.mark.parametrize("mode", MODES)
def test_a_failed_row_is_left_out_until_what_it_reads_changes(make_workspace, mode):
    ws = make_workspace(FAILING, RAW, toml=CHANGED)
    assert ws.steps.run(mode=mode, progress=False).counts() == {"error": 2}
    plan = ws.steps.plan().frame
    assert plan["action"].to_list() == ["skip", "skip"]
    assert plan["reason"][0] == "nothing changed since it failed: ValueError: row R1 is too low"
    assert ws.steps.run(mode=mode, progress=False).frame.is_empty()
    # named rows and steps are tried, and so is what is forced
    assert changes(ws.records.get("R1")) == ["again: ValueError: row R1 is too low"]
    assert ws.run(["R1", "R2"], **HERE).counts() == {"error": 2}
    assert len(changes(ws, step_label="work")) == len(changes(ws, force=True)) == 2
    Path(ws.data_path, "raw/R2.txt").write_text("another input")
    assert changes(ws.refresh()) == ["again: ValueError: row R2 is too low"]
    assert len(changes(edit(ws, "other = 1", "other = 2"))) == 1  # it reads another parameter
    ws = edit(ws, "cutoff = 30", "cutoff = 40")
    assert ws.steps.run(mode=mode, progress=False).counts() == {"done": 2}


def test_a_failed_row_is_tried_again_with_another_script(make_workspace):
    ws = make_workspace(FAILING, RAW, toml=CHANGED)
    assert ws.steps.run(**HERE).counts() == {"error": 2}
    script = Path(ws.scripts_path, "work.py")
    script.write_text("# a comment changes nothing\n" + script.read_text())
    assert changes(ws.refresh()) == []
    script.write_text(script.read_text().replace("< 40", "< 20"))
    assert ws.refresh().steps.run(**HERE).counts() == {"done": 2}


def test_outputs_that_a_failed_attempt_kept_are_still_stale(make_workspace):
    ws = make_workspace(FAILING, RAW, toml=TOML.replace("30", "40"))
    assert ws.steps.run(**HERE).counts() == {"done": 2}
    Path(ws.data_path, "raw/R1.txt").write_text("a longer input than before")
    ws = edit(ws, "cutoff = 40", "cutoff = 20")
    assert ws.steps.run(**HERE, stale=True).counts() == {"error": 2}
    assert ws.refresh().steps.filter(record_id="R1").select("stale")["stale"].to_list() == [True]


@pytest.mark.parametrize("mode", MODES)
def test_a_run_stops_after_failures_of_one_kind(make_workspace, mode, caplog):
    # The later rows wait, or workers might end all rows before this process has heard of three failures.
    body = f"import time\nif self.id >= 'R120': time.sleep(600)\n{FAIL}"
    raw = [f"raw/R{n}.txt" for n in range(100, 140)]
    ws = make_workspace({"work": ("raw/{id}.txt", "work/{id}.txt", body)}, raw, toml=TOML)
    report = ws.steps.run(mode=mode, progress=False, stop_after=3, workers=2)
    counts = report.counts()
    assert 3 <= counts["error"] <= 20
    assert counts["error"] + counts["cancelled"] == 40
    said = [one.getMessage() for one in caplog.records if "stopped after" in one.getMessage()]
    assert len(said) == 1
    assert said[0].startswith("stopped after 3 failures of one kind, work: ValueError: row R1")


def test_failures_of_different_kinds_do_not_stop_a_run(make_workspace):
    body = "raise (ValueError if int(self.id[1:]) % 2 else KeyError)('no')"
    ws = make_workspace({"work": ("raw/{id}.txt", "w/{id}", body)}, [f"raw/R{n}.txt" for n in range(4)])
    assert ws.steps.run(**HERE, stop_after=3).counts() == {"error": 4}
    assert ws.steps.run(**HERE, stop_after=2).counts() == {"error": 3, "cancelled": 1}
    with pytest.raises(SelectionError, match="stop_after: 0 is not a whole number from 1 up"):
        ws.steps.run(**HERE, stop_after=0)


# --- what made a file ----------------------------------------------------------------------------------------


def test_a_path_tells_which_run_made_it_and_how(make_workspace, capsys, monkeypatch):
    ws = make_workspace(WORK, RAW, toml=TOML)
    report = ws.steps.run(**HERE)
    origin = ws.explain_path("work/R1.txt")
    assert (origin.record_id, origin.step, origin.role) == ("R1", "work", "output")
    assert (origin.run_id, origin.event) == (report.run_id, "done")
    assert origin.params == {"cutoff": 30, "filter.low": 0.5}
    assert [one.path for one in origin.inputs] == ["raw/R1.txt"]
    assert origin.code
    assert origin.stale == ()
    ws = edit(ws, "cutoff = 30", "cutoff = 40")
    text = str(ws.explain_path(Path(ws.data_path, "work/R1.txt")))
    assert text.splitlines()[0] == "work/R1.txt: output of R1 work"
    assert "  params.cutoff 30" in text
    assert "  changed since: cutoff was 30, is 40" in text
    folder = Path(ws.config.files[0]).parent
    monkeypatch.chdir(Path(ws.data_path, "work"))  # as the user names it there
    assert call(["explain", "R2.txt", "-C", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["params"]["cutoff"] == 30


def test_a_path_that_no_step_makes_names_its_readers(make_workspace):
    ws = make_workspace(WORK, [*RAW, "notes.txt"], toml=TOML)
    assert str(ws.explain_path("raw/R1.txt")) == "raw/R1.txt: raw data: no step makes it\n  read by R1 work"
    with pytest.raises(NotFoundError, match=r"no file 'raw/R3.txt'; did you mean 'raw/R\d.txt'"):
        ws.explain_path("raw/R3.txt")
    assert ws.steps.run(**HERE).ok
    assert ws.records.get("R1").steps.accept()["accepted"].all()
    assert "accepted it" in str(ws.explain_path("work/R1.txt"))


def test_a_file_in_a_folder_that_a_step_makes(make_workspace):
    body = "self.path.output.mkdir(exist_ok=True); (self.path.output / 'a.txt').write_text('a')"
    ws = make_workspace({"work": ("raw/{id}.txt", "work/{id}/", body)}, RAW)
    assert ws.steps.run(**HERE).ok
    origin = ws.refresh().explain_path("work/R2/a.txt")
    assert (origin.record_id, origin.step, origin.path) == ("R2", "work", "work/R2/a.txt")


def test_an_alternative_that_no_step_takes_is_raw_data_all_the_same(make_workspace):
    old = """
from sinagot_catalog import any_of, step
@step(inputs=any_of("raw/{id}.DAT", "raw/{id}.dat"), outputs="work/{id}.txt")
def work(input, output): ...
"""
    ws = make_workspace({"work": old}, ["raw/R1.DAT", "raw/R1.dat", "raw/R2.dat"], id_pattern=r"R\d")
    assert str(ws.explain_path("raw/R1.DAT")).endswith("raw data: no step makes it\n  read by R1 work")
    assert "raw data that no step reads now" in str(ws.explain_path("raw/R1.dat"))
