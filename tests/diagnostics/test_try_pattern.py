"""`ws.try_pattern`: what a pattern would find."""

import json

import pytest

from sinagot_catalog.errors import PatternError


@pytest.fixture
def eeg(make_workspace):
    files = [
        "raw/R1/rest_1.edf",
        "raw/R1/rest_2.edf",
        "raw/R2/task_1.edf",
        "raw/R2/task_1.EDF",
        "raw/BOAT/rest_1.edf",
        "raw/R3/rest.edf",
        "raw/R3/rest_1.edf.bak",
        "other/R3.csv",
    ]
    return make_workspace({"a": ("raw/{id}/rest_1.edf", "a/{id}")}, files)


def test_it_counts_what_matches_what_nearly_does_and_what_collides(eeg):
    found = eeg.try_pattern("raw/{id}/{kind}_{run}.edf")
    assert found.counts() == {"match": 3, "nearly": 4, "collide": 1}
    assert found.matches.rows() == [
        ("raw/R1/rest_1.edf", "R1", "rest", "1"),
        ("raw/R1/rest_2.edf", "R1", "rest", "2"),
        ("raw/R2/task_1.edf", "R2", "task", "1"),
    ]
    assert found.collisions.rows() == [("R1", 2, ["raw/R1/rest_1.edf", "raw/R1/rest_2.edf"])]
    assert found.free == ("kind", "run")
    json.dumps(found.to_dict())


def test_what_nearly_matches_names_the_token_that_fails(eeg):
    near = {
        path: (token, rest) for path, token, rest in eeg.try_pattern("raw/{id}/{kind}_{run}.edf").near.rows()
    }
    assert near["raw/BOAT/rest_1.edf"] == ("{id}", "BOAT/rest_1.edf")
    assert near["raw/R3/rest.edf"][0] == "_"
    assert near["raw/R2/task_1.EDF"][0] == ".edf"
    assert near["raw/R3/rest_1.edf.bak"] == (None, ".bak")
    text = repr(eeg.try_pattern("raw/{id}/{kind}_{run}.edf"))
    assert "1 fail at {id}, such as raw/BOAT/rest_1.edf, which has 'BOAT/rest_1.edf' there" in text
    assert "2 are the same unit: raw/R1/rest_1.edf, raw/R1/rest_2.edf" in text
    assert "1 go on behind the end" in text


def test_a_wrong_folder_looks_at_the_whole_dataset(eeg):
    found = eeg.try_pattern("rav/{id}/rest_1.edf")
    assert found.counts()["match"] == 0
    assert "raw/R1/rest_1.edf" in found.near["path"].to_list()


def test_tasks_and_modalities_are_those_of_the_config(lab):
    found = lab.try_pattern("raw/{id}-{task}.txt")
    assert found.matches.rows() == [
        ("raw/R1-HDC.txt", "R1", "HDC"),
        ("raw/R1-RS.txt", "R1", "RS"),
        ("raw/R2-RS.txt", "R2", "RS"),
    ]
    assert found.collisions.is_empty()


def test_the_same_placeholder_is_the_same_text_and_groups_agree_with_the_id(make_workspace):
    ws = make_workspace(
        {"a": ("{site}/{id}", "out/{id}")},
        ["A/A1", "B/A1", "B/B2", "x/A1/A1", "x/A1/B2"],
        id_pattern="(?P<site>[AB])[0-9]",
    )
    assert ws.try_pattern("{site}/{id}").matches["path"].to_list() == ["A/A1", "B/B2"]
    assert ws.try_pattern("x/{id}/{id}").matches["path"].to_list() == ["x/A1/A1"]


def test_an_id_pattern_that_rust_has_not_is_matched_all_the_same(make_workspace):
    ws = make_workspace({"a": ("raw/{id}.x", "a/{id}")}, ["raw/R1.x", "raw/Q1.x"], id_pattern=r"(?!Q)[A-Z]\d")
    assert ws.try_pattern("raw/{id}.x").matches["path"].to_list() == ["raw/R1.x"]


def test_it_agrees_with_the_catalog(lab):
    for place in lab._source.layout().places:
        if "id" in place.template.fields:
            found = lab.try_pattern(place.template.text).matches
            catalog = lab._source.catalog()
            index = catalog.layout.places.index(place)
            assert sorted(found["id"]) == sorted(catalog.ids.filter(catalog.presence[index]))


def test_a_pattern_with_wildcards_finds_the_files_that_an_input_has(eeg):
    found = eeg.try_pattern("raw/{id}/*.edf")
    assert found.counts() == {"match": 4, "nearly": 3, "collide": 0}
    assert found.matches["id"].to_list() == ["R1", "R1", "R2", "R3"]
    free = eeg.try_pattern("raw/*/{kind}_1.edf")
    assert free.matches["kind"].to_list() == ["rest", "rest", "task"]


def test_a_field_may_be_called_like_a_column_of_the_collisions(make_workspace):
    files = ["raw/A1_x", "raw/A1_y", "raw/B2_x"]
    ws = make_workspace(files=files, id_pattern=r"(?P<site>[A-Z])(?P<n>\d)")
    [row] = ws.try_pattern("raw/{site}{n}_{kind}").collisions.to_dicts()
    assert row == {"site": "A", "{n}": "1", "n": 2, "paths": ["raw/A1_x", "raw/A1_y"]}


@pytest.mark.parametrize("flags", ["", "(?i)"])
def test_a_free_placeholder_leaves_the_fields_beside_it_as_they_are_read(make_workspace, flags):
    files = ["raw/1/ab_x.csv", "raw/q/ab_x.csv", "raw/2/c_x.csv", "raw/2/abx"]
    ws = make_workspace(files=files, id_pattern=rf"{flags}(?P<sub>\d+)_(?P<ses>[ab]{{2}})")
    found = ws.try_pattern("raw/{sub}/{ses}_{kind}.csv")
    assert found.matches.rows() == [("raw/1/ab_x.csv", "1", "ab", "x")]
    assert {path: token for path, token, _ in found.near.rows()} == {
        "raw/2/abx": "_",
        "raw/2/c_x.csv": "{ses}",
        "raw/q/ab_x.csv": "{sub}",
    }
    assert found.free == ("kind",)
    assert ws.try_pattern("raw/{sub}/{ses}{kind}").matches["kind"].to_list() == ["_x.csv", "x"]
    assert ws.try_pattern("raw/{sub}/{name}.csv").matches["sub"].to_list() == ["1", "2"]


def test_a_free_placeholder_beside_an_id_that_refers_to_itself(make_workspace):
    files = ["raw/xx-1_a.csv", "raw/xy-1_a.csv"]
    ws = make_workspace(files=files, id_pattern=r"(?P<a>[xy])(?P=a)-\d")
    assert ws.try_pattern("raw/{id}_{kind}.csv").matches["id"].to_list() == ["xx-1"]


def test_a_placeholder_called_path_is_refused(lab):
    with pytest.raises(PatternError, match="is the name of the column of paths"):
        lab.try_pattern("raw/{path}.edf")


def test_a_pattern_that_leaves_the_dataset_is_refused(lab):
    with pytest.raises(PatternError, match="leaves the dataset"):
        lab.try_pattern("../{id}")
