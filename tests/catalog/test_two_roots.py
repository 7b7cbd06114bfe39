"""Outputs with a root of their own: the same path under two roots is two paths; and makers for other records."""

from pathlib import Path

import pytest

from sinagot_catalog import Workspace

APART = "[path]\noutputs = 'made'\n"
SESSIONS = r"(?P<sub>S\d)_(?P<ses>pre|post)"


def run(ws, **options):
    return ws.steps.run(mode="main_process", progress=False, **options)


def rows(ws):
    found = ws.refresh().steps.collect().select("record_id", "step", "status", "reason")
    return {(one[0], one[1]): one[2:] for one in found.rows()}


def test_a_mirrored_layout_reads_the_dataset_and_writes_the_outputs(make_workspace):
    ws = make_workspace({"clean": ("x/{id}.csv", "x/{id}.csv")}, ["x/R1.csv", "x/R2.csv"], toml=APART)
    assert {key: value[0] for key, value in rows(ws).items()} == {
        ("R1", "clean"): "DATA_READY",
        ("R2", "clean"): "DATA_READY",
    }
    assert run(ws).counts() == {"done": 2}
    made = Path(ws.config.outputs, "x/R1.csv")
    assert made.read_text() == "raw;clean;"
    assert run(Workspace(ws.config.root), force=True).counts() == {"done": 2}
    assert made.read_text() == "raw;clean;"
    assert Path(ws.data_path, "x/R1.csv").read_text() == "raw;"
    explained = ws.refresh().explain("R1", "clean")
    assert {(one.role, one.exists, one.size) for one in explained.files} == {
        ("input", True, 4),
        ("output", True, 10),
    }
    assert not ws.steps.filter("stale").collect().height


def test_a_step_behind_a_mirrored_one_reads_what_that_made(make_workspace):
    scripts = {"clean": ("x/{id}.csv", "x/{id}.csv"), "read": ("x/{id}.csv", "y/{id}.csv")}
    ws = make_workspace(scripts, ["x/R1.csv"], toml=APART)
    assert rows(ws)["R1", "read"] == ("INIT", "waits for clean")
    assert ws.steps.plan().frame["step"].to_list() == ["clean", "read"]
    assert run(ws).counts() == {"done": 2}
    assert Path(ws.config.outputs, "y/R1.csv").read_text() == "raw;clean;read;"


def test_a_job_behind_a_mirrored_step_never_takes_the_raw_file(make_workspace):
    scripts = {"clean": ("x/{id}.csv", "x/{id}.csv"), "read": ("x/{id}.csv", "y/{id}.csv")}
    ws = make_workspace(scripts, ["x/R1.csv"], toml=APART)
    assert run(ws, step_label="read").counts() == {"not_available": 1}


def test_what_a_step_makes_may_also_be_brought_by_the_dataset(make_workspace):
    scripts = {"one": ("raw/{id}.csv", "mid/{id}.csv"), "two": ("mid/{id}.csv", "out/{id}.csv")}
    ws = make_workspace(scripts, ["raw/R1.csv", "mid/R1.csv", "mid/R2.csv"], toml=APART)
    found = rows(ws)
    assert {key: value[0] for key, value in found.items()} == {
        ("R1", "one"): "DATA_READY",
        ("R1", "two"): "DATA_READY",
        ("R2", "one"): "INIT",
        ("R2", "two"): "DATA_READY",
    }
    links = ws.sql("SELECT record_id, root, \"exists\" FROM links WHERE step = 'two' AND role = 'input'")
    assert links.collect().rows() == [("R1", "dataset", True), ("R2", "dataset", True)]
    assert run(ws).counts() == {"done": 3}
    assert Path(ws.config.outputs, "out/R2.csv").read_text() == "raw;two;"
    assert Path(ws.config.outputs, "out/R1.csv").read_text() == "raw;one;two;"
    links = ws.sql("SELECT record_id, root FROM links WHERE step = 'two' AND role = 'input'")
    assert links.collect().rows() == [("R1", "outputs"), ("R2", "dataset")]
    assert not ws.steps.filter("stale").collect().height


def test_an_input_that_no_other_step_makes_is_never_looked_for_among_outputs(make_workspace):
    ws = make_workspace({"clean": ("x/{id}.csv", "y/{id}.csv")}, ["x/R1.csv"], toml=APART)
    stray = Path(ws.config.outputs, "x/R2.csv")
    stray.parent.mkdir(parents=True)
    stray.write_text("stray")
    assert ws.records.ids() == ["R1"]
    assert run(ws.records.get("R2"), step_label="clean").counts() == {"not_available": 1}


@pytest.mark.parametrize("toml", ["", APART])
def test_an_input_that_is_made_for_another_record_waits_for_its_step(make_workspace, toml):
    scripts = {"one": ("raw/{id}.txt", "one/{id}.txt"), "diff": (("one/{sub}_pre.txt"), "diff/{id}.txt")}
    files = ["raw/S1_pre.txt", "raw/S1_post.txt", "raw/S2_post.txt"]
    ws = make_workspace(scripts, files, toml=toml, id_pattern=SESSIONS)
    found = rows(ws)
    assert found["S1_post", "diff"] == ("INIT", "waits for one")
    assert found["S2_post", "diff"][0] == "INIT"
    explained = ws.explain("S1_post", "diff")
    assert [one.made_by for one in explained.files if one.role == "input"] == [("one",)]
    assert [(one.step, one.status) for one in explained.upstream] == [("one", "DATA_READY")]
    plan = ws.steps.plan().frame
    assert plan.filter(action="run").select("step").to_series().to_list() == ["one"] * 3 + ["diff"] * 2
    report = ws.steps.run(progress=False, workers=2)
    assert report.counts() == {"done": 5}
    assert rows(ws)["S1_post", "diff"][0] == "DONE"


