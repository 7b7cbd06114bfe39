"""Tables of records: which row meets which record, what its values are, and rows that meet none."""

import datetime as dt
import json
import unicodedata

import fsspec
import polars as pl
import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.errors import ConfigError, SelectionError, StorageError

BIDS = r"sub-(?P<sub>\d+)_ses-(?P<ses>\d+)"


@pytest.fixture
def study(write_workspace):
    """Write a workspace with raw files of some ids, and tables beside its toml: texts, bytes or frames."""

    def write(tables, ids=("001", "002"), *, pattern=r"\d{3}", metadata=None, more=""):
        named = json.dumps(next(iter(tables))) if metadata is None else metadata
        toml = (
            f"[records]\nid_pattern = '{pattern}'\nmetadata = {named}\n{more}\n[steps]\nscripts = ['clean']\n"
        )
        folder = write_workspace(
            {"clean": ("raw/{id}", "clean/{id}")}, [f"raw/{one}" for one in ids], toml=toml
        )
        for name, content in tables.items():
            put(folder / name, content)
        return folder

    return write


def put(path, content):
    if isinstance(content, pl.DataFrame):
        writers = {
            ".parquet": content.write_parquet,
            ".arrow": content.write_ipc,
            ".json": content.write_json,
        }
        writers[path.suffix](path)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def values(folder, *columns):
    return Workspace(folder).records.select("record_id", *columns).rows()


def notices(folder):
    return {row["kind"]: row for row in Workspace(folder).notices.iter_rows(named=True)}


# --- keys are text -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "ids"),
    {
        "leading zeros": ("001", ["001", "002"]),
        "quoted": ('"001"', ["001", "002"]),
        "a fraction": ("1.10", ["1.10", "1.1"]),
        "an exponent": ("1E5", ["1E5", "100000"]),
        "a sign": ("+1", ["+1", "1"]),
        "true": ("true", ["true", "True"]),
        "a date": ("2020-01-02", ["2020-01-02", "x"]),
        "many digits": ("12345678901234567890", ["12345678901234567890", "1"]),
        "an underscore": ("1_0", ["1_0", "10"]),
        "hexadecimal": ("0x1F", ["0x1F", "31"]),
    }.values(),
)
def test_a_key_is_the_text_that_is_written(study, written, ids):
    folder = study({"people.csv": f"record_id,age\n{written},40\n"}, ids, pattern=r"[\w.+-]+")
    assert dict(values(folder, "age")) == {ids[0]: 40, ids[1]: None}


@pytest.mark.parametrize(("blank", "shown"), [("001 ", "001 "), (" 001", " 001"), ("001\t", "001·")])
def test_blanks_of_a_key_count_and_are_shown(study, blank, shown):
    folder = study({"people.csv": f'record_id,age\n"{blank}",40\n002,50\n'})
    assert values(folder, "age") == [("001", None), ("002", 50)]
    text = notices(folder)["row without record"]["text"]
    assert text == f"people.csv: 1 of 2 rows meets no record, such as '{shown}'; did you mean '001'?"


@pytest.mark.parametrize("dtype", [pl.Int64, pl.UInt8, pl.Float64])
def test_whole_numbers_of_a_parquet_table_are_keys(study, dtype):
    people = pl.DataFrame({"record_id": pl.Series([1, 2, None], dtype=dtype), "age": [40, None, 7]})
    folder = study({"people.parquet": people}, ["1", "2", "3"], pattern=r"\d+")
    assert values(folder, "age") == [("1", 40), ("2", None), ("3", None)]
    assert "a row without record_id" in notices(folder)["row without record"]["text"]


def test_numbers_that_lost_their_zeros_meet_nothing_and_the_nearest_id_is_named(study):
    folder = study({"people.parquet": pl.DataFrame({"record_id": [1, 2], "age": [40, 50]})})
    assert values(folder, "age") == [("001", None), ("002", None)]
    assert notices(folder)["row without record"]["text"].endswith("such as 1, 2; did you mean '001'?")


def test_keys_of_json_are_text(study):
    folder = study({"people.json": '[{"record_id": "001", "age": 40}, {"record_id": 2, "age": 50}]'})
    assert values(folder, "age") == [("001", 40), ("002", None)]


def test_names_of_either_form_of_unicode_meet(study):
    decomposed = unicodedata.normalize("NFD", "Zoé")
    rows = f"record_id,age\n{unicodedata.normalize('NFC', 'Zoé')},40\n"
    assert values(study({"people.csv": rows}, [decomposed], pattern=r"\w+[\u0301]?"), "age") == [
        (decomposed, 40)
    ]


