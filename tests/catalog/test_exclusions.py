"""Exclusions: rows that people leave out, what is made from them, and the file that says so."""

import threading
from concurrent.futures import ThreadPoolExecutor

import polars as pl
import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.errors import ConfigError, SelectionError, UsageError

TOML = """
[records]
id_pattern = 'R\\d+'
exclude = "exclude.csv"
[steps]
scripts = ["clean", "count"]
"""
CHAIN = {"clean": ("raw/{id}.csv", "clean/{id}.csv"), "count": ("clean/{id}.csv", "count/{id}.csv")}
SCOPED = """
[records]
id_pattern = 'R\\d+'
exclude = "exclude.csv"
[tasks.RS]
modalities = ["EEG"]
[tasks.HDC]
modalities = ["EEG"]
[modalities.EEG]
scripts = ["clean"]
"""


@pytest.fixture
def chain(write_workspace):
    """Write a workspace of three records and two steps, the second made from the first, and its exclusions."""

    def write(text=None, *, toml=TOML, scripts=CHAIN, files=("raw/R1.csv", "raw/R2.csv", "raw/R3.csv")):
        folder = write_workspace(scripts, files, toml=toml)
        if text is not None:
            (folder / "exclude.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
        return folder

    return write


def statuses(ws):
    rows = ws.steps.select("record_id", "step", "status")
    return {(record, step): status for record, step, status in rows.iter_rows()}


def excluded(ws):
    return sorted(key for key, status in statuses(ws).items() if status == "EXCLUDED")


# --- status --------------------------------------------------------------------------------------------------


def test_a_record_of_the_table_is_excluded_with_its_reason(chain):
    ws = Workspace(chain("record_id,reason,who,when\nR2,flat Cz,mh,2026-01-01\n"))
    assert excluded(ws) == [("R2", "clean"), ("R2", "count")]
    rows = ws.steps.filter(status="EXCLUDED").select("reason", "step").rows()
    assert rows == [("excluded: flat Cz", "clean"), ("excluded: flat Cz", "count")]
    told = ws.explain("R2", "clean")
    assert told.decided.name == "excluded"
    assert "exclude.csv line 2: flat Cz (mh, 2026-01-01)" in told.decided.evidence


def test_what_is_made_from_an_excluded_row_is_excluded(chain):
    ws = Workspace(chain("record_id,step,reason\nR2,clean,drift\n"))
    assert excluded(ws) == [("R2", "clean"), ("R2", "count")]
    assert ws.explain("R2", "count").reason == "excluded: made from clean (drift)"


def test_the_cause_goes_down_a_chain(chain):
    scripts = {**CHAIN, "plot": ("count/{id}.csv", "plot/{id}.png")}
    toml = TOML.replace('"count"]', '"count", "plot"]')
    ws = Workspace(chain("record_id,step,reason\nR2,clean,drift\n", toml=toml, scripts=scripts))
    assert ws.explain("R2", "plot").reason == "excluded: made from count (drift)"


def test_a_later_step_alone_leaves_the_earlier_ones(chain):
    ws = Workspace(chain("record_id,step,reason\nR2,count,odd\n"))
    assert excluded(ws) == [("R2", "count")]
    assert statuses(ws)["R2", "clean"] == "DATA_READY"


def test_results_are_kept_and_come_back(chain):
    folder = chain()
    assert Workspace(folder).steps.run(mode="main_process", progress=False).ok
    (folder / "exclude.csv").write_text("record_id\nR1\n")
    ws = Workspace(folder)
    assert excluded(ws) == [("R1", "clean"), ("R1", "count")]
    assert (folder / "dataset/clean/R1.csv").exists()
    ws.records.filter(record_id="R1").include()
    assert set(statuses(ws).values()) == {"DONE"}


def test_counts_of_every_table_have_excluded_rows_apart(chain):
    ws = Workspace(chain("record_id\nR2\n"))
    assert ws.records.filter(pl.col("n_excluded") > 0).select(
        "record_id", "n_excluded", "n_steps"
    ).rows() == [("R2", 2, 2)]
    assert ws.units.select("n_excluded", "n_data_ready", "n_init").sum().row(0) == (2, 2, 2)
    assert ws.units.filter(record_id="R2").select("next_step").item() is None
    assert ws.steps.filter(pl.col("status") == "EXCLUDED").count() == 2
    assert ws.records.get("R2").status_dict()


def test_a_broken_script_is_told_before_an_exclusion(chain):
    folder = chain("record_id\nR1\n")
    (folder / "scripts/count.py").write_text("class Script(:\n")
    assert statuses(Workspace(folder))["R1", "count"] == "ERROR"


def test_a_failure_of_an_excluded_row_is_no_failure(chain):
    folder = chain(scripts={"clean": ("raw/{id}.csv", "clean/{id}.csv", "fail"), "count": CHAIN["count"]})
    assert not Workspace(folder).steps.run(mode="main_process", progress=False).ok
    (folder / "exclude.csv").write_text("record_id\nR1\nR2\nR3\n")
    ws = Workspace(folder)
    assert ws.steps.failures().is_empty()
    assert set(statuses(ws).values()) == {"EXCLUDED"}


def test_rows_of_the_table_narrow_to_task_and_modality(write_workspace):
    folder = write_workspace(
        {"EEG/clean": ("raw/{id}-{task}.csv", "clean/{id}-{task}.csv")},
        ["raw/R1-RS.csv", "raw/R1-HDC.csv"],
        toml=SCOPED,
    )
    (folder / "exclude.csv").write_text("record_id,task,modality,reason\nR1,RS,EEG,asleep\n")
    ws = Workspace(folder)
    assert ws.steps.filter(status="EXCLUDED").select("task").to_series().to_list() == ["RS"]
    ws.HDC.EEG.exclude("too short")
    assert ws.steps.filter(status="EXCLUDED").count() == 2
    assert (folder / "exclude.csv").read_text().splitlines()[-1] == "R1,HDC,EEG,too short"


def test_an_optional_input_that_is_excluded_and_absent_excludes_nothing(chain, script_source):
    head = "from sinagot_catalog import optional"
    source = script_source((), "count/{id}.csv", "self.path.output.write_text('x')", head=head)
    source = source.replace(
        "PATH_IN = ()", "PATH_IN = {'raw': 'raw/{id}.csv', 'clean': optional('clean/{id}.csv')}"
    )
    folder = chain("record_id,step\nR1,clean\n", scripts={"clean": CHAIN["clean"], "count": source})
    ws = Workspace(folder)
    assert statuses(ws)["R1", "count"] == "DATA_READY"
    (folder / "dataset/clean").mkdir()
    (folder / "dataset/clean/R1.csv").write_text("old")
    assert statuses(ws.refresh())["R1", "count"] == "EXCLUDED"


def test_the_other_alternative_of_an_input_keeps_a_row(chain, script_source):
    head = "from sinagot_catalog import any_of"
    source = script_source((), "count/{id}.csv", "self.path.output.write_text('x')", head=head)
    source = source.replace("PATH_IN = ()", "PATH_IN = any_of('clean/{id}.csv', 'raw/{id}.csv')")
    ws = Workspace(chain("record_id,step\nR1,clean\n", scripts={"clean": CHAIN["clean"], "count": source}))
    assert statuses(ws)["R1", "count"] == "DATA_READY"


# --- runs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["main_process", "processes"])
def test_a_run_leaves_excluded_rows_out_and_counts_them(chain, mode):
    folder = chain("record_id,reason\nR2,fog\n")
    ws = Workspace(folder)
    report = ws.steps.run(mode=mode, progress=False)
    assert (report.ok, report.n_excluded, len(report)) == (True, 2, 4)
    assert report.summary() == "4 done, 2 excluded"
    assert not (folder / "dataset/clean/R2.csv").exists()


@pytest.mark.parametrize(
    "options", [{"force": True}, {"step_label": "clean"}, {"ignore_missing": True}, {"downstream": True}]
)
def test_no_option_of_a_run_takes_an_excluded_row(chain, options):
    ws = Workspace(chain("record_id\nR2\n"))
    plan = ws.steps.plan(**options).frame
    assert set(plan.filter(record_id="R2")["action"]) == {"skip"}
    report = ws.run(["R2"], mode="main_process", progress=False)
    assert report.summary() == "nothing to do, 2 excluded"


def test_an_edit_of_the_file_counts_at_once(chain):
    folder = chain()
    ws = Workspace(folder)
    assert excluded(ws) == []
    (folder / "exclude.csv").write_text("record_id\nR1\n")
    assert ws.steps.plan().n_run == 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("record_id,reason\nR1,flat Cz, noisy\n", "line 2 has 3 values, and the header 2 columns"),
        ('record_id,reason\nR1,"no end\n', "line 2: a quoted value has no end"),
        ("record,reason\nR1,fog\n", "line 1 has no column 'record_id', only record, reason"),
        ("record_id,reason\n,fog\n", "line 2 has no value in the column 'record_id'"),
        ("record_id,step,step\nR1,,\n", "line 1 names the column 'step' twice"),
        (b"record_id,reason\nR1,caf\xe9\n", "line 2 is not UTF-8"),
    ],
)
def test_nothing_runs_while_the_file_cannot_be_read(chain, text, words):
    ws = Workspace(chain(text))
    assert any(words in notice for notice in ws.notices["text"])
    assert ws.steps.count() == 6
    with pytest.raises(ConfigError, match="it is not known what to leave out"):
        ws.steps.run(mode="main_process", progress=False)
    with pytest.raises(ConfigError):
        ws.steps.plan()


