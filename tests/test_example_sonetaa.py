"""The EEG platform in `example/sonetaa`: made again, run whole, and its README followed word by word."""

import doctest
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from sinagot_catalog import Workspace

pytestmark = pytest.mark.slow

SONETAA = Path(__file__).parents[1] / "example" / "sonetaa"
OUTPUTS = (
    *("LOG", "preprocess", "control", "alpha", "mmn", "grand_average", "scores", "scores_norm"),
    *("exclude.csv", "__pycache__"),
)
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FLAT = "channel Cz is flat: was the electrode connected?"


def copied(folder):
    """A copy without what a run left behind."""
    return shutil.copytree(SONETAA, folder, ignore=shutil.ignore_patterns(*OUTPUTS))


@pytest.fixture
def sonetaa(tmp_path):
    return Workspace(copied(tmp_path / "sonetaa"))


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The workspace after a run of everything, and the run's report."""
    ws = Workspace(copied(tmp_path_factory.mktemp("ran") / "sonetaa"))
    return ws, ws.steps.run(mode="processes", workers=2, progress=False)


def statuses(ws):
    return dict(ws.steps.collect().group_by("status").len().iter_rows())


def files_under(folder):
    """Relative path and content of every file, without the log."""
    paths = [path for path in Path(folder).rglob("*") if path.is_file()]
    names = [path.relative_to(folder) for path in paths]
    return {
        name.as_posix(): path.read_bytes()
        for name, path in zip(names, paths, strict=True)
        if name.parts[0] != "LOG"
    }


def test_generator_makes_exactly_what_is_committed(tmp_path):
    subprocess.run([sys.executable, SONETAA / "make_dataset.py", tmp_path / "made"], check=True, timeout=300)
    copy = copied(tmp_path / "copy") / "dataset"
    assert files_under(tmp_path / "made") == files_under(copy)


def test_dataset_is_small():
    raw = sum(len(content) for content in files_under(SONETAA / "dataset" / "EEG" / "raw").values())
    assert raw < 1_500_000


def test_before_a_run_every_row_is_ready_or_waits(sonetaa):
    assert statuses(sonetaa) == {"DATA_READY": 73, "INIT": 70}
    assert len(sonetaa.units) == 20 * 5


def test_run_does_everything_but_what_fails_or_lacks_a_file(ran):
    ws, report = ran
    assert report.counts() == {"done": 126, "error": 1, "blocked": 2}
    assert statuses(ws) == {"DONE": 126, "ERROR": 1, "INIT": 16}
    assert statuses(Workspace(ws.config.root)) == statuses(ws)


def test_one_recording_fails_and_is_named(ran):
    ws, report = ran
    keys = ("record_id", "task", "modality", "step")
    failed = report.failures().row(0, named=True)
    assert [failed[key] for key in keys] == ["PA-005", "RS", "EEG", "preprocess"]
    assert (failed["error_type"], failed["message"]) == ("ValueError", FLAT)
    row = ws.steps.filter(status="ERROR").collect().row(0, named=True)
    assert [row[key] for key in keys] == ["PA-005", "RS", "EEG", "preprocess"]
    assert row["reason"] == f"ValueError: {FLAT}"
    blocked = ws.records.get("PA-005").RS.steps.filter(step="alpha")
    assert blocked.select("reason").item() == "waits for preprocess"


def test_control_file_of_the_failed_row_is_kept(ran):
    ws, _ = ran
    control = ws.records.get("PA-005").RS.EEG.steps.get("preprocess").script.path.control
    assert "Cz 0.0\n" in control.read_text()


def test_missing_files_leave_their_rows_waiting_with_the_reason(ran):
    ws, _ = ran
    missing = pl.col("reason").str.starts_with("missing")
    rows = ws.steps.filter(missing, pl.col("record_id") != "PA-008")
    assert rows.select("record_id", "task", "step", "reason").rows() == [
        ("LY-004", "HDC", "scores", "missing behavior/trials/LY-004.csv"),
        ("LY-007", "MMN", "preprocess", "missing EEG/raw/LY/LY-007-MMN"),
        ("LY-011", "MMN", "mmn", "missing EEG/raw/LY/LY-011-MMN/events.csv"),
        ("PA-003", "RS", "preprocess", "missing EEG/raw/PA/PA-003-RS"),
    ]


