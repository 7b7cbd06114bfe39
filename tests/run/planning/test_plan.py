"""The plan: what runs, in which order, and why not the rest. Nothing is written for it."""

import os
import pickle
from pathlib import Path

import polars as pl
import pytest

from sinagot_catalog.errors import SelectionError

CHAIN = {
    "clean": ("raw/{id}", "clean/{id}"),
    "peak": ("clean/{id}", "peak/{id}"),
    "sum": ("peak/{id}", "sum/{id}"),
}


def actions(plan):
    return plan.frame.select("record_id", "step", "action").rows()


def test_rows_that_are_not_done_run_in_the_order_of_their_chain(make_workspace):
    ws = make_workspace(CHAIN, ["raw/R1", "raw/R2", "clean/R2"])
    plan = ws.steps.plan()
    assert plan.frame.select("record_id", "step", "action", "reason").rows() == [
        ("R1", "clean", "run", "all inputs are there"),
        ("R1", "peak", "run", "after clean"),
        ("R1", "sum", "run", "after peak"),
        ("R2", "clean", "skip", "all outputs are there"),
        ("R2", "peak", "run", "all inputs are there"),
        ("R2", "sum", "run", "after peak"),
    ]
    assert plan.counts() == {"run": 5, "skip": 1, "blocked": 0}
    assert plan.n_run == 5
    assert len(plan) == 6


def test_a_plan_can_be_sent_to_another_process(make_workspace):
    plan = make_workspace(CHAIN, ["raw/R1", "raw/R2", "clean/R2"]).steps.plan()
    copy = pickle.loads(pickle.dumps(plan))  # noqa: S301 - our own bytes
    assert copy.frame.equals(plan.frame)
    assert (copy.counts(), copy.needs) == (plan.counts(), plan.needs)
    assert copy.costs.equals(plan.costs)
    assert copy.volume().is_empty()  # it has no files to measure


def test_planning_writes_nothing(make_workspace):
    ws = make_workspace(CHAIN, ["raw/R1"])
    before = sorted(Path(ws.config.root).rglob("*"))
    ws.steps.plan()
    assert (
        sorted(path for path in Path(ws.config.root).rglob("*") if "__pycache__" not in str(path)) == before
    )


def test_every_selected_row_is_there_in_the_declared_columns(make_workspace):
    from sinagot_catalog import schema

    ws = make_workspace(CHAIN, ["raw/R1"])
    assert dict(ws.steps.plan().frame.schema) == dict(schema.PLAN)
    empty = ws.steps.filter(False).plan()
    assert dict(empty.frame.schema) == dict(schema.PLAN)
    assert len(empty) == 0
    assert empty.costs.height == 0


def test_only_selected_rows_are_planned(make_workspace):
    ws = make_workspace(CHAIN, ["raw/R1", "raw/R2"])
    assert actions(ws.steps.filter(step="clean", record_id="R2").plan()) == [("R2", "clean", "run")]
    assert actions(ws.records.get("R1").steps.plan("clean")) == [("R1", "clean", "run")]


def test_row_whose_input_nobody_makes_is_skipped_and_says_what_is_missing(make_workspace):
    ws = make_workspace(CHAIN, ["raw/R1", "sum/R2"])
    frame = ws.steps.filter(record_id="R2").plan().frame
    assert frame["action"].to_list() == ["skip", "skip", "skip"]
    assert frame["reason"].to_list() == ["missing raw/R2", "waits for clean", "all outputs are there"]


def test_step_without_its_predecessor_selected_is_skipped(make_workspace):
    ws = make_workspace(CHAIN, ["raw/R1"])
    assert actions(ws.steps.filter(pl.col("step") != "clean").plan()) == [
        ("R1", "peak", "skip"),
        ("R1", "sum", "skip"),
    ]


def test_row_asked_for_by_step_name_is_tried_although_an_input_is_missing(make_workspace):
    ws = make_workspace(CHAIN, ["raw/R1"])
    row = ws.steps.plan("peak").frame.row(0, named=True)
    assert (row["action"], row["reason"]) == ("run", "tried anyway: waits for clean")


def test_ignore_missing_tries_rows_without_input(make_workspace):
    ws = make_workspace({"clean": ("raw/{id}", "clean/{id}"), "seen": ("known/{id}", "k/{id}")}, ["known/R1"])
    frame = ws.steps.plan(ignore_missing=True).frame
    assert frame["action"].to_list() == ["run", "run"]
    assert frame["reason"][0] == "tried anyway: missing raw/R1"


