"""Inputs that are many files, optional, or one of several alternatives: what is found, run, stale and refused."""

import json
from pathlib import Path

import pytest

from sinagot_catalog import ScriptTemplate, Workspace, any_of, many, optional
from sinagot_catalog.errors import PatternError, RunError

MODES = ("processes", "main_process")

ALL = """
from sinagot_catalog import ScriptTemplate, any_of, many, optional
class Script(ScriptTemplate):
    PATH_IN = {
        "png": many("raw/{id}/*.png"),
        "note": optional("notes/{id}.txt"),
        "side": any_of("raw/{id}/side.json", "task.json"),
    }
    PATH_OUT = "out/{id}.json"
    def run(self):
        import json
        found = {name: [p.name for p in one] if isinstance(one, list) else one and one.name
                 for name, one in self.path.input.items()}
        self.path.output.write_text(json.dumps(found))
"""
FILES = [
    "raw/R1/b.png",
    "raw/R1/a.png",
    "raw/R1/.hidden.png",
    "raw/R1/c.txt",
    "raw/R1/side.json",
    "notes/R1.txt",
    "raw/R2/a.png",
    "raw/R3/x.txt",
    "task.json",
]


def results(ws):
    out = Path(ws.data_path) / "out"
    return {one.stem: json.loads(one.read_text()) for one in sorted(out.glob("*.json"))}


EXPECTED = {
    "R1": {"png": ["a.png", "b.png"], "note": "R1.txt", "side": "side.json"},
    "R2": {"png": ["a.png"], "note": None, "side": "task.json"},
}


@pytest.mark.parametrize("mode", MODES)
def test_a_script_gets_lists_alternatives_and_none(make_workspace, mode):
    ws = make_workspace({"work": ALL}, FILES)
    rows = {row["record_id"]: row for row in ws.steps.collect().iter_rows(named=True)}
    assert set(rows) == {"R1", "R2"}
    assert rows["R1"]["status"] == rows["R2"]["status"] == "DATA_READY"
    report = ws.steps.run(mode=mode, progress=False)
    assert report.counts() == {"done": 2}
    assert results(ws) == EXPECTED
    assert ws.steps.select("stale")["stale"].to_list() == [False, False]


def test_a_bucket_has_them_too(make_workspace):
    import fsspec

    ws = make_workspace({"work": ALL}, FILES)
    fs = fsspec.filesystem("memory")
    for path in Path(ws.data_path).rglob("*"):
        if path.is_file():
            fs.pipe_file(f"/many-files/{path.relative_to(ws.data_path)}", path.read_bytes())
    remote = Workspace(Path(ws.scripts_path).parent, "memory://many-files")
    report = remote.steps.run(mode="main_process", progress=False)
    assert report.counts() == {"done": 2}
    assert {
        one.rpartition("/")[2][:2]: json.loads(fs.cat_file(one))
        for one in fs.ls("/many-files/out", detail=False)
    } == EXPECTED


