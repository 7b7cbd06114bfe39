"""Parameters in `workspace.toml`: which table has precedence, and which faults are reported."""

import datetime as dt

import pytest

from sinagot_catalog import ScriptTemplate, Workspace
from sinagot_catalog.errors import ConfigError
from sinagot_catalog.scripts import Parameters

TASKS = """
[params]
cutoff = 1
[params.filter]
low = 0.5
high = 40
[tasks.A]
modalities = ["EEG"]
[tasks.A.params]
cutoff = 2
[tasks.A.params.filter]
high = 30
[tasks.B]
modalities = ["EEG"]
[tasks.C]
modalities = ["EEG"]
[tasks.C.params]
filter = "none"
[modalities.EEG]
scripts = ["clean", "plot"]
[steps.plot.params]
cutoff = 3
"""
WRITE = "self.path.output.write_text(repr(self.params.to_dict()))"
SCRIPTS = {
    f"EEG/{step}": ("raw/{id}.txt", f"{step}/{{id}}-{{task}}.txt", WRITE) for step in ("clean", "plot")
}


def test_a_step_has_precedence_over_its_task_and_that_over_all(make_workspace):
    ws = make_workspace(SCRIPTS, ["raw/R1.txt"], toml=TASKS)

    def seen(task, step):
        return ws.get_subscope(task, "EEG").get("R1").steps.get(step).script.params.to_dict()

    both = {"low": 0.5, "high": 40}
    assert seen("A", "clean") == {"cutoff": 2, "filter": {"low": 0.5, "high": 30}}
    assert seen("A", "plot") == {"cutoff": 3, "filter": {"low": 0.5, "high": 30}}
    assert seen("B", "clean") == {"cutoff": 1, "filter": both}
    assert seen("C", "clean") == {"cutoff": 1, "filter": "none"}
    assert ws.config["params"] == {"cutoff": 1, "filter": both}
    assert not [one for one in ws.config.notices if "not run" in one]


@pytest.mark.parametrize(
    ("toml", "sentence"),
    [
        ("params = 3", "params: 3 is not a section"),
        ("[params]\nrecord = 1", "params.record: is a reserved name"),
        ("[params.deep]\nlow = nan", "params.deep.low: nan is not a finite number"),
        ("[params]\nlevels = [1.0, inf]", "params.levels[1]: inf is not a finite number"),
        ("[parms]\ncutoff = 1", "parms: unknown section; did you mean 'params'?"),
        ("[steps.work]\nparams = 1", "steps.work.params: 1 is not a section"),
        ("[steps.work.params]\nrecord = 1", "steps.work.params.record: is a reserved name"),
        ('[run]\nretry = "chnged"', "run.retry: 'chnged' is not one of 'always', 'changed'; did you mean"),
        (
            '[steps.work]\ncommand = "cp {input} {params.cutof}"\ninputs="raw/{id}"\n[params]\ncutoff=1',
            "unknown placeholder {params.cutof}; did you mean 'params.cutoff'?",
        ),
    ],
)
def test_a_fault_is_named_with_its_address(write_workspace, toml, sentence):
    head = "" if "=" in toml.partition("\n")[0] else "[steps]\nscripts = ['work']\n"
    folder = write_workspace({}, toml=f"{head}{toml}")
    config = folder / "workspace.toml"
    text = config.read_text()
    if toml.startswith("params"):
        config.write_text(f"{toml}\n" + text.replace(toml, ""))
    with pytest.raises(ConfigError) as found:
        Workspace(folder)
    assert sentence in str(found.value)


@pytest.mark.parametrize("table", ["params", "resources"])
def test_a_table_of_a_script_may_be_empty(make_workspace, table):
    ws = make_workspace(
        {"work": ("raw/{id}", "out/{id}")},
        toml=f"[steps]\nscripts = ['work']\n[steps.work.{table}]\n# cutoff = 1",
    )
    assert not ws.config.notices


def test_a_table_that_is_no_table_is_one_fault(write_workspace):
    folder = write_workspace({}, toml="[steps]\nscripts = ['work']\n[steps.work]\nparams = 1")
    with pytest.raises(ConfigError) as found:
        Workspace(folder)
    assert str(found.value) == "workspace.toml: steps.work.params: 1 is not a section"


def test_parameters_of_a_step_that_is_nowhere_are_a_notice(make_workspace):
    ws = make_workspace({}, toml="[steps]\nscripts = ['work']\n[steps.wrk.params]\ncutoff = 1")
    assert "steps.wrk is not run: no list of scripts names it; did you mean 'work'?" in ws.config.notices


# --- what a script sees --------------------------------------------------------------------------------------


def test_values_have_their_toml_types():
    params = {"day": dt.date(2026, 1, 2), "levels": [1, 2], "on": True}
    script = ScriptTemplate("R1", params=params)
    assert script.params.day == dt.date(2026, 1, 2)
    script.params.levels.append(3)  # a copy: the next row has the same values
    assert script.params["levels"] == [1, 2]
    assert script.params.on is True


def test_a_missing_key_is_one_sentence_for_attribute_and_item():
    script = ScriptTemplate("R1", params={"filter": {"low": 1}})
    for ask in (lambda: script.params.filter.lov, lambda: script.params["filter"]["lov"]):
        with pytest.raises((AttributeError, KeyError)) as found:
            ask()
        assert str(found.value) == "there is no parameter 'filter.lov'; did you mean 'low'?"
    assert script.params.get("other", 7) == 7
    assert not hasattr(script.params, "other")
    with pytest.raises(AttributeError, match="there is no parameter 'other'; known here: none"):
        _ = ScriptTemplate("R1").params.other


def test_only_what_is_read_is_recorded():
    reads = {}
    params = Parameters({"a": 1, "b": 2, "table": {"c": 3, "d": {"e": 4}}}, reads)
    _ = params.a, params.table, params["table"].d.e, params.get("x"), "b" in params
    assert reads == {"a": 1, "table.d.e": 4, "x": None, "b": 2}
    assert next(iter(params.table.items())) == ("c", 3)
    assert reads["table"] == {"c": 3, "d": {"e": 4}}


def test_a_script_may_have_attributes_of_these_names():
    class Script(ScriptTemplate):
        record = "own"

        def run(self):
            self.params = {"mine": 1}
            return self.params, self.record

    assert Script("R1", params={"cutoff": 1}).run() == ({"mine": 1}, "own")
