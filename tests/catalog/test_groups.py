"""Rows of group steps in the tables: their ids, status and reasons, and the way to records and back."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl
import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.errors import NotFoundError, SelectionError

IDS = r"(?P<sub>s\d)_(?P<run>\d)"
BIDS = r"sub-(?P<sub>[^_]+)(_ses-(?P<ses>[^_]+))?_run-(?P<run>\d)"


def source(path_in, path_out, by, more="", body="pass"):
    return f"""
from sinagot_catalog import ScriptTemplate, any_of, many, optional
class Script(ScriptTemplate):
    PATH_IN = {path_in!r}
    PATH_OUT = {path_out!r}
    BY = {by!r}
    {more}
    def run(self):
        {body}
"""


OPTIONAL = """
from sinagot_catalog import ScriptTemplate, optional
class Script(ScriptTemplate):
    PATH_IN = {{"raw": "{}", "other": optional("{}")}}
    PATH_OUT = "avg/{{sub}}"
    BY = ("sub",)
    def run(self): ...
"""
AVG = source("clean/{id}", "avg/{sub}", ("sub",))
CLEAN = ("raw/{id}", "clean/{id}")


def row_of(ws, record_id, step):
    rows = ws.steps.filter(record_id=record_id, step=step).collect()
    assert rows.height == 1
    return rows.row(0, named=True)


def group_rows(ws):
    return ws.steps.filter(pl.col("by").is_not_null()).select("record_id", "step", "by").rows()


def test_a_group_that_is_named_as_a_record_is_answered_with_what_to_name(make_workspace):
    ws = make_workspace({"all": source("raw/{id}", "all", [])}, ["raw/s1_1"], id_pattern=IDS)
    with pytest.raises(NotFoundError, match="there is no record 'dataset=all'") as raised:
        ws.records["dataset=all"]
    assert raised.value.hint == "It is a group of records: name its records, or filter by their fields."


def test_a_group_step_has_a_row_per_group_and_none_per_record(make_workspace):
    files = [f"raw/s{sub}_{run}" for sub in (1, 2) for run in (1, 2)]
    ws = make_workspace(
        {"clean": CLEAN, "avg": AVG, "all": source("clean/{id}", "all", [])}, files, id_pattern=IDS
    )
    assert ws.steps.select("record_id", "step", "by").rows() == [
        ("s1_1", "clean", None),
        ("s1_2", "clean", None),
        ("s2_1", "clean", None),
        ("s2_2", "clean", None),
        ("dataset=all", "all", ""),
        ("sub=s1", "avg", "sub"),
        ("sub=s2", "avg", "sub"),
    ]
    assert ws.records.ids() == ["s1_1", "s1_2", "s2_1", "s2_2"]
    assert ws.records.select("n_steps", "n_data_ready", "n_init").unique().rows() == [(1, 1, 0)]
    assert ws.units.collect().height == 4
    assert ws.steps.count() == 7
    assert ws.steps.collect_schema()["by"] == pl.String


def test_ids_of_groups_name_the_values_and_escape_them(make_workspace):
    files = [
        *("raw/sub-1_ses-a,b_run-1", "raw/sub-1_ses-a,b_run-2", "raw/sub-2_run-1"),
        "raw/sub-x=y%_ses-1_run-1",
    ]
    scripts = {
        "ses": source("raw/{id}", "ses/{sub}_{ses?}", ("sub", "ses")),
        "sub": source("raw/{id}", "sub/{sub}", ("sub",)),
        "of": source("raw/{id}", "of/x{ses?}", ("ses",)),
    }
    ws = make_workspace(scripts, files, id_pattern=BIDS)
    ids = {}
    for record_id, step, by in group_rows(ws):
        ids.setdefault((step, by), set()).add(record_id)
    assert ids == {
        ("ses", "sub,ses"): {"sub=1,ses=a%2Cb", "sub=2", "sub=x%3Dy%25,ses=1"},
        ("sub", "sub"): {"sub=1", "sub=2", "sub=x%3Dy%25"},
        ("of", "ses"): {"ses=a%2Cb", "ses=", "ses=1"},
    }
    assert set(ws.steps.select("status")["status"]) == {"DATA_READY"}
    report = ws.steps.filter(step="sub").run(mode="main_process", progress=False)
    assert report.counts() == {"error": 3}  # its script writes nothing
    assert "sub/x=y%" in report.frame["message"].str.join("").item()


def test_status_follows_the_members(make_workspace):
    files = [
        *("raw/s1_1", "raw/s1_2", "clean/s1_1", "clean/s1_2"),
        *("raw/s2_1", "raw/s2_2", "clean/s2_1"),
        *("raw/s3_1", "clean/s3_1", "note/s3_2"),
        *("note/s4_1", "raw/s5_1", "clean/s5_1", "avg/s5"),
    ]
    other = ("note/{id}", "n/{id}")
    ws = make_workspace({"clean": CLEAN, "avg": AVG, "other": other}, files, id_pattern=IDS)
    found = {
        row["record_id"]: (row["status"], row["reason"], row["n_inputs_found"], row["missing"])
        for row in ws.steps.filter(step="avg").collect().iter_rows(named=True)
    }
    assert found == {
        "sub=s1": ("DATA_READY", "all 2 members are there", 1, None),
        "sub=s2": ("INIT", "waits for clean of s2_2; 1 of 2 members are there", 0, "clean/s2_2"),
        "sub=s3": ("DATA_READY", "1 of 2 members are there", 1, None),
        "sub=s4": ("INIT", "missing clean/s4_1; 0 of 1 members are there", 0, "clean/s4_1"),
        "sub=s5": ("DONE", "all outputs are there", 1, None),
    }


def test_a_group_is_unknown_or_waits_while_a_folder_of_a_member_cannot_be_read(write_workspace):
    scripts = {
        "clean": ("raw/{id}/a", "clean/{id}/a"),
        "note": ("raw/{id}/a", "note/{id}"),
        "cleaned": source("clean/{id}/a", "cleaned", []),
        "noted": source("note/{id}", "noted", []),
    }
    files = [f"{folder}/s1_{run}" for folder in ("raw", "clean") for run in (1, 2)]
    program = """if True:
        import os, sys
        from sinagot_catalog import Workspace
        ws = Workspace(sys.argv[1])
        ws.steps.plan()
        if os.getuid() == 0:
            os.setuid(65534)
        ws.refresh()
        groups = ws.steps.filter(record_id="dataset=all")
        print(*groups.select("step", "status", "reason").rows(), *groups.plan().frame["action"], sep="\\n")
    """
    with tempfile.TemporaryDirectory() as folder:
        names = [f"{file}/a" for file in files] + ["note/s1_2"]
        root = write_workspace(scripts, names, id_pattern=IDS).rename(Path(folder, "workspace"))
        Path(folder).chmod(0o755)
        hidden = [root / "dataset" / name for name in ("raw/s1_1", "clean/s1_1")]
        for each in hidden:
            each.chmod(0o0)
        done = subprocess.run(
            [sys.executable, "-c", program, root], capture_output=True, text=True, timeout=300, check=True
        )
        for each in hidden:
            each.chmod(0o755)
    assert done.stdout.splitlines() == [
        "('cleaned', None, 'unknown: cannot read clean/s1_1, raw/s1_1')",
        "('noted', 'INIT', 'waits for note of s1_1; 1 of 2 members are there')",
        "skip",
        "skip",
    ]


def test_a_failure_further_up_blocks_too(make_workspace):
    scripts = {
        "first": ("raw/{id}", "first/{id}", "fail"),
        "clean": ("first/{id}", "clean/{id}"),
        "avg": AVG,
        "all": source("avg/{sub}", "all", []),
    }
    ws = make_workspace(scripts, ["raw/s1_1", "raw/s1_2"], id_pattern=IDS)
    ws.steps.run("first", mode="main_process", progress=False)
    assert (
        "clean of s1_1 and 1 more cannot run, as an earlier step failed; 0 of 2 members"
        in row_of(ws, "sub=s1", "avg")["reason"]
    )
    assert "avg of sub=s1 cannot run, as an earlier step failed" in row_of(ws, "dataset=all", "all")["reason"]


def test_a_member_that_another_step_has_yet_to_make_is_waited_for_and_has_not_failed(make_workspace):
    either = """