def test_a_file_of_a_bucket_may_belong_to_several_inputs(make_workspace):
    import fsspec

    script = """
from sinagot_catalog import ScriptTemplate, any_of, many
class Script(ScriptTemplate):
    PATH_IN = {
        "first": "raw/{id}/001.png",
        "all": many("raw/{id}/*.png"),
        "again": any_of("raw/{id}/*.png", "raw/{id}/note.txt"),
        "scan": "raw/{id}/a.ds/",
        "scans": many("raw/{id}/*.ds/"),
    }
    PATH_OUT = "out/{id}.txt"
    def run(self):
        names = {name: [p.name for p in one] for name, one in self.path.input.items() if isinstance(one, list)}
        self.path.output.write_text(str(names))
"""
    files = [f"raw/R1/{name}" for name in ("001.png", "002.png", "note.txt", "a.ds/meg", "b.ds/meg")]
    ws = make_workspace({"work": script}, files)
    fs = fsspec.filesystem("memory")
    for path in files:
        fs.pipe_file(f"/several-inputs/{path}", b"x")
    remote = Workspace(Path(ws.scripts_path).parent, "memory://several-inputs")
    for one in (ws, remote):
        assert one.steps.run(mode="main_process", progress=False).counts() == {"done": 1}
        assert one.refresh().steps.select("stale")["stale"].to_list() == [False]
    expected = {"all": ["001.png", "002.png"], "again": ["001.png", "002.png"], "scans": ["a.ds", "b.ds"]}
    assert fs.cat_file("/several-inputs/out/R1.txt").decode() == str(expected)
    assert (Path(ws.data_path) / "out/R1.txt").read_text() == str(expected)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: (data / "raw/R2/new.png").touch(), "raw/R2/*.png had 1 file (4 bytes) and has 2 files"),
        (lambda data: (data / "raw/R2/a.png").write_text("x"), "raw/R2/*.png had 1 file (4 bytes)"),
        (lambda data: (data / "notes/R2.txt").touch(), "notes/R2.txt was not there"),
        (lambda data: (data / "raw/R2/side.json").write_text("{}"), "raw/R2/side.json had 4 bytes and has 2"),
    ],
    ids=["another file", "a changed file", "an optional file", "another alternative"],
)
def test_a_row_is_stale_when_its_files_change(make_workspace, change, words):
    ws = make_workspace({"work": ALL}, FILES)
    ws.steps.run(progress=False)
    change(Path(ws.data_path))
    ws.refresh()
    assert dict(ws.steps.select("record_id", "stale").iter_rows()) == {"R1": False, "R2": True}
    told = ws.explain("R2", "work").stale
    assert any(words in one for one in told), told
    ws.steps.run(stale=True, progress=False)
    assert not any(ws.refresh().steps.select("stale")["stale"])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("by", ["", "BY = ()"], ids=["a record", "a group"])
def test_many_folders_are_stale_when_a_file_in_one_changes(make_workspace, mode, by):
    name = "all" if by else "{id}"
    script = f"""
from sinagot_catalog import ScriptTemplate, many
class Script(ScriptTemplate):
    PATH_IN = {{"raw": "raw/{{id}}.txt", "scans": many("scans/{{id}}/**/*.ds/")}}
    PATH_OUT = "out/{name}.txt"
    {by}
    def run(self):
        self.path.output.write_text(str(self.path.input["scans"]))
"""
    files = ["raw/R1.txt", "scans/R1/a.ds/meg", "scans/R1/late/b.ds/meg", "scans/R1/late/b.ds/hist/log"]
    ws = make_workspace({"work": script}, files)
    assert ws.steps.run(mode=mode, progress=False).counts() == {"done": 1}
    assert ws.refresh().steps.select("stale")["stale"].to_list() == [False]
    assert ws.notices.is_empty()
    (Path(ws.data_path) / "scans/R1/late/b.ds/hist/log").write_text("one more line")
    assert ws.refresh().steps.select("stale")["stale"].to_list() == [True]
    ws.steps.run(mode=mode, progress=False, stale=True)
    assert ws.refresh().steps.select("stale")["stale"].to_list() == [False]


def test_an_optional_file_that_goes_makes_its_row_stale(make_workspace):
    ws = make_workspace({"work": ALL}, FILES)
    ws.steps.run(progress=False)
    (Path(ws.data_path) / "notes/R1.txt").unlink()
    ws.refresh()
    assert dict(ws.steps.select("record_id", "stale").iter_rows()) == {"R1": True, "R2": False}


def test_what_is_missing_names_every_alternative(make_workspace):
    source = ALL.replace("raw/{id}/side.json", "{id}.json").replace('"task.json"', '"raw/{id}/b.json"')
    ws = make_workspace({"work": source}, ["raw/R1/a.png"])
    (row,) = ws.steps.collect().iter_rows(named=True)
    assert (row["status"], row["missing"]) == ("INIT", "R1.json or raw/R1/b.json")
    assert (row["n_inputs"], row["n_inputs_found"]) == (2, 1)


def test_what_a_step_has_yet_to_make_is_waited_for(make_workspace, script_source):
    reads = script_source(
        'optional("mid/{id}.txt")', "out/{id}.txt", "self.path.output.write_text(str(self.path.input))"
    )
    reads = reads.replace("'optional(\"mid/{id}.txt\")'", 'optional("mid/{id}.txt")').replace(
        "import ScriptTemplate", "import ScriptTemplate, optional"
    )
    scripts = {"mid": ("raw/{id}.txt", "mid/{id}.txt"), "last": reads}
    ws = make_workspace(scripts, ["raw/R1.txt", "raw/R2.txt"], toml="[steps]\nscripts = ['mid', 'last']")
    rows = ws.steps.filter(step="last").select("status", "reason")
    assert set(rows.iter_rows()) == {("INIT", "waits for mid")}
    assert ws.steps.filter(step="last").plan().n_run == 0
    report = ws.steps.run(progress=False)
    assert report.counts() == {"done": 4}
    assert (Path(ws.data_path) / "out/R1.txt").read_text().endswith("mid/R1.txt")