def test_expected_record_is_a_row_before_its_first_file(ran):
    ws, _ = ran
    record = ws.records.filter(record_id="PA-008").collect().row(0, named=True)
    assert (record["age"], record["n_files"], record["n_init"]) == (71, 0, 7)
    assert set(ws.records.get("PA-008").steps.collect()["status"].to_list()) == {"INIT"}
    assert "PA-008" in ws.records.ids()
    assert "PA-008" not in ws.EEG.ids()


def test_average_of_a_task_is_over_the_records_that_are_there(ran):
    ws, _ = ran
    rows = ws.steps.filter(step="grand_average").select("record_id", "task", "status", "reason").rows()
    assert rows[1:] == [
        ("dataset=all", "MMN", "DONE", "all outputs are there"),
        ("dataset=all", "HDC", "DONE", "all outputs are there"),
    ]
    assert rows[0][:3] == ("dataset=all", "RS", "INIT")
    assert rows[0][3].startswith("preprocess of PA-005 failed; 17 of 20 members are there")
    average = ws.HDC.EEG.steps.scan_outputs("grand_average").collect()
    assert average.columns == ["record_id", "task", "modality", "step", "hertz", "power"]
    assert average["hertz"].to_list() == [number / 4 for number in range(121)]


def test_exclusion_of_the_failed_recording_lets_its_average_go_on(sonetaa):
    assert sonetaa.RS.steps.run(mode="main_process", progress=False).counts()["blocked"] == 2
    sonetaa.RS.EEG.filter(record_id="PA-005").exclude("electrode Cz was not connected")
    assert sonetaa.RS.steps.run(mode="main_process", progress=False).counts() == {"done": 1}
    assert statuses(sonetaa.RS) == {"DONE": 35, "INIT": 4, "EXCLUDED": 2}
    sonetaa.RS.EEG.filter(record_id="PA-005").include()
    assert sonetaa.RS.steps.filter(status="ERROR").count() == 1


def test_values_of_alpha_are_columns(ran):
    ws, _ = ran
    share = pl.col("alpha").struct.field("share")
    found = ws.RS.EEG.units.filter(share > 0.745).records
    own = ws.RS.EEG.steps.scan_outputs("alpha", "alpha").filter(pl.col("share") > 0.745).collect()
    assert found.ids() == sorted(own["record_id"])


def test_another_window_makes_the_results_of_mmn_stale(tmp_path):
    folder = copied(tmp_path / "sonetaa")
    ws = Workspace(folder)
    ws.MMN.steps.run(mode="main_process", progress=False)
    toml = folder / "workspace.toml"
    toml.write_text(toml.read_text().replace("window_ms = [100, 250]", "window_ms = [100, 200]"))
    stale = Workspace(folder).steps.filter(stale=True).select("step")["step"]
    assert stale.to_list() == ["mmn"] * 17


def test_both_modes_give_the_same_files_and_statuses(ran, sonetaa):
    ws, report = ran
    other = sonetaa.steps.run(mode="main_process", progress=False)
    keys = ["record_id", "task", "modality", "step", "outcome", "error_type", "message"]
    assert other.frame.select(keys).sort(keys).equals(report.frame.select(keys).sort(keys))
    assert statuses(sonetaa) == statuses(ws)
    assert files_under(sonetaa.data_path) == files_under(ws.data_path)


def test_second_run_does_only_what_failed(sonetaa):
    sonetaa.HDC.steps.run(mode="main_process", progress=False)
    assert sonetaa.HDC.steps.run(mode="main_process", progress=False).counts() == {}