from sinagot_catalog import ScriptTemplate, any_of
class Script(ScriptTemplate):
    PATH_IN = any_of("one/{id}", "two/{id}")
    PATH_OUT = "clean/{id}"
    def run(self): ...
"""
    scripts = {"one": ("raw/{id}", "one/{id}", "fail"), "two": ("raw/{id}", "two/{id}"), "clean": either}
    ws = make_workspace({**scripts, "avg": AVG}, ["raw/s1_1"], id_pattern=IDS)
    ws.steps.run("one", mode="main_process", progress=False)
    row = row_of(ws, "sub=s1", "avg")
    assert (row["status"], row["reason"]) == ("INIT", "waits for clean of s1_1; 0 of 1 members are there")


def test_a_group_waits_for_files_that_it_shares(make_workspace):
    avg = source({"clean": "clean/{id}", "info": "info/{sub}"}, "avg/{sub}", ("sub",))
    files = ["raw/s1_1", "clean/s1_1", "raw/s2_1", "clean/s2_1", "info/s2"]
    ws = make_workspace({"clean": CLEAN, "avg": avg}, files, id_pattern=IDS)
    row = row_of(ws, "sub=s1", "avg")
    assert (row["status"], row["missing"], row["n_inputs_found"]) == ("INIT", "info/s1", 1)
    assert row_of(ws, "sub=s2", "avg")["status"] == "DATA_READY"


def test_an_optional_input_that_is_to_come_is_waited_for(make_workspace):
    avg = OPTIONAL.format("raw/{id}", "clean/{id}")
    ws = make_workspace({"clean": CLEAN, "avg": avg}, ["raw/s1_1"], id_pattern=IDS)
    assert row_of(ws, "sub=s1", "avg")["reason"] == "waits for clean of s1_1; 0 of 1 members are there"
    failing = make_workspace(
        {"clean": ("raw/{id}", "clean/{id}", "fail"), "avg": avg}, ["raw/s1_1"], id_pattern=IDS, name="other"
    )
    failing.steps.run("clean", mode="main_process", progress=False)
    assert row_of(failing, "sub=s1", "avg")["status"] == "DATA_READY"


def test_a_record_named_like_a_group_is_left_out_and_named(make_workspace):
    ws = make_workspace(
        {"avg": source("raw/{id}", "avg/{sub}", ("sub",))},
        ["raw/s1", "raw/sub=s1"],
        id_pattern=r"(?P<sub>s\d|sub=s1)",
    )
    assert ws.records.ids() == ["s1"]
    assert [row[0] for row in group_rows(ws)] == ["sub=s1"]
    assert any("'sub=s1'" in notice.text for notice in ws._source.notices())


# --- from groups to records, and back ---------------------------------------------------------------------------


@pytest.fixture
def grouped(make_workspace):
    files = [f"raw/s{sub}_{run}" for sub in (1, 2) for run in (1, 2)]
    scripts = {"clean": CLEAN, "avg": AVG, "all": source("avg/{sub}", "all", [])}
    return make_workspace(scripts, files, id_pattern=IDS)


def test_groups_are_told_where_the_first_name_is_no_record(make_workspace):
    avg = OPTIONAL.format("raw/{id}.csv", "raw/{id}.json")
    files = ["raw/s1_1.json", "raw/s2_1.csv", "raw/s2_2.csv"]
    ws = make_workspace({"avg": avg}, files, id_pattern=IDS)
    assert group_rows(ws) == [("sub=s2", "avg", "sub")]
    assert ws.steps.filter(step="avg").records.ids() == ["s2_1", "s2_2"]


def test_the_records_of_a_group_are_its_members(grouped):
    assert grouped.steps.filter(record_id="sub=s2").records.ids() == ["s2_1", "s2_2"]
    assert grouped.steps.filter(step="all").records.ids() == ["s1_1", "s1_2", "s2_1", "s2_2"]
    assert grouped.steps.filter(step="avg").units.collect().height == 4


def test_the_steps_of_records_have_the_groups_that_are_whole(grouped):
    some = grouped.records.filter(pl.col("sub") == "s1").steps.collect()
    assert some["record_id"].to_list() == ["s1_1", "s1_2", "sub=s1"]
    one = grouped.records.filter(pl.col("run") == "1").steps.collect()
    assert one["record_id"].to_list() == ["s1_1", "s2_1"]
    assert grouped.records.steps.count() == 7


def test_a_filter_on_a_column_of_records_sees_the_value_that_all_members_share(grouped):
    found = grouped.steps.filter(pl.col("by").is_not_null()).select("record_id", "sub", "run").rows()
    assert found == [("dataset=all", None, None), ("sub=s1", "s1", None), ("sub=s2", "s2", None)]
    assert grouped.steps.filter(pl.col("sub") == "s2", step="avg").collect().height == 1


def test_links_and_files_of_a_group_are_those_of_its_members(grouped):
    grouped.steps.filter(step="clean").run(mode="main_process", progress=False)
    links = grouped.sql(
        "SELECT role, path FROM links WHERE record_id = 'sub=s1' ORDER BY role, path"
    ).collect()
    assert set(links.rows()) == {
        ("output", "avg/s1"),
        ("input", "clean/s1_1"),
        ("input", "clean/s1_2"),
    }
    paths = grouped.steps.filter(record_id="sub=s1").files.collect()["path"].to_list()
    assert paths == ["clean/s1_1", "clean/s1_2"]


def test_a_file_of_a_member_that_its_group_leaves_out_leads_to_the_group_and_back(make_workspace):
    scripts = {"avg": source({"a": "a/{id}", "b": "b/{id}"}, "avg/{sub}", ("sub",))}
    ws = make_workspace(scripts, ["a/s1_1", "b/s1_1", "a/s1_2"], id_pattern=IDS)
    assert row_of(ws, "sub=s1", "avg")["reason"] == "1 of 2 members are there"
    assert ws.files.filter(path="a/s1_2").steps.select("record_id").to_series().to_list() == ["sub=s1"]
    assert "a/s1_2" in ws.steps.files.collect()["path"]


def test_a_group_over_all_fields_has_links_to_the_files_that_its_wildcard_finds(make_workspace):
    scripts = {"sum": source("raw/{sub}_{run}/*.csv", "sum/{sub}_{run}", ("sub", "run"))}
    files = ["raw/s1_1/a.csv", "raw/s1_1/b.csv"]
    ws = make_workspace(scripts, files, id_pattern=IDS)
    links = ws.links().filter(role="input")
    assert links.select("record_id", "path", "exists").rows() == [
        ("sub=s1,run=1", path, True) for path in files
    ]


def test_explain_tells_of_a_group_and_names_the_group_of_a_record(grouped):
    text = str(grouped.explain("sub=s1", "avg"))
    assert "waits for clean of s1_1 and 1 more; 0 of 2 members are there" in text
    with pytest.raises(NotFoundError, match="sub=s1"):
        grouped.explain("s1_1", "avg")
    with pytest.raises(NotFoundError, match="sub=s2"):
        grouped.explain("sub=s3", "avg")


def test_rows_that_name_no_group_are_refused(grouped):
    with pytest.raises(SelectionError, match="sub=s9"):
        grouped.run(pl.DataFrame({"record_id": ["sub=s9"]}))


def test_scan_outputs_has_each_file_of_a_group_once(make_workspace):
    avg = source(
        "raw/{id}.csv",
        "avg/{sub}.csv",
        ("sub",),
        body="self.path.output.write_text('a\\n%d\\n' % len(self.records))",
    )
    files = {f"raw/s{sub}_{run}.csv": "x" for sub in (1, 2) for run in (1, 2, 3)}
    ws = make_workspace({"avg": avg}, files, id_pattern=IDS)
    ws.steps.run(mode="main_process", progress=False)
    found = ws.steps.scan_outputs("avg").collect()
    assert found.select("record_id", "a").rows() == [("sub=s1", 3), ("sub=s2", 3)]


def test_logs_and_events_name_the_group(make_workspace):
    avg = source(
        "raw/{id}", "avg/{sub}", ("sub",), body="self.logger.info('hello'); self.path.output.touch()"
    )
    ws = make_workspace({"avg": avg}, ["raw/s1_1", "raw/s1_2"], id_pattern=IDS)
    assert ws.steps.run(mode="main_process", progress=False).ok
    events = ws.sql("SELECT record_id, event FROM events WHERE event = 'done'").collect()
    assert events.rows() == [("sub=s1", "done")]
    assert "sub=s1" in Path(ws.report(Path(ws.data_path) / "report.html")).read_text()


# --- refusals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path_out", "by", "text"),
    [
        ("avg/{id}", ("sub",), "has {id}"),
        ("avg/{sub}_{run}", ("sub",), "by = ['sub', 'run']"),
        ("avg/all", ("sub",), "lacks {sub}"),
        ("avg/{sub}", (), "has {sub}"),
        ("avg/{subj}", ("sub",), "subj"),
        ("avg/{sub}", ("subj",), "sub"),
    ],
)
def test_a_group_step_with_outputs_of_other_fields_is_refused(make_workspace, path_out, by, text):
    ws = make_workspace(
        {"clean": CLEAN, "avg": source("clean/{id}", path_out, by)}, ["raw/s1_1"], id_pattern=IDS
    )
    rows = {row["step"]: row for row in ws.steps.collect().iter_rows(named=True)}
    assert rows["clean"]["status"] == "DATA_READY"
    faults = list(ws._source.catalog().faults.values())
    assert len(faults) == 1
    assert text in faults[0]


def test_partial_is_true_or_false(make_workspace):
    ws = make_workspace(
        {"avg": source("raw/{id}", "a/{sub}", ("sub",), "PARTIAL = 3")}, ["raw/s1_1"], id_pattern=IDS
    )
    assert "PARTIAL is not True or False" in ws._source.catalog().faults[0]


# --- size -------------------------------------------------------------------------------------------------------


def test_many_members_are_judged_without_a_loop(tmp_path):
    """100,000 members in 1,000 groups from a given listing: a small multiple of the group_by alone."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "dataset").mkdir()
    (tmp_path / "workspace.toml").write_text(
        "[records]\nid_pattern = '(?P<sub>s\\d+)_(?P<run>\\d+)'\n[steps]\nscripts = ['avg']\n"
    )
    (tmp_path / "scripts" / "avg.py").write_text(source("raw/{id}", "avg/{sub}", ("sub",)))
    paths = [f"raw/s{sub:04}_{run:03}" for sub in range(1000) for run in range(100)]
    listing = pl.DataFrame({"path": paths})
    ws = Workspace(tmp_path, listing=listing)
    begin = time.perf_counter()
    rows = ws.steps.select("record_id", "status", "reason")
    seconds = time.perf_counter() - begin
    assert rows.height == 1000
    assert rows.row(0) == ("sub=s0000", "DATA_READY", "all 100 members are there")
    assert seconds < 200


