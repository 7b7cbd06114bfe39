"""Fields of an id: records over folders, fields that some records lack, values that no part of a path can have."""

from pathlib import Path

import fsspec
import polars as pl
import pytest

from sinagot_catalog import ScriptTemplate, Workspace
from sinagot_catalog.diagnostics.doctor import examine
from sinagot_catalog.errors import ConfigError, NotFoundError, PatternError, SelectionError
from sinagot_catalog.journal.run_spec import Port, RunSpec, UnitStepSpec
from sinagot_catalog.patterns.template import parse_template
from sinagot_catalog.run import Pool, RunSetup
from sinagot_catalog.run.main_process import MainProcess

MICE = r"(?P<mouse>m\d+)_(?P<day>\d{4}-\d\d-\d\d)"
BIDS = r"sub-(?P<sub>\w+?)(?:_ses-(?P<ses>\d+))?"
MOUSE_FILES = [
    "raw/m1/2026-01-01/data.csv",
    "raw/m1/2026-01-02/data.csv",
    "raw/m22/2026-01-01/data.csv",
    "raw/m1/2026-1-3/data.csv",
    "raw/rat/2026-01-01/data.csv",
]
MOUSE_IDS = ["m1_2026-01-01", "m1_2026-01-02", "m22_2026-01-01"]
MOUSE_STEPS = {
    "clean": ("raw/{mouse}/{day}/data.csv", "out/{id}.txt"),
    "last": ("out/{id}.txt", "last/{mouse}/{day}.txt"),
}
BIDS_IN = "sub-{sub}/ses-{ses?}/anat/sub-{sub}_ses-{ses?}_T1w.nii"
BIDS_FILES = [
    "sub-01/anat/sub-01_T1w.nii",
    "sub-02/ses-1/anat/sub-02_ses-1_T1w.nii",
    "sub-02/ses-2/anat/sub-02_ses-2_T1w.nii",
    "sub-02/ses-2/anat/sub-01_ses-2_T1w.nii",
    "sub-02/ses-3/anat/sub-02_T1w.nii",
]
BIDS_IDS = ["sub-01", "sub-02_ses-1", "sub-02_ses-2"]
SITES = r"(?P<site>[^/_]+)_(?P<n>[^_]+)"


@pytest.fixture
def mice(make_workspace):
    return make_workspace(MOUSE_STEPS, MOUSE_FILES, id_pattern=MICE)


def statuses(ws):
    return ws.steps.select("record_id", "step", "status").rows()


# -- ids over folders ------------------------------------------------------------------------------------------


def test_a_pattern_with_all_fields_finds_the_records(mice):
    assert mice.records.ids() == MOUSE_IDS
    assert mice.records.select("mouse", "day").row(0) == ("m1", "2026-01-01")
    assert set(statuses(mice)) == {
        (one, step, status)
        for one in MOUSE_IDS
        for step, status in (("clean", "DATA_READY"), ("last", "INIT"))
    }
    assert mice.files.filter(role="input").select("record_id")["record_id"].to_list() == MOUSE_IDS


def test_records_patterns_and_doctor_agree(mice):
    found = mice.try_pattern("raw/{mouse}/{day}/data.csv")
    assert found.counts() == {"match": 3, "nearly": 2, "collide": 0}
    assert {row[:2] for row in found.near.rows()} == {
        ("raw/m1/2026-1-3/data.csv", "{day}"),
        ("raw/rat/2026-01-01/data.csv", "{mouse}"),
    }
    told = {one.text for one in examine(lambda: Workspace(mice.config.root)._source)}
    assert "3 records in 5 files" in told
    assert "raw/{mouse}/{day}/data.csv: 3 of 3 records" in told
    assert sum("does not match raw/{mouse}/{day}/data.csv" in one for one in told) == 2


@pytest.mark.parametrize("mode", ["processes", "main_process"])
def test_a_run_publishes_where_the_fields_say(mice, mode):
    assert mice.steps.run(mode=mode, workers=1, progress=False).counts()["done"] == 6
    assert {status for *_, status in statuses(mice)} == {"DONE"}
    dataset = Path(mice.data_path)
    assert sorted(str(one.relative_to(dataset)) for one in dataset.glob("last/*/*")) == [
        "last/m1/2026-01-01.txt",
        "last/m1/2026-01-02.txt",
        "last/m22/2026-01-01.txt",
    ]
    assert mice.explain("m22_2026-01-01", "last").files[0].path == "out/m22_2026-01-01.txt"
    assert mice.refresh().records.count() == 3


