"""Lines that users of sinagot have in their scripts and notebooks, and that hold here."""

import pickle
from pathlib import Path

import polars as pl
import pytest

from sinagot_catalog import ScriptTemplate, Workspace
from sinagot_catalog.errors import ConfigError

OWN = """
[lab]
name = "north"
rooms = ["a", "b"]
[lab.amplifier]
gain = 3
"""


# --- records know their workspace ----------------------------------------------------------------------------


def test_records_and_scopes_know_workspace_config_and_logger(lab):
    for one in (
        lab.records,
        lab.RS,
        lab.RS.EEG,
        lab.records.get("R1"),
        lab.records.get("R1").EEG,
        lab.HDC.first(),
    ):
        assert one.workspace is lab
        assert one.logger is lab.logger
        assert one.config["tasks"] == {
            "RS": {"modalities": ["EEG"]},
            "HDC": {"modalities": ["EEG", "behavior"]},
        }
    assert lab.steps.records.filter(record_id="R1").workspace is lab


def test_what_a_record_logs_is_the_workspace_s_log(lab, caplog):
    lab.records.first().logger.warning("look at %s", "R1")
    assert caplog.messages == ["look at R1"]


def test_a_pickled_selection_has_a_workspace(harbor):
    again = pickle.loads(pickle.dumps(harbor.records.get("REC-20200601")))  # noqa: S301 - made here
    assert again.workspace.records.count() == 3
    assert again.config["records"] == harbor.config["records"]


def test_two_workspaces_keep_their_records_apart(harbor, lab):
    assert harbor.records.workspace is harbor
    assert lab.records.workspace is lab
    assert harbor.records.config["records"] != lab.records.config["records"]


# --- the config as a dict ------------------------------------------------------------------------------------


def test_the_config_is_read_by_section(write_workspace):
    folder = write_workspace({"a": ("raw/{id}", "a/{id}")}, toml="[path]\ndataset = './dataset'\n")
    config = Workspace(folder).config
    assert config["records"]["id_pattern"] == r"R\d+"
    assert config["path"] == {"dataset": "./dataset", "scripts": "scripts"}
    assert config["run"]["mode"] == "processes"
    assert config["steps"]["scripts"] == ["a"]
    assert ("records" in config, "tasks" in config) == (True, False)
    assert config.get("tasks", {}) == {}
    with pytest.raises(KeyError, match="no section 'record'; did you mean 'records'"):
        _ = config["record"]


def test_to_change_a_section_changes_no_workspace(harbor):
    harbor.config["records"]["id_pattern"] = "X"
    assert harbor.config["records"]["id_pattern"] != "X"
    assert Workspace(harbor.config.root).records.count() == 3


def test_secrets_are_not_handed_out(write_workspace):
    folder = write_workspace(toml="[storage]\nkey = 'swordfish'\n")
    config = Workspace(folder).config
    assert "storage" not in [*config]
    assert config.get("storage") is None
    assert "swordfish" not in repr(config)


def test_own_sections_are_left_alone(write_workspace):
    config = Workspace(write_workspace({"a": ("raw/{id}", "a/{id}")}, ["raw/R1"], toml=OWN)).config
    assert config["lab"] == {"name": "north", "rooms": ["a", "b"], "amplifier": {"gain": 3}}
    assert config.notices == []


def test_own_sections_of_several_tomls_are_merged(write_workspace, tmp_path):
    (tmp_path / "more.toml").write_text("[lab]\nname = 'south'\n")
    ws = Workspace([write_workspace(toml=OWN), tmp_path / "more.toml"])
    assert ws.config["lab"]["name"] == "south"
    assert ws.config["lab"]["amplifier"] == {"gain": 3}


@pytest.mark.parametrize(
    ("toml", "told"),
    {
        "a typing error": ("[recods]\na = 1", "recods: unknown section; did you mean 'records'?"),
        "the singular": ("[task.RS]\nmodalities = []", "task: unknown section; did you mean 'tasks'?"),
        "a key outside of a section": ("lab = 1", "lab: unknown key"),
        "a section within one of ours": ("[path.lab]\na = 1", "path.lab: unknown section"),
    }.values(),
)
def test_what_may_be_a_mistake_is_still_one(write_workspace, toml, told):
    folder = write_workspace()
    (folder / "workspace.toml").write_text(f"{toml}\n" + (folder / "workspace.toml").read_text())
    with pytest.raises(ConfigError) as caught:
        Workspace(folder)
    assert told in str(caught.value)


def test_keys_of_sinagot_without_effect_are_accepted(lab_folder):
    folder = lab_folder()
    text = (folder / "workspace.toml").read_text()
    keys = 'record_collection = "Custom"\nfile_match = [true, false]\n'
    (folder / "workspace.toml").write_text(text.replace("[modalities.EEG]\n", f"[modalities.EEG]\n{keys}"))
    ws = Workspace(folder)
    assert ws.EEG.ids() == ["R1", "R2"]
    assert ws.config["modalities"]["EEG"]["record_collection"] == "Custom"


