"""What those who are new to it get wrong in their first minutes, and what they are told."""

import copy
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import polars as pl
import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.errors import ConfigError, NoMatchWarning, NotFoundError, SelectionError


def test_a_misspelt_step_is_told_which_script_lies_near(cli, write_workspace):
    steps = {"clean": ("raw/{id}.csv", "out/{id}.csv"), "seen": ("raw/{id}.csv", "seen/{id}.csv")}
    folder = write_workspace(steps, ["raw/R1.csv"])
    Path(folder, "scripts", "clean.py").rename(Path(folder, "scripts", "cleaned.py"))
    told = cli("status", folder)
    assert "script file scripts/clean.py is missing; did you mean 'cleaned'?" in told.stderr
    cli("run", folder, "--step", "seen", "-q")
    told = cli("status", folder)
    assert "to be tried again" not in told.stdout
    assert "next: mend what the notes say of the scripts" in told.stdout


def test_a_script_that_became_unreadable_is_not_said_to_have_failed_as_it_did_before(make_workspace):
    steps = {"clean": ("raw/{id}.csv", "out/{id}.csv", "fail"), "seen": ("raw/{id}.csv", "seen/{id}.csv")}
    ws = make_workspace(steps, ["raw/R1.csv"])
    ws.steps.run(mode="main_process", progress=False)
    assert ws.steps.failures()["error_type"].to_list() == ["ValueError"]
    Path(ws.scripts_path, "clean.py").write_text("def (:\n")
    failed = ws.refresh().steps.failures().row(0, named=True)
    assert failed["error_type"] is None
    assert failed["message"].startswith("scripts/clean.py:1")


def test_a_pattern_that_finds_nothing_at_all_is_said(cli, write_workspace):
    steps = {"clean": ("raw/{id}.csv", "out/{id}.csv"), "other": ("rwa/{id}.txt", "o/{id}.txt")}
    folder = write_workspace(steps, ["raw/R1.csv"])
    told = cli("status", folder).stderr
    assert "note: no file fits rwa/{id}.txt, which other reads\n" in told
    assert "raw/{id}.csv" not in told


def test_a_folder_inside_or_around_a_workspace_is_told_where_it_is(write_workspace):
    folder = write_workspace({"clean": ("raw/{id}.csv", "out/{id}.csv")}, ["raw/R1.csv"])
    for place in (Path(folder, "dataset"), Path(folder).parent):
        with pytest.raises(ConfigError) as said:
            Workspace(place)
        assert said.value.hint.endswith(f": {folder}.") or said.value.hint.endswith(f": {folder}")


def test_an_id_pattern_is_shown_as_it_is_written(make_workspace):
    ws = make_workspace({"clean": ("raw/{id}.csv", "out/{id}.csv")}, ["raw/R1.csv"])
    with pytest.raises(NotFoundError) as said:
        ws.records.get("R one")
    assert f"id_pattern '{ws.config.ids.text}'" in said.value.message


def test_a_line_that_is_no_toml_is_shown(write_workspace):
    folder = write_workspace({"clean": ("raw/{id}.csv", "out/{id}.csv")}, ["raw/R1.csv"])
    with Path(folder, "workspace.toml").open("a") as file:
        file.write('\n[info]\nversion = "2\n')
    with pytest.raises(ConfigError, match=r'workspace\.toml: .*: version = "2'):
        Workspace(folder)


def test_names_of_several_looks_are_pointed_out(cli, tmp_path):
    for name in ("ALP 01", "ALP 02", "ALP 03", "copy of ALP 01"):
        (tmp_path / f"{name}.csv").touch()
    told = cli("init", tmp_path, "--from-files", "{id}.csv")
    assert "note: they have 2 forms: ALP 01 (3 like it), copy of ALP 01 (1 like it)" in told.stderr
    assert r"id_pattern = ALP \d{2}" in told.stderr