def test_force_runs_what_is_done(make_workspace):
    ws = make_workspace(CHAIN, ["raw/R1", "clean/R1", "peak/R1", "sum/R1"])
    assert ws.steps.plan().n_run == 0
    frame = ws.steps.plan(force=True).frame
    assert frame["action"].to_list() == ["run"] * 3
    assert frame["reason"].to_list() == ["forced: it is done already", "after clean", "after peak"]


def test_force_of_a_done_row_whose_input_is_gone_is_skipped(make_workspace):
    ws = make_workspace({"clean": ("raw/{id}", "clean/{id}")}, ["clean/R1"])
    assert ws.steps.plan(force=True).frame["action"].to_list() == ["skip"]


def test_downstream_adds_the_rows_that_become_ready(make_workspace):
    ws = make_workspace(CHAIN, ["raw/R1", "raw/R2"])
    chosen = ws.steps.filter(step="clean", record_id="R1")
    assert actions(chosen.plan()) == [("R1", "clean", "run")]
    assert actions(chosen.plan(downstream=True)) == [
        ("R1", "clean", "run"),
        ("R1", "peak", "run"),
        ("R1", "sum", "run"),
    ]


def test_downstream_leaves_done_rows_alone_and_forces_only_what_was_selected(make_workspace):
    ws = make_workspace(CHAIN, ["raw/R1", "clean/R1", "peak/R1"])
    plan = ws.steps.filter(step="clean").plan(downstream=True, force=True)
    assert [action for *_, action in actions(plan)] == ["run", "skip"]
    assert ws.steps.filter(step="peak").plan(downstream=True).n_run == 0


def test_order_follows_paths_where_the_config_puts_them_apart(make_workspace):
    scripts = {"b": ("x/{id}", "y/{id}"), "a": ("raw/{id}", "x/{id}")}
    with pytest.raises(SelectionError, match="steps wait for each other"):
        make_workspace(scripts, ["raw/R1"]).steps.plan()


def test_order_follows_paths_across_modalities(make_workspace):
    toml = """
    [records]
    id_pattern = 'R\\d+'
    [tasks.T]
    modalities = ["B", "A"]
    [modalities.A]
    scripts = ["make"]
    [modalities.B]
    scripts = ["use"]
    """
    scripts = {"A/make": ("raw/{id}", "x/{id}"), "B/use": ("x/{id}", "y/{id}")}
    ws = make_workspace(scripts, ["raw/R1", "raw/R2"], toml=toml)
    plan = ws.steps.plan()
    assert [(row[0], row[1]) for row in actions(plan)] == [
        ("R1", "make"), ("R1", "use"), ("R2", "make"), ("R2", "use"),
    ]  # fmt: skip
    assert plan.frame["reason"].to_list() == ["all inputs are there", "after make"] * 2


def test_directory_that_is_made_makes_the_files_in_it(make_workspace):
    scripts = {"unpack": ("raw/{id}.zip", "dir/{id}/"), "read": ("dir/{id}/a.txt", "out/{id}")}
    ws = make_workspace(scripts, ["raw/R1.zip"])
    assert ws.steps.plan().frame["reason"].to_list() == ["all inputs are there", "after unpack"]


def test_files_that_are_made_make_the_directory_around_them(make_workspace):
    scripts = {"one": ("raw/{id}", "dir/{id}/one.txt"), "pack": ("dir/{id}", "out/{id}.zip")}
    ws = make_workspace(scripts, ["raw/R1"])
    assert ws.steps.plan().frame["reason"].to_list() == ["all inputs are there", "after one"]


def test_rows_with_the_same_outputs_are_one_job(make_workspace):
    toml = """
    [records]
    id_pattern = 'R\\d+'
    [tasks.A]
    modalities = ["M"]
    [tasks.B]
    modalities = ["M"]
    [modalities.M]
    scripts = ["clean"]
    """
    ws = make_workspace({"M/clean": ("raw/{id}", "clean/{id}")}, ["raw/R1"], toml=toml)
    frame = ws.steps.plan().frame
    assert frame.select("task", "action", "reason").rows() == [
        ("A", "run", "all inputs are there"),
        ("B", "skip", "another row of this run makes the same outputs"),
    ]