def test_a_command_reads_by_its_fields(make_workspace):
    toml = f"""
    [records]
    id_pattern = '{MICE}'
    [steps]
    scripts = ["copy"]
    [steps.copy]
    command = "cp {{input}} {{output}}"
    inputs = "raw/{{mouse}}/{{day}}/data.csv"
    outputs = "copy/{{day}}/{{mouse}}.csv"
    """
    ws = make_workspace({}, MOUSE_FILES, toml=toml)
    assert ws.steps.run(mode="main_process", progress=False).counts()["done"] == 3
    assert Path(ws.data_path, "copy/2026-01-01/m22.csv").read_text() == "raw;"


def test_patterns_with_the_id_and_with_fields_alone_find_the_same_record(make_workspace):
    steps = {
        "both": ({"a": "raw/{mouse}/{day}/data.csv", "b": "notes/{id}.txt"}, {"o": "out/{day}/{id}.txt"})
    }
    ws = make_workspace(
        steps,
        ["raw/m1/2026-01-01/data.csv", "notes/m1_2026-01-01.txt", "notes/m2_2026-01-01.txt"],
        id_pattern=MICE,
    )
    assert statuses(ws) == [("m1_2026-01-01", "both", "DATA_READY"), ("m2_2026-01-01", "both", "INIT")]
    assert ws.steps.select("missing")["missing"].to_list() == [None, "raw/m2/2026-01-01/data.csv"]


def test_fields_find_records_in_a_store_of_objects(write_workspace):
    steps = "[steps]\nscripts = ['clean', 'last']\n"
    toml = f"[path]\ndataset = 'memory://mice'\n[records]\nid_pattern = '{MICE}'\n{steps}"
    folder = write_workspace(MOUSE_STEPS, toml=toml)
    fs = fsspec.filesystem("memory")
    try:
        for path in MOUSE_FILES:
            fs.pipe_file(f"/mice/{path}", b"raw;")
        ws = Workspace(folder)
        assert ws.records.ids() == MOUSE_IDS
        assert ws.steps.run(mode="main_process", progress=False).counts()["done"] == 6
        assert fs.exists("/mice/last/m22/2026-01-01.txt")
        assert {status for *_, status in statuses(ws.refresh())} == {"DONE"}
    finally:
        fs.rm("/mice", recursive=True)


def test_fields_find_records_in_a_bucket(write_workspace, moto):
    moto.put(dict.fromkeys([f"data/{path}" for path in (*MOUSE_FILES, *BIDS_FILES)], "raw;"))
    head = f"[path]\ndataset = '{moto.url}/data'\nlog = 'LOG'\noutputs = 'results'\n"
    toml = f"{head}[records]\nid_pattern = '{MICE}'\n[steps]\nscripts = ['clean', 'last']\n"
    mice = Workspace(write_workspace(MOUSE_STEPS, toml=toml, name="mice"), storage_options=moto.options)
    assert mice.records.ids() == MOUSE_IDS
    toml = f"{head}[records]\nid_pattern = '{BIDS}'\n[steps]\nscripts = ['a']\n"
    folder = write_workspace({"a": (BIDS_IN, "out/ses-{ses?}/{sub}.txt")}, toml=toml, name="bids")
    assert Workspace(folder, storage_options=moto.options).records.ids() == BIDS_IDS


@pytest.mark.parametrize(
    ("records", "expected"), [(None, MOUSE_IDS), ("m1_", MOUSE_IDS[:2]), (("m2", None), MOUSE_IDS[2:])]
)
def test_fields_find_records_in_a_given_listing_and_in_a_range_of_ids(
    write_workspace, tmp_path, records, expected
):
    folder = write_workspace(MOUSE_STEPS, MOUSE_FILES, id_pattern=MICE)
    pl.DataFrame({"path": MOUSE_FILES}).write_parquet(tmp_path / "keys.parquet")
    given = Workspace(folder, listing=tmp_path / "keys.parquet", records=records)
    assert given.records.ids() == expected
    assert Workspace(folder, records=records).records.ids() == expected


def test_ids_are_completed_from_fields(cli, write_workspace):
    folder = write_workspace(MOUSE_STEPS, MOUSE_FILES, id_pattern=MICE)
    offered = cli("completion", "bash", "sinagot-catalog", "run", "--record", "m1", cwd=folder)
    assert set(offered.stdout.split()) == set(MOUSE_IDS[:2])