@pytest.mark.parametrize("toml", [APART])
def test_what_is_made_per_subject_may_be_read_by_the_id_of_a_record(make_workspace, toml):
    """The maker's pattern has a field of the id, the reader's the id."""
    scripts = {
        "base": ("subject/{sub}.txt", "one/{sub}_pre.txt"),
        "use": ({"one": "one/{id}.txt", "raw": "raw/{id}.txt"}, "use/{id}.txt"),
    }
    files = ["raw/S1_pre.txt", "raw/S1_post.txt", "subject/S1.txt"]
    ws = make_workspace(scripts, files, toml=toml, id_pattern=SESSIONS)
    assert rows(ws)["S1_pre", "use"] == ("INIT", "waits for base")
    assert rows(ws)["S1_post", "use"][1] == "missing one/S1_post.txt"
    counts = run(ws).counts()
    assert counts["done"] == 2
    assert rows(ws)["S1_pre", "use"][0] == "DONE"


def test_outputs_whose_names_only_look_like_inputs_make_nothing(make_workspace):
    scripts = {"b": ("d/{id}.csv", "d/{id}_b.csv"), "c": ("d/{id}.csv", "d/{id}_c.csv")}
    ws = make_workspace(scripts, ["d/R1.csv"])
    assert run(ws).counts() == {"done": 2}
    assert ws.refresh().records.ids() == ["R1"]
    assert set(ws.steps.collect()["status"]) == {"DONE"}


def test_an_absent_raw_file_is_one_of_the_dataset_also_where_outputs_look_alike(make_workspace):
    """Sessions of a village, and a result per village that could be one: `dorf/{village}.txt`."""
    files = ["A/1/ann.wav", "A/1/ann.textGrid", "A/1/bob.wav", "A/1/bob.TextGrid"]
    toml = """
    [path]
    outputs = "made"
    [steps]
    scripts = ["words", "level", "village"]
    [steps.words]
    command = "cp {input} {output}"
    inputs = "{village}/{day}/{who}.TextGrid"
    outputs = "words/{village}/{day}/{who}.txt"
    [steps.level]
    command = "cp {input} {output}"
    inputs = "{village}/{day}/{who}.wav"
    outputs = "level/{village}/{day}/{who}.txt"
    [steps.village]
    command = "cat {input}"
    inputs = "words/{village}/{day}/{who}.txt"
    outputs = "village/{village}/"
    by = ["village"]
    """
    ids = r"(?P<village>[^/_]+)_(?P<day>[^/_]+)_(?P<who>[^/_]+)"
    ws = make_workspace(files=files, id_pattern=ids, toml=toml)
    raw = ws.explain("A_1_ann", "words").files[0]
    assert (raw.path, raw.near) == ("A/1/ann.TextGrid", "A/1/ann.textGrid")
    assert "A/1/bob.TextGrid: 4 bytes" in repr(ws.explain("A_1_bob", "words"))


def test_outputs_that_look_like_raw_files_tell_no_records_from_their_own_root(make_workspace):
    scripts = {"b": ("{id}.csv", "{id}_b.csv"), "c": ("{id}_b.csv", "{id}_c.csv")}
    ws = make_workspace(scripts, ["R1.csv"], toml=APART, id_pattern=r"\w+")
    assert run(ws).counts() == {"done": 2}
    assert ws.refresh().records.ids() == ["R1"]
    assert run(ws).counts() == {}


def test_a_row_whose_file_another_record_failed_to_make_is_blocked(make_workspace):
    scripts = {
        "one": ("raw/{id}.txt", "one/{id}.txt", "fail"),
        "diff": ("one/{sub}_pre.txt", "diff/{id}.txt"),
    }
    ws = make_workspace(scripts, ["raw/S1_pre.txt", "raw/S1_post.txt"], id_pattern=SESSIONS)
    report = run(ws)
    assert report.counts() == {"error": 2, "blocked": 2}
    assert "waits for one, which failed" in report.frame.filter(outcome="blocked")["message"][0]


def test_what_waits_for_a_blocked_row_is_blocked_too_and_others_run(make_workspace):
    scripts = {
        "one": (
            "raw/{id}.txt",
            "one/{id}.txt",
            "if self.id == 'S1_pre': raise ValueError\nself.path.output.touch()",
        ),
        "diff": ("one/{sub}_pre.txt", "diff/{id}.txt"),
        "plot": ("diff/{id}.txt", "plot/{id}.txt"),
    }
    files = ["raw/S1_pre.txt", "raw/S1_post.txt", "raw/S2_pre.txt"]
    ws = make_workspace(scripts, files, id_pattern=SESSIONS)
    report = ws.steps.run(progress=False, workers=2)
    assert report.counts() == {"error": 1, "done": 4, "blocked": 4}
    messages = dict(report.frame.filter(outcome="blocked").select("step", "message").rows())
    assert messages == {"diff": "waits for one, which failed", "plot": "waits for diff, which failed"}


def test_a_file_that_records_share_blocks_those_that_read_it(make_workspace):
    scripts = {
        "mean": ("subject/{sub}.txt", "mean/{sub}.txt", "fail"),
        "use": ({"mean": "mean/{sub}.txt", "raw": "raw/{id}.txt"}, "use/{id}.txt"),
    }
    files = ["raw/S1_pre.txt", "raw/S1_post.txt", "subject/S1.txt"]
    ws = make_workspace(scripts, files, id_pattern=SESSIONS)
    assert run(ws).counts()["blocked"] == 2
    assert ws.steps.run(progress=False, workers=2).counts()["blocked"] == 2
