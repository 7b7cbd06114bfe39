"""Steps: names, single steps, statuses with sinagot's names and numbers."""

import pytest

from sinagot_catalog import ScriptTemplate, StepStatus
from sinagot_catalog.errors import NotFoundError, SelectionError


def test_names_count_and_first(harbor):
    assert harbor.steps.scripts_names() == ["count", "mean", "summary"]
    assert harbor.steps.count() == 9
    assert harbor.steps.first().label == "count"
    assert harbor.records.steps.scripts_names() == ["count", "mean", "summary"]


def test_get_of_an_unknown_step_names_the_near_one(harbor):
    with pytest.raises(NotFoundError, match="there is no step 'cuont' here; did you mean 'count'"):
        harbor.steps.get("cuont")
    with pytest.raises(NotFoundError):
        harbor.records.get("REC-20200601").steps.get("cuont")


def test_status_has_sinagots_names_and_numbers(harbor):
    frame = harbor.steps.status()
    assert frame.columns == ["record_id", "task", "modality", "step_index", "step_label", "step_status"]
    assert frame["step_status"].to_list() == [10, 10, 0] * 3
    assert frame["step_index"].to_list() == [1, 2, 3] * 3


def test_step_of_a_record_has_one_status(harbor):
    step = harbor.records.get("REC-20200601").steps.get("count")
    assert step.status() is StepStatus.DATA_READY
    assert step.status() == 10
    assert (step.id, step.label, step.task, step.modality) == ("REC-20200601", "count", None, None)


def test_step_of_several_records_has_no_single_status(harbor):
    with pytest.raises(SelectionError, match="stands for 3 rows"):
        harbor.steps.get("count").status()
    with pytest.raises(SelectionError, match="several records"):
        _ = harbor.steps.get("count").script


def test_step_knows_its_script(harbor, harbor_folder):
    step = harbor.records.get("REC-20200601").steps.get("count")
    assert issubclass(step.script_class, ScriptTemplate)
    assert step.script.path.input == harbor_folder / "dataset/raw/REC-20200601-raw.csv"
    assert step.script.path.output == harbor_folder / "dataset/count/REC-20200601-count.csv"
    assert all(step.script.data_exist.input.values())
    assert not any(step.script.data_exist.output.values())
    assert (step.script.id, step.script.label) == ("REC-20200601", "count")


def test_step_of_a_record_runs_alone(harbor):
    report = harbor.records.get("REC-20200601").steps.get("count").run(mode="main_process", progress=False)
    assert report.frame.select("record_id", "step", "outcome").rows() == [("REC-20200601", "count", "done")]
    assert harbor.records.get("REC-20200601").steps.get("count").status() is StepStatus.DONE
    assert harbor.records.get("REC-20200601").steps.get("count").logs().height == 2
    assert harbor.records.get("REC-20200602").steps.get("count").logs().height == 0


def test_step_of_a_collection_runs_over_all_of_its_records(harbor):
    report = harbor.steps.get("mean").run(mode="main_process", progress=False)
    assert report.counts() == {"done": 3}


SCOPED = """
[records]
id_pattern = 'R\\d+'
[tasks.RS]
modalities = ["EEG", "notes"]
[tasks.MMN]
modalities = ["EEG"]
[modalities.EEG]
scripts = ["clean"]
task_scripts.MMN = ["peak"]
[modalities.notes]
"""


@pytest.fixture
def scoped(make_workspace):
    scripts = {
        "EEG/clean": ("raw/{id}-{task}", "clean/{id}-{task}"),
        "EEG/peak": ("clean/{id}-{task}", "peak/{id}"),
    }
    return make_workspace(scripts, ["raw/R1-RS", "raw/R1-MMN"], toml=SCOPED)


def test_without_a_modality_names_counts_and_steps_come_by_modality(scoped):
    assert scoped.steps.scripts_names() == {"EEG": ["clean", "peak"], "notes": []}
    assert scoped.RS.steps.scripts_names() == {"EEG": ["clean"], "notes": []}
    assert scoped.MMN.steps.scripts_names() == {"EEG": ["clean", "peak"]}
    assert scoped.steps.count() == 3
    assert scoped.RS.steps.first()["EEG"].label == "clean"
    assert scoped.RS.steps.first()["notes"] is None
    assert scoped.steps.get("peak")["EEG"].label == "peak"
    assert scoped.steps.get("peak")["notes"] is None


def test_with_a_modality_names_counts_and_steps_are_plain(scoped):
    assert scoped.EEG.steps.scripts_names() == ["clean", "peak"]
    assert scoped.RS.EEG.steps.scripts_names() == ["clean"]
    assert scoped.EEG.RS.steps.scripts_names() == ["clean"]
    assert scoped.MMN.EEG.steps.count() == 2
    assert scoped.RS.notes.steps.count() == 0
    assert scoped.RS.notes.steps.first() is None
    assert scoped.MMN.EEG.steps.get("peak").label == "peak"


def test_status_of_a_scope_is_that_of_its_units(scoped):
    assert scoped.RS.steps.status().rows() == [("R1", "RS", "EEG", 1, "clean", 10)]
    assert scoped.EEG.steps.status()["step_status"].to_list() == [10, 10, 0]


def test_status_dict_goes_by_task_and_modality(scoped):
    assert scoped.records.get("R1").status_dict()["MMN"] == {
        "EEG": [
            {"step_index": 1, "step_label": "clean", "step_status": 10},
            {"step_index": 2, "step_label": "peak", "step_status": 0},
        ]
    }
