"""What a script sees of itself, in a run or made by hand."""

import logging
import pickle
from pathlib import Path
from typing import ClassVar

import pytest

from sinagot_catalog.errors import PatternError
from sinagot_catalog.scripts.script import ScriptPath, ScriptTemplate, port_path
from sinagot_catalog.status import StepStatus


class Mean(ScriptTemplate):
    PATH_IN = ("raw", "{id}.csv")
    PATH_OUT: ClassVar = {"mean": ("mean", "{id}.txt"), "plot": "plot/{id}.png"}
    PATH_CONTROL = "check/{id}.png"


def test_single_pattern_is_a_path_and_a_dict_of_patterns_is_a_dict_of_paths(tmp_path):
    script = Mean("REC-1", data_path=tmp_path)
    assert script.path.input == tmp_path / "raw" / "REC-1.csv"
    assert script.path.output == {
        "mean": tmp_path / "mean" / "REC-1.txt",
        "plot": tmp_path / "plot" / "REC-1.png",
    }
    assert script.path.control == tmp_path / "check" / "REC-1.png"
    assert script.path.previous is None


def test_patterns_are_filled_with_task_modality_and_groups_of_the_id():
    class Script(ScriptTemplate):
        PATH_IN = "{task}/{modality}/{site}/{id}.csv"

    script = Script("B-1", task="RS", modality="EEG", values={"site": "B"})
    assert script.path.input == Path("RS/EEG/B/B-1.csv")


def test_a_placeholder_that_nothing_fills_is_named():
    class Script(ScriptTemplate):
        PATH_IN = "{task}/{id}.csv"

    with pytest.raises(PatternError, match=r"\{task\}"):
        Script("B-1")


def test_a_script_without_patterns_has_no_paths():
    assert ScriptTemplate("A").path == ScriptPath(None, None, None, None)


def test_data_exist_says_which_files_are_there(tmp_path):
    (tmp_path / "mean").mkdir()
    (tmp_path / "mean" / "REC-1.txt").touch()
    script = Mean("REC-1", data_path=tmp_path)
    assert script.data_exist.input == {tmp_path / "raw" / "REC-1.csv": False}
    assert script.data_exist.output == {
        tmp_path / "mean" / "REC-1.txt": True,
        tmp_path / "plot" / "REC-1.png": False,
    }


def test_what_a_script_knows_of_its_row():
    script = Mean("REC-1", task="RS", modality="EEG", label="mean", debug=True)
    assert (script.id, script.task, script.modality, script.label) == ("REC-1", "RS", "EEG", "mean")
    assert script.opts == {}
    assert script.debug is True
    assert script.status is StepStatus.INIT
    assert repr(script) == "<Mean instance | id: REC-1, step: mean>"


def test_run_that_is_not_overridden_logs_the_step(caplog):
    with caplog.at_level(logging.INFO):
        Mean("REC-1", label="mean").run()
    assert caplog.messages == ["Running mean"]


def test_opts_of_two_scripts_are_not_one_dict():
    one, other = Mean("A"), Mean("B")
    one.opts["x"] = 1
    assert other.opts == {}


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "/a",
        "/a/b",
        "a/b/c",
        "/a/b/.",
        "/a/b/",
        "/a//b",
        "/a/./b",
        "//a/b",
        "/a/..",
        "/a/b.c",
        "./a",
        "../a/ b",
        "",
    ],
)
def test_a_path_of_a_row_is_what_path_makes_of_its_text(text):
    for _ in range(2):  # the second time its folder is known
        path, plain = port_path(text), Path(text)
        assert (path, type(path), hash(path)) == (plain, type(plain), hash(plain))
        assert (str(path), repr(path), path.parts) == (str(plain), repr(plain), plain.parts)
        assert (path / "x", path.parent, path.name) == (plain / "x", plain.parent, plain.name)
        assert str(path / "x") == str(plain / "x")
        assert str(path.with_name("y") if path.name else path) == str(
            plain.with_name("y") if plain.name else plain
        )
        assert pickle.loads(pickle.dumps(path)) == plain  # noqa: S301