def test_a_link_to_a_file_that_is_gone_is_no_absent_file(chain):
    folder = chain()
    (folder / "exclude.csv").symlink_to(folder / "elsewhere.csv")
    with pytest.raises(ConfigError, match="a link to a file that does not exist"):
        Workspace(folder).steps.plan()


def test_an_absent_or_empty_file_excludes_nothing(chain):
    assert excluded(Workspace(chain())) == []


@pytest.mark.parametrize(
    "text", ["", "\n", "# nothing yet\n", "record_id,reason\n", "record_id,reason\n,\n\n,,,\n"]
)
def test_a_file_without_rows_excludes_nothing(chain, text):
    ws = Workspace(chain(text))
    assert excluded(ws) == []
    assert ws.steps.plan().n_run > 0


@pytest.mark.parametrize(
    "text",
    [
        "record_id;reason\r\nR2;fog, thick\r\n",
        "\ufeffrecord_id,reason\nR2,fog\n",
        "reason\trecord_id\nfog\tR2\n",
        "# a comment, with a comma\nrecord_id , reason\n# another\n R2 ,fog\n",
        'record_id,reason\nR2,"two\nlines"\n',
        "record_id,reason\rR2,fog\r",
    ],
)
def test_files_of_spreadsheets_and_editors_are_read(chain, text):
    assert excluded(Workspace(chain(text))) == [("R2", "clean"), ("R2", "count")]


