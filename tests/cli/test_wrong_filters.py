"""Filters that cannot be read or applied: one sentence on what is wrong, in every table, and what to write."""

import re

import polars as pl
import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.errors import SelectionError

TABLES = ("records", "units", "files", "steps", "events", "links")
INTERNALS = re.compile(
    r"Traceback|polars|dtype|[iufs]tr?(32|64)|Series|col\(|dyn |& true|\.str\.|cast\(|as Expr|Line:"
)

WRONG = {
    "no column": ("recrod_id = 'R'", "{} has no column 'recrod_id'; did you mean 'record_id'?"),
    "a text without quotes": ("record_id = Q7", "In SQL a text has single quotes: 'Q7'."),
    "a text in double quotes": ('record_id = "Q7"', "In SQL a text has single quotes: 'Q7'."),
    "a number for a text": ("record_id > 5", "record_id is a text, 5 is a number"),
    "numbers for a text": ("record_id IN (1, 2)", "record_id is a text, 1 is a number"),
    "a sum with a text": ("record_id + 1 > 2", "record_id is a text, 1 is a number"),
    "no comparison": ("record_id", "it gives a text, and not true or false"),
    "a function of numbers": ("abs(record_id) > 1", "record_id is a text, which does not fit there"),
    "a text that is no number": ("CAST(record_id AS INT) > 1", 'a value of record_id is not converted: "REC-'),
    "a wrong regular expression": ("record_id ~ '['", "its regular expression is wrong: unclosed character class"),
    "no function": ("foo(record_id) = 'x'", "there is no function foo"),
    "too many arguments": ("upper(record_id, 3) = 'x'", "upper takes other values"),
    "no end": ("record_id >", "it ends after >"),
    "an AND at the end": ("record_id = 'x' AND ", "it ends after AND"),
    "an open quote": ("record_id = 'x", "a quote is not closed"),
    "mixed quotes": ("record_id = 'x\"", "a quote is not closed"),
    "an open bracket": ("(record_id = 'x'", "a bracket is not closed"),
    "a closed bracket": ("record_id = 'x')", ") is not expected in its place"),
    "a number for ~": ("record_id ~ 3", "~ takes a text in single quotes"),
    "no type": ("CAST(record_id AS foo) = 'x'", "there is no type foo"),
    "a text that is no time": ("'2026'::timestamp = '2026'::timestamp", "a text in it is not a date or a time"),
    "a number for LIKE": ("record_id LIKE 3", "LIKE takes a text in single quotes"),
    "another language": ("; drop table", "it is no comparison in SQL"),
    "a field": ("record_id.x = 1", "field"),
}  # fmt: skip


@pytest.fixture
def ran(harbor_folder):
    Workspace(harbor_folder).steps.run("count", mode="main_process", progress=False)
    return harbor_folder


@pytest.mark.parametrize("name", WRONG)
def test_wrong_filter_of_a_table_is_one_sentence_without_internals(said, ran, name):
    where, sentence = WRONG[name]
    for table in TABLES:
        code, out, told = said("ls", table, "-C", ran, "--where", where)
        assert (code, out) == (2, "")
        assert sentence.format(table) in told
        assert len(told.splitlines()) <= 2
        assert not INTERNALS.search(told.replace("cast(…, strict=False)", ""))


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        ("seconds > 'x'", "seconds is a number, 'x' is a text"),
        ("seconds BETWEEN 'a' AND 'b'", "seconds is a number, 'a' is a text"),
        ("started > '2026-11-30'", "started is a time, '2026-11-30' is a text"),
        ("started > TIMESTAMP '2026-11-30 06:00'", "is a time without a zone"),
        ("status > 3", "status is a text, 3 is a number"),
    ],
)
def test_wrong_type_in_a_filter_of_any_verb_is_named(said, ran, where, sentence):
    for words in (["status"], ["plan"], ["run"], ["report"], ["ls", "steps"]):
        code, _, told = said(*words, "-C", ran, "--where", where)
        assert code == 2
        assert sentence in told
        assert not INTERNALS.search(told)


@pytest.mark.parametrize(
    ("predicate", "sentence"),
    [
        (pl.col("nope") > 1, "steps has no column 'nope'"),
        (pl.col("record_id").is_in([1]), "record_id is a text, 1 is a number"),
        (pl.col("record_id").dt.year() > 3, "record_id is a text, which does not fit there"),
        (pl.col("record_id").cast(pl.Int64) > 3, "a value of record_id is not converted"),
        (pl.col("seconds").abs(), "it gives a number, and not true or false"),
        (pl.col("record_id", "step") == "x", "it gives 2 columns, not one"),
        (pl.col("record_id").unique() == "x", "length: 3 differs"),
        (pl.col("record_id").gather([1000]) == "x", "gather indices are out of bounds"),
        (pl.col("record_id").str.split("-").list.eval(pl.element() > 3).list.any(), "cannot compare string"),
        (pl.any_horizontal(pl.col("seconds", "step") > 3), "is a number or a text, 3 is a number"),
        (pl.col("started") > pl.duration(hours=1), "what it calculates is a duration, started is a time"),
    ],
)
def test_wrong_filter_in_python_is_one_sentence(harbor, predicate, sentence):
    with pytest.raises(SelectionError, match=re.escape(sentence)):
        harbor.steps.filter(predicate).collect()


def test_times_are_compared_as_the_message_says(said, ran):
    for where in ("started > TIMESTAMPTZ '2020-11-30 06:00'", "started > DATE '2020-11-30'"):
        code, out, _ = said("ls", "steps", "-C", ran, "--where", where, "--csv")
        assert (code, len(out.splitlines())) == (0, 4)


def test_a_text_that_holds_a_word_of_sql_is_no_column(harbor):
    with pytest.raises(SelectionError) as raised:
        harbor.steps.sql_filter("record_id = 'it exists' AND")
    assert "double quotes" not in (raised.value.hint or "")