def test_a_row_in_the_other_form_of_unicode_is_no_second_record(study):
    composed, decomposed = "Zoé", unicodedata.normalize("NFD", "Zoé")
    folder = study(
        {"people.csv": f"record_id,age\n{composed},40\nÉva,50\n"},
        [decomposed],
        pattern=r"\w+[\u0301]?",
        more="expected = true",
    )
    assert values(folder, "age") == [(decomposed, 40), ("Éva", 50)]


@pytest.mark.parametrize("name", ["people.csv", "people.parquet", "people.json"])
def test_expected_ids_with_zeros_are_no_further_records(study, name):
    people = pl.DataFrame({"record_id": ["001", "002", "003"], "age": [40, 50, 60]})
    table = people if name != "people.csv" else people.write_csv()
    assert values(study({name: table}, more="expected = true"), "age") == [
        ("001", 40),
        ("002", 50),
        ("003", 60),
    ]


# --- values --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nothing", ["n/a", "NA", "NaN", "", '""', " n/a ", "N/A"])
def test_what_stands_for_no_value_is_null_and_the_column_stays_a_number(study, nothing):
    folder = study({"people.csv": f"record_id,age,note\n001,{nothing},{nothing}\n002,50,b\n"})
    assert values(folder, "age", "note") == [("001", None, None), ("002", 50, "b")]


def test_no_value_is_null_in_a_file_with_types_too(study):
    people = pl.DataFrame({"record_id": ["001", "002"], "note": ["n/a", "b"], "score": [float("nan"), 0.5]})
    folder = study({"people.parquet": people})
    assert values(folder, "note", "score") == [("001", None, None), ("002", "b", 0.5)]


@pytest.mark.parametrize(
    ("texts", "dtype"),
    {
        "whole numbers": (["1", "-2"], pl.Int64),
        "numbers with blanks around them": ([" 1", "2 "], pl.Int64),
        "fractions": (["1", "2.5"], pl.Float64),
        "exponents": (["1e3", ".5"], pl.Float64),
        "Booleans": (["true", "False"], pl.Boolean),
        "codes with zeros before them": (["01", "10"], pl.String),
        "twenty digits": (["12345678901234567890", "1"], pl.String),
        "texts": (["a", "1"], pl.String),
        "dates": (["2020-01-02", "2020-01-03"], pl.String),
        "nothing": (["", "n/a"], pl.String),
    }.values(),
)
def test_a_column_has_the_type_that_fits_all_of_its_values(study, texts, dtype):
    folder = study({"people.csv": f"record_id,value\n001,{texts[0]}\n002,{texts[1]}\n"})
    assert Workspace(folder).records.collect_schema()["value"] == dtype
    if dtype == pl.String and texts != ["", "n/a"]:
        assert values(folder, "value") == [("001", texts[0]), ("002", texts[1])]


def test_a_late_text_makes_the_column_text_and_is_named(study, cli):
    rows = "".join(f"{n},{n % 90}\n" for n in range(1, 2000))
    folder = study({"people.csv": f"record_id,age\n{rows}2000,forty\n"}, ["1", "2000"], pattern=r"\d+")
    assert values(folder, "age") == [("1", "1"), ("2000", "forty")]
    text = "people.csv: the column 'age' is text and not numbers, for 1 row: row 2,001 has 'forty'"
    assert notices(folder)["text among numbers"]["text"] == text
    told = cli("status", folder)
    assert told.returncode == 0
    assert f"note: {text}" in told.stderr


def test_a_text_among_numbers_with_commas_is_named(study):
    rows = "".join(f"{n:03};{n},5\n" for n in range(1, 30))
    folder = study({"people.csv": f"record_id;dose\n{rows}030;#NV\n"}, ["001"])
    assert notices(folder)["text among numbers"]["example"] == "#NV"


def test_codes_among_numbers_are_nothing_to_speak_of(study):
    rows = "".join(f"{n:03},0{n}\n" for n in range(1, 30))
    folder = study({"people.csv": f"record_id,code\n{rows}030,x\n"}, ["001"])
    assert "text among numbers" not in notices(folder)