@pytest.mark.parametrize("name", ["tail", "group_by", "with_columns"])
def test_a_word_of_polars_that_a_selection_lacks_says_how_to_come_to_a_frame(harbor, name):
    for selection in (harbor.files, harbor.steps, harbor.units):
        with pytest.raises(AttributeError, match=rf"\.lazy\(\)\.{name}\("):
            getattr(selection, name)
    with pytest.raises(AttributeError, match=r"did you mean 'collect'"):
        harbor.files.colect  # noqa: B018
    with pytest.raises(AttributeError, match=r"\.lazy\(\)\.unique\("):
        harbor.records.unique  # noqa: B018
    assert not hasattr(harbor.files, "_repr_png_")


def test_a_list_of_ids_is_run_and_other_values_are_told_what_to_write(harbor):
    assert harbor.run(["REC-20200601"], progress=False).counts() == {"done": 3}
    for rows in (7, ["REC-20200601", 7]):
        with pytest.raises(SelectionError) as said:
            harbor.run(rows)
        assert "a list of ids" in said.value.hint


@pytest.mark.parametrize(
    "collected",
    [
        list,
        iter,
        lambda ids: (one for one in ids),
        set,
        np.array,
        pd.Series,
        pd.Index,
        pl.Series,
        lambda ids: pd.DataFrame({"record_id": ids}),
    ],
)
def test_ids_are_run_from_any_collection(harbor, collected):
    ids = ["REC-20200601", "REC-20200602"]
    report = harbor.run(collected(ids), progress=False, limit=1, mode="main_process")
    assert report.counts() == {"done": 1}


def test_records_are_run_as_a_list(harbor):
    report = harbor.run(list(harbor.records.head(2)), progress=False, mode="main_process")
    assert report.counts() == {"done": 6}
    assert set(report.frame["record_id"]) == {"REC-20200601", "REC-20200602"}


def test_results_of_a_step_outside_the_scope_are_an_error_that_names_its_steps(lab):
    with pytest.raises(SelectionError, match="step 'alpha' is not one of this scope") as said:
        lab.HDC.EEG.steps.scan_outputs("alpha")
    assert said.value.hint == "Its steps: clean."
    assert lab.RS.EEG.steps.filter(status="DONE").scan_outputs("alpha").collect().is_empty()


def test_a_name_that_another_table_has_is_told_where(harbor):
    with pytest.raises(AttributeError, match=r"did you mean steps\.status\?"):
        harbor.status  # noqa: B018
    with pytest.raises(AttributeError, match=r"did you mean records\.logs\?"):
        harbor.logs  # noqa: B018
    with pytest.raises(AttributeError, match=r"did you mean steps\.status\?"):
        harbor.records.status  # noqa: B018


def test_a_record_as_an_attribute_is_told_how_records_are_asked_for(make_workspace):
    ws = make_workspace({"clean": ("raw/{id}.csv", "out/{id}.csv")}, ["raw/R1.csv"])
    with pytest.raises(AttributeError, match=r"a record is asked for as \['R1'\]"):
        ws.records.R1  # noqa: B018


def test_sql_in_the_wrong_place_or_quotes_is_told_where_it_goes(harbor):
    with pytest.raises(SelectionError) as place:
        harbor.records.filter("record_id == 'REC-20200601'").collect()
    assert "sql_filter, with texts in single quotes" in place.value.hint
    with pytest.raises(SelectionError) as quotes:
        harbor.records.sql_filter('record_id = "REC-20200601"').collect()
    assert "In SQL a text has single quotes: 'REC-20200601'." in quotes.value.hint
    with pytest.raises(SelectionError) as table:
        harbor.records.sql_filter("status = 'DONE'").collect()
    assert table.value.hint.startswith("It is a column of steps: see .steps, or `ls steps`. ")
    with pytest.raises(SelectionError) as column:
        harbor.steps.filter(pl.col("age") > 3).collect()
    assert "[records] metadata adds columns." in column.value.hint
    with pytest.raises(AttributeError, match=r"\.collect\(\)\.to_pandas\("):
        harbor.steps.to_pandas  # noqa: B018
    with pytest.raises(AttributeError) as wrong:
        harbor["REC-20200601"]
    assert "records[id]" in wrong.value.hint


