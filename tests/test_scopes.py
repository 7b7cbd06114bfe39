"""Scopes: a task, a modality or both, of a workspace, of its records, of one of them."""

import copy
import pickle

import polars as pl
import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.errors import SelectionError

UNITS = [("RS", "EEG"), ("HDC", "EEG"), ("HDC", "behavior"), (None, "clinical")]


def scope(one):
    return one.task, one.modality


def test_scope_is_an_attribute_of_the_workspace_its_records_and_each_record(lab):
    assert scope(lab.RS) == scope(lab.records.RS) == scope(lab["RS"]) == ("RS", None)
    assert scope(lab.EEG) == scope(lab.records.EEG) == scope(lab["EEG"]) == (None, "EEG")
    record = lab.records.get("R1")
    assert (scope(record.RS), record.RS.id) == (("RS", None), "R1")
    assert (scope(record.EEG.HDC), record.EEG.HDC.id) == (("HDC", "EEG"), "R1")
    assert (scope(lab.HDC.get("R1").EEG), lab.HDC.EEG.get("R1").id) == (("HDC", "EEG"), "R1")


def test_task_and_modality_may_come_in_either_order(lab):
    assert lab.RS.EEG.ids() == lab.EEG.RS.ids() == ["R1", "R2"]
    assert scope(lab.RS.EEG) == scope(lab.EEG.RS) == ("RS", "EEG")
    assert lab.RS.EEG.steps.collect().equals(lab.EEG.RS.steps.collect())


def test_records_of_a_scope_are_those_with_a_file_in_it(lab):
    assert lab.records.ids() == ["R1", "R2", "R3", "R4"]
    assert lab.RS.ids() == ["R1", "R2"]
    assert lab.HDC.ids() == ["R1", "R3"]
    assert lab.HDC.EEG.ids() == ["R1"]
    assert lab.behavior.ids() == ["R1", "R3"]
    assert lab.clinical.ids() == ["R1", "R4"]
    assert (lab.RS.count(), lab.RS.has("R1"), lab.RS.has("R3"), "R2" in lab.RS) == (2, True, False, True)
    assert lab.RS.first().id == "R1"
    assert [one.id for one in lab.HDC.all()] == [one.id for one in lab.HDC] == ["R1", "R3"]


def test_record_of_a_scope_keeps_the_units_that_it_lacks(lab):
    steps = lab.RS.get("R3").steps.collect()
    assert steps.select("task", "step", "status").rows() == [("RS", "clean", "INIT"), ("RS", "alpha", "INIT")]
    assert lab.records.get("R3").units.collect().select("task", "modality", "has_data").rows() == [
        ("RS", "EEG", False),
        ("HDC", "EEG", False),
        ("HDC", "behavior", True),
        (None, "clinical", False),
    ]


def test_scope_is_a_selection(lab):
    ready = lab.RS.EEG.steps.filter(status="DATA_READY")
    assert ready.select("record_id", "step").rows() == [("R1", "clean"), ("R2", "clean")]
    assert lab.EEG.filter(record_id="R1").HDC.steps.select("task").to_series().unique().to_list() == ["HDC"]
    assert lab.records.filter(pl.col("record_id") > "R1").RS.EEG.ids() == ["R2"]
    assert set(lab.behavior.files.select("path").to_series()) == {"trials/R1.csv", "trials/R3.csv"}
    rest = lab.units.filter(task="RS", has_data=True).records
    assert rest.EEG.steps.collect().equals(
        lab.EEG.steps.filter(pl.col("record_id").is_in(rest.ids())).collect()
    )
    assert rest.RS.EEG.steps.collect()["task"].unique().to_list() == ["RS"]


def test_run_of_a_scope_stays_in_it(lab):
    report = lab.HDC.EEG.steps.run(mode="main_process", progress=False)
    assert report.frame.select("record_id", "task", "modality", "step", "outcome").rows() == [
        ("R1", "HDC", "EEG", "clean", "done")
    ]
    done = lab.steps.filter(status="DONE")
    assert done.select("record_id", "task", "modality").rows() == [("R1", "HDC", "EEG")]