# --- scopes, counts, logs ------------------------------------------------------------------------------------


def test_a_scope_gives_only_what_it_can_be_narrowed_to(lab):
    for scope in (lab.records, lab.records.get("R1")):
        for task in scope.iter_tasks():
            assert [*task.iter_tasks()] == []
            assert [one.task for one in task.iter_modalities()] == [task.task] * len(
                [*task.iter_modalities()]
            )
        for modality in scope.iter_modalities():
            assert [*modality.iter_modalities()] == []
    assert [*lab.RS.EEG.iter_tasks()] == [*lab.RS.EEG.iter_modalities()] == []


def test_the_counts_of_a_record_name_it(lab):
    counts = lab.records.get("R2").count_detail()
    assert counts.columns == ["record_id", "task", "modality", "count"]
    assert counts.rows()[:2] == [("R2", "RS", "EEG", 1), ("R2", "HDC", "EEG", 0)]
    assert lab.records.get("R2").count_detail(with_record_id=True).rows() == [("R2", "RS", "EEG", 1)]
    assert lab.records.get("R2").RS.EEG.count_raw_data().rows() == [("R2", "RS", "EEG", 1)]
    assert lab.records.count_detail().columns == ["task", "modality", "count"]


def test_logs_have_the_columns_of_sinagot(harbor):
    record = harbor.records.first()
    names = {
        "log_from",
        "record_id",
        "scope",
        "task",
        "modality",
        "step_label",
        "step_status",
        "message",
        "time",
    }
    assert names <= set(record.logs().columns)
    record.steps.run("count", mode="main_process", progress=False)
    for logs in (record.logs(), harbor.records.logs(), record.steps.get("count").logs()):
        assert logs["scope"].unique().to_list() == ["record"]
        assert logs["log_from"].unique().to_list() == ["script"]
    assert {one["scope"] for one in record.logs_json()} == {"record"}


def test_classes_of_a_modality_are_named_after_it(lab_folder):
    own = "from sinagot_catalog.models import {0} as Base\nclass {0}(Base):\n    pass\n"
    files = {"Record": "record", "RecordCollection": "record_collection"}
    scripts = {
        f"{modality}/models/{file}": own.format(name)
        for name, file in files.items()
        for modality in ("behavior", "EEG")
    }
    ws = Workspace(lab_folder(scripts=scripts))
    assert type(ws.behavior).__name__ == "BehaviorRecordCollection"
    assert type(ws.behavior.first()).__name__ == "BehaviorRecord"
    assert type(ws.EEG.first()).__name__ == "EEGRecord"


# --- scripts by hand -----------------------------------------------------------------------------------------


class Script(ScriptTemplate):
    PATH_IN = ("raw", "{id}-{task}.csv")
    PATH_OUT = ("a", "{id}.txt")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Script("/data", "R1", "RS"),
        lambda: Script(Path("/data"), "R1", "RS", {}),
        lambda: Script(data_path="/data", record_id="R1", task="RS"),
        lambda: Script("R1", data_path="/data", task="RS"),
        lambda: Script(id="R1", data_path=Path("/data"), task="RS"),
    ],
)
def test_a_script_is_made_by_hand_in_both_ways(make):
    script = make()
    assert (script.id, script.task, script.data_path) == ("R1", "RS", Path("/data"))
    assert script.path.input == Path("/data/raw/R1-RS.csv")
    assert script.path.output == Path("/data/a/R1.txt")


def test_a_script_without_an_id_says_what_it_needs():
    for make in (Script, lambda: Script(data_path="/data"), lambda: Script(Path("/data"))):
        with pytest.raises(TypeError, match="Script needs the id of a record"):
            make()


def test_the_options_of_a_script_fill_its_patterns():
    class Night(ScriptTemplate):
        PATH_IN = ("raw", "{night}", "{id}.csv")

    script = Night("/data", "R1", opts={"night": "n2"})
    assert script.opts == {"night": "n2"}
    assert script.path.input == Path("/data/raw/n2/R1.csv")


# --- what differs --------------------------------------------------------------------------------------------


def test_a_modality_of_no_task_is_a_unit_without_a_task(lab):
    assert lab.records.count_detail().filter(pl.col("modality") == "clinical")["count"].to_list() == [2]


def test_a_record_with_outputs_alone_counts_and_is_said(make_workspace):
    ws = make_workspace({"a": ("raw/{id}", "a/{id}")}, ["raw/R1", "a/R2"])
    assert ws.records.ids() == ["R1", "R2"]
    assert ws.notices["kind"].to_list() == ["output without input"]