# --- exclusions -------------------------------------------------------------------------------------------------


def test_excluded_members_are_left_out_also_if_their_results_are_there(make_workspace):
    files = ["raw/s1_1", "raw/s1_2", "raw/s1_3", "raw/s2_1", "raw/s2_2"]
    toml = f"[records]\nid_pattern = '{IDS}'\nexclude = 'exclude.csv'\n"
    avg = source(
        "clean/{id}", "avg/{sub}", ("sub",), body="self.path.output.write_text(' '.join(self.records))"
    )
    ws = make_workspace({"clean": CLEAN, "avg": avg}, files, toml=toml)
    assert ws.steps.run(mode="main_process", progress=False).counts() == {"done": 7}
    table = Path(ws.scripts_path).parent / "exclude.csv"
    table.write_text("record_id,step,reason\ns1_2,,flat\ns2_1,avg,noise\nsub=s2,avg,later\n")
    ws = Workspace(table.parent)
    rows = {row["record_id"]: row for row in ws.steps.filter(step="avg").collect().iter_rows(named=True)}
    assert rows["sub=s1"]["status"] == "DONE"
    assert rows["sub=s2"]["status"] == "EXCLUDED"
    assert "later" in rows["sub=s2"]["reason"]
    assert ws.steps.filter(record_id="sub=s1").select("stale")["stale"].to_list() == [True]
    report = ws.steps.run(mode="main_process", progress=False, stale=True)
    assert report.counts() == {"done": 1}
    assert (Path(ws.data_path) / "avg/s1").read_text() == "s1_1 s1_3"
    table.write_text("record_id,step,reason\ns2_1,avg,noise\n")
    ws = Workspace(table.parent)
    assert ws.steps.run(mode="main_process", progress=False, stale=True).counts() == {"done": 2}
    assert (Path(ws.data_path) / "avg/s2").read_text() == "s2_2"