WRONG = {
    "a task of a task": (
        lambda ws: ws.RS.RS,
        "'RS' is not valid for <RecordCollection instance | task: RS",
        ["EEG"],
    ),
    "another task": (lambda ws: ws.RS.HDC, "'HDC' is not valid", ["EEG"]),
    "a modality of another task": (lambda ws: ws.RS.behavior, "'behavior' is not valid", ["EEG"]),
    "a task without that modality": (lambda ws: ws.behavior.RS, "'RS' is not valid", ["HDC"]),
    "a task of what has none": (lambda ws: ws.clinical.RS, "'RS' is not valid", []),
    "of a record": (
        lambda ws: ws.records.get("R1").RS.behavior,
        "'behavior' is not valid for <Record ",
        ["EEG"],
    ),
    "both, of a task": (lambda ws: ws.get_subscope("RS", "behavior"), "'behavior' is not valid", ["EEG"]),
    "both, unknown task": (lambda ws: ws.get_subscope("RX", "EEG"), "'RX' is not valid", ["RS", "HDC"]),
    "an unknown one": (
        lambda ws: ws.records.get_subscope(modality="EGG"),
        "did you mean 'EEG'",
        ["EEG", "behavior"],
    ),
    "an unknown item": (lambda ws: ws["EGG"], "did you mean 'EEG'", ["EEG", "behavior"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_scope_that_cannot_be_is_an_attribute_error_that_lists_the_valid_ones(lab, name):
    ask, said, valid = WRONG[name]
    with pytest.raises(AttributeError) as caught:
        ask(lab)
    assert isinstance(caught.value, SelectionError)
    assert said in str(caught.value)
    for one in valid:
        assert one in caught.value.hint
    if not valid:
        assert "Nothing further" in caught.value.hint


@pytest.mark.parametrize("get", [lambda ws: ws, lambda ws: ws.records, lambda ws: ws.records.get("R1")])
def test_misspelt_attribute_names_the_near_one(lab, get):
    with pytest.raises(AttributeError, match="did you mean 'behavior'"):
        _ = get(lab).behaviour
    assert not hasattr(get(lab), "RX")
    assert not hasattr(get(lab), "_nothing")


def test_dir_shows_what_can_follow(lab):
    assert {"RS", "HDC", "EEG", "behavior", "clinical", "records", "refresh"} <= set(dir(lab))
    assert {"RS", "HDC", "EEG", "behavior", "clinical", "ids"} <= set(dir(lab.records))
    assert "EEG" in dir(lab.RS)
    assert not {"RS", "HDC", "behavior", "clinical"} & set(dir(lab.RS))
    assert not {"RS", "HDC", "EEG"} & set(dir(lab.RS.EEG))
    assert {"RS", "status_dict"} <= set(dir(lab.records.get("R1")))


def test_subscope_may_be_of_a_task_a_modality_or_both(lab):
    assert scope(lab.get_subscope("RS")) == ("RS", None)
    assert scope(lab.get_subscope(modality="EEG")) == (None, "EEG")
    assert scope(lab.records.get_subscope("RS", "EEG")) == ("RS", "EEG")
    assert scope(lab.RS.get_subscope()) == ("RS", None)


def test_iterations_give_scopes_in_the_order_of_the_config(lab):
    assert [scope(one) for one in lab.records.iter_tasks()] == [("RS", None), ("HDC", None)]
    assert [scope(one) for one in lab.HDC.iter_tasks()] == []
    assert [scope(one) for one in lab.behavior.iter_tasks()] == [("HDC", "behavior")]
    assert [one.modality for one in lab.records.iter_modalities()] == ["EEG", "behavior", "clinical"]
    assert [scope(one) for one in lab.HDC.iter_modalities()] == [("HDC", "EEG"), ("HDC", "behavior")]
    assert [scope(one) for one in lab.records.iter_units()] == UNITS
    assert [scope(one) for one in lab.RS.iter_units()] == [("RS", "EEG")]
    assert [one.ids() for one in lab.EEG.iter_units()] == [["R1", "R2"], ["R1"]]


def test_iterations_of_a_record_stay_with_it(lab):
    record = lab.records.get("R2")
    assert [(one.id, *scope(one)) for one in record.iter_units()] == [("R2", *unit) for unit in UNITS]
    assert {one.id for one in [*record.iter_tasks(), *record.iter_modalities()]} == {"R2"}


def test_iterations_of_a_filtered_scope_stay_filtered(lab):
    some = lab.records.filter(record_id="R1")
    assert {tuple(one.ids()) for one in some.iter_tasks()} == {("R1",)}


def test_is_unit_where_task_and_modality_are_set(lab, harbor):
    assert (lab.records.is_unit, lab.RS.is_unit, lab.EEG.is_unit, lab.RS.EEG.is_unit) == (
        False,
        False,
        False,
        True,
    )
    assert lab.records.get("R1").RS.EEG.is_unit
    assert not lab.records.get("R1").is_unit
    assert all(one.is_unit for one in lab.HDC.iter_units())
    assert harbor.records.is_unit
    assert harbor.records.get("REC-20200601").is_unit


def test_modality_of_no_task_is_a_unit(lab):
    assert lab.clinical.is_unit
    assert [scope(one) for one in lab.clinical.iter_units()] == [(None, "clinical")]
    assert list(lab.clinical.iter_tasks()) == []


HANDLES = {
    "workspace": lambda ws: ws,
    "records": lambda ws: ws.records,
    "scope": lambda ws: ws.RS.EEG,
    "record": lambda ws: ws.EEG.get("R1"),
    "filtered": lambda ws: ws.records.filter(pl.col("record_id") == "R1").RS,
    "units": lambda ws: ws.units,
    "files": lambda ws: ws.RS.files,
    "steps": lambda ws: ws.RS.steps.filter(status="DATA_READY"),
    "step": lambda ws: ws.RS.EEG.get("R1").steps.get("clean"),
}


def shown(handle):
    if isinstance(handle, Workspace):
        return handle.steps.collect()
    return getattr(handle, "rows", handle).collect()


@pytest.mark.parametrize("name", HANDLES)
@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))],  # noqa: S301 - our own bytes
    ids=["copy", "deepcopy", "pickle"],
)
def test_handle_can_be_copied_and_pickled(lab, name, duplicate):
    handle = HANDLES[name](lab)
    other = duplicate(handle)
    assert type(other) is type(handle)
    assert repr(other) == repr(handle)
    assert shown(other).equals(shown(handle))


def test_two_workspaces_with_other_tasks_do_not_touch_each_other(lab, lab_folder):
    other = Workspace(lab_folder("[tasks.MMN]\nmodalities = ['EEG']\n", name="other"))
    assert other.MMN.EEG.steps.scripts_names() == ["clean"]
    assert not hasattr(lab, "MMN")
    assert [one.task for one in lab.records.iter_tasks()] == ["RS", "HDC"]
    assert [one.task for one in other.records.iter_tasks()] == ["RS", "HDC", "MMN"]
    assert lab.records.count_detail().height == 4
    assert other.records.count_detail().height == 5


def test_task_named_like_a_method_is_warned_about_and_reached_by_its_name(write_workspace):
    folder = write_workspace(
        {"EEG/clean": ("raw/{id}-{task}.txt", "clean/{id}-{task}.txt")},
        ["raw/R1-first.txt"],
        toml="[tasks.first]\nmodalities = ['EEG']\n[modalities.EEG]\nscripts = ['clean']\n",
    )
    ws = Workspace(folder)
    assert any("'first'" in notice for notice in ws.config.notices)
    assert ws["first"].EEG.ids() == ws.get_subscope("first").ids() == ["R1"]
    assert ws.records.first().id == "R1"
