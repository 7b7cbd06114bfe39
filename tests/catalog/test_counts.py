"""What is counted of scopes, records and steps, in the shapes that sinagot gives it."""

import json

import polars as pl
import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.errors import SelectionError
from sinagot_catalog.steps import Step

UNIT = {"task": pl.String, "modality": pl.String, "count": pl.Int64}


# --- steps ----------------------------------------------------------------------------------------------------


def test_steps_of_a_scope_with_a_modality_are_a_list(lab):
    assert lab.EEG.steps.scripts_names() == ["clean", "alpha"]
    assert lab.RS.EEG.steps.scripts_names() == ["clean", "alpha"]
    assert lab.HDC.EEG.steps.scripts_names() == ["clean"]
    assert lab.clinical.steps.scripts_names() == []
    assert (lab.RS.EEG.steps.count(), lab.HDC.EEG.steps.count(), lab.clinical.steps.count()) == (8, 4, 0)
    assert (lab.RS.EEG.steps.first().label, lab.clinical.steps.first()) == ("clean", None)
    assert isinstance(lab.RS.EEG.steps.get("alpha"), Step)


def test_steps_of_a_scope_without_a_modality_come_by_modality(lab):
    assert lab.steps.scripts_names() == {"EEG": ["clean", "alpha"], "behavior": ["scores"], "clinical": []}
    assert lab.HDC.steps.scripts_names() == {"EEG": ["clean"], "behavior": ["scores"]}
    assert lab.steps.count() == len(lab.steps) == 16
    first = lab.steps.first()
    assert {name: step and step.label for name, step in first.items()} == {
        "EEG": "clean",
        "behavior": "scores",
        "clinical": None,
    }
    found = lab.HDC.steps.get("scores")
    assert (found["EEG"], found["behavior"].label) == (None, "scores")


def test_steps_of_a_record_have_the_shapes_of_its_scope(lab):
    record = lab.records.get("R1")
    assert record.steps.count() == 4
    assert record.RS.EEG.steps.count() == 2
    step = record.RS.EEG.steps.first()
    assert (step.id, step.task, step.modality, step.label) == ("R1", "RS", "EEG", "clean")
    assert step.status() == 10


def test_steps_of_unit_mode_are_a_list(harbor):
    assert harbor.steps.scripts_names() == ["count", "mean", "summary"]
    assert harbor.records.first().steps.count() == 3
    assert harbor.records.first().steps.first().status() == 10


# --- records by unit ------------------------------------------------------------------------------------------


def test_count_detail_has_a_row_per_unit_of_the_scope(lab):
    detail = lab.records.count_detail()
    assert detail.schema == UNIT
    assert detail.rows() == [
        ("RS", "EEG", 2),
        ("HDC", "EEG", 1),
        ("HDC", "behavior", 2),
        (None, "clinical", 2),
    ]
    assert lab.HDC.count_detail().rows() == [("HDC", "EEG", 1), ("HDC", "behavior", 2)]
    assert lab.RS.EEG.count_detail().rows() == [("RS", "EEG", 2)]


def test_count_detail_by_record_names_those_whose_data_are_there(lab):
    detail = lab.records.count_detail(with_record_id=True)
    assert detail.columns == ["record_id", "task", "modality", "count"]
    assert detail.filter(record_id="R1").rows() == [
        ("R1", "RS", "EEG", 1),
        ("R1", "HDC", "EEG", 1),
        ("R1", "HDC", "behavior", 1),
        ("R1", None, "clinical", 1),
    ]
    assert detail["record_id"].to_list() == ["R1"] * 4 + ["R2", "R3", "R4"]


def test_count_detail_of_a_record_is_nought_where_its_file_is_absent(lab):
    assert lab.records.get("R2").count_detail().rows() == [
        ("R2", "RS", "EEG", 1),
        ("R2", "HDC", "EEG", 0),
        ("R2", "HDC", "behavior", 0),
        ("R2", None, "clinical", 0),
    ]


def test_count_detail_of_a_filtered_scope_counts_what_is_left(lab):
    some = lab.records.filter(pl.col("record_id") > "R1")
    assert some.count_detail()["count"].to_list() == [1, 0, 1, 1]
    assert some.HDC.count_detail()["count"].to_list() == [0, 1]