# --- files as programs write them ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    {
        "semicolons": "record_id;age;dose\n001;40;1,5\n",
        "tabs in a csv": "record_id\tage\tdose\n001\t40\t1.5\n",
        "lines that end in CR": "record_id,age,dose\r001,40,1.5\r",
        "lines that end in CR LF": "record_id,age,dose\r\n001,40,1.5\r\n",
        "a byte order mark": "\ufeffrecord_id,age,dose\r\n001,40,1.5\r\n",
        "UTF-16": "record_id\tage\tdose\r\n001\t40\t1.5\r\n".encode("utf-16"),
        "blank lines": "\nrecord_id,age,dose\n\n001,40,1.5\n\n\n",
        "no last line end": "record_id,age,dose\n001,40,1.5",
        "quotes around all": '"record_id";"age";"dose"\n"001";"40";"1,5"\n',
        "commas in a header of semicolons": "record_id;age;dose;size, cm\n001;40;1,5;3\n",
        "a column without a name": ",record_id,age,dose\n0,001,40,1.5\n",
    }.values(),
)
def test_tables_are_read_as_programs_write_them(study, content):
    folder = study({"people.csv": content})
    assert values(folder, "age", "dose") == [("001", 40, 1.5), ("002", None, None)]
    assert set(notices(folder)) == {"record without row"}


def test_a_short_row_has_nulls_at_its_end(study):
    folder = study({"people.csv": "record_id,age,sex\n001,40\n002,50,F\n"})
    assert values(folder, "age", "sex") == [("001", 40, None), ("002", 50, "F")]


UNREADABLE = {
    "a long row": ("record_id,age\n001,40\n002,50,F\n", "line 3 has 3 values, and the header 2 columns"),
    "a quote without an end": ('record_id,age\n001,"40\n002,50\n', "line 2: a quoted value has no end"),
    "not UTF-8": (b"record_id,age,name\n001,40,Zo\xe9\n", "line 2, column name: it is not UTF-8"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_table_that_cannot_be_read_is_one_sentence_and_the_rest_goes_on(study, name):
    content, said = UNREADABLE[name]
    folder = study({"people.csv": content})
    text = f"people.csv (records.metadata) cannot be read: {said}"
    assert notices(folder)["table not read"]["text"].startswith(text)
    ws = Workspace(folder)
    assert ws.records.ids() == ["001", "002"]
    with pytest.raises(SelectionError, match=r"steps has no column 'age'; people\.csv") as caught:
        ws.steps.filter(pl.col("age") > 40).collect()
    assert said in str(caught.value)
    assert ws.steps.run(mode="main_process", progress=False).counts() == {"done": 2}
    assert len(ws.diff(ws.snapshot())) == 0


def test_every_verb_goes_on_without_a_table_that_cannot_be_read(study, cli):
    content, said = UNREADABLE["a long row"]
    folder = study({"people.csv": content})
    text = f"people.csv (records.metadata) cannot be read: {said}"
    for words in (["status"], ["ls"], ["explain", "001", "clean"], ["run", "--workers", "1"], ["doctor"]):
        told = cli(*words, "-C", folder)
        assert told.returncode == 0, (words, told.stderr)
        if words[0] in ("status", "ls"):
            assert f"note: {text}" in told.stderr
        if words[0] == "doctor":
            assert text in " ".join(told.stdout.split())
    assert cli("ls", "-C", folder, "--columns", "record_id,age").returncode == 2
    page = folder / "page.html"
    assert cli("report", folder, "-o", page).returncode == 0
    assert "people.csv (records.metadata) cannot be read" in page.read_text()


def test_a_parquet_file_that_is_none_is_one_sentence(study, cli):
    folder = study({"people.parquet": b"PAR1 this is none PAR1"})
    told = cli("status", folder)
    assert told.returncode == 0
    assert "note: people.parquet (records.metadata) cannot be read: " in told.stderr


def test_records_that_an_unreadable_table_names_are_an_error(study, cli):
    folder = study({"people.csv": "record_id,age\n001,40,F\n"}, more="expected = true")
    with pytest.raises(StorageError, match="line 2 has 3 values"):
        Workspace(folder).records.ids()
    assert cli("status", folder).returncode == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "people.csv does not exist"),
        ("", "people.csv is empty"),
        ("id,age\n001,3\n", "people.csv has no column 'record_id', only id, age"),
        ("Record_ID,age\n001,3\n", "did you mean 'Record_ID'"),
        (
            'Id;age;note\n001;3;"one, two, three"\n',
            "people.csv has no column 'record_id', only Id, age, note",
        ),
    ],
)
def test_a_table_that_is_absent_or_has_no_key_is_a_fault_of_the_config(study, cli, content, said):
    folder = study({"people.csv": content or ""})
    if content is None:
        (folder / "people.csv").unlink()
    told = cli("status", folder)
    assert told.returncode == 2
    assert said in told.stderr


def test_a_key_that_is_a_list_is_a_fault_of_the_config(study):
    folder = study({"people.parquet": pl.DataFrame({"record_id": [["001"]], "age": [40]})})
    with pytest.raises(ConfigError, match="the column 'record_id' is not a key: its type is List"):
        Workspace(folder).records.ids()