def test_a_group_is_left_out_of_a_group_step_with_all_of_its_records(make_workspace):
    toml = f"[records]\nid_pattern = '{IDS}'\nexclude = 'exclude.csv'\n"
    body = "self.path.output.write_text(' '.join(self.records))"
    scripts = {
        "avg": source("raw/{id}", "avg/{sub}", ("sub",), body=body),
        "all": source("avg/{sub}", "all", (), body=body),
    }
    ws = make_workspace(scripts, ["raw/s1_1", "raw/s1_2", "raw/s2_1", "raw/s2_2"], toml=toml)
    steps = ws.steps.filter(step="all")
    assert ws.steps.run(mode="main_process", progress=False).counts() == {"done": 3}
    ws.records.filter(record_id="s2_1").exclude("no consent", "all")
    assert steps.select("status", "stale").rows() == [("DONE", False)]
    ws.records.filter(record_id="s2_2").exclude("no consent", "all")
    assert steps.select("status", "stale").rows() == [("DONE", True)]
    assert ws.steps.run(mode="main_process", progress=False, stale=True).counts() == {"done": 1}
    assert (Path(ws.data_path) / "all").read_text() == "sub=s1"
    ws.records.filter(sub="s1").exclude("no consent", "all")
    assert row_of(ws, "dataset=all", "all")["reason"] == "excluded: all its members are left out (no consent)"
    ws.records.filter(pl.col("sub").is_not_null()).include("all")
    assert ws.steps.run(mode="main_process", progress=False, stale=True).counts() == {"done": 1}
    assert (Path(ws.data_path) / "all").read_text() == "sub=s1 sub=s2"