def test_an_id_that_cannot_be_written_from_its_fields_is_told_with_the_place(cli, write_workspace):
    pattern = r"(?P<mouse>m\d+)[_-](?P<day>\d{4}-\d\d-\d\d)"
    folder = write_workspace(
        {"clean": ("raw/{mouse}/{day}/data.csv", "out/{mouse}/{day}.txt")}, MOUSE_FILES, id_pattern=pattern
    )
    with pytest.raises(
        ConfigError, match=r"workspace\.toml: records\.id_pattern: .*between \{mouse\} and \{day\} varies"
    ):
        Workspace(folder).records.count()
    told = cli("status", folder)
    assert told.returncode == 2
    assert "raw/{mouse}/{day}/data.csv finds no records" in told.stderr
    assert "Traceback" not in told.stderr


def test_beside_a_pattern_with_the_id_that_is_a_note(cli, write_workspace):
    pattern = r"(?P<mouse>m\d+)[_-](?P<day>\d{4}-\d\d-\d\d)"
    steps = {"both": ({"a": "raw/{mouse}/{day}/data.csv", "b": "notes/{id}.txt"}, {"o": "out/{id}.txt"})}
    folder = write_workspace(steps, [*MOUSE_FILES, "notes/m1-2026-01-01.txt"], id_pattern=pattern)
    assert statuses(Workspace(folder)) == [("m1-2026-01-01", "both", "DATA_READY")]
    told = "records.id_pattern: an id cannot be written from its fields"
    assert told in cli("status", folder).stderr
    assert any(told in one.text for one in examine(lambda: Workspace(str(folder))._source))


def test_an_id_pattern_over_folders_is_a_fault_of_the_config(cli, write_workspace):
    folder = write_workspace(
        {"a": ("raw/{id}/data.csv", "a/{id}")}, MOUSE_FILES, id_pattern=r"m\d+/\d{4}-\d\d-\d\d"
    )
    told = cli("status", folder)
    assert told.returncode == 2
    assert "workspace.toml: records.id_pattern: " in told.stderr
    assert "can match a '/'" in told.stderr
    assert "{part1}/{part2}" in told.stderr


# -- fields that some records lack ------------------------------------------------------------------------------


def test_a_field_that_some_records_lack_goes_with_its_folder(make_workspace):
    ws = make_workspace({"a": (BIDS_IN, "out/ses-{ses?}/{sub}_ses-{ses?}.txt")}, BIDS_FILES, id_pattern=BIDS)
    assert ws.records.ids() == BIDS_IDS
    assert ws.records.select("sub", "ses").rows() == [("01", ""), ("02", "1"), ("02", "2")]
    assert ws.try_pattern(BIDS_IN).counts()["match"] == 3
    assert ws.steps.run(mode="processes", workers=1, progress=False).counts()["done"] == 3
    dataset = Path(ws.data_path)
    made = sorted(str(one.relative_to(dataset)) for one in dataset.glob("out/**/*.txt"))
    assert made == ["out/01.txt", "out/ses-1/02_ses-1.txt", "out/ses-2/02_ses-2.txt"]
    assert {status for *_, status in statuses(ws.refresh())} == {"DONE"}
    assert ws.links().filter(pl.col("role") == "input")["path"].to_list() == BIDS_FILES[:3]


def test_a_pattern_that_needs_a_field_without_a_value_is_an_error_of_that_row(cli, make_workspace):
    steps = {"a": (BIDS_IN, "out/{id}.txt"), "b": ("out/{id}.txt", "b/{sub}/{ses}.txt")}
    ws = make_workspace(steps, BIDS_FILES, id_pattern=BIDS)
    wrong = ws.steps.filter(step="b", record_id="sub-01").select("status", "reason").row(0)
    assert wrong[0] == "ERROR"
    assert wrong[1].startswith("the pattern b/{sub}/{ses}.txt needs {ses}, and this id has no value for it")
    report = ws.steps.run(mode="processes", workers=1, progress=False)
    assert (report.counts()["done"], len(report.failures())) == (5, 1)
    told = ws.explain("sub-01", "b")
    assert (told.status, told.reason) == wrong
    assert told.rules[0].holds
    assert [one.text for one in told.changes] == ["mend the pattern; the next look reads it again"]
    folder = ws.config.root
    assert cli("run", folder).returncode == 3
    shown = cli("status", folder)
    assert "to be tried again" not in shown.stdout
    assert "needs {ses}" in shown.stdout