def test_a_command_gets_an_argument_per_file_and_none_for_what_is_absent(write_workspace):
    toml = """
[steps]
scripts = ["list"]
[steps.list]
command = "python3 list.py {output} {input.png} {input.note}"
outputs = "out/{id}.txt"
[steps.list.inputs]
png = "raw/{id}/*.png"
note = {path = "notes/{id}.txt", optional = true}
"""
    folder = write_workspace({}, ["raw/R1/b.png", "raw/R1/a.png", "notes/R1.txt", "raw/R2/a.png"], toml=toml)
    ws = Workspace(folder)
    program = "import sys\nopen(sys.argv[1], 'w').write(' '.join(sys.argv[2:]))\n"
    (Path(ws.scripts_path) / "list.py").write_text(program)
    assert ws.steps.run(progress=False).counts() == {"done": 2}
    out = Path(ws.data_path) / "out"
    named = {one.stem: [Path(path).name for path in one.read_text().split()] for one in out.glob("*.txt")}
    assert named == {"R1": ["a.png", "b.png", "R1.txt"], "R2": ["a.png"]}


@pytest.mark.parametrize("output", ["raw/{id}/sum.png", "raw/{id}/R_{id}.png"])
def test_an_output_that_the_wildcard_of_raw_inputs_matches_is_refused(make_workspace, script_source, output):
    source = script_source("raw/{id}/*.png", output, "self.path.output.touch()")
    ws = make_workspace({"work": source}, ["raw/R1/a.png"])
    (row,) = ws.steps.collect().iter_rows(named=True)
    assert row["status"] == "ERROR"
    assert "raw/{id}/*.png" in row["reason"]


def test_an_output_has_no_wildcard(make_workspace, script_source):
    ws = make_workspace({"work": script_source("raw/{id}.txt", "out/{id}/*.png")}, ["raw/R1.txt"])
    (reason,) = ws.steps.select("reason")["reason"]
    assert "only an input may name many files" in reason


def test_folders_below_count_only_with_two_stars(make_workspace, script_source):
    one = script_source(
        "raw/{id}/*.png", "one/{id}.txt", "self.path.output.write_text(str(len(self.path.input)))"
    )
    deep = one.replace("*.png", "**/*.png").replace("one/", "deep/")
    files = ["raw/R1/a.png", "raw/R1/x/b.png", "raw/R1/x/y/c.png", "raw/R1/.x/d.png"]
    ws = make_workspace({"one": one, "deep": deep}, files, toml="[steps]\nscripts = ['one', 'deep']")
    report = ws.steps.run(progress=False)
    assert report.ok, report.frame["message"].to_list()
    data = Path(ws.data_path)
    assert ((data / "one/R1.txt").read_text(), (data / "deep/R1.txt").read_text()) == ("1", "3")
    assert not any(ws.refresh().steps.select("stale")["stale"])


def test_a_star_beside_a_varying_field_is_refused(make_workspace, script_source):
    toml = "[records]\nid_pattern = 'R[0-9]+'"
    ws = make_workspace({"work": script_source("raw/{id}*.png", "out/{id}.txt")}, ["raw/R1.png"], toml=toml)
    assert not ws.records.ids()
    with pytest.raises(PatternError, match="has no"):
        many("raw/{id}.png")