# --- what meets nothing --------------------------------------------------------------------------------------


def test_rows_and_records_that_meet_nothing_and_keys_that_come_twice_are_said(study, cli):
    rows = "record_id,age\n001,40\n001,41\n009,50\n010,60\n,70\n"
    folder = study({"people.csv": rows}, ["001", "002", "003"])
    assert values(folder, "age") == [("001", 40), ("002", None), ("003", None)]
    texts = [
        "people.csv: 3 of 5 rows meet no record, such as 009, 010, a row without record_id",
        "people.csv: 2 of 3 records have no row, such as 002, 003",
        "people.csv: 1 key comes more than once, such as 001; the first row counts",
    ]
    assert Workspace(folder).notices.rows() == [
        ("row without record", 3, "009", texts[0]),
        ("record without row", 2, "002", texts[1]),
        ("key more than once", 1, "001", texts[2]),
    ]
    told = cli("status", folder)
    assert told.returncode == 0
    assert [one for one in told.stderr.splitlines() if "people.csv" in one] == [
        f"note: {one}" for one in texts
    ]
    doctor = " ".join(cli("doctor", folder).stdout.split())
    assert all(one in doctor for one in texts)
    assert "people.csv: 5 rows, found by record_id" in doctor
    page = folder / "page.html"
    assert cli("report", folder, "-o", page).returncode == 0
    assert all(one in page.read_text() for one in texts)


def test_a_table_that_meets_every_record_is_nothing_to_speak_of(study):
    folder = study({"people.csv": "record_id,age\n002,1\n001,2\n"})
    assert Workspace(folder).notices.rows() == []
    assert Workspace(folder).notices.columns == ["kind", "count", "example", "text"]


def test_rows_beyond_a_span_of_records_are_no_strangers(study):
    folder = study({"people.csv": "record_id,age\n001,1\n002,2\n"})
    ws = Workspace(folder, records=("001", "002"))
    assert ws.records.select("record_id", "age").rows() == [("001", 1)]
    assert ws.notices.rows() == []


def test_a_key_that_comes_twice_in_two_spellings_is_one_key(study):
    people = "participant_id\tage\nsub-01\t30\n01\t31\nsub-02\t32\n"
    folder = study({"participants.tsv": people}, ("sub-01_ses-1", "sub-02_ses-1"), pattern=BIDS)
    (text,) = Workspace(folder).notices["text"]
    assert text.startswith("participants.tsv: 1 key comes more than once, such as sub-01;")


def test_each_table_tells_which_records_it_lacks(study, cli):
    tables = {"ages.csv": "record_id,age\n001,30\n", "sites.csv": "record_id,site\n001,L\n"}
    folder = study(tables, metadata='["ages.csv", "sites.csv"]')
    texts = [f"{table}: 1 of 2 records has no row, such as 002" for table in tables]
    assert Workspace(folder).notices["text"].to_list() == texts
    assert cli("status", folder).stderr.splitlines() == [f"note: {text}" for text in texts]


def test_a_key_with_a_blank_means_the_record_without_it(study):
    ages = "record_id,age\nR01,30\nR1 ,31\n"
    folder = study({"ages.csv": ages}, ("R01", "R1"), pattern=r"R\d+")
    assert "'R1 '; did you mean 'R1'?" in Workspace(folder).notices["text"][0]


def test_keys_that_come_twice_in_two_forms_of_unicode_are_one(study):
    rows = f"record_id,age\nZoé,1\n{unicodedata.normalize('NFD', 'Zoé')},2\n"
    folder = study({"people.csv": rows}, ["Zoé"], pattern=r"\w+")
    assert values(folder, "age") == [("Zoé", 1)]
    assert "key more than once" in notices(folder)


# --- several tables, several keys ----------------------------------------------------------------------------

VISITS = ["sub-01_ses-1", "sub-01_ses-2", "sub-02_ses-1"]


def test_several_tables_join_by_what_their_columns_tell(study):
    tables = {
        "participants.tsv": "participant_id\tage\nsub-01\t40\nsub-02\tn/a\n",
        "visits.csv": "sub,ses,age,dose\n01,1,40,0.5\n01,2,41,1\n",
        "quality.csv": "record_id,rating\nsub-02_ses-1,bad\n",
    }
    folder = study(tables, VISITS, pattern=BIDS, metadata=json.dumps(list(tables)))
    assert Workspace(folder).records.collect().columns[:8] == [
        *("record_id", "sub", "ses", "participant_id", "age", "age_visits", "dose", "rating"),
    ]
    assert values(folder, "age", "age_visits", "dose", "rating") == [
        ("sub-01_ses-1", 40, 40, 0.5, None),
        ("sub-01_ses-2", 40, 41, 1.0, None),
        ("sub-02_ses-1", None, None, None, "bad"),
    ]


