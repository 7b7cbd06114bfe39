"""`filter`: Polars' signature over the rows of a table, with literals that are checked."""

import polars as pl
import pytest

from sinagot_catalog import StepStatus
from sinagot_catalog.errors import SelectionError, UsageError


@pytest.fixture
def ws(make_workspace):
    scripts = {"clean": ("raw/{id}.csv", "clean/{id}.csv"), "sum": ("clean/{id}.csv", "sum/{id}.txt")}
    return make_workspace(scripts, ["raw/R1.csv", "raw/R2.csv", "clean/R2.csv", "raw/R3.csv"])


def rows(steps):
    return steps.collect().select("record_id", "step").rows()


def test_keyword_keeps_the_rows_that_are_equal(ws):
    assert rows(ws.steps.filter(status="DATA_READY")) == [("R1", "clean"), ("R2", "sum"), ("R3", "clean")]


def test_keyword_takes_a_status_itself(ws):
    assert rows(ws.steps.filter(status=StepStatus.DONE)) == [("R2", "clean")]


def test_keyword_none_means_null(ws):
    assert len(ws.steps.filter(task=None)) == 6
    assert len(ws.steps.filter(message=None, step="sum")) == 3


def test_expression_keeps_the_rows_that_fit(ws):
    chosen = ws.steps.filter(pl.col("status") == "DATA_READY", pl.col("record_id") > "R1")
    assert rows(chosen) == [("R2", "sum"), ("R3", "clean")]


def test_status_compares_in_the_order_of_its_numbers(ws):
    assert rows(ws.steps.filter(pl.col("status") >= "DATA_READY", step="sum")) == [("R2", "sum")]


@pytest.mark.parametrize("table", ["records", "steps", "files"])
def test_condition_joined_by_and_sees_only_the_rows_that_fit_the_one_before(ws, table):
    number = pl.col("record_id").str.replace("R1", "none").str.replace("R", "").cast(pl.Int64)
    rows_ = getattr(ws, table).filter((pl.col("record_id") != "R1") & (number > 2)).collect()
    assert set(rows_["record_id"]) == {"R3"}


def test_several_filters_narrow_one_another(ws):
    chosen = ws.steps.filter(step="clean").filter(pl.col("record_id") != "R1").filter(status="DATA_READY")
    assert rows(chosen) == [("R3", "clean")]


def test_filters_of_one_call_see_the_same_rows(ws):
    """As in Polars: a window of one call is over all rows, and one of a later call over what is left."""
    alone, clean = pl.len().over("record_id") == 1, pl.col("step") == "clean"
    every = ws.steps.collect()
    for given in ([clean, alone], [alone, clean], [clean, pl.int_range(pl.len()) < 3, alone.not_()]):
        assert rows(ws.steps.filter(*given)) == rows(every.lazy().filter(*given))
        assert rows(ws.steps.filter(given)) == rows(every.lazy().filter(given))
    assert len(ws.steps.filter(clean, alone)) == 0
    assert len(ws.steps.filter(clean).filter(alone)) == 3
    assert len(ws.steps.filter(pl.len().over("record_id") == 2, step="clean")) == 3


def test_filter_takes_lists_of_expressions_and_booleans(ws):
    assert rows(ws.steps.filter([pl.col("step") == "sum", pl.col("record_id") == "R1"])) == [("R1", "sum")]
    assert len(ws.steps.filter([True, pl.col("step") == "sum"])) == 3
    assert len(ws.steps.filter(pl.col("step") == name for name in ("sum", "clean"))) == 0
    assert len(ws.steps.filter(False)) == 0
    assert len(ws.steps.filter(True)) == 6
    assert len(ws.steps.filter()) == 6


def test_filter_leaves_the_selection_as_it_was(ws):
    every = ws.steps
    every.filter(step="sum")
    assert len(every) == 6


def test_derived_columns_can_be_filtered_by(ws):
    assert rows(ws.steps.filter(pl.col("reason").str.starts_with("waits for clean"))) == [
        ("R1", "sum"),
        ("R3", "sum"),
    ]
    assert rows(ws.steps.filter(pl.col("missing") == "clean/R1.csv")) == [("R1", "sum")]


def test_null_in_a_predicate_drops_the_row(ws):
    assert len(ws.steps.filter(pl.col("seconds") > 0)) == 0
    assert len(ws.steps.filter(~(pl.col("seconds") > 0))) == 0