WHOLE = "its values may vary in length and hold '_'. Write s-{s}_r-{r} in place of {id}"


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("raw/s-{s}_r-{r}_*.txt", ["s-a-b_r-1", "s-a_r-10"]),
        ("raw/*_r-{r}_{s}.csv", ["s-a-b_r-1"]),
        ("raw/s-{s}_*_r-{r}.tsv", ["s-a_r-2"]),
        ("raw/{id}_*.txt", WHOLE),
        ("raw/{s}{r}_*.txt", "where {s} ends beside {r} is ambiguous"),
    ],
)
def test_fields_beside_a_wildcard_are_told_from_the_side_without_one(
    make_workspace, script_source, pattern, found
):
    """A field may hold the character before it, where only text and fields come before it."""
    files = ["raw/s-a-b_r-1_x.txt", "raw/s-a_r-10_y_z.txt", "raw/x_y_r-1_a-b.csv", "raw/s-a_x_y_r-2.tsv"]
    ids = r"s-(?P<s>[a-z-]+)_r-(?P<r>\d+)"
    source = script_source(pattern, "out/{s}/{r}.txt", "self.path.output.touch()")
    ws = make_workspace({"work": source}, files, id_pattern=ids)
    if isinstance(found, list):
        assert ws.records.ids() == found
        assert ws.steps.run(mode="main_process", progress=False).counts() == {"done": len(found)}
    else:
        assert ws.records.ids() == []
        with pytest.raises(RunError) as told:
            ws.steps.run(mode="main_process", progress=False)
        assert found in str(told.value)


def test_a_script_by_hand_finds_its_files(tmp_path):
    (tmp_path / "raw" / "R1").mkdir(parents=True)
    for name in ("b.png", "a.png"):
        (tmp_path / "raw" / "R1" / name).touch()

    class Script(ScriptTemplate):
        PATH_IN = {  # noqa: RUF012 - as users write it
            "a": many("raw/{id}/*.png"),
            "b": optional("x/{id}"),
            "c": any_of("y/{id}", "raw/{id}/a.png"),
        }

    found = Script("R1", data_path=tmp_path).path.input
    assert [one.name for one in found["a"]] == ["a.png", "b.png"]
    assert found["b"] is None
    assert found["c"].name == "a.png"


# --- which inputs find records --------------------------------------------------------------------------------

SIDECAR = """
from sinagot_catalog import ScriptTemplate, any_of
class Script(ScriptTemplate):
    PATH_IN = {
        "eeg": "{sub}_run-{run?}_eeg.edf",
        "side": any_of("{sub}_run-{run?}_eeg.json", "{sub}_eeg.json", "task_eeg.json"),
    }
    PATH_OUT = "out/{id}.txt"
    def run(self):
        self.path.output.write_text(self.path.input["side"].name)
"""
RUNS = r"(?P<sub>s\d)(?:_run-(?P<run>\d))?"


def test_a_sidecar_that_a_folder_inherits_is_no_record(make_workspace):
    files = [
        "s1_run-1_eeg.edf",
        "s1_run-2_eeg.edf",
        "s1_run-2_eeg.json",
        "s1_eeg.json",
        "s2_eeg.edf",
        "task_eeg.json",
    ]
    ws = make_workspace({"c": SIDECAR}, files, id_pattern=RUNS)
    assert list(ws.records.iter_ids()) == ["s1_run-1", "s1_run-2", "s2"]
    assert ws.steps.run(progress=False, mode="main_process").counts() == {"done": 3}
    found = {one.stem: one.read_text() for one in (Path(ws.data_path) / "out").iterdir()}
    assert found == {"s1_run-1": "s1_eeg.json", "s1_run-2": "s1_run-2_eeg.json", "s2": "task_eeg.json"}


def test_alternatives_that_each_name_the_record_find_it(make_workspace):
    source = SIDECAR.replace(', "{sub}_eeg.json", "task_eeg.json"', ', "json/{sub}_run-{run?}.json"')
    ws = make_workspace({"c": source}, ["s1_eeg.json", "json/s2_run-1.json"], id_pattern=RUNS)
    assert list(ws.records.iter_ids()) == ["s1", "s2_run-1"]


def test_alternatives_that_are_the_only_input_find_records(make_workspace):
    source = SIDECAR.replace('"eeg": "{sub}_run-{run?}_eeg.edf",', "")
    ws = make_workspace({"c": source}, ["s1_eeg.json", "s2_run-1_eeg.json", "task_eeg.json"], id_pattern=RUNS)
    assert list(ws.records.iter_ids()) == ["s1", "s2_run-1"]


def test_an_inherited_sidecar_does_not_hide_an_output_without_raw_input(make_workspace):
    ws = make_workspace({"c": SIDECAR}, ["s1_eeg.edf", "task_eeg.json", "out/s3.txt"], id_pattern=RUNS)
    told = dict(ws.notices.select("kind", "example").iter_rows())
    assert told["output without input"] == "out/s3.txt"