@pytest.mark.parametrize("mode", ["processes", "main_process"])
def test_an_empty_part_of_a_path_is_no_path(make_workspace, mode):
    ids = r"(?P<kind>[ab]*)-(?P<n>\d)"
    ws = make_workspace(
        {"a": ("raw/{id}.csv", "out/{kind}/{n}.txt")}, ["raw/-1.csv", "raw/a-1.csv"], id_pattern=ids
    )
    assert [status for *_, status in statuses(ws)] == ["ERROR", "DATA_READY"]
    report = ws.steps.run(mode=mode, workers=1, progress=False, force=True)
    assert report.counts()["done"] == 1
    assert [one.name for one in Path(ws.data_path, "out").iterdir()] == ["a"]


# -- values that cannot be a part of a path -----------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["raw/{id}.csv", "raw/{site}_{n}.csv"])
def test_a_field_that_would_lead_out_of_the_dataset_is_no_record_and_that_is_said(
    cli, write_workspace, pattern
):
    folder = write_workspace(
        {"a": (pattern, "{site}/{n}.out")}, ["raw/.._1.csv", "raw/x_1.csv"], id_pattern=SITES
    )
    assert Workspace(folder).records.ids() == ["x_1"]
    done = cli("run", folder, "--force")
    assert done.returncode == 0, done.stderr
    assert not (folder / "1.out").exists()
    assert (folder / "dataset" / "x" / "1.out").exists()
    told = "raw/.._1.csv: '.._1' cannot be a record: its field site is '..'"
    assert f"note: 1 file is left out, such as {told}" in cli("status", folder).stderr
    assert "raw/.._1.csv is left out" in Workspace(folder).report(folder / "report.html").read_text()
    assert any(
        one.text == "raw/.._1.csv is left out: '.._1' cannot be a record: its field site is '..'"
        for one in examine(lambda: Workspace(str(folder))._source)
    )


@pytest.mark.parametrize(
    ("record_id", "said"),
    [
        (".._1", "its field site is '..'"),
        ("x_.", "its field n is '.'"),
        ("x_\n", "control character"),
        ("../x_1", "holds a '/'"),
    ],
)
def test_such_an_id_cannot_be_asked_for_or_run(make_workspace, record_id, said):
    ws = make_workspace({"a": ("raw/{id}.csv", "{site}/{n}.out")}, ["raw/x_1.csv"], id_pattern=SITES)
    with pytest.raises(NotFoundError, match=said):
        ws.records.get(record_id)
    with pytest.raises(SelectionError, match=said):
        ws.run(pl.DataFrame({"record_id": [record_id]}), mode="main_process", progress=False)
    assert not Path(ws.config.root, "1.out").exists()


@pytest.mark.parametrize(("record_id", "values"), [("../x", {}), ("x", {"site": ".."})])
def test_a_script_made_by_hand_stays_in_its_dataset(record_id, values, tmp_path):
    class Script(ScriptTemplate):
        PATH_IN = "raw/{id}.csv"
        PATH_OUT = "{site}/{id}.csv" if values else "out/{id}.csv"

    with pytest.raises(PatternError, match="names no file of a dataset"):
        Script(record_id, data_path=tmp_path, values=values)


@pytest.mark.parametrize("mode", ["processes", "main_process"])
def test_a_worker_checks_fields_and_filled_paths_itself(tmp_path, mode):
    script = tmp_path / "a.py"
    script.write_text(
        "from sinagot_catalog import ScriptTemplate\n"
        "class Script(ScriptTemplate):\n"
        "    def run(self):\n"
        "        self.path.output.write_text('x')\n"
    )
    ids = r"(?P<site>[^/_]*)_(?P<n>[^_]*)"
    records = [".._1", "_1", "x_\x1b", "x_1"]
    for record_id in records:
        (tmp_path / "data" / "raw").mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / "raw" / f"{record_id}.csv").touch()

    def port(pattern):
        return (Port(None, parse_template(pattern, fields={"id", "site", "n"})),)

    data, log = str(tmp_path / "data"), str(tmp_path / "LOG")
    cell = UnitStepSpec(None, None, "a", str(script), port("raw/{id}.csv"), port("{site}/{n}.out"))
    spec = RunSpec("r1", data, data, log, str(tmp_path), ids, (cell,))
    results = []
    executor = MainProcess() if mode == "main_process" else Pool(1)
    with executor.start(RunSetup(spec)):
        executor.run([[(row, 0, record_id)] for row, record_id in enumerate(records)], results.extend)
    told = {records[one.row]: (one.outcome, one.message) for one in results}
    assert [told[one][0] for one in records] == ["error", "error", "error", "done"]
    assert "its field site is '..'" in told[".._1"][1]
    assert "needs {site}, and this id has no value for it" in told["_1"][1]
    assert [one.name for one in tmp_path.rglob("*.out")] == ["1.out"]
    assert (tmp_path / "data" / "x" / "1.out").exists()


