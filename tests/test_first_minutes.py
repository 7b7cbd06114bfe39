"""What those who are new to it get wrong in their first minutes, and what they are told."""

from pathlib import Path

import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.errors import ConfigError, NotFoundError, SelectionError


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
    with pytest.raises(AttributeError, match=r"\.collect\(\)\.to_pandas\("):
        harbor.steps.to_pandas  # noqa: B018
    with pytest.raises(AttributeError) as wrong:
        harbor["REC-20200601"]
    assert "records[id]" in wrong.value.hint