@pytest.mark.parametrize("people", ["01", "sub-01"])
@pytest.mark.parametrize("field", ["sub", "subject", "participant"])
def test_a_participant_is_the_same_with_and_without_its_prefix(study, people, field):
    folder = study(
        {"p.tsv": f"participant_id\tage\n{people}\t40\n"}, ["sub-01"], pattern=rf"(?P<{field}>sub-\d+)"
    )
    assert values(folder, "age") == [("sub-01", 40)]


@pytest.mark.parametrize("record", ["01", "sub-01"])
@pytest.mark.parametrize("people", ["01", "sub-01"])
def test_a_participant_may_be_the_whole_id(study, record, people):
    folder = study({"p.tsv": f"participant_id\tage\n{people}\t40\n"}, [record], pattern=r"(sub-)?\d+")
    assert values(folder, "age") == [(record, 40)]


@pytest.mark.parametrize("people", ["03", "sub-03"])
def test_expected_participants_are_called_as_ids_are(study, people):
    folder = study(
        {"p.tsv": f"participant_id\tage\n{people}\t40\n"},
        ["sub-01"],
        pattern=r"sub-\d+",
        more="expected = true",
    )
    assert Workspace(folder).records.ids() == ["sub-01", "sub-03"]


def test_expected_needs_a_table_of_ids(study):
    folder = study({"v.csv": "sub,ses\n01,1\n"}, VISITS, pattern=BIDS, more="expected = true")
    with pytest.raises(ConfigError, match=r"v\.csv .* names no records: its rows are found by sub, ses"):
        Workspace(folder).records.ids()


def test_sessions_of_a_participant_are_told_apart(study):
    rows = "participant_id\tsession_id\tpain\nsub-01\tses-1\t3\nsub-01\tses-2\t1\nsub-02\tses-1\t2\n"
    folder = study({"sessions.tsv": rows}, VISITS, pattern=BIDS)
    assert [pain for _, pain in values(folder, "pain")] == [3, 1, 2]
    assert Workspace(folder).notices.rows() == []


def test_a_given_key_goes_before_what_columns_tell(study):
    rows = "record_id,sub,ses,dose\nx,01,1,0.5\nx,01,2,1\nx,02,1,2\n"
    given = '[{path = "visits.csv", key = ["sub", "ses"]}]'
    folder = study({"visits.csv": rows}, VISITS, pattern=BIDS, metadata=given)
    assert [dose for _, dose in values(folder, "dose")] == [0.5, 1.0, 2.0]
    assert Workspace(folder).records.collect()["record_id"].to_list() == VISITS


def test_one_table_with_a_key_needs_no_list(study):
    folder = study(
        {"p.csv": "sub,ses,age\n01,9,40\n02,9,50\n"},
        VISITS,
        pattern=BIDS,
        metadata='{path = "p.csv", key = ["sub"]}',
    )
    assert [age for _, age in values(folder, "age")] == [40, 40, 50]
    assert values(folder, "ses_metadata")[0] == ("sub-01_ses-1", 9)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        (
            '[{path = "p.csv", key = ["subj"]}]',
            r"records.metadata\[0\].key\[0\]: 'subj' is not a field .* mean 'sub'",
        ),
        (
            '[{path = "p.csv", keys = ["sub"]}]',
            r"records.metadata\[0\].keys: unknown key; did you mean 'key'",
        ),
        (
            '[{path = "p.csv", key = "sub"}]',
            r"records.metadata\[0\].key: 'sub' is not a list; write \['sub'\]",
        ),
        ('[{key = ["sub"]}]', r"records.metadata\[0\].path: missing"),
        ("7", "records.metadata: 7 is not a table file: write a path"),
        ('["p.csv", 7]', "is not a table file"),
        ('[{path = "p.csv", key = ["ses"]}]', "p.csv has no column 'ses', only sub, age"),
    ],
)
def test_a_wrong_table_or_key_is_one_sentence(study, metadata, said):
    folder = study({"p.csv": "sub,age\n01,40\n"}, VISITS, pattern=BIDS, metadata=metadata)
    with pytest.raises(ConfigError, match=said):
        Workspace(folder).records.ids()


def test_a_record_without_an_optional_field_meets_the_row_without_it(study):
    pattern = r"sub-(?P<sub>\d+)(_ses-(?P<ses>\d+))?"
    rows = "sub,ses,dose\n01,n/a,1\n01,2,3\n"
    folder = study({"v.csv": rows}, ["sub-01", "sub-01_ses-2"], pattern=pattern)
    assert values(folder, "dose") == [("sub-01", 1), ("sub-01_ses-2", 3)]