def test_a_name_with_a_control_character_is_no_record_and_that_is_said(cli, write_workspace):
    folder = write_workspace(
        {"a": ("raw/{id}.csv", "a/{id}")}, ["raw/R1.csv", "raw/R\x1b[2J.csv"], id_pattern=".+"
    )
    assert Workspace(folder).records.ids() == ["R1"]
    told = cli("status", folder).stderr
    assert "the id holds a control character" in told
    assert "\x1b" not in told


def test_a_closest_id_is_named_for_an_id_that_does_not_fit(mice):
    with pytest.raises(
        NotFoundError, match=r"'m1_2026-1-1' does not fit id_pattern .*did you mean 'm1_2026-01-01'"
    ):
        mice.records.get("m1_2026-1-1")
    with pytest.raises(SelectionError, match="did you mean 'm22_2026-01-01'"):
        mice.run(pl.DataFrame({"record_id": ["m22_2026-01-1"]}))


# -- files that are mentioned --------------------------------------------------------------------------------------


def test_a_misnamed_file_in_a_flat_root_is_mentioned(cli, write_workspace):
    files = ["R1.csv", "r2.csv", "R3.CSV", "notes.txt", "LOG.md"]
    folder = write_workspace({"a": ("{id}.csv", "a/{id}.csv")}, files)
    told = cli("status", folder).stderr
    assert "note: 2 files do not match, such as R3.CSV: the pattern is {id}.csv" in told
    cli("run", folder)
    (folder / "dataset" / "a" / "beside.csv").write_text("x")
    assert "note: 2 files do not match" in cli("status", folder).stderr


def test_a_misnamed_file_in_a_folder_of_the_root_is_mentioned(cli, write_workspace):
    files = ["R1/eeg/R1.csv", "R2/eeg/r2.csv", "R2/eeg/R2.json", "out/R1/x.csv"]
    folder = write_workspace({"a": ("{id}/eeg/{id}.csv", "out/{id}/a.csv")}, files)
    told = cli("status", folder).stderr
    assert "note: 1 file does not match, such as R2/eeg/r2.csv: the pattern is {id}/eeg/{id}.csv" in told


def test_a_star_behind_a_backslash_is_that_very_character(make_workspace):
    ws = make_workspace({"a": (r"raw/{id}/\*.csv", r"a/{id}\*")}, ["raw/R1/*.csv", "raw/R2/x.csv"])
    assert ws.records.ids() == ["R1"]
    assert ws.steps.run(progress=False).ok
    assert Path(ws.data_path, "a", "R1*").exists()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("PATH_OUTPUT", "PATH_OUT"),
        ("PATH_INPUT", "PATH_IN"),
        ("PATHS_OUT", "PATH_OUT"),
        ("PATH_OTU", "PATH_OUT"),
        ("PATH_PUT", "PATH_OUT"),
    ],
)
def test_a_misspelt_name_of_the_paths_is_told(cli, make_workspace, name, meant):
    lines = {"PATH_IN": "raw/{id}.csv", "PATH_OUT": "a/{id}", "PATH_INFO": "x"}
    lines[name] = lines.pop(meant)
    body = "\n".join(f"    {key} = {value!r}" for key, value in lines.items())
    ws = make_workspace(
        {"a": f"from sinagot_catalog import ScriptTemplate\nclass Script(ScriptTemplate):\n{body}\n"},
        ["raw/R1.csv"],
    )
    told = cli("doctor", ws.config.root, "--json").stdout
    assert f"has {name}, which is not read; did you mean '{meant}'?" in told
    assert "scripts/a.py:" in told
