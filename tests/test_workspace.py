"""Opening workspaces: configs, manners of objects, two of them at once, copies and pickles."""

import copy
import logging
import pickle
from pathlib import Path

import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.errors import ConfigError, SelectionError

STEP = {"clean": ("raw/{id}", "out/{id}")}
SCOPED = """
[records]
id_pattern = 'R\\d+'
[tasks.RS]
modalities = ["EEG"]
[modalities.EEG]
scripts = ["clean"]
"""


def test_config_path_is_a_folder_or_the_toml_itself(harbor_folder):
    for path in (
        harbor_folder,
        str(harbor_folder),
        harbor_folder / "workspace.toml",
        str(harbor_folder / "workspace.toml"),
    ):
        assert Workspace(path).records.count() == 3


def test_several_configs_are_merged_later_over_earlier(write_workspace, tmp_path):
    folder = write_workspace(
        STEP, ["raw/R1"], toml="[info]\nversion = '1'\n[run]\nworkers = 2\nretries = 1\n"
    )
    (tmp_path / "more.toml").write_text("[info]\nversion = '2'\n[run]\nretries = 3\n")
    ws = Workspace([folder, tmp_path / "more.toml"])
    assert (ws.version, ws.config.run.workers, ws.config.run.retries) == ("2", 2, 3)
    assert ws.records.ids() == ["R1"]


def test_data_and_scripts_given_in_code_win(write_workspace, monkeypatch):
    one = write_workspace(STEP, ["raw/R1"], name="one")
    two = write_workspace({"clean": ("raw2/{id}", "out/{id}")}, ["raw/R7", "raw2/R8"], name="two")
    assert Workspace(one, data_path=two / "dataset").records.ids() == ["R7"]
    assert Workspace(one, scripts_path=two / "scripts", data_path=str(two / "dataset")).records.ids() == [
        "R8"
    ]
    monkeypatch.chdir(two)
    assert Workspace(one, data_path="dataset").records.ids() == ["R7"]


def test_opening_writes_and_lists_nothing(harbor_folder):
    before = sorted(harbor_folder.rglob("*"))
    ws = Workspace(harbor_folder)
    assert ws._source._catalog is None
    ws.records.ids()
    ws.steps.collect()
    assert sorted(harbor_folder.rglob("*")) == before


def test_opening_what_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(ConfigError) as caught:
        Workspace(tmp_path)
    assert "workspace.toml" in str(caught.value)
    assert caught.value.exit_code == 2


def test_attributes(harbor, harbor_folder):
    assert harbor.data_path == harbor_folder / "dataset"
    assert harbor.scripts_path == harbor_folder / "scripts"
    assert harbor.is_unit_mode is True
    assert harbor.version is None
    assert harbor.info is harbor.config.info
    assert isinstance(harbor.logger, logging.Logger)


def test_tasks_and_modalities_are_attributes_and_items(make_workspace):
    ws = make_workspace({"EEG/clean": ("raw/{id}-{task}", "out/{id}")}, ["raw/R1-RS"], toml=SCOPED)
    assert ws.RS.ids() == ws["RS"].ids() == ws.get_subscope(task="RS").ids() == ["R1"]
    assert ws.EEG.RS.task == ws.RS.EEG.task == "RS"
    assert ws.RS.EEG.is_unit
    assert not ws.RS.is_unit
    assert [one.task for one in ws.records.iter_tasks()] == ["RS"]
    assert [one.modality for one in ws.records.iter_modalities()] == ["EEG"]
    assert [(one.task, one.modality) for one in ws.records.iter_units()] == [("RS", "EEG")]
    assert {"RS", "EEG"} <= set(dir(ws))
    assert {"EEG"} <= set(dir(ws.RS))


def test_unknown_attribute_names_the_near_one(make_workspace):
    ws = make_workspace({"EEG/clean": ("raw/{id}-{task}", "out/{id}")}, ["raw/R1-RS"], toml=SCOPED)
    with pytest.raises(AttributeError, match="no attribute 'EGE'; did you mean 'EEG'"):
        _ = ws.EGE
    with pytest.raises(AttributeError, match="did you mean 'records'"):
        _ = ws.recrods
    with pytest.raises(AttributeError, match=r"'RS' is not valid for <RecordCollection instance \| task: RS"):
        _ = ws.RS.RS
    with pytest.raises(SelectionError):
        _ = ws["nope"]
    with pytest.raises(SelectionError):
        ws.get_subscope(task="RS", modality="nope")
    assert not hasattr(ws, "_ipython_canary_method_should_not_exist_")
    assert not hasattr(ws.records, "__array_interface__")
    assert not hasattr(ws, "nothing")