def test_a_table_of_a_modality_is_read_alike(lab_folder):
    toml = 'models.dataframe_path = "clinical/people.csv"\n'
    ws = Workspace(lab_folder(toml, {"clinical/people.csv": "participant_id;age\nR1;n/a\nR2;2,5\nR7;1\n"}))
    assert ws.records.select("record_id", "age").rows() == [
        ("R1", None),
        ("R2", 2.5),
        ("R3", None),
        ("R4", None),
    ]
    assert "clinical/people.csv: 1 of 3 rows meets no record, such as R7" in ws.notices["text"].to_list()


def test_a_table_in_a_bucket_is_read_alike(study):
    fsspec.filesystem("memory").pipe(
        "/tables-of-records/people.tsv", b"participant_id\tage\n001\tn/a\n002\t7\n"
    )
    folder = study({"x": ""}, metadata="'memory://tables-of-records/people.tsv'")
    assert values(folder, "age") == [("001", None), ("002", 7)]
    fsspec.filesystem("memory").pipe("/tables-of-records/people.tsv", b"participant_id\tage\n001\t1\t2\n")
    assert "line 2 has 3 values" in notices(folder)["table not read"]["text"]


# --- odd columns ---------------------------------------------------------------------------------------------

ODD = {
    "_rec": ["a", "b"],
    "_last": ["a", "b"],
    "_key0": ["a", "b"],
    "record_id_right": ["a", "b"],
    "n_units": ["a", "b"],
    "size": ["a", "b"],
    "size_metadata": ["c", "d"],
    "task": ["a", "b"],
    "status": ["a", "b"],
    "^a.*$": ["a", "b"],
    "*": ["a", "b"],
    "a b": ["a", "b"],
    "list": [[1, 2], None],
    "struct": [{"x": 1, "y": ["k"]}, {"x": None, "y": []}],
    "big": pl.Series([12345678901234567890123, 1], dtype=pl.Int128),
    "bytes": [b"abc", None],
    "odd_bytes": [b"\xff\x00", b"a"],
    "kind": pl.Series(["a", "b"], dtype=pl.Categorical),
    "choice": pl.Series(["a", "b"], dtype=pl.Enum(["a", "b"])),
    "day": [dt.date(2020, 1, 2), None],
    "time": [dt.time(1, 2), None],
    "moment": [dt.datetime(2020, 1, 2, tzinfo=dt.UTC), None],
    "span": [dt.timedelta(seconds=3), None],
    "price": pl.Series(["1.50", "2"]).cast(pl.Decimal(10, 2)),
    "nothing": pl.Series([None, None], dtype=pl.Null),
}


def odd_table():
    return pl.DataFrame({"record_id": ["001", "002"], **ODD})


def test_odd_columns_are_shown(study):
    shown = Workspace(study({"odd.arrow": odd_table()})).records.collect()
    row = shown.row(0, named=True)
    assert {name: row[name] for name in ("_rec_metadata", "_last_metadata", "size_metadata_records", "a.")} == {
        "_rec_metadata": "a", "_last_metadata": "a", "size_metadata_records": "a", "a.": "a",
    }  # fmt: skip
    assert (row["n_units"], row["n_units_metadata"], row["size_metadata"]) == (1, "a", "c")
    assert (row["list"], row["struct"], row["bytes"]) == ([1, 2], {"x": 1, "y": ["k"]}, "abc")
    assert row["big"] == "12345678901234567890123"
    assert "odd_bytes" not in row
    assert row["price"] is not None


def test_a_column_that_cannot_be_shown_is_said(study):
    found = notices(study({"odd.arrow": odd_table()}))["column left out"]
    assert found["text"] == "odd.arrow: the column 'odd_bytes' is left out: its type Binary cannot be shown"


@pytest.mark.parametrize("form", ["--csv", "--json", "--parquet", ""])
def test_odd_columns_are_written_in_every_form(study, cli, form):
    folder = study({"odd.arrow": odd_table()})
    words = [form] if form else []
    told = cli("ls", "-C", folder, *words, *(["out.parquet"] if form == "--parquet" else []), cwd=folder)
    assert told.returncode == 0, told.stderr
    assert "panicked" not in told.stderr
    if form == "--csv":
        row = pl.read_csv(told.stdout.encode(), infer_schema=False).row(0, named=True)
        assert (row["list"], row["struct"]) == ("[1,2]", '{"x":1,"y":["k"]}')
    elif form == "--json":
        row = json.loads(told.stdout)[0]
        assert (row["list"], row["struct"]) == ([1, 2], {"x": 1, "y": ["k"]})
    elif form == "--parquet":
        assert pl.read_parquet(folder / "out.parquet")["list"].to_list() == [[1, 2], None]
    else:
        assert "[1,2]" in told.stdout