# --- notices -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("R11,", "1 row names no record, such as R11 (line 2); did you mean 'R1'?"),
        (
            "R1,claen",
            "1 row names no step, such as R1 claen (line 2): there is no step 'claen'; did you mean 'clean'?",
        ),
    ],
)
def test_a_row_that_names_nothing_is_told_with_the_nearest(chain, row, words):
    ws = Workspace(chain(f"record_id,step\n{row}\n"))
    (text,) = [text for text in ws.notices["text"] if "exclude.csv" in text]
    assert words in text


def test_a_column_that_may_be_misspelt_is_told(chain):
    ws = Workspace(chain("record_id,stpe\nR1,count\n"))
    assert any("'stpe' is not used; did you mean 'step'?" in text for text in ws.notices["text"])


def test_ids_of_a_part_of_the_records_are_no_strangers(chain):
    folder = chain("record_id\nR3\n")
    ws = Workspace(folder, records=("R1", "R3"))
    assert ws.notices.is_empty()


# --- changes -------------------------------------------------------------------------------------------------


def test_exclude_and_include_keep_the_rest_of_the_file(chain):
    text = '# decided by the lab\r\nrecord_id,note,reason\r\nR9,keep me,"a, b"\r\n# end\r\n'
    folder = chain(text)
    ws = Workspace(folder)
    ws.records.filter(record_id="R1").exclude('said "bad", \n twice')
    ws.steps.filter(record_id="R2", step="count").exclude("odd")
    lines = (folder / "exclude.csv").read_bytes().decode().split("\r\n")
    assert lines == [
        "# decided by the lab",
        "record_id,note,reason,step",
        'R9,keep me,"a, b",',
        "# end",
        'R1,,"said ""bad"", twice",',
        "R2,,odd,count",
        "",
    ]
    assert excluded(ws) == [("R1", "clean"), ("R1", "count"), ("R2", "count")]
    ws.records.filter(record_id="R1").include()
    assert excluded(ws) == [("R2", "count")]