def test_an_id_written_in_part_is_answered_with_the_ids_that_begin_so(make_workspace):
    files = [f"raw/sub-{sub:02d}_ses-{ses}" for sub in range(1, 6) for ses in (1, 2)]
    ws = make_workspace({"a": ("raw/{id}", "a/{id}")}, files, id_pattern=r"sub-\d\d_ses-\d")
    with pytest.raises(NotFoundError, match="did you mean 'sub-02_ses-1' or 'sub-02_ses-2'"):
        ws.records["sub-02"]


@pytest.mark.parametrize(
    "words", [("run", "--step", "mean"), ("plan", "--step", "mean"), ("logs", "--step", "mean")]
)
def test_a_script_that_no_list_names_is_told_where_to_add_it(cli, write_workspace, words):
    folder = write_workspace({"clean": ("raw/{id}.csv", "out/{id}.csv")}, ["raw/R1.csv"])
    (folder / "scripts" / "mean.py").write_text("")
    done = cli(words[0], "-C", folder, *words[1:])
    assert done.returncode == 2
    assert "there is no step 'mean'" in done.stderr
    assert "mean.py exists: add 'mean' to scripts of [steps] in workspace.toml. Steps: clean." in done.stderr


def test_a_script_of_a_modality_that_no_list_names_is_told_where_to_add_it(lab):
    Path(lab.scripts_path, "EEG", "beta.py").write_text("")
    with pytest.raises(NotFoundError) as caught:
        lab.steps.get("beta")
    assert "add 'beta' to scripts of [modalities.EEG]" in caught.value.hint


def test_what_a_script_cannot_do_is_told_once(cli, write_workspace):
    step = ("{site}/{month}/{day}.csv", "out/{site}/{day}.csv")
    files = [f"n/{month}/0{day}.csv" for month in (1, 2) for day in (1, 2)]
    folder = write_workspace({"a": step}, files, id_pattern=r"(?P<site>n)_(?P<month>\d)_(?P<day>\d\d)")
    done = cli("status", folder)
    told = done.stdout + done.stderr
    assert told.count("lacks {month}") == 1
    assert "next: mend what the notes say of the scripts" in told
    shown = cli("plan", folder).stdout
    assert (shown.count("lacks {month}"), shown.count("as above")) == (1, 3)


def test_a_filter_that_ends_in_a_name_is_refused(harbor):
    for where in ("seconds > 1s", "status = 'DONE' x", "seconds > 1 AS long"):
        with pytest.raises(
            SelectionError, match=r"gives its result the name (s|x|long), which a filter has no use for"
        ):
            harbor.steps.sql_filter(where)


def test_words_of_other_tools_for_a_status_are_answered_with_ours(harbor, harbor_folder, cli):
    with pytest.raises(SelectionError, match="status is never 'failed'; did you mean 'ERROR'"):
        harbor.steps.filter(status="failed")
    told = cli("plan", harbor_folder, "--status", "finished").stderr
    assert "'finished' is not a status; did you mean 'DONE'?" in told


def test_init_tells_how_to_write_names_that_vary(cli, tmp_path):
    (tmp_path / "a.csv").write_text("")
    assert (
        "Write {id} where the record's id stands: '{id}.csv'." in cli("init", "--from-files", "*.csv").stderr
    )
    for pattern in ("../raw/{id}.csv", "/raw/{id}.csv", "~/raw/{id}.csv"):
        told = cli("init", "--from-files", pattern).stderr
        assert "takes a path below the folder of the files" in told
        assert "sinagot-catalog init FOLDER --from-files PATTERN" in told


def test_a_workspace_without_steps_is_told_how_to_get_some(cli, tmp_path):
    (tmp_path / "a.csv").write_text("")
    cli("init")
    assert "nothing to do: no steps: list scripts in workspace.toml" in cli("status").stdout


def test_a_table_without_a_key_is_told_which_columns_name_records(write_workspace):
    toml = "[records]\nid_pattern = '(?P<site>n)_(?P<day>\\d)'\nmetadata = 'sites.csv'\n[steps]\nscripts = ['a']\n"
    folder = write_workspace({"a": ("{site}/{day}.csv", "o/{id}")}, ["n/1.csv"], toml=toml)
    (folder / "sites.csv").write_text("station,height\nn,3\n")
    with pytest.raises(ConfigError) as caught:
        Workspace(folder).records.ids()
    assert "record_id or participant_id, or in fields of the id: site, day" in caught.value.hint