def test_task_named_like_a_method_is_warned_about_and_reached_as_an_item(write_workspace):
    toml = SCOPED.replace("tasks.RS", "tasks.count")
    folder = write_workspace({"EEG/clean": ("raw/{id}-{task}", "out/{id}")}, ["raw/R1-count"], toml=toml)
    ws = Workspace(folder)
    assert ws["count"].ids() == ["R1"]
    assert ws.records.get_subscope(task="count").EEG.ids() == ["R1"]
    assert ws.records.count() == 1
    assert any("count" in notice for notice in ws.config.notices)


def test_closing_gives_back_and_what_is_left_lists_anew(harbor_folder):
    with Workspace(harbor_folder) as ws:
        records = ws.records
        assert records.count() == 3
    (harbor_folder / "dataset/raw/REC-20200604-raw.csv").touch()
    assert records.count() == 4
    ws.close()
    ws.close()


def test_two_workspaces_never_touch_each_other(make_workspace):
    one = make_workspace(
        {"EEG/clean": ("raw/{id}-{task}", "out/{id}")}, ["raw/R1-RS"], toml=SCOPED, name="one"
    )
    other_toml = SCOPED.replace("RS", "MMN").replace("EEG", "MEG")
    two = make_workspace(
        {"MEG/clean": ("raw/{id}-{task}", "out/{id}")}, ["raw/R2-MMN"], toml=other_toml, name="two"
    )
    assert one.RS.EEG.ids() == ["R1"]
    assert two.MMN.MEG.ids() == ["R2"]
    assert not hasattr(one, "MMN")
    assert not hasattr(two, "RS")
    assert one.logger is not two.logger
    handler = logging.NullHandler()
    one.logger.addHandler(handler)
    two.close()
    assert one.logger.handlers == [handler]
    one.steps.run(mode="main_process", progress=False)
    assert two.steps.collect()["status"].to_list() == ["DATA_READY"]
    assert one.steps.collect()["status"].to_list() == ["DONE"]


@pytest.mark.parametrize("again", [lambda one: pickle.loads(pickle.dumps(one)), copy.copy, copy.deepcopy])  # noqa: S301
def test_copies_and_pickles_are_workspaces_of_their_own(harbor, again):
    assert harbor.records.count() == 3
    other = again(harbor)
    assert isinstance(other, Workspace)
    assert other.records.ids() == harbor.records.ids()
    assert other.steps.plan().n_run == 9


@pytest.mark.parametrize("again", [lambda one: pickle.loads(pickle.dumps(one)), copy.copy, copy.deepcopy])  # noqa: S301
@pytest.mark.parametrize(
    "get",
    [
        lambda ws: ws.records,
        lambda ws: ws.steps.filter(step="mean"),
        lambda ws: ws.records.get("REC-20200601"),
    ],
)
def test_selections_are_copied_and_pickled(harbor, again, get):
    one = get(harbor)
    other = again(one)
    assert type(other) is type(one)
    assert repr(other) == repr(one)
    assert other.collect().equals(one.collect())


def test_no_secret_is_in_a_pickle_or_a_text(write_workspace):
    folder = write_workspace(STEP, ["raw/R1"], toml="[storage.s3]\nkey = 'k'\nsecret = 'hush-toml'\n")
    ws = Workspace(folder, storage_options={"secret": "hush-code"})
    for text in (
        pickle.dumps(ws),
        pickle.dumps(ws.steps),
        repr(ws),
        repr(ws.config),
        ws._repr_html_(),
        str(ws.steps.plan()),
    ):
        assert b"hush" not in text if isinstance(text, bytes) else "hush" not in text


def test_logger_has_the_configs_name_and_is_not_shared(make_workspace):
    ws = make_workspace(STEP, ["raw/R1"], toml="[log]\nname = 'lab'\nlevel = 'DEBUG'\n")
    assert ws.logger.name == "lab"
    assert ws.logger.level == logging.DEBUG
    assert ws.logger is not logging.getLogger("lab")


def test_config_of_one_does_not_change_the_next(harbor_folder):
    with pytest.raises((AttributeError, TypeError, ValueError)):
        Workspace(harbor_folder).config.run.mode = "main_process"
    assert Workspace(harbor_folder).config.run.mode == "processes"


def test_config_may_lie_in_the_dataset_or_among_the_scripts(write_workspace):
    folder = write_workspace(STEP, ["raw/R1"])
    text = (folder / "workspace.toml").read_text()
    (folder / "dataset/workspace.toml").write_text(text + "[path]\ndataset = '.'\nscripts = '../scripts'\n")
    (folder / "scripts/workspace.toml").write_text(text + "[path]\ndataset = '../dataset'\nscripts = '.'\n")
    assert (
        Workspace(folder / "dataset").records.ids()
        == Workspace(Path(folder, "scripts")).records.ids()
        == ["R1"]
    )
