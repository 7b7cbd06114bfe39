"""Record ids and records: what is here, in which order, and what a wrong id is told."""

import pytest

from sinagot_catalog.errors import NotFoundError, SelectionError


def test_ids_are_sorted_whatever_the_file_system_says(make_workspace):
    files = [f"raw/R{n}" for n in (9, 10, 2, 33, 1)]
    ws = make_workspace({"clean": ("raw/{id}", "out/{id}")}, files)
    assert ws.records.ids() == ["R1", "R10", "R2", "R33", "R9"]
    assert list(ws.records.iter_ids()) == ws.records.ids()
    assert [record.id for record in ws.records.all()] == ws.records.ids()
    assert [record.id for record in ws.records] == ws.records.ids()


def test_ids_come_from_every_pattern_not_from_the_first_steps_input_alone(make_workspace):
    scripts = {"clean": ({"a": "a/{id}", "b": "b/{id}"}, "out/{id}"), "sum": ("out/{id}", "sum/{id}")}
    ws = make_workspace(scripts, ["a/R1", "b/R2", "out/R3", "sum/R4", "other/R5"])
    assert ws.records.ids() == ["R1", "R2", "R3", "R4"]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
def test_head_yields_as_many_as_it_is_asked_for(harbor, count):
    assert [record.id for record in harbor.records.head(count)] == harbor.records.ids()[:count]


def test_head_yields_five_by_default(make_workspace):
    ws = make_workspace({"clean": ("raw/{id}", "out/{id}")}, [f"raw/R{n}" for n in range(8)])
    assert len(list(ws.records.head())) == 5


def test_first_is_none_where_there_is_no_record(harbor, make_workspace):
    assert harbor.records.first().id == "REC-20200601"
    assert make_workspace({"clean": ("raw/{id}", "out/{id}")}).records.first() is None


def test_count_has_and_in(harbor):
    assert harbor.records.count() == 3
    assert harbor.records.has("REC-20200601") is True
    assert harbor.records.has("REC-20200699") is False
    assert "REC-20200601" in harbor.records
    assert "nonsense" not in harbor.records
    assert 3 not in harbor.records
    assert harbor.records.has(3) is False
    with pytest.raises(NotFoundError):
        harbor.records[0]


def test_get_takes_an_id_without_a_file_so_that_its_steps_can_be_asked(harbor):
    record = harbor.records.get("REC-20201231")
    assert record.id == "REC-20201231"
    assert record.steps.get("count").status().name == "INIT"
    assert record.steps.status()["step_status"].to_list() == [0, 0, 0]
    assert len(record.steps) == 3
    assert harbor.records.count() == 3


def test_get_of_an_id_that_does_not_fit_names_the_closest(harbor):
    with pytest.raises(
        NotFoundError, match=r"'REC-2020060l' does not fit id_pattern .*; did you mean .*'REC-20200601'"
    ):
        harbor.records.get("REC-2020060l")
    with pytest.raises(LookupError):
        harbor.records.get("nonsense")


@pytest.mark.parametrize("wrong", ["", "REC-20200601\n", "../REC-20200601", "REC-20200601/x", None, 20200601])
def test_get_of_what_is_no_id_is_an_error(harbor, wrong):
    with pytest.raises(NotFoundError):
        harbor.records.get(wrong)


def test_item_access_is_strict(harbor):
    assert harbor.records["REC-20200601"].id == "REC-20200601"
    with pytest.raises(NotFoundError, match="there is no record 'REC-20201231'"):
        harbor.records["REC-20201231"]
    with pytest.raises(NotFoundError, match="did you mean 'REC-20200602'"):
        harbor.records["REC-2020062"]


def test_record_is_one_id_narrowed(harbor):
    record = harbor.records.get("REC-20200602")
    assert record.ids() == ["REC-20200602"]
    assert record.count() == 1
    assert record.files.collect()["path"].to_list() == ["raw/REC-20200602-raw.csv"]
    assert record.steps.collect()["record_id"].unique().to_list() == ["REC-20200602"]
    assert record.collect().height == 1


def test_record_knows_its_logs_and_statuses(harbor):
    record = harbor.records.get("REC-20200602")
    assert record.logs().height == 0
    assert record.logs_json() == []
    harbor.steps.filter(record_id="REC-20200602").run("count", mode="main_process", progress=False)
    logs = record.logs()
    assert logs.select("step_label", "step_status", "message").rows() == [
        ("count", 30, "Run finished"),
        ("count", 20, "Processing run"),
    ]
    assert record.logs_json()[0]["message"] == "Run finished"
    assert record.logs_json()[0]["time"].endswith("+00:00")
    assert harbor.records.get("REC-20200601").logs().height == 0
    assert harbor.records.logs().height == 2


def test_status_dict_is_as_sinagot_gives_it_to_a_web_page(harbor):
    import json

    record = harbor.records.get("REC-20200602")
    steps = [
        {"step_index": 1, "step_label": "count", "step_status": 10},
        {"step_index": 2, "step_label": "mean", "step_status": 10},
        {"step_index": 3, "step_label": "summary", "step_status": 0},
    ]
    (units,) = record.status_dict().values()
    assert list(units.values()) == [steps]
    assert list(json.loads(record.status_json()).values()) == [units]


def test_named_groups_of_the_id_pattern_are_columns(make_workspace):
    ws = make_workspace(
        {"clean": ("{site}/{id}.csv", "out/{id}.csv")},
        ["A/A-01.csv", "B/B-02.csv", "A/B-03.csv"],
        id_pattern=r"(?P<site>[AB])-(?P<n>\d+)",
    )
    frame = ws.records.collect()
    assert frame.columns[:3] == ["record_id", "site", "n"]
    assert frame.select("record_id", "site", "n").rows() == [("A-01", "A", "01"), ("B-02", "B", "02")]
    assert ws.steps.filter(site="B").records.ids() == ["B-02"]
    assert ws.records.filter(n="01").steps.collect()["record_id"].to_list() == ["A-01"]


def test_unit_mode_knows_no_scopes(harbor):
    assert harbor.is_unit_mode
    assert harbor.records.is_unit
    assert list(harbor.records.iter_tasks()) == []
    assert list(harbor.records.iter_modalities()) == []
    assert len(list(harbor.records.iter_units())) == 1
    with pytest.raises(SelectionError, match="'RS' is not valid"):
        harbor.records.get_subscope(task="RS")
    with pytest.raises(AttributeError):
        _ = harbor.records.RS