def test_a_value_of_ones_own_at_the_top_is_told_where_it_goes(write_workspace):
    toml = "title = 'lab'\n[records]\nid_pattern = 'R'\n[steps]\nscripts = []\n"
    folder = write_workspace({}, toml=toml)
    with pytest.raises(
        ConfigError, match=r"title: unknown key; .*values of your own need a section, such as"
    ):
        Workspace(folder)


def test_scripts_that_still_import_sinagot_are_told_what_to_write(cli, write_workspace):
    source = "from sinagot import ScriptTemplate\n\n\nclass Script(ScriptTemplate):\n"
    source += '    PATH_IN = "raw/{id}"\n    PATH_OUT = "a/{id}"\n'
    folder = write_workspace({"a": source}, ["raw/R1"])
    assert "Write from sinagot_catalog import ScriptTemplate." in cli("doctor", folder).stdout
    report = Workspace(folder).steps.run(mode="main_process", progress=False)
    assert report.frame["message"].item().endswith("; write from sinagot_catalog import ScriptTemplate")


def test_a_verb_of_the_command_line_is_named_where_python_lacks_it(harbor):
    with pytest.raises(AttributeError, match="the command line has it: sinagot-catalog doctor"):
        harbor.doctor()


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("steps.logs", "did you mean records.logs?"),
        ("steps.ids", "did you mean records.ids?"),
        ("files.scan_outputs", "did you mean steps.scan_outputs?"),
        ("records.outputs", "did you mean steps.scan_outputs?"),
        ("steps.reason", "a column is .select('reason')"),
        ("files.path", "a column is .select('path')"),
        ("tasks", "did you mean config.tasks?"),
        ("records.tasks", "did you mean config.tasks of the workspace?"),
        ("steps.modalities", "did you mean config.modalities of the workspace?"),
        ("steps.explain", "the workspace has explain"),
        ("steps.to_csv", "did you mean collect().write_csv(…)?"),
        ("records.iloc", "did you mean head(n)?"),
        ("group_by", "records.lazy().group_by(…)"),
        ("colect", "did you mean records.collect?"),
        ("count_per_step", "has no attribute 'count_per_step'"),
        ("mean", "a step is asked for as steps.get('mean')"),
    ],
)
def test_a_name_of_something_else_is_answered_with_what_to_write(harbor, words, hint):
    with pytest.raises(AttributeError) as caught:
        attrgetter(words)(harbor)
    assert hint in str(caught.value)
    assert str(caught.value).count("\n") == 0


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("report.filter", "did you mean frame.filter?"),
        ("report.outcome", "a column is frame.select('outcome')"),
        ("report.failed", "did you mean 'failures'?"),
        ("report.zzz", "its rows are .frame"),
        ("plan.to_pandas", "did you mean frame.to_pandas?"),
        ("plan.reason", "a column is frame.select('reason')"),
        ("plan.counst", "did you mean 'counts'"),
        ("step.filter", "did you mean rows.filter?"),
        ("step.seconds", "a column is rows.select('seconds')"),
        ("step.script_clas", "did you mean 'script_class'"),
    ],
)
def test_reports_plans_and_steps_answer_an_unknown_name_with_what_to_write(harbor, words, hint):
    record = harbor.records.get("REC-20200601")
    known = SimpleNamespace(
        report=record.steps.run(mode="main_process", progress=False),
        plan=harbor.steps.plan(),
        step=record.steps.get("count"),
    )
    with pytest.raises(AttributeError) as caught:
        attrgetter(words)(known)
    assert hint in str(caught.value)
    assert copy.deepcopy(known.report).counts() == known.report.counts()


def test_an_attribute_that_a_script_lacks_is_not_taken_for_one_of_the_step(make_workspace):
    ws = make_workspace({"a": ("raw/{id}", "a/{id}")}, ["raw/R1"])
    script = Path(ws.scripts_path) / "a.py"
    script.write_text(f"{script.read_text()}\nimport os\n\nos.no_such_name\n")
    step = ws.records.get("R1").steps.get("a")
    with pytest.raises(Exception, match="no_such_name"):
        step.script_class  # noqa: B018