def test_a_new_file_has_a_line_for_the_config(write_workspace):
    folder = write_workspace(CHAIN, ["raw/R1.csv"])
    ws = Workspace(folder)
    with pytest.warns(UserWarning, match='add exclude = "exclude.csv" to \\[records\\]'):
        ws.records.filter(record_id="R1").exclude("fog")
    assert (folder / "exclude.csv").read_text().splitlines()[0] == "record_id,step,reason,who,when"
    assert excluded(ws) == []


def test_an_exclusion_is_written_once(chain):
    ws = Workspace(chain())
    rows = ws.records.filter(record_id="R1")
    assert rows.exclude("fog")["excluded"].to_list() == [True]
    again = rows.exclude("rain")
    assert again.select("excluded", "reason").rows() == [(False, "excluded already: fog")]


def test_include_of_one_step_leaves_an_exclusion_of_the_whole_record(chain):
    ws = Workspace(chain("record_id\nR1\n"))
    left = ws.steps.filter(record_id="R1", step="count").include()
    assert left.select("included", "reason").rows() == [(False, "line 2 excludes further rows, too")]
    assert len(excluded(ws)) == 2


@pytest.mark.parametrize("call", [lambda rows: rows.exclude("x"), lambda rows: rows.include()])
def test_the_whole_workspace_is_not_changed_by_accident(chain, call):
    ws = Workspace(chain())
    for rows in (ws.records, ws.steps, ws.units):
        with pytest.raises(UsageError, match="no filter says which rows"):
            call(rows)
    with pytest.raises(SelectionError, match="takes no files"):
        call(ws.files.filter(record_id="R1"))


def test_a_reason_is_needed_and_a_step_must_exist(chain):
    folder = chain()
    rows = Workspace(folder).records.filter(record_id="R1")
    with pytest.raises(UsageError, match="no reason is given"):
        rows.exclude("  ")
    with pytest.raises(SelectionError, match="did you mean 'clean'"):
        rows.exclude("x", "claen")
    assert not (folder / "exclude.csv").exists()


def test_ids_that_look_like_comments_are_quoted(chain):
    toml = TOML.replace("R\\d+", "#\\d")
    scripts = CHAIN
    folder = chain(toml=toml, scripts=scripts, files=["raw/#1.csv", "raw/#2.csv"])
    ws = Workspace(folder)
    ws.records.filter(record_id="#1").exclude("fog")
    assert excluded(ws) == [("#1", "clean"), ("#1", "count")]