def test_output_that_all_records_share_is_made_once(make_workspace):
    ws = make_workspace(
        {"norm": ((), "norm.csv"), "use": ({"n": "norm.csv", "r": "raw/{id}"}, "out/{id}")},
        ["raw/R1", "raw/R2"],
    )
    assert actions(ws.steps.plan()) == [
        ("R1", "norm", "run"), ("R2", "norm", "skip"), ("R1", "use", "run"), ("R2", "use", "run"),
    ]  # fmt: skip


SITES = r"(?P<site>[AB])-\d"


def test_output_that_a_group_shares_is_made_once_and_for_the_group_alone(make_workspace):
    scripts = {
        "norm": ("raw/{id}", "norm/{site}"),
        "use": ({"n": "norm/{site}", "r": "raw/{id}"}, "out/{id}"),
    }
    ws = make_workspace(scripts, ["raw/A-1", "raw/A-2", "raw/B-1"], id_pattern=SITES)
    assert actions(ws.steps.plan()) == [
        ("A-1", "norm", "run"), ("A-2", "norm", "skip"), ("B-1", "norm", "run"),
        ("A-1", "use", "run"), ("A-2", "use", "run"), ("B-1", "use", "run"),
    ]  # fmt: skip
    only_a = ws.steps.filter((pl.col("step") == "use") | (pl.col("record_id") == "A-2"))
    assert actions(only_a.plan()) == [
        ("A-2", "norm", "run"), ("A-1", "use", "run"), ("A-2", "use", "run"), ("B-1", "use", "skip"),
    ]  # fmt: skip


def test_folder_that_a_group_shares_makes_the_files_of_its_records(make_workspace):
    scripts = {"unpack": ("zip/{site}.zip", "dir/{site}/"), "read": ("dir/{site}/{id}.txt", "out/{id}")}
    ws = make_workspace(scripts, ["zip/A.zip", "out/B-1", "out/A-3"], id_pattern=SITES)
    rows = pl.DataFrame({"record_id": ["A-1", "A-2", "B-1"]})
    assert actions(ws._of(rows).plan()) == [
        ("A-1", "unpack", "run"), ("A-2", "unpack", "skip"), ("B-1", "unpack", "skip"),
        ("A-1", "read", "run"), ("A-2", "read", "run"), ("B-1", "read", "skip"),
    ]  # fmt: skip


def test_file_inside_a_folder_that_another_step_makes_blocks_both_steps_and_no_other(make_workspace):
    scripts = {
        "unpack": ("raw/{id}", "dir/{id}/"),
        "more": ("dir/{id}/", "dir/{id}/more.txt"),
        "plot": ("raw/{id}", "plot/{id}"),
    }
    ws = make_workspace(scripts, ["raw/R1"])
    assert actions(ws.steps.plan()) == [
        ("R1", "unpack", "blocked"),
        ("R1", "more", "blocked"),
        ("R1", "plot", "run"),
    ]


def test_outputs_that_two_steps_share_in_part_block_both_and_name_them(make_workspace):
    scripts = {
        "a": ("raw/{id}", {"x": "x/{id}", "y": "y/{id}"}),
        "b": ("raw/{id}", {"x": "x/{id}", "z": "z/{id}"}),
        "c": ("raw/{id}", "c/{id}"),
    }
    frame = make_workspace(scripts, ["raw/R1"]).steps.plan().frame
    assert frame["action"].to_list() == ["blocked", "blocked", "run"]
    assert frame["reason"][0] == frame["reason"][1]
    assert "the steps a and b both write 'x/{id}'" in frame["reason"][0]


def test_cycle_is_an_error_that_names_the_steps(make_workspace):
    toml = """
    [records]
    id_pattern = 'R\\d+'
    [tasks.T]
    modalities = ["A", "B"]
    [modalities.A]
    scripts = ["one"]
    [modalities.B]
    scripts = ["two"]
    """
    ws = make_workspace({"A/one": ("y/{id}", "x/{id}"), "B/two": ("x/{id}", "y/{id}")}, ["x/R1"], toml=toml)
    with pytest.raises(SelectionError, match=r"steps wait for each other: T-.*-one") as caught:
        ws.steps.plan()
    assert caught.value.exit_code == 2
    assert "T-B-two" in caught.value.message


def test_step_that_reads_its_own_output_as_an_input_is_blocked_and_points_at_previous(make_workspace):
    ws = make_workspace(
        {"grow": ({"old": "state/{id}", "new": "raw/{id}"}, "state/{id}")}, ["raw/R1", "state/R1", "raw/R2"]
    )
    frame = ws.steps.plan(force=True).frame
    assert frame["action"].to_list() == ["blocked", "blocked"]
    assert "self.path.previous" in frame["reason"][0]