def test_an_id_as_an_attribute_of_the_workspace_is_told_how_records_are_asked_for(make_workspace):
    ws = make_workspace({"clean": ("raw/{id}.csv", "out/{id}.csv")}, ["raw/R1.csv"])
    with pytest.raises(AttributeError, match=r"a record is asked for as records\['R1'\]"):
        ws.R1  # noqa: B018
    assert not hasattr(ws, "_repr_png_")


def test_an_item_of_a_table_without_names_is_answered_with_a_column(harbor):
    with pytest.raises(TypeError, match=r"has no items: write \.select\('path'\) for a column"):
        harbor.files["path"]
    with pytest.raises(TypeError, match=r"write \.get\('mean'\) for a step, "):
        harbor.steps["mean"]


@pytest.fixture
def sessions(make_workspace):
    """Two subjects, whose numbers have a leading zero."""
    files = [f"raw/sub-{sub}_ses-A" for sub in ("01", "02")]
    return make_workspace(
        {"a": ("raw/{id}", "a/{id}")}, files, id_pattern=r"sub-(?P<sub>\d\d)_ses-(?P<ses>[A-Z])"
    )


@pytest.mark.parametrize(
    ("where", "near"),
    [
        ({"sub": "1"}, "no record has sub '1'; did you mean '01'?"),
        ({"sub": "001"}, "no record has sub '001'; did you mean '01'?"),
        ({"ses": "a"}, "no record has ses 'a'; did you mean 'A'?"),
        ({"record_id": "sub-01_ses-B"}, "did you mean 'sub-01_ses-A' or 'sub-02_ses-A'?"),
    ],
)
def test_a_filter_that_fits_nothing_names_the_nearest_value(sessions, where, near):
    for rows in (sessions.records.filter(**where), sessions.steps.filter(**where)):
        assert near in repr(rows)
        for ask in (rows.count, rows.collect):
            with pytest.warns(NoMatchWarning) as caught:
                ask()
            assert near in str(caught[0].message)
            assert "Texts are compared as they are written" in str(caught[0].message)
    with pytest.warns(NoMatchWarning):
        assert sessions.records.filter(**where).ids() == []
    with pytest.warns(NoMatchWarning):
        assert sessions.records.filter(**where).run(progress=False).frame.is_empty()


def test_a_list_of_values_and_a_filter_before_a_hop_are_looked_at_too(sessions):
    rows = sessions.records.filter(pl.col("sub").is_in(["3", "1"])).steps
    with pytest.warns(NoMatchWarning, match="no record has sub '1'; did you mean '01'"):
        rows.count()


@pytest.mark.filterwarnings("error")
def test_a_filter_that_fits_nothing_for_other_reasons_is_silent(sessions):
    for rows in (
        sessions.records.filter(sub="77"),
        sessions.records.filter(sub="01", ses="Z"),
        sessions.records.filter(pl.col("sub") != "1", pl.col("sub") > "5"),
        sessions.steps.filter(error_type="ValueError"),
        sessions.steps.filter(status="ERROR"),
    ):
        assert rows.count() == 0
        assert rows.collect().is_empty()


@pytest.mark.parametrize("words", [("ls",), ("ls", "steps"), ("status",), ("plan",), ("run",)])
def test_verbs_name_the_nearest_value_of_a_filter_once(cli, sessions, words):
    told = cli(words[0], *words[1:], "-C", sessions.config.root, "--where", "sub = '1'")
    assert told.returncode == 0
    assert told.stderr.count("note: no record has sub '1'; did you mean '01'?") == 1


def test_a_number_for_a_text_is_told_to_be_quoted(sessions):
    for rows in (sessions.records.filter(sub=1), sessions.records.sql_filter("sub = 1")):
        with pytest.raises(SelectionError, match="sub is a text, 1 is a number") as caught:
            rows.ids()
        assert (
            caught.value.hint == "A text is compared with a text: put the value in quotes, as it is written."
        )