@pytest.mark.parametrize(
    "choose",
    [
        lambda ws: ws.steps.filter(status="DOEN"),
        lambda ws: ws.steps.filter(pl.col("status") == "DOEN"),
        lambda ws: ws.steps.filter(pl.lit("DOEN") == pl.col("status")),
        lambda ws: ws.steps.filter(pl.col("status") != "DOEN"),
        lambda ws: ws.steps.filter(pl.col("status") >= "DOEN"),
        lambda ws: ws.steps.filter(pl.col("status").is_in(["ERROR", "DOEN"])),
        lambda ws: ws.steps.filter(~pl.col("status").is_in({"DOEN"})),
        lambda ws: ws.steps.filter((pl.col("record_id") > "R1") & (pl.col("status") == "DOEN")),
        lambda ws: ws.steps.filter(pl.col("status").eq_missing("DOEN")),
        lambda ws: ws.steps.filter(pl.when(pl.col("status") == "DOEN").then(True).otherwise(False)),
        lambda ws: ws.steps.filter(pl.any_horizontal(pl.col("status") == "DOEN", pl.col("step") == "sum")),
        lambda ws: ws.steps.filter(pl.col("status").is_in(pl.Series(["DOEN"]))),
        lambda ws: ws.steps.filter(pl.col("status").ne_missing("DOEN")),
        lambda ws: ws.steps.filter((pl.col("status") == "DOEN").not_().alias("x")),
        lambda ws: ws.steps.sql_filter("status = 'DOEN'"),
        lambda ws: ws.steps.sql_filter("status IS DISTINCT FROM 'DOEN'"),
        lambda ws: ws.steps.sql_filter("CASE WHEN status = 'DOEN' THEN true ELSE false END"),
        lambda ws: ws.steps.sql_filter("status BETWEEN 'INIT' AND 'DOEN'"),
        lambda ws: ws.steps.sql_filter("status <> 'DOEN' AND record_id > 'R1'"),
        lambda ws: ws.steps.sql_filter("status IN ('ERROR', 'DOEN')"),
        lambda ws: ws.steps.sql_filter("NOT (status = 'DOEN')"),
    ],
)
def test_status_that_does_not_exist_says_what_was_meant_in_every_form(ws, choose):
    with pytest.raises(SelectionError, match="status is never 'DOEN'; did you mean 'DONE'") as caught:
        len(choose(ws))
    assert caught.value.exit_code == 2
    assert "It is one of INIT, DATA_READY" in caught.value.hint


@pytest.mark.parametrize(
    "choose",
    [
        lambda ws: ws.steps.filter(step="claen"),
        lambda ws: ws.steps.filter(pl.col("step") == "claen"),
        lambda ws: ws.steps.filter(pl.col("step").is_in(["sum", "claen"])),
        lambda ws: ws.steps.sql_filter("step = 'claen'"),
        lambda ws: ws.steps.sql_filter("step IN ('claen')"),
        lambda ws: ws.units.filter(next_step="claen"),
        lambda ws: ws.files.filter(step="claen"),
    ],
)
def test_step_that_does_not_exist_says_what_was_meant_in_every_form(ws, choose):
    with pytest.raises(SelectionError, match="step is never 'claen'; did you mean 'clean'"):
        len(choose(ws))


@pytest.mark.parametrize(
    "choose",
    [
        lambda ws: ws.files.filter(role="outptu"),
        lambda ws: ws.files.filter(pl.col("role") == "outptu"),
        lambda ws: ws.files.filter(pl.col("role").is_in(["outptu"])),
        lambda ws: ws.files.sql_filter("role = 'outptu'"),
    ],
)
def test_role_that_does_not_exist_says_what_was_meant(ws, choose):
    with pytest.raises(SelectionError, match="role is never 'outptu'; did you mean 'output'"):
        len(choose(ws))


@pytest.mark.parametrize(
    "fine",
    [
        lambda: pl.col("status").cast(pl.String).str.contains("DON"),
        lambda: pl.col("status").cast(pl.String) == "nonsense",
        lambda: pl.col("step").str.starts_with("cl"),
        lambda: pl.col("step").str.contains("clae"),
        lambda: pl.col("step").str.to_uppercase() == "CLEAN",
        lambda: pl.col("step") > "d",
        lambda: pl.concat_str(pl.col("step"), pl.lit("-x")) == "clean-x",
        lambda: pl.col("message").fill_null("nothing") == "claen",
        lambda: pl.col("step").replace({"clean": "tidy"}) == "tidy",
        lambda: pl.col("status").replace_strict({"DONE": "x"}, default="y", return_dtype=pl.String) == "x",
        lambda: pl.when(pl.col("n_inputs") == 1).then(pl.col("step")).otherwise(pl.lit("none")) == "none",
        lambda: pl.col("step").str.replace("clean", "tidy") == "tidy",
        lambda: pl.concat_str("record_id", "step", separator="/").is_in(["R1/clean"]),
        lambda: (pl.col("record_id") == "DOEN") | (pl.col("status") == "DONE"),
    ],
)
def test_texts_that_are_no_value_of_the_column_are_let_through(ws, fine):
    len(ws.steps.filter(fine()))


def test_column_that_does_not_exist_is_an_error_that_names_the_near_one(ws):
    with pytest.raises(SelectionError, match="steps has no column 'recrod_id'; did you mean 'record_id'"):
        len(ws.steps.filter(pl.col("recrod_id") == "R1"))
    with pytest.raises(SelectionError, match="steps has no column 'statsu'; did you mean 'status'"):
        len(ws.steps.filter(statsu="DONE"))


def test_what_is_no_expression_is_an_error(ws):
    with pytest.raises(SelectionError, match="int"):
        ws.steps.filter(3)
    with pytest.raises(SelectionError, match="Series"):
        ws.steps.filter(pl.Series([True] * 6))
    with pytest.raises(SelectionError, match="is_in"):
        ws.steps.filter(status=["DONE", "ERROR"])


def test_predicate_that_cannot_be_applied_is_one_sentence(ws):
    with pytest.raises(UsageError):
        len(ws.steps.filter(pl.col("record_id") > 3))
    with pytest.raises(UsageError):
        len(ws.steps.filter(pl.col("n_inputs")))


def test_selectors_and_regex_columns_are_understood(ws):
    import polars.selectors as cs

    assert len(ws.steps.filter(pl.col("^record.*$") == "R1")) == 2
    assert len(ws.steps.filter(cs.by_name("step") == "sum")) == 3