def test_wrong_step_label_names_the_near_one(make_workspace):
    ws = make_workspace(CHAIN, ["raw/R1"])
    with pytest.raises(SelectionError, match="there is no step 'claen'; did you mean 'clean'"):
        ws.steps.plan("claen")


def test_broken_script_blocks_its_rows_and_no_others(make_workspace):
    ws = make_workspace({"bad": "def :", "good": ("raw/{id}", "good/{id}")}, ["raw/R1"])
    frame = ws.steps.plan().frame
    assert frame.select("step", "action").rows() == [("bad", "blocked"), ("good", "run")]
    assert "bad.py:1" in frame["reason"][0]


def test_stale_rows_run_when_asked_for_with_what_reads_their_outputs(make_workspace):
    ws = make_workspace(
        CHAIN, ["raw/R1", "clean/R1", "peak/R1", "sum/R1", "raw/R2", "clean/R2", "peak/R2", "sum/R2"]
    )
    for name in ("raw", "clean", "peak", "sum"):
        os.utime(f"{ws.data_path}/{name}/R2", (100, 100))
        os.utime(f"{ws.data_path}/{name}/R1", (100, 100))
    os.utime(f"{ws.data_path}/raw/R2", (200, 200))
    assert ws.steps.plan().n_run == 0
    frame = ws.steps.plan(stale=True).frame
    assert frame.filter(action="run").select("record_id", "step").rows() == [
        ("R2", "clean"), ("R2", "peak"), ("R2", "sum"),
    ]  # fmt: skip
    assert frame.filter(record_id="R2")["reason"].to_list()[0].startswith("stale")


def test_rerun_on_in_the_config_plans_stale_rows(make_workspace):
    ws = make_workspace(
        {"clean": ("raw/{id}", "clean/{id}")}, ["raw/R1", "clean/R1"], toml='[run]\nrerun_on = ["input"]\n'
    )
    os.utime(f"{ws.data_path}/clean/R1", (100, 100))
    assert ws.steps.plan().n_run == 1
    assert ws.steps.plan(stale=False).n_run == 0


def test_limit_runs_so_many_rows_the_first_of_the_order(make_workspace):
    ws = make_workspace(CHAIN, ["raw/R1", "raw/R2", "clean/R1"])
    frame = ws.steps.plan(limit=2).frame
    assert frame.filter(action="run").select("record_id", "step").rows() == [("R1", "peak"), ("R1", "sum")]
    assert frame.filter(record_id="R2")["reason"].unique().to_list() == ["beyond the limit of 2 rows"]


def test_plan_sees_files_that_came_since_the_last_look(make_workspace):
    ws = make_workspace({"clean": ("raw/{id}", "clean/{id}")}, ["raw/R1"])
    assert ws.records.count() == 1
    Path(ws.data_path, "raw/R2").touch()
    ws._source._listed_at -= 60
    assert ws.steps.plan().n_run == 2


def test_costs_come_from_earlier_runs(make_workspace):
    ws = make_workspace({"clean": ("raw/{id}", "clean/{id}")}, ["raw/R1", "raw/R2", "raw/R3"])
    assert ws.steps.plan().costs.row(0) == ("clean", 3, None, None)
    ws.steps.filter(record_id="R1").run(mode="main_process", progress=False)
    cost = ws.steps.plan().costs.row(0, named=True)
    assert cost["rows"] == 2
    assert cost["seconds"] == pytest.approx(2 * cost["seconds_each"])


def test_seen_as_arrow_and_page(make_workspace):
    plan = make_workspace({"clean": ("raw/{id}", "clean/{id}")}, ["raw/R1"]).steps.plan()
    assert pl.DataFrame(plan).equals(plan.frame)
    assert "1 to run" in plan._repr_html_()
    assert bool(plan) is True


def test_volume_is_what_the_rows_that_run_read_of_what_is_there(make_workspace):
    files = {f"raw/R{n}": "x" * 10 for n in range(5000)} | {"side/R1": "y" * 7, "a/R7": "z"}
    ws = make_workspace(
        {"a": ("raw/{id}", "a/{id}"), "b": ({"x": "a/{id}", "y": "side/{id}"}, "b/{id}")}, files
    )
    volume = dict(ws.steps.plan().volume().iter_rows())
    assert volume["a"] == pytest.approx(4999 * 10, rel=0.01)
    assert volume["b"] == 7
    assert ws.steps.filter(record_id="R7").plan("a").volume().is_empty()