def test_a_text_for_a_number_or_a_truth_value_is_told_what_fits(sessions):
    with pytest.raises(SelectionError, match="n_done") as caught:
        sessions.records.filter(pl.col("n_done") > "x").ids()
    assert caught.value.hint == "A number is compared with a number: write the value without quotes."
    for narrow in (
        lambda: sessions.units.filter(pl.col("has_data") == "yes"),
        lambda: sessions.units.filter(has_data="yes"),
        lambda: sessions.units.sql_filter("has_data = 'yes'"),
    ):
        with pytest.raises(SelectionError, match="has_data is never 'yes'") as caught:
            narrow().count()
        assert caught.value.hint == "It is one of true, false."
    assert sessions.units.sql_filter("has_data = 'true'").count() > 0


def test_mistakes_in_a_script_are_answered_with_what_is_right(cli, write_workspace):
    head = (
        "from sinagot_catalog import ScriptTemplate\n\n\nclass Script(ScriptTemplate):\n"
        '    PATH_IN = "raw/{id}"\n    PATH_OUT = "NAME/{id}"\n\n'
    )
    bodies = {
        "rum": "    def rum(self):\n        self.path.output.touch()\n",
        "inputs": "    def run(self):\n        self.path.inputs.read_text()\n",
        "key": "    def run(self):\n        {}['intensity']\n",
    }
    scripts = {name: head.replace("NAME", name) + body for name, body in bodies.items()}
    folder = write_workspace(scripts | {"no": head.replace("{id}", "{idd}", 1)}, ["raw/R1"])
    told = cli("run", folder).stderr
    assert "rum/R1 is missing after run(); class Script has no method run, only rum" in told
    assert "AttributeError: self.path has no attribute 'inputs'; did you mean 'input'?" in told
    assert " key : KeyError: 'intensity'" in told
    assert "did you mean 'id'? Known here: {id}" in cli("status", folder).stderr


def test_a_group_is_found_by_its_value_too(cli, write_workspace):
    toml = "[records]\nid_pattern = '(?P<plate>\\d{3})_(?P<well>[A-H]\\d)'\n"
    source = (
        "from sinagot_catalog import ScriptTemplate\n\n\nclass Script(ScriptTemplate):\n"
        '    BY = ("plate",)\n    PATH_IN = "raw/{id}"\n    PATH_OUT = "plates/{plate}"\n'
    )
    folder = write_workspace({"plate": source}, ["raw/001_A1", "raw/002_A1"], toml=toml)
    told = cli("explain", "002", "plate", "-C", folder)
    assert told.returncode == 2
    assert "plate has no group '002'; did you mean 'plate=002'" in told.stderr


def test_a_workspace_whose_only_script_cannot_be_used_is_not_told_to_lack_records(cli, write_workspace):
    source = "from sinagot_catalog import ScriptTemplate\n\n\nclass Script(ScriptTemplate):\n"
    source += '    PATH_IN = "raw/{id}"\n    PATH_OUTPUT = "a/{id}"\n'
    folder = write_workspace({"a": source}, ["raw/R1"])
    told = cli("status", folder)
    assert "next: mend what the notes say of the scripts" in told.stdout
    assert "holds no file" not in told.stderr
    assert "did you mean 'PATH_OUT'?" in told.stderr


def test_the_path_of_a_result_in_place_of_a_workspace_is_told_how_it_is_made(cli, write_workspace):
    folder = write_workspace({"a": ("raw/{id}.csv", "a/{id}.csv")}, ["raw/R1.csv"])
    for verb in ("run", "plan"):
        told = cli(verb, "a/R1.csv", cwd=folder)
        assert told.returncode == 2
        assert "error: a/R1.csv is no workspace" in told.stderr
        assert "--record ID --step STEP --upstream" in told.stderr
        assert "sinagot-catalog explain a/R1.csv" in told.stderr


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (("run", "--cores", "4"), "did you mean '--workers'?"),
        (("run", "--jobs", "4"), "did you mean '--workers'?"),
        (("run", "--until", "a"), "did you mean '--step'?"),
        (("list",), "did you mean 'ls'?"),
        (("show",), "did you mean 'ls'?"),
    ],
)
def test_words_of_other_programs_are_answered_with_ours(cli, words, near):
    told = cli(*words)
    assert told.returncode == 2
    assert near in told.stderr