def test_steps_that_each_read_the_two_before_them_are_judged_once_each(make_workspace):
    scripts = {"s0": ("raw/{id}", "o0/{id}"), "s1": ("o0/{id}", "o1/{id}")}
    for n in range(2, 24):  # there are 46,368 ways from the group back to the raw file
        scripts[f"s{n}"] = ({"a": f"o{n - 1}/{{id}}", "b": f"o{n - 2}/{{id}}"}, f"o{n}/{{id}}")
    ws = make_workspace(
        {**scripts, "avg": source("o23/{id}", "avg/{sub}", ("sub",))}, ["raw/s1_1"], id_pattern=IDS
    )
    reason = "waits for s23 of s1_1; 0 of 1 members are there"
    assert row_of(ws, "sub=s1", "avg")["reason"] == reason


def test_a_group_can_be_excluded_by_its_name_and_with_all_of_its_records(write_workspace):
    toml = f"[records]\nid_pattern = '{IDS}'\nexclude = 'exclude.csv'\n"
    scripts = {"avg": source("raw/{id}", "avg/{sub}", ("sub",)), "all": source("avg/{sub}", "all", ())}
    folder = write_workspace(scripts, ["raw/s1_1", "raw/s1_2", "raw/s2_1"], toml=toml)
    (folder / "exclude.csv").write_text("record_id,reason\nsub=s1,noise\ns1_1,fog\ns1_2,fog\n")
    found = Workspace(folder).steps.select("record_id", "step", "reason").rows()
    assert found == [
        ("dataset=all", "all", "waits for avg of sub=s2; 0 of 2 members are there"),
        ("sub=s1", "avg", "excluded: noise"),
        ("sub=s2", "avg", "its only member is there"),
    ]