def test_odd_columns_narrow_steps(study):
    ws = Workspace(study({"odd.arrow": odd_table()}))
    assert ws.records.filter(pl.col("list").list.len() == 2).ids() == ["001"]
    assert ws.records.filter(pl.col("task") == "b").ids() == ["002"]
    assert ws.steps.filter(pl.col("_last_metadata") == "b").records.ids() == ["002"]
    assert ws.steps.sql_filter("record_id_right = 'a'").records.ids() == ["001"]
    assert ws.steps.filter(pl.col("struct").struct.field("x") == 1).select("record_id", "list").rows() == [
        ("001", [1, 2])
    ]
    assert ws.sql("SELECT record_id FROM records WHERE _rec_metadata = 'a'").collect().rows() == [("001",)]


@pytest.mark.parametrize("mode", ["processes", "main_process"])
def test_scripts_read_odd_columns_as_numbers_and_texts(study, mode):
    """Lists and structs are JSON, and a change of them makes their rows stale."""
    folder = study({"odd.arrow": odd_table()})
    (folder / "scripts" / "clean.py").write_text(
        "import json\nfrom sinagot_catalog import ScriptTemplate\nclass Script(ScriptTemplate):\n"
        "    PATH_IN, PATH_OUT = 'raw/{id}', 'clean/{id}'\n"
        "    def run(self): self.path.output.write_text(json.dumps(dict(self.record)))\n"
    )
    report = Workspace(folder).steps.run(mode=mode, progress=False)
    assert report.counts() == {"done": 2}, report.failures()
    first, second = (json.loads((folder / "dataset" / "clean" / one).read_text()) for one in ("001", "002"))
    assert {first["list"], first["struct"], first["span"]} == {"[1,2]", '{"x":1,"y":["k"]}', "PT3S"}
    assert (first["price"], first["day"], first["bytes"]) == (1.5, "2020-01-02", "abc")
    assert [second[name] for name in ("list", "span", "day", "nothing")] == [None] * 4
    assert Workspace(folder).steps.filter(pl.col("stale")).is_empty()
    put(folder / "odd.arrow", odd_table().with_columns(list=pl.Series([[1, 3], None])))
    assert Workspace(folder).steps.filter(pl.col("stale")).select("record_id").rows() == [("001",)]


def test_odd_columns_are_kept_by_a_snapshot(study):
    folder = study({"odd.arrow": odd_table()})
    name = Workspace(folder).snapshot()
    now, then = (Workspace(folder, snapshot=one).records.collect() for one in (None, name))
    assert then.select(now.columns).equals(now)
    assert len(Workspace(folder).diff(name)) == 0


@pytest.mark.parametrize("header", ["_rec", "record_id_right", "_cell", "_status", "status", "step"])
def test_names_of_ours_in_a_csv_file_do_no_harm(study, header):
    folder = study({"people.csv": f"record_id,{header}\n001,7\n"})
    ws = Workspace(folder)
    (name,) = [one for one in ws.records.collect().columns if one.removesuffix("_metadata") == header]
    assert ws.records.select(name).to_series().to_list() == [7, None]
    assert ws.steps.collect().height == 2
    assert ws.steps.run(mode="main_process", progress=False).counts() == {"done": 2}


# --- snapshots and differences -------------------------------------------------------------------------------


def test_a_snapshot_shows_the_values_that_were(study, cli):
    folder = study({"people.csv": "record_id,age\n001,40\n009,1\n"})
    name = Workspace(folder).snapshot()
    (folder / "people.csv").write_text("record_id,age,sex\n001,41,F\n002,50,M\n")
    then = Workspace(folder, snapshot=name)
    assert then.records.select("record_id", "age").rows() == [("001", 40), ("002", None)]
    assert then.records.filter(pl.col("age") == 40).ids() == ["001"]
    assert "sex" not in then.records.collect().columns
    assert "such as 009" in then.notices["text"][0]
    (folder / "people.csv").unlink()
    assert Workspace(folder, snapshot=name).records.select("age").to_series().to_list() == [40, None]
    assert cli("status", folder, "--snapshot", name).returncode == 0
    assert cli("status", folder).returncode == 2