def test_count_raw_data_is_count_detail(lab):
    assert lab.records.count_raw_data().equals(lab.records.count_detail())
    assert lab.records.count_raw_data(with_record_id=True).equals(
        lab.records.count_detail(with_record_id=True)
    )


def test_count_detail_of_unit_mode_is_one_row(harbor):
    assert harbor.records.count_detail().rows() == [(None, None, 3)]


def test_count_step_counts_records_by_inputs_or_outputs(lab):
    assert lab.records.count_step().rows() == [
        ("RS", "EEG", 2),
        ("HDC", "EEG", 1),
        ("HDC", "behavior", 2),
        (None, "clinical", 0),
    ]
    assert lab.RS.count_step("alpha").rows() == [("RS", "EEG", 0)]
    lab.records.get("R1").RS.steps.run("clean", mode="main_process", progress=False)
    assert lab.RS.count_step("clean", position="output").rows() == [("RS", "EEG", 1)]
    assert lab.RS.count_step("alpha", "input", with_record_id=True).rows() == [("R1", "RS", "EEG", 1)]


def test_count_step_needs_every_path_of_a_dict(make_workspace):
    scripts = {"join": ({"a": "a/{id}", "b": "b/{id}"}, ())}
    ws = make_workspace(scripts, ["a/R1", "b/R1", "a/R2"])
    assert ws.records.count_step("join")["count"].item() == 1
    assert ws.records.count_detail()["count"].item() == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("claen",), "no step 'claen'; did you mean 'clean'"),
        (("clean", "imput"), "'imput' is neither 'input' nor"),
    ],
)
def test_count_step_of_what_does_not_exist_is_an_error(lab, arguments, said):
    with pytest.raises(SelectionError, match=said):
        lab.records.count_step(*arguments)


# --- statuses -------------------------------------------------------------------------------------------------


def test_status_has_sinagots_columns_and_numbers(lab):
    lab.records.get("R1").RS.steps.run("clean", mode="main_process", progress=False)
    status = lab.records.get("R1").steps.status()
    assert status.columns == ["record_id", "task", "modality", "step_index", "step_label", "step_status"]
    assert status.rows() == [
        ("R1", "RS", "EEG", 1, "clean", 30),
        ("R1", "RS", "EEG", 2, "alpha", 10),
        ("R1", "HDC", "EEG", 1, "clean", 10),
        ("R1", "HDC", "behavior", 1, "scores", 10),
    ]
    assert status.schema["step_status"] == status.schema["step_index"] == pl.Int64


def test_status_of_no_record_or_no_step_is_an_empty_frame_with_its_columns(lab, make_workspace):
    empty = make_workspace({"clean": ("raw/{id}", "clean/{id}")}, name="empty")
    for status in (empty.steps.status(), lab.clinical.steps.status(), lab.clinical.get("R1").steps.status()):
        assert status.height == 0
        assert status.columns[-2:] == ["step_label", "step_status"]


def test_status_dict_goes_by_task_and_modality(lab):
    record = lab.records.get("R2")
    expected = {
        "RS": {
            "EEG": [
                {"step_index": 1, "step_label": "clean", "step_status": 10},
                {"step_index": 2, "step_label": "alpha", "step_status": 0},
            ]
        },
        "HDC": {
            "EEG": [{"step_index": 1, "step_label": "clean", "step_status": 0}],
            "behavior": [{"step_index": 1, "step_label": "scores", "step_status": 0}],
        },
    }
    assert record.status_dict() == expected
    assert type(record.status_dict()) is dict
    assert json.loads(record.status_json()) == expected
    assert record.HDC.behavior.status_dict() == {"HDC": {"behavior": expected["HDC"]["behavior"]}}


def test_units_carry_the_same_counts(lab):
    units = lab.units.filter(record_id="R1").collect()
    assert units.select("task", "modality", "n_steps", "n_data_ready", "next_step").rows() == [
        ("RS", "EEG", 2, 1, "clean"),
        ("HDC", "EEG", 1, 1, "clean"),
        ("HDC", "behavior", 1, 1, "scores"),
        (None, "clinical", 0, 0, None),
    ]


def test_two_workspaces_count_their_own(lab, lab_folder):
    more = Workspace(lab_folder(files={"raw/R5-RS.txt": "raw;"}, name="more"))
    assert (more.RS.count(), lab.RS.count()) == (3, 2)
    assert more.records.count_detail()["count"].to_list() == [3, 1, 2, 2]