def test_people_who_edit_at_once_lose_nothing(chain):
    files = [f"raw/R{n}.csv" for n in range(24)]
    folder = chain("# shared\n", files=files)
    start = threading.Barrier(8)

    def edit(number):
        ws = Workspace(folder)
        start.wait(timeout=300)
        for record in range(number * 3, number * 3 + 3):
            ws.records.filter(record_id=f"R{record}").exclude(f"by {number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(edit, range(8)))
    ws = Workspace(folder)
    assert ws.records.filter(pl.col("n_excluded") == 2).count() == 24
    assert (folder / "exclude.csv").read_text().startswith("# shared\n")
    assert list(folder.glob(".*")) == []


def test_a_file_that_cannot_be_read_is_not_changed(chain):
    text = "record_id,reason\nR1,flat Cz, noisy\n"
    folder = chain(text)
    with pytest.raises(Exception, match="line 2 has 3 values"):
        Workspace(folder).records.filter(record_id="R2").exclude("fog")
    assert (folder / "exclude.csv").read_text() == text


def test_the_config_refuses_other_kinds_of_files(chain):
    with pytest.raises(ConfigError, match=r"records\.exclude: 'out\.xlsx' is not a CSV file"):
        Workspace(chain(toml=TOML.replace("exclude.csv", "out.xlsx")))


# --- other looks ---------------------------------------------------------------------------------------------


def test_a_snapshot_keeps_the_exclusions(chain):
    folder = chain("record_id,reason\nR2,fog\n")
    ws = Workspace(folder)
    name = ws.snapshot()
    ws.records.filter(record_id="R2").include()
    then = Workspace(folder, snapshot=str(name))
    assert excluded(then) == [("R2", "clean"), ("R2", "count")]
    assert "excluded: fog" in then.steps.select("reason").to_series()
    changed = ws.diff(str(name)).steps
    assert "EXCLUDED" in str(changed.rows())


def test_the_report_shows_excluded_rows(chain, tmp_path):
    ws = Workspace(chain("record_id,reason\nR2,fog\n"))
    page = ws.report(tmp_path / "report.html").read_text()
    assert "EXCLUDED" in page


def test_a_group_can_leave_out_members_by_their_masks(chain):
    ws = Workspace(chain("record_id,step\nR2,clean\n"))
    masks = ws._source.catalog().excluded
    assert {cell: mask.to_list() for cell, mask in masks.items()} == {
        0: [False, True, False],
        1: [False, True, False],
    }


GROUPED = """
[records]
id_pattern = 'R(?P<n>\\d)'
exclude = "exclude.csv"
[steps]
scripts = ["clean", "all"]
[steps.all]
command = "sh -c 'cat \\"$@\\" > {output}' sh {input}"
inputs = "clean/{id}.csv"
outputs = "all.txt"
by = []
"""


def test_a_record_is_taken_back_also_where_groups_have_it_as_a_member(chain):
    ws = Workspace(chain(toml=GROUPED))
    ws.records.filter(record_id="R2").exclude("fog")
    ws.steps.run(mode="main_process", progress=False)
    assert len((ws.data_path / "all.txt").read_text()) > 0
    assert ws.records.filter(record_id="R2").include()["included"].to_list() == [True]
    assert excluded(ws) == []
    ws.steps.filter(record_id="R2").exclude("fog", "clean")
    assert ws.steps.filter(record_id="R2").include()["included"].to_list() == [True]


def test_a_member_is_left_out_of_its_group_alone_and_taken_back(chain, cli):
    folder = chain(toml=GROUPED)
    told = cli("exclude", "R2", "-C", folder, "--step", "all", "--reason", "moved")
    assert told.stdout == "1 excluded: R2 all\n"
    ws = Workspace(folder)
    assert excluded(ws) == []
    ws.steps.run(mode="main_process", progress=False)
    assert ws.steps.filter(step="all", status="DONE").count() == 1
    again = cli("exclude", "R2", "-C", folder, "--step", "all", "--reason", "moved")
    assert "excluded already: moved" in again.stderr
    assert cli("include", "R2", "-C", folder, "--step", "clean").stdout == "0 included\n"
    assert cli("include", "R2", "-C", folder, "--step", "all").stdout == "1 included: R2 all\n"
    assert ws.refresh().steps.filter(stale=True).collect()["step"].to_list() == ["all"]


def test_a_step_that_is_not_there_is_an_error_of_include(chain):
    ws = Workspace(chain())
    with pytest.raises(SelectionError, match="no step 'claen'; did you mean 'clean'"):
        ws.records.filter(record_id="R2").include("claen")


def test_a_workspace_in_a_bucket_has_its_exclusions_beside_its_config(moto, chain):
    url = moto.upload(chain("# shared\n"), "lab")
    ws = Workspace(url, storage_options=moto.options, trust=True)
    ws.records.filter(record_id="R2").exclude("fog")
    assert excluded(ws) == [("R2", "clean"), ("R2", "count")]
    assert moto.read("lab/exclude.csv").startswith(b"# shared\nrecord_id,step,reason")
    assert [key for key in moto.keys("lab") if "lock" in key] == []
    report = ws.steps.run(mode="main_process", progress=False)
    assert report.summary() == "4 done, 2 excluded"
    ws.records.filter(record_id="R2").include()
    assert excluded(ws) == []


def test_a_table_that_lies_among_the_data_is_no_record(write_workspace):
    toml = """
    [path]
    dataset = "."
    [records]
    id_pattern = '[a-z0-9]+'
    exclude = "exclude.csv"
    [steps]
    scripts = ["one"]
    """
    folder = write_workspace({"one": ("{id}.csv", "one/{id}.txt")}, toml=toml)
    (folder / "a1.csv").write_text("1")
    (folder / "b2.csv").write_text("2")
    (folder / "exclude.csv").write_text("record_id\na1\n")
    ws = Workspace(folder)
    assert ws.records.ids() == ["a1", "b2"]
    assert excluded(ws) == [("a1", "one")]