def test_a_file_of_a_member_that_its_group_leaves_out_is_explained(make_workspace):
    toml = f"[records]\nid_pattern = '{IDS}'\nexclude = 'exclude.csv'\n"
    ws = make_workspace(
        {"avg": source("raw/{id}", "avg/{sub}", ("sub",))}, ["raw/s1_1", "raw/s1_2"], toml=toml
    )
    (Path(ws.scripts_path).parent / "exclude.csv").write_text("record_id,reason\ns1_2,flat\n")
    ws = Workspace(Path(ws.scripts_path).parent)
    assert "its group leaves the record out" in str(ws.explain_path("raw/s1_2"))
    assert "read by sub=s1 avg" in str(ws.explain_path("raw/s1_1"))


@pytest.mark.parametrize("row", ["s2_1,,flat", "s2_1,clean,flat", "s2_1,avg,flat"])
def test_a_group_whose_members_are_all_excluded_is_excluded_with_what_is_made_from_it(make_workspace, row):
    toml = f"[records]\nid_pattern = '{IDS}'\nexclude = 'exclude.csv'\n"
    names = "self.path.output.write_text(' '.join(self.records))"
    scripts = {
        "clean": CLEAN,
        "avg": source("clean/{id}", "avg/{sub}", ("sub",), body=names),
        "top": source("avg/{sub}", "top/{sub}", ("sub",), body="self.path.output.write_text('x')"),
        "all": source("avg/{sub}", "all", (), body=names),
    }
    ws = make_workspace(scripts, ["raw/s1_1", "raw/s1_2", "raw/s2_1"], toml=toml)
    table = Path(ws.scripts_path).parent / "exclude.csv"
    table.write_text(f"record_id,step,reason\n{row}\n")
    assert ws.refresh().steps.run(mode="main_process", progress=False).ok
    assert (Path(ws.data_path) / "all").read_text() == "sub=s1"
    left = ws.steps.filter(record_id="sub=s2").select("step", "status", "reason").rows()
    assert left == [
        ("avg", "EXCLUDED", "excluded: all its members are left out (flat)"),
        ("top", "EXCLUDED", "excluded: made from avg (flat)"),
    ]
    table.write_text("record_id,step,reason\n")
    assert ws.refresh().steps.filter(record_id="sub=s2", status="EXCLUDED").count() == 0
    ws.steps.run(mode="main_process", progress=False, stale=True)
    assert (Path(ws.data_path) / "all").read_text() == "sub=s1 sub=s2"
    table.write_text(f"record_id,step,reason\n{row}\n")
    assert ws.refresh().steps.filter(stale=True).select("step")["step"].to_list() == ["all"]