def test_version_of_a_script_is_written_down(ran):
    ws, _ = ran
    events = ws.MMN.logs().filter(pl.col("event") == "done")
    assert set(events.filter(step="mmn")["script_version"].to_list()) == {"2"}
    assert set(events["workspace_version"].to_list()) == {"1.0"}


def test_results_have_the_effects_that_were_put_in(ran):
    ws, _ = ran
    ages = ws.records.lazy().select("record_id", "age")
    alpha = ws.RS.EEG.steps.scan_outputs("alpha", "alpha").join(ages, on="record_id").collect()
    mmn = ws.MMN.EEG.steps.scan_outputs("mmn", "mmn").join(ages, on="record_id").collect()
    assert (alpha.height, mmn.height) == (17, 17)
    assert alpha.select(pl.corr("age", "peak_hz")).item() < -0.9
    assert mmn.select(pl.corr("age", "latency_ms")).item() > 0.8
    assert mmn.select(pl.col("amplitude_uv").max()).item() < -3


def test_curves_of_all_records_are_one_frame(ran):
    ws, _ = ran
    curves = ws.steps.scan_outputs("mmn", "curve")
    assert curves.collect_schema().names() == ["record_id", "task", "modality", "step", "ms", "microvolts"]
    assert curves.collect().height == 17 * 64


def test_processed_data_come_by_all_three_getters(ran):
    ws, _ = ran
    peaks = ws.records.get_processed_data("alpha_peak")
    assert peaks.schema == {"record_id": pl.String, "alpha_peak": pl.Float64}
    assert ws.records.get_processed_data("scores").height == 18 * 2
    assert ws.records.get_processed_data("scores_norm").height == 18


def test_custom_record_reads_its_recording(sonetaa):
    assert sonetaa.MMN.EEG.get("LY-001").seconds == 24
    assert sonetaa.MMN.EEG.get("LY-007").seconds is None
    assert sonetaa.records.get("LY-001").EEG.RS.header["rate"] == 128


@pytest.mark.parametrize("verb", ["run", pytest.param("submit", marks=pytest.mark.server)])
def test_command_ends_3_and_names_the_failing_record(tmp_path, request, verb):
    if verb == "submit":
        request.getfixturevalue("prefect_server")
    folder = copied(tmp_path / "sonetaa")
    command = [sys.executable, "-m", "sinagot_catalog", verb, folder]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 3, done.stderr
    said = done.stdout + done.stderr
    assert "126 done, 1 failed, 2 blocked" in said
    assert f"PA-005 RS EEG preprocess: ValueError: {FLAT}" in said
    assert statuses(Workspace(folder)) == {"DONE": 126, "ERROR": 1, "INIT": 16}


def test_readme_tour_is_true(tmp_path, monkeypatch):
    copied(tmp_path / "example" / "sonetaa")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    names: dict = {}
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    runner = doctest.DocTestRunner(optionflags=flags, verbose=False)
    said = []
    for number, (language, text) in enumerate(BLOCK.findall((SONETAA / "README.md").read_text())):
        if language == "console":
            follow_console(text, tmp_path)
            continue
        test = doctest.DocTestParser().get_doctest(text, names, f"block {number}", "README.md", 0)
        runner.run(test, out=said.append, clear_globs=False)
        names.update(test.globs)
    assert runner.summarize(verbose=False).attempted > 20
    assert runner.summarize(verbose=False).failed == 0, "".join(said)


def follow_console(text, folder):
    """Run the first line of a block; the others must be in what it prints, in that order."""
    command, *shown = text.splitlines()
    words = shlex.split(command.removeprefix("$ "))
    program = [sys.executable, "-m", "sinagot_catalog"] if words[0] == "sinagot-catalog" else words[:1]
    done = subprocess.run(
        [*program, *words[1:]], cwd=folder, text=True, capture_output=True, check=True, timeout=300
    )
    printed = iter(done.stdout.splitlines())
    for line in shown:
        assert line in printed, f"{line!r} is not in\n{done.stdout}"