def test_a_difference_says_which_values_changed(study, cli):
    folder = study({"people.csv": "record_id,age,hand\n001,40,left\n002,n/a,right\n"})
    ws = Workspace(folder)
    name = ws.snapshot()
    (folder / "people.csv").write_text("record_id,age,sex\n001,41,F\n002,50,M\n")
    found = ws.diff(name)
    assert found.metadata.rows() == [
        ("changed", "001", "age", "40", "41"),
        ("new", "001", "sex", None, "F"),
        ("gone", "001", "hand", "left", None),
        ("new", "002", "age", None, "50"),
        ("new", "002", "sex", None, "M"),
        ("gone", "002", "hand", "right", None),
    ]
    assert found.records.rows() == [("changed", "001"), ("changed", "002")]
    assert ws.diff(name, ws.snapshot()).metadata.equals(found.metadata)
    told = cli("diff", "-C", folder, name)
    assert "metadata: 6" in told.stdout
    assert '"column":"age"' in cli("diff", "-C", folder, name, "--json").stdout


def test_a_fraction_makes_no_difference_for_the_other_records(study):
    folder = study({"people.csv": "record_id,age\n001,40\n002,50\n"})
    name = Workspace(folder).snapshot()
    (folder / "people.csv").write_text("record_id,age\n001,40\n002,50.5\n")
    assert Workspace(folder).diff(name).metadata.rows() == [("changed", "002", "age", "50.0", "50.5")]


def test_records_that_were_expected_are_kept(study):
    folder = study({"people.csv": "record_id,age\n001,40\n009,1\n"}, more="expected = true")
    name = Workspace(folder).snapshot()
    (folder / "people.csv").write_text("record_id,age\n001,40\n")
    assert Workspace(folder, snapshot=name).records.ids() == ["001", "002", "009"]
    assert Workspace(folder).diff(name).records.rows() == [("gone", "009")]


def test_a_snapshot_without_tables_shows_those_of_now(study):
    folder = study({"people.csv": "record_id,age\n001,40\n"})
    name = Workspace(folder).snapshot()
    path = folder / "dataset" / "LOG" / "snapshots" / name / "last.parquet"
    noted = pl.read_parquet_metadata(path)
    pl.read_parquet(path).write_parquet(path, metadata={"schema": noted["schema"], "alive": noted["alive"]})
    (folder / "people.csv").write_text("record_id,age\n001,41\n")
    assert Workspace(folder, snapshot=name).records.select("age").to_series().to_list() == [41, None]
    assert Workspace(folder).diff(name).metadata.rows() == []


FIELDS = r"(?P<plate>\d{3})_(?P<well>[A-H]\d\d)"
PLATES = ["001_A01", "001_B01", "002_A01"]


def test_fields_that_lost_their_zeros_are_answered_with_the_nearest_record(study):
    folder = study({"people.csv": "plate,well,drug\n1,A01,none\n2,A1,taxol\n"}, PLATES, pattern=FIELDS)
    text = notices(folder)["row without record"]["text"]
    assert text.endswith("2 of 2 rows meet no record, such as 1 A01, 2 A1; did you mean '001 A01'?")
    put(folder / "people.csv", "plate,well,drug\n,Z01,none\n")
    assert "did you mean" not in notices(folder)["row without record"]["text"]


def test_keys_that_come_twice_name_their_columns_and_a_misspelt_one(study):
    rows = "001,A01,none\n002,A01,taxol\n"
    folder = study({"people.csv": f"plte,well,drug\n{rows}"}, PLATES, pattern=FIELDS)
    text = notices(folder)["key more than once"]["text"]
    assert text.endswith("counts (rows are found by well; is the column 'plte' the field 'plate'?)")
    put(folder / "people.csv", f"plate,well,drug\n{rows}001,A01,x\n")
    assert notices(folder)["key more than once"]["text"].endswith("counts (rows are found by plate, well)")


def test_a_table_that_is_misspelt_is_answered_with_the_nearest(study, cli):
    folder = study({"people.csv": "record_id,age\n001,4\n"})
    toml = folder / "workspace.toml"
    toml.write_text(toml.read_text().replace("people.csv", "peple.csv"))
    told = cli("status", folder)
    assert told.returncode == 2
    assert "peple.csv does not exist; did you mean 'people.csv'?" in told.stderr


@pytest.mark.parametrize("name", ["people.parquet", "people.arrow", "people.ndjson"])
def test_table_with_other_content_than_its_name_says_is_reported_and_nothing_fails(study, name):
    ws = Workspace(study({name: b"no table"}))
    assert len(ws.records) == 2
    (notice,) = ws.notices.filter(kind="table not read")["text"]
    assert notice.startswith(f"{name} (records.metadata) cannot be read: ")