def test_a_failure_behind_a_shared_file_blocks_too_and_a_step_to_come_is_waited_for(make_workspace):
    scripts = {
        "clean": (*CLEAN, "fail"),
        "avg": AVG,
        "peak": source("avg/{sub}", "peak/{sub}", ("sub",)),
        "norm": ({"raw": "raw/{id}", "avg": "avg/{sub}"}, "norm/{id}"),
        "peaks": source("peak/{sub}", "peaks", []),
        "norms": source("norm/{id}", "norms", []),
    }
    made = [f"{name}/s1" for name in ("avg", "peak")] + ["clean/s1_1", "norm/s1_1"]
    ws = make_workspace(scripts, ["raw/s1_1", *made, "raw/s2_1"], id_pattern=IDS)
    for step, waits in (("peaks", "waits for peak of sub=s2"), ("norms", "waits for norm of s2_1")):
        row = row_of(ws, "dataset=all", step)
        assert (row["status"], row["reason"]) == ("INIT", f"{waits}; 1 of 2 members are there")
    ws.steps.run("clean", mode="main_process", progress=False)
    for step, blocks, records in (
        ("peaks", "peak of sub=s2", "the records of sub=s2"),
        ("norms", "norm of s2_1", "s2_1"),
    ):
        row = row_of(ws, "dataset=all", step)
        assert row["status"] == "INIT"
        assert row["reason"].startswith(f"{blocks} cannot run, as an earlier step failed; 1 of 2 members")
        assert f"exclude {records}, or" in row["reason"]
    assert row_of(ws, "sub=s2", "peak")["reason"] == "waits for avg"


def test_a_step_that_is_waited_for_twice_is_named_once(make_workspace):
    read = OPTIONAL.format("avg/{sub}", "avg/{sub}").replace('"avg/{sub}"\n    BY = ("sub",)', '"read/{id}"')
    ws = make_workspace(
        {"clean": CLEAN, "avg": AVG, "read": read}, ["raw/s1_1", "clean/s1_1"], id_pattern=IDS
    )
    assert row_of(ws, "s1_1", "read")["reason"] == "waits for avg"
